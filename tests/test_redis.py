"""A server as the shared state: many machines, one account; and what happens while it is away, slow or read-only."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import re
import time
import weakref
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis_server
from driving import PATHS, at_once, drive, make
from money_world import FLAT
from redis_server import Server
from store_helpers import (
    ADDED,
    COUNT,
    FOLDED,
    LOG,
    Clock,
    counted,
    fail,
    gathered,
    in_other_process,
    needs_fork,
    one_more,
)

from langchain_openrouter_free import AllModelsFailed, BudgetExceeded, ConfigurationError, FreeQuotaExhausted
from langchain_openrouter_free.request import settings
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores.base import LONGEST_ASIDE
from langchain_openrouter_free.stores.naming import store_of
from langchain_openrouter_free.stores.redis import RedisStore
from langchain_openrouter_free.stores.sheltered import Unusable

KEY = "sk-or-v1-planted"


@pytest.fixture
def said() -> list[str]:
    return []


def trips(server: Server) -> int:
    """How many scripts the server has run."""
    with server.client() as client:
        return sum(
            client.info("commandstats").get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval")
        )


class TestServer:
    """What is on the server, and what it costs to ask it."""

    def test_every_key_is_the_accounts_or_the_projects_and_has_an_end(self, sim: Simulator, shared: Server) -> None:
        sim.reset(Scenario(models=[FLAT], scripts={"test/m01:free": "429-upstream"}))
        paying: dict[str, Any] = {
            "allow_paid": True,
            "paid_models": [FLAT["id"]],
            "budget": "$9",
            "account_budget": "$9",
        }
        model = make(sim, state=shared.url, project="a project", api_key=KEY, **paying)
        for named in ({}, {"model": FLAT["id"]}):
            assert drive(model, "invoke", "a secret prompt", **named).text
        with shared.client() as client:
            keys = {key.decode(): client.ttl(key) for key in client.keys("*")}
            values = b"".join(client.dump(key) or b"" for key in keys)
        assert len(keys) >= 5
        assert all(key.startswith("openrouter-free:{") for key in keys)
        assert all(0 < seconds <= 400 * 86_400 for seconds in keys.values())
        account = settings.account(KEY, sim.base_url)
        assert {key.partition("{")[2].partition("}")[0] for key in keys} == {account, "a project"}
        assert [key for key in keys if "a project" in key] == ["openrouter-free:{a project}:project"]
        assert b"secret prompt" not in values
        assert KEY.encode() not in values

    def test_a_decision_is_one_or_two_round_trips(self, shared: Server) -> None:
        one, two = RedisStore(shared.url, warn=fail), RedisStore(shared.url, warn=fail)
        counts = []
        for store in (one, two, one, one, two, two):
            before = trips(shared)
            store.update(COUNT, one_more)
            counts.append(trips(shared) - before)
        # The first time the server must be told the script; who wrote last needs no look; who did not, is told at once.
        assert counts[2:] == [2, 1, 2, 1]
        assert counted(one) == 6

    def test_a_page_that_stays_is_not_written(self, shared: Server) -> None:
        store = RedisStore(shared.url, warn=fail)
        store.update(COUNT, one_more)
        version = store._known["count"].version
        assert counted(store) == 1
        assert store._known["count"].version == version

    @needs_fork
    def test_racing_processes_all_count(self, shared: Server, tmp_path: Path) -> None:
        assert sorted(in_other_process("counting", shared.url, tmp_path / "log")) == list(range(1, 1001))

    @needs_fork
    def test_forks_while_threads_wait_for_the_server(self, shared: Server, tmp_path: Path) -> None:
        assert in_other_process("forking_in_a_crowd", shared.url, tmp_path / "log") == 400

    @needs_fork
    def test_killed_processes_lose_and_double_nothing(self, shared: Server, tmp_path: Path) -> None:
        found = in_other_process("granting", shared.url, tmp_path / "log")
        assert found["grants"] == list(range(1, 1001))
        assert len(set(found["told"])) == len(found["told"])
        # Each kill can silence one grant between its commit and its being told.
        assert 1000 - found["kills"] <= len(found["told"]) <= 1000
        assert found["kills"] >= 5

    @needs_fork
    def test_each_row_is_folded_once_by_several_processes(self, shared: Server) -> None:
        found = in_other_process("folding", shared.url)
        expected = sorted(f"{number}.{place}" for number in range(4) for place in range(250))
        assert sorted(found["folded"] + found["left"]) == expected

    def test_a_page_that_cannot_be_read_is_begun_anew(self, shared: Server, said: list[str]) -> None:
        store = RedisStore(shared.url, warn=said.append)
        with shared.client() as client:
            client.hset(
                "openrouter-free:{count}:count", mapping={"version": "x", "text": "no number".ljust(LONGEST_ASIDE + 9)}
            )
            assert [store.update(COUNT, one_more) for _ in range(2)] == [1, 2]
            assert client.get("openrouter-free:{count}:count:set-aside") == b"no number".ljust(LONGEST_ASIDE)
        assert ["cannot be read" in warning for warning in said] == [True]

    def test_a_log_has_an_end(self, shared: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("langchain_openrouter_free.stores.redis._MOST_ROWS", 5)
        store = RedisStore(shared.url, warn=fail)
        for number in range(12):
            store.append(LOG, float(number), str(number))
        assert [text for _, text in store.recent(LOG)] == ["11", "10", "9", "8", "7"]
        assert store.fold(LOG, 9.0, FOLDED, gathered) == 2

    @pytest.mark.parametrize("clone", [lambda store: pickle.loads(pickle.dumps(store)), copy.deepcopy])
    def test_a_pickle_is_the_address(self, clone: Callable[[RedisStore], RedisStore], shared: Server) -> None:
        store = RedisStore(shared.url, degraded="local-share", machines=4)
        store.update(COUNT, one_more)
        other = clone(store)
        assert (other.url, other.paid_share) == (store.url, 0.25)
        assert [other.update(COUNT, one_more), store.update(COUNT, one_more)] == [2, 3]


class TestAddress:
    """How a server is named."""

    def test_a_url_names_it(self) -> None:
        store = store_of("valkey://u:geheim@host:7000/2?degraded=local-share&machines=4&prefix=mine&socket_keepalive=1")
        assert isinstance(store, RedisStore)
        assert (store.paid_share, store.prefix) == (0.25, "mine")
        assert store.url == "redis://u:geheim@host:7000/2?socket_keepalive=1"
        assert repr(store) == "RedisStore('redis://host:7000/2')"

    @pytest.mark.parametrize(
        "address",
        [
            "redis://:geheim@host/0?degraded=go",
            "redis://:geheim@host/0?degraded=local-share",
            "redis://:geheim@host/0?degraded=local-share&machines=0",
            "redis://:geheim@host/0?machines=many",
            "redis://:geheim@host:port/0",
            "redis://:geheim@host/0?degarded=local-share&machines=4",
            "redis://:geheim@host/0?protocol=9",
            "rediss://:geheim@host/0?ssl_cert_reqs=maybe",
            "redis+sentinel://:geheim@host/0",
            "redis-server://:geheim@host/state.sqlite3",
            "redis:/:geheim@host/0",
            "redis::geheim@host/0",
            "redis://:geheim/geheim@host/0",
            "redis://:geheim#geheim@host/0",
            "redis://:geheim?geheim@host/0",
            "redis://:ge@geheim/heim@host/0",
            "redis://:ge@geheim?heim@host/0",
            "redis://:ge@geheim#heim@host/0",
            "redis://:ge[geheim@host/0",
        ],
    )
    def test_a_wrong_one_is_told_without_its_password(self, address: str) -> None:
        with pytest.raises(ConfigurationError) as told:
            store_of(address)
        assert "geheim" not in str(told.value)

    @pytest.mark.parametrize(
        ("address", "url"),
        [
            ("unix:///run/redis.sock?db=1&prefix=mine", "unix:///run/redis.sock?db=1"),
            ("redis:///1", "redis:///1"),
            ("REDIS://Host:7000/2", "redis://Host:7000/2"),
            ("Valkeys://host", "rediss://host"),
        ],
    )
    def test_ways_to_write_one(self, address: str, url: str) -> None:
        store = store_of(address)
        assert isinstance(store, RedisStore)
        assert store.url == url

    def test_what_is_read_is_bytes_whatever_an_address_says(self, shared: Server) -> None:
        RedisStore(shared.url, warn=fail).update(COUNT, one_more)
        other = RedisStore(f"{shared.url}?decode_responses=true&encoding=latin-1", warn=fail)
        assert [other.update(COUNT, one_more) for _ in range(2)] == [2, 3]

    def test_a_password_is_in_no_warning(self, tmp_path: Path, said: list[str]) -> None:
        if redis_server.PROGRAM is None:
            pytest.skip(redis_server.MISSING)
        with redis_server.served(tmp_path, "--requirepass", "right") as server:
            wrong = server.url.replace("://", "://:geheim@")
            store = RedisStore(wrong, warn=said.append)
            assert store.update(COUNT, one_more) == 1
            assert store.degraded
            assert "geheim" not in "".join(said) + repr(store)
            assert RedisStore(server.url.replace("://", "://:right@"), warn=fail).update(COUNT, one_more) == 1

    def test_the_rights_that_are_told_suffice(self, sim: Simulator, own: Server, said: list[str]) -> None:
        readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
        told = re.search(r"A user of its own there needs `([^`]+)`", readme)
        assert told is not None
        with own.client() as client:
            client.execute_command("ACL", "SETUSER", "router", "on", ">right", *told[1].split())
            client.hset("openrouter-free:{count}:count", mapping={"version": "x", "text": "no number"})
        address = own.url.replace("://", "://router:right@")
        other, store = RedisStore(address, warn=said.append), RedisStore(address, warn=fail)
        assert [kept.update(COUNT, one_more) for kept in (other, store)] == [1, 2]
        assert ["cannot be read" in warning for warning in said] == [True]
        store.append(LOG, 1.0, "told")
        assert [text for _, text in store.recent(LOG)] == ["told"]
        assert store.fold(LOG, 2.0, FOLDED, gathered) == 1
        assert drive(make(sim, state=store), "invoke").text
        assert not store.degraded


class TestOutage:
    """A server that cannot be used breaks no call, and gets back what was counted without it."""

    def test_it_goes_on_in_memory_and_comes_back(self, own: Server, said: list[str]) -> None:
        store = RedisStore(own.url, warn=said.append, patience=0.2, monotonic=(clock := Clock()))
        for ref in (COUNT, ADDED):
            store.update(ref, one_more)
        store.append(LOG, 1.0, "before")
        own.stop()
        assert [store.update(ref, one_more) for ref in (COUNT, ADDED, ADDED)] == [2, 2, 3]
        assert store.degraded
        store.append(LOG, 2.0, "without")
        assert [text for _, text in store.recent(LOG)] == ["without"]
        own.start()
        other = RedisStore(own.url, warn=fail)
        other.update(ADDED, lambda _: (10, None))
        clock.now = 31.0
        # What the server has now, what it had before and has lost, what was counted without it, and this one.
        assert store.update(ADDED, one_more) == 10 + 1 + 2 + 1
        assert not store.degraded
        assert counted(store) == 0  # a page that nobody can join is what the server has
        assert [text for _, text in store.recent(LOG)] == ["without"]
        assert counted(other, ADDED) == 14
        assert len(said) == 1
        assert own.url.removesuffix("/0") in said[0]

    def test_it_is_left_alone_for_a_while(self, own: Server, said: list[str]) -> None:
        store = RedisStore(own.url, warn=said.append, patience=0.2, monotonic=(clock := Clock()))
        store.update(ADDED, one_more)
        own.stop()
        store.update(ADDED, one_more)
        own.start()
        assert store.update(ADDED, one_more) == 3
        assert store.degraded
        clock.now = 31.0
        assert store.update(ADDED, one_more) == 4  # what was there before is gone with the server, but known here
        assert not store.degraded
        kept = weakref.ref(store)
        del store
        assert kept() is None  # nothing of the outage holds it, so its connection is closed at once

    def test_read_only(self, own: Server, said: list[str]) -> None:
        store = RedisStore(own.url, warn=said.append, monotonic=(clock := Clock()))
        store.update(ADDED, one_more)
        with own.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")
            assert store.update(ADDED, one_more) == 2
            assert store.degraded
            client.execute_command("REPLICAOF", "NO", "ONE")
        clock.now = 31.0
        assert store.update(ADDED, one_more) == 3
        assert (store.degraded, len(said)) == (False, 1)

    @pytest.mark.wall_clock
    def test_a_slow_one_costs_its_patience_once(self, own: Server, said: list[str]) -> None:
        store = RedisStore(own.url, warn=said.append, patience=0.1)
        store.update(ADDED, one_more)
        with own.client() as client:
            client.execute_command("CLIENT", "PAUSE", "3000", "ALL")
        began = time.monotonic()
        assert [store.update(ADDED, one_more) for _ in range(20)] == list(range(2, 22))
        assert time.monotonic() - began < 1.0
        assert len(said) == 1

    def test_a_return_that_fails_loses_nothing(self, own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server is back and tells what others have written, and is away again before it has taken what is ours."""
        store = RedisStore(own.url, warn=lambda _: None, monotonic=(clock := Clock()))
        other = RedisStore(own.url, warn=fail)
        for _ in range(10):
            store.update(ADDED, one_more)
        run, answers = store._run, iter([False, True, False])

        def breaks(*asked: Any) -> list[Any]:
            if not next(answers):
                raise Unusable("away", "is away")
            return run(*asked)

        monkeypatch.setattr(store, "_run", breaks)
        store.update(ADDED, one_more)
        other.update(ADDED, lambda count: ((count or 0) + 5, None))
        clock.now = 31.0
        assert store.update(ADDED, one_more) == 12  # asked and told no, then away again
        assert store.last_seen(ADDED) == 10  # a part of what was left then may be spent, whatever others did since
        monkeypatch.undo()
        clock.now = 62.0
        assert counted(store, ADDED) == counted(other, ADDED) == 10 + 2 + 5

    @pytest.mark.parametrize("path", PATHS)
    def test_free_calls_go_on(self, path: str, sim: Simulator, own: Server, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "langchain_openrouter_free")
        store = RedisStore(own.url, patience=0.2)
        model = make(sim, state=store, limits={"per_minute": None, "per_day": 3})
        assert drive(model, path).text
        own.stop()
        assert drive(model, path).text
        assert drive(model, path).text
        with pytest.raises(FreeQuotaExhausted):
            drive(model, path)
        assert sum("shared state" in record.getMessage() for record in caplog.records) == 1

    def test_the_others_learn_what_was_taken_meanwhile(self, sim: Simulator, own: Server) -> None:
        limits = {"per_minute": None, "per_day": 6}
        clock = Clock()
        store = RedisStore(own.url, patience=0.2, monotonic=clock)
        here, there = make(sim, state=store, limits=limits), make(sim, state=own.url, limits=limits)
        drive(here, "invoke")
        drive(there, "invoke")
        with own.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")
            drive(here, "invoke")
            drive(here, "invoke")
            client.execute_command("REPLICAOF", "NO", "ONE")
        clock.now = 31.0
        drive(here, "invoke")
        drive(there, "invoke")
        for model in (here, there):
            with pytest.raises(FreeQuotaExhausted):
                drive(model, "invoke")
        assert len(sim.chats()) == 6


