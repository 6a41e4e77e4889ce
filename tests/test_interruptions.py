"""What follows where a streamed answer breaks off after its first words, on every path over a real socket."""

from __future__ import annotations

import asyncio
import copy
import json
import operator
import pickle
from collections.abc import AsyncGenerator, Generator
from itertools import pairwise
from typing import Any

import pytest
from driving import PATHS, TWENTY, Told, asked, drive, make
from langchain_core._api.beta_decorator import LangChainBetaWarning
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableLambda
from money_world import DEAR, PAYING
from pitfall_helpers import ADD, Heard
from recorded import Player

from langchain_openrouter_free import (
    AllModelsFailed,
    ChatOpenRouterFree,
    ConfigurationError,
    FreeQuotaExhausted,
    MemoryStore,
    StreamInterrupted,
)
from langchain_openrouter_free.engine.delivery import CONTINUE
from langchain_openrouter_free.protocol.wire import ReplyError
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.testing import FakeClock
from langchain_openrouter_free.words.restarts import RestartableChunk, restartable

pytestmark = [
    pytest.mark.one_simulator,
    pytest.mark.filterwarnings(f"ignore::{LangChainBetaWarning.__module__}.{LangChainBetaWarning.__name__}"),
]

STREAMS = PATHS[2:]
STALL = pytest.param("stall", marks=pytest.mark.wall_clock)
LATE = ["cut", "cut-clean", "error-chunk-after", "error-chunk-choice", STALL]
QUICK = {"first_token": 2, "stall": 0.3}


def _breaks(how: str = "cut", **more: Any) -> dict[str, Any]:
    """A script that breaks off after two words, one by one so that they arrive before it does."""
    return {"do": how, "text": "one two three four", "reasoning": False, "after": 2, "speed": 100} | more


def _says(text: str, **more: Any) -> dict[str, Any]:
    return {"do": "ok", "text": text, "reasoning": False} | more


# -- raise


@pytest.mark.parametrize("path", STREAMS)
def test_the_error_holds_the_partial_message(sim: Simulator, path: str) -> None:
    """With its text, its reasoning, whose words they are, and every attempt; it can be pickled and copied."""
    sim.script({TWENTY[0]: "503", TWENTY[1]: _breaks(reasoning="hm well", after=1)})
    told = Told()
    with pytest.raises(StreamInterrupted) as caught:
        drive(make(sim), path, told=told)
    error = caught.value
    assert (error.partial, error.model) == (told.text, TWENTY[1]) == ("one ", TWENTY[1])
    assert isinstance(error.partial_message, AIMessage)
    assert error.partial_message.text == "one "
    assert error.partial_message.additional_kwargs["reasoning"] == "hm well"
    assert error.partial_message.response_metadata["model_name"] == TWENTY[1]
    assert [one.outcome for one in error.attempts] == ["overloaded", "cut"]
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (again.partial, again.partial_message, again.attempts) == ("one ", error.partial_message, error.attempts)


@pytest.mark.parametrize("path", ["stream", "astream"])
@pytest.mark.parametrize("end", ["\n\ndata: [DONE]\n\n", "\n\n", ""], ids=["done", "closed", "unended"])
def test_words_before_an_error_were_said_however_the_bytes_are_cut(end: str, path: str) -> None:
    """All of it in one piece, or the error in the last line of all: the caller has the words, and the error."""
    words = {"choices": [{"index": 0, "delta": {"content": "one two "}, "finish_reason": None}]}
    error = {"error": {"code": 502, "message": "Provider returned error"}, "choices": []}
    raw = "".join(f"data: {json.dumps(part)}\n\n" for part in (words, error)).rstrip() + end
    with Player() as service:
        service.reply = (200, "text/event-stream", raw.encode())
        model = ChatOpenRouterFree(
            models=["recorded/model:free"],
            api_key="sk-or-v1-replay",
            base_url=service.base_url,
            state=MemoryStore(),
            max_wait=0.0,
        )
        told = Told()
        with pytest.raises(StreamInterrupted, match="Provider returned error") as broken:
            drive(model, path, told=told)
    assert (told.text, broken.value.partial) == ("one two ", "one two ")


