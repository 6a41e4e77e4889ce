"""One call's walk through the ranked candidates: what to do next, and how it ended. Pure.

Knows no clock, no network and no LangChain: verdicts and the account's book go in, actions come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Literal

from langchain_openrouter_free.actions import Action, Ask, Candidate, Choice, GiveUp, PaidTurn, Road, Topic, Try, Wait
from langchain_openrouter_free.amends import Amends
from langchain_openrouter_free.budget import dollars
from langchain_openrouter_free.catalogue import FRESH, Listing, Prices
from langchain_openrouter_free.errors import AttemptRecord, Skipped
from langchain_openrouter_free.fitness import Needs
from langchain_openrouter_free.funds import Funds
from langchain_openrouter_free.health import Strategy
from langchain_openrouter_free.hindsight import OF_QUOTA, in_hindsight, remembered
from langchain_openrouter_free.ledger import Hold, Ledger
from langchain_openrouter_free.ordering import SPARED, has_its_part, in_order
from langchain_openrouter_free.purse import Shortfall
from langchain_openrouter_free.quota import DAY, MINUTE, Full, Limits, Share, Slot
from langchain_openrouter_free.suitability import Suitability
from langchain_openrouter_free.verdicts import POLICIES, Kind, Step, Verdict

# A service that cannot be reached is not asked once for each of twenty models.
_UNREACHABLE_IN_A_ROW = 3
# A server whose minute never opens must not be asked until the patience is used up.
_ACCOUNT_WAITS = 3
# So many models that are gone tell that the list is outdated: each of them costs a request, a newer list none.
_OUTDATED = 2
# How soon to look whether another call has learned the day's limit, in seconds.
_LOOK_AGAIN = 0.25

UNBOOKABLE = (
    "the state's file or server cannot be used, so the budget cannot be kept "
    "(state='memory' keeps one for this process alone)"
)
_IN_TIME = "the call ended before its turn"
_ALL_REST = "every model cools down"
_TOO_DEAR = "the budget does not hold it"
# What of a walk grows on its way.
_GROWING = ("trail", "verdicts", "pauses", "_done", "_outrun", "_unbookable", "_asked", "_suitability")
# How the service says that it wants money.
OF_MONEY = frozenset({Kind.UNPAID, Kind.IN_DEBT, Kind.TOO_DEAR, Kind.KEY_LIMIT})


@dataclass(slots=True)
class Route:
    """Walks the candidates in rank order until one answers or there is no point in going on.

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

    def copied(self) -> Route:
        """Return the walk as it stands, to be gone on with on trial."""
        other = copy(self)
        for name in _GROWING:
            setattr(other, name, copy(getattr(self, name)))
        other.amends = self.amends.copied()
        return other

    def step(self, book: Ledger, now: float, left: float) -> tuple[Ledger, Action]:
        """Decide what to do next, and book it in the same move.

        Pure but for what it derives of the book: a store may run it again. The engine tells with `took`
        which action came to pass.

        Args:
            book: the account's book at this moment.
            now: Unix seconds.
            left: seconds until the whole call's deadline.

        Returns:
            The book after the decision, and the decision.
        """
        booked = self._slot
        if booked is not None and self._is_lost(booked, now):
            book, booked = book.released(booked, now), None
        self._booked = booked
        book, action = self._decided(book, now, left)
        if booked is not None and (not isinstance(action, Try | Wait) or action.slot != booked):
            book = book.released(booked, now)
        return book, action

    def _is_lost(self, slot: Slot, now: float) -> bool:
        """Tell whether a booked slot was overslept, or is far ahead of a clock that has jumped back."""
        return not slot.fits(now) and not now < slot.opens_at <= now + max(self._longest_queue(self.patience), MINUTE)

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

    def _decided(self, book: Ledger, now: float, left: float) -> tuple[Ledger, Action]:
        if self.raised or left <= 0 or (self.max_attempts is not None and len(self.trail) >= self.max_attempts):
            if self.verdicts and self.verdicts[-1].kind in OF_QUOTA:
                self.hold = book.hold(now)
            return book, GiveUp()
        self.hold = book.hold(now)
        if self._gone() >= _OUTDATED:
            return book, Ask(Topic.NEWS)
        self._suitability.begin()
        patience = max(min(self.patience - (self.waited - self.uncounted), left), 0.0)
        behind = self._turn is None and self._rate(book, now) is not None and book.turn(now) - now > patience
        self._pays_soon = not behind and bool(self._paid_untried())
        decided = self._free_step(book, now, patience)
        if decided is not None:
            return decided
        if self.choice.open and self._gone():
            return book, Ask(Topic.NEWS)
        book, action = self._paid_step(book, now, patience)
        if isinstance(action, Try):
            book = book.begun(action.candidate.model, None, now, self.lease)
        if not isinstance(action, GiveUp):
            return book, action
        back = self._second_step(book, now, patience)
        if back is None and self.money is not None and Topic.FUNDS not in self._asked:
            return book, Ask(Topic.FUNDS)
        return back or (book, action)

    def _gone(self) -> int:
        """Return how many models the service said are gone that the list has; 0 where a newer one is of no use."""
        if self.choose is None or self.hold is not None or self._no_service or Topic.NEWS in self._asked:
            return 0
        gone = {r.model for v, r in zip(self.verdicts, self.trail, strict=True) if v.kind is Kind.DELISTED}
        return sum(candidate.model in gone for candidate in self.free) if gone else 0

    def _free_step(self, book: Ledger, now: float, patience: float) -> tuple[Ledger, Action] | None:
        if self._is_closed:
            return None
        wakes, spares = float("inf"), self._spares(book, now)
        for candidate in self._in_order(book, now):
            if candidate.model in self._done or self._suitability.passes_over(candidate, book.traits, now):
                continue
            if spares and candidate.score is not None:
                continue
            wakes = min(wakes, self._suitability.rests_until(candidate, book, now))
            if wakes <= now:
                if self.hold is None:
                    return self._admitted(book, candidate, now, patience)
                break
        hold = self.hold
        ready = max(wakes, hold.opens_at if hold else 0.0)
        queued = hold is not None and hold.window == "minute" and wakes <= hold.opens_at
        longest = self._longest_queue(patience) if queued else patience
        if ready - now > longest:
            return None
        if hold is None:
            return self._resting(book, ready, now, patience)
        return book, Wait(ready, f"the account's {hold.window} window", self._booked, self.paced and queued)

    def _resting(self, book: Ledger, wakes: float, now: float, patience: float) -> tuple[Ledger, Action] | None:
        """Wait until a model is back, if a request is left for it by then."""
        if self._booked is None:
            left = patience - (wakes - now)
            _, found = book.admitted(self.limits, wakes, left, self._longest_queue(left), self.share)
            if isinstance(found, Full):
                return self._without_slot(book, found, now)
        return book, Wait(wakes, _ALL_REST, self._booked)

    def _spares(self, book: Ledger, now: float) -> bool:
        """Tell whether the rest of the day is spared models that nobody named; a user's own bound counts instead."""
        return self.max_attempts is None and has_its_part(self.free, self.trail, book, self.limits, now)

    def _in_order(self, book: Ledger, now: float) -> Sequence[Candidate]:
        # `adaptive` looks at one other model in a call: where that fails, the best one is next.
        chance = 1.0 if self.trail else self.chance
        order = in_order(self.free, book, self.strategy, self.limits, now, chance, self.speaks(book, now))
        # Who was silent while another spoke has not failed: where that one breaks off, it comes after all others.
        return sorted(order, key=lambda one: one.model in self._outrun) if self._outrun else order

    def speaks(self, book: Ledger, now: float) -> str | None:
        """Return the model that is asked first because it served this conversation last; None where none is."""
        return self.voice if self.voice is not None and book.is_well(self.voice, now) else None

    def _longest_queue(self, patience: float) -> float:
        """Return how long to stand in the queue for a minute: a batch pays first, as far as it may."""
        return DAY if self.paced and not self._pays_soon else patience

    def _admitted(
        self, book: Ledger, candidate: Candidate, now: float, patience: float
    ) -> tuple[Ledger, Action] | None:
        """Ask a candidate with a slot of the free quota: one that was booked, or a new one."""
        model, slot = candidate.model, self._booked
        if slot is None:
            queue = self._longest_queue(patience)
            book, found = book.admitted(self.limits, now, patience, queue, self.share)
            if isinstance(found, Full):
                return self._without_slot(book, found, now)
            slot = found
        if not slot.fits(now):
            return book, Wait(slot.opens_at, "the account's minute window", slot, self.paced)
        usual = book.first_token_p95(model)
        if usual is not None and not any(self.beside(model, self.free, book, now)):
            usual = None
        return book.begun(model, slot, now, self.lease), Try(
            self.amends.known(candidate, book, now), slot, book.generation(model), usual_s=usual
        )

    @property
    def _is_closed(self) -> bool:
        """Whether nobody is asked through the service any more."""
        return self._no_service or self._account_waits > _ACCOUNT_WAITS

    @property
    def is_over(self) -> bool:
        """Whether no further free model would be asked, whatever comes of those that are."""
        return self.raised is not None or self._no_service

    def beside(self, model: str, free: Sequence[Candidate], book: Ledger, now: float) -> Iterator[Candidate]:
        """Yield the free candidates beside one that could be asked now and are well."""
        asked = {model, *self._done, *self._outrun}
        for one in free:
            could = one.model not in asked and book.is_well(one.model, now)
            if not could or self._suitability.why_not(one, book.traits, now) is not None:
                continue
            if one.score is None or not self._spares(book, now):
                yield one

    def _without_slot(self, book: Ledger, full: Full, now: float) -> tuple[Ledger, Action] | None:
        """No slot in time: a day that is only guessed to be used up is worth a question first."""
        if self._is_guess(book, full, now):
            if book.inquiring_until > now:
                return book, Wait(now + _LOOK_AGAIN, "another call asks for the day's limit", uncounted=True)
            if book.may_inquire(now):
                return book.inquiring(now), Ask(Topic.DAY_LIMIT)
        self.hold = Hold(full.window, full.ends(now), full.limit, full.used, full.share)
        return None

    def _is_guess(self, book: Ledger, full: Full, now: float) -> bool:
        """Tell whether another limit of the account's day would make room."""
        own = full.share and self.share.at_most is not None and not self.share.at_most.percent
        return (
            full.window == "day"
            and not own
            and Topic.DAY_LIMIT not in self._asked
            and book.limits(self.limits, now).guessed
        )

    def _paid_step(self, book: Ledger, now: float, patience: float) -> tuple[Ledger, Action]:
        waits: list[float] = []
        for candidate in self._paid_untried():
            if self._suitability.passes_over(candidate, book.traits, now):
                continue
            rests = self._suitability.rests_until(candidate, book, now)
            if rests > now:
                waits.append(rests)
                continue
            book, turn = self._in_row(book, now, patience)
            if turn is not None and not isinstance(turn, PaidTurn):
                return book, turn
            if turn is not None and turn.at > now:
                return book, Wait(turn.at, "the pace of paid requests", uncounted=self.paced, turn=turn)
            asked = self.amends.known(candidate, book, now)
            asked = replace(asked, prices=candidate.prices or self._prices.get(candidate.model))
            generation, most = book.generation(candidate.model), self.amends.most_tokens.get(candidate.model)
            return book, Try(asked, generation=generation, most_tokens=most, turn=turn)
        if waits and min(waits) - now <= patience:
            return book, Wait(min(waits), _ALL_REST)
        return book, GiveUp()

    def _second_step(self, book: Ledger, now: float, patience: float) -> tuple[Ledger, Action] | None:
        """Ask again, once in a call, who is back first of those for whom the server gave a moment, if it is in time."""
        if self._came_back or self.hold is not None or self._is_closed:
            return None
        past, back, spares = zip(self.verdicts, self.trail, strict=True), self._suitability, self._spares(book, now)
        stated = {told.model for how, told in past if how.until is not None and POLICIES[how.kind].cools}
        free = [c for c in self.free if c.model in stated and not (spares and c.score is not None)]
        fit = [candidate for candidate in free if not back.passes_over(candidate, book.traits, now)]
        returns = [(back.rests_until(candidate, book, now), candidate) for candidate in fit]
        wakes, first = min(returns, key=lambda one: one[0], default=(float("inf"), None))
        if first is None or wakes - now > patience:
            return None
        return self._admitted(book, first, now, patience) if wakes <= now else self._resting(book, wakes, now, patience)

    def _in_row(self, book: Ledger, now: float, patience: float) -> tuple[Ledger, PaidTurn | Ask | GiveUp | None]:
        """Take a turn in the row of paid requests, or keep the one that was booked; None where there is no row."""
        if self._turn is not None and self._turn.at - now <= self._turn.wait + 1.0:
            return book, self._turn
        rate = self._rate(book, now)
        if self.paid_rps == "balance" and rate is None:
            if Topic.FUNDS not in self._asked:
                return book, Ask(Topic.FUNDS)
            rate = 1.0
        if rate is None:
            return book, None
        at = book.turn(now)
        if at - now > (DAY if self.paced else patience):
            self.next_turn = at
            return book, GiveUp()
        return book.in_row(at + 1 / rate, now), PaidTurn(at, at + 1 / rate, at - now)

    def _rate(self, book: Ledger, now: float) -> float | None:
        """Return the most paid requests a second; None where nothing limits them, or the balance is not known."""
        if self.paid_rps != "balance":
            return self.paid_rps
        return book.rate(now) if self.funds is None else self.funds.rps

    def _paid_untried(self) -> list[Candidate]:
        left = [c for c in self.paid if not (self._is_closed and c.road is Road.SERVICE)]
        return [c for c in left if c.model not in self._done and (c.prices or c.model in self._prices)]

    def needs_listing(self, now: float) -> bool:
        """Tell whether the service's list must be looked at before anybody is asked: at first, and in a long wait."""
        if Topic.LISTING in self._asked and 0 <= now - self._looked_at < FRESH:
            return False
        unpriced = any(c.road is Road.SERVICE and c.prices is None for c in self.paid)
        return unpriced or self.choose is not None

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
        if verdict.kind in OF_MONEY and candidate.road is Road.SERVICE:
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

    def skipped(self, book: Ledger, now: float) -> list[Skipped]:
        """Say of every candidate that was not asked why."""
        asked = {record.model for record in self.trail}
        told = [
            Skipped(c.model, *self._why_not(c, book, now)) for c in (*self.free, *self.paid) if c.model not in asked
        ]
        return told if self.free else [*told, *(Skipped(model, why) for model, why in self.choice.left_out.items())]

    def outlook(
        self, book: Ledger, now: float, short_of: Callable[[Prices], Shortfall | None]
    ) -> list[tuple[Candidate, str, float | None]]:
        """Say of every candidate, in the order in which they would be asked now, what stands in its way, or ""."""
        told = []
        for candidate in (*self._in_order(book, now), *self.paid):
            why, until = self._why_not(candidate, book, now)
            prices = candidate.prices or self._prices.get(candidate.model)
            if why == _IN_TIME and candidate.paid and prices is not None and (short := short_of(prices)) is not None:
                why, until = _TOO_DEAR, short.frees_at
            told.append((candidate, "" if why == _IN_TIME else why, until))
        return told

    def _why_not(self, candidate: Candidate, book: Ledger, now: float) -> tuple[str, float | None]:
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
        return SPARED if candidate.score is not None and self._spares(book, now) else _IN_TIME, None

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
