"""An event loop in a thread of its own, for callers who have none: only hedged calls without a loop borrow it.

It is started by the first of them and shared by all, so that connections are used again.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import Any, Generic, TypeVar

from langchain_openrouter_free import forks
from langchain_openrouter_free.books.skew import Heard
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.connections.transport import TransportFault
from langchain_openrouter_free.engine.roads import Roads
from langchain_openrouter_free.engine.sources import Source, Stopwatch
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.protocol.wire import Delta
from langchain_openrouter_free.route.candidate import Candidate

T = TypeVar("T")

_CLOSING_SECONDS = 2.0
# In which whoever is asked sees that its connection is gone.
_ENDING_SECONDS = 1.0


class _Handed(Generic[T]):
    """Work on the loop, for whoever may stop to wait for it at any moment."""

    def __init__(self, work: Coroutine[Any, Any, T], undo: Callable[[T], Coroutine[Any, Any, None]] | None) -> None:
        self.work, self._undo = work, undo
        self.loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._is_left = False

    async def run(self) -> T:
        """Do it, unless nobody waits for it any more."""
        self._task = asyncio.current_task()
        if self._is_left:
            raise asyncio.CancelledError
        return await self.work

    def leave(self) -> None:
        """Stop it, on the loop, or undo what it has come to."""
        self._is_left = True
        if self._task is None:
            self.work.close()
        elif not self._task.done():
            self._task.cancel()
        elif self._undo is not None and not (self._task.cancelled() or self._task.exception()):
            PORTAL.leave(self._undo(self._task.result()))


class Portal:
    """The loop, its thread, and the way to it."""

    def __init__(self) -> None:
        # The garbage collector may let go of a stream in whoever holds it.
        self._lock = threading.RLock()
        self._running: tuple[int, threading.Thread, asyncio.AbstractEventLoop] | None = None
        self._loose: set[asyncio.Task[Any]] = set()
        forks.renewed(self)

    def run(
        self,
        work: Coroutine[Any, Any, T],
        home: asyncio.AbstractEventLoop | None = None,
        undo: Callable[[T], Coroutine[Any, Any, None]] | None = None,
    ) -> T:
        """Run a coroutine on the loop, and wait for what it returns. Who is interrupted meanwhile cancels it.

        Args:
            work: the coroutine.
            home: the loop on which alone it can run; None for any.
            undo: lets go of what it returned, where nobody waits for that any more.

        Raises:
            TransportFault: the loop was closed.
        """
        handed, future = _Handed(work, undo), None
        try:
            # Under the lock: what is handed over behind the loop's end would never be done.
            with self._lock:
                future = self._hand_over(handed, home)
            return future.result()
        except CancelledError:
            raise _closed() from None
        except BaseException:
            # Of an interruption that comes as it is handed over nobody knows whether it is on the loop by now.
            has_failed = future is not None and future.done() and future.exception() is not None
            if handed.loop is None:
                work.close()
            elif not has_failed:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    handed.loop.call_soon_threadsafe(handed.leave)
            raise

    def _hand_over(self, handed: _Handed[T], home: asyncio.AbstractEventLoop | None) -> Future[T]:
        if home not in (None, self._present()):
            raise _closed()
        loop = self._loop()
        handed.loop = loop
        return asyncio.run_coroutine_threadsafe(handed.run(), loop)

    def is_here(self) -> bool:
        """Tell whether this is the loop's own thread, where nobody can wait for it."""
        running = self._running
        return running is not None and threading.current_thread() is running[1]

    def leave(self, work: Coroutine[Any, Any, None], home: asyncio.AbstractEventLoop | None = None) -> None:
        """Run what lets go of something; the garbage collector may ask for it on the loop's own thread."""
        if not self.is_here():
            # With its loop the connection is gone as well.
            with contextlib.suppress(TransportFault):
                self.run(work, home)
            return
        task = asyncio.get_running_loop().create_task(work)
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)

    def _loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of this process, under the lock; a forked child starts its own."""
        loop = self._present()
        if loop is None:
            if sys.is_finalizing():
                # No thread begins any more: who started one would wait for it for ever.
                raise _closed()
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_serve, args=(loop,), name="openrouter-free-hedging", daemon=True)
            try:
                thread.start()
                self._running = (os.getpid(), thread, loop)
            except BaseException:
                # Who is interrupted as it starts has no use for it, and nobody else knows of it.
                loop.call_soon_threadsafe(loop.stop)
                raise
        return loop

    def _present(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop of this process, if it has one."""
        running = self._running
        return running[2] if running is not None and running[0] == os.getpid() else None

    def forked(self) -> None:
        """Go on in a forked process."""
        self._lock = threading.RLock()

    def close(self) -> None:
        """End the loop and close its connections, also under who is asked on them; the next call starts another one."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None and running[0] == os.getpid():
            running[2].call_soon_threadsafe(running[2].stop)
            running[1].join(_CLOSING_SECONDS)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(_ended())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def _closed() -> TransportFault:
    return TransportFault(Kind.CUT, "the connections were closed")


async def _ended() -> None:
    """Close the connections, and let those who are asked on them see it: who waits for them goes on elsewhere."""
    await CLIENTS.aclose()
    if asked := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(asked, timeout=_ENDING_SECONDS)
    for late in asyncio.all_tasks() - {asyncio.current_task()}:
        # What has opened another connection meanwhile would hold up whoever closes.
        late.cancel()


PORTAL = Portal()
atexit.register(PORTAL.close)


class Bridged:
    """A source that is read on the portal's loop, and by callers who have none."""

    def __init__(self, inner: Source, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal
        self._home: asyncio.AbstractEventLoop | None = None
        self._reading: asyncio.Task[Any] | None = None

    @property
    def status(self) -> int | None:
        """HTTP status of the reply, None before there is one."""
        return self._inner.status

    @property
    def sent(self) -> bool:
        """Whether the request may have left."""
        return self._inner.sent

    @property
    def heard(self) -> Heard | None:
        """The server's time, as the head of its reply told it."""
        return self._inner.heard

    @property
    def headers(self) -> Mapping[str, str] | None:
        """Headers of the service's reply, None before there is one."""
        return self._inner.headers

    def complete(self) -> bool:
        """Tell whether the reply said that it is over, or only ended."""
        return self._inner.complete()

    def open(self) -> None:
        """Send the request; return when the head of its reply is there."""
        self._portal.run(self.aopen(), self._home)

    async def aopen(self) -> None:
        """The same on the loop."""
        self._home = asyncio.get_running_loop()
        await self._inner.aopen()

    def read(self) -> list[Delta] | None:
        """Return the next deltas; None when the reply is over."""
        return self._portal.run(self.aread(), self._home)

    async def aread(self) -> list[Delta] | None:
        """The same on the loop."""
        self._home, self._reading = asyncio.get_running_loop(), asyncio.current_task()
        try:
            return await self._inner.aread()
        finally:
            self._reading = None

    def close(self) -> None:
        """Let go of the connection."""
        self._portal.leave(self.aclose(), self._home)

    async def aclose(self) -> None:
        """The same on the loop."""
        if self._reading is not None:
            # Who was interrupted as it read may not have come out of it yet.
            await asyncio.wait([self._reading])
        await self._inner.aclose()


def bridged(roads: Roads) -> Roads:
    """Return roads whose free attempts are read on the portal's loop."""
    straight = roads.open

    def open_bridged(candidate: Candidate, watch: Stopwatch, max_tokens: int | None) -> Source:
        source = straight(candidate, watch, max_tokens)
        return source if candidate.paid or isinstance(source, Bridged) else Bridged(source, PORTAL)

    return replace(roads, open=open_bridged)
