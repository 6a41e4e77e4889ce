"""The account's book and the walk over it, driven at random beside a naive memory of everything."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from langchain_openrouter_free.books import pages
from langchain_openrouter_free.books.funds import Funds
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import Limits, Share, Slot
from langchain_openrouter_free.errors import AttemptRecord
from langchain_openrouter_free.judging.verdicts import POLICIES, Kind, Step, Verdict, verdict
from langchain_openrouter_free.route.actions import Ask, GiveUp, Topic, Try, Wait
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.endings import ending_of
from langchain_openrouter_free.route.routing import Route

MODELS = [f"m{n}:free" for n in range(4)]
GUESSES = [5, 30, 120, 600, 3600]
ONE_DAY = 86_400.0
START = 1_790_000_000.0
# One in two failures is of these, so that they meet one another.
USUAL = [Kind.DAY_LIMIT, Kind.MINUTE_LIMIT, Kind.UPSTREAM_LIMIT, Kind.BROKEN]


class BookMachine(RuleBasedStateMachine):
    """Outcomes of all kinds arrive at random moments; the book must say what a list of all of them says."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Ledger()
        self.now = START
        self.history: list[tuple[float, str, Verdict]] = []

    def _happens(self, model: str, how: Verdict) -> None:
        read = self.book.read(model, how, self.now)
        self.history.append((self.now, model, read))
        self.book = self.book.settled(model, read, self.now)

    @rule(
        model=st.sampled_from(MODELS),
        kind=st.sampled_from([k for k in Kind if k is not Kind.OK]) | st.sampled_from(USUAL),
        wait=st.none() | st.floats(0.5, 90_000),
    )
    def fail(self, model: str, kind: Kind, wait: float | None) -> None:
        """An attempt fails, with or without a moment named by the server."""
        self._happens(model, verdict(kind, until=None if wait is None else self.now + wait))

    @rule(times=st.integers(1, 4))
    def fail_again(self, times: int) -> None:
        """The same model fails in the same way once more, or several times in a row."""
        for _ in range(times if self.history else 0):
            _, model, how = self.history[-1]
            self._happens(model, replace(how, until=None))

    @rule(model=st.sampled_from(MODELS))
    def succeed(self, model: str) -> None:
        """An attempt answers."""
        self._happens(model, verdict(Kind.OK))

    @rule(seconds=st.sampled_from([0.5, 4.0, 6.0, 31.0, 121.0, 3700.0, 90_000.0]))
    def pass_time(self, seconds: float) -> None:
        """Time goes on."""
        self.now += seconds

    def _expected_rest(self, model: str) -> float:
        """Replay all that happened to a model: when may it be asked again?"""
        until, failures = 0.0, 0
        for at, who, how in self.history:
            if who != model:
                continue
            if how.kind is Kind.OK:
                until, failures = 0.0, 0
            elif POLICIES[how.kind].cools or how.kind is Kind.IN_FLIGHT_BUDGET:
                # What was over for a day is forgotten.
                failures = 1 if until <= at - ONE_DAY else failures + 1
                guess = {Kind.DELISTED: ONE_DAY, Kind.REGION: ONE_DAY, Kind.CLOSED: 7 * ONE_DAY}.get(
                    how.kind, GUESSES[min(failures, 5) - 1]
                )
                until = max(until, at + guess if how.until is None else how.until)
        return until

    def _expected_hold(self) -> float:
        moments = [
            how.until if how.until is not None else at + 60
            for at, _, how in self.history
            if how.kind in (Kind.DAY_LIMIT, Kind.MINUTE_LIMIT)
        ]
        return max(moments, default=0.0)

    @invariant()
    def cooldowns_agree(self) -> None:
        """A model rests exactly as long as its history says."""
        for model in MODELS:
            expected = self._expected_rest(model)
            found = self.book.cooldown(model, self.now)
            assert (found.until if found else 0.0) == (expected if expected > self.now else 0.0)

    @invariant()
    def it_can_be_written_and_read(self) -> None:
        """Written as text and read again, it is the same book."""
        found = pages.decode(pages.encode(self.book))
        assert found._replace(health=self.book.health) == self.book
        assert pages.encode(found) == pages.encode(self.book)

    @invariant()
    def holds_agree(self) -> None:
        """The account is held exactly until the latest moment that was named."""
        expected = self._expected_hold()
        found = self.book.hold(self.now)
        assert (found.until if found else 0.0) == (expected if expected > self.now else 0.0)

    @invariant()
    def the_walk_asks_the_best_who_may_be_asked(self) -> None:
        """A fresh walk tries the best waking model if the account is open, waits as short as it can, or gives up."""
        route = Route([Candidate(m) for m in MODELS], patience=20.0)
        book, action = route.step(self.book, self.now, left=1000.0)
        assert (book, action) == route.step(self.book, self.now, left=1000.0), "a step is pure"
        rests = [self._expected_rest(m) for m in MODELS]
        hold = self._expected_hold()
        awake = [m for m, until in zip(MODELS, rests, strict=True) if until <= self.now]
        # A window is certainly over a moment after its end.
        opens = hold + 1.5 if hold > self.now else 0.0
        ready = max(opens, 0.0 if awake else min(rests))
        if awake and hold <= self.now:
            assert isinstance(action, Try)
            # Who failed often of late comes after the others (`test_repute.py`, `test_health_order.py` say when).
            well = [m for m in awake if self.book.is_well(m, self.now)]
            assert action.candidate in ([Candidate(well[0])] if well else map(Candidate, awake))
            assert book.windows.used(self.now)[1] == self.book.windows.used(self.now)[1] + 1
        elif ready - self.now <= 20.0:
            assert isinstance(action, Wait)
            assert action.until == ready
        else:
            assert action == GiveUp()


