"""How the service puts an answer into words: completions, events of a stream, usage, limit headers.

Owns shapes and nothing else: it decides neither what is said nor whether.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from langchain_openrouter_free.simulator.brain import Answer, ToolCall
from langchain_openrouter_free.simulator.catalogue import Row
from langchain_openrouter_free.simulator.failure import Failure
from langchain_openrouter_free.simulator.reply import Json, encode, quoted

COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"
PADDING = b"\n         \n"
JSON_HEADERS = {"Content-Type": "application/json"}
SSE_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
_PIECE = re.compile(r"\S+\s*|\s+")
_ARGUMENT_PIECE = 8
_BLANK = "\0"  # a character that stands in no name


@dataclass(slots=True)
class Voice:
    """Who speaks: everything of an answer that is not its content."""

    generation: str
    row: Row
    created: int
    cost: Decimal = Decimal(0)
    model_field: str | None = None
    chunks: int = 0
    doubled_finish: bool = True
    tool_shape: str = "split"
    call_ids: list[str] = field(default_factory=list)

    @property
    def model(self) -> str:
        """The model named in the answer."""
        return self.row.id if self.model_field is None else self.model_field


def generation_id(now: float, rng: random.Random) -> str:
    """An id of the form that the service gives, also to failures."""
    return f"gen-{int(now)}-{rng.getrandbits(80):020x}"


def usage(answer: Answer, cost: Decimal) -> Json:
    """The usage object, with the cost in credits."""
    paid = float(cost)
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "cost": paid or 0,
        "is_byok": False,
        "prompt_tokens_details": {
            "cached_tokens": answer.cached_tokens,
            "cache_write_tokens": answer.written_tokens,
            "audio_tokens": 0,
            "video_tokens": 0,
        },
        "cost_details": {
            "upstream_inference_cost": paid or 0,
            "upstream_inference_prompt_cost": 0,
            "upstream_inference_completions_cost": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "image_tokens": 0,
            "audio_tokens": 0,
        },
    }


def completion(answer: Answer, voice: Voice) -> Json:
    """A whole answer in one object."""
    message: Json = {"role": "assistant", "content": answer.text, "refusal": answer.refusal or None, "reasoning": None}
    if answer.reasoning:
        message["reasoning"] = answer.reasoning
        message["reasoning_details"] = _details(answer.reasoning)
    if answer.calls:
        message["tool_calls"] = [_whole_call(index, call, voice) for index, call in enumerate(answer.calls)]
        if voice.tool_shape == "null-content":
            message["content"] = None
    choice = {
        "index": 0,
        "logprobs": None,
        "finish_reason": answer.finish,
        "native_finish_reason": answer.finish,
        "message": message,
    }
    return _frame(voice, "chat.completion") | {
        "system_fingerprint": None,
        "service_tier": None,
        "choices": [choice],
        "usage": usage(answer, voice.cost),
    }


def deltas(answer: Answer, voice: Voice) -> list[bytes]:
    """The events of an answer before its finish."""
    thought: Json = {"content": "", "reasoning": _BLANK, "reasoning_details": _details(_BLANK)}
    events = _filled(voice, thought, pieces(answer.reasoning, voice.chunks))
    events += _filled(voice, {"content": _BLANK}, pieces(answer.text, voice.chunks))
    if answer.refusal:
        events.append(event(voice, {"content": "", "refusal": answer.refusal}))
    for index, call in enumerate(answer.calls):
        events += [event(voice, delta) for delta in _call_deltas(index, call, voice)]
    return events or [event(voice, {"content": ""})]


def _filled(voice: Voice, form: Json, texts: list[str]) -> list[bytes]:
    """An event for each text, which stands in the form's blanks; what they have in common is written once."""
    parts = event(voice, form).split(encode(_BLANK)) if texts else []
    return [quoted(text).join(parts) for text in texts]


def finish_events(answer: Answer, voice: Voice) -> list[bytes]:
    """The events that end an answer: finish_reason, then usage (with finish_reason again, as in 2026)."""
    again = answer.finish if voice.doubled_finish else None
    return [
        event(voice, {"content": "", "reasoning": None}, answer.finish),
        event(voice, {"content": ""}, again, usage=usage(answer, voice.cost)),
    ]


def event(voice: Voice, delta: Json, finish: str | None = None, **more: Any) -> bytes:
    """One event of a stream."""
    choice: Json = {"index": 0, "delta": {"role": "assistant"} | delta, "finish_reason": finish}
    choice |= {"native_finish_reason": finish, "logprobs": None}
    return data(_frame(voice, "chat.completion.chunk") | {"choices": [choice]} | more)


def error_event(voice: Voice, error: Json, choices: list[Json]) -> bytes:
    """An error in the midst of a stream."""
    return data(_frame(voice, "chat.completion.chunk") | {"error": error, "choices": choices})


def data(value: Any) -> bytes:
    """One `data:` event."""
    return b"data: " + encode(value) + b"\n\n"


def pieces(text: str, count: int) -> list[str]:
    """The text word by word, or in so many pieces of about the same length."""
    if count <= 0:
        return _PIECE.findall(text)
    size = max(1, -(-len(text) // count))
    return [text[start : start + size] for start in range(0, len(text), size)]


def inner_error(code: int, message: str, **metadata: Any) -> Json:
    """An error object as it stands in bodies and events that came after a 200."""
    error: Json = {"message": message, "code": code}
    return error | {"metadata": metadata} if metadata else error


def with_limit(failure: Failure, limit: int, reset_at: float) -> Failure:
    """A failure of a limit with its three numbers, in the metadata and as real headers."""
    lines = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(reset_at) * 1000),
    }
    told = failure.with_metadata(headers=lines)
    return replace(told, headers={name.lower(): value for name, value in lines.items()})


def with_retry_after(failure: Failure, seconds: float) -> Failure:
    """A failure with the provider's hint in all four places."""
    whole = str(int(seconds))
    told = failure.with_metadata(
        retry_after_seconds=int(seconds), retry_after_seconds_raw=seconds, headers={"Retry-After": whole}
    )
    return replace(told, headers=failure.headers | {"Retry-After": whole})


def _frame(voice: Voice, kind: str) -> Json:
    return {
        "id": voice.generation,
        "object": kind,
        "created": voice.created,
        "model": voice.model,
        "provider": voice.row.provider,
    }


def _details(text: str) -> list[Json]:
    return [{"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}]


def _whole_call(index: int, call: ToolCall, voice: Voice) -> Json:
    function: Json = {"name": call.name, "arguments": call.arguments}
    if voice.tool_shape == "no-arguments-key":
        del function["arguments"]
    return {"index": index, "type": "function", "id": voice.call_ids[index], "function": function}


def _call_deltas(index: int, call: ToolCall, voice: Voice) -> list[Json]:
    whole = _whole_call(index, call, voice)
    content = "" if voice.tool_shape == "split" else None
    if voice.tool_shape != "split":
        return [{"content": content, "tool_calls": [whole]}]
    text = call.arguments
    whole["function"]["arguments"] = ""
    rest = [text[start : start + _ARGUMENT_PIECE] for start in range(0, len(text), _ARGUMENT_PIECE)]
    return [{"content": content, "tool_calls": [whole]}] + [
        {"content": content, "tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in rest
    ]
