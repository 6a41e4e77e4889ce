"""What a store promises: `update` is atomic. It keeps pages and knows no rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

Page = TypeVar("Page")
Answer = TypeVar("Answer")

Change: TypeAlias = Callable[[Page | None], tuple[Page, Answer]]


@dataclass(frozen=True, slots=True)
class PageRef(Generic[Page]):
    """Which page is meant, and how it is written as text; the codec belongs to whose page it is.

    Attributes:
        key: the page's name, e.g. `account:<hash>`.
        encode: page -> text.
        decode: text -> page; raises ValueError for a text that it cannot read.
    """

    key: str
    encode: Callable[[Page], str]
    decode: Callable[[str], Page]


@runtime_checkable
class StateStore(Protocol):
    """Keeps one page for each key.

    A page for each account is right for tens of requests a minute, which is all that the free tier
    grants; it would not fit ten thousand a second.

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
