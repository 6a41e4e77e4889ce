"""Whom a configuration names, checked: free and paid candidates, and the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_openrouter_free.books.budget import Budget
from langchain_openrouter_free.catalogue.catalogue import says_free
from langchain_openrouter_free.errors import ConfigurationError, PrivacyNotSatisfiable
from langchain_openrouter_free.request import settings
from langchain_openrouter_free.request.paid import PaidModel
from langchain_openrouter_free.route.candidate import Candidate, Road
from langchain_openrouter_free.values import value_type

# The name of a model that has not been chosen yet.
ALIAS = "openrouter-free"


@value_type()
class Candidates:
    """What `models`, `paid_models` and `budget` name.

    Attributes:
        ranking: the free ids, patterns and `auto`, best first.
        paid: candidates by rank.
        externals: the paid chat models of other packages.
        budget: None where nothing may be paid.
        ceiling: what the account's projects may spend together; None where that is not bounded.
    """

    ranking: tuple[str, ...]
    paid: tuple[Candidate, ...]
    externals: tuple[Any, ...]
    budget: Budget | None
    ceiling: Budget | None = None

    @classmethod
    def named(
        cls,
        models: Sequence[str],
        paid_models: Sequence[Any],
        budget: object,
        account_budget: object = None,
        *,
        allow_paid: bool,
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
            ceiling = None if account_budget is None else Budget.parse(account_budget)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{error}.") from error
        named = [paid if isinstance(paid, PaidModel) else PaidModel(paid) for paid in paid_models]
        settings.paid_ids([paid.label for paid in named], free)
        paid, externals = _roads(named)
        return cls(free, paid, externals, caps, ceiling)

    @property
    def unbounded(self) -> bool:
        """Whether the user has spelled out that no amount is too much."""
        caps = [budget.caps() for budget in (self.budget, self.ceiling) if budget is not None]
        return self.budget is not None and not any(caps)

    def asked(
        self, pinned: str | None, *, allow_paid: bool, privacy: str = "any", sensitive: bool = False
    ) -> tuple[tuple[str, ...], Sequence[Candidate]]:
        """Return the ranking of free models, and the paid candidates of a call.

        Args:
            pinned: the only one, if the call names one.
            allow_paid: whether paid ones may be asked.
            privacy: what is asked of providers; `"any"` asks nothing.
            sensitive: whether no free one may be asked.

        Raises:
            ConfigurationError: if the pinned one may cost money without leave.
            PrivacyNotSatisfiable: if a sensitive call finds nobody.
        """
        paid = self.paid if allow_paid else ()
        if privacy != "any" or sensitive:
            paid = tuple(c for c in paid if c.road is Road.SERVICE or c.private)
        free = self.ranking
        if pinned is not None and pinned != ALIAS:
            settings.model_id(pinned, "model")
            free = (pinned,) if says_free(pinned) else ()
            known = allow_paid and any(candidate.model == pinned for candidate in self.paid)
            paid = tuple(candidate for candidate in paid if candidate.model == pinned)
            if known and not paid:
                raise PrivacyNotSatisfiable(
                    f"{pinned!r} is another package's chat model, and nothing says that it keeps nothing: "
                    "say PaidModel(..., private=True) if you know."
                )
            if not free and not paid:
                raise ConfigurationError(
                    f"model={pinned!r} may cost money: it must be one of paid_models, "
                    "with allow_paid=True and a budget."
                )
        if not sensitive:
            return free, paid
        if not paid:
            raise PrivacyNotSatisfiable(
                "A sensitive call goes to no free model, and no paid one is allowed that keeps nothing: it needs "
                "allow_paid=True, a budget, and paid_models of the service (or a PaidModel with private=True)."
            )
        return (), paid


def _roads(named: Sequence[PaidModel]) -> tuple[tuple[Candidate, ...], tuple[Any, ...]]:
    externals: list[Any] = []
    candidates: list[Candidate] = []
    for paid in named:
        prices = paid.prices()
        if paid.external:
            from langchain_openrouter_free.request import packages  # noqa: PLC0415 - loads LangChain

            road, index = Road.EXTERNAL, len(externals)
            externals.append(packages.prepared(paid.model, paid.label))
            limit = packages.own_limit(externals[-1])
        else:
            settings.model_id(paid.model, "paid_models")
            road, index, limit = Road.SERVICE, 0, None
        facts: dict[str, Any] = {"prices": prices, "private": paid.private, "output_limit": limit}
        candidates.append(Candidate(paid.label, paid=True, road=road, index=index, **facts))
    return tuple(candidates), tuple(externals)
