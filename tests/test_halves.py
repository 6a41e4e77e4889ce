"""Characters that came in halves: whoever reads an answer gets whole ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free.protocol.wire import Assembly, Completion, ReplyReader

STREAM = {"Content-Type": "text/event-stream"}
ANY = st.text(st.characters(codec="utf-8") | st.sampled_from("😀𝄞a"), max_size=12)


def units_of(text: str) -> list[str]:
    """A text as a gateway has it that counts in UTF-16."""
    told = text.encode("utf-16-be", "surrogatepass")
    return [chr(int.from_bytes(told[at : at + 2])) for at in range(0, len(told), 2)]


def read(deltas: list[dict[str, Any]]) -> Completion:
    reader, assembly = ReplyReader(200, STREAM), Assembly()
    for delta in deltas:
        event = json.dumps({"choices": [{"index": 0, "delta": delta}]})
        for found in reader.feed(f"data: {event}\n\n".encode()):
            assembly.add(found)
    return assembly.completion()


def calling(piece: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": piece}}]}


@given(ANY, st.integers(1, 3))
def test_a_text_is_whole_wherever_it_was_cut(text: str, length: int) -> None:
    """Words, thoughts and arguments are told beside each other, and are not mixed up."""
    units = units_of(text)
    pieces = ["".join(units[at : at + length]) for at in range(0, len(units), length)]
    said = read([delta for one in pieces for delta in ({"content": one}, {"reasoning": one}, calling(one))])
    assert (said.text, said.reasoning) == (text, text)
    assert [call.arguments for call in said.tool_calls if call.arguments] == ([text] if text else [])


@given(st.lists(st.text(st.sampled_from("\ud83d\ude00a😀 "), max_size=4), max_size=6))
def test_no_answer_has_half_a_character(pieces: list[str]) -> None:
    """It can be printed and written, and nothing else of it is lost."""
    told = read([{"content": piece} for piece in pieces]).text
    told.encode()
    whole = "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert told == (whole if not pieces or told == whole else whole.removesuffix("\ufffd"))


@pytest.mark.parametrize("headers", [STREAM, {"Content-Type": "application/json"}])
def test_half_a_character_in_a_plain_answer_is_replaced(headers: dict[str, str]) -> None:
    reader = ReplyReader(200, headers)
    reader.feed(rb'{"choices": [{"message": {"content": "he\ud83dllo"}, "finish_reason": "stop"}]}')
    assert [delta.text for delta in reader.end()] == ["he\ufffdllo"]
