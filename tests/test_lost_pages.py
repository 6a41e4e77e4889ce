"""A server that has lost what was written: emptied, or gone back to what it was before. All of it is counted once."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from driving import drive, make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from money_world import FLAT
from redis_server import Server
from store_helpers import COUNT, fail

from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores import PageRef, ancestry
from langchain_openrouter_free.stores.ancestry import MOST, Ancestry
from langchain_openrouter_free.stores.redis import RedisStore

Counts = dict[str, int]
KEY = "openrouter-free:{counts}:counts"
MACHINES = 3


def joined(base: Counts | None, mine: Counts, there: Counts | None) -> Counts:
    base, there = base or {}, there or {}
    return {name: there.get(name, 0) + mine.get(name, 0) - base.get(name, 0) for name in there | mine}


COUNTS: PageRef[Counts] = PageRef("counts", json.dumps, json.loads, joined)


def counting(name: str) -> Callable[[Counts | None], tuple[Counts, None]]:
    return lambda page: ((page or {}) | {name: (page or {}).get(name, 0) + 1}, None)


def looked(store: RedisStore) -> Counts:
    return store.update(COUNTS, lambda page: (page or {}, page or {}))


def opened(server: Server, machines: int) -> list[RedisStore]:
    return [RedisStore(server.url, warn=fail, patience=5.0) for _ in range(machines)]


STEPS = st.one_of(
    st.tuples(st.just("count"), st.integers(0, MACHINES - 1), st.integers(1, 4)),
    st.tuples(st.just("another machine"), st.integers(0, MACHINES - 1)),
    st.tuples(st.just("forget")),
    st.tuples(st.just("dump")),
    st.tuples(st.just("go back"), st.integers(0, 3)),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=40))
def test_what_a_machine_has_counted_is_counted_once(shared: Server, steps: list[tuple[Any, ...]]) -> None:
    """However often the server loses what it had: as soon as each machine has asked it again, all is there."""
    stores, names = opened(shared, MACHINES), [f"machine {number}" for number in range(MACHINES)]
    counted, dumps = dict.fromkeys(names, 0), [b""]
    with shared.client() as client:
        client.delete(KEY)
        for number, (what, *how) in enumerate(steps):
            if what == "count":
                for _ in range(how[1]):
                    stores[how[0]].update(COUNTS, counting(names[how[0]]))
                    counted[names[how[0]]] += 1
            elif what == "another machine":
                # What only the one before knew is gone with it.
                del counted[names[how[0]]]
                stores[how[0]], names[how[0]] = opened(shared, 1)[0], f"machine {how[0]} since {number}"
                counted[names[how[0]]] = 0
            elif what == "dump":
                dumps.append(client.dump(KEY) or b"")
            else:
                client.delete(KEY)
                if what == "go back" and dumps[-1 - how[0] % len(dumps)]:
                    client.restore(KEY, 0, dumps[-1 - how[0] % len(dumps)])
    for store in stores * 2:
        page = looked(store)
    assert {name: page.get(name, 0) for name in counted} == counted


@pytest.mark.parametrize("later", [0, MOST * 2], ids=["soon", "after many changes"])
def test_a_server_that_somebody_new_has_begun_anew(later: int, shared: Server) -> None:
    """Who comes first knows nothing of what there was: those who do add all of it, once, however late they come."""
    one, two, new = opened(shared, 3)
    for _ in range(MOST + 200):
        one.update(COUNTS, counting("one"))
    two.update(COUNTS, counting("two"))
    shared.forget()
    for _ in range(1 + later):
        new.update(COUNTS, counting("new"))
    for store in (one, two, new, one):
        page = looked(store)
    assert page == {"one": MOST + 200, "two": 1, "new": 1 + later}


def test_a_machine_that_comes_late_adds_nothing(shared: Server) -> None:
    """Others have written more often than names are kept: nothing is lost, and nothing is added for it."""
    one, two = opened(shared, 2)
    one.update(COUNTS, counting("one"))
    for _ in range(MOST + 50):
        two.update(COUNTS, counting("two"))
    assert looked(one) == {"one": 1, "two": MOST + 50}


def test_what_a_machine_that_is_gone_has_counted(shared: Server) -> None:
    """Seen by another, it outlives both the machine and the server's loss."""
    gone, other = opened(shared, 2)
    for _ in range(3):
        gone.update(COUNTS, counting("gone"))
    with shared.client() as client:
        dump = client.dump(KEY)
        looked(other)
        gone.update(COUNTS, counting("gone"))
        other.update(COUNTS, counting("other"))
        client.restore(KEY, 0, dump, replace=True)
    assert looked(other) == {"gone": 4, "other": 1}


