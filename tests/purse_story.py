"""What was paid, kept as a plain list of everything that happened: the oracle of the book of money."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from langchain_openrouter_free.books.budget import Budget
from langchain_openrouter_free.books.purse import LEASE, Purse

NOW = 1_790_000_000.0  # 2026-09-21, 13:33:20 UTC
DAY = 86_400.0
KNOWN_AFTER, DISPUTED = 30.0, 2 * DAY
WINDOWS = ("day", "month", "total")
STEPS = (0.5, 29.0, 1800.0, 3599.0, 3600.0, 40_000.0, DAY, DISPUTED, 9 * DAY, 31 * DAY)


def date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")


@dataclass
class Paid:
    """One attempt, and all that became of it: `open`, `told`, `disputed` or `unknown`."""

    amount: int
    since: float
    day: str
    generation: str = ""
    state: str = "open"
    again: float = 0.0


class Story:
    """The oracle: it keeps every attempt for ever, and adds up whenever it is asked."""

    def __init__(self, caps: Budget) -> None:
        self.caps = caps
        self.day = ""
        self.all: dict[str, Paid] = {}

    def at(self, now: float) -> None:
        """Leases end, disputes grow old; a day that was begun stays begun."""
        self.day = max(self.day, date(now))
        for paid in self.all.values():
            ends = paid.since + LEASE
            if paid.state == "open" and ends <= now:
                self._unseen(paid, max(paid.day, date(ends)), ends)
            if paid.state == "disputed" and paid.since + DISPUTED <= now:
                paid.state = "unknown"

    @staticmethod
    def _unseen(paid: Paid, day: str, since: float) -> None:
        paid.state, paid.day, paid.since = ("disputed" if paid.generation else "unknown"), day, since
        paid.again = 0.0

    def sum_of(self, *states: str) -> int:
        return sum(paid.amount for paid in self.all.values() if paid.state in states)

    def spent(self, window: str) -> int:
        length = {"day": 10, "month": 7, "total": 0}[window]
        booked = [paid for paid in self.all.values() if paid.state != "open"]
        return sum(paid.amount for paid in booked if paid.day[:length] == self.day[:length])

    def too_much(self, amount: int) -> str | None:
        """The first cap that stands in the way."""
        caps, held = self.caps.caps(), self.sum_of("open")
        if "call" in caps and amount > caps["call"]:
            return "call"
        return next((w for w in WINDOWS if w in caps and self.spent(w) + held + amount > caps[w]), None)

    def settle(self, key: str, cost: int | None, generation: str, now: float) -> None:
        """The process itself says how it ended: once, and late only where the answer's name was known."""
        paid = self.all[key]
        if paid.state == "open" and cost is None:
            paid.generation = generation or paid.generation
            self._unseen(paid, self.day, now)
        elif paid.state == "open" and cost is not None:
            paid.amount, paid.day, paid.state = cost, self.day, "told"
        elif cost is not None and generation:
            self.reconcile(generation, cost)

    def reconcile(self, generation: str, cost: int) -> None:
        """The service says what an answer cost; it counts in the window that it was booked in."""
        for paid in self.all.values():
            if paid.generation == generation and paid.state in ("open", "disputed"):
                paid.day = self.day if paid.state == "open" else paid.day
                paid.amount, paid.state = cost, "told"

    def ask_in_vain(self, key: str, now: float) -> None:
        """The service does not say what an answer cost: it is asked ever more seldom, but for who says so."""
        paid = self.all[key]
        paid.again = now + max(now - paid.since, KNOWN_AFTER)

    def due(self, now: float, *, again: bool = False) -> set[str]:
        doubtful = [p for p in self.all.values() if p.generation and p.state in ("open", "disputed")]
        return {p.generation for p in doubtful if p.since + KNOWN_AFTER <= now and (again or p.again <= now)}

    def agrees(self, book: Purse, now: float) -> None:
        """The book says what the list says."""
        assert book.reserved == self.sum_of("open")
        assert {window: book.spent(window) for window in WINDOWS} == {window: self.spent(window) for window in WINDOWS}
        assert sum(known.amount for known in book.disputes.values()) == self.sum_of("disputed")
        assert book.unknown == self.sum_of("unknown")
        assert book.spent_total == self.sum_of("told") + self.sum_of("disputed") + book.unknown
        due = book.due(now)
        assert len(due) == len(set(due))
        assert set(due) == self.due(now)
        assert set(book.due(now, again=True)) == self.due(now, again=True)

    def is_within(self) -> None:
        """No cap is passed, by not one nano-dollar; asked whenever something was granted."""
        for window, cap in self.caps.caps().items():
            if window != "call":
                assert self.spent(window) + self.sum_of("open") <= cap


class Timed(RuleBasedStateMachine):
    """Time: it passes, stands before and at the turn of a day or month, and jumps back."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.count = 0

    @rule(seconds=st.sampled_from(STEPS))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule(beside=st.sampled_from([-1.0, 0.0, 1.0]))
    def go_to_midnight(self, beside: float) -> None:
        self.now = (self.now // DAY + 1) * DAY + beside

    @rule(beside=st.sampled_from([-1800.0, 0.0]))
    def go_to_the_end_of_the_month(self, beside: float) -> None:
        moment = self.now
        while date(moment)[:7] == date(self.now)[:7]:
            moment = (moment // DAY + 1) * DAY
        self.now = max(moment + beside, self.now)

    @rule(seconds=st.sampled_from([1.0, 3600.0, DAY, 5 * DAY]))
    def the_clock_jumps_back(self, seconds: float) -> None:
        self.touch()
        self.now = max(self.now - seconds, NOW)

    def touch(self) -> None:
        """Change the book at this time: what was only looked at knows nothing of it."""
        raise NotImplementedError

    def new_key(self) -> str:
        self.count += 1
        return f"r{self.count}"
