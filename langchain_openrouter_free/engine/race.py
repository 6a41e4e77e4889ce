"""Two attempts at once: a second model is asked while the first one is silent, and the first content wins.

Runs on an event loop; it decides nothing of who may be asked (`rivals.py`), and waits by the engine alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal, Protocol

from langchain_openrouter_free.engine.attempt import Attempt
from langchain_openrouter_free.engine.bookkeeping import Turn
from langchain_openrouter_free.engine.handover import to_its_end
from langchain_openrouter_free.values import value_type

Silence = float | Literal["p95"]


@value_type()
class Hedge:
    """When a second model is asked.

    Attributes:
        after: seconds of silence; `"p95"` for those within which 95 of 100 answers of the model begin.
        bridged: whether calls without an event loop may borrow one for it.
    """

    after: Silence
    bridged: bool = True

    def silence(self, turn: Turn) -> float | None:
        """Return the seconds of silence that are allowed to an attempt; None where it is asked alone.

        Only free models are: a paid one would need money held back twice for one answer.
        """
        if turn.candidate.paid:
            return None
        return turn.usual_s if self.after == "p95" else self.after


class Course(Protocol):
    """What a race needs of the walk; `engine.Attempts`."""

    async def silent(self, listening: Iterable[asyncio.Task[None]], seconds: float | None) -> bool:
        """Wait until one of the attempts has spoken or failed; tell whether all are silent when the time is over."""
        ...

    async def rival(self, turn: Turn) -> Attempt | None:
        """Begin an attempt at another model, if one may be asked beside this one."""
        ...


class Race:
    """A race of one or two attempts to the first content. Whoever does not win is closed and settled.

    Attributes:
        is_told: one of its attempts was told that the caller has broken off the race.
    """

    def __init__(self, course: Course) -> None:
        self.is_told = False
        self._course = course
        self._running: dict[asyncio.Task[None], Attempt] = {}

    async def run(self, first: Attempt, silence: float) -> Attempt | None:
        """Return the attempt that has spoken first; None if all failed before a word."""
        try:
            self._enter(first)
            if await self._course.silent(self._running, silence):
                second = await self._course.rival(first.turn)
                if second is not None:
                    self._enter(second)
            while self._running:
                await self._course.silent(self._running, None)
                winner = await self._spoken()
                if winner is not None:
                    # Still one of those that run: if the others cannot be left in peace, nobody else closes it.
                    await self._lose([task for task in self._running if task is not winner])
                    return self._running.pop(winner)
        except BaseException as error:
            await to_its_end(self._break_off(error))
            raise
        return None

    def _enter(self, attempt: Attempt) -> None:
        self._running[asyncio.create_task(attempt.alisten())] = attempt

    async def _spoken(self) -> asyncio.Task[None] | None:
        """Return who listens to an attempt that has spoken; leave those that have failed."""
        for task in [task for task in self._running if task.done()]:
            error = task.exception()
            if error is None:
                return task
            attempt = self._running.pop(task)
            if not await attempt.__aexit__(type(error), error, error.__traceback__):
                raise error
        return None

    async def _break_off(self, error: BaseException) -> None:
        """Leave all attempts for an error of the caller's, above all a cancellation: it is told of one of them."""
        tasks = list(self._running)
        try:
            await self._lose(tasks[:-1])
        finally:
            for last in tasks[-1:]:
                attempt, _ = await self._stopped(last)
                self.is_told = True
                await attempt.__aexit__(type(error), error, error.__traceback__)

    async def _lose(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            attempt, failure = await self._stopped(task)
            if failure is None:
                await attempt.aoutrun()
            else:
                await attempt.__aexit__(type(failure), failure, failure.__traceback__)

    async def _stopped(self, task: asyncio.Task[None]) -> tuple[Attempt, BaseException | None]:
        """Stop to listen to an attempt; return it, and how it had failed by itself in the same moment, if it had."""
        was_over = task.done()
        task.cancel()
        await asyncio.wait([task])
        error = None if task.cancelled() else task.exception()
        return self._running.pop(task), error if was_over else None
