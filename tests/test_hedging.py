"""Hedging on every path, over a real socket: when a second model is asked, who wins, and what becomes of the other."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import httpx
import pytest
from driving import PATHS, TWENTY, asked, book_of, drive, make
from money_world import DEAR, PAYING

from langchain_openrouter_free import AllModelsFailed, ConfigurationError, MemoryStore, StreamInterrupted
from langchain_openrouter_free.books.history import CallRecord
from langchain_openrouter_free.connections.transport import TransportFault
from langchain_openrouter_free.engine import portal
from langchain_openrouter_free.engine.portal import PORTAL
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

SILENT = ["hang-before-headers", "hang-after-headers", {"do": "drip", "interval": 0.02}]
SOON = 0.15


pytestmark = pytest.mark.one_simulator


def _closed(sim: Simulator, number: int) -> None:
    sim.wait_for(lambda s: s.chats()[number].disconnected_at is not None, timeout=2.0)


def _used(store: MemoryStore) -> int:
    return book_of(store).windows.used(time.time())[1]


# -- who wins


@pytest.mark.wall_clock
@pytest.mark.parametrize("wire", ["stream", "plain"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("silent", SILENT, ids=str)
def test_the_second_model_answers_for_a_silent_one(sim: Simulator, silent: Any, path: str, wire: str) -> None:
    """It is asked after that silence; the silent one is closed and settled at once, and both stand on the trail."""
    sim.script({TWENTY[0]: silent})
    store, began = MemoryStore(), time.monotonic()
    model = make(sim, state=store, hedge_after=SOON, wire={TWENTY[0]: wire})
    told = drive(model, path)
    assert SOON <= time.monotonic() - began < 3
    assert told.text == f"{TWENTY[1]} answers: you said tell me a word"
    assert told.outcomes == ["abandoned", "ok"]
    loser, winner = told.meta["route"]["attempts"]
    assert (loser["model"], winner["model"]) == tuple(TWENTY[:2]) == tuple(asked(sim))
    assert "spoke first" in loser["reason"]
    _closed(sim, 0)
    assert _used(store) == 2, "each costs a slot"
    assert TWENTY[0] not in book_of(store).cooldowns, "silence of a moment is no failure"
    sim.script({TWENTY[0]: "ok"})
    assert drive(model, path).meta["model_name"] == TWENTY[0]


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
def test_the_first_model_may_win_all_the_same(sim: Simulator, path: str) -> None:
    sim.script({TWENTY[0]: {"do": "ok", "latency": 0.5}, TWENTY[1]: "hang-before-headers"})
    told = drive(make(sim, hedge_after=SOON), path)
    assert told.meta["model_name"] == TWENTY[0]
    assert [one["model"] for one in told.meta["route"]["attempts"]] == [TWENTY[1], TWENTY[0]]
    assert told.outcomes == ["abandoned", "ok"]
    _closed(sim, 1)


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
def test_a_model_that_speaks_in_time_is_asked_alone(sim: Simulator, path: str) -> None:
    assert drive(make(sim, hedge_after=5), path).outcomes == ["ok"]
    assert drive(make(sim, hedge_after=5), path).text
    assert len(sim.chats()) == 2


FAILING: dict[str, tuple[dict[str, Any], list[str]]] = {
    "the first before the silence is over": ({TWENTY[0]: "503"}, ["overloaded", "ok"]),
    "the first after it": (
        {TWENTY[0]: {"do": "503", "latency": 0.4}, TWENTY[1]: {"do": "ok", "latency": 0.6}},
        ["overloaded", "ok"],
    ),
    "the second": ({TWENTY[0]: {"do": "ok", "latency": 0.6}, TWENTY[1]: "503"}, ["overloaded", "ok"]),
    "both": (
        {TWENTY[0]: {"do": "503", "latency": 0.4}, TWENTY[1]: "429-upstream"},
        ["upstream_limit", "overloaded", "ok"],
    ),
    "one that says nothing": (
        {TWENTY[0]: {"do": "200-empty", "latency": 0.4}, TWENTY[1]: "500"},
        ["broken", "empty", "ok"],
    ),
}


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("scripts", "outcomes"), FAILING.values(), ids=FAILING)
def test_who_fails_in_the_race_is_left(sim: Simulator, scripts: dict[str, Any], outcomes: list[str], path: str) -> None:
    """The other runs on; where both fail the walk goes on; each is on the trail once."""
    sim.script(scripts)
    assert drive(make(sim, hedge_after=SOON), path).outcomes == outcomes


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
def test_all_fail_in_the_end(sim: Simulator, path: str) -> None:
    sim.script({"*": {"do": "503", "latency": 0.3}})
    with pytest.raises(AllModelsFailed) as caught:
        drive(make(sim, hedge_after=0.1), path)
    assert sorted(one.model for one in caught.value.attempts) == TWENTY[:3]
    assert {one.outcome for one in caught.value.attempts} == {"overloaded"}


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
def test_a_winner_that_breaks_off(sim: Simulator, path: str) -> None:
    """After its first words it is like any other attempt: `invoke` starts over, a stream is interrupted."""
    sim.script(
        {TWENTY[0]: "hang-before-headers", TWENTY[1]: {"do": "cut", "after": 2, "speed": 50, "reasoning": False}}
    )
    model = make(sim, hedge_after=SOON)
    if path in PATHS[:2]:
        assert drive(model, path).outcomes == ["abandoned", "cut", "ok"]
        return
    with pytest.raises(StreamInterrupted) as caught:
        drive(model, path)
    assert [one.outcome for one in caught.value.attempts] == ["abandoned", "cut"]
    assert drive(model, path, on_interrupt="restart", model=TWENTY[2]).outcomes == ["ok"]


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("others", "order"), [([], [0, 1, 0]), (["503"], [0, 1, 2, 0])], ids=["nobody else", "another fails"]
)
def test_who_was_outrun_is_asked_again_after_all_others(
    sim: Simulator, others: list[str], order: list[int], path: str
) -> None:
    """It has not failed: where the winner breaks off, its answer is still to be had."""
    cut = {"do": "cut", "after": 2, "speed": 50, "reasoning": False}
    sim.script(dict(zip(TWENTY, [["hang-before-headers", "ok"], cut, *others], strict=False)))
    models = TWENTY[: 2 + len(others)]
    told = drive(make(sim, models, hedge_after=SOON, on_interrupt="restart"), path)
    assert told.meta["model_name"] == TWENTY[0]
    assert asked(sim) == [TWENTY[place] for place in order]


@pytest.mark.wall_clock
def test_the_usual_silence_of_a_model(sim: Simulator) -> None:
    """With "p95" a model is hedged once ten of its answers are known, when 95 of 100 would have begun."""
    store = MemoryStore()
    model = make(sim, state=store, hedge_after="p95")
    sim.script({TWENTY[0]: {"do": "ok", "latency": 0.1}})
    for _ in range(10):
        assert drive(model, "invoke").outcomes == ["ok"]
    usual = book_of(store).health[TWENTY[0]].first_token_p95()
    assert usual is not None
    sim.script({TWENTY[0]: "hang-before-headers"})
    for path in PATHS:
        began = time.monotonic()
        assert drive(model, path).outcomes == ["abandoned", "ok"]
        assert usual <= time.monotonic() - began < usual + 3
    assert drive(make(sim, hedge_after="p95", timeouts={"first_token": 0.3}), "invoke").outcomes == ["timed_out", "ok"]


# -- when nobody else is asked


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("used", "limits", "hedged"),
    [
        (44, {"per_day": 50}, True),
        (45, {"per_day": 50}, False),
        (899, {"per_day": 1000}, True),
        (0, {"per_minute": 1}, False),
    ],
    ids=["a tenth is left", "less is left", "more is left", "the minute is full"],
)
def test_quota_that_runs_short_is_not_spent_twice(
    path: str, used: int, limits: dict[str, Any], *, hedged: bool
) -> None:
    """With less than a tenth of the day left, or no room in this minute, the silent model is waited for."""
    clock = FakeClock()
    with Simulator(Scenario(scripts={TWENTY[0]: {"do": "ok", "latency": 0.4}}), clock=clock.now) as sim:
        store = MemoryStore()
        model = make(sim, state=store, clock=clock, limits={"per_minute": None, **limits}, hedge_after=0.1)
        drive(model, "invoke", model=TWENTY[1])
        clock.advance(120)
        page = next(key for key, kept in store._pages.items() if kept is book_of(store))
        book = book_of(store)
        store._pages[page] = book._replace(windows=book.windows.filled("day", used, clock.now()))
        assert len(drive(model, path).outcomes) == (2 if hedged else 1)


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "arguments",
    [
        {"models": TWENTY[:1]},
        {"max_retries": 0},
        {"hedge_after": None},
    ],
    ids=["the last candidate", "no moves", "off"],
)
def test_nobody_else_may_be_asked(sim: Simulator, arguments: dict[str, Any], path: str) -> None:
    sim.script({TWENTY[0]: {"do": "ok", "latency": 0.4}})
    assert drive(make(sim, **{"hedge_after": 0.1, **arguments}), path).outcomes == ["ok"]
    assert len(sim.chats()) == 1


@pytest.mark.parametrize("path", PATHS)
def test_a_paid_model_is_neither_hedged_nor_a_hedge(path: str, server: Simulator) -> None:
    """One that waits would need money held back twice for one answer."""
    server.reset(Scenario(models=[DEAR, TWENTY[0]], scripts={"*": {"do": "ok", "latency": 0.3}}))
    model = make(server, TWENTY[:1], hedge_after=0.1, **{**PAYING, "paid_models": [DEAR["id"]]})
    assert drive(model, path).meta["model_name"] == TWENTY[0]
    assert drive(model, path, model=DEAR["id"]).outcomes == ["ok"]
    assert len(server.chats()) == 2


class Stingy:
    """A rate limiter that lets one request pass for each call, and no more without waiting."""

    asked: list[bool]

    def __init__(self) -> None:
        self.asked = []

    def acquire(self, *, blocking: bool = True) -> bool:
        self.asked.append(blocking)
        return blocking

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire(blocking=blocking)


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
def test_the_users_own_rate_limiter_is_asked_for_the_second(sim: Simulator, path: str) -> None:
    """It is not waited for: the slot of the second attempt is given back."""
    sim.script({TWENTY[0]: {"do": "ok", "latency": 0.4}})
    from langchain_core.rate_limiters import BaseRateLimiter  # noqa: PLC0415

    class Limiter(Stingy, BaseRateLimiter):
        pass

    limiter, store = Limiter(), MemoryStore()
    assert drive(make(sim, hedge_after=0.1, rate_limiter=limiter, state=store), path).outcomes == ["ok"]
    assert limiter.asked == [True, False]
    assert _used(store) == 1


# -- who stops


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", ["ainvoke", "astream"])
def test_a_cancelled_task_closes_both(sim: Simulator, path: str, tmp_path: Any) -> None:
    """Both sockets are closed and both attempts settled; in the history it is one call."""
    sim.script({"*": "hang-before-headers"})
    store = SqliteStore(tmp_path / "state.sqlite3")
    model = make(sim, hedge_after=0.1, state=store)

    async def consume() -> None:
        if path == "ainvoke":
            await model.ainvoke("hi")
        async for _ in model.astream("hi"):
            pass

    async def run() -> None:
        task = asyncio.create_task(consume())
        await asyncio.to_thread(sim.wait_for, lambda s: len(s.chats()) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    _closed(sim, 0)
    _closed(sim, 1)
    (call,) = [CallRecord.decode(text) for _, text in store.recent(f"calls:{model._accounts().account}")]
    assert call.outcome == "abandoned"
    assert [one.outcome for one in call.attempts] == ["abandoned", "abandoned"]
    sim.script({"*": "ok"})
    assert model.invoke("hi").response_metadata["model_name"] == TWENTY[0]


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", ["stream", "astream"])
def test_who_stops_in_the_winners_words_closes_it(sim: Simulator, path: str) -> None:
    sim.script({TWENTY[0]: "hang-before-headers", TWENTY[1]: {"do": "stall", "after": 2, "reasoning": False}})
    model = make(sim, hedge_after=0.1)

    async def run() -> None:
        stream = model.astream("hi")
        assert isinstance(stream, AsyncGenerator)
        assert (await anext(stream)).text
        await stream.aclose()

    if path == "astream":
        asyncio.run(run())
    else:
        stream = model.stream("hi")
        assert isinstance(stream, Generator)
        assert next(stream).text
        stream.close()
    _closed(sim, 0)
    _closed(sim, 1)
    sim.script(dict.fromkeys(TWENTY, "ok"))
    assert drive(model, path).meta["model_name"] == TWENTY[0]


@pytest.mark.wall_clock
def test_a_stream_that_is_forgotten_on_the_portal_itself(sim: Simulator) -> None:
    """The garbage collector runs on any thread: on the loop's own it must not wait for the loop."""
    sim.script({"*": {"do": "stall", "after": 2, "reasoning": False}})
    kept = [make(sim, hedge_after=5).stream("hi")]
    next(kept[0])

    async def forget() -> None:
        kept.clear()
        gc.collect()

    PORTAL.run(forget())
    _closed(sim, 0)


