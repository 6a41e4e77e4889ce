"""Real recordings of the service, played again over a socket and read through the model, by every call path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driving import Told, drive
from recorded import ABSENT, FOLDER, Interaction, Player, Said, cases, cassettes, interactions, said_in, words_of

from langchain_openrouter_free import (
    AllModelsFailed,
    ChatOpenRouterFree,
    FreeModelBilled,
    MemoryStore,
    OpenRouterFreeError,
    StreamInterrupted,
)
from langchain_openrouter_free.connections.clients import CLIENTS

# The recorded models were mostly paid ones; here their words come from a free id, and that is told.
pytestmark = [
    pytest.mark.skipif(not FOLDER.exists(), reason=ABSENT),
    pytest.mark.filterwarnings(f"ignore::{FreeModelBilled.__module__}.{FreeModelBilled.__name__}"),
]
MODEL = "recorded/model:free"
PLAIN, STREAMED = ("invoke", "ainvoke"), ("stream", "astream")


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    with Player() as service:
        yield service
    CLIENTS.close()


def _told(player: Player, one: Interaction, path: str, wire: str, version: str) -> Told:
    """Ask as the recorded client did, and get the recorded reply."""
    player.plays(one.status, one.headers.get("content-type", "application/json"), one.raw)
    model: Any = ChatOpenRouterFree(
        models=[MODEL],
        api_key="sk-or-v1-replay",
        base_url=player.base_url,
        state=MemoryStore(),
        max_wait=0.0,
        wire=wire,
        output_version=version,
        accept={"not_called", "wrong_object"},  # models answered in words where a call, or an object, was demanded
    )
    messages = [{"content": "", **message} for message in one.asked["messages"] if "role" in message]
    told = drive(model.bind(**_shaping(one.asked)), path, messages or "hello")
    assert [body.get("stream", False) for body in player.bodies] == [path in STREAMED or wire == "stream"]
    return told


def _shaping(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what of a recorded request shapes how its answer is read; tools of the service's own cost money."""
    tools = [tool for tool in asked.get("tools") or () if ":" not in tool["type"]]
    bound = {"tools": tools, "tool_choice": tools and asked.get("tool_choice")}
    bound["response_format"] = asked.get("response_format")
    return {key: value for key, value in bound.items() if value}


def _is_as_recorded(told: Told, said: Said) -> None:
    """Text, tool calls, reasoning, usage, cost and whence it came: as the recording says."""
    message, meta, usage = told.message, told.meta, said.usage
    assert message.text == said.text
    assert [(call["id"], call["name"], call["args"]) for call in message.tool_calls] == said.tool_calls
    assert message.invalid_tool_calls == []
    assert message.additional_kwargs.get("reasoning", "") == said.reasoning
    details = message.additional_kwargs.get("reasoning_details", [])
    assert words_of(details) == said.thoughts
    assert {detail["signature"] for detail in details if detail.get("signature")} == said.sealed
    blocks = message.content_blocks
    assert "".join(block["reasoning"] for block in blocks if block["type"] == "reasoning") == said.reasoning
    assert "".join(block["text"] for block in blocks if block["type"] == "text") == said.text
    assert [block["id"] for block in blocks if block["type"] == "tool_call"] == [call[0] for call in said.tool_calls]
    counted = message.usage_metadata or {}
    assert counted.get("input_tokens") == usage.get("prompt_tokens")
    assert counted.get("output_tokens") == usage.get("completion_tokens")
    assert counted.get("total_tokens") == usage.get("total_tokens")
    theirs, ours = usage.get("completion_tokens_details") or {}, counted.get("output_token_details") or {}
    assert ours.get("reasoning") == theirs.get("reasoning_tokens")
    theirs, ours = usage.get("prompt_tokens_details") or {}, counted.get("input_token_details") or {}
    assert ours.get("cache_read") == theirs.get("cached_tokens")
    assert ours.get("cache_creation") == theirs.get("cache_write_tokens")
    assert meta.get("cost") == usage.get("cost")
    # The route tells what was booked: nano-dollars, rounded up.
    cost, booked = usage.get("cost"), meta["route"]["cost"]
    assert (booked is None) == (cost is None)
    assert cost is None or 0 <= booked - cost < 1e-9
    for ours_, theirs_ in (("id", "id"), ("served_model", "model"), ("provider", "provider")):
        assert meta.get(ours_) == said.facts[theirs_]
    assert meta["finish_reason"] == said.facts["finish_reason"]
    assert meta["model_name"] == MODEL


