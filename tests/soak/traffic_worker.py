"""Processes that keep calling the model for `traffic.py`, on a clock that runs many times as fast, and are killed.

A nursery, forked before the driver has threads, forks and kills workers as it is told. A worker tells what came of its
calls in a file of its own, one line each, so that nothing of it is lost with the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import random
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "weather")]

from fast import FastClock
from replay import CATALOGUE
from store_helpers import forked

from langchain_openrouter_free import ChatOpenRouterFree, FreeQuotaExhausted, OpenRouterFreeError
from langchain_openrouter_free.connections.clients import CLIENTS


@dataclass(frozen=True)
class Plan:
    """What the workers need to know; times in seconds of the fast clock."""

    url: str
    state: str
    folder: str
    began: float
    shown: float
    ends: float
    speed: float
    per_minute: int
    per_day: int
    pause: float
    threads: int
    tasks: int

    def clock(self) -> FastClock:
        """Return the clock that all share."""
        return FastClock(self.speed, (self.began, self.shown))


class Worker:
    """Makes calls by all four paths until the day is over."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan, self.clock = plan, plan.clock()
        self.chance = random.Random(number)
        self.out = (Path(plan.folder) / f"{number}.jsonl").open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        limits = {"first_token": 45.0, "stall": 30.0, "attempt": 120.0, "call": 300.0}
        self.model = ChatOpenRouterFree(
            models=CATALOGUE,
            base_url=plan.url,
            api_key="sk-or-v1-simulated",
            state=plan.state,
            clock=self.clock,
            limits={"per_minute": plan.per_minute, "per_day": plan.per_day},
            timeouts={"connect": 1.0} | {name: seconds / plan.speed for name, seconds in limits.items()},
            max_wait=120.0,
        )

    def tell(self, **what: Any) -> None:
        """Write a line."""
        with self._lock:
            self.out.write(json.dumps(what) + "\n")

    def _ended(self, began: float, error: BaseException | None) -> None:
        end = "answered" if error is None else type(error).__name__
        if isinstance(error, FreeQuotaExhausted):
            end = f"FreeQuotaExhausted: {error.window}"
        unknown = error is not None and not isinstance(error, OpenRouterFreeError)
        story = "".join(traceback.format_exception(error)) if unknown else ""
        self.tell(at=began, end=end, seconds=self.clock.now() - began, story=story)

    def _pause(self) -> float:
        return self.chance.expovariate(1 / self.plan.pause) if self.plan.pause > 0 else 0.0

    def on_a_thread(self) -> None:
        """Call by `invoke` and `stream`."""
        self.clock.sleep(self._pause())
        while (began := self.clock.now()) < self.plan.ends:
            try:
                if self.chance.random() < 0.5:
                    self.model.invoke("tell me a word")
                else:
                    list(self.model.stream("tell me a word"))
            except Exception as error:  # noqa: BLE001 - it is what is looked for
                self._ended(began, error)
            else:
                self._ended(began, None)
            self.clock.sleep(self._pause())

    async def on_a_loop(self) -> None:
        """Call by `ainvoke` and `astream`."""
        await self.clock.asleep(self._pause())
        while (began := self.clock.now()) < self.plan.ends:
            try:
                if self.chance.random() < 0.5:
                    await self.model.ainvoke("tell me a word")
                else:
                    _ = [chunk async for chunk in self.model.astream("tell me a word")]
            except Exception as error:  # noqa: BLE001 - it is what is looked for
                self._ended(began, error)
            else:
                self._ended(began, None)
            await self.clock.asleep(self._pause())

    async def run(self) -> None:
        """Do all at once; then tell what is left open."""
        before, loop = _sockets(), asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: self.tell(trouble=str(told)))
        threads = [threading.Thread(target=self.on_a_thread) for _ in range(self.plan.threads)]
        for thread in threads:
            thread.start()
        tasks = [asyncio.create_task(self.on_a_loop()) for _ in range(self.plan.tasks)]
        if tasks:
            await asyncio.wait(tasks)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        await CLIENTS.aclose()
        CLIENTS.close()
        self.model.close()
        gc.collect()
        await asyncio.sleep(0.05)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        # The pool of threads and the state file may keep theirs; connections may not.
        self.tell(sockets=_sockets() - before, tasks=len(left))
        self.out.close()


def _sockets() -> int:
    """Return how many sockets this process holds open."""
    held = 0
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            held += str(name.readlink()).startswith("socket:")
    return held


def work(plan: Plan, number: int) -> None:
    """Be one worker."""
    logging.getLogger("langchain_openrouter_free").setLevel(logging.CRITICAL)
    asyncio.run(Worker(plan, number).run())


def nurse(orders: int, other_end: int) -> None:
    """Fork, kill and await workers as the driver says on a pipe; fail if one ended in another way."""
    os.close(other_end)
    living: dict[int, int] = {}
    failed = 0
    with os.fdopen(orders) as lines:
        plan = Plan(**json.loads(lines.readline()))
        while line := lines.readline():
            word, _, text = line.strip().partition(" ")
            number = int(text)
            if word == "start":
                living[number] = forked(lambda: work(plan, number))  # noqa: B023 - called at once
            elif number in living:
                child = living.pop(number)
                os.kill(child, signal.SIGKILL)
                failed += os.waitpid(child, 0)[1] not in (0, signal.SIGKILL)
    for child in living.values():
        failed += os.waitpid(child, 0)[1] != 0
    assert not failed, f"{failed} workers ended of themselves"
