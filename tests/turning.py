"""A clock that many callers wait by: it turns to the next one's moment when everybody who runs is waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler

from langchain_openrouter_free.testing import FakeClock


class TurningClock(FakeClock):
    """Sleepers wait until `turn` lets time pass; nobody is overtaken while a request of his is on its way."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self._moved = threading.Condition()
        self._sleepers: list[tuple[float, Callable[[], object]]] = []

    def sleep(self, seconds: float) -> None:
        """Wait in a thread."""
        woken = threading.Event()
        self._add(seconds, woken.set)
        assert woken.wait(50)

    async def asleep(self, seconds: float) -> None:
        """Wait in a task."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        self._add(seconds, lambda: loop.call_soon_threadsafe(woken.set))
        await woken.wait()

    def _add(self, seconds: float, wake: Callable[[], object]) -> None:
        with self._moved:
            self.slept.append(seconds)
            self._sleepers.append((self.now() + seconds, wake))
            self._moved.notify_all()

    def noticed(self) -> None:
        """Look again who is waiting: a call has ended."""
        with self._moved:
            self._moved.notify_all()

    def turn(self, running: Callable[[], int]) -> None:
        """Let time pass whenever all calls that run are waiting, until none runs any more."""
        while True:
            with self._moved:
                assert self._moved.wait_for(lambda: not running() or len(self._sleepers) >= running(), timeout=50)
                if not running():
                    return
                self._sleepers.sort(key=lambda sleeper: sleeper[0])
                until = self._sleepers[0][0]
                self.advance(max(until - self.now(), 0.0))
                due = [wake for at, wake in self._sleepers if at <= until]
                self._sleepers = self._sleepers[len(due) :]
            for wake in due:
                wake()


class Crowd(BaseCallbackHandler):
    """Counts the calls that run; `cap` of `total` may run at once."""

    def __init__(self, clock: TurningClock, total: int, cap: int) -> None:
        self.clock, self.total, self.cap = clock, total, cap
        self.most = self.begun = self.done = 0
        self._lock = threading.Lock()

    def running(self) -> int:
        """How many run, or are about to."""
        return min(self.cap, self.total - self.done)

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        with self._lock:
            self.begun += 1
            self.most = max(self.most, self.begun - self.done)

    def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        with self._lock:
            self.done += 1
        self.clock.noticed()

    on_llm_error = on_llm_end
