"""The day's limit that is only guessed, and the one question to `GET /key` that it is worth."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from driving import PATHS, TWENTY, drive, make

from langchain_openrouter_free import ChatOpenRouterFree, FreeQuotaExhausted, MemoryStore
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import DAY, MINUTE, Windows
from langchain_openrouter_free.catalogue.fetching import Fetched
from langchain_openrouter_free.engine.bookkeeping import Accounts
from langchain_openrouter_free.request import settings
from langchain_openrouter_free.request.lookup import day_limit_of
from langchain_openrouter_free.simulator import Received, Scenario, Simulator
from langchain_openrouter_free.simulator.reply import Ending, Reply, encode, html_reply, json_reply
from langchain_openrouter_free.testing import FakeClock

START = 1_790_000_005.0  # 25 seconds into a minute, 14:13 UTC
MIDNIGHT = 1_790_035_200.0
RICH = Scenario(per_minute=20, per_day=1000)
# The fake clock jumps over a minute while others are on their way: that is not their fault.
LIFTED = dict.fromkeys(("connect", "first_token", "stall", "attempt", "call")) | {"adaptive": False}


def keys(sim: Simulator) -> list[Received]:
    """The requests of `GET /key`."""
    return [one for one in sim.received if (one.method, one.path) == ("GET", "/api/v1/key")]


def used(sim: Simulator, number: int, now: float = START) -> MemoryStore:
    """A store in whose book so many requests of the day are taken."""
    store = MemoryStore()
    book = Accounts(store, settings.account(sim.api_key, sim.base_url), "").book
    store.update(book, lambda _: (Ledger(windows=Windows(days={int(now // DAY): number})), None))
    return store


def usual(sim: Simulator, clock: FakeClock, taken: int = 50, **kwargs: Any) -> ChatOpenRouterFree:
    """A router that guesses what is usual, and has taken so much of it today."""
    kwargs.setdefault("state", used(sim, taken))
    return make(sim, TWENTY[:2], clock=clock, limits=kwargs.pop("limits", "usual"), **kwargs)


def altered(sim: Simulator, edit: Callable[[Reply], Reply]) -> None:
    """Let the simulator answer `GET /key` in another way."""
    world = sim._service.world
    honest = world.answer

    def answer(request: Any) -> Reply:
        reply = honest(request)
        return edit(reply) if request.path.endswith("/key") else reply

    world.answer = answer  # type: ignore[method-assign]


# -- the account has more


@pytest.mark.parametrize("path", PATHS)
def test_a_larger_limit_is_asked_for_once(path: str) -> None:
    """With 50 taken, one question learns 1000, and the calls go on without another one."""
    clock = FakeClock(now=START)
    with Simulator(RICH, clock=clock.now) as sim:
        model = usual(sim, clock)
        for _ in range(3):
            assert drive(model, path).outcomes == ["ok"]
        assert len(keys(sim)) == 1
        first = [one.path for one in sim.received][:2]
        assert first == ["/api/v1/models/user", "/api/v1/key"], "before the first request for an answer"
        clock.advance(700)
        assert drive(model, path).outcomes == ["ok"]
        assert len(keys(sim)) == 1
        assert clock.slept == []


@pytest.mark.parametrize("path", PATHS)
def test_fifty_calls_and_the_one_after(path: str) -> None:
    """The guess is asked about when it is used up, not before, and 20 a minute hold all the time."""
    clock = FakeClock(now=START)
    with Simulator(RICH, clock=clock.now) as sim:
        model = usual(sim, clock, taken=0)
        for call in range(50):
            if call and call % 20 == 0:
                clock.advance(MINUTE)
            drive(model, path)
        assert keys(sim) == []
        drive(model, path)
        assert len(keys(sim)) == 1
        assert len(sim.chats()) == 51
        assert {chat.status for chat in sim.chats()} == {200}
        assert clock.slept == []


@pytest.mark.parametrize("path", PATHS)
def test_the_usual_minute_holds(path: str) -> None:
    """The 21st call of a minute waits for the next one."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(per_minute=20, per_day=1000), clock=clock.now) as sim:
        model = usual(sim, clock, max_wait=60)
        for _ in range(21):
            drive(model, path)
        assert clock.slept == [pytest.approx(36.5)]
        assert {chat.status for chat in sim.chats()} == {200}
        assert len(keys(sim)) == 1


