"""A machine whose clock is wrong: the server's time counts, as its replies have shown it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, book_of, drive, make
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free import FreeQuotaExhausted, MemoryStore
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import DAY, MINUTE
from langchain_openrouter_free.books.skew import Heard, corrected
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

HOUR = 3600.0
NOON = 1_790_000_005.0  # 25 seconds into a minute, 14:13 UTC
MIDNIGHT = 1_790_035_200.0
OFFSETS = {"two hours behind": 2 * HOUR + 10, "two hours ahead": -2 * HOUR - 10}  # the machine, seen from the server

# -- the estimate

TABLE: dict[str, tuple[float, Heard | None, float]] = {
    "nothing heard": (7.0, None, 7.0),
    "a good clock": (0.0, Heard(NOON, NOON + 0.2, NOON + 0.4), 0.0),
    "at the lower end": (-5.0, Heard(NOON, NOON + 4, NOON + 5), -5.0),
    "at the upper end": (-3.0, Heard(NOON, NOON + 4, NOON + 5), -3.0),
    "below": (0.0, Heard(NOON + 100, NOON, NOON + 1), 99.0),
    "above": (0.0, Heard(NOON - 100, NOON, NOON + 1), -99.0),
    "a known one that is still right": (99.5, Heard(NOON + 100, NOON, NOON + 1), 99.5),
    "a known one that is not right any more": (99.5, Heard(NOON, NOON, NOON + 1), 1.0),
    "25 hours": (0.0, Heard(NOON + 25 * HOUR - 1, NOON, NOON), 25 * HOUR - 1),
    "more than 25 hours": (0.0, Heard(NOON + 25 * HOUR + 1, NOON, NOON), 0.0),
    "more than 25 hours back": (0.0, Heard(NOON - 25 * HOUR - 3, NOON, NOON), 0.0),
    "days off, and a known one": (42.0, Heard(NOON - 60 * DAY, NOON, NOON), 42.0),
    "the beginning of time": (0.0, Heard(0.0, NOON, NOON), 0.0),
    "set back meanwhile": (0.0, Heard(NOON, NOON + 2 * HOUR, NOON + 0.4), -0.4),
    "set back meanwhile, as was known": (-2 * HOUR, Heard(NOON, NOON + 2 * HOUR, NOON + 0.4), -0.4),
    "set back by days meanwhile": (0.0, Heard(NOON, NOON + 2 * DAY, NOON + 0.4), -0.4),
    "set forward meanwhile": (0.0, Heard(NOON, NOON - 2 * HOUR, NOON + 0.4), 0.0),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_nearest_skew_that_a_reply_allows(name: str) -> None:
    """Inside its interval nothing changes, outside it moves to the nearer end, and nonsense is left."""
    skew, heard, expected = TABLE[name]
    assert corrected(skew, heard) == pytest.approx(expected, abs=1e-6)


def test_samples_narrow_each_other() -> None:
    """Two replies in different parts of their second leave less than a second between them."""
    skew, narrowed = 7200.0, 0.0
    for at in (0.1, 0.9, 0.5):
        sent = NOON + at
        narrowed = corrected(narrowed, Heard(math.floor(sent + skew), sent, sent + 0.05))
    assert narrowed == pytest.approx(skew, abs=0.16)


SAMPLES = st.lists(st.tuples(st.floats(0.0, 600.0), st.floats(0.0, 30.0), st.floats(0.0, 1.0)), min_size=1, max_size=12)


@given(skew=st.floats(-20 * HOUR, 20 * HOUR), samples=SAMPLES, known=st.floats(-20 * HOUR, 20 * HOUR))
def test_the_error_shrinks_with_each_reply(
    skew: float, samples: list[tuple[float, float, float]], known: float
) -> None:
    """Of a constant skew: each reply's interval holds the estimate, and no reply makes its error larger."""
    now, estimate, shortest = NOON, known, math.inf
    for pause, trip, share in samples:
        sent = now + pause
        now = sent + trip
        heard = Heard(math.floor(sent + trip * share + skew), sent, now)
        before, estimate = abs(estimate - skew), corrected(estimate, heard)
        assert heard.date - heard.received - 1e-6 <= estimate <= heard.date + 1 - heard.sent + 1e-6
        shortest = min(shortest, trip)
        assert abs(estimate - skew) <= min(before, 1 + shortest) + 1e-5


