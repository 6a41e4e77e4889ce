"""Whom a call may ask for nothing: the user's ranking, the catalogue and the request, brought together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from langchain_openrouter_free.catalogue.advice import ModelGone, Notice, gone, leaving, nearest
from langchain_openrouter_free.catalogue.catalogue import Listing, says_free
from langchain_openrouter_free.catalogue.facts import ModelFacts, facts_of
from langchain_openrouter_free.catalogue.ranking import not_for_chat
from langchain_openrouter_free.catalogue.selection import Chosen, Selection, selected, stands_for_many
from langchain_openrouter_free.route.actions import Choice
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.fitness import UNFIT, Needs, lacks
from langchain_openrouter_free.values import value_type

_DAY = 86_400.0
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


def selection_of(ranking: Sequence[str], listing: Listing, now: float) -> Selection:
    """Return what a ranking means in a list; worked out once a day."""
    key = ("selection", tuple(ranking), int(now // _DAY))
    if key not in listing.memo:
        listing.memo[key] = selected(ranking, free_in(listing), now)
    found: Selection = listing.memo[key]
    return found


def replacements(model: str, listing: Listing, named: frozenset[str], bundle: Listing) -> tuple[str, ...]:
    """Return the free chat models of a list that are most like one that it lacks; worked out once.

    Args:
        model: its id.
        listing: the list.
        named: what the user names, as one set for all models: a ranking may have thousands.
        bundle: what came with the package.
    """
    key = ("replacements", model, named)
    if key not in listing.memo:
        absence = listing.absent.get(model)
        last = facts_in(listing, model) or (facts_in(bundle, model) if absence is None else facts_of(absence.row))
        listing.memo[key] = nearest(model, last, _chat_in(listing), named)
    found: tuple[str, ...] = listing.memo[key]
    return found


def _chat_in(listing: Listing) -> list[ModelFacts]:
    if "chat" not in listing.memo:
        listing.memo["chat"] = [facts for facts in free_in(listing) if not_for_chat(facts) is None]
    found: list[ModelFacts] = listing.memo["chat"]
    return found


@value_type()
class Chooser:
    """Chooses the free candidates of one call.

    Attributes:
        ranking: the user's entries, best first.
        needs: what the request needs.
        bundle: gives the facts that came with the package, for where the service's list cannot be had.
        strict: whether an id counts as paid then unless those facts prove it free.
    """

    ranking: tuple[str, ...]
    needs: Needs
    bundle: Callable[[], Listing]
    strict: bool = False

    def __call__(self, listing: Listing | None, now: float) -> Choice:
        """Return the candidates by a list; None where it cannot be had."""
        if listing is not None:
            return self._by(listing, now)
        choice = replace(self._by(self.bundle(), now), notices=())
        if self.strict:
            unknown = {one.model for one in choice.candidates} - self.bundle().rows.keys()
            return replace(choice, doubts={**choice.doubts, **dict.fromkeys(unknown, NO_LISTING)})
        # Elsewhere it is not known what is offered: what is named is believed.
        named = {one.model for one in choice.candidates if one.score is None}
        candidates = tuple(replace(c, takes=None, context=None) if c.model in named else c for c in choice.candidates)
        doubts = {model: doubt for model, doubt in choice.doubts.items() if model not in named}
        return replace(choice, candidates=candidates, doubts=doubts)

    def _by(self, listing: Listing, now: float) -> Choice:
        """Return the choice by a list; worked out once for requests of a kind."""
        key = ("choice", self.ranking, int(now // _DAY), self.needs.kind)
        if key not in listing.memo:
            listing.memo[key] = self._worked_out(listing, now)
        found: Choice = listing.memo[key]
        return found

    def _worked_out(self, listing: Listing, now: float) -> Choice:
        """Return the choice for requests of this kind."""
        selection = selection_of(self.ranking, listing, now)
        candidates: list[Candidate] = []
        doubts: dict[str, str] = {}
        notices: list[Notice] = []
        entries = frozenset(self.ranking)
        for one in selection.chosen:
            facts = facts_in(listing, one.model)
            notices += self._noticed(one, facts, listing, entries, now)
            candidate = Candidate(one.model, group=one.group, score=one.score)
            candidates.append(candidate if facts is None else _described(candidate, facts))
            lacking = None if facts is None else lacks(facts, self.needs)
            doubt = listing.doubt(one.model) or (None if lacking is None else UNFIT + lacking)
            if doubt is not None:
                doubts[one.model] = doubt
        is_open = any(map(stands_for_many, self.ranking))
        return Choice(tuple(candidates), doubts, selection.left_out, tuple(notices), is_open)

    def _noticed(
        self, one: Chosen, facts: ModelFacts | None, listing: Listing, entries: frozenset[str], now: float
    ) -> list[Notice]:
        """Return what there is to tell of a model: that it will go, or, where the user names it, that it has gone."""
        named = one.score is None
        soon = None if facts is None else leaving(facts, now, named=named)
        why = gone(one.model, listing) if named else None
        told: list[Notice] = [] if soon is None else [soon]
        if why is not None:
            told.append(ModelGone(one.model, why, replacements(one.model, listing, entries, self.bundle())))
        return told


def _described(candidate: Candidate, facts: ModelFacts) -> Candidate:
    return replace(
        candidate,
        takes=facts.parameters,
        context=facts.context,
        output_limit=facts.output_limit,
        always_thinks=facts.reasoning == "mandatory",
    )
