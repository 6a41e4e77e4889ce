"""A clock that jumps back benches nobody for long, and reopens no day; machines whose clocks differ share one time."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from driving import TWENTY, book_of, drive, make
from redis_server import Server
from store_helpers import COUNT, fail, one_more

from langchain_openrouter_free import FreeQuotaExhausted, MemoryStore
from langchain_openrouter_free.books.breaker import FIXED
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.pages import decode, encode
from langchain_openrouter_free.books.quota import DAY, MINUTE, Full, Limits, Slot, Windows
from langchain_openrouter_free.clock import SystemClock, runs_as_the_machines
from langchain_openrouter_free.engine.bookkeeping import Accounts
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores.redis import RedisStore
from langchain_openrouter_free.testing import FakeClock

START = 1_790_000_005.0  # 25 seconds into a minute, 14:13 UTC
MIDNIGHT = 1_790_035_200.0
HOUR = 3600.0
FARTHEST = 25 * HOUR


JUMPS = {"an hour": HOUR, "a day": DAY, "a week": 7 * DAY, "years": 5 * 365 * DAY}
A_DAY_OR_SO = FARTHEST + HOUR


@pytest.mark.parametrize("kind", [Kind.BROKEN, Kind.UPSTREAM_LIMIT, Kind.OVERLOADED, Kind.DELISTED])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_back_makes_no_long_cooldown(jump: str, kind: Kind) -> None:
    """A model that failed under a clock that was ahead rests a day or so longer at most under the right one."""
    book = Ledger().settled("m", verdict(kind), START + JUMPS[jump])
    assert book.rests_until("m", START) <= START + A_DAY_OR_SO + FIXED.get(kind, 0.0)
    again = book.settled("m", verdict(kind), START)
    assert START < again.rests_until("m", START) <= START + A_DAY_OR_SO + FIXED.get(kind, 0.0)


@pytest.mark.parametrize("kind", [Kind.MINUTE_LIMIT, Kind.DAY_LIMIT])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_back_makes_no_long_hold(jump: str, kind: Kind) -> None:
    """An account that was shut under a clock that was ahead waits a day or so at most under the right one."""
    then = START + JUMPS[jump]
    book = Ledger().settled("m", verdict(kind, until=then + 10 * HOUR, limit=5), then)
    hold = book.hold(START)
    assert hold is None or hold.until <= START + A_DAY_OR_SO


@pytest.mark.parametrize(
    ("kind", "behind", "is_shut"),
    [(Kind.MINUTE_LIMIT, 50.0, True), (Kind.MINUTE_LIMIT, 70.0, False), (Kind.DAY_LIMIT, HOUR, True)],
)
def test_what_is_shut_by_who_is_ahead_is_shut_for_who_is_a_little_behind(
    *, kind: Kind, behind: float, is_shut: bool
) -> None:
    """Though the refusal told no size: machines that share a book may differ by a minute, and a day is no minute."""
    book = Ledger().settled("m", verdict(kind, until=START + 30), START)
    assert (book.hold(START - behind) is not None) is is_shut


@pytest.mark.parametrize("window", ["minute", "day"])
@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_minute_that_is_yet_to_come_shuts_nobody_out(path: str, window: str) -> None:
    """This machine's clock falls back an hour after a refusal: a minute is over by now, and a day stays shut."""
    clock, server = FakeClock(now=START), FakeClock(now=START)
    scenario = Scenario(per_minute=1) if window == "minute" else Scenario(per_day=1)
    with Simulator(scenario, clock=server.now) as sim:
        store = MemoryStore()
        first, second = (make(sim, TWENTY[:1], clock=clock, max_wait=0, state=store) for _ in range(2))
        drive(first, path)
        with pytest.raises(FreeQuotaExhausted):
            drive(first, path)
        clock.advance(2 * MINUTE - HOUR)
        server.advance(2 * MINUTE)
        if window == "minute":
            assert drive(second, path).text
        else:
            with pytest.raises(FreeQuotaExhausted):
                drive(second, path)
        assert decode(encode(book_of(store))) == book_of(store)
        assert len(sim.chats()) == (3 if window == "minute" else 2)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_back_makes_no_long_day(jump: str) -> None:
    """A day that was used up under a clock that was ahead is over in two days at most, and nobody waits for years."""
    then, limits = START + JUMPS[jump], Limits(per_minute=2, per_day=5)
    windows = Windows()
    for step in range(10):
        windows, _ = windows.admitted(limits, then + step * MINUTE, 0)
    for hours in range(48):
        now = START + hours * HOUR
        windows, found = windows.admitted(limits, now, 0)
        assert isinstance(found, Slot) or found.until <= now + DAY
    _, found = windows.admitted(limits, MIDNIGHT + 2 * DAY + 2, 0)
    assert isinstance(found, Slot)


