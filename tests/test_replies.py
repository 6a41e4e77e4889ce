"""Decoded replies to LangChain messages and chunks: what lives where, and that the pieces add up."""

from __future__ import annotations

import copy
import functools
import json
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_openrouter_free.replies import (
    completion_of_message,
    last_chunk,
    merge_reasoning_details,
    to_chunk,
    to_message,
    usage_metadata,
)
from langchain_openrouter_free.wire import Completion, Delta, ToolDelta

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


def _message(completion: Completion, *, v1: bool = False, **metadata: Any) -> AIMessage:
    return to_message(completion, metadata=metadata, v1=v1)


def _call(arguments: str, name: str | None = "f", call_id: str | None = "c0") -> Completion:
    return Completion(tool_calls=[ToolDelta(0, call_id, name, arguments)])


# Whole messages


def test_a_full_reply_has_everything_in_its_place() -> None:
    message = _message(FULL)
    assert message.content == "four"
    assert message.tool_calls == [
        {"name": "add", "args": {"a": 1}, "id": "c0", "type": "tool_call"},
        {"name": "noop", "args": {}, "id": "c1", "type": "tool_call"},
    ]
    assert message.additional_kwargs == {
        "reasoning": "hm",
        "reasoning_content": "hm",
        "refusal": "no",
        "reasoning_details": DETAILS,
        "annotations": [CITATION],
    }
    assert message.response_metadata == {
        "model_name": "a/b-20260101:free",
        "model_provider": "openrouter",
        "finish_reason": "stop",
        "native_finish_reason": "end_turn",
        "id": "gen-1",
        "provider": "Liquid",
        "cost": 0.0025,
        "token_usage": USAGE,
        "logprobs": {"content": []},
    }


def test_an_empty_reply_has_no_empty_keys() -> None:
    message = _message(Completion())
    assert message.content == ""
    assert message.additional_kwargs == {}
    assert message.response_metadata == {"model_provider": "openrouter"}
    assert message.usage_metadata is None


def test_the_callers_metadata_wins() -> None:
    """The service answers for `a/b:free` as `a/b-20260101:free`; the router knows what was asked."""
    about = _message(FULL, model_name="a/b:free", route=[1], provider=None).response_metadata
    assert (about["model_name"], about["route"], "provider" in about) == ("a/b:free", [1], False)


@pytest.mark.parametrize("arguments", ["", "{}", "null"])
def test_a_call_without_arguments_has_none(arguments: str) -> None:
    (call,) = _message(_call(arguments)).tool_calls
    assert call["args"] == {}


@pytest.mark.parametrize(
    "arguments",
    ['{"a": 1', "nope", "[1]", "7", '"x"', " ", "[" * 100_000, "9" * 5_000, '{"a": 1} {"a": 2}'],
    ids=lambda text: text[:12],
)
@pytest.mark.parametrize("v1", [False, True])
def test_arguments_that_are_no_object_make_an_invalid_call(arguments: str, v1: bool) -> None:  # noqa: FBT001
    """Half a call is never offered for execution, and its text is kept for the model to see."""
    message = _message(_call(arguments), v1=v1)
    (invalid,) = message.invalid_tool_calls
    assert message.tool_calls == []
    assert (invalid["name"], invalid["args"], invalid["id"]) == ("f", arguments, "c0")
    assert invalid["error"]


@pytest.mark.parametrize("cost", [None, "1", True, -1, float("nan"), float("inf"), [], {}])
def test_a_cost_that_is_no_amount_is_left_out(cost: Any) -> None:
    assert "cost" not in _message(Completion(usage={"cost": cost})).response_metadata


@pytest.mark.parametrize("cost", [0, 1, 0.5])
def test_a_cost_is_a_float(cost: float) -> None:
    got = _message(Completion(usage={"cost": cost})).response_metadata["cost"]
    assert (got, type(got)) == (cost, float)


def test_v1_content_is_blocks() -> None:
    message = _message(FULL, v1=True)
    assert message.content == [
        {"type": "reasoning", "reasoning": "hm", "index": "lc_rs_0"},
        {"type": "text", "text": "four", "index": "lc_txt_0"},
        {"type": "tool_call", "name": "add", "args": {"a": 1}, "id": "c0"},
        {"type": "tool_call", "name": "noop", "args": {}, "id": "c1"},
    ]
    assert message.content_blocks == message.content
    assert message.response_metadata["output_version"] == "v1"


