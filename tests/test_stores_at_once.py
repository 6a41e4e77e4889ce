"""An update that need not wait is done where it is asked for; one that would have to is left to who may wait."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import store_helpers
from driving import TWENTY, make
from store_helpers import COUNT, counted, one_more

from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.stores import MemoryStore, at_once, connection
from langchain_openrouter_free.stores.base import PageRef
from langchain_openrouter_free.stores.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store in a file that is open, and that must not give a warning."""
    store = SqliteStore(path, warn=store_helpers.fail)
    store.update(COUNT, one_more)
    yield store
    store.close()


def never() -> object:
    raise AssertionError("it was done")


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def other(path: Path) -> sqlite3.Connection:
    """Another connection to the file, which waits for nothing."""
    return sqlite3.connect(path, timeout=0, isolation_level=None)


def test_a_free_file_is_updated_at_once(store: SqliteStore, path: Path) -> None:
    assert at_once(store, lambda: store.update(COUNT, one_more)) == 2
    with closing(SqliteStore(path)) as another:
        assert counted(another) == 2


def test_a_row_comes_with_it(store: SqliteStore) -> None:
    row = ("calls:a", 1.0, "text")
    assert at_once(store, lambda: store.update_and_append(COUNT, one_more, lambda _: row)) == 2
    assert store.recent("calls:a") == [(1.0, "text")]