@pytest.mark.parametrize("path", PATHS)
def test_tomorrow_the_guess_counts_again(path: str) -> None:
    """What was learned is of its day; the next day's fiftieth call is followed by a new question."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(per_day=1000), clock=clock.now) as sim:
        store = used(sim, 50)
        model = usual(sim, clock, state=store)
        drive(model, path)
        clock.advance(DAY)
        drive(model, path)
        assert len(keys(sim)) == 1
        book = Accounts(store, settings.account(sim.api_key, sim.base_url), "").book
        more = Windows(days={int(clock.now() // DAY): 50})
        store.update(book, lambda known: (Ledger(windows=more, learned=known.learned if known else {}), None))
        drive(model, path)
        assert len(keys(sim)) == 2


class Turning(FakeClock):
    """Short waits take real time; the minute turns when twenty have arrived."""

    sim: Simulator

    def _ready(self, seconds: float) -> bool:
        return seconds < 1 or len(self.sim.chats()) >= 20

    def sleep(self, seconds: float) -> None:
        until = self.now() + seconds
        time.sleep(0.01)
        while not self._ready(seconds):
            time.sleep(0.005)
        if seconds >= 1:
            self.advance(max(until - self.now(), 0.0))

    async def asleep(self, seconds: float) -> None:
        until = self.now() + seconds
        await asyncio.sleep(0.01)
        while not self._ready(seconds):  # noqa: ASYNC110 - a real server on another thread
            await asyncio.sleep(0.005)
        if seconds >= 1:
            self.advance(max(until - self.now(), 0.0))


@pytest.mark.parametrize("path", PATHS)
def test_thirty_calls_at_once_ask_once(path: str) -> None:
    """One of them asks, the others wait for its answer, and nobody is refused."""
    clock = Turning(now=START - 15)
    with Simulator(RICH, clock=clock.now) as sim:
        clock.sim = sim
        model = usual(sim, clock, max_wait=90, timeouts=LIFTED)
        answers: list[str] = []
        if path in ("ainvoke", "astream"):

            async def one(n: int) -> str:
                if path == "ainvoke":
                    return (await model.ainvoke(f"n{n}")).text
                return "".join([chunk.text async for chunk in model.astream(f"n{n}")])

            async def run() -> list[str]:
                return await asyncio.gather(*(one(n) for n in range(30)))

            answers = asyncio.run(run())
        else:
            threads = [
                threading.Thread(target=lambda n=n: answers.append(drive(model, path, f"n{n}").text)) for n in range(30)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
        assert len(answers) == 30
        assert all(answers)
        assert len(keys(sim)) == 1
        assert {chat.status for chat in sim.chats()} == {200}


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_two_models_on_one_book_ask_once(path: str) -> None:
    """What one model object learned, another one on the same store knows."""
    clock = FakeClock(now=START)
    with Simulator(RICH, clock=clock.now) as sim:
        store = used(sim, 50)
        for _ in range(3):
            drive(usual(sim, clock, state=store), path)
        assert len(keys(sim)) == 1


# -- nobody says, or it is no news


def _fields(limit: Any) -> Reply:
    return json_reply(200, {"data": {"free_model_daily_requests": {"used": 0, "limit": limit, "remaining": 0}}})


BROKEN: dict[str, Callable[[Reply], Reply]] = {
    "absent": lambda _: html_reply(404, "404: This page could not be found.", behaviour="no-such-path"),
    "an error": lambda _: json_reply(500, {"error": {"code": 500, "message": "Internal Server Error"}}),
    "not allowed": lambda _: json_reply(403, {"error": {"code": 403, "message": "no"}}),
    "a redirect": lambda _: Reply(302, {"Location": "https://example.invalid/"}),
    "closed": lambda _: Reply(0, steps=(Ending.CLOSE,)),
    "a web page": lambda _: html_reply(200, "Just a moment...", behaviour="html"),
    "cut": lambda _: Reply(200, {"Content-Type": "application/json"}, (b'{"data": {"free_mod',)),
    "broken off": lambda _: Reply(200, {"Content-Type": "application/json"}, (b'{"data": {"fr', Ending.CLOSE)),
    "empty": lambda _: Reply(200, {"Content-Type": "application/json"}),
    "no object": lambda _: json_reply(200, [1]),
    "no data": lambda _: json_reply(200, {"data": None}),
    "without the field": lambda _: json_reply(200, {"data": {"label": "x"}}),
    "with nothing in the field": lambda _: json_reply(200, {"data": {"free_model_daily_requests": None}}),
    "without a limit": lambda _: json_reply(200, {"data": {"free_model_daily_requests": {"used": 3}}}),
    "deep": lambda _: Reply(200, {"Content-Type": "application/json"}, (b"[" * 100_000,)),
    **{
        f"a limit of {limit!r}": lambda _, limit=limit: _fields(limit)  # type: ignore[misc]
        for limit in (0, -1, "abc", "1000", True, None, 10**9, 1e400, [1000])
    },
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", BROKEN)
def test_without_an_answer_the_guess_stands(name: str, path: str) -> None:
    """The call is refused without a request for an answer, and nobody asks again for ten minutes."""
    clock = FakeClock(now=START)
    with Simulator(RICH, clock=clock.now) as sim:
        altered(sim, BROKEN[name])
        model = usual(sim, clock)
        for _ in range(2):
            with pytest.raises(FreeQuotaExhausted) as caught:
                drive(model, path)
            told = caught.value
            assert (told.window, told.limit, told.used, told.reset_at) == ("day", 50, 50, MIDNIGHT)
            assert not told.share
        clock.advance(590)
        with pytest.raises(FreeQuotaExhausted):
            drive(model, path)
        assert len(keys(sim)) == 1
        clock.advance(20)
        with pytest.raises(FreeQuotaExhausted):
            drive(model, path)
        assert len(keys(sim)) == 2
        assert sim.chats() == []


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_later_answer_is_believed(path: str) -> None:
    """After a failure the next question, ten minutes later, learns the limit."""
    clock = FakeClock(now=START)
    with Simulator(RICH, clock=clock.now) as sim:
        bad = [html_reply(500, "500", behaviour="html")]
        altered(sim, lambda reply: bad.pop() if bad else reply)
        model = usual(sim, clock)
        with pytest.raises(FreeQuotaExhausted):
            drive(model, path)
        clock.advance(601)
        assert drive(model, path).outcomes == ["ok"]
        assert len(keys(sim)) == 2


@pytest.mark.parametrize("path", PATHS)
def test_a_guess_that_is_right(path: str) -> None:
    """The account has 50 indeed: one question, no request, and no other question on that day."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(per_minute=20, per_day=50), clock=clock.now) as sim:
        model = usual(sim, clock)
        for _ in range(3):
            with pytest.raises(FreeQuotaExhausted) as caught:
                drive(model, path)
            assert (caught.value.limit, caught.value.reset_at) == (50, MIDNIGHT)
            clock.advance(1000)
        assert len(keys(sim)) == 1
        assert sim.chats() == []
        clock.advance(MIDNIGHT - clock.now() + 1)
        assert drive(model, path).outcomes == ["ok"]
        assert len(keys(sim)) == 1


