"""The router beside a bare `ChatOpenAI(max_retries=0)`, on one simulator in another process, A B A B.

One sample is a batch of calls. Ratios are router / ChatOpenAI, sample by sample; below 1 the router is faster.
`wire="stream"` reads some 25 events where ChatOpenAI reads one body: that buys the deadlines inside an answer.
Arguments: pairs (default 60) and calls in a sample (default 5).
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from langchain_openai import ChatOpenAI
from measuring import noise, simulator, spread, timed

from langchain_openrouter_free import ChatOpenRouterFree

MODEL = "nvidia/nemotron-3-super-120b-a12b:free"
PROMPT = "Say in about twenty words why the sky is blue in the day and red in the evening, please."
OFF = {"reasoning": {"enabled": False}}
Model = ChatOpenRouterFree | ChatOpenAI
Work = Callable[[int], object]  # so many calls
Samples = list[tuple[float, float]]  # seconds by the wall and of CPU


def invoke(model: Model) -> Work:
    """Call one after the other."""
    return lambda calls: [model.invoke(PROMPT) for _ in range(calls)]


def stream(model: Model) -> Work:
    """Stream one after the other."""
    return lambda calls: [sum(1 for _ in model.stream(PROMPT)) for _ in range(calls)]


def ainvoke(model: Model, runner: asyncio.Runner) -> Work:
    """Call one after the other on an event loop."""

    async def batch(calls: int) -> None:
        for _ in range(calls):
            await model.ainvoke(PROMPT)

    return lambda calls: runner.run(batch(calls))


def astream(model: Model, runner: asyncio.Runner) -> Work:
    """Stream one after the other on an event loop."""

    async def batch(calls: int) -> None:
        for _ in range(calls):
            async for _ in model.astream(PROMPT):
                pass

    return lambda calls: runner.run(batch(calls))


def pairs(base_url: str, runner: asyncio.Runner) -> list[tuple[str, Work, Work]]:
    """Return what is compared: a name, the router's way and the other's way."""
    key = "sk-or-v1-simulated"
    router = ChatOpenRouterFree(models=[MODEL], api_key=key, base_url=base_url, extra_body=OFF)
    plain = ChatOpenRouterFree(models=[MODEL], api_key=key, base_url=base_url, extra_body=OFF, wire="plain")
    bare: dict[str, Any] = {"model": MODEL, "api_key": key, "base_url": base_url, "max_retries": 0, "extra_body": OFF}
    other, streaming = ChatOpenAI(**bare), ChatOpenAI(**bare, streaming=True)
    return [
        ('invoke, wire="plain"', invoke(plain), invoke(other)),
        ('invoke, wire="stream"', invoke(router), invoke(other)),
        ("the same, both streaming", invoke(router), invoke(streaming)),
        ("stream", stream(router), stream(other)),
        ('ainvoke, wire="plain"', ainvoke(plain, runner), ainvoke(other, runner)),
        ('ainvoke, wire="stream"', ainvoke(router, runner), ainvoke(other, runner)),
        ("the same, both streaming", ainvoke(router, runner), ainvoke(streaming, runner)),
        ("astream", astream(router, runner), astream(other, runner)),
        ("ChatOpenAI beside itself", invoke(other), invoke(other)),
    ]


def measure(ours: Work, theirs: Work, rounds: int, calls: int) -> tuple[Samples, Samples]:
    """Return wall and CPU seconds of each sample; who comes first changes from pair to pair."""
    for work in (ours, theirs):
        work(10)
    samples: tuple[Samples, Samples] = ([], [])
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for who in order:
            wall, cpu = timed(partial((ours, theirs)[who], calls))
            samples[who].append((wall / calls, cpu / calls))
    return samples


def main() -> None:
    """Print the table."""
    rounds, calls = ([int(word) for word in sys.argv[1:]] + [60, 5][len(sys.argv) - 1 :])[:2]
    row = "{:<26} {:>9} {:>11}   {:<18} {:>9} {:>11}   {}"
    print("The router beside a bare ChatOpenAI; milliseconds a call, medians; ratio: median (quartiles)")
    print(row.format("", "router", "ChatOpenAI", "ratio (wall)", "CPU", "CPU", "ratio (CPU)"))
    with simulator() as base_url, asyncio.Runner() as runner:
        for name, ours, theirs in pairs(base_url, runner):
            mine, yours = measure(ours, theirs, rounds, calls)
            wall, cpu = ([a[i] / b[i] for a, b in zip(mine, yours, strict=True) if b[i]] for i in (0, 1))
            middle = [f"{1000 * statistics.median(s[i] for s in who):.2f}" for i in (0, 1) for who in (mine, yours)]
            print(row.format(name, *middle[:2], spread(wall), *middle[2:], spread(cpu)), flush=True)
    print(noise())


if __name__ == "__main__":
    main()
