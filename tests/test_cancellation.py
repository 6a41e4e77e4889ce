"""Wherever a task is cancelled, its call leaves nothing behind: no connection, no task, no slot."""

from __future__ import annotations

import asyncio
import functools
import itertools
import socket
import threading
import types
from collections.abc import Coroutine, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bare_servers import Slow
from driving import PATHS, TWENTY, by_a_pool, drive, make
from money_world import World

from langchain_openrouter_free import ChatOpenRouterFree, MemoryStore
from langchain_openrouter_free.catalogue.listings import LISTINGS
from langchain_openrouter_free.connections import transport
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.connections.deadlines import Deadline
from langchain_openrouter_free.engine.attempt import Attempt
from langchain_openrouter_free.engine.payments import Payments
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

pytestmark = pytest.mark.one_simulator

BROKEN = {"do": "cut", "after": 2, "speed": 200, "reasoning": False}
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "answered": ({}, {}),
    "moved": ({TWENTY[0]: "503"}, {}),
    "broken off": ({TWENTY[0]: BROKEN}, {"on_interrupt": "restart"}),
    "hedged": ({TWENTY[0]: {"do": "ok", "latency": 0.1}}, {"hedge_after": 0.01}),
    "hedged, moved": ({TWENTY[0]: "503"}, {"hedge_after": 5}),
}


@types.coroutine
def _cancelled(work: Coroutine[Any, Any, object], at: int, *, again: bool) -> Generator[Any, Any, bool]:
    """Do the work, and cancel its task as it is suspended for the so manieth time; tell whether it came to that.

    `again`: and whenever it is from then on, as a scope of anyio does until its tasks are over.
    """
    task, error = asyncio.current_task(), None
    assert task is not None
    for suspended in itertools.count(1):
        try:
            awaited = work.send(None) if error is None else work.throw(error)
        except StopIteration:
            return suspended > at
        if suspended == at or (again and suspended > at):
            task.cancel()
        error = None
        try:
            yield awaited
        except BaseException as thrown:  # noqa: BLE001 - it is the work's
            error = thrown
    raise AssertionError


async def _cancel(model: ChatOpenRouterFree, at: int, *, again: bool) -> bool:
    """Cancel a streamed call, and look at the loop's connections; tell whether it was over before."""

    async def consume() -> None:
        async for _ in model.astream(f"hi {at}"):
            pass

    async def cancelled() -> None:
        assert not await _cancelled(consume(), at, again=again), "a cancellation was swallowed"

    task = asyncio.create_task(cancelled())
    await asyncio.wait([task])
    if late := asyncio.all_tasks() - {asyncio.current_task()}:
        # A thread that works for the task is let come to its end.
        assert not (await asyncio.wait(late, timeout=5))[1]
    for client in (await CLIENTS._of_loop()).clients:
        pool: Any = client.client._transport
        assert client.under_way == 0
        assert client.client.connections.busy == set()
        assert [one for one in pool._pool.connections if not (one.is_idle() or one.is_closed())] == []
    if not task.cancelled():
        task.result()
    return not task.cancelled()


@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
@pytest.mark.parametrize("blocking", [False, True], ids=["memory", "file"])
@pytest.mark.parametrize(
    ("scripts", "arguments", "pooled"),
    [(*way, False) for way in WAYS.values()] + [(*WAYS["answered"], True)],
    ids=[*WAYS, "answered, by a pool"],
)
def test_a_stream_that_is_cancelled_anywhere(
    sim: Simulator,
    scripts: dict[str, Any],
    arguments: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pooled: bool,
    blocking: bool,
    again: bool,
) -> None:
    """All connections are closed or idle, no slot is lost but for a request that may have left; one row tells of it."""
    if pooled:
        by_a_pool(monkeypatch)
    for at in itertools.count(1):
        sim.reset()
        sim.script(scripts)
        LISTINGS.clear()
        store = SqliteStore(tmp_path / f"{at}.sqlite3") if blocking else MemoryStore()
        model = make(sim, TWENTY[:2], state=store, **arguments)
        is_over = asyncio.run(_cancel(model, at, again=again))
        taken = max(model._accounts().look().windows.days.values(), default=0)
        # What was sent last before may have arrived just now.
        seen = [chat for chat in sim.chats() if chat.body["messages"][-1]["content"] == f"hi {at}"]
        assert 0 <= taken - len(seen) <= 2, at
        rows = model.history()
        assert len(rows) <= 1, at
        assert sum(len(row.attempts) for row in rows) >= len(seen), at
        if isinstance(store, SqliteStore):
            store.close()
        if is_over:
            break
    assert at >= 10


