"""After a fork: a lock that another thread of the parent held is held for ever in the child, so it is made anew."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakValueDictionary


class Holder(Protocol):
    """What holds a lock that any thread may hold while one forks."""

    def forked(self) -> None:
        """Go on in a forked process: no thread of the parent's is there to give its lock back."""
        ...


# By their ids: a holder need not have a hash.
_holders: WeakValueDictionary[int, Holder] = WeakValueDictionary()


def renewed(holder: Holder) -> None:
    """Tell a holder of each fork, in the child, for as long as it is in use."""
    _holders[id(holder)] = holder


def _forked() -> None:
    for holder in tuple(_holders.values()):
        holder.forked()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)
