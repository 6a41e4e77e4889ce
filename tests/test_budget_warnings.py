"""Before the wall: 50, 80 and 100 % of each cap are told once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from driving import PATHS, TWENTY, at_once, drive, make
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free import Budget, BudgetExceeded, BudgetWarning, MemoryStore
from langchain_openrouter_free.books.purse import Purse
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock

NOW = 1_790_000_000.0
FLAT = "simulated/paid-priced-by-request"


def told(events: list[Any]) -> list[tuple[str, int]]:
    return [(event.window, event.percent) for event in events]


@pytest.mark.parametrize("path", PATHS)
def test_each_step_is_told_once(sim: Simulator, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """By the event hook and the log, with the figures; a new day begins anew, the total does not."""
    sim.script({"*": "500", FLAT: "ok"})
    events: list[Any] = []
    clock, state = FakeClock(NOW), MemoryStore()
    model = make(
        sim,
        TWENTY[:1],
        clock=clock,
        state=state,
        allow_paid=True,
        paid_models=[FLAT],
        budget="$0.04/day, $1",
        max_tokens=300,
        on_event=events.append,
    )
    costs: list[Decimal] = []
    while True:
        try:
            drive(model, path)
        except BudgetExceeded:
            break
        costs.append(sim.bill[-1].cost)
        spent = sum(costs, Decimal(0))
        expected = [("day", step) for step in (50, 80, 100) if spent * 100 >= Decimal("0.04") * step]
        if expected:
            assert told(events)[-1] == expected[-1]
    assert told(events) == sorted(set(told(events)))
    assert len(events) >= 1
    assert isinstance(events[0], BudgetWarning)
    assert events[0].cap == "0.04"
    assert events[0].frees_at == (NOW // 86_400 + 1) * 86_400
    assert str(events[0]) in caplog.text
    before = len(events)
    clock.advance(86_400)
    while len(events) == before:
        drive(model, path)
    assert told(events)[before][0] == "day"


def test_parallel_calls_tell_a_step_once(sim: Simulator) -> None:
    """Whoever crosses the line says so, the others do not."""
    sim.script({"*": "500", FLAT: {"do": "ok", "latency": 0.05}})
    events: list[Any] = []
    model = make(
        sim,
        TWENTY[:1],
        allow_paid=True,
        paid_models=[FLAT],
        budget="$0.1",
        max_wait=0,
        max_tokens=300,
        on_event=events.append,
    )

    def call() -> None:
        for _ in range(3):
            try:
                model.invoke("hi")
            except BudgetExceeded:
                return

    at_once(call, 8)
    assert told(events) == sorted(set(told(events)))
    assert ("total", 50) in told(events) or ("total", 80) in told(events)


@given(st.lists(st.integers(1, 40), max_size=12))
def test_the_highest_step_that_is_passed_is_told(costs: list[int]) -> None:
    """Compare with a sum: each step is told at most once, at the moment at which it is passed."""
    budget, purse, spent, known = Budget(total=Decimal(100) / 10**9), Purse(), 0, 0
    for cost in costs:
        purse, warnings = purse.booked(cost, NOW).crossed(budget, NOW)
        spent += cost
        step = max((s for s in (50, 80, 100) if spent >= s), default=0)
        assert [w.percent for w in warnings] == ([step] if step > known else [])
        known = max(known, step)
    assert Purse.decode(purse.encode()) == purse


@pytest.mark.parametrize(
    ("window", "days", "percent"), [("day", 1, 50), ("month", 1, 100), ("month", 31, 50), ("total", 31, 100)]
)
def test_a_step_is_told_anew_in_the_next_window(window: str, days: int, percent: int) -> None:
    """What was told of a window that is over says nothing of the one that is open."""
    budget, later = Budget.parse({window: Decimal(100) / 10**9}), NOW + days * 86_400
    purse, _ = Purse().booked(60, NOW).crossed(budget, NOW)
    _, told = purse.booked(60, later).crossed(budget, later)
    assert [(one.window, one.percent) for one in told] == [(window, percent)]


@pytest.mark.parametrize(
    ("spent", "percent"), [(499, []), (500, [50]), (799, [50]), (800, [80]), (999, [80]), (1000, [100]), (1500, [100])]
)
def test_a_step_is_told_at_its_last_nano_dollar(spent: int, percent: list[int]) -> None:
    budget = Budget(total=Decimal(1000) / 10**9)
    assert [one.percent for one in Purse().booked(spent, NOW).crossed(budget, NOW)[1]] == percent
