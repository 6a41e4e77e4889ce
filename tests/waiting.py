"""Nobody waits in earnest in a test: what the package slept by the machine's own clock is written down, and told.

A test that has to wait gives its model a `FakeClock` or `max_wait=0`. What happens within a socket's deadline is no
sleep of the package.
"""

from __future__ import annotations

from langchain_openrouter_free.clock import SystemClock

# Shorter ones are a retry of something that is there in a moment.
_SHORT = 0.2
_slept: list[float] = []


def watch() -> None:
    """Write down what is slept from now on."""
    sleep, asleep = SystemClock.sleep, SystemClock.asleep

    def noted(self: SystemClock, seconds: float) -> None:
        _slept.append(seconds)
        sleep(self, seconds)

    async def anoted(self: SystemClock, seconds: float) -> None:
        _slept.append(seconds)
        await asleep(self, seconds)

    SystemClock.sleep = noted  # type: ignore[method-assign]
    SystemClock.asleep = anoted  # type: ignore[method-assign]


def taken() -> list[float]:
    """Return the long sleeps since the last time, in seconds."""
    found = [seconds for seconds in _slept if seconds > _SHORT]
    _slept.clear()
    return found