def test_standard_blocks_are_the_same_in_both_modes() -> None:
    """Whoever reads `content_blocks` need not know which mode was asked for."""
    plain, v1 = (_message(FULL, v1=mode).content_blocks for mode in (False, True))
    assert plain == [{key: value for key, value in block.items() if key != "index"} for block in v1]


def test_v1_of_nothing_is_an_empty_list() -> None:
    assert _message(Completion(), v1=True).content == []


# Chunks


def test_only_the_last_chunk_tells_what_must_be_told_once() -> None:
    """Adding chunks joins strings: a finish reason said twice would be "stopstop"."""
    delta = Delta(
        text="a",
        reasoning_details=DETAILS,
        annotations=[CITATION],
        finish_reason="stop",
        native_finish_reason="stop",
        usage=USAGE,
        id="gen-1",
        model="m",
        provider="p",
        logprobs={"content": []},
    )
    chunk = to_chunk(delta, message_id="run-1")
    assert (chunk.content, chunk.id, chunk.chunk_position) == ("a", "run-1", None)
    assert (chunk.response_metadata, chunk.additional_kwargs, chunk.usage_metadata) == ({}, {}, None)
    last = last_chunk(FULL, metadata={}, message_id="run-1")
    assert (last.content, last.id, last.chunk_position) == ("", "run-1", "last")
    assert last.response_metadata == _message(FULL).response_metadata
    assert last.usage_metadata == _message(FULL).usage_metadata
    assert last.additional_kwargs == {"reasoning_details": DETAILS, "annotations": [CITATION]}


def test_v1_chunks_keep_reasoning_text_and_calls_apart() -> None:
    """Numbered by langchain-core, the first call would get the reasoning's number and be merged into it."""
    deltas = [
        Delta(reasoning="h"),
        Delta(reasoning="m"),
        Delta(text="a"),
        Delta(tool_calls=[ToolDelta(0, "c0", "f", '{"a"')]),
        Delta(tool_calls=[ToolDelta(1, "c1", "g", "")]),
        Delta(text="b", tool_calls=[ToolDelta(0, None, None, ": 1}")]),
    ]
    assert _added(deltas, v1=True).content == [
        {"type": "reasoning", "reasoning": "hm", "index": "lc_rs_0"},
        {"type": "text", "text": "ab", "index": "lc_txt_0"},
        {"type": "tool_call", "name": "f", "args": {"a": 1}, "id": "c0"},
        {"type": "tool_call", "name": "g", "args": {}, "id": "c1"},
    ]


def test_a_v1_chunk_shows_its_own_piece() -> None:
    """Event streams read each chunk's standard blocks as a slice, so a piece must be there just once."""
    chunk = to_chunk(Delta(tool_calls=[ToolDelta(2, "c", "f", "{}")]), v1=True, message_id="run-1")
    assert chunk.content_blocks == [
        {"type": "tool_call_chunk", "id": "c", "name": "f", "args": "{}", "index": "lc_tc_2"}
    ]


def test_a_plain_chunk_shows_its_reasoning_as_a_block() -> None:
    chunk = to_chunk(Delta(reasoning="hm"), message_id="run-1")
    assert chunk.content_blocks == [{"type": "reasoning", "reasoning": "hm"}]


# Where chunks and messages differ: langchain-core's own doing when it adds chunks


def test_adding_chunks_mends_half_a_call() -> None:
    """langchain-core completes the JSON of a cut call; a whole message keeps it as invalid."""
    half = [Delta(tool_calls=[ToolDelta(0, "c0", "f", '{"a": 1')])]
    assert _added(half).tool_calls[0]["args"] == {"a": 1}
    assert _message(_gathered(half)).invalid_tool_calls


def test_adding_chunks_refuses_null_arguments() -> None:
    """langchain-core takes them for no arguments in a whole message only."""
    null = [Delta(tool_calls=[ToolDelta(0, "c0", "f", "null")])]
    assert _added(null).invalid_tool_calls
    assert _message(_gathered(null)).tool_calls[0]["args"] == {}


def test_adding_v1_chunks_leaves_an_invalid_call_unfinished() -> None:
    """langchain-core makes tool calls of the pieces it can read and leaves the others as they came."""
    bad = [Delta(tool_calls=[ToolDelta(0, "c0", "f", "nope")])]
    assert _added(bad, v1=True).content[0]["type"] == "tool_call_chunk"
    assert _message(_gathered(bad), v1=True).content[0]["type"] == "invalid_tool_call"


# Any stream

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


def _added(deltas: list[Delta], *, v1: bool = False, **facts: Any) -> AIMessageChunk:
    completion = _gathered(deltas, **facts)
    chunks = [to_chunk(delta, v1=v1, message_id="run-1") for delta in deltas]
    chunks.append(last_chunk(completion, metadata={"route": ["a", 1]}, v1=v1, message_id="run-1"))
    return functools.reduce(operator.add, chunks)