def test_a_locked_file_is_left_alone(store: SqliteStore, path: Path) -> None:
    with closing(other(path)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert at_once(store, never) is None
        holder.execute("COMMIT")
    assert at_once(store, lambda: store.update(COUNT, one_more)) == 2


def test_what_another_thread_does_is_not_waited_for(store: SqliteStore) -> None:
    found: list[object] = []

    def change(count: int | None) -> tuple[int, int]:
        in_thread(lambda: found.append(at_once(store, lambda: counted(store))))
        return one_more(count)

    assert store.update(COUNT, change) == 2
    assert found == [None]
    in_thread(lambda: found.append(at_once(store, lambda: counted(store))))
    assert found == [None, 2]


def test_a_file_that_is_not_open_yet_is_opened_by_who_may_wait(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        assert at_once(store, never) is None
        assert not path.exists()


def test_without_an_update_nothing_is_held(store: SqliteStore, path: Path) -> None:
    assert at_once(store, lambda: "nothing") == "nothing"
    with closing(other(path)) as another:
        another.execute("BEGIN IMMEDIATE")
        another.execute("COMMIT")
    in_thread(lambda: store.update(COUNT, one_more))
    assert counted(store) == 2


def test_work_that_raises_leaves_all_as_it_was(store: SqliteStore, path: Path) -> None:
    def fails(count: int | None) -> tuple[int, int]:
        raise ValueError(count)

    for work in (lambda: store.update(COUNT, fails), lambda: fails(1)):
        with pytest.raises(ValueError, match="1"):
            at_once(store, work)
        with closing(SqliteStore(path)) as another:
            assert counted(another) == 1


def test_a_second_update_is_one_of_its_own(store: SqliteStore, path: Path) -> None:
    def twice() -> int:
        store.update(COUNT, one_more)
        with closing(SqliteStore(path)) as another:
            assert another.update(COUNT, one_more) == 3
        return store.update(COUNT, one_more)

    assert at_once(store, twice) == 4


def test_a_file_that_is_deleted_in_between_is_made_anew(store: SqliteStore, path: Path) -> None:
    def late() -> int:
        path.unlink()
        return store.update(COUNT, one_more)

    assert at_once(store, late) == 1
    assert counted(store) == 1
    path.unlink()
    assert at_once(store, never) is None


TEXT: PageRef[str] = PageRef("text", str, str)


@pytest.mark.parametrize("row", [None, 900, 9_000], ids="row of {}".format)
@pytest.mark.parametrize("length", [100, 1_100, 10_000, 90_000])
def test_the_disk_is_waited_for_elsewhere(store: SqliteStore, path: Path, length: int, row: int | None) -> None:
    """The log is emptied by an update that may wait, before a commit has to; it stays short, however long the texts."""
    said: list[str] = []
    file = store._file
    assert file is not None
    file._connection.set_trace_callback(lambda statement: said.append(statement[:50]))
    lot, log = random.Random(1), path.with_name(path.name + "-wal")
    longest, emptied = 0, list[int]()

    def update() -> int:
        # Another length each time, so that the text is written as a whole.
        text = lot.choice("abc") * lot.randrange(length * 9 // 10, length)
        told = None if row is None else ("log", 1.0, "r" * row)
        return store.update_and_append(TEXT, lambda _: (text, 1), lambda _: told)

    while len(emptied) < 3:
        said.clear()
        if at_once(store, update) is None:
            update()
            assert any("wal_checkpoint" in statement for statement in said)
            emptied.append(0)
        else:
            assert not any("wal_checkpoint" in statement for statement in said)
        longest = max(longest, log.stat().st_size)
    assert longest < 1000 * 4096  # where SQLite's own checkpoint begins
    assert longest > 250 * 4096  # emptied when there is something to empty


def test_a_file_without_a_log_is_always_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_openrouter_free.stores.files.network", lambda _: "nfs4")
    with closing(SqliteStore(path, warn=lambda _: None)) as store:
        store.update(COUNT, one_more)
        assert at_once(store, never) is None


def test_other_stores_are_not_asked() -> None:
    for store in (MemoryStore(), SqliteStore(":memory:")):
        store.update(COUNT, one_more)
        assert at_once(store, never) is None


class TestCalls:
    """An event loop does itself what need not wait, and nothing else."""

    async def test_no_thread_is_needed(self, sim: Simulator, store: SqliteStore) -> None:
        model = make(sim, TWENTY[:2], state=store, chance=lambda: 0.5)  # by which old rows are not folded
        await model.ainvoke("hi")  # it may look for the list of models
        with patch("asyncio.to_thread", side_effect=AssertionError("a thread")):
            answer = await model.ainvoke("hi")
            said = [chunk.text async for chunk in model.astream("hi")]
        assert answer.text
        assert said
        assert len(model.history()) == 3

    async def test_a_locked_file_does_not_hold_the_loop(self, sim: Simulator, store: SqliteStore, path: Path) -> None:
        model = make(sim, TWENTY[:2], state=store)
        await model.ainvoke("hi")
        with closing(other(path)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            task = asyncio.create_task(model.ainvoke("hi"))
            for _ in range(20):
                await asyncio.sleep(0)
            # Were the loop held, this would come after the store's patience, and a warning before it.
            holder.execute("COMMIT")
        assert (await task).text

    async def test_what_costs_money_is_booked_elsewhere(self, sim: Simulator, store: SqliteStore) -> None:
        """A reservation and its settlement are more than one update: none of them is done on the loop."""
        loop_thread, where = threading.get_ident(), set[bool]()
        update = SqliteStore.update

        def noted(self: SqliteStore, *arguments: Any) -> Any:
            where.add(threading.get_ident() == loop_thread)
            return update(self, *arguments)

        model = make(sim, TWENTY[:1], state=store, allow_paid=True, paid_models=["openai/gpt-4o"], budget="$1")
        with patch.object(SqliteStore, "update", noted):
            await model.ainvoke("hi")
        assert where == {False}


@pytest.mark.parametrize("way", ["at once", "waiting"])
def test_an_interruption_as_it_begins_locks_nobody_out(store: SqliteStore, path: Path, way: str) -> None:
    """Ctrl-C behind the transaction's begin: neither the store nor the file stays locked."""
    begin = connection.Connection.begin

    def interrupted(*arguments: Any) -> None:
        begin(*arguments)
        raise KeyboardInterrupt

    with patch.object(connection.Connection, "begin", interrupted), pytest.raises(KeyboardInterrupt):
        at_once(store, never) if way == "at once" else store.update(COUNT, one_more)
    with closing(other(path)) as another:
        another.execute("BEGIN IMMEDIATE")
        another.execute("ROLLBACK")
    in_thread(lambda: store.update(COUNT, one_more))
    assert counted(store) == 2
    assert not store.degraded