TestBook = BookMachine.TestCase
TestBook.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)

_kinds = st.sampled_from([kind for kind in Kind if kind is not Kind.ABANDONED])


@given(
    kinds=st.lists(_kinds, min_size=60, max_size=60),
    patience=st.floats(0, 120),
    most=st.none() | st.integers(1, 30),
    waits=st.lists(st.none() | st.floats(0, 100), min_size=60, max_size=60),
)
@settings(deadline=None, max_examples=200)
def test_every_walk_ends(kinds: list[Kind], patience: float, most: int | None, waits: list[float | None]) -> None:
    """Whatever happens, a walk ends: nobody is asked twice but after an account's wait, patience is never passed.

    One model more is asked again where its refusal has named the moment.
    """
    paid = [Candidate("p:paid", paid=True, prices=None)]
    route = Route([Candidate(m) for m in MODELS], paid, patience=patience, max_attempts=most)
    book, now, asked, named = Ledger(), START, [], set()
    for kind, wait in zip(kinds, waits, strict=True):
        book, action = route.step(book, now, left=10_000.0)
        route.took(action)
        if isinstance(action, GiveUp):
            break
        if isinstance(action, Wait):
            route.waited += action.until - now
            now = action.until
            continue
        if not isinstance(action, Try):
            assert action == Ask(Topic.FUNDS), "nothing else is worth a question here"
            route.funded(Funds())
            continue
        model = action.candidate.model
        how = book.read(model, verdict(kind, until=None if wait is None else now + wait), now)
        book = book.settled(model, how, now, action.generation)
        record = AttemptRecord(model, str(how.kind), str(how.scope), None, how.reason, None, 0.1)
        read = route.record(action.candidate, how, record)
        asked.append((model, read.step))
        named |= set() if wait is None else {model}
        if read.ok:
            break
    else:
        raise AssertionError("the walk does not end")
    moved = [model for model, step in asked if step is not Step.WAIT]
    twice = [model for model, times in Counter(moved).items() for _ in range(times - 1)]
    assert not twice or (len(twice) == 1 and twice[0] in named)
    assert route.waited <= patience + 1e-6
    assert most is None or len(asked) <= most
    assert "p:paid" not in [model for model, _ in asked], "without a price nobody pays"
    ending_of(route)


