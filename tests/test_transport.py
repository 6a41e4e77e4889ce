"""Clients, loops, forks and deadlines: what stands between the engine and the socket."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from typing import Any

import httpcore
import httpx
import pytest
from bare_servers import Forwarding, Slow
from driving import PATHS, TWENTY, asked, by_a_pool, drive, make

from langchain_openrouter_free import AllModelsFailed, MemoryStore, StreamInterrupted
from langchain_openrouter_free.connections import direct, exchange
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.connections.deadlines import Deadline
from langchain_openrouter_free.connections.network import DeadlineBackend, keep_deadlines
from langchain_openrouter_free.connections.transport import AsyncReply
from langchain_openrouter_free.simulator import Scenario, Simulator


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


def test_the_seam_for_deadlines_is_there() -> None:
    """httpx still lets a pool's network backend be replaced, sync and async; without it deadlines would be vague."""
    with httpx.Client() as client:
        assert keep_deadlines([client._transport]) == 1
        assert isinstance(client._transport, httpx.HTTPTransport)
        assert isinstance(client._transport._pool._network_backend, DeadlineBackend)
    assert keep_deadlines([httpx.AsyncClient()._transport]) == 1
    assert keep_deadlines([object(), httpx.MockTransport(lambda r: httpx.Response(200)), None]) == 0


def test_a_deadline_is_a_number_for_those_who_do_not_know_it() -> None:
    """As a float it is the seconds left at its making; moved, it says the new rest."""
    deadline = Deadline(12.0, "stall", lambda: 10.0)
    assert deadline == pytest.approx(2.0)
    deadline.at = 11.0
    assert deadline.remaining() == pytest.approx(1.0)


def test_twenty_loops_leave_no_client(sim: Simulator) -> None:
    """One asyncio.run after another: each loop closes its own client, nothing leaks, nothing warns."""
    sim.reset()
    model = make(sim)
    before = CLIENTS.count()
    for _ in range(20):
        asyncio.run(model.ainvoke("hi"))
    gc.collect()
    assert CLIENTS.count() == before
    sim.wait_for(lambda s: len(s.chats()) == 20)


def test_one_loop_uses_its_connection_again(sim: Simulator) -> None:
    """Calls on one loop share a connection."""
    sim.reset()
    model = make(sim)

    async def run() -> None:
        for _ in range(5):
            await model.ainvoke("hi")
            async for _ in model.astream("hi"):
                pass

    asyncio.run(run())
    assert len({chat.connection for chat in sim.chats()}) == 1


def test_many_at_once_on_a_loop_share_them_over_pools(sim: Simulator) -> None:
    """A pool that is full stays small, and room in the first one is used again; the loop closes all of them."""
    sim.reset(Scenario(scripts={"*": {"do": "stall", "after": 3}}))
    model = make(sim)
    used: list[set[int]] = []

    async def run() -> None:
        for calls in (10, 1, 10):
            streams = [model.astream("hi") for _ in range(calls)]
            await asyncio.gather(*(anext(stream) for stream in streams))
            used.append({id(client) for client in CLIENTS._loops[id(asyncio.get_running_loop())].pools.clients})
            await asyncio.gather(*(stream.aclose() for stream in streams))  # type: ignore[attr-defined]
            again = await CLIENTS.asynchronous()
            again.ended()
            assert id(again) in used[0]

    asyncio.run(run())
    assert [len(clients) for clients in used] == [3, 3, 3]
    assert used[0] == used[2]


def test_a_pool_that_nobody_uses_any_more_is_closed(sim: Simulator) -> None:
    """Many calls at once, on threads and on a loop: a minute after the last, only the first pool is left."""
    sim.reset(Scenario(scripts={"*": {"do": "stall", "after": 3}}))
    model = make(sim)
    CLIENTS.close()
    streams = [model.stream("hi") for _ in range(9)]
    assert all(next(stream) for stream in streams)
    _, pools = CLIENTS._sync or (0, None)
    assert pools is not None
    assert len(pools.clients) == 3
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]
    assert [counted.under_way for counted in pools.clients] == [0, 0, 0]
    spare = pools.clients[1:]
    for counted in spare:
        counted.used_at -= 61
    assert CLIENTS.sync() is CLIENTS.sync() is pools.clients[0]
    assert all(counted.client.is_closed for counted in spare)
    CLIENTS.close()


