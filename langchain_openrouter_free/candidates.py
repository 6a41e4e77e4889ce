"""Whom a configuration names, checked: free and paid candidates, and the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel

from langchain_openrouter_free import settings
from langchain_openrouter_free.budget import Budget
from langchain_openrouter_free.catalogue import says_free
from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.external import PaidModel, without_retries
from langchain_openrouter_free.routing import Candidate, Road

# The name of a model that has not been chosen yet.
ALIAS = "openrouter-free"


@dataclass(frozen=True, slots=True)
class Candidates:
    """What `models`, `paid_models` and `budget` name.

    Attributes:
        free, paid: candidates by rank.
        externals: the paid chat models of other packages.
        budget: None where nothing may be paid.
    """

    free: tuple[Candidate, ...]
    paid: tuple[Candidate, ...]
    externals: tuple[BaseChatModel, ...]
    budget: Budget | None

    @classmethod
    def named(
        cls, models: Sequence[str], paid_models: Sequence[Any], budget: object, *, allow_paid: bool
    ) -> Candidates:
        """Check what the fields of a model name.

        Raises:
            ConfigurationError: for anything that cannot work.
        """
        free = settings.free_models(models)
        if allow_paid and budget is None:
            raise ConfigurationError(
                "allow_paid=True needs a budget, e.g. budget='$0.50/day' (or budget='unlimited', spelled out)."
            )
        if allow_paid and not paid_models:
            raise ConfigurationError("allow_paid=True needs paid_models, best first.")
        try:
            caps = None if budget is None else Budget.parse(budget)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{error}.") from error
        named = [paid if isinstance(paid, PaidModel) else PaidModel(paid) for paid in paid_models]
        settings.paid_ids([paid.label for paid in named], free)
        paid, externals = _roads(named)
        return cls(tuple(Candidate(model) for model in free), paid, externals, caps)

    def asked(self, pinned: str | None, *, allow_paid: bool) -> tuple[Sequence[Candidate], Sequence[Candidate]]:
        """Return the free and the paid candidates of a call; `pinned` names the only one.

        Raises:
            ConfigurationError: if the pinned one may cost money without leave.
        """
        paid = self.paid if allow_paid else ()
        if pinned is None or pinned == ALIAS:
            return self.free, paid
        settings.model_id(pinned, "model")
        if says_free(pinned):
            return (Candidate(pinned),), ()
        allowed = [candidate for candidate in paid if candidate.model == pinned]
        if not allowed:
            raise ConfigurationError(
                f"model={pinned!r} may cost money: it must be one of paid_models, with allow_paid=True and a budget."
            )
        return (), allowed


def _roads(named: Sequence[PaidModel]) -> tuple[tuple[Candidate, ...], tuple[BaseChatModel, ...]]:
    externals: list[BaseChatModel] = []
    candidates: list[Candidate] = []
    for paid in named:
        prices = paid.prices()
        if isinstance(paid.model, BaseChatModel):
            road, index = Road.EXTERNAL, len(externals)
            externals.append(without_retries(paid.model, paid.label))
        else:
            settings.model_id(paid.model, "paid_models")
            road, index = Road.SERVICE, 0
        candidates.append(Candidate(paid.label, paid=True, road=road, index=index, prices=prices))
    return tuple(candidates), tuple(externals)
