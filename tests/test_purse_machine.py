"""The book of money and its two pockets, against a plain list of everything that happened."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from purse_story import DAY, KNOWN_AFTER, NOW, Paid, Story, Timed

from langchain_openrouter_free.books.budget import NANO, Budget, Need
from langchain_openrouter_free.books.purse import LEASE, Purse, Shortfall
from langchain_openrouter_free.catalogue.catalogue import Prices
from langchain_openrouter_free.engine.payments import Held, Payments, Pocket
from langchain_openrouter_free.judging.verdicts import Kind, Verdict, verdict
from langchain_openrouter_free.stores import MemoryStore, PageRef
from langchain_openrouter_free.stores.base import Answer, Change, Page

CENT = 10_000_000
# What a cost is of what was held back for it.
SHARES = st.sampled_from([Decimal(0), Decimal("0.3"), Decimal("0.999999999"), Decimal(1), Decimal("1.5")])
CENTS = st.integers(1, 60)
# Most of what may happen to an attempt happens before it is settled.
STATES = st.sampled_from([("open",), ("disputed",), ()])


def part(amount: int, share: Decimal) -> int:
    return int(amount * share)


class PurseMachine(Timed):
    """One book: reserve, name, settle, refund, crash, reconcile."""

    caps = Budget(per_call=Decimal("0.4"), per_day=Decimal(1), per_month=Decimal(3), total=Decimal(9))

    def __init__(self) -> None:
        super().__init__()
        self.purse, self.story = Purse(), Story(self.caps)

    def touch(self) -> None:
        self.purse = self.purse.turned_to(self.now)

    def a_key(self, data: st.DataObject, *states: str) -> str:
        keys = [key for key, paid in self.story.all.items() if not states or paid.state in states]
        return data.draw(st.sampled_from(keys or list(self.story.all)))

    @rule(amount=CENTS.map(lambda cents: cents * CENT), names=st.booleans())
    def reserve(self, amount: int, names: bool = True) -> None:  # noqa: FBT001, FBT002
        """Granted if and only if it fits under every cap; a refusal names the first that it does not."""
        self.story.at(self.now)
        blocked = self.story.too_much(amount)
        short = self.purse.shortfall(self.caps, amount, self.now)
        assert (short.window if short else None) == blocked
        if short is not None:
            assert (short.cap, short.asked) == (self.caps.caps()[short.window], amount)
            assert short.spent + short.reserved + amount > short.cap
            return
        key = self.new_key()
        self.purse = self.purse.reserved_for(key, amount, self.now)
        self.story.all[key] = Paid(amount, self.now, self.story.day)
        self.story.is_within()
        if names:
            self.purse = self.purse.named(key, f"gen-{key}")
            self.story.all[key].generation = f"gen-{key}"

    @rule(more=st.integers(0, 1))
    def reserve_what_is_left(self, more: int) -> None:
        """The last nano-dollar is granted, the one after it is not."""
        self.story.at(self.now)
        room = self.purse.room(self.caps, self.now)
        assert room is not None
        assert (self.story.too_much(max(room, 0)) is None) == (room >= 0)
        assert self.story.too_much(room + 1) is not None
        if room + more > 0:
            self.reserve(room + more)

    @precondition(lambda self: self.story.sum_of("open"))
    @rule(data=st.data())
    def name(self, data: st.DataObject) -> None:
        """The answer's id arrives."""
        key = self.a_key(data, "open")
        self.purse = self.purse.named(key, f"gen-{key}")
        self.story.all[key].generation = f"gen-{key}"

    @precondition(lambda self: self.story.all)
    @rule(data=st.data(), share=SHARES, names=st.booleans())
    def settle(self, data: st.DataObject, share: Decimal, names: bool) -> None:  # noqa: FBT001
        """In time, after the lease, after a reconcile, or for the second time: booked once."""
        key = self.a_key(data, *data.draw(STATES))
        self.story.at(self.now)
        cost = part(self.story.all[key].amount, share)
        generation = f"gen-{key}" if names else self.story.all[key].generation
        self.purse = self.purse.settled(key, cost, self.now, generation)
        self.story.settle(key, cost, generation, self.now)

    @precondition(lambda self: self.story.all)
    @rule(data=st.data(), names=st.booleans())
    def settle_unseen(self, data: st.DataObject, names: bool) -> None:  # noqa: FBT001
        """Nobody told the cost: the whole reservation, in dispute if the answer has a name."""
        key = self.a_key(data)
        self.story.at(self.now)
        generation = f"gen-{key}" if names else ""
        self.purse = self.purse.settled(key, None, self.now, generation)
        self.story.settle(key, None, generation, self.now)

    @precondition(lambda self: self.story.sum_of("open"))
    @rule(data=st.data())
    def refund(self, data: st.DataObject) -> None:
        key = self.a_key(data, "open")
        self.story.at(self.now)
        generation = self.story.all[key].generation
        self.purse = self.purse.settled(key, 0, self.now, generation)
        self.story.settle(key, 0, generation, self.now)

    @precondition(lambda self: self.story.sum_of("open"))
    @rule()
    def crash(self) -> None:
        """Whoever was under way never comes back: all leases run out."""
        self.now += LEASE

    @precondition(lambda self: self.story.all)
    @rule(data=st.data(), share=SHARES, times=st.integers(1, 2))
    def reconcile(self, data: st.DataObject, share: Decimal, times: int) -> None:
        """Of whatever is known by a name: open, in dispute, settled, or too old; twice is once."""
        key = self.a_key(data, *data.draw(STATES))
        self.story.at(self.now)
        paid = self.story.all[key]
        if not paid.generation:
            return
        cost = part(paid.amount, share)
        for _ in range(times):
            self.purse = self.purse.reconciled(paid.generation, cost, self.now)
        self.story.reconcile(paid.generation, cost)

    @precondition(lambda self: self.story.sum_of("open", "disputed"))
    @rule(data=st.data())
    def ask_in_vain(self, data: st.DataObject) -> None:
        """Of an attempt that is under way, or lost, or in dispute."""
        key = self.a_key(data, "open", "disputed")
        self.story.at(self.now)
        if generation := self.story.all[key].generation:
            self.purse = self.purse.unanswered(generation, self.now)
            self.story.ask_in_vain(key, self.now)

    @rule(generation=st.sampled_from(["gen-of-nobody", "gen-r", "gen-r0"]))
    def reconcile_what_is_not_ours(self, generation: str) -> None:
        self.story.at(self.now)
        self.purse = self.purse.reconciled(generation, 7, self.now)

    @rule(cost=CENTS)
    def book_what_nobody_reserved(self, cost: int) -> None:
        self.story.at(self.now)
        self.purse = self.purse.booked(cost, self.now)
        self.story.all[self.new_key()] = Paid(cost, self.now, self.story.day, state="told")

    @invariant()
    def books_agree(self) -> None:
        """What stands in the page is what was read from it, and says what the list says."""
        self.story.at(self.now)
        self.story.agrees(self.purse.turned_to(self.now), self.now)
        self.purse = Purse.decode(self.purse.encode())
        assert Purse.decode(self.purse.encode()) == self.purse


