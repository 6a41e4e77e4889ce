"""An event that is like the one before it: what is read of it is what reading it anew would find."""

import itertools
import json
import random
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import ABSENT, FOLDER, cassettes, interactions

from langchain_openrouter_free.protocol import alike, floods
from langchain_openrouter_free.protocol.reasoning import merge_reasoning_details
from langchain_openrouter_free.protocol.wire import Assembly, Completion, Delta, ReplyError, ReplyReader

STREAM = {"content-type": "text/event-stream"}


def read(
    data: bytes, cuts: tuple[int, ...] = (), *, whole: bool = False
) -> tuple[list[Delta], object, bool, bool, bool]:
    """Return what a reader makes of a stream: its deltas, its error, and what it knows of the end."""
    reader, deltas, error = ReplyReader(200, STREAM, whole=whole), [], None
    places = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    try:
        for start, end in itertools.pairwise(places):
            deltas += reader.feed(data[start:end])
        deltas += reader.end()
    except ReplyError as failed:
        deltas += [*failed.before, *failed.said]
        error = failed.body
    return deltas, error, reader.finished, reader.ended, reader.lost


def read_anew(data: bytes, cuts: tuple[int, ...] = ()) -> tuple[list[Delta], object, bool, bool, bool]:
    """Return what a reader makes of a stream that decodes each event."""
    with patch.object(alike, "_PATIENCE", 0):
        return read(data, cuts)


def together(deltas: list[Delta]) -> Completion:
    """Return deltas as one, its blocks of thoughts as they are handed out."""
    assembly = Assembly()
    for delta in deltas:
        assembly.add(delta)
    said = assembly.completion()
    said.reasoning_details = merge_reasoning_details(said.reasoning_details)
    return said


def event(said: dict[str, Any], choice: dict[str, Any] | None = None, **more: Any) -> bytes:
    choices = [{"index": 0, "delta": said, "finish_reason": None, **(choice or {})}]
    return b"data: " + json.dumps({**more, "id": "gen-1", "model": "a/b:free", "choices": choices}).encode() + b"\n\n"


def words(*said: str) -> bytes:
    return b"".join(event({"role": "assistant", "content": word}) for word in said)


# Mostly the same, so that most events are alike, and sometimes not.
PLAIN: dict[str, Any] = {}
WORDS = [*["a", "b", "a b"] * 6, "", " ", 'say "', "\\", "a\nb", '","refusal":"no', "[DONE]", "\x7f", "\u00e9", None]
PARTS = [{"type": "text", "text": "a"}]
BESIDE = [
    *[PLAIN] * 12,
    {"reasoning": "because"},
    {"refusal": "no"},
    {"reasoning": None, "reasoning_details": []},
    {"reasoning_details": [{"type": "reasoning.text", "text": "because"}]},
    {"tool_calls": [{"index": 0}]},
    {"tool_calls": [{"id": "c", "function": {"name": "f"}}]},
]
CHOICE = [*[PLAIN] * 24, {"finish_reason": "stop"}, {"text": "old"}, {"logprobs": {"content": []}}]
AROUND = [*[PLAIN] * 24, {"usage": {"prompt_tokens": 1}}, {"created": 2}, {"content": "a"}, {"error": None}]
ODD = [
    b"data: [DONE]\n\n",
    b": waiting\n\n",
    b'data: {"error": {"message": "no", "code": 429}}\n\n',
    b'data: {"choices": [{"delta": {"content": "a", "content": "a"}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": "b", "content": "a"}}]}\n\n',
    b'data: {"content": "a", "choices": [{"delta": {"content": "a"}}]}\n\n',
    b'data: {"content": "b", "choices": [{"delta": {"content": "a"}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": "a"}}]} {"choices": [{"delta": {"content": "b"}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": "a"}}],\ndata: "id": "two lines"}\n\n',
    b"data: {\n\n",
]


# How a thought stands in an event, and what looks like it.
THOUGHTS: list[Callable[[Any], dict[str, Any]]] = [
    lambda w: {"content": "", "reasoning": w, "reasoning_details": [block(text=w, format="unknown", index=0)]},
    lambda w: {"reasoning": w, "reasoning_details": [block(summary=w, id="r", index=1)]},
    lambda w: {"content": None, "reasoning": w},
    lambda w: {"reasoning_content": w},
    lambda w: {"reasoning": w, "reasoning_content": w},
    lambda w: {"reasoning": w, "reasoning_content": "a"},
    lambda w: {"reasoning_details": [block(text=w)]},
    lambda w: {"reasoning": w, "reasoning_details": [block(text=w, index=0), block(data=w, index=1)]},
    lambda w: {"reasoning": w, "reasoning_details": [block(text="a", data="a", index=0)]},
    lambda w: {"reasoning": w, "reasoning_details": [block(text=w, index=0), block(text=w, index=1)]},
    lambda w: {"reasoning": w, "reasoning_details": [block(text="", summary=w, index=0)]},
    lambda w: {"content": w, "reasoning": w},
    lambda w: {"content": w},
]


