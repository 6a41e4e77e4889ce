"""Replays the real weather of the free tier to the whole router, on a clock that does not wait.

`python tests/weather/replay.py` prints a table: for each rate of calls, order of the models and strategy, how many
calls were answered, how many within a minute of those that an all-knowing client could have had answered within one,
how many requests an answer took, and the seconds to the whole answer (of 200 tokens). Nothing was learned before.
`--quick` looks at fewer; `--json FILE` writes the figures as well; `--seeds N` repeats it with other luck.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from weather import Weather, WeatherClock, WeatherService

from langchain_openrouter_free import ChatOpenRouterFree, MemoryStore
from langchain_openrouter_free.errors import OpenRouterFreeError

MINUTE = 60.0
# The list as the service gave it then: the newest first.
CATALOGUE = [
    "tencent/hy3:free",
    "inclusionai/ling-3.0-flash:free",
    "poolside/laguna-s-2.1:free",
    "poolside/laguna-xs-2.1:free",
    "cohere/north-mini-code:free",
    "nvidia/nemotron-3-ultra-550b-a55b:free",
    "nvidia/nemotron-3-nano-omni-30b-a3b-reasoning:free",
    "poolside/laguna-m.1:free",
    "google/gemma-4-26b-a4b-it:free",
    "google/gemma-4-31b-it:free",
    "nvidia/nemotron-3-super-120b-a12b:free",
    "nvidia/nemotron-3-nano-30b-a3b:free",
    "nvidia/nemotron-nano-12b-v2-vl:free",
    "nvidia/nemotron-nano-9b-v2:free",
    "openai/gpt-oss-20b:free",
]


def orders(weather: Weather) -> dict[str, list[str]]:
    """Return the orders in which the models are named."""
    means = {
        model: sum(spell.success for spell in weather.spells[model].values()) / len(weather.spells[model])
        for model in CATALOGUE
        if model in weather.spells
    }
    return {
        "catalogue": CATALOGUE,
        "alphabetical": sorted(CATALOGUE),
        "reversed": CATALOGUE[::-1],
        "worst first": sorted(CATALOGUE, key=lambda model: means.get(model, 0.0)),
    }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay came to; times in seconds, shares of 1."""

    order: str
    strategy: str
    every: float
    path: str
    calls: int
    possible: int
    answered: float
    in_a_minute: float
    requests: float
    p50: float
    p95: float
    p99: float


@dataclass
class Replay:
    """One walk through the days of the statistics, with a book that knows nothing at first."""

    weather: Weather
    order: str
    strategy: str = "ranked"
    every: float = 90.0
    path: str = "invoke"
    days: float = 99.0

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.weather.seed} {self.every}")
        self.clock = WeatherClock(self.weather.begins)
        self.service = WeatherService(self.weather, self.clock)
        self.models = orders(self.weather)[self.order]
        self.router = ChatOpenRouterFree(
            models=self.models,
            strategy=self.strategy,
            base_url="http://127.0.0.1:9/api/v1",
            api_key="sk-or-v1-replay",
            http_client=httpx.Client(transport=self.service),
            http_async_client=httpx.AsyncClient(transport=self.service),
            clock=self.clock,
            chance=self.chance.random,
            state=MemoryStore(),
        )

    async def _call(self) -> bool:
        try:
            if self.path == "invoke":
                self.router.invoke("hello")
            elif self.path == "ainvoke":
                await self.router.ainvoke("hello")
            elif self.path == "stream":
                list(self.router.stream("hello"))
            else:
                _ = [chunk async for chunk in self.router.astream("hello")]
        except OpenRouterFreeError:
            return False
        return True

    async def _run(self) -> Outcome:
        seconds, possible, in_time, calls, ends = list[float](), 0, 0, 0, self.weather.begins + self.days * 86400
        while (began := self.clock.now()) < min(ends, self.weather.ends):
            fates = (self.weather.fate(model, began) for model in self.models)
            could = any(fate.ok and fate.whole <= MINUTE for fate in fates)
            answered = await self._call()
            took = self.clock.now() - began
            calls, possible = calls + 1, possible + could
            in_time += could and answered and took <= MINUTE
            if answered:
                seconds.append(took)
            self.clock.advance(max(self.chance.expovariate(1 / self.every) - took, 0.001))
        seconds.sort()
        p50, p95, p99 = (round(seconds[int(len(seconds) * part)], 2) for part in (0.5, 0.95, 0.99))
        per_answer = self.service.requests / len(seconds)
        shares = len(seconds) / calls, in_time / possible, per_answer
        return Outcome(self.order, self.strategy, self.every, self.path, calls, possible, *shares, p50, p95, p99)

    def run(self) -> Outcome:
        """Replay it to the end."""
        return asyncio.run(self._run())


HEADS = (
    "| order | strategy | a call every | path | calls | answered | within 60 s | requests/answer | p50 | p95 | p99 |"
)


def table(outcomes: Iterable[Outcome]) -> Iterable[str]:
    """Yield the lines of a table in Markdown."""
    yield HEADS
    yield "| --- | --- | --: | --- | --: | --: | --: | --: | --: | --: | --: |"
    for one in outcomes:
        shares = f"{one.answered:.3%} | {one.in_a_minute:.3%} | {one.requests:.3f}"
        times = " | ".join(f"{seconds:.1f} s" for seconds in (one.p50, one.p95, one.p99))
        yield f"| {one.order} | {one.strategy} | {one.every:g} s | {one.path} | {one.calls} | {shares} | {times} |"


def plans(*, quick: bool) -> Iterable[tuple[str, str, float, str]]:
    """Yield what is replayed: order, strategy, seconds between calls, path."""
    for every in (20.0, 90.0, 600.0):
        yield "catalogue", "ranked", every, "invoke"
    if quick:
        return
    for order in ("alphabetical", "reversed", "worst first"):
        for every in (20.0, 90.0, 600.0):
            yield order, "ranked", every, "invoke"
    for strategy in ("adaptive", "fastest"):
        for every in (20.0, 90.0, 600.0):
            yield "catalogue", strategy, every, "invoke"
    for path in ("ainvoke", "stream", "astream"):
        yield "catalogue", "ranked", 90.0, path


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    said = parser.parse_args()
    logging.getLogger("langchain_openrouter_free").setLevel(logging.ERROR)
    outcomes: list[Outcome] = []
    sys.stdout.write("\n".join(table([])) + "\n")
    for seed in range(said.seeds):
        weather = Weather(seed)
        for order, strategy, every, path in plans(quick=said.quick):
            outcomes.append(Replay(weather, order, strategy, every, path).run())
            sys.stdout.write(list(table(outcomes[-1:]))[-1] + "\n")
            sys.stdout.flush()
    if said.json:
        said.json.write_text(json.dumps([asdict(one) for one in outcomes], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
