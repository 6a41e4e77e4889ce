"""Updates that wait for one another at a server's door are made together: one write, and to each its own answer."""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

import pytest
from driving import at_once, make
from redis_server import Server
from store_helpers import ADDED, COUNT, LOG, Clock, counted, fail, one_more

from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.stores import PageRef, Row
from langchain_openrouter_free.stores.redis import RedisStore
from langchain_openrouter_free.stores.sheltered import Unusable

# What is heard of the server's next answers: its place, and what gets it.
Hearing = Callable[[int, Callable[[], list[Any]]], list[Any]]
CROWD = 8


def deaf(error: type[BaseException]) -> Callable[..., list[Any]]:
    """Let the server do what it is asked, and hear nothing of it."""

    def hearing(place: int, run: Callable[[], list[Any]]) -> list[Any]:
        said = run()
        if place == 1:
            raise error("deaf", "says nothing")
        return said

    return hearing


def dumb(error: type[BaseException]) -> Callable[..., list[Any]]:
    """Let the server not hear what it is asked."""

    def hearing(place: int, run: Callable[[], list[Any]]) -> list[Any]:
        if place == 1:
            raise error("dumb", "hears nothing")
        return run()

    return hearing


def asks_by(store: RedisStore, run: Any) -> None:
    store._run = run  # type: ignore[method-assign]


def together(
    store: RedisStore, works: Sequence[Callable[[], Any]], hearing: Hearing = lambda _, run: run()
) -> list[Any]:
    """Let all of this wait, one behind the other, until an update before it has been answered; return what each got.

    What raises has got its error.
    """
    # Not held by itself: its connection would be left to the garbage collector.
    run, turn, asked, go = partial(RedisStore._run, weakref.proxy(store)), count(), threading.Event(), threading.Event()

    def held(*asking: Any) -> list[Any]:
        place = next(turn)
        if not place:
            asked.set()
            assert go.wait(10)
        return hearing(place, lambda: run(*asking))

    got: list[Any] = [None] * len(works)

    def work(place: int) -> None:
        try:
            got[place] = works[place]()
        except BaseException as error:  # noqa: BLE001
            got[place] = error

    asks_by(store, held)
    threads = [threading.Thread(target=store.update, args=(ADDED, one_more))]
    threads[0].start()
    assert asked.wait(10)
    for place in range(len(works)):
        threads.append(threading.Thread(target=work, args=(place,)))
        threads[-1].start()
        while len(store._queues["added"].wishes) <= place:
            time.sleep(0.001)
    go.set()
    for thread in threads:
        thread.join(10)
    asks_by(store, run)
    assert next(turn) <= 3, "they were made together"
    return got


def adding(store: RedisStore, *, log: str | None = None) -> Callable[[], Any]:
    """Count one up, and write down which one it was."""
    if log is None:
        return lambda: store.update(ADDED, one_more)
    return lambda: store.update_and_append(ADDED, one_more, lambda at: (log, float(at), str(at)))


def told(row: Row, _: int) -> Row:
    return row


def rows(store: RedisStore, log: str = LOG) -> list[str]:
    return [text for _, text in reversed(store.recent(log, 99))]


def test_those_who_wait_cost_one_round_trip(own: Server) -> None:
    store = RedisStore(own.url, warn=fail)
    store.update(ADDED, one_more)
    got = together(store, [adding(store, log=LOG)] * CROWD)
    assert got == list(range(3, 3 + CROWD))
    assert rows(store) == [str(at) for at in got]
    assert counted(RedisStore(own.url, warn=fail), ADDED) == 2 + CROWD


def test_an_error_is_only_that_callers(own: Server) -> None:
    """Of a change, and of a row; the page is then as it was for the next."""

    def broken(_: Any) -> Any:
        raise ValueError("no")

    store = RedisStore(own.url, warn=fail)
    store.update(ADDED, one_more)
    add = adding(store, log=LOG)
    no_row = partial(store.update_and_append, ADDED, one_more, broken)
    got = together(store, [add, partial(store.update, ADDED, broken), add, no_row, add])
    assert [one if isinstance(one, int) else str(one) for one in got] == [3, "no", 4, "no", 5]
    assert rows(store) == ["3", "4", "5"]
    assert counted(RedisStore(own.url, warn=fail), ADDED) == 5


