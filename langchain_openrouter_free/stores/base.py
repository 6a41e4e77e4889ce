"""What a store promises: `update` is atomic. It keeps pages and knows no rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

Page = TypeVar("Page")
Answer = TypeVar("Answer")

Change: TypeAlias = Callable[[Page | None], tuple[Page, Answer]]


@runtime_checkable
class StateStore(Protocol):
    """Keeps one page for each key.

    A page for each account is right for tens of requests a minute, which is all that the free tier
    grants; it would not fit ten thousand a second.

    Attributes:
        blocking: whether `update` may wait on a disk or a network, so that async callers leave the loop.
    """

    blocking: bool

    def update(self, key: str, change: Change[Page, Answer]) -> Answer:
        """Replace the page at `key` by what `change` makes of it, and return its answer.

        `change` gets None where there is no page. It must be pure: a store may run it again after a lost
        race. If it raises, the page stays as it was.
        """
        ...
