"""What is configured: the fields of the model, checked once, and what they stand for.

Knows no request and no answer, and no LangChain: `chat_model.py` has the call paths.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self

import httpx
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from langchain_openrouter_free import keys
from langchain_openrouter_free.books.health import Strategy
from langchain_openrouter_free.catalogue.selection import AUTO
from langchain_openrouter_free.clock import Clock, SystemClock
from langchain_openrouter_free.connections.addresses import check_encrypted
from langchain_openrouter_free.connections.transport import Service
from langchain_openrouter_free.engine.delivery import OnInterrupt
from langchain_openrouter_free.engine.timeouts import Deadlines
from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.later import Later
from langchain_openrouter_free.request import parameters, settings
from langchain_openrouter_free.request.candidates import Candidates
from langchain_openrouter_free.request.meaning import Kept, Meaning
from langchain_openrouter_free.stores.naming import store_of

if TYPE_CHECKING:
    from langchain_openrouter_free.engine import bookkeeping
else:
    bookkeeping = Later("langchain_openrouter_free.engine.bookkeeping")


class Fields(BaseModel):
    """The fields of `ChatOpenRouterFree`.

    Raises:
        ConfigurationError: at construction, for anything that cannot work.
    """

    # Pydantic shows what it was given in its own errors, which stand above ours in a traceback: keys, passwords.
    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        arbitrary_types_allowed=True,
        defer_build=True,
        hide_input_in_errors=True,
    )

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
    """Called with what you should know of beside the answers: `FreeModelBilled`, `BudgetWarning` once when 50, 80 and
    100 % of a cap are spent, `ModelGone` once, and `ModelLeaving` once a day from seven days before an announced end
    on."""
    on_route: Callable[[dict[str, Any]], object] | None = Field(default=None, exclude=True, repr=False)
    """Called with the route trail, as in `response_metadata["route"]`: after each attempt and before each wait
    of a call that goes on (`outcome` is None then), and once when it is over. What it raises is logged."""
    api_key: SecretStr | None = Field(
        default_factory=lambda: _secret("OPENROUTER_API_KEY"),
        validation_alias=AliasChoices("api_key", "openrouter_api_key"),
    )
    """The key; default: the environment's OPENROUTER_API_KEY."""
    base_url: str | None = Field(default=None, validation_alias=AliasChoices("base_url", "openrouter_api_base"))
    """Base URL; default: the service's. The environment's OPENROUTER_API_BASE counts as a setting of it."""
    allow_http: bool = False
    """Whether a base URL of another machine may be `http://`: the key and the prompts are then sent unencrypted."""
    timeouts: dict[str, Any] = Field(default_factory=dict)
    """Seconds for `connect` (5), `first_token` (45), `stall` (30), `attempt` (300), `call` (600); for some models in
    `{"models": {"author/*": {"first_token": 90}}}`. They shrink for a model that is usually quick while others could
    answer, unless `"adaptive"` is False."""
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
    sticky: bool = True
    """Whether the free model that served a conversation last (the config's `thread_id`, else its messages tell which
    one it is) is asked first while it is healthy. A new conversation begins with your ranking."""
    max_retries: int | None = None
    """Most further attempts in one call, at another model or a second time at the same; default: as many as there are
    models, of those that a pattern or `auto` stands for a quarter of what is left of the account's free day (three at
    least)."""
    state: Any = Field(default=None, repr=False)
    """Where quota, cooldowns and spending are kept: the path of an SQLite file (all processes of this machine, over
    restarts), `"redis://host:6379/0"` (many machines), `"memory"` (this process), or a `StateStore`. Default: what
    OPENROUTER_FREE_STATE names, else a file in the user's state directory."""
    project: str | None = None
    """Whose budget and whose share of the day it is; default: the working directory."""
    profile_name: str | None = None
    """Which named profile of the configuration was laid over it; default: the environment's OPENROUTER_FREE_PROFILE."""
    wire: Literal["stream", "plain"] | dict[str, Any] = "stream"
    """How `invoke` asks: as an event stream, so that every deadline holds, or for one plain reply. By model (ids and
    patterns) where streaming is known to be broken, and then for `stream` as well:
    `{"default": "stream", "author/*": "plain"}`."""

    hedge_after: Any = None
    """After how much silence of a free model a second one is asked as well: seconds, or `"p95"` for those within which
    95 of 100 answers of that model begin. It costs a second request. None: never."""
    on_interrupt: OnInterrupt = "raise"
    """What follows where a streamed answer breaks off after its first words: `StreamInterrupted`; the next model's
    answer behind a chunk that voids the former ones (`"restart"`); or its words after these (`"continue"`)."""
    accept: Any = Field(default=None, repr=False)
    """What counts as an answer all the same: names of rows of the table of answers (`{"empty", "refusal"}`, or with
    `{"announced": False}` one that counts by default and shall not), and functions of your own: each gets the message
    and returns True, or False or a reason why the next model is to be asked."""

    temperature: float | None = None
    """How much is left to chance, 0 to 2."""
    top_p: float | None = None
    """Only the likeliest tokens that make up this share, 0 to 1."""
    top_k: int | None = None
    """Only so many of the likeliest tokens."""
    min_p: float | None = None
    """Only tokens at least so likely, measured by the likeliest, 0 to 1."""
    top_a: float | None = None
    """The same, measured by its square, 0 to 1."""
    frequency_penalty: float | None = None
    """Against words by how often they were said, -2 to 2."""
    presence_penalty: float | None = None
    """Against words that were said at all, -2 to 2."""
    repetition_penalty: float | None = None
    """Against repetition, 0 to 2; 1 is none."""
    max_tokens: int | None = Field(default=None, validation_alias=AliasChoices("max_tokens", "max_completion_tokens"))
    """Most tokens of an answer, thoughts included."""
    seed: int | None = None
    """For answers that can be repeated, where the model can do that."""
    stop: list[str] | str | None = Field(default=None, validation_alias=AliasChoices("stop", "stop_sequences"))
    """Where an answer ends: a text, or several."""
    logprobs: bool | None = None
    """Whether the answer tells how likely its tokens were."""
    top_logprobs: int | None = None
    """For how many alternatives of each token, 0 to 20."""
    logit_bias: dict[str, float] | None = None
    """What is added to a token's chance, by its number."""
    user: str | None = None
    """Who asks, for the service to tell abuse apart."""
    reasoning: dict[str, Any] | None = None
    """The service's reasoning settings, e.g. `{"effort": "low"}`."""
    provider: dict[str, Any] | None = None
    """The service's provider preferences, e.g. `{"data_collection": "deny"}`."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request's body."""
    default_headers: dict[str, str] = Field(default_factory=dict, repr=False)
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

    _last_meaning: Kept | None = PrivateAttr(default=None)

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _by_words(cls, given: object) -> object:
        """Take the tokens' numbers as such, as `ChatOpenAI` has them: JSON has no other keys than words."""
        if not isinstance(given, dict):
            return given
        return {str(key) if type(key) is int else key: value for key, value in given.items()}

    @model_validator(mode="after")
    def _check_configuration(self) -> Self:
        """Check what can be checked before any request."""
        self._meaning()
        check_encrypted(settings.base_url(self.base_url), allow_http=self.allow_http)
        store_of(self.state)
        settings.privacy(self.privacy, self.provider)
        settings.fees(self.credit_fee)
        check_wait(self.max_wait)
        check_moves(self.max_retries)
        if type(self.clock) is not SystemClock and not isinstance(self.clock, Clock):
            raise ConfigurationError(f"clock={self.clock!r} is no Clock: it needs now, monotonic, sleep and asleep.")
        return self

    def model_post_init(self, context: Any, /) -> None:
        """Go on to what other bases do with a new model: pydantic's own, for the private attributes, would end here."""
        super().model_post_init(context)

    if not TYPE_CHECKING:  # else a type checker would take any name that is assigned to

        def __setattr__(self, name: str, value: Any) -> None:
            """Assign to a field; a key in plain text is hidden from then on."""
            super().__setattr__(name, _hidden(value) if name == "api_key" else value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other fields; a key in plain text is hidden in it."""
        hidden = {name: _hidden(value) if name == "api_key" else value for name, value in (update or {}).items()}
        return super().model_copy(update=hidden, deep=deep)

    def __getstate__(self) -> dict[Any, Any]:
        """Return what is pickled: hooks belong to their process, and the key is known by its mark again."""
        state = super().__getstate__()
        left_out = {**state["__dict__"], "on_event": None, "on_route": None, "api_key": None}
        return {**state, "__dict__": left_out, "key": None if self.api_key is None else keys.mark(self.api_key)}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        mark = state.get("key")
        super().__setstate__(state)
        if mark is not None:
            self.__dict__["api_key"] = keys.known(mark) or _secret("OPENROUTER_API_KEY")

    def _kept(self) -> Kept:
        """Return what the fields mean; copies and assignments change them after construction."""
        # Looked up where pydantic keeps it: asked for by its name, it is found after all else, in three times the time.
        private: dict[str, Any] | None = self.__pydantic_private__
        may_pay, kept = self._may_pay, None if private is None else private.get("_last_meaning")
        if kept is None or not kept.holds(self.__dict__, may_pay=may_pay):
            self._last_meaning = kept = Kept(self.__dict__, self._worked_out, may_pay=may_pay)
        return kept

    def _meaning(self) -> Meaning:
        return self._kept().meaning

    def _worked_out(self) -> Meaning:
        """Work out what the fields mean.

        Raises:
            ConfigurationError: for what cannot be meant.
        """
        named = Candidates.named(
            self.models, self.paid_models, self.budget, self.account_budget, allow_paid=self._may_pay
        )
        key, url, unbounded = self._key(), settings.base_url(self.base_url), self._may_pay and named.unbounded
        return Meaning(
            named=named,
            unbounded=unbounded,
            deadlines=Deadlines((settings.timeouts(self.timeouts, self.timeout),)),
            wire=settings.wire(self.wire),
            silence=settings.silence(self.hedge_after),
            limits=settings.limits(self.limits, url),
            share=settings.share(self.daily_share, ""),
            service=self._service(key, url),
            body=self._body(None, {}, unbounded=unbounded),
            paid_rps=settings.paid_rps(self.paid_rps),
            accept=settings.acceptance(self.accept),
            account=settings.account(key, url),
            strategy=Strategy(self.strategy),
        )

    @property
    def _may_pay(self) -> bool:
        """Whether the flag is set: to True, and not to something that is true."""
        return self.allow_paid is True

    def _key(self) -> str:
        return settings.api_key(self.api_key)

    def _extra_headers(self) -> dict[str, str]:
        named = {"HTTP-Referer": self.app_url, "X-Title": self.app_title}
        return {**{name: value for name, value in named.items() if value}, **self.default_headers}

    def _own_parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in parameters.FIELDS}

    def _body(self, stop: list[str] | None, kwargs: dict[str, Any], *, unbounded: bool) -> dict[str, Any]:
        return parameters.body(self._own_parameters(), self.extra_body, stop, kwargs, unbounded=unbounded)

    def _service(self, key: str, url: str) -> Service:
        own = settings.header_values(self._extra_headers())
        # Nothing else is unpacked; see `unpacking.py`.
        packing = {} if any(name.lower() == "accept-encoding" for name in own) else {"Accept-Encoding": "gzip"}
        keys.sent(key)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **packing, **own}
        return Service(url, headers, self.http_client, self.http_async_client)

    def _accounts(self) -> bookkeeping.Accounts:
        """Return whose quota and money it is."""
        return self._meaning().accounts(store_of(self.state), settings.project(self.project))


def check_wait(seconds: float) -> None:
    """Refuse what is no `max_wait`."""
    if not 0 <= seconds < float("inf"):
        raise ConfigurationError(f"max_wait={seconds!r} must be 0 or more seconds.")


def check_moves(most: int | None) -> None:
    """Refuse what is no `max_retries`."""
    if most is not None and most < 0:
        raise ConfigurationError(f"max_retries={most!r} must be 0 or more.")


def _hidden(key: Any) -> Any:
    settings.words_of(key)
    return SecretStr(key) if isinstance(key, str) else key


def _secret(name: str) -> SecretStr | None:
    """Return a secret of the environment."""
    said = os.environ.get(name)
    return SecretStr(said) if said else None


@cache
def names_of(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the names by which a model's fields may be given, each with its field."""
    return {
        name: field_name
        for field_name, info in model.model_fields.items()
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


def sentence_of(error: ValidationError) -> str:
    """Say a validation error in one sentence an argument."""
    told = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ").rstrip(".")
        told.append(f"{where}: {message}" if where else message)
    return "; ".join(told) + "."