@pytest.mark.parametrize("path", PATHS)
def test_a_named_limit_is_not_asked_about(path: str) -> None:
    """Whoever says per_day=2 has said it."""
    clock = FakeClock(now=START)
    with Simulator(RICH, clock=clock.now) as sim:
        model = usual(sim, clock, taken=0, limits={"per_day": 2})
        drive(model, path)
        drive(model, path)
        with pytest.raises(FreeQuotaExhausted) as caught:
            drive(model, path)
        assert (caught.value.window, caught.value.limit, caught.value.used) == ("day", 2, 2)
        assert keys(sim) == []
        assert len(sim.chats()) == 2


@pytest.mark.parametrize("path", PATHS)
def test_a_stated_limit_is_not_asked_about(path: str) -> None:
    """The server said 50 in a refusal today: that is better than any guess, and nothing is asked."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(per_minute=20, per_day=50, day_used=50), clock=clock.now) as sim:
        model = usual(sim, clock, taken=3)
        for _ in range(3):
            with pytest.raises(FreeQuotaExhausted) as caught:
                drive(model, path)
            assert (caught.value.window, caught.value.limit, caught.value.reset_at) == ("day", 50, MIDNIGHT)
            clock.advance(1000)
        assert len(sim.chats()) == 1
        assert keys(sim) == []


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_stated_minute_does_not_answer_for_the_day(path: str) -> None:
    """Having stated its minute, the server is still asked about the day."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(per_minute=16, per_day=1000), clock=clock.now) as sim:
        model = usual(sim, clock, taken=33, max_wait=60)
        for _ in range(18):
            drive(model, path)
        assert [chat.status for chat in sim.chats()].count(429) == 1
        assert len(keys(sim)) == 1


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_cancelled_or_late_question_leaves_the_next_call_a_turn(path: str) -> None:
    """A question that never ended (a killed process) is given up after seconds: others wait, and are not stuck."""
    clock = FakeClock(now=START)
    with Simulator(RICH, clock=clock.now) as sim:
        store = used(sim, 50)
        book = Accounts(store, settings.account(sim.api_key, sim.base_url), "").book
        store.update(book, lambda known: ((known or Ledger()).inquiring(clock.now()), None))
        model = usual(sim, clock, state=store, max_wait=20)
        with pytest.raises(FreeQuotaExhausted):
            drive(model, path)
        assert sum(clock.slept) <= 7
        clock.advance(600)
        assert drive(model, path).outcomes == ["ok"]
        assert len(keys(sim)) == 1


@pytest.mark.parametrize("name", ["nothing", "text", "a number", "bytes that are no text"])
def test_odd_bodies_say_nothing(name: str) -> None:
    """Reading a reply of `GET /key` raises for nothing."""
    bodies = {"nothing": b"", "text": b"hello", "a number": b"1000", "bytes that are no text": b"\xff\xfe\x00"}
    assert day_limit_of(Fetched(200, bodies[name])) is None
    assert day_limit_of(Fetched(200, encode({"data": {"free_model_daily_requests": {"limit": 1000}}}))) == 1000
    assert day_limit_of(Fetched()) is None
