"""One whole routing decision: the step that chooses a model, and the booking of how it went. No network.

A healthy hour tries the first of N models; a bad one finds N-1 of them cooling down, as many as are remembered.
Argument: how many samples (default 20).
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from measuring import noise, spread, timed

from langchain_openrouter_free import MemoryStore
from langchain_openrouter_free.books.budget import Need
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.clock import SystemClock
from langchain_openrouter_free.engine.bookkeeping import Accounts, Books, Turn
from langchain_openrouter_free.engine.engine import Attempts
from langchain_openrouter_free.engine.roads import Roads
from langchain_openrouter_free.engine.timeouts import Deadlines
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.routing import Route

# How many models there are, and how many of them rest.
HOURS = ((1, 0), (30, 0), (30, 29), (300, 299), (5_000, 0))
OK, BUSY = verdict(Kind.OK, status=200), verdict(Kind.UPSTREAM_LIMIT, "busy", status=429)
CLOCK, TIMEOUTS = SystemClock(), Deadlines()


def unused(*_: object) -> None:
    """Stand in for what a decision never calls."""


def becoming(book: Ledger) -> Callable[[Ledger | None], tuple[Ledger, None]]:
    """Return the change to this book."""
    return lambda _: (book, None)


def decide(store: MemoryStore, free: tuple[Candidate, ...]) -> Turn:
    """Make the choice of one call and book its answer."""
    roads = Roads(open=unused, lookup=unused)  # type: ignore[arg-type]
    books = Books((accounts := Accounts(store, "a", "p")), CLOCK, accounts.payments(Need()), lambda: "key", lambda: 0.5)
    attempts = Attempts(Route(free), roads, books, CLOCK, TIMEOUTS)
    turn = attempts._next()
    assert isinstance(turn, Turn)
    books.settle(turn, OK, None)
    return turn


def main() -> None:
    """Print the table."""
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print("One routing decision (step and settle), microseconds; median (quartiles)")
    for count, resting in HOURS:
        free = tuple(Candidate(f"test/m{number}:free") for number in range(count))
        store, now = MemoryStore(), CLOCK.now()
        book = Ledger()
        for candidate in free[:resting]:
            book = book.settled(candidate.model, replace(BUSY, until=now + 3600), now)
        store.update(Accounts(store, "a", "p").book, becoming(book))
        assert decide(store, free).candidate is free[resting]
        took = [1e6 * timed(partial(decide, store, free), 3000 // count or 1)[0] for _ in range(samples)]
        hour = "all but one cool down" if resting else "healthy"
        print(f"  {count:>5} models, {hour:<24} {spread(took, 1)}", flush=True)
    print(noise())


if __name__ == "__main__":
    main()
