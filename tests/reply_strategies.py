"""Random deltas, usages and junk, for the properties of replies."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_openrouter_free.protocol.wire import Completion, Delta, ToolDelta
from langchain_openrouter_free.words.replies import (
    to_message,
)

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "cost": 0.0025,
    "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2, "audio_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
}
DETAILS = [{"type": "reasoning.text", "text": "hm", "signature": "s", "format": "f", "index": 0}]
CITATION = {"type": "url_citation", "url_citation": {"url": "https://x"}}
FULL = Completion(
    text="four",
    reasoning="hm",
    refusal="no",
    tool_calls=[ToolDelta(0, "c0", "add", '{"a": 1}'), ToolDelta(1, "c1", "noop", "")],
    reasoning_details=DETAILS,
    annotations=[CITATION],
    logprobs={"content": []},
    finish_reason="stop",
    native_finish_reason="end_turn",
    usage=USAGE,
    id="gen-1",
    model="a/b-20260101:free",
    provider="Liquid",
)


def _call(arguments: str, name: str | None = "f", call_id: str | None = "c0") -> Completion:
    return Completion(tool_calls=[ToolDelta(0, call_id, name, arguments)])


TEXTS = st.text(max_size=6)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
COUNT_KEYS = [
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
    "cached_tokens",
    "cache_write_tokens",
    "audio_tokens",
    "reasoning_tokens",
    "cost",
]
USAGES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.dictionaries(st.sampled_from(COUNT_KEYS), inner, max_size=6),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3).map(json.dumps)


@st.composite
def _split(draw: st.DrawFn, text: str) -> list[str]:
    """Cut a text into pieces, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def _tool_stream(draw: st.DrawFn, number: int, arguments: st.SearchStrategy[str]) -> list[ToolDelta]:
    """Cut one call into pieces, of which the first has its id and name."""
    first, *rest = draw(_split(draw(arguments)))
    again = draw(st.booleans())
    call_id = f"c{number}"
    later = [ToolDelta(number, call_id if again else None, None, piece) for piece in rest]
    return [ToolDelta(number, call_id, draw(TEXTS) or None, first), *later]


@st.composite
def _streams(draw: st.DrawFn, *, lawful: bool, broken: bool) -> list[Delta]:
    """Draw the deltas of one answer: reasoning, text and calls, one after another or all at once."""
    arguments = st.one_of(OBJECTS, st.just(""), *([st.just("nope")] if broken else []))
    lanes: list[list[Delta]] = [
        [Delta(reasoning=piece) for piece in draw(st.lists(TEXTS, max_size=4))],
        [Delta(text=piece) for piece in draw(st.lists(TEXTS, max_size=4))],
        [Delta(refusal=piece) for piece in draw(st.lists(TEXTS, max_size=2))],
    ]
    calls = [draw(_tool_stream(number, arguments)) for number in range(draw(st.integers(0, 3)))]
    lanes += [[Delta(tool_calls=[piece]) for piece in call] for call in calls]
    if lawful:
        return [delta for lane in lanes for delta in lane]
    mixed = []
    while lanes := [lane for lane in lanes if lane]:
        mixed.append(draw(st.sampled_from(lanes)).pop(0))
    return _renumbered(mixed)


def _renumbered(deltas: list[Delta]) -> list[Delta]:
    """Number calls in the order in which they begin, as services do."""
    order = list(dict.fromkeys(piece.index for delta in deltas for piece in delta.tool_calls))
    for delta in deltas:
        for piece in delta.tool_calls:
            piece.index = order.index(piece.index)
    return deltas


def _message(completion: Completion, *, v1: bool = False, **metadata: Any) -> AIMessage:
    return to_message(completion, metadata=metadata, v1=v1)


def _gathered(deltas: list[Delta], **facts: Any) -> Completion:
    """Put deltas together independently of the package."""
    calls: dict[int, ToolDelta] = {}
    for piece in (piece for delta in deltas for piece in delta.tool_calls):
        call = calls.setdefault(piece.index, ToolDelta(piece.index, piece.id, piece.name))
        call.arguments += piece.arguments
    return Completion(
        text="".join(delta.text for delta in deltas),
        reasoning="".join(delta.reasoning for delta in deltas),
        refusal="".join(delta.refusal for delta in deltas),
        tool_calls=list(calls.values()),
        **facts,
    )


def _sorted(block: Any) -> dict[str, Any]:
    return dict(sorted(block.items()))


def _assert_same(added: AIMessageChunk, message: AIMessage) -> None:
    assert added.tool_calls == message.tool_calls
    assert _bare(added.invalid_tool_calls) == _bare(message.invalid_tool_calls)
    assert added.additional_kwargs == message.additional_kwargs
    assert added.usage_metadata == message.usage_metadata
    assert _told(added) == _told(message)


def _told(message: AIMessage) -> dict[str, str]:
    # Not-a-number in a raw usage differs from itself; its text does not.
    return {key: repr(value) for key, value in message.response_metadata.items()}


def _bare(calls: list[Any]) -> list[tuple[Any, ...]]:
    return [(call["name"], call["args"], call["id"]) for call in calls]
