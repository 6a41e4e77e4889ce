"""Pieces of tool calls find their call, whatever a gateway makes of their indexes and ids."""

from __future__ import annotations

import json
from typing import Any

import pytest
from wire_table import event, sse

from langchain_openrouter_free.protocol.wire import Assembly, Delta, ReplyReader, ToolDelta


def piece(index: int | None, call_id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    """A piece of a call as it stands on the wire; what is None is not there."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    about = {key: value for key, value in (("index", index), ("id", call_id)) if value is not None}
    return {**about, "function": function}


def calls(pieces: list[dict[str, Any]]) -> list[ToolDelta]:
    """Return the calls that a stream of such pieces makes."""
    return read(sse(*(event({"tool_calls": [one]}) for one in pieces), event({}, "tool_calls")))


def read(raw: str, kind: str = "text/event-stream") -> list[ToolDelta]:
    """Return the calls that a reply makes."""
    said = Assembly()
    for delta in deltas(raw, kind):
        said.add(delta)
    return said.completion().tool_calls


def deltas(raw: str, kind: str = "text/event-stream") -> list[Delta]:
    """Return the pieces that a reply is read as."""
    reader = ReplyReader(200, {"content-type": kind})
    return [*reader.feed(raw.encode()), *reader.end()]


NO = None
STREAMS: dict[str, list[tuple[Any, ...]]] = {
    "as documented": [(0, "a", "f", '{"x":'), (0, NO, NO, " 1}"), (1, "b", "g", '{"y":'), (1, NO, NO, " 2}")],
    "no index": [(NO, "a", "f", '{"x":'), (NO, NO, NO, " 1}"), (NO, "b", "g", '{"y": 2}')],
    "no index, by id": [(NO, "a", "f", '{"x":'), (NO, "b", "g", '{"y": 2}'), (NO, "a", NO, " 1}")],
    "index 0, whole": [(0, "a", "f", '{"x": 1}'), (0, "b", "g", '{"y": 2}')],
    "index 0, in pieces": [(0, "a", "f", '{"x":'), (0, NO, NO, " 1}"), (0, "b", "g", '{"y":'), (0, NO, NO, " 2}")],
    "index 0, by id": [(0, "a", "f", '{"x":'), (0, "a", NO, " 1}"), (0, "b", "g", '{"y":'), (0, "b", NO, " 2}")],
    "index 0, mixed": [(0, "a", "f", '{"x":'), (0, "b", "g", '{"y":'), (0, "a", NO, " 1}"), (0, "b", NO, " 2}")],
    "index 0, no ids": [(0, NO, "f", '{"x":'), (0, NO, NO, " 1}"), (0, NO, "g", '{"y":'), (0, NO, NO, " 2}")],
    "names again": [(0, "a", "f", '{"x":'), (0, "a", "f", " 1}"), (0, "b", "g", '{"y":'), (0, "b", "g", " 2}")],
    "the id first": [(0, "a", NO, ""), (0, NO, "f", '{"x": 1}'), (1, "b", NO, ""), (1, "b", "g", '{"y": 2}')],
    "the id last": [(0, NO, "f", '{"x":'), (0, "a", NO, " 1}"), (1, NO, "g", '{"y":'), (1, "b", "g", " 2}")],
    "one id": [(NO, "a", "f", '{"x": 1}'), (NO, "a", "g", '{"y": 2}')],
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_two_calls_stay_two(name: str) -> None:
    found = [(call.name, json.loads(call.arguments)) for call in calls([piece(*one) for one in STREAMS[name]])]
    assert found == [("f", {"x": 1}), ("g", {"y": 2})]


@pytest.mark.parametrize("name", STREAMS)
def test_a_call_is_told_its_id_and_its_name_once(name: str) -> None:
    """Who adds pieces up joins their texts: an id that is said twice would be another id, which no result names."""
    told = [
        one
        for delta in deltas(sse(*(event({"tool_calls": [piece(*said)]}) for said in STREAMS[name])))
        for one in delta.tool_calls
    ]
    for call in calls([piece(*one) for one in STREAMS[name]]):
        own = [one for one in told if one.index == call.index]
        assert "".join(one.id or "" for one in own) == call.id
        assert "".join(one.name or "" for one in own) == call.name


WHOLE: dict[str, list[tuple[Any, ...]]] = {
    "one id, no index": [(NO, "a", "f", '{"x": 1}'), (NO, "a", "f", '{"x": 2}')],
    "one id, one index": [(0, "a", "f", '{"x": 1}'), (0, "a", "f", '{"x": 2}')],
    "one index, no ids": [(0, NO, "f", '{"x": 1}'), (0, NO, "f", '{"x": 2}')],
    "nothing in common": [(0, "a", "f", '{"x": 1}'), (1, "b", "f", '{"x": 2}')],
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("streamed", [True, False])
def test_each_call_of_one_list_is_its_own(name: str, *, streamed: bool) -> None:
    """What stands beside another call in one message is no piece of it, even where both have one id."""
    said = {"tool_calls": [piece(*one) for one in WHOLE[name]]}
    whole = {"choices": [{"message": said, "finish_reason": "tool_calls"}]}
    raw = sse(event(said), event({}, "tool_calls")) if streamed else json.dumps(whole)
    kind = "text/event-stream" if streamed else "application/json"
    found = [json.loads(call.arguments) for call in read(raw, kind)]
    assert found == [{"x": 1}, {"x": 2}]
