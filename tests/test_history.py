"""What is kept of calls that are over: one row each, folded into counts when it is old, never read on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from driving import PATHS, TWENTY, drive, make
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free import AllModelsFailed, MemoryStore, StreamInterrupted
from langchain_openrouter_free.errors import AttemptRecord
from langchain_openrouter_free.history import ROWS_KEPT, CallRecord, Totals
from langchain_openrouter_free.purse import Purse
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.stores import PageRef, StateStore
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

NOW = 1_790_000_000.0


def records(store: Any, model: Any) -> list[CallRecord]:
    return [CallRecord.decode(text) for _, text in store.recent(f"calls:{account(model)}")]


def account(model: Any) -> str:
    from langchain_openrouter_free import settings  # noqa: PLC0415

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
    )
)
def test_a_row_comes_back_as_it_was(record: CallRecord) -> None:
    assert CallRecord.decode(record.encode()) == record


@given(st.text(max_size=30) | st.sampled_from(["[]", "{}", "null", "[1,2]", '[2,1,"","",null,false,0,[]]', "[" * 9000]))
def test_a_row_that_cannot_be_read_is_counted(text: str) -> None:
    good = CallRecord(NOW, "p", "answered", attempts=(AttemptRecord("m", "ok", "ok", 200, "", 0.1, 0.2),)).encode()
    totals = Totals().plus([text, good])
    assert totals.unread == 1
    assert totals.days == {"2026-09-21": {"m": {"ok": 1}}}
