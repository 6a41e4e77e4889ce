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
    text = text.lstrip()
    # So most pieces of a stream begin.
    return text[:1].isalnum() or _behind_nothing(text, 0) < len(text)


def _behind_nothing(text: str, at: int) -> int:
    found = _NOTHING.match(text, at)
    return found.end() if found else at


def behind_thoughts(text: str) -> str:
    """Return what a whole text says behind the thoughts that it begins with; "" where it is all thoughts."""
    if CLOSES in text and OPENS not in text:
        # Some templates of prompts hold the tag that opens.
        return text.rpartition(CLOSES)[2]
    begin = 0
    while text.startswith(OPENS, at := _behind_nothing(text, begin)):
        end = text.find(CLOSES, at)
        if end < 0:
            return ""
        begin = end + len(CLOSES)
    return text[begin:]


def is_answer(text: str) -> bool:
    """Tell whether a whole text says something to its reader, behind its thoughts."""
    return says_something(behind_thoughts(text))


class Opening:
    """The text of an answer up to its first word, piece by piece."""

    def __init__(self) -> None:
        self._spoke = self._thinks = False
        # What may still become a mark, or the end of the thoughts.
        self._tail = ""

    def speaks(self, piece: str) -> bool:
        """Take in the next piece; tell whether the first word to the reader has come with it, or before."""
        if self._spoke:
            return True
        text, at = self._tail + piece, 0
        while True:
            if self._thinks:
                end = text.find(CLOSES, at)
                if end < 0:
                    self._tail = text[max(at, len(text) - len(CLOSES) + 1) :]
                    return False
                self._thinks, at = False, end + len(CLOSES)
            at = _behind_nothing(text, at)
            if not text.startswith(OPENS, at):
                break
            self._thinks, at = True, at + len(OPENS)
        self._tail = rest = text[at:]
        self._spoke = bool(rest) and not OPENS.startswith(rest) and not _MARK_BEGUN.fullmatch(rest)
        return self._spoke