FACTS = st.fixed_dictionaries(
    {},
    optional={
        "usage": st.one_of(st.just(USAGE), USAGES.filter(lambda usage: isinstance(usage, dict))),
        "reasoning_details": st.lists(st.fixed_dictionaries({"type": TEXTS, "index": st.integers(0, 2)})),
        "annotations": st.lists(st.fixed_dictionaries({"type": TEXTS, "index": st.integers(0, 2)})),
        "finish_reason": TEXTS,
        "native_finish_reason": TEXTS,
        "model": TEXTS,
        "provider": TEXTS,
        "id": TEXTS,
        "logprobs": st.dictionaries(TEXTS, JSON, max_size=2),
    },
)


@given(deltas=_streams(lawful=False, broken=True), facts=FACTS)
def test_chunks_add_up_to_the_message(deltas: list[Delta], facts: dict[str, Any]) -> None:
    """Streaming or not, the caller ends with the same message."""
    added, message = _added(deltas, **facts), _message(_gathered(deltas, **facts), route=["a", 1])
    assert added.content == message.content
    _assert_same(added, message)


@given(deltas=_streams(lawful=True, broken=False), facts=FACTS)
def test_v1_chunks_add_up_to_the_message(deltas: list[Delta], facts: dict[str, Any]) -> None:
    """Also block by block, when a model thinks, speaks and calls in this order."""
    added, message = (
        _added(deltas, v1=True, **facts),
        _message(_gathered(deltas, **facts), v1=True, route=["a", 1]),
    )
    assert added.content == message.content
    assert added.content_blocks == message.content_blocks
    _assert_same(added, message)


@given(deltas=_streams(lawful=False, broken=False))
def test_v1_chunks_in_any_order_give_the_same_blocks(deltas: list[Delta]) -> None:
    """A model that speaks before it thinks gets the same blocks, in the order in which they began."""
    added, message = _added(deltas, v1=True), _message(_gathered(deltas), v1=True, route=["a", 1])
    assert sorted(map(repr, map(_sorted, added.content))) == sorted(map(repr, map(_sorted, message.content)))
    _assert_same(added, message)


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


# Usage


def test_usage_is_read_in_full() -> None:
    assert usage_metadata(USAGE) == {
        "input_tokens": 11,
        "output_tokens": 7,
        "total_tokens": 18,
        "input_token_details": {"cache_read": 3, "cache_creation": 2, "audio": 1},
        "output_token_details": {"reasoning": 4, "audio": 0},
    }


@pytest.mark.parametrize(
    "usage", [None, {}, {"cost": 0.1}, {"prompt_tokens": None}, {"prompt_tokens": -1}, [], "usage", 7]
)
def test_what_counts_nothing_is_no_usage(usage: Any) -> None:
    assert usage_metadata(usage) is None


def test_a_missing_total_is_the_sum() -> None:
    counted = usage_metadata({"prompt_tokens": 2.0, "completion_tokens": 3, "total_tokens": None})
    assert counted == {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}


