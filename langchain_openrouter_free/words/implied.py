"""Whether LangChain streams what its caller merely invokes.

It does so where somebody listens to the tokens: `astream_events`, LangGraph's `stream_mode="messages"`,
`streaming=True`. The caller then gets the sum of the chunks, and so has no use for half an answer.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from langchain_core.language_models import BaseChatModel

from langchain_openrouter_free.later import PART

_IMPLIED: ContextVar[bool] = ContextVar("langchain_openrouter_free_implied", default=False)


def is_implied() -> bool:
    """Tell whether the stream that begins here is an `invoke` to its caller; asked once for each."""
    implied = _IMPLIED.get()
    _IMPLIED.set(False)
    return implied


class ImpliedStreams(BaseChatModel):
    """Takes note of who asks for a stream: only an `invoke` has a run manager when it does."""

    model_config = PART

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        streams = super()._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)
        _IMPLIED.set(streams and run_manager is not None)
        return streams
