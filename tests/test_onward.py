"""A failure and the next turn are booked in one step; nothing is kept of it where the walk ends there."""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
from driving import PATHS, TWENTY, HeldStore, asked, book_of, drive, make

from langchain_openrouter_free import AllModelsFailed, MemoryStore
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import Limits
from langchain_openrouter_free.engine.sources import ServiceSource
from langchain_openrouter_free.errors import AttemptRecord
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.onward import onward
from langchain_openrouter_free.route.routing import Route
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

pytestmark = pytest.mark.one_simulator

NOW = 1_800_000_000.0
# Half a minute from either end of one: a request that leaves near an end counts in both.
MIDWAY = 1_790_000_010.0 // 60 * 60 + 30
NINE = {"per_minute": 9, "per_day": 9}
ONE, TWO = Candidate("test/one:free"), Candidate("test/two:free")
TOLD = AttemptRecord(ONE.model, "overloaded", "model", 503, "busy", None, 0.1)


def booked(store: MemoryStore) -> tuple[int, int]:
    """Requests of the minute and of the day, as they stand in the book."""
    windows = book_of(store).windows
    return sum(windows.minutes.values()), sum(windows.days.values())


@pytest.mark.parametrize("path", PATHS)
def test_a_model_that_fails_costs_one_update(sim: Simulator, path: str) -> None:
    """A call of k failures and an answer updates its book k + 2 times: the first turn, each end."""
    sim.script(dict.fromkeys(TWENTY[:5], "503"))
    store = HeldStore()
    router = make(sim, TWENTY[:6], state=store)
    router.refresh()
    before = store.updates
    assert drive(router, path).outcomes == ["overloaded"] * 5 + ["ok"]
    assert store.updates - before == 5 + 2


def test_the_walk_stays_as_it_is() -> None:
    """Who asks whom to ask next may be asked again: the walk and its book are not changed by that."""
    route = Route((ONE, TWO), limits=Limits(20, 50))
    book, action = route.step(Ledger(), NOW, 600.0)
    route.took(action)
    before, how = copy.deepcopy(route), verdict(Kind.OVERLOADED, "busy", status=503)
    first = onward(route, ONE, how, TOLD, book, NOW, 600.0)
    again = onward(route, ONE, how, TOLD, book, NOW, 600.0)
    assert first is not None
    assert again is not None
    assert route == before
    assert first.action == again.action
    assert first.action.candidate.model == TWO.model
    assert first.book == again.book
    assert [told.model for told in first.route.trail] == [ONE.model]
    assert first.book.windows.days != book.windows.days


@pytest.mark.parametrize(
    ("free", "left"), [((ONE,), 600.0), ((ONE, TWO), 0.0)], ids=["nobody is left", "no time is left"]
)
def test_what_is_no_free_attempt_is_left_to_the_next_step(free: tuple[Candidate, ...], left: float) -> None:
    """Only a free attempt is granted ahead: an end, a wait and whatever costs money is decided when it is due."""
    route = Route(free, limits=Limits(20, 50), patience=0.0)
    book, action = route.step(Ledger(), NOW, 600.0)
    route.took(action)
    assert onward(route, ONE, verdict(Kind.OVERLOADED, "busy", status=503), TOLD, book, NOW, left) is None


def test_a_task_that_is_cancelled_meanwhile_gives_the_turn_back(sim: Simulator) -> None:
    """Cancelled while a thread books the failure and the next turn: only what was sent counts."""
    sim.script({TWENTY[0]: "503"})
    store = HeldStore(held=2)
    clock = FakeClock()
    make(sim, TWENTY[:2], clock=clock).refresh()
    model = make(sim, TWENTY[:2], state=store, clock=clock, limits=NINE)

    store.cancel_meanwhile(model, updates=3)
    assert asked(sim) == TWENTY[:1]
    assert booked(store) == (1, 1)


