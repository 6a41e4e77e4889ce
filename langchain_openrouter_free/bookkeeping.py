"""The only place that books: one call's moves in the account's page and in the project's.

Every method is one or two atomic updates of the store, and none of them waits for anything else. Its time is
the server's: this machine's clock, corrected by what replies have shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from langchain_openrouter_free import budget as money
from langchain_openrouter_free import pages
from langchain_openrouter_free.budget import Budget, BudgetWarning, Purse, Shortfall
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.history import FOLD_CHANCE, ROWS_KEPT, CallRecord, Totals, folded
from langchain_openrouter_free.ledger import Ledger, Measured
from langchain_openrouter_free.quota import Slot
from langchain_openrouter_free.routing import Action, Candidate, Route, Try
from langchain_openrouter_free.skew import Heard, corrected
from langchain_openrouter_free.stores import Change, HistoryLog, PageRef, Row, StateStore
from langchain_openrouter_free.tripwire import Bill
from langchain_openrouter_free.verdicts import Kind, Verdict, verdict

T = TypeVar("T")

log = logging.getLogger("langchain_openrouter_free")

# A paid answer shorter than this is not worth its prompt.
LEAST_TOKENS = 256
# Reserved where the caller named no limit: what chat answers rarely pass.
USUAL_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Accounts:
    """Whose quota and whose money it is, and where both are kept."""

    store: StateStore
    account: str
    project: str
    budget: Budget | None = None

    @property
    def book(self) -> PageRef[Ledger]:
        """The account's page."""
        return PageRef(f"account:{self.account}", pages.encode, pages.decode)

    @property
    def purse(self) -> PageRef[Purse]:
        """The project's page."""
        return PageRef(f"project:{self.project}", Purse.encode, Purse.decode)


