"""Pitfalls of streaming through a router, by number, against the simulated service."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypedDict

import pytest
from driving import asked
from langchain_core._api.beta_decorator import LangChainBetaWarning
from langchain_core.exceptions import ModelConnectionError
from langchain_core.messages import AIMessage
from langchain_core.messages.block_translators import PROVIDER_TRANSLATORS
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from pitfall_helpers import ADD, FIRST, SECOND, Heard, merged, quiet, trail

from langchain_openrouter_free import AllModelsFailed, ChatOpenRouterFree, StreamInterrupted
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock

pytestmark = pytest.mark.filterwarnings(f"ignore::{LangChainBetaWarning.__module__}.{LangChainBetaWarning.__name__}")

Maker = Callable[..., ChatOpenRouterFree]
# Failures that are seen before the first word.
EARLY = ["429-upstream", "503", "200-error", "error-chunk", "refuse", "404-delisted", "200-empty", "200-html"]
# Failures that are seen after it.
LATE = ["cut", "cut-clean", "error-chunk-after", "error-chunk-choice"]


async def _collect(stream: AsyncIterator[Any], into: list[Any]) -> None:
    """Fill a list that is still there when the stream fails."""
    async for piece in stream:
        into.append(piece)  # noqa: PERF401 - a comprehension would lose them


# -- 4: adding chunks up


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("prompt", ["hello there", "Use add for 3 and 4"])
def test_pitfall_04_chunks_add_up_to_what_invoke_returns(
    sim: Simulator, make_model: Maker, version: str, prompt: str
) -> None:
    sim.script({FIRST: {"do": "ok", "reasoning": "Let me think about that."}})
    model = make_model(sim, output_version=version).bind_tools([ADD])
    whole, added = model.invoke(prompt), merged(list(model.stream(prompt)))
    assert added.text == whole.text
    assert [(c["name"], c["args"]) for c in added.tool_calls] == [(c["name"], c["args"]) for c in whole.tool_calls]
    assert added.usage_metadata == whole.usage_metadata
    assert added.additional_kwargs == whole.additional_kwargs
    own = ("id", "route")
    assert {k: v for k, v in added.response_metadata.items() if k not in own} == {
        k: v for k, v in whole.response_metadata.items() if k not in own
    }
    assert trail(added) == trail(whole) == ["ok"]
    assert added.response_metadata["model_name"] == FIRST
    assert added.response_metadata["model_provider"] == "openrouter"


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_pitfall_04_chunks_say_what_cannot_be_added_up_only_once(
    sim: Simulator, make_model: Maker, version: str
) -> None:
    chunks = list(make_model(sim, output_version=version).stream("hello"))
    for key in ("model_name", "model_provider", "finish_reason", "provider", "route", "token_usage"):
        assert sum(key in chunk.response_metadata for chunk in chunks) == 1, key
    assert sum(chunk.usage_metadata is not None for chunk in chunks) == 1
    assert [chunk.chunk_position for chunk in chunks] == [None] * (len(chunks) - 1) + ["last"]
    assert len({chunk.id for chunk in chunks}) == 1


# -- 5: the commit point


@pytest.mark.parametrize("behaviour", EARLY)
async def test_pitfall_05_commit_point_a_failure_before_it_is_not_seen(
    sim: Simulator, make_model: Maker, behaviour: str
) -> None:
    sim.script({FIRST: quiet(behaviour) | {"comments": 3}, SECOND: quiet()})
    heard = Heard()
    chunks = [c async for c in make_model(sim).astream("hello", config={"callbacks": [heard]})]
    said = merged(chunks)
    assert said.text == f"{SECOND} answers: you said hello"
    assert "".join(heard.tokens) == said.text
    assert asked(sim) == [FIRST, SECOND]
    assert heard.errors == []


@pytest.mark.parametrize("behaviour", LATE)
def test_pitfall_05_commit_point_a_failure_after_it_is_final(sim: Simulator, make_model: Maker, behaviour: str) -> None:
    sim.script({FIRST: quiet(behaviour, text="one two three four five six")})
    got: list[Any] = []
    with pytest.raises(StreamInterrupted) as caught:
        got.extend(make_model(sim).stream("hello"))
    assert isinstance(caught.value, ModelConnectionError)
    assert caught.value.is_retryable
    assert asked(sim) == [FIRST]
    assert caught.value.model == FIRST
    assert caught.value.partial.startswith("one")


async def test_pitfall_05_commit_point_what_was_delivered_is_the_partial_answer(
    sim: Simulator, make_model: Maker
) -> None:
    sim.script({FIRST: quiet("cut", text="one two three four five six", speed=100)})
    got: list[Any] = []
    with pytest.raises(StreamInterrupted) as caught:
        await _collect(make_model(sim).astream("hello"), got)
    assert "".join(chunk.text for chunk in got) == caught.value.partial == "one two three "
    assert asked(sim) == [FIRST]


def test_pitfall_05_commit_point_is_passed_by_reasoning_too(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: {"do": "cut", "reasoning": "thinking long and hard about it", "after": 2}})
    with pytest.raises(StreamInterrupted):
        list(make_model(sim).stream("hello"))
    assert asked(sim) == [FIRST]


@pytest.mark.parametrize("behaviour", LATE)
@pytest.mark.parametrize("asynchronous", ["sync", "async"])
def test_pitfall_05_commit_point_does_not_bind_invoke(
    sim: Simulator, make_model: Maker, behaviour: str, asynchronous: str
) -> None:
    sim.script({FIRST: quiet(behaviour), SECOND: quiet()})
    model = make_model(sim)
    answer = model.invoke("hello") if asynchronous == "sync" else asyncio.run(model.ainvoke("hello"))
    assert answer.text == f"{SECOND} answers: you said hello"


# -- 6: whose words callbacks hear


class State(TypedDict):
    """What the little graph keeps."""

    answer: Any


def _graph(model: ChatOpenRouterFree) -> Any:
    graph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")

    async def ask(_: State) -> State:
        return {"answer": await model.ainvoke("hello")}

    builder = graph.StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_edge(graph.START, "ask")
    builder.add_edge("ask", graph.END)
    return builder.compile()


@pytest.mark.parametrize("behaviour", EARLY)
async def test_pitfall_06_callbacks_of_events_v2_hear_only_the_answer(
    sim: Simulator, make_model: Maker, behaviour: str
) -> None:
    sim.script({FIRST: quiet(behaviour), SECOND: quiet()})
    events = [event async for event in make_model(sim).astream_events("hello", version="v2")]
    texts = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(texts) == f"{SECOND} answers: you said hello"
    assert [event["event"] for event in events].count("on_chat_model_end") == 1


@pytest.mark.parametrize("behaviour", EARLY)
async def test_pitfall_06_callbacks_of_events_v3_hear_only_the_answer(
    sim: Simulator, make_model: Maker, behaviour: str
) -> None:
    sim.script({FIRST: quiet(behaviour), SECOND: quiet()})
    heard = Heard()
    model = make_model(sim)
    stream = await model.astream_events("hello", version="v3", config={"callbacks": [heard]})
    events = [event async for event in stream]
    assert sum(event["event"] == "message-start" for event in events) == 1
    assert (await stream.output).text == f"{SECOND} answers: you said hello"
    assert "".join(heard.tokens) == f"{SECOND} answers: you said hello"
    assert "" not in heard.tokens[:-1]


def test_pitfall_06_callbacks_of_sync_events_v3_hear_only_the_answer(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "429-upstream", SECOND: quiet()})
    stream = make_model(sim).stream_events("hello", version="v3")
    assert "".join(stream.text) == f"{SECOND} answers: you said hello"
    assert stream.output.response_metadata["model_name"] == SECOND


@pytest.mark.parametrize("behaviour", EARLY)
async def test_pitfall_06_callbacks_of_a_graph_hear_only_the_answer(
    sim: Simulator, make_model: Maker, behaviour: str
) -> None:
    sim.script({FIRST: quiet(behaviour), SECOND: quiet()})
    pieces = [piece async for piece, _ in _graph(make_model(sim)).astream({}, stream_mode="messages")]
    assert merged(pieces).text == f"{SECOND} answers: you said hello"
    assert len({piece.id for piece in pieces}) == 1


async def test_pitfall_06_callbacks_of_a_graph_never_hear_two_models_in_one(sim: Simulator, make_model: Maker) -> None:
    """A graph streams what a node merely invokes: the node gets one model's answer, and listeners two messages."""
    sim.script({FIRST: quiet("cut", text="one two three four five six", speed=200), SECOND: quiet()})
    heard: dict[str, str] = {}
    states: list[Any] = []
    async for mode, piece in _graph(make_model(sim)).astream({}, stream_mode=["messages", "values"]):
        if mode == "values":
            states.append(piece)
        else:
            heard[piece[0].id] = heard.get(piece[0].id, "") + piece[0].text
    first, second = heard.values()
    assert "one two three four five".startswith(first)
    assert second == states[-1]["answer"].text == f"{SECOND} answers: you said hello"
    assert states[-1]["answer"].id in heard


