"""What was spent, as it is told: the account's ceiling beside the projects' budgets, and the report with its fees."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from driving import PATHS, TWENTY, drive, make
from money_world import DAY, DEAR, FLAT, STALL, WORST, World, figures, window

from langchain_openrouter_free import BudgetExceeded, BudgetWarning, ConfigurationError, Spent
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock


@pytest.fixture
def world() -> Iterator[World]:
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        yield World(sim, clock)


# -- the ceiling of the account


@pytest.mark.parametrize("path", PATHS)
def test_the_account_s_ceiling_stops_a_second_project(world: World, path: str) -> None:
    """Each project has room of its own, both together have not; the refused one holds nothing back."""
    first, second = (world.model(FLAT, project=name, account_budget="$0.9/day") for name in ("one", "two"))
    drive(first, path)
    with pytest.raises(BudgetExceeded) as caught:
        drive(second, path)
    error = caught.value
    assert (error.whose, error.window, error.cap, error.spent) == ("account", "day", "0.9", "0.5")
    assert error.frees_at == (world.clock.now() // DAY + 1) * DAY
    assert str(error).startswith("The account's budget a day of $0.9 ")
    told = second.spending()
    assert figures(told) == (0, 0, 0, 0)
    account = Spent("account", "day", "0.5", "0", "0.9", "0.4", error.frees_at)
    assert window(told, "day", "account") == window(first.spending(), "day", "account") == account
    assert len(world.sim.bill) == 1
    world.clock.advance(DAY)
    assert drive(second, path).meta["route"]["paid"]


@pytest.mark.parametrize(
    ("budget", "ceiling", "stopped", "frees"),
    [
        ("$0.5/day", "$9", "project day", "later"),
        ("$0.5/day, $0.6/month", "$9", "project month", "later"),
        ("$0.5/day, $0.6/month, $0.7", "$9", "project total", "never"),
        ("$0.5/day", "$0.6/month", "account month", "later"),
        ("$0.6/month", "$0.5/day", "project month", "later"),
        ("$0.5/day", "$0.5/day, $0.7", "account total", "never"),
        ("$0.4/day", "$9", "project day", "never"),
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_what_frees_up_last_stops_a_call(
    world: World, path: str, budget: str, ceiling: str, stopped: str, frees: str
) -> None:
    """Of several caps that are too small, and of what no window holds: a call at the time that is told passes."""
    model = world.model(FLAT, budget=budget, account_budget=ceiling)
    with contextlib.suppress(BudgetExceeded):
        drive(model, path)
    with pytest.raises(BudgetExceeded) as caught:
        drive(model, path)
    error = caught.value
    assert f"{error.whose} {error.window}" == stopped
    assert ("never" if error.frees_at is None else "later") == frees
    [paid] = [one for one in model.explain().models if one.paid]
    assert paid.until == error.frees_at
    if error.frees_at is not None:
        world.clock.advance(error.frees_at - world.clock.now())
        assert drive(model, path).meta["route"]["paid"]


def test_the_paid_model_that_frees_up_first_is_told(world: World) -> None:
    """The better one fits into tomorrow, the other one never."""
    model = world.model(paid_models=[FLAT["id"], DEAR["id"]], budget="$0.6/call, $0.5/day", max_tokens=3000)
    drive(model, "invoke")
    with pytest.raises(BudgetExceeded, match="a day"):
        drive(model, "invoke")


def test_a_dispute_of_another_project_is_settled_where_the_ceiling_falls_short(world: World) -> None:
    """The account's book has it too; the other project's own book is set right when that project asks."""
    world.play([STALL, "ok"])
    one, two = (world.model(project=name, account_budget="$0.5") for name in ("one", "two"))
    stream = one.stream("hi")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    world.clock.advance(60)
    assert drive(two, "invoke").meta["route"]["paid"]
    assert Decimal(window(two.spending(), "total", "account").spent) == world.bill
    assert figures(one.spending()) == (WORST, 0, WORST, 0)
    assert figures(one.reconcile()) == (world.sim.bill[0].cost, 0, 0, 0)
    assert Decimal(window(one.spending(), "total", "account").spent) == world.bill, "not taken off twice"


def test_the_account_s_pocket_warns_too(world: World) -> None:
    """Of each cap, once, and whose it is."""
    events: list[Any] = []
    kwargs = {"budget": "$2", "account_budget": "$0.6, $9/month", "on_event": events.append}
    drive(world.model(FLAT, **kwargs), "invoke")
    assert [(one.whose, one.window, one.percent) for one in events] == [("account", "total", 80)]
    assert isinstance(events[0], BudgetWarning)
    assert (events[0].spent, events[0].cap, events[0].frees_at) == ("0.5", "0.6", None)
    assert str(events[0]) == "$0.5 of the account's budget of $0.6 a total are spent (80 %)"
    with pytest.raises(BudgetExceeded):
        drive(world.model(FLAT, **kwargs), "invoke")
    assert len(events) == 1


# -- the report


def test_the_report_has_all_figures(world: World) -> None:
    """Windows with caps and what is left, when they turn, and what the credits cost to buy; no request is made."""
    model = world.model(FLAT, budget="$0.6/day, $5/month, $0.55/call")
    drive(model, "invoke")
    before = len(world.sim.received)
    report = model.spending()
    assert len(world.sim.received) == before
    now = datetime.fromtimestamp(world.clock.now(), UTC)
    month = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC).timestamp()
    assert report.windows == (
        Spent("project", "day", "0.5", "0", "0.6", "0.1", (world.clock.now() // DAY + 1) * DAY),
        Spent("project", "month", "0.5", "0", "5", "4.5", month),
        Spent("project", "total", "0.5", "0", None, None, None),
    )
    assert (report.project, report.credits, report.to_buy) == ("one", "0.5", "1.3")
    assert (report.disputed, report.unknown) == ("0", "0")
    lines = str(report).splitlines()
    assert lines[0] == "Spent by one:"
    assert lines[1].startswith("  project, day: $0.5 and $0 reserved of $0.6, $0.1 left, until ")
    assert lines[3] == "  project, total: $0.5 and $0 reserved"
    assert lines[4:] == ["  in dispute: $0; never told: $0", "  credits used: 0.5; to buy them: $1.3"]


def test_a_report_of_nothing(world: World) -> None:
    """A model that may not pay has a report as well."""
    report = make(world.sim, [TWENTY[0]], clock=world.clock, project="idle").spending()
    assert [(one.spent, one.reserved, one.cap, one.left) for one in report.windows] == [("0", "0", None, None)] * 3
    assert (report.credits, report.to_buy) == ("0", "0")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
@pytest.mark.parametrize("kind", ["file", "server"])
def test_a_folder_whose_name_is_no_text(
    world: World, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A folder's name may be any bytes: what is paid for in it is booked all the same, and can be printed."""
    state = str(tmp_path / "state.sqlite3") if kind == "file" else request.getfixturevalue("shared").url
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(folder).mkdir()
    monkeypatch.chdir(folder)
    model = world.model(FLAT, project=None, state=state)
    assert drive(model, "invoke").meta["route"]["paid"]
    report = model.spending()
    assert (report.windows[0].spent, report.project.encode()) == ("0.5", os.fsencode(tmp_path) + rb"/caf\udce9")


