"""A cluster as the shared state: any of its nodes may be named, whichever has a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis_server
from driving import PATHS, drive, make
from redis_server import Server
from store_helpers import ADDED, LOG, Clock, counted, fail, in_other_process, needs_fork, one_more

from langchain_openrouter_free import FreeQuotaExhausted
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.stores import PageRef
from langchain_openrouter_free.stores.redis import RedisStore

# Their keys are spread over both halves.
PAGES: list[PageRef[int]] = [
    PageRef(name, str, int, lambda base, mine, there: (there or 0) + mine - (base or 0))
    for name in ("account:a", "account:b", "money:c", "money:d")
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    if redis_server.PROGRAM is None:
        pytest.skip(redis_server.MISSING)
    with redis_server.clustered(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture
def nodes(cluster: list[Server]) -> list[Server]:
    for node in cluster:
        node.forget()
    return cluster


def test_any_node_may_be_named(nodes: list[Server]) -> None:
    stores = [RedisStore(node.url, warn=fail) for node in nodes]
    for store in stores:
        for ref in PAGES:
            store.update(ref, one_more)
        store.append(LOG, 1.0, "told")
    assert [counted(store, ref) for store in stores for ref in PAGES] == [2] * 8
    assert [len(store.recent(LOG)) for store in stores] == [2, 2]
    for node in nodes:
        with node.client() as client:
            assert client.dbsize() > 0, "both have a part"


def test_the_day_is_one_for_all(sim: Simulator, nodes: list[Server]) -> None:
    limits = {"per_minute": None, "per_day": 6}
    models = [make(sim, state=RedisStore(node.url, warn=fail), limits=limits) for node in nodes]
    for number in range(6):
        drive(models[number % 2], PATHS[number % 4])
    for path in PATHS:
        for model in models:
            with pytest.raises(FreeQuotaExhausted):
                drive(model, path)
    assert len(sim.chats()) == 6


@needs_fork
@pytest.mark.parametrize("named", [0, 1])
def test_processes_and_forks(nodes: list[Server], named: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert sorted(in_other_process("counting", nodes[named].url, log)) == list(range(1, 1001))
    for node in nodes:
        node.forget()
    assert in_other_process("forking_in_a_crowd", nodes[named].url, log) == 400


def test_a_key_is_on_its_way_to_another_node(nodes: list[Server]) -> None:
    """Whoever is asked first; and when it has come there."""
    with nodes[0].client() as first, nodes[1].client() as second:
        ask: list[Any] = [first.execute_command, second.execute_command]  # the client's own types do not tell
        ids, slot = [told("CLUSTER", "MYID") for told in ask], ask[0]("CLUSTER", "KEYSLOT", "{added}")
        here = 0 if slot < 8192 else 1
        try:
            ask[1 - here]("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[here])
            ask[here]("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1 - here])
            stores = [RedisStore(node.url, warn=fail) for node in nodes]
            assert [store.update(ADDED, one_more) for store in stores] == [1, 2]
        finally:
            for told in ask:
                told("CLUSTER", "SETSLOT", slot, "NODE", ids[1 - here])
        assert [store.update(ADDED, one_more) for store in stores] == [3, 4]


@pytest.mark.parametrize("is_closed", [True, False])
def test_no_connection_is_left(nodes: list[Server], *, is_closed: bool) -> None:
    """Of a store that is closed, or that nobody has any more; nor of the client that asked first."""
    before = connected(nodes)
    stores = [RedisStore(node.url, warn=fail) for node in nodes]
    for store in stores:
        for ref in PAGES:
            store.update(ref, one_more)
    assert connected(nodes) > before
    if is_closed:
        for store in stores:
            store.close()
    del stores, store
    assert connected(nodes) <= before


def connected(nodes: list[Server]) -> int:
    count = 0
    for node in nodes:
        with node.client() as client:
            count += len(client.client_list())
    return count


def test_a_node_goes_and_comes_back(nodes: list[Server]) -> None:
    """What it had is counted on here, and added when it is back; the other keys' node is asked all the while."""
    said: list[str] = []
    store = RedisStore(nodes[0].url, warn=said.append, patience=0.2, monotonic=(clock := Clock()))
    for ref in PAGES:
        assert store.update(ref, one_more) == 1
    nodes[1].stop()
    assert [store.update(ref, one_more) for ref in PAGES] == [2] * 4
    assert store.degraded
    assert len(said) == 1
    nodes[1].start()
    redis_server.await_cluster(nodes)
    clock.now = 31.0
    assert [store.update(ref, one_more) for ref in PAGES] == [3] * 4
    assert not store.degraded
    assert [counted(RedisStore(nodes[0].url, warn=fail), ref) for ref in PAGES] == [3] * 4