@pytest.mark.parametrize("absurd", [-5, float("nan"), float("inf"), 1e300, 10**40, True, "9", [1], {"a": 1}])
def test_an_absurd_count_is_no_count(absurd: Any) -> None:
    counted = usage_metadata(
        {"prompt_tokens": absurd, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": absurd}}
    )
    assert counted == {"input_tokens": 0, "output_tokens": 1, "total_tokens": 1}


@given(usage=st.one_of(USAGES, JUNK))
def test_any_usage_can_be_read_and_added(usage: Any) -> None:
    """langchain-core adds usages of a conversation and raises at anything but whole numbers."""
    counted = usage_metadata(usage)
    if counted is not None:
        add_usage(counted, counted)
        details = [counted.get("input_token_details", {}), counted.get("output_token_details", {})]
        numbers = [number for part in [counted, *details] for number in part.values() if not isinstance(number, dict)]
        assert all(type(number) is int and number >= 0 for number in numbers)


# Reasoning details


def test_pieces_of_a_block_are_joined_and_its_marks_are_not() -> None:
    """A peer's "unknownunknown" would be sent back to the service with the next turn."""
    pieces = [
        {"type": "reasoning.text", "text": "", "signature": "", "format": "unknown", "index": 0},
        {"type": "reasoning.text", "text": "h", "format": "unknown", "index": 0},
        {"type": "reasoning.text", "text": "m", "format": "unknown", "index": 0, "id": "r1"},
        {"type": "reasoning.text", "signature": "abc", "format": "", "index": 0, "id": None},
    ]
    assert merge_reasoning_details(pieces) == [
        {
            "type": "reasoning.text",
            "text": "hm",
            "signature": "abc",
            "format": "unknown",
            "index": 0,
            "id": "r1",
        }
    ]


@pytest.mark.parametrize("key", ["text", "summary", "data"])
def test_words_and_ciphers_are_joined(key: str) -> None:
    pieces = [
        {"type": "t", key: None, "index": 1},
        {"type": "t", key: "a", "index": 1},
        {"type": "t", key: "b", "index": 1},
    ]
    assert merge_reasoning_details(pieces) == [{"type": "t", key: "ab", "index": 1}]


@pytest.mark.parametrize(
    "other",
    [
        {"type": "t", "data": "b", "index": 1},
        {"type": "u", "data": "b", "index": 0},
        {"type": "t", "data": "b"},
        {"type": "t", "data": "b", "index": None},
        {"type": "t", "data": "b", "index": 0, "id": "r2"},
    ],
    ids=["index", "type", "no-index", "null-index", "id"],
)
def test_different_blocks_stay_apart(other: dict[str, Any]) -> None:
    one = {"type": "t", "data": "a", "index": 0, "id": "r1"}
    assert merge_reasoning_details([one, other]) == [one, other]


def test_a_nameless_piece_goes_on_with_the_latest_block() -> None:
    one, two = ({"type": "t", "data": name, "index": 0, "id": name} for name in ("r1", "r2"))
    assert merge_reasoning_details([one, two, {"type": "t", "data": "+", "index": 0}]) == [one, two | {"data": "r2+"}]


@pytest.mark.parametrize("v1", [False, True])
def test_a_message_has_whole_blocks(v1: bool) -> None:  # noqa: FBT001
    pieces = [{"type": "reasoning.text", "text": text, "index": 0} for text in ("h", "m")]
    message = _message(Completion(reasoning_details=pieces), v1=v1)
    assert message.additional_kwargs["reasoning_details"] == [pieces[0] | {"text": "hm"}]


def test_what_is_no_block_is_dropped() -> None:
    assert merge_reasoning_details([None, "x", {"type": "t"}]) == [{"type": "t"}]


PIECES = st.lists(
    st.dictionaries(
        st.sampled_from(["type", "index", "id", "text", "data", "format", "signature"]),
        st.one_of(st.none(), st.integers(0, 1), st.sampled_from(["", "a", "b"]), st.just([])),
    ),
    max_size=6,
)


@given(pieces=PIECES)
def test_merging_twice_is_merging_once(pieces: list[dict[str, Any]]) -> None:
    """And never changes the pieces."""
    before = copy.deepcopy(pieces)
    merged = merge_reasoning_details(pieces)
    assert merge_reasoning_details(merged) == merged
    assert pieces == before


# Another model's answers


def test_a_foreign_answer_is_read_in_full() -> None:
    message = AIMessage(
        [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "fo"}, "ur", {"type": "image"}],
        tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c0"}],
        invalid_tool_calls=[{"name": "f", "args": "nope", "id": "c1", "error": "e"}],
        usage_metadata=usage_metadata(USAGE),
        additional_kwargs={"refusal": "no"},
        response_metadata={
            "finish_reason": "stop",
            "model_name": "gpt-x",
            "model_provider": "openai",
            "id": "chatcmpl-1",
            "token_usage": {"cost": 0.5},
            "logprobs": {"content": []},
        },
    )
    assert completion_of_message(message) == Delta(
        text="four",
        reasoning="hm",
        refusal="no",
        tool_calls=[ToolDelta(0, "c0", "add", '{"a": 1}'), ToolDelta(1, "c1", "f", "nope")],
        logprobs={"content": []},
        finish_reason="stop",
        native_finish_reason="stop",
        usage=USAGE | {"cost": 0.5},
        id="chatcmpl-1",
        model="gpt-x",
        provider="openai",
    )


def test_foreign_arguments_that_are_no_json_are_read_as_text() -> None:
    """Some models hand out Python objects; half a meaning is better than an exception."""
    message = AIMessage("", tool_calls=[{"name": "f", "args": {"at": 1j}, "id": "c0"}])
    assert completion_of_message(message).tool_calls == [ToolDelta(0, "c0", "f", '{"at": "1j"}')]


def test_other_providers_words_are_understood() -> None:
    message = AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "output_text", "text": "a"}])
    assert completion_of_message(message) == Delta(text="a", reasoning="hm")


