"""The quota's book in one SQLite file: one admission, admissions of several processes, one call's whole decision.

Not part of the test run. From the project's root:

    python -m pytest tests/benchmarks/test_bench_quota.py -o addopts= --benchmark-columns=median,iqr,ops,rounds

Aims: an admission and a decision in a median of 0.2 and 0.3 ms, 5,000 admissions a second by eight processes, and
no difference made by a long history. Only a tenth of that is asserted: a busy machine is no slow code.
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from measuring import Crowd, crowd, noise, spread, timed
from pytest_benchmark.fixture import BenchmarkFixture

from langchain_openrouter_free.books.breaker import Cooldown
from langchain_openrouter_free.books.budget import Need
from langchain_openrouter_free.books.health import Health
from langchain_openrouter_free.books.ledger import Ledger, Measured, Stated
from langchain_openrouter_free.books.quota import DAY, MINUTE, Limits, Share, Windows
from langchain_openrouter_free.engine.bookkeeping import Accounts, Books, Turn
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.route.actions import Try, Wait
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.routing import Route
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

NOW = 1_790_000_010.0
MODELS = [f"vendor/a-model-of-usual-length-{number}:free" for number in range(30)]
FREE = tuple(map(Candidate, MODELS))
# They are never reached, but compared with.
LIMITS = Limits(per_minute=10**9, per_day=10**9)
OK = verdict(Kind.OK, status=200)
LOG = "calls:a"
HISTORY = 100_000
PROCESSES, SECONDS, TURNS = (1, 4, 8), 1.5, 3

pytestmark = pytest.mark.timeout(300)


def filled() -> Ledger:
    """Return a book of some days: all models were measured, had failed, and are over it; every third has answered."""
    cooldowns = {
        model: Cooldown(0.0, Kind.UPSTREAM_LIMIT, 0, 5)
        if place % 3 == 0
        else Cooldown(NOW - 60.0 * place, Kind.UPSTREAM_LIMIT, place % 5, 2)
        for place, model in enumerate(MODELS)
    }
    health = {model: Health(NOW - 30.0 * place, 6.0, 5.5, 0.8, 70.0) for place, model in enumerate(MODELS)}
    learned = {"minute": Stated(LIMITS.per_minute or 0, int(NOW // DAY))}
    return Ledger(cooldowns=cooldowns, health=health, learned=learned)


def refuse(warning: str) -> None:
    """End a run whose store gave the file up: its figures would be the memory's."""
    raise SystemExit(warning)


class Calls:
    """Calls that share one file: what each of them decides and books."""

    def __init__(self, path: Path | str) -> None:
        self.store = SqliteStore(path, warn=refuse, patience=30.0)
        self.accounts = Accounts(self.store, "a", "p")
        self.clock = FakeClock(NOW)

    def fill(self) -> None:
        """Write the book of some days."""
        self.store.update(self.accounts.book, lambda _: (filled(), None))

    def remember(self, rows: int) -> None:
        """Add rows to the log, in one transaction."""
        row = '{"model":"vendor/a-model-of-usual-length-0:free","kind":"ok","first_token_s":0.8,"tokens_per_s":70.1}'

        def add(file: Any) -> tuple[None, dict[str, Any]]:
            for number in range(rows):
                file.append(LOG, NOW - rows + number, row)
            return None, {}

        self.store._in_file(add)

    def admit(self) -> tuple[Books, Try]:
        """Begin a call: its first decision takes a slot."""
        books = Books(self.accounts, self.clock, self.accounts.payments(Need()), lambda: "no money here", lambda: 0.5)
        action = books.decide(Route(FREE, limits=LIMITS, share=Share("p")), 100.0)
        assert isinstance(action, Try)
        return books, action

    def decide(self) -> None:
        """Take a slot, and book an answer."""
        books, action = self.admit()
        turn = Turn(action.candidate, action.slot, action.generation)
        books.settle(turn, OK, None, measured=Measured(0.8, 70.0))

    def decide_and_log(self) -> None:
        """The same, and a row in the log."""
        self.decide()
        self.store.append(LOG, NOW, '{"model":"vendor/a-model-of-usual-length-0:free","kind":"ok"}')


def admissions(path: str) -> Callable[[], object]:
    """Return one admission, for a process of its own."""
    return Calls(path).admit


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    calls = Calls(tmp_path / "state.sqlite3")
    calls.fill()
    return calls