def test_a_late_moment_is_not_shortened_by_an_earlier_one() -> None:
    """Of two moments the later counts, in whichever order they come."""
    late, early = (verdict(Kind.UPSTREAM_LIMIT, until=START + s) for s in (60, 10))
    for order in ((late, early), (early, late)):
        book = Ledger()
        for how in order:
            book = book.settled("m", how, START)
        found = book.cooldown("m", START)
        assert found is not None
        assert found.until == START + 60


def test_an_abandoned_attempt_changes_nothing() -> None:
    """A caller who stops listening is no failure of the model."""
    assert Ledger().settled("m", verdict(Kind.ABANDONED), START) == Ledger()


def test_two_silent_429_far_apart_are_two_models_limits() -> None:
    """Only within seconds does a second unsaid 429 mean the account."""
    how = verdict(Kind.RATE_LIMIT)
    book = Ledger().settled("a", how, START)
    minute = verdict(Kind.MINUTE_LIMIT)
    found = book.read("b", how, START + 5)
    assert (found.kind, found.scope, found.step) == (minute.kind, minute.scope, minute.step)
    assert found.until == START + 40, "where the server names no moment, the minute's end"
    assert book.read("b", how, START + 11).kind is Kind.RATE_LIMIT
    assert book.read("a", how, START + 1).kind is Kind.RATE_LIMIT
    assert book.read("b", replace(how, until=START + 99), START + 5).until == START + 99
    assert book.answered(START - 1).read("b", how, START + 5).kind is Kind.MINUTE_LIMIT
    assert book.answered(START + 1).read("b", how, START + 5).kind is Kind.RATE_LIMIT


def test_a_request_that_never_left_takes_nothing_of_its_models_limit() -> None:
    """The slot of the account and that of the model's own limit are both given back, and no other model's."""
    book = Ledger().settled("m", verdict(Kind.MODEL_LIMIT, until=START + 40, limit=1, window="minute"), START)
    later, slot = START + 60, Slot.at(START + 60, "p")
    begun = book.admitted(Limits(), later, 0.0, share=Share("p"))[0].begun("m", slot, later, 60.0)
    assert begun.full_model("m", later) is not None
    unsent = begun.unsent("m", slot, later)
    assert unsent.full_model("m", later) is None
    assert unsent.windows.used(later) == (0, 0)
    assert begun.unsent("n", slot, later).full_model("m", later) is not None


def test_only_the_last_turn_of_a_row_can_be_given_back() -> None:
    """Others stand behind the one before it; and their clocks may differ from this one's by a minute."""
    row = Ledger().in_row(START + 1, START).in_row(START + 2, START)
    assert row.out_of_row(START, START + 1).turn(START) == START + 2
    assert row.out_of_row(START + 1, START + 2).turn(START) == START + 1
    assert [row.turn(START - behind) for behind in (50, 70)] == [START + 2, START - 70]


def test_nobody_waits_for_a_question_that_is_answered_or_broken_off() -> None:
    """After an answer nobody asks for a while; what was broken off may be asked at once. The minute stays known."""
    known = Ledger().settled("m", verdict(Kind.MINUTE_LIMIT, until=START + 40, limit=16), START)
    asking = known.inquiring(START)
    assert (asking.inquiring_until > START, asking.may_inquire(START + 1)) == (True, False)
    answered, broken_off = asking.hinted(50, START + 1), asking.not_inquired()
    assert (answered.inquiring_until, answered.may_inquire(START + 1)) == (0.0, False)
    assert answered.limits(Limits(), START + 1) == Limits(16, 50)
    assert (broken_off.inquiring_until, broken_off.may_inquire(START + 1)) == (0.0, True)
    assert asking.hinted(None, START + 1).limits(Limits(), START + 1) == Limits(16, None)
