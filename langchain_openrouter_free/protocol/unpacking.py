"""Packed replies, unpacked piece by piece: no piece is larger than is wanted, however little a reply sends. Pure.

Only gzip is ever asked for, so nothing else is unpacked: no coding whose bombs are far larger, nor one inside another.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

# The largest piece that is made at once, in bytes.
PIECE = 256 * 1024
_GZIP = frozenset({"gzip", "x-gzip"})
# How each of its members begins, and what none begins with.
_MAGIC, _NONE = b"\x1f\x8b", b"\0"


def _member() -> zlib._Decompress:
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)


class Unpacker:
    """The bytes of one reply as they come.

    Args:
        coding: the reply's Content-Encoding; "" for none.

    Raises:
        ValueError: here for another coding, from `pieces` for what cannot be unpacked.
    """

    def __init__(self, coding: str) -> None:
        coding = coding.strip().lower()
        if coding not in ("", "identity", *_GZIP):
            raise ValueError(f"packed as {coding[:20]!r}")
        self._unzip = _member() if coding in _GZIP else None
        self._rest: bytes | None = None

    def pieces(self, data: bytes, most: int = PIECE) -> Iterator[bytes]:
        """Yield what some more bytes hold, at most `most` bytes at a time."""
        if self._unzip is None:
            yield data
            return
        full = self._rest is None
        if self._rest is not None:
            data = self._next_member(self._rest + data)
        while data or full:
            try:
                piece = self._unzip.decompress(data, most)
            except zlib.error as error:
                raise ValueError(f"cannot be unpacked ({error})") from None
            # What was held back may be in neither of both: then the piece is full.
            data, full = self._unzip.unconsumed_tail, len(piece) == most
            if self._unzip.eof:
                data, full = self._next_member(self._unzip.unused_data), False
            if piece:
                yield piece

    def _next_member(self, rest: bytes) -> bytes:
        """Return what is to be read behind a member that is over.

        Members are joined (RFC 1952); what begins none is no part of the reply, and is not kept.
        """
        if rest.startswith(_MAGIC):
            self._unzip, self._rest = _member(), None
            return rest
        self._rest = rest if _MAGIC.startswith(rest) else _NONE
        return b""

    @property
    def is_whole(self) -> bool:
        """Whether the reply, if it is packed, has come to its end."""
        return self._unzip is None or self._rest is not None
