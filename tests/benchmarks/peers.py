"""Our router beside what people would use instead, on one simulator in another process, in turns.

Prints one table and writes it as JSON (`--json`, by default `.benchmarks/peers.json`). A row is a median with its
quartiles; a ratio is that of the samples of one round, so what disturbs the machine disturbs both. What a contender
cannot do is said in its row. Run it with `make bench-peers`, which makes the environment that it needs.
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
from contenders import BARE, CONTENDERS, KEY
from measuring import HOUSE, noise, simulator, timed
from weight import DISTRIBUTIONS, import_seconds, weight

PROMPT = "Say in about twenty words why the sky is blue in the day and red in the evening, please."
ANSWER, SIXTY, HANG = "bench/answer:free", "bench/sixty:free", "bench/hang:free"
THINKS = "bench/thinks:free"
DEAD = [f"bench/dead-{number:02}:free" for number in range(20)]
SCENARIO: dict[str, Any] = {
    "about": "for measuring: no limits, answers at once",
    "scripts": {
        ANSWER: {"do": "ok", "reasoning": False},
        THINKS: {"do": "ok", "reasoning": True},
        SIXTY: {"do": "ok", "reasoning": False, "chunks": 60, "size": 480},
        HANG: {"do": "drip", "interval": 0.1},
        **dict.fromkeys(DEAD, "503"),
    },
}
SPENT = SCENARIO | {"per_day": 50, "day_used": 50}
AT_ONCE, LONGEST, RAW = 64, 10.0, "raw httpx"
TAKING_PART = list(CONTENDERS)
WALKS = 6  # walks in one sample where one model is dead, fewer where more are
SETTLING = [0.03]  # seconds; empty where samples follow one another at once
Work = Callable[[], object]
Sample = tuple[float, float]  # seconds by the wall and of CPU


@dataclass
class Row:
    """One line of the table: milliseconds, or what the measure is in, as quartiles."""

    measure: str
    who: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    ratio_cpu: list[float] = field(default_factory=list)
    note: str = ""

    def text(self) -> str:
        """Return the line."""
        cells = [_spread(self.wall), _spread(self.cpu), _spread(self.ratio), _spread(self.ratio_cpu)]
        return LINE.format(self.measure, self.who, *cells, self.note).rstrip()


LINE = "{:<30} {:<25} {:>20} {:>20} {:>18} {:>18}  {}"
HEAD = LINE.format("measure", "who", "wall", "CPU", "ratio (wall)", "ratio (CPU)", "")


def _spread(quartiles: Sequence[float]) -> str:
    return "{1:.2f} ({0:.2f}-{2:.2f})".format(*quartiles) if quartiles else ""


def quartiles(values: Sequence[float]) -> list[float]:
    """Return the three quartiles."""
    return [round(one, 4) for one in statistics.quantiles(values, n=4)]


class Table:
    """Prints its rows as they come."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        print(HEAD)

    def add(self, row: Row) -> None:
        """Add a row."""
        self.rows.append(row)
        print(row.text(), flush=True)

    def compared(self, measure: str, samples: dict[str, list[Sample]], base: str, notes: dict[str, str]) -> None:
        """Add a row for each who took part, beside one of them; samples are seconds."""
        for who, mine in samples.items():
            walls, cpus = [[1000 * sample[i] for sample in mine] for i in (0, 1)]
            ratios = [[a[i] / b[i] for a, b in zip(mine, samples[base], strict=True) if b[i]] for i in (0, 1)]
            wall, cpu, ratio, ratio_cpu = map(quartiles, (walls, cpus, *ratios))
            self.add(Row(measure, who, wall, cpu, ratio, ratio_cpu, notes.get(who, "")))
        for who in (who for who in notes if who not in samples):
            self.add(Row(measure, who, note=f"n/a: {notes[who]}"))


