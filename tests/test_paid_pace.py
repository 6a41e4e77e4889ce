"""At most so many paid requests a second, for everybody who shares the book."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, at_once, drive, make
from turning import Crowd, TurningClock

from langchain_openrouter_free import (
    AllModelsFailed,
    BudgetExceeded,
    ConfigurationError,
    InsufficientCredits,
    MemoryStore,
)
from langchain_openrouter_free.books.funds import Funds
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.errors import at
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.simulator.reply import Reply, json_reply
from langchain_openrouter_free.testing import FakeClock

PAID = "simulated/paid-small"
START = 1_790_000_005.0
CREDITS = "/api/v1/credits"
HOUR = 3600.0


def payer(sim: Simulator, clock: FakeClock, **kwargs: Any) -> Any:
    """A router that may pay, and whose calls are for the paid model alone."""
    usual = {"allow_paid": True, "paid_models": [PAID], "budget": "$5/day", "project": "test", "max_tokens": 300}
    return make(sim, TWENTY[:1], clock=clock, **{**usual, **kwargs})


def moments(sim: Simulator, clock: FakeClock, *, told: bool = True) -> list[float]:
    """Seconds after the start at which requests for an answer arrive, from now on; `told`: whether of the balance."""
    world = sim._service.world
    honest, found = world.answer, []
    error = {"message": "Only management keys can perform this operation", "code": 403}

    def answer(request: Any) -> Reply:
        if request.path.endswith("/chat/completions"):
            found.append(clock.now() - START)
        hidden = request.path == CREDITS and not told
        return json_reply(403, {"error": error}, behaviour="credits") if hidden else honest(request)

    world.answer = answer  # type: ignore[method-assign]
    return found


def questions(sim: Simulator) -> int:
    """How often the balance was asked for."""
    return sum(one.path == CREDITS for one in sim.received)


def spaced(found: list[float], seconds: float) -> bool:
    """Tell whether requests are so many seconds apart, and no more than needed."""
    return all(later - earlier == pytest.approx(seconds, abs=0.02) for earlier, later in pairwise(sorted(found)))


@pytest.mark.parametrize("path", PATHS)
def test_off_by_default(path: str) -> None:
    """Without the argument nothing waits and nothing is asked."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        model = payer(sim, clock)
        for _ in range(5):
            drive(model, path, model=PAID)
        assert clock.slept == []
        assert questions(sim) == 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rps", [0.5, 4, 100])
def test_requests_are_spaced(path: str, rps: float) -> None:
    """The first goes at once, each further one when its turn comes; no burst is saved up; the route tells the wait."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        found, model = moments(sim, clock), payer(sim, clock, paid_rps=rps)
        waits = [drive(model, path, model=PAID).meta["route"]["waited_s"] for _ in range(5)]
        assert found[0] == 0
        assert spaced(found, 1 / rps)
        assert waits == [0, *[pytest.approx(1 / rps, abs=0.02)] * 4]
        clock.advance(100)
        found.clear()
        waits = [drive(model, path, model=PAID).meta["route"]["waited_s"] for _ in range(3)]
        assert waits == [0, *[pytest.approx(1 / rps, abs=0.02)] * 2]
        assert questions(sim) == 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rps", [0.01, "balance"])
def test_free_requests_have_no_pace(rps: Any, path: str) -> None:
    """The row is for what costs money, and so is the question about the balance."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        model = payer(sim, clock, paid_rps=rps)
        for _ in range(5):
            assert not drive(model, path).meta["route"]["paid"]
        assert clock.slept == []
        assert questions(sim) == 0


def test_each_paid_attempt_takes_a_turn() -> None:
    """A refusal is a request too: the shorter one that follows waits."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        sim.script({PAID: ["402-afford", "ok"]})
        found = moments(sim, clock)
        payer(sim, clock, paid_rps=0.5, max_tokens=None).invoke("hi", model=PAID)
        assert found == [0, pytest.approx(2, abs=0.02)]


# -- several callers


@pytest.mark.parametrize("path", PATHS)
def test_one_row_for_all_who_share_the_book(tmp_path: Path, path: str) -> None:
    """Two objects with one state file take turns, also where they are of different projects; another key doesn't."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        found, state = moments(sim, clock), tmp_path / "state.sqlite3"
        models = [payer(sim, clock, paid_rps=0.5, state=state, project=name) for name in ("one", "two")]
        for number in range(4):
            drive(models[number % 2], path, model=PAID)
        assert spaced(found, 2)
        before = len(clock.slept)
        drive(payer(sim, clock, paid_rps=0.5, state=state, api_key="sk-another"), path, model=PAID)
        assert len(clock.slept) == before


