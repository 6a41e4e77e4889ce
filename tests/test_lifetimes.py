"""What a call holds is let go of when it is over, not when the garbage collector comes: prompts can be large."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import httpcore
import planted
import pytest
from driving import PATHS, TWENTY, drive, make

from langchain_openrouter_free import ChatOpenRouterFree, OpenRouterFreeError
from langchain_openrouter_free.connections.network import AsyncDeadlineBackend
from langchain_openrouter_free.engine.attempt import Attempt
from langchain_openrouter_free.engine.engine import Attempts
from langchain_openrouter_free.engine.sources import ServiceSource
from langchain_openrouter_free.request.call import Call
from langchain_openrouter_free.simulator import Simulator

pytestmark = [pytest.mark.one_simulator, pytest.mark.usefixtures("_no_collector")]

# LangChain's `agenerate` keeps an error in its own frame: what is left of a failed `ainvoke` is not ours to mend.
FAILING = ["invoke", "stream", "astream"]
# Failures before the first word: of the connection, told by the status, in the body, in an event, by the answer.
BEFORE = ["refuse", "500", "200-error", "error-chunk", "200-empty"]


@pytest.fixture(scope="module")
def _old_things() -> Iterator[None]:
    """What was there before is not looked through for each test: the whole suite is in this process."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def _no_collector(_old_things: None) -> Iterator[None]:
    """The garbage collector stands still during a test."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def fail(router: ChatOpenRouterFree, path: str) -> None:
    """Call the router, and forget its error at once: asyncio's tasks remember those that leave them."""

    async def run() -> None:
        with contextlib.suppress(OpenRouterFreeError):
            _ = [chunk async for chunk in router.astream("tell me a word")]

    if path == "astream":
        asyncio.run(run())
    else:
        with contextlib.suppress(OpenRouterFreeError):
            drive(router, path)


def held() -> list[str]:
    """The parts of calls that are still there."""
    assert planted.leaked() == []  # which lets go of the errors that it keeps
    kinds = (Call, Attempts, Attempt, ServiceSource)
    return [type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, kinds)]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fault", ["ok", *BEFORE])
def test_nothing_is_left_of_an_answered_call(sim: Simulator, fault: str, path: str) -> None:
    """Of a call that was answered, at once or by the third model, nothing is left."""
    sim.script(dict.fromkeys(TWENTY[:2], fault))
    router = make(sim)
    assert drive(router, path).text
    assert held() == []


@pytest.mark.parametrize("path", FAILING)
@pytest.mark.parametrize("fault", [*BEFORE, "401", "429-account-day"])
def test_nothing_is_left_of_a_failed_call(sim: Simulator, fault: str, path: str) -> None:
    """Of a call that nobody answered, nothing is left once its error is."""
    sim.script({"*": fault})
    router = make(sim)
    fail(router, path)
    assert sim.chats()
    assert held() == []


@pytest.mark.parametrize("path", ["stream", "astream"])
@pytest.mark.parametrize("then", ["raise", "restart", "continue"])
def test_nothing_is_left_of_an_interrupted_stream(sim: Simulator, then: str, path: str) -> None:
    """Nor of a stream that broke off behind its first words, whatever follows then."""
    sim.script({TWENTY[0]: "500", TWENTY[1]: {"do": "error-chunk-after", "after": 2, "speed": 30}})
    router = make(sim, on_interrupt=then)
    fail(router, path)
    assert held() == []


def test_nothing_is_left_of_a_stream_that_was_left(sim: Simulator) -> None:
    """Nor of one whose caller went away after its first words."""
    sim.script({TWENTY[0]: "500"})
    words = make(sim).stream("tell me a word")
    next(words)
    words.close()  # type: ignore[attr-defined]
    del words
    assert held() == []


@pytest.mark.parametrize("path", FAILING)
@pytest.mark.parametrize("arguments", [{"accept": lambda _: "no"}, {"hedge_after": 0.05}, {"wire": "plain"}])
def test_nothing_is_left_of_other_ways(sim: Simulator, path: str, arguments: dict[str, Any]) -> None:
    """Nor where answers are unwanted, where two models are asked at once, or replies come whole."""
    sim.script({TWENTY[0]: {"do": "ok", "latency": 0.2}})
    fail(make(sim, **arguments), path)
    assert held() == []


def test_nothing_is_left_of_an_object_of_the_wrong_form(sim: Simulator) -> None:
    """Nor of one that held an object that does not fit, and that is told in the error."""
    sim.script({"*": "wrong-schema"})
    schema = {"title": "Word", "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    with contextlib.suppress(OpenRouterFreeError):
        make(sim).with_structured_output(schema).invoke("tell me a word")
    assert held() == []


def test_nothing_is_left_of_a_connection_that_is_made_as_they_are_closed(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its call is answered all the same, and the loop keeps no socket for it."""
    model, connect = make(sim), AsyncDeadlineBackend.connect_tcp
    model.refresh()

    async def run() -> int:
        connected, closed, sockets = asyncio.Event(), asyncio.Event(), []

        async def slow(self: AsyncDeadlineBackend, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
            stream = await connect(self, *args, **kwargs)
            sockets.append(stream.get_extra_info("socket"))
            connected.set()
            await closed.wait()
            return stream

        monkeypatch.setattr(AsyncDeadlineBackend, "connect_tcp", slow)
        call = asyncio.create_task(model.ainvoke("hi"))
        await connected.wait()
        await model.aclose()
        closed.set()
        assert (await call).text
        (used,) = sockets
        return int(used.fileno())

    assert asyncio.run(run()) == -1
