"""What the history shows of a span of time, in figures: answers, moves, speed, quota, spending, cooldowns. Pure.

Knows no page and no chart: `report.py` draws it, and `Figures.as_dict` is the same as data.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from typing import Any

from langchain_openrouter_free.books.budget import NANO
from langchain_openrouter_free.books.history import CallRecord, Totals
from langchain_openrouter_free.books.quota import DAY, Quota
from langchain_openrouter_free.books.spending import Spending
from langchain_openrouter_free.catalogue.catalogue import says_free
from langchain_openrouter_free.errors import AttemptRecord
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.values import value_type

HOUR = 3600.0
# The longest span in seconds that is shown by so many seconds; what is longer is shown by day.
_STEPS = ((2 * DAY, HOUR), (8 * DAY, 6 * HOUR))
# What never reached the service is not counted there.
_NOT_COUNTED = frozenset({str(Kind.UNREACHABLE)})
# An hour or two may be seen ahead of this machine's clock, no more: a row of a clock that was wrong is left out.
_AHEAD = 2 * HOUR
_MOST_SPEEDS = 400


@value_type(frozen=True)
class Spell:
    """A time in which a model was left alone.

    Attributes:
        model: its id.
        since, until: Unix seconds.
        outcome: for what.
    """

    model: str
    since: float
    until: float
    outcome: str


@value_type(frozen=True)
class Delisting:
    """A free model that ended, or is announced to end.

    Attributes:
        model: its id.
        at: Unix seconds at which it was found out, or at which it is announced to end.
        reason: in one line.
    """

    model: str
    at: float
    reason: str


@value_type(frozen=True)
class Speed:
    """Seconds to the first content of a model's answers: how many, the median, nine in ten, and some of them."""

    answers: int
    median_s: float
    p90_s: float
    seconds: tuple[float, ...]


@value_type(frozen=True)
class Figures:
    """What a report shows; times are Unix seconds, amounts US dollars.

    Attributes:
        since, until: the span.
        project: whose calls; None for all of the account.
        step: seconds for which one entry of `course` stands.
        answers: model -> answers.
        outcomes: how calls ended -> how many.
        failures: outcome of an attempt that was no answer -> how many.
        course: beginning of a step -> answered calls, failed calls, moves.
        speeds: model -> time to first content.
        hours: beginning of an hour -> free requests that were sent in it, and how much of the day was taken at its end.
        quota: how much is taken now.
        spent: UTC day -> what its answers cost.
        spending: what the budget holds; None where it is not asked for.
        spells: cooldowns.
        delistings: free models that ended, or are announced to.
        last: the last calls, the newest first.
    """

    since: float
    until: float
    project: str | None = None
    step: float = HOUR
    answers: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    course: dict[float, tuple[int, int, int]] = field(default_factory=dict)
    speeds: dict[str, Speed] = field(default_factory=dict)
    hours: dict[float, tuple[int, int | None, int | None]] = field(default_factory=dict)
    quota: Quota | None = None
    spent: dict[str, float] = field(default_factory=dict)
    spending: Spending | None = None
    spells: tuple[Spell, ...] = ()
    delistings: tuple[Delisting, ...] = ()
    last: tuple[CallRecord, ...] = ()

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return sum(self.outcomes.values())

    @property
    def answered(self) -> int:
        """How many of them were answered."""
        return self.outcomes.get("answered", 0)

    @property
    def moves(self) -> int:
        """How often a call went on to another model."""
        return sum(moved for _, _, moved in self.course.values())

    def as_dict(self) -> dict[str, Any]:
        """Return them as JSON-able data."""
        course = [
            {"at": at, "answered": done, "failed": failed, "moves": moves}
            for at, (done, failed, moves) in self.course.items()
        ]
        hours = [
            {"at": at, "requests": sent, "day_used": used, "day_limit": limit}
            for at, (sent, used, limit) in self.hours.items()
        ]
        speeds = {
            model: {"answers": one.answers, "median_s": one.median_s, "p90_s": one.p90_s}
            for model, one in self.speeds.items()
        }
        return {
            "since": self.since,
            "until": self.until,
            "project": self.project,
            "calls": self.calls,
            "moves": self.moves,
            "answers": self.answers,
            "outcomes": self.outcomes,
            "failures": self.failures,
            "course": course,
            "first_content": speeds,
            "hours": hours,
            "quota": {} if self.quota is None else self.quota.as_dict(),
            "spent": self.spent,
            "budget": [] if self.spending is None else [_fields(one) for one in self.spending.windows],
            "cooldowns": [_fields(one) for one in self.spells],
            "delistings": [_fields(one) for one in self.delistings],
            "last": [record.as_dict() for record in self.last],
        }


