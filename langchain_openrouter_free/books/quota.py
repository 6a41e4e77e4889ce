"""The account's quota windows as the server counts them: whole minutes and UTC days. Pure.

A slot is taken before a request leaves. Where the minute is full, a slot of a later minute is booked
instead, so that waiting callers go in the order in which they came and never race for the same slot.
Times are Unix seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from langchain_openrouter_free.values import value_type

MINUTE = 60.0
DAY = 86_400.0
_MINUTES_A_DAY = int(DAY // MINUTE)

# A request is counted when it arrives, by a clock that is known to a second and a round trip at best. One that
# leaves this long before the end of a minute, or after its beginning, in seconds, is counted in both.
BEFORE_END = 2.0
AFTER_START = 1.5
# A slot booked further ahead, in days and in minutes, was booked by a clock that was wrong.
_FARTHEST_DAYS = 3
_FARTHEST_BOOKED = _FARTHEST_DAYS * _MINUTES_A_DAY
# What nothing is changed in: values of this module are tuples, which are made in half the time under the lock.
_NOTHING: dict[Any, Any] = {}
# A project that was not seen for so many days has no claim to a share any more.
_FORGOTTEN_DAYS = 7


def certain_end(window: str | None, until: float) -> float:
    """Return the moment at which a window is over by any clock: a moment after its end."""
    return until if window is None else until + AFTER_START


@value_type()
class Limits:
    """How many free requests there are; None means that no limit is known.

    Attributes:
        per_minute: in each whole minute of the server's clock.
        per_day: on each UTC day.
        guessed: whether the day's limit is only what most accounts have, and worth asking about.
    """

    per_minute: int | None = None
    per_day: int | None = None
    guessed: bool = False


@value_type()
class Part:
    """A part of the day: so many requests, or so many hundredths of the day's limit."""

    amount: float
    percent: bool = False

    def of(self, limit: int | None) -> int | None:
        """Return the part in requests; None for a percentage of a limit that is not known."""
        if not self.percent:
            return int(self.amount)
        return None if limit is None else math.floor(limit * self.amount / 100)


class Share(NamedTuple):
    """What a project may take of the account's day.

    Attributes:
        project: its name; empty for requests that are nobody's.
        at_most: a cap; None for none.
        at_least: what the others must leave to it; None for nothing.
    """

    project: str = ""
    at_most: Part | None = None
    at_least: Part | None = None


class Use(NamedTuple):
    """What a project took of the day, and what is kept for it.

    Attributes:
        day: number of the UTC day on which it was last seen.
        used: its requests on that day.
        ahead: requests that it has booked on the day after.
        kept: requests that others must leave to it each day.
    """

    day: int = 0
    used: int = 0
    ahead: int = 0
    kept: int = 0

    def on(self, day: int) -> int:
        """Return its requests on a day; what a clock that was ahead has counted is of that day as well."""
        if day < self.day:
            return self.used + self.ahead
        return self.used if day == self.day else self.ahead if day == self.day + 1 else 0

    def seen_by(self, today: int) -> Use:
        """Return it as it is today: what was taken on a day that is too far ahead is today's."""
        return self if self.day <= today + _FARTHEST_DAYS else Use(today, self.on(today), 0, self.kept)

    def plus(self, slot: Slot, number: int, today: int) -> Use:
        """Return it with `number` more (or less) requests on the day of a slot; at midnight, on the new one."""
        used, ahead, day = self.on(today), self.on(today + 1), slot.days[-1]
        if day == today:
            used = max(used + number, 0)
        if day == today + 1:
            ahead = max(ahead + number, 0)
        return Use(today, used, ahead, self.kept)


