"""The account's book: which windows are shut, which models are left alone, and until when.

Everything is a pure function from one `Ledger` to the next. Nobody here knows what time it is or where
the book is kept. Times are Unix seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from langchain_openrouter_free.verdicts import POLICIES, Kind, Verdict

# Own guesses after the 1st, 2nd, ... failure in a row, in seconds: real bad spells of free endpoints last
# 45 to 110 minutes (5-minute statistics of July 2026), so a guess grows up to an hour.
COOLDOWNS = (5.0, 30.0, 120.0, 600.0, 3600.0)
# What a model's own state is worth remembering: delistings have been undone after 19 hours (2026-01-15).
_FIXED = {Kind.DELISTED: 86_400.0, Kind.REGION: 86_400.0, Kind.CLOSED: 7 * 86_400.0}
# Two models that both say 429 without saying whose within this many seconds: it is the account's.
_UNSAID_SECONDS = 10.0
_MINUTE = 60.0
VERSION = 1


@dataclass(frozen=True, slots=True)
class Cooldown:
    """Why a model is left alone, and until when."""

    until: float
    kind: Kind
    failures: int = 1


@dataclass(frozen=True, slots=True)
class Hold:
    """A window of the account that is shut."""

    window: str
    until: float
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """One account's book.

    Attributes:
        holds: window (`"day"`, `"minute"`) -> the account-wide hold.
        cooldowns: model id -> its cooldown; kept after its end, so that the next guess is longer.
        unsaid: the last 429 that did not say whose limit it was: (model, moment).
    """

    holds: Mapping[str, Hold] = field(default_factory=dict)
    cooldowns: Mapping[str, Cooldown] = field(default_factory=dict)
    unsaid: tuple[str, float] | None = None

    def encode(self) -> str:
        """Write the book as text."""
        return json.dumps({"v": VERSION, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Ledger:
        """Read a book from text.

        Raises:
            ValueError: if it is no book, or one of another version.
        """
        try:
            page = json.loads(text)
            if page["v"] != VERSION:
                raise ValueError(f"a ledger of version {page['v']!r}")
            unsaid = page["unsaid"]
            return cls(
                holds={window: Hold(**hold) for window, hold in page["holds"].items()},
                cooldowns={
                    model: Cooldown(rest["until"], Kind(rest["kind"]), rest["failures"])
                    for model, rest in page["cooldowns"].items()
                },
                unsaid=None if unsaid is None else (unsaid[0], unsaid[1]),
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"no ledger: {error!r}") from error

    def hold(self, now: float) -> Hold | None:
        """Return the hold that lasts longest, or None if the account may send."""
        shut = [hold for hold in self.holds.values() if hold.until > now]
        return max(shut, key=lambda hold: hold.until, default=None)

    def cooldown(self, model: str, now: float) -> Cooldown | None:
        """Return the model's cooldown if it still lasts."""
        rest = self.cooldowns.get(model)
        return rest if rest is not None and rest.until > now else None

    def read(self, model: str, verdict: Verdict, now: float) -> Verdict:
        """Return the verdict in the light of the book: a second 429 of unsaid scope is the account's."""
        if verdict.kind is not Kind.RATE_LIMIT or self.unsaid is None:
            return verdict
        other, at = self.unsaid
        if other == model or not 0 <= now - at <= _UNSAID_SECONDS:
            return verdict
        policy = POLICIES[Kind.MINUTE_LIMIT]
        until = verdict.until or (now // _MINUTE + 1) * _MINUTE
        return replace(
            verdict,
            kind=Kind.MINUTE_LIMIT,
            scope=policy.scope,
            step=policy.step,
            until=until,
            reason=f"{verdict.reason} (two models said so within seconds)",
        )

    def settled(self, model: str, verdict: Verdict, now: float) -> Ledger:
        """Return the book after an attempt at `model` ended with `verdict`."""
        if verdict.ok:
            return self._recovered(model)
        if verdict.kind in (Kind.DAY_LIMIT, Kind.MINUTE_LIMIT):
            return self._shut(verdict, now)
        book = self
        if verdict.kind is Kind.RATE_LIMIT:
            book = replace(book, unsaid=(model, now))
        if POLICIES[verdict.kind].cools or verdict.kind is Kind.IN_FLIGHT_BUDGET:
            book = book.rested(model, verdict, now)
        return book

    def _recovered(self, model: str) -> Ledger:
        if model not in self.cooldowns:
            return self
        return replace(self, cooldowns={m: rest for m, rest in self.cooldowns.items() if m != model})

    def _shut(self, verdict: Verdict, now: float) -> Ledger:
        window = "day" if verdict.kind is Kind.DAY_LIMIT else "minute"
        until = verdict.until or now + _MINUTE
        known = self.holds.get(window)
        # Of two sources that contradict each other, the later deadline wins.
        if known is not None and known.until > until:
            return self
        return replace(self, holds={**self.holds, window: Hold(window, until, verdict.limit)})

    def rested(self, model: str, verdict: Verdict, now: float) -> Ledger:
        """Return the book with the model left alone: as the server said, else by a guess that grows."""
        known = self.cooldowns.get(model)
        failures = 1 if known is None else known.failures + 1
        guess = _FIXED.get(verdict.kind) or COOLDOWNS[min(failures, len(COOLDOWNS)) - 1]
        until = max(verdict.until or now + guess, known.until if known is not None else 0.0)
        return replace(self, cooldowns={**self.cooldowns, model: Cooldown(until, verdict.kind, failures)})
