"""A header is found whatever the case of its name, be the headers a reply's or what somebody hands on."""

from __future__ import annotations

import httpx
import pytest

from langchain_openrouter_free.connections.exchange import told
from langchain_openrouter_free.protocol.headers import header

RAW = [(b"Retry-After", b"7"), (b"X-Empty", b""), (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2")]
KINDS = {
    "of a reply": told(RAW),
    "of a reply with other letters": told([*RAW, (b"X-Name", "Zoë".encode())]),
    "as they came": {name.decode(): value.decode() for name, value in RAW[:2]},
    "httpx's own": httpx.Headers(RAW),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_names_are_found_in_any_case(kind: str, change: object) -> None:
    assert callable(change)
    assert header(KINDS[kind], change("retry-after")) == "7"
    assert header(KINDS[kind], change("x-empty")) == ""
    assert header(KINDS[kind], change("retry-after-ms")) is None


def test_without_headers_none_is_found() -> None:
    assert header(None, "retry-after") is None
    assert header({}, "retry-after") is None


@pytest.mark.parametrize("kind", ["of a reply", "of a reply with other letters"])
def test_of_a_header_that_is_there_twice_both_are_told(kind: str) -> None:
    assert header(KINDS[kind], "Set-Cookie") == "a=1, b=2"


def test_a_value_in_other_letters_is_read() -> None:
    assert header(KINDS["of a reply with other letters"], "x-name") == "Zoë"