@pytest.mark.parametrize("jump", [DAY, 3 * DAY, 4 * DAY, 10 * DAY, 400 * DAY])
@pytest.mark.parametrize("whose", ["the account's", "a project's"])
@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_day_that_was_used_up_ahead_is_over_after_days(path: str, whose: str, jump: float) -> None:
    """What a clock that is ahead has counted shuts the account, or the share, for three days at most, whoever asks."""
    clock, server = FakeClock(now=START + jump), FakeClock(now=START)
    share = {"limits": {"per_day": 2}} if whose == "the account's" else {"daily_share": 2, "limits": {"per_day": 9}}
    with Simulator(Scenario(per_day=9), clock=server.now) as sim:
        model = make(sim, TWENTY[:1], clock=clock, max_wait=0, project="one", **share)

        def answers() -> bool:
            with contextlib.suppress(FreeQuotaExhausted):
                return bool(drive(model, path).text)
            return False

        assert [answers() for _ in range(3)] == [True, True, False]
        clock.advance(-jump)
        days = []
        for _ in range(5):
            days.append(answers())
            clock.advance(DAY)
            server.advance(DAY)
    assert days[0] is False, "what was counted by a wrong clock counts today"
    assert days.index(True) <= (1 if jump > 3 * DAY else 4)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_back_makes_no_long_probe(jump: str) -> None:
    """A probe that was begun under a clock that was ahead keeps nobody from the model for long."""
    then = START + JUMPS[jump]
    book = Ledger().settled("m", verdict(Kind.BROKEN), START - 60)
    book = book.begun("m", None, then, lease=600.0)
    assert book.rests_until("m", START) <= START


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_back_makes_no_long_limit_of_a_model(jump: str) -> None:
    """A model's own day that was used up under a clock that was ahead is over in a day or so."""
    then = START + JUMPS[jump]
    book = Ledger().settled("m", verdict(Kind.MODEL_LIMIT, until=then + 5, limit=2, window="day"), then)
    for _ in range(2):
        book = book.begun("m", Slot.at(then), then, lease=60.0)
    assert book.rests_until("m", START) <= START + A_DAY_OR_SO


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_back_leaves_no_question_open(jump: str) -> None:
    """`GET /key` may be asked under the right clock, whenever it was asked under the wrong one."""
    book = Ledger().inquiring(START + JUMPS[jump])
    assert book.may_inquire(START)


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_calls_after_a_jump_back(path: str, jump: str) -> None:
    """The clocks of both sides fall back: the account answers, and the model that failed is back in a day or so."""
    clock = FakeClock(now=START + JUMPS[jump])
    with Simulator(clock=clock.now) as sim:
        sim.script({TWENTY[0]: ["503", "ok"]})
        model = make(sim, TWENTY[:2], clock=clock, limits={"per_minute": 20, "per_day": 50})
        assert drive(model, path).outcomes == ["overloaded", "ok"]
        clock.advance(-JUMPS[jump])
        assert drive(model, path).meta["route"]["model"] in TWENTY[:2]
        clock.advance(A_DAY_OR_SO)
        assert drive(model, path).meta["route"]["model"] == TWENTY[0]


def test_what_was_used_of_a_day_stays_used_over_midnight() -> None:
    """Two of two are used before midnight, one after it; back before midnight there is none left."""
    limits = Limits(per_day=2)
    before, after = MIDNIGHT - 10 * MINUTE, MIDNIGHT + 5 * MINUTE
    windows, _ = Windows().admitted(limits, before, 0)
    windows, _ = windows.admitted(limits, before, 0)
    windows, _ = windows.admitted(limits, after, 0)
    windows, found = windows.admitted(limits, MIDNIGHT - 50 * MINUTE, 0)
    assert isinstance(found, Full)
    assert found.window == "day"
    assert windows.used(after)[1] == 1, "the new day's count is what it was"


@pytest.mark.parametrize("back", [HOUR, 12 * HOUR, DAY])
def test_a_jump_back_over_midnight_opens_no_endless_day(back: float) -> None:
    """Before midnight once more: at most a day's worth is let out, however often the minute turns."""
    limits = Limits(per_minute=1, per_day=2)
    windows, let_out = Windows(), 0
    windows, _ = windows.admitted(limits, MIDNIGHT + 5 * MINUTE, 0)
    now = MIDNIGHT + 10 * MINUTE - back
    while now < MIDNIGHT:
        windows, found = windows.admitted(limits, now, 0)
        let_out += isinstance(found, Slot)
        now += 5 * MINUTE
    assert let_out <= 2


