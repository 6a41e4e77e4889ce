"""What a paid call costs more than a free one: its reservation, the id of its answer, and its settlement, in SQLite.

Not part of the test run. From the project's root:

    python -m pytest tests/benchmarks/test_bench_money.py -o addopts= -s

Aim: at most 0.5 ms more at the median. A tenth of that is asserted: a busy machine is no slow code.
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from measuring import noise, simulator

from langchain_openrouter_free import ChatOpenRouterFree
from langchain_openrouter_free.books.budget import Budget, Need
from langchain_openrouter_free.books.quota import Limits
from langchain_openrouter_free.catalogue.catalogue import Prices
from langchain_openrouter_free.engine.bookkeeping import Accounts, Books, Turn
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.route.actions import Try
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.routing import Route
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

NOW = 1_790_000_010.0
FREE, PAID = "z-ai/glm-5.2:free", "simulated/paid-small"
LIMITS = Limits(per_minute=10**9, per_day=10**9)
OK = verdict(Kind.OK, status=200)
USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "cost": 0.00001}
ROUNDS, CALLS = 1500, 150

pytestmark = pytest.mark.timeout(300)


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def interleaved(free: Callable[[], object], paid: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Return the medians of both in ms, and the median of their differences, pair by pair."""
    pairs = []
    for turn in range(rounds + 10):
        first = turn % 2 == 0
        one = milliseconds(free if first else paid)
        other = milliseconds(paid if first else free)
        if turn >= 10:
            pairs.append((one, other) if first else (other, one))
    more = [after - before for before, after in pairs]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), statistics.median(more)


def told(what: str, found: tuple[float, float, float]) -> None:
    print(f"{what}: free {found[0]:.3f} ms, paid {found[1]:.3f} ms, {found[2]:+.3f} ms (medians); {noise()}")


def test_what_is_booked(tmp_path: Path) -> None:
    """Decision and settlement of one call, without the wire."""
    store, clock = SqliteStore(tmp_path / "state.sqlite3"), FakeClock(NOW)
    accounts = Accounts(store, "a", "p", Budget.parse("$100000/day, $1000000/month, $10000000"))
    prices = Prices(Decimal("0.0000001"), Decimal("0.0000004"))
    free, dear = (Candidate(FREE),), (Candidate(PAID, paid=True, prices=prices),)
    count = iter(range(10**9))

    def books() -> Books:
        payments = accounts.payments(Need(prompt_tokens=200))
        return Books(accounts, clock, payments, lambda: f"key-{next(count)}", lambda: 0.5)

    def a_free_call() -> None:
        mine = books()
        action = mine.decide(Route(free, limits=LIMITS), 100.0)
        assert isinstance(action, Try)
        mine.settle(Turn(action.candidate, action.slot, action.generation), OK, USAGE | {"cost": 0})

    def a_paid_call() -> None:
        mine = books()
        action = mine.decide(Route((), dear, limits=LIMITS), 100.0)
        assert isinstance(action, Try)
        turn = mine.reserve(action)
        assert isinstance(turn, Turn)
        mine.named(turn, f"gen-{turn.reservation}")
        mine.settle(turn, OK, USAGE, answer=f"gen-{turn.reservation}")

    found = interleaved(a_free_call, a_paid_call, ROUNDS)
    told("booked", found)
    assert found[2] < 5.0


@pytest.mark.parametrize("wire", ["plain", "stream"])
def test_whole_calls(tmp_path: Path, wire: str) -> None:
    """`invoke` over HTTP: the same question to a free and to a paid model."""
    with simulator() as url:
        # The same words of both, or their answers would be compared.
        script = {name: {"do": "ok", "text": "one word", "reasoning": ""} for name in (FREE, PAID)}
        httpx.post(f"{url.removesuffix('/api/v1')}/simulator/script", json=script).raise_for_status()
        model = ChatOpenRouterFree(
            models=[FREE],
            base_url=url,
            api_key="sk-or-v1-simulated",
            state=str(tmp_path / "state.sqlite3"),
            wire=wire,
            allow_paid=True,
            paid_models=[PAID],
            budget="$100000/day",
            max_tokens=100,
        )
        found = interleaved(
            lambda: model.invoke("a word", model=FREE), lambda: model.invoke("a word", model=PAID), CALLS
        )
        with httpx.Client(headers={"Authorization": "Bearer sk-or-v1-simulated"}) as client:

            def bare(name: str) -> None:
                body = {"model": name, "messages": [{"role": "user", "content": "a word"}], "max_tokens": 100}
                client.post(f"{url}/chat/completions", json=body | {"stream": wire == "stream"}).raise_for_status()

            alone = interleaved(lambda: bare(FREE), lambda: bare(PAID), CALLS)
    told(f"invoke, wire={wire!r}", found)
    told("  of that the simulator, asked without the router", alone)
    assert found[2] < 5.0
