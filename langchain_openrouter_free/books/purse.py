"""The book of money: what is reserved, what is spent, and what may have cost less than was booked. Pure.

Reserve the worst case before a paid attempt, settle it after. An attempt whose cost nobody told is booked at its
worst case, and stays in dispute until `GET /generation` says less. Pages go in, pages come out; time is an
argument. All amounts are integers of nano-dollars.
"""

from __future__ import annotations

import json
import math
from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import field, fields, replace
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, TypeVar

from langchain_openrouter_free.books.budget import Budget, dollars
from langchain_openrouter_free.jsontext import writer
from langchain_openrouter_free.values import check_version, moment_of, value_type

# A reservation whose attempt never came back counts as spent when this has passed, in seconds.
LEASE = 3600.0
# So long the part is kept that one who shares a book may spend without seeing it, since it was last seen, in seconds.
PART_KEPT = 300.0
# What clocks may differ by, in seconds: the part is not touched so long before its end.
_PART_ENDS = 5.0
# `GET /generation` knows nothing of an answer before about this long, in seconds; recorded: 404 for minutes.
_KNOWN_AFTER = 30.0
_DAY = 86_400.0
# What is in dispute for longer stays as it was booked: "unknown, counted".
_DISPUTED = 2 * _DAY
_MOST_DISPUTES = 500
# How much of a cap is spent when it is warned of, in percent.
WARNED_AT = (50, 80, 100)
VERSION = 3
_WRITTEN = writer()


@value_type()
class Shortfall:
    """Why a reservation was refused; amounts in nano-dollars.

    Attributes:
        window: of the amount that stands in the way: `"call"`, `"day"`, `"month"` or `"total"`.
        cap, spent, reserved, asked: amounts.
        frees_at: Unix seconds at which the window turns; None for `call`, `total`, and what is above the cap.
        whose: `"project"` or `"account"`.
        endless: whether nothing but the model's context bounds what was asked for.
    """

    window: str
    cap: int
    spent: int
    reserved: int
    asked: int
    frees_at: float | None
    whose: str = "project"
    endless: bool = False

    def lasts(self) -> float:
        """Until when it stands in the way; for ever where nothing but the user makes room."""
        return math.inf if self.frees_at is None else self.frees_at


@value_type(frozen=True)
class BudgetWarning:
    """A cap of the budget is half used, nearly used, or used up; told once for each cap, step and window.

    Attributes:
        window: `"day"`, `"month"` or `"total"`.
        percent: 50, 80 or 100.
        spent, cap: US dollars, as text with all digits.
        frees_at: Unix seconds at which the window turns, or None for `total`.
        whose: `"project"` or `"account"`.
    """

    window: str
    percent: int
    spent: str
    cap: str
    frees_at: float | None = None
    whose: str = "project"

    def __str__(self) -> str:
        return f"${self.spent} of the {self.whose}'s budget of ${self.cap} a {self.window} are spent ({self.percent} %)"


class Reservation(NamedTuple):
    """What is held back for an attempt that is under way.

    Attributes:
        amount: its worst case.
        until: Unix seconds at which it counts as spent, whatever became of it.
        generation: the service's id of the answer, once known.
        since: Unix seconds at which it was made.
        day: the book's UTC day at that moment.
        account: whose attempt it is.
        again, elsewhere: as of a `Dispute`.
    """

    amount: int
    until: float
    generation: str = ""
    since: float = 0.0
    day: str = ""
    account: str = ""
    again: float = 0.0
    elsewhere: float = 0.0

    @classmethod
    def read(cls, kept: list[Any]) -> Reservation:
        """Return what a page has of one; what is not in older pages is not known."""
        amount, until, generation, since, day, account, again, elsewhere = cls(*kept)
        moments = moment_of(again), moment_of(elsewhere)
        return cls(int(amount), moment_of(until), generation, since, day, account, *moments)


class Dispute(NamedTuple):
    """An amount that was booked because nobody told the cost.

    Attributes:
        amount: what was booked.
        day: the UTC day that it was booked on, as `2026-11-22`.
        since: Unix seconds at which it was.
        again: Unix seconds from which its cost is to be asked for.
        elsewhere: the same for other accounts, which seldom know it: they may be new keys of the same one.
        account: whose answer it is; empty where that was not kept.
    """

    amount: int
    day: str
    since: float
    again: float = 0.0
    elsewhere: float = 0.0
    account: str = ""

    @classmethod
    def read(cls, kept: list[Any]) -> Dispute:
        """Return what a page has of one; what is not in older pages is not known."""
        amount, day, since, again, elsewhere, account = cls(*kept)
        return cls(int(amount), str(day), moment_of(since), moment_of(again), moment_of(elsewhere), str(account))


