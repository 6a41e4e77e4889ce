"""What a reader gets of an answer's text: words, not its thoughts, its end marks, or characters that nobody sees. Pure.

Some hosts leave a model's thoughts in the text (`<think>`: DeepSeek, Qwen), or the mark that ends it (`<|im_end|>`).
The text stays as it is; this only tells whether it says something.
"""

from __future__ import annotations

import re

OPENS, CLOSES = "<think>", "</think>"
# Blanks, control characters and those that only shape others (zero-width ones, a byte-order mark); and end marks.
_NOTHING = re.compile(
    "(?:[\\s\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]++"
    "|<[|\uff5c][\\w\u2581]{1,32}[|\uff5c]>)*+"
)
_MARK_BEGUN = re.compile("<(?:[|\uff5c](?:[\\w\u2581]{0,32}[|\uff5c]?)?)?")


def says_something(text: str) -> bool:
    """Tell whether there is a word in a text, or a thought."""
    # So most pieces of a stream begin, if not with a blank.
    return text[:1].isalnum() or _behind_nothing(text) < len(text)


def _behind_nothing(text: str) -> int:
    found = _NOTHING.match(text)
    return found.end() if found else 0


class Opening:
    """The text of an answer up to its first word, piece by piece."""

    def __init__(self) -> None:
        self._spoke = self._thinks = False
        # What may still become a mark, or the end of the thoughts.
        self._tail = ""

    def speaks(self, piece: str) -> bool:
        """Take in the next piece; tell whether the first word to the reader has come with it, or before."""
        tail = self._tail + piece
        while not self._spoke:
            if self._thinks:
                _, closed, after = tail.partition(CLOSES)
                if not closed:
                    self._tail = tail[1 - len(CLOSES) :]
                    return False
                self._thinks, tail = False, after
            tail = self._tail = tail[_behind_nothing(tail) :]
            if not tail.startswith(OPENS):
                self._spoke = bool(tail) and not OPENS.startswith(tail) and not _MARK_BEGUN.fullmatch(tail)
                break
            self._thinks, tail = True, tail[len(OPENS) :]
        return self._spoke

    @property
    def is_silent(self) -> bool:
        """Whether nothing was said to the reader if this was all."""
        return self._thinks or not self._tail


def is_answer(text: str) -> bool:
    """Tell whether a whole text says something to its reader, behind its thoughts."""
    if CLOSES in text and OPENS not in text:
        # Some templates of prompts hold the tag that opens.
        text = text.rpartition(CLOSES)[2]
    opening = Opening()
    return opening.speaks(text) or not opening.is_silent