@contextmanager
def passing(crowd: Crowd) -> Iterator[None]:
    """Time passes whenever all of them wait."""
    turner = threading.Thread(target=crowd.clock.turn, args=(crowd.running,))
    turner.start()
    yield
    turner.join(50)


def test_calls_at_once_stand_in_a_row() -> None:
    """Eight threads, two objects, one store: one request each two seconds, and later ones go behind."""
    clock = TurningClock(START)
    with Simulator(clock=clock.now) as sim:
        found, store = moments(sim, clock), MemoryStore()
        models = cycle([payer(sim, clock, paid_rps=0.5, state=store) for _ in range(2)])

        def call(config: Any) -> None:
            next(models).invoke("hi", config, model=PAID)

        for group in (8, 4):
            crowd = Crowd(clock, group, group)
            with passing(crowd):
                at_once(partial(call, {"callbacks": [crowd]}), group)
        assert len(found) == 12
        assert spaced(found, 2)


def batch(how: str, model: Any, crowd: Crowd) -> list[Any]:
    """Answer a crowd of inputs."""
    config: Any = {"max_concurrency": crowd.cap, "callbacks": [crowd]}
    with passing(crowd):
        batch, inputs = getattr(model, how), ["hi"] * crowd.total
        return batch(inputs, config) if how == "batch" else asyncio.run(batch(inputs, config))


@pytest.mark.parametrize("cap", [3, 30])
@pytest.mark.parametrize("how", ["batch", "abatch"])
def test_a_batch_waits_as_long_as_it_takes(how: str, cap: int) -> None:
    """Thirty requests at one in ten seconds: longer than any patience, than a call may take, and not one refused."""
    clock = TurningClock(START)
    with Simulator(clock=clock.now) as sim:
        found = moments(sim, clock)
        model = payer(sim, clock, paid_rps=0.1, max_wait=0, timeouts={"call": 20}).bind(model=PAID)
        assert len(batch(how, model, Crowd(clock, 30, cap))) == 30
        assert asked(sim) == [PAID] * 30
        assert spaced(found, 10)


def test_a_batch_takes_the_next_free_minute_before_a_far_turn() -> None:
    """Five free ones a minute and a paid one in a hundred seconds: twenty need four minutes, not a quarter hour."""
    clock = TurningClock(START)
    with Simulator(Scenario(per_minute=5, per_day=60), clock=clock.now) as sim:
        model = payer(sim, clock, paid_rps=0.01, max_wait=0, limits={"per_minute": 5})
        batch("batch", model, Crowd(clock, 20, 20))
        assert len(sim.chats()) == 20
        assert clock.now() - START < 300


@pytest.mark.parametrize("path", PATHS)
def test_a_single_call_gives_up_beyond_its_patience(path: str) -> None:
    """It is refused without a wait, a request or a place in the row; when its turn has come it goes."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        found, model = moments(sim, clock), payer(sim, clock, paid_rps=0.05, max_wait=15)
        drive(model, path, model=PAID)
        for _ in range(3):
            with pytest.raises(AllModelsFailed) as caught:
                drive(model, path, model=PAID)
            assert caught.value.is_retryable
            assert not isinstance(caught.value, InsufficientCredits | BudgetExceeded)
            assert f"may be asked again at {at(START + 20)}. Try later, or name more models." in str(caught.value)
        assert clock.slept == []
        assert model.spending().windows[0].reserved == "0"
        clock.advance(6)
        drive(model, path, model=PAID)
        assert found == [0, pytest.approx(20, abs=0.02)]


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_what_the_budget_refuses_takes_no_turn(path: str) -> None:
    """Every call is told of the budget, at once."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        model = payer(sim, clock, paid_rps=0.01, budget="$0.000001")
        for _ in range(3):
            with pytest.raises(BudgetExceeded):
                drive(model, path, model=PAID)
        assert clock.slept == []


@pytest.mark.parametrize(
    ("balance", "rps"),
    [(None, 1), ("-5", 1), ("0", 1), ("0.99", 1), ("1", 1), ("2.99", 2), ("499.5", 499), ("500", 500), ("9999", 500)],
)
def test_the_old_rule(balance: str | None, rps: float) -> None:
    """A request a second for each whole dollar, from 1 to 500."""
    payload = None if balance is None else {"data": {"total_credits": balance, "total_usage": 0}}
    assert Funds.of(None, payload).rps == rps


@pytest.mark.parametrize("path", PATHS)
def test_the_balance_is_read_once_in_ten_minutes(path: str) -> None:
    """By whichever object comes first; a new balance counts from the next reading on."""
    clock = FakeClock(START)
    with Simulator(Scenario(credits="4.5"), clock=clock.now) as sim:
        found, store = moments(sim, clock), MemoryStore()
        models = [payer(sim, clock, paid_rps="balance", state=store) for _ in range(2)]
        for number in range(6):
            drive(models[number % 2], path, model=PAID)
        assert spaced(found, 1 / 4)
        assert questions(sim) == 1
        sim.account.bought *= 2
        clock.advance(590)
        drive(models[1], path, model=PAID)
        assert questions(sim) == 1
        clock.advance(20)
        found.clear()
        for number in range(4):
            drive(models[number % 2], path, model=PAID)
        assert spaced(found, 1 / 8)
        assert questions(sim) == 2


