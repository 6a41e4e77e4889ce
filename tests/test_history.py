"""What is kept of calls that are over: one row each, folded into counts when it is old, never read on the way."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from driving import PATHS, TWENTY, drive, make
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free import (
    AllModelsFailed,
    ChatOpenRouterFree,
    FreeQuotaExhausted,
    MemoryStore,
    RequestRejected,
    StreamInterrupted,
)
from langchain_openrouter_free.books.history import ROWS_KEPT, CallRecord, Totals, read_call
from langchain_openrouter_free.books.purse import Purse
from langchain_openrouter_free.books.quota import Quota
from langchain_openrouter_free.engine import bookkeeping
from langchain_openrouter_free.errors import AttemptRecord
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.stores import PageRef, StateStore
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

NOW = 1_790_000_000.0


def records(store: Any, model: Any) -> list[CallRecord]:
    return [CallRecord.decode(text) for _, text in store.recent(f"calls:{account(model)}")]


def account(model: Any) -> str:
    from langchain_openrouter_free.request import settings  # noqa: PLC0415

    return settings.account(model.api_key.get_secret_value(), settings.base_url(model.base_url))


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("path", PATHS)
def test_each_call_leaves_one_row(sim: Simulator, tmp_path: Path, path: str, kind: str) -> None:
    """Answered, failed or broken off: who was asked, and how it went; not what was said."""
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "state.sqlite3")
    sim.script({TWENTY[0]: "503", TWENTY[1]: ["ok", "503"]})
    model = make(sim, TWENTY[:2], state=store, clock=FakeClock(NOW), project="here", max_wait=0)
    told = drive(model, path, "a secret prompt")
    with pytest.raises(AllModelsFailed):
        drive(model, path)
    failed, answered = records(store, model)
    assert (answered.project, answered.outcome, answered.model, answered.paid) == ("here", "answered", TWENTY[1], False)
    assert [a.as_dict() for a in answered.attempts] == told.meta["route"]["attempts"]
    assert (failed.outcome, failed.model, [a.outcome for a in failed.attempts]) == ("failed", None, ["overloaded"])
    text = str(store.recent(f"calls:{account(model)}"))
    assert "secret" not in text
    assert told.text not in text
    assert sim.api_key not in text


@pytest.mark.parametrize("path", ["stream", "astream"])
def test_an_interrupted_stream_leaves_a_row(sim: Simulator, path: str) -> None:
    sim.script({"*": "error-chunk-after"})
    store = MemoryStore()
    model = make(sim, TWENTY[:2], state=store)
    with pytest.raises(StreamInterrupted):
        drive(model, path)
    assert [(r.outcome, len(r.attempts)) for r in records(store, model)] == [("interrupted", 1)]


def test_old_rows_are_folded_into_counts(sim: Simulator) -> None:
    """A row of two weeks ago becomes a number; what is newer stays."""
    store, clock = MemoryStore(), FakeClock(NOW)
    sim.script({TWENTY[0]: "503"})
    model = make(sim, TWENTY[:2], state=store, clock=clock, chance=lambda: 0.0)
    drive(model, "invoke")
    clock.advance(ROWS_KEPT + 90_000)
    drive(model, "invoke")
    assert len(records(store, model)) == 1
    ref = PageRef(f"totals:{account(model)}", Totals.encode, Totals.decode)
    totals = store.update(ref, lambda page: (page or Totals(), page or Totals()))
    assert totals.days == {"2026-09-21": {TWENTY[0]: {"overloaded": 1}, TWENTY[1]: {"ok": 1}}}
    assert Totals.decode(totals.encode()) == totals


def test_a_store_without_a_log_and_one_whose_log_fails(sim: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """The history is a courtesy: no call needs it."""

    class Pages:
        blocking = False

        def __init__(self) -> None:
            self._inner = MemoryStore()

        def update(self, ref: Any, change: Any) -> Any:
            return self._inner.update(ref, change)

    assert isinstance(Pages(), StateStore)
    assert drive(make(sim, state=Pages()), "invoke").text

    class Full(MemoryStore):
        def append(self, log: str, at: float, text: str) -> None:
            raise OSError("no space left")

    sim.script({"*": "503"})
    with pytest.raises(AllModelsFailed):
        drive(make(sim, state=Full()), "invoke")
    assert "cannot be added to the history" in caplog.text


def test_a_history_that_cannot_be_folded_stops_no_booking(sim: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """What an answer cost is booked, whatever becomes of the old rows."""

    class Unfoldable(MemoryStore):
        def fold(self, *_: Any, **__: Any) -> int:
            raise OSError("no space left")

    store, paid = Unfoldable(), "simulated/paid-small"
    sim.script({"*": "500", paid: "ok"})
    model = make(sim, TWENTY[:1], state=store, allow_paid=True, paid_models=[paid], budget="$1")
    assert drive(model, "invoke").meta["route"]["paid"]
    (purse,) = (page for page in store._pages.values() if isinstance(page, Purse))
    assert (purse.spent_total > 0, purse.reserved) == (True, 0)
    assert "the history cannot be folded" in caplog.text


attempts = st.builds(
    AttemptRecord,
    model=st.sampled_from(TWENTY),
    outcome=st.sampled_from(["ok", "broken"]),
    scope=st.just("model"),
    status=st.none() | st.integers(100, 599),
    reason=st.text(max_size=20),
    first_token_s=st.none() | st.floats(0, 100),
    seconds=st.floats(0, 1000),
    until=st.none() | st.floats(NOW, NOW + 1000),
)


@given(
    st.builds(
        CallRecord,
        at=st.floats(0, 4e9),
        project=st.text(max_size=20),
        outcome=st.text(max_size=20),
        model=st.none() | st.sampled_from(TWENTY),
        attempts=st.lists(attempts, max_size=4).map(tuple),
        provider=st.none() | st.text(max_size=20),
        cost=st.none() | st.integers(0, 10**12),
        prompt_tokens=st.none() | st.integers(0, 10**6),
        completion_tokens=st.none() | st.integers(0, 10**6),
        quota=st.none() | st.builds(Quota, st.integers(0), st.none() | st.integers(0), st.integers(0), st.none()),
    ).map(lambda record: record if record.quota is None else replace(record, quota=record.quota._replace(at=record.at)))
)
def test_a_row_comes_back_as_it_was(record: CallRecord) -> None:
    assert CallRecord.decode(record.encode()) == record


def test_rows_of_other_versions_are_read() -> None:
    """One of before costs were kept, and one to which a later version has added something."""
    old = '[1,1790000000.0,"p","answered","m",false,1.5,[["m","ok","ok",200,"",0.1,0.2,null]]]'
    read = CallRecord.decode(old)
    assert (read.model, read.waited_s, read.cost, read.quota) == ("m", 1.5, None, None)
    assert read.encode() == old
    later = json.dumps([*json.loads(old), "P", 5, 6, 7, [1, 20, 2, 50, "new"], "newer"])
    assert CallRecord.decode(later) == replace(
        read, provider="P", cost=5, prompt_tokens=6, completion_tokens=7, quota=Quota(1, 20, 2, 50, NOW)
    )


@given(st.data())
def test_a_damaged_row_is_no_row(data: st.DataObject) -> None:
    """It may be JSON all the same: whatever stands in the place of a value, nobody stumbles over it later."""
    row: list[Any] = [1, NOW, "p", "answered", "m", False, 1.5, [["m", "ok", "ok", 200, "", 0.1, 0.2, None]]]
    row += ["P", 5, 6, 7, [1, 20, 2, 50]]
    odd: st.SearchStrategy[Any] = st.sampled_from(
        [None, "x", -1, 0.5, [], {}, True, float("nan"), float("inf"), 1e300, [[]], 10**400]
    )
    within = data.draw(st.sampled_from([row, row[7][0], row[12]]))
    within[data.draw(st.integers(0, len(within) - 1))] = data.draw(odd)
    record = read_call(json.dumps(row))
    assert record is None or json.dumps(record.as_dict())
    store = MemoryStore()
    model = ChatOpenRouterFree(models=TWENTY[:1], api_key="a-key", state=store, clock=FakeClock(NOW))
    store.append(f"calls:{account(model)}", NOW, json.dumps(row))
    assert len(model.history()) == (record is not None)
    assert len(model.figures().last) <= len(model.history())


def test_a_history_has_an_end_by_number_as_well(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many calls in a short time the oldest are folded before they are old."""
    monkeypatch.setattr(bookkeeping, "MOST_ROWS", 3)
    store, clock = MemoryStore(), FakeClock(NOW)
    model = make(sim, TWENTY[:1], state=store, clock=clock)
    for _ in range(10):
        drive(model, "invoke")
        clock.advance(1)
    assert [record.at for record in model.history()] == [NOW + 9, NOW + 8, NOW + 7]
    assert model._accounts().counts().days == {"2026-09-21": {TWENTY[0]: {"ok": 7}}}


