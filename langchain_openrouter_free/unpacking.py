"""Packed replies, unpacked piece by piece: no piece is larger than is wanted, however little a reply sends. Pure.

Only gzip is ever asked for, so nothing else is unpacked: no coding whose bombs are far larger, nor one inside another.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

# The largest piece that is made at once, in bytes.
PIECE = 256 * 1024
_GZIP = frozenset({"gzip", "x-gzip"})


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
        self._unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if coding in _GZIP else None

    def pieces(self, data: bytes, most: int = PIECE) -> Iterator[bytes]:
        """Yield what some more bytes hold, at most `most` bytes at a time."""
        if self._unzip is None:
            yield data
            return
        full = True
        while data or full:
            try:
                piece = self._unzip.decompress(data, most)
            except zlib.error as error:
                raise ValueError(f"cannot be unpacked ({error})") from None
            # What was held back may be in neither of both: then the piece is full.
            data, full = self._unzip.unconsumed_tail, len(piece) == most
            if piece:
                yield piece

    @property
    def is_whole(self) -> bool:
        """Whether the reply, if it is packed, has come to its end."""
        return self._unzip is None or self._unzip.eof
