"""Characters that came in halves: a gateway that counts in UTF-16 cuts one in two between events. Pure.

JSON may say each half by itself, and Python keeps it so; but no half can be printed, written or sent, and two do not
become one by being added up.
"""

from __future__ import annotations

import re
from collections.abc import Hashable

_HALF = re.compile("[\ud800-\udfff]")


class Halves:
    """The texts of one reply, by name: where one ends in the first half of a character, it waits for the second."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, str] = {}

    def __bool__(self) -> bool:
        """Tell whether one waits."""
        return bool(self._waiting)

    def whole(self, name: Hashable, piece: str) -> str:
        """Return a text's next piece in whole characters; U+FFFD stands for a half whose other does not follow."""
        if not piece or (not self._waiting and _HALF.search(piece) is None):
            return piece
        text = self._waiting.pop(name, "") + piece
        if "\ud800" <= text[-1] <= "\udbff":
            self._waiting[name], text = text[-1], text[:-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
