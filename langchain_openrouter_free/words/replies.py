"""What a model says, in LangChain's words: decoded replies to messages and stream chunks.

Owns the shape of our `AIMessage`: where text, tool calls, reasoning, usage and metadata live, whole and in
pieces. Pure: it knows nothing of HTTP, of routing, or of whether a reply is any good.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call, parse_tool_call

from langchain_openrouter_free.protocol.reasoning import merge_reasoning_details
from langchain_openrouter_free.protocol.wire import Completion, Delta, ToolDelta

Json = dict[str, Any]

# Indices of the blocks of a v1 content. Without them langchain-core numbers the blocks itself, and a first
# tool call gets the number of the reasoning before it, into which it is then merged.
_REASONING, _TEXT, _TOOL = "lc_rs_0", "lc_txt_0", "lc_tc_"

# More tokens than this is no count.
_ABSURD = 10**12

_INPUT_DETAILS = {
    "cache_read": "cached_tokens",
    "cache_creation": "cache_write_tokens",
    "audio": "audio_tokens",
}
_OUTPUT_DETAILS = {"reasoning": "reasoning_tokens", "audio": "audio_tokens"}


_FINISH_REASONS = {
    "complete": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "safety": "content_filter",
}


def to_message(completion: Completion, *, metadata: Mapping[str, Any], v1: bool = False) -> AIMessage:
    """Make the message of a finished reply.

    Args:
        completion: The reply.
        metadata: What the caller adds to `response_metadata`; it wins over the reply's own words, so that
            `model_name` can be the id that was asked for where the service answers with a dated one.
        v1: Whether content is a list of standard blocks (`output_version="v1"`).

    Returns:
        The message. Tool calls whose arguments are no JSON object are in `invalid_tool_calls`.
    """
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    blocks: list[Any] = _said_blocks(completion.reasoning, completion.text)
    for delta in completion.tool_calls:
        call = _tool_call(delta)
        if call["type"] == "tool_call":
            calls.append(call)
        else:
            invalid.append(call)
        blocks.append(dict(call))
    return AIMessage(
        content=blocks if v1 else completion.text,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs=_said_kwargs(completion) | _closing_kwargs(completion),
        response_metadata=_response_metadata(completion, metadata, v1=v1),
        usage_metadata=usage_metadata(completion.usage),
    )


def to_chunk(delta: Delta, *, v1: bool = False, message_id: str | None = None) -> AIMessageChunk:
    """Make the chunk of one content delta.

    It carries only what may be added up: text, reasoning, refusal and tool call pieces. The rest of a delta
    is said once, by `last_chunk`, because adding chunks joins strings and sums numbers.

    Args:
        delta: The piece.
        v1: Whether content is a list of standard blocks.
        message_id: The id that all chunks of this answer share; langchain-core gives one where it is None.

    Returns:
        The chunk.
    """
    blocks: list[Any] = _said_blocks(delta.reasoning, delta.text)
    blocks += [
        {
            "type": "tool_call_chunk",
            "id": piece.id,
            "name": piece.name,
            "args": piece.arguments,
            "index": f"{_TOOL}{piece.index}",
        }
        for piece in delta.tool_calls
    ]
    return AIMessageChunk(
        content=blocks if v1 else delta.text,
        tool_call_chunks=[
            tool_call_chunk(name=piece.name, args=piece.arguments, id=piece.id, index=piece.index)
            for piece in delta.tool_calls
        ],
        additional_kwargs=_said_kwargs(delta),
        response_metadata=_output_version(v1=v1),
        id=message_id,
    )


def last_chunk(
    completion: Completion, *, metadata: Mapping[str, Any], v1: bool = False, message_id: str | None = None
) -> AIMessageChunk:
    """Make the chunk that ends a stream and alone says what must be said once.

    Args:
        completion: The whole reply, of which the content has been handed out in chunks.
        metadata: As in `to_message`.
        v1: Whether content is a list of standard blocks.
        message_id: The id that all chunks of this answer share; langchain-core gives one where it is None.

    Returns:
        A chunk without content, with usage, metadata, reasoning details and annotations.
    """
    return AIMessageChunk(
        content=[] if v1 else "",
        additional_kwargs=_closing_kwargs(completion),
        response_metadata=_response_metadata(completion, metadata, v1=v1),
        usage_metadata=usage_metadata(completion.usage),
        id=message_id,
        chunk_position="last",
    )


def usage_metadata(usage: Mapping[str, Any] | None) -> UsageMetadata | None:
    """Read the token counts of a reply, whatever state they are in.

    Args:
        usage: The service's `usage` object.

    Returns:
        Whole numbers only, since langchain-core cannot add others. None if nothing was counted.
    """
    if not isinstance(usage, Mapping):
        return None
    asked, answered = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    total = _count(usage.get("total_tokens"))
    if asked is None and answered is None and total is None:
        return None
    asked, answered = asked or 0, answered or 0
    counted = UsageMetadata(
        input_tokens=asked,
        output_tokens=answered,
        total_tokens=asked + answered if total is None else total,
    )
    if details := _details(usage.get("prompt_tokens_details"), _INPUT_DETAILS):
        counted["input_token_details"] = InputTokenDetails(**details)  # type: ignore[typeddict-item]
    if details := _details(usage.get("completion_tokens_details"), _OUTPUT_DETAILS):
        counted["output_token_details"] = OutputTokenDetails(**details)  # type: ignore[typeddict-item]
    return counted


def completion_of_message(message: AIMessage) -> Delta:
    """Read another chat model's answer, or a chunk of it, as if the service had sent it.

    Args:
        message: What any LangChain chat model returned. Whatever in it makes no sense is left out.

    Returns:
        One delta with everything: the whole answer for a message, a piece of it for a chunk.
    """
    about = _mapping(message.response_metadata)
    extra = _mapping(message.additional_kwargs)
    text, reasoning = _spoken(message.content)
    native = _first_text(about, "finish_reason", "stop_reason", "stopReason", "done_reason")
    finish = native.lower() if native else None
    return Delta(
        text=text,
        reasoning=reasoning or _first_text(extra, "reasoning_content", "reasoning") or "",
        refusal=_first_text(extra, "refusal") or "",
        tool_calls=list(_tool_deltas(message)),
        reasoning_details=[dict(item) for item in _items(extra.get("reasoning_details"))],
        annotations=[dict(item) for item in _items(extra.get("annotations"))],
        logprobs=dict(_mapping(about.get("logprobs"))) or None,
        finish_reason=_FINISH_REASONS.get(finish, finish) if finish else None,
        native_finish_reason=_first_text(about, "native_finish_reason") or native,
        usage=_usage_of(message),
        id=_first_text(about, "id") or _first_text({"id": message.id}, "id"),
        model=_first_text(about, "model_name", "model"),
        provider=_first_text(about, "provider", "model_provider"),
    )


def wire_usage(counted: object) -> Json | None:
    """Put LangChain's token counts into the service's words; None if nothing was counted."""
    counts = _mapping(counted)
    if not counts:
        return None
    usage: Json = {
        "prompt_tokens": _count(counts.get("input_tokens")) or 0,
        "completion_tokens": _count(counts.get("output_tokens")) or 0,
        "total_tokens": _count(counts.get("total_tokens")) or 0,
    }
    for theirs, ours, names in (
        ("input_token_details", "prompt_tokens_details", _INPUT_DETAILS),
        ("output_token_details", "completion_tokens_details", _OUTPUT_DETAILS),
    ):
        if details := _details(counts.get(theirs), {wire: name for name, wire in names.items()}):
            usage[ours] = details
    return usage


def _said_blocks(reasoning: str, text: str) -> list[Json]:
    blocks = []
    if reasoning:
        blocks.append({"type": "reasoning", "reasoning": reasoning, "index": _REASONING})
    if text:
        blocks.append({"type": "text", "text": text, "index": _TEXT})
    return blocks


def _said_kwargs(said: Delta | Completion) -> Json:
    # `reasoning_content` is the key that langchain-core turns into a standard reasoning block.
    words = {"reasoning": said.reasoning, "reasoning_content": said.reasoning, "refusal": said.refusal}
    return {key: value for key, value in words.items() if value}


def _closing_kwargs(completion: Completion) -> Json:
    closing = {
        "reasoning_details": merge_reasoning_details(completion.reasoning_details),
        "annotations": list(completion.annotations),
    }
    return {key: value for key, value in closing.items() if value}


def _output_version(*, v1: bool) -> Json:
    return {"output_version": "v1"} if v1 else {}


def _response_metadata(completion: Completion, metadata: Mapping[str, Any], *, v1: bool) -> Json:
    about = {
        "model_name": completion.model,
        "model_provider": "openrouter",
        "finish_reason": completion.finish_reason,
        "native_finish_reason": completion.native_finish_reason,
        "id": completion.id,
        "provider": completion.provider,
        "cost": _cost(completion.usage),
        "token_usage": completion.usage,
        "logprobs": completion.logprobs,
    } | dict(metadata)
    return {key: value for key, value in about.items() if value is not None} | _output_version(v1=v1)


def _cost(usage: Mapping[str, Any] | None) -> float | None:
    cost = _mapping(usage).get("cost")
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        return None
    return float(cost) if 0 <= cost < _ABSURD else None


def _tool_call(delta: ToolDelta) -> ToolCall | InvalidToolCall:
    raw = {"id": delta.id, "function": {"name": delta.name, "arguments": delta.arguments}}
    try:
        parsed = parse_tool_call(raw) or {}
    # Too deep a nesting and too long a number have exceptions of their own.
    except (ValueError, RecursionError) as error:
        return make_invalid_tool_call(raw, str(error))
    if isinstance(parsed.get("args"), dict):
        return tool_call(name=parsed["name"], args=parsed["args"], id=delta.id)
    return make_invalid_tool_call(raw, "The arguments are not a JSON object.")


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Not by isfinite: an integer may be larger than any float.
    return int(value) if 0 <= value < _ABSURD else None


def _details(given: object, names: Mapping[str, str]) -> dict[str, int]:
    held = _mapping(given)
    counts = {ours: _count(held.get(theirs)) for ours, theirs in names.items()}
    return {ours: count for ours, count in counts.items() if count is not None}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _first_text(source: Mapping[str, Any], *keys: str) -> str | None:
    return next((value for key in keys if isinstance(value := source.get(key), str) and value), None)


def _spoken(content: object) -> tuple[str, str]:
    """Split content of any provider into its text and its reasoning."""
    if isinstance(content, str):
        return str(content), ""
    text, reasoning = [], []
    for block in content if isinstance(content, list) else []:
        if isinstance(block, str):
            text.append(block)
        elif isinstance(block, Mapping) and block.get("type") in ("text", "output_text"):
            text.append(_first_text(block, "text") or "")
        elif isinstance(block, Mapping) and block.get("type") in ("reasoning", "thinking"):
            reasoning.append(_first_text(block, "reasoning", "thinking") or "")
    return "".join(text), "".join(reasoning)


def _tool_deltas(message: AIMessage) -> Iterator[ToolDelta]:
    pieces: list[Any] = [*_items(getattr(message, "tool_call_chunks", None))]
    if not pieces:
        pieces = [*_items(message.tool_calls), *_items(message.invalid_tool_calls)]
    for position, piece in enumerate(pieces):
        arguments = piece.get("args")
        if arguments is not None and not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False, default=str, skipkeys=True)
        index = piece.get("index")
        yield ToolDelta(
            index=index if isinstance(index, int) else position,
            id=_first_text(piece, "id"),
            name=_first_text(piece, "name"),
            arguments=arguments or "",
        )


def _usage_of(message: AIMessage) -> Json | None:
    raw = _mapping(_mapping(message.response_metadata).get("token_usage"))
    counted = wire_usage(message.usage_metadata)
    if counted is None:
        return dict(raw) or None
    return counted | ({} if _cost(raw) is None else {"cost": _cost(raw)})
