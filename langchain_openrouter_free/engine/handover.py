"""Work done in a thread for a task that may be cancelled meanwhile: what it got is then given back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def handed_over(work: Callable[[], T], give_back: Callable[[T], None]) -> T:
    """Return what `work` gets, in a thread of the loop's executor.

    A thread cannot be cancelled. If the task is, whichever of the two comes second sees it and calls
    `give_back`, so that nothing which was taken for the task is lost with it.

    Args:
        work: may block; takes something.
        give_back: may block; undoes it.
    """
    lock = threading.Lock()
    finished: list[T] = []
    cancelled = False

    def run() -> T:
        got = work()
        with lock:
            finished.append(got)
            late = cancelled
        if late:
            give_back(got)
        return got

    try:
        return await asyncio.shield(asyncio.to_thread(run))
    except asyncio.CancelledError:
        with lock:
            cancelled = True
            lost = list(finished)
        for got in lost:
            # The loop may be closing, and its executor with it: a thread of its own.
            threading.Thread(target=give_back, args=(got,)).start()
        raise
