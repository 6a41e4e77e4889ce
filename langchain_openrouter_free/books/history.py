"""What is kept of each call when it is over, and what is left of it when it is old. Pure.

A call is one row of a log beside the book, and no decision ever reads it. Rows of some age are folded into
counts for each day and model, so that neither the file nor a decision grows with the years. No prompt, no
answer and no key is part of a row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

from langchain_openrouter_free.books.budget import NANO
from langchain_openrouter_free.books.quota import Quota
from langchain_openrouter_free.errors import AttemptRecord, route_facts
from langchain_openrouter_free.jsontext import writer
from langchain_openrouter_free.values import check_version, moment_of, value_type

# Rows older than this are folded, and counts of days older than that are dropped, in seconds.
ROWS_KEPT = 14 * 86_400.0
_DAYS_KEPT = 400
# Of one day so many models are told apart, the rest together, and of all days so many are kept, the oldest first to go:
# a service could name new models for ever.
_MOST_A_DAY, _MOST_KEPT = 100, 10_000
OTHERS = "(others)"
# More rows than this of one account are not kept either.
MOST_ROWS = 20_000
# How many values of a row came with later versions.
_LATER = 5
# One call in so many folds; it folds more rows than come in between.
FOLD_CHANCE = 0.01
VERSION = 1
# What the values of a row are, of an attempt in it, and of what it tells of the quota.
_WHOLE, _WORD, _NUMBER = int | None, str | None, float | int
_ROW = (_NUMBER, str, str, _WORD, bool, _NUMBER, _WORD, _WHOLE, _WHOLE, _WHOLE)
_ATTEMPT = (str, str, str, _WHOLE, str, _NUMBER | None, _NUMBER, _NUMBER | None)
_QUOTA = (int, _WHOLE, int, _WHOLE)
_WRITTEN = writer()


@value_type(frozen=True)
class CallRecord:
    """One call that is over.

    Attributes:
        at: when it ended, in Unix seconds of the server's clock.
        project: whose call it was.
        outcome: `"answered"`, or how the call failed; "" while it goes on.
        model: who answered; None if nobody did.
        paid: whether the answer may have cost money.
        waited_s: seconds that it waited in all.
        attempts: what was tried, in order.
        provider: who ran the model, as the service told.
        cost: what the answer cost, in nano-dollars, as far as it is known.
        prompt_tokens, completion_tokens: as the service counted them.
        quota: how much of the free quota was taken when it ended.
        waits: why it waited, and for how many seconds each time; not kept in the row.
    """

    at: float
    project: str
    outcome: str
    model: str | None = None
    paid: bool = False
    waited_s: float = 0.0
    attempts: tuple[AttemptRecord, ...] = ()
    provider: str | None = None
    cost: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    quota: Quota | None = None
    waits: tuple[tuple[str, float], ...] = field(default=(), compare=False)

    def as_route(self) -> dict[str, Any]:
        """Return it as the route trail of a result or an error."""
        return route_facts(
            self.attempts,
            outcome=self.outcome or None,
            model=self.model,
            provider=self.provider,
            paid=self.paid,
            cost=None if self.cost is None else float(self.cost / NANO),
            waits=[{"why": why, "seconds": round(seconds, 3)} for why, seconds in self.waits],
            waited_s=round(self.waited_s, 3),
            quota={} if self.quota is None else self.quota.as_dict(),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data: the route trail, and what only the history tells."""
        tokens = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}
        return {"at": self.at, "project": self.project, **self.as_route(), **tokens}

    def encode(self) -> str:
        """Write it as text; what came with later versions stands behind, and only as far as it is known."""
        row = [self.project, self.outcome, self.model, self.paid, round(self.waited_s, 3)]
        tried = [[getattr(attempt, name) for name in AttemptRecord.__match_args__] for attempt in self.attempts]
        more = [self.provider, self.cost, self.prompt_tokens, self.completion_tokens, self.quota and self.quota[:4]]
        while more and more[-1] is None:
            more.pop()
        return _WRITTEN([VERSION, self.at, *row, tried, *more])

    @classmethod
    def decode(cls, text: str) -> CallRecord:
        """Read it from text.

        Raises:
            ValueError: if it is no record, or one of another version.
        """
        try:
            version, at, project, outcome, model, paid, waited_s, tried, *more = json.loads(text)
            if version != VERSION:
                raise ValueError(f"a call of version {version!r}")
            attempts = tuple(AttemptRecord(*_typed(attempt, _ATTEMPT)) for attempt in tried)
            provider, cost, prompt, completion, taken = (*more, *[None] * _LATER)[:_LATER]
            _typed((at, project, outcome, model, paid, waited_s, provider, cost, prompt, completion), _ROW)
            quota = None if taken is None else Quota(*_typed(taken[:4], _QUOTA))._replace(at=at)
            return cls(at, project, outcome, model, paid, waited_s, attempts, provider, cost, prompt, completion, quota)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"no call: {error!r}") from error


def _typed(values: Sequence[Any], kinds: Sequence[Any]) -> Sequence[Any]:
    """Return values that are what they must be: what is damaged may be JSON all the same."""
    for value, kind in zip(values, kinds, strict=False):
        if not isinstance(value, kind):
            raise ValueError(f"no call: {value!r} in it")
        if isinstance(value, float):
            moment_of(value)
    return values


@value_type()
class Totals:
    """What is left of old calls.

    Attributes:
        days: UTC day as `2026-11-22` -> model id -> outcome of an attempt -> how often.
        unread: rows that could not be read.
    """

    days: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    unread: int = 0

    def plus(self, rows: Iterable[str]) -> Totals:
        """Return the counts with rows of the log added."""
        days = {day: {model: Counter(found) for model, found in models.items()} for day, models in self.days.items()}
        unread = self.unread
        for text in rows:
            try:
                record = CallRecord.decode(text)
                models = days.setdefault(datetime.fromtimestamp(record.at, UTC).strftime("%Y-%m-%d"), {})
            except (ValueError, OverflowError, OSError, TypeError):
                unread += 1
                continue
            for attempt in record.attempts:
                name = attempt.model if attempt.model in models or len(models) < _MOST_A_DAY else OTHERS
                models.setdefault(name, Counter())[attempt.outcome] += 1
        return Totals(dict(_kept(days)), unread)

    def encode(self) -> str:
        """Write them as text."""
        return _WRITTEN({"v": VERSION, "days": self.days, "unread": self.unread})

    @classmethod
    def decode(cls, text: str) -> Totals:
        """Read them from text.

        Raises:
            ValueError: if it is no such page, or one of another version; `Newer` for a later one.
        """
        try:
            page: dict[str, Any] = json.loads(text)
            check_version(page["v"], VERSION)
            return cls(page["days"], int(page["unread"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no totals: {error!r}") from error


def _kept(days: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Iterator[tuple[str, Mapping[str, Mapping[str, int]]]]:
    """Yield the days that are kept, the oldest first."""
    latest = sorted(days, reverse=True)[:_DAYS_KEPT]
    sizes = accumulate(len(days[day]) for day in latest)
    yield from reversed([(day, days[day]) for day, size in zip(latest, sizes, strict=True) if size <= _MOST_KEPT])


def read_call(text: str) -> CallRecord | None:
    """Return the call of a row; None for one that cannot be read."""
    try:
        return CallRecord.decode(text)
    except ValueError:
        return None


def folded(totals: Totals | None, rows: list[str]) -> Totals:
    """Fold old rows into the counts; what `HistoryLog.fold` is given."""
    return (totals or Totals()).plus(rows)