TestPurse = PurseMachine.TestCase
TestPurse.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


# -- two projects and the ceiling of their account

PROJECTS = {
    "one": Budget(per_call=Decimal("0.5"), per_day=Decimal("0.7"), total=Decimal(4)),
    "two": Budget(per_month=Decimal("0.9")),
}
WHOSE = ("project", "account")
CEILING = Budget(per_day=Decimal(1), total=Decimal(5))
# A nano-dollar a token: an attempt may cost as many as it may use.
PRICES = Prices(Decimal(0), 1 / NANO)
REFUSED = verdict(Kind.OVERLOADED, status=503)
UNSENT = verdict(Kind.UNREACHABLE)
BROKEN_OFF = verdict(Kind.ABANDONED, status=200)
ANSWERED = verdict(Kind.OK, status=200)


class PocketsMachine(Timed):
    """Each attempt is held back in its project's book and in the account's, or in none."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.payments = {name: self._payments(name) for name in PROJECTS}
        self.stories = {**{name: Story(caps) for name, caps in PROJECTS.items()}, "": Story(CEILING)}
        self.owners: dict[str, str] = {}

    def _payments(self, name: str) -> Payments:
        pockets = (Pocket("project", name, PROJECTS[name]), Pocket("account", "hash", CEILING))
        return Payments(self.store, pockets, Need())

    def attempts(self, state: str = "") -> list[str]:
        return [key for key in self.owners if state in ("", self.stories[""].all[key].state)]

    def touch(self) -> None:
        for payments in self.payments.values():
            payments.book(0, self.now)

    def both(self, owner: str) -> tuple[Story, Story]:
        for story in self.stories.values():
            story.at(self.now)
        return self.stories[owner], self.stories[""]

    def an_attempt(self, data: st.DataObject, state: str = "") -> tuple[str, str, Paid]:
        key = data.draw(st.sampled_from(self.attempts(state)))
        self.both(self.owners[key])
        return key, self.owners[key], self.stories[""].all[key]

    @rule(owner=st.sampled_from(list(PROJECTS)), amount=CENTS.map(lambda cents: cents * CENT), more=st.integers(0, 1))
    def reserve(self, owner: str, amount: int, more: int) -> None:
        """Granted if and only if it fits under the caps of both; a refusal leaves no trace in either."""
        stories = self.both(owner)
        blocks = [(story.too_much(amount + more), whose) for story, whose in zip(stories, WHOSE, strict=True)]
        key, payments = self.new_key(), replace(self.payments[owner], need=Need(max_tokens=amount + more))
        held = payments.reserve(key, PRICES, None, self.now)
        first = next(((window, whose) for window, whose in blocks if window), None)
        if isinstance(held, Shortfall):
            assert (held.window, held.whose) == first
            return
        assert held == Held(key, amount + more)
        assert first is None
        self.owners[key] = owner
        for story in stories:
            story.all[key] = Paid(amount + more, self.now, story.day)
            story.is_within()

    @precondition(lambda self: self.attempts("open"))
    @rule(data=st.data())
    def name(self, data: st.DataObject) -> None:
        key, owner, _ = self.an_attempt(data, "open")
        self.payments[owner].named(key, f"gen-{key}")
        for story in self.both(owner):
            story.all[key].generation = f"gen-{key}"

    @precondition(lambda self: self.attempts())
    @rule(data=st.data(), share=SHARES, in_tokens=st.booleans())
    def settle(self, data: st.DataObject, share: Decimal, in_tokens: bool) -> None:  # noqa: FBT001
        """At the stated cost, else at the price of the tokens."""
        key, owner, paid = self.an_attempt(data)
        cost = part(paid.amount, share)
        usage = {"prompt_tokens": 3, "completion_tokens": cost} if in_tokens else {"cost": cost / NANO}
        self._settled(key, owner, paid, cost, usage)

    @precondition(lambda self: self.attempts())
    @rule(data=st.data(), names=st.booleans(), usage=st.sampled_from([None, {}, {"cost": None}, {"cost": -1}]))
    def settle_unseen(self, data: st.DataObject, names: bool, usage: dict[str, Any] | None) -> None:  # noqa: FBT001
        key, owner, _ = self.an_attempt(data)
        generation = f"gen-{key}" if names else ""
        self.payments[owner].settle(key, BROKEN_OFF, usage, PRICES, generation, self.now)
        for story in self.both(owner):
            story.settle(key, None, generation, self.now)

    @precondition(lambda self: self.attempts())
    @rule(data=st.data(), how=st.sampled_from([REFUSED, UNSENT]))
    def refund(self, data: st.DataObject, how: Verdict) -> None:
        key, owner, paid = self.an_attempt(data)
        self._settled(key, owner, paid, 0, None, how)

    def _settled(
        self, key: str, owner: str, paid: Paid, cost: int, usage: dict[str, Any] | None, how: Verdict = ANSWERED
    ) -> None:
        self.payments[owner].settle(key, how, usage, PRICES, paid.generation, self.now)
        for story in self.both(owner):
            story.settle(key, cost, paid.generation, self.now)

    @rule(data=st.data(), share=SHARES)
    def reconcile_what_is_due(self, data: st.DataObject, share: Decimal) -> None:
        """Whoever of the account asks; the other project's book is not his, the account's is."""
        asking = data.draw(st.sampled_from(list(PROJECTS)))
        own, whole = self.both(asking)
        due = self.payments[asking].disputed(self.now)
        assert set(due) == own.due(self.now) | whole.due(self.now)
        if not due:
            return
        generation = data.draw(st.sampled_from(due))
        cost = part(whole.all[generation.removeprefix("gen-")].amount, share)
        self.payments[asking].reconcile(generation, cost, self.now)
        for story in (own, whole):
            story.reconcile(generation, cost)

    @invariant()
    def books_agree(self) -> None:
        self.both("one")
        for name, payments in self.payments.items():
            own, whole = payments.look(self.now)
            self.stories[name].agrees(own, self.now)
            self.stories[""].agrees(whole, self.now)
            assert Purse.decode(own.encode()) == own
            assert Purse.decode(whole.encode()) == whole


TestPockets = PocketsMachine.TestCase
TestPockets.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


# -- single cases


def test_a_crash_after_the_clock_jumped_back_is_spent_in_the_open_day() -> None:
    """What was held against a day's cap goes on counting against it when nobody settles it."""
    purse = Purse().booked(0, NOW + 5 * DAY).reserved_for("r", 500, NOW)
    assert purse.reserved == 500
    purse = purse.turned_to(NOW + LEASE)
    assert purse.spent("total") == 500
    assert purse.spent("day") == 500