class Slot(NamedTuple):
    """One granted request.

    Attributes:
        minutes: numbers of the minutes in which the server may count it.
        project: whose it is.
    """

    minutes: tuple[int, ...]
    project: str = ""

    @classmethod
    def at(cls, moment: float, project: str = "") -> Slot:
        """Return the slot of a request that leaves at this moment."""
        first, last = int((moment - AFTER_START) // MINUTE), int((moment + BEFORE_END) // MINUTE)
        return cls((first,) if first == last else (first, last), project)

    @property
    def opens_at(self) -> float:
        """The first moment at which it may be used if it was booked for later."""
        return self.minutes[-1] * MINUTE + AFTER_START

    @property
    def days(self) -> tuple[int, ...]:
        """Numbers of the days on which the server may count it."""
        first, last = self.minutes[0] // _MINUTES_A_DAY, self.minutes[-1] // _MINUTES_A_DAY
        return (first,) if first == last else (first, last)

    def fits(self, moment: float) -> bool:
        """Tell whether a request that leaves at this moment is counted where this slot is."""
        first, last = int((moment - AFTER_START) // MINUTE), int((moment + BEFORE_END) // MINUTE)
        return self.minutes[0] <= first and last <= self.minutes[-1]


class Full(NamedTuple):
    """No slot is free within the caller's patience.

    Attributes:
        window: `"day"` or `"minute"`.
        until: when there is room again.
        limit, used: requests.
        share: whether it is the project's share that is used up, not the account's day.
    """

    window: str
    until: float
    limit: int
    used: int
    share: bool = False

    @property
    def opens_at(self) -> float:
        """When to send again."""
        return certain_end(self.window, self.until)

    def ends(self, now: float) -> float:
        """Return the moment to tell: the window's end, or behind it, while a request would still count in it."""
        return self.until if self.until > now else self.opens_at


class Quota(NamedTuple):
    """How much of the account's free quota is taken at a moment; None for a limit that is not known.

    Attributes:
        minute_used, minute_limit: requests of the current minute.
        day_used, day_limit: requests of the current UTC day.
        at: Unix seconds at which it was so; None where that was not kept.
    """

    minute_used: int
    minute_limit: int | None
    day_used: int
    day_limit: int | None
    at: float | None = None

    def as_dict(self) -> dict[str, dict[str, float | None]]:
        """Return it as JSON-able data: limit, used and left, and when each window opens again, in Unix seconds."""
        minute = _window(self.minute_used, self.minute_limit, self.at, MINUTE)
        return {"minute": minute, "day": _window(self.day_used, self.day_limit, self.at, DAY)}


def _window(used: int, limit: int | None, at: float | None, length: float) -> dict[str, float | None]:
    left = None if limit is None else max(limit - used, 0)
    resets_at = None if at is None else (at // length + 1) * length
    return {"limit": limit, "used": used, "left": left, "resets_at": resets_at}


class Windows(NamedTuple):
    """What has been taken of the current windows.

    Attributes:
        minutes: minute number -> slots taken or booked in it.
        days: number of a UTC day -> slots taken or booked on it.
        projects: project -> what it took of the day.
    """

    minutes: Mapping[int, int] = _NOTHING
    days: Mapping[int, int] = _NOTHING
    projects: Mapping[str, Use] = _NOTHING

    def turned_to(self, now: float) -> Windows:
        """Return the windows at `now`: past ones are closed, and what a wrong clock counted is today's."""
        first, day = int(now // MINUTE) - 1, int(now // DAY)
        last = first + _FARTHEST_BOOKED
        if _within(self.days, day - 1, day + _FARTHEST_DAYS) and _within(self.minutes, first, last):
            return self
        # Yesterday is kept: a clock that is set right at midnight must not find it empty.
        days = {number: taken for number, taken in self.days.items() if day - 1 <= number <= day + _FARTHEST_DAYS}
        stray = sum(taken for number, taken in self.days.items() if number > day + _FARTHEST_DAYS)
        if stray:
            days[day] = days.get(day, 0) + stray
        minutes = {number: taken for number, taken in self.minutes.items() if first <= number <= last}
        seen = {name: use.seen_by(day) for name, use in self.projects.items()}
        projects = {name: use for name, use in seen.items() if day - use.day <= _FORGOTTEN_DAYS}
        return Windows(minutes, days, projects)

    def set_right(self, now: float) -> Windows:
        """Return the windows with what a clock that was far ahead has counted taken for today's, else as they are.

        Whoever finds no slot keeps no windows: found anew each day, what it had counted would shut every day until its
        own.
        """
        return self.turned_to(now) if max(self.days, default=0) > now // DAY + _FARTHEST_DAYS else self

    def on(self, day: int) -> int:
        """Return what is taken of a day.

        What is taken of later days counts as well: it was booked ahead, or by a clock that has jumped back since.
        """
        return sum(taken for number, taken in self.days.items() if number >= day)

    def admitted(
        self, limits: Limits, now: float, patience: float, pacing: float | None = None, share: Share | None = None
    ) -> tuple[Windows, Slot | Full]:
        """Take a slot that can be used now, or book the first one that opens soon enough.

        Args:
            limits: of the account, or of one model.
            now: Unix seconds.
            patience: seconds that the caller waits for a new day.
            pacing: seconds that the caller waits in the queue for a minute; None for `patience`.
            share: which project asks, and what it may have.
        """
        share = share or Share()
        book = self.turned_to(now).claimed(share, limits, int(now // DAY))
        slot, spent = Slot.at(now, share.project), None
        # Ends: only finitely many minutes have anything booked.
        while (full := book.full_day(slot, limits, share)) is not None or not book.has_room(slot, limits):
            if full is None:
                slot = book.next_slot(slot, limits)
            elif full.limit < 1 or full.until - now > patience:
                return book, full
            else:
                spent, slot = full, Slot((int(full.until // MINUTE),), share.project)
        waits = 0.0 if slot.fits(now) else slot.opens_at - now
        if waits > (patience if spent is not None or pacing is None else pacing):
            used = max(book.minutes.get(number, 0) for number in Slot.at(now).minutes)
            return book, spent or Full("minute", slot.minutes[0] * MINUTE, limits.per_minute or 0, used)
        return book.plus(slot, 1, int(now // DAY)), slot

    def has_room(self, slot: Slot, limits: Limits) -> bool:
        """Tell whether the minutes of a slot have room for it; a minute is never shut for good."""
        most = limits.per_minute
        return most is None or all(self.minutes.get(number, 0) < max(most, 1) for number in slot.minutes)

    def next_slot(self, slot: Slot, limits: Limits) -> Slot:
        """Return the first slot of one minute, from the last one of this slot on, that has room."""
        number = slot.minutes[-1]
        while not self.has_room(later := Slot((number,), slot.project), limits):
            number += 1
        return later

    def released(self, slot: Slot, now: float) -> Windows:
        """Give a slot back whose request provably never left."""
        return self.turned_to(now).plus(slot, -1, int(now // DAY))

    def filled(self, window: str, limit: int, now: float) -> Windows:
        """Return the windows after the server said that one is used up, by whomever."""
        book, number, day = self.turned_to(now), int(now // MINUTE), int(now // DAY)
        if window == "minute":
            return book._replace(minutes={**book.minutes, number: max(book.minutes.get(number, 0), limit)})
        return book._replace(days={**book.days, day: max(book.days.get(day, 0), limit)})

    def used(self, now: float) -> tuple[int, int]:
        """Return what is taken of the minute and of the day."""
        book = self.turned_to(now)
        return book.minutes.get(int(now // MINUTE), 0), book.on(int(now // DAY))

    def plus(self, slot: Slot, number: int, today: int) -> Windows:
        """Return the windows with `number` more (or less) requests where a slot is."""
        minutes = _plus(self.minutes, slot.minutes, number)
        days = _plus(self.days, slot.days, number)
        projects = self.projects
        if slot.project:
            use = projects.get(slot.project, Use())
            projects = {**projects, slot.project: use.plus(slot, number, today)}
        return Windows(minutes, days, projects)

    def claimed(self, share: Share, limits: Limits, today: int) -> Windows:
        """Remember what the others must leave to a project."""
        kept = (share.at_least.of(limits.per_day) if share.at_least else None) or 0
        known = self.projects.get(share.project, Use(today))
        if not share.project or known.kept == kept:
            return self
        return self._replace(projects={**self.projects, share.project: known._replace(kept=kept)})

    def full_day(self, slot: Slot, limits: Limits, share: Share) -> Full | None:
        """Return the first day, or the share of one, in which there is no room for a slot."""
        if (most := limits.per_day) is not None:
            for day in slot.days:
                if (taken := self.on(day)) >= most:
                    return Full("day", (day + 1) * DAY, most, taken)
        return self._full_share(slot.days[-1], limits, share)

    def _full_share(self, day: int, limits: Limits, share: Share) -> Full | None:
        # A share is nothing that the service counts, so a request at midnight counts on one day only: the new one.
        turns, taken = (day + 1) * DAY, self.on(day)
        at_most = share.at_most.of(limits.per_day) if share.at_most else None
        own = self.projects.get(share.project, Use()).on(day)
        if at_most is not None and own >= at_most:
            return Full("day", turns, at_most, own, share=True)
        if limits.per_day is None or taken < limits.per_day - self._kept_for_others(share.project, day):
            return None
        return Full("day", turns, limits.per_day, taken, share=True)

    def _kept_for_others(self, project: str, day: int) -> int:
        return sum(max(use.kept - use.on(day), 0) for name, use in self.projects.items() if name != project)


def _within(numbers: Collection[int], least: int, most: int) -> bool:
    return not numbers or (least <= min(numbers) and max(numbers) <= most)


def _plus(counts: Mapping[int, int], numbers: Iterable[int], more: int) -> dict[int, int]:
    added = {**counts}
    for number in numbers:
        added[number] = added.get(number, 0) + more
        if added[number] <= 0:
            del added[number]
    return added
