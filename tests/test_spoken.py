"""Texts that say nothing to their reader: thoughts that a host has left in them, marks, characters that nobody sees."""

from __future__ import annotations

from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, drive, make
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free import StreamInterrupted
from langchain_openrouter_free.protocol.spoken import CLOSES, OPENS, Opening, is_answer
from langchain_openrouter_free.simulator import Simulator

pytestmark = pytest.mark.one_simulator

STREAMED = ("stream", "astream")
THOUGHTS = [
    "<think> let me see </think>",
    "<think>\nlet me see\n</think>\n\n",
    "<think> let me see",
    "\n<think> a </think> ",
]
NOTHING = [
    "\u200b \u200b",
    "\x00",
    "\ufeff",
    "<|im_end|>",
    "<|eot_id|>\u2060",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
]
SILENT = [(text, "only_thoughts") for text in THOUGHTS] + [(text, "empty") for text in NOTHING]
# What begins like a mark, or has one further on, is said.
SAID = [
    "<think> a </think>\n\nYes.",
    "<",
    "<thinkers> of old",
    "a <think>b</think>",
    "\U0001f468\u200d\U0001f469",
    "<|",
]


def _says(sim: Simulator, text: str, **more: Any) -> None:
    sim.script({TWENTY[0]: {"do": "ok", "text": text, "reasoning": False, "speed": 200, **more}, TWENTY[1]: "ok"})


@pytest.mark.parametrize("wire", ["stream", "plain"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("text", "row"), SILENT)
def test_what_says_nothing_moves_on(sim: Simulator, text: str, row: str, path: str, wire: str) -> None:
    """Nothing of it is seen, on streams either: the next model's answer is the only one."""
    _says(sim, text)
    told = drive(make(sim, TWENTY[:2], wire=wire), path)
    assert told.outcomes == [row, "ok"]
    assert told.text.startswith(TWENTY[1])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("text", "row"), SILENT)
def test_it_can_be_accepted(sim: Simulator, text: str, row: str, path: str) -> None:
    """It is then delivered as it came."""
    _says(sim, text)
    told = drive(make(sim, TWENTY[:2], accept={row}), path)
    assert (told.text, asked(sim)) == (text, [TWENTY[0]])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("text", SAID)
def test_what_says_something_is_delivered_as_it_came(sim: Simulator, text: str, path: str) -> None:
    """With its thoughts, which are held back until the first word."""
    _says(sim, text)
    told = drive(make(sim, TWENTY[:2]), path)
    assert (told.outcomes, told.text) == (["ok"], text)


@pytest.mark.parametrize("path", PATHS)
def test_thoughts_whose_beginning_is_not_marked_are_known_by_their_end(sim: Simulator, path: str) -> None:
    """Some templates of prompts hold the first tag. What a stream has shown by then is final."""
    _says(sim, "let me see </think>\n")
    model = make(sim, TWENTY[:2])
    if path in STREAMED:
        with pytest.raises(StreamInterrupted) as caught:
            drive(model, path)
        assert caught.value.attempts[-1].outcome == "only_thoughts"
    else:
        assert drive(model, path).outcomes == ["only_thoughts", "ok"]


@pytest.mark.parametrize("path", STREAMED)
def test_a_model_that_dies_in_its_thoughts_is_not_seen(sim: Simulator, path: str) -> None:
    """Nothing was said yet, so the next one answers."""
    _says(sim, "<think> let me see </think> Yes.", do="cut", after=2)
    told = drive(make(sim, TWENTY[:2]), path)
    assert (told.outcomes, told.text[: len(TWENTY[1])]) == (["cut", "ok"], TWENTY[1])


PIECES = ["<", "think>", "</think>", "<think>", "</", "<|", "im_end", "|>", "\u200b", " ", "a"]


@given(st.lists(st.sampled_from(PIECES)))
def test_a_text_may_come_in_any_pieces(found: list[str]) -> None:
    """Once it has spoken it stays so, and in the end the pieces are what the whole is."""
    opening, text = Opening(), "".join(found)
    spoke = [opening.speaks(piece) for piece in found]
    assert spoke == sorted(spoke)
    assert any(spoke) == Opening().speaks(text)
    if any(spoke) and (OPENS in text or CLOSES not in text):
        assert is_answer(text)


def test_thoughts_without_end_are_read_in_no_time() -> None:
    """Each is passed over once."""
    text = "<think></think>" * 200_000
    assert not Opening().speaks(text)
    assert not is_answer(text)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("text", ['<think> {a} </think>\n{"name": "Ann"}', 'so</think>```json\n{"name": "Ann"}\n```'])
def test_an_object_is_read_behind_its_thoughts(sim: Simulator, text: str, path: str) -> None:
    """Whether the object is wanted by a schema or by a `response_format` of one's own."""
    _says(sim, text)
    schema = {"title": "Person", "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    runnable = make(sim, TWENTY[:2]).with_structured_output(schema)
    assert runnable.invoke("Who?") == {"name": "Ann"}
    wish = {"type": "json_schema", "json_schema": {"name": "Person", "schema": schema}}
    assert drive(make(sim, TWENTY[:2]), path, response_format=wish).outcomes == ["ok"]
    assert set(asked(sim)) == {TWENTY[0]}
