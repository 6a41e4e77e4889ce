"""One chat model in a process of its own, as a user's program has it: does what it is told, and says how long it took.

Each line of the standard input is a job in JSON, its name and its arguments; each is answered by one line. With
`--cold`, everything that the process holds is looked at before each call, as other work between calls does: its caches
are cold then. Without, calls follow one another, and some go before them that are not timed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "weather"))

import httpx
from contenders import CONTENDERS, KEY, Contender, Setting
from fast import FastClock, Span
from measuring import timed

PROMPT = "Say in about twenty words why the sky is blue in the day and red in the evening, please."
AT_ONCE, RAW = 64, "raw httpx"
ANSWERED = "an answer"
WARMING = 4  # calls that go before those of a loop
ASKING = 8  # calls of the replay that may be under way at once
WALKS = 6  # models in one sample where one is dead, fewer where more are
Work = Callable[[], object]
Sample = tuple[float, float]  # seconds by the wall and of CPU


class First:
    """The first text of a stream; the rest is read before the next one, untimed."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._rest: Iterator[Any] = iter(())

    def __call__(self) -> object:
        """Return the first text."""
        self._rest = self._model.stream(PROMPT)
        return next(chunk.content for chunk in self._rest if chunk.content)

    def drain(self) -> None:
        """Read the rest, so that the connection is used again."""
        for _ in self._rest:
            pass


class Peer:
    """A chat model, and what can be asked of it; samples are seconds of one call."""

    def __init__(self, contender: Contender | None, base_url: str, *, cold: bool) -> None:
        self._contender, self._base_url, self._cold = contender, base_url, cold
        self._runner = asyncio.Runner()
        self._models: dict[str, Any] = {}
        self._client = httpx.Client(headers={"Authorization": f"Bearer {KEY}"})

    def _made(self, ids: Sequence[str], **how: Any) -> Any:
        assert self._contender is not None
        return self._contender.made(Setting(self._base_url, ids, **how))

    def _model(self, one: str) -> Any:
        if one not in self._models:
            self._models[one] = self._made([one])
        return self._models[one]

    def _sampled(self, work: Work, calls: int) -> Sample:
        if not self._cold:
            timed(work, WARMING if calls > 1 else 1)
            return timed(work, calls)
        return _mean([self._alone(work) for _ in range(calls)])

    def _alone(self, work: Work) -> Sample:
        if self._cold:
            gc.collect()
        return timed(work)

    # -- jobs

    def ask(self, how: str, model: str, calls: int) -> Sample:
        """Ask so many times, and read each answer to its end."""
        asked = self._model(model)

        async def read() -> object:
            return [chunk.content async for chunk in asked.astream(PROMPT) if chunk.content]

        ways: dict[str, Work] = {
            "invoke": lambda: asked.invoke(PROMPT).content,
            "ainvoke": lambda: self._runner.run(asked.ainvoke(PROMPT)).content,
            "stream": lambda: [chunk.content for chunk in asked.stream(PROMPT) if chunk.content],
            "astream": lambda: self._runner.run(read()),
        }
        assert ways[how](), "no answer"
        return self._sampled(ways[how], calls)

    def first(self, model: str, calls: int) -> Sample:
        """Ask for a stream so many times; the time to its first text."""
        first, taken = First(self._model(model)), list[Sample]()
        for number in range(calls + 1):
            sample = self._alone(first)
            first.drain()
            taken += [sample] if number or self._cold else []
        return _mean(taken)

    def crowd(self, model: str) -> Sample:
        """Ask 64 times at once on one event loop."""
        asked = self._model(model)

        async def crowd() -> None:
            await asyncio.gather(*(asked.ainvoke(PROMPT) for _ in range(AT_ONCE)))

        wall, cpu = self._sampled(lambda: self._runner.run(crowd()), 1)
        return wall / AT_ONCE, cpu / AT_ONCE

    def walk(self, dead: list[str], alive: str) -> list[Sample]:
        """Return what each dead model adds to a first and to a second call of a model object that asks it first.

        Beyond those of the same that asks who answers alone: the first call opens its connection. Several model
        objects, so that the difference is not lost in the noise.
        """
        times = max(WALKS // len(dead), 1)
        healthy, models, others = [
            [self._made(ids) for _ in range(times)] for ids in ([alive], [*dead, alive], [alive])
        ]
        taken: list[Sample] = []
        for _ in ("first", "second"):
            before, walk, after = [self._alone(partial(_each, group)) for group in (healthy, models, others)]
            wall, cpu = [walk[i] - (before[i] + after[i]) / 2 for i in (0, 1)]
            taken.append((wall / times / len(dead), cpu / times / len(dead)))
        return taken

    def trip(self, model: str, calls: int) -> Sample:
        """Ask a dead model by a bare HTTP client."""
        body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": True}
        return self._sampled(partial(self._client.post, f"{self._base_url}/chat/completions", json=body), calls)

    def endings(self, ids: list[str], calls: int) -> list[str]:
        """Ask so many times; say how the calls ended."""
        model = self._made(ids)
        return sorted({_ending(model, "invoke") for _ in range(calls)})

    def hang(self, how: str, model: str, timeout: float) -> str:
        """Ask a model that does not answer; say after how long the call ended, and how."""
        asked, began = self._made([model], timeout=timeout), time.perf_counter()
        ending = _ending(asked, how)
        return f"{time.perf_counter() - began:.1f} s, {ending}"

    def replay(
        self, ids: list[str], key: str, speed: float, spans: list[Span], every: float, length: float, timeout: float
    ) -> list[tuple[str, float]]:
        """Ask every so many seconds in each span of time, on a fast clock; how each call ended, and after how long."""
        timed = {"timeout": timeout / speed, "speed": speed, "clock": FastClock(speed, *spans)}
        model = self._made(ids, key=key, **timed)

        def ask() -> tuple[str, float]:
            began = time.perf_counter()
            return _ending(model, "invoke"), (time.perf_counter() - began) * speed

        asked: list[Future[tuple[str, float]]] = []
        with ThreadPoolExecutor(ASKING) as threads:
            for began, _ in spans:
                for number in range(int(length / every)):
                    time.sleep(max(began + number * every / speed - time.time(), 0.0))
                    asked.append(threads.submit(ask))
        return [one.result() for one in asked]


def _mean(samples: Sequence[Sample]) -> Sample:
    return sum(wall for wall, _ in samples) / len(samples), sum(cpu for _, cpu in samples) / len(samples)


def _each(models: Sequence[Any]) -> None:
    for model in models:
        model.invoke(PROMPT)


def _ending(model: Any, how: str) -> str:
    try:
        model.invoke(PROMPT) if how == "invoke" else list(model.stream(PROMPT))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return type(error).__name__
    return ANSWERED


def main() -> None:
    """Do what is told, line by line, until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who")
    parser.add_argument("base_url")
    parser.add_argument("--cold", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    # What packages print goes elsewhere: the standard output is for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender = next((one for one in CONTENDERS if one.name == given.who), None)
    peer = Peer(contender, given.base_url, cold=given.cold)
    for line in sys.stdin:
        name, how = json.loads(line)
        print(json.dumps(getattr(peer, name)(**how)), file=answers, flush=True)


if __name__ == "__main__":
    main()