@pytest.mark.parametrize("path", STREAMS)
def test_the_partial_message_holds_the_tool_calls_so_far(sim: Simulator, path: str) -> None:
    """One whose arguments are not whole is an invalid one. (Thoughts came first: calls alone are shown when whole.)"""
    sim.script({TWENTY[0]: {"do": "cut", "reasoning": "let me add", "after": 2, "speed": 100}})
    with pytest.raises(StreamInterrupted) as caught:
        drive(make(sim).bind_tools([ADD]), path, "Use add for 3 and 4")
    message = caught.value.partial_message
    assert [call["name"] for call in (*message.tool_calls, *message.invalid_tool_calls)] == ["add"]


# -- restart


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("fault", LATE)
def test_a_restart_is_marked_and_voids_what_came_before(sim: Simulator, fault: str, path: str, version: str) -> None:
    """The chunks: words, a mark, another message's words. Their sum is the second model's answer alone."""
    sim.script({TWENTY[0]: _breaks(fault), TWENTY[1]: "429-upstream", TWENTY[2]: _says("quite another answer")})
    model = make(sim, on_interrupt="restart", timeouts=QUICK, output_version=version)
    told = drive(model, path)
    assert told.text == "one two quite another answer", "as it was heard"
    assert told.message.text == "quite another answer"
    assert type(told.message) is AIMessageChunk
    (mark,) = told.message.response_metadata["interrupted"]
    assert (mark["then"], mark["model"], mark["characters"]) == ("restart", TWENTY[0], 8)
    assert mark["reason"]
    assert told.outcomes[1:] == ["upstream_limit", "ok"]
    assert told.meta["model_name"] == TWENTY[2]
    assert told.message.usage_metadata is not None
    assert told.message.usage_metadata["output_tokens"] > 0
    assert told.pieces.index("") == told.pieces.index("two ") + 1, "the mark comes with the first new word"


@pytest.mark.parametrize("path", STREAMS)
def test_several_restarts_are_all_told(sim: Simulator, path: str) -> None:
    sim.script({TWENTY[0]: _breaks(), TWENTY[1]: _breaks(), TWENTY[2]: _says("at last")})
    told = drive(make(sim), path, on_interrupt="restart")
    assert told.message.text == "at last"
    assert [mark["model"] for mark in told.message.response_metadata["interrupted"]] == TWENTY[:2]
    assert told.outcomes == ["cut", "cut", "ok"]


@pytest.mark.parametrize("then", ["restart", "continue"])
@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize(("fault", "row"), [("200-empty", "empty"), ("200-filtered", "moderated")])
def test_an_accepted_answer_without_a_word_comes_behind_the_mark(
    sim: Simulator, fault: str, row: str, path: str, then: str
) -> None:
    """There is no first word that the mark could stand before; the words of the other model are not its own."""
    sim.script({TWENTY[0]: _breaks(), TWENTY[1]: fault})
    told = drive(make(sim, on_interrupt=then, accept={row}), path)
    assert told.outcomes == ["cut", "ok"]
    (mark,) = told.message.response_metadata["interrupted"]
    assert (mark["then"], mark["model"]) == (then, TWENTY[0])
    assert told.message.text == ("" if then == "restart" else "one two ")


async def test_an_invoke_that_others_listen_to_returns_an_accepted_answer_without_a_word(sim: Simulator) -> None:
    """The caller gets the second model's answer, which is empty, as one gets it to whom nobody listens."""
    sim.script({TWENTY[0]: _breaks(), TWENTY[1]: "200-empty"})
    model = make(sim, accept={"empty"})
    events = [event async for event in RunnableLambda(model.ainvoke).astream_events("hi", version="v2")]
    answer = events[-1]["data"]["output"]
    assert (answer.text, answer.response_metadata["model_name"]) == ("", TWENTY[1])


@pytest.mark.parametrize("path", STREAMS)
def test_tool_calls_of_two_models_are_never_mixed(sim: Simulator, path: str) -> None:
    sim.script({TWENTY[0]: {"do": "cut", "reasoning": "let me add", "after": 2, "speed": 100}})
    model = make(sim, on_interrupt="restart").bind_tools([ADD])
    told = drive(model, path, "Use add for 3 and 4")
    assert [call["name"] for call in told.message.tool_calls] == ["add"]
    assert told.message.invalid_tool_calls == []
    assert len(told.message.response_metadata["interrupted"]) == 1