def in_turns(works: dict[str, Work], rounds: int) -> dict[str, list[Sample]]:
    """Return the samples of each, taken in turns; the order changes from round to round."""
    samples: dict[str, list[Sample]] = {who: [] for who in works}
    for number in range(rounds):
        for who in turned(list(works), number):
            samples[who].append(alone(works[who]))
    return samples


def alone(work: Work, times: int = 1) -> Sample:
    """Time a work when what came before it is over: some leave threads and garbage behind, which others would pay."""
    if SETTLING:
        time.sleep(SETTLING[0])
        gc.collect()
    return timed(work, times)


def turned(names: list[str], number: int) -> list[str]:
    """Return the names in the order of one round: by lot, so that nobody always comes after the same one."""
    return random.Random(number).sample(names, len(names))


def scaled(samples: dict[str, list[Sample]], by: float) -> dict[str, list[Sample]]:
    """Return samples of one call (or of one dead model) where each was of several."""
    return {who: [(wall / by, cpu / by) for wall, cpu in mine] for who, mine in samples.items()}


# -- the happy path


def invoke(model: Any, runner: asyncio.Runner) -> object:
    """Ask once."""
    return model.invoke(PROMPT).content


def ainvoke(model: Any, runner: asyncio.Runner) -> object:
    """Ask once on an event loop."""
    return runner.run(model.ainvoke(PROMPT)).content


def stream(model: Any, runner: asyncio.Runner) -> object:
    """Read a whole stream."""
    return [chunk.content for chunk in model.stream(PROMPT) if chunk.content]


def astream(model: Any, runner: asyncio.Runner) -> object:
    """Read a whole stream on an event loop."""

    async def read() -> object:
        return [chunk.content async for chunk in model.astream(PROMPT) if chunk.content]

    return runner.run(read())


class First:
    """The first token of a stream; the rest is read before the next one, untimed."""

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


def happy(table: Table, base_url: str, runner: asyncio.Runner, rounds: int, calls: int) -> None:
    """One model that answers at once."""
    cases = (
        ("invoke", ANSWER, invoke),
        ("ainvoke", ANSWER, ainvoke),
        ("invoke, with thoughts", THINKS, invoke),
        ("ainvoke, with thoughts", THINKS, ainvoke),
        ("stream of 60 chunks", SIXTY, stream),
        ("astream of 60 chunks", SIXTY, astream),
    )
    for measure, model_id, ask in cases:
        models = {
            one.name: one.made(base_url, [model_id]) for one in TAKING_PART if one.streams or "stream" not in measure
        }
        works: dict[str, Work] = {}
        for who, model in models.items():
            works[who] = partial(_several, calls, ask, model, runner)
            for _ in range(3):
                assert works[who]()
        table.compared(measure, scaled(in_turns(works, rounds), calls), BARE.name, {})
    first_token(table, base_url, rounds * 2)


def _several(calls: int, ask: Callable[[Any, asyncio.Runner], object], model: Any, runner: asyncio.Runner) -> object:
    return [ask(model, runner) for _ in range(calls)]


def first_token(table: Table, base_url: str, rounds: int) -> None:
    """Time to the first word of a stream."""
    firsts = {one.name: First(one.made(base_url, [ANSWER])) for one in TAKING_PART if one.streams}
    samples: dict[str, list[Sample]] = {who: [] for who in firsts}
    for number in range(-10, rounds):
        for who in turned(list(firsts), number):
            sample = alone(firsts[who])
            firsts[who].drain()
            if number >= 0:
                samples[who].append(sample)
    table.compared("first token", samples, BARE.name, {})


def crowded(table: Table, base_url: str, runner: asyncio.Runner, rounds: int) -> None:
    """64 calls at once on one event loop: milliseconds a call, and so calls a second."""

    async def crowd(model: Any) -> None:
        await asyncio.gather(*(model.ainvoke(PROMPT) for _ in range(AT_ONCE)))

    def work_of(model: Any) -> None:
        runner.run(crowd(model))

    models = {one.name: one.made(base_url, [ANSWER]) for one in TAKING_PART}
    works: dict[str, Work] = {who: partial(work_of, model) for who, model in models.items()}
    for work in works.values():
        work()
    samples = scaled(in_turns(works, rounds), AT_ONCE)
    rates = {
        who: f"{1 / statistics.median(wall for wall, _ in mine):.0f} calls a second" for who, mine in samples.items()
    }
    table.compared(f"{AT_ONCE} at once (ainvoke)", samples, BARE.name, rates)


