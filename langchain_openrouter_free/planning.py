"""From what is configured and what a call says to a plan: parameters, candidates, quota and money. No LangChain."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from langchain_openrouter_free import parameters, preferences, settings
from langchain_openrouter_free.actions import Candidate
from langchain_openrouter_free.amends import Amends
from langchain_openrouter_free.bookkeeping import Accounts
from langchain_openrouter_free.bundle import bundled
from langchain_openrouter_free.candidates import Candidates
from langchain_openrouter_free.choosing import Chooser
from langchain_openrouter_free.errors import FreeModelBilled
from langchain_openrouter_free.fields import Fields
from langchain_openrouter_free.health import Strategy
from langchain_openrouter_free.parameters import UNSAID, Options
from langchain_openrouter_free.race import Silence
from langchain_openrouter_free.request import Request
from langchain_openrouter_free.routing import Route
from langchain_openrouter_free.timeouts import Deadlines
from langchain_openrouter_free.values import value_type

log = logging.getLogger("langchain_openrouter_free")


@value_type()
class Plan:
    """What is settled of a call before its messages are looked at.

    Attributes:
        arguments: what a `Request` is made of, by name.
        options: what the call says about routing.
        named: whom the fields name.
        accounts: whose quota and money it uses.
        ranking: the entries that free models come from, best first.
        paid: the paid candidates.
        privacy: by which setting the request asks providers for privacy; "" where it asks for none.
    """

    arguments: dict[str, Any]
    options: Options
    named: Candidates
    accounts: Accounts
    ranking: tuple[str, ...]
    paid: Sequence[Candidate]
    privacy: str


class Planning(Fields):
    """The part of a model that prepares its calls."""

    def _plan(self, stop: list[str] | None, kwargs: dict[str, Any]) -> Plan:
        """Settle what a call's parameters mean; they are taken out of `kwargs`."""
        options = Options.taken_from(kwargs)
        named = self._candidates()
        unbounded = self._unbounded(named)
        params = parameters.body(self._own_parameters(), self.extra_body, stop, kwargs, unbounded=unbounded)
        privacy = "zdr" if options.sensitive else options.privacy or self.privacy
        settings.privacy(privacy, params.get("provider"))
        accounts = self._accounts(named)
        ranking, paid = named.asked(
            options.model, allow_paid=self._may_pay, privacy=privacy, sensitive=options.sensitive
        )
        arguments = {
            "service": self._service(),
            "clock": accounts.time(self.clock),
            "params": params,
            "chance": self.chance,
            "billed": self._billed,
            "warned": self._happened,
            "on_route": self.on_route,
            "privacy": privacy,
            "price_lock": self.price_lock,
            "options": options,
            "accept": settings.acceptance(self.accept if options.accept is None else options.accept),
            "ids": ranking,
        }
        asked = "sensitive=True" if options.sensitive else preferences.named(params.get("provider"), privacy)
        return Plan(arguments, options, named, accounts, ranking, paid, asked)

    def _route(self, plan: Plan, request: Request, *, paced: bool = False, voice: str | None = None) -> Route:
        """Return the walk of a call.

        Args:
            plan: what is settled of it.
            request: what it asks.
            paced: whether it queues for a minute with room.
            voice: who served its conversation last.
        """
        options, needs, url = plan.options, request.needs(), request.service.url
        return Route(
            (),
            plan.paid,
            patience=self.max_wait if options.max_wait is None else options.max_wait,
            paced=paced,
            limits=settings.limits(self.limits, url),
            share=settings.share(self.daily_share, plan.accounts.project),
            strategy=Strategy(self.strategy),
            chance=self.chance(),
            max_attempts=None if self.max_retries is None else self.max_retries + 1,
            needs=needs,
            choose=Chooser(plan.ranking, needs, bundled, settings.is_service(url)) if plan.ranking else None,
            paid_rps=settings.paid_rps(self.paid_rps),
            privacy=plan.privacy,
            voice=voice,
            amends=Amends(request.reforms),
        )

    def _hedge(self, options: Options) -> Silence | None:
        """Return how long a model may be silent before a second one is asked as well; None for ever."""
        return settings.silence(self.hedge_after if options.hedge_after is UNSAID else options.hedge_after)

    def _deadlines(self, options: Options) -> Deadlines:
        """Return the deadlines of a call."""
        own = settings.timeouts(self.timeouts, self.timeout)
        return Deadlines((own, settings.timeouts(options.timeouts, options.timeout)))

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
