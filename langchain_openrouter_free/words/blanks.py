"""Blanks between the parts of a tool call's arguments: of a long run a stream hands out the beginning alone. Pure.

Models get stuck in them. They mean nothing there, but langchain-core reads the unfinished arguments of each chunk, and
of each sum of chunks, by leaving away one blank after the other: a hundred thousand of them take it a minute.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from langchain_openrouter_free.protocol.wire import Delta, ToolDelta

# Few indentations are deeper than this.
MOST = 40
_PARTS = re.compile(r'\\+|"|[ \t\r\n]+|[^\\" \t\r\n]+')


@dataclass(slots=True)
class _Place:
    """Where the arguments of one call have come to: in a text, behind a backslash, behind so many blanks."""

    inside: bool = False
    escaped: bool = False
    blanks: int = 0

    def kept(self, piece: str) -> str:
        """Return what is handed out of the next piece."""
        return "".join([self._kept(part) for part in _PARTS.findall(piece)])

    def _kept(self, part: str) -> str:
        if not self.inside and part[0] in " \t\r\n":
            part = part[: MOST - self.blanks]
            self.blanks += len(part)
            return part
        self.blanks = 0
        if part[0] == "\\":
            self.escaped = self.inside and (self.escaped + len(part)) % 2 == 1
            return part
        if part == '"' and not self.escaped:
            self.inside = not self.inside
        self.escaped = False
        return part


@dataclass(slots=True)
class Blanks:
    """The calls of one answer, by their index."""

    _places: dict[int, _Place] = field(default_factory=dict)

    def without(self, delta: Delta) -> Delta:
        """Return a delta without the blanks that are too many; itself where there are none."""
        if not delta.tool_calls:
            return delta
        kept = [self._kept(piece) for piece in delta.tool_calls]
        return delta if kept == delta.tool_calls else replace(delta, tool_calls=kept)

    def _kept(self, piece: ToolDelta) -> ToolDelta:
        if not piece.arguments:
            return piece
        arguments = self._places.setdefault(piece.index, _Place()).kept(piece.arguments)
        return piece if len(arguments) == len(piece.arguments) else replace(piece, arguments=arguments)
