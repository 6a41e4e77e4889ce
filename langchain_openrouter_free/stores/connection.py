"""One connection to a state file: its schema, its rows, and the waiting for its locks.

Owns every SQL statement. Knows no rule, reads no page, and does not know what is done when it fails: it raises.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from langchain_openrouter_free.stores.base import LONGEST_ASIDE
from langchain_openrouter_free.stores.files import identity, stamp
from langchain_openrouter_free.stores.sheltered import Unusable

# What turns a file of schema n into one of schema n + 1; the newest schema is as many as there are.
_APPLICATION = 0x4C4F5246  # "LORF"
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE pages (key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE set_aside (key TEXT NOT NULL, text, at TEXT NOT NULL)",
        f"PRAGMA application_id = {_APPLICATION}",
    ),
    (
        "CREATE TABLE history (number INTEGER PRIMARY KEY, log TEXT NOT NULL, at REAL NOT NULL, text TEXT NOT NULL)",
        # Each ends with the row's number, as every index does: one for the newest by insertion, one for the
        # oldest by time.
        "CREATE INDEX history_by_number ON history (log)",
        "CREATE INDEX history_by_time ON history (log, at)",
    ),
)
SCHEMA = len(_MIGRATIONS)

BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
# The longest pause between two tries for the lock, in seconds: at first, and after some. Shorter ones wake
# processes in vain, longer ones starve some; SQLite's own grow to 100 ms.
_SHORTEST_PAUSE = 0.002
_LONGEST_PAUSE = 0.01

# More texts of pages that cannot be read are not kept, the newest first.
MOST_ASIDE = 16

# After so many pages the log is emptied where that may take its time: after 1000, SQLite does it amid a commit.
_CHECKPOINT = 600
_PAGE = 4096  # bytes of one, as SQLite makes them
# A longer text has pages of its own; written anew, it takes others, and those it had are free: both are written.
_LONGEST_BESIDE, _MOVED = 1000, 3
# A row of a log, and its places in the indices.
_ROW = 4

_MODE = "rw"  # the file is made by us, with its rights, never by SQLite


class Connection:
    """One open connection, and the file that it belongs to. Not for two threads at once."""

    def __init__(self, path: Path, *, wal: bool, patience: float) -> None:
        """Open the file, and make its tables where they are missing.

        Args:
            path: absolute; the file is there, if only as an empty one.
            wal: whether it is kept with a write-ahead log.
            patience: how long each lock is waited for, in seconds.

        Raises:
            Unusable: it is not ours, or of a newer version; it stays as it is.
        """
        # Taken before the file is opened: one that is replaced in between is noticed at the next update.
        self.identity = identity(path)
        self._wal = wal
        self._written = 0  # pages, about
        self._connection = sqlite3.connect(
            f"{path.as_uri()}?mode={_MODE}", uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
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
            raise Unusable("newer", f"was written by a newer version (schema {version}, known: {SCHEMA})")
        if foreign:
            raise Unusable("foreign", "is a database of something else")
        self.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}", patience=patience)
        # With a WAL, NORMAL can lose the last commits to a power cut, but nothing to a killed process.
        self.execute(f"PRAGMA synchronous = {'NORMAL' if wal else 'FULL'}", patience=patience)
        if version < SCHEMA:
            self._migrate(patience)

    def _migrate(self, patience: float) -> None:
        self.execute("BEGIN IMMEDIATE", patience=patience)
        # Read again under the lock: another process may have come first, were it one of a newer version.
        found = self._value("PRAGMA user_version", patience)
        for schema, statements in enumerate(_MIGRATIONS[found:], found + 1):
            for statement in (*statements, f"PRAGMA user_version = {schema}"):
                self.execute(statement)
        self.execute("COMMIT", patience=patience)

    def _value(self, sql: str, patience: float) -> int:
        return int(self.execute(sql, patience=patience).fetchone()[0])

    def execute(self, sql: str, *values: object, patience: float = 0.0) -> sqlite3.Cursor:
        """Run one statement, again and again for `patience` seconds while another connection is in the way."""
        try:
            return self._connection.execute(sql, values)
        except sqlite3.OperationalError as error:
            if patience <= 0 or code(error) not in BUSY:
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
                if code(error) not in BUSY or time.monotonic() >= deadline:
                    raise

    def begin(self, patience: float = 0.0) -> None:
        """Begin a transaction that writes; wait `patience` seconds for those of others."""
        self.execute("BEGIN IMMEDIATE", patience=patience)

    @property
    def is_prompt(self) -> bool:
        """Whether the next commit waits for nobody and for no disk: it goes into a write-ahead log that is short."""
        return self._wal and self._written < _CHECKPOINT

    def checkpoint(self) -> None:
        """Take what was committed out of the write-ahead log, if it is time to: that waits for the disk."""
        if self._wal and self._written >= _CHECKPOINT:
            self._written = 0
            with contextlib.suppress(sqlite3.Error):  # another connection is at it
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def commit(self, patience: float) -> None:
        """End the transaction."""
        self.execute("COMMIT", patience=patience)

    def rollback(self) -> None:
        """Undo what the transaction did, if there is one."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close it; it cannot be used after that."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    # -- pages

    def read(self, key: str) -> str | bytes | None:
        """Return a page's text, or None where there is none."""
        asked: tuple[str, tuple[str]] = ("SELECT text FROM pages WHERE key = ?", (key,))
        try:
            row = self._connection.execute(*asked).fetchone()
        except sqlite3.OperationalError:
            # Maybe only for its text, which is none: that is for people to look at.
            with self._leniently():
                row = self._connection.execute(*asked).fetchone()
        return None if row is None else row[0]

    @contextlib.contextmanager
    def _leniently(self) -> Iterator[None]:
        """Read texts whatever bytes are in them; asking each of them would cost more than reading it."""
        self._connection.text_factory = _text
        try:
            yield
        finally:
            self._connection.text_factory = str

    def write(self, key: str, text: str, *, is_new: bool) -> None:
        """Keep a page's text in the place of what was there; `is_new`: nothing was."""
        self._written += 1 if len(text) <= _LONGEST_BESIDE else 1 + _MOVED + 2 * len(text) // _PAGE
        if is_new:
            self._connection.execute("INSERT INTO pages VALUES (?, ?)", (key, text))
        else:
            self._connection.execute("UPDATE pages SET text = ? WHERE key = ?", (text, key))

    def set_aside(self, key: str, text: str | bytes) -> None:
        """Keep the text of a page that cannot be read, for people: its beginning, and of all such texts the newest."""
        self._connection.execute("INSERT INTO set_aside VALUES (?, ?, ?)", (key, text[:LONGEST_ASIDE], stamp()))
        newest = "SELECT rowid FROM set_aside ORDER BY rowid DESC LIMIT ?"
        self._connection.execute(f"DELETE FROM set_aside WHERE rowid NOT IN ({newest})", (MOST_ASIDE,))  # noqa: S608 - constant

    # -- logs

    def append(self, log: str, at: float, text: str) -> None:
        """Add one row."""
        self._written += _ROW + len(text) // _PAGE
        self._connection.execute("INSERT INTO history (log, at, text) VALUES (?, ?, ?)", (log, at, text))

    def recent(self, log: str, limit: int) -> list[tuple[float, str]]:
        """Return the newest rows by insertion, the newest first."""
        with self._leniently():
            return self._connection.execute(
                "SELECT at, text FROM history WHERE log = ? ORDER BY number DESC LIMIT ?", (log, max(limit, 0))
            ).fetchall()

    def take(self, log: str, before: float, most: int) -> list[str]:
        """Take the oldest rows out of the log; return their texts, the oldest first."""
        with self._leniently():
            rows = self._connection.execute(
                "SELECT number, text FROM history WHERE log = ? AND at < ? ORDER BY at, number LIMIT ?",
                (log, before, max(most, 0)),
            ).fetchall()
        self._connection.executemany("DELETE FROM history WHERE number = ?", [(number,) for number, _ in rows])
        return [text for _, text in rows]


def code(error: Exception) -> int:
    """Return SQLite's primary code of an error."""
    if isinstance(error, UnicodeDecodeError):
        # Its own words hold what it has read of a damaged schema, and that is no text any more.
        return sqlite3.SQLITE_CORRUPT
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