# -- dead models


def dead(table: Table, base_url: str, rounds: int, many: int) -> None:
    """The first `many` models answer 503: what each costs beyond the answer, beside a raw round trip to it."""
    client = httpx.Client(headers={"Authorization": f"Bearer {KEY}"})
    body = {"model": DEAD[0], "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    raw = partial(client.post, f"{base_url}/chat/completions", json=body)
    notes = {one.name: one.one for one in TAKING_PART if one.one}
    able = [one for one in TAKING_PART if not one.one]
    found: dict[str, dict[str, list[Sample]]] = {when: {RAW: []} for when in ("first", "repeated")}
    for number in range(-2, rounds):
        trip = alone(raw, 5)
        walks = {one.name: _walk(partial(one.made, base_url), many) for one in able}
        for place, samples in enumerate(found.values()):
            if number >= 0:
                samples[RAW].append(trip)
                for who, walk in walks.items():
                    samples.setdefault(who, []).append((walk[place][0] / many, walk[place][1] / many))
    for when, samples in found.items():
        table.compared(f"each of {many} dead, {when}", samples, RAW, notes)


def _walk(made: Callable[[Sequence[str]], Any], many: int) -> list[Sample]:
    """Return what a first and a second call take beyond those of the same model that asks who answers alone.

    The first of a model opens its connection; several models, so that the difference is not lost in the noise.
    """
    times = max(WALKS // many, 1)
    healthy, models, others = [
        [made(ids) for _ in range(times)] for ids in ([ANSWER], [*DEAD[:many], ANSWER], [ANSWER])
    ]
    taken: list[Sample] = []
    for _ in ("first", "second"):
        before, walk, after = [alone(partial(_each, group)) for group in (healthy, models, others)]
        taken.append(((walk[0] - (before[0] + after[0]) / 2) / times, (walk[1] - (before[1] + after[1]) / 2) / times))
    return taken


def _each(models: Sequence[Any]) -> None:
    for model in models:
        model.invoke(PROMPT)


# -- the day spent, and a hang


def spent(table: Table, base_url: str, calls: int = 5) -> None:
    """The account's free day is used up, 20 models are named: requests that so many calls burn."""
    for contender in TAKING_PART:
        root = play(base_url, SPENT)
        model = contender.made(base_url, [ANSWER] if contender.one else [*DEAD[1:], ANSWER])
        told = {_ending(model) for _ in range(calls)}
        received = httpx.get(f"{root}/simulator/log").json()["received"]
        burnt = sum(one["path"].endswith("/completions") for one in received)
        note = f"{burnt} requests; {', '.join(sorted(told))}" + (f" ({contender.one})" if contender.one else "")
        table.add(Row(f"day spent, {calls} calls", contender.name, note=note))
    play(base_url, SCENARIO)


def play(base_url: str, scenario: dict[str, Any]) -> str:
    """Let the simulator begin anew with a scenario; return its address."""
    root = base_url.removesuffix("/api/v1")
    httpx.post(f"{root}/simulator/reset", json={"scenario": scenario}).raise_for_status()
    return root


def _ending(model: Any, how: str = "invoke") -> str:
    try:
        model.invoke(PROMPT) if how == "invoke" else list(model.stream(PROMPT))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return type(error).__name__
    return "an answer"


def hang(table: Table, base_url: str) -> None:
    """Comments for ever (blanks in a plain body) with timeout=2: how long a call takes."""
    cases = [(how, one.name) for how in ("invoke", "stream") for one in TAKING_PART if one.streams or how == "invoke"]
    with ThreadPoolExecutor(3) as at_once:
        notes = list(at_once.map(lambda case: _hung(base_url, *case), cases))
    for (how, who), note in zip(cases, notes, strict=True):
        table.add(Row(f"comments only, {how}", who, note=note))


def _hung(base_url: str, how: str, who: str) -> str:
    """Make one call in a process that can be ended; say how it ended."""
    command = [sys.executable, __file__, "--hang", base_url, who, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST + 60, check=False)
    return (done.stdout.strip().splitlines() or ["failed"])[-1]


def hang_once(base_url: str, who: str, how: str) -> None:
    """Make one call of the hanging model; end the process when it takes too long."""
    contender = next(one for one in CONTENDERS if one.name == who)
    contender.made(base_url, [ANSWER], LONGEST).invoke(PROMPT)  # so that everything is loaded
    model = contender.made(base_url, [HANG], 2.0)

    def give_up() -> None:
        print(f"still waiting after {LONGEST:.0f} s", flush=True)
        os._exit(0)

    timer = threading.Timer(LONGEST, give_up)
    timer.daemon = True
    timer.start()
    began = time.perf_counter()
    ending = _ending(model, how)
    print(f"{time.perf_counter() - began:.1f} s, {ending}")


# -- import and size


def heavy(table: Table, rounds: int) -> None:
    """What each adds to a program that has langchain-core, and to an environment that has langchain-openai."""
    samples = import_seconds(rounds)
    base = samples.pop("")
    for who, mine in samples.items():
        more = [a - b for a, b in zip(mine, base, strict=True)]
        table.add(Row("import, s of CPU more", who, cpu=quartiles(more)))
    for who in DISTRIBUTIONS:
        table.add(Row("installed", who, note=weight(who)))


def main() -> None:
    """Print the table, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="samples of each (default: 40)")
    parser.add_argument("--calls", type=int, default=5, help="calls in a sample of the happy path (default: 5)")
    parser.add_argument("--json", type=Path, default=HOUSE / ".benchmarks" / "peers.json")
    parser.add_argument("--only", nargs="*", default=["happy", "crowd", "dead", "spent", "hang", "heavy"])
    parser.add_argument("--who", nargs="*", default=[], help="whom to measure beside ChatOpenAI (default: all)")
    parser.add_argument("--hot", action="store_true", help="no pause between samples: as calls of a loop, caches warm")
    parser.add_argument("--hang", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    if given.hang:
        hang_once(*given.hang)
        return
    SETTLING[:] = [] if given.hot else SETTLING
    TAKING_PART[:] = [one for one in CONTENDERS if not given.who or one.name in (BARE.name, *given.who)]
    with simulator() as base_url, asyncio.Runner() as runner:
        httpx.post(
            f"{base_url.removesuffix('/api/v1')}/simulator/reset", json={"scenario": SCENARIO}
        ).raise_for_status()
        table, rounds = Table(), given.rounds

        def deaths() -> None:
            for many in (1, 5, 20):
                dead(table, base_url, max(rounds // 2, 3), many)

        parts: dict[str, Callable[[], object]] = {
            "happy": lambda: happy(table, base_url, runner, rounds, given.calls),
            "crowd": lambda: crowded(table, base_url, runner, max(rounds // 2, 3)),
            "dead": deaths,
            "spent": lambda: spent(table, base_url),
            "hang": lambda: hang(table, base_url),
            "heavy": lambda: heavy(table, max(rounds // 4, 3)),
        }
        for name in given.only:
            parts[name]()
    machine = noise()
    print(machine)
    versions = {one: metadata.version(one) for one in (*DISTRIBUTIONS.values(), "langchain-core", "httpx")}
    told = {"date": time.strftime("%Y-%m-%d"), "hot": given.hot, "machine": machine, "versions": versions}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(told | {"rows": [asdict(row) for row in table.rows]}, indent=1) + "\n")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
