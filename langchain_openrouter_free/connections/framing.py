"""The framing of HTTP/1.1 replies, made coarser: the chunks that came in one read become one chunk.

A service sends each event of a stream as a chunk of its own, and an HTTP client spends more on a chunk than the rest of
the package on the event in it. What is joined is what is there already: nothing waits, and nothing of the body, of its
end or of what is wrong with it changes. Pure: bytes go in, bytes come out.
"""

from __future__ import annotations

import re
from enum import Enum, auto

_HEAD_END = re.compile(rb"\n\r?\n")
_HAS_BODY = re.compile(rb"HTTP/1\.1 (?!204|304)[2-5]\d\d[ \r]")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_DIGITS, _MOST_DIGITS = b"0123456789ABCDEFabcdef", 8
# Longer heads and lines that give a size are the HTTP client's business.
_LONGEST_HEAD, _LONGEST_LINE = 65_536, 1024


class _At(Enum):
    """Where in a reply the next byte stands."""

    HEAD = auto()
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    ANYWHERE = auto()


class Framing:
    """The replies of one connection, one after the other."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Take note that the next byte begins a reply."""
        self._at = _At.HEAD
        # Of a head: all of it so far, which was handed on. Of a body: what was not.
        self._held = b""
        self._left = 0

    def coarser(self, data: bytes) -> bytes:
        """Return what is to be read in the place of these bytes; nothing where more must come first.

        What it does not understand it hands on as it is, up to the next reply.
        """
        if self._at is _At.ANYWHERE:
            return data
        if self._at is not _At.HEAD:
            return self._joined(data)
        body = self._behind_head(data)
        return data if body is None else data[: len(data) - len(body)] + self._joined(body)

    def _behind_head(self, data: bytes) -> bytes | None:
        """Return what of these bytes stands behind the head of a reply in chunks; None where there is no such head."""
        held = self._held + data
        end = _HEAD_END.search(held, max(len(self._held) - 2, 0))
        if end is None:
            self._held, self._at = held, _At.HEAD if len(held) <= _LONGEST_HEAD else _At.ANYWHERE
            return None
        head = held[: end.end()]
        is_chunked = head.endswith(b"\r\n\r\n") and _HAS_BODY.match(head) and _CHUNKED.search(head)
        self._held, self._at = b"", _At.SIZE if is_chunked else _At.ANYWHERE
        return held[end.end() :] if is_chunked else None

    def _joined(self, data: bytes) -> bytes:
        data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        position = 0
        while position < len(data):
            if self._at is _At.SIZE:
                position = _whole_chunks(data, position, pieces)
            if self._at is _At.DATA:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                self._at = _At.DATA if self._left else _At.DATA_END
                continue
            line = self._line(data, position)
            if line is None:
                # It is not whole, or it is the end, or wrong: then the HTTP client reads on from here by itself.
                break
            position = line
        rest = data[position:]
        if self._at is not _At.ANYWHERE:
            rest, self._held = b"", rest
        return _chunk(b"".join(pieces)) + rest

    def _line(self, data: bytes, position: int) -> int | None:
        """Read the line that stands there; return where it ends, or None where it is not one to go on after."""
        if self._at is _At.DATA_END:
            if data.startswith(b"\r\n", position):
                self._at = _At.SIZE
                return position + 2
            self._at = _At.DATA_END if data[position:] == b"\r" else _At.ANYWHERE
            return None
        size = _SIZE.match(data, position)
        if size is None:
            is_whole = b"\n" in data[position:] or len(data) - position > _LONGEST_LINE
            self._at = _At.ANYWHERE if is_whole else _At.SIZE
            return None
        self._left = int(size[1], 16)
        self._at = _At.DATA if self._left else _At.ANYWHERE
        return size.end() if self._left else None


def _whole_chunks(data: bytes, position: int, pieces: list[bytes]) -> int:
    """Take the chunks that are there as a whole, and hold something; return where they end."""
    plain, position = _plain_chunks(data, position)
    pieces += plain
    while (size := _SIZE.match(data, position)) and (length := int(size[1], 16)):
        begin = size.end()
        end = begin + length
        if data[end : end + 2] != b"\r\n":
            break
        pieces.append(data[begin:end])
        position = end + 2
    return position


def _plain_chunks(data: bytes, position: int) -> tuple[list[bytes], int]:
    """Return the chunks that are there as a whole, and where they end, unless one holds the end of a line itself.

    Events of a stream seldom do: then all are found together.
    """
    lines = data[position:].split(b"\r\n")
    sizes, pieces = lines[:-1:2], lines[1:-1:2]
    if max(map(len, sizes), default=0) > _MOST_DIGITS or b"".join(sizes).strip(_DIGITS) or b"" in sizes:
        return [], position
    lengths = [int(size, 16) for size in sizes]
    count = lengths.index(0) if 0 in lengths else len(pieces)
    if lengths[:count] != [*map(len, pieces[:count])]:
        return [], position
    return pieces[:count], position + sum(lengths[:count]) + sum(map(len, sizes[:count])) + 4 * count


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