def ranged(values: list[float], digits: int) -> str:
    """Write a median with the least and the most."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def median(benchmark: BenchmarkFixture) -> float:
    """Return the median of what was measured, in ms; 0 where pytest-benchmark is switched off."""
    return benchmark.stats.stats.median * 1e3 if benchmark.stats else 0.0


def test_an_admission(benchmark: BenchmarkFixture, calls: Calls) -> None:
    """One process. Aim: a median of 0.2 ms."""
    benchmark(calls.admit)
    assert median(benchmark) < 2.0


@pytest.mark.parametrize("minutes", [1, 50])
def test_an_admission_behind_a_queue(benchmark: BenchmarkFixture, calls: Calls, minutes: int) -> None:
    """So many minutes are booked up, as by a batch: the next slot is booked, and given back."""
    limits = Limits(per_minute=20, per_day=10**9)
    booked = {int(NOW // MINUTE) + number: 20 for number in range(minutes)}
    windows = Windows(booked, {int(NOW // DAY): sum(booked.values())})
    calls.store.update(calls.accounts.book, lambda _: (filled()._replace(learned={}, windows=windows), None))
    books = Books(calls.accounts, calls.clock, calls.accounts.payments(Need()), lambda: "no money here", lambda: 0.5)

    def queue() -> None:
        action = books.decide(Route(FREE, paced=True, limits=limits), 100.0)
        assert isinstance(action, Wait)
        assert action.slot is not None
        books.release(action.slot)

    benchmark(queue)
    assert median(benchmark) < 4.0


def test_admissions_of_several_processes(
    benchmark: BenchmarkFixture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1, 4 and 8 processes on one file, in turns. Aims: 5,000 a second by eight; a median of 0.2 ms.

    What pytest-benchmark times here is the whole; its `extra_info` has the figures.
    """
    found: dict[int, list[Crowd]] = {processes: [] for processes in PROCESSES}

    def measure() -> None:
        for turn in range(TURNS):
            for processes in PROCESSES:
                path = tmp_path / f"{processes}.{turn}.sqlite3"
                Calls(path).fill()
                found[processes].append(crowd(admissions, (str(path),), processes, SECONDS))

    benchmark.pedantic(measure)
    with capsys.disabled():
        print(f"\nAdmissions on one file; median of {TURNS} turns (least-most); times of one in ms")
        columns = {"rate": 0, "middle": 3, "late": 2, "longest": 1, "cpu": 3, "fair": 2}
        heads = ["a second", "p50", "p99", "longest", "CPU", "slowest/fastest"]
        print(f"  {'proc':>4}" + "".join(f"{head:>23}" for head in heads))
        for processes, crowds in found.items():
            texts = [ranged([getattr(one, name) for one in crowds], digits) for name, digits in columns.items()]
            print(f"  {processes:>4}" + "".join(f"{text:>23}" for text in texts))
            benchmark.extra_info[f"{processes} processes"] = [asdict(one) for one in crowds]
        print(noise())
    assert statistics.median(one.rate for one in found[8]) > 500
    assert statistics.median(one.middle for one in found[1]) < 2.0


@pytest.mark.parametrize("rows", [0, HISTORY])
@pytest.mark.parametrize("what", ["decide", "decide_and_log"])
def test_a_decision(benchmark: BenchmarkFixture, calls: Calls, what: str, rows: int) -> None:
    """A slot taken and an answer booked, beside a log of so many rows. Aim: a median of 0.3 ms."""
    calls.remember(rows)
    benchmark(getattr(calls, what))
    assert median(benchmark) < 3.0


@pytest.mark.parametrize("what", ["decide", "decide_and_log"])
def test_a_long_history_makes_no_difference(
    benchmark: BenchmarkFixture, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """The same decisions beside no row and beside 100,000, a few of each in turns: the ratio of each pair."""
    both = Calls(tmp_path / "short.sqlite3"), Calls(tmp_path / "long.sqlite3")
    for calls, rows in zip(both, (0, HISTORY), strict=True):
        calls.fill()
        calls.remember(rows)
        getattr(calls, what)()
    ratios: list[float] = []

    def measure() -> None:
        for turn in range(150):
            times = [0.0, 0.0]
            for which in ((0, 1), (1, 0))[turn % 2]:
                work = getattr(both[which], what)
                times[which] = statistics.median(timed(work)[0] for _ in range(9))
            ratios.append(times[1] / times[0])

    benchmark.pedantic(measure)
    with capsys.disabled():
        print(f"\n{what}, beside {HISTORY:,} rows / beside none: {spread(ratios)}")
    benchmark.extra_info["ratio"] = statistics.quantiles(ratios, n=4)
    assert statistics.median(ratios) < 2.0
