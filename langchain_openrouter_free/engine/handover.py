"""Work for a task that may be cancelled meanwhile: what a thread got is then given back.

What lets go of something is done to its end.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def off_loop(work: Callable[[], T]) -> T:
    """Return what `work` returns, which may block, in a thread of the loop's executor.

    It is begun whatever becomes of the task, and of its loop: what `asyncio.to_thread` has not begun yet is cancelled
    by an `asyncio.run` that ends.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    return await asyncio.shield(loop.run_in_executor(None, context.run, work))


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
        return await off_loop(run)
    except asyncio.CancelledError:
        with lock:
            cancelled = True
            lost = list(finished)
        for got in lost:
            # The loop may be closing, and its executor with it: a thread of its own.
            threading.Thread(target=give_back, args=(got,)).start()
        raise


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Do what lets go of something, to its end; a cancellation that comes meanwhile is passed on afterwards.

    Who is cancelled may be so again and again: a scope of anyio does it at each turn of the loop, a timeout once more.
    """
    task, cancelled = asyncio.create_task(work), None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    failure = None if task.cancelled() else task.exception()
    if cancelled is not None:
        raise cancelled from failure
    return task.result()
