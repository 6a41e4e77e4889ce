"""The account's book: which windows are shut, which models are left alone, and until when.

Everything is a pure function from one `Ledger` to the next. Nobody here knows what time it is or where
the book is kept. Times are Unix seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from langchain_openrouter_free.quota import MINUTE, Full, Limits, Slot, Windows
from langchain_openrouter_free.verdicts import POLICIES, Kind, Verdict

# Own guesses after the 1st, 2nd, ... failure in a row, in seconds: real bad spells of free endpoints last
# 45 to 110 minutes (5-minute statistics of July 2026), so a guess grows up to an hour.
COOLDOWNS = (5.0, 30.0, 120.0, 600.0, 3600.0)
# What a model's own state is worth remembering: delistings have been undone after 19 hours (2026-01-15).
_FIXED = {Kind.DELISTED: 86_400.0, Kind.REGION: 86_400.0, Kind.CLOSED: 7 * 86_400.0}
# How soon to look again at a model that another call is probing, in seconds.
_LOOK_AGAIN = 0.5
# Two models that both say 429 without saying whose within this many seconds: it is the account's.
_UNSAID_SECONDS = 10.0
VERSION = 1
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Cooldown:
    """What is remembered of a model's failures: a circuit breaker.

    Attributes:
        until: it is left alone until then; 0 while it is well.
        kind: the last failure.
        failures: how many in a row.
        generation: grows with each change; an attempt that began under an older one changes nothing.
        probe_until: after a cooldown one request tries the model again; others wait for it until then.
    """

    until: float
    kind: Kind
    failures: int = 1
    generation: int = 1
    probe_until: float = 0.0

    def rests_until(self, now: float) -> float:
        """Return the moment from which the model may be asked, or may be looked at again if it is probed."""
        if self.until > now:
            return self.until
        return min(self.probe_until, now + _LOOK_AGAIN)


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
        holds: window (`"day"`, `"minute"`) -> the account-wide hold that the server stated.
        windows: slots taken of the account's free quota.
        learned: window -> limit that the server stated.
        cooldowns: model id -> its breaker; kept after its end, so that the next guess is longer.
        unsaid: the last 429 that did not say whose limit it was: (model, moment).
    """

    holds: Mapping[str, Hold] = field(default_factory=dict)
    windows: Windows = field(default_factory=Windows)
    learned: Mapping[str, int] = field(default_factory=dict)
    cooldowns: Mapping[str, Cooldown] = field(default_factory=dict)
    unsaid: tuple[str, float] | None = None

    def encode(self) -> str:
        """Write the book as text: by hand, because it is done under the store's lock."""
        windows = self.windows
        return _ENCODE(
            {
                "v": VERSION,
                "holds": {name: [hold.until, hold.limit] for name, hold in self.holds.items()},
                "windows": [dict(windows.minutes), windows.day, windows.today],
                "learned": dict(self.learned),
                "cooldowns": {
                    model: [rest.until, rest.kind, rest.failures, rest.generation, rest.probe_until]
                    for model, rest in self.cooldowns.items()
                },
                "unsaid": self.unsaid,
            }
        )

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
            minutes, day, today = page["windows"]
            unsaid = page["unsaid"]
            return cls(
                holds={window: Hold(window, *hold) for window, hold in page["holds"].items()},
                windows=Windows({int(number): taken for number, taken in minutes.items()}, day, today),
                learned=page["learned"],
                cooldowns={
                    model: Cooldown(until, Kind(kind), failures, generation, probe_until)
                    for model, (until, kind, failures, generation, probe_until) in page["cooldowns"].items()
                },
                unsaid=None if unsaid is None else (unsaid[0], unsaid[1]),
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"no ledger: {error!r}") from error

    # -- what may be asked

    def hold(self, now: float) -> Hold | None:
        """Return the hold that lasts longest, or None if the account may send."""
        shut = [hold for hold in self.holds.values() if hold.until > now]
        return max(shut, key=lambda hold: hold.until, default=None)

    def cooldown(self, model: str, now: float) -> Cooldown | None:
        """Return the model's breaker if the model is left alone at this moment."""
        rest = self.cooldowns.get(model)
        return rest if rest is not None and rest.rests_until(now) > now else None

    def generation(self, model: str) -> int:
        """Return the generation under which an attempt at this model begins."""
        rest = self.cooldowns.get(model)
        return 0 if rest is None else rest.generation

    def admitted(self, assumed: Limits, now: float, patience: float) -> tuple[Ledger, Slot | Full]:
        """Take a slot of the free quota; what the server stated counts before what is assumed."""
        limits = Limits(self.learned.get("minute", assumed.per_minute), self.learned.get("day", assumed.per_day))
        windows, slot = self.windows.admitted(limits, now, patience)
        return (self if windows is self.windows else replace(self, windows=windows)), slot

    def released(self, slot: Slot, now: float) -> Ledger:
        """Give back a slot whose request never left."""
        return replace(self, windows=self.windows.released(slot, now))

    def probed(self, model: str, now: float, lease: float) -> Ledger:
        """Return the book after an attempt at `model` began: the first one after a cooldown is the probe."""
        rest = self.cooldowns.get(model)
        if rest is None or rest.failures == 0:
            return self
        return _with(self, model, replace(rest, probe_until=now + lease))

    # -- what an attempt taught

    def read(self, model: str, verdict: Verdict, now: float) -> Verdict:
        """Return the verdict in the light of the book: a second 429 of unsaid scope is the account's."""
        if verdict.kind is not Kind.RATE_LIMIT or self.unsaid is None:
            return verdict
        other, at = self.unsaid
        if other == model or not 0 <= now - at <= _UNSAID_SECONDS:
            return verdict
        policy = POLICIES[Kind.MINUTE_LIMIT]
        return replace(
            verdict,
            kind=Kind.MINUTE_LIMIT,
            scope=policy.scope,
            step=policy.step,
            until=verdict.until or (now // MINUTE + 1) * MINUTE,
            reason=f"{verdict.reason} (two models said so within seconds)",
        )

    def settled(self, model: str, verdict: Verdict, now: float, generation: int | None = None) -> Ledger:
        """Return the book after an attempt at `model` ended with `verdict`.

        Args:
            model: id of the model.
            verdict: how the attempt ended, as `read` reads it.
            now: Unix seconds.
            generation: the model's generation when the attempt began; None for the present one.
        """
        if verdict.kind in (Kind.DAY_LIMIT, Kind.MINUTE_LIMIT):
            return _probe_over(_shut(self, verdict, now), model, generation)
        book = replace(self, unsaid=(model, now)) if verdict.kind is Kind.RATE_LIMIT else self
        stale = generation is not None and generation != book.generation(model)
        if verdict.ok:
            return book if stale else _recovered(book, model)
        if not POLICIES[verdict.kind].cools and verdict.kind is not Kind.IN_FLIGHT_BUDGET:
            return _probe_over(book, model, generation)
        return _rested(book, model, verdict, now, stale=stale)


def _with(book: Ledger, model: str, rest: Cooldown) -> Ledger:
    return replace(book, cooldowns={**book.cooldowns, model: rest})


def _probe_over(book: Ledger, model: str, generation: int | None) -> Ledger:
    """Let others try a model whose probe ended without a word about its health."""
    rest = book.cooldowns.get(model)
    if rest is None or rest.probe_until == 0.0 or generation not in (None, rest.generation):
        return book
    return _with(book, model, replace(rest, probe_until=0.0))


def _recovered(book: Ledger, model: str) -> Ledger:
    rest = book.cooldowns.get(model)
    if rest is None or rest.failures == 0:
        return book
    return _with(book, model, Cooldown(0.0, rest.kind, 0, rest.generation + 1))


def _shut(book: Ledger, verdict: Verdict, now: float) -> Ledger:
    window = "day" if verdict.kind is Kind.DAY_LIMIT else "minute"
    until = verdict.until or now + MINUTE
    if verdict.limit is not None:
        book = replace(book, learned={**book.learned, window: verdict.limit})
    known = book.holds.get(window)
    # Of two sources that contradict each other, the later deadline wins.
    if known is not None and known.until > until:
        return book
    return replace(book, holds={**book.holds, window: Hold(window, until, verdict.limit)})


def _rested(book: Ledger, model: str, verdict: Verdict, now: float, *, stale: bool) -> Ledger:
    """Leave a model alone: as long as the server said, else by a guess that grows.

    Attempts that began together fail together: only the first of them makes the guess grow.
    """
    known = book.cooldowns.get(model)
    if stale and known is not None and known.failures > 0:
        until = max(known.until, verdict.until or 0.0)
        return book if until == known.until else _with(book, model, replace(known, until=until))
    failures = 1 if known is None else known.failures + 1
    guess = _FIXED.get(verdict.kind) or COOLDOWNS[min(failures, len(COOLDOWNS)) - 1]
    until = max(verdict.until or now + guess, known.until if known is not None else 0.0)
    generation = 1 if known is None else known.generation + 1
    return _with(book, model, Cooldown(until, verdict.kind, failures, generation))
