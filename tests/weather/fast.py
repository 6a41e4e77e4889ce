"""A clock on which the weather passes quickly, while sockets keep to the machine's."""

from __future__ import annotations

import asyncio
import time

from langchain_openrouter_free.clock import SystemClock

# A moment of the machine, and what is shown then; both Unix seconds.
Span = tuple[float, float]


class FastClock(SystemClock):
    """A wall clock that runs `speed` times as fast, in one span of time or in several.

    Only the wall time is fast: deadlines and durations are the machine's, and set that much shorter.
    """

    def __init__(self, speed: float, *spans: Span) -> None:
        self._speed, self._spans = speed, spans

    def now(self) -> float:
        """Return Unix seconds."""
        here = time.time()
        began, shown = next((span for span in reversed(self._spans) if span[0] <= here), self._spans[0])
        return shown + (here - began) * self._speed

    def sleep(self, seconds: float) -> None:
        """Wait until so much of its time is over."""
        time.sleep(max(seconds, 0.0) / self._speed)

    async def asleep(self, seconds: float) -> None:
        """Wait on an event loop."""
        await asyncio.sleep(max(seconds, 0.0) / self._speed)
