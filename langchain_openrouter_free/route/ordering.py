"""In which order the free candidates of a call are asked, and how many of them. Pure.

The user's ranking, the catalogue's score and what was measured make the order. Whom a user names is asked before the
call gives up; of those that a pattern or `auto` stands for only so many that a bad hour, in which all of them fail,
does not use the day up.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_openrouter_free.books.health import Health, Strategy, ordered
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import Limits
from langchain_openrouter_free.catalogue.catalogue import FREE_ROUTER
from langchain_openrouter_free.errors import AttemptRecord
from langchain_openrouter_free.route.candidate import Candidate

# One call may spend a quarter of what is left of the day on models that nobody named, and may always try this many.
_PART, _LEAST = 4, 3
SPARED = "the call has asked its part of what is left of the day (a quarter) of models that you do not name"


def in_order(
    free: Sequence[Candidate],
    book: Ledger,
    strategy: Strategy,
    limits: Limits,
    now: float,
    chance: float,
    voice: str | None = None,
) -> Sequence[Candidate]:
    """Return the candidates in the order in which they are to be asked.

    The one that speaks in this conversation (`voice`) comes first; then who is not spared for its failures of the
    last days (`repute.py`); the service's own router last.
    """
    order = _by_strategy(free, book, strategy, limits, now, chance)
    spared = {model for model, known in book.health.items() if known.repute.spares(now)}
    if spared:
        order = sorted(order, key=lambda one: one.model in spared)
    if voice is not None:
        order = sorted(order, key=lambda one: one.model != voice)
    routers = [candidate for candidate in order if candidate.model == FREE_ROUTER]
    return [*(candidate for candidate in order if candidate.model != FREE_ROUTER), *routers] if routers else order


def _by_strategy(
    free: Sequence[Candidate], book: Ledger, strategy: Strategy, limits: Limits, now: float, chance: float
) -> Sequence[Candidate]:
    if strategy is Strategy.RANKED and book.health and any(one.score is not None for one in free):
        free = sorted(free, key=lambda one: (one.group, -_worth(one, book, now)))
    if strategy is Strategy.RANKED and not any(health.unhealthy(now) for health in book.health.values()):
        return free
    models = [candidate.model for candidate in free]
    plentiful = strategy is Strategy.ADAPTIVE and book.plentiful(limits, now)
    order = ordered(models, book.health, strategy, now, chance=chance, plentiful=plentiful)
    return [free[index] for index in order]


def _worth(candidate: Candidate, book: Ledger, now: float) -> float:
    """Return what a candidate of a pattern or of `auto` is worth: the catalogue's score times what was measured."""
    health = book.health.get(candidate.model) or Health()
    score, rate = candidate.score or 0.0, health.success_rate(now)
    # Below 0 its end is near: there too who fails is worth less, and all of them less than those who stay.
    return score * rate if score >= 0 else (score + 1.0) * rate - 1.0


def has_its_part(
    free: Sequence[Candidate], trail: Sequence[AttemptRecord], book: Ledger, limits: Limits, now: float
) -> bool:
    """Tell whether a call has asked as many models that its user does not name as the day has room for.

    Args:
        free: its candidates.
        trail: its attempts so far.
        book: the account's book.
        limits: what is assumed of the account's free quota; without a limit of the day there is no such bound.
        now: Unix seconds.
    """
    most = book.limits(limits, now).per_day
    if most is None or len(trail) < _LEAST:
        return False
    unnamed = {candidate.model for candidate in free if candidate.score is not None}
    asked = sum(record.model in unnamed for record in trail)
    left = max(most - book.windows.used(now)[1], 0) + asked
    return asked >= max(left // _PART, _LEAST)