# -- threads and clients


@pytest.mark.wall_clock
def test_threads_are_borrowed_only_where_they_must_be(sim: Simulator) -> None:
    """None on an event loop, none while hedging is off; one for all calls without a loop, until it is closed."""
    model = make(sim, hedge_after=None)
    sim.script({TWENTY[0]: "hang-before-headers"})
    hedged = make(sim, hedge_after=0.1)
    PORTAL.close()

    def portals() -> int:
        return sum(thread.name == "openrouter-free-hedging" for thread in threading.enumerate())

    drive(model, "invoke", model=TWENTY[1])
    drive(hedged, "ainvoke")
    drive(hedged, "astream")
    assert portals() == 0
    drive(hedged, "invoke")
    drive(hedged, "stream")
    assert portals() == 1
    hedged.close()
    assert portals() == 0
    assert drive(hedged, "invoke").outcomes == ["abandoned", "ok"]


@pytest.mark.parametrize("path", ["invoke", "stream"])
def test_who_is_asked_when_the_connections_are_closed_goes_on(sim: Simulator, path: str) -> None:
    """As without hedging: that answer is cut for who waits for it in another thread, and the next model is asked."""
    sim.script({TWENTY[0]: "hang-before-headers"})
    model = make(sim, hedge_after=60)
    told: list[Any] = []
    thread = threading.Thread(target=lambda: told.append(drive(model, path)))
    thread.start()
    sim.wait_for(lambda s: s.chats(), timeout=10.0)
    make(sim).close()
    thread.join()
    assert [one.outcomes for one in told] == [["cut", "ok"]]