def figures(
    records: Iterable[CallRecord],
    since: float,
    now: float,
    *,
    project: str | None = None,
    older: Totals | None = None,
    quota: Quota | None = None,
    spending: Spending | None = None,
    announced: Sequence[Delisting] = (),
    vanished: Sequence[Delisting] = (),
    last: int = 20,
) -> Figures:
    """Return what the history shows.

    Args:
        records: calls that are over, in any order.
        since: Unix seconds; earlier calls are left out.
        now: Unix seconds.
        project: whose calls they are; None for all of the account.
        older: counts of calls that are not kept any more.
        quota: how much of the free quota is taken now.
        spending: what the budget holds.
        announced: free models that are announced to end.
        vanished: free models that are not in the service's list any more.
        last: how many of the last calls are listed.
    """
    known = sorted((one for one in records if since <= one.at <= now + _AHEAD), key=lambda one: -one.at)
    step = next((step for span, step in _STEPS if now - since <= span), DAY)
    answers = Counter(one.model for one in known if one.outcome == "answered" and one.model)
    course: dict[float, list[int]] = {}
    for one in known:
        entry = course.setdefault(one.at // step * step, [0, 0, 0])
        entry[0 if one.outcome == "answered" else 1] += 1
        entry[2] += moves_of(one)
    if older is not None and project is None:
        _add_older(older, since, step, answers, course)
    return Figures(
        since,
        now,
        project,
        step,
        dict(answers.most_common()),
        dict(Counter(one.outcome for one in known).most_common()),
        dict(Counter(a.outcome for one in known for a in one.attempts if a.outcome != Kind.OK).most_common()),
        {at: (entry[0], entry[1], entry[2]) for at, entry in sorted(course.items())},
        _speeds(known),
        _hours(known),
        quota,
        _spent(known),
        spending,
        tuple(_spells(known, since, now)),
        (*_delistings(known, [one for one in vanished if one.at >= since]), *announced),
        tuple(known[:last]),
    )


def moves_of(record: CallRecord) -> int:
    """Return how often a call went on to another model, or to the same one once more."""
    return max(len(record.attempts) - 1, 0)


def _add_older(older: Totals, since: float, step: float, answers: Counter[str], course: dict[float, list[int]]) -> None:
    """Add counts by day of calls that are not kept any more: an attempt that was no answer is a move, as a rule."""
    for day, models in older.days.items():
        at = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
        if at < since:
            continue
        entry = course.setdefault(at // step * step, [0, 0, 0])
        for model, found in models.items():
            answered = found.get(str(Kind.OK), 0)
            if answered:
                answers[model] += answered
            entry[0] += answered
            entry[2] += sum(found.values()) - answered


def _speeds(records: Sequence[CallRecord]) -> dict[str, Speed]:
    seen: dict[str, list[float]] = {}
    for record in records:
        for attempt in record.attempts:
            if attempt.outcome == Kind.OK and attempt.first_token_s is not None:
                seen.setdefault(attempt.model, []).append(attempt.first_token_s)
    told = {model: Speed(len(seen[model]), _part(seen[model], 0.5), _part(seen[model], 0.9), ()) for model in seen}
    ranked = sorted(told, key=lambda model: told[model].median_s)
    return {model: replace(told[model], seconds=tuple(seen[model][:_MOST_SPEEDS])) for model in ranked}


def _part(seconds: Sequence[float], part: float) -> float:
    """Return the value that so great a part of them does not pass."""
    return round(sorted(seconds)[math.ceil(part * len(seconds)) - 1], 3)


def _hours(records: Sequence[CallRecord]) -> dict[float, tuple[int, int | None, int | None]]:
    sent: Counter[float] = Counter()
    taken: dict[float, Quota] = {}
    for record in records:
        for attempt, ended in _ended(record):
            if says_free(attempt.model) and attempt.outcome not in _NOT_COUNTED:
                sent[(ended - attempt.seconds) // HOUR * HOUR] += 1
        if record.quota is not None:
            # The newest call of the hour comes first.
            taken.setdefault(record.at // HOUR * HOUR, record.quota)
    found = {}
    for hour in sorted({*sent, *taken}):
        quota = taken.get(hour)
        found[hour] = (sent[hour], quota and quota.day_used, quota and quota.day_limit)
    return found


def _spent(records: Sequence[CallRecord]) -> dict[str, float]:
    spent: Counter[str] = Counter()
    for record in records:
        if record.cost:
            spent[datetime.fromtimestamp(record.at, UTC).strftime("%Y-%m-%d")] += record.cost
    return {day: float(cost / NANO) for day, cost in sorted(spent.items())}


def _spells(records: Sequence[CallRecord], since: float, now: float) -> Iterator[Spell]:
    """Yield the cooldowns, by model and time; those of one model that overlap are one, named by its last cause."""
    found: dict[str, list[Spell]] = {}
    rests = [(ended, attempt) for record in records for attempt, ended in _ended(record) if attempt.until is not None]
    for ended, attempt in sorted(rests, key=lambda rest: rest[0]):
        begins, until = max(ended, since), min(attempt.until or ended, now + DAY)
        known = found.setdefault(attempt.model, [])
        if known and begins <= known[-1].until:
            last = known.pop()
            begins, until = last.since, max(until, last.until)
        if until > begins:
            known.append(Spell(attempt.model, begins, until, attempt.outcome))
    for model in sorted(found):
        yield from found[model]


def _delistings(records: Sequence[CallRecord], vanished: Sequence[Delisting]) -> Iterator[Delisting]:
    """Yield each model that was found gone, the newest first: as the first refusal tells, else as the list does."""
    found = {one.model: one for one in vanished}
    for record in records:
        for attempt, ended in _ended(record):
            if attempt.outcome == Kind.DELISTED:
                found[attempt.model] = Delisting(attempt.model, ended, attempt.reason)
    return iter(sorted(found.values(), key=lambda one: -one.at))


def _ended(record: CallRecord) -> Iterator[tuple[AttemptRecord, float]]:
    """Yield each attempt of a call and about when it ended: a row tells durations, and when the call was over."""
    at = record.at
    for attempt in reversed(record.attempts):
        yield attempt, at
        at -= attempt.seconds


def _fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}
