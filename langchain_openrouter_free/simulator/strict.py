"""What single models refuse of a whole conversation: its order, its pairs, thoughts of others.

Owns the demands by name and the wording of the refusals, which are facts of the providers (reports of 2024 to 2026).
It knows the messages of a request and who thought what; no account and no scripts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from langchain_openrouter_free.simulator.catalogue import Row
from langchain_openrouter_free.simulator.failure import Failure
from langchain_openrouter_free.simulator.reply import Json

DEMANDS: dict[str, str] = {
    "safe-call-ids": "ids of tool calls hold letters, digits, _ and - only",
    "pairs": "each tool call has its result directly behind it, and each result its call",
    "role-order": "no user behind a tool, no assistant at the end, and so on, as Mistral has it",
    "text-only": "content is a text and no list of parts",
    "no-tool-role": "tool calls and their results are unknown",
    "own-thoughts": "reasoning that comes back must be the model's own",
    "content": "an assistant says something",
}
_SAFE = re.compile(r"[a-zA-Z0-9_-]+")
_MAY_FOLLOW = {
    None: ("system", "user", "assistant"),
    "system": ("system", "user", "assistant"),
    "user": ("user", "assistant", "system"),
    "assistant": ("assistant", "user", "tool"),
    "tool": ("assistant", "tool"),
}
_MISTRAL = "invalid_request_message_order"


def refused(row: Row, demand: str, messages: list[Json], own: Callable[[str], bool]) -> Failure | None:
    """Say what of a conversation a model refuses.

    Args:
        row: the model.
        demand: what it is strict about.
        messages: the conversation.
        own: tells whether a thought is the model's own.
    """
    raw = next(_CHECKS[demand](messages, own, row), None)
    if raw is None:
        return None
    metadata = {"raw": json.dumps(raw), "provider_name": row.provider, "is_byok": False}
    return Failure(400, "Provider returned error", metadata, by_provider=True)


def _mistral(message: str, kind: str = _MISTRAL, code: str = "3230") -> Json:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code, "raw_status_code": 400}


def _openai(message: str, param: str = "messages") -> Json:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}


def _calls(message: Json) -> list[Json]:
    return [call for call in message.get("tool_calls") or [] if isinstance(call, dict)]


def _ids(messages: list[Json]) -> Iterator[str]:
    for message in messages:
        yield from (str(call.get("id")) for call in _calls(message))
        if message.get("role") == "tool":
            yield str(message.get("tool_call_id"))


def _safe_call_ids(messages: list[Json], _own: Any, _row: Row) -> Iterator[Json]:
    for name in _ids(messages):
        if not _SAFE.fullmatch(name):
            told = "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
            yield {"type": "error", "error": {"type": "invalid_request_error", "message": told}}


def _pairs(messages: list[Json], _own: Any, _row: Row) -> Iterator[Json]:
    wanted: set[str] = set()
    for message in [*messages, {}]:
        if message.get("role") == "tool":
            if message.get("tool_call_id") not in wanted:
                yield _openai("Messages with role 'tool' must be a response to a preceding message with 'tool_calls'.")
            wanted.discard(str(message.get("tool_call_id")))
        elif wanted:
            yield _openai(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(wanted)}"
            )
        wanted |= {str(call.get("id")) for call in _calls(message)}


def _order(messages: list[Json], _own: Any, _row: Row) -> Iterator[Json]:
    before: str | None = None
    for message in messages:
        role = str(message.get("role"))
        if role not in _MAY_FOLLOW[before]:
            yield _mistral(f"Unexpected role '{role}' after role '{before}'")
        before = role if role in _MAY_FOLLOW else before
    if before == "assistant":
        yield _mistral("Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant")


def _no_tool_role(messages: list[Json], _own: Any, _row: Row) -> Iterator[Json]:
    if any(message.get("role") == "tool" or _calls(message) for message in messages):
        yield _openai("Unexpected message role.", "")


def _text(messages: list[Json], _own: Any, _row: Row) -> Iterator[Json]:
    for n, message in enumerate(messages):
        if isinstance(message.get("content"), list):
            yield _openai(f"messages[{n}].content must be a string", f"messages[{n}].content")


def _no_foreign_thoughts(messages: list[Json], own: Callable[[str], bool], _row: Row) -> Iterator[Json]:
    for n, message in enumerate(messages):
        details = [str(detail.get("text", "")) for detail in message.get("reasoning_details") or []]
        said = [*details, *([message["reasoning"]] if message.get("reasoning") else [])]
        if not all(own(one) for one in said):
            told = f"messages.{n}.content.0: Invalid `signature` in `thinking` block"
            yield {"type": "error", "error": {"type": "invalid_request_error", "message": told}}


def _content(messages: list[Json], _own: Any, _row: Row) -> Iterator[Json]:
    for message in messages:
        content = message.get("content")
        said = (
            [part for part in content if part != {"type": "text", "text": ""}] if isinstance(content, list) else content
        )
        if message.get("role") == "assistant" and not said and not _calls(message):
            yield _mistral("Assistant message must have either content or tool_calls, but not none.", code="3240")


_CHECKS: dict[str, Callable[[list[Json], Callable[[str], bool], Row], Iterator[Json]]] = {
    "safe-call-ids": _safe_call_ids,
    "pairs": _pairs,
    "role-order": _order,
    "text-only": _text,
    "no-tool-role": _no_tool_role,
    "own-thoughts": _no_foreign_thoughts,
    "content": _content,
}
