"""The log of what was asked, and the one lock under which the simulator lives.

Owns `Received` and the waiting for changes from other threads. It knows nothing of what is answered.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

CHAT_PATH = "/api/v1/chat/completions"
KEEP = 200_000
_SHOWN = 12


@lru_cache(maxsize=1024)
def hashed(secret: str) -> str:
    """A short fingerprint of a header that carries a key; the key itself is never kept."""
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()[:_SHOWN]


@dataclass(slots=True)
class Received:
    """One request as it arrived, and what became of it.

    `at`, `finished_at` and `disconnected_at` are monotonic seconds. `disconnected_at` is set when the
    client closed the socket before the reply was finished. `connection` numbers the TCP connections, so
    that their reuse can be seen. The value of the Authorization header is a fingerprint.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes
    model: str | None
    at: float
    connection: int
    status: int | None = None
    finished_at: float | None = None
    disconnected_at: float | None = None
    behaviour: str = ""

    def as_json(self) -> dict[str, Any]:
        """The entry as the `/simulator/log` page shows it."""
        fields = asdict(self)
        del fields["raw"]
        return fields


class Log:
    """All requests in order of arrival. `changed` is the lock and the bell of the whole simulator."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._entries: deque[Received] = deque(maxlen=KEEP)

    def add(self, entry: Received) -> None:
        """Note a request that has arrived whole."""
        with self.changed:
            self._entries.append(entry)
            self.changed.notify_all()

    def finished(self, entry: Received) -> None:
        """Note that the last byte of its reply was handed over."""
        with self.changed:
            entry.finished_at = time.monotonic()
            self.changed.notify_all()

    def disconnected(self, entry: Received) -> None:
        """Note that the client went away before that."""
        with self.changed:
            if entry.finished_at is None and entry.disconnected_at is None:
                entry.disconnected_at = time.monotonic()
                self.changed.notify_all()

    def entries(self) -> list[Received]:
        """A copy of the list; the entries themselves are live."""
        with self.changed:
            return list(self._entries)

    def chats(self) -> list[Received]:
        """Only the requests for an answer."""
        return [one for one in self.entries() if one.path == CHAT_PATH and one.method == "POST"]

    def clear(self) -> None:
        """Forget everything."""
        with self.changed:
            self._entries.clear()
            self.changed.notify_all()

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> None:
        """Block until the predicate holds; it is asked again at every change.

        Raises:
            TimeoutError: it did not hold in time.
        """
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                raise TimeoutError(f"not so within {timeout} s; {len(self._entries)} requests received")