class Part(NamedTuple):
    """What others must leave to one who shares the book: it may spend that where it cannot see the book any more.

    Attributes:
        amount: how much.
        until: Unix seconds at which it is everyone's again.
    """

    amount: int
    until: float


D = TypeVar("D", Reservation, Dispute)


@value_type()
class Purse:
    """One project's (or account's) book of money, in nano-dollars.

    Attributes:
        day, month: the UTC windows that the two counters belong to, as `2026-11-22` and `2026-11`.
        spent_day, spent_month, spent_total: settled amounts.
        reservations: id -> what is held back.
        disputes: the service's id of an answer -> what was booked for it unseen.
        unknown: the part of `spent_total` whose true cost nobody will tell any more.
        warned: window -> the highest percentage that was warned of.
        parts: who shares the book -> what is kept for it.
    """

    day: str = ""
    month: str = ""
    spent_day: int = 0
    spent_month: int = 0
    spent_total: int = 0
    reservations: Mapping[str, Reservation] = field(default_factory=dict)
    disputes: Mapping[str, Dispute] = field(default_factory=dict)
    unknown: int = 0
    warned: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)

    def encode(self) -> str:
        """Write the book as text."""
        page = {one.name: getattr(self, one.name) for one in fields(self)}
        return _WRITTEN({"v": VERSION, **page})

    @classmethod
    def decode(cls, text: str) -> Purse:
        """Read a book from text; one of version 1 knew no disputes, one of version 2 nothing of reservations asked for.

        Raises:
            ValueError: if it is no book, or one of another version; `Newer` for a later one.
        """
        try:
            page = json.loads(text)
            check_version(page.pop("v"), VERSION, least=1)
            page["reservations"] = {str(key): Reservation.read(kept) for key, kept in page["reservations"].items()}
            page["disputes"] = {str(key): Dispute.read(kept) for key, kept in page.get("disputes", {}).items()}
            page["parts"] = {
                str(owner): Part(int(kept[0]), moment_of(kept[1])) for owner, kept in page.get("parts", {}).items()
            }
            book = cls(**page)
            if not all(isinstance(n, int) for n in (book.spent_day, book.spent_month, book.spent_total, book.unknown)):
                raise ValueError("amounts that are no whole numbers")
            if book.day and date.fromisoformat(book.day).isoformat() != book.day:
                raise ValueError(f"{book.day!r} is no day")
            if not isinstance(book.month, str):
                raise ValueError("a month that is no text")
        except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
            raise ValueError(f"no purse: {error!r}") from error
        return book

    # -- what it says

    @property
    def reserved(self) -> int:
        """Sum of the open reservations."""
        return sum(kept.amount for kept in self.reservations.values())

    def spent(self, window: str) -> int:
        """Return what is settled in a window."""
        return {"call": 0, "day": self.spent_day, "month": self.spent_month, "total": self.spent_total}[window]

    def settled_since(self, seen: Purse) -> int:
        """Return what an earlier state of the book held back for attempts that are settled in this one."""
        held = [kept for key, kept in seen.reservations.items() if key not in self.reservations]
        return sum(kept.amount for kept in held if kept.generation not in self.disputes)

    def named_answers(self) -> set[str]:
        """Return the answers whose cost may be asked for, now or later."""
        return {*self.disputes, *(kept.generation for kept in self.reservations.values())}

    def shortfall(
        self, budget: Budget, amount: int, now: float, whose: str = "project", *, kept: int = 0
    ) -> Shortfall | None:
        """Return the cap that `amount` more would pass, of several the last to free up; `kept` is others'."""
        book, found = self.turned_to(now), []
        for window, cap in budget.caps().items():
            held = 0 if window == "call" else book.reserved + kept
            if book.spent(window) + held + amount > cap:
                # What is above the cap by itself does not fit into the next window either.
                frees = book.frees_at(window, now) if amount <= cap else None
                found.append(Shortfall(window, cap, book.spent(window), held, amount, frees, whose))
        return max(found, key=Shortfall.lasts, default=None)

    def room(self, budget: Budget, now: float, *, kept: int = 0) -> int | None:
        """Return how much may still be reserved; None for an unlimited budget. `kept` is others'."""
        book = self.turned_to(now)
        left = [
            cap - book.spent(window) - (0 if window == "call" else book.reserved + kept)
            for window, cap in budget.caps().items()
        ]
        return min(left) if left else None

    def part_of(self, owner: str, now: float) -> int | None:
        """Return what is kept for one who shares the book, in nano-dollars; None for nothing, or not any more."""
        part = self.parts.get(owner)
        return part.amount if part is not None and now < part.until - _PART_ENDS else None

    def least_part(self, perhaps: Iterable[Purse], owner: str, now: float) -> int | None:
        """Return what is kept for one, were it renewed in any of the books that may stand in the place of this one."""
        part = self.part_of(owner, now)
        mine = self.parts.get(owner)
        if part is None or mine is None:
            return None
        renewed = [book.parts[owner] for book in perhaps if owner in book.parts]
        return min([part, *(other.amount for other in renewed if other.until > mine.until)])

    def kept_from(self, owner: str, now: float) -> int:
        """Return what is kept for all the others who share the book."""
        return sum(part.amount for part in self._others(owner, now).values())

    def _others(self, owner: str, now: float) -> dict[str, Part]:
        return {name: part for name, part in self.parts.items() if name != owner and now < part.until}

    def frees_at(self, window: str, now: float) -> float | None:
        """Return when a window turns, in Unix seconds; None for `call` and `total`.

        After a clock that has jumped back it is the end of the one that stays open.
        """
        if window not in ("day", "month"):
            return None
        opened = datetime.fromisoformat(max(self.day, _date(now))).replace(tzinfo=UTC)
        if window == "day":
            return opened.timestamp() + _DAY
        # The last month that has dates has an end as well.
        return opened.replace(day=1).timestamp() + _DAY * monthrange(opened.year, opened.month)[1]

    def due(self, now: float, account: str = "", *, again: bool = False) -> tuple[str, ...]:
        """Return the answers that `GET /generation` may tell the cost of by now, the oldest first.

        Those of attempts that never came back are among them: what it tells is told when an answer is over.

        Args:
            now: Unix seconds.
            account: whose key asks.
            again: whether those are among them that could not be told to it a short while ago.
        """
        doubted: dict[str, Reservation | Dispute] = {kept.generation: kept for kept in self.reservations.values()}
        doubted |= self.disputes
        due = [
            (one.since, name)
            for name, one in doubted.items()
            if name and one.since + _KNOWN_AFTER <= now and (again or _asked_from(one, account) <= now)
        ]
        return tuple(name for _, name in sorted(due, key=lambda one: one[0]))

    def warned_in(self, day: str, month: str) -> dict[str, int]:
        """Return what was warned of in the windows that are open then: a new day says nothing of the one before."""
        over = {"day": self.day != day, "month": self.month != month}
        return {window: told for window, told in self.warned.items() if not over.get(window)}

    # -- what changes it

    def turned_to(self, now: float) -> Purse:
        """Return the book at `now`: past windows are closed, lost reservations are counted as spent."""
        # Dates as text compare like dates: a clock that jumps back reopens nothing.
        day = max(self.day, _date(now))
        if day == self.day and not self._is_stale(now):
            return self
        month = max(self.month, day[:7])
        lost = {key: kept for key, kept in self.reservations.items() if kept.until <= now}
        book = replace(
            self,
            day=day,
            month=month,
            warned=self.warned_in(day, month),
            spent_day=self.spent_day if day == self.day else 0,
            spent_month=self.spent_month if month == self.month else 0,
            reservations={key: kept for key, kept in self.reservations.items() if key not in lost},
        )
        for kept in lost.values():
            # What is lost counts in the window in which its lease ended, whenever that is found out; after a clock
            # that has jumped back, in the one that was open when it was made.
            book = _booked_unseen(book, kept, max(_date(kept.until), kept.day), kept.until)
        return _without_old_disputes(book, now)

    def _is_stale(self, now: float) -> bool:
        return (
            any(kept.until <= now for kept in self.reservations.values())
            or any(known.since + _DISPUTED <= now for known in self.disputes.values())
            or len(self.disputes) > _MOST_DISPUTES
        )

    def reserved_for(self, key: str, amount: int, now: float, account: str = "") -> Purse:
        """Return the book with `amount` held back under `key` for an account's attempt."""
        book = self.turned_to(now)
        held = Reservation(amount, now + LEASE, "", now, book.day, account)
        return replace(book, reservations={**book.reservations, key: held})

    def with_part(self, owner: str, budget: Budget, share: float, now: float) -> Purse:
        """Return the book with a part of what is left kept for one who shares it, as far as it is not others' yet."""
        left, kept = self.room(replace(budget, per_call=None), now), self.kept_from(owner, now)
        parts = self._others(owner, now)
        if left is not None and left > kept:
            parts[owner] = Part(min(int(left * share), left - kept), now + PART_KEPT)
        return replace(self, parts=parts)

    def with_less_of_part(self, owner: str, amount: int) -> Purse:
        """Return the book with less kept for one who spends so much of it unseen: no later outage affords it anew."""
        part = self.parts.get(owner)
        if part is None:
            return self
        return replace(self, parts={**self.parts, owner: part._replace(amount=max(part.amount - amount, 0))})

    def named(self, key: str, generation: str) -> Purse:
        """Return the book with the service's id for the answer that `key` is held back for."""
        held = self.reservations.get(key)
        if held is None:
            return self
        return replace(self, reservations={**self.reservations, key: held._replace(generation=generation)})

    def crossed(self, budget: Budget, now: float, whose: str = "project") -> tuple[Purse, tuple[BudgetWarning, ...]]:
        """Return the book, and what is to be warned of now and was not before."""
        book = self.turned_to(now)
        warned, found = dict(book.warned), []
        for window, cap in budget.caps().items():
            spent = book.spent(window)
            step = max((step for step in WARNED_AT if spent * 100 >= cap * step), default=0)
            if step > warned.get(window, 0):
                warned[window] = step
                frees = book.frees_at(window, now)
                found.append(BudgetWarning(window, step, dollars(spent), dollars(cap), frees, whose))
        return (replace(book, warned=warned), tuple(found)) if found else (book, ())

    def booked(self, cost: int, now: float) -> Purse:
        """Return the book with a cost that nobody had reserved."""
        book = self.turned_to(now)
        return _plus(book, cost, book.day)

    def settled(self, key: str, cost: int | None, now: float, generation: str = "") -> Purse:
        """Return the book after the attempt under `key`: `cost` is booked, the whole reservation if unknown.

        A key that is gone was counted as spent when its lease ended; it is not booked twice, but a cost that is
        known at last corrects it.

        Args:
            key: the reservation's.
            cost: nano-dollars, None if nobody told.
            now: Unix seconds.
            generation: the service's id of the answer, as far as it is known.
        """
        book = self.turned_to(now)
        held = book.reservations.get(key)
        if held is None:
            return book if cost is None else book.reconciled(generation, cost, now)
        book = replace(book, reservations={k: kept for k, kept in book.reservations.items() if k != key})
        if cost is not None:
            return _plus(book, cost, book.day)
        return _booked_unseen(book, held._replace(generation=generation or held.generation), book.day, now)

    def reconciled(self, generation: str, cost: int, now: float) -> Purse:
        """Return the book after `GET /generation` told what an answer cost; the difference to what was booked goes.

        An attempt that never came back is settled by it as well.
        """
        book = self.turned_to(now)
        if not generation:
            return book
        for key, kept in book.reservations.items():
            if generation == kept.generation:
                return book.settled(key, cost, now)
        known = book.disputes.get(generation)
        if known is None:
            return book
        book = replace(book, disputes={name: kept for name, kept in book.disputes.items() if name != generation})
        return _plus(book, cost - known.amount, known.day)

    def unanswered(self, generation: str, now: float, account: str = "") -> Purse:
        """Return the book after an account was not told what an answer cost: it asks for that ever more seldom."""
        book = self.turned_to(now)
        known = book.disputes.get(generation)
        if known is not None:
            return replace(book, disputes={**book.disputes, generation: _asked_again(known, account, now)})
        # Of an attempt that goes on nothing is told either, perhaps for long.
        asked = {
            key: _asked_again(kept, account, now)
            for key, kept in book.reservations.items()
            if generation and kept.generation == generation
        }
        return replace(book, reservations={**book.reservations, **asked}) if asked else book