def test_many_threads_share_one_client(sim: Simulator) -> None:
    """200 calls over 32 threads on one object: every answer arrives."""
    sim.reset()
    answers = make(sim).batch([f"word {n}" for n in range(200)], config={"max_concurrency": 32})
    assert len(answers) == 200
    assert all(f"word {n}" in answer.text for n, answer in enumerate(answers))


def test_closing_is_clean_and_not_final(sim: Simulator) -> None:
    """close and aclose end the connections; the next call opens new ones."""
    sim.reset()
    model = make(sim)
    model.invoke("hi")
    model.close()
    model.invoke("hi")

    async def run() -> None:
        await model.ainvoke("hi")
        await model.aclose()
        await model.ainvoke("hi")

    asyncio.run(run())
    assert len({chat.connection for chat in sim.chats()}) == 4


@pytest.mark.parametrize("pooled", [False, True], ids=["ours", "by a pool"])
@pytest.mark.parametrize("fault", ["ok", "error-chunk", "503"])
def test_whoever_is_cancelled_as_a_reply_is_closed_leaves_no_connection_behind(
    sim: Simulator, fault: str, monkeypatch: pytest.MonkeyPatch, *, pooled: bool
) -> None:
    """A cancellation in any turn of the loop while a reply is closed: it is passed on, and the pool holds nothing."""
    sim.reset()
    if pooled:
        by_a_pool(monkeypatch)
    sim.script({"*": fault})
    turn, close = 0, AsyncReply.close

    async def cancelled_meanwhile(reply: AsyncReply) -> None:
        task = asyncio.current_task()
        assert task is not None
        closing = asyncio.create_task(_after(turn, task.cancel))
        try:
            await close(reply)
        finally:
            await asyncio.shield(closing)

    monkeypatch.setattr(AsyncReply, "close", cancelled_meanwhile)

    async def run() -> None:
        nonlocal turn
        while turn < 6:
            with suppress(asyncio.CancelledError, AllModelsFailed, StreamInterrupted):
                async for _ in make(sim, TWENTY[:1], max_wait=0).astream("hi"):
                    pass
            turn += 1
        client = await CLIENTS.asynchronous_to_keep()
        transport = client._transport
        assert isinstance(transport, httpx.AsyncHTTPTransport)
        pool: Any = transport._pool
        assert (client.connections.busy, pool._requests) == (set(), [])
        assert all(one.is_idle() or one.is_closed() for one in pool.connections)

    asyncio.run(run())


async def _after(turns: int, work: Callable[[], object]) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    work()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_child_has_its_own_client(sim: Simulator) -> None:
    """A child does not write into its parent's connection."""
    sim.reset()
    model = make(sim)
    model.invoke("parent")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if "child" in model.invoke("child").text else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    model.invoke("parent again")
    first, second, third = (chat.connection for chat in sim.chats())
    assert first == third != second


def test_your_own_client_is_used(sim: Simulator) -> None:
    """A given http_client carries the requests, with its headers."""
    sim.reset()
    with httpx.Client(headers={"X-Mine": "yes"}) as client:
        make(sim, http_client=client).invoke("hi")
    assert sim.chats()[0].headers["x-mine"] == "yes"


def test_headers_of_a_request(sim: Simulator) -> None:
    """App attribution, your own headers and the key go along; nothing else of yours."""
    sim.reset()
    make(sim, app_url="https://example.org", app_title="Example", default_headers={"X-Two": "2"}).invoke("hi")
    sent = sim.chats()[0].headers
    assert (sent["http-referer"], sent["x-title"], sent["x-two"]) == ("https://example.org", "Example", "2")
    assert sent["content-type"] == "application/json"


def test_the_body_of_a_request(sim: Simulator) -> None:
    """Parameters of the model and of the call, the call's winning; nothing that was not asked for."""
    sim.reset()
    model = make(
        sim,
        temperature=0.5,
        max_tokens=50,
        reasoning={"effort": "low"},
        provider={"sort": "latency"},
        extra_body={"verbosity": "low"},
        stop=["END"],
    )
    model.invoke("hi", temperature=0.1, seed=7)
    assert sim.chats()[0].body == {
        "model": TWENTY[0],
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.1,
        "max_tokens": 50,
        "seed": 7,
        "stop": ["END"],
        "reasoning": {"effort": "low"},
        "provider": {"sort": "latency"},
        "verbosity": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
        "usage": {"include": True},
    }


