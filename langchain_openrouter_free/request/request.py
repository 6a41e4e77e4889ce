"""One request, prepared: what is asked of a candidate, in the service's words. Knows no LangChain.

Joins the pure parts and the engine. Where the words come from, and what becomes of the answer, is its heirs' business:
`call.py` for LangChain, `serve/backend.py` for the endpoint.
"""

from __future__ import annotations

import json
import logging
import random
import uuid
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from langchain_openrouter_free.books.budget import Need
from langchain_openrouter_free.catalogue.listings import Shelf
from langchain_openrouter_free.catalogue.selection import PerModel, stands_for_many
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.connections.transport import Outgoing, Service
from langchain_openrouter_free.engine.bookkeeping import Accounts, Books
from langchain_openrouter_free.engine.delivery import Delivery
from langchain_openrouter_free.engine.engine import Attempts
from langchain_openrouter_free.engine.listening import Hearing
from langchain_openrouter_free.engine.race import Hedge, Silence
from langchain_openrouter_free.engine.roads import Pace, Roads
from langchain_openrouter_free.engine.sources import ServiceSource, Source, Stopwatch
from langchain_openrouter_free.engine.telemetry import Asked
from langchain_openrouter_free.engine.telling import Teller
from langchain_openrouter_free.engine.timeouts import Deadlines
from langchain_openrouter_free.errors import FreeModelBilled, RequestRejected
from langchain_openrouter_free.judging.answers import Terms, terms_of
from langchain_openrouter_free.judging.easing import Ease, ease_of
from langchain_openrouter_free.judging.objects import bare, wanted, wrong
from langchain_openrouter_free.judging.shapes import asked, uses
from langchain_openrouter_free.judging.verdicts import Kind, Verdict, verdict
from langchain_openrouter_free.protocol.evidence import tidy
from langchain_openrouter_free.protocol.preferences import (
    asked_of,
    costs_beside,
    narrows,
    provider_of,
    with_free_parser,
)
from langchain_openrouter_free.protocol.sizes import is_endless, is_linked, json_bytes, parts_of, prompt_bytes
from langchain_openrouter_free.protocol.wire import Completion
from langchain_openrouter_free.request.candidates import ALIAS
from langchain_openrouter_free.request.lookup import ServiceLookup
from langchain_openrouter_free.request.parameters import Options
from langchain_openrouter_free.request.settings import Acceptance
from langchain_openrouter_free.route.candidate import Candidate, Road
from langchain_openrouter_free.route.fitness import Needs, fitted, forms_of, needs_of
from langchain_openrouter_free.route.hygiene import NINE, Form, form_of, formed
from langchain_openrouter_free.route.routing import Route
from langchain_openrouter_free.route.tokens import estimated

log = logging.getLogger("langchain_openrouter_free")

# The longest that a conversation can become by what a model demands of its form.
_FORMS = (Form(), Form(ordered=True), Form(call_ids=NINE, ordered=True), Form(ordered=True, tools=False))
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_IMAGE_PARTS = frozenset({"image_url", "image", "input_image"})


class _Formed(NamedTuple):
    """A conversation in the form that some models demand: what it was made of, and what was repaired."""

    wired: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    repairs: list[str]

    @classmethod
    def of(cls, wired: list[dict[str, Any]], form: Form) -> _Formed:
        repairs: list[str] = []
        return cls(wired, formed(wired, form, repairs), repairs)


