"""A store that others share, and what happens while it cannot be used: the pages are kept in memory.

Owns the outage: when it is told, when the backend is tried again, and how what was counted meanwhile comes back into
what is shared. Knows no rule and no backend: how two versions of a page are joined is the page's own business.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from langchain_openrouter_free import forks
from langchain_openrouter_free.stores.base import IN_MEMORY, Answer, Change, Fold, Page, PageRef, Row
from langchain_openrouter_free.stores.memory import MemoryStore
from langchain_openrouter_free.values import Newer

logger = logging.getLogger("langchain_openrouter_free")

RETRY_AFTER = 30.0

# Trouble of a kind that was told is told again after so many seconds without any.
_WELL = 3600.0
# What is done in the backend.
_Work: TypeAlias = Callable[[], Answer]
# More pages, or rows, than these are not carried over an outage.
_MOST_KEPT = 10_000
# More changes of a page that nobody knows of are not told apart.
_MOST_UNHEARD = 100
# A row that may have been written by itself, and not with a change.
_ALONE = "alone"


class Unusable(Exception):
    """The backend cannot be used now; `kind` is for warning once, the message says what is wrong.

    Attributes:
        unheard: the change of which nobody knows whether it was made: the page's key, the change's name, and the page
            that was seen with this change, None where others' changes are in it that were not seen; None for no change.
        row: the name of the change with which a row may have been written; "" for none.
    """

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind
        self.unheard: tuple[str, str, Any] | None = None
        self.row = ""


def read(ref: PageRef[Page], text: str | bytes) -> Page | None:
    """Return what a page's text says; None where nobody can read it.

    Raises:
        Unusable: a newer version of this package can.
    """
    try:
        return ref.decode(text if isinstance(text, str) else text.decode("utf-8"))
    except Newer as newer:
        raise Unusable("newer", f"has a page of a newer version of this package ({ref.key}: {newer})") from newer
    except (ValueError, RecursionError):
        return None


class Sheltered(ABC):
    """The part of a shared store that never breaks a call.

    Where the backend cannot be used, a warning is given, once for each kind of trouble and store, and again where all
    was well for an hour, and pages and logs are kept in memory, beginning with the pages last seen. After `retry_after`
    the backend is tried again. When it is back, a page whose owner says how (`PageRef.merge`) is joined with what is
    there, and rows of logs are added; other pages of the outage are dropped.

    Attributes:
        blocking: whether an update may wait on a disk or a network.
        paid_share: what part of what is left of a budget is kept for this process, which may spend it during an outage;
            0 stops paid calls.
        holder: by what name it is kept.
    """

    blocking = True
    paid_share = 0.0
    holder = ""

    def __init__(
        self,
        *,
        warn: Callable[[str], None] | None = None,
        retry_after: float = RETRY_AFTER,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with a backend that is believed to be usable.

        Args:
            warn: gets each warning; None for the logger `langchain_openrouter_free`.
            retry_after: how long the backend is left alone after trouble, in seconds.
            monotonic: the clock, in seconds, that `retry_after` is measured by.
        """
        self._warn, self._retry_after, self._monotonic = warn, retry_after, monotonic
        self._lock = threading.RLock()
        self._memory = MemoryStore()
        # When the backend is tried again; None while it is in use.
        self._back_at: float | None = None
        # Since when it is in use.
        self._well_since = monotonic()
        self._warned: set[str] = set()
        # What the outage has changed: pages that can be joined, as they were before it and as they are, and rows, each
        # with the change that may have written it, or `_ALONE`.
        self._astray: dict[str, tuple[PageRef[Any], Any, Any]] = {}
        self._rows: deque[tuple[Row, str]] = deque(maxlen=_MOST_KEPT)
        # What may have written the row of the update that runs.
        self._unsure = ""
        # Of changes whose answer was lost their names, and the pages as they were here with them; by the pages' keys.
        self._unheard: dict[str, dict[str, Any]] = {}
        forks.renewed(self)

    # -- what a backend does; each raises `Unusable`

    @abstractmethod
    def _update(
        self, ref: PageRef[Page], change: Change[Page, Answer], row: Callable[[Answer], Row | None] | None = None
    ) -> Answer: ...

    @abstractmethod
    def _append(self, log: str, at: float, text: str) -> None: ...

    @abstractmethod
    def _recent(self, log: str, limit: int) -> list[tuple[float, str]]: ...

    @abstractmethod
    def _fold(self, log: str, before: float, ref: PageRef[Page], change: Fold[Page], most: int) -> int: ...

    @abstractmethod
    def _last_seen(self, key: str) -> Any:
        """Return the page that was last seen in the backend, or None."""

    def _is_made(self, _name: str) -> bool:
        """Tell whether the page that an update has begun with holds a change of this name."""
        return False

    @abstractmethod
    def _let_go(self) -> None:
        """Close what is open; the next use opens it again."""

    @property
    @abstractmethod
    def _name(self) -> str:
        """What it is, for warnings; without secrets."""

    # -- what a store promises

    def update(self, ref: PageRef[Page], change: Change[Page, Answer]) -> Answer:
        """Replace the page that `ref` names by what `change` makes of it, and return its answer.

        Atomic over all who share the backend. A page handed to `change` may be handed to it again: it must not be
        changed in place.
        """
        # Without frames of their own in between: an update is a tenth of a call.
        return self._do(partial(self._update, ref, change), partial(self._update_astray, ref, change, None))

    def append(self, log: str, at: float, text: str) -> None:
        """Add one row to a log."""
        self._do(lambda: self._append(log, at, text), lambda memory: self._keep_row(memory, (log, at, text)))

    def update_and_append(
        self, ref: PageRef[Page], change: Change[Page, Answer], row: Callable[[Answer], Row | None]
    ) -> Answer:
        """Update a page and add the row that its answer makes to a log, in one step."""
        return self._do(partial(self._update, ref, change, row), partial(self._update_astray, ref, change, row))

    def recent(self, log: str, limit: int = 20) -> list[tuple[float, str]]:
        """Return the newest rows of a log, the one added last first; those of memory during an outage."""
        return self._do(lambda: self._recent(log, limit), lambda memory: memory.recent(log, limit))

    def fold(self, log: str, before: float, ref: PageRef[Page], change: Fold[Page], most: int = 1000) -> int:
        """Take the oldest rows out of a log and into a page; return how many there were.

        Atomic over all who share the backend: no row is folded twice. What is folded during an outage stays there: its
        rows come back as rows.
        """

        def without(memory: MemoryStore) -> int:
            return memory.fold(log, before, ref, lambda page, texts: change(self._or_last(ref, page), texts), most)

        return self._do(lambda: self._fold(log, before, ref, change, most), without)

    def last_seen(self, ref: PageRef[Page]) -> Page | None:
        """Return a page as it was last seen in the backend, before the outage if there is one; None where it never was.

        A try to come back that fails may see more of it than that: what is kept here does not begin there.
        """
        kept = self._astray.get(ref.key)
        seen: Page | None = self._last_seen(ref.key) if kept is None else kept[1]
        return seen

    def doubted(self, ref: PageRef[Page]) -> tuple[Page, ...]:
        """Return a page as each change may have left it in the backend of which no answer was heard."""
        return tuple(self._unheard.get(ref.key, {}).values())

    @property
    def degraded(self) -> bool:
        """Whether the backend is given up for now, so that others don't see what is kept."""
        return self._back_at is not None

    def close(self) -> None:
        """Close this process's connection; a later update opens a new one."""
        with self._lock:
            self._let_go()

    def forked(self) -> None:
        """Go on in a forked process."""
        self._lock = threading.RLock()

    # -- the outage

    def _do(self, work: _Work[Answer], without: Callable[[MemoryStore], Answer]) -> Answer:
        """Do `work` in the backend, or, where that cannot be used now, `without` it."""
        with self._lock:
            self._unsure = ""
            if self._back_at is None or self._monotonic() >= self._back_at:
                try:
                    if self._astray or self._rows:
                        self._bring_back()
                    answer = work()
                except Unusable as trouble:
                    self._give_up(trouble)
                else:
                    if self._back_at is not None:
                        self._back_at, self._well_since = None, self._monotonic()
                        logger.info("%s is in use again.", self._name)
                    return answer
            return without(self._memory)

    def _give_up(self, trouble: Unusable) -> None:
        self._let_go()
        self._unsure = trouble.row or _ALONE
        if self._back_at is None:
            self._forget_outage()
            if self._monotonic() - self._well_since > _WELL:
                self._warned.discard(trouble.kind)
        key, name, page = trouble.unheard or ("", "", None)
        if page is not None:
            self._doubt(key, name, page)
        self._back_at = self._monotonic() + self._retry_after
        again = f"it is tried again every {self._retry_after:g} s"
        self._warn_once(trouble.kind, f"{trouble}: {IN_MEMORY}; {again}.")

    def _forget_outage(self) -> None:
        """Keep nothing of an outage, as if there had been none."""
        self._back_at, self._memory = None, MemoryStore()
        self._astray, self._rows, self._unheard = {}, deque(maxlen=_MOST_KEPT), {}

    def _doubt(self, key: str, name: str, page: Any) -> None:
        unheard = self._unheard.setdefault(key, {})
        if len(unheard) >= _MOST_UNHEARD:
            # Of those that wait at a server's door only the first can be made.
            unheard.popitem()
        unheard[name] = page

    def _interrupted(self, key: str, name: str) -> None:
        """Remember a change that nobody waits for any more: what an outage has counted may have come back with it."""
        if key in self._astray:
            self._doubt(key, name, self._astray[key][2])

    def _update_astray(
        self,
        ref: PageRef[Page],
        change: Change[Page, Answer],
        row: Callable[[Answer], Row | None] | None,
        memory: MemoryStore,
    ) -> Answer:
        """Update a page of memory's, beginning with the one last seen; remember what is to be brought back."""

        def changed(page: Page | None) -> tuple[Page, Answer]:
            new, answer = change(self._or_last(ref, page))
            if ref.merge is not None and (ref.key in self._astray or len(self._astray) < _MOST_KEPT):
                self._astray[ref.key] = (ref, self.last_seen(ref), new)
            return new, answer

        answer = memory.update(ref, changed)
        made = None if row is None else row(answer)
        if made is not None:
            self._keep_row(memory, made)
        return answer

    def _or_last(self, ref: PageRef[Page], page: Page | None) -> Page | None:
        """Return a page of memory's, or, where it has none, the one last seen in the backend."""
        last: Page | None = self._last_seen(ref.key) if page is None else page
        return last

    def _keep_row(self, memory: MemoryStore, row: Row) -> None:
        memory.append(*row)
        if self._back_at != math.inf:
            self._rows.append((row, self._unsure))

    def _bring_back(self) -> None:
        """Join what the outage has counted with what is there; each page and row once."""
        while self._astray:
            key, (ref, base, mine) = next(iter(self._astray.items()))
            if mine is not base or key in self._unheard:
                try:
                    self._update(ref, partial(self._joined, ref, base, mine))
                except Unusable as trouble:
                    if trouble.unheard is not None:
                        # If it was made, all of this page has been brought back.
                        trouble.unheard = (*trouble.unheard[:2], mine)
                    raise
                left = ((row, by) for row, by in self._rows if not by or not self._is_made(by))
                self._rows = deque(left, _MOST_KEPT)
            del self._astray[key]
            self._unheard.pop(key, None)
            # If the backend fails again before all is back, what is kept of this page begins with what is there now.
            self._memory.forget(key)
        while self._rows:
            row, by = self._rows[0]
            if by != _ALONE or row[1:] not in self._recent(row[0], _MOST_UNHEARD):
                self._rows[0] = (row, _ALONE)
                self._append(*row)
            self._rows.popleft()

    def _joined(self, ref: PageRef[Page], base: Page | None, mine: Page, there: Page | None) -> tuple[Page, None]:
        """Add what the outage has changed; what came through before it, though nobody heard of it, is there already."""
        for name, page in self._unheard.get(ref.key, {}).items():
            base = page if self._is_made(name) else base
        return ref.merged(base, mine, there), None

    def _warn_once(self, kind: str, what: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            (self._warn or logger.warning)(f"{self._name} {what}")