def _packed_otherwise(connection: socket.socket, _over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Encoding: br\r\n\r\nnobody asked for that")


@pytest.mark.parametrize("pooled", [False, True], ids=["ours", "by a pool"])
async def test_whoever_is_cancelled_as_a_reply_that_cannot_be_read_is_closed(
    monkeypatch: pytest.MonkeyPatch, *, pooled: bool
) -> None:
    if pooled:
        by_a_pool(monkeypatch)
    late = Deadline(5.0, "call", lambda: 0.0)
    with Slow(_packed_otherwise) as server:

        async def ask(at: int) -> None:
            request = transport.Outgoing(server.base_url, {}, b"{}")
            with suppress(transport.TransportFault):
                await _cancelled(transport.AsyncReply.open(None, request, late, late), at, again=False)

        for at in range(1, 15):
            await asyncio.wait([asyncio.create_task(ask(at))])
            (counted,) = (await CLIENTS._of_loop()).clients
            pool: Any = counted.client._transport
            assert (counted.under_way, counted.client.connections.busy, pool._pool.connections) == (0, set(), [])


@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
def test_whoever_is_cancelled_as_clients_are_closed(sim: Simulator, *, again: bool) -> None:
    """All of their connections are."""

    async def close(at: int) -> bool:
        await asyncio.gather(*(make(sim).ainvoke("hi") for _ in range(6)))
        clients = [counted.client for counted in (await CLIENTS._of_loop()).clients]
        waiting = [one for client in clients for deque in client.connections._waiting.values() for one, _ in deque]
        closing = asyncio.create_task(_closed(at))
        await asyncio.wait([closing])
        await asyncio.sleep(0)
        assert len(clients) > 1
        assert [stream for stream in waiting if not stream.get_extra_info("is_readable")] == []
        return not closing.cancelled()

    async def _closed(at: int) -> None:
        await _cancelled(CLIENTS.aclose(), at, again=again)

    assert [asyncio.run(close(at)) for at in (1, 2, 4, 20)] == [False, False, False, True]


class Interrupted:
    """A function in whose first call the user presses Ctrl-C."""

    def __init__(self, function: Any) -> None:
        self.function, self.pressed = function, False

    def __get__(self, owner: Any, _: Any = None) -> Any:
        return functools.partial(self, owner)

    def __call__(self, *arguments: Any) -> Any:
        if not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt
        return self.function(*arguments)


def _interrupt(model: ChatOpenRouterFree, monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, name, Interrupted(getattr(where, name)))
        with pytest.raises(KeyboardInterrupt):
            model.invoke("hi")


@pytest.mark.parametrize(("where", "name"), [(Payments, "_is_blind"), (Attempt, "__init__")])
def test_what_is_interrupted_before_it_leaves_costs_nothing(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    """What was held back for a paid attempt is given back at once, in each page of money."""
    world = World(sim, FakeClock())
    model = world.model(account_budget="$9")
    model.invoke("hi")
    before = model.spending()
    _interrupt(model, monkeypatch, where, name)
    assert model.spending() == before


@pytest.mark.parametrize(("where", "name"), [(transport, "_unpacker"), (Attempt, "_judged")])
def test_what_is_interrupted_is_closed_and_settled(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    """As its reply begins, and as it is left."""
    model = make(sim)
    model.refresh()
    _interrupt(model, monkeypatch, where, name)
    clients: list[Any] = CLIENTS._of_threads().clients
    assert {client.under_way for client in clients} == {0}
    assert [client.client.connections.busy for client in clients] == [set() for _ in clients]
    assert all(one.is_idle() for client in clients for one in client.client._transport._pool.connections)
    (call,) = model.history()
    assert [one.outcome for one in call.attempts] == ["ok" if where is not transport else "abandoned"]


class Leaving(FakeClock):
    """The clock of somebody who does not stay as long as is to be waited."""

    def sleep(self, _: float) -> None:
        self.advance(2)
        raise KeyboardInterrupt

    async def asleep(self, _: float) -> None:
        self.advance(2)
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)


@pytest.mark.parametrize("blocking", [False, True], ids=["memory", "file"])
@pytest.mark.parametrize("path", PATHS)
def test_a_call_that_is_left_between_its_attempts_is_kept(
    sim: Simulator, tmp_path: Path, path: str, *, blocking: bool
) -> None:
    """As it waits for a model that has refused it: in one row, and to who listens."""
    told: list[Any] = []
    store = SqliteStore(tmp_path / "state.sqlite3") if blocking else MemoryStore()
    sim.script({TWENTY[0]: {"do": "429-upstream", "retry_after": 5}})
    model = make(sim, TWENTY[:1], clock=Leaving(), state=store, on_route=told.append)
    with pytest.raises(asyncio.CancelledError if path.startswith("a") else KeyboardInterrupt):
        drive(model, path)
    (call,) = model.history()
    assert (call.outcome, [one.outcome for one in call.attempts]) == ("abandoned", ["upstream_limit"])
    assert call.waited_s == 2
    assert [moment["outcome"] for moment in told] == [None, None, "abandoned"]
