"""The account's book: which windows are shut, which models are left alone, and until when.

Everything is a pure function from one `Ledger` to the next. Nobody here knows what time it is or where
the book is kept; how it is written is `pages.py`'s business. Times are Unix seconds of the server's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from langchain_openrouter_free.books.breaker import FIXED, Cooldown, rested
from langchain_openrouter_free.books.health import Health, pruned
from langchain_openrouter_free.books.quota import (
    DAY,
    MINUTE,
    Full,
    Limits,
    Quota,
    Share,
    Slot,
    Use,
    Windows,
    certain_end,
)
from langchain_openrouter_free.books.skew import Heard, corrected
from langchain_openrouter_free.books.tripwire import QUARANTINE, Bill, Quarantine
from langchain_openrouter_free.judging.traits import NOTHING, UNKNOWN, Lesson, Traits
from langchain_openrouter_free.judging.traits import pruned as remembered
from langchain_openrouter_free.judging.verdicts import POLICIES, Kind, Verdict
from langchain_openrouter_free.values import value_type

# Two models that both say 429 without saying whose within this many seconds: it is the account's.
_UNSAID_SECONDS = 10.0
# No window of an account is longer than a day; a hold further ahead was written by a clock that was wrong.
_FARTHEST_HOLD = 25 * 3600.0
# `GET /key` is asked at most this often for an account, in seconds; its answer lags by minutes anyway.
_ASK_AGAIN = 600.0
# How long others wait for the answer of a call that asks, in seconds.
_INQUIRY = 6.0
# By how much the clocks of machines that share a book may differ, in seconds, before one is taken for wrong.
_CLOCK_DIFFERENCE = 60.0
_Known = TypeVar("_Known")
_NOTHING: dict[str, Any] = {}
_UNUSED = Windows()
# More models than this are not remembered, of each thing that is known of them: a service could name new ones for ever.
# Of breakers those of models that are well go first; else what ends first.
_MOST_MODELS = 300
# What accounts have (the service's limits page): by its size an answer's meter is told from a single model's.
_SIZES = {"minute": frozenset({20}), "day": frozenset({50, 1000})}
# What says something about a model's health beside the kinds that cool it down.
_UNHEALTHY = frozenset(
    {
        Kind.EMPTY,
        Kind.ONLY_THOUGHTS,
        Kind.NO_CHOICES,
        Kind.FINISH_ERROR,
        Kind.CALLS_MISSING,
        Kind.UNKNOWN_TOOL,
        Kind.BAD_ARGUMENTS,
        Kind.WRONG_ARGUMENTS,
    }
)


@value_type()
class Hold:
    """A window of the account that is shut.

    Attributes:
        window: `"day"` or `"minute"`.
        until: when it opens again.
        limit, used: requests, where known.
        share: whether only this project's share is used up.
        since: when the server said so; 0 where that is not known.
    """

    window: str
    until: float
    limit: int | None = None
    used: int | None = None
    share: bool = False
    since: float = 0.0

    def shuts(self, now: float) -> bool:
        """Tell whether it lasts; a minute that is yet to come is none: the clock has been set back since."""
        ahead = self.window == "minute" and now < self.since - _CLOCK_DIFFERENCE
        return now < self.until <= now + _FARTHEST_HOLD and not ahead

    @property
    def opens_at(self) -> float:
        """When to send again."""
        return certain_end(self.window, self.until)


@value_type()
class Stated:
    """A limit that the server named, and the UTC day on which it did; it is believed for that day."""

    limit: int
    day: int


@value_type()
class Metered:
    """One model's own limits, and what was taken of them."""

    limits: Mapping[str, Stated]
    windows: Windows = _UNUSED

    def in_force(self, now: float) -> Limits:
        """Return the limits that are still believed."""
        return Limits(_believed(self.limits, "minute", now), _believed(self.limits, "day", now))


@value_type()
class Measured:
    """What an attempt showed of its model's speed, where it did.

    Attributes:
        first_token_s: seconds to the first content.
        tokens_per_s: tokens of output a second after that.
    """

    first_token_s: float | None = None
    tokens_per_s: float | None = None


