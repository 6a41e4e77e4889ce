"""Pages and logs in this process: shared by its threads and event loops, gone with it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from langchain_openrouter_free import forks
from langchain_openrouter_free.stores.base import Answer, Change, Fold, Page, PageRef, Row

# How many rows a log keeps: nobody may ever fold it.
_MOST_ROWS = 1000


class MemoryStore:
    """Keep pages in a dictionary under one lock, and the last 1000 rows of each log.

    After a fork the child goes on with a copy of its own.
    """

    blocking = False

    def __init__(self) -> None:
        self._pages: dict[str, Any] = {}
        self._logs: dict[str, deque[tuple[float, str]]] = {}
        self._lock = threading.Lock()
        forks.renewed(self)

    def update(self, ref: PageRef[Page], change: Change[Page, Answer]) -> Answer:
        """Replace the page that `ref` names by what `change` makes of it, and return its answer."""
        with self._lock:
            page, answer = change(self._pages.get(ref.key))
            self._pages[ref.key] = page
            return answer

    def forget(self, key: str) -> None:
        """Let go of a page; the next update begins it anew."""
        with self._lock:
            self._pages.pop(key, None)

    def append(self, log: str, at: float, text: str) -> None:
        """Add one row to a log; of a full one the row added first is dropped."""
        with self._lock:
            self._logs.setdefault(log, deque(maxlen=_MOST_ROWS)).append((at, text))

    def update_and_append(
        self, ref: PageRef[Page], change: Change[Page, Answer], row: Callable[[Answer], Row | None]
    ) -> Answer:
        """Update a page, and add the row that its answer makes to a log.

        By this object's own two methods, which a subclass may have changed; nobody can be killed in between.
        """
        answer = self.update(ref, change)
        made = row(answer)
        if made is not None:
            self.append(*made)
        return answer

    def recent(self, log: str, limit: int = 20) -> list[tuple[float, str]]:
        """Return the newest rows of a log, the one added last first."""
        with self._lock:
            return list(islice(reversed(self._logs.get(log, ())), max(limit, 0)))

    def fold(self, log: str, before: float, ref: PageRef[Page], change: Fold[Page], most: int = 1000) -> int:
        """Take the oldest rows out of a log and into a page; return how many there were."""
        with self._lock:
            rows = list(self._logs.get(log, ()))
            old = sorted((at, place) for place, (at, _) in enumerate(rows) if at < before)[: max(most, 0)]
            if old:
                texts = [rows[place][1] for _, place in old]
                self._pages[ref.key] = change(self._pages.get(ref.key), texts)
                taken = {place for _, place in old}
                left = (row for place, row in enumerate(rows) if place not in taken)
                self._logs[log] = deque(left, maxlen=_MOST_ROWS)
            return len(old)

    def forked(self) -> None:
        """Go on in a forked process."""
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: object) -> MemoryStore:
        """It is the same book for copies of a model: their account and their money are the same."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {
                "pages": dict(self._pages),
                "logs": {log: deque(rows, _MOST_ROWS) for log, rows in self._logs.items()},
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self._pages = dict(state["pages"])
        self._logs = dict(state.get("logs", {}))  # a pickle of before there were logs has none