def test_nothing_is_written_where_all_raise(own: Server) -> None:
    def broken(_: Any) -> Any:
        raise ValueError("no")

    store = RedisStore(own.url, warn=fail)
    store.update(ADDED, one_more)
    got = together(store, [partial(store.update, ADDED, broken)] * 3)
    assert [str(one) for one in got] == ["no"] * 3
    assert counted(RedisStore(own.url, warn=fail), ADDED) == 2


def test_a_page_that_cannot_be_written_is_only_that_callers(own: Server) -> None:
    """It is not known before whose change has made it so."""

    def encode(page: int) -> str:
        if page >= 100:
            raise ValueError("too large")
        return str(page)

    small: PageRef[int] = PageRef("added", encode, int, ADDED.merge)
    store = RedisStore(own.url, warn=fail)
    store.update(ADDED, one_more)
    one, large = partial(store.update, small, one_more), partial(store.update, small, lambda _: (100, 100))
    run = partial(RedisStore._run, weakref.proxy(store))
    got: list[Any] = []
    waiting = threading.Event()

    def held(*asking: Any) -> list[Any]:
        assert waiting.wait(10)
        return run(*asking)

    def work(what: Callable[[], int]) -> None:
        try:
            got.append(what())
        except ValueError as error:
            got.append(str(error))

    asks_by(store, held)
    threads = [threading.Thread(target=work, args=(what,)) for what in (one, one, large, one)]
    for thread in threads:
        thread.start()
    while sum(len(queue.wishes) for queue in store._queues.values()) < 3:
        time.sleep(0.001)
    waiting.set()
    for thread in threads:
        thread.join(10)
    asks_by(store, run)
    assert sorted(map(str, got)) == ["2", "3", "4", "too large"]
    assert counted(RedisStore(own.url, warn=fail), ADDED) == 4


def test_rows_of_two_logs(own: Server) -> None:
    """One step writes into one log only; the order stays."""
    store = RedisStore(own.url, warn=fail)
    store.update(ADDED, one_more)
    got = together(store, [adding(store, log=log) for log in (LOG, LOG, "calls:b")] + [adding(store)])
    assert got == [3, 4, 5, 6]
    assert (rows(store), rows(store, "calls:b")) == (["3", "4"], ["5"])


def test_others_write_in_between(own: Server) -> None:
    """A race that is lost is run again with all changes."""
    store, other = RedisStore(own.url, warn=fail), RedisStore(own.url, warn=fail)
    store.update(ADDED, one_more)

    def raced(place: int, run: Callable[[], list[Any]]) -> list[Any]:
        if place == 1:
            other.update(ADDED, lambda count: ((count or 0) + 10, None))
        return run()

    got = together(store, [adding(store, log=LOG)] * CROWD, raced)
    assert got == list(range(13, 13 + CROWD))
    assert rows(store) == [str(at) for at in got]


@pytest.mark.parametrize("hearing", [deaf(Unusable), dumb(Unusable)], ids=["done", "not done"])
def test_an_outage_counts_each_once(hearing: Hearing, own: Server) -> None:
    """Whether the server has done what it was asked or not; one warning is given."""
    clock, said = Clock(), list[str]()
    store = RedisStore(own.url, warn=said.append, monotonic=clock)
    store.update(ADDED, one_more)
    got = together(store, [adding(store, log=LOG)] * CROWD, hearing)
    assert got == list(range(3, 3 + CROWD))
    assert (store.degraded, len(said)) == (True, 1)
    clock.now = 31.0
    assert counted(store, ADDED) == counted(RedisStore(own.url, warn=fail), ADDED) == 2 + CROWD
    assert rows(store) == [str(at) for at in got]
    assert not store.degraded


@pytest.mark.parametrize("hearing", [deaf(KeyboardInterrupt), dumb(KeyboardInterrupt)], ids=["done", "not done"])
def test_ctrl_c_comes_to_the_one_who_writes(hearing: Hearing, own: Server) -> None:
    """The others know nothing of it: each has its answer, and counts once."""
    clock = Clock()
    store = RedisStore(own.url, warn=lambda _: None, monotonic=clock)
    store.update(ADDED, one_more)
    got = together(store, [adding(store, log=LOG)] * CROWD, hearing)
    interrupted = [one for one in got if isinstance(one, KeyboardInterrupt)]
    answers = [one for one in got if isinstance(one, int)]
    assert (len(interrupted), len(answers), len(set(answers))) == (1, CROWD - 1, CROWD - 1)
    clock.now = 31.0
    assert counted(store, ADDED) == counted(RedisStore(own.url, warn=fail), ADDED) == 2 + CROWD
    assert len(rows(store)) == len(set(rows(store))) == CROWD