@pytest.mark.parametrize("behaviour", LATE)
def test_pitfall_06_callbacks_of_invoke_hear_no_abandoned_token(
    sim: Simulator, make_model: Maker, behaviour: str
) -> None:
    sim.script({FIRST: quiet(behaviour), SECOND: quiet()})
    heard = Heard()
    answer = make_model(sim).invoke("hello", config={"callbacks": [heard]})
    assert heard.tokens == []
    assert heard.ends[0].generations[0][0].text == answer.text


def test_pitfall_06_callbacks_hear_each_token_once(sim: Simulator, make_model: Maker) -> None:
    heard = Heard()
    chunks = list(make_model(sim).stream("hello", config={"callbacks": [heard]}))
    assert heard.tokens == [chunk.text for chunk in chunks]


def test_pitfall_06_callbacks_of_streaming_invoke_hear_the_answer(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "503", SECOND: quiet()})
    heard = Heard()
    answer = make_model(sim, streaming=True).invoke("hello", config={"callbacks": [heard]})
    assert "".join(heard.tokens) == answer.text == f"{SECOND} answers: you said hello"


# -- 7: a consumer that stops early


def _learnt_nothing_bad(sim: Simulator, model: ChatOpenRouterFree) -> None:
    """The server saw the connection close, nobody else was asked, and the model is asked again at once."""
    sim.wait_for(lambda s: s.chats()[0].disconnected_at is not None)
    sim.script({FIRST: "ok"})
    assert model.invoke("hello").response_metadata["model_name"] == FIRST
    assert asked(sim) == [FIRST, FIRST]


