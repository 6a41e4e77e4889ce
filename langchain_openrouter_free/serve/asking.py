"""What a client asks of the endpoint: the body of a request, checked, taken apart. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_openrouter_free.errors import RequestRejected
from langchain_openrouter_free.protocol.evidence import STRICT
from langchain_openrouter_free.request.parameters import FIELDS, PER_CALL
from langchain_openrouter_free.values import value_type

Json = dict[str, Any]

# What is the endpoint's own business, or says nothing about an answer.
_OURS = frozenset({"model", "messages", "stream", "stream_options", "usage", "n"})
# Who may see it: the router's own business, which the service would not know.
_OF_THE_CALL = frozenset({"sensitive", "privacy"})
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
# No conversation has so many messages.
_MOST_MESSAGES = 10_000


@value_type(frozen=True)
class Asked:
    """One request for a completion.

    Attributes:
        model: an alias, a profile's name, or an id.
        messages: in the service's words, as they came.
        params: parameters that the router knows.
        extra: further fields of the body, which are passed on.
        stream: whether the answer is to come in pieces.
        usage: whether a stream ends with a piece that counts tokens.
    """

    model: str
    messages: list[Json]
    params: Json
    extra: Json
    stream: bool = False
    usage: bool = False


def asked(body: bytes) -> Asked:
    """Read the body of a request.

    Raises:
        RequestRejected: if it is no such body; the message says what is wrong, and never holds what it said.
    """
    try:
        payload = STRICT.decode(body.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise RequestRejected("The body is no JSON in UTF-8.") from None
    if not isinstance(payload, dict):
        raise RequestRejected("The body must be a JSON object.")
    model, messages = payload.get("model"), payload.get("messages")
    if not isinstance(model, str) or not model.strip():
        raise RequestRejected("model: a text is needed, e.g. 'auto'.")
    if payload.get("n") not in (None, 1):
        raise RequestRejected("n: only 1 answer can be asked for; several would cost several requests.")
    rest = {name: value for name, value in payload.items() if name not in _OURS and value is not None}
    known = PER_CALL | _OF_THE_CALL | set(FIELDS) | {"max_completion_tokens"}
    return Asked(
        model.strip(),
        _messages(messages),
        {name: value for name, value in rest.items() if name in known},
        {name: value for name, value in rest.items() if name not in known},
        _flag(payload, "stream"),
        _says(payload.get("stream_options"), "include_usage") or _says(payload.get("usage"), "include"),
    )


def _says(options: object, name: str) -> bool:
    return isinstance(options, Mapping) and options.get(name) is True


def _flag(payload: Json, name: str) -> bool:
    value = payload.get(name)
    if value is not None and not isinstance(value, bool):
        raise RequestRejected(f"{name}: true or false is needed.")
    return bool(value)


def _messages(given: object) -> list[Json]:
    if not isinstance(given, list) or not given:
        raise RequestRejected("messages: a list with at least one message is needed.")
    if len(given) > _MOST_MESSAGES:
        raise RequestRejected(f"messages: more than {_MOST_MESSAGES}.")
    for place, message in enumerate(given):
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in _ROLES:
            raise RequestRejected(f"messages[{place}]: an object with a role of {', '.join(sorted(_ROLES))} is needed.")
        _check_content(message, place)
    return list(given)


def _check_content(message: Json, place: int) -> None:
    content = message.get("content")
    if isinstance(content, list) and not all(isinstance(part, dict) for part in content):
        raise RequestRejected(f"messages[{place}].content: a list may hold objects only.")
    if content is not None and not isinstance(content, str | list):
        raise RequestRejected(f"messages[{place}].content: a text, a list, or null is needed.")
    if content is None and message["role"] in ("system", "developer", "user"):
        raise RequestRejected(f"messages[{place}].content: a text or a list is needed.")
    calls = message.get("tool_calls")
    if calls is not None and not (isinstance(calls, list) and all(map(_is_call, calls))):
        raise RequestRejected(
            f"messages[{place}].tool_calls: a list of objects is needed, each with a function of texts."
        )


def _is_call(call: object) -> bool:
    """Tell whether something has the form of a tool call; what else it lacks is made good or told by the service."""
    function = call.get("function") if isinstance(call, dict) else ""
    if not isinstance(function, dict):
        return function is None
    return isinstance(function.get("name"), str | None) and isinstance(function.get("arguments"), str | dict | None)
