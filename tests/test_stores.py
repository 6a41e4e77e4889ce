"""The stores: one contract for all of them, and what a file adds: processes, restarts, rights and trouble."""

from __future__ import annotations

import copy
import gc
import json
import logging
import math
import os
import pickle
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import store_helpers
from store_helpers import COUNT, LOGGER, Clock, counted, in_other_process, one_more, race

from langchain_openrouter_free.books import pages
from langchain_openrouter_free.books.breaker import Cooldown
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.purse import Purse, Reservation
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.stores import (
    HistoryLog,
    MemoryStore,
    PageRef,
    StateStore,
    connection,
    files,
    is_store,
    keeps_log,
    sqlite,
)
from langchain_openrouter_free.stores.base import LONGEST_ASIDE, Answer, Change, Page
from langchain_openrouter_free.stores.connection import MOST_ASIDE
from langchain_openrouter_free.stores.files import network_type
from langchain_openrouter_free.stores.redis import RedisStore
from langchain_openrouter_free.stores.sqlite import SqliteStore

OTHER: PageRef[int] = PageRef("other", str, int)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
needs_rights = pytest.mark.skipif(os.name != "posix", reason="this system has other rights")


class TwiceStore(MemoryStore):
    """A store that loses every race once: each change is run twice."""

    def update(self, ref: PageRef[Page], change: Change[Page, Answer]) -> Answer:
        def twice(page: Page | None) -> tuple[Page, Answer]:
            change(page)
            return change(page)

        return super().update(ref, twice)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite3"


@pytest.fixture
def make(path: Path) -> Iterator[Callable[..., SqliteStore]]:
    """A maker of stores on one file."""
    made: list[SqliteStore] = []

    def store(**arguments: Any) -> SqliteStore:
        made.append(SqliteStore(path, **arguments))
        return made[-1]

    yield store
    for one in made:
        one.close()


@pytest.fixture(params=["memory", "file", ":memory:", "twice", "redis"])
def store(request: pytest.FixtureRequest, make: Callable[..., SqliteStore]) -> StateStore:
    makers: dict[str, Callable[[], StateStore]] = {
        "redis": lambda: RedisStore(request.getfixturevalue("shared").url, warn=store_helpers.fail),
        "memory": MemoryStore,
        "file": make,
        ":memory:": lambda: SqliteStore(":memory:"),
        "twice": TwiceStore,
    }
    return makers[request.param]()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


class TestContract:
    """What every store promises."""

    def test_it_is_a_store(self, store: StateStore) -> None:
        assert isinstance(store, StateStore)
        assert is_store(store)
        assert keeps_log(store) == isinstance(store, HistoryLog)
        waits = isinstance(store, RedisStore) or (isinstance(store, SqliteStore) and store.path is not None)
        assert store.blocking is waits

    def test_a_page_that_is_not_there_is_none(self, store: StateStore) -> None:
        assert store.update(COUNT, lambda page: (7, page)) is None

    def test_a_page_comes_back_as_it_was_left(self, store: StateStore) -> None:
        ledger = Ledger(cooldowns={"test/a:free": Cooldown(12.5, Kind.UPSTREAM_LIMIT, 3)}, unsaid=("test/a:free", 1.0))
        purse = Purse(day="2026-11-22", month="2026-11", spent_total=5, reservations={"r": Reservation(7, 9.5)})
        refs: list[tuple[PageRef[Any], Any]] = [
            (PageRef("account:a", pages.encode, pages.decode), ledger),
            (PageRef("project:p", Purse.encode, Purse.decode), purse),
        ]
        for ref, page in refs:
            store.update(ref, store_helpers.becoming(page))
        for ref, page in refs:
            assert store.update(ref, lambda found: (found, found)) == page

    def test_keys_do_not_mix(self, store: StateStore) -> None:
        store.update(COUNT, lambda _: (1, None))
        store.update(OTHER, lambda page: (2, page))
        assert (counted(store), counted(store, OTHER)) == (1, 2)

    def test_a_change_that_raises_leaves_the_page(self, store: StateStore) -> None:
        store.update(COUNT, one_more)
        for error in (ValueError, KeyboardInterrupt):
            with pytest.raises(error, match="no"):
                store.update(COUNT, store_helpers.raising(error))
        assert store.update(COUNT, one_more) == 2

    def test_the_answer_is_of_the_run_that_was_kept(self, store: StateStore) -> None:
        runs = iter(range(10, 20))
        answer = store.update(COUNT, lambda _: ((run := next(runs)), run))
        assert counted(store) == answer

    def test_racing_threads_all_count(self, store: StateStore) -> None:
        assert race(lambda _: store, 4, 100) == list(range(1, 401))


