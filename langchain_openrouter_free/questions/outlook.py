"""What a user asks of the route before a call: what is on offer, and who would be asked in which order."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.messages import BaseMessage
from pydantic import field_validator

from langchain_openrouter_free.catalogue.catalogue import FREE_ROUTER
from langchain_openrouter_free.catalogue.facts import ModelFacts
from langchain_openrouter_free.catalogue.selection import AUTO
from langchain_openrouter_free.errors import at
from langchain_openrouter_free.later import PART, modules
from langchain_openrouter_free.request.planning import Plan
from langchain_openrouter_free.values import value_type

if TYPE_CHECKING:
    from langchain_openrouter_free.catalogue import abilities, advice, bundle, listings
    from langchain_openrouter_free.engine import bookkeeping, telling
    from langchain_openrouter_free.request import call as calling
    from langchain_openrouter_free.request import lookup as lookups
    from langchain_openrouter_free.route import choosing, fitness, routing
else:
    abilities, advice, bundle, listings, bookkeeping, telling, calling, lookups, choosing, fitness, routing = modules(
        *("catalogue.abilities", "catalogue.advice", "catalogue.bundle", "catalogue.listings"),
        *("engine.bookkeeping", "engine.telling", "request.call", "request.lookup"),
        *("route.choosing", "route.fitness", "route.routing"),
    )


@value_type(frozen=True)
class Considered:
    """One model of an explanation.

    Attributes:
        model: its id, or the name of another package's chat model.
        paid: whether asking it may cost money.
        reason: why it would not be asked now; "" where it would.
        until: Unix seconds at which that ends, where it does.
        note: what else there is to know of it: that it has gone and what is nearest to it, that its end is announced.
    """

    model: str
    paid: bool
    reason: str = ""
    until: float | None = None
    note: str = ""


@value_type(frozen=True)
class Explanation:
    """Who would be asked now.

    Attributes:
        models: all that were considered, in the order in which they would be asked; then the others.
        listed_at: Unix seconds at which the catalogue was fetched that this goes by.
        bundled: whether it is the one that came with the package.
    """

    models: tuple[Considered, ...]
    listed_at: float
    bundled: bool

    @property
    def order(self) -> tuple[str, ...]:
        """The models that would be asked, the first one first."""
        return tuple(one.model for one in self.models if not one.reason)

    def __str__(self) -> str:
        came = "came with the package" if self.bundled else "was fetched"
        lines = [f"By the catalogue of {at(self.listed_at)}, which {came}:"]
        rank = 0
        for one in self.models:
            rank += not one.reason
            till = f" until {at(one.until)}" if one.until else ""
            lines.append(f"  {'-' if one.reason else rank} {one.model}{': ' if one.reason else ''}{one.reason}{till}")
            lines += [f"      {one.note}"] if one.note else []
        return "\n".join(lines)


def _notes(model: str, notices: Sequence[advice.Notice], voice: str | None) -> Iterator[str]:
    if model == voice:
        yield "it served this conversation last"
    if told := advice.about(notices, model):
        yield told


class Together(dict[str, Any]):
    """A model profile that was worked out here, and is no user's."""


class Outlook(BaseChatModel):
    """The methods of the model that look ahead; none of them asks a model anything."""

    model_config = PART

    clock: Any
    models: Any

    @abstractmethod
    def _lookup(self) -> lookups.ServiceLookup:
        """Return what asks the service beside the attempts."""

    @abstractmethod
    def _planned(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any], *, stream: bool
    ) -> tuple[calling.Call, routing.Route, Plan]:
        """Return a call, its route, and the plan that both come from."""

    @abstractmethod
    def _accounts(self) -> bookkeeping.Accounts:
        """Return whose book it is."""

    @property
    def catalogue(self) -> tuple[ModelFacts, ...]:
        """Facts of all free models, as far as they are known without a request."""
        return tuple(choosing.free_in(self._lookup().at_hand()))

    def explain(self, messages: LanguageModelInput = "hello", **kwargs: Any) -> Explanation:
        """Tell who would be asked in which order, and why the others not; without a request.

        Args:
            messages: the prompt, as `invoke` takes it.
            **kwargs: the call's parameters, as `invoke` takes them: `tools`, `response_format`, `sensitive` and so on.
        """
        told = self._convert_input(messages).to_messages()
        call, route, plan = self._planned(told, None, kwargs, stream=True)
        accounts = plan.accounts
        listing, (book, now) = self._lookup().at_hand(), accounts.seen(self.clock)
        route.listed(None if listing is bundle.bundled() else listing, now)
        notices = [*route.choice.notices, *telling.Teller(accounts.account, tuple(self.models)).gone()]
        short_of = accounts.payments(call.need()).short_of
        considered = [
            Considered(c.model, c.paid, why, until, "; ".join(_notes(c.model, notices, route.speaks(book, now))))
            for c, why, until in route.outlook(book, now, lambda prices, limit: short_of(prices, limit, now))
        ]
        considered.sort(key=lambda one: bool(one.reason))
        known = {one.model for one in considered}
        others = [Considered(model, False, why) for model, why in route.choice.left_out.items() if model not in known]
        return Explanation((*considered, *others), listing.at, listing is bundle.bundled())

    def refresh(self) -> None:
        """Fetch the service's list of models now; without that a copy of up to an hour serves.

        Whom the account's own privacy setting or guardrail had ruled out is asked again: you may have changed it.
        """
        lookup, accounts = self._lookup(), self._accounts()
        lookup.refresh()
        accounts.forget_rulings()
        self._look_again()

    async def arefresh(self) -> None:
        """The same on an event loop."""
        lookup, accounts = self._lookup(), self._accounts()
        await lookup.arefresh()
        await asyncio.to_thread(accounts.forget_rulings)
        self._look_again()

    @field_validator("profile", mode="before")
    @classmethod
    def _own_profile(cls, given: object) -> object:
        """Let a copy work its profile out by itself, unless it is the user's: its models may be others."""
        return None if isinstance(given, Together) else given

    def _resolve_model_profile(self) -> ModelProfile | None:
        """Return what the models that may be asked can do together, as far as it is known without a request.

        It is worked out when a model is made, and by `refresh`; so it does not change within a run.
        """
        lookup = self._lookup()
        shelf, now = lookup.shelf, lookup.clock.now()
        # Models are made often, for one call each: the state is looked at once.
        listing = listings.LISTINGS.last(shelf.account) or listings.LISTINGS.seen(shelf) or bundle.bundled()
        ranking = tuple(self.models) or (AUTO,)
        known = None if listing is bundle.bundled() else listing
        choice = choosing.Chooser(ranking, fitness.Needs(), bundle.bundled)(known, now)
        usable = [one.model for one in choice.candidates if one.model not in choice.doubts and one.model != FREE_ROUTER]
        unknown = frozenset[str]()  # a model that no list tells of is asked with images too
        found = abilities.together(
            [choosing.facts_in(listing, model) or ModelFacts(model, inputs=unknown) for model in usable]
        )
        names = ModelProfile.__annotations__
        return cast("ModelProfile", Together({name: value for name, value in found.items() if name in names}))

    def _look_again(self) -> None:
        """Work the profile out anew, unless it is the user's."""
        if isinstance(self.profile, Together):
            self.profile = self._resolve_model_profile()