@pytest.mark.parametrize("line", ["", "of another kind", "0" * 14 * (MOST + 1), "0" * 13, "\N{SNOWMAN}" * 14])
def test_a_version_of_somebody_else(line: str, shared: Server) -> None:
    """A page that was written by another program, or an older version, is taken as it is."""
    one, two = opened(shared, 2)
    one.update(COUNTS, counting("one"))
    with shared.client() as client:
        client.hset(KEY, mapping={"version": "f00d", "line": line, "text": '{"one": 5}'})
    assert looked(one) == {"one": 5}
    one.update(COUNTS, counting("one"))
    two.update(COUNTS, counting("two"))
    assert looked(one) == {"one": 6, "two": 1}


def test_of_a_page_that_nobody_can_join_only_the_last_is_kept(shared: Server) -> None:
    """It may be a list of all models; and there is nothing to add it to."""
    store = RedisStore(shared.url, warn=fail)
    for count in range(3):
        store.update(COUNT, lambda _, new=count: (new, None))  # type: ignore[misc]
    assert store._known["count"].page == 2
    assert store._known["count"]._steps == []


def test_a_line_has_an_end_and_keeps_its_beginning() -> None:
    line = ""
    for number in range(MOST * 2):
        line = ancestry.after(line, f"{number:07x}")
    assert len(line) == MOST * 14
    assert line[-14:] == "0000001" + "0000000"
    assert line.startswith(f"{MOST * 2:07x}")


def test_more_steps_than_are_kept_become_one() -> None:
    """What is older is lost together or not at all."""
    known: Ancestry[int] = Ancestry()
    line, lines = "", []
    for number in range(MOST + 150):
        line = ancestry.after(line, f"{number:07x}")
        lines.append(line)
        known.write(ancestry.version_of(line), line, number + 1)
    assert len(known._steps) <= MOST + 100
    nothing = known.lost(lines[-1])
    assert nothing is None
    later = known.lost(lines[-3])
    assert later is not None
    assert later.changes == [(MOST + 148, MOST + 150)]
    assert later.line == line
    everything = known.lost("0000001" + "fffffff")
    assert everything is not None
    assert everything.changes == [(None, MOST + 150)]


def test_money_and_quota_outlive_a_failover(sim: Simulator, shared: Server) -> None:
    """The server goes back to what it had before the last calls of two machines: what is spent stays spent."""
    sim.reset(Scenario(models=[FLAT, "test/m01:free"], scripts={"test/m01:free": "503"}))
    paid: dict[str, Any] = {"allow_paid": True, "paid_models": [FLAT["id"]], "budget": "$5 total", "max_wait": 0}
    one, two = (
        make(sim, ["test/m01:free"], state=RedisStore(shared.url, warn=fail), project="team", **paid) for _ in range(2)
    )
    drive(one, "invoke")
    drive(two, "invoke")
    with shared.client() as client:
        dumps = {key: client.dump(key) for key in client.keys("*")}
        drive(one, "invoke")
        drive(one, "ainvoke")
        drive(two, "invoke")
        drive(two, "astream")
        for key, dump in dumps.items():
            client.restore(key, 0, dump or b"", replace=True)
    for model in (one, two):
        model.spending()
    for model in (one, two):
        spent = {window.window: Decimal(window.spent) for window in model.spending().windows}
        assert spent["total"] == sum(entry.cost for entry in sim.bill) == Decimal(3)
