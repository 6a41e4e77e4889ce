"""Updates of one page that wait for one another, made together: one write, and to each caller its own answer.

Owns who waits, and who makes the changes of all who do. Knows no backend: how a page is written is its heirs' business.

On a network an update is a round trip, and one process makes one after the other: what has queued up meanwhile would
wait for as many. Changes are pure, so whoever is next makes those of all others too, in the order in which they came.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic

from langchain_openrouter_free.stores.base import Answer, Change, Page, PageRef, Row
from langchain_openrouter_free.stores.memory import MemoryStore
from langchain_openrouter_free.stores.sheltered import Sheltered, Unusable

# So many changes are made together at most: a server is held up for each row.
_MOST_AT_ONCE = 100
# Who waits for longer, in seconds, waits for the lock itself.
_LONGEST_LEAD = 1.0


class _Wish(Generic[Page, Answer]):
    """What one caller wants of a page, and what came of it."""

    __slots__ = ("_answer", "_error", "change", "is_done", "ref", "row")

    def __init__(
        self, ref: PageRef[Page], change: Change[Page, Answer], row: Callable[[Answer], Row | None] | None
    ) -> None:
        self.ref, self.change, self.row = ref, change, row
        # Done as well is what nobody waits for any more.
        self.is_done = False
        self._answer: list[Answer] = []
        self._error: Exception | None = None

    def changed(self, page: Page | None) -> tuple[Page, Row | None] | None:
        """Return the page as it is with this change, and the row; None where it raises."""
        try:
            new, answer = self.change(page)
            row = None if self.row is None else self.row(answer)
        except Exception as error:  # noqa: BLE001 - it is told to whose change it is
            self.failed(error)
            return None
        self._answer, self._error = [answer], None
        return new, row

    def took(self, answer: Answer) -> None:
        """Take an answer that was got otherwise."""
        self._answer, self._error, self.is_done = [answer], None, True

    def failed(self, error: Exception) -> None:
        """Take an error in the place of an answer."""
        self._answer, self._error = [], error

    def told(self) -> Answer:
        """Return the caller's own answer, or raise what its change did."""
        error, self._error = self._error, None
        if error is None:
            return self._answer[0]
        try:
            raise error
        finally:
            # It holds this frame.
            del error


class Turn(Generic[Page]):
    """Changes of one page that are made together.

    Attributes:
        doubt: the write that is under way, as one of which nobody knows whether it was made; None for no write.
    """

    def __init__(self, wishes: Sequence[_Wish[Page, Any]]) -> None:
        self.ref = wishes[0].ref
        self.doubt: Unusable | None = None
        self._wishes, self._taken = wishes, 0

    def made(self, page: Page | None) -> tuple[Page, list[Row]] | None:
        """Make the changes, one after the other; return the new page and its rows, None where each of them raises.

        One that raises leaves the page as it is to the next. One that has a row for another log waits.
        """
        rows: list[Row] = []
        made: tuple[Page, list[Row]] | None = None
        self._taken = 0
        for wish in self._wishes:
            found = wish.changed(page)
            if found is not None:
                new, row = found
                if row is not None and rows and row[0] != rows[0][0]:
                    break
                page, made = new, (new, rows)
                rows += [] if row is None else [row]
            self._taken += 1
        return made

    def done(self) -> None:
        """Take what was made last for done."""
        # Where Ctrl-C comes in between, some are made twice: first, none may be taken back for it.
        self.doubt = None
        for wish in self._wishes[: self._taken]:
            wish.is_done = True


class _Queue:
    """Who waits to change one page: one of them leads, and makes the changes of all who wait by then.

    Only a hint: it is the store's lock that keeps two from leading at once.
    """

    __slots__ = ("_leader", "_left", "wishes")

    def __init__(self) -> None:
        self.wishes: deque[_Wish[Any, Any]] = deque()
        self._leader: _Wish[Any, Any] | None = None
        self._left = threading.Condition()

    def join(self, wish: _Wish[Any, Any]) -> None:
        """Return when a wish is done, or its caller is to lead."""
        with self._left:
            self.wishes.append(wish)
            while not wish.is_done and self._leader is not None:
                if not self._left.wait(_LONGEST_LEAD):
                    # Slow, or killed by an exception where nothing could be tidied up.
                    break
            if not wish.is_done:
                self._leader = wish

    def leave(self, wish: _Wish[Any, Any]) -> None:
        """Wait no more; who leads lets the others see what is done."""
        wish.is_done = True
        with self._left:
            if self._leader is wish:
                self._leader = None
                self._left.notify_all()


