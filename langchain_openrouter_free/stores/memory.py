"""Pages in this process: shared by its threads and event loops, gone with it."""

from __future__ import annotations

import threading
from typing import Any

from langchain_openrouter_free.stores.base import Answer, Change, Page, PageRef


class MemoryStore:
    """Keep pages in a dictionary under one lock.

    After a fork the child goes on with a copy of its own.
    """

    blocking = False

    def __init__(self) -> None:
        self._pages: dict[str, Any] = {}
        self._lock = threading.Lock()

    def update(self, ref: PageRef[Page], change: Change[Page, Answer]) -> Answer:
        """Replace the page that `ref` names by what `change` makes of it, and return its answer."""
        with self._lock:
            page, answer = change(self._pages.get(ref.key))
            self._pages[ref.key] = page
            return answer

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"pages": dict(self._pages)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self._pages = dict(state["pages"])
