"""A request that never left costs no slot, and the model that it was meant for is not blamed."""

from __future__ import annotations

import asyncio
import signal
import time
from threading import Event
from typing import Any

import h11
import httpx
import pytest
from driving import PATHS, TWENTY, asked, book_of, by_a_pool, drive, make
from money_world import DEAR, World

from langchain_openrouter_free import AllModelsFailed, MemoryStore
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.connections.network import AsyncDeadlineBackend, DeadlineBackend
from langchain_openrouter_free.engine.portal import PORTAL
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock


def _used(store: MemoryStore, now: float) -> int:
    return book_of(store).windows.used(now)[1]


@pytest.mark.parametrize("path", PATHS)
def test_a_connection_that_takes_all_the_time(sim: Simulator, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """It is there, but past the deadline for the first word, and the request is not sent any more."""
    clock, slow = FakeClock(), list[float]()
    plain, aplain = DeadlineBackend.connect_tcp, AsyncDeadlineBackend.connect_tcp

    def connect(self: DeadlineBackend, *args: Any, **kwargs: Any) -> Any:
        stream = plain(self, *args, **kwargs)
        clock.advance(slow.pop() if slow else 0.0)
        return stream

    async def aconnect(self: AsyncDeadlineBackend, *args: Any, **kwargs: Any) -> Any:
        stream = await aplain(self, *args, **kwargs)
        clock.advance(slow.pop() if slow else 0.0)
        return stream

    store = MemoryStore()
    model = make(sim, state=store, clock=clock)
    drive(model, path)
    CLIENTS.close()
    slow.append(50.0)
    monkeypatch.setattr(DeadlineBackend, "connect_tcp", connect)
    monkeypatch.setattr(AsyncDeadlineBackend, "connect_tcp", aconnect)
    assert drive(model, path).outcomes == ["unreachable", "ok"]
    assert asked(sim) == TWENTY[:2], "the first one before"
    assert _used(store, clock.now()) == 2
    assert TWENTY[0] not in book_of(store).cooldowns


def test_a_client_of_your_own_whose_connections_are_all_in_use(sim: Simulator) -> None:
    """What waited in vain for one of them has not left."""
    sim.offer(TWENTY[3])
    sim.script({TWENTY[3]: "hang-after-headers"})
    with httpx.Client(limits=httpx.Limits(max_connections=1)) as client:
        store, clock = MemoryStore(), FakeClock()
        model = make(sim, state=store, clock=clock, http_client=client, timeouts={"first_token": 0.2})
        drive(model, "invoke")
        held = client.send(
            client.build_request(
                "POST",
                f"{sim.base_url}/chat/completions",
                headers={"Authorization": f"Bearer {sim.api_key}"},
                json={"model": TWENTY[3], "stream": True, "messages": [{"role": "user", "content": "hello"}]},
            ),
            stream=True,
        )
        with pytest.raises(AllModelsFailed, match="no connection of the HTTP client was free"):
            drive(model, "invoke")
        held.close()
        assert asked(sim) == [TWENTY[0], TWENTY[3]]
        assert _used(store, clock.now()) == 1, "the first call's"
        assert drive(model, "invoke").outcomes == ["ok"]


@pytest.fixture
def nowhere(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Event:
    """Connections of event loops never stand once a chat has come; set when one is tried."""
    plain, tried = AsyncDeadlineBackend.connect_tcp, Event()

    async def connect(self: AsyncDeadlineBackend, *args: Any, **kwargs: Any) -> Any:
        if sim.chats():
            tried.set()
            await asyncio.Event().wait()
        return await plain(self, *args, **kwargs)

    PORTAL.close()
    monkeypatch.setattr(AsyncDeadlineBackend, "connect_tcp", connect)
    return tried


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
def test_a_rival_that_is_left_while_it_connects(sim: Simulator, nowhere: Event, path: str) -> None:
    """The silent model speaks before the second one's connection stands: only one request has left."""
    sim.script({TWENTY[0]: {"do": "ok", "latency": 0.4}})
    store = MemoryStore()
    told = drive(make(sim, state=store, hedge_after=0.1), path)
    assert nowhere.is_set()
    assert told.outcomes == ["abandoned", "ok"]
    assert asked(sim) == TWENTY[:1]
    assert _used(store, time.time()) == 1
    assert book_of(store).cooldowns == {}


def pressed(*_: Any, **__: Any) -> None:
    """The user presses Ctrl-C."""
    raise KeyboardInterrupt


async def cancelled(model: Any, path: str, who: str, nowhere: Event) -> None:
    """Call a model, and cancel that once it connects."""
    call = model.ainvoke("hi", model=who) if path == "ainvoke" else anext(aiter(model.astream("hi", model=who)))
    task = asyncio.ensure_future(call)
    assert await asyncio.to_thread(nowhere.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("who", [TWENTY[0], DEAR["id"]], ids=["free", "paid"])
def test_a_call_that_is_left_while_it_connects(
    sim: Simulator, nowhere: Event, monkeypatch: pytest.MonkeyPatch, path: str, who: str
) -> None:
    """It costs no slot, and no money: none is held back any more, and nothing counts as unknown."""
    world = World(sim, FakeClock())
    sim.script({TWENTY[0]: "ok"})
    model = world.model()
    model.invoke("hi")
    before, used = model.spending(), _used(world.store, world.clock.now())
    if path in ("ainvoke", "astream"):
        asyncio.run(cancelled(model, path, who, nowhere))
    else:
        CLIENTS.close()
        monkeypatch.setattr(DeadlineBackend, "connect_tcp", pressed)
        with pytest.raises(KeyboardInterrupt):
            drive(model, path, model=who)
    assert len(sim.chats()) == 1
    assert model.spending() == before
    assert _used(world.store, world.clock.now()) == used
    assert model.history(1)[0].outcome == "abandoned"


@pytest.mark.parametrize("path", ["invoke", "stream"])
def test_a_connection_that_an_interruption_has_left_between_two_replies_is_nobodys_fault(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """It takes no request: none leaves, no model rests for it, and the next call is answered all the same."""
    sim.reset()
    by_a_pool(monkeypatch)
    model = make(sim)
    assert drive(model, path).text
    with monkeypatch.context() as patch:
        patch.setattr(h11.Connection, "start_next_cycle", lambda _: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            drive(model, path)
    assert drive(model, path).text
    assert drive(model, path).text
    assert [attempt.outcome for attempt in model.history(1)[0].attempts] == ["ok"]
    assert asked(sim)[2:] == [TWENTY[1], TWENTY[0]]