LONG = {"do": "stall", "reasoning": False, "after": 2, "text": "one two three"}


def test_pitfall_07_generator_exit_of_a_sync_consumer_is_no_failure(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: LONG})
    model = make_model(sim)
    for chunk in model.stream("hello"):
        assert chunk.text
        break
    gc.collect()
    _learnt_nothing_bad(sim, model)


async def test_pitfall_07_generator_exit_of_a_closed_chain_is_no_failure(sim: Simulator, make_model: Maker) -> None:
    """Of an asynchronous one: a synchronous chain that is closed is read to its end by langchain-core itself."""
    sim.script({FIRST: LONG})
    model = make_model(sim)
    stream = _chain(model).astream({"x": "hello"})
    assert await anext(stream)
    await stream.aclose()
    await asyncio.to_thread(_learnt_nothing_bad, sim, model)


async def test_pitfall_07_generator_exit_of_an_async_consumer_is_no_failure(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: LONG})
    model = make_model(sim)
    stream = model.astream("hello")
    assert isinstance(stream, AsyncGenerator)
    assert (await anext(stream)).text
    await stream.aclose()
    await asyncio.to_thread(_learnt_nothing_bad, sim, model)


async def test_pitfall_07_generator_exit_of_a_loop_that_just_breaks_is_no_failure(
    sim: Simulator, make_model: Maker
) -> None:
    sim.script({FIRST: LONG})
    model = make_model(sim)
    async for chunk in model.astream("hello"):
        assert chunk.text
        break
    gc.collect()
    await asyncio.to_thread(_learnt_nothing_bad, sim, model)


