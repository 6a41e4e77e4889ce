"""Money: what the user lets this project spend, and the book that keeps to it.

Reserve the worst case before a paid attempt, settle it after. Pure: pages go in, pages come out; time is
an argument. All amounts inside are integers of nano-dollars; a float never touches money.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from langchain_openrouter_free.catalogue import Prices

NANO = Decimal(1_000_000_000)
# A reservation whose attempt never came back counts as spent when this has passed, in seconds.
LEASE = 3600.0
UNLIMITED = "unlimited"
# How much of a cap is spent when it is warned of, in percent.
WARNED_AT = (50, 80, 100)
VERSION = 1

_AMOUNT = re.compile(
    r"^\s*(?:\$|usd)?\s*(?P<amount>\d+(?:\.\d+)?)\s*(?:\$|usd|dollars?)?\s*"
    r"(?:(?:/|per|a)\s*(?P<window>call|day|month|total))?\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Budget:
    """Amounts in US dollars that paid attempts of this project may cost; None means no such cap.

    Attributes:
        per_call: worst case of one paid attempt.
        per_day: for one UTC day.
        per_month: for one UTC calendar month.
        total: ever, as far as the state reaches back.
    """

    per_call: Decimal | None = None
    per_day: Decimal | None = None
    per_month: Decimal | None = None
    total: Decimal | None = None

    @classmethod
    def parse(cls, given: object) -> Budget:
        """Read `"$0.50/day"`, `"2 USD/month"`, `"1.00"` (in total), a number, a `Budget`, or `"unlimited"`.

        Several amounts may be joined by commas: `"$0.01/call, $1/day"`.

        Raises:
            ValueError: if it is not an amount, is negative or zero, or names a window twice.
        """
        if isinstance(given, Budget):
            return cls._checked(given)
        if isinstance(given, Mapping):
            return cls._checked(cls(**{str(k): _dollars(v) for k, v in given.items()}))
        if isinstance(given, str) and given.strip().lower() == UNLIMITED:
            return cls()
        if isinstance(given, int | float | Decimal) and not isinstance(given, bool):
            return cls._checked(cls(total=_dollars(given)))
        if not isinstance(given, str):
            raise ValueError(f"budget={given!r} is no amount: write for example '$0.50/day'")
        found: dict[str, Decimal] = {}
        for part in given.split(","):
            hit = _AMOUNT.match(part)
            if not hit:
                raise ValueError(f"budget={given!r} is no amount: write for example '$0.50/day' or 'unlimited'")
            window = (hit["window"] or "total").lower()
            name = "total" if window == "total" else f"per_{window}"
            if name in found:
                raise ValueError(f"budget={given!r} names an amount for {window!r} twice")
            found[name] = _dollars(hit["amount"])
        return cls._checked(cls(**found))

    @staticmethod
    def _checked(budget: Budget) -> Budget:
        for name in ("per_call", "per_day", "per_month", "total"):
            amount = getattr(budget, name)
            if amount is not None and not (isinstance(amount, Decimal) and amount.is_finite() and amount > 0):
                raise ValueError(f"budget: {name}={amount!r} must be a positive Decimal amount of US dollars")
        return budget

    def caps(self) -> dict[str, int]:
        """Return the caps by window, in nano-dollars."""
        named = {"call": self.per_call, "day": self.per_day, "month": self.per_month, "total": self.total}
        return {window: int(cap * NANO) for window, cap in named.items() if cap is not None}


def _dollars(value: object) -> Decimal:
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is no amount of US dollars")
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is no amount of US dollars") from None


def nano(dollars: object) -> int | None:
    """Return an amount in nano-dollars, rounded up; None for what is no amount or is negative."""
    if isinstance(dollars, bool) or not isinstance(dollars, str | int | float | Decimal):
        return None
    try:
        amount = Decimal(str(dollars))
    except InvalidOperation:
        return None
    if not amount.is_finite() or amount < 0:
        return None
    return int((amount * NANO).to_integral_value(rounding=ROUND_CEILING))


def dollars(amount: int) -> str:
    """Write nano-dollars as US dollars with all their digits."""
    return format((Decimal(amount) / NANO).normalize(), "f")


def worst_case(prices: Prices, *, prompt_tokens: int, max_tokens: int, images: int = 0) -> int:
    """Return the highest cost of a request in nano-dollars.

    Reasoning tokens are part of the completion tokens, at the higher of the two prices.
    """
    output = max(prices.completion, prices.reasoning)
    total = prices.prompt * prompt_tokens + output * max_tokens + prices.request + prices.image * images
    return int((total * NANO).to_integral_value(rounding=ROUND_CEILING))


def affordable_tokens(prices: Prices, *, room: int, prompt_tokens: int, images: int = 0) -> int | None:
    """Return how many output tokens `room` nano-dollars pay for; None where output costs nothing."""
    output = max(prices.completion, prices.reasoning)
    if output == 0:
        return None
    left = Decimal(room - worst_case(prices, prompt_tokens=prompt_tokens, max_tokens=0, images=images)) / NANO
    return max(int(left // output), 0)


def cost_of(usage: Mapping[str, Any] | None, prices: Prices | None) -> int | None:
    """Return what an answer cost in nano-dollars: the stated cost, else its tokens at their price."""
    stated = nano((usage or {}).get("cost"))
    if stated is not None or prices is None or not usage:
        return stated
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int) or min(prompt, completion) < 0:
        return None
    return worst_case(prices, prompt_tokens=prompt, max_tokens=completion)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why a reservation was refused; amounts in nano-dollars."""

    window: str
    cap: int
    spent: int
    reserved: int
    asked: int
    frees_at: float | None