@pytest.mark.parametrize("then", ["restart", "continue"])
@pytest.mark.parametrize("path", STREAMS)
def test_where_nobody_takes_over_the_caller_is_told_what_he_has(sim: Simulator, path: str, then: str) -> None:
    """No mark, for the words still stand; the error says why they broke off, and why nobody else answered."""
    sim.script({TWENTY[0]: _breaks(), "*": "503"})
    told = Told()
    with pytest.raises(StreamInterrupted, match="nobody took over") as caught:
        drive(make(sim, on_interrupt=then), path, told=told)
    assert caught.value.partial == caught.value.partial_message.text == told.text == told.message.text == "one two "
    assert [one.outcome for one in caught.value.attempts] == ["cut", "overloaded", "overloaded"]
    assert caught.value.route["outcome"] == "interrupted"
    ended = caught.value.__cause__
    assert isinstance(ended, AllModelsFailed)
    assert isinstance(ended.__cause__, ReplyError)


@pytest.mark.parametrize("path", STREAMS)
def test_a_spent_day_after_the_first_words(path: str) -> None:
    """What ended the call is the cause of the error."""
    clock = FakeClock()
    with Simulator(Scenario(per_day=1), clock=clock.now) as strict:
        model = make(strict, clock=clock, limits={"per_day": 1}, on_interrupt="restart")
        strict.script({TWENTY[0]: _breaks()})
        with pytest.raises(StreamInterrupted) as caught:
            drive(model, path)
        assert isinstance(caught.value.__cause__, FreeQuotaExhausted)
        assert len(strict.chats()) == 1


def _pieces() -> list[AIMessageChunk]:
    mark = {"interrupted": [{"then": "restart", "model": "a", "reason": "r", "characters": 4}]}
    made = [
        AIMessageChunk(content="one "),
        AIMessageChunk(content="", response_metadata=mark),
        AIMessageChunk(content="two"),
        AIMessageChunk(content="!"),
    ]
    return [restartable(one) for one in made]


def test_however_chunks_are_added_up_the_sum_is_one_models() -> None:
    """Pairwise, by the list, by twos, as generations, after a pickle: always what follows the last restart."""
    a, mark, b, c = _pieces()
    sums = [
        a + mark + b + c,
        operator.add(a, [mark, b, c]),
        (a + mark) + (b + c),
        AIMessageChunk(content="plain ") + mark + b + c,
        pickle.loads(pickle.dumps(a)) + pickle.loads(pickle.dumps([mark, b, c])),
        (ChatGenerationChunk(message=a) + [ChatGenerationChunk(message=one) for one in (mark, b, c)]).message,
    ]
    assert [one.text for one in sums] == ["two!"] * len(sums)
    assert {type(one) for one in sums} == {AIMessageChunk}
    assert RestartableChunk.lc_id() == AIMessageChunk.lc_id()
    with pytest.raises(TypeError):
        a + 3


# -- continue


@pytest.mark.parametrize("path", STREAMS)
def test_another_model_goes_on_after_the_words(sim: Simulator, path: str) -> None:
    """It is shown them and asked to go on; the seams stand in the metadata, at their characters."""
    sim.script({TWENTY[0]: _breaks(), TWENTY[1]: _breaks(text="three four five", after=1), TWENTY[2]: _says("four")})
    told = drive(make(sim), path, "count", on_interrupt="continue")
    assert told.text == told.message.text == "one two three four"
    seams = told.message.response_metadata["interrupted"]
    assert [(one["then"], one["model"], one["characters"]) for one in seams] == [
        ("continue", TWENTY[0], 8),
        ("continue", TWENTY[1], 14),
    ]
    assert told.meta["model_name"] == TWENTY[2]
    assert [[(m["role"], m["content"]) for m in chat.body["messages"]] for chat in sim.chats()] == [
        [("user", "count")],
        [("user", "count"), ("assistant", "one two "), ("user", CONTINUE)],
        [("user", "count"), ("assistant", "one two three "), ("user", CONTINUE)],
    ]


