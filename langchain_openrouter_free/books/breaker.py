"""A model's circuit breaker: left alone after failures, tried again by one request, closed by a success. Pure.

Times are Unix seconds.
"""

from __future__ import annotations

from dataclasses import replace

from langchain_openrouter_free.books.quota import certain_end
from langchain_openrouter_free.judging.verdicts import Kind, Verdict
from langchain_openrouter_free.values import value_type

# Own guesses after the 1st, 2nd, ... failure in a row, in seconds: real bad spells of free endpoints last
# 45 to 110 minutes (5-minute statistics of July 2026), so a guess grows up to an hour.
COOLDOWNS = (5.0, 30.0, 120.0, 600.0, 3600.0)
# By so much of itself a guess is longer at random, so that machines that share no book spread.
_JITTER = 0.1
# What a model's own state is worth remembering: delistings have been undone after 19 hours (2026-01-15).
FIXED = {Kind.DELISTED: 86_400.0, Kind.REGION: 86_400.0, Kind.CLOSED: 7 * 86_400.0}
# How soon to look again at a model that another call is probing, in seconds.
_LOOK_AGAIN = 0.5
# A rest that is longer than the server can state, or we guess, was written by a clock that was wrong, in seconds.
_FARTHEST = 26 * 3600.0
_LONGEST_PROBE = 3600.0
# A failure that was over so long ago says nothing about the next one, in seconds.
_FORGOTTEN = 86_400.0


@value_type()
class Cooldown:
    """What is remembered of a model's failures.

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
        if self.until > now and self._plausible(now):
            return self.until
        probed = now < self.probe_until <= now + _LONGEST_PROBE
        return min(self.probe_until, now + _LOOK_AGAIN) if probed else 0.0

    def _plausible(self, now: float) -> bool:
        return self.until <= now + FIXED.get(self.kind, 0.0) + _FARTHEST

    @property
    def well(self) -> bool:
        """Whether its last attempt answered."""
        return self.failures == 0

    def forgotten(self, now: float) -> bool:
        """Tell whether it is not worth being kept any more."""
        recent = self.until > now - _FORGOTTEN and self._plausible(now)
        return not recent and self.rests_until(now) <= now

    def stated(self, now: float) -> float:
        """Return the moment that it was to be left alone until, as far as that can be true."""
        return self.until if self._plausible(now) else 0.0

    def probed(self, until: float) -> Cooldown:
        """Return it while one request tries the model, until that is over or lost."""
        return replace(self, probe_until=until)

    def probe_over(self, generation: int | None) -> Cooldown:
        """Return it after a probe that ended without a word about the model's health."""
        return replace(self, probe_until=0.0) if generation in (None, self.generation) else self

    def recovered(self) -> Cooldown:
        """Return it after an answer."""
        return Cooldown(0.0, self.kind, 0, self.generation + 1)


def rested(known: Cooldown | None, verdict: Verdict, now: float, chance: float, *, stale: bool) -> Cooldown:
    """Leave a model alone: as long as the server said, else by a guess that grows.

    Attempts that began together fail together: only the first of them makes the guess grow.

    Args:
        known: its breaker so far.
        verdict: the failure.
        now: Unix seconds.
        chance: from 0 to 1; lengthens a guess by up to a tenth.
        stale: whether the attempt began under an older generation.
    """
    if stale and known is not None and not known.well:
        return replace(known, until=max(known.stated(now), _stated(verdict) or 0.0))
    failures = 1 if known is None or known.forgotten(now) else known.failures + 1
    guess = FIXED.get(verdict.kind) or COOLDOWNS[min(failures, len(COOLDOWNS)) - 1] * (1 + _JITTER * chance)
    # A wait that the server stated is never shortened by a later one.
    until = max(_stated(verdict) or now + guess, 0.0 if known is None else known.stated(now))
    longer = known is not None and known.stated(now) >= until
    kind = known.kind if known is not None and longer else verdict.kind
    return Cooldown(until, kind, failures, 1 if known is None else known.generation + 1)


def _stated(verdict: Verdict) -> float | None:
    """Return the server's moment."""
    return None if verdict.until is None else certain_end(verdict.window, verdict.until)
