"""Pages and logs in one SQLite file: shared by the threads and processes of a machine, still there after a restart.

Owns what happens when the file cannot be used, and when a process forks. Knows no rule and reads no page: a
text goes to the page's own codec. What is in the file is `connection.py`'s, where it lies `files.py`'s.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakSet

from langchain_openrouter_free.homes import absolute
from langchain_openrouter_free.stores import files
from langchain_openrouter_free.stores.base import Answer, Change, Fold, Page, PageRef, Row
from langchain_openrouter_free.stores.connection import BUSY, SCHEMA, Connection, code
from langchain_openrouter_free.stores.files import default_path
from langchain_openrouter_free.stores.sheltered import RETRY_AFTER, Sheltered, Unusable, read

__all__ = ["MEMORY", "SCHEMA", "SqliteStore", "default_path"]

MEMORY = ":memory:"
PATIENCE = 5.0

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TROUBLES = dict.fromkeys(BUSY, "locked") | dict.fromkeys(_DAMAGED, "damaged")
_TROUBLES |= {
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_CANTOPEN: "not to be opened",
}
# While the file is given up, a new try must not hold a call up as long as the first did, in seconds.
_RETRY_PATIENCE = 0.2
# How often one update begins again because its file was damaged or moved.
_TRIES = 4

# Pages by their keys, each with the text that the file has for it.
_Pages: TypeAlias = dict[str, tuple[str, Any]]
# What is done in one transaction: the answer, and the pages as they are once it is committed.
_Work: TypeAlias = Callable[[Connection], tuple[Answer, _Pages]]

# Held while a file is made and opened: closing any descriptor of a file drops this process's POSIX locks on it.
_guard = threading.RLock()
_stores: WeakSet[SqliteStore] = WeakSet()
_forking: list[SqliteStore] = []  # held still while this process forks


class SqliteStore(Sheltered):
    """Keep pages and logs in a SQLite file, for all threads and processes of one machine.

    One connection for each store and process is opened at the first use and kept. Whatever is done is one
    transaction: those of a process wait for each other on a lock of its own, those of several on the file's.

    The file never breaks a call. Where it cannot be used (locked for longer than `patience`, read-only, full,
    in a place that cannot be written, of a newer version or with a page of one, not ours), a warning is given, once
    for each kind of trouble and store, and the pages are kept in memory, beginning with those last seen in the file;
    logs begin empty there, and keep their last 1000 rows. After `retry_after` the file is tried again; see
    `Sheltered` for what comes back into it. A damaged file is moved to `<name>.corrupt-<UTC time>` and a new one
    begun. A single page that cannot be read is begun anew and its text kept in the table `set_aside`: of each the
    first megabyte, and of all the newest 16. After either, a page whose owner says how to join pages begins with what
    this process last saw of it. A file that is deleted or replaced while in use is noticed at the next update, which
    goes to the new one.

    In the file a log has no end but that of the disk: somebody has to fold it.

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
        """Name the file; it is neither made nor opened before the first use.

        Args:
            path: the file, made with mode 0600 (and its folder with 0700) where missing; None for
                `default_path()`; `":memory:"` for pages that are this object's only.
            warn: gets each warning; None for the logger `langchain_openrouter_free`.
            patience: how long an update waits for the file's lock, in seconds.
            retry_after: how long the file is left alone after trouble, in seconds.
            monotonic: the clock, in seconds, that `retry_after` is measured by.

        Raises:
            ConfigurationError: if the home that a path begins with, or the user's own, is not known.
        """
        self.path = None if path == MEMORY else absolute(default_path() if path is None else path, "state")
        super().__init__(warn=warn, retry_after=retry_after, monotonic=monotonic)
        self._patience = patience
        self._place = str(self.path)
        self._file: Connection | None = None
        self._seen: _Pages = {}
        # Pages of a file that was damaged, as far as the new one does not have them yet.
        self._saved: set[str] = set()
        # Whether a transaction is begun already for the next update; only ever true while `_lock` is held.
        self._seized = False
        if self.path is None:
            self.blocking, self._back_at = False, math.inf
        with _guard:
            _stores.add(self)

    def seize(self) -> bool:
        """Begin a transaction for this thread's next update, if the file is open and nobody is in the way."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            file = self._file
            is_open = file is not None and self._back_at is None and file.identity == files.identity(self._place)
            if file is not None and is_open and file.is_prompt:
                # Whatever stands in the way, who may wait meets it again, and knows what to do.
                with contextlib.suppress(sqlite3.Error):
                    file.begin()
                    self._seized = True
        except BaseException:
            # Ctrl-C, maybe between the transaction's begin and the note of it: nobody else would end it.
            self._seized = True
            self.release()
            raise
        if not self._seized:
            self._lock.release()
        return self._seized

    def release(self) -> None:
        """End what `seize` began, where no update has."""
        if self._seized and self._file is not None:
            self._file.rollback()
        self._seized = False
        self._lock.release()

    def _update(
        self, ref: PageRef[Page], change: Change[Page, Answer], row: Callable[[Answer], Row | None] | None = None
    ) -> Answer:
        return self._in_file(partial(self._change, ref, change, row))

    def _append(self, log: str, at: float, text: str) -> None:
        def work(file: Connection) -> tuple[None, _Pages]:
            file.append(log, at, text)
            return None, {}

        self._in_file(work)

    def _recent(self, log: str, limit: int) -> list[tuple[float, str]]:
        return self._in_file(lambda file: (file.recent(log, limit), {}))

    def _fold(self, log: str, before: float, ref: PageRef[Page], change: Fold[Page], most: int) -> int:
        def work(file: Connection) -> tuple[int, _Pages]:
            texts = file.take(log, before, most)
            if not texts:
                return 0, {}
            return self._change(ref, lambda page: (change(page, texts), len(texts)), None, file)

        return self._in_file(work)

    @property
    def degraded(self) -> bool:
        """Whether the file is given up for now, so that other processes don't see what is kept."""
        return self.path is not None and super().degraded

    def begin_anew(self) -> str | None:
        """Move the file aside, so that the next update begins a new one; return its new name, None if there was none.

        Raises:
            OSError: it cannot be moved.
        """
        if self.path is None:
            return None
        with self._lock:
            self.close()
            self._seen, self._saved = {}, set()
            kept_as = files.move_aside(self.path, files.identity(self.path), "reset")
            if kept_as is not None:
                self._forget_outage()
            return kept_as

    def _let_go(self) -> None:
        file, self._file, self._seized = self._file, None, False
        if file is not None:
            file.close()

    def _last_seen(self, key: str) -> Any:
        return self._seen[key][1] if key in self._seen else None

    @property
    def _name(self) -> str:
        return f"The state file {self.path}"

    # -- in the file

    def _in_file(self, work: _Work[Answer]) -> Answer:
        patience = self._patience if self._back_at is None else min(self._patience, _RETRY_PATIENCE)
        failed: sqlite3.Error | UnicodeDecodeError | None = None
        for _ in range(_TRIES):
            before = files.identity(self._place)
            try:
                return self._transact(self._usable_file(before, patience), work, patience)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                failed = error
                self.close()
            # Another process may have moved it meanwhile: then there is, or will be, a new one to be used.
            if files.identity(self._place) != before:
                continue
            if code(failed) not in _DAMAGED:
                break
            self._move_aside(before, failed)
        assert failed is not None  # noqa: S101 - or it had returned
        raise Unusable(_TROUBLES.get(code(failed), "out of order"), f"cannot be used: {failed}") from failed

    def _transact(self, file: Connection, work: _Work[Answer], patience: float) -> Answer:
        begun, self._seized = self._seized, False
        try:
            if not begun:
                file.begin(patience)
            answer, pages = work(file)
            file.commit(patience)
        except BaseException:
            file.rollback()
            raise
        self._seen |= pages
        self._saved -= pages.keys()
        if not begun:
            file.checkpoint()
        return answer

    def _change(
        self,
        ref: PageRef[Page],
        change: Change[Page, Answer],
        row: Callable[[Answer], Row | None] | None,
        file: Connection,
    ) -> tuple[Answer, _Pages]:
        """Change a page, and add the row that the answer makes."""
        there = file.read(ref.key)
        known: tuple[str | None, Page | None] | None = self._seen.get(ref.key)
        if known is None or known[0] != there:
            known = self._decoded(file, ref, there)
        text, page = known
        new, answer = change(page)
        written = text if text is not None and new is page else ref.encode(new)
        if written != text:
            file.write(ref.key, written, is_new=there is None)
        made = None if row is None else row(answer)
        if made is not None:
            file.append(*made)
        return answer, {ref.key: (written, new)}

    def _decoded(
        self, file: Connection, ref: PageRef[Page], text: str | bytes | None
    ) -> tuple[str | None, Page | None]:
        """Return what a page's text says; one that cannot be read is set aside."""
        # Whoever knows what was counted in a page that is lost goes on from there.
        last: Page | None = None if ref.merge is None else self._last_seen(ref.key)
        if text is None:
            return None, last if ref.key in self._saved else None
        if isinstance(text, str) and (page := read(ref, text)) is not None:
            return text, page
        file.set_aside(ref.key, text)
        what = f"has a page that cannot be read ({ref.key})"
        self._warn_once("page", f"{what}: it is begun anew, and its text is kept in the table set_aside.")
        return None, last

    @property
    def _path(self) -> Path:
        assert self.path is not None  # noqa: S101 - without a path the file is never tried
        return self.path

    def _usable_file(self, present: files.Identity | None, patience: float) -> Connection:
        if self._file is not None and self._file.identity != present:
            self.close()
        if self._file is None:
            with _guard:
                self._file = self._open(patience)
        return self._file

    def _open(self, patience: float) -> Connection:
        try:
            files.make(self._path)
            network = self._on_network()
            return Connection(self._path, wal=not network, patience=patience)
        except UnicodeDecodeError:
            raise  # of what SQLite says, no path
        except (OSError, ValueError) as error:
            raise Unusable("not to be opened", f"cannot be made or opened: {error}") from error

    def _on_network(self) -> bool:
        kind = files.network(self._path)
        if kind:
            what = f"is on a network file system ({kind}), whose locks are slow and not always kept"
            self._warn_once("network", f"{what}: a path on a local disk is better.")
        return kind is not None

    def _move_aside(self, damaged: files.Identity | None, error: Exception) -> None:
        try:
            target = files.move_aside(self._path, damaged)
        except OSError as refused:
            raise Unusable("damaged", f"is damaged ({error}) and cannot be moved aside: {refused}") from refused
        if target is not None:
            self._saved = set(self._seen)
            self._warn_once("corrupt", f"is damaged ({error}): it was moved to {target}, and a new one is begun.")

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
    # The stores' own locks are made anew by `forks`.
    _forking.clear()


@atexit.register
def _close_all() -> None:
    for store in tuple(_stores):
        store.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
