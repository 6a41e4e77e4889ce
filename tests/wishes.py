"""Objects that are wished for, models that take some forms of the wish and not others, and how they are asked."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1

from langchain_openrouter_free import (
    ChatOpenRouterFree,
    MemoryStore,
)
from langchain_openrouter_free.simulator import Simulator

M1, M2, M3 = "test/one:free", "test/two:free", "test/three:free"
SCHEMA_ONLY = "max_tokens structured_outputs response_format"
TOOLS_ONLY = "max_tokens tools tool_choice"
JSON_ONLY = "max_tokens response_format"
NOTHING = "max_tokens temperature"
ALL = "max_tokens tools tool_choice structured_outputs response_format"
PROMPT = "How many cats live in Paris? I counted 12."


class Count(BaseModel):
    """How many of something."""

    place: str = Field(description="where")
    number: int


class CountV1(BaseModelV1):
    """How many of something."""

    place: str
    number: int


class CountDict(TypedDict):
    """How many of something."""

    place: Annotated[str, ..., "where"]
    number: Annotated[int, ..., "how many"]


SCHEMA = Count.model_json_schema()
KINDS: dict[str, Any] = {"pydantic": Count, "v1": CountV1, "typed": CountDict, "schema": SCHEMA}


def plain(found: Any) -> dict[str, Any]:
    if isinstance(found, BaseModel):
        return found.model_dump()
    return found.dict() if isinstance(found, BaseModelV1) else found


RIGHT: dict[str, Any] = {"place": "Paris", "number": 12}


def serve(sim: Simulator, **takes: str) -> list[str]:
    """Offer models that take these parameters; return their ids."""
    ids = {"one": M1, "two": M2, "three": M3}
    rows: list[dict[str, Any]] = [
        {
            "id": ids[name],
            "supported_parameters": words.split(),
            "context_length": 65_536,
            "pricing": {"prompt": "0", "completion": "0"},
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        }
        for name, words in takes.items()
    ]
    sim.serve(rows)
    return [row["id"] for row in rows]


def make(sim: Simulator, models: list[str], **kwargs: Any) -> ChatOpenRouterFree:
    kwargs.setdefault("state", MemoryStore())
    return ChatOpenRouterFree(
        models=models, base_url=sim.base_url, api_key=sim.api_key, chance=lambda: 0.0, max_wait=0, **kwargs
    )


def form(body: dict[str, Any]) -> str:
    """The form in which a request asks for an object."""
    told = "JSON schema:" in json.dumps(body["messages"])
    form = (body.get("response_format") or {}).get("type")
    if body.get("tools"):
        assert body["tool_choice"] == {"type": "function", "function": {"name": body["tools"][-1]["function"]["name"]}}
        assert not form
        return "function_calling"
    if form == "json_object":
        assert told
        return "json_mode"
    assert told == (form is None)
    return form or "prompt"


def forms(sim: Simulator) -> list[str]:
    return [form(chat.body) for chat in sim.chats()]


def ask(runnable: Any, path: str, prompt: Any = PROMPT) -> tuple[list[Any], Any]:
    """Call by one path; return all that came, and the last of it."""

    async def run() -> list[Any]:
        return [await runnable.ainvoke(prompt)] if path == "ainvoke" else [x async for x in runnable.astream(prompt)]

    came = asyncio.run(run()) if path[0] == "a" else None
    if came is None:
        came = [runnable.invoke(prompt)] if path == "invoke" else list(runnable.stream(prompt))
    return came, came[-1]