@pytest.mark.parametrize("path", ["ainvoke", "astream"])
async def test_pitfall_07_cancelling_a_task_is_no_failure(sim: Simulator, make_model: Maker, path: str) -> None:
    sim.script({FIRST: LONG})
    model = make_model(sim)

    async def drain() -> None:
        async for _ in model.astream("hello"):
            pass

    task = asyncio.create_task(drain() if path == "astream" else model.ainvoke("hello"))
    await asyncio.to_thread(sim.wait_for, lambda s: s.chats())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(_learnt_nothing_bad, sim, model)


async def test_pitfall_07_a_timeout_around_the_call_is_no_failure_of_the_model(
    sim: Simulator, make_model: Maker
) -> None:
    sim.script({FIRST: "hang-after-headers"})
    model = make_model(sim)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await model.ainvoke("hello")
    await asyncio.to_thread(_learnt_nothing_bad, sim, model)


def test_pitfall_07_an_error_of_the_consumer_is_its_own(sim: Simulator, make_model: Maker) -> None:
    model = make_model(sim)

    def consume() -> None:
        for _ in model.stream("hello"):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        consume()
    gc.collect()
    assert model.invoke("hello").response_metadata["model_name"] == FIRST
    assert asked(sim) == [FIRST, FIRST]


async def test_pitfall_07_an_abandoned_v3_stream_is_no_failure(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: LONG})
    model = make_model(sim)
    stream = model.stream_events("hello", version="v3")
    assert next(iter(stream))
    del stream
    gc.collect()
    await asyncio.to_thread(_learnt_nothing_bad, sim, model)


# -- 9: deadlines of asynchronous streams


def _chain(model: ChatOpenRouterFree) -> Any:
    return ChatPromptTemplate.from_template("{x}") | model | StrOutputParser()


SLOW: dict[str, tuple[Any, dict[str, float], type[Exception]]] = {
    "never-begins": ("hang-after-headers", {"first_token": 0.2}, AllModelsFailed),
    "no-headers": ("hang-before-headers", {"first_token": 0.2}, AllModelsFailed),
    "only-comments": ({"do": "drip", "interval": 0.02}, {"first_token": 0.2}, AllModelsFailed),
    "stalls": (LONG, {"stall": 0.2}, StreamInterrupted),
    "attempt": (LONG, {"attempt": 0.2}, StreamInterrupted),
}


@pytest.mark.wall_clock
@pytest.mark.parametrize(("script", "timeouts", "error"), SLOW.values(), ids=SLOW.keys())
@pytest.mark.timeout(10)
async def test_pitfall_09_async_timeouts_hold_in_a_chain(
    sim: Simulator, make_model: Maker, script: Any, timeouts: dict[str, float], error: type[Exception]
) -> None:
    """In a chain each piece is awaited in a task of its own; a timeout around the whole stream would be lost."""
    sim.script({FIRST: script})
    chain = _chain(make_model(sim, models=[FIRST], timeouts=timeouts))
    with pytest.raises(error):
        async for _ in chain.astream({"x": "hello"}):
            pass


@pytest.mark.wall_clock
@pytest.mark.parametrize(("script", "timeouts", "error"), SLOW.values(), ids=SLOW.keys())
@pytest.mark.timeout(10)
def test_pitfall_09_sync_timeouts_hold_in_a_chain(
    sim: Simulator, make_model: Maker, script: Any, timeouts: dict[str, float], error: type[Exception]
) -> None:
    sim.script({FIRST: script})
    chain = _chain(make_model(sim, models=[FIRST], timeouts=timeouts))
    with pytest.raises(error):
        for _ in chain.stream({"x": "hello"}):
            pass


@pytest.mark.wall_clock
@pytest.mark.timeout(10)
async def test_pitfall_09_async_timeouts_lead_to_the_next_model(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "hang-after-headers", SECOND: quiet()})
    chain = _chain(make_model(sim, timeouts={"first_token": 0.2}))
    assert "".join([text async for text in chain.astream({"x": "hello"})]) == f"{SECOND} answers: you said hello"


