"""From the user's ranking and the catalogue to an order of candidates: ids, patterns, and `auto`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

from langchain_openrouter_free.catalogue.catalogue import FREE_ROUTER, FREE_SUFFIX
from langchain_openrouter_free.catalogue.facts import ModelFacts
from langchain_openrouter_free.catalogue.ranking import not_for_chat, scored
from langchain_openrouter_free.values import value_type

T = TypeVar("T")

AUTO = "auto"
_WILD = frozenset("*?[")


def is_pattern(entry: str) -> bool:
    """Tell whether an entry of the ranking stands for more than one id."""
    return any(sign in entry for sign in _WILD)


def stands_for_many(entry: str) -> bool:
    """Tell whether an entry of the ranking is no id."""
    return entry == AUTO or is_pattern(entry)


@value_type()
class Chosen:
    """One id of the ranking.

    Attributes:
        model: the id.
        group: position of the entry that it came by; those of one group are ordered by score and health.
        score: from 0 to 1; None where the user named the id, whose place is law.
    """

    model: str
    group: int
    score: float | None = None


@value_type()
class Selection:
    """What a ranking means in one catalogue.

    Attributes:
        chosen: in the order in which they are to be asked.
        left_out: id -> why a pattern or `auto` did not take it.
    """

    chosen: tuple[Chosen, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def selected(ranking: Sequence[str], models: Sequence[ModelFacts], now: float) -> Selection:
    """Return what a ranking means among the models that are proven free.

    An exact id keeps its place whatever the catalogue says of it. A pattern stands for all usable chat models that
    it matches, best first, and `auto` for all that are left; the service's own router comes last wherever it stands.

    Args:
        ranking: the user's entries, best first; empty means `auto`.
        models: the models that are proven free.
        now: Unix seconds.
    """
    left_out = {facts.id: what for facts in models if (what := not_for_chat(facts)) is not None}
    usable = [facts for facts in models if facts.id not in left_out]
    scores = scored(usable, now)
    best = sorted(scores, key=lambda model: (-scores[model], model))
    exact = {entry for entry in ranking if not stands_for_many(entry)}
    taken: set[str] = set()
    chosen: list[Chosen] = []
    for group, entry in enumerate(ranking or (AUTO,)):
        if entry in exact:
            chosen.append(Chosen(entry, group))
            continue
        found = [m for m in best if m not in exact and m not in taken and (entry == AUTO or matches(entry, m))]
        taken.update(found)
        chosen += [Chosen(model, group, scores[model]) for model in found]
    chosen.sort(key=lambda one: one.model == FREE_ROUTER)
    return Selection(tuple(chosen), {model: f"it is {what}" for model, what in left_out.items() if model not in exact})


def matches(pattern: str, model: str) -> bool:
    """Tell whether a pattern matches an id, with or without its `:free`."""
    return fnmatchcase(model, pattern) or fnmatchcase(model.removesuffix(FREE_SUFFIX), pattern)


@value_type()
class PerModel(Generic[T]):
    """A setting that may differ from model to model.

    Attributes:
        default: what holds for all others.
        entries: ids and patterns, and what holds for those; of several that match, the last counts.
    """

    default: T
    entries: tuple[tuple[str, T], ...] = ()

    def of(self, model: str) -> T:
        """Return what holds for one model."""
        return next((value for entry, value in reversed(self.entries) if matches(entry, model)), self.default)
