"""One call's walk through the ranked candidates: what to do next. Pure.

Knows no clock, no network and no LangChain: verdicts and the account's book go in, actions come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from langchain_openrouter_free.books.ledger import Hold, Ledger
from langchain_openrouter_free.books.quota import DAY, MINUTE, Full, Slot
from langchain_openrouter_free.judging.verdicts import POLICIES, Kind
from langchain_openrouter_free.route.actions import Action, Ask, GiveUp, PaidTurn, Topic, Try, Wait
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.hindsight import OF_QUOTA
from langchain_openrouter_free.route.walked import Walked

# So many models that are gone tell that the list is outdated: each of them costs a request, a newer list none.
_OUTDATED = 2
# How soon to look whether another call has learned the day's limit, in seconds.
_LOOK_AGAIN = 0.25
_ALL_REST = "every model cools down"


@dataclass(slots=True)
class Route(Walked):
    """Walks the candidates in rank order until one answers or there is no point in going on."""

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
        windows, booked = book.windows.set_right(now), self._slot
        if windows is not book.windows:
            book = book._replace(windows=windows)
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
        wakes, is_spared = float("inf"), self._spared(book, now)
        for candidate in self._in_order(book, now):
            if candidate.model in self._done or self._suitability.passes_over(candidate, book.traits, now):
                continue
            if is_spared(candidate):
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

    def beside(self, model: str, free: Sequence[Candidate], book: Ledger, now: float) -> Iterator[Candidate]:
        """Yield the free candidates beside one that could be asked now and are well."""
        asked, is_spared = {model, *self._done, *self._outrun}, self._spared(book, now)
        for one in free:
            could = one.model not in asked and book.is_well(one.model, now)
            if not could or self._suitability.why_not(one, book.traits, now) is not None:
                continue
            if not is_spared(one):
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
        past, back, is_spared = zip(self.verdicts, self.trail, strict=True), self._suitability, self._spared(book, now)
        stated = {told.model for how, told in past if how.until is not None and POLICIES[how.kind].cools}
        free = [c for c in self.free if c.model in stated and not is_spared(c)]
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
