"""The plan of one HTTP reply: what is to be said, when, and how it ends.

Owns the values that pass between those who decide an answer and the connection that speaks it. It
knows no sockets, no models and no account.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from json.encoder import encode_basestring
from typing import Any

Json = dict[str, Any]
FOREVER = math.inf
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


class Ending(Enum):
    """A way to end a reply that is not the proper one."""

    CLOSE = auto()
    RESET = auto()


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence for so many seconds; `FOREVER` never ends by itself."""

    seconds: float


Step = bytes | Pause | Ending


@dataclass(slots=True)
class Reply:
    """One reply as a plan.

    Args:
        status: the HTTP status; 0 means that no byte of a reply is sent at all.
        headers: header lines of this reply only; the connection adds framing and date.
        steps: the body, piece by piece, with silences and untimely endings.
        wait: seconds before the first byte.
        chunked: chunked framing, as the service does; otherwise the body has a length.
        gzip: the body may be compressed when the client takes that.
        behaviour: name of the behaviour that made it, for the log.
        model: the model that was asked for, for the log.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    steps: Iterable[Step] = ()
    wait: float = 0.0
    chunked: bool = True
    gzip: bool = False
    behaviour: str = "ok"
    model: str | None = None


def encode(value: Any) -> bytes:
    """JSON as the service writes it: compact, and with its letters unescaped."""
    return _ENCODER.encode(value).encode()


def quoted(text: str) -> bytes:
    """A text alone, as JSON: what an encoder does with it after it has seen that it is one."""
    return encode_basestring(text).encode()


def json_reply(status: int, value: Any, *, behaviour: str = "ok", **headers: str) -> Reply:
    """A reply with a JSON body; underscores in header names become hyphens."""
    lines = {"Content-Type": "application/json"}
    lines.update({name.replace("_", "-"): text for name, text in headers.items()})
    return Reply(status, lines, (encode(value),), behaviour=behaviour)


def html_reply(status: int, title: str, *, behaviour: str) -> Reply:
    """A small web page, as proxies and missing paths give."""
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    headers = {"Content-Type": "text/html; charset=utf-8"}
    return Reply(status, headers, (page.encode(),), chunked=False, behaviour=behaviour)
