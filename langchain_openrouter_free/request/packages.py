"""Chat models of other packages, as the second road takes them: one answer, no retries, no more than is held back for.

LangChain leaves it to each package what it calls such things; here stands what is known of them. How such a model is
asked is `external.py`'s business.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel

from langchain_openrouter_free.errors import ConfigurationError

# Fields that hold the most tokens of an answer.
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
# What says how an answer is sampled, and packages that take it from their fields alone.
_SAMPLING = ("temperature", "top_p")
_SAMPLED_BY_FIELDS = frozenset({"ChatOllama"})
# Their `max_retries` counts the first request as well, and is read at each one.
_COUNT_THE_FIRST = frozenset({"ChatGoogleGenerativeAI"})
# What a request says to packages below which another client retries whatever they were made with.
_ONCE: Mapping[str, Mapping[str, Any]] = {
    "ChatCohere": {"request_options": {"max_retries": 0}},
    "ChatLiteLLM": {"max_retries": 0},
    "ChatOpenRouter": {"retries": None},
}


def prepared(model: Any, label: str) -> BaseChatModel:
    """Return the chat model for one answer (no more is held back for it), without retries, and telling its usage.

    Raises:
        ConfigurationError: if it is none, or has retries that cannot be turned off from outside.
    """
    if not isinstance(model, BaseChatModel):
        raise ConfigurationError(f"paid_models: {model!r} is no model id; write 'author/name'.")
    changes: dict[str, Any] = {}
    if (getattr(model, "n", None) or 1) != 1:
        changes["n"] = 1
    if getattr(model, "stream_usage", False) is None:
        # Nobody has said: a stream that tells no usage would be booked at its worst case.
        changes["stream_usage"] = True
    return _changed(model, changes | _without_retries(model, label))


def _without_retries(model: BaseChatModel, label: str) -> dict[str, Any]:
    if not hasattr(model, "max_retries"):
        return {}
    if _kinds(model) & _COUNT_THE_FIRST:
        return {"max_retries": 1}
    quiet: dict[str, Any] = {}
    for root, client in (("root_client", "client"), ("root_async_client", "async_client")):
        # Where its key comes from a function of an event loop's, it has only one.
        if (asks := getattr(model, root, None)) is not None:
            quiet[root] = asks.with_options(max_retries=0)
            quiet[client] = quiet[root].chat.completions
    if quiet:
        return {"max_retries": 0, **quiet}
    if model.max_retries != 0:
        raise ConfigurationError(f"paid_models: construct {label} with max_retries=0; the router decides on retries.")
    return {}


def own_limit(model: BaseChatModel) -> int | None:
    """Return the most tokens of an answer that the model was made for; None where nobody has said."""
    said = (getattr(model, name) for name in _limits(model))
    return min((limit for limit in said if isinstance(limit, int) and limit > 0), default=None)


def within(model: BaseChatModel, max_tokens: int) -> tuple[BaseChatModel, dict[str, Any]]:
    """Return the chat model with no higher limit of its own, and what a request to it says of it besides."""
    names = _limits(model)
    said = [name for name in names if getattr(model, name) is not None] or names[:1]
    limited = _changed(model, dict.fromkeys(said, max_tokens) | _extra_within(model, max_tokens))
    # OpenAI's own have two words for it, of which a request may hold one: they choose by the field.
    is_said = "max_tokens" in said and not hasattr(model, "root_client")
    return limited, {"max_tokens": max_tokens} if is_said or not said else {}


def worded(model: BaseChatModel, kwargs: Mapping[str, Any]) -> tuple[BaseChatModel, dict[str, Any]]:
    """Return the chat model and a request's parameters, in the package's own words where it has some."""
    kinds, rest = _kinds(model), dict(kwargs)
    if kinds & _SAMPLED_BY_FIELDS:
        model = model.model_copy(update={name: rest.pop(name) for name in _SAMPLING if name in rest})
    # OpenAI's own speak as the service does.
    rest = rest if hasattr(model, "root_client") else _with_tools(model, rest)
    for kind in kinds & _ONCE.keys():
        rest |= _ONCE[kind]
    return model, rest


def _extra_within(model: BaseChatModel, most: int) -> dict[str, Any]:
    """Return an `extra_body` that asks for no more, where there is one: it is laid over the body in the end."""
    extra = dict(getattr(model, "extra_body", None) or {}) if "extra_body" in type(model).model_fields else {}
    longer = {name: most for name in _LIMITS if name in extra and not _is_within(extra[name], most)}
    several = {"n": 1} if extra.get("n", 1) != 1 else {}
    return {"extra_body": extra | longer | several} if longer or several else {}


def _is_within(said: object, most: int) -> bool:
    return isinstance(said, int) and 0 < said <= most


def _with_tools(model: BaseChatModel, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return a request's parameters with its tools as the package's own `bind_tools` writes them."""
    tools, choice = kwargs.get("tools"), kwargs.get("tool_choice")
    if not tools or choice == "none":
        return kwargs
    if choice == "required":
        # Not every package knows "any"; all know the name of a tool.
        choice = "any" if len(tools) > 1 else {"function": tools[0].get("function")}
    if isinstance(choice, Mapping):
        choice = (choice.get("function") or {}).get("name", "any")
    said = {"tool_choice": choice, "parallel_tool_calls": kwargs.get("parallel_tool_calls")}
    known = inspect.signature(model.bind_tools).parameters
    try:
        bound = model.bind_tools(tools, **{k: v for k, v in said.items() if k in known and v is not None})
    except Exception:  # noqa: BLE001 - it has none, or cannot be told of this choice: its provider has the last word
        return kwargs
    spoken = said.keys() & known | {"tools", "tool_choice"}
    return {k: v for k, v in kwargs.items() if k not in spoken} | getattr(bound, "kwargs", {})


def _changed(model: BaseChatModel, changes: Mapping[str, Any]) -> BaseChatModel:
    """Return the model with other values in its fields; where there are none, itself: it may count its calls."""
    return model.model_copy(update=changes) if changes else model


def _limits(model: BaseChatModel) -> list[str]:
    return [name for name in _LIMITS if name in type(model).model_fields]


def _kinds(model: BaseChatModel) -> set[str]:
    return {kind.__name__ for kind in type(model).__mro__}
