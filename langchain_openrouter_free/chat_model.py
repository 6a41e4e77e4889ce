"""`ChatOpenRouterFree`: the LangChain face. Fields, four call paths, tools and structured output.

State (cooldowns, quota, budget, HTTP clients) lives outside the instance, because LangChain copies and
rebuilds instances freely.
"""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import httpx
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.utils.utils import secret_from_env
from pydantic import AliasChoices, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, model_validator

from langchain_openrouter_free import parameters, preferences, settings
from langchain_openrouter_free.accounting import Accounting
from langchain_openrouter_free.binding import Binding
from langchain_openrouter_free.bookkeeping import Accounts
from langchain_openrouter_free.bundle import bundled
from langchain_openrouter_free.call import Call
from langchain_openrouter_free.candidates import ALIAS, Candidates
from langchain_openrouter_free.choosing import Chooser
from langchain_openrouter_free.clock import SystemClock
from langchain_openrouter_free.engine import Attempts
from langchain_openrouter_free.errors import ConfigurationError, FreeModelBilled, RequestRejected
from langchain_openrouter_free.health import Strategy
from langchain_openrouter_free.outlook import Outlook
from langchain_openrouter_free.pacing import PacedBatches, is_paced
from langchain_openrouter_free.routing import Route
from langchain_openrouter_free.selection import AUTO, stands_for_many
from langchain_openrouter_free.transport import CLIENTS, Service

log = logging.getLogger("langchain_openrouter_free")

_UNREACHABLE = "a walk ends in an answer or in an error"


