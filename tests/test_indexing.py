"""Pieces of tool calls find their call, whatever a gateway makes of their indexes and ids."""

from __future__ import annotations

import json
from typing import Any

import pytest
from wire_table import event, sse

from langchain_openrouter_free.wire import Assembly, ReplyReader, ToolDelta


def piece(index: int | None, call_id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    """A piece of a call as it stands on the wire; what is None is not there."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    about = {key: value for key, value in (("index", index), ("id", call_id)) if value is not None}
    return {**about, "function": function}


def calls(pieces: list[dict[str, Any]]) -> list[ToolDelta]:
    """Return the calls that a stream of such pieces makes."""
    reader, said = ReplyReader(200, {"content-type": "text/event-stream"}), Assembly()
    raw = sse(*(event({"tool_calls": [one]}) for one in pieces), event({}, "tool_calls")).encode()
    for delta in [*reader.feed(raw), *reader.end()]:
        said.add(delta)
    return said.completion().tool_calls


NO = None
STREAMS = {
    "as documented": [(0, "a", "f", '{"x":'), (0, NO, NO, " 1}"), (1, "b", "g", '{"y":'), (1, NO, NO, " 2}")],
    "no index": [(NO, "a", "f", '{"x":'), (NO, NO, NO, " 1}"), (NO, "b", "g", '{"y": 2}')],
    "no index, by id": [(NO, "a", "f", '{"x":'), (NO, "b", "g", '{"y": 2}'), (NO, "a", NO, " 1}")],
    "index 0, whole": [(0, "a", "f", '{"x": 1}'), (0, "b", "g", '{"y": 2}')],
    "index 0, in pieces": [(0, "a", "f", '{"x":'), (0, NO, NO, " 1}"), (0, "b", "g", '{"y":'), (0, NO, NO, " 2}")],
    "index 0, by id": [(0, "a", "f", '{"x":'), (0, "a", NO, " 1}"), (0, "b", "g", '{"y":'), (0, "b", NO, " 2}")],
    "index 0, mixed": [(0, "a", "f", '{"x":'), (0, "b", "g", '{"y":'), (0, "a", NO, " 1}"), (0, "b", NO, " 2}")],
    "index 0, no ids": [(0, NO, "f", '{"x":'), (0, NO, NO, " 1}"), (0, NO, "g", '{"y":'), (0, NO, NO, " 2}")],
    "names again": [(0, "a", "f", '{"x":'), (0, "a", "f", " 1}"), (0, "b", "g", '{"y":'), (0, "b", "g", " 2}")],
    "one id": [(NO, "a", "f", '{"x": 1}'), (NO, "a", "g", '{"y": 2}')],
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_two_calls_stay_two(name: str) -> None:
    found = [(call.name, json.loads(call.arguments)) for call in calls([piece(*one) for one in STREAMS[name]])]
    assert found == [("f", {"x": 1}), ("g", {"y": 2})]