@pytest.mark.parametrize("whose", ["budget", "account_budget"])
def test_who_would_be_asked_is_told_by_the_budget(world: World, whose: str) -> None:
    """A preview names no paid model that the wall would stop, says until when, and holds nothing back itself."""
    model = world.model(FLAT, **{"budget": "$9", whose: "$0.6/day"})
    drive(model, "invoke")  # the first look at the catalogue, and the day's money
    for _ in range(2):
        told = model.explain()
        [paid] = [one for one in told.models if one.paid]
        assert FLAT["id"] not in told.order
        assert (paid.reason, paid.until) == ("the budget does not hold it", (world.clock.now() // DAY + 1) * DAY)
    world.clock.advance(DAY)
    assert model.explain().order[-1] == FLAT["id"]
    assert Decimal(window(model.spending(), "day").reserved) == 0
    assert drive(model, "invoke").meta["route"]["paid"]


def test_what_is_under_way_is_reserved(world: World) -> None:
    """It is not spent, and not left either."""
    world.play(STALL)
    model = world.model(budget="$1")
    stream = model.stream("hi")
    next(stream)
    total = window(model.spending(), "total")
    stream.close()  # type: ignore[attr-defined]
    assert (total.spent, total.reserved, total.left) == ("0", "0.3", "0.7")


@pytest.mark.parametrize(
    ("fee", "to_buy"),
    [
        (None, "1.3"),
        ({}, "1.3"),
        ({"percent": 10}, "1.3"),
        ({"least": 0}, "0.5275"),
        ({"percent": "5.5", "least": Decimal("0.02")}, "0.5275"),
        ({"percent": 0, "least": 0}, "0.5"),
        ({"percent": 33, "least": 0.1}, "0.665"),
    ],
)
def test_the_fee_is_configuration(world: World, fee: object, to_buy: str) -> None:
    model = world.model(FLAT, credit_fee=fee)
    drive(model, "invoke")
    assert model.spending().to_buy == to_buy
    assert model.spending().credits == "0.5", "the fee is no part of what the service took"


@pytest.mark.parametrize(
    "fee",
    [5.5, "5.5 %", [5.5, 0.8], {"fee": 1}, {"percent": -1}, {"least": -0.01}, {"percent": "much"}, {"percent": None},
     {"least": float("nan")}, {"percent": float("inf")}, {"percent": True}],
)  # fmt: skip
def test_a_fee_that_is_none_is_refused_at_once(world: World, fee: object) -> None:
    with pytest.raises(ConfigurationError):
        world.model(credit_fee=fee)