@given(skew=st.floats(-20 * HOUR, 20 * HOUR), date=st.floats(allow_nan=False), sent=st.floats(0, 4e9))
def test_no_date_moves_it_further_than_a_day_or_so(skew: float, date: float, sent: float) -> None:
    """Whatever a header says, the estimate stays finite and within 25 hours."""
    found = corrected(skew, Heard(date, sent, sent + 1))
    assert abs(found) <= 25 * HOUR


# -- over the wire


def shifted(clock: FakeClock, offset: float, scenario: Scenario | None = None) -> Simulator:
    """A service whose clock is so far ahead of the machine's."""
    return Simulator(scenario, clock=lambda: clock.now() + offset)


def page(store: MemoryStore) -> Ledger:
    return book_of(store)


def refused(model: Any, path: str) -> FreeQuotaExhausted:
    """Call until the account's day is used up."""
    for _ in range(6):
        try:
            drive(model, path)
        except FreeQuotaExhausted as error:
            return error
    pytest.fail("the day is never used up")


@pytest.mark.parametrize("offset", [2 * HOUR, -2 * HOUR], ids=["behind", "ahead"])
@pytest.mark.parametrize("path", PATHS)
def test_the_day_ends_at_the_servers_midnight(path: str, offset: float) -> None:
    """The machine and the server have different dates: after one reply the server's midnight is named."""
    server = MIDNIGHT + math.copysign(HOUR, offset)  # the machine is on the other side of midnight
    clock = FakeClock(now=server - offset)
    with shifted(clock, offset) as sim:
        error = refused(make(sim, TWENTY[:1], clock=clock, limits={"per_day": 3}), path)
        assert error.window == "day"
        assert error.reset_at == (server // DAY + 1) * DAY
        assert len(sim.chats()) <= 4, "at most the first request was counted on the wrong day"


@pytest.mark.parametrize("offset", [2 * HOUR, -2 * HOUR], ids=["behind", "ahead"])
@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_the_servers_day_is_counted_while_minutes_pass(path: str, offset: float) -> None:
    """The machine and the server have different dates: no more than a day's requests leave on the server's day."""
    server = MIDNIGHT + math.copysign(HOUR, offset)
    clock = FakeClock(now=server - offset)
    with shifted(clock, offset) as sim:
        model = make(sim, TWENTY[:1], clock=clock, limits={"per_day": 3})
        for _ in range(8):
            try:
                drive(model, path)
            except FreeQuotaExhausted:
                break
            clock.advance(5 * MINUTE)
        assert len(sim.chats()) <= 4, "at most the first request was counted on the wrong day"


@pytest.mark.parametrize("offset", [2 * HOUR, -2 * HOUR], ids=["behind", "ahead"])
@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_day_that_the_server_closed_is_over_at_its_midnight(path: str, offset: float) -> None:
    """The machine and the server have different dates: what the server closes is its own day, not the next one."""
    server = MIDNIGHT + math.copysign(HOUR, offset)
    clock = FakeClock(now=server - offset)
    with shifted(clock, offset, Scenario(per_day=5, day_used=5)) as sim:
        model = make(sim, TWENTY[:1], clock=clock, limits={"per_day": 5})
        with pytest.raises(FreeQuotaExhausted) as caught:
            drive(model, path)
        assert caught.value.reset_at == (server // DAY + 1) * DAY
        clock.advance(caught.value.reset_at - server + MINUTE)
        assert drive(model, path).text, "on the server's next day there is room"


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("name", OFFSETS)
@pytest.mark.parametrize("path", PATHS)
def test_a_minute_ends_with_the_servers(path: str, name: str, fraction: float) -> None:
    """One refusal, one wait until the server's minute is over, and no second refusal."""
    offset = OFFSETS[name]
    clock = FakeClock(now=NOON + fraction)
    with shifted(clock, offset, Scenario(per_minute=2)) as sim:
        model = make(sim, TWENTY[:1], clock=clock, max_wait=90)
        for _ in range(3):
            drive(model, path)
        server = NOON + fraction + offset
        left = (server // MINUTE + 1) * MINUTE - server
        assert clock.slept == [pytest.approx(left + 1.5, abs=1.0)]
        assert [chat.status for chat in sim.chats()] == [200, 200, 429, 200]


@pytest.mark.parametrize("name", OFFSETS)
@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_known_minute_is_the_servers(path: str, name: str) -> None:
    """With a known limit the book itself waits for the server's minutes, and the server never has to say no."""
    offset = OFFSETS[name]
    clock = FakeClock(now=NOON + 0.5)
    with shifted(clock, offset, Scenario(per_minute=3)) as sim:
        model = make(sim, TWENTY[:1], clock=clock, limits={"per_minute": 3}, max_wait=90)
        drive(model, path)  # shows the server's time
        clock.advance(MINUTE)
        for _ in range(9):
            drive(model, path)
        assert {chat.status for chat in sim.chats()} == {200}
        assert len(clock.slept) == 2
        assert clock.slept[1] == pytest.approx(60, abs=1.0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("offset", [2 * HOUR, -2 * HOUR], ids=["behind", "ahead"])
def test_the_skew_survives_a_restart(tmp_path: Path, path: str, offset: float) -> None:
    """A new store object on the same file knows the server's time before any reply."""
    server = MIDNIGHT + math.copysign(HOUR, offset)
    clock = FakeClock(now=server - offset)
    file = tmp_path / "state.sqlite3"
    with shifted(clock, offset) as sim:
        first = SqliteStore(file)
        drive(make(sim, TWENTY[:1], clock=clock, state=first), path)
        drive(make(sim, TWENTY[:1], clock=clock, state=first), path)
        first.close()
        before = len(sim.chats())
        again = SqliteStore(file)
        with pytest.raises(FreeQuotaExhausted) as caught:
            drive(make(sim, TWENTY[:1], clock=clock, state=again, limits={"per_day": 1}), path)
        again.close()
        assert caught.value.reset_at == (server // DAY + 1) * DAY
        assert len(sim.chats()) == before


@pytest.mark.parametrize("path", PATHS)
def test_a_clock_that_is_set_right_while_a_request_is_on_its_way(path: str) -> None:
    """By the reply the clock is right: nothing is counted on the day before, and the server never has to say no."""
    server = MIDNIGHT + 10 * MINUTE
    clock = FakeClock(now=server)

    def right() -> float:
        clock.advance(server - clock.now())
        return server

    with Simulator(Scenario(per_day=4), clock=right) as sim:
        model = make(sim, TWENTY[:1], clock=clock, limits={"per_day": 4})
        drive(model, path)  # looks at the service's list as well
        clock.advance(30 * MINUTE)
        for _ in range(3):
            drive(model, path)
        with pytest.raises(FreeQuotaExhausted):
            drive(model, path)
        assert [chat.status for chat in sim.chats()] == [200] * 4


@pytest.mark.parametrize("days", [60, -60, 2, -2])
@pytest.mark.parametrize("path", PATHS)
def test_a_date_of_another_day_changes_nothing(path: str, days: int) -> None:
    """A Date that is days off (a recorded reply, a fake clock) is no news of the time."""
    clock = FakeClock(now=NOON)
    store = MemoryStore()
    with shifted(clock, days * DAY) as sim:
        model = make(sim, TWENTY[:1], clock=clock, limits={"per_day": 1}, state=store)
        drive(model, path)
        assert page(store).skew == 0.0
        with pytest.raises(FreeQuotaExhausted) as caught:
            drive(model, path)
        assert caught.value.reset_at == MIDNIGHT
        assert asked(sim) == TWENTY[:1]


@pytest.mark.parametrize("path", PATHS)
def test_a_fake_clock_against_the_real_time(sim: Simulator, path: str) -> None:
    """The simulator's real time and a fake clock in 2026-09 go together as before."""
    clock, store = FakeClock(now=NOON - 400 * DAY), MemoryStore()
    model = make(sim, TWENTY[:1], clock=clock, limits={"per_day": 1}, state=store)
    drive(model, path)
    assert page(store).skew == 0.0
    with pytest.raises(FreeQuotaExhausted) as caught:
        drive(model, path)
    assert caught.value.reset_at == MIDNIGHT - 400 * DAY
