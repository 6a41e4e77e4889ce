"""An event of a stream that is the one before it with another word in it: most of them are. Pure.

Decoding such an event anew would find what is known already. Whether the word stands where it seems to is not
guessed: who learns an event has it read once more with another word in that place.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_CONTENT = re.compile(r'"content"\s*:\s*"([^"\\]+)"')
# So many events in a row are learned in vain before no more are: each costs as much as two that are decoded.
_PATIENCE = 3


class Mold(NamedTuple):
    """What stands around the word of an event, in its JSON text."""

    before: str
    after: str

    def filled(self, word: str) -> str:
        """Return the event with a word that needs no escaping."""
        return f"{self.before}{word}{self.after}"


class Alike:
    """The event that the next ones are compared with."""

    def __init__(self) -> None:
        self._mold: Mold | None = None
        self._patience = _PATIENCE

    def word(self, data: str) -> str | None:
        """Return the word of an event that is like the one learned; None where it is not, or has no plain word."""
        mold = self._mold
        if mold is None or not data.startswith(mold.before) or not data.endswith(mold.after):
            return None
        word = data[len(mold.before) : len(data) - len(mold.after)]
        # Without quotes and escapes it is what JSON makes of it; and the two ends must not have met.
        if not word or '"' in word or "\\" in word or len(data) <= len(mold.before) + len(mold.after):
            return None
        self._patience = _PATIENCE
        return word

    def candidate(self, data: str, word: str) -> Mold | None:
        """Return what may stand around the word of an event; None where that is not to be tried."""
        if self._patience <= 0:
            return None
        self._patience -= 1
        found = _CONTENT.search(data)
        if found is None or found[1] != word:
            return None
        return Mold(data[: found.start(1)], data[found.end(1) :])

    def learn(self, mold: Mold) -> None:
        """Take an event for the one that the next are like."""
        self._mold = mold
