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
# How the only line of such an event begins.
_FIELD = "data: "
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
        return next(iter(self.run([f"{_FIELD}{data}", ""], 0)), None)

    def run(self, lines: list[str], at: int) -> list[str]:
        """Return the words of the events that begin at a line, each with a blank line behind it, as far as they go on.

        They are like the one learned, and their words plain.
        """
        words: list[str] = []
        mold = self._mold
        if mold is None:
            return words
        begin, end, places = _FIELD + mold.parts[0], mold.parts[-1], len(mold.parts) - 1
        start, known = len(begin), mold.size + len(_FIELD)
        while at + 1 < len(lines) and not lines[at + 1]:
            line = lines[at]
            size = (len(line) - known) // places
            if size <= 0 or not line.startswith(begin) or not line.endswith(end):
                break
            word = line[start : start + size]
            # Without quotes and escapes it is what JSON makes of it.
            if '"' in word or "\\" in word or (places > 1 and _FIELD + mold.filled(word) != line):
                break
            words.append(word)
            at += 2
        if words:
            self._patience = _PATIENCE
        return words

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