def _check(player: Player, one: Interaction, path: str, wire: str, version: str = "v0") -> None:
    said = said_in(one.raw, streamed=one.streamed)
    if one.status == 200 and said.is_answer:
        _is_as_recorded(_told(player, one, path, wire, version), said)
        return
    with pytest.raises(OpenRouterFreeError) as caught:
        _told(player, one, path, wire, version)
    assert {record.status for record in caught.value.attempts} == {one.status}
    shown = path in STREAMED and bool(said.reasoning)
    assert isinstance(caught.value, StreamInterrupted) is shown


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("cassette", cassettes(), ids=lambda path: path.stem)
def test_a_recorded_conversation_is_heard_as_it_was_said(player: Player, cassette: Path, version: str) -> None:
    """Each recorded reply, by each call path, streamed or not as it was recorded: the same, or a typed error."""
    for one in interactions(cassette):
        for path in (*PLAIN, *STREAMED):
            _check(player, one, path, "stream" if one.streamed else "plain", version)


def test_all_recordings_are_there() -> None:
    """113 cassettes, 146 chat completions, of which 14 are event streams and 128 are answers."""
    found = [one for path in cassettes() for one in interactions(path)]
    assert len(cassettes()) >= 113
    assert len(found) >= 146
    assert sum(one.streamed for one in found) >= 14
    assert sum(one.status == 200 and said_in(one.raw, streamed=one.streamed).is_answer for one in found) >= 128


def _as_stream(case: dict[str, Any]) -> Interaction:
    """Return a case as the stream it was seen in: of some only the error object, the chunk or the sentence is told."""
    status, body = case["status"], case["body"]
    kind = "text/event-stream" if status == 200 else "application/json"
    if status == 200 and "data:" not in body:
        error: Any = json.loads(body) if body.startswith("{") else {"code": 502, "message": body}
        chunk = error if "choices" in error else {"id": "gen-1", "choices": [], "error": error}
        body = f": OPENROUTER PROCESSING\n\ndata: {json.dumps(chunk)}\n\n"
    # What was asked is not told; the tools that were called must have been offered.
    names = sorted(set(re.findall(r'"function":\{"name":"(\w+)"', body)))
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in names]
    asked = {"messages": [{"role": "user", "content": "hello"}], "tools": tools}
    return Interaction(case["id"], asked, status, {"content-type": kind}, body.encode())


STREAMS = [case for case in cases() if case["kind"] == "chat_stream"]


@pytest.mark.parametrize("path", [*PLAIN, *STREAMED])
@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case["id"])
def test_a_recorded_stream_is_heard_as_it_was_said(player: Player, case: dict[str, Any], path: str) -> None:
    """Each stream of the collected cases, by each call path: the same words, or a typed error of its status."""
    one = _as_stream(case)
    said = said_in(one.raw, streamed=one.streamed)
    if said.facts.get("finish_reason") == "error":
        said.error = "error"
    assert (one.status == 200 and said.is_answer) is case["id"].startswith("ok-")
    if case["id"] == "400-stream-invalid-model":
        with pytest.raises(AllModelsFailed, match="not a valid model ID"):
            _told(player, one, path, "stream", "v0")
        return
    _check(player, one, path, "stream")


def test_the_streams_of_the_cases_are_there() -> None:
    """The 13 cases of kind chat_stream that the test before reads."""
    assert len(STREAMS) >= 13
