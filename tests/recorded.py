"""Real recordings of the service, read anew: what was asked, what was answered byte by byte, and what that says.

Shares no reading of replies with the package, so that it cannot agree with it by accident. `Player` is a server on
loopback that answers with recorded bytes.
"""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import yaml

FOLDER = Path(__file__).parents[2] / "shared" / "openrouter" / "wire"
ABSENT = "the folder of recorded replies is not beside this checkout"
_PIECE = 777


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Ruby's recorder writes it."""


_Loader.add_constructor("!binary", lambda loader, node: base64.b64decode(loader.construct_scalar(node)))


@dataclass(frozen=True)
class Interaction:
    """One recorded request and the reply to it."""

    name: str
    asked: dict[str, Any]
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def streamed(self) -> bool:
        """Whether the reply is an event stream."""
        return "event-stream" in self.headers.get("content-type", "")


def cassettes() -> list[Path]:
    """Return the recordings that lie beside the checkout; none where the folder is absent."""
    return sorted((FOLDER / "cassettes").rglob("*.y*ml"))


def cases() -> list[dict[str, Any]]:
    """Return the collected cases; none where the folder is absent."""
    path = FOLDER / "cases.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()] if path.exists() else []


@cache
def interactions(path: Path) -> tuple[Interaction, ...]:
    """Return the chat completions of one recording."""
    return tuple(_read(path))


def _read(path: Path) -> Iterator[Interaction]:
    recorded = yaml.load(path.read_text(), _Loader)
    for one in recorded.get("http_interactions") or recorded.get("interactions") or ():
        if "chat/completions" not in one["request"]["uri"]:
            continue
        response, status = one["response"], one["response"]["status"]
        headers = {k.lower(): v[0] if isinstance(v, list) else v for k, v in (response.get("headers") or {}).items()}
        yield Interaction(
            path.stem,
            json.loads(_body(one["request"])),
            status["code"] if isinstance(status, dict) else status,
            headers,
            _body(response),
        )


def _body(half: dict[str, Any]) -> bytes:
    if "parsed_body" in half:
        return json.dumps(half["parsed_body"]).encode()
    body = half.get("body") or ""
    if isinstance(body, dict):
        body = base64.b64decode(body["base64_string"]) if "base64_string" in body else body.get("string") or ""
    raw = body if isinstance(body, bytes) else str(body).encode()
    return gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw


# -- what a reply says


@dataclass
class Said:
    """What a recorded reply says; `error` where it says that it failed."""

    text: str = ""
    reasoning: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)
    thoughts: str = ""
    sealed: set[str] = field(default_factory=set)
    usage: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    error: Any = None

    @property
    def tool_calls(self) -> list[tuple[str, str, Any]]:
        """Return id, name and arguments of each call."""
        return [(call[0], call[1], json.loads(call[2] or "{}")) for _, call in sorted(self.calls.items())]

    @property
    def is_answer(self) -> bool:
        """Whether there is anything to show."""
        return self.error is None and bool(self.text.strip() or self.calls)


def words_of(details: Iterable[dict[str, Any]]) -> str:
    """Return the words of reasoning details."""
    return "".join(detail.get("text") or detail.get("summary") or "" for detail in details)


def said_in(raw: bytes, *, streamed: bool) -> Said:
    """Read a recorded reply, whole or event by event."""
    text = raw.decode()
    if streamed:
        lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
        payloads = [json.loads(line) for line in lines if line != "[DONE]"]
    else:
        payloads = [json.loads(text)]
    said = Said()
    for payload in payloads:
        _take(said, payload)
    return said


def _take(said: Said, payload: dict[str, Any]) -> None:
    if payload.get("error") and not said.facts.get("finish_reason"):
        said.error = payload["error"]
    said.usage = payload.get("usage") or said.usage
    for key in ("id", "model", "provider"):
        said.facts.setdefault(key, payload.get(key))
    for choice in (payload.get("choices") or [])[:1]:
        part = choice.get("delta") or choice.get("message") or {}
        said.text += part.get("content") or ""
        details = part.get("reasoning_details") or ()
        # Recorded with web search: no `reasoning`, and its words in the details alone.
        said.reasoning += part.get("reasoning") or words_of(details)
        said.thoughts += words_of(details)
        said.sealed |= {detail["signature"] for detail in details if detail.get("signature")}
        said.facts["finish_reason"] = said.facts.get("finish_reason") or choice.get("finish_reason")
        for position, call in enumerate(part.get("tool_calls") or ()):
            known = said.calls.setdefault(call.get("index", position), ["", "", ""])
            function = call.get("function") or {}
            for at, piece in enumerate((call.get("id"), function.get("name"), function.get("arguments"))):
                known[at] += piece or ""


# -- a server that says it again


class Player:
    """A service on loopback: every chat request gets the same recorded reply, everything else a 404."""

    def __init__(self) -> None:
        self.reply: tuple[int, str, bytes] = (404, "application/json", b"{}")
        self.bodies: list[dict[str, Any]] = []
        player = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                self._say(404, "application/json", b'{"error": {"message": "Not Found", "code": 404}}')

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                player.bodies.append(json.loads(self.rfile.read(length)))
                self._say(*player.reply)

            def _say(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for at in range(0, len(body), _PIECE):
                    piece = body[at : at + _PIECE]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *_: Any) -> None:
                """Say nothing on the console."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/api/v1"

    def plays(self, status: int, kind: str, raw: bytes) -> None:
        """Answer with these bytes from now on."""
        self.reply = status, kind, raw
        self.bodies.clear()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