@pytest.mark.parametrize("path", ["invoke", "astream"])
def test_an_unknown_balance_is_one_a_second(path: str) -> None:
    """A key that may not read it is asked no more often, and waits a second."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        found, model = moments(sim, clock, told=False), payer(sim, clock, paid_rps="balance")
        for _ in range(4):
            drive(model, path, model=PAID)
        assert spaced(found, 1)
        assert questions(sim) == 1


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_refusal_after_the_reading_asks_no_second_time(path: str) -> None:
    """What was read for the pace is what the error tells."""
    clock = FakeClock(START)
    with Simulator(Scenario(credits=0), clock=clock.now) as sim:
        with pytest.raises(InsufficientCredits) as caught:
            drive(payer(sim, clock, paid_rps="balance"), path, model=PAID)
        assert caught.value.funds == "the balance is $0"
        assert questions(sim) == 1


@pytest.mark.parametrize(
    "rps", [0, -1, -0.5, 1e-5, 1e-320, math.nan, math.inf, True, False, "fast", "2", "", [], {}, [2]]
)
def test_bad_values_are_errors_at_construction(sim: Simulator, rps: Any) -> None:
    """Said at once, with the field's name."""
    with pytest.raises(ConfigurationError, match="paid_rps"):
        payer(sim, FakeClock(), paid_rps=rps)


def test_a_row_longer_than_a_day_is_a_row() -> None:
    """Whoever comes behind it does not begin a second one at its side."""
    assert Ledger().in_row(START + 86_400 + 10, START).turn(START) > START


# -- clocks and callers that misbehave


@pytest.mark.parametrize("jump", [HOUR, 23 * HOUR, 25 * HOUR, 1000 * HOUR])
def test_a_jump_back_between_calls(jump: float) -> None:
    """The clock was ahead, and is set right: the next call waits for a turn at most."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        model = payer(sim, clock, paid_rps=0.5)
        model.invoke("hi", model=PAID)
        clock.advance(-jump)
        model.invoke("hi", model=PAID)
        assert sum(clock.slept) <= 3


class SetBack(FakeClock):
    """Is set back by an hour while somebody sleeps."""

    jump = HOUR

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.advance(-self.jump)
        self.jump = 0.0


@pytest.mark.parametrize("path", PATHS)
def test_a_jump_back_during_the_wait(path: str) -> None:
    """The turn that was booked is an hour ahead now: nobody sleeps so long for it."""
    clock = SetBack(START)
    with Simulator(clock=clock.now) as sim:
        model = payer(sim, clock, paid_rps=0.5)
        drive(model, path, model=PAID)
        drive(model, path, model=PAID)
        assert sum(clock.slept) <= 30


class Interrupted(FakeClock):
    """Is interrupted in the first sleep."""

    first = True

    def sleep(self, seconds: float) -> None:
        self.first, first = False, self.first
        if first:
            raise KeyboardInterrupt
        super().sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        self.first, first = False, self.first
        if first:
            await asyncio.Event().wait()
        await super().asleep(seconds)


def cancelled(model: Any) -> None:
    """Begin a call on an event loop, and cancel it in its wait."""

    async def run() -> None:
        task = asyncio.create_task(model.ainvoke("hi", model=PAID))
        while model.clock.first:  # noqa: ASYNC110 - what is under test runs on other threads too
            await asyncio.sleep(0.005)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


def interrupted(model: Any) -> None:
    """Begin a call, and interrupt it in its wait."""
    with pytest.raises(KeyboardInterrupt):
        model.invoke("hi", model=PAID)


@pytest.mark.parametrize("leave", [cancelled, interrupted])
@pytest.mark.parametrize(("gap", "most"), [(2, 4.02), (15, 15.1)])
def test_a_wait_that_is_broken_off_stops_nobody(gap: float, most: float, leave: Callable[[Any], None]) -> None:
    """Nothing is sent or held back for it, and the next caller, of the usual patience, is answered."""
    clock = Interrupted(START)
    with Simulator(clock=clock.now) as sim:
        model = payer(sim, clock, paid_rps=1 / gap)
        model.invoke("hi", model=PAID)
        leave(model)
        assert len(sim.chats()) == 1
        assert model.spending().windows[0].reserved == "0"
        model.invoke("hi", model=PAID)
        assert gap <= sum(clock.slept) <= most