@pytest.mark.parametrize("path", PATHS)
def test_results_and_errors_tell_the_same_route(sim: Simulator, path: str) -> None:
    """Who, paid or not, at what cost, every attempt and wait, and what is left of the quota; JSON-able, picklable."""
    sim.script({TWENTY[0]: "429-upstream", TWENTY[1]: ["503", "ok"]})
    model = make(sim, TWENTY[:2], clock=FakeClock(NOW), max_wait=60, limits={"per_minute": 20, "per_day": 50})
    with pytest.raises(AllModelsFailed) as caught:
        drive(model, path)
    route = drive(model, path).meta["route"]
    assert (route["outcome"], route["model"], route["paid"], route["cost"]) == ("answered", TWENTY[1], False, 0)
    assert [a["outcome"] for a in route["attempts"]] == ["upstream_limit", "ok"]
    assert [(w["why"], w["seconds"]) for w in route["waits"]] == [("every model cools down", route["waited_s"])]
    minute, day = route["quota"]["minute"], route["quota"]["day"]
    assert (minute["limit"], minute["used"], minute["left"]) == (20, 4, 16)
    assert (day["limit"], day["left"], day["resets_at"]) == (50, 46, (NOW // 86_400 + 1) * 86_400)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert error.route.keys() == route.keys()
        assert (error.route["outcome"], error.route["model"]) == ("failed", None)
        assert [a["outcome"] for a in error.route["attempts"]] == ["upstream_limit", "overloaded"]
        assert json.loads(json.dumps(error.route)) == error.route


@pytest.mark.parametrize("path", ["stream", "astream"])
def test_an_interrupted_stream_and_a_spent_quota_tell_it_too(sim: Simulator, path: str) -> None:
    """And what is wrong before there is a route has the same keys."""
    sim.script({"*": "error-chunk-after"})
    model = make(sim, TWENTY[:2], limits={"per_minute": None, "per_day": 1}, max_wait=0)
    with pytest.raises(StreamInterrupted) as cut:
        drive(model, path)
    with pytest.raises(FreeQuotaExhausted) as spent:
        drive(model, path)
    with pytest.raises(RequestRejected) as wrong:
        drive(model, path, [])
    told = [pickle.loads(pickle.dumps(error.value)).route for error in (cut, spent, wrong)]
    assert [route["outcome"] for route in told] == ["interrupted", "quota", None]
    assert [len(route["attempts"]) for route in told] == [1, 0, 0]
    assert told[1]["quota"]["day"]["left"] == 0
    assert told[0].keys() == told[1].keys() == told[2].keys()


@given(st.text(max_size=30) | st.sampled_from(["[]", "{}", "null", "[1,2]", '[2,1,"","",null,false,0,[]]', "[" * 9000]))
def test_a_row_that_cannot_be_read_is_counted(text: str) -> None:
    good = CallRecord(NOW, "p", "answered", attempts=(AttemptRecord("m", "ok", "ok", 200, "", 0.1, 0.2),)).encode()
    totals = Totals().plus([text, good])
    assert totals.unread == 1
    assert totals.days == {"2026-09-21": {"m": {"ok": 1}}}
