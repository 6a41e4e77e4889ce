"""Helpers for tests of this package and of what is built on it."""

from __future__ import annotations

import threading
from typing import Any


class FakeClock:
    """A clock that stands still until it is told to move; a sleep moves it and is written down.

    Attributes:
        slept: seconds of each sleep, in order.
    """

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self._now = now
        self._monotonic = 1000.0
        self._lock = threading.Lock()
        self.slept: list[float] = []

    def __deepcopy__(self, memo: object) -> FakeClock:
        """It is the same time for copies of a model."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def now(self) -> float:
        """Return the wall time in Unix seconds."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds on a scale that never jumps back."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._now += seconds
            self._monotonic += max(seconds, 0.0)

    def sleep(self, seconds: float) -> None:
        """Write the sleep down and let its time pass."""
        self.slept.append(seconds)
        self.advance(seconds)

    async def asleep(self, seconds: float) -> None:
        """Write the sleep down and let its time pass."""
        self.sleep(seconds)