class ChatOpenRouterFree(PacedBatches, Binding, Accounting, Outlook, BaseChatModel):
    """Chat model that asks a ranked list of OpenRouter `:free` models until one answers.

    It moves on when a model is rate limited, down, slow, delisted or talking nonsense, stops at once when the
    account's own quota is spent, and asks a paid model only with `allow_paid=True` and a `budget`.

    Example:
        ```python
        model = ChatOpenRouterFree(models=["nvidia/nemotron-3-super-120b-a12b:free", "openai/gpt-oss-20b:free"])
        answer = model.invoke("Why is the sky blue?")
        answer.response_metadata["route"]["model"]  # who answered
        ```

    Raises:
        ConfigurationError: at construction, for anything that cannot work.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, arbitrary_types_allowed=True)

    models: list[str] = Field(default_factory=lambda: [AUTO])
    """Free ids, best first; each must end in `:free` (or be `openrouter/free`). Patterns such as `"qwen/*"` stand for
    all usable ones that they match, and `"auto"` (the default) for all others, best first by the catalogue's facts."""
    allow_paid: bool = False
    """The budget flag: paid models may be asked when no free one answers. Needs `budget`."""
    paid_models: list[Any] = Field(default_factory=list)
    """Paid ids, `PaidModel`s or both, best first."""
    budget: Any = None
    """US dollars that paid attempts may cost: `"$0.50/day"`, `"1 USD"`, a `Budget`, or `"unlimited"`."""
    account_budget: Any = None
    """The same for all projects of the account together, as far as they share the state."""
    paid_rps: Any = None
    """Most paid requests a second: a number, or `"balance"` for one for each dollar of it (1 to 500)."""
    price_lock: bool = False
    """Whether free attempts carry `provider.max_price` zeros as a second lock beside the catalogue's prices. What the
    service does with zeros is on no public record."""
    privacy: Literal["any", "no-training", "zdr"] = "any"
    """What is asked of providers: nothing, that they train on nothing, or that they keep nothing."""
    credit_fee: Any = None
    """What buying credits costs beside them, for the spend report: `{"percent": 5.5, "least": 0.8}` (the default)."""
    on_billed: Literal["warn", "raise"] = "warn"
    """What a free attempt that cost money does beside being booked and quarantined: a `FreeModelBilled` as a warning,
    or as an error (its `text` is the answer)."""
    on_event: Callable[[Any], object] | None = Field(default=None, exclude=True, repr=False)
    """Called with what you should know of beside the answers: `FreeModelBilled`, and `BudgetWarning` once when 50, 80
    and 100 % of a cap are spent."""
    api_key: SecretStr | None = Field(
        default_factory=secret_from_env("OPENROUTER_API_KEY", default=None),
        validation_alias=AliasChoices("api_key", "openrouter_api_key"),
    )
    """The key; default: the environment's OPENROUTER_API_KEY."""
    base_url: str | None = Field(default=None, validation_alias=AliasChoices("base_url", "openrouter_api_base"))
    """Base URL; default: the environment's OPENROUTER_API_BASE, else the service's."""
    timeouts: dict[str, float | None] = Field(default_factory=dict)
    """Seconds for `connect` (5), `first_token` (45), `stall` (30), `attempt` (300), `call` (600)."""
    timeout: float | None = Field(default=None, validation_alias=AliasChoices("timeout", "request_timeout"))
    """Seconds for one attempt, as other chat models call it; the same as `timeouts["attempt"]`."""
    max_wait: float = 20.0
    """Seconds that one call may wait in all for a window or a cooldown to end."""
    limits: Any = None
    """What to assume of the account's free quota until the service states it: `{"per_minute": 20, "per_day": 1000}`
    (None: no such limit), or `"usual"` for 20 and 50. Default: `"usual"` on openrouter.ai, elsewhere nothing."""
    daily_share: Any = None
    """This project's part of the account's free day: at most so many requests (`40`, `"30%"`), or
    `{"at_most": ..., "at_least": ...}`, of which the second is kept free of other projects."""
    strategy: Literal["ranked", "fastest", "adaptive"] = "ranked"
    """By what the free models are ordered: your ranking, measured speed, or your ranking weighed with what was
    measured. Models that lately failed nearly always come last in each."""
    max_retries: int | None = None
    """Most moves to another model in one call; default: as many as there are models."""
    state: Any = None
    """Where quota, cooldowns and spending are kept: the path of an SQLite file (all processes of this machine, over
    restarts), `"memory"` (this process), or a `StateStore`. Default: the environment's OPENROUTER_FREE_STATE, else a
    file in the user's state directory."""
    project: str | None = None
    """Whose budget and whose share of the day it is; default: the working directory."""
    wire: Literal["stream", "plain"] = "stream"
    """How `invoke` asks: as an event stream, so that every deadline holds, or for one plain reply."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    top_a: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = Field(default=None, validation_alias=AliasChoices("max_tokens", "max_completion_tokens"))
    seed: int | None = None
    stop: list[str] | str | None = Field(default=None, validation_alias=AliasChoices("stop", "stop_sequences"))
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    reasoning: dict[str, Any] | None = None
    """The service's reasoning settings, e.g. `{"effort": "low"}`."""
    provider: dict[str, Any] | None = None
    """The service's provider preferences, e.g. `{"data_collection": "deny"}`."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request's body."""
    default_headers: dict[str, str] = Field(default_factory=dict)
    """Further headers of each request."""
    app_url: str | None = None
    """Your app's address, for the service's rankings (`HTTP-Referer`)."""
    app_title: str | None = None
    """Your app's name, for the service's rankings (`X-Title`)."""
    streaming: bool = False
    """Whether `invoke` streams to callbacks."""
    http_client: httpx.Client | None = Field(default=None, exclude=True, repr=False)
    """Your own client; its own read timeout then counts instead of the wall-clock deadlines."""
    http_async_client: httpx.AsyncClient | None = Field(default=None, exclude=True, repr=False)
    """The same for async calls; it belongs to one event loop."""
    clock: Any = Field(default_factory=SystemClock, exclude=True, repr=False)
    """Where time comes from (a `Clock`)."""
    chance: Callable[[], float] = Field(default=random.random, exclude=True, repr=False)
    """Where chance comes from: numbers from 0 to 1."""

    _prepared: tuple[object, Candidates] | None = PrivateAttr(default=None)

    def __init__(self, **kwargs: Any) -> None:
        unknown = [name for name in kwargs if name not in _FIELDS]
        if unknown:
            hint = settings.did_you_mean(unknown[0], _FIELDS)
            raise ConfigurationError(f"ChatOpenRouterFree has no argument {unknown[0]!r}{hint}.")
        try:
            super().__init__(**kwargs)
        except ValidationError as error:
            raise ConfigurationError(_sentence(error)) from error

    @model_validator(mode="after")
    def _check_configuration(self) -> Self:
        """Check what can be checked before any request; prepare the candidates."""
        self._candidates()
        self._key()
        settings.base_url(self._url())
        settings.timeouts(self.timeouts, self.timeout)
        settings.store(self.state)
        settings.limits(self.limits, settings.base_url(self._url()))
        settings.share(self.daily_share, "")
        settings.header_values(self._extra_headers())
        settings.extra_body(self.extra_body, unbounded=self._unbounded())
        settings.paid_rps(self.paid_rps)
        settings.privacy(self.privacy, self.provider)
        settings.fees(self.credit_fee)
        parameters.check(self._own_parameters())
        if not 0 <= self.max_wait < float("inf"):
            raise ConfigurationError(f"max_wait={self.max_wait!r} must be 0 or more seconds.")
        if self.max_retries is not None and self.max_retries < 0:
            raise ConfigurationError(f"max_retries={self.max_retries!r} must be 0 or more.")
        return self

    def _candidates(self) -> Candidates:
        """Return the candidates that the fields name; copies and assignments change fields after construction."""
        budgets = (self.budget, self.account_budget)
        key = (tuple(self.models), self.allow_paid, repr(budgets), tuple(map(id, self.paid_models)))
        if self._prepared is None or self._prepared[0] != key:
            named = Candidates.named(self.models, self.paid_models, *budgets, allow_paid=self._may_pay)
            self._prepared = (key, named)
        return self._prepared[1]

    def _unbounded(self) -> bool:
        return self._may_pay and self._candidates().unbounded

    @property
    def _may_pay(self) -> bool:
        """Whether the flag is set: to True, and not to something that is true."""
        return self.allow_paid is True

    def _key(self) -> str:
        return settings.api_key(self.api_key.get_secret_value() if self.api_key else None)

    def _url(self) -> str | None:
        return self.base_url or os.environ.get("OPENROUTER_API_BASE")

    def _extra_headers(self) -> dict[str, str]:
        named = {"HTTP-Referer": self.app_url, "X-Title": self.app_title}
        return {**{name: value for name, value in named.items() if value}, **self.default_headers}

    def _own_parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in parameters.FIELDS}

    # -- the four call paths

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call, attempts = self._begin(messages, stop, kwargs, stream=self.wire == "stream")
        for attempt in attempts:
            with attempt:
                while attempt.read() is not None:
                    pass
            if attempt.answered:
                return call.result(attempts, attempt)
        raise AssertionError(_UNREACHABLE)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call, attempts = self._begin(messages, stop, kwargs, stream=self.wire == "stream")
        async for attempt in attempts:
            async with attempt:
                while await attempt.aread() is not None:
                    pass
            if attempt.answered:
                return call.result(attempts, attempt)
        raise AssertionError(_UNREACHABLE)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call, attempts = self._begin(messages, stop, kwargs, stream=True)
        for attempt in attempts:
            with attempt:
                while (deltas := attempt.read()) is not None:
                    for chunk in map(call.chunk, attempt.committed_content(deltas)):
                        if run_manager:
                            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk
            if attempt.answered:
                yield call.last(attempts, attempt)
                return

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call, attempts = self._begin(messages, stop, kwargs, stream=True)
        async for attempt in attempts:
            async with attempt:
                while (deltas := await attempt.aread()) is not None:
                    for chunk in map(call.chunk, attempt.committed_content(deltas)):
                        if run_manager:
                            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk
            if attempt.answered:
                yield call.last(attempts, attempt)
                return

    def _begin(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any], *, stream: bool
    ) -> tuple[Call, Attempts]:
        """Prepare a call: its parameters, its candidates, whose quota and money it uses."""
        call, route, accounts = self._planned(messages, stop, kwargs, stream=stream)
        timeouts = settings.timeouts({**self.timeouts, **call.options.timeouts}, call.options.timeout or self.timeout)
        if not stream:
            # A plain reply shows nothing but padding until it is whole: slow and dead look alike.
            timeouts = replace(timeouts, first_token=timeouts.attempt)
        return call, call.attempts(route, accounts, timeouts)

    def _planned(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any], *, stream: bool
    ) -> tuple[Call, Route, Accounts]:
        """Return a call, its route, and whose quota and money it uses."""
        if not messages:
            raise RequestRejected("There are no messages to send.")
        options = parameters.Options.taken_from(kwargs)
        params = parameters.body(self._own_parameters(), self.extra_body, stop, kwargs, unbounded=self._unbounded())
        privacy = "zdr" if options.sensitive else options.privacy or self.privacy
        settings.privacy(privacy, params.get("provider"))
        named, service, accounts = self._candidates(), self._service(), self._accounts()
        ranking, paid = named.asked(
            options.model, allow_paid=self._may_pay, privacy=privacy, sensitive=options.sensitive
        )
        call = Call(
            service,
            self.clock,
            messages,
            params,
            named.externals,
            stream=stream,
            v1=self.output_version == "v1",
            pace=self.rate_limiter,
            chance=self.chance,
            billed=self._billed,
            warned=self._happened,
            privacy=privacy,
            price_lock=self.price_lock,
            options=options,
            ids=[entry for entry in ranking if not stands_for_many(entry)],
        )
        route = Route(
            (),
            paid,
            patience=self.max_wait if options.max_wait is None else options.max_wait,
            paced=is_paced(),
            limits=settings.limits(self.limits, service.url),
            share=settings.share(self.daily_share, accounts.project),
            strategy=Strategy(self.strategy),
            chance=self.chance(),
            max_attempts=None if self.max_retries is None else self.max_retries + 1,
            choose=Chooser(ranking, call.needs(), bundled, settings.is_service(service.url)) if ranking else None,
            paid_rps=settings.paid_rps(self.paid_rps),
            privacy="sensitive=True" if options.sensitive else preferences.named(params.get("provider"), privacy),
        )
        return call, route, accounts

    def _service(self) -> Service:
        """Return how the service is reached."""
        headers = {
            "Authorization": f"Bearer {self._key()}",
            "Content-Type": "application/json",
            **settings.header_values(self._extra_headers()),
        }
        return Service(settings.base_url(self._url()), headers, self.http_client, self.http_async_client)

    def _accounts(self) -> Accounts:
        """Return whose quota and money it is."""
        account = settings.account(self._key(), settings.base_url(self._url()))
        named, project = self._candidates(), settings.project(self.project)
        return Accounts(settings.store(self.state), account, project, named.budget, named.ceiling)

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

    # -- what LangChain asks

    @property
    def _llm_type(self) -> str:
        return "openrouter-free"

    @property
    def model_name(self) -> str:
        """A neutral name: frameworks guess abilities from real ones, and the route is not known yet."""
        return ALIAS

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """Everything that shapes an answer, nothing of the route's state: it is the cache key."""
        shaping = {
            "models": list(self.models),
            "allow_paid": self.allow_paid,
            "paid_models": [candidate.model for candidate in self._candidates().paid],
            "base_url": settings.base_url(self._url()),
            "extra_body": self.extra_body,
            "output_version": self.output_version,
            **self._own_parameters(),
        }
        # LangChain writes the call's own stop words over this name.
        shaping["default_stop"] = shaping.pop("stop")
        return {name: value for name, value in shaping.items() if value is not None}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "openrouter"
        params["ls_model_name"] = kwargs.get("model") or self.model_name
        return params

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Names of the secrets among the fields."""
        return {"api_key": "OPENROUTER_API_KEY"}

    def get_num_tokens(self, text: str) -> int:
        """Return an estimate of the tokens of a text; no tokenizer is downloaded."""
        return count_tokens_approximately([("user", text)])

    def get_num_tokens_from_messages(
        self,
        messages: list[BaseMessage],
        tools: Sequence[Any] | None = None,
    ) -> int:
        """Return an estimate of the tokens of messages; no tokenizer is downloaded."""
        return count_tokens_approximately(messages, tools=list(tools) if tools else None)

    def close(self) -> None:
        """Close the HTTP connections of this process's threads; the next call opens new ones."""
        CLIENTS.close()

    async def aclose(self) -> None:
        """Close the HTTP connections of the running event loop; the next call opens new ones."""
        await CLIENTS.aclose()


_FIELDS = frozenset(
    {
        name
        for field_name, info in ChatOpenRouterFree.model_fields.items()
        for name in (
            field_name,
            *(
                [str(choice) for choice in info.validation_alias.choices]
                if isinstance(info.validation_alias, AliasChoices)
                else [info.alias]
                if info.alias
                else []
            ),
        )
    }
)


def _sentence(error: ValidationError) -> str:
    """Say a validation error in one sentence an argument."""
    told = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ").rstrip(".")
        told.append(f"{where}: {message}" if where else message)
    return "; ".join(told) + "."
