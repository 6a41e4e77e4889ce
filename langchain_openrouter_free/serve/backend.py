"""What answers behind the endpoint: the engine, asked in the service's own words. No LangChain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from langchain_openrouter_free.catalogue.catalogue import FREE_ROUTER
from langchain_openrouter_free.catalogue.selection import AUTO
from langchain_openrouter_free.configuration.effective import constructor_arguments, effective, profiles_in
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.engine.attempt import Attempt
from langchain_openrouter_free.engine.engine import Attempts
from langchain_openrouter_free.errors import ConfigurationError, RequestRejected, route_facts
from langchain_openrouter_free.protocol.dialects import foreign_modalities
from langchain_openrouter_free.protocol.preferences import PRIVACY, asked_of
from langchain_openrouter_free.protocol.sizes import modalities, parts_of
from langchain_openrouter_free.protocol.wire import Completion, Delta
from langchain_openrouter_free.questions.accounting import Accounting
from langchain_openrouter_free.request import settings
from langchain_openrouter_free.request.fields import names_of, sentence_of
from langchain_openrouter_free.request.planning import Planning
from langchain_openrouter_free.request.request import Request
from langchain_openrouter_free.route.candidate import Road
from langchain_openrouter_free.route.choosing import facts_in, selection_of
from langchain_openrouter_free.serve.asking import Asked
from langchain_openrouter_free.serve.metrics import metrics
from langchain_openrouter_free.stores.naming import store_of
from langchain_openrouter_free.words.voices import VOICES, traces

# What an assistant's message may hold of its thinking; only the model that thought it takes it back.
_THOUGHTS = frozenset({"reasoning", "reasoning_details", "reasoning_content"})


@dataclass(slots=True, kw_only=True)
class ServedRequest(Request):
    """One request of a client.

    Attributes:
        messages: in the service's words, as they came.
        authors: the models of the assistant's messages, as far as they are known: each takes back its own thoughts.
    """

    messages: list[dict[str, Any]]
    authors: Sequence[str | None] = ()
    _bare: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._bare = [{name: value for name, value in one.items() if name not in _THOUGHTS} for one in self.messages]

    def wire_messages(self, model: str | None) -> list[dict[str, Any]]:
        """Return the messages, with the thoughts of a model's own."""
        if model is None or model not in self.authors:
            return self._bare
        authors = iter(self.authors)
        return [
            whole if whole["role"] == "assistant" and next(authors) == model else bare
            for whole, bare in zip(self.messages, self._bare, strict=True)
        ]

    def inputs(self) -> frozenset[str]:
        """Name the modalities of the prompt beside text."""
        parts = list(parts_of(self.messages))
        return modalities({str(part.get("type")) for part in parts}) | foreign_modalities(parts)

    def reasonings(self) -> Iterator[dict[str, Any]]:
        """Yield the reasoning that the messages hold."""
        for message in self.messages:
            thoughts = {name: message[name] for name in _THOUGHTS if message.get(name)}
            if thoughts:
                yield thoughts


class Served:
    """One call on its way."""

    def __init__(self, attempts: Attempts, request: ServedRequest, served: Callable[[str], None]) -> None:
        """Prepare it.

        Args:
            attempts: the walk.
            request: what is asked.
            served: gets the id of the free model that has answered.
        """
        self._attempts, self._request, self._served = attempts, request, served
        self._attempt: Attempt | None = None

    async def whole(self) -> None:
        """Wait for an answer; a model that breaks off is dropped whole."""
        async for attempt in self._attempts:
            async with attempt:
                while await attempt.aread() is not None:
                    pass
            if attempt.answered:
                self._attempt = attempt
                self._remember()
                return

    async def contents(self) -> AsyncIterator[list[Delta]]:
        """Yield what a client may see, as it comes: what is there at once together."""
        async for attempt in self._attempts:
            self._attempt = attempt
            async with attempt:
                while (deltas := await attempt.aread()) is not None:
                    if shown := list(attempt.committed_content(deltas)):
                        yield shown
            if attempt.answered:
                self._remember()
                return

    def _remember(self) -> None:
        candidate = self._answering.turn.candidate
        if not candidate.paid and candidate.model != FREE_ROUTER:
            self._served(candidate.model)

    @property
    def said(self) -> Completion:
        """What the answer holds; an object that was wanted, without a code fence."""
        return self._request.told(self._answering.completion())

    @property
    def model(self) -> str:
        """Id of the model that answers."""
        return self._answering.model

    @property
    def _answering(self) -> Attempt:
        assert self._attempt is not None  # noqa: S101 - asked once somebody answers
        return self._attempt

    def route(self) -> Mapping[str, Any]:
        """Return the route trail so far."""
        attempt = self._answering
        if attempt.answered:
            return attempt.trail
        return route_facts(self._attempts.route.trail, model=attempt.model, paid=attempt.turn.candidate.paid)