@pytest.mark.parametrize("path", STREAMS)
def test_thoughts_of_who_goes_on_are_not_shown(sim: Simulator, path: str) -> None:
    """They are about the break; and a break in them loses nothing, so the next one is asked."""
    sim.script(
        {
            TWENTY[0]: _breaks(reasoning="my own thought"),
            TWENTY[1]: {"do": "cut", "reasoning": "where was I", "after": 0, "speed": 100},
            TWENTY[2]: _says("three", reasoning="about the break"),
        }
    )
    told = drive(make(sim, on_interrupt="continue"), path)
    assert told.message.text == "one two three"
    assert told.message.additional_kwargs["reasoning"] == "my own thought"
    assert "reasoning_details" not in told.message.additional_kwargs
    assert told.outcomes == ["cut", "cut", "ok"]


BOUND = {
    "tools": {"tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]},
    "json": {"response_format": {"type": "json_object"}},
}


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("bound", BOUND.values(), ids=BOUND)
def test_nobody_goes_on_in_tool_calls_or_json(sim: Simulator, bound: dict[str, Any], path: str) -> None:
    sim.script({TWENTY[0]: _breaks()})
    with pytest.raises(StreamInterrupted):
        drive(make(sim, on_interrupt="continue"), path, **bound)
    assert len(sim.chats()) == 1


@pytest.mark.parametrize("path", STREAMS)
def test_nobody_goes_on_where_only_thoughts_were_said(sim: Simulator, path: str) -> None:
    sim.script({TWENTY[0]: _breaks(reasoning="a thought and", after=0)})
    with pytest.raises(StreamInterrupted):
        drive(make(sim, on_interrupt="continue"), path)
    assert len(sim.chats()) == 1


@pytest.mark.parametrize("path", STREAMS)
def test_a_paid_model_does_not_go_on(sim: Simulator, path: str) -> None:
    """Its budget is held back for the request, not for the words that it would be sent beside it."""
    paying = {**PAYING, "paid_models": [DEAR["id"]]}
    for then in ("continue", "restart"):
        sim.reset(Scenario(models=[DEAR, TWENTY[0]], scripts={TWENTY[0]: _breaks()}))
        model = make(sim, TWENTY[:1], on_interrupt=then, **paying)
        if then == "restart":
            assert drive(model, path).meta["model_name"] == DEAR["id"]
            continue
        with pytest.raises(StreamInterrupted):
            drive(model, path)
        assert asked(sim) == TWENTY[:1]


# -- invoke, and what LangChain streams in its place


@pytest.mark.parametrize("then", ["raise", "restart", "continue"])
@pytest.mark.parametrize("path", PATHS[:2])
def test_invoke_starts_over_whatever_is_set(sim: Simulator, path: str, then: str) -> None:
    sim.script({TWENTY[0]: _breaks(), TWENTY[1]: _says("whole")})
    told = drive(make(sim, on_interrupt=then), path)
    assert (told.text, told.outcomes) == ("whole", ["cut", "ok"])
    assert "interrupted" not in told.meta


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("path", PATHS[:2])
def test_an_invoke_that_is_streamed_to_callbacks_starts_over(sim: Simulator, path: str, version: str) -> None:
    """The caller gets one model's answer, a plain message; who listens hears the mark, and another message after it."""
    sim.script({TWENTY[0]: _breaks(), TWENTY[1]: _says("whole again")})
    heard = Heard()
    told = drive(make(sim, streaming=True, output_version=version), path, config={"callbacks": [heard]})
    assert (told.text, told.outcomes) == ("whole again", ["cut", "ok"])
    assert type(told.message) is AIMessage
    assert told.meta["interrupted"][0]["model"] == TWENTY[0]
    assert len(heard.errors) == 0
    assert heard.ends[0].generations[0][0].text == "whole again"


@pytest.mark.parametrize("path", PATHS[:2])
def test_an_invoke_that_is_streamed_fails_like_any_invoke(sim: Simulator, path: str) -> None:
    """The caller has no words that could be partial: the error is that of the call."""
    clock = FakeClock()
    with Simulator(Scenario(per_day=1), clock=clock.now) as strict:
        model = make(strict, clock=clock, limits={"per_day": 1}, streaming=True)
        strict.script({TWENTY[0]: _breaks()})
        with pytest.raises(FreeQuotaExhausted):
            drive(model, path)


def test_the_stream_after_an_invoke_is_no_invoke(sim: Simulator) -> None:
    sim.script({"*": _breaks()})
    model = make(sim, streaming=True)
    with pytest.raises(AllModelsFailed):
        model.invoke("hi")
    sim.script({"*": _breaks()})
    with pytest.raises(StreamInterrupted):
        list(make(sim, streaming=True).stream("hi"))


async def test_events_of_a_node_that_invokes(sim: Simulator) -> None:
    """`astream_events` streams what is merely invoked: its end is one model's answer, and its middle is marked."""
    sim.script({TWENTY[0]: _breaks(), TWENTY[1]: _says("whole again")})
    model = make(sim)
    chain = RunnableLambda(model.invoke) | RunnableLambda(lambda answer: answer.text)
    events = [event async for event in chain.astream_events("hi", version="v2")]
    chunks = [event["data"]["chunk"] for event in events if event["event"] == "on_chat_model_stream"]
    (end,) = [event["data"]["output"] for event in events if event["event"] == "on_chat_model_end"]
    assert end.text == "whole again"
    assert events[-1]["data"]["output"] == "whole again"
    assert [chunk.text for chunk in chunks if chunk.text] == ["one ", "two ", "whole ", "again"]
    marks = [place for place, chunk in enumerate(chunks) if "interrupted" in chunk.response_metadata]
    assert len(marks) == 1
    assert [before.id == after.id for before, after in pairwise(chunks)].index(False) == marks[0] - 1


@pytest.mark.parametrize("then", ["raise", "restart"])
async def test_protocol_events_know_no_restart(sim: Simulator, then: str) -> None:
    """In a stream of version 3 what was said cannot be taken back: it is an error there."""
    sim.script({TWENTY[0]: _breaks()})
    stream = await make(sim, on_interrupt=then).astream_events("hi", version="v3")
    with pytest.raises(StreamInterrupted):
        async for _ in stream:
            pass
    assert asked(sim) == TWENTY[:1]


async def test_protocol_events_of_who_goes_on(sim: Simulator) -> None:
    """To go on takes nothing back, so that is told in version 3 as well."""
    sim.script({TWENTY[0]: _breaks(), TWENTY[1]: _says("three four")})
    stream = await make(sim, on_interrupt="continue").astream_events("count", version="v3")
    async for _ in stream:
        pass
    message = await stream.output
    assert message.text == "one two three four"
    assert [one["characters"] for one in message.response_metadata["interrupted"]] == [8]


# -- beside it


def test_the_time_of_the_caller_is_not_the_calls(sim: Simulator) -> None:
    """What he takes between the words of an attempt that breaks off does not eat up the call's deadline."""
    clock = FakeClock()
    sim.script({TWENTY[0]: _breaks(speed=30), TWENTY[1]: _says("whole")})
    model = make(sim, clock=clock, timeouts={"call": 50}, on_interrupt="restart")
    said = ""
    for chunk in model.stream("hi"):
        said += chunk.text
        clock.advance(40)
    assert said == "one two whole"


@pytest.mark.parametrize("path", STREAMS)
def test_who_stops_after_a_restart_cools_nobody_further(sim: Simulator, path: str) -> None:
    """A caller who leaves in the second answer closes it, and it is one call in the book."""
    sim.script({TWENTY[0]: _breaks(), TWENTY[1]: _breaks("stall")})
    store = MemoryStore()
    model = make(sim, state=store, on_interrupt="restart")

    async def run() -> None:
        stream = model.astream("hi")
        assert isinstance(stream, AsyncGenerator)
        async for chunk in stream:
            if chunk.response_metadata.get("interrupted"):
                break
        await stream.aclose()

    if path == "astream":
        asyncio.run(run())
    else:
        stream = model.stream("hi")
        assert isinstance(stream, Generator)
        assert any(chunk.response_metadata.get("interrupted") for chunk in stream)
        stream.close()
    sim.wait_for(lambda s: s.chats()[1].disconnected_at is not None)
    sim.script(dict.fromkeys(TWENTY[:2], "ok"))
    assert drive(model, "invoke").meta["model_name"] == TWENTY[1]


@pytest.mark.parametrize("then", ["resume", True, ""])
def test_what_follows_is_checked(sim: Simulator, then: Any) -> None:
    with pytest.raises(ConfigurationError, match="on_interrupt"):
        make(sim, on_interrupt=then)
    with pytest.raises(ConfigurationError, match="on_interrupt"):
        make(sim).invoke("hi", on_interrupt=then)
