"""Words that the pitfall, framework and cassette tests share."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_openrouter_free import ChatOpenRouterFree

FIRST, SECOND, THIRD = "z-ai/glm-5.2:free", "nvidia/nemotron-3-super-120b-a12b:free", "openai/gpt-oss-20b:free"

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}


def quiet(do: str = "ok", **more: Any) -> dict[str, Any]:
    """A behaviour without thoughts before the words."""
    return {"do": do, "reasoning": False, **more}


def merged(chunks: list[Any]) -> AIMessageChunk:
    """Chunks added up, as LangChain does it."""
    full = chunks[0]
    for chunk in chunks[1:]:
        full = full + chunk
    assert isinstance(full, AIMessageChunk)
    return full


def trail(message: AIMessage) -> list[str]:
    """The outcomes of the attempts, in order."""
    return [attempt["outcome"] for attempt in message.response_metadata["route"]["attempts"]]


class Heard(BaseCallbackHandler):
    """Writes down what a callback handler is told."""

    def __init__(self) -> None:
        self.starts: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.ends: list[Any] = []
        self.errors: list[BaseException] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.starts.append(kwargs)

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.ends.append(response)

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.errors.append(error)


def cache_key(model: ChatOpenRouterFree) -> str:
    return model._get_llm_string()
