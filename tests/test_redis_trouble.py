"""Each way in which a real server refuses, breaks off or moves: a call hears of none, and all of it is counted."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
import redis_server
from driving import PATHS, drive, make
from money_world import FLAT
from redis_server import Door, Server
from store_helpers import ADDED, LOG, Clock, counted, fail, one_more

from langchain_openrouter_free import NoSuitableModel
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores.redis import RedisStore

OPTIONS = ("--repl-diskless-sync-delay", "0")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if redis_server.PROGRAM is None:
        pytest.skip(redis_server.MISSING)
    with redis_server.served(tmp_path, *OPTIONS) as one:
        yield one


@pytest.fixture
def door(server: Server) -> Iterator[Door]:
    one = Door(server)
    yield one
    one.close()


def told(server: Server, *words: object) -> Any:
    with server.client() as client:
        command: Any = client.execute_command  # the client's own types do not tell what it takes
        return command(*words)


def turned(*there: tuple[object, ...], back: tuple[object, ...]) -> Callable[[Server], AbstractContextManager[None]]:
    """Tell a server this, and this to bring it back."""

    @contextmanager
    def trouble(server: Server) -> Iterator[None]:
        for words in there:
            told(server, *words)
        yield
        told(server, *back)

    return trouble


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """It runs somebody's script."""
    told(server, "CONFIG", "SET", "lua-time-limit", 1)
    with socket.create_connection(("127.0.0.1", server.port)) as asking:
        asking.sendall(b"EVAL 'while true do end' 0\r\n")
        with suppress(redis.RedisError):
            while True:
                told(server, "GET", "a key")
        yield
        told(server, "SCRIPT", "KILL")


@contextmanager
def no_disk(server: Server) -> Iterator[None]:
    """It cannot write its dump."""
    with server.client() as client:
        (in_its_way := Path(client.config_get("dir")["dir"]) / "dump.rdb").mkdir()
    told(server, "CONFIG", "SET", "save", "3600 1")
    told(server, "BGSAVE")
    while told(server, "INFO", "persistence")["rdb_last_bgsave_status"] != "err":
        time.sleep(0.01)
    yield
    told(server, "CONFIG", "SET", "save", "")
    in_its_way.rmdir()


@contextmanager
def somebody_elses(server: Server, part: str) -> Iterator[None]:
    """Another program has put something under a name of ours."""
    with server.client() as client:
        (key,) = client.keys(f"*:{part}")
        client.rename(key, "aside")
        client.rpush(key, "not ours")
        yield
        client.rename("aside", key)


ALONE = ("REPLICAOF", "NO", "ONE")
TROUBLES: dict[str, Callable[[Server], AbstractContextManager[None]]] = {
    "BUSY": busy,
    "maxmemory": turned(("CONFIG", "SET", "maxmemory", 1), back=("CONFIG", "SET", "maxmemory", 0)),
    "permissions": turned(("ACL", "SETUSER", "default", "-evalsha"), back=("ACL", "SETUSER", "default", "+@all")),
    "can't run this command": turned(
        ("ACL", "SETUSER", "default", "-@sortedset"), back=("ACL", "SETUSER", "default", "+@all")
    ),
    "WRONGTYPE.*account": lambda server: somebody_elses(server, "account"),
    "WRONGTYPE.*calls:times": lambda server: somebody_elses(server, "calls:times"),
    "MISCONF": no_disk,
    "read only replica": turned(("REPLICAOF", "127.0.0.1", 1), back=ALONE),
    "MASTER is down": turned(
        ("CONFIG", "SET", "replica-serve-stale-data", "no"), ("REPLICAOF", "127.0.0.1", 1), back=ALONE
    ),
    "NOREPLICAS": turned(
        ("CONFIG", "SET", "min-replicas-to-write", 1), back=("CONFIG", "SET", "min-replicas-to-write", 0)
    ),
}


@pytest.mark.parametrize("words", TROUBLES)
def test_trouble(words: str, sim: Simulator, server: Server) -> None:
    """Free calls get their answers, paid ones stop, one warning is given; and in the end all is counted."""
    sim.reset(Scenario(models=[FLAT, "test/m01:free"]))
    said, clock = list[str](), Clock()
    paying: dict[str, Any] = {"allow_paid": True, "paid_models": [FLAT["id"]], "budget": "$90 total", "max_wait": 0}

    def opened(**known: Any) -> Any:
        store = RedisStore(server.url, patience=5.0, **known)
        return make(sim, ["test/m01:free"], state=store, limits={"per_minute": None, "per_day": 99}, **paying)

    model = opened(warn=said.append, monotonic=clock)
    for named in ({}, {"model": FLAT["id"]}):
        drive(model, "invoke", **named)
    with TROUBLES[words](server):
        for path in PATHS:
            assert drive(model, path).text
            with pytest.raises(NoSuitableModel, match="server cannot be used"):
                drive(model, path, model=FLAT["id"])
            clock.now += 31.0
    for named in ({}, {"model": FLAT["id"]}):
        assert drive(model, "ainvoke", **named).text
    assert len(said) == 1
    other = opened(warn=fail)
    assert other.quota().windows[-1].used == len([chat for chat in sim.chats() if chat.model == "test/m01:free"]) == 6
    total = other.spending().windows[-1]
    assert (Decimal(total.spent), total.reserved) == (sum(entry.cost for entry in sim.bill), "0") == (Decimal(1), "0")


