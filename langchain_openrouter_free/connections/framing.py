"""The framing of usual HTTP/1.1 replies: where the head ends, what of the bytes is content, where the reply is over.

A service sends each event of a stream as a chunk of its own, and an HTTP client spends more on a head and on a chunk
than the rest of the package on what is in them. What is read here is what any service sends: all else (other versions
and statuses, other codings, folded lines, trailers) is told to be unusual, and left to the HTTP client's own reader.
Pure: bytes go in, bytes come out.
"""

from __future__ import annotations

import re
from enum import IntEnum, auto

from langchain_openrouter_free.protocol.headers import Headers, joined

# A head in which nothing needs a second look: its status, and its other lines.
_HEAD = re.compile(
    rb"HTTP/1\.1 ([2-5]\d\d)(?: [\t\x20-\x7e]*)?\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e]*\r\n)*)\r\n"
)
_BEGIN = b"HTTP/1.1 "
_HEAD_END = re.compile(rb"\n\r?\n")
# Replies with these have no content, whatever their heads say.
_EMPTY = {204, 304}
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_LENGTH = re.compile(r"[0-9]{1,15}")
_DIGITS, _MOST_DIGITS = b"0123456789ABCDEFabcdef", 8
# Longer heads and lines that give a size are the HTTP client's business.
_LONGEST_HEAD, _LONGEST_LINE = 65_536, 1024
_LINE = b"\r\n"


class Broken(Exception):
    """What came is no reply, or only a part of one."""


class _At(IntEnum):
    """Where in a reply the next byte stands; from `OVER` on nothing more is read."""

    HEAD = auto()
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    LENGTH = auto()
    OVER = auto()
    UNUSUAL = auto()
    BROKEN = auto()


_CHUNKS = {_At.SIZE, _At.DATA, _At.DATA_END}


