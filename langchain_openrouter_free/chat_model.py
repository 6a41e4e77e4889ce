"""`ChatOpenRouterFree`: the LangChain face. Fields, four call paths, tools and structured output.

State (cooldowns, quota, budget, HTTP clients) lives outside the instance, because LangChain copies and
rebuilds instances freely.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseRunManager, CallbackManagerForLLMRun
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, ValidationError

from langchain_openrouter_free.configuration.effective import constructor_arguments
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.errors import ConfigurationError, RequestRejected
from langchain_openrouter_free.face.binding import Binding
from langchain_openrouter_free.face.pacing import PacedBatches, is_paced
from langchain_openrouter_free.later import modules
from langchain_openrouter_free.questions.accounting import Accounting
from langchain_openrouter_free.questions.lookback import Lookback
from langchain_openrouter_free.questions.outlook import Outlook
from langchain_openrouter_free.questions.oversight import Oversight
from langchain_openrouter_free.request import parameters, settings
from langchain_openrouter_free.request.candidates import ALIAS
from langchain_openrouter_free.request.fields import names_of, sentence_of
from langchain_openrouter_free.request.planning import Plan, Planning
from langchain_openrouter_free.words.conversations import InConversation
from langchain_openrouter_free.words.implied import ImpliedStreams, is_implied
from langchain_openrouter_free.words.messages import lightened, tools_to_wire

if TYPE_CHECKING:
    from langchain_openrouter_free.engine import engine, portal
    from langchain_openrouter_free.request import call as calling
    from langchain_openrouter_free.route import routing
else:
    engine, portal, calling, routing = modules("engine.engine", "engine.portal", "request.call", "route.routing")

log = logging.getLogger("langchain_openrouter_free")

_DISTRIBUTION = "langchain-openrouter-free"
_UNREACHABLE = "a walk ends in an answer or in an error"


class ChatOpenRouterFree(
    PacedBatches, InConversation, ImpliedStreams, Binding, Planning, Accounting, Outlook, Lookback, Oversight
):
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

    model_config = ConfigDict(defer_build=False)

    def __init__(self, **kwargs: Any) -> None:
        known = names_of(type(self))
        unknown = [name for name in kwargs if name not in known]
        if unknown:
            hint = settings.did_you_mean(unknown[0], known)
            raise ConfigurationError(f"ChatOpenRouterFree has no argument {unknown[0]!r}{hint}.")
        # LangChain makes a copy by giving every field: nothing is left to be configured, or could change.
        if not type(self).model_fields.keys() <= kwargs.keys():
            kwargs = constructor_arguments(kwargs, known, kwargs.get("profile_name"))
        try:
            super().__init__(**kwargs)
        except ValidationError as error:
            raise ConfigurationError(sentence_of(error)) from error

    def model_post_init(self, context: Any, /) -> None:
        """Take note for traces of the versions at work: LangChain's, and this package's."""
        super().model_post_init(context)
        if (own := _version()) is not None:
            self._add_version(_DISTRIBUTION, own)

    @classmethod
    def from_profile(cls, name: str | None = None, *, dotenv: bool | str | Path = False, **arguments: Any) -> Self:
        """Make a model from what is configured, with a named profile laid over it.

        Args:
            name: the profile; None for the one that OPENROUTER_FREE_PROFILE names, if it does.
            dotenv: a `.env` file to read as well; True for the one in the working directory.
            **arguments: as the constructor takes them; they count more than what is configured.

        Raises:
            ConfigurationError: for anything that cannot work.
        """
        known = names_of(cls)
        return cls(**constructor_arguments(arguments, known, name, dotenv=dotenv))

    # -- the four call paths

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call, attempts = self._begin(messages, stop, kwargs, stream=False, run=run_manager)
        for attempt in attempts:
            with attempt:
                while attempt.read() is not None:
                    pass
            if attempt.answered:
                return call.result(attempt, run_manager)
        raise AssertionError(_UNREACHABLE)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call, attempts = self._begin(messages, stop, kwargs, stream=False, run=run_manager)
        async for attempt in attempts:
            async with attempt:
                while await attempt.aread() is not None:
                    pass
            if attempt.answered:
                return call.result(attempt, run_manager)
        raise AssertionError(_UNREACHABLE)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call, attempts = self._begin(messages, stop, kwargs, stream=True, events=run_manager is not None)
        for attempt in attempts:
            with attempt:
                while (deltas := attempt.read()) is not None:
                    for chunk in call.chunks(attempt, deltas):
                        if run_manager:
                            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk
            if attempt.answered:
                for chunk in call.ending(attempt, run_manager):
                    yield chunk
                return

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call, attempts = self._begin(messages, stop, kwargs, stream=True, events=run_manager is not None)
        async for attempt in attempts:
            async with attempt:
                while (deltas := await attempt.aread()) is not None:
                    for chunk in call.chunks(attempt, deltas):
                        if run_manager:
                            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk
            if attempt.answered:
                for chunk in call.ending(attempt, run_manager):
                    yield chunk
                return

    def _begin(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: dict[str, Any],
        *,
        stream: bool,
        events: bool = False,
        run: BaseRunManager | None = None,
    ) -> tuple[calling.Call, engine.Attempts]:
        """Prepare a call: its parameters, its candidates, whose quota and money it uses.

        Args:
            messages: what the caller said.
            stop: the call's stop words.
            kwargs: the call's parameters.
            stream: whether pieces of the answer are handed out.
            events: whether LangChain turns them into its protocol events, which know no beginning anew.
            run: LangChain's run of the call, where that is known.
        """
        call, route, plan = self._planned(messages, stop, kwargs, stream=stream, run=run)
        call.delivery.whole = not stream
        if stream:
            then, invoked = call.options.on_interrupt or self.on_interrupt, is_implied()
            then = "restart" if invoked else then
            call.delivery.then, call.delivery.invoked = "raise" if events and then == "restart" else then, invoked
            wants_more = call.params.keys() & {"tools", "response_format"} or call.options.shape is not None
            call.delivery.is_plain = not wants_more
        return call, call.attempts(route, plan.accounts, self._deadlines(plan), self._hedge(plan))

    def _planned(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: dict[str, Any],
        *,
        stream: bool,
        run: BaseRunManager | None = None,
    ) -> tuple[calling.Call, routing.Route, Plan]:
        """Return a call, its route, and the plan that both come from."""
        if not messages:
            raise RequestRejected("There are no messages to send.")
        plan = self._plan(stop, kwargs)
        wire = plan.meaning.wire
        call = calling.Call(
            **plan.arguments,
            messages=messages,
            externals=plan.meaning.named.externals,
            wire=replace(wire, default="stream") if stream else wire,
            v1=self.output_version == "v1",
            pace=self.rate_limiter,
            run=run,
        )
        if self.sticky if call.options.sticky is None else call.options.sticky:
            call.join(plan.accounts.account, plan.ranking)
        route = self._route(plan, call, paced=is_paced(), voice=call.conversation.last)
        return call, route, plan

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
        return dict(self._kept().found("shaping", self._shaping))

    def _shaping(self) -> dict[str, Any]:
        shaping = {
            "models": list(self.models),
            "allow_paid": self.allow_paid,
            "paid_models": [candidate.model for candidate in self._meaning().named.paid],
            "base_url": self._meaning().service.url,
            "extra_body": self.extra_body,
            "output_version": self.output_version,
            "accept": None if self.accept is None else str(settings.acceptance(self.accept)),
            **self._own_parameters(),
        }
        # LangChain writes the call's own stop words over this name.
        shaping["default_stop"] = shaping.pop("stop")
        return {name: value for name, value in shaping.items() if value is not None}

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """Return what of a call, beside its messages, is the cache's key."""
        asked = {name: value for name, value in kwargs.items() if name not in parameters.UNASKED}
        if asked.get("accept") is not None:
            asked["accept"] = str(settings.acceptance(asked["accept"]))
        return super()._get_llm_string(stop=stop, **asked)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        own = [self.stop] if isinstance(self.stop, str) else self.stop
        params = super()._get_ls_params(stop=stop or own, **kwargs)
        params["ls_provider"] = "openrouter"
        params["ls_model_name"] = kwargs.get("model") or self.model_name
        return params

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Names of the secrets among the fields."""
        return {"api_key": "OPENROUTER_API_KEY"}

    def get_num_tokens(self, text: str) -> int:
        """Return the tokens of a text, by `custom_get_token_ids` if given: else an estimate, without a tokenizer."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        return count_tokens_approximately([("user", text)])

    def get_num_tokens_from_messages(
        self,
        messages: list[BaseMessage],
        tools: Sequence[Any] | None = None,
    ) -> int:
        """Return the tokens of messages, and of tools in any form, counted as those of a text are.

        An estimate counts a file, a sound or a film as a picture: how many tokens it has, only the model knows.
        """
        if self.custom_get_token_ids is not None:
            described = [json.dumps(tool, ensure_ascii=False) for tool in tools_to_wire(tools or ())]
            return super().get_num_tokens_from_messages(messages) + sum(map(self.get_num_tokens, described))
        return count_tokens_approximately(lightened(messages), tools=[*tools_to_wire(tools)] if tools else None)

    def close(self) -> None:
        """Close the HTTP connections of this process's threads; the next call opens new ones."""
        portal.PORTAL.close()
        CLIENTS.close()

    async def aclose(self) -> None:
        """Close the HTTP connections of the running event loop; the next call opens new ones."""
        await CLIENTS.aclose()


@cache
def _version() -> str | None:
    """Return this package's version; None where it is not installed, but lies in the path."""
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return None


class _Signature(inspect.Signature):
    """A method's parameters, which a bound one has without `self`: `inspect` asks for those again and again."""

    _last: tuple[dict[str, Any], inspect.Signature] | None = None

    def replace(self, **changes: Any) -> inspect.Signature:  # type: ignore[override]  # whatever it may change
        last = self._last
        if last is None or last[0] != changes:
            self._last = last = changes, super().replace(**changes)
        return last[1]


# LangChain looks for `run_manager` among their parameters at each call, and `inspect` works them out each time.
for _path in (ChatOpenRouterFree._generate, ChatOpenRouterFree._agenerate):  # noqa: SLF001 - its own
    _path.__signature__ = _Signature.from_callable(_path)  # type: ignore[union-attr]
