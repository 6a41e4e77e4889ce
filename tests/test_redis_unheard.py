"""A server that does what it was asked, while nobody hears of it: what is brought back after that counts once."""

from __future__ import annotations

import os
import signal
import weakref
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

import pytest
from driving import drive, make
from money_world import FLAT
from redis_server import Server
from store_helpers import ADDED, COUNT, LOG, Clock, counted, fail, one_more

from langchain_openrouter_free import AllModelsFailed
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores.redis import RedisStore
from langchain_openrouter_free.stores.sheltered import Unusable


def deaf_at(store: RedisStore, turns: set[int], error: type[BaseException] = Unusable) -> None:
    """Let a store not hear what the server says in these of its next turns, though that has done what it was asked."""
    # Not held by itself: its connection would be left to the garbage collector.
    run, turn = partial(RedisStore._run, weakref.proxy(store)), count()

    def deaf(script: str, keys: Sequence[str], *arguments: object) -> list[Any]:
        said = run(script, keys, *arguments)
        if next(turn) in turns:
            raise error("deaf", "says nothing")
        return said

    store._run = deaf  # type: ignore[method-assign]


@pytest.mark.parametrize("lost", range(6))
def test_what_is_written_though_nobody_heard_of_it_counts_once(lost: int, own: Server) -> None:
    """Before the outage, and as what it has counted is brought back."""
    clock = Clock()
    store, other = RedisStore(own.url, warn=lambda _: None, monotonic=clock), RedisStore(own.url, warn=fail)
    deaf_at(store, {lost, lost + 1})
    for _ in range(5):
        for _ in range(2):
            store.update(ADDED, one_more)
        other.update(ADDED, one_more)
        clock.now += 31.0
    assert counted(store, ADDED) == counted(other, ADDED) == 15


@pytest.mark.parametrize("lost", range(3))
def test_what_is_brought_back_as_ctrl_c_comes_counts_once(lost: int, own: Server) -> None:
    clock = Clock()
    store = RedisStore(own.url, warn=lambda _: None, monotonic=clock)
    store.update(ADDED, one_more)
    deaf_at(store, {0})
    for _ in range(3):
        store.update(ADDED, one_more)
    clock.now += 31.0
    deaf_at(store, {lost}, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        counted(store, ADDED)
    assert counted(store, ADDED) == counted(RedisStore(own.url, warn=fail), ADDED) == 4


@pytest.mark.parametrize("lost", range(9))
def test_a_row_that_is_written_though_nobody_heard_of_it_is_there_once(lost: int, own: Server) -> None:
    """With a change, by itself, and as it is brought back."""
    clock = Clock()
    store = RedisStore(own.url, warn=lambda _: None, monotonic=clock)
    deaf_at(store, {lost, lost + 1})
    for number in range(0, 12, 3):
        for place in (number, number + 1):
            store.update_and_append(ADDED, one_more, lambda at: (LOG, float(at), "with a change"))
            store.append(LOG, float(place), f"alone {place}")
        clock.now += 31.0
    store.update(ADDED, one_more)
    rows = [text for _, text in RedisStore(own.url, warn=fail).recent(LOG, 99)]
    assert sorted(rows) == sorted(["with a change"] * 8 + [f"alone {n}" for n in range(12) if n % 3 < 2])


def test_a_server_that_stands_still_for_a_while(own: Server) -> None:
    """What waits at its door is written when it goes on."""
    clock = Clock()
    store = RedisStore(own.url, warn=lambda _: None, patience=0.1, monotonic=clock)
    store.update(ADDED, one_more)
    os.kill(own.pid, signal.SIGSTOP)
    for _ in range(3):
        store.update(ADDED, one_more)
        clock.now += 31.0
    os.kill(own.pid, signal.SIGCONT)
    for _ in range(2):
        store.update(ADDED, one_more)
    assert counted(RedisStore(own.url, warn=fail), ADDED) == 6


def test_an_answer_that_nobody_waits_for_is_not_the_next(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C has come before it was read."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    store = RedisStore(own.url, warn=fail)
    for ref in (ADDED, COUNT):
        store.update(ref, one_more)
    with monkeypatch.context() as patch:
        patch.setattr("redis.Redis.parse_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.update(ADDED, one_more)
    assert [store.update(ref, one_more) for ref in (COUNT, ADDED)] == [2, 3]
    assert counted(RedisStore(own.url, warn=fail), ADDED) == 3


@pytest.mark.parametrize("lost", range(7))
@pytest.mark.parametrize("degraded", ["stop", "local-share"])
def test_an_answer_that_is_lost_costs_nothing(degraded: Any, lost: int, sim: Simulator, own: Server) -> None:
    sim.reset(Scenario(models=[FLAT, "test/m01:free"], scripts={"test/m01:free": "503"}))
    clock = Clock()
    machines = 1 if degraded == "local-share" else None
    store = RedisStore(
        own.url, degraded=degraded, machines=machines, warn=lambda _: None, patience=5.0, monotonic=clock
    )
    fields: dict[str, Any] = {"allow_paid": True, "paid_models": [FLAT["id"]], "budget": "$9 total", "max_wait": 0}
    model = make(sim, ["test/m01:free"], state=store, chance=lambda: 0.5, **fields)
    drive(model, "invoke")
    deaf_at(store, {lost})
    for _ in range(4):
        with suppress(AllModelsFailed):
            drive(model, "invoke")
        clock.now += 31.0
    total = make(sim, ["test/m01:free"], state=RedisStore(own.url), **fields).spending().windows[-1]
    assert (Decimal(total.spent), total.reserved) == (sum(entry.cost for entry in sim.bill), "0")
