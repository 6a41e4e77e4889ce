"""The small part of HTTP/1.1 that a server on loopback has to read.

Owns the parsing of requests, with Content-Length and chunked bodies, from bytes as they come. It
knows no sockets and nothing of what is asked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

HEAD_LIMIT = 65_536
BODY_LIMIT = 64 * 1024 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_NOT_YET = object()
_WORDS_OF_A_REQUEST_LINE = 3


class BadRequestError(Exception):
    """The bytes are not a request; `status` is the reply they deserve."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(slots=True)
class Request:
    """One request, whole. Header names are in lower case, `path` is without the query."""

    method: str
    target: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool
    modern: bool
    _parsed: Any = _NOT_YET

    def json(self) -> Any:
        """The body as JSON, parsed once.

        Raises:
            ValueError: it is not JSON.
        """
        if self._parsed is _NOT_YET:
            self._parsed = json.loads(self.body.decode("utf-8"))
        return self._parsed


class RequestParser:
    """Turns bytes into requests; holds what is not complete yet."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: Request | None = None
        self._body = bytearray()
        self._expected = False

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the socket."""
        self._buffer += data

    @property
    def holds_bytes(self) -> bool:
        """Whether there are bytes that have not become a request yet."""
        return bool(self._buffer)

    def wants_to_be_told_to_continue(self) -> bool:
        """Whether a client waits for `100 Continue` before it sends its body; true once."""
        expected, self._expected = self._expected, False
        return expected

    def next_request(self) -> Request | None:
        """The next whole request, or None when more bytes are needed.

        Raises:
            BadRequestError: the bytes are not HTTP, or are too many.
        """
        if self._head is None and not self._read_head():
            return None
        head = self._head
        if head is None or not self._read_body(head):
            return None
        head.body = bytes(self._body)
        self._head = None
        self._body.clear()
        return head

    def _read_head(self) -> bool:
        end = self._buffer.find(_END_OF_HEAD)
        if end < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise BadRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head too large")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + len(_END_OF_HEAD)]
        self._head = _parse_head(lines)
        self._expected = self._head.headers.get("expect", "").lower() == "100-continue"
        return True

    def _read_body(self, head: Request) -> bool:
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        length = _length(head.headers.get("content-length", "0"))
        if len(self._buffer) < length:
            return False
        self._body += self._buffer[:length]
        del self._buffer[:length]
        return True

    def _read_chunks(self) -> bool:
        while (end := self._buffer.find(b"\r\n")) >= 0:
            size = _length(self._buffer[:end].split(b";")[0].decode("latin-1"), base=16)
            after = end + 2 + size
            if size == 0:
                return self._read_trailers(end)
            if len(self._buffer) < after + 2:
                return False
            self._body += self._buffer[end + 2 : after]
            del self._buffer[: after + 2]
            _length(str(len(self._body)))
        return False

    def _read_trailers(self, end: int) -> bool:
        if self._buffer[end + 2 : end + 4] == b"\r\n":
            del self._buffer[: end + 4]
            return True
        last = self._buffer.find(_END_OF_HEAD, end)
        if last < 0:
            return False
        del self._buffer[: last + len(_END_OF_HEAD)]
        return True


def _length(text: str, base: int = 10) -> int:
    try:
        length = int(text.strip(), base)
    except ValueError:
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "bad length") from None
    if length < 0:
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "bad length")
    if length > BODY_LIMIT:
        raise BadRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body too large")
    return length


def _parse_head(lines: list[str]) -> Request:
    words = lines[0].split(" ")
    if len(words) != _WORDS_OF_A_REQUEST_LINE or not words[2].startswith("HTTP/1."):
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "bad request line")
    method, target, version = words
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequestError(HTTPStatus.BAD_REQUEST, "bad header")
        name = name.lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    path, _, query = target.partition("?")
    modern = version == "HTTP/1.1"
    wish = headers.get("connection", "").lower()
    keep_alive = "close" not in wish if modern else "keep-alive" in wish
    return Request(method, target, path, query, headers, b"", keep_alive, modern)