def _asked_from(doubted: Reservation | Dispute, account: str) -> float:
    """Return the moment from which an account is to ask for the cost of an answer."""
    return doubted.again if doubted.account in ("", account) else doubted.elsewhere


def _asked_again(doubted: D, account: str, now: float) -> D:
    """Return it after an account asked in vain: that says nothing to others."""
    at = now + max(now - doubted.since, _KNOWN_AFTER)
    return doubted._replace(again=at) if doubted.account in ("", account) else doubted._replace(elsewhere=at)


def _plus(book: Purse, amount: int, day: str) -> Purse:
    """Return the book with an amount spent on a day; what is past changes no window that is open."""
    return replace(
        book,
        spent_day=book.spent_day + (amount if day >= book.day else 0),
        spent_month=book.spent_month + (amount if day[:7] >= book.month else 0),
        spent_total=book.spent_total + amount,
    )


def _booked_unseen(book: Purse, kept: Reservation, day: str, since: float) -> Purse:
    """Return the book with a reservation booked in full; with an id of its answer it can be disputed."""
    book = _plus(book, kept.amount, day)
    if not kept.generation or kept.generation in book.disputes or not kept.amount:
        return replace(book, unknown=book.unknown + kept.amount)
    disputed = Dispute(kept.amount, day, since, account=kept.account)
    return replace(book, disputes={**book.disputes, kept.generation: disputed})


def _without_old_disputes(book: Purse, now: float) -> Purse:
    """Return the book without disputes that nobody will settle any more; what was booked stays."""
    by_age = sorted(book.disputes.items(), key=lambda item: item[1].since)[-_MOST_DISPUTES:]
    kept = {name: known for name, known in by_age if known.since + _DISPUTED > now}
    gone = sum(known.amount for name, known in book.disputes.items() if name not in kept)
    return book if len(kept) == len(book.disputes) else replace(book, disputes=kept, unknown=book.unknown + gone)


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")
