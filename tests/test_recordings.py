"""Real recordings of the service, where they lie beside the checkout: each reply is understood."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_verdicts import read_whole

from langchain_openrouter_free.verdicts import Kind

FOLDER = Path(__file__).parents[2] / "shared" / "openrouter" / "wire" / "cassettes"
# What the recorded refusals and failures of the 113 cassettes are; the rest are answers.
EXPECTED = {200: {Kind.OK, Kind.SPENT}, 400: {Kind.REJECTED, Kind.DELISTED, Kind.BROKEN}, 401: {Kind.UNAUTHENTICATED}}


class _Loader(yaml.SafeLoader):
    """YAML as Ruby's recorder writes it."""


_Loader.add_constructor("!binary", lambda loader, node: base64.b64decode(loader.construct_scalar(node)))


def _body(response: dict[str, Any]) -> bytes:
    if "parsed_body" in response:
        return json.dumps(response["parsed_body"]).encode()
    body = response.get("body") or ""
    if isinstance(body, dict):
        body = base64.b64decode(body["base64_string"]) if "base64_string" in body else body.get("string") or ""
    raw = body if isinstance(body, bytes) else str(body).encode()
    return gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw


def _replies(path: Path) -> Iterator[tuple[int, dict[str, str], bytes]]:
    recorded = yaml.load(path.read_text(), _Loader)
    for interaction in recorded.get("http_interactions") or recorded.get("interactions") or ():
        if "chat/completions" not in interaction["request"]["uri"]:
            continue
        response = interaction["response"]
        status = response["status"]
        headers = {k: v[0] if isinstance(v, list) else v for k, v in (response.get("headers") or {}).items()}
        yield (status["code"] if isinstance(status, dict) else status), headers, _body(response)


@pytest.mark.skipif(not FOLDER.exists(), reason="the folder of recorded replies is not beside this checkout")
def test_every_recorded_conversation_is_understood() -> None:
    """Recorded answers are answers, recorded refusals are what they are, and each reply says that it is over."""
    seen = 0
    for path in sorted(FOLDER.rglob("*.y*ml")):
        for status, headers, raw in _replies(path):
            found = read_whole(status, headers, raw, piece=777)
            assert found.kind in EXPECTED[status], (path.name, found)
            seen += 1
    assert seen >= 110
