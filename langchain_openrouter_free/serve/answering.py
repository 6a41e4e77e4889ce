"""What the endpoint answers: completions, their pieces, and errors, in OpenAI's words with what OpenRouter adds. Pure.

Statuses make clients do the right thing: their own retries would burn the user's quota, so `x-should-retry` (which
OpenAI's clients obey) is false wherever another try at once is pointless.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from langchain_openrouter_free import errors
from langchain_openrouter_free.protocol.reasoning import merge_reasoning_details
from langchain_openrouter_free.protocol.wire import Completion, Delta

Json = dict[str, Any]

ROUTE_HEADER = "x-openrouter-free-route"
# Headers of clients and proxies end somewhere; the response's field has the whole trail.
_LONGEST_HEADER = 4000
# Whom to blame, by class: status, type, code. The first that fits counts.
_KINDS: tuple[tuple[type[Exception], int, str, str], ...] = (
    (errors.ContextTooLong, 400, "invalid_request_error", "context_length_exceeded"),
    (errors.RequestRejected, 400, "invalid_request_error", "rejected"),
    (errors.ConfigurationError, 400, "invalid_request_error", "invalid_parameter"),
    (errors.AuthenticationFailed, 401, "authentication_error", "invalid_api_key"),
    (errors.FreeQuotaExhausted, 429, "rate_limit_error", "free_quota_exhausted"),
    (errors.BudgetExceeded, 402, "insufficient_quota", "budget_exceeded"),
    (errors.InsufficientCredits, 402, "insufficient_quota", "insufficient_credits"),
    (errors.NoSuitableModel, 400, "invalid_request_error", "no_suitable_model"),
    (errors.FreeModelBilled, 402, "insufficient_quota", "free_model_billed"),
    (errors.AllModelsFailed, 503, "api_error", "all_models_failed"),
    (errors.OpenRouterFreeError, 503, "api_error", "interrupted"),
)


def message_of(said: Completion) -> Json:
    """Return the assistant's message, with the reasoning that OpenRouter adds."""
    message: Json = {"role": "assistant", "content": said.text or None}
    if said.refusal:
        message["refusal"] = said.refusal
    if said.reasoning:
        message["reasoning"] = said.reasoning
    details = merge_reasoning_details(said.reasoning_details)
    if details:
        message["reasoning_details"] = details
    if said.annotations:
        message["annotations"] = list(said.annotations)
    if said.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in said.tool_calls
        ]
    return message


def completion_of(said: Completion, *, ident: str, created: int, model: str, route: Mapping[str, Any]) -> Json:
    """Return a whole answer.

    Args:
        said: what the model said.
        ident: name of the answer, where the service gave none.
        created: Unix seconds.
        model: id of the model that answered.
        route: the route trail.
    """
    choice = {
        "index": 0,
        "message": message_of(said),
        "finish_reason": _finish(said),
        "native_finish_reason": said.native_finish_reason,
        "logprobs": said.logprobs,
    }
    return {
        "id": said.id or ident,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "provider": said.provider,
        "choices": [choice],
        "usage": said.usage or _nothing_counted(),
        "route": dict(route),
    }


def _finish(said: Completion) -> str:
    """Return why the answer ended. Clients go by it: whether they look for calls must not hang on a provider's word."""
    if said.tool_calls:
        return "tool_calls" if said.finish_reason in (None, "stop") else said.finish_reason
    return "stop" if said.finish_reason in (None, "tool_calls") else said.finish_reason


