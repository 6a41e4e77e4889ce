"""Our router beside what people would use instead: each in a process of its own, on one simulator, in turns.

Prints one table and writes it as JSON (`--json`, by default `.benchmarks/peers.json`). A row is a median with its
quartiles; a ratio is that of the samples of one round, so what disturbs the machine disturbs both. What a contender
cannot do is said in its row. Run it with `make bench-peers`, which makes the environment that it needs.
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import argparse
import json
import random
import select
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

sys.path.append(str(Path(__file__).resolve().parents[1] / "weather"))

import httpx
from contenders import BARE, CONTENDERS
from measuring import HOUSE, noise, simulator
from peer import ANSWERED, AT_ONCE, RAW, Sample
from replay import CATALOGUE
from served import scripts
from weather import Weather
from weight import DISTRIBUTIONS, import_seconds, weight

from langchain_openrouter_free.simulator.log import hashed

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
LONGEST, PATIENCE = 10.0, 2.0  # seconds that a hanging call is waited for, and that it is told to take at most
HAPPY = (
    ("invoke", "invoke", ANSWER),
    ("ainvoke", "ainvoke", ANSWER),
    ("invoke, with thoughts", "invoke", THINKS),
    ("ainvoke, with thoughts", "ainvoke", THINKS),
    ("stream of 60 chunks", "stream", SIXTY),
    ("astream of 60 chunks", "astream", SIXTY),
)
TRIPS = 5  # raw round trips in one sample
LEAD = 5.0  # seconds in which all make their models
# The replay: so many spans of so many seconds each, a call every so many, at so many times their speed.
SPANS, SPAN, EVERY, SPEED, MINUTE = 24, 600.0, 20.0, 60.0, 60.0
Job = tuple[str, dict[str, Any]]  # its name in `peer.py`, and its arguments


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


class Worker:
    """A process with one contender in it (see `peer.py`), or with none: the bare HTTP client."""

    def __init__(self, who: str, base_url: str, *, cold: bool = False) -> None:
        self._who = who
        command = [sys.executable, str(Path(__file__).with_name("peer.py")), who, base_url, *["--cold"] * cold]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def do(self, job: str, patience: float | None = None, **how: Any) -> Any:
        """Let it do one job; None if that takes more than so many seconds."""
        self.begin(job, **how)
        return self.end(patience)

    def begin(self, job: str, **how: Any) -> None:
        """Let it begin a job."""
        assert self._process.stdin is not None
        print(json.dumps([job, how]), file=self._process.stdin, flush=True)

    def end(self, patience: float | None = None) -> Any:
        """Wait for the end of its job; None if that takes more than so many seconds."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], patience)[0]:
            return None
        line = self._process.stdout.readline()
        return json.loads(line) if line else sys.exit(f"{self._who} failed")


