"""The only place that books: one call's moves in the account's page and in the project's.

Every method is one or two atomic updates of the store, and none of them waits for anything else. Its time is
the server's: this machine's clock, corrected by what replies have shown.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from langchain_openrouter_free.books import pages
from langchain_openrouter_free.books.budget import Budget, Need
from langchain_openrouter_free.books.funds import Funds
from langchain_openrouter_free.books.history import (
    FOLD_CHANCE,
    MOST_ROWS,
    ROWS_KEPT,
    CallRecord,
    Totals,
    folded,
    read_call,
)
from langchain_openrouter_free.books.joining import joined_books
from langchain_openrouter_free.books.ledger import Ledger, Measured
from langchain_openrouter_free.books.purse import BudgetWarning, Shortfall
from langchain_openrouter_free.books.quota import Slot
from langchain_openrouter_free.books.skew import Heard, corrected
from langchain_openrouter_free.books.tripwire import Bill
from langchain_openrouter_free.clock import Clock, SharedClock
from langchain_openrouter_free.engine.payments import Payments, Pocket
from langchain_openrouter_free.judging.traits import NOTHING, Lesson
from langchain_openrouter_free.judging.verdicts import Kind, Verdict, verdict
from langchain_openrouter_free.route.actions import Action, PaidTurn, Try
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.onward import Onward
from langchain_openrouter_free.route.rivals import rival
from langchain_openrouter_free.route.routing import Route
from langchain_openrouter_free.stores import Change, PageRef, Row, StateStore, keeps_log
from langchain_openrouter_free.values import value_type

T = TypeVar("T")

# In so many of the times at which old rows are folded, the rows are counted as well: that reads them.
_COUNTED = 0.1

log = logging.getLogger("langchain_openrouter_free")


@value_type()
class Accounts:
    """Whose quota and whose money it is, and where both are kept.

    Attributes:
        store: where.
        account: a hash of the key and the base URL.
        project: a name.
        budget: what the project may spend.
        ceiling: what all projects of the account may spend together, as far as that is bounded.
    """

    store: StateStore
    account: str
    project: str
    budget: Budget | None = None
    ceiling: Budget | None = None

    @property
    def book(self) -> PageRef[Ledger]:
        """The account's page."""
        return PageRef(f"account:{self.account}", pages.encode, pages.decode, joined_books)

    def look(self) -> Ledger:
        """Return the account's book as it is."""
        return self.store.update(self.book, lambda book: (book or Ledger(),) * 2)

    def seen(self, clock: Clock) -> tuple[Ledger, float]:
        """Return the account's book, and the time that it goes by, in Unix seconds.

        Args:
            clock: this machine's.
        """
        book = self.look()  # first: a shared state tells its time with it
        return book, self.time(clock).now() + book.skew

    def forget_rulings(self) -> None:
        """Let the models be asked again that the account's own setting has ruled out."""
        self.store.update(self.book, lambda book: ((book or Ledger()).rulings_forgotten(), None))

    def time(self, clock: Clock) -> Clock:
        """Return a machine's clock, or the time by which what is shared is written."""
        store = self.store
        return SharedClock(clock, store.server_time) if hasattr(store, "server_time") else clock

    @property
    def log(self) -> str:
        """Name of the log of the account's calls."""
        return f"calls:{self.account}"

    @property
    def totals(self) -> PageRef[Totals]:
        """The page of counts that old calls are folded into."""
        return PageRef(f"totals:{self.account}", Totals.encode, Totals.decode)

    def calls(self, limit: int = MOST_ROWS, *, since: float = 0.0, project: str | None = None) -> list[CallRecord]:
        """Return the last calls that are kept, the newest first; none where the store keeps no history.

        Args:
            limit: at most so many.
            since: only calls that ended then or later, in Unix seconds.
            project: only this project's; None for all of the account.
        """
        if not keeps_log(self.store):
            return []
        found: list[CallRecord] = []
        for at, text in self.store.recent(self.log, MOST_ROWS if project is not None else min(limit, MOST_ROWS)):
            if len(found) >= limit:
                break
            record = read_call(text) if at >= since else None
            if record is not None and project in (None, record.project):
                found.append(record)
        return found

    def counts(self) -> Totals:
        """Return what is left of calls that are older than those that are kept."""
        return self.store.update(self.totals, lambda known: (known or Totals(),) * 2)

    def payments(self, need: Need) -> Payments:
        """Return the pages of money, for a call that needs so much."""
        pockets = [Pocket("project", self.project, self.budget)]
        if self.ceiling is not None:
            pockets.append(Pocket("account", self.account, self.ceiling))
        return Payments(self.store, tuple(pockets), need, self.account)