class TestMoney:
    """Nothing is paid while others' spending cannot be seen, but for a part that is known to be this machine's."""

    @pytest.mark.parametrize(("degraded", "served"), [("stop", 0), ("local-share", 2)])
    def test_an_outage(self, degraded: Any, served: int, sim: Simulator, own: Server) -> None:
        sim.reset(Scenario(models=[FLAT, "test/m01:free"], scripts={"test/m01:free": "503"}))
        store = RedisStore(own.url, patience=0.2, degraded=degraded, machines=2 if degraded == "local-share" else None)
        model = make(
            sim,
            ["test/m01:free"],
            state=store,
            allow_paid=True,
            paid_models=[FLAT["id"]],
            budget="$2.60 total",
            max_wait=0,
        )
        drive(model, "invoke")
        own.stop()
        for _ in range(served):
            assert drive(model, "invoke").meta["route"]["paid"]
        error, words = (
            (BudgetExceeded, "does not hold")
            if served
            else (AllModelsFailed, "file or server cannot be used, so the budget cannot be kept")
        )
        for _ in range(2):
            with pytest.raises(error, match=words):
                drive(model, "invoke")
        assert len(sim.bill) == served + 1

    def test_a_server_that_has_lost_all(self, sim: Simulator, own: Server) -> None:
        """Restarted empty between two calls: what is spent is spent."""
        sim.reset(Scenario(models=[FLAT, "test/m01:free"], scripts={"test/m01:free": "503"}))
        model = make(
            sim,
            ["test/m01:free"],
            state=RedisStore(own.url, warn=fail),
            allow_paid=True,
            paid_models=[FLAT["id"]],
            budget="$0.60 total",
            max_wait=0,
        )
        assert drive(model, "invoke").meta["route"]["paid"]
        own.stop()
        own.start()
        for _ in range(2):
            with pytest.raises(BudgetExceeded):
                drive(model, "invoke")
            own.forget()
        assert [entry.cost for entry in sim.bill] == [Decimal("0.5")]
        assert len([chat for chat in sim.chats() if chat.model == "test/m01:free"]) == 1  # it still cools down