class Contest:
    """Those who take part, and the table of what they do."""

    def __init__(self, base_url: str, names: Sequence[str], calls: int, *, cold: bool) -> None:
        self.base_url, self.calls, self.table = base_url, calls, Table()
        self.taking_part = [one for one in CONTENDERS if not names or one.name in (BARE.name, *names)]
        self._cold, self._workers, self._held = cold, dict[str, Worker](), ExitStack()

    def __enter__(self) -> Self:
        for who in [*[one.name for one in self.taking_part], RAW]:
            self._workers[who] = self._held.enter_context(Worker(who, self.base_url, cold=self._cold))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def in_turns(self, jobs: Mapping[str, Job], rounds: int) -> dict[str, list[Any]]:
        """Return what each finds by its job, in turns, in another order each round; the first round is for warming."""
        found: dict[str, list[Any]] = {who: [] for who in jobs}
        for number in range(-1, rounds):
            # By lot, so that nobody always comes after the same one.
            for who in random.Random(number).sample(list(jobs), len(jobs)):
                job, how = jobs[who]
                one = self._workers[who].do(job, **how)
                found[who] += [one] if number >= 0 else []
        return found

    def happy(self, rounds: int) -> None:
        """One model that answers at once."""
        everyone, streaming = [[one.name for one in self.taking_part if one.streams or all_] for all_ in (True, False)]
        for measure, how, model in HAPPY:
            job = ("ask", {"how": how, "model": model, "calls": self.calls})
            samples = self.in_turns(dict.fromkeys(streaming if "stream" in how else everyone, job), rounds)
            self.table.compared(measure, samples, BARE.name, {})
        samples = self.in_turns(dict.fromkeys(streaming, ("first", {"model": ANSWER, "calls": self.calls})), rounds)
        self.table.compared("first token", samples, BARE.name, {})

    def crowd(self, rounds: int) -> None:
        """64 calls at once on one event loop: milliseconds a call, and so calls a second."""
        job = ("crowd", {"model": ANSWER})
        samples = self.in_turns({one.name: job for one in self.taking_part}, max(rounds // 2, 3))
        rates = {
            who: f"{1 / statistics.median(wall for wall, _ in mine):.0f} calls a second"
            for who, mine in samples.items()
        }
        self.table.compared(f"{AT_ONCE} at once (ainvoke)", samples, BARE.name, rates)

    def dead(self, rounds: int) -> None:
        """The first 1, 5 and 20 models answer 503: what each costs beyond the answer, beside a raw round trip to it."""
        notes = {one.name: one.one for one in self.taking_part if one.one}
        for many in (1, 5, 20):
            walk = ("walk", {"dead": DEAD[:many], "alive": ANSWER})
            jobs: dict[str, Job] = {one.name: walk for one in self.taking_part if not one.one}
            found = self.in_turns(jobs | {RAW: ("trip", {"model": DEAD[0], "calls": TRIPS})}, max(rounds // 2, 3))
            trips = found.pop(RAW)
            for place, when in enumerate(("first", "repeated")):
                samples = {RAW: trips} | {who: [walk[place] for walk in walks] for who, walks in found.items()}
                self.table.compared(f"each of {many} dead, {when}", samples, RAW, notes)

    def spent(self, calls: int = 5) -> None:
        """The account's free day is used up, 20 models are named: requests that so many calls burn."""
        for one in self.taking_part:
            root = play(self.base_url, SPENT)
            told = self._workers[one.name].do("endings", ids=[ANSWER] if one.one else [*DEAD[1:], ANSWER], calls=calls)
            received = httpx.get(f"{root}/simulator/log").json()["received"]
            burnt = sum(request["path"].endswith("/completions") for request in received)
            note = f"{burnt} requests; {', '.join(told)}" + (f" ({one.one})" if one.one else "")
            self.table.add(Row(f"day spent, {calls} calls", one.name, note=note))
        play(self.base_url, SCENARIO)

    def replay(self) -> None:
        """Real weather, the same moments for all: parts of each day of the statistics, at so many times their speed."""
        weather, names = Weather(), [one.name for one in self.taking_part]
        for who in names:
            self._workers[who].do("ask", how="invoke", model=ANSWER, calls=1)  # so that everything is loaded
        play(self.base_url, SCENARIO | {"models": CATALOGUE})
        keys = {who: f"sk-or-v1-replay-{number}" for number, who in enumerate(names)}
        spans = spans_of(weather, time.time() + LEAD)
        for number, (who, key) in enumerate(keys.items()):
            # Not all at the same instant: they have two cores between them.
            late = number * EVERY / SPEED / len(names)
            mine = [(began + late, shown) for began, shown in spans]
            held = {"speed": SPEED, "every": EVERY, "length": SPAN, "timeout": MINUTE}
            self._workers[who].begin("replay", ids=CATALOGUE, key=key, spans=mine, **held)
        for began, shown in spans:
            time.sleep(max(began - time.time(), 0.0))
            told = {model: mix or "404-delisted" for model, mix in scripts(weather, shown + SPAN / 2, SPEED).items()}
            httpx.post(f"{root_of(self.base_url)}/simulator/script", json=told).raise_for_status()
        taken = {who: self._workers[who].end() for who in names}
        received = httpx.get(f"{root_of(self.base_url)}/simulator/log", timeout=60).json()["received"]
        asked = Counter(one["headers"].get("authorization") for one in received if one["path"].endswith("/completions"))
        for who, calls in taken.items():
            self.table.add(Row("trace replay", who, note=_replayed(calls, asked[hashed(f"Bearer {keys[who]}")])))
        play(self.base_url, SCENARIO)

    def hang(self) -> None:
        """Comments for ever (blanks in a plain body) with timeout=2: how long a call takes."""
        for how in ("invoke", "stream"):
            for one in (one for one in self.taking_part if one.streams or how == "invoke"):
                with Worker(one.name, self.base_url) as worker:
                    worker.do("ask", how="invoke", model=ANSWER, calls=1)  # so that everything is loaded
                    ended = worker.do("hang", LONGEST, how=how, model=HANG, timeout=PATIENCE)
                note = f"still waiting after {LONGEST:.0f} s" if ended is None else ended
                self.table.add(Row(f"comments only, {how}", one.name, note=note))

    def heavy(self, rounds: int) -> None:
        """What each adds to a program that has langchain-core, and to an environment that has langchain-openai."""
        samples = import_seconds(max(rounds // 4, 3))
        base = samples.pop("")
        for who, mine in samples.items():
            more = [a - b for a, b in zip(mine, base, strict=True)]
            self.table.add(Row("import, s of CPU more", who, cpu=quartiles(more)))
        for who in DISTRIBUTIONS:
            self.table.add(Row("installed", who, note=weight(who)))


def play(base_url: str, scenario: dict[str, Any]) -> str:
    """Let the simulator begin anew with a scenario; return its address."""
    root = root_of(base_url)
    httpx.post(f"{root}/simulator/reset", json={"scenario": scenario}).raise_for_status()
    return root


def spans_of(weather: Weather, began: float) -> list[tuple[float, float]]:
    """Return when each span of the replay begins, by the machine and in the statistics: evenly over all their days."""
    apart = (weather.ends - weather.begins) / SPANS
    shown = [weather.begins + (number + 0.5) * apart - SPAN / 2 for number in range(SPANS)]
    return [(began + number * SPAN / SPEED, moment) for number, moment in enumerate(shown)]


def root_of(base_url: str) -> str:
    """Return the simulator's address."""
    return base_url.removesuffix("/api/v1")


def _replayed(calls: list[tuple[str, float]], requests: int) -> str:
    took = sorted(seconds for ending, seconds in calls if ending == ANSWERED)
    others = Counter(ending for ending, _ in calls if ending != ANSWERED)
    told = ", ".join(f"{times} {ending}" for ending, times in others.most_common())
    if not took:
        return f"{len(calls)} calls, none answered, {requests} requests ({told})"
    p50, p95, p99 = (took[int(len(took) * part)] for part in (0.5, 0.95, 0.99))
    in_time = sum(seconds <= MINUTE for seconds in took)
    shares = f"{len(took) / len(calls):.1%} answered, {in_time / len(calls):.1%} within 60 s"
    return (
        f"{len(calls)} calls, {shares}, {requests / len(took):.3f} requests an answer; "
        f"p50 {p50:.1f} s, p95 {p95:.1f} s, p99 {p99:.1f} s" + (f" ({told})" if told else "")
    )


def main() -> None:
    """Print the table, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="samples of each (default: 40)")
    parser.add_argument("--calls", type=int, default=10, help="calls in a sample of the happy path (default: 10)")
    parser.add_argument("--json", type=Path, default=HOUSE / ".benchmarks" / "peers.json")
    parser.add_argument("--only", nargs="*", default=["happy", "crowd", "dead", "spent", "hang", "replay", "heavy"])
    parser.add_argument("--who", nargs="*", default=[], help="whom to measure beside ChatOpenAI (default: all)")
    parser.add_argument("--cold", action="store_true", help="each call after other work, caches cold (default: a loop)")
    given = parser.parse_args()
    with simulator() as base_url:
        play(base_url, SCENARIO)
        with Contest(base_url, given.who, given.calls, cold=given.cold) as contest:
            parts: dict[str, Callable[[], None]] = {
                "happy": lambda: contest.happy(given.rounds),
                "crowd": lambda: contest.crowd(given.rounds),
                "dead": lambda: contest.dead(given.rounds),
                "spent": contest.spent,
                "hang": contest.hang,
                "replay": contest.replay,
                "heavy": lambda: contest.heavy(given.rounds),
            }
            for name in given.only:
                parts[name]()
    machine = noise()
    print(machine)
    versions = {one: metadata.version(one) for one in (*DISTRIBUTIONS.values(), "langchain-core", "httpx")}
    told = {"date": time.strftime("%Y-%m-%d"), "cold": given.cold, "machine": machine, "versions": versions}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(row) for row in contest.table.rows]
    given.json.write_text(json.dumps(told | {"rows": rows}, indent=1) + "\n")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
