"""Two versions of one page, joined: what was counted apart during an outage, and what others wrote meanwhile. Pure.

What was taken or spent is added up; of two opinions about a model or a window the more careful one stays. Nothing that
one of them has counted is lost: where both count the same thing, it may count twice, which never passes a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from langchain_openrouter_free.books.breaker import Cooldown
from langchain_openrouter_free.books.ledger import Hold, Ledger, Metered, Stated
from langchain_openrouter_free.books.purse import Purse
from langchain_openrouter_free.books.quota import Use, Windows
from langchain_openrouter_free.books.tripwire import Quarantine

K = TypeVar("K")
V = TypeVar("V")


def joined_books(base: Ledger | None, mine: Ledger, there: Ledger | None) -> Ledger:
    """Return an account's book with what was counted apart added to what is there.

    Args:
        base: the book as both began.
        mine: what became of it here.
        there: what became of it with the others; None where nothing is there any more.
    """
    if there is None:
        return mine
    base = base or Ledger()
    # Of a field that has no rule of its own, the side that changed it counts; of two, the others'.
    rest = {
        name: getattr(mine, name)
        for name in Ledger._fields
        if name not in _RULES and getattr(there, name) == getattr(base, name)
    }
    ruled = {name: _RULES[name](*(getattr(book, name) for book in (base, mine, there))) for name in _RULES}
    return there._replace(**rest, **ruled)


def joined_purses(base: Purse | None, mine: Purse, there: Purse | None) -> Purse:
    """Return a book of money with what was spent and held back apart added to what is there; see `joined_books`."""
    if there is None:
        return mine
    base = base or Purse()
    day, month = max(mine.day, there.day), max(mine.month, there.month)
    # What both have settled was taken off by both. How much nobody knows any more: at most all that was booked for it.
    settled = [known for name, known in base.disputes.items() if name not in {*mine.disputes, *there.disputes}]
    own_day = _since((base.day, base.spent_day), (mine.day, mine.spent_day), day)
    own_month = _since((base.month, base.spent_month), (mine.month, mine.spent_month), month)
    return replace(
        there,
        day=day,
        month=month,
        spent_day=own_day
        + (there.spent_day if there.day == day else 0)
        + sum(known.amount for known in settled if known.day >= day),
        spent_month=own_month
        + (there.spent_month if there.month == month else 0)
        + sum(known.amount for known in settled if known.day[:7] >= month),
        spent_total=there.spent_total + mine.spent_total - base.spent_total + sum(known.amount for known in settled),
        unknown=there.unknown + mine.unknown - base.unknown,
        reservations=_added(base.reservations, mine.reservations, there.reservations),
        disputes=_added(base.disputes, mine.disputes, there.disputes),
        warned=_both(base.warned_in(day, month), mine.warned_in(day, month), there.warned_in(day, month), max),
        parts=_both(
            base.parts, mine.parts, there.parts, lambda one, other: max(one, other, key=lambda part: part.until)
        ),
    )


def _since(before: tuple[str, int], after: tuple[str, int], window: str) -> int:
    """Return what was spent here in the window that is open."""
    if after[0] != window:
        return 0
    return after[1] - before[1] if before[0] == window else after[1]


def _added(base: Mapping[K, V], mine: Mapping[K, V], there: Mapping[K, V]) -> dict[K, V]:
    """Return what is there, without what was closed here, and with what was opened or changed here.

    What was closed there stays closed, whatever was learned of it here: it is booked, and would be once more.
    """
    kept = {key: value for key, value in there.items() if key in mine or key not in base}
    changed = {key: value for key, value in mine.items() if base.get(key) != value}
    return kept | {key: value for key, value in changed.items() if key in there or key not in base}


def _both(base: Mapping[K, V], mine: Mapping[K, V], there: Mapping[K, V], pick: Callable[[V, V], V]) -> dict[K, V]:
    """Return all of both; of what both have changed, what `pick` takes, else what one of them has changed."""
    joined = dict(there)
    for key, value in mine.items():
        other = there.get(key)
        if other is None or other == base.get(key):
            joined[key] = value
        elif value != base.get(key):
            joined[key] = pick(value, other)
    return joined


def _counts(base: Mapping[int, int], mine: Mapping[int, int], there: Mapping[int, int]) -> dict[int, int]:
    joined = dict(there)
    for number, taken in mine.items():
        if taken > base.get(number, 0):
            joined[number] = joined.get(number, 0) + taken - base.get(number, 0)
    return joined


def _windows(base: Windows, mine: Windows, there: Windows) -> Windows:
    projects = dict(there.projects)
    for name, use in mine.projects.items():
        projects[name] = _use(
            base.projects.get(name, Use()), use, there.projects.get(name, Use(use.day, kept=use.kept))
        )
    minutes = _counts(base.minutes, mine.minutes, there.minutes)
    return Windows(minutes, _counts(base.days, mine.days, there.days), projects)


def _use(base: Use, mine: Use, there: Use) -> Use:
    day = max(mine.day, there.day)
    used = there.on(day) + max(mine.on(day) - base.on(day), 0)
    ahead = there.on(day + 1) + max(mine.on(day + 1) - base.on(day + 1), 0)
    return Use(day, used, ahead, there.kept if mine.kept == base.kept else mine.kept)


def _metered(one: Metered, other: Metered) -> Metered:
    limits = _both({}, one.limits, other.limits, _newer)
    return Metered(limits, _windows(Windows(), one.windows, other.windows))


def _newer(one: Stated, other: Stated) -> Stated:
    return one if one.day > other.day else other


def _rest(one: Cooldown, other: Cooldown) -> Cooldown:
    longer = one if one.until > other.until else other
    return replace(longer, generation=max(one.generation, other.generation) + 1)


def _longest_hold(one: Hold, other: Hold) -> Hold:
    return max(one, other, key=lambda hold: hold.until)


def _longest_quarantine(one: Quarantine, other: Quarantine) -> Quarantine:
    return max(one, other, key=lambda kept: kept.until)


def _latest(one: Any, other: Any) -> Any:
    return max(one, other, key=lambda known: known.at)


# How each field of the account's book is joined: (base, mine, there) -> joined.
_RULES: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "windows": _windows,
    "holds": lambda base, mine, there: _both(base, mine, there, _longest_hold),
    "learned": lambda base, mine, there: _both(base, mine, there, _newer),
    "cooldowns": lambda base, mine, there: _both(base, mine, there, _rest),
    "metered": lambda base, mine, there: _both(base, mine, there, _metered),
    "health": lambda base, mine, there: _both(base, mine, there, _latest),
    "traits": lambda base, mine, there: _both(base, mine, there, lambda _, other: other),
    "quarantined": lambda base, mine, there: _both(base, mine, there, _longest_quarantine),
    "paid_row": lambda _, mine, there: max(mine, there),
    "inquired": lambda _, mine, there: max(mine, there),
    "inquiring_until": lambda _, __, there: there,
}