class TestTogether:
    """Threads, loops and machines, all at once."""

    def test_never_more_than_the_day_holds(self, sim: Simulator, shared: Server) -> None:
        limits = {"per_minute": None, "per_day": 30}
        models = [make(sim, state=RedisStore(shared.url, warn=fail), limits=limits) for _ in range(4)]
        answered: list[int] = []
        turn = iter(range(16))

        def work() -> None:
            model = models[next(turn) % 4]
            for _ in range(4):
                try:
                    model.invoke("a word")
                    answered.append(1)
                except FreeQuotaExhausted:
                    pass

        at_once(work, 16)
        assert len(answered) == 30
        assert len(sim.chats()) == 30

    @pytest.mark.wall_clock
    async def test_a_slow_server_does_not_hold_the_loop(self, sim: Simulator, own: Server) -> None:
        model = make(sim, state=RedisStore(own.url, patience=0.6, warn=lambda _: None))
        await model.ainvoke("a word")
        with own.client() as client:
            client.execute_command("CLIENT", "PAUSE", "2000", "ALL")
        longest, last = 0.0, time.monotonic()

        async def watch() -> None:
            nonlocal longest, last
            while True:
                await asyncio.sleep(0.01)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()

        watching = asyncio.create_task(watch())
        assert (await model.ainvoke("a word")).text
        watching.cancel()
        assert longest < 0.4