@dataclass(frozen=True, slots=True)
class Need:
    """What a paid attempt at this call's request could cost, in tokens.

    Attributes:
        prompt_tokens: upper bound of the prompt's tokens.
        images: pictures in the prompt.
        max_tokens: the caller's own output limit, if any.
    """

    prompt_tokens: int = 0
    images: int = 0
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One granted attempt.

    Attributes:
        candidate: who is asked.
        slot: what was taken of the free quota; None for a paid attempt.
        generation: the model's generation when the attempt began.
        reservation: id of what was held back of the budget; None for a free attempt.
        max_tokens: cap on the output tokens of a paid attempt.
    """

    candidate: Candidate
    slot: Slot | None = None
    generation: int = 0
    reservation: str | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """How an attempt was booked.

    Attributes:
        verdict: its reading in the light of the book.
        until: until when its model is left alone; None if it is not.
        warnings: caps of the budget that are to be warned of.
    """

    verdict: Verdict
    until: float | None = None
    warnings: tuple[BudgetWarning, ...] = ()


@dataclass(slots=True)
class Books:
    """The books that one call writes.

    Attributes:
        accounts: which pages.
        clock: this machine's.
        need: what a paid attempt could use.
        new_id: makes the name of a reservation.
        chance: returns a number from 0 to 1, for what is left to chance.
        skew: seconds to add to this machine's clock, as far as this call knows.
    """

    accounts: Accounts
    clock: Clock
    need: Need
    new_id: Callable[[], str]
    chance: Callable[[], float]
    skew: float = field(default=0.0, init=False)

    def now(self) -> float:
        """Return the server's time, Unix seconds."""
        return self.clock.now() + self.skew

    def heard(self, heard: Heard | None) -> None:
        """Take note of the server's time in a reply."""
        self.skew = corrected(self.skew, heard)

    # -- before an attempt

    def decide(self, route: Route, left: float) -> Action:
        """Let the route choose and book its next action; `left`: seconds until the call's deadline."""

        def change(book: Ledger | None) -> tuple[Ledger, tuple[Action, float]]:
            known = book or Ledger()
            # The time is read under the store's lock: it may have been waited for over the end of a minute.
            known, action = route.step(known, self.clock.now() + known.skew, left)
            return known, (action, known.skew)

        action, self.skew = self._update(change)
        route.took(action)
        return action

    def reserve(self, action: Try) -> Turn | Shortfall | None:
        """Hold back the worst case of a paid attempt, lowering its output limit to what there is room for.

        None where a budget cannot be kept: the store has lost sight of what others spend.
        """
        candidate, need = action.candidate, self.need
        now, key = self.now(), self.new_id()
        budget, prices = self.accounts.budget, candidate.prices
        assert budget is not None  # noqa: S101 - paid candidates exist only with a budget
        assert prices is not None  # noqa: S101 - a paid candidate is tried only once priced

        def change(purse: Purse | None) -> tuple[Purse, Turn | Shortfall]:
            purse = (purse or Purse()).turned_to(now)
            tokens = need.max_tokens or USUAL_TOKENS
            room = purse.room(budget, now)
            if room is not None and need.max_tokens is None:
                most = money.affordable_tokens(prices, room=room, prompt_tokens=need.prompt_tokens, images=need.images)
                tokens = tokens if most is None else max(min(tokens, most), LEAST_TOKENS)
            amount = money.worst_case(prices, prompt_tokens=need.prompt_tokens, max_tokens=tokens, images=need.images)
            short = purse.shortfall(budget, amount, now)
            if short is not None:
                return purse, short
            return purse.reserved_for(key, amount, now), Turn(candidate, None, action.generation, key, tokens)

        bought = self.accounts.store.update(self.accounts.purse, change)
        # Asked afterwards: the update is what finds out.
        if budget.caps().keys() - {"call"} and getattr(self.accounts.store, "degraded", False):
            self._spend(partial(Purse.settled, key=key, cost=0, now=now))
            return None
        return bought

    def release(self, slot: Slot) -> None:
        """Give back a slot that was booked and is not waited for any more."""
        now = self.now()
        self._update(lambda book: ((book or Ledger()).released(slot, now), None))

    def give_back(self, turn: Turn) -> None:
        """Undo a turn whose request was never sent."""
        self.settle(turn, verdict(Kind.UNREACHABLE, "never sent"), None)

    def hinted(self, limit: int | None) -> None:
        """Book what `GET /key` said of the day's limit; None if it said nothing."""
        now = self.now()
        self._update(lambda book: ((book or Ledger()).hinted(limit, now), None))

    def not_inquired(self) -> None:
        """Book that the question was broken off."""
        self._update(lambda book: ((book or Ledger()).not_inquired(), None))

    # -- after an attempt

    def settle(
        self,
        turn: Turn,
        how: Verdict,
        usage: dict[str, Any] | None,
        heard: Heard | None = None,
        measured: Measured | None = None,
        ends: Callable[[Settled], CallRecord | None] | None = None,
        bill: Bill | None = None,
    ) -> Settled:
        """Book how an attempt ended, and with it the call where `ends` makes a record of it.

        A free attempt that was billed puts its model into quarantine, and its cost into the project's page.

        A store that fails here is told in the log: an answer that was earned is not lost for it, and a
        reservation that stays open counts as spent.
        """
        try:
            settled = self._settle(turn, how, heard, measured, ends, bill)
            warnings: tuple[BudgetWarning, ...] = ()
            if turn.reservation is not None:
                warnings = self._settle_money(turn, how, usage, self.now())
            elif bill is not None and bill.cost is not None:
                warnings = self._spend(partial(Purse.booked, cost=bill.cost, now=self.now()))
        except Exception:
            log.exception("the outcome of an attempt at %s cannot be kept", turn.candidate.model)
            return Settled(how)
        if ends is not None:
            self._fold_sometimes()
        return replace(settled, warnings=warnings)

    def _settle(
        self,
        turn: Turn,
        how: Verdict,
        heard: Heard | None,
        measured: Measured | None,
        ends: Callable[[Settled], CallRecord | None] | None,
        bill: Bill | None,
    ) -> Settled:
        """Book it in the account's page, and the call in the history, in one step."""
        here, model, chance = self.clock.now(), turn.candidate.model, self.chance()

        def change(book: Ledger | None) -> tuple[Ledger, tuple[Settled, float]]:
            known = (book or Ledger()).timed(heard)
            now = here + known.skew
            read = known.read(model, how, now)
            known = known.settled(model, read, now, turn.generation, measured, chance)
            if turn.slot is not None and how.kind is Kind.UNREACHABLE:
                known = known.unsent(model, turn.slot, now)
            if bill is not None:
                known = known.billed(bill, now)
            rests = known.rests_until(model, now)
            return known, (Settled(read, rests if rests > now and not read.ok else None), known.skew)

        def row(answer: tuple[Settled, float]) -> Row | None:
            record = None if ends is None else ends(answer[0])
            return None if record is None else (self._log, record.at, record.encode())

        store = self.accounts.store
        if ends is not None and isinstance(store, HistoryLog):
            settled, self.skew = store.update_and_append(self.accounts.book, change, row)
        else:
            settled, self.skew = self._update(change)
        return settled

    def _settle_money(
        self, turn: Turn, how: Verdict, usage: dict[str, Any] | None, now: float
    ) -> tuple[BudgetWarning, ...]:
        """Book the cost; a refusal before any content costs nothing, a broken-off answer the worst case."""
        cost = money.cost_of(usage, turn.candidate.prices)
        if cost is None and not how.ok and how.status is not None and how.status != 200:
            cost = 0
        if cost is None and how.kind is Kind.UNREACHABLE:
            cost = 0
        return self._spend(partial(Purse.settled, key=turn.reservation or "", cost=cost, now=now))

    def _spend(self, spent: Callable[[Purse], Purse]) -> tuple[BudgetWarning, ...]:
        """Change the project's page; return which caps are to be warned of."""
        now, budget = self.now(), self.accounts.budget

        def change(purse: Purse | None) -> tuple[Purse, tuple[BudgetWarning, ...]]:
            after = spent(purse or Purse())
            return (after, ()) if budget is None else after.crossed(budget, now)

        return self.accounts.store.update(self.accounts.purse, change)

    def keep(self, record: CallRecord) -> None:
        """Add a call that nobody answered to the history, if the store keeps one."""
        store = self.accounts.store
        if not isinstance(store, HistoryLog):
            return
        try:
            store.append(self._log, record.at, record.encode())
        except Exception:
            log.exception("a call cannot be added to the history")
        self._fold_sometimes()

    @property
    def _log(self) -> str:
        return f"calls:{self.accounts.account}"

    def _fold_sometimes(self) -> None:
        """Fold what is old of the history; what is booked does not depend on it."""
        store = self.accounts.store
        if not isinstance(store, HistoryLog) or self.chance() >= FOLD_CHANCE:
            return
        totals = PageRef(f"totals:{self.accounts.account}", Totals.encode, Totals.decode)
        try:
            store.fold(self._log, self.now() - ROWS_KEPT, totals, folded)
        except Exception:
            log.exception("the history cannot be folded")

    def look(self) -> Ledger:
        """Return the account's book as it is."""
        return self._update(lambda book: (book or Ledger(), book or Ledger()))

    def _update(self, change: Change[Ledger, T]) -> T:
        return self.accounts.store.update(self.accounts.book, change)