@dataclass(frozen=True, slots=True)
class BudgetWarning:
    """A cap of the budget is half used, nearly used, or used up; told once for each cap, step and window.

    Attributes:
        window: `"day"`, `"month"` or `"total"`.
        percent: 50, 80 or 100.
        spent, cap: US dollars, as text with all digits.
        frees_at: Unix seconds at which the window turns, or None for `total`.
    """

    window: str
    percent: int
    spent: str
    cap: str
    frees_at: float | None = None

    def __str__(self) -> str:
        return f"${self.spent} of the budget of ${self.cap} a {self.window} are spent ({self.percent} %)"


@dataclass(frozen=True, slots=True)
class Purse:
    """One project's book of money, in nano-dollars.

    Attributes:
        day, month: the UTC windows that the two counters belong to, as `2026-11-22` and `2026-11`.
        spent_day, spent_month, spent_total: settled amounts.
        reservations: id -> (amount, Unix seconds at which it is counted as spent).
        warned: window -> the highest percentage that was warned of.
    """

    day: str = ""
    month: str = ""
    spent_day: int = 0
    spent_month: int = 0
    spent_total: int = 0
    reservations: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    warned: Mapping[str, int] = field(default_factory=dict)

    def encode(self) -> str:
        """Write the book as text."""
        return json.dumps({"v": VERSION, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Purse:
        """Read a book from text.

        Raises:
            ValueError: if it is no book, or one of another version.
        """
        try:
            page = json.loads(text)
            if page.pop("v") != VERSION:
                raise ValueError("a purse of another version")
            page["reservations"] = {key: (int(kept[0]), float(kept[1])) for key, kept in page["reservations"].items()}
            return cls(**page)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"no purse: {error!r}") from error

    def turned_to(self, now: float) -> Purse:
        """Return the book at `now`: past windows are closed, lost reservations are counted as spent."""
        # Dates as text compare like dates: a clock that jumps back reopens nothing.
        day = max(self.day, _date(now))
        month = max(self.month, day[:7])
        # What is lost counts in the window in which its lease ended, whenever that is found out.
        lost = [(amount, _date(end)) for amount, end in self.reservations.values() if end <= now]
        turned = {"day": day != self.day, "month": month != self.month}
        return replace(
            self,
            day=day,
            month=month,
            warned={window: told for window, told in self.warned.items() if not turned.get(window)},
            spent_day=(self.spent_day if day == self.day else 0) + sum(a for a, at in lost if at >= day),
            spent_month=(self.spent_month if month == self.month else 0) + sum(a for a, at in lost if at[:7] >= month),
            spent_total=self.spent_total + sum(a for a, _ in lost),
            reservations={key: kept for key, kept in self.reservations.items() if kept[1] > now},
        )

    @property
    def reserved(self) -> int:
        """Sum of the open reservations."""
        return sum(amount for amount, _ in self.reservations.values())

    def spent(self, window: str) -> int:
        """Return what is settled in a window."""
        return {"call": 0, "day": self.spent_day, "month": self.spent_month, "total": self.spent_total}[window]

    def shortfall(self, budget: Budget, amount: int, now: float) -> Shortfall | None:
        """Return the first cap that `amount` more would pass, or None if there is room."""
        book = self.turned_to(now)
        for window, cap in budget.caps().items():
            held = 0 if window == "call" else book.reserved
            if book.spent(window) + held + amount > cap:
                return Shortfall(window, cap, book.spent(window), held, amount, _frees_at(window, now))
        return None

    def room(self, budget: Budget, now: float) -> int | None:
        """Return how much may still be reserved; None for an unlimited budget."""
        book = self.turned_to(now)
        left = [
            cap - book.spent(window) - (0 if window == "call" else book.reserved)
            for window, cap in budget.caps().items()
        ]
        return min(left) if left else None

    def reserved_for(self, key: str, amount: int, now: float) -> Purse:
        """Return the book with `amount` held back under `key`."""
        book = self.turned_to(now)
        return replace(book, reservations={**book.reservations, key: (amount, now + LEASE)})

    def crossed(self, budget: Budget, now: float) -> tuple[Purse, tuple[BudgetWarning, ...]]:
        """Return the book, and what is to be warned of now and was not before."""
        book, warned, found = self.turned_to(now), dict(self.warned), []
        for window, cap in budget.caps().items():
            spent = book.spent(window)
            step = max((step for step in WARNED_AT if spent * 100 >= cap * step), default=0)
            if step > warned.get(window, 0):
                warned[window] = step
                found.append(BudgetWarning(window, step, dollars(spent), dollars(cap), _frees_at(window, now)))
        return (replace(book, warned=warned), tuple(found)) if found else (book, ())

    def booked(self, cost: int, now: float) -> Purse:
        """Return the book with a cost that nobody had reserved."""
        book = self.turned_to(now)
        return replace(
            book,
            spent_day=book.spent_day + cost,
            spent_month=book.spent_month + cost,
            spent_total=book.spent_total + cost,
        )

    def settled(self, key: str, cost: int | None, now: float) -> Purse:
        """Return the book after the attempt under `key`: `cost` is booked, the whole reservation if unknown.

        A key that is gone was counted as spent when its lease ended; it is not booked twice.
        """
        book = self.turned_to(now)
        held = book.reservations.get(key)
        if held is None:
            return book
        amount = held[0] if cost is None else cost
        return replace(
            book,
            spent_day=book.spent_day + amount,
            spent_month=book.spent_month + amount,
            spent_total=book.spent_total + amount,
            reservations={k: kept for k, kept in book.reservations.items() if k != key},
        )


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")


def _frees_at(window: str, now: float) -> float | None:
    moment = datetime.fromtimestamp(now, UTC)
    if window == "day":
        return (now // 86_400 + 1) * 86_400
    if window == "month":
        year, month = (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)
        return datetime(year, month, 1, tzinfo=UTC).timestamp()
    return None
