"""From what is configured and what a call says to a plan: parameters, candidates, quota and money. No LangChain."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_openrouter_free.engine.timeouts import Deadlines
from langchain_openrouter_free.errors import FreeModelBilled
from langchain_openrouter_free.later import modules
from langchain_openrouter_free.protocol import preferences
from langchain_openrouter_free.request import settings
from langchain_openrouter_free.request.fields import Fields
from langchain_openrouter_free.request.meaning import Meaning
from langchain_openrouter_free.request.parameters import UNSAID, Options
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.stores.naming import store_of
from langchain_openrouter_free.values import value_type

if TYPE_CHECKING:
    from langchain_openrouter_free.catalogue import bundle
    from langchain_openrouter_free.engine import bookkeeping, race
    from langchain_openrouter_free.request import request as asking
    from langchain_openrouter_free.route import amends, choosing, routing
else:
    bundle, bookkeeping, race, asking, amends, choosing, routing = modules(
        *("catalogue.bundle", "engine.bookkeeping", "engine.race", "request.request"),
        *("route.amends", "route.choosing", "route.routing"),
    )

log = logging.getLogger("langchain_openrouter_free")


@value_type()
class Plan:
    """What is settled of a call before its messages are looked at.

    Attributes:
        arguments: what a `Request` is made of, by name.
        options: what the call says about routing.
        meaning: what the fields mean.
        accounts: whose quota and money it uses.
        ranking: the entries that free models come from, best first.
        paid: the paid candidates.
        privacy: by which setting the request asks providers for privacy; "" where it asks for none.
    """

    arguments: dict[str, Any]
    options: Options
    meaning: Meaning
    accounts: bookkeeping.Accounts
    ranking: tuple[str, ...]
    paid: Sequence[Candidate]
    privacy: str


class Planning(Fields):
    """The part of a model that prepares its calls."""

    def _plan(self, stop: list[str] | None, kwargs: dict[str, Any]) -> Plan:
        """Settle what a call's parameters mean; they are taken out of `kwargs`."""
        options, meaning = Options.taken_from(kwargs), self._meaning()
        says_nothing = not kwargs and stop is None
        params = dict(meaning.body) if says_nothing else self._body(stop, kwargs, unbounded=meaning.unbounded)
        privacy = "zdr" if options.sensitive else options.privacy or self.privacy
        settings.privacy(privacy, params.get("provider"))
        accounts = meaning.accounts(store_of(self.state), settings.project(self.project))
        ranking, paid = meaning.named.asked(
            options.model, allow_paid=self._may_pay, privacy=privacy, sensitive=options.sensitive
        )
        arguments = {
            "service": meaning.service,
            "clock": accounts.time(self.clock),
            "params": params,
            "chance": self.chance,
            "billed": self._billed,
            "warned": self._happened,
            "on_route": self.on_route,
            "privacy": privacy,
            "price_lock": self.price_lock,
            "options": options,
            "accept": meaning.accept if options.accept is None else settings.acceptance(options.accept),
            "ids": ranking,
        }
        asked = "sensitive=True" if options.sensitive else preferences.named(params.get("provider"), privacy)
        return Plan(arguments, options, meaning, accounts, ranking, paid, asked)

    def _route(
        self, plan: Plan, request: asking.Request, *, paced: bool = False, voice: str | None = None
    ) -> routing.Route:
        """Return the walk of a call.

        Args:
            plan: what is settled of it.
            request: what it asks.
            paced: whether it queues for a minute with room.
            voice: who served its conversation last.
        """
        options, meaning, needs = plan.options, plan.meaning, request.needs()
        chooser = choosing.Chooser(plan.ranking, needs, bundle.bundled, settings.is_service(meaning.service.url))
        return routing.Route(
            (),
            plan.paid,
            patience=self.max_wait if options.max_wait is None else options.max_wait,
            paced=paced,
            limits=meaning.limits,
            share=meaning.share_of(plan.accounts.project),
            strategy=meaning.strategy,
            chance=self.chance(),
            max_attempts=None if self.max_retries is None else self.max_retries + 1,
            needs=needs,
            choose=chooser if plan.ranking else None,
            paid_rps=meaning.paid_rps,
            privacy=plan.privacy,
            voice=voice,
            amends=amends.Amends(request.reforms),
        )

    def _hedge(self, plan: Plan) -> race.Silence | None:
        """Return how long a model may be silent before a second one is asked as well; None for ever."""
        said = plan.options.hedge_after
        return plan.meaning.silence if said is UNSAID else settings.silence(said)

    def _deadlines(self, plan: Plan) -> Deadlines:
        """Return the deadlines of a call."""
        options, meaning = plan.options, plan.meaning
        if not options.timeouts and options.timeout is None:
            return meaning.deadlines
        return Deadlines((*meaning.deadlines.layers, settings.timeouts(options.timeouts, options.timeout)))

    def _happened(self, event: object) -> None:
        """Hand an event to the user's hook; what that does is no reason to lose an answer."""
        if self.on_event is not None:
            try:
                self.on_event(event)
            except Exception:
                log.exception("on_event failed")

    def _billed(self, told: FreeModelBilled) -> None:
        """Tell of a free attempt that cost money, in every way that was asked for."""
        self._happened(told)
        if self.on_billed == "raise":
            raise told
        warnings.warn(told, stacklevel=2)
