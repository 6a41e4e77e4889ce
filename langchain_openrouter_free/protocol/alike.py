"""An event of a stream that is the one before it with another word in it: most of them are. Pure.

Decoding such an event anew would find what is known already. Whether the word stands where it seems to is not
guessed: who learns an event has it read once more with another word in that place.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TypeAlias

_WORD = r'"(?:{})"\s*:\s*"([^"\\]+)"'
_TEXT = re.compile(_WORD.format("content"))
# A thought stands in the delta and in its block once more.
_THOUGHT = re.compile(_WORD.format("reasoning|reasoning_content|text|summary"))
# How the only line of such an event begins, and what ends it.
_FIELD, _END = "data: ", "\n\n"
# So many characters are looked at together: an event of another kind behind them has them looked at once more.
_WINDOW = 16_384
# So many events in a row are learned in vain before no more are: each costs as much as two that are decoded.
_PATIENCE = 3

# What stands around the word of an event, in its JSON text: before it, between its places, and behind it.
Mold: TypeAlias = tuple[str, ...]


class Alike:
    """The event that the next ones are compared with."""

    def __init__(self) -> None:
        self._patience = _PATIENCE
        # The mold as it stands in a stream, what stands from one word to the next, and the length of all but words.
        self._mold: Mold = ()
        self._next, self._around = "", 0

    def word(self, data: str) -> str | None:
        """Return the word of an event that is like the one learned; None where it is not, or has no plain word."""
        words, _ = self.run(f"{_FIELD}{data}{_END}", 0)
        return words[0] if words else None

    def run(self, text: str, at: int) -> tuple[list[str], int]:
        """Return the words of the events that begin at a place of a stream, as far as they go on, and where they end.

        They are like the one learned, each with a blank line behind it, and their words plain.
        """
        words: list[str] = []
        mold = self._mold
        while mold and text.startswith(mold[0], at):
            pieces = text[at + len(mold[0]) : at + _WINDOW].split(self._next)
            last, ends, _ = pieces[-1].partition(mold[-1])
            pieces[-1:] = [last] if ends else []
            if not pieces:
                break
            found = _plain(pieces if len(mold) == 2 else _repeated(pieces, mold))
            words += found
            at += sum(map(len, found)) * (len(mold) - 1) + len(found) * self._around
            if len(found) < len(pieces):
                break
        if words:
            self._patience = _PATIENCE
        return words, at

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
        return tuple(parts)

    def learn(self, mold: Mold) -> None:
        """Take an event for the one that the next are like."""
        first, *between, last = mold
        self._mold = (_FIELD + first, *between, last + _END)
        self._next, self._around = self._mold[-1] + self._mold[0], sum(map(len, self._mold))


def _repeated(pieces: list[str], mold: Mold) -> list[str]:
    """Return the words of pieces that say one in each of their places, as far as they do."""
    places = ("", *mold[1:-1], "")
    known, words = sum(map(len, places)), []
    for piece in pieces:
        word = piece[: (len(piece) - known) // (len(mold) - 1)]
        if word.join(places) != piece:
            break
        words.append(word)
    return words


def _plain(words: list[str]) -> list[str]:
    """Return the words that JSON makes nothing else of, as far as they are such."""
    said = "".join(words)
    if all(words) and not _marked(said):
        return words
    return list(takewhile(lambda word: word and not _marked(word), words))


def _marked(text: str) -> bool:
    return '"' in text or "\\" in text or "\n" in text
