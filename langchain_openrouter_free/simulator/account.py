"""The account's laws: what the service lets an account do, minute by minute and day by day.

Owns counters, balance and bill. It is a second opinion beside any client's own book, so it shares no code
with one. It knows neither HTTP nor models beyond their price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

MINUTE = 60
DAY = 86_400
UNLOCKED_PER_DAY = 1000


@dataclass(frozen=True, slots=True)
class Refusal:
    """A no of the account: which law, and the numbers that its error body tells."""

    law: str
    limit: int = 0
    reset_at: int = 0
    wanted: int = 0
    affordable: int = 0


class Window:
    """A counter over whole minutes or whole days of the clock."""

    def __init__(self, seconds: int, limit: int | None, used: int, now: float) -> None:
        self.seconds = seconds
        self.limit = limit
        self._number = int(now // seconds)
        self._used = used

    def used(self, now: float) -> int:
        """How much of the window of this moment is used."""
        return self._used if int(now // self.seconds) == self._number else 0

    def is_full(self, now: float) -> bool:
        """Whether nothing more fits into it."""
        return self.limit is not None and self.used(now) >= self.limit

    def count(self, now: float) -> None:
        """Count one request."""
        self._used = self.used(now) + 1
        self._number = int(now // self.seconds)

    def refusal(self, law: str, now: float) -> Refusal:
        """The no of a full window."""
        return Refusal(law, self.limit or 0, (int(now // self.seconds) + 1) * self.seconds)


class Account:
    """One account with its windows and its money.

    Attributes:
        bought: credits that were ever bought.
        spent: the bill.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        per_minute: int | None,
        per_day: int | None,
        minute_used: int = 0,
        day_used: int = 0,
        credits: Decimal = Decimal(0),  # noqa: A002
    ) -> None:
        self._clock = clock
        self._minute = Window(MINUTE, per_minute, minute_used, clock())
        self._day = Window(DAY, per_day, day_used, clock())
        self.bought = credits
        self.spent = Decimal(0)

    def now(self) -> float:
        """The time by which its windows go."""
        return self._clock()

    @property
    def per_minute(self) -> int | None:
        """Requests to free models in a minute; None is no limit."""
        return self._minute.limit

    @property
    def per_day(self) -> int | None:
        """Requests to free models in a UTC day; None is no limit."""
        return self._day.limit

    @property
    def minute_used(self) -> int:
        """Requests to free models in the minute of the clock."""
        return self._minute.used(self._clock())

    @property
    def day_used(self) -> int:
        """Requests to free models on the day of the clock."""
        return self._day.used(self._clock())

    @property
    def credits(self) -> Decimal:
        """What is left of the money; may be below zero."""
        return self.bought - self.spent

    @property
    def unlocked(self) -> bool:
        """Whether the account has the larger day quota of those who bought credits."""
        return (self.per_day or 0) >= UNLOCKED_PER_DAY

    def admit_free(self) -> Refusal | None:
        """Ask for one request to a free model; it is counted unless it is refused here."""
        now = self._clock()
        if self.credits < 0:
            return Refusal("credits")
        if self._day.is_full(now):
            return self._day.refusal("day", now)
        if self._minute.is_full(now):
            return self._minute.refusal("minute", now)
        self._day.count(now)
        self._minute.count(now)
        return None

    def admit_paid(self, prompt_cost: Decimal, completion_price: Decimal, most_tokens: int) -> Refusal | None:
        """Ask for one paid request that may use up to `most_tokens` of completion."""
        if self.credits <= 0:
            return Refusal("credits")
        left = self.credits - prompt_cost
        if completion_price > 0:
            affordable = int((left / completion_price).to_integral_value(ROUND_FLOOR))
            if most_tokens > affordable:
                return Refusal("afford", wanted=most_tokens, affordable=max(affordable, 0))
        elif left < 0:
            return Refusal("credits")
        return None

    def charge(self, cost: Decimal) -> None:
        """Put a cost on the bill."""
        self.spent += cost


@dataclass(slots=True)
class Key:
    """One API key: the account it belongs to, and its own spending limit."""

    secret: str
    account: Account
    limit: Decimal | None = None
    revoked: bool = False
    spent: Decimal = Decimal(0)

    @property
    def is_spent(self) -> bool:
        """Whether its own limit is reached."""
        return self.limit is not None and self.spent >= self.limit

    def charge(self, cost: Decimal) -> None:
        """Put a cost on the key and on its account."""
        self.spent += cost
        self.account.charge(cost)
