"""An event of a stream that is the one before it with another word in it: most of them are. Pure.

Decoding such an event anew would find what is known already. Whether the word stands where it seems to is not
guessed: who learns an event has it read once more with another word in that place.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_WORD = r'"(?:{})"\s*:\s*"([^"\\]+)"'
_TEXT = re.compile(_WORD.format("content"))
# A thought stands in the delta and in its block once more.
_THOUGHT = re.compile(_WORD.format("reasoning|reasoning_content|text|summary"))
# So many events in a row are learned in vain before no more are: each costs as much as two that are decoded.
_PATIENCE = 3


class Mold(NamedTuple):
    """What stands around the word of an event, in its JSON text: before it, between its places, and behind it."""

    parts: tuple[str, ...]
    size: int

    def filled(self, word: str) -> str:
        """Return the event with a word that needs no escaping."""
        return word.join(self.parts)


class Alike:
    """The event that the next ones are compared with."""

    def __init__(self) -> None:
        self._mold: Mold | None = None
        self._patience = _PATIENCE

    def word(self, data: str) -> str | None:
        """Return the word of an event that is like the one learned; None where it is not, or has no plain word."""
        mold = self._mold
        if mold is None or not data.startswith(mold.parts[0]) or not data.endswith(mold.parts[-1]):
            return None
        size, odd = divmod(len(data) - mold.size, len(mold.parts) - 1)
        start = len(mold.parts[0])
        word = data[start : start + size]
        # Without quotes and escapes it is what JSON makes of it; and the two ends must not have met.
        if size <= 0 or odd or '"' in word or "\\" in word:
            return None
        if len(mold.parts) > 2 and mold.filled(word) != data:
            return None
        self._patience = _PATIENCE
        return word

    def candidate(self, data: str, word: str, *, thought: bool) -> Mold | None:
        """Return what may stand around the word of an event; None where that is not to be tried."""
        if self._patience <= 0:
            return None
        self._patience -= 1
        parts, last = [], 0
        for found in (_THOUGHT if thought else _TEXT).finditer(data):
            if found[1] == word:
                parts.append(data[last : found.start(1)])
                last = found.end(1)
        if not parts:
            return None
        parts.append(data[last:])
        return Mold(tuple(parts), sum(map(len, parts)))

    def learn(self, mold: Mold) -> None:
        """Take an event for the one that the next are like."""
        self._mold = mold