class Ledger(NamedTuple):
    """One account's book.

    Attributes:
        holds: window (`"day"`, `"minute"`) -> the account-wide hold that the server stated.
        windows: slots taken of the account's free quota.
        learned: window -> limit that the server stated.
        cooldowns: model id -> its breaker; kept after its end, so that the next guess is longer.
        metered: model id -> the service's limits on this one model.
        health: model id -> what was measured of it.
        traits: model id -> what else was learned by asking it.
        quarantined: free id -> the bill for which it is not asked any more.
        unsaid: the last 429 that did not say whose limit it was: (model, moment).
        inquired: when `GET /key` was last asked about the day's limit.
        inquiring_until: a call is asking it until then.
        skew: seconds by which the server's clock is ahead of this machine's.
        paid_row: the next free turn in the row of paid requests, and when it was last booked.
        paid_rate: paid requests a second by the balance, and when that was asked.
    """

    holds: Mapping[str, Hold] = _NOTHING
    windows: Windows = _UNUSED
    learned: Mapping[str, Stated] = _NOTHING
    cooldowns: Mapping[str, Cooldown] = _NOTHING
    metered: Mapping[str, Metered] = _NOTHING
    health: Mapping[str, Health] = _NOTHING
    traits: Mapping[str, Traits] = _NOTHING
    quarantined: Mapping[str, Quarantine] = _NOTHING
    unsaid: tuple[str, float] | None = None
    inquired: float = 0.0
    inquiring_until: float = 0.0
    skew: float = 0.0
    paid_row: tuple[float, float] = (0.0, 0.0)
    paid_rate: tuple[float, float] | None = None

    # -- what may be asked

    def hold(self, now: float) -> Hold | None:
        """Return the hold that lasts longest, or None if the account may send."""
        shut = [hold for hold in self.holds.values() if hold.shuts(now)]
        return max(shut, key=lambda hold: hold.until, default=None)

    def cooldown(self, model: str, now: float) -> Cooldown | None:
        """Return the model's breaker if the model is left alone at this moment."""
        rest = self.cooldowns.get(model)
        return rest if rest is not None and rest.rests_until(now) > now else None

    def full_model(self, model: str, now: float) -> Full | None:
        """Return the limit of this one model that is used up, or None."""
        metered = self.metered.get(model)
        if metered is None:
            return None
        _, found = metered.windows.admitted(metered.in_force(now), now, 0.0)
        return found if isinstance(found, Full) else None

    def rests_until(self, model: str, now: float) -> float:
        """Return the moment from which a model may be asked: 0 if that is now."""
        rest, full, billed = self.cooldowns.get(model), self.full_model(model, now), self.quarantined.get(model)
        resting = max(0.0 if rest is None else rest.rests_until(now), 0.0 if full is None else full.opens_at)
        return resting if billed is None else max(resting, billed.until)

    def is_well(self, model: str, now: float) -> bool:
        """Tell whether a model may be asked now, has not lately failed nearly always, and is not spared."""
        known = self.health.get(model)
        ill = known is not None and (known.unhealthy(now) or known.repute.spares(now))
        return not ill and self.rests_until(model, now) <= now

    def first_token_p95(self, model: str) -> float | None:
        """Return the seconds within which a model's first content usually comes; None where too little is known."""
        known = self.health.get(model)
        return None if known is None else known.first_token_p95()

    def generation(self, model: str) -> int:
        """Return the generation under which an attempt at this model begins."""
        rest = self.cooldowns.get(model)
        return 0 if rest is None else rest.generation

    def limits(self, assumed: Limits, now: float) -> Limits:
        """Return the account's limits: what the server stated today counts before what is assumed."""
        minute, day = _believed(self.learned, "minute", now), _believed(self.learned, "day", now)
        return Limits(
            assumed.per_minute if minute is None else minute,
            assumed.per_day if day is None else day,
            assumed.guessed and day is None,
        )

    def is_stated(self, window: str, now: float) -> bool:
        """Tell whether the server has named the size of a window today."""
        return _believed(self.learned, window, now) is not None

    def admitted(
        self, assumed: Limits, now: float, patience: float, pacing: float | None = None, share: Share | None = None
    ) -> tuple[Ledger, Slot | Full]:
        """Take a slot of the free quota; see `Windows.admitted`."""
        windows, slot = self.windows.admitted(self.limits(assumed, now), now, patience, pacing, share)
        return (self if windows is self.windows else self._replace(windows=windows)), slot

    def released(self, slot: Slot, now: float) -> Ledger:
        """Give back a slot whose request never left."""
        return self._replace(windows=self.windows.released(slot, now))

    def plentiful(self, assumed: Limits, now: float) -> bool:
        """Tell whether less than half of the minute and of the day is used."""
        limits, (minute, today) = self.limits(assumed, now), self.windows.used(now)
        roomy = limits.per_minute is None or minute * 2 < limits.per_minute
        return roomy and (limits.per_day is None or today * 2 < limits.per_day)

    def quota(self, assumed: Limits, now: float) -> Quota:
        """Return how much of the free quota is taken, as far as it is known."""
        limits, (minute, today) = self.limits(assumed, now), self.windows.used(now)
        return Quota(minute, limits.per_minute, today, limits.per_day, now)

    def is_scarce(self, assumed: Limits, now: float, share: Share) -> bool:
        """Tell whether less than a tenth is left of the day, or of what a project may take of it."""
        limit, today = self.limits(assumed, now).per_day, int(now // DAY)
        windows = self.windows.turned_to(now)
        own = None if share.at_most is None else share.at_most.of(limit)
        taken = windows.projects.get(share.project, Use()).on(today)
        used = [(limit, windows.on(today)), (own, taken)]
        return any(most is not None and (most - gone) * 10 < most for most, gone in used)

    def rate(self, now: float) -> float | None:
        """Return the paid requests a second that the balance stood for, if that was asked lately."""
        return self.paid_rate[0] if self.paid_rate and 0 <= now - self.paid_rate[1] < _ASK_AGAIN else None

    # -- what begins

    def begun(self, model: str, slot: Slot | None, now: float, lease: float) -> Ledger:
        """Return the book after an attempt at `model` began: the first one after a cooldown is the probe."""
        rest, metered = self.cooldowns.get(model), self.metered.get(model)
        book = self if rest is None or rest.well else _with(self, model, rest.probed(now + lease))
        if metered is None or slot is None:
            return book
        windows, _ = metered.windows.admitted(Limits(), now, 0.0)
        return book._replace(metered={**book.metered, model: replace(metered, windows=windows)})

    def unsent(self, model: str, slot: Slot, now: float) -> Ledger:
        """Return the book after an attempt whose request never left."""
        book, metered = self.released(slot, now), self.metered.get(model)
        if metered is None:
            return book
        windows = metered.windows.released(slot._replace(project=""), now)
        return book._replace(metered={**book.metered, model: replace(metered, windows=windows)})

    def may_inquire(self, now: float) -> bool:
        """Tell whether it is time to ask `GET /key` about the day's limit."""
        return not 0 <= now - self.inquired < _ASK_AGAIN

    def inquiring(self, now: float) -> Ledger:
        """Return the book while one call asks `GET /key`."""
        return self._replace(inquired=now, inquiring_until=now + _INQUIRY)

    def not_inquired(self) -> Ledger:
        """Return the book after a question that was broken off: the next call may ask."""
        return self._replace(inquired=0.0, inquiring_until=0.0)

    def hinted(self, limit: int | None, now: float) -> Ledger:
        """Return the book after `GET /key` was asked for the day's limit.

        What it says of the use lags by minutes, and is not believed.
        """
        learned = self.learned if limit is None else {**self.learned, "day": Stated(limit, int(now // DAY))}
        return self._replace(learned=learned, inquiring_until=0.0)

    def billed(self, bill: Bill, now: float) -> Ledger:
        """Return the book after a free attempt cost money: its model is not asked again for a long while."""
        kept = {model: known for model, known in self.quarantined.items() if known.until > now}
        kept[bill.model] = Quarantine(now + QUARANTINE, bill.cost)
        return self._replace(quarantined=_latest(kept, lambda known: known.until))

    def turn(self, now: float) -> float:
        """Return the next turn in the row of paid requests; one that was booked by a clock that was wrong is void."""
        turn, booked = self.paid_row
        return max(turn, now) if booked <= now + _CLOCK_DIFFERENCE else now

    def in_row(self, until: float, now: float) -> Ledger:
        """Return the book with the row of paid requests taken until then."""
        return self._replace(paid_row=(until, now))

    def out_of_row(self, turn: float, until: float) -> Ledger:
        """Give back a turn that nobody uses, if it is the last of the row."""
        return self._replace(paid_row=(turn, self.paid_row[1])) if self.paid_row[0] == until else self

    def rated(self, rate: float, now: float) -> Ledger:
        """Return the book after the balance was asked for the sake of the pace."""
        return self._replace(paid_rate=(rate, now))

    def rulings_forgotten(self) -> Ledger:
        """Return it without what the account's own setting rules out: that may have been changed."""
        if not any(known.ruled_out for known in self.traits.values()):
            return self
        return self._replace(traits={model: replace(known, ruled_out={}) for model, known in self.traits.items()})

    def timed(self, heard: Heard | None) -> Ledger:
        """Return the book after a reply showed the server's time."""
        skew = corrected(self.skew, heard)
        return self if skew == self.skew else self._replace(skew=skew)

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

    def answered(self, sent: float) -> Ledger:
        """Return the book after a free request that left then was answered: no 429 before it was the account's."""
        return self._replace(unsaid=None) if self.unsaid is not None and self.unsaid[1] <= sent else self

    def settled(
        self,
        model: str,
        verdict: Verdict,
        now: float,
        generation: int | None = None,
        measured: Measured | None = None,
        chance: float = 0.0,
        lesson: Lesson = NOTHING,
        *,
        free: bool = True,
    ) -> Ledger:
        """Return the book after an attempt at `model` ended with `verdict`.

        Args:
            model: id of the model.
            verdict: how the attempt ended, as `read` reads it.
            now: Unix seconds.
            generation: the model's generation when the attempt began; None for the present one.
            measured: what it showed of the model's speed.
            chance: from 0 to 1; lengthens a guessed cooldown a little.
            lesson: what else it taught of the model.
            free: whether it cost a free request; what is paid for, here or elsewhere, says nothing of those.
        """
        book = _taught(self, model, lesson, now)
        if verdict.kind in (Kind.DAY_LIMIT, Kind.MINUTE_LIMIT):
            return _probe_over(_shut(book, verdict, now) if free else book, model, generation)
        if verdict.kind is Kind.RATE_LIMIT and free:
            book = book._replace(unsaid=(model, now))
        stale = generation is not None and generation != book.generation(model)
        if verdict.ok or not stale:
            # Attempts that began together fail together: that is one failure.
            book = _noted(book, model, verdict, now, measured or Measured())
        if verdict.ok:
            book = _counted(book, verdict, now) if free else book
            known = book.cooldowns.get(model)
            return book if stale or known is None or known.well else _with(book, model, known.recovered())
        if verdict.kind is Kind.MODEL_LIMIT and verdict.limit is not None and verdict.window is not None:
            book = _metered(book, model, verdict.window, verdict.limit, now, verdict.until)
        if not POLICIES[verdict.kind].cools and verdict.kind is not Kind.IN_FLIGHT_BUDGET:
            return _probe_over(book, model, generation)
        return _pruned(_with(book, model, rested(book.cooldowns.get(model), verdict, now, chance, stale=stale)), now)


def _believed(stated: Mapping[str, Stated], window: str, now: float) -> int | None:
    known = stated.get(window)
    return known.limit if known is not None and known.day == int(now // DAY) else None


def _with(book: Ledger, model: str, rest: Cooldown) -> Ledger:
    return book if book.cooldowns.get(model) == rest else book._replace(cooldowns={**book.cooldowns, model: rest})


def _probe_over(book: Ledger, model: str, generation: int | None) -> Ledger:
    """Let others try a model whose probe ended without a word about its health."""
    rest = book.cooldowns.get(model)
    return book if rest is None else _with(book, model, rest.probe_over(generation))


def _pruned(book: Ledger, now: float) -> Ledger:
    """Forget failures that are long over."""
    kept = {model: rest for model, rest in book.cooldowns.items() if rest.well or not rest.forgotten(now)}
    if len(kept) > _MOST_MODELS:
        kept = _latest({model: rest for model, rest in kept.items() if not rest.well}, lambda rest: rest.until)
    return book if len(kept) == len(book.cooldowns) else book._replace(cooldowns=kept)


def _latest(known: dict[str, _Known], until: Callable[[_Known], float]) -> dict[str, _Known]:
    """Return what is known of so many models as are remembered: that which ends last."""
    if len(known) <= _MOST_MODELS:
        return known
    latest = sorted(known, key=lambda model: until(known[model]), reverse=True)[:_MOST_MODELS]
    return {model: known[model] for model in latest}


def _noted(book: Ledger, model: str, verdict: Verdict, now: float, measured: Measured) -> Ledger:
    """Keep what the attempt says of the model's health; what is the account's or the request's is not."""
    telling = POLICIES[verdict.kind].cools and verdict.kind not in FIXED
    if not verdict.ok and not telling and verdict.kind not in _UNHEALTHY:
        return book
    known = book.health.get(model) or Health()
    noted = known.noted(
        ok=verdict.ok,
        now=now,
        first_token_s=measured.first_token_s,
        tokens_per_s=measured.tokens_per_s,
        silent=verdict.kind is Kind.TIMED_OUT and measured.first_token_s is None,
    )
    health = {**book.health, model: noted}
    # Only a model that comes new makes the page longer.
    return book._replace(health=health if model in book.health else pruned(health, now))


def _taught(book: Ledger, model: str, lesson: Lesson, now: float) -> Ledger:
    """Keep what an attempt taught of its model beside its health."""
    if lesson is NOTHING:
        return book
    known = book.traits.get(model, UNKNOWN)
    learned = known.taught(lesson, now)
    if learned is known:
        return book
    traits = {**book.traits, model: learned}
    return book._replace(traits=traits if model in book.traits else remembered(traits, now))


def _filled(windows: Windows, window: str, limit: int, now: float, until: float | None) -> Windows:
    """Return the windows after one was said to be used up; a day that ends with its first minute is the one before."""
    if window == "day" and until is not None and until % DAY <= MINUTE and now // DAY == until // DAY:
        now = until - 2 * MINUTE
    return windows.filled(window, limit, now)


def _metered(book: Ledger, model: str, window: str, limit: int, now: float, until: float | None) -> Ledger:
    """Remember the service's limit on one model: it is not asked more often than that any more."""
    known = book.metered.get(model) or Metered({})
    today = int(now // DAY)
    kept = {name: metered for name, metered in book.metered.items() if _still_stated(metered, today) and name != model}
    stated = {**known.limits, window: Stated(limit, today)}
    kept[model] = Metered(stated, _filled(known.windows, window, limit, now, until))
    # The one that was named last is the last of them.
    return book._replace(metered=dict(list(kept.items())[-_MOST_MODELS:]))


def _still_stated(metered: Metered, today: int) -> bool:
    return any(stated.day == today for stated in metered.limits.values())


def _counted(book: Ledger, verdict: Verdict, now: float) -> Ledger:
    """Believe what an answer says of a window, where its size tells that it is the account's; never count down."""
    window, limit, left = verdict.window, verdict.limit, verdict.left
    if window is None or limit is None or left is None:
        return book
    if limit not in _SIZES[window] and limit != _believed(book.learned, window, now):
        return book
    learned = {**book.learned, window: Stated(limit, int(now // DAY))}
    return book._replace(learned=learned, windows=book.windows.filled(window, limit - left, now))


def _shut(book: Ledger, verdict: Verdict, now: float) -> Ledger:
    window = "day" if verdict.kind is Kind.DAY_LIMIT else "minute"
    until = verdict.until or now + MINUTE
    if verdict.limit is not None:
        learned = {**book.learned, window: Stated(verdict.limit, int(now // DAY))}
        book = book._replace(learned=learned, windows=_filled(book.windows, window, verdict.limit, now, until))
    known = book.holds.get(window)
    # Of two sources that contradict each other, the later deadline wins.
    if known is not None and until < known.until and known.shuts(now):
        return book
    return book._replace(holds={**book.holds, window: Hold(window, until, verdict.limit, since=now)})
