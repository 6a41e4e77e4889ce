"""The logs beside the pages: rows come back, and each is folded into a page exactly once, whatever happens."""

from __future__ import annotations

import copy
import logging
import math
import os
import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import store_helpers
from store_helpers import (
    COUNT,
    EACH,
    FOLDED,
    LOG,
    LOGGER,
    WORKERS,
    Clock,
    LogStore,
    append_and_fold,
    counted,
    folded,
    gathered,
    in_other_process,
    one_more,
)

from langchain_openrouter_free.stores import HistoryLog, MemoryStore, PageRef, StateStore, connection
from langchain_openrouter_free.stores.base import Answer, Change, Page
from langchain_openrouter_free.stores.naming import store_of
from langchain_openrouter_free.stores.redis import RedisStore
from langchain_openrouter_free.stores.sqlite import SCHEMA, SqliteStore

EVER = math.inf
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

# A file as the first schema made it, word for word.
SCHEMA_1 = """
    CREATE TABLE pages (key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE set_aside (key TEXT NOT NULL, text, at TEXT NOT NULL);
    INSERT INTO pages VALUES ('count', '41');
    INSERT INTO set_aside VALUES ('account:a', 'unread', '20260101T000000.000000Z');
    PRAGMA application_id = 1280266822;
    PRAGMA user_version = 1;
"""


