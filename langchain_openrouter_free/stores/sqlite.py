"""Pages in one SQLite file: shared by the threads and processes of a machine, still there after a restart.

Owns the file, its schema, its locks, and what happens when it cannot be used. Knows no rule and reads no
page: a text goes to the page's own codec. It is the only module that knows sqlite3.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import random
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakSet

from langchain_openrouter_free.stores.base import Answer, Change, Page, PageRef
from langchain_openrouter_free.stores.memory import MemoryStore

if sys.platform != "win32":
    import fcntl

log = logging.getLogger("langchain_openrouter_free")

MEMORY = ":memory:"
PATIENCE = 5.0
RETRY_AFTER = 30.0

# What turns a file of schema n into one of schema n + 1; the newest schema is as many as there are.
_APPLICATION = 0x4C4F5246  # "LORF"
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE pages (key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE set_aside (key TEXT NOT NULL, text, at TEXT NOT NULL)",
        f"PRAGMA application_id = {_APPLICATION}",
    ),
)
SCHEMA = len(_MIGRATIONS)

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TROUBLES = dict.fromkeys(_BUSY, "locked") | dict.fromkeys(_DAMAGED, "damaged")
_TROUBLES |= {
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_CANTOPEN: "not to be opened",
}
# The longest pause between two tries for the lock, in seconds: at first, and after some. Shorter ones wake
# processes in vain, longer ones starve some; SQLite's own grow to 100 ms.
_SHORTEST_PAUSE = 0.000_5
_LONGEST_PAUSE = 0.004
# While the file is given up, a new try must not hold a call up as long as the first did, in seconds.
_RETRY_PATIENCE = 0.2
# How often one update begins again because its file was damaged or moved.
_TRIES = 4

_MODE = "rw"  # the file is made by us, with its rights, never by SQLite
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs", "glusterfs", "ceph", "lustre"}
_NETWORK |= {f"fuse.{kind}" for kind in ("glusterfs", "ceph")}

# Held while a file is made and opened: closing any descriptor of a file drops this process's POSIX locks on it.
_guard = threading.RLock()
_stores: WeakSet[SqliteStore] = WeakSet()
_forking: list[SqliteStore] = []  # held still while this process forks


def default_path() -> Path:
    """Return the file used where no path is given: `state.sqlite3` in the user's state directory."""
    import platformdirs  # noqa: PLC0415 - needed only here, and not by those who name a path

    return platformdirs.user_state_path("langchain-openrouter-free") / "state.sqlite3"


def network_type(path: Path, mountinfo: str) -> str | None:
    """Return the type of the network file system that `path` is on, or None if it is on none.

    Args:
        path: absolute, without symbolic links.
        mountinfo: the text of Linux' `/proc/self/mountinfo`.
    """
    deepest, kind = -1, ""
    for line in mountinfo.splitlines():
        fields, found, after = line.partition(" - ")
        columns = fields.split(" ")
        if not found or len(columns) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), columns[4]))
        # Of two mounts on one place the later one is seen.
        if path.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), after.split(" ")[0]
    return kind if kind in _NETWORK else None