STRICT = {"first_token": 5.0, "stall": 5.0, "attempt": 10.0, "call": 20.0}


async def test_pitfall_09_async_timeouts_do_not_count_a_slow_consumer(sim: Simulator, make_model: Maker) -> None:
    """An hour passes between two pieces, and each of them is still welcome."""
    sim.script({FIRST: quiet(text="one two three four five", speed=100)})
    clock = FakeClock()
    texts = []
    async for text in _chain(make_model(sim, timeouts=STRICT, clock=clock)).astream({"x": "hello"}):
        texts.append(text)
        clock.advance(3600)
    assert "".join(texts) == "one two three four five"
    assert asked(sim) == [FIRST]


def test_pitfall_09_sync_timeouts_do_not_count_a_slow_consumer(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: quiet(text="one two three four five", speed=100)})
    clock = FakeClock()
    texts = []
    for chunk in make_model(sim, timeouts=STRICT, clock=clock).stream("hello"):
        texts.append(chunk.text)
        clock.advance(3600)
    assert "".join(texts) == "one two three four five"


@pytest.mark.wall_clock
@pytest.mark.timeout(10)
async def test_pitfall_09_async_timeouts_still_hold_after_a_slow_consumer(sim: Simulator, make_model: Maker) -> None:
    """The consumer's real time is given back, and no more than that."""
    sim.script({FIRST: LONG})
    stream = make_model(sim, models=[FIRST], timeouts={"stall": 0.2, "first_token": 0.2}).astream("hello")
    await anext(stream)
    await asyncio.sleep(0.3)
    with pytest.raises(StreamInterrupted):
        async for _ in stream:
            pass


# -- 10: standard content blocks


async def _gathered(stream: AsyncIterator[Any]) -> AIMessage:
    return merged([chunk async for chunk in stream])


async def test_pitfall_10_v1_content_keeps_reasoning_and_tool_calls_apart(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: {"do": "ok", "reasoning": "Adding is called for."}})
    model = make_model(sim, output_version="v1").bind_tools([ADD])
    said = await _gathered(model.astream("Use add for 3 and 4"))
    assert [block["type"] for block in said.content_blocks] == ["reasoning", "tool_call"]
    first = said.content_blocks[0]
    assert first["type"] == "reasoning"
    assert first["reasoning"] == "Adding is called for."
    assert said.tool_calls[0]["args"] == {"a": 3, "b": 4}


def test_pitfall_10_v1_content_has_an_index_of_ours_on_each_block(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: {"do": "ok", "reasoning": "Two times."}})
    model = make_model(sim, output_version="v1").bind_tools([ADD])
    chunks = list(model.stream("Use add for 3, 4; use add for 5, 6"))
    blocks: list[Any] = [block for chunk in chunks for block in chunk.content]
    indices: dict[str, set[str]] = {block["type"]: set() for block in blocks}
    for block in blocks:
        indices[block["type"]].add(block["index"])
    assert indices == {"reasoning": {"lc_rs_0"}, "tool_call_chunk": {"lc_tc_0", "lc_tc_1"}}
    assert [call["args"] for call in merged(chunks).tool_calls] == [{"a": 3, "b": 4}, {"a": 5, "b": 6}]


def test_pitfall_10_v1_content_of_invoke_and_of_a_text_stream_agree(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: {"do": "ok", "reasoning": "Be friendly."}})
    model = make_model(sim, output_version="v1")
    whole, added = model.invoke("hello"), merged(list(model.stream("hello")))
    kinds = [block["type"] for block in whole.content_blocks]
    assert kinds == [block["type"] for block in added.content_blocks] == ["reasoning", "text"]
    assert whole.text == added.text


def test_pitfall_10_v1_content_leaves_langchains_table_of_translators_alone(sim: Simulator, make_model: Maker) -> None:
    """The table is the process's: what is put there for "openrouter" would change other packages' messages."""
    make_model(sim, output_version="v1").invoke("hello")
    assert "openrouter" not in PROVIDER_TRANSLATORS
