"""Time as an argument: the one seam through which the package learns what time it is.

Knows nothing of what the time is used for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable


@runtime_checkable
class Clock(Protocol):
    """What the engine asks of time. `testing.FakeClock` is the other implementation."""

    def now(self) -> float:
        """Return the wall time in Unix seconds (quota windows turn by it)."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a scale that never jumps back (deadlines and durations)."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the thread for `seconds`."""
        ...

    async def asleep(self, seconds: float) -> None:
        """Suspend the task for `seconds`."""
        ...


class SharedClock:
    """A machine's time, corrected to the clock by which a shared state is written.

    Args:
        clock: this machine's.
        ahead: returns the seconds by which the shared one is ahead of it.
    """

    def __init__(self, clock: Clock, ahead: Callable[[], float]) -> None:
        self._clock, self._ahead = clock, ahead
        self.monotonic, self.sleep, self.asleep = clock.monotonic, clock.sleep, clock.asleep

    def now(self) -> float:
        """Return the shared wall time in Unix seconds."""
        return self._clock.now() + self._ahead()


class SystemClock:
    """The real time of this machine."""

    def now(self) -> float:
        """Return the wall time in Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return the seconds of the machine's monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block the thread for `seconds`."""
        time.sleep(max(seconds, 0.0))

    async def asleep(self, seconds: float) -> None:
        """Suspend the task for `seconds`."""
        await asyncio.sleep(max(seconds, 0.0))
