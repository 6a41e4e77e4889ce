"""A soak of the traffic: the free tier's real weather, faults of every kind, kills, and a day that is used up.

`python tests/soak/traffic.py` plays two hours before midnight to 1, 4 and 16 processes, on a clock that runs 60 times
as fast, with the state in a file and, where a server is installed, in Redis; and prints a table. It takes a quarter of
an hour. `--short` plays one small round (`make test` does), `--json FILE` writes the figures as well.

The simulator runs in this process; what its models do follows `tests/weather/statistics.csv`, with one request in ten
meeting a fault of any kind that the simulator knows. Half of a process's calls are sync, half async, half of each
streamed. Processes are killed and replaced. The calls want more than the day has, so that its end can be looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from langchain_openrouter_free.engine.bookkeeping import Accounts
from langchain_openrouter_free.request.settings import account
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.simulator.behaviours import FAILING_200, TRANSPORT
from langchain_openrouter_free.simulator.failures import FAILURES
from langchain_openrouter_free.stores.naming import store_of

sys.path += [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "weather")]

import redis_server
import served
from replay import CATALOGUE, Replay
from store_helpers import forked
from traffic_worker import Plan, nurse
from weather import Weather

MIDNIGHT, DAY = 1_784_851_200.0, 86_400.0  # 2026-07-24 00:00 UTC
# How often the weather is looked at, in seconds of the fast clock.
STEP = 300.0
# One request in so many meets a fault.
FAULTY = 10
# These end a call by right, whoever else could answer; they would hide what is looked for if they came often.
FINAL = 0.1


@dataclass(frozen=True)
class Round:
    """One round: how many processes, with which state, how long (seconds of the fast clock) and how much is allowed."""

    processes: int
    state: str = "sqlite"
    seconds: float = 7200.0
    speed: float = 60.0
    per_day: int = 500
    threads: int = 2
    tasks: int = 2
    kills: int = 8


ROUNDS = [Round(processes, state) for state in ("sqlite", "redis") for processes in (1, 4, 16)]
SHORT = Round(4, seconds=1500.0, speed=120.0, per_day=80, threads=1, tasks=1, kills=2)


def scripts(weather: Weather, moment: float, speed: float) -> dict[str, Any]:
    """Return what each model does at a moment: its weather, at the clock's speed, and faults of every kind."""
    # None that lies about the day: that the rest of it was left alone would be right.
    faults = [name for name in (*FAILURES, *FAILING_200, *TRANSPORT) if "account-day" not in name]
    final = {name for name in FAILURES if name[:3] in ("400", "401", "402", "403", "413") or "account" in name}
    each = 1000 / FAULTY / len(faults)
    mix = [{"do": name, "weight": each * (FINAL if name in final else 1)} for name in faults]
    return {
        model: own + mix if own else "404-delisted" for model, own in served.scripts(weather, moment, speed).items()
    }