class _Unusable(Exception):
    """The file cannot be used now; `kind` is for warning once, the message says what is wrong."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


class _File:
    """One open connection, and the file that it belongs to. Not for two threads at once."""

    def __init__(self, path: Path, *, wal: bool, patience: float) -> None:
        # Taken before the file is opened: one that is replaced in between is noticed at the next update.
        self.identity = _identity(path)
        self._connection = sqlite3.connect(
            f"{path.as_uri()}?mode={_MODE}", uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._connection.text_factory = _text
            self._prepare(wal=wal, patience=patience)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, *, wal: bool, patience: float) -> None:
        # Looked at before anything is written: a file that is not for us stays as it is.
        self.execute("BEGIN", patience=patience)
        version = self._value("PRAGMA user_version", patience)
        foreign = self._value("PRAGMA application_id", patience) != _APPLICATION and bool(
            self._value("SELECT count(*) FROM sqlite_master", patience)
        )
        self.execute("COMMIT", patience=patience)
        if version > SCHEMA:
            raise _Unusable("newer", f"was written by a newer version (schema {version}, known: {SCHEMA})")
        if foreign:
            raise _Unusable("foreign", "is a database of something else")
        self.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}", patience=patience)
        # With a WAL, NORMAL can lose the last commits to a power cut, but nothing to a killed process.
        self.execute(f"PRAGMA synchronous = {'NORMAL' if wal else 'FULL'}", patience=patience)
        if version < SCHEMA:
            self._migrate(patience)

    def _migrate(self, patience: float) -> None:
        self.execute("BEGIN IMMEDIATE", patience=patience)
        for statements in _MIGRATIONS[self._value("PRAGMA user_version", patience) :]:
            for statement in statements:
                self.execute(statement)
        self.execute(f"PRAGMA user_version = {SCHEMA}")
        self.execute("COMMIT", patience=patience)

    def _value(self, sql: str, patience: float) -> int:
        return int(self.execute(sql, patience=patience).fetchone()[0])

    def execute(self, sql: str, *values: object, patience: float = 0.0) -> sqlite3.Cursor:
        """Run one statement, again and again for `patience` seconds while another connection is in the way."""
        try:
            return self._connection.execute(sql, values)
        except sqlite3.OperationalError as error:
            if patience <= 0 or _code(error) not in _BUSY:
                raise
        return self._insist(sql, values, time.monotonic() + patience)

    def _insist(self, sql: str, values: tuple[object, ...], deadline: float) -> sqlite3.Cursor:
        pause = _SHORTEST_PAUSE
        while True:
            time.sleep(random.uniform(0, pause))  # noqa: S311 - only so that waiters do not march in step
            pause = min(pause * 2, _LONGEST_PAUSE)
            try:
                return self._connection.execute(sql, values)
            except sqlite3.OperationalError as error:
                if _code(error) not in _BUSY or time.monotonic() >= deadline:
                    raise

    def rollback(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def read(self, key: str) -> str | bytes | None:
        row = self._connection.execute("SELECT text FROM pages WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def write(self, key: str, text: str) -> None:
        self._connection.execute(
            "INSERT INTO pages VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET text = excluded.text", (key, text)
        )

    def set_aside(self, key: str, text: str | bytes) -> None:
        self._connection.execute("INSERT INTO set_aside VALUES (?, ?, ?)", (key, text, _stamp()))

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


class SqliteStore:
    """Keep pages in a SQLite file, for all threads and processes of one machine.

    One connection for each store and process is opened at the first update and kept. Updates of a process
    wait for each other on a lock of its own, those of several processes on the file's.

    The file never breaks a call. Where it cannot be used (locked for longer than `patience`, read-only, full,
    in a place that cannot be written, of a newer version, not ours), a warning is given, once for each kind
    of trouble and store, and the pages are kept in memory, beginning with those last seen in the file. After
    `retry_after` the file is tried again; if it can be used, what was learned in memory meanwhile is dropped,
    not merged. A damaged file is moved to `<name>.corrupt-<UTC time>` and a new one begun. A single page that
    cannot be read is begun anew and its text kept in the table `set_aside`. A file that is deleted or replaced
    while in use is noticed at the next update, which goes to the new one.

    Commits outlive the process however it ends; a power cut can take the last of them. Before a fork this
    process's connections are closed (that waits for a running update), and each side opens its own. A store
    is pickled by its path.

    Attributes:
        blocking: True, except for `":memory:"`.
        path: the file, absolute; None for `":memory:"`.
    """

    blocking = True

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        warn: Callable[[str], None] | None = None,
        patience: float = PATIENCE,
        retry_after: float = RETRY_AFTER,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the file; it is neither made nor opened before the first update.

        Args:
            path: the file, made with mode 0600 (and its folder with 0700) where missing; None for
                `default_path()`; `":memory:"` for pages that are this object's only.
            warn: gets each warning; None for the logger `langchain_openrouter_free`.
            patience: how long an update waits for the file's lock, in seconds.
            retry_after: how long the file is left alone after trouble, in seconds.
            monotonic: the clock, in seconds, that `retry_after` is measured by.
        """
        self.path = None if path == MEMORY else Path(default_path() if path is None else path).expanduser().absolute()
        self._warn, self._patience = warn, patience
        self._retry_after, self._monotonic = retry_after, monotonic
        self._lock = threading.RLock()
        self._file: _File | None = None
        self._seen: dict[str, tuple[str, Any]] = {}
        self._memory = MemoryStore()
        # When the file is tried again; None while it is in use.
        self._back_at: float | None = None
        self._warned: set[str] = set()
        if self.path is None:
            self.blocking, self._back_at = False, math.inf
        with _guard:
            _stores.add(self)

    def update(self, ref: PageRef[Page], change: Change[Page, Answer]) -> Answer:
        """Replace the page that `ref` names by what `change` makes of it, and return its answer.

        Atomic over the threads and processes that share the file. A page handed to `change` may be handed to
        it again: it must not be changed in place.
        """
        with self._lock:
            if self._back_at is None or self._monotonic() >= self._back_at:
                try:
                    answer = self._in_file(ref, change)
                except _Unusable as trouble:
                    self._give_up(trouble)
                else:
                    self._back_at = None
                    return answer
            return self._in_memory(ref, change)

    def close(self) -> None:
        """Close this process's connection; a later update opens a new one."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()

    # -- in the file

    def _in_file(self, ref: PageRef[Page], change: Change[Page, Answer]) -> Answer:
        patience = self._patience if self._back_at is None else min(self._patience, _RETRY_PATIENCE)
        failed: sqlite3.Error | None = None
        for _ in range(_TRIES):
            before = _identity(self._path)
            try:
                return self._transact(self._usable_file(patience), ref, change, patience)
            except sqlite3.Error as error:
                failed = error
                self.close()
            # Another process may have moved it meanwhile: then there is, or will be, a new one to be used.
            if _identity(self._path) != before:
                continue
            if _code(failed) not in _DAMAGED:
                break
            self._move_aside(before, failed)
        assert failed is not None  # noqa: S101 - or it had returned
        raise _Unusable(_TROUBLES.get(_code(failed), "out of order"), f"cannot be used: {failed}") from failed

    def _transact(self, file: _File, ref: PageRef[Page], change: Change[Page, Answer], patience: float) -> Answer:
        file.execute("BEGIN IMMEDIATE", patience=patience)
        try:
            known = self._read(file, ref)
            text, page = known
            new, answer = change(page)
            written = text if text is not None and new is page else ref.encode(new)
            if written != text:
                file.write(ref.key, written)
            file.execute("COMMIT", patience=patience)
        except BaseException:
            file.rollback()
            raise
        self._seen[ref.key] = (written, new)
        return answer

    def _read(self, file: _File, ref: PageRef[Page]) -> tuple[str | None, Page | None]:
        text = file.read(ref.key)
        if text is None:
            return None, None
        known = self._seen.get(ref.key)
        if known is not None and known[0] == text:
            return known
        try:
            if isinstance(text, str):
                return text, ref.decode(text)
        except (ValueError, RecursionError):
            pass
        file.set_aside(ref.key, text)
        what = f"has a page that cannot be read ({ref.key})"
        self._warn_once("page", f"{what}: it is begun anew, and its text is kept in the table set_aside.")
        return None, None

    @property
    def _path(self) -> Path:
        assert self.path is not None  # noqa: S101 - without a path the file is never tried
        return self.path

    def _usable_file(self, patience: float) -> _File:
        if self._file is not None and self._file.identity != _identity(self._path):
            self.close()
        if self._file is None:
            with _guard:
                self._file = self._open(patience)
        return self._file

    def _open(self, patience: float) -> _File:
        try:
            _make(self._path)
            network = self._network()
            return _File(self._path, wal=not network, patience=patience)
        except (OSError, ValueError) as error:
            raise _Unusable("not to be opened", f"cannot be made or opened: {error}") from error

    def _network(self) -> bool:
        try:
            kind = network_type(self._path.resolve(), _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
        except OSError:
            return False
        if kind:
            what = f"is on a network file system ({kind}), whose locks are slow and not always kept"
            self._warn_once("network", f"{what}: a path on a local disk is better.")
        return kind is not None

    def _move_aside(self, damaged: tuple[int, int] | None, error: sqlite3.Error) -> None:
        try:
            with _alone_in(self._path.parent):
                if damaged is None or _identity(self._path) != damaged:
                    return
                target = f"{self._path}.corrupt-{_stamp()}"
                # The file itself comes last: nobody begins a new one beside an old -wal.
                for end in ("-shm", "-wal", ""):
                    with contextlib.suppress(FileNotFoundError):
                        Path(f"{self._path}{end}").rename(f"{target}{end}")
        except OSError as refused:
            raise _Unusable("damaged", f"is damaged ({error}) and cannot be moved aside: {refused}") from refused
        self._warn_once("corrupt", f"is damaged ({error}): it was moved to {target}, and a new one is begun.")

    # -- without it

    def _give_up(self, trouble: _Unusable) -> None:
        self.close()
        if self._back_at is None:
            self._memory = MemoryStore()
        self._back_at = self._monotonic() + self._retry_after
        means = "the state is kept in this process's memory, unknown to others"
        again = f"the file is tried again every {self._retry_after:g} s"
        self._warn_once(trouble.kind, f"{trouble}: {means}; {again}.")

    def _in_memory(self, ref: PageRef[Page], change: Change[Page, Answer]) -> Answer:
        seen = self._seen.get(ref.key)
        if seen is None:
            return self._memory.update(ref, change)
        return self._memory.update(ref, lambda page: change(seen[1] if page is None else page))

    def _warn_once(self, kind: str, what: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            (self._warn or log.warning)(f"The state file {self.path} {what}")

    # -- other processes, other times

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            names = ("warn", "patience", "retry_after", "monotonic")
            arguments = {name: getattr(self, f"_{name}") for name in names}
            return {"path": self.path or MEMORY, **arguments, "memory": None if self.path else self._memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        memory = state.pop("memory")
        self.__init__(**state)  # type: ignore[misc]
        self._memory = memory or self._memory

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.close()


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - half as long as Path.stat, at every update
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes of this package out of `folder` while files are moved in it."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without such locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _before_fork() -> None:
    # SQLite keeps book of a process's locks in memory: a child that inherits that book, were it only with a
    # connection that it never uses, believes to hold locks that it does not hold.
    with _guard:
        stores = tuple(_stores)
    for store in stores:
        store._lock.acquire()  # noqa: SLF001 - one module
        store.close()
    _guard.acquire()
    _forking.extend(stores)


def _after_fork_in_parent() -> None:
    stores = tuple(_forking)
    _forking.clear()
    _guard.release()
    for store in stores:
        store._lock.release()  # noqa: SLF001 - one module


def _after_fork_in_child() -> None:
    global _guard  # noqa: PLW0603 - a lock that threads which are not here any more may wait for
    _guard = threading.RLock()
    for store in _forking:
        store._lock = threading.RLock()  # noqa: SLF001 - one module
    _forking.clear()


@atexit.register
def _close_all() -> None:
    for store in tuple(_stores):
        store.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