def row_of(at: int) -> tuple[str, float, str]:
    return LOG, float(at), str(at)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("others", [0, 10])
def test_a_connection_that_is_cut_is_no_outage(others: int, when: str, door: Door) -> None:
    """Whether the server has done what it was asked by then or not, and whatever others do meanwhile."""
    store, other = RedisStore(door.url, warn=fail), RedisStore(door.server.url, warn=fail)
    for _ in range(2):
        store.update_and_append(ADDED, one_more, row_of)
    counted(other, ADDED)
    door.cut_next(when, lambda: other.update(ADDED, lambda count: ((count or 0) + others, None)))
    store.update_and_append(ADDED, one_more, row_of)
    assert not store.degraded
    assert counted(store, ADDED) == counted(other, ADDED) == 3 + others
    assert len(store.recent(LOG)) == 3


def test_a_row_that_may_be_there_is_not_asked_for_twice(door: Door) -> None:
    """By itself it has no version by which a server would know it again."""
    clock = Clock()
    store = RedisStore(door.url, warn=lambda _: None, monotonic=clock)
    store.append(LOG, 1.0, "first")
    door.cut_next("after")
    store.append(LOG, 2.0, "second")
    assert store.degraded
    clock.now = 31.0
    assert [text for _, text in store.recent(LOG)] == ["second", "first"]


def test_another_trouble_is_told_as_well(server: Server) -> None:
    """Though the client has one name for both."""
    said, clock = list[str](), Clock()
    store = RedisStore(server.url, warn=said.append, patience=5.0, monotonic=clock)
    store.update(ADDED, one_more)
    for trouble in (TROUBLES["NOREPLICAS"], busy):
        with trouble(server):
            store.update(ADDED, one_more)
        clock.now += 31.0
        store.update(ADDED, one_more)
    assert [word in warning for word, warning in zip(("NOREPLICAS", "BUSY"), said, strict=True)] == [True, True]


@pytest.mark.parametrize(("well", "warnings"), [(60.0, 1), (7200.0, 2)])
def test_an_outage_after_a_good_hour_is_told_again(well: float, warnings: int, server: Server) -> None:
    """The first one's warning is long forgotten."""
    said, clock = list[str](), Clock()
    store = RedisStore(server.url, warn=said.append, monotonic=clock)
    for _ in range(2):
        store.update(ADDED, one_more)
        with TROUBLES["NOREPLICAS"](server):
            for _ in range(3):
                store.update(ADDED, one_more)
                clock.now += 31.0
        store.update(ADDED, one_more)
        clock.now += well
    assert len(said) == warnings


def test_the_next_server_has_a_clock_of_its_own(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that was left no reading counts any more, however quickly it was got."""
    store = RedisStore(door.url, warn=lambda _: None, monotonic=(clock := Clock()), wall=clock)
    asked, ahead = store._asked, 0

    def asking(*what: Any) -> Any:
        said = asked(*what)
        return [b"%d" % (int(said[0]) + ahead), *said[1:]]

    monkeypatch.setattr(store, "_asked", asking)
    store.update(ADDED, one_more)
    (folder := tmp_path / "other").mkdir()
    with redis_server.served(folder) as other:
        door.lead_to(other)
        store.close()
        ahead = 1000
        store.update(ADDED, one_more)
        there = store.server_time()
        assert there is not None
        assert there - time.time() > 900


def test_a_failover_by_hand(door: Door, tmp_path: Path) -> None:
    """The replica is promoted with less than all, its master comes back as its replica, and they change again."""
    master, clock = door.server, Clock()
    stores = [RedisStore(door.url, warn=lambda _: None, monotonic=clock) for _ in range(2)]
    (folder := tmp_path / "replica").mkdir()

    def count() -> None:
        for store in stores:
            store.update(ADDED, one_more)

    def follows(one: Server, of: Server) -> None:
        told(one, "REPLICAOF", "127.0.0.1", of.port)
        ends = time.monotonic() + 20
        while told(one, "INFO", "replication")["master_link_status"] != "up":
            assert time.monotonic() < ends
            time.sleep(0.01)

    with redis_server.served(folder, *OPTIONS) as replica:
        count()
        follows(replica, master)
        told(replica, *ALONE)
        count()  # nobody replicates it
        door.lead_to(replica)
        count()
        follows(master, replica)
        assert counted(RedisStore(replica.url, warn=fail), ADDED) == 6
        told(replica, "REPLICAOF", "127.0.0.1", master.port)  # for a while both are
        count()
        assert [store.degraded for store in stores] == [True, True]
        told(master, *ALONE)
        door.lead_to(master)
        clock.now = 31.0
        count()
        assert [store.degraded for store in stores] == [False, False]
        assert counted(RedisStore(master.url, warn=fail), ADDED) == 10
