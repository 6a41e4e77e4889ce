"""Processes that take an account's quota out of one file, for `test_force.py`: killed at random, or in step.

Run as a script it is a process without threads, which may fork and kill as it likes:
`force_worker.py <what> <path>` prints its findings as JSON. Of the package it imports what books, and no more.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from store_helpers import fail, forked, wait_for

from langchain_openrouter_free.books.budget import Need
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import Limits, Share, Slot
from langchain_openrouter_free.engine.bookkeeping import Accounts, Books
from langchain_openrouter_free.route.actions import Action, GiveUp, Try, Wait
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.routing import Route
from langchain_openrouter_free.stores.connection import Connection
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

# The middle of a minute in the middle of a UTC day.
NOON = 1_790_000_000.0 // 86_400 * 86_400 + 43_200.0 + 30.0
FREE = (Candidate("test/first:free"), Candidate("test/second:free"))
LEFT = 1e6  # seconds until a call's deadline, which is not what is tested

# -- a day's cap, and processes that are killed
WORKERS, TRIES, A_DAY = 8, 400, 1000
CAPPED = Limits(per_minute=None, per_day=A_DAY)
# These run to their end; all others may be killed.
SPARED = 2
KILLS = 30

# -- a minute's cap, and processes that book ahead
QUEUES, A_MINUTE = 4, 7
TICK, TICKS = 9.7, 18  # less than three minutes in all
# Each process begins so many calls at each tick: seven times as many as the account grants.
CALLS = 2


class Account:
    """What one call after another of a process needs to book."""

    def __init__(self, path: Path, project: str, clock: FakeClock | None = None) -> None:
        # A busy machine is no trouble; a store that gave the file up would prove nothing.
        store = SqliteStore(path, warn=fail, patience=40.0)
        self.accounts = Accounts(store, "a", project)
        self.clock = clock or FakeClock(NOON)

    def books(self) -> Books:
        """Return the books of a new call."""
        return Books(self.accounts, self.clock, self.accounts.payments(Need()), lambda: "no money here", lambda: 0.5)

    def look(self) -> Ledger:
        """Return the book as it is."""
        return self.books().look()

    def tried(self) -> tuple[Route, Action]:
        """Make one call's first decision, under the day's cap."""
        route = Route(FREE, limits=CAPPED, share=Share(self.accounts.project))
        return route, self.books().decide(route, LEFT)


def until(true: Callable[[], bool], seconds: float = 40.0) -> None:
    """Wait for what other processes do."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "the workers do not get on"
        time.sleep(0.000_2)


class Told:
    """A file in which processes say, in one write each, what came of it; nothing is told before it is true."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def tell(self, what: str) -> None:
        """Add it to the file."""
        assert os.write(self._descriptor, what.encode("ascii")) == len(what)

    def heard(self) -> str:
        """Return all that was told so far."""
        return self.path.read_text(encoding="ascii")


def letters(number: int) -> tuple[str, str]:
    """Return what a worker writes for a try that was granted and for one that was refused."""
    return chr(ord("A") + number), chr(ord("a") + number)


def granted(heard: str) -> int:
    """Count the tries that were told to be granted."""
    return sum(letter.isupper() for letter in heard)


def spend(path: Path, number: int, told: Told, gate: int | None) -> None:
    """Do what is left of a worker's tries; the first time, wait at the gate after the first of them."""
    account, (yes, no) = Account(path, f"project {number % 2}"), letters(number)
    heard = told.heard()
    for _ in range(TRIES - heard.count(yes) - heard.count(no)):
        route, action = account.tried()
        if isinstance(action, Try):
            assert action.slot is not None
            told.tell(yes)
        else:
            assert isinstance(action, GiveUp)
            assert route.hold is not None
            assert route.hold.window == "day"
            told.tell(no)
        if gate is not None:
            os.read(gate, 1)
            gate = None