class TestFile:
    """What a file keeps, and for whom."""

    def test_pages_survive_the_store(self, make: Callable[..., SqliteStore]) -> None:
        first = make()
        assert [first.update(COUNT, one_more) for _ in range(3)] == [1, 2, 3]
        first.close()
        assert make().update(COUNT, one_more) == 4
        assert first.update(COUNT, one_more) == 5  # a closed one opens again

    def test_two_stores_on_one_file_work_together(self, make: Callable[..., SqliteStore]) -> None:
        stores = [make(warn=store_helpers.fail) for _ in range(2)]
        assert race(lambda number: stores[number % 2], 4, 100) == list(range(1, 401))

    def test_what_another_wrote_is_read_anew(self, make: Callable[..., SqliteStore]) -> None:
        one, two = make(), make()
        assert [store.update(COUNT, one_more) for store in (one, two, two, one, two)] == [1, 2, 3, 4, 5]

    def test_nothing_is_made_before_the_first_update(self, path: Path, make: Callable[..., SqliteStore]) -> None:
        make()
        assert not path.exists()

    def test_a_page_that_stays_is_not_written(self, make: Callable[..., SqliteStore]) -> None:
        encoded: list[int] = []
        store, ref = make(), store_helpers.noted(encoded)
        for page in (70_000, 70_000, None, None):
            store.update(ref, store_helpers.left if page is None else store_helpers.becoming(int(str(page))))
        assert encoded == [70_000, 70_000]
        assert store_helpers.file_of(store)._connection.total_changes == 1

    def test_pages_in_memory_are_this_objects_only(self) -> None:
        one, two = SqliteStore(":memory:"), SqliteStore(":memory:")
        assert (one.update(COUNT, one_more), two.update(COUNT, one_more)) == (1, 1)

    @pytest.mark.parametrize("clone", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy])
    def test_a_pickle_is_the_path(self, clone: Any, path: Path, make: Callable[..., SqliteStore]) -> None:
        store = make(patience=1.5)
        store.update(COUNT, one_more)
        other = clone(store)
        assert (other.path, other._patience) == (path, 1.5)
        assert [other.update(COUNT, one_more), store.update(COUNT, one_more)] == [2, 3]
        other.close()

    def test_a_pickle_of_memory_has_its_pages(self) -> None:
        store = SqliteStore(":memory:")
        store.update(COUNT, one_more)
        assert pickle.loads(pickle.dumps(store)).update(COUNT, one_more) == 2

    def test_a_store_that_is_dropped_closes(self, path: Path) -> None:
        store = SqliteStore(path)
        store.update(COUNT, one_more)
        connection = store_helpers.file_of(store)._connection
        del store
        gc.collect()
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
        assert not Path(f"{path}-wal").exists()

    def test_a_file_that_is_deleted_is_made_anew(self, path: Path, make: Callable[..., SqliteStore]) -> None:
        one, two = make(warn=store_helpers.fail), make(warn=store_helpers.fail)
        assert [one.update(COUNT, one_more), two.update(COUNT, one_more)] == [1, 2]
        path.unlink()
        assert [store.update(COUNT, one_more) for store in (one, two, one, two)] == [1, 2, 3, 4]
        assert counted(make()) == 4

    def test_the_default_is_in_the_users_state_directory(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        platformdirs = pytest.importorskip("platformdirs")
        monkeypatch.setattr(platformdirs, "user_state_path", path.parent.joinpath)
        assert sqlite.default_path() == path.parent / "langchain-openrouter-free" / "state.sqlite3"
        store = SqliteStore()
        store.update(COUNT, one_more)
        store.close()
        assert counted(SqliteStore(sqlite.default_path())) == 1

    def test_an_older_schema_is_migrated(
        self, monkeypatch: pytest.MonkeyPatch, make: Callable[..., SqliteStore]
    ) -> None:
        old = make()
        old.update(COUNT, one_more)
        old.close()
        newer = (*connection._MIGRATIONS, ("UPDATE pages SET text = text + 10", "CREATE TABLE more (x)"))
        monkeypatch.setattr(connection, "_MIGRATIONS", newer)
        monkeypatch.setattr(connection, "SCHEMA", len(newer))
        assert [make(warn=store_helpers.fail).update(COUNT, one_more) for _ in range(2)] == [12, 13]


@needs_fork
class TestProcesses:
    """The same file in several processes."""

    def test_racing_processes_all_count(self, path: Path) -> None:
        assert sorted(in_other_process("counting", path)) == list(range(1, 1001))

    def test_a_damaged_file_is_moved_by_one_of_them(self, path: Path) -> None:
        path.write_bytes(b"no database " * 1000)
        assert sorted(in_other_process("counting", path)) == list(range(1, 1001))
        assert len(list(path.parent.glob("*.corrupt-*"))) == 1

    def test_killed_processes_lose_and_double_nothing(self, path: Path) -> None:
        found = in_other_process("granting", path)
        assert found["grants"] == list(range(1, 1001))
        assert len(set(found["told"])) == len(found["told"])
        # Each kill can silence one grant between its commit and its being told.
        assert 1000 - found["kills"] <= len(found["told"]) <= 1000
        assert found["kills"] >= 5

    def test_a_child_opens_its_own(self, path: Path) -> None:
        assert in_other_process("forking", path) == 202

    def test_a_fork_waits_for_a_running_update(self, path: Path) -> None:
        assert in_other_process("forking_in_a_crowd", path) == 400


@needs_rights
class TestRights:
    """The file is the user's alone."""

    @pytest.fixture(autouse=True)
    def lax(self) -> Iterator[None]:
        before = os.umask(0)
        yield
        os.umask(before)

    def test_what_we_make_is_the_users_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "state.sqlite3"
        store = SqliteStore(path)
        store.update(COUNT, one_more)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        made = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert made == dict.fromkeys(["state.sqlite3", "state.sqlite3-wal", "state.sqlite3-shm"], 0o600)
        store.close()

    def test_a_folder_that_is_there_stays_as_it_is(self, path: Path, make: Callable[..., SqliteStore]) -> None:
        path.parent.chmod(0o755)
        make().update(COUNT, one_more)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


class TestTrouble:
    """A file that cannot be used breaks no call, and is told of once."""

    @pytest.fixture(autouse=True)
    def heard(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, LOGGER)

    def in_memory(self, store: SqliteStore, caplog: pytest.LogCaptureFixture, *words: str, first: int = 1) -> None:
        """Two updates work and count on from `first`, with one warning that has these words."""
        assert [store.update(COUNT, one_more) for _ in range(2)] == [first, first + 1]
        (warning,) = warnings_of(caplog)
        assert store._file is None
        for word in (str(store.path), "memory", *words):
            assert word in warning

    def test_no_place_for_it(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "file").touch()
        self.in_memory(SqliteStore(tmp_path / "file" / "state.sqlite3"), caplog, "cannot be made or opened")

    def test_a_folder_in_its_place(self, path: Path, caplog: pytest.LogCaptureFixture, make: Any) -> None:
        path.mkdir()
        self.in_memory(make(), caplog, "unable to open")

    def test_an_impossible_name(self, caplog: pytest.LogCaptureFixture) -> None:
        self.in_memory(SqliteStore("state\0.sqlite3"), caplog, "null")

    def test_read_only(self, caplog: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        make().update(COUNT, one_more)
        monkeypatch.setattr(connection, "_MODE", "ro")
        self.in_memory(make(), caplog, "readonly")

    def test_a_full_disk(self, caplog: Any, make: Any) -> None:
        store = make(monotonic=(clock := Clock()))
        big: PageRef[str] = PageRef("big", str, str)
        store.update(COUNT, one_more)
        store._file.execute("PRAGMA max_page_count = 6")
        assert store.update(big, lambda _: ("x" * 100_000, "answered")) == "answered"
        self.in_memory(store, caplog, "full", first=2)
        clock.now = 31.0
        assert store.update(COUNT, one_more) == 2  # the file's count; that of memory is dropped
        assert store.update(big, lambda page: ("", page)) is None

    def test_a_newer_schema_is_left_alone(self, path: Path, caplog: Any, make: Any) -> None:
        store = make()
        store.update(COUNT, one_more)
        store.close()
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 99")
        other.close()
        before = path.read_bytes()
        self.in_memory(make(), caplog, "newer version", "99")
        assert path.read_bytes() == before

    def test_a_database_of_something_else_is_left_alone(self, path: Path, caplog: Any, make: Any) -> None:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE pages (mine)")
        other.close()
        before = path.read_bytes()
        self.in_memory(make(), caplog, "something else")
        assert path.read_bytes() == before

    def test_a_table_that_is_missing(self, path: Path, caplog: Any, make: Any) -> None:
        store = make()
        store.update(COUNT, one_more)
        with sqlite3.connect(path) as other:
            other.execute("DROP TABLE pages")
        other.close()
        self.in_memory(store, caplog, "no such table", first=2)

    def test_a_lock_that_passes(self, path: Path, caplog: Any, make: Any) -> None:
        store = make(patience=0.05, monotonic=(clock := Clock()))
        assert store.update(COUNT, one_more) == 1
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        self.in_memory(store, caplog, "locked", first=2)  # counts on from what was last seen
        for clock.now in (29.0, 31.0, 59.0):
            store.update(COUNT, one_more)  # at 31 the file is tried again
        other.execute("ROLLBACK")
        other.close()
        assert store.update(COUNT, one_more) == 7
        clock.now = 62.0
        assert store.update(COUNT, one_more) == 2  # what was counted in memory is dropped
        assert len(warnings_of(caplog)) == 1
        assert counted(make()) == 2

    def test_a_short_lock_is_waited_for(self, path: Path, make: Any) -> None:
        store = make(warn=store_helpers.fail)
        store.update(COUNT, one_more)
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")

        def let_go(count: int) -> list[int]:
            if count:
                return [store.update(COUNT, one_more)]
            time.sleep(0.05)
            other.execute("COMMIT")
            return []

        runs = race(lambda number: _Does(lambda: let_go(number)), 2, 1)
        other.close()
        assert 2 in runs

    @pytest.mark.parametrize("how", ["garbage", "truncated", "scribbled"])
    def test_a_damaged_file_is_moved_aside(self, how: str, path: Path, caplog: Any, make: Any) -> None:
        first = make()
        first.update(PageRef("big", str, str), lambda _: ("x" * 50_000, None))
        first.update(COUNT, one_more)
        first.close()
        whole = path.read_bytes()
        damaged = {
            "garbage": b"this is no database. " * 500,
            "truncated": whole[: len(whole) // 2],
            "scribbled": whole[:4096] + b"\xff" * (len(whole) - 4096),
        }[how]
        path.write_bytes(damaged)
        store = make()
        assert [store.update(COUNT, one_more) for _ in range(2)] == [1, 2]
        (aside,) = path.parent.glob("state.sqlite3.corrupt-*Z")
        assert aside.read_bytes() == damaged
        (warning,) = warnings_of(caplog)
        assert str(path) in warning
        assert str(aside) in warning
        assert counted(make()) == 2  # the new file is in use, not memory

    def test_a_file_that_is_damaged_while_in_use(self, path: Path, caplog: Any, make: Any) -> None:
        store = make()
        store.update(COUNT, one_more)
        store.close()
        path.write_bytes(b"this is no database. " * 500)
        assert [store.update(COUNT, one_more) for _ in range(2)] == [1, 2]
        assert len(warnings_of(caplog)) == 1

    def test_a_file_that_another_has_moved_is_not_moved_again(self, path: Path, make: Any) -> None:
        make().update(COUNT, one_more)
        before = files.identity(path)
        assert [files.move_aside(path, damaged) for damaged in (None, (0, 0))] == [None, None]
        assert files.identity(path) == before

    @pytest.mark.parametrize("text", ["garbage", b"\xff\xfe", "[" * 100_000, ""])
    def test_a_page_that_cannot_be_read_is_begun_anew(self, text: Any, path: Path, caplog: Any, make: Any) -> None:
        ref: PageRef[Any] = PageRef("account:a", json.dumps, json.loads)
        store = make()
        store.update(OTHER, one_more)
        for key in ("account:a", "account:b"):
            with sqlite3.connect(path) as other:
                other.execute("INSERT INTO pages VALUES (?, CAST(? AS TEXT))", (key, text))
            other.close()
        assert store.update(ref, lambda page: ([1], page)) is None
        assert store.update(ref, lambda page: (page, page)) == [1]
        assert store.update(PageRef("account:b", json.dumps, json.loads), lambda page: ([1], page)) is None
        assert counted(store, OTHER) == 1
        (warning,) = warnings_of(caplog)
        assert "account:a" in warning
        with sqlite3.connect(path) as other:
            rows = other.execute("SELECT key, text FROM set_aside").fetchall()
        other.close()
        kept = text if isinstance(text, str) else text.decode("utf-8", "replace")
        assert rows == [("account:a", kept), ("account:b", kept)]

    def test_what_is_set_aside_fills_no_disk(self, path: Path, make: Any) -> None:
        """Of each text the beginning is kept, and of all of them the newest."""
        store = make()
        store.update(OTHER, one_more)
        for number in range(MOST_ASIDE + 5):
            with sqlite3.connect(path) as other:
                text = f"{number:02}" + "x" * LONGEST_ASIDE
                other.execute("INSERT OR REPLACE INTO pages VALUES ('count', ?)", (text,))
            other.close()
            assert store.update(COUNT, one_more) == 1
        with sqlite3.connect(path) as other:
            rows = other.execute("SELECT substr(text, 1, 2), length(text) FROM set_aside ORDER BY rowid").fetchall()
        other.close()
        assert rows == [(f"{number:02}", LONGEST_ASIDE) for number in range(5, MOST_ASIDE + 5)]

    def test_warnings_can_go_elsewhere(self, path: Path, caplog: Any, make: Any) -> None:
        path.symlink_to(path)  # leads to itself
        said: list[str] = []
        store = make(warn=said.append)
        assert [store.update(COUNT, one_more) for _ in range(3)] == [1, 2, 3]
        assert len(said) == 1
        assert warnings_of(caplog) == []

    def test_a_network_file_system_has_no_wal(self, tmp_path: Path, caplog: Any, make: Any, monkeypatch: Any) -> None:
        mounts = tmp_path / "mountinfo"
        mounts.write_text(f"36 35 98:0 / {tmp_path.resolve()} rw shared:1 - nfs4 server:/x rw\n", encoding="utf-8")
        monkeypatch.setattr(files, "_MOUNTS", mounts)
        stores = [make(), make()]
        assert race(lambda number: stores[number], 2, 50) == list(range(1, 101))
        assert stores[0]._file.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert ["nfs4" in warning for warning in warnings_of(caplog)] == [True, True]  # one for each store


class _Does:
    """A store that does something else, for `race`."""

    blocking = True

    def __init__(self, do: Callable[[], list[int]]) -> None:
        self._do = do

    def update(self, ref: object, change: object) -> Any:
        return sum(self._do())


def test_the_deepest_mount_counts_and_of_two_the_later() -> None:
    mounts = r"""
1 0 8:1 / / rw - ext4 /dev/sda rw
2 1 0:1 / /net rw shared:3 master:1 - nfs server:/ rw
3 2 8:2 / /net/local rw - ext4 /dev/sdb rw
4 1 0:2 / /with\040space rw - cifs //server/share rw
5 1 8:3 / /twice rw - ext4 /dev/sdc rw
6 1 0:3 / /twice rw - fuse.sshfs host: rw
7 1 0:4 / /bucket rw - fuse.s3fs s3fs rw
nonsense
"""
    kinds = {"/x": None, "/net/a": "nfs", "/net/local/a": None, "/network": None, "/twice": "fuse.sshfs"}
    kinds |= {"/with space/a": "cifs", "/bucket": "fuse.s3fs"}
    assert {place: network_type(Path(place), mounts) for place in kinds} == kinds
    assert network_type(Path("/x"), "") is None
    assert math.isinf(SqliteStore(":memory:")._back_at or 0)
