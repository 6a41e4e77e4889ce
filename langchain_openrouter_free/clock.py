"""Time as an argument: the one seam through which the package learns what time it is.

Knows nothing of what the time is used for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

# Monotonic clocks so near to each other, in seconds, are one.
_TOGETHER = 1.0


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
    """A machine's time, by the clock by which a shared state is written.

    One that does not run with the machine's, such as `testing.FakeClock`, keeps its own time.

    Args:
        clock: this machine's.
        shared: returns the shared time in Unix seconds; None where it is not known.
    """

    def __init__(self, clock: Clock, shared: Callable[[], float | None]) -> None:
        self._clock, self._shared = clock, shared
        self._is_machines = abs(clock.monotonic() - time.monotonic()) < _TOGETHER
        self.monotonic, self.sleep, self.asleep = clock.monotonic, clock.sleep, clock.asleep

    def now(self) -> float:
        """Return the shared wall time in Unix seconds."""
        shared = self._shared() if self._is_machines else None
        return self._clock.now() if shared is None else shared


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