def test_a_foreign_chunk_gives_pieces_of_calls() -> None:
    chunk = AIMessageChunk(
        content="a",
        id="run-1",
        tool_call_chunks=[{"name": None, "args": ": 1}", "id": None, "index": 3}],
    )
    assert completion_of_message(chunk) == Delta(text="a", tool_calls=[ToolDelta(3, None, None, ": 1}")], id="run-1")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"stop_reason": "end_turn"}, "stop"),
        ({"stop_reason": "tool_use"}, "tool_calls"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        ({"finish_reason": "SAFETY"}, "content_filter"),
        ({"done_reason": "stop"}, "stop"),
        ({"finish_reason": 7}, None),
    ],
)
def test_foreign_finish_reasons_are_translated(theirs: dict[str, Any], ours: str | None) -> None:
    delta = completion_of_message(AIMessage("a", response_metadata=theirs))
    assert delta.finish_reason == ours


def test_raw_usage_serves_where_langchain_has_none() -> None:
    message = AIMessage("a", response_metadata={"token_usage": {"prompt_tokens": 3}})
    assert completion_of_message(message).usage == {"prompt_tokens": 3}


@given(deltas=_streams(lawful=False, broken=True))
def test_a_message_and_its_reading_are_inverse(deltas: list[Delta]) -> None:
    """What `to_message` makes of a completion, `completion_of_message` reads back."""
    completion = _gathered(deltas, usage=USAGE, finish_reason="stop", model="m", id="gen-1")
    for v1 in (False, True):
        read = completion_of_message(_message(completion, v1=v1))
        assert (read.text, read.reasoning, read.refusal) == (
            completion.text,
            completion.reasoning,
            completion.refusal,
        )
        assert (read.usage, read.finish_reason, read.model, read.id) == (USAGE, "stop", "m", "gen-1")
        assert _message(_whole(read), v1=v1).tool_calls == _message(completion, v1=v1).tool_calls


def _whole(delta: Delta) -> Completion:
    return _gathered([delta])


@given(
    content=st.one_of(TEXTS, st.lists(st.one_of(TEXTS, st.dictionaries(st.sampled_from(["type", "text"]), JUNK)))),
    extra=st.dictionaries(st.sampled_from(["reasoning_content", "refusal", "annotations"]), JUNK),
    about=st.dictionaries(st.sampled_from(["finish_reason", "model_name", "token_usage", "logprobs", "id"]), JUNK),
    usage=USAGES,
    calls=JUNK,
)
def test_any_foreign_answer_can_be_read(content: Any, extra: Any, about: Any, usage: Any, calls: Any) -> None:
    """Whatever another package puts into a message, reading it raises nothing."""
    message = AIMessage.model_construct(
        content=content,
        additional_kwargs=extra,
        response_metadata=about,
        usage_metadata=usage,
        tool_calls=calls,
        invalid_tool_calls=calls,
    )
    delta = completion_of_message(message)
    assert isinstance(delta.text, str)
    assert all(isinstance(call.arguments, str) for call in delta.tool_calls)


# Through langchain-core


class _Speaker(BaseChatModel):
    """A chat model that streams the deltas it was given."""

    deltas: list[Any]

    @property
    def _llm_type(self) -> str:
        return "speaker"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        message = _message(_gathered(self.deltas, usage=USAGE), v1=self.output_version == "v1")
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        v1 = self.output_version == "v1"
        for delta in self.deltas:
            yield ChatGenerationChunk(message=to_chunk(delta, v1=v1, message_id="run-1"))
        last = last_chunk(_gathered(self.deltas, usage=USAGE), metadata={}, v1=v1, message_id="run-1")
        yield ChatGenerationChunk(message=last)


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_langchain_core_streams_what_it_would_have_been_told(version: str) -> None:
    """Its own loop numbers blocks and adds a last chunk where it misses one; ours need neither."""
    model = _Speaker(
        deltas=[
            Delta(reasoning="hm"),
            Delta(text="a"),
            Delta(tool_calls=[ToolDelta(0, "c0", "f", "{")]),
            Delta(tool_calls=[ToolDelta(0, None, None, "}")]),
        ],
        output_version=version,
    )
    chunks = list(model.stream("hi"))
    added, message = functools.reduce(operator.add, chunks), model.invoke("hi")
    assert len(chunks) == 5
    assert added.content == message.content
    assert added.content_blocks == message.content_blocks
    assert [block["type"] for block in added.content_blocks] == ["reasoning", "text", "tool_call"]
    _assert_same(added, message)