class Router(Planning, Accounting):
    """What is configured, as the endpoint asks it: one for the endpoint itself and one for each profile."""

    @classmethod
    def configured(cls, profile: str | None = None, *, dotenv: bool | str | Path = False, **arguments: Any) -> Self:
        """Make it from what is configured around it; see `ChatOpenRouterFree.from_profile`.

        Raises:
            ConfigurationError: for anything that cannot work.
        """
        known = names_of(cls)
        unknown = next((name for name in arguments if name not in known), None)
        if unknown is not None:
            raise ConfigurationError(f"There is no setting {unknown!r}{settings.did_you_mean(unknown, known)}.")
        try:
            made = cls(**constructor_arguments(arguments, known, profile, dotenv=dotenv))
        except ValidationError as error:
            raise ConfigurationError(sentence_of(error)) from error
        if made._meaning().accept.checks:
            raise ConfigurationError("accept: the endpoint takes names of rows; functions get LangChain's messages.")
        return made

    def begin(self, asked: Asked, pinned: str | None) -> Served:
        """Prepare a call.

        Args:
            asked: the client's request.
            pinned: the one model to ask, if it names one.
        """
        kwargs: dict[str, Any] = {**asked.params, "extra_body": asked.extra, "model": pinned}
        plan = self._plan(None, kwargs)
        self._check_privacy(asked)
        wire, now = plan.meaning.wire, self.clock.now()
        # Who has served a conversation is known by what was said in it; clients name none.
        conversation, before = traces(plan.accounts.account, plan.ranking, asked.messages)
        authors = [VOICES.last([name], now) for name in before]
        request = ServedRequest(
            **plan.arguments,
            messages=asked.messages,
            authors=[author or pinned for author in reversed(authors)],
            wire=replace(wire, default="stream") if asked.stream else wire,
        )
        voice = next(filter(None, authors), None) if self.sticky else None
        route = self._route(plan, request, voice=voice)
        attempts = request.attempts(route, plan.accounts, self._deadlines(plan), self._hedge(plan))
        return Served(attempts, request, lambda model: VOICES.remember(conversation, model, self.clock.now()))

    def _check_privacy(self, asked: Asked) -> None:
        """See that a client asks for no less privacy than who runs the endpoint.

        Raises:
            RequestRejected: if it does.
        """
        own = asked_of(self.provider, self.privacy)
        wish = asked_of(asked.params.get("provider", self.provider), asked.params.get("privacy", self.privacy))
        if PRIVACY.index(wish) < PRIVACY.index(own):
            raise RequestRejected(f"privacy: this endpoint asks for {own!r}; a request may ask for more, not for less.")

    def usable(self) -> list[str]:
        """Return the ids of all free chat models, best first, and of paid ones that may be asked.

        They are those that are known without a request.
        """
        listing = self._lookup().at_hand()
        free = [one.model for one in selection_of((*self.models, AUTO), listing, self.clock.now()).chosen]
        paid = self._meaning().named.paid if self._may_pay else ()
        return [*free, *(one.model for one in paid if one.road is Road.SERVICE)]

    def about(self, model: str) -> dict[str, Any]:
        """Return a model as the list of models tells it."""
        facts = facts_in(self._lookup().at_hand(), model)
        more = {} if facts is None else {"context_length": facts.context, "name": facts.name}
        created = int(facts.created or 0) if facts is not None else 0
        return {"id": model, "object": "model", "created": created, "owned_by": model.partition("/")[0], **more}

    def told(self) -> str:
        """Return the counters of the account and of the project."""
        accounts = self._accounts()
        book, now = accounts.seen(self.clock)
        quota = book.quota(self._meaning().limits, now)
        return metrics(accounts.calls(), accounts.counts(), quota, self.spending())


class Backend:
    """Answers by the names that a request's `model` may have: `auto`, a profile's, or an id."""

    def __init__(self, main: Router, profiles: Mapping[str, Callable[[], Router]] | None = None) -> None:
        """Name what answers.

        Args:
            main: for `auto`, and for ids.
            profiles: name -> makes what answers by that name; made at its first use.
        """
        self._main, self._makers = main, dict(profiles or {})
        self._made: dict[str, Router] = {}

    @classmethod
    def configured(cls, profile: str | None = None, *, dotenv: bool | str | Path = False, **arguments: Any) -> Self:
        """Make it from what is configured in the working directory, with all profiles.

        Args:
            profile: the profile for `auto` and ids.
            dotenv: a `.env` file to read as well; True for the one in the working directory.
            **arguments: fields, which count more than what is configured.

        Raises:
            ConfigurationError: for anything that cannot work.
        """
        names = profiles_in(effective(arguments, profile, dotenv=dotenv))

        def maker(name: str) -> Callable[[], Router]:
            return lambda: Router.configured(name, dotenv=dotenv, **arguments)

        main = Router.configured(profile, dotenv=dotenv, **arguments)
        return cls(main, {name: maker(name) for name in names})

    def begin(self, request: Asked) -> Served:
        """Prepare a call.

        Raises:
            OpenRouterFreeError: for what is wrong with it.
        """
        if request.model == AUTO:
            return self._main.begin(request, None)
        if request.model in self._makers:
            return self._profile(request.model).begin(request, None)
        if "/" not in request.model:
            known = ", ".join(self.aliases)
            raise RequestRejected(f"model: there is no {request.model!r}; say {known}, or an id of GET /v1/models.")
        return self._main.begin(request, request.model)

    def _profile(self, name: str) -> Router:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    @property
    def aliases(self) -> list[str]:
        """Names that are no ids."""
        return [AUTO, *sorted(self._makers)]

    @property
    def is_shared(self) -> bool:
        """Whether several processes have one state."""
        return bool(store_of(self._main.state).blocking)

    def models(self) -> list[dict[str, Any]]:
        """Return what may be asked for."""
        aliases = [
            {"id": name, "object": "model", "created": 0, "owned_by": "openrouter-free"} for name in self.aliases
        ]
        return [*aliases, *(self._main.about(model) for model in self._main.usable())]

    def metrics(self) -> str:
        """Return counters as Prometheus reads them."""
        return self._main.told()

    def now(self) -> float:
        """Return Unix seconds."""
        return float(self._main.clock.now())

    async def aclose(self) -> None:
        """Let go of the running loop's connections."""
        await CLIENTS.aclose()