@pytest.mark.parametrize("blocking", [False, True], ids=["memory", "file"])
@pytest.mark.parametrize("path", PATHS)
def test_a_walk_that_ends_at_a_failure_gives_the_turn_back(
    sim: Simulator, tmp_path: Path, path: str, *, blocking: bool
) -> None:
    """Broken off by Ctrl-C in the user's own hook, before the next attempt: only what was sent counts.

    The hook hears both of the failure and of the end, each where the call was made.
    """
    sim.script({TWENTY[0]: "503"})
    store = SqliteStore(tmp_path / "state.sqlite3") if blocking else MemoryStore()
    heard: list[int] = []

    def stop(_: object) -> None:
        heard.append(threading.get_ident())
        raise KeyboardInterrupt

    model = make(sim, TWENTY[:2], state=store, clock=FakeClock(MIDWAY), limits=NINE, on_route=stop)
    with pytest.raises(KeyboardInterrupt):
        drive(model, path)
    assert asked(sim) == TWENTY[:1]
    windows = model._accounts().look().windows
    assert (sum(windows.minutes.values()), sum(windows.days.values())) == (1, 1)
    assert heard == [threading.get_ident()] * 2


@pytest.mark.parametrize("path", PATHS)
def test_a_walk_that_ends_as_a_failure_is_closed_takes_no_turn(
    sim: Simulator, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off while the reply of a failed attempt is closed: nobody is asked after it, and only it counts."""
    sim.script({TWENTY[0]: "503"})
    store = MemoryStore()
    close, aclose = ServiceSource.close, ServiceSource.aclose

    def stopped(source: ServiceSource) -> None:
        close(source)
        raise KeyboardInterrupt

    async def astopped(source: ServiceSource) -> None:
        await aclose(source)
        raise KeyboardInterrupt

    monkeypatch.setattr(ServiceSource, "close", stopped)
    monkeypatch.setattr(ServiceSource, "aclose", astopped)
    model = make(sim, TWENTY[:2], state=store, clock=FakeClock(MIDWAY), limits=NINE)
    with pytest.raises(KeyboardInterrupt):
        drive(model, path)
    assert asked(sim) == TWENTY[:1]
    assert booked(store) == (1, 1)


@pytest.mark.parametrize("path", PATHS)
def test_a_turn_that_comes_too_late_for_the_call_is_given_back(sim: Simulator, path: str) -> None:
    """A listener has used up the call's time: nobody is asked any more, and nobody is blamed for it."""
    sim.script({TWENTY[0]: "503"})
    store, clock = MemoryStore(), FakeClock()
    make(sim, TWENTY[:2], clock=clock).refresh()

    def listen(route: dict[str, Any]) -> None:
        clock.advance(5.0 if route["outcome"] is None else 0.0)

    of_call: dict[str, Any] = {"limits": {"per_minute": 9, "per_day": 9}, "timeouts": {"call": 3}, "on_route": listen}
    model = make(sim, TWENTY[:2], state=store, clock=clock, **of_call)
    with pytest.raises(AllModelsFailed) as caught:
        drive(model, path)
    assert [attempt.model for attempt in caught.value.attempts] == asked(sim) == TWENTY[:1]
    assert booked(store) == (1, 1)
    assert book_of(store).cooldown(TWENTY[1], clock.now()) is None


@pytest.mark.parametrize("path", PATHS)
def test_a_turn_counts_in_the_minute_in_which_it_is_used(sim: Simulator, path: str) -> None:
    """A listener has used up the minute: the next request counts in the next one."""
    sim.script({TWENTY[0]: "503"})
    store, clock = MemoryStore(), FakeClock(MIDWAY)
    make(sim, TWENTY[:2], clock=clock).refresh()

    def listen(route: dict[str, Any]) -> None:
        clock.advance(40.0 if route["outcome"] is None else 0.0)

    model = make(sim, TWENTY[:2], state=store, clock=clock, limits=NINE, on_route=listen)
    assert drive(model, path).outcomes == ["overloaded", "ok"]
    assert sorted(book_of(store).windows.minutes.values()) == [1, 1]
    assert booked(store) == (2, 2)


@pytest.mark.parametrize("path", PATHS)
def test_quota_is_never_passed_on_the_way(sim: Simulator, path: str) -> None:
    """Three requests a day are three requests, however many models fail."""
    sim.script({"*": "503"})
    model = make(sim, TWENTY, limits={"per_minute": None, "per_day": 3})
    with pytest.raises(AllModelsFailed):
        drive(model, path)
    assert asked(sim) == TWENTY[:3]
