"""How well each model has done in our own attempts lately, and in which order the models are to be asked. Pure.

A memory fades by half each `HALF_LIFE`, so that a bad spell is forgiven once it may be over. Nobody here knows
what time it is, draws a random number or knows where the book is kept. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from math import ceil, isfinite, sqrt
from typing import Any

from langchain_openrouter_free.books.quota import DAY
from langchain_openrouter_free.books.repute import UNPROVEN, Repute
from langchain_openrouter_free.values import value_type

# Real bad spells of free endpoints last 45 to 110 minutes (5-minute statistics of July 2026), in seconds.
HALF_LIFE = 1800.0
# How often `adaptive` asks another model than the best, where quota is plentiful.
EXPLORE = 0.05

# What is assumed of a model: as sure as two attempts would make us, so that one failure proves little.
_PRIOR_RATE = 0.8
_PRIOR_WEIGHT = 2.0
_PRIOR_FIRST_TOKEN = 2.0
_PRIOR_SPEED = 50.0
# Speed differs far more between models than between two answers of one: half an answer is enough doubt.
_PRIOR_SPEED_WEIGHT = 0.5
# Length of the answer whose seconds are compared, in tokens.
_TYPICAL = 300.0
_PRIOR_SECONDS = _PRIOR_FIRST_TOKEN + _TYPICAL / _PRIOR_SPEED
# From so many remembered attempts on, with so small a part of them answered, a model is skipped.
_PROOF = 4.0
_HOPELESS = 0.2
# What a rank is worth to `adaptive`: the next model must be better by a ninth to go before.
_NEXT_RANK = 0.9
# Measures are kept within what a clock can tell and the page can hold.
_LONGEST_FIRST_TOKEN = DAY
_SLOWEST, _QUICKEST = 0.1, 1e6
# Greater numbers on a page are no measure of ours, and would not fit into a float.
_GREATEST = 2**53
# So many first contents are remembered of a model, and from so many on their 95th percentile is believed.
REMEMBERED, BELIEVED = 20, 10


class Strategy(StrEnum):
    """By what the models are put in order."""

    RANKED = "ranked"
    FASTEST = "fastest"
    ADAPTIVE = "adaptive"


@value_type()
class Health:
    """What our own attempts at one model measured; the older, the less it counts.

    Attributes:
        at: Unix seconds of the last note, to which the two sums below belong.
        weight: faded number of attempts.
        successes: faded number of answers among them.
        first_token_s: faded mean of the seconds to the first content; None while unknown.
        tokens_per_s: faded mean of the tokens per second; None while unknown.
        firsts: milliseconds to the first content of its last answers, at most 20, newest last.
        repute: how it has done over days; as of the last note.
    """

    at: float = 0.0
    weight: float = 0.0
    successes: float = 0.0
    first_token_s: float | None = None
    tokens_per_s: float | None = None
    firsts: tuple[int, ...] = ()
    repute: Repute = UNPROVEN

    def noted(
        self,
        *,
        ok: bool,
        now: float,
        first_token_s: float | None = None,
        tokens_per_s: float | None = None,
        silent: bool = False,
    ) -> Health:
        """Return the memory after one more attempt.

        A mean counts as much as all answers remembered, which is exact where each of them was measured.

        Args:
            ok: whether it answered; only an answer's measures count.
            now: Unix seconds.
            first_token_s: seconds to the first content; None, negative or not finite: not measured.
            tokens_per_s: tokens per second after that; None, not above zero or not finite: not measured.
            silent: whether it said nothing within its deadline. Who shrinks the deadline to what is remembered must
                doubt that: the older half of `firsts` is forgotten.
        """
        past = self.faded(now)
        repute = past.repute.noted(ok=ok, now=now)
        if not ok:
            firsts = past.firsts[(len(past.firsts) + 1) // 2 :] if silent else past.firsts
            return replace(past, weight=past.weight + 1.0, firsts=firsts, repute=repute)
        first = _measure(first_token_s, 0.0, _LONGEST_FIRST_TOKEN)
        # An answer without a token has no speed.
        speed = _measure(tokens_per_s, _SLOWEST, _QUICKEST) if tokens_per_s else None
        return Health(
            past.at,
            past.weight + 1.0,
            past.successes + 1.0,
            _mean(past.first_token_s, past.successes, first),
            _mean(past.tokens_per_s, past.successes, speed),
            past.firsts if first is None else (*past.firsts, round(first * 1000))[-REMEMBERED:],
            repute,
        )

    def first_token_p95(self) -> float | None:
        """Return the seconds within which the first content of 95 of 100 answers came; None for less than 10 answers.

        It is a real one of the remembered seconds, by nearest rank.
        """
        if len(self.firsts) < BELIEVED:
            return None
        return sorted(self.firsts)[ceil(len(self.firsts) * 0.95) - 1] / 1000

    def faded(self, now: float) -> Health:
        """Return the memory as it is at `now`.

        Where the clock has jumped back, nothing fades until it has caught up: so two machines whose clocks
        differ forget no faster than one. A moment more than a day ahead was never true and becomes `now`.
        """
        left = self._left(now)
        at = self.at if now < self.at <= now + DAY else now
        weight, successes, repute = self.weight * left, self.successes * left, self.repute.faded(now - self.at, now)
        return Health(at, weight, successes, self.first_token_s, self.tokens_per_s, self.firsts, repute)

    def _left(self, now: float) -> float:
        """Which part of the memory is left at `now`: never more than all of it, whatever the clock does."""
        return 0.5 ** ((now - self.at) / HALF_LIFE) if now > self.at else 1.0

    def success_rate(self, now: float) -> float:
        """Return how likely an answer is; between 0 and 1, and 0.8 where nothing is remembered."""
        left = self._left(now)
        return (self.successes * left + _PRIOR_RATE * _PRIOR_WEIGHT) / (self.weight * left + _PRIOR_WEIGHT)

    def unhealthy(self, now: float) -> bool:
        """Say whether the model is to be skipped: enough attempts are remembered, and hardly any answered.

        Only the number of attempts fades, never the part that answered: so it gets its chance again.
        """
        # The cheap questions first: this is asked of every model under the store's lock.
        if self.weight < _PROOF or self.successes >= _HOPELESS * self.weight:
            return False
        return self.weight * self._left(now) >= _PROOF

    def answer_seconds(self, now: float) -> float:
        """Return how many seconds an answer of 300 tokens takes, if it comes; 8 where nothing is remembered.

        What was measured fades as well: a model that was slow yesterday must not stay last for ever.
        """
        first = _PRIOR_FIRST_TOKEN if self.first_token_s is None else self.first_token_s
        measured = first + _TYPICAL / (_PRIOR_SPEED if self.tokens_per_s is None else self.tokens_per_s)
        known = self.successes * self._left(now)
        return (measured * known + _PRIOR_SECONDS * _PRIOR_SPEED_WEIGHT) / (known + _PRIOR_SPEED_WEIGHT)

    def expected_seconds(self, now: float) -> float:
        """Return how many seconds an answer of 300 tokens takes, failures counted in; 10 where nothing is known."""
        return self.answer_seconds(now) / self.success_rate(now)

    def as_row(self) -> list[Any]:
        """Write it as small whole numbers, which encode fastest: it is done under the store's lock.

        Returns:
            Seconds, thousandths of an attempt, thousandths of an answer, milliseconds or -1, tenths of a token
            per second or -1; a list of milliseconds, if there are any; and its repute, if it has one.
        """
        first, speed = self.first_token_s, self.tokens_per_s
        row = [
            round(self.at),
            round(self.weight * 1000),
            round(self.successes * 1000),
            -1 if first is None else round(first * 1000),
            -1 if speed is None else round(speed * 10),
        ]
        if self.repute is not UNPROVEN:
            return [*row, list(self.firsts), self.repute.as_row()]
        return [*row, list(self.firsts)] if self.firsts else row

    @classmethod
    def from_row(cls, row: object) -> Health:
        """Read it from a row.

        Raises:
            ValueError: if it is no such row.
        """
        if not isinstance(row, list | tuple) or not 5 <= len(row) <= 7:
            raise ValueError(f"no row of health: {row!r}")
        (at, weight, successes, first, speed), firsts = row[:5], row[5] if len(row) > 5 else ()
        # By type, not isinstance: True is no number of attempts.
        if not (type(at) is type(weight) is type(successes) is type(first) is type(speed) is int):
            raise ValueError(f"no row of health: {row!r}")
        listed = isinstance(firsts, list | tuple) and len(firsts) <= REMEMBERED
        if not listed or not all(type(one) is int and 0 <= one < _GREATEST for one in firsts):
            raise ValueError(f"no row of health: {row!r}")
        sums = -_GREATEST < at < _GREATEST and 0 <= successes <= weight < _GREATEST
        if not (sums and -1 <= first < _GREATEST and -1 <= speed < _GREATEST and speed != 0):
            raise ValueError(f"no row of health: {row!r}")
        return cls(
            float(at),
            weight / 1000,
            successes / 1000,
            None if first < 0 else first / 1000,
            None if speed < 0 else speed / 10,
            tuple(firsts),
            Repute.from_row(row[6]) if len(row) > 6 else UNPROVEN,
        )


def _measure(value: float | None, least: float, most: float) -> float | None:
    """Return a measure within its bounds, or None for what is no measure."""
    if value is None or not isfinite(value) or value < 0:
        return None
    return min(max(value, least), most)


def _mean(old: float | None, past: float, new: float | None) -> float | None:
    """Return the mean of an old one that counts `past` times and a new value."""
    if old is None or new is None:
        return old if new is None else new
    return old + (new - old) / (past + 1.0)


_UNKNOWN = Health()
_UNKNOWN_TENTHS = int(_UNKNOWN.expected_seconds(0.0) * 10 + 0.5)


def ordered(
    models: Sequence[str],
    health: Mapping[str, Health],
    strategy: Strategy,
    now: float,
    *,
    chance: float = 1.0,
    plentiful: bool = False,
) -> list[int]:
    """Return the indices of `models` in the order in which they are to be asked.

    Unhealthy models come last whatever the strategy: asking them costs scarce requests.

    Args:
        models: ids by rank, each once.
        health: model id -> what is remembered of it; may lack models and hold others.
        strategy: `ranked` keeps to the user's order; `fastest` asks first who is expected to answer first, to a tenth
            of a second; `adaptive` weighs rank, reliability and speed.
        now: Unix seconds.
        chance: a random number, at least 0 and below 1; the default explores nothing.
        plentiful: whether there is quota to spare for `adaptive` to look at another model now and then.
    """
    order = list(range(len(models)))
    if strategy is Strategy.FASTEST:
        order.sort(key=_tenths(models, health, now).__getitem__)
    elif strategy is Strategy.ADAPTIVE:
        # Sorted in reverse, equals still stay in rank order.
        order.sort(key=_values(models, health, now).__getitem__, reverse=True)
    sick = _unhealthy(models, health, now)
    rest = [index for index in order if models[index] in sick] if sick else []
    if rest:
        order = [index for index in order if models[index] not in sick]
    if strategy is Strategy.ADAPTIVE and plentiful and chance < EXPLORE and len(order) > 1:
        order.insert(0, order.pop(_explored(order, models, health, chance / EXPLORE)))
    return order + rest


def _unhealthy(models: Sequence[str], health: Mapping[str, Health], now: float) -> set[str]:
    """Return the models to be skipped, and perhaps others, by way of the shorter of the two lists."""
    if len(health) <= len(models):
        return {model for model, known in health.items() if known.unhealthy(now)}
    return {model for model in models if model in health and health[model].unhealthy(now)}


def _tenths(models: Sequence[str], health: Mapping[str, Health], now: float) -> list[int]:
    """Return the expected tenths of seconds: less is a tie, or last week's failure would overrule the user's order."""
    found = map(health.get, models)
    return [_UNKNOWN_TENTHS if known is None else int(known.expected_seconds(now) * 10 + 0.5) for known in found]


def _values(models: Sequence[str], health: Mapping[str, Health], now: float) -> list[float]:
    """Return what asking each model is worth: the user's esteem, answers for a request, and some speed.

    Requests are scarce, so reliability counts in full and only once: the seconds are those of an answer that
    comes. Speed counts by its root, because the user who wants it above all has `fastest`: it takes a fifth
    less time to make good for one rank, and ten times the speed for ten.
    """
    values = []
    for rank, known in enumerate(map(health.get, models)):
        value = _PRIOR_RATE
        if known is not None:
            value = known.success_rate(now) / sqrt(known.answer_seconds(now) / _PRIOR_SECONDS)
        values.append(value * _NEXT_RANK**rank)
    return values


def _explored(order: Sequence[int], models: Sequence[str], health: Mapping[str, Health], part: float) -> int:
    """Return the position in `order` of the model to look at instead of the first; `part` is in [0, 1).

    The one least recently noted is the likeliest: the square makes small parts of small and large ones.
    """
    others = sorted(range(1, len(order)), key=lambda place: health.get(models[order[place]], _UNKNOWN).at)
    return others[int(part * part * len(others))]


def pruned(health: Mapping[str, Health], now: float, keep: int = 200, longest: float = 7 * DAY) -> Mapping[str, Health]:
    """Return the memories worth keeping, those of an impossible future counted as of `now`.

    Args:
        health: model id -> what is remembered of it.
        now: Unix seconds.
        keep: most models to remember; the ones least recently noted go first.
        longest: seconds after its last note for which a model is remembered; a week.
    """
    kept = {
        # Left alone it would not fade before that future comes.
        model: known if known.at - now <= DAY else known.faded(now)
        for model, known in health.items()
        if now - known.at <= longest
    }
    if len(kept) <= keep:
        return kept
    newest = sorted(kept, key=lambda model: kept[model].at, reverse=True)[: max(keep, 0)]
    return {model: kept[model] for model in newest}