class Framing:
    """One reply, as it comes.

    Attributes:
        status: of the reply; 0 while its head is not there.
        headers: by their names in small letters.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers = Headers()
        self._at = _At.HEAD
        self._head = b""
        # What came and was not read: of the head, of a line that gives a size, or what stands behind the end.
        self._held = b""
        self._left = 0

    @property
    def goes_on(self) -> bool:
        """Whether more bytes are needed."""
        return self._at < _At.OVER

    @property
    def is_unusual(self) -> bool:
        """Whether the HTTP client's own reader has to go on; see `unread`."""
        return self._at is _At.UNUSUAL

    @property
    def keeps(self) -> bool:
        """Whether the reply came to its end, and left its connection ready for another request."""
        is_kept = self.headers.get("connection", "keep-alive").lower() == "keep-alive"
        return self._at is _At.OVER and not self._held and is_kept

    def unread(self) -> bytes:
        """Return what is left to be read of an unusual reply, as a reply of its own: its head, and what follows."""
        return self._head + self._held

    def check(self) -> None:
        """Make sure that what came can be a reply.

        Raises:
            Broken: it cannot.
        """
        if self._at is _At.BROKEN:
            raise Broken("a chunk of the reply has no end where its size says")

    def content(self, data: bytes) -> bytes:
        """Return what of these bytes is content; no bytes mean that the connection has ended.

        Raises:
            Broken: the connection has ended before the reply.
        """
        if not data:
            self._ended()
            return b""
        if self._at is _At.HEAD:
            data = self._behind_head(data)
        if self._at is _At.LENGTH:
            return self._counted(data)
        if self._at is _At.OVER:
            self._held += data
        return self._joined(data) if data and self._at in _CHUNKS else b""

    def _ended(self) -> None:
        if self._at is not _At.HEAD:
            what = f"{self._left} bytes of it" if self._at in (_At.LENGTH, _At.DATA) else "its end"
            raise Broken(f"the connection was closed before the reply was over: {what} did not come")
        if not self._held:
            raise Broken("the connection was closed without a reply")
        self._at = _At.UNUSUAL

    def _behind_head(self, data: bytes) -> bytes:
        """Return what of these bytes stands behind the head, if that is there as a whole, and as usual."""
        held = self._held + data
        end = _HEAD_END.search(held, max(len(self._held) - 2, 0))
        self._held = held
        if end is None:
            begins = held.startswith(_BEGIN[: len(held)]) and len(held) <= _LONGEST_HEAD
            self._at = _At.HEAD if begins else _At.UNUSUAL
            return b""
        head = _HEAD.fullmatch(held, 0, end.end())
        self._at = _At.UNUSUAL if head is None else self._told(int(head[1]), head[2])
        if head is None or self._at is _At.UNUSUAL:
            return b""
        self.status = int(head[1])
        self._head, self._held = head[0], b""
        return held[end.end() :]

    def _told(self, status: int, lines: bytes) -> _At:
        """Read the headers; return how the content is framed."""
        fields = [line.partition(":") for line in lines.decode("ascii").split("\r\n")[:-1]]
        self.headers = joined([(name, value.strip(" \t")) for name, _, value in fields])
        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if status in _EMPTY or (coding is None) is (length is None):
            return _At.UNUSUAL
        if coding is not None:
            return _At.SIZE if coding.lower() == "chunked" else _At.UNUSUAL
        if length is None or not _LENGTH.fullmatch(length):
            return _At.UNUSUAL
        self._left = int(length)
        return _At.LENGTH if self._left else _At.OVER

    def _counted(self, data: bytes) -> bytes:
        piece, self._held = data[: self._left], data[self._left :]
        self._left -= len(piece)
        self._at = _At.LENGTH if self._left else _At.OVER
        return piece

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
                break
            position = line
        self._held = data[position:]
        return b"".join(pieces)

    def _line(self, data: bytes, position: int) -> int | None:
        """Read the line that stands there; return where it ends, or None where nothing is to be read behind it."""
        if self._at is _At.OVER:
            return None
        if self._at is _At.DATA_END:
            if data.startswith(_LINE, position):
                self._at = _At.SIZE
                return position + 2
            self._at = _At.DATA_END if data[position:] == b"\r" else _At.BROKEN
            return None
        size = _SIZE.match(data, position)
        if size is None:
            is_whole = b"\n" in data[position:] or len(data) - position > _LONGEST_LINE
            self._at = _At.UNUSUAL if is_whole else _At.SIZE
            return None
        self._left = int(size[1], 16)
        if self._left:
            self._at = _At.DATA
            return size.end()
        if data.startswith(_LINE, size.end()):
            self._at = _At.OVER
            return size.end() + 2
        # What follows the last chunk is a trailer, unless it is the half of a line.
        self._at = _At.SIZE if data[size.end() :] in (b"", b"\r") else _At.UNUSUAL
        return None


def _whole_chunks(data: bytes, position: int, pieces: list[bytes]) -> int:
    """Take the chunks that are there as a whole, and hold something; return where they end."""
    plain, position = _plain_chunks(data, position)
    pieces += plain
    while (size := _SIZE.match(data, position)) and (length := int(size[1], 16)):
        begin = size.end()
        end = begin + length
        if data[end : end + 2] != _LINE:
            break
        pieces.append(data[begin:end])
        position = end + 2
    return position


def _plain_chunks(data: bytes, position: int) -> tuple[list[bytes], int]:
    """Return the chunks that are there as a whole, and where they end, unless one holds the end of a line itself.

    Events of a stream seldom do: then all are found together.
    """
    lines = data[position:].split(_LINE)
    sizes, pieces = lines[:-1:2], lines[1:-1:2]
    if max(map(len, sizes), default=0) > _MOST_DIGITS or b"".join(sizes).strip(_DIGITS) or b"" in sizes:
        return [], position
    lengths = [int(size, 16) for size in sizes]
    count = lengths.index(0) if 0 in lengths else len(pieces)
    if lengths[:count] != [*map(len, pieces[:count])]:
        return [], position
    return pieces[:count], position + sum(lengths[:count]) + sum(map(len, sizes[:count])) + 4 * count