def _headers_by_bytes(connection: socket.socket, over: threading.Event) -> None:
    for letter in b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100_000:
        connection.sendall(bytes([letter]))
        if over.wait(0.02):
            return


def _comment_then_silence(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    over.wait(0.25)
    connection.sendall(b": OPENROUTER PROCESSING\n\n")
    over.wait(20)


def _words_for_ever(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    while not over.wait(0.02):
        connection.sendall(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n')


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS[:2])
@pytest.mark.parametrize("script", [_headers_by_bytes, _comment_then_silence, _words_for_ever])
def test_the_wall_clock_counts_not_the_bytes(script: Any, path: str) -> None:
    """Headers by single bytes, a comment shortly before the deadline, words for ever: 0.4 s are 0.4 s."""
    with Slow(script) as server, Simulator() as sim:
        model = make(sim, TWENTY[:1], timeout=0.4).model_copy(update={"base_url": server.base_url})
        began = time.monotonic()
        with pytest.raises(AllModelsFailed) as caught:
            drive(model, path)
        assert 0.39 < time.monotonic() - began < 1.5
        assert caught.value.attempts[0].outcome == "timed_out"


def test_a_stream_below_http_is_read_to_its_end() -> None:
    """Without Content-Length or chunks the end of the connection ends the reply."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        connection.sendall(b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n')

    with Slow(script) as server, Simulator() as sim:
        model = make(sim, TWENTY[:1]).model_copy(update={"base_url": server.base_url})
        assert drive(model, "invoke").text == "hi"


@pytest.mark.wall_clock
def test_usage_that_never_comes_does_not_cost_the_answer() -> None:
    """After its finish reason an answer waits for usage no longer than the stall, and is kept."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        connection.sendall(b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n')
        over.wait(20)

    with Slow(script) as server, Simulator() as sim:
        model = make(sim, TWENTY[:1], timeouts={"stall": 0.2}).model_copy(update={"base_url": server.base_url})
        for path in PATHS:
            assert drive(model, path).text == "hi"


class BlockingStore(MemoryStore):
    """A store that says it may block, and writes down on which thread it was asked."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def update(self, ref: Any, change: Any) -> Any:
        self.threads.add(threading.get_ident())
        return super().update(ref, change)


def test_a_store_that_may_block_is_asked_off_the_loop(sim: Simulator) -> None:
    """Async calls leave the event loop for it, and a model is made on one without asking it; the answer is the same."""
    sim.reset()
    sim.script({TWENTY[0]: "503"})
    store = BlockingStore()

    async def made() -> Any:
        return make(sim, state=store)

    for path in ("ainvoke", "astream"):
        assert drive(asyncio.run(made()), path).text
    assert threading.get_ident() not in store.threads
    assert asked(sim)[0] == TWENTY[0]


class RerunningStore(MemoryStore):
    """A store that loses each race once: it runs every change twice and keeps the second."""

    def update(self, ref: Any, change: Any) -> Any:
        with self._lock:
            change(self._pages.get(ref.key))
        return super().update(ref, change)


@pytest.mark.parametrize("path", PATHS)
def test_a_store_may_run_a_change_again(sim: Simulator, path: str) -> None:
    """Changes are pure: run twice, they mean the same."""
    sim.reset()
    sim.script({TWENTY[0]: "503", TWENTY[1]: "429-upstream"})
    told = drive(make(sim, state=RerunningStore()), path)
    assert told.outcomes == ["overloaded", "upstream_limit", "ok"]


class ForgetfulStore(MemoryStore):
    """A store that lets attempts begin and fails when they are settled."""

    def __init__(self) -> None:
        super().__init__()
        self.updates = 0

    def update(self, ref: Any, change: Any) -> Any:
        self.updates += 1
        if self.updates % 2 == 0:
            raise OSError("the disk is gone")
        return super().update(ref, change)


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_is_not_lost_for_a_store_that_fails(
    sim: Simulator, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was answered is delivered, and the log says that it could not be booked."""
    sim.reset()
    store = ForgetfulStore()
    model = make(sim, state=store)
    store.updates = 0
    assert drive(model, path).outcomes == ["ok"]
    assert "cannot be kept" in caplog.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "kinds",
    [(httpx.HTTPTransport, httpx.AsyncHTTPTransport), (httpcore.ConnectionPool, httpcore.AsyncConnectionPool)],
    ids=["transport", "pool"],
)
def test_whoever_stands_in_between_is_asked(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, kinds: tuple[type, type], path: str
) -> None:
    """A request goes its own way, but not past a recorder or a tracer in the place of a transport or of a pool."""
    sim.reset()
    seen: list[str] = []
    plain, aplain = getattr(kinds[0], "handle_request"), getattr(kinds[1], "handle_async_request")  # noqa: B009

    @wraps(plain)
    def recorded(self: Any, request: Any) -> Any:
        seen.append(str(getattr(request.url, "target", request.url)))
        return plain(self, request)

    @wraps(aplain)
    async def arecorded(self: Any, request: Any) -> Any:
        seen.append(str(getattr(request.url, "target", request.url)))
        return await aplain(self, request)

    model = make(sim)
    assert drive(model, path).text
    assert seen == []
    monkeypatch.setattr(kinds[0], "handle_request", recorded)
    monkeypatch.setattr(kinds[1], "handle_async_request", arecorded)
    assert drive(model, path).text
    assert drive(model, path).text
    assert ["completions" in name for name in seen] == [True, True]


@pytest.mark.parametrize("path", PATHS)
def test_by_a_proxy(sim: Simulator, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Where the environment names one, requests go by it, and so does what it says of them; its connection is kept."""
    sim.reset(Scenario(scripts={TWENTY[0]: "429-upstream"}))
    CLIENTS.close()
    with Forwarding(sim) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.delenv("no_proxy", raising=False)
        model = make(sim).model_copy(update={"base_url": "http://openrouter.localhost:9/api/v1"})
        assert drive(model, path).outcomes == ["upstream_limit", "ok"]
        assert drive(model, path).outcomes == ["ok"]
    CLIENTS.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("where", "names", "missing"),
    [
        (direct, "_FIND", "renamed"),
        (direct, "_POOL", "renamed"),
        (exchange, "_PLAIN", {"renamed": None}),
        (exchange, "_HOW", ("_network_backend", "renamed", "_socket_options")),
    ],
)
def test_without_a_private_name_of_httpx_requests_go_the_usual_way(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, where: Any, names: str, missing: Any, path: str
) -> None:
    """A release of httpx that names things otherwise costs speed, not answers."""
    sim.reset(Scenario(scripts={TWENTY[0]: "429-upstream"}))
    monkeypatch.setattr(where, names, missing)
    assert drive(make(sim), path).text
    assert asked(sim) == TWENTY[:2]


def test_what_a_pool_raises_is_read_as_what_httpx_makes_of_it() -> None:
    """Each failure below HTTP has its twin; anything else is nobody's fault but ours."""
    kinds = [kind for kind in vars(httpcore).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    told = {kind.__name__: direct.in_httpx(kind) for kind in kinds}
    assert told.pop("ConnectionNotAvailable") is httpcore.ConnectionNotAvailable  # caught within the pool
    assert {name: kind.__name__ for name, kind in told.items()} == {name: name for name in told}
    assert all(issubclass(kind, httpx.HTTPError) for kind in told.values())
    assert direct.in_httpx(KeyError) is KeyError


@pytest.mark.parametrize("path", ["invoke", "stream"])
def test_a_proxy_whose_name_cannot_be_looked_up_is_no_connection(path: str) -> None:
    """Python says it in an error of encoding; the list of models is asked by the same client."""
    with Simulator() as sim, httpx.Client(proxy="http://proxy..example:3128") as client:
        with pytest.raises(AllModelsFailed) as caught:
            drive(make(sim, TWENTY[:1], http_client=client), path)
        assert [one.outcome for one in caught.value.attempts] == ["unreachable"]