def block(**said: Any) -> dict[str, Any]:
    return {"type": "reasoning.text", **said}


def some_thoughts(chance: random.Random) -> bytes:
    """Some events that are alike, but for a word, and sometimes for more."""
    shape, said = chance.choice(THOUGHTS), b""
    for _ in range(chance.randint(1, 6)):
        more = chance.choice(BESIDE) if chance.random() < 0.05 else {}
        said += event(shape(chance.choice(WORDS)) | more, chance.choice(CHOICE), **chance.choice(AROUND))
    return said


def some_event(chance: random.Random) -> bytes:
    if chance.random() < 0.05:
        return chance.choice(ODD)
    content = PARTS if chance.random() < 0.05 else chance.choice(WORDS)
    said = {"role": "assistant", "content": content} | chance.choice(BESIDE)
    return event(said, chance.choice(CHOICE), **chance.choice(AROUND))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("some", [some_event, some_thoughts])
def test_it_changes_nothing_of_what_is_read(some: Callable[[random.Random], bytes], seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        data = b"".join(some(chance) for _ in range(20 if some is some_event else 8))
        cuts = tuple(chance.choices(range(len(data)), k=chance.randint(0, 3)))
        anew = read_anew(data)
        assert read(data, cuts) == anew
        # Where nobody listens, words are joined; all in all nothing else is said.
        joined = read(data, cuts, whole=True)
        assert (together(joined[0]), joined[1:]) == (together(anew[0]), anew[1:])


@pytest.mark.parametrize("seed", range(3))
def test_nor_of_thoughts_that_have_no_end(seed: int) -> None:
    chance = random.Random(seed)
    with patch.multiple(floods, MOST_THOUGHTS=60, LONG=20):
        for _ in range(100):
            data = b"".join(some_thoughts(chance) for _ in range(8))
            cuts = tuple(chance.choices(range(len(data)), k=chance.randint(0, 3)))
            anew = read_anew(data, cuts)
            assert read(data, cuts) == anew
            assert read(data, cuts, whole=True)[1] == anew[1]


@given(st.integers(0, 300), st.binary(min_size=1, max_size=3))
def test_nor_where_a_byte_of_an_event_is_another(place: int, put: bytes) -> None:
    data = words("one", "two", "three", "four")
    damaged = data[:place] + put + data[place + len(put) :]
    assert read(damaged) == read_anew(damaged)


@pytest.mark.skipif(not FOLDER.is_dir(), reason=ABSENT)
def test_nor_of_any_recorded_stream() -> None:
    streams = [one.raw for path in cassettes() for one in interactions(path) if one.streamed]
    assert streams
    for body in streams:
        assert read(body) == read_anew(body)


@pytest.mark.parametrize("behind", [None, 0, -1, -2, 40])
def test_an_event_with_another_word_is_not_decoded(behind: int | None) -> None:
    """Whether they come together, or one by one: with its end, without it, or in the midst of the next."""
    said = [words(f"word {number} ") for number in range(50)]
    body = b"".join(said)
    cuts = () if behind is None else tuple(total + behind for total in itertools.accumulate(map(len, said)))
    with patch("langchain_openrouter_free.protocol.payloads.LENIENT") as decoder:
        real = json.JSONDecoder(strict=False)
        decoder.raw_decode.side_effect = real.raw_decode
        deltas, *_ = read(body, cuts)
    assert [delta.text for delta in deltas] == [f"word {number} " for number in range(50)]
    assert {(delta.id, delta.model) for delta in deltas} == {("gen-1", "a/b:free")}
    assert decoder.raw_decode.call_count == 2  # the first event, and once more with another word


@pytest.mark.parametrize("shape", THOUGHTS[:3])
def test_nor_one_with_another_thought(shape: Callable[[str], dict[str, Any]]) -> None:
    body = b"".join(event(shape(f"word {number} ")) for number in range(50))
    with patch("langchain_openrouter_free.protocol.payloads.LENIENT") as decoder:
        decoder.raw_decode.side_effect = json.JSONDecoder(strict=False).raw_decode
        deltas, *_ = read(body, whole=True)
    assert "".join(delta.reasoning for delta in deltas) == "".join(f"word {number} " for number in range(50))
    assert (len(deltas), decoder.raw_decode.call_count) == (2, 2)


def test_words_that_come_together_are_one_where_nobody_listens() -> None:
    first, second = words("one ", "two ", "three "), words("four ", "five ")
    reader = ReplyReader(200, STREAM, whole=True)
    assert [delta.text for delta in reader.feed(first)] == ["one ", "two three "]
    assert [delta.text for delta in reader.feed(second)] == ["four five "]


def test_events_that_are_never_alike_are_soon_not_compared_any_more() -> None:
    body = b"".join(event({"content": f"w{number}"}, created=number) for number in range(50))
    with patch("langchain_openrouter_free.protocol.payloads.LENIENT") as decoder:
        decoder.raw_decode.side_effect = json.JSONDecoder(strict=False).raw_decode
        read(body)
    assert decoder.raw_decode.call_count <= 53