def spending(path: Path) -> Any:
    """Kill processes at random while they use up the day, and start others in their place."""
    told = Told(Path(f"{path}.told"))
    gate, opener = os.pipe()
    workers = [forked(partial(spend, path, number, told, gate)) for number in range(WORKERS)]
    until(lambda: len(told.heard()) == WORKERS)
    os.write(opener, b"!" * WORKERS)

    def reached(moment: int) -> bool:
        return granted(told.heard()) >= moment

    kills: list[int] = []  # how many grants had been told when each was done
    for moment in sorted(random.sample(range(WORKERS, A_DAY * 9 // 10), KILLS)):
        until(partial(reached, moment))
        victim = random.randrange(SPARED, WORKERS)
        os.kill(workers[victim], signal.SIGKILL)
        status = os.waitpid(workers[victim], 0)[1]
        if status:
            assert os.WTERMSIG(status) == signal.SIGKILL, "a worker failed"
            kills.append(granted(told.heard()))
        # One that came to its end before has nothing left to do, and ends again.
        workers[victim] = forked(partial(spend, path, victim, told, None))
    wait_for(*workers)

    account = Account(path, "another")
    windows = account.look().windows
    route, action = account.tried()
    return {
        "today": sum(windows.days.values()),
        "of minutes": sum(windows.minutes.values()),
        "of projects": sum(use.used for use in windows.projects.values()),
        "told": {word: Counter(told.heard())[word] for number in range(WORKERS) for word in letters(number)},
        "kills": kills,
        "further": [type(action).__name__, route.hold.window if route.hold else ""],
        "in the end": sum(account.look().windows.days.values()),
    }


def dying(path: Path) -> Any:
    """Kill a process right before its grant is committed, and another right after; count the grants."""
    account = Account(path, "")
    found = {}
    for moment in ("before", "after"):
        child = forked(partial(die, account, moment))
        status = os.waitpid(child, 0)[1]
        assert os.WTERMSIG(status) == signal.SIGKILL, "it came through"
        found[moment] = sum(account.look().windows.days.values())
    assert isinstance(account.tried()[1], Try)
    return found | {"and another": sum(account.look().windows.days.values())}


def die(account: Account, moment: str) -> None:
    """Take a slot and be killed at its commit."""
    account.look()  # the file is open
    execute = Connection.execute

    def deadly(self: Connection, sql: str, *values: object, patience: float = 0.0) -> Any:
        if sql != "COMMIT":
            return execute(self, sql, *values, patience=patience)
        if moment == "after":
            execute(self, sql, *values, patience=patience)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    Connection.execute = deadly  # type: ignore[method-assign]
    account.tried()


def queue(path: Path, number: int, told: Told, ticks: Iterator[float]) -> None:
    """Begin calls at each tick, and wait for those that got a later minute's slot; tell each slot."""
    clock = FakeClock(NOON)
    account = Account(path, f"project {number}", clock)
    waiting: list[tuple[Books, Route, Wait]] = []

    def tell(what: str, slot: Slot | None) -> None:
        assert slot is not None
        told.tell(json.dumps([what, number, slot.minutes, clock.now()]) + "\n")

    for now in ticks:
        clock.advance(now - clock.now())
        due = [call for call in waiting if call[2].until <= now]
        waiting = [call for call in waiting if call[2].until > now]
        for books, route, wait in due:
            action = books.decide(route, LEFT)
            # Who has booked is not sent to the end of the queue.
            assert isinstance(action, Try)
            assert action.slot == wait.slot
            tell("used", action.slot)
        for _ in range(CALLS):
            route, books = Route(FREE, paced=True, limits=Limits(per_minute=A_MINUTE)), account.books()
            action = books.decide(route, LEFT)
            if isinstance(action, Wait):
                route.took(action)
                waiting.append((books, route, action))
                tell("booked", action.slot)
            else:
                assert isinstance(action, Try)
                tell("granted", action.slot)


def queueing(path: Path) -> Any:
    """Let processes queue for the account's minutes, on one clock that waits for all of them."""
    told = Told(Path(f"{path}.told"))

    def ticks(go: int, done: int) -> Iterator[float]:
        for tick in range(TICKS):
            assert os.read(go, 1) == b"!"
            yield NOON + tick * TICK
            os.write(done, b"!")

    workers, starts, ends = [], [], []
    for number in range(QUEUES):
        (go, start), (end, done) = os.pipe(), os.pipe()
        workers.append(forked(partial(queue, path, number, told, ticks(go, done))))
        os.close(done)  # nobody else has it: a worker that fails is heard as its end
        starts.append(start)
        ends.append(end)
    for _ in range(TICKS):
        for start in starts:
            os.write(start, b"!")
        assert [os.read(end, 1) for end in ends] == [b"!"] * QUEUES, "a worker failed"
    wait_for(*workers)
    windows = Account(path, "", FakeClock(NOON + (TICKS - 1) * TICK)).look().windows
    return {"told": [json.loads(line) for line in told.heard().splitlines()], "book": list(windows.minutes.items())}


def main() -> None:
    """Do what the command line says."""
    whats = {what.__name__: what for what in (spending, dying, queueing)}
    sys.stdout.write(json.dumps(whats[sys.argv[1]](Path(sys.argv[2]))))


if __name__ == "__main__":
    main()