@dataclass(slots=True, kw_only=True)
class Request(ABC):
    """What one call asks.

    Attributes:
        service: how the service is reached.
        clock: where time comes from.
        params: body of the request, less the model and the messages.
        wire: which models are asked for an event stream, and which for a plain reply.
        pace: the user's rate limiter.
        chance: where chance comes from.
        billed: gets the warning of a free attempt that cost money.
        warned: gets the warning of a cap of the budget, and what there is to know of the models.
        on_route: gets the route trail as it grows.
        privacy: what is asked of providers.
        price_lock: whether a free attempt says that nothing may cost anything.
        ids: the ranking of free models, for whose ids a list must have a place.
        options: what the call says about routing.
        delivery: what has reached the caller of a stream.
        accept: what counts as an answer beside the obvious.
    """

    service: Service
    clock: Clock
    params: Mapping[str, Any]
    wire: PerModel[str] = field(default_factory=lambda: PerModel("stream"))
    pace: Pace | None = None
    chance: Callable[[], float] = random.random
    billed: Callable[[FreeModelBilled], None] = warnings.warn
    warned: Callable[[object], None] = lambda _: None
    on_route: Callable[[dict[str, Any]], object] | None = None
    privacy: str = "any"
    price_lock: bool = False
    ids: Sequence[str] = ()
    options: Options = field(default_factory=Options)
    delivery: Delivery = field(default_factory=Delivery)
    accept: Acceptance = field(default_factory=Acceptance)
    _needed: Need | None = None
    _formed: dict[Form, _Formed] = field(default_factory=dict)

    @abstractmethod
    def wire_messages(self, model: str | None) -> list[dict[str, Any]]:
        """Return the messages in the service's words, with the reasoning that `model` itself once gave."""

    @abstractmethod
    def inputs(self) -> frozenset[str]:
        """Name the modalities of the prompt beside text."""

    @abstractmethod
    def reasonings(self) -> Iterator[dict[str, Any]]:
        """Yield the reasoning that the messages hold, whoever gave it."""

    def audience(self) -> Hearing:
        """Return who hears of the call while it goes on."""
        return Hearing(self.on_route, self.asked_for())

    def asked_for(self) -> Asked:
        """Return what was asked for, for telemetry."""
        return Asked(self.options.model or ALIAS, self.service.url, self.wire, self.params)

    def attempts(
        self, route: Route, accounts: Accounts, deadlines: Deadlines, hedge_after: Silence | None = None
    ) -> Attempts:
        """Return the attempts of this call along a route."""
        shelf = Shelf(accounts.store, accounts.account)
        unpriced = [c.model for c in route.paid if c.road is Road.SERVICE and c.prices is None]
        # A list that cannot be had must leave time to ask a model: there is always another copy.
        patience = min(deadlines.usual.attempt, deadlines.usual.call) / 2
        named = [entry for entry in self.ids if not stands_for_many(entry)]
        is_all = len(named) == len(self.ids)
        lookup = ServiceLookup(self.service, self.clock, shelf, unpriced, patience, named, is_all)
        listing = lookup.known()
        teller = Teller(accounts.account, self.ids, self.warned)
        if listing is not None:
            route.listed(listing, self.clock.now())
            teller.tell(route.choice.notices)
        beside = next(costs_beside(self.params), None) is not None
        roads = Roads(
            self._open,
            lookup,
            self._terms(),
            self._check,
            self._uses,
            self._eased,
            self._message,
            keeps=self.options.shape is not None and self.options.shape.keeps,
            pace=self.pace,
            billed=self.billed,
            warned=self.warned,
            beside=beside,
            audience=self.audience(),
            noticed=teller.tell,
            delisted=teller.delisted,
        )
        payments = accounts.payments(self.need() if route.paid else Need())
        # A client of the user's own belongs to his thread, or to his loop.
        is_ours = self.service.client is None and self.service.async_client is None
        hedge = None if hedge_after is None else Hedge(hedge_after, bridged=is_ours)
        books = Books(accounts, self.clock, payments, lambda: uuid.uuid4().hex, self.chance)
        return Attempts(route, roads, books, self.clock, deadlines, self.delivery, hedge)

    def needs(self) -> Needs:
        """Return what the request needs of a model; its tokens are an estimate."""
        wired = self.wire_messages(None)
        provider, shape = self.params.get("provider"), self.options.shape
        told = [] if shape is None else [{"role": "user", "content": shape.prompt}]
        needs = needs_of(
            self.params,
            self.inputs(),
            estimated([*wired, *told], self.params.get("tools") or ()),
            forms=forms_of(wired, reasoning=any(self.reasonings())),
            privacy=asked_of(provider, self.privacy),
            narrowed=narrows(provider),
        )
        return needs if shape is None else needs.using(shape.needed)

    def need(self) -> Need:
        """Return what a paid attempt could use; worked out once."""
        if self._needed is None:
            self._needed = self._counted()
        return self._needed

    def _counted(self) -> Need:
        wired, limit, shape = self.wire_messages(None), self.params.get("max_tokens"), self.options.shape
        rest = {name: value for name, value in self.params.items() if name != "tools"}
        tools, parts = list(self.params.get("tools") or []), list(parts_of(wired))
        if shape is not None:
            # In whichever form it is asked for.
            rest |= {"format": shape.format, "prompt": shape.prompt}
            tools += [shape.tool] if shape.tool else []
        return Need(
            prompt_tokens=max(prompt_bytes(formed(wired, form), tools) for form in _FORMS)
            + sum(map(json_bytes, self.reasonings()))
            + json_bytes(rest),
            images=sum(1 for part in parts if str(part.get("type")) in _IMAGE_PARTS),
            sound=any(part.get("type") == "input_audio" for part in parts),
            linked=any(map(is_linked, parts)),
            endless=any(map(is_endless, parts)),
            max_tokens=limit if isinstance(limit, int) and not isinstance(limit, bool) else None,
        )

    def _streams(self, candidate: Candidate) -> bool:
        """Tell whether a candidate is asked for an event stream."""
        return self.wire.of(candidate.model) == "stream"

    def _open(self, candidate: Candidate, watch: Stopwatch, max_tokens: int | None) -> Source:
        """Open an attempt at a candidate; the heirs may know other roads."""
        return self._of_service(candidate, watch, max_tokens)

    def _of_service(self, candidate: Candidate, watch: Stopwatch, max_tokens: int | None) -> Source:
        if not self._streams(candidate):
            watch.awaits_whole()

        def request() -> Outgoing:
            content = self.body(candidate, max_tokens)
            return Outgoing(f"{self.service.url}/chat/completions", self.service.headers, content)

        clients = self.service.client, self.service.async_client
        return ServiceSource(request, watch, *clients, whole=self.delivery.whole)

    def formed_messages(self, candidate: Candidate) -> list[dict[str, Any]]:
        """Return the messages in the form that a candidate demands."""
        tools = candidate.takes is None or "tools" in candidate.takes
        form = form_of(candidate.model, candidate.forms, tools=tools)
        wired, gone_on_from = self.wire_messages(candidate.model), self.delivery.gone_on_from()
        known = self._formed.get(form)
        if gone_on_from:
            known = _Formed.of([*wired, *gone_on_from], form)
        elif known is None or known.wired is not wired:
            # Once for all who demand it: conversations are long, and models die by the dozen.
            known = self._formed[form] = _Formed.of(wired, form)
        for repair in known.repairs:
            log.debug("%s: %s", candidate.model, repair)
        return known.messages

    def reforms(self, candidate: Candidate, refused: AbstractSet[str]) -> bool:
        """Tell whether a candidate is sent another history once it is known to have refused these forms."""
        known = replace(candidate, refused=candidate.refused | refused)
        return self.formed_messages(known) != self.formed_messages(candidate)

    def body(self, candidate: Candidate, max_tokens: int | None = None) -> bytes:
        """Return the request's body for one candidate."""
        model, params, wired = candidate.model, self.params, self.formed_messages(candidate)
        if self.options.shape is not None:
            params, wired = asked(self.options.shape, self._form(candidate), params, wired)
        params = params if candidate.ease is None else candidate.ease.applied(params)
        params = fitted(params, candidate.takes, candidate.refused)
        body: dict[str, Any] = {"model": model, "messages": wired, **params}
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        if self._streams(candidate):
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        body["usage"] = {"include": True}
        body |= self._preferences(candidate, body["messages"])
        try:
            return _JSON.encode(body).encode("utf-8", errors="replace")
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestRejected(f"The request cannot be written as JSON: {error}.") from error

    def _preferences(self, candidate: Candidate, wired: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what money and privacy ask of this attempt."""
        ceiling = None
        if candidate.paid and candidate.prices is not None:
            need = self.need()
            held = candidate.prices.at_most(need.tokens(candidate.prices.context), self.clock.now())
            ceiling = held.ceiling(need.images)
        given, locked = self.params.get("provider"), self.price_lock and not candidate.paid
        has_file = any(part.get("type") == "file" for part in parts_of(wired))
        wanted: dict[str, Any] = {
            "provider": provider_of(given, privacy=self.privacy, ceiling=ceiling, locked=locked),
            "plugins": with_free_parser(self.params.get("plugins")) if has_file else None,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    # -- what is an answer

    def _terms(self) -> Terms:
        """Return what this call takes for an answer."""
        checks, shape = bool(self.accept.checks), self.options.shape
        terms = terms_of(self.params, self.wire_messages(None), self.accept.rows, whole=checks)
        # A call of the tool that stands for the object is judged as the object.
        return terms if shape is None else replace(terms, tools=None, must_call=None, whole=checks or shape.whole)

    def _form(self, candidate: Candidate) -> str:
        """Return the form in which a candidate is asked for the object that is wanted."""
        assert self.options.shape is not None  # noqa: S101 - asked only where one is wanted
        return self.options.shape.form(candidate.takes, candidate.refused, candidate.worked, candidate.failed)

    def _uses(self, candidate: Candidate) -> frozenset[str]:
        return frozenset() if self.options.shape is None else uses(self._form(candidate))

    def _eased(self, candidate: Candidate, said: Completion) -> Ease | None:
        """Return what to change of a request to a candidate whose tokens all went into thinking."""
        if candidate.road is Road.EXTERNAL:
            return None
        counted = (said.usage or {}).get("prompt_tokens")
        prompt = counted if isinstance(counted, int) else self.needs().prompt_tokens
        limits = [candidate.output_limit, None if candidate.context is None else candidate.context - prompt]
        return ease_of(
            self.params,
            takes=candidate.takes,
            refused=candidate.refused,
            always_thinks=candidate.always_thinks,
            room=min((limit for limit in limits if limit is not None), default=None),
            paid=candidate.paid,
        )

    def _message(self, candidate: Candidate, said: Completion) -> Any:
        """Return the message of what a candidate has said, as the caller knows it."""
        return None

    def _check(self, candidate: Candidate, said: Completion) -> Verdict | None:
        """Judge an answer further, as the caller wants."""
        return self.wrong_object(said)

    def wrong_object(self, said: Completion) -> Verdict | None:
        """Check the object that `response_format` wants: over a wrong one a caller fails, and another model may not."""
        is_other = not said.text or said.tool_calls or said.finish_reason == "length"
        if is_other or Kind.WRONG_OBJECT in self.accept.rows:
            return None
        found = wrong(said.text, self.params)
        return None if found is None else verdict(Kind.WRONG_OBJECT, tidy(found))

    def told(self, said: Completion) -> Completion:
        """Return an answer as its caller is told it: an object that `response_format` wants, without a code fence."""
        return said if wanted(self.params) is None else replace(said, text=bare(said.text))
