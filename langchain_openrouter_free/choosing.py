"""Whom a call may ask for nothing: the user's ranking, the catalogue and the request, brought together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_openrouter_free.actions import Candidate, Choice
from langchain_openrouter_free.catalogue import Listing, says_free
from langchain_openrouter_free.facts import ModelFacts, facts_of
from langchain_openrouter_free.fitness import Needs, lacks
from langchain_openrouter_free.selection import AUTO, Selection, is_pattern, selected

NO_LISTING = "the service's catalogue cannot be read, so nothing proves that it is free"


def facts_in(listing: Listing, model: str) -> ModelFacts | None:
    """Return what a list says of an id; None where it doesn't have it."""
    known: dict[str, ModelFacts | None] = listing.memo.setdefault("facts", {})
    if model not in known:
        rows = listing.rows.get(model)
        known[model] = facts_of(rows[0]) if rows else None
    return known[model]


def free_in(listing: Listing) -> list[ModelFacts]:
    """Return what a list says of all ids that it proves free."""
    if "free" not in listing.memo:
        proven = [model for model in listing.rows if says_free(model) and listing.doubt(model) is None]
        listing.memo["free"] = [facts for model in proven if (facts := facts_in(listing, model)) is not None]
    found: list[ModelFacts] = listing.memo["free"]
    return found


def selection_of(ranking: Sequence[str], listing: Listing) -> Selection:
    """Return what a ranking means in a list; worked out once."""
    key = ("selection", tuple(ranking))
    if key not in listing.memo:
        listing.memo[key] = selected(ranking, free_in(listing), listing.at)
    found: Selection = listing.memo[key]
    return found


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses the free candidates of one call.

    Attributes:
        ranking: the user's entries, best first.
        needs: what the request needs.
        strict: whether an id counts as paid while the service's list cannot be had.
    """

    ranking: tuple[str, ...]
    needs: Needs
    strict: bool = False

    def __call__(self, listing: Listing | None) -> Choice:
        """Return the candidates by a list; None where it cannot be had: then only ids are known."""
        if listing is None:
            named = tuple(Candidate(e, group=g) for g, e in enumerate(self.ranking) if e != AUTO and not is_pattern(e))
            return Choice(named, {one.model: NO_LISTING for one in named} if self.strict else {})
        chosen = selection_of(self.ranking, listing).chosen
        candidates, doubts = [], {}
        for one in chosen:
            facts = facts_in(listing, one.model)
            takes = None if facts is None else facts.parameters
            candidates.append(Candidate(one.model, takes=takes, group=one.group, score=one.score))
            doubt = listing.doubt(one.model) or (None if facts is None else self._lacks(facts))
            if doubt is not None:
                doubts[one.model] = doubt
        return Choice(tuple(candidates), doubts)

    def _lacks(self, facts: ModelFacts) -> str | None:
        lacking = lacks(facts, self.needs)
        return None if lacking is None else f"it is unfit for this request: {lacking}"
