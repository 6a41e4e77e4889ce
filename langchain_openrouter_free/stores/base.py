"""What a store promises: `update` is atomic. It keeps pages, and logs if it likes, and knows no rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeAlias, TypeGuard, TypeVar, runtime_checkable

from langchain_openrouter_free.values import value_type

Page = TypeVar("Page")
Answer = TypeVar("Answer")

Change: TypeAlias = Callable[[Page | None], tuple[Page, Answer]]
Fold: TypeAlias = Callable[[Page | None, list[str]], Page]

# Of a page that cannot be read so much is kept for people, in characters (bytes where it is none of text): a list of
# models comes from the network, and must not fill a disk.
LONGEST_ASIDE = 1_048_576
# What follows where the place of a state cannot be used.
IN_MEMORY = "the state is kept in this process's memory, unknown to others"


@value_type()
class PageRef(Generic[Page]):
    """Which page is meant, and how it is written as text; the codec belongs to whose page it is.

    Attributes:
        key: the page's name, e.g. `account:<hash>`.
        encode: page -> text.
        decode: text -> page; raises ValueError for a text that it cannot read, `Newer` for a later version's.
        merge: (base, mine, there) -> page: joins what was counted apart from others, since `base` was last seen, with
            what is there by then; None where a page of its own is not worth being joined.
    """

    key: str
    encode: Callable[[Page], str]
    decode: Callable[[str], Page]
    merge: Callable[[Page | None, Page, Page | None], Page] | None = None

    def merged(self, base: Page | None, mine: Page, there: Page | None) -> Page:
        """Return the joined page; without a way to join them, what is there."""
        if self.merge is None:
            return mine if there is None else there
        return self.merge(base, mine, there)


@runtime_checkable
class StateStore(Protocol):
    """Keeps one page for each key.

    A page for each account is right for tens of requests a minute, which is all that the free tier
    grants; it would not fit ten thousand a second.

    A store that can lose sight of what it shares with others has an attribute `degraded` as well: while that is
    true nothing is paid for out of a budget that adds calls up. One that machines share has a method `server_time`,
    by which their windows turn: Unix seconds, or None where it is not known.

    Attributes:
        blocking: whether `update` may wait on a disk or a network, so that async callers leave the loop.
    """

    blocking: bool

    def update(self, ref: PageRef[Page], change: Change[Page, Answer]) -> Answer:
        """Replace the page that `ref` names by what `change` makes of it, and return its answer.

        `change` gets None where there is no page. It must be pure: a store may run it again after a lost
        race. If it raises, the page stays as it was.
        """
        ...


def is_degraded(store: object) -> bool:
    """Tell whether a store has lost sight of what it shares with others."""
    return bool(getattr(store, "degraded", False))


class Prompt(Protocol):
    """A store on a disk that can tell whether it would have to be waited for.

    An update whose lock is free takes less time than handing it to a thread does, so an event loop may do it itself.
    """

    def seize(self) -> bool:
        """Hold the store for one update by this thread; False, at once, where that would have to wait."""
        ...

    def release(self) -> None:
        """Let go of it, whether it was updated or not."""
        ...


def _is_prompt(store: object) -> TypeGuard[Prompt]:
    return hasattr(store, "seize") and hasattr(store, "release")


def at_once(store: StateStore, work: Callable[[], Answer]) -> Answer | None:
    """Return what `work` gets, which updates the store once; None, with nothing done, where it would have to wait."""
    if not _is_prompt(store) or not store.seize():
        return None
    try:
        return work()
    finally:
        store.release()


# A row: the log's name, Unix seconds, the text.
Row: TypeAlias = tuple[str, float, str]


@runtime_checkable
class HistoryLog(Protocol):
    """Keeps logs beside the pages: rows are added, looked at, and in the end folded into a page.

    A store need not be one: `StateStore` is all that a call needs.
    """

    def append(self, log: str, at: float, text: str) -> None:
        """Add one row to a log; it costs the same however many there are.

        Args:
            log: the log's name, e.g. `calls:<hash>`.
            at: when it happened, in Unix seconds; a finite number.
            text: what happened, without lone surrogates, as `json.dumps` makes it.
        """
        ...

    def update_and_append(
        self, ref: PageRef[Page], change: Change[Page, Answer], row: Callable[[Answer], Row | None]
    ) -> Answer:
        """Update a page and add the row that its answer makes to a log, in one step; no row where it makes none.

        `row` must be pure, as `change`, and must not raise.
        """
        ...

    def recent(self, log: str, limit: int = 20) -> list[tuple[float, str]]:
        """Return the newest rows of a log, in seconds and text, the one added last first."""
        ...

    def fold(self, log: str, before: float, ref: PageRef[Page], change: Fold[Page], most: int = 1000) -> int:
        """Take the oldest rows out of a log and into a page, in one step.

        `change` gets the page that `ref` names, or None where there is none, and the texts, the oldest first
        (by their time; of one time, the one added first). It must be pure, as that of `update`. If it raises,
        rows and page stay as they were; with nothing to fold it is not called, and nothing is written.

        Args:
            log: the log's name.
            before: only rows of an earlier time are taken, in Unix seconds.
            ref: the page that they go into.
            change: makes the new page.
            most: how many rows are taken at once.

        Returns:
            How many rows were taken.
        """
        ...


def is_store(thing: object) -> TypeGuard[StateStore]:
    """Tell whether something is a store; `isinstance` finds the same, but takes a hundredth of a call for it."""
    return hasattr(thing, "blocking") and hasattr(thing, "update")


def keeps_log(store: object) -> TypeGuard[HistoryLog]:
    """Tell whether a store keeps logs."""
    return (
        hasattr(store, "append")
        and hasattr(store, "update_and_append")
        and hasattr(store, "recent")
        and hasattr(store, "fold")
    )
