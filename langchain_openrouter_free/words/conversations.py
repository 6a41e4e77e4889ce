"""Which conversation a call belongs to: the thread that its config names, else what was said in it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from langchain_openrouter_free.later import PART
from langchain_openrouter_free.values import value_type
from langchain_openrouter_free.words.messages import author_of
from langchain_openrouter_free.words.voices import VOICES, key_of, traces

_CONFIG: ContextVar[RunnableConfig | None] = ContextVar("langchain_openrouter_free_config", default=None)


@value_type()
class Conversation:
    """What one call knows of its conversation.

    Attributes:
        key: name under which it is remembered who served it; None where that is not wanted.
        last: who served it last; None where nobody knows.
    """

    key: bytes | None = None
    last: str | None = None

    @classmethod
    def of(
        cls,
        account: str,
        ranking: Sequence[str],
        messages: Sequence[BaseMessage],
        wired: Sequence[Mapping[str, Any]],
        now: float,
    ) -> Conversation:
        """Return the conversation of a call.

        Who served it last is known by the thread's id; else by the last answer, which names its model; else by what
        was said before an answer, if this process gave one to it. A new conversation has no voice yet.

        Args:
            account: whose call it is.
            ranking: the entries that its models come from.
            messages: what the caller said.
            wired: the same in the service's words.
            now: Unix seconds.
        """
        thread = _thread()
        if thread is not None:
            key = key_of(account, ranking, thread)
            return cls(key, VOICES.last([key], now) or _last_author(messages))
        key, before = traces(account, ranking, wired)
        return cls(key, _last_author(messages) or VOICES.last(before, now))

    def served_by(self, model: str, now: float) -> None:
        """Take note of who served it."""
        if self.key is not None:
            VOICES.remember(self.key, model, now)


def _thread() -> str | None:
    thread = ensure_config(_CONFIG.get()).get("configurable", {}).get("thread_id")
    return None if thread is None else str(thread)


def _last_author(messages: Sequence[BaseMessage]) -> str | None:
    answers = (author_of(message) for message in reversed(messages) if isinstance(message, AIMessage))
    return next(answers, None)


@contextlib.contextmanager
def _config(config: RunnableConfig | None) -> Iterator[None]:
    token = _CONFIG.set(config)
    try:
        yield
    finally:
        _CONFIG.reset(token)


class InConversation(BaseChatModel):
    """The four entrances of a chat model: LangChain keeps the config of a call from those who answer it."""

    model_config = PART

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:  # noqa: A002 - LangChain's name
        """Answer one input."""
        with _config(config):
            return super().invoke(input, config, **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer one input."""
        with _config(config):
            return await super().ainvoke(input, config, **kwargs)

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Answer one input piece by piece."""
        chunks = cast("Generator[AIMessageChunk, None, None]", super().stream(input, config, **kwargs))
        with contextlib.closing(chunks):
            # The call begins with its first chunk; between two chunks the context is the caller's.
            with _config(config):
                first = next(chunks, None)
            if first is not None:
                yield first
                yield from chunks

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Answer one input piece by piece."""
        chunks = cast("AsyncGenerator[AIMessageChunk, None]", super().astream(input, config, **kwargs))
        async with contextlib.aclosing(chunks):
            with _config(config):
                first = await anext(chunks, None)
            if first is not None:
                yield first
                async for chunk in chunks:
                    yield chunk
