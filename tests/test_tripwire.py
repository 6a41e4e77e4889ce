"""A free attempt that costs money: delivered, told loudly, booked, and never repeated."""

from __future__ import annotations

import pickle
import warnings
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, drive, make

from langchain_openrouter_free import AllModelsFailed, FreeModelBilled, MemoryStore, StreamInterrupted
from langchain_openrouter_free.books.purse import Purse
from langchain_openrouter_free.books.tripwire import QUARANTINE, Bill, bill_of
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.simulator.catalogue import Row
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

BILLS, FREE = "test/slip:free", TWENTY[0]
PRICED: dict[str, Any] = {"id": BILLS, "pricing": {"prompt": "0.001", "completion": "0.002"}}
SLIP = Scenario(models=[PRICED, FREE])
UPSTREAM = {"upstream_inference_cost": 0.5}


@pytest.fixture(autouse=True)
def a_list_that_says_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wire is only needed where the list was wrong: it shows no price at all."""
    monkeypatch.setattr(Row, "as_json", lambda row: {"id": row.id, "pricing": {"prompt": "0", "completion": "0"}})


def purse_of(store: MemoryStore) -> Purse:
    (purse,) = (page for page in store._pages.values() if isinstance(page, Purse))
    return purse


def total(sim: Simulator) -> Decimal:
    return sum((entry.cost for entry in sim.bill), Decimal(0))


@pytest.mark.parametrize("path", PATHS)
def test_a_free_id_with_a_price(path: str) -> None:
    """The answer comes, with a warning and its figures; the ledger holds the bill; the id is not asked again."""
    store = MemoryStore()
    events: list[Any] = []
    with Simulator(SLIP) as sim:
        model = make(sim, [BILLS, FREE], state=store, on_event=events.append)
        with pytest.warns(FreeModelBilled, match="test/slip:free is called free") as caught:
            told = drive(model, path)
        assert told.text
        (warning,) = [one.message for one in caught]
        assert isinstance(warning, FreeModelBilled)
        assert events == [warning]
        assert (warning.model, warning.text) == (BILLS, told.text)
        billed = total(sim)
        assert billed > 0
        assert float(warning.cost or 0) == pytest.approx(float(billed))
        assert purse_of(store).spent_total == round(billed * 10**9) == purse_of(store).spent_day
        assert drive(model, path).meta["route"]["model"] == FREE
        assert asked(sim) == [BILLS, FREE]
        assert total(sim) == billed


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wire", ["stream", "plain"])
def test_a_cost_that_comes_with_an_error(path: str, wire: str) -> None:
    """A billed attempt that ends in an error is no answer, but its cost was told: booked, told on, and not repeated."""
    store = MemoryStore()
    events: list[Any] = []
    with Simulator(SLIP) as sim:
        sim.script({BILLS: "200-choice-error"})
        model = make(sim, [BILLS, FREE], state=store, on_event=events.append, wire=wire)
        broken = pytest.raises(StreamInterrupted) if path.endswith("stream") else nullcontext()
        with pytest.warns(FreeModelBilled, match="test/slip:free is called free"), broken:
            drive(model, path)
        billed = total(sim)
        assert billed > 0
        assert [event.model for event in events] == [BILLS]
        assert purse_of(store).spent_total == round(billed * 10**9)
        assert drive(model, path).meta["route"]["model"] == FREE
        assert asked(sim).count(BILLS) == 1


@pytest.mark.parametrize("path", PATHS)
def test_raised_on_demand(path: str) -> None:
    """With on_billed="raise" it is an error that holds the answer; what is booked is booked."""
    store = MemoryStore()
    with Simulator(SLIP) as sim:
        model = make(sim, [BILLS, FREE], state=store, on_billed="raise")
        with pytest.raises(FreeModelBilled) as caught:
            drive(model, path)
        assert caught.value.text
        assert [attempt.outcome for attempt in caught.value.attempts] == ["ok"]
        copied = pickle.loads(pickle.dumps(caught.value))
        assert (str(copied), copied.cost, copied.text) == (str(caught.value), caught.value.cost, caught.value.text)
        assert purse_of(store).spent_total == round(total(sim) * 10**9)
        assert drive(model, path).meta["route"]["model"] == FREE


def test_quarantine_outlives_the_process_and_ends_after_a_month(tmp_path: Path) -> None:
    """A new store on the same file knows it; when all are in quarantine the error says why and until when."""
    clock = FakeClock()
    with Simulator(SLIP) as sim:

        def restarted() -> Any:
            return make(sim, [BILLS], state=SqliteStore(tmp_path / "state.sqlite3"), clock=clock)

        with pytest.warns(FreeModelBilled):
            restarted().invoke("hi")
        with pytest.raises(AllModelsFailed, match=r"quarantined, for a free attempt at it was billed \$0") as caught:
            restarted().invoke("hi")
        (skipped,) = caught.value.skipped
        assert skipped.until == clock.now() + QUARANTINE
        assert len(sim.chats()) == 1
        clock.advance(QUARANTINE + 1)
        with pytest.warns(FreeModelBilled):
            restarted().invoke("hi")


def test_a_hook_that_fails_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    """It is told in the log, and the warning still comes."""

    def fail(_: object) -> None:
        raise RuntimeError("no pager")

    with Simulator(SLIP) as sim, pytest.warns(FreeModelBilled):
        assert make(sim, [BILLS], on_event=fail).invoke("hi").text
    assert "no pager" in caplog.text


def test_a_pinned_id_in_quarantine_is_not_asked_either() -> None:
    """A call's own `model=` opens no back door."""
    with Simulator(SLIP) as sim:
        model = make(sim, [BILLS, FREE])
        with pytest.warns(FreeModelBilled):
            model.invoke("hi")
        with pytest.raises(AllModelsFailed):
            model.invoke("hi", model=BILLS)
        assert len(sim.chats()) == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "served", ["test/m01:free", "test/m01", "test/m01-20260801", "test/m01-20260801:free", "other/model:free", ""]
)
def test_what_free_answers_call_themselves(sim: Simulator, path: str, served: str) -> None:
    """The asked id, its dated slug, another free one, nothing: no alarm, even where errors are made of warnings."""
    sim.script({FREE: {"do": "ok", "model_field": served}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert drive(make(sim, [FREE]), path).text


@pytest.mark.parametrize(
    ("model", "served", "usage", "bill"),
    [
        ("a/b:free", "a/b", {"cost": 0.0005}, 500_000),
        ("a/b:free", "a/b", {"cost": "0.0005"}, 500_000),
        ("a/b:free", "c/d", {"cost": 1e-12}, 1),
        ("a/b:free", "c/d", {"cost": 0}, "none"),
        ("a/b:free", "c/d", {"cost": -1}, None),
        ("a/b:free", "c/d", {}, None),
        ("a/b:free", "c/d", None, None),
        ("a/b:free", "c/d:free", None, "none"),
        ("a/b:free", "a/b-20260801", None, "none"),
        ("a/b:free", None, None, "none"),
        ("openrouter/free", "c/d", {"cost": 0}, "none"),
        ("openrouter/free", "c/d", None, "none"),
        ("openrouter/free", "c/d", {"cost": 0.1}, 100_000_000),
        ("a/b:free", "a/b", {"cost": 0, "is_byok": True, "cost_details": UPSTREAM}, 500_000_000),
        ("a/b:free", "a/b", {"cost": 0.02, "is_byok": True, "cost_details": UPSTREAM}, 520_000_000),
        ("a/b:free", "a/b", {"cost": 0, "is_byok": True, "cost_details": None}, "none"),
        ("a/b:free", "a/b", {"cost": 0, "is_byok": False, "cost_details": UPSTREAM}, "none"),
    ],
)
def test_the_signs(model: str, served: str | None, usage: dict[str, Any] | None, bill: Any) -> None:
    """A stated cost decides, with what is billed to a key of one's own; without one a foreign answer is a sign."""
    expected = None if bill == "none" else Bill(model, served, bill)
    assert bill_of(model, served, usage) == expected
