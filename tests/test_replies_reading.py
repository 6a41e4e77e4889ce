"""Usage, reasoning blocks and other packages' answers, read in whatever state they come."""

from __future__ import annotations

import copy
import functools
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from reply_strategies import (
    JUNK,
    TEXTS,
    USAGE,
    USAGES,
    _assert_same,
    _gathered,
    _message,
    _streams,
)

from langchain_openrouter_free.protocol.reasoning import merge_reasoning_details
from langchain_openrouter_free.protocol.wire import Assembly, Completion, Delta, ToolDelta
from langchain_openrouter_free.words.replies import (
    completion_of_message,
    last_chunk,
    to_chunk,
    usage_metadata,
)


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


def test_likelihoods_are_added_to_those_before() -> None:
    """In place: to copy all of them with each token takes seconds for a long answer. A word about nothing is kept."""
    pieces: list[Any] = [{"content": None}, {"content": [1], "refusal": None}, {"content": [2]}, {"refusal": [3]}]
    assembly, deltas = Assembly(), [Delta("a", logprobs=piece) for piece in pieces]
    for delta in deltas[:2]:
        assembly.add(delta)
    before: Any = assembly.completion().logprobs
    first = before["content"]
    assert before == {"content": [1], "refusal": None}
    for delta in deltas[2:]:
        assembly.add(delta)
    after: Any = assembly.completion().logprobs
    assert (after, after["content"] is first) == ({"content": [1, 2], "refusal": [3]}, True)
    assert deltas[1].logprobs == {"content": [1], "refusal": None}


@pytest.mark.parametrize("v1", [False, True])
def test_a_message_has_whole_blocks(v1: bool) -> None:  # noqa: FBT001
    pieces = [{"type": "reasoning.text", "text": text, "index": 0} for text in ("h", "m")]
    message = _message(Completion(reasoning_details=pieces), v1=v1)
    assert message.additional_kwargs["reasoning_details"] == [pieces[0] | {"text": "hm"}]


def test_what_is_no_block_is_dropped() -> None:
    assert merge_reasoning_details([None, "x", {"type": "t"}]) == [{"type": "t"}]


PIECES: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
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
        ({"stopReason": "end_turn"}, "stop"),
        ({"finish_reason": "COMPLETE"}, "stop"),
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
