"""Who is measured beside whom: each chat model as its users would set it up, and what it cannot do."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.engine.timeouts import Timeouts
from langchain_openrouter_free.stores.sqlite import SqliteStore

# LiteLLM asks the internet for a price list when it is imported, unless told not to.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
KEY = "sk-or-v1-simulated"
_LITELLM_COOLDOWN = 5.0  # seconds, as it is unless told otherwise
_SCALED = ("first_token", "stall", "attempt", "call")  # of our own timeouts; a connection is the machine's affair


class Floor(BaseChatModel):
    """The least that a chat model over HTTP costs: one request of `httpx`, one plain reply, no care."""

    base_url: str
    model: str
    key: str
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
        self._client = self._client or httpx.Client(headers={"Authorization": f"Bearer {self.key}"})
        return self._result(self._client.post(f"{self.base_url}/chat/completions", json=self._body(messages)))

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self._async_client = self._async_client or httpx.AsyncClient(headers={"Authorization": f"Bearer {self.key}"})
        reply = await self._async_client.post(f"{self.base_url}/chat/completions", json=self._body(messages))
        return self._result(reply)


@dataclass(frozen=True)
class Setting:
    """How a chat model is to be set up.

    Attributes:
        base_url: of the simulator.
        ids: whom to ask, the first preferred.
        timeout: for one request, in seconds; None for the package's own.
        key: whose calls they are, for the simulator's log.
        speed: how many times as fast time passes there; seconds of its own are that much shorter.
        clock: that time, for who takes a clock.
    """

    base_url: str
    ids: Sequence[str]
    timeout: float | None = None
    key: str = KEY
    speed: float = 1.0
    clock: Clock | None = None


Make = Callable[[Setting], Any]


@dataclass(frozen=True)
class Contender:
    """One of those who are measured.

    Attributes:
        name: in the table.
        made: makes the chat model.
        one: why it asks one model only; "" where it asks the next.
        streams: whether it has a stream of its own.
    """

    name: str
    made: Make
    one: str = ""
    streams: bool = True


def chat_openai(how: Setting) -> Any:
    """Make a bare `ChatOpenAI`."""
    return _chat_openai(how, how.ids[0])


def _chat_openai(how: Setting, model: str) -> ChatOpenAI:
    key = SecretStr(how.key)
    return ChatOpenAI(model=model, api_key=key, base_url=how.base_url, max_retries=0, timeout=how.timeout)


def with_fallbacks(how: Setting) -> Any:
    """Make a `ChatOpenAI` with one more for each further id."""
    first, *others = [_chat_openai(how, one) for one in how.ids]
    return first.with_fallbacks(others)


def chat_openrouter(how: Setting) -> Any:
    """Make the official integration; its timeout is in milliseconds."""
    limit = None if how.timeout is None else round(how.timeout * 1000)
    return ChatOpenRouter(model=how.ids[0], api_key=how.key, base_url=how.base_url, max_retries=0, timeout=limit)


def litellm_router(how: Setting) -> Any:
    """Make a router of LiteLLM with a chain of fallbacks."""
    from langchain_litellm import ChatLiteLLMRouter  # noqa: PLC0415 - after the setting above
    from litellm import Router  # noqa: PLC0415 - the same

    names = [f"m{number}" for number in range(len(how.ids))]
    limit = {} if how.timeout is None else {"timeout": how.timeout, "stream_timeout": how.timeout}
    where = {"api_base": how.base_url, "api_key": how.key}
    rows = [
        {"model_name": name, "litellm_params": {"model": f"openai/{one}"} | where | limit}
        for name, one in zip(names, how.ids, strict=True)
    ]
    chain = [{names[0]: names[1:]}] if len(names) > 1 else []
    # Its limit of fallbacks in one call is 5 unless it is told otherwise.
    most, rest = max(len(how.ids), 5), _LITELLM_COOLDOWN / how.speed
    router = Router(model_list=rows, num_retries=0, fallbacks=chain, max_fallbacks=most, cooldown_time=rest)
    return ChatLiteLLMRouter(router=router, model_name=names[0])


_FILES = count()
_FOLDER = tempfile.TemporaryDirectory(prefix="bench-peers-")


def _ours(state: Callable[[], Any], **options: Any) -> Make:
    def made(how: Setting) -> Any:
        timed: dict[str, Any] = {} if how.timeout is None else {"timeout": how.timeout}
        if how.clock is not None:
            usual = asdict(Timeouts())
            timed = {"clock": how.clock, "timeouts": {name: usual[name] / how.speed for name in _SCALED}}
        where = {"base_url": how.base_url, "api_key": how.key}
        return ChatOpenRouterFree(models=list(how.ids), state=state(), **where, **timed, **options)

    return made


def _file() -> Any:
    """Return a store on a file that is made and open already: that happens once in a program's life."""
    store = SqliteStore(Path(_FOLDER.name) / f"{next(_FILES)}.sqlite3")
    store.recent("none", 1)
    return store


def floor(how: Setting) -> Any:
    """Make the floor."""
    return Floor(base_url=how.base_url, model=how.ids[0], key=how.key)


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