@pytest.mark.parametrize(("book", "days"), [(Purse(), 0), (Purse().booked(5, NOW), 0), (Purse().booked(5, NOW), 3)])
def test_a_window_turns_by_utc_wherever_this_machine_stands(
    book: Purse, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a book as well that nobody has looked at for days."""
    now = NOW + days * DAY
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert book.frees_at("day", now) == (now // DAY + 1) * DAY
        assert book.frees_at("month", now) == datetime(2026, 10, 1, tzinfo=UTC).timestamp()
        assert book.frees_at("total", now) is None
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("cost", [0, 40, 100, 130])
def test_who_was_taken_for_dead_settles_late(cost: int) -> None:
    """The lease was over, the whole was booked; the true cost takes its place on the day of the lease's end, once."""
    ends = (NOW // DAY + 1) * DAY - 1
    purse = Purse().reserved_for("r", 100, ends - LEASE).named("r", "gen").turned_to(ends)
    assert (purse.spent("day"), purse.reserved) == (100, 0)
    settled = purse.settled("r", cost, ends, "gen")
    assert (settled.spent("day"), settled.spent("total"), settled.disputes) == (cost, cost, {})
    assert settled.settled("r", cost, ends, "gen") == settled == settled.reconciled("gen", 7, ends)
    next_day = purse.settled("r", cost, ends + 2, "gen")
    assert (next_day.spent("day"), next_day.spent("month"), next_day.spent("total")) == (0, cost, cost)


def test_of_too_many_disputes_the_oldest_are_unknown() -> None:
    """Five hundred are kept; not one nano-dollar is lost with the rest."""
    purse = Purse()
    for number in range(510):
        purse = purse.reserved_for(f"r{number}", number, NOW + number)
        purse = purse.settled(f"r{number}", None, NOW + number, f"gen-{number}")
    purse = purse.turned_to(NOW + 510)
    assert list(purse.disputes) == [f"gen-{number}" for number in range(10, 510)]
    assert purse.unknown == sum(range(10))
    assert purse.spent_total == sum(range(510))


def test_the_oldest_is_asked_for_first() -> None:
    """Whatever their names are, and whether they were left behind or are in dispute."""
    purse = Purse().reserved_for("b", 5, NOW).settled("b", None, NOW, "gen-2")
    purse = purse.reserved_for("a", 5, NOW + 1).named("a", "gen-1")
    assert purse.due(NOW + 1 + KNOWN_AFTER) == ("gen-2", "gen-1")
    assert purse.named_answers() == {"gen-1", "gen-2"}


def test_a_dispute_about_nothing_ends_as_well() -> None:
    """An answer that could cost nothing is not asked for again for ever, before all others."""
    purse = Purse().reserved_for("r", 0, NOW).settled("r", None, NOW, "gen")
    assert [purse.turned_to(later).due(later) for later in (NOW + KNOWN_AFTER, NOW + 10 * DAY)] == [(), ()]


def test_two_attempts_of_one_name_are_disputed_once() -> None:
    """A provider may name answers as it likes: what the name stands for stays, the other one counts in full."""
    purse = Purse().reserved_for("a", 5, NOW).reserved_for("b", 7, NOW)
    purse = purse.settled("a", None, NOW, "gen").settled("b", None, NOW, "gen")
    assert (purse.disputes["gen"].amount, purse.unknown, purse.spent_total) == (5, 7, 12)
    assert purse.reconciled("gen", 1, NOW).spent_total == 8


@pytest.mark.parametrize(("age", "open_", "unknown"), [(2 * DAY - 1, {"gen", "young"}, 0), (2 * DAY, {"young"}, 5)])
def test_a_dispute_grows_old_in_the_midst_of_a_day(age: float, open_: set[str], unknown: int) -> None:
    """Not only at its turn: whoever looked at the book earlier that day has turned it."""
    purse, later = Purse().reserved_for("r", 5, NOW).settled("r", None, NOW, "gen"), NOW + 2 * DAY - 60
    purse = purse.reserved_for("s", 7, later).settled("s", None, later, "young").turned_to(NOW + age)
    assert (set(purse.disputes), purse.unknown, purse.spent("total")) == (open_, unknown, 12)


@pytest.mark.parametrize("account", ["", "one", "two"])
@pytest.mark.parametrize("is_under_way", [False, True])
@pytest.mark.parametrize(("asked", "again"), [(10.0, 40.0), (30.0, 60.0), (100.0, 200.0)])
def test_who_was_told_nothing_asks_ever_more_seldom(
    asked: float,
    again: float,
    account: str,
    is_under_way: bool,  # noqa: FBT001
) -> None:
    """At first after as long as the service may take to know of an answer; others are told nothing by that."""
    purse = Purse().reserved_for("r", 5, NOW, "one").named("r", "gen")
    purse = purse if is_under_way else purse.settled("r", None, NOW)
    purse = Purse.decode(purse.unanswered("gen", NOW + asked, account).encode())
    assert [purse.due(NOW + later, account) for later in (again - 1, again)] == [(), ("gen",)]
    others = {"", "two"} if account == "one" else {"one"}
    assert {purse.due(NOW + 30, other) for other in others} == {("gen",)}
    assert purse.due(NOW + 30, account, again=True) == ("gen",)


def test_what_is_told_of_an_answer_that_is_settled_or_another_books_changes_nothing() -> None:
    """Two ask for its cost at once, or the account's page has it and the project's has not."""
    book = Purse().reserved_for("r", 5, NOW)
    assert book == book.named("other", "gen") == book.settled("other", None, NOW, "gen")
    assert book == book.unanswered("gen", NOW) == book.reconciled("gen", 3, NOW)


@pytest.mark.parametrize(
    ("asked", "afforded", "given", "tokens"),
    [
        (None, None, None, 4096),
        (None, None, 100, 100),
        (None, None, 9000, 4096),
        (None, 5000, None, 5000),
        (None, 50, 100, 50),
        (30, 50, 100, 30),
    ],
)
def test_the_lowest_limit_is_held_back_for(
    asked: int | None, afforded: int | None, given: int | None, tokens: int
) -> None:
    """Of the caller's, what the balance affords, and what the model gives at all; else what is usual."""
    payments = Payments(MemoryStore(), (Pocket("project", "p", Budget(total=Decimal(1))),), Need(max_tokens=asked))
    assert payments.reserve("r", PRICES, afforded, NOW, given) == Held("r", tokens)
    assert [purse.reserved for purse in payments.look(NOW)] == [tokens]


class InterruptedStore(MemoryStore):
    """A Ctrl-C comes as one page is changed for the first time: before its change is made, or after."""

    def __init__(self, key: str, *, late: bool) -> None:
        super().__init__()
        self.key, self.late = key, late

    def update(self, ref: PageRef[Page], change: Change[Page, Answer]) -> Answer:
        if ref.key != self.key:
            return super().update(ref, change)
        self.key = ""
        if self.late:
            super().update(ref, change)
        raise KeyboardInterrupt


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("key", ["project:one", "money:hash"])
def test_who_is_interrupted_as_he_reserves_holds_nothing_back(key: str, late: bool) -> None:  # noqa: FBT001
    """The attempt will never be made: neither page waits an hour for it."""
    pockets = (Pocket("project", "one", PROJECTS["one"]), Pocket("account", "hash", CEILING))
    payments = Payments(InterruptedStore(key, late=late), pockets, Need(max_tokens=5))
    with pytest.raises(KeyboardInterrupt):
        payments.reserve("r", PRICES, None, NOW)
    assert [(purse.reserved, purse.spent("total")) for purse in payments.look(NOW)] == [(0, 0), (0, 0)]


@pytest.mark.parametrize("told", ["named", "reconcile"])
def test_a_lost_reservation_is_warned_of(told: str) -> None:
    """A crash spent 60 % of the cap: the next call says so, whatever finds it out."""
    payments = Payments(MemoryStore(), (Pocket("project", "p", Budget(total=Decimal(1))),), Need(max_tokens=1))
    replace(payments, need=Need(max_tokens=600_000_000)).reserve("lost", PRICES, None, NOW)
    now = NOW + LEASE
    payments.reserve("next", PRICES, None, now)
    if told == "named":
        payments.named("next", "gen")
    elif told == "reconcile":
        payments.reconcile("gen-of-nobody", 0, now)
    warnings = payments.settle("next", ANSWERED, {"cost": 0}, PRICES, "gen", now)
    assert [(one.window, one.percent) for one in warnings] == [("total", 50)]
