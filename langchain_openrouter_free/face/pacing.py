"""Batches queue for the account's minutes as long as it takes; a single call waits no longer than `max_wait`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig

_IN_BATCH: ContextVar[bool] = ContextVar("langchain_openrouter_free_in_batch", default=False)


def is_paced() -> bool:
    """Tell whether the running call is one of a batch."""
    return _IN_BATCH.get()


@contextlib.contextmanager
def _batch() -> Iterator[None]:
    # LangChain copies the context into each call's thread or task.
    token = _IN_BATCH.set(True)
    try:
        yield
    finally:
        _IN_BATCH.reset(token)


class PacedBatches(Runnable[LanguageModelInput, AIMessage]):
    """The four batch methods of a chat model: paced over the account's minutes, not failed."""

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer many inputs, at most `max_concurrency` of the config at once, in the account's pace."""
        with _batch():
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer many inputs, at most `max_concurrency` of the config at once, in the account's pace."""
        with _batch():
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)

    def batch_as_completed(self, *args: Any, **kwargs: Any) -> Iterator[tuple[int, Any]]:
        """Answer many inputs in the account's pace; yield each with its index as it comes."""
        answers = super().batch_as_completed(*args, **kwargs)
        while True:
            # Only while it is ours: between two answers the context is the caller's.
            with _batch():
                found = next(answers, None)
            if found is None:
                return
            yield found

    async def abatch_as_completed(self, *args: Any, **kwargs: Any) -> AsyncIterator[tuple[int, Any]]:
        """Answer many inputs in the account's pace; yield each with its index as it comes."""
        answers = super().abatch_as_completed(*args, **kwargs)
        while True:
            with _batch():
                found = await anext(answers, None)
            if found is None:
                return
            yield found
