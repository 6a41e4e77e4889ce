"""The account's quota windows as the server counts them: whole minutes and UTC days. Pure.

A slot is taken before a request leaves. Where the minute is full, a slot of a later minute is booked
instead, so that waiting callers go in the order in which they came and never race for the same slot.
Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MINUTE = 60.0
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How many free requests the account has; None means that no limit is known.

    Attributes:
        per_minute: in each whole minute of the server's clock.
        per_day: on each UTC day.
    """

    per_minute: int | None = None
    per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One granted request; `minute` is the number of the minute in which it may leave."""

    minute: int

    @property
    def opens_at(self) -> float:
        """The first moment of its minute."""
        return self.minute * MINUTE


@dataclass(frozen=True, slots=True)
class Full:
    """No slot is free within the caller's patience."""

    window: str
    until: float
    limit: int
    used: int


@dataclass(frozen=True, slots=True)
class Windows:
    """What has been taken of the current windows.

    Attributes:
        minutes: minute number -> slots taken or booked in it.
        day: number of the UTC day that `today` counts.
        today: slots taken on that day.
    """

    minutes: Mapping[int, int] = field(default_factory=dict)
    day: int = 0
    today: int = 0

    def turned_to(self, now: float) -> Windows:
        """Return the windows at `now`: past ones are closed. A clock that jumps back reopens no day."""
        minute, day = int(now // MINUTE), max(self.day, int(now // DAY))
        if day == self.day and all(number >= minute for number in self.minutes):
            return self
        kept = {number: taken for number, taken in self.minutes.items() if number >= minute}
        return Windows(kept, day, self.today if day == self.day else 0)

    def admitted(self, limits: Limits, now: float, patience: float) -> tuple[Windows, Slot | Full]:
        """Take a slot of this minute, or book one that opens within `patience` seconds."""
        book = self.turned_to(now)
        if limits.per_day is not None and book.today >= limits.per_day:
            return book, Full("day", (book.day + 1) * DAY, limits.per_day, book.today)
        number = int(now // MINUTE)
        if limits.per_minute is not None:
            first = number
            # Ends: only finitely many minutes have anything booked.
            while book.minutes.get(number, 0) >= max(limits.per_minute, 1):
                number += 1
            if limits.per_minute < 1 or (number > first and number * MINUTE - now > patience):
                until = max(number, first + 1) * MINUTE
                return book, Full("minute", until, limits.per_minute, book.minutes.get(first, 0))
        taken = {**book.minutes, number: book.minutes.get(number, 0) + 1}
        return replace(book, minutes=taken, today=book.today + 1), Slot(number)

    def released(self, slot: Slot, now: float) -> Windows:
        """Give a slot back whose request provably never left."""
        book = self.turned_to(now)
        taken = book.minutes.get(slot.minute, 0)
        if taken < 1:
            return book
        return replace(book, minutes={**book.minutes, slot.minute: taken - 1}, today=max(book.today - 1, 0))
