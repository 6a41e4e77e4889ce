"""What one call's walk has come to: whom it may ask, what was learned on the way, and why others were not asked. Pure.

Decides nothing: what follows from it is `routing.py`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Literal, Self

from langchain_openrouter_free.books.budget import dollars
from langchain_openrouter_free.books.funds import Funds
from langchain_openrouter_free.books.health import Strategy
from langchain_openrouter_free.books.ledger import Hold, Ledger
from langchain_openrouter_free.books.purse import Shortfall
from langchain_openrouter_free.books.quota import Limits, Share, Slot
from langchain_openrouter_free.catalogue.catalogue import FRESH, Listing, Prices
from langchain_openrouter_free.errors import AttemptRecord, Skipped
from langchain_openrouter_free.judging.verdicts import POLICIES, Kind, Step, Verdict
from langchain_openrouter_free.route.actions import Action, Ask, Choice, PaidTurn, Topic, Wait
from langchain_openrouter_free.route.amends import Amends
from langchain_openrouter_free.route.candidate import Candidate, Road
from langchain_openrouter_free.route.fitness import Needs
from langchain_openrouter_free.route.hindsight import in_hindsight, remembered
from langchain_openrouter_free.route.ordering import SPARED, has_its_part, in_order
from langchain_openrouter_free.route.suitability import Suitability

# A service that cannot be reached is not asked once for each of twenty models.
_UNREACHABLE_IN_A_ROW = 3
# A server whose minute never opens must not be asked until the patience is used up.
_ACCOUNT_WAITS = 3

UNBOOKABLE = (
    "the state's file or server cannot be used, so the budget cannot be kept "
    "(state='memory' keeps one for this process alone)"
)
_IN_TIME = "the call ended before its turn"
_TOO_DEAR = "the budget does not hold it"
# What of a walk grows on its way.
_GROWING = ("trail", "verdicts", "pauses", "_done", "_outrun", "_unbookable", "_asked", "_suitability")
# How the service says that it wants money.
_OF_MONEY = frozenset({Kind.UNPAID, Kind.IN_DEBT, Kind.TOO_DEAR, Kind.KEY_LIMIT})


@dataclass(slots=True)
class Walked:
    """Who may be asked, what was learned on the way, and what that says of those who were not asked.

    Attributes:
        free, paid: candidates by rank; the paid ones are asked when no free one is left.
        patience: seconds that this call may wait in all.
        paced: whether it queues for a minute with room as long as it takes, beside its patience.
        limits: what is assumed of the account's free quota where the server has not said.
        share: whose call it is, and what part of the day that project may take.
        strategy: by what the free candidates are put in order.
        chance: from 0 to 1, for what is left to chance.
        lease: seconds for which an attempt after a cooldown keeps others from the same model.
        max_attempts: most attempts, or None.
        needs: what the request needs of a model.
        choose: makes the free candidates out of the service's list; None where they are given.
        paid_rps: most paid requests a second: a number, `"balance"` for one for each dollar, or None.
        privacy: the setting by which the request asks providers for privacy; "" where it asks for none.
        voice: the model that served this conversation last; asked first while it is well.
        amends: what is changed of the request for models that refused it.
    """

    free: Sequence[Candidate]
    paid: Sequence[Candidate] = ()
    patience: float = 20.0
    paced: bool = False
    limits: Limits = field(default_factory=Limits)
    share: Share = field(default_factory=Share)
    strategy: Strategy = Strategy.RANKED
    chance: float = 1.0
    lease: float = 60.0
    max_attempts: int | None = None
    needs: Needs = field(default_factory=Needs)
    choose: Callable[[Listing | None, float], Choice] | None = None
    paid_rps: float | Literal["balance"] | None = None
    privacy: str = ""
    voice: str | None = None
    amends: Amends = field(default_factory=Amends)
    trail: list[AttemptRecord] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    waited: float = 0.0
    pauses: list[tuple[str, float]] = field(default_factory=list)
    uncounted: float = 0.0
    shortfall: Shortfall | None = None
    hold: Hold | None = None
    raised: Verdict | None = None
    _slot: Slot | None = None
    _booked: Slot | None = None
    _done: set[str] = field(default_factory=set)
    _outrun: set[str] = field(default_factory=set)
    _unbookable: set[str] = field(default_factory=set)
    _prices: dict[str, Prices] = field(default_factory=dict)
    _suitability: Suitability = field(init=False)
    _turn: PaidTurn | None = None
    next_turn: float | None = None
    _pays_soon: bool = True
    _looked_at: float = 0.0
    _asked: set[Topic] = field(default_factory=set)
    choice: Choice = field(default_factory=lambda: Choice(()))
    funds: Funds | None = None
    money: Verdict | None = None
    _no_service: bool = False
    _unreachable: int = 0
    _account_waits: int = 0
    _came_back: bool = False

    def __post_init__(self) -> None:
        self._suitability = Suitability(self.needs)

    def copied(self) -> Self:
        """Return the walk as it stands, to be gone on with on trial."""
        other = copy(self)
        for name in _GROWING:
            setattr(other, name, copy(getattr(self, name)))
        other.amends = self.amends.copied()
        return other

    def took(self, action: Action) -> None:
        """Take note of the slot that a wait has booked, or of its use."""
        self._slot = action.slot if isinstance(action, Wait) else None
        self._turn = action.turn if isinstance(action, Wait) else None
        if isinstance(action, Ask):
            self._asked.add(action.topic)

    def waits(self, wait: Wait, seconds: float) -> None:
        """Take note of a wait."""
        self.waited += seconds
        self.pauses.append((wait.why, seconds))
        self.uncounted += seconds if wait.uncounted else 0.0

    def listed(self, listing: Listing | None, now: float) -> None:
        """Take note of what the service offers; None where its list cannot be had.

        A free candidate that the list doesn't prove free is not asked, nor a paid one without a price.

        Args:
            listing: the list.
            now: Unix seconds at which it was looked at.
        """
        self._asked.add(Topic.LISTING)
        self._looked_at = now
        if self.choose is not None:
            self.choice = self.choose(listing, now)
            self.free = self.choice.candidates
            self._suitability.doubts = self.choice.doubts
        unpriced = [] if listing is None else [c.model for c in self.paid if c.prices is None]
        found = {} if listing is None else {model: listing.prices(model) for model in unpriced}
        self._prices = {model: prices for model, prices in found.items() if prices is not None}

    def needs_listing(self, now: float) -> bool:
        """Tell whether the service's list must be looked at before anybody is asked: at first, and in a long wait."""
        if Topic.LISTING in self._asked and 0 <= now - self._looked_at < FRESH:
            return False
        unpriced = any(c.road is Road.SERVICE and c.prices is None for c in self.paid)
        return unpriced or self.choose is not None

    def funded(self, funds: Funds) -> None:
        """Take note of what is left of the account's money."""
        self.funds = funds

    def unbookable(self, candidate: Candidate) -> None:
        """Take note that this candidate's cost cannot be booked now."""
        self._unbookable.add(candidate.model)
        self._done.add(candidate.model)

    def refused(self, candidate: Candidate, shortfall: Shortfall) -> None:
        """Take note that the budget does not hold this candidate's worst case."""
        if self.shortfall is None or shortfall.lasts() <= self.shortfall.lasts():
            self.shortfall = shortfall
        self._done.add(candidate.model)

    def record(self, candidate: Candidate, verdict: Verdict, told: AttemptRecord) -> Verdict:
        """Take note of how an attempt ended; return the verdict as this walk reads it."""
        verdict = in_hindsight(candidate, verdict, self.verdicts)
        again = self.amends.made(candidate, verdict)
        self._came_back |= candidate.model in self._done
        self.trail.append(told)
        self.verdicts.append(remembered(candidate, verdict))
        if verdict.kind in _OF_MONEY and candidate.road is Road.SERVICE:
            self.money = verdict
        if candidate.road is Road.SERVICE:
            self._unreachable = self._unreachable + 1 if verdict.kind is Kind.UNREACHABLE else 0
        if verdict.step is Step.WAIT:
            self._account_waits += 1
        elif not again:
            (self._outrun if verdict.kind is Kind.ABANDONED else self._done).add(candidate.model)
        self._no_service |= verdict.step is Step.LEAVE_SERVICE or self._unreachable >= _UNREACHABLE_IN_A_ROW
        if verdict.step is Step.RAISE:
            self.raised = verdict
        return verdict

    def speaks(self, book: Ledger, now: float) -> str | None:
        """Return the model that is asked first because it served this conversation last; None where none is."""
        return self.voice if self.voice is not None and book.is_well(self.voice, now) else None

    @property
    def _is_closed(self) -> bool:
        """Whether nobody is asked through the service any more."""
        return self._no_service or self._account_waits > _ACCOUNT_WAITS

    @property
    def is_over(self) -> bool:
        """Whether no further free model would be asked, whatever comes of those that are."""
        return self.raised is not None or self._no_service

    def _paid_untried(self) -> list[Candidate]:
        left = [c for c in self.paid if not (self._is_closed and c.road is Road.SERVICE)]
        return [c for c in left if c.model not in self._done and (c.prices or c.model in self._prices)]

    def _spared(self, book: Ledger, now: float) -> Callable[[Candidate], bool]:
        """Return what tells of a model whether the rest of the day is spared it.

        Those that nobody named are, once the call has had its part; a user's own bound counts instead.
        """
        spares = self.max_attempts is None and has_its_part(self.free, self.trail, book, self.limits, now)
        return lambda candidate: spares and candidate.score is not None

    def _in_order(self, book: Ledger, now: float) -> Sequence[Candidate]:
        # `adaptive` looks at one other model in a call: where that fails, the best one is next.
        chance = 1.0 if self.trail else self.chance
        order = in_order(self.free, book, self.strategy, self.limits, now, chance, self.speaks(book, now))
        # Who was silent while another spoke has not failed: where that one breaks off, it comes after all others.
        return sorted(order, key=lambda one: one.model in self._outrun) if self._outrun else order

    @property
    def ruled_out(self) -> bool:
        """Whether nobody is left because the account's own setting has ruled out some, and nobody else is fit."""
        return self.suits_nobody and self._suitability.some_ruled_out()

    @property
    def suits_nobody(self) -> bool:
        """Whether none of those who are left is fit for the request."""
        left = (one for one in (*self.free, *self._paid_untried()) if one.model not in self._done)
        return self._suitability.nobody(left)

    @property
    def some_too_small(self) -> bool:
        """Whether the prompt was too long for one that is fit otherwise."""
        return self._suitability.some_too_small()

    def skipped(self, book: Ledger, now: float) -> list[Skipped]:
        """Say of every candidate that was not asked why."""
        asked, is_spared = {record.model for record in self.trail}, self._spared(book, now)
        left = [candidate for candidate in (*self.free, *self.paid) if candidate.model not in asked]
        told = [Skipped(candidate.model, *self._why_not(candidate, book, now, is_spared)) for candidate in left]
        return told if self.free else [*told, *(Skipped(model, why) for model, why in self.choice.left_out.items())]

    def outlook(
        self, book: Ledger, now: float, short_of: Callable[[Prices, int | None], Shortfall | None]
    ) -> list[tuple[Candidate, str, float | None]]:
        """Say of every candidate, in the order in which they would be asked now, what stands in its way, or ""."""
        told, is_spared = [], self._spared(book, now)
        for candidate in (*self._in_order(book, now), *self.paid):
            why, until = self._why_not(candidate, book, now, is_spared)
            prices = candidate.prices or self._prices.get(candidate.model)
            if why == _IN_TIME and candidate.paid and prices is not None:
                short = short_of(prices, candidate.output_limit)
                why, until = (why, until) if short is None else (_TOO_DEAR, short.frees_at)
            told.append((candidate, "" if why == _IN_TIME else why, until))
        return told

    def _why_not(
        self, candidate: Candidate, book: Ledger, now: float, is_spared: Callable[[Candidate], bool]
    ) -> tuple[str, float | None]:
        hold = book.hold(now) or self.hold
        if (unfit := self._suitability.why_not(candidate, book.traits, now)) is not None:
            return unfit
        billed = book.quarantined.get(candidate.model)
        if billed is not None and billed.until > now:
            cost = "an unknown cost" if billed.cost is None else f"${dollars(billed.cost)}"
            return f"quarantined, for a free attempt at it was billed {cost}", billed.until
        rest = book.cooldown(candidate.model, now)
        if rest is not None:
            return f"cooling down after {rest.kind} ({POLICIES[rest.kind].means})", rest.rests_until(now)
        full = book.full_model(candidate.model, now)
        if full is not None:
            return f"the service's limit on this model ({full.limit} a {full.window}) is used up", full.ends(now)
        if candidate.paid and candidate.prices is None and candidate.model not in self._prices:
            return "its price is unknown, so its cost cannot be bounded", None
        if candidate.model in self._unbookable:
            return UNBOOKABLE, None
        if candidate.paid and self.next_turn is not None:
            return "no turn in the row of paid requests (paid_rps) comes in time", self.next_turn
        if candidate.paid and self.shortfall is not None:
            return _TOO_DEAR, self.shortfall.frees_at
        if hold is not None and not candidate.paid:
            whose = "the project's share of the" if hold.share else "the account's"
            return f"{whose} {hold.window} quota is used up", hold.until
        return SPARED if is_spared(candidate) else _IN_TIME, None