def test_who_reads_when_the_connections_are_closed_is_told(sim: Simulator) -> None:
    """Its model broke off, and nothing of the closed loop comes out."""
    sim.script({TWENTY[0]: {"do": "stall", "after": 3}})
    model = make(sim, hedge_after=60)
    chunks = model.stream("tell me a word")
    next(chunks)
    model.close()
    with pytest.raises(StreamInterrupted, match="closed"):
        list(chunks)


def test_nobody_holds_up_who_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has gone on elsewhere on that loop is told as well, and is not waited for."""
    monkeypatch.setattr(portal, "_ENDING_SECONDS", 0.01)
    own, begun, told = portal.Portal(), threading.Event(), []

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    def ask() -> None:
        with pytest.raises(TransportFault, match="closed") as caught:
            own.run(endless())
        told.append(caught.value.kind)

    thread = threading.Thread(target=ask)
    thread.start()
    assert begun.wait(10)
    own.close()
    thread.join()
    assert told == [Kind.CUT]


@pytest.mark.wall_clock
def test_many_at_once(sim: Simulator) -> None:
    """Calls of several threads and loops share the portal without harm."""
    sim.script({TWENTY[0]: "hang-before-headers"})
    model = make(sim, hedge_after=0.1)
    answers = model.batch(["hi"] * 12, config={"max_concurrency": 6})
    assert {answer.response_metadata["model_name"] for answer in answers} == {TWENTY[1]}

    async def run() -> None:
        for answer in await asyncio.gather(*(model.ainvoke("hi") for _ in range(12))):
            assert answer.response_metadata["model_name"] == TWENTY[1]

    asyncio.run(run())


@pytest.mark.wall_clock
async def test_a_call_without_a_loop_inside_of_one(sim: Simulator) -> None:
    sim.script({TWENTY[0]: "hang-before-headers"})
    assert make(sim, hedge_after=0.1).invoke("hi").response_metadata["model_name"] == TWENTY[1]


@pytest.mark.wall_clock
def test_your_own_client_is_not_passed_by(sim: Simulator) -> None:
    """A call without a loop goes through your `http_client`, and so is not hedged."""
    sim.script({TWENTY[0]: {"do": "ok", "latency": 0.4}})
    with httpx.Client(headers={"X-Mine": "yes"}) as client:
        assert drive(make(sim, hedge_after=0.1, http_client=client), "invoke").outcomes == ["ok"]
    assert sim.chats()[0].headers["x-mine"] == "yes"


# -- what is said


@pytest.mark.wall_clock
@pytest.mark.parametrize("given", [0, -1, "p99", True, "soon"])
@pytest.mark.parametrize(
    "say", [lambda sim, it: make(sim, hedge_after=it), lambda sim, it: make(sim).invoke("x", hedge_after=it)]
)
def test_the_silence_is_checked(sim: Simulator, given: Any, say: Callable[[Simulator, Any], Any]) -> None:
    with pytest.raises(ConfigurationError, match="hedge_after"):
        say(sim, given)


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
def test_a_call_may_say_it(sim: Simulator, path: str) -> None:
    sim.script({TWENTY[0]: {"do": "ok", "latency": 0.5}})
    assert drive(make(sim), path, hedge_after=0.1).outcomes == ["abandoned", "ok"]
    assert drive(make(sim, hedge_after=0.1), path, hedge_after=None).outcomes == ["ok"]
