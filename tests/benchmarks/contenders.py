"""Who is measured beside whom: each chat model as its users would set it up, and what it cannot do."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI
from langchain_openrouter import ChatOpenRouter
from pydantic import SecretStr

from langchain_openrouter_free import ChatOpenRouterFree, MemoryStore
from langchain_openrouter_free.stores.sqlite import SqliteStore

# LiteLLM asks the internet for a price list when it is imported, unless told not to.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
KEY = "sk-or-v1-simulated"


class Floor(BaseChatModel):
    """The least that a chat model over HTTP costs: one request of `httpx`, one plain reply, no care."""

    base_url: str
    model: str
    _client: httpx.Client | None = None
    _async_client: httpx.AsyncClient | None = None

    @property
    def _llm_type(self) -> str:
        return "floor"

    def _body(self, messages: Sequence[BaseMessage]) -> dict[str, Any]:
        return {"model": self.model, "messages": [{"role": "user", "content": one.content} for one in messages]}

    def _result(self, reply: httpx.Response) -> ChatResult:
        said = reply.json()["choices"][0]["message"]["content"]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=said))])

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self._client = self._client or httpx.Client(headers={"Authorization": f"Bearer {KEY}"})
        return self._result(self._client.post(f"{self.base_url}/chat/completions", json=self._body(messages)))

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self._async_client = self._async_client or httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"})
        reply = await self._async_client.post(f"{self.base_url}/chat/completions", json=self._body(messages))
        return self._result(reply)


Make = Callable[[str, Sequence[str], float | None], Any]


@dataclass(frozen=True)
class Contender:
    """One of those who are measured.

    Attributes:
        name: in the table.
        make: makes the chat model of a base URL, ids (the first preferred) and a timeout in seconds.
        one: why it asks one model only; "" where it asks the next.
        streams: whether it has a stream of its own.
    """

    name: str
    make: Make
    one: str = ""
    streams: bool = True

    def made(self, base_url: str, ids: Sequence[str], timeout: float | None = None) -> Any:
        """Return the chat model."""
        return self.make(base_url, ids, timeout)


def chat_openai(base_url: str, ids: Sequence[str], timeout: float | None) -> Any:
    """Make a bare `ChatOpenAI`."""
    return ChatOpenAI(model=ids[0], api_key=SecretStr(KEY), base_url=base_url, max_retries=0, timeout=timeout)


def with_fallbacks(base_url: str, ids: Sequence[str], timeout: float | None) -> Any:
    """Make a `ChatOpenAI` with one more for each further id."""
    first, *others = [chat_openai(base_url, [one], timeout) for one in ids]
    return first.with_fallbacks(others)


def chat_openrouter(base_url: str, ids: Sequence[str], timeout: float | None) -> Any:
    """Make the official integration; its timeout is in milliseconds."""
    limit = None if timeout is None else round(timeout * 1000)
    return ChatOpenRouter(model=ids[0], api_key=KEY, base_url=base_url, max_retries=0, timeout=limit)


def litellm_router(base_url: str, ids: Sequence[str], timeout: float | None) -> Any:
    """Make a router of LiteLLM with a chain of fallbacks."""
    from langchain_litellm import ChatLiteLLMRouter  # noqa: PLC0415 - after the setting above
    from litellm import Router  # noqa: PLC0415 - the same

    names = [f"m{number}" for number in range(len(ids))]
    limit = {} if timeout is None else {"timeout": timeout, "stream_timeout": timeout}
    rows = [
        {"model_name": name, "litellm_params": {"model": f"openai/{one}", "api_base": base_url, "api_key": KEY} | limit}
        for name, one in zip(names, ids, strict=True)
    ]
    chain = [{names[0]: names[1:]}] if len(names) > 1 else []
    # Its limit of fallbacks in one call is 5 unless it is told otherwise.
    router = Router(model_list=rows, num_retries=0, fallbacks=chain, max_fallbacks=max(len(ids), 5))
    return ChatLiteLLMRouter(router=router, model_name=names[0])


_FILES = count()
_FOLDER = tempfile.TemporaryDirectory(prefix="bench-peers-")


def _ours(state: Callable[[], Any], **how: Any) -> Make:
    def make(base_url: str, ids: Sequence[str], timeout: float | None) -> Any:
        limit = {} if timeout is None else {"timeout": timeout}
        return ChatOpenRouterFree(models=list(ids), api_key=KEY, base_url=base_url, state=state(), **limit, **how)

    return make


def _file() -> Any:
    """Return a store on a file that is made and open already: that happens once in a program's life."""
    store = SqliteStore(Path(_FOLDER.name) / f"{next(_FILES)}.sqlite3")
    store.recent("none", 1)
    return store


def floor(base_url: str, ids: Sequence[str], timeout: float | None) -> Any:
    """Make the floor."""
    return Floor(base_url=base_url, model=ids[0])


_ONE = "it asks one model"
BARE = Contender("ChatOpenAI", chat_openai, one=_ONE)
OURS = Contender("ours, memory", _ours(MemoryStore))
OURS_SQLITE = Contender("ours, SQLite", _ours(_file))
CONTENDERS = (
    BARE,
    Contender("ChatOpenAI.with_fallbacks", with_fallbacks),
    Contender("ChatOpenRouter", chat_openrouter, one=f"{_ONE}, and repeats what failed for up to an hour"),
    Contender("ChatLiteLLMRouter", litellm_router),
    OURS,
    OURS_SQLITE,
    Contender("ours, memory, wire=plain", _ours(MemoryStore, wire="plain")),
    Contender("floor (bare httpx)", floor, one=_ONE, streams=False),
)
