"""Time as an argument: the one seam through which the package learns what time it is.

Knows nothing of what the time is used for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable
from weakref import WeakKeyDictionary

# How long a clock is looked at, to tell whether it runs as this machine's, in seconds; how near its pace must be; and
# how often that is tried where something else comes in between.
_LOOK, _NEAR, _TRIES = 0.002, 0.1, 10
_RUNNING: WeakKeyDictionary[Clock, bool] = WeakKeyDictionary()


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

    One that does not run as the machine's, such as `testing.FakeClock` or one that is fast, keeps its own time.

    Args:
        clock: this machine's.
        shared: returns the shared time in Unix seconds; None where it is not known.
    """

    def __init__(self, clock: Clock, shared: Callable[[], float | None]) -> None:
        self._clock, self._shared = clock, shared
        self._is_machines = runs_as_the_machines(clock)
        self.monotonic, self.sleep, self.asleep = clock.monotonic, clock.sleep, clock.asleep

    def now(self) -> float:
        """Return the shared wall time in Unix seconds."""
        shared = self._shared() if self._is_machines else None
        return self._clock.now() if shared is None else shared


def runs_as_the_machines(clock: Clock) -> bool:
    """Tell whether a clock's wall time passes as this machine's does, be what it shows right or wrong.

    A clock is looked at once, for two thousandths of a second.
    """
    if type(clock) is SystemClock:
        return True
    try:
        if clock not in _RUNNING:
            _RUNNING[clock] = _keeps_pace(clock)
        return _RUNNING[clock]
    except TypeError:  # it can be no key
        return _keeps_pace(clock)


def _keeps_pace(clock: Clock) -> bool:
    for _ in range(_TRIES):
        (first, shown), began = (time.monotonic(), clock.now()), time.monotonic()
        while time.monotonic() < began + _LOOK:
            pass
        last, passed = time.monotonic(), clock.now() - shown
        least, most = last - began, time.monotonic() - first
        if most < 2 * least:  # nothing came in between
            return least * (1 - _NEAR) <= passed <= most * (1 + _NEAR)
    return True


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