class OnlyPages:
    """Somebody's store of before there were logs."""

    blocking = False

    def update(self, ref: PageRef[Page], change: Change[Page, Answer]) -> Answer:
        return change(None)[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite3"


@pytest.fixture
def make(path: Path) -> Iterator[Callable[..., SqliteStore]]:
    """A maker of stores on one file, which fail where they would warn."""
    made: list[SqliteStore] = []

    def store(**arguments: Any) -> SqliteStore:
        made.append(SqliteStore(path, **{"warn": store_helpers.fail, **arguments}))
        return made[-1]

    yield store
    for one in made:
        one.close()


@pytest.fixture(params=["memory", "file", ":memory:", "redis"])
def store(request: pytest.FixtureRequest, make: Callable[..., SqliteStore]) -> LogStore:
    makers: dict[str, Callable[[], LogStore]] = {
        "redis": lambda: RedisStore(request.getfixturevalue("shared").url, warn=store_helpers.fail),
        "memory": MemoryStore,
        "file": make,
        ":memory:": lambda: SqliteStore(":memory:", warn=store_helpers.fail),
    }
    return makers[request.param]()


def added(store: HistoryLog, *rows: tuple[float, str]) -> None:
    for at, text in rows:
        store.append(LOG, at, text)


def texts(store: HistoryLog, limit: int = 2000) -> list[str]:
    return [text for _, text in store.recent(LOG, limit)]


def refuse(*_: object) -> Any:
    raise AssertionError("nothing was to be folded")


def write(path: Path, script: str) -> None:
    with sqlite3.connect(path) as other:
        other.executescript(script)
    other.close()


class TestContract:
    """What every log promises."""

    def test_it_is_a_store_and_a_log(self, store: LogStore) -> None:
        assert isinstance(store, StateStore)
        assert isinstance(store, HistoryLog)

    def test_a_log_that_is_not_there_is_empty(self, store: LogStore) -> None:
        assert store.recent(LOG) == []
        assert store.fold(LOG, EVER, FOLDED, refuse) == 0

    def test_the_row_added_last_comes_first_whatever_its_time(self, store: LogStore) -> None:
        added(store, (3.25, "a"), (1.0, "b"), (2.0, "c"))
        assert store.recent(LOG) == [(2.0, "c"), (1.0, "b"), (3.25, "a")]
        assert store.recent(LOG, 2) == [(2.0, "c"), (1.0, "b")]

    def test_of_many_twenty_are_shown(self, store: LogStore) -> None:
        added(store, *[(0.0, str(number)) for number in range(30)])
        assert texts(store, 20) == [text for _, text in store.recent(LOG)] == [str(n) for n in range(29, 9, -1)]

    @pytest.mark.parametrize("none", [0, -1])
    def test_none_are_none(self, store: LogStore, none: int) -> None:
        added(store, (1.0, "a"))
        assert store.recent(LOG, none) == []
        assert store.fold(LOG, EVER, FOLDED, refuse, most=none) == 0

    def test_any_text_comes_back(self, store: LogStore) -> None:
        for text in ("", "\0 inside", "ü\U0001f600\n", "x" * 100_000):
            store.append(LOG, 1.0, text)
            assert store.recent(LOG, 1) == [(1.0, text)]

    def test_the_oldest_by_time_are_folded_first(self, store: LogStore) -> None:
        added(store, (3.0, "c"), (1.0, "a"), (2.0, "b"), (1.0, "a too"), (4.0, "d"))
        assert store.fold(LOG, 4.0, FOLDED, gathered, most=3) == 3
        assert folded(store) == ["a", "a too", "b"]
        assert texts(store) == ["d", "c"]
        assert store.fold(LOG, 4.0, FOLDED, gathered) == 1  # the row at 4.0 is not before 4.0
        assert folded(store) == ["a", "a too", "b", "c"]
        assert store.fold(LOG, 4.0, FOLDED, refuse) == 0
        assert texts(store) == ["d"]

    def test_a_thousand_are_folded_at_once(self, store: LogStore) -> None:
        added(store, *[(float(number), str(number)) for number in range(1001)])
        assert store.fold(LOG, EVER, FOLDED, gathered) == 1000
        in_memory = isinstance(store, MemoryStore) or (isinstance(store, SqliteStore) and store.path is None)
        assert len(texts(store)) == (0 if in_memory else 1)

    def test_rows_alike_are_rows_each(self, store: LogStore) -> None:
        added(store, *[(1.0, "a")] * 5)
        assert store.fold(LOG, EVER, FOLDED, gathered, most=2) == 2
        assert (folded(store), texts(store)) == (["a"] * 2, ["a"] * 3)

    def test_a_row_after_a_fold_is_the_newest(self, store: LogStore) -> None:
        added(store, (2.0, "a"), (1.0, "b"))
        store.fold(LOG, 2.0, FOLDED, gathered)
        added(store, (0.5, "c"))
        assert texts(store) == ["c", "a"]

    def test_logs_and_pages_do_not_mix(self, store: LogStore) -> None:
        store.append("calls:b", 1.0, "b")
        added(store, (1.0, "a"))
        store.update(COUNT, one_more)
        assert store.fold(LOG, EVER, FOLDED, gathered) == 1
        assert (folded(store), counted(store)) == (["a"], 1)
        assert store.recent("calls:b") == [(1.0, "b")]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_a_change_that_raises_leaves_rows_and_page(self, store: LogStore, error: type[BaseException]) -> None:
        added(store, (1.0, "a"))
        store.fold(LOG, EVER, FOLDED, gathered)
        added(store, (2.0, "b"), (3.0, "c"))
        with pytest.raises(error, match="no"):
            store.fold(LOG, EVER, FOLDED, lambda *_: (_ for _ in ()).throw(error("no")))
        assert (folded(store), texts(store)) == (["a"], ["c", "b"])
        assert store.fold(LOG, EVER, FOLDED, gathered) == 2

    def test_a_page_may_stay_as_it_is(self, store: LogStore) -> None:
        store.update(COUNT, one_more)
        added(store, (1.0, "a"))
        assert store.fold(LOG, EVER, COUNT, lambda page, _: page or 0) == 1
        assert (counted(store), texts(store)) == (1, [])

    def test_racing_threads_fold_each_row_once(self, store: LogStore) -> None:
        crowd = [threading.Thread(target=append_and_fold, args=(store, str(number), 100)) for number in range(4)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        assert sorted(folded(store) + texts(store)) == sorted(f"{a}.{b}" for a in range(4) for b in range(100))
        assert folded(store)


def numbered(number: int, _: object) -> tuple[str, float, str]:
    return LOG, float(number), f"row {number}"


class TestUpdateAndAppend:
    def test_page_and_row_come_together(self, store: LogStore) -> None:
        """The row is made of the answer; where it makes none, only the page is changed."""
        for number in range(3):
            answer = store.update_and_append(COUNT, one_more, partial(numbered, number))
            assert answer == number + 1
        assert store.update_and_append(COUNT, one_more, lambda _: None) == 4
        assert store.recent(LOG) == [(2.0, "row 2"), (1.0, "row 1"), (0.0, "row 0")]
        assert counted(store) == 4

    def test_a_change_that_raises_leaves_both(self, store: LogStore) -> None:
        """Neither the page nor the log is touched."""
        store.update_and_append(COUNT, one_more, lambda _: (LOG, 1.0, "first"))
        with pytest.raises(ZeroDivisionError):
            store.update_and_append(COUNT, lambda _: (5, 1 // 0), lambda _: (LOG, 2.0, "second"))
        assert (counted(store), texts(store)) == (1, ["first"])

    def test_it_goes_on_in_memory(self, make: Callable[..., SqliteStore], path: Path) -> None:
        """A file that cannot be used is no reason to lose either."""
        path.mkdir()
        store = make(warn=lambda _: None)
        assert store.update_and_append(COUNT, one_more, lambda _: (LOG, 1.0, "kept")) == 1
        assert store.recent(LOG) == [(1.0, "kept")]
        assert counted(store) == 1


class TestMemory:
    """What memory keeps, and for how long."""

    @pytest.mark.parametrize("new", [MemoryStore, lambda: SqliteStore(":memory:")])
    def test_of_each_log_the_last_thousand_are_kept(self, new: Callable[[], LogStore]) -> None:
        store = new()
        store.append("calls:b", 1.0, "b")
        added(store, *[(float(number), str(number)) for number in range(1100)])
        assert texts(store) == [str(number) for number in range(1099, 99, -1)]
        store.fold(LOG, EVER, FOLDED, gathered, most=1)
        added(store, *[(0.0, "again")] * 2)
        assert (len(texts(store)), texts(store)[-1]) == (1000, "102")
        assert store.recent("calls:b") == [(1.0, "b")]

    @pytest.mark.parametrize("clone", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy, copy.copy])
    @pytest.mark.parametrize("new", [MemoryStore, lambda: SqliteStore(":memory:")])
    def test_a_clone_has_its_log(self, new: Callable[[], LogStore], clone: Any) -> None:
        store = new()
        added(store, *[(1.0, "a")] * 1000)
        other = clone(store)
        added(other, (2.0, "b"))
        assert (len(texts(other)), texts(other)[0]) == (1000, "b")

    def test_a_copy_goes_its_own_way(self) -> None:
        store = MemoryStore()
        added(store, (1.0, "a"))
        other = copy.copy(store)
        added(other, (2.0, "b"))
        assert (texts(store), texts(other)) == (["a"], ["b", "a"])

    def test_a_pickle_of_before_there_were_logs(self) -> None:
        store = MemoryStore.__new__(MemoryStore)
        store.__setstate__({"pages": {"count": 3}})
        assert (counted(store), texts(store)) == (3, [])


class TestFile:
    """What a file keeps, and what it costs."""

    def test_rows_survive_the_store(self, make: Callable[..., SqliteStore]) -> None:
        first = make()
        added(first, (1.0, "a"), (2.0, "b"))
        first.close()
        other = make()
        assert other.recent(LOG) == [(2.0, "b"), (1.0, "a")]
        assert other.fold(LOG, EVER, FOLDED, gathered) == 2
        assert (folded(first), texts(first)) == (["a", "b"], [])

    def test_more_than_a_thousand_are_kept(self, make: Callable[..., SqliteStore]) -> None:
        store = make()
        added(store, *[(1.0, str(number)) for number in range(1100)])
        assert len(texts(store)) == 1100

    def test_a_fold_of_nothing_writes_nothing(self, make: Callable[..., SqliteStore]) -> None:
        store = make()
        added(store, (5.0, "a"))
        store.fold(LOG, 5.0, FOLDED, refuse)
        assert store_helpers.file_of(store)._connection.total_changes == 1

    def test_every_statement_finds_its_rows_by_an_index(self, make: Callable[..., SqliteStore]) -> None:
        """So that a log of 100,000 rows costs what an empty one does."""
        store = make()
        ran: list[str] = []
        store.update(COUNT, one_more)
        database = store_helpers.file_of(store)._connection
        database.set_trace_callback(ran.append)
        added(store, (1.0, "a"), (2.0, "b"))
        store.recent(LOG)
        store.fold(LOG, 2.0, FOLDED, gathered)
        database.set_trace_callback(None)
        ours = [sql for sql in ran if "history" in sql]
        plans = {sql: [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in ours}
        assert [plan for sql, plan in plans.items() if sql.startswith("INSERT")] == [[], []]
        assert [plan for sql, plan in plans.items() if not sql.startswith("INSERT")] == [
            ["SEARCH history USING INDEX history_by_number (log=?)"],
            ["SEARCH history USING INDEX history_by_time (log=? AND at<?)"],
            ["SEARCH history USING INTEGER PRIMARY KEY (rowid=?)"],
        ]

    def test_a_file_of_the_first_schema_is_migrated_in_place(
        self, path: Path, make: Callable[..., SqliteStore]
    ) -> None:
        write(path, SCHEMA_1)
        file = path.stat().st_ino
        store = make()
        assert store.update(COUNT, one_more) == 42
        added(store, (1.0, "a"))
        assert make().fold(LOG, EVER, FOLDED, gathered) == 1
        assert [
            tuple(store_helpers.file_of(store).execute(sql).fetchone())
            for sql in ("PRAGMA user_version", "PRAGMA quick_check")
        ] == [
            (SCHEMA,),
            ("ok",),
        ]
        assert store_helpers.file_of(store).execute("SELECT key, text FROM set_aside").fetchall() == [
            ("account:a", "unread")
        ]
        assert path.stat().st_ino == file
        assert SCHEMA == 2

    def test_what_a_newer_version_migrated_meanwhile_is_not_called_older(
        self, path: Path, make: Callable[..., SqliteStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The schema is read again under the lock, and only ever counted up."""
        write(path, SCHEMA_1)
        migrate = connection.Connection._migrate

        def late(self: connection.Connection, patience: float) -> None:
            write(path, "PRAGMA user_version = 99")
            migrate(self, patience)

        monkeypatch.setattr(connection.Connection, "_migrate", late)
        assert make().update(COUNT, one_more) == 42
        with sqlite3.connect(path) as other:
            assert other.execute("PRAGMA user_version").fetchone() == (99,)
        other.close()

    def test_a_migration_that_fails_leaves_the_file(self, path: Path, make: Callable[..., SqliteStore]) -> None:
        write(path, f"{SCHEMA_1}; CREATE TABLE history_by_time (in_the_way)")
        said: list[str] = []
        store = make(warn=said.append)
        added(store, (1.0, "a"))
        assert texts(store) == ["a"]
        assert len(said) == 1
        with sqlite3.connect(path) as other:
            assert other.execute("PRAGMA user_version").fetchone() == (1,)
            assert other.execute("SELECT count(*) FROM sqlite_master WHERE name = 'history'").fetchone() == (0,)
        other.close()


@needs_fork
class TestProcesses:
    """The same log in several processes."""

    def test_racing_processes_fold_each_row_once(self, path: Path) -> None:
        found = in_other_process("folding", path)
        rows = sorted(f"{worker}.{number}" for worker in range(WORKERS) for number in range(EACH))
        assert sorted(found["folded"] + found["left"]) == rows
        assert found["folded"]
        assert found["left"]

    def test_both_sides_of_a_fork_go_on(self, path: Path) -> None:
        found = in_other_process("folding_after_a_fork", path)
        rows = [f"{side}.{number}" for side in ("child", "parent") for number in range(EACH)]
        assert sorted(found["folded"] + found["left"]) == sorted(["before", *rows])


class TestTrouble:
    """A log whose file cannot be used breaks no call, and is told of once."""

    @pytest.mark.parametrize("first", ["append", "recent", "fold"])
    def test_each_is_kept_in_memory(self, path: Path, make: Callable[..., SqliteStore], first: str) -> None:
        path.mkdir()
        said: list[str] = []
        store = make(warn=said.append)
        firsts: dict[str, Callable[[], object]] = {
            "append": lambda: store.append("calls:b", 1.0, "b"),
            "recent": lambda: store.recent(LOG),
            "fold": lambda: store.fold(LOG, EVER, FOLDED, refuse),
        }
        firsts[first]()
        assert len(said) == 1
        added(store, (1.0, "a"), (2.0, "b"))
        assert store.fold(LOG, 2.0, FOLDED, gathered) == 1
        assert (folded(store), texts(store)) == (["a"], ["b"])
        assert len(said) == 1
        assert "memory" in said[0]

    def test_the_warning_is_logged_where_nobody_takes_it(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, LOGGER)
        path.mkdir()
        added(SqliteStore(path), (1.0, "a"), (2.0, "b"))
        assert [str(path) in record.getMessage() for record in caplog.records] == [True]

    def test_a_lock_that_passes(self, path: Path, make: Callable[..., SqliteStore]) -> None:
        """Memory begins with the page last seen and with no rows; its rows come back into the file, as rows."""
        said: list[str] = []
        store = make(warn=said.append, patience=0.0, monotonic=(clock := Clock()))
        added(store, (1.0, "a"))
        store.fold(LOG, EVER, FOLDED, gathered)
        added(store, (2.0, "b"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        added(store, (3.0, "c"))
        assert texts(store) == ["c"]
        assert store.fold(LOG, EVER, FOLDED, gathered) == 1
        assert (folded(store), texts(store)) == (["a", "c"], [])
        other.execute("ROLLBACK")
        other.close()
        assert texts(store) == []
        clock.now = 31.0
        assert (folded(store), texts(store)) == (["a"], ["c", "b"])
        assert ["locked" in warning for warning in said] == [True]

    def test_a_full_disk_takes_back_a_fold(self, make: Callable[..., SqliteStore]) -> None:
        said: list[str] = []
        store = make(warn=said.append, monotonic=(clock := Clock()))
        added(store, (1.0, "a"))
        store_helpers.file_of(store).execute("PRAGMA max_page_count = 1")  # not one more than there are
        assert store.fold(LOG, EVER, FOLDED, lambda _, rows: rows * 100_000) == 0
        assert ["full" in warning for warning in said] == [True]
        clock.now = 31.0
        assert (folded(store), texts(store)) == ([], ["a"])

    def test_what_was_not_committed_was_not_seen(
        self, make: Callable[..., SqliteStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Memory begins with the page of the last commit, not with that of a commit that failed."""
        said: list[str] = []
        store = make(warn=said.append)
        added(store, (1.0, "a"), (2.0, "b"))
        store.fold(LOG, 2.0, FOLDED, gathered)
        store.update(COUNT, one_more)
        execute = connection.Connection.execute

        def failing(self: connection.Connection, sql: str, *values: object, patience: float = 0.0) -> sqlite3.Cursor:
            if sql == "COMMIT":
                raise sqlite3.OperationalError("disk I/O error")
            return execute(self, sql, *values, patience=patience)

        with monkeypatch.context() as patched:
            patched.setattr(connection.Connection, "execute", failing)
            assert store.fold(LOG, EVER, FOLDED, gathered) == 0
        assert (folded(store), store.update(COUNT, one_more)) == (["a"], 2)
        assert ["disk I/O error" in warning for warning in said] == [True]
        assert (folded(make()), texts(make())) == (["a"], ["b"])

    @pytest.mark.parametrize("what", ["append", "recent", "fold"])
    def test_a_damaged_file_is_moved_aside(self, path: Path, make: Callable[..., SqliteStore], what: str) -> None:
        path.write_bytes(b"this is no database. " * 500)
        said: list[str] = []
        store = make(warn=said.append)
        does: dict[str, Callable[[], object]] = {
            "append": lambda: store.append("calls:b", 1.0, "b"),
            "recent": lambda: store.recent(LOG),
            "fold": lambda: store.fold(LOG, EVER, FOLDED, refuse),
        }
        does[what]()
        added(store, (1.0, "a"))
        assert len(list(path.parent.glob("state.sqlite3.corrupt-*Z"))) == 1
        assert texts(make()) == ["a"]  # the new file is in use, not memory
        assert len(said) == 1

    def test_a_page_that_cannot_be_read_is_begun_anew(self, path: Path, make: Callable[..., SqliteStore]) -> None:
        said: list[str] = []
        store = make(warn=said.append)
        added(store, (1.0, "a"))
        write(path, "INSERT INTO pages VALUES ('folded', 'garbage')")
        assert store.fold(LOG, EVER, FOLDED, gathered) == 1
        assert folded(store) == ["a"]
        assert store_helpers.file_of(store).execute("SELECT key, text FROM set_aside").fetchall() == [
            ("folded", "garbage")
        ]
        assert len(said) == 1


def test_a_store_of_ones_own_needs_no_log() -> None:
    store = OnlyPages()
    assert isinstance(store, StateStore)
    assert not isinstance(store, HistoryLog)
    assert store_of(store) is store