@value_type()
class Turn:
    """One granted attempt.

    Attributes:
        candidate: who is asked.
        slot: what was taken of the free quota; None for a paid attempt.
        generation: the model's generation when the attempt began.
        reservation: id of what was held back of the budget; None for a free attempt.
        max_tokens: cap on the output tokens of a paid attempt.
        usual_s: seconds within which its first content usually comes, where its deadlines may shrink to that.
    """

    candidate: Candidate
    slot: Slot | None = None
    generation: int = 0
    reservation: str | None = None
    max_tokens: int | None = None
    usual_s: float | None = None


@value_type()
class Settled:
    """How an attempt was booked.

    Attributes:
        verdict: its reading in the light of the book.
        until: until when its model is left alone; None if it is not.
        warnings: caps of the budget that are to be warned of.
        book: the account's book afterwards; None where it could not be kept.
        onward: whom the call asks next, where that was decided and booked as well.
    """

    verdict: Verdict
    until: float | None = None
    warnings: tuple[BudgetWarning, ...] = ()
    book: Ledger | None = None
    onward: Onward | None = None


@dataclass(slots=True)
class Books:
    """The books that one call writes.

    Attributes:
        accounts: which pages.
        clock: this machine's.
        payments: the pages of money.
        new_id: makes the name of a reservation.
        chance: returns a number from 0 to 1, for what is left to chance.
        skew: seconds to add to this machine's clock, as far as this call knows.
    """

    accounts: Accounts
    clock: Clock
    payments: Payments
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

    def rival(self, route: Route, silent: str) -> Turn | None:
        """Grant and book an attempt beside one that is silent; see `rivals.rival`."""

        def change(book: Ledger | None) -> tuple[Ledger, tuple[Try | None, float]]:
            known = book or Ledger()
            known, granted = rival(route, silent, known, self.clock.now() + known.skew)
            return known, (granted, known.skew)

        granted, self.skew = self._update(change)
        return None if granted is None else Turn(granted.candidate, granted.slot, granted.generation)

    def reserve(self, action: Try) -> Turn | Shortfall | None:
        """Hold back the worst case of a paid attempt; see `Payments.reserve`."""
        prices = action.candidate.prices
        assert prices is not None  # noqa: S101 - a paid candidate is tried only once priced
        limit = action.candidate.output_limit
        held = self.payments.reserve(self.new_id(), prices, action.most_tokens, self.now(), limit)
        if held is None or isinstance(held, Shortfall):
            return held
        return Turn(action.candidate, None, action.generation, held.key, held.max_tokens)

    def named(self, turn: Turn, answer: str) -> None:
        """Book the service's id of a paid answer that is coming."""
        try:
            self.payments.named(turn.reservation or "", answer)
        except Exception:
            log.exception("the id of an answer of %s cannot be kept", turn.candidate.model)

    def not_bought(self, action: Try) -> None:
        """Undo a paid turn that found no money."""
        self.give_back(Turn(action.candidate, None, action.generation))
        if action.turn is not None:
            self.leave_row(action.turn)

    def leave_row(self, turn: PaidTurn) -> None:
        """Give back a turn in the row of paid requests."""
        self._update(lambda book: ((book or Ledger()).out_of_row(turn.at, turn.until), None))

    def disputed(self, *, again: bool = False) -> tuple[str, ...]:
        """Return the answers whose cost `GET /generation` may tell by now; see `Purse.due`."""
        return self.payments.disputed(self.now(), again=again)

    def reconciled(self, answer: str, cost: int | None) -> None:
        """Book what `GET /generation` told of an answer; None if it told nothing."""
        self.payments.reconcile(answer, cost, self.now())

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

    def funded(self, funds: Funds) -> None:
        """Book the pace that the account's balance stands for."""
        now = self.now()
        self._update(lambda book: ((book or Ledger()).rated(funds.rps, now), None))

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
        answer: str = "",
        *,
        sent: bool = True,
        lesson: Lesson = NOTHING,
        goes_on: Callable[[Settled, float], Onward | None] | None = None,
    ) -> Settled:
        """Book how an attempt ended, and with it the call where `ends` makes a record of it.

        `goes_on` decides by how it was booked, and by the time in Unix seconds, whom to ask next; it must be pure, for
        a store may run it again.

        A free attempt that was billed puts its model into quarantine, and its cost into the project's page.

        A store that fails here is told in the log: an answer that was earned is not lost for it, and a
        reservation that stays open counts as spent.
        """
        try:
            settled = self._settle(turn, how, heard, measured, ends, bill, lesson, goes_on, sent=sent)
            warnings: tuple[BudgetWarning, ...] = ()
            if turn.reservation is not None:
                prices, now = turn.candidate.prices, self.now()
                warnings = self.payments.settle(turn.reservation, how, usage, prices, answer, now, sent=sent)
            elif bill is not None and bill.cost is not None:
                warnings = self.payments.book(bill.cost, self.now())
        except Exception:
            # Of a stream that is left open as the interpreter ends nothing can be kept, nor told.
            if not sys.is_finalizing():
                log.exception("the outcome of an attempt at %s cannot be kept", turn.candidate.model)
            return Settled(how)
        return replace(settled, warnings=warnings) if warnings else settled

    def _settle(
        self,
        turn: Turn,
        how: Verdict,
        heard: Heard | None,
        measured: Measured | None,
        ends: Callable[[Settled], CallRecord | None] | None,
        bill: Bill | None,
        lesson: Lesson,
        goes_on: Callable[[Settled, float], Onward | None] | None,
        *,
        sent: bool,
    ) -> Settled:
        """Book it in the account's page, and the call in the history, in one step."""
        here, model, chance, free = self.clock.now(), turn.candidate.model, self.chance(), not turn.candidate.paid

        def change(book: Ledger | None) -> tuple[Ledger, tuple[Settled, float]]:
            known = (book or Ledger()).timed(heard)
            now = here + known.skew
            read = known.read(model, how, now) if free else how
            known = known.settled(model, read, now, turn.generation, measured, chance, lesson, free=free)
            if free and read.ok and heard is not None:
                known = known.answered(heard.sent + known.skew)
            if turn.slot is not None and (how.kind is Kind.UNREACHABLE or not sent):
                known = known.unsent(model, turn.slot, now)
            if bill is not None and not bill.expected:
                known = known.billed(bill, now)
            rests = known.rests_until(model, now)
            settled = Settled(read, rests if rests > now and not read.ok else None, book=known)
            onward = None if goes_on is None else goes_on(settled, self.clock.now() + known.skew)
            if onward is not None:
                known, settled = onward.book, replace(settled, onward=onward)
            return known, (settled, known.skew)

        def row(answer: tuple[Settled, float]) -> Row | None:
            record = None if ends is None else ends(answer[0])
            return None if record is None else (self.accounts.log, record.at, record.encode())

        store = self.accounts.store
        if ends is not None and keeps_log(store):
            settled, self.skew = store.update_and_append(self.accounts.book, change, row)
        else:
            settled, self.skew = self._update(change)
        return settled

    def keep(self, record: CallRecord) -> None:
        """Add a call that nobody answered to the history, if the store keeps one."""
        store = self.accounts.store
        if not keeps_log(store):
            return
        try:
            store.append(self.accounts.log, record.at, record.encode())
        except Exception:
            log.exception("a call cannot be added to the history")
        self.tidy()

    def tidy(self) -> None:
        """Fold the old rows of the history, if it is time to."""
        fold = self.tidying()
        if fold is not None:
            fold()

    def tidying(self) -> Callable[[], None] | None:
        """Return what folds the old rows of the history, in so many of the times when it is asked for."""
        chance = self.chance() if keeps_log(self.accounts.store) else 1.0
        return partial(self._fold, counted=chance < FOLD_CHANCE * _COUNTED) if chance < FOLD_CHANCE else None

    def _fold(self, *, counted: bool) -> None:
        """Fold what is old of the history; what is booked does not depend on it."""
        store, log_name, before = self.accounts.store, self.accounts.log, self.now() - ROWS_KEPT
        assert keeps_log(store)  # noqa: S101 - asked before
        try:
            if counted and len(rows := store.recent(log_name, MOST_ROWS + 1)) > MOST_ROWS:
                before = max(before, rows[MOST_ROWS - 1][0])
            store.fold(log_name, before, self.accounts.totals, folded)
        except Exception:
            log.exception("the history cannot be folded")

    def look(self) -> Ledger:
        """Return the account's book as it is."""
        return self.accounts.look()

    def _update(self, change: Change[Ledger, T]) -> T:
        return self.accounts.store.update(self.accounts.book, change)
