"""Batches over the account's limits: paced, not failed; and a user's own rate limiter."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, book_of, drive, make
from langchain_core.language_models import LanguageModelInput
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableConfig, RunnableLambda
from turning import Crowd, TurningClock

from langchain_openrouter_free import AllModelsFailed, ChatOpenRouterFree, FreeQuotaExhausted, MemoryStore
from langchain_openrouter_free.face.pacing import is_paced
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.testing import FakeClock

START = 1_790_000_005.0  # 25 seconds into a minute


def batch(model: Any, inputs: list[str], config: RunnableConfig) -> list[str]:
    return [answer.text for answer in model.batch(inputs, config)]


def batch_as_completed(model: Any, inputs: list[str], config: RunnableConfig) -> list[str]:
    return [answer.text for _, answer in model.batch_as_completed(inputs, config)]


def abatch(model: Any, inputs: list[str], config: RunnableConfig) -> list[str]:
    return [answer.text for answer in asyncio.run(model.abatch(inputs, config))]


def abatch_as_completed(model: Any, inputs: list[str], config: RunnableConfig) -> list[str]:
    async def run() -> list[str]:
        return [answer.text async for _, answer in model.abatch_as_completed(inputs, config)]

    return asyncio.run(run())


BATCHES = (batch, batch_as_completed, abatch, abatch_as_completed)


@pytest.mark.parametrize("cap", [3, 60])
@pytest.mark.parametrize("how", BATCHES)
def test_sixty_calls_on_five_a_minute(how: Callable[..., list[str]], cap: int) -> None:
    """All are answered in twelve minutes, which is longer than `max_wait` and than a call may take."""
    clock = TurningClock(START)
    crowd = Crowd(clock, 60, cap)
    with Simulator(Scenario(per_minute=5, per_day=60), clock=clock.now) as sim:
        model = make(sim, TWENTY[:2], clock=clock, limits={"per_minute": 5, "per_day": 60}, max_wait=0)
        turner = threading.Thread(target=clock.turn, args=(crowd.running,))
        turner.start()
        config: RunnableConfig = {"max_concurrency": cap, "callbacks": [crowd]}
        answers = how(model, [f"n{n}" for n in range(60)], config)
        turner.join(50)
        assert len(answers) == 60
        assert [chat.status for chat in sim.chats()] == [200] * 60, "the service never had to say no"
        assert clock.now() - START > 600
        assert crowd.most <= cap


@pytest.mark.parametrize("how", ["batch", "abatch"])
def test_a_batch_does_not_wait_for_tomorrow(how: str) -> None:
    """What the day has left is answered, the rest is refused at once; a chain's batch is the model's."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:2], clock=clock, limits={"per_day": 5})
        chain = model | RunnableLambda(lambda message: message.text)
        inputs: list[LanguageModelInput] = [f"n{n}" for n in range(8)]
        if how == "batch":
            found = chain.batch(inputs, {"max_concurrency": 2}, return_exceptions=True)
        else:
            found = asyncio.run(chain.abatch(inputs, {"max_concurrency": 2}, return_exceptions=True))
        assert sum(isinstance(answer, str) for answer in found) == 5
        assert sum(isinstance(answer, FreeQuotaExhausted) for answer in found) == 3
        assert len(sim.chats()) == 5
        assert clock.slept == []