class Wrong(SystemClock):
    """A machine's clock that is wrong by so many seconds."""

    def __init__(self, by: float = 0.0) -> None:
        self.by = by

    def now(self) -> float:
        return time.time() + self.by


class Fast(Wrong):
    """A clock that runs so many times as fast as the machine's."""

    speed = 60.0

    def now(self) -> float:
        return super().now() + time.monotonic() * (self.speed - 1)


class Slow(Fast):
    """One that runs at half the speed."""

    speed = 0.5


class Ticking(FakeClock):
    """One that goes on by a second whenever it is looked at."""

    def now(self) -> float:
        self.advance(1.0)
        return super().now()


class Keyless(Wrong):
    """One that can be no key of a table."""

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("kind", "runs"),
    [(SystemClock, True), (Wrong, True), (Keyless, True), (Fast, False), (Slow, False), (Ticking, False)],
)
def test_a_clock_runs_as_the_machines_does_or_keeps_its_own_time(kind: type[SystemClock], *, runs: bool) -> None:
    """Many at once, on a machine that has other things to do: what comes in between changes nothing."""
    clocks = [kind() for _ in range(30)]
    found = list(ThreadPoolExecutor(6).map(runs_as_the_machines, clocks))
    assert found == [runs] * 30
    assert [runs_as_the_machines(clock) for clock in clocks[:3]] == [runs] * 3


def test_the_shared_time_is_the_servers(shared: Server) -> None:
    """Whatever this machine's clock says, and another one that runs with it; a clock of its own keeps its time."""
    wrong, fake, fast = Wrong(-HOUR), FakeClock(), Fast()
    store = RedisStore(shared.url, wall=wrong.now, warn=fail)
    times = {clock: Accounts(store, "a", "p").time(clock) for clock in (wrong, Wrong(9 * HOUR), fake, fast)}
    assert [one.now() - clock.now() for clock, one in times.items()] == pytest.approx([0.0] * 4, abs=1.0)
    store.update(COUNT, one_more)
    assert [one.now() - time.time() for one in times.values()][:2] == pytest.approx([0.0] * 2, abs=1.0)
    assert times[fake].now() == fake.now()
    assert times[fast].now() == pytest.approx(fast.now(), abs=1.0)


@pytest.mark.parametrize("is_told", [True, False])
def test_machines_whose_clocks_differ_share_one_day(sim: Simulator, shared: Server, *, is_told: bool) -> None:
    """Be it that their state's server is measured by the same clock, or by the machine's own."""
    clocks = [Wrong(-HOUR), Wrong(), Wrong(2 * HOUR)]
    stores = [RedisStore(shared.url, warn=fail, wall=clock.now if is_told else time.time) for clock in clocks]
    limits = {"per_minute": None, "per_day": 4}
    models = [
        make(sim, state=store, clock=clock, limits=limits, max_wait=0.0)
        for clock, store in zip(clocks, stores, strict=True)
    ]
    for model in models * 2:
        with contextlib.suppress(FreeQuotaExhausted):
            drive(model, "invoke")
    assert len(sim.chats()) == 4


@pytest.mark.parametrize("jump", [-DAY, -HOUR, HOUR, 20 * HOUR, DAY])
def test_a_jump_opens_no_window_that_machines_share(sim: Simulator, shared: Server, jump: float) -> None:
    """A machine's clock is set between two calls: the next one is booked by the server's time already."""
    clock = Wrong()
    model = make(
        sim,
        state=RedisStore(shared.url, wall=clock.now, warn=fail),
        clock=clock,
        limits={"per_minute": None, "per_day": 4},
        max_wait=0.0,
    )
    for number in range(6):
        clock.by += jump if number == 3 else 0.0
        with contextlib.suppress(FreeQuotaExhausted):
            drive(model, "invoke")
    assert len(sim.chats()) == 4


@pytest.mark.parametrize("by", [-9 * HOUR, 20 * HOUR, DAY])
def test_what_is_asked_of_the_books_goes_by_the_shared_time(sim: Simulator, shared: Server, by: float) -> None:
    """The quota, who rests, and how many of them are forgotten, on a machine whose clock is wrong."""
    sim.script({TWENTY[0]: {"do": "429-upstream", "retry_after": 600}})
    state = RedisStore(shared.url, warn=fail)
    drive(make(sim, TWENTY[:2], state=state, limits={"per_minute": None, "per_day": 4}), "invoke")
    model = make(sim, TWENTY[:2], state=RedisStore(shared.url, warn=fail), clock=Wrong(by), limits={"per_day": 4})
    day = model.quota().windows[-1]
    assert day.used == 2
    assert 0 < day.resets_at - time.time() <= DAY
    assert next(one.reason for one in model.standings() if one.model == TWENTY[0])
    assert model.forget_cooldowns() == 1
