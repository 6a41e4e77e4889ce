"""What a model thought: kept whole, told as standard blocks, and sent back to that model alone."""

from __future__ import annotations

import pickle
import time
from typing import Any

import pytest
from driving import PATHS, drive, make
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    message_chunk_to_message,
    message_to_dict,
    messages_from_dict,
)
from pitfall_helpers import ADD

from langchain_openrouter_free.protocol.reasoning import merge_reasoning_details
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.words.messages import author_of, to_wire

X, Y = "test/m01:free", "test/m02:free"
THOUGHT = "First this, then that."
SIGNED = [
    {"type": "reasoning.text", "text": "hm", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": "ZW5j", "id": "rs_1", "format": "openai-responses-v1", "index": 1},
]


def whole(message: Any) -> AIMessage:
    """The message as an agent keeps it."""
    made = message_chunk_to_message(message) if isinstance(message, AIMessageChunk) else message
    assert isinstance(made, AIMessage)
    return made


def by_json(message: AIMessage) -> AIMessage:
    (back,) = messages_from_dict([message_to_dict(message)])
    assert isinstance(back, AIMessage)
    return back


def by_pickle(message: AIMessage) -> AIMessage:
    back: AIMessage = pickle.loads(pickle.dumps(message))
    return back


def by_checkpointer(message: AIMessage) -> AIMessage:
    serde = pytest.importorskip("langgraph.checkpoint.serde.jsonplus").JsonPlusSerializer()
    back: AIMessage = serde.loads_typed(serde.dumps_typed(message))
    return back


TRIPS = {"json": by_json, "pickle": by_pickle, "checkpointer": by_checkpointer}


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("path", PATHS)
def test_thoughts_are_kept_whole_and_told_as_blocks(sim: Simulator, path: str, version: str) -> None:
    """The same on every path: in `additional_kwargs`, as the first standard block, and counted."""
    sim.script({X: {"do": "ok", "reasoning": THOUGHT, "text": "Yes."}})
    message = whole(drive(make(sim, [X], output_version=version), path).message)
    extra, about = message.additional_kwargs, message.response_metadata
    assert (extra["reasoning"], message.text) == (THOUGHT, "Yes.")
    assert extra["reasoning_details"] == [
        {"type": "reasoning.text", "text": THOUGHT, "format": "unknown", "index": 0},
    ]
    kinds = [(block["type"], block.get("reasoning") or block.get("text")) for block in message.content_blocks]
    assert kinds == [("reasoning", THOUGHT), ("text", "Yes.")]
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_token_details"]["reasoning"] > 0
    assert message.usage_metadata["input_token_details"] == {"cache_read": 0, "cache_creation": 0, "audio": 0}
    told = {name: about[name] for name in ("model_name", "served_model", "provider", "finish_reason", "cost")}
    assert told == {
        "model_name": X,
        "served_model": X,
        "provider": about["route"]["provider"],
        "finish_reason": "stop",
        "cost": 0,
    }
    assert about["id"].startswith("gen-")
    assert [attempt["outcome"] for attempt in about["route"]["attempts"]] == ["ok"]


@pytest.mark.parametrize("trip", TRIPS)
@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("path", PATHS)
def test_thoughts_go_back_to_their_thinker_alone(sim: Simulator, path: str, version: str, trip: str) -> None:
    """Beside its tool call, after any way of keeping messages; another model gets the words and the call."""
    sim.script({X: {"do": "ok", "reasoning": THOUGHT}, Y: {"do": "ok", "reasoning": THOUGHT}})
    router = make(sim, [X, Y], output_version=version)
    asked = HumanMessage("Use add for 3 and 4.")
    answer = TRIPS[trip](whole(drive(router.bind_tools([ADD]), path, [asked]).message))
    history = [asked, answer, HumanMessage("And?")]
    for model in (X, Y):
        drive(router, path, history, model=model)
    own, foreign = (chat.body["messages"][1] for chat in sim.chats()[1:])
    assert own["reasoning_details"] == answer.additional_kwargs["reasoning_details"]
    assert "reasoning" not in foreign
    assert "reasoning_details" not in foreign
    assert THOUGHT not in str(foreign)
    assert own["tool_calls"] == foreign["tool_calls"]
    assert own["tool_calls"][0]["id"] == answer.tool_calls[0]["id"]


CASES: dict[str, tuple[AIMessage, dict[str, Any]]] = {
    "signed and encrypted": (
        AIMessage("a", additional_kwargs={"reasoning": "hm", "reasoning_details": SIGNED}),
        {"reasoning_details": SIGNED},
    ),
    "only text": (AIMessage("a", additional_kwargs={"reasoning": "hm"}), {"reasoning": "hm"}),
    "of another package": (AIMessage("a", additional_kwargs={"reasoning_content": "hm"}), {"reasoning": "hm"}),
    "only blocks": (
        AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "a"}]),
        {"reasoning": "hm"},
    ),
    "none": (AIMessage("a"), {}),
    "nonsense": (AIMessage("a", additional_kwargs={"reasoning": 7}), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_sent_back(case: str) -> None:
    """Details where there are any, else the text, as the service takes both."""
    message, expected = CASES[case]
    mine = message.model_copy(update={"response_metadata": {"model_name": X}})
    (sent,) = to_wire([mine], keep_reasoning_of=X)
    assert {name: said for name, said in sent.items() if name.startswith("reasoning")} == expected
    for other in (Y, None):
        (sent,) = to_wire([mine], keep_reasoning_of=other)
        assert not any(name.startswith("reasoning") for name in sent)


def test_a_router_is_no_thinker(sim: Simulator) -> None:
    """What the service's own router answered was thought by the model that it chose, and is sent to no other."""
    metadata = {"model_name": "openrouter/free", "served_model": X}
    answer = AIMessage("a", additional_kwargs={"reasoning": "hm"}, response_metadata=metadata)
    assert author_of(answer) == X
    (sent,) = to_wire([answer], keep_reasoning_of="openrouter/free")
    assert "reasoning" not in sent
    (sent,) = to_wire([answer], keep_reasoning_of=X)
    assert sent["reasoning"] == "hm"
    assert author_of(AIMessage("a", response_metadata={"model_name": "openrouter/free"})) is None
    assert author_of(HumanMessage("a")) is None


@pytest.mark.parametrize(
    "piece",
    [{}, {"index": 0}, {"index": 0, "id": "{n}"}, {"index": "{n}"}],
    ids=["without an index", "of one block", "with ids of their own", "of a block each"],
)
def test_pieces_without_end_are_joined_in_a_moment(piece: dict[str, Any]) -> None:
    given = {name: value for name, value in piece.items() if value != "{n}"}
    numbered = [name for name, value in piece.items() if value == "{n}"]
    pieces = [
        {"type": "reasoning.text", "text": "a" * 100, **given, **dict.fromkeys(numbered, f"{n}")} for n in range(20_000)
    ]
    began = time.process_time()
    merged = merge_reasoning_details(pieces)
    assert sum(len(block["text"]) for block in merged) == 2_000_000
    assert time.process_time() - began < 5.0