def test_ctrl_c_comes_when_all_is_done(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has said so, and this process has not taken note of it: nobody is counted again."""
    store = RedisStore(own.url, warn=fail)
    store.update(ADDED, one_more)
    noted, times = partial(RedisStore._wrote, weakref.proxy(store)), count()

    def interrupted(*what: Any) -> None:
        if next(times) == 1:
            raise KeyboardInterrupt
        noted(*what)

    monkeypatch.setattr(store, "_wrote", interrupted)
    got = together(store, [adding(store, log=LOG)] * CROWD)
    monkeypatch.undo()
    answers = {one for one in got if isinstance(one, int)}
    assert answers < set(range(3, 3 + CROWD))
    assert len(answers) == CROWD - 1
    assert counted(store, ADDED) == counted(RedisStore(own.url, warn=fail), ADDED) == 2 + CROWD
    assert len(rows(store)) == CROWD


def test_who_does_not_wait_any_more_is_not_counted(own: Server) -> None:
    """Interrupted while others are asked for it: nobody would know what to do with the answer."""
    store = RedisStore(own.url, warn=fail)
    store.update(ADDED, one_more)

    def leave(place: int, run: Callable[[], list[Any]]) -> list[Any]:
        if not place:
            store._queues["added"].wishes[1].is_done = True
        return run()

    got = together(store, [adding(store)] * 3, leave)
    assert [one for one in got if isinstance(one, int)] == [3, 4]
    assert counted(RedisStore(own.url, warn=fail), ADDED) == 4


def test_pages_do_not_wait_for_one_anothers_crowd(own: Server) -> None:
    """Each page has its own queue, and all of them the server."""
    store = RedisStore(own.url, warn=fail)
    for ref in (ADDED, COUNT):
        store.update(ref, one_more)
    got = together(store, [adding(store)] * 3)
    assert got == [3, 4, 5]
    answers: list[int] = []
    at_once(lambda: answers.extend(store.update(ref, one_more) for ref in (ADDED, COUNT) for _ in range(20)), 6)
    assert sorted(answers) == sorted([*range(6, 126), *range(2, 122)])


def test_a_crowd_in_bad_weather(own: Server) -> None:
    """Threads of two machines, answers that are lost, a server that is emptied: all is counted, and once."""
    chance, clock, names = random.Random(7), Clock(), count()
    stores = [RedisStore(own.url, warn=lambda _: None, monotonic=clock) for _ in range(2)]
    runs = [partial(RedisStore._run, weakref.proxy(store)) for store in stores]

    def weather(run: Callable[..., list[Any]], *asking: Any) -> list[Any]:
        if chance.random() < 0.06:
            raise Unusable("dumb", "hears nothing")
        said = run(*asking)
        if chance.random() < 0.06:
            raise Unusable("deaf", "says nothing")
        return said

    for store, run in zip(stores, runs, strict=True):
        asks_by(store, partial(weather, run))

    def work() -> None:
        for number in range(24):
            row = (LOG, 1.0, str(next(names)))
            stores[number % 2].update_and_append(ADDED, one_more, partial(told, row))
            if number % 6 == 5:
                clock.now += 31.0

    at_once(work, 4)
    for store, run in zip(stores, runs, strict=True):
        asks_by(store, run)
    clock.now += 31.0
    for store in stores * 2:
        counted(store, ADDED)
    assert counted(RedisStore(own.url, warn=fail), ADDED) == 96
    assert sorted(int(text) for _, text in stores[0].recent(LOG, 999)) == list(range(96))


def test_a_crowd_of_calls(sim: Simulator, own: Server) -> None:
    """A call costs its two steps; many at once cost less than that each."""
    store = RedisStore(own.url, warn=fail)
    run, trips = partial(RedisStore._run, weakref.proxy(store)), count()

    def slow(*asking: Any) -> list[Any]:
        next(trips)
        time.sleep(0.01)
        return run(*asking)

    model = make(sim, state=store, chance=lambda: 0.5)
    model.invoke("a word")
    asks_by(store, slow)
    at_once(lambda: model.invoke("a word"), 16)
    asks_by(store, run)
    assert next(trips) < 16
    assert len(sim.chats()) == model.quota().windows[-1].used == 17