class Combining(Sheltered):
    """A sheltered store on a network: what waits to change one page is written at once."""

    def __init__(self, **sheltered: Any) -> None:
        """Begin with nobody waiting; the arguments are those of `Sheltered`."""
        super().__init__(**sheltered)
        # By the page's key. Anyone may join one; only who holds the lock takes from it.
        self._queues: dict[str, _Queue] = {}

    @abstractmethod
    def _make(self, turn: Turn[Any]) -> None:
        """Change a page, and add the rows, in one step, and tell the turn at once when that is done.

        Raises:
            Unusable: as each that a backend does.
        """

    def _update(
        self, ref: PageRef[Page], change: Change[Page, Answer], row: Callable[[Answer], Row | None] | None = None
    ) -> Answer:
        wish = _Wish(ref, change, row)
        self._make(Turn([wish]))
        return wish.told()

    def update(self, ref: PageRef[Page], change: Change[Page, Answer]) -> Answer:
        """Replace the page that `ref` names by what `change` makes of it, and return its answer; see `Sheltered`.

        It may be made by another thread that updates the same page, together with its own change.
        """
        return self._wished(_Wish(ref, change, None))

    def update_and_append(
        self, ref: PageRef[Page], change: Change[Page, Answer], row: Callable[[Answer], Row | None]
    ) -> Answer:
        """Update a page and add the row that its answer makes to a log, in one step; see `update`."""
        return self._wished(_Wish(ref, change, row))

    def forked(self) -> None:
        """Go on in a forked process: who waited there waits for the parent."""
        super().forked()
        self._queues = {}

    def _wished(self, wish: _Wish[Any, Answer]) -> Answer:
        key = wish.ref.key
        queue = self._queues.get(key) or self._queues.setdefault(key, _Queue())
        try:
            queue.join(wish)
            if not wish.is_done:
                with self._lock:
                    while not wish.is_done:
                        self._lead(queue.wishes)
        finally:
            queue.leave(wish)
        return wish.told()

    def _lead(self, waiting: deque[_Wish[Any, Any]]) -> None:
        """Make the changes of those who wait."""
        wishes: list[_Wish[Any, Any]] = []
        while waiting and len(wishes) < _MOST_AT_ONCE:
            wish = waiting.popleft()
            wishes += [] if wish.is_done else [wish]
        try:
            self._make_all(wishes)
        except Exception:
            if len(wishes) == 1:
                raise
            # It cannot be written: whose change has made it so is found by making each alone.
            for wish in wishes:
                if not wish.is_done:
                    self._make_alone(wish)
        finally:
            waiting.extendleft(wish for wish in reversed(wishes) if not wish.is_done)

    def _make_alone(self, wish: _Wish[Any, Any]) -> None:
        try:
            self._make_all([wish])
        except Exception as error:  # noqa: BLE001 - it is told to whose change it is
            wish.failed(error)
            wish.is_done = True

    def _make_all(self, wishes: Sequence[_Wish[Any, Any]]) -> None:
        turn = Turn(wishes)
        try:
            self._do(partial(self._make, turn), partial(self._make_astray, wishes))
        except BaseException:
            if turn.doubt is not None and len(wishes) > 1:
                # Ctrl-C has come to one of them: the others' changes count as well, and once.
                self._give_up(turn.doubt)
                self._make_astray(wishes, self._memory)
            raise

    def _make_astray(self, wishes: Sequence[_Wish[Any, Any]], memory: MemoryStore) -> None:
        for wish in wishes:
            try:
                wish.took(self._update_astray(wish.ref, wish.change, wish.row, memory))
            except Exception as error:  # noqa: BLE001 - it is told to whose change it is
                wish.failed(error)
                wish.is_done = True
