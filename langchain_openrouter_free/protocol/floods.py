"""What callers of a stream add up in the square of its length: thoughts, and arguments of tool calls. Pure.

LangChain joins each piece of them to all before it, and reads the arguments so far anew; of texts it joins all at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

# The longest output limit in the catalogue is a million tokens, of a few characters each; nobody means to think longer.
MOST_THOUGHTS = 4 * 1024 * 1024
# Nor to call a tool with a file of this size. Who adds up chunks himself has all of it read anew with each.
MOST_ARGUMENTS = 1024 * 1024
ENDLESS = f"more than {MOST_THOUGHTS} characters of thoughts, or {MOST_ARGUMENTS} of tool arguments"
# From so many characters on, pieces that come at once are handed out as one.
LONG = 16 * 1024


class _Call(Protocol):
    """A piece of a tool call; `wire.ToolDelta`."""

    index: int
    id: str | None
    name: str | None
    arguments: str


class _Piece(Protocol):
    """A piece of an answer; `wire.Delta`."""

    text: str
    reasoning: str
    refusal: str
    reasoning_details: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    logprobs: dict[str, Any] | None
    finish_reason: str | None
    usage: dict[str, Any] | None

    @property
    def tool_calls(self) -> Sequence[_Call]:
        """Its pieces of tool calls."""
        ...


P = TypeVar("P", bound=_Piece)


class Flood:
    """Counts the thoughts and arguments of one reply."""

    def __init__(self) -> None:
        self._thoughts = self._arguments = 0

    def passes(self, delta: _Piece) -> bool:
        """Count a piece; tell whether there are more of them by now than any answer has."""
        self._thoughts += len(delta.reasoning)
        self._arguments += sum(len(piece.arguments) for piece in delta.tool_calls)
        return self._thoughts > MOST_THOUGHTS or self._arguments > MOST_ARGUMENTS

    def joins(self, deltas: list[P], delta: P) -> bool:
        """Add a piece of a long answer to the last one that came with it, where nothing else is in it."""
        if self._thoughts + self._arguments < LONG or not deltas or not _is_more(deltas[-1], delta):
            return False
        last = deltas[-1]
        last.reasoning += delta.reasoning
        last.reasoning_details += delta.reasoning_details
        for call, piece in zip(last.tool_calls, delta.tool_calls, strict=True):
            call.arguments += piece.arguments
        return True


def _is_more(last: _Piece, delta: _Piece) -> bool:
    """Tell whether two pieces are both of the same thought, or of the same calls' arguments."""
    if any(one.text or one.refusal or one.annotations or one.logprobs for one in (last, delta)):
        return False
    if (
        last.finish_reason
        or delta.finish_reason
        or delta.usage
        or any(call.name or call.id for call in delta.tool_calls)
    ):
        return False
    calls = [call.index for call in delta.tool_calls]
    return calls == [call.index for call in last.tool_calls] and bool(calls) != bool(delta.reasoning)