def _nothing_counted() -> Json:
    return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class Pieces:
    """The pieces of a streamed answer, as they are sent."""

    def __init__(self, *, ident: str, created: int, model: str) -> None:
        self._frame: Json = {"id": ident, "object": "chat.completion.chunk", "created": created, "model": model}
        self._begun, self._details = False, 0

    def content(self, delta: Delta) -> Json:
        """Return the piece of one delta."""
        said: Json = {} if self._begun else {"role": "assistant"}
        self._begun = True
        if delta.text or not (delta.reasoning or delta.tool_calls or delta.refusal):
            said["content"] = delta.text
        if delta.reasoning:
            said["reasoning"] = delta.reasoning
        if delta.reasoning_details:
            self._details += len(delta.reasoning_details)
            said["reasoning_details"] = list(delta.reasoning_details)
        if delta.refusal:
            said["refusal"] = delta.refusal
        if delta.tool_calls:
            said["tool_calls"] = [_tool_piece(piece) for piece in delta.tool_calls]
        return self._piece(said, None, delta.logprobs)

    def last(self, said: Completion, route: Mapping[str, Any]) -> Json:
        """Return the piece that ends the answer, with the route trail and with what came without a word to show."""
        more: Json = {"reasoning_details": said.reasoning_details[self._details :], "annotations": said.annotations}
        ended = self._piece({name: list(found) for name, found in more.items() if found}, _finish(said)) | {
            "provider": said.provider,
            "route": dict(route),
        }
        ended["choices"][0]["native_finish_reason"] = said.native_finish_reason
        return ended

    def usage(self, said: Completion) -> Json:
        """Return the piece that counts tokens."""
        return self._frame | {"choices": [], "usage": said.usage or _nothing_counted()}

    def _piece(self, delta: Json, finish: str | None, logprobs: Json | None = None) -> Json:
        return self._frame | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}]}


def _tool_piece(piece: Any) -> Json:
    function: Json = {"arguments": piece.arguments}
    if piece.name is not None:
        function["name"] = piece.name
    told: Json = {"index": piece.index, "function": function}
    if piece.id is not None:
        told["id"] = piece.id
    if piece.name is not None:
        told["type"] = "function"
    return told


# To many readers they end a line (Python's `splitlines`, HTTPX's `iter_lines`), though not to an event stream or JSON.
_LINE_ENDS = {end: json.dumps(end).strip('"') for end in "\x85\u2028\u2029"}


def event(payload: Json) -> bytes:
    """Write a piece as a server-sent event: on one line, whoever reads it."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    for end, escaped in _LINE_ENDS.items():
        text = text.replace(end, escaped)
    return b"data: " + text.encode("utf-8", "replace") + b"\n\n"


DONE = b"data: [DONE]\n\n"


# -- errors


def refusal(
    status: int, message: str, *, kind: str = "invalid_request_error", code: str = "invalid_request"
) -> tuple[int, Json, dict[str, str]]:
    """Return status, body and headers of a request that went nowhere."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return status, body, {"x-should-retry": "false"}


def failure(error: errors.OpenRouterFreeError, now: float) -> tuple[int, Json, dict[str, str]]:
    """Return status, body and headers of a call that failed.

    Args:
        error: why.
        now: Unix seconds of the service's clock, for `Retry-After`.
    """
    _, status, kind, code = next(row for row in _KINDS if isinstance(error, row[0]))
    told: Json = {"message": str(error), "type": kind, "param": None, "code": code}
    headers = {"x-should-retry": "false", ROUTE_HEADER: route_header(error.route)}
    if isinstance(error, errors.FreeQuotaExhausted):
        told |= {"window": error.window, "reset_at": error.reset_at, "limit": error.limit}
        if error.reset_at is not None:
            headers["retry-after"] = str(max(math.ceil(error.reset_at - now), 1))
        # A minute is worth waiting for, and clients wait for `Retry-After`.
        headers["x-should-retry"] = "true" if error.window == "minute" else "false"
    return status, {"error": told, "route": error.route}, headers


def route_header(route: Mapping[str, Any]) -> str:
    """Write the route trail for a header: ASCII on one line; where it is too long, without its attempts."""
    text = json.dumps(dict(route), separators=(",", ":"), default=str)
    if len(text) <= _LONGEST_HEADER:
        return text
    short = {**route, "attempts": len(route.get("attempts", ()))}
    return json.dumps(short, separators=(",", ":"), default=str)[:_LONGEST_HEADER]