@dataclass
class Soak:
    """One round under way."""

    plan: Round
    folder: Path
    state: str
    seed: int = 0
    killed: int = 0
    wrong: list[str] = field(default_factory=list)

    def play(self) -> dict[str, Any]:
        """Play it, and return the figures."""
        plan = self.plan
        orders, ours = os.pipe()
        nursery = forked(lambda: nurse(orders, ours))
        os.close(orders)
        weather, began = Weather(self.seed), time.time()
        shown = MIDNIGHT - plan.seconds

        def clock() -> float:
            return shown + (time.time() - began) * plan.speed

        laws = Scenario(models=list(CATALOGUE), per_minute=20, per_day=plan.per_day)
        with Simulator(laws, clock=clock, seed=self.seed) as sim:
            sim.script(scripts(weather, clock(), plan.speed))
            wanted = plan.seconds / plan.per_day / 1.3
            pause = max(wanted * plan.processes * (plan.threads + plan.tasks) - 10.0, 0.0)
            workers = Plan(
                sim.base_url,
                self.state,
                str(self.folder),
                began,
                shown,
                MIDNIGHT - 5.0,
                plan.speed,
                20,
                plan.per_day,
                pause,
                plan.threads,
                plan.tasks,
            )
            self.order(ours, json.dumps(asdict(workers)))
            for number in range(plan.processes):
                self.order(ours, f"start {number}")
            used = self.through_the_day(sim, weather, clock, ours)
            os.close(ours)
            if os.waitpid(nursery, 0)[1]:
                self.wrong.append("a worker did not end as it should")
            return self.result(sim, used)

    def order(self, pipe: int, what: str) -> None:
        """Have a worker started or killed."""
        os.write(pipe, f"{what}\n".encode())

    def through_the_day(self, sim: Simulator, weather: Weather, clock: Any, pipe: int) -> int:
        """Let the weather change and workers die until midnight; return what the service counted of the day."""
        chance, living = random.Random(self.seed), list(range(self.plan.processes))
        kills = sorted(chance.uniform(0.1, 0.85) for _ in range(self.plan.kills))
        begins, born, used, step = clock(), len(living), 0, 0.0
        while (now := clock()) < MIDNIGHT - 3.0:
            if now >= step:
                sim.script(scripts(weather, now, self.plan.speed))
                step = now + STEP
            if kills and now >= begins + kills[0] * self.plan.seconds:
                kills.pop(0)
                victim = chance.choice(living)
                living.remove(victim)
                living.append(born)
                self.order(pipe, f"kill {victim}")
                self.order(pipe, f"start {born}")
                born, self.killed = born + 1, self.killed + 1
            used = sim.account.day_used
            time.sleep(0.02)
        return used

    def result(self, sim: Simulator, used: int) -> dict[str, Any]:
        """Put together what the workers told, and set the book against what the service has counted."""
        told = [json.loads(line) for file in sorted(self.folder.glob("*.jsonl")) for line in _whole_lines(file)]
        calls = [one for one in told if "end" in one]
        ends = Counter(one["end"] for one in calls)
        self.wrong += [one["story"] for one in calls if one["story"]] + [
            one["trouble"] for one in told if "trouble" in one
        ]
        left = [one for one in told if "sockets" in one]
        spent = ends["FreeQuotaExhausted: day"]
        served = len(calls) - spent
        seconds = sorted(one["seconds"] for one in calls if one["end"] == "answered") or [0.0]
        chats = len(sim.chats())
        # What no script refused, the account did.
        over = sum(chat.status == 429 and not chat.behaviour for chat in sim.chats())
        booked = self.booked(sim)
        if booked < used:
            self.wrong.append(f"the book counts {booked} requests of the day, the service {used}")
        p50, p95, p99 = (round(seconds[int(len(seconds) * part)], 1) for part in (0.5, 0.95, 0.99))
        return {
            "processes": self.plan.processes,
            "state": self.plan.state,
            "killed": self.killed,
            "calls with quota": served,
            "answers per call": round(ends["answered"] / max(served, 1), 4),
            "requests per answer": round(chats / max(ends["answered"], 1), 3),
            "p50": p50,
            "p95": p95,
            "p99": p99,
            "calls when it was used up": spent,
            "quota left unused": self.plan.per_day - used,
            "asked beyond it": over,
            "book - service": booked - used,
            "billed": str(sum(entry.cost for entry in sim.bill)),
            "unknown exceptions": len(self.wrong),
            "sockets left": sum(one["sockets"] for one in left),
            "tasks left": sum(one["tasks"] for one in left),
            "ends": dict(ends.most_common()),
            "violations": self.wrong[:10],
        }

    def booked(self, sim: Simulator) -> int:
        """Return how many requests of the day the account's book holds."""
        kept = store_of(self.state)
        book = Accounts(kept, account(sim.api_key, sim.base_url), "soak").look()
        return book.windows.days.get(int((MIDNIGHT - 1) // DAY), 0)


def _whole_lines(file: Path) -> Iterator[str]:
    """Yield the lines that were written to their end."""
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            yield line


def memory(calls: int = 10_000) -> dict[str, Any]:
    """Return by how many KiB a process grows over so many calls, after as many for it to find its size."""
    replay = Replay(Weather(0), "catalogue", every=30.0, path="invoke")
    sizes = []
    for _ in range(2):
        for _ in range(calls):
            with contextlib.suppress(Exception):
                replay.router.invoke("hello")
            replay.clock.slept.clear()
            replay.clock.advance(20.0)
        sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return {"calls": calls, "KiB grown": sizes[1] - sizes[0], "KiB in all": sizes[1]}


COLUMNS = (
    "processes", "state", "killed", "calls with quota", "answers per call", "requests per answer", "p50", "p95", "p99",
    "quota left unused", "asked beyond it", "book - service", "billed", "unknown exceptions", "sockets left",
    "tasks left",
)  # fmt: skip


def played(plan: Round, seed: int = 0) -> dict[str, Any]:
    """Play one round in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        told = Path(folder) / "told"
        told.mkdir()
        state = str(Path(folder) / "state.sqlite3")
        if plan.state == "redis":
            home = Path(folder) / "redis"
            home.mkdir()
            state = stack.enter_context(redis_server.served(home)).url
        return Soak(plan, told, state, seed).play()


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    rounds = [SHORT] if said.short else [one for one in ROUNDS if one.state == "sqlite" or redis_server.PROGRAM]
    told = []
    for plan in rounds:
        told.append(played(plan, said.seed))
        if not said.short:
            if len(told) == 1:
                sys.stdout.write(f"| {' | '.join(COLUMNS)} |\n|{' --: |' * len(COLUMNS)}\n")
            sys.stdout.write(f"| {' | '.join(str(told[-1][name]) for name in COLUMNS)} |\n")
            sys.stdout.flush()
    if said.short:
        sys.stdout.write(json.dumps(told[0], indent=2) + "\n")
    else:
        grown = memory()
        sys.stdout.write(f"\n{grown['KiB grown']} KiB more after {grown['calls']} further calls\n")
        for one in told:
            sys.stdout.write(f"{one['processes']} {one['state']}: {one['ends']}\n")
    if said.json:
        said.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(one["violations"] for one in told))


if __name__ == "__main__":
    main()
