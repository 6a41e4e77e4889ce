"""How much is taken of the account's free requests, and what answers cost, as a user asks for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from langchain_openrouter_free.books.budget import dollars
from langchain_openrouter_free.books.history import CallRecord
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import DAY, MINUTE, Limits
from langchain_openrouter_free.values import value_type


@value_type(frozen=True)
class WindowUse:
    """One window of the account; times are Unix seconds.

    Attributes:
        window: `"minute"` or `"day"`.
        used: requests taken of it, as far as this state knows.
        limit, left: requests; None where no limit is known.
        assumed: whether the limit is only what most accounts have.
        resets_at: when the next one begins.
        shut_until: until when the service has said that nothing is left; None where it has not.
    """

    window: str
    used: int
    limit: int | None
    left: int | None
    assumed: bool
    resets_at: float
    shut_until: float | None = None


@value_type(frozen=True)
class ProjectUse:
    """What one project took of the day, and what the others must leave to it; requests."""

    project: str
    used: int
    kept: int


@value_type(frozen=True)
class Usage:
    """What is taken of the account's free requests, by window and by project."""

    windows: tuple[WindowUse, ...]
    projects: tuple[ProjectUse, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return asdict(self)


@value_type(frozen=True)
class Cost:
    """What one model's answers of one day cost.

    Attributes:
        day: UTC, as `2026-11-22`.
        model: its id.
        answers: how many of them are known to have cost something.
        cost: US dollars, as text with all digits.
    """

    day: str
    model: str
    answers: int
    cost: str


def costs(records: Iterable[CallRecord]) -> tuple[Cost, ...]:
    """Return what answers cost by day and model, the newest day first."""
    found: dict[tuple[str, str], list[int]] = {}
    for one in records:
        if one.cost and one.model:
            day = datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d")
            found.setdefault((day, one.model), []).append(one.cost)
    told = [Cost(day, model, len(several), dollars(sum(several))) for (day, model), several in found.items()]
    return tuple(sorted(sorted(told, key=lambda one: one.model), key=lambda one: one.day, reverse=True))


def usage(book: Ledger, assumed: Limits, now: float) -> Usage:
    """Return what is taken at `now` (Unix seconds, of the server's clock)."""
    limits, (minute, day) = book.limits(assumed, now), book.windows.used(now)
    windows = (
        _window(book, "minute", minute, limits.per_minute, (now // MINUTE + 1) * MINUTE, now),
        _window(book, "day", day, limits.per_day, (now // DAY + 1) * DAY, now),
    )
    today = int(now // DAY)
    uses = [ProjectUse(name, use.on(today), use.kept) for name, use in book.windows.projects.items()]
    seen = sorted((use for use in uses if use.used or use.kept), key=lambda use: (-use.used, use.project))
    return Usage(windows, tuple(seen))


def _window(book: Ledger, window: str, used: int, limit: int | None, resets_at: float, now: float) -> WindowUse:
    hold = book.holds.get(window)
    shut = hold.until if hold is not None and hold == book.hold(now) else None
    left = None if limit is None else 0 if shut else max(limit - used, 0)
    stated = book.is_stated(window, now)
    return WindowUse(window, used, limit, left, limit is not None and not stated, resets_at, shut)
