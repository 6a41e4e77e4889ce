"""Decoded replies to LangChain messages and chunks: what lives where, and that the pieces add up."""

from __future__ import annotations

import functools
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from reply_strategies import (
    CITATION,
    DETAILS,
    FULL,
    JSON,
    TEXTS,
    USAGE,
    USAGES,
    _assert_same,
    _call,
    _gathered,
    _message,
    _sorted,
    _streams,
)

from langchain_openrouter_free.protocol.wire import Completion, Delta, ToolDelta
from langchain_openrouter_free.words.replies import (
    last_chunk,
    to_chunk,
)

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
    added: Any = _added(bad, v1=True).content
    whole: Any = _message(_gathered(bad), v1=True).content
    assert added[0]["type"] == "tool_call_chunk"
    assert whole[0]["type"] == "invalid_tool_call"


# Any stream


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


# Usage