def test_outside_a_batch_the_queue_is_as_short_as_max_wait() -> None:
    """A single call is refused; a batch is none of the business of calls made between its answers."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:2], clock=clock, limits={"per_minute": 2}, max_wait=5)
        for _ in model.batch_as_completed(["a", "b"]):
            pass
        with pytest.raises(FreeQuotaExhausted) as caught:
            model.invoke("c")
        assert (caught.value.window, caught.value.limit, caught.value.used) == ("minute", 2, 2)
        assert "raise max_wait" in str(caught.value)
        answers = model.batch_as_completed(["d", "e"])
        next(answers)
        assert not is_paced(), "between two answers the context is the caller's"
        list(answers)


@pytest.mark.parametrize("how", [batch, abatch])
def test_a_batch_pays_first_as_far_as_it_may(how: Callable[..., list[str]]) -> None:
    """Five free ones are answered at once, two paid ones as the budget goes, and the last two queue for a minute."""
    clock = TurningClock(START)
    crowd = Crowd(clock, 9, 1)
    with Simulator(Scenario(per_minute=5, per_day=60), clock=clock.now) as sim:
        model = make(
            sim,
            TWENTY[:1],
            clock=clock,
            limits={"per_minute": 5},
            max_wait=0,
            allow_paid=True,
            paid_models=["simulated/paid-priced-by-request"],
            budget="$0.02",
            max_tokens=300,
        )
        turner = threading.Thread(target=clock.turn, args=(crowd.running,))
        turner.start()
        assert len(how(model, [f"n{n}" for n in range(9)], {"max_concurrency": 1, "callbacks": [crowd]})) == 9
        turner.join(50)
        free = [str(chat.model).endswith(":free") for chat in sim.chats()]
        assert free[:5] == [True] * 5
        assert free[-1]
        assert 0 < free.count(False) < 4
        assert {chat.status for chat in sim.chats()} == {200}


class Counting(BaseRateLimiter):
    """A rate limiter that lets everybody pass and counts them."""

    def __init__(self) -> None:
        self.passed = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.passed += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        self.passed += 1
        return True


@pytest.mark.parametrize("path", PATHS)
def test_a_rate_limiter_is_asked_once_for_each_attempt(sim: Simulator, path: str) -> None:
    """LangChain asks it for the call, the router for each further attempt; no slot of the quota is lost on the way."""
    sim.script({TWENTY[0]: "503", TWENTY[1]: "500"})
    limiter, store = Counting(), MemoryStore()
    model = make(sim, TWENTY[:3], rate_limiter=limiter, state=store, clock=FakeClock(START))
    assert len(drive(model, path).outcomes) == 3
    assert limiter.passed == 3 == len(sim.chats())
    book = book_of(store)
    assert sum(book.windows.days.values()) == 3
    assert drive(model, path).outcomes == ["ok"]
    assert limiter.passed == 4 == len(sim.chats())


class Shut(Counting):
    """Gives leave to the first request alone."""

    def acquire(self, *, blocking: bool = True) -> bool:
        super().acquire()
        assert self.passed == 1 or not blocking, "whoever waits in it waits for ever"
        return self.passed == 1

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire(blocking=blocking)


@pytest.mark.parametrize("path", PATHS)
def test_a_rate_limiter_is_waited_for_until_the_calls_end(sim: Simulator, path: str) -> None:
    """The call's deadline holds there as well, and no slot of the quota is lost in it."""
    sim.script({TWENTY[0]: "503"})
    clock, store = FakeClock(START), MemoryStore()
    model = make(sim, TWENTY[:2], rate_limiter=Shut(), state=store, clock=clock, timeouts={"call": 3.0})
    with pytest.raises(AllModelsFailed):
        drive(model, path)
    assert sum(clock.slept) == pytest.approx(3.0)
    assert asked(sim) == TWENTY[:1]
    assert sum(book_of(store).windows.days.values()) == 1


class Slow(Counting):
    """Gives leave to a further request after a thousand questions."""

    def acquire(self, *, blocking: bool = True) -> bool:
        super().acquire()
        return self.passed == 1 or self.passed > 1000

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire(blocking=blocking)


@pytest.mark.parametrize("how", [batch, abatch])
def test_a_batch_waits_for_a_rate_limiter_as_long_as_it_takes(sim: Simulator, how: Callable[..., list[str]]) -> None:
    """As for the account's minutes: that time is not the call's."""
    sim.script({TWENTY[0]: "503"})
    clock = FakeClock(START)
    model = make(sim, TWENTY[:2], rate_limiter=Slow(), clock=clock, timeouts={"call": 3.0})
    assert len(how(model, ["a"], {})) == 1
    assert asked(sim) == TWENTY[:2]
    assert sum(clock.slept) > 30


def test_a_copy_keeps_its_pace(sim: Simulator) -> None:
    """Binding and copying keep batches paced: they are methods of the class."""
    model = make(sim)
    assert isinstance(model.bind(temperature=0).bound, ChatOpenRouterFree)
    assert [a.text for a in model.bind(temperature=0).batch(["a", "b"])]
