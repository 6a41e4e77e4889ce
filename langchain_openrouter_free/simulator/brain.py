"""Simple but real answers: what a model says to a conversation.

Owns the choice between text, tool calls and JSON, and the cutting at `stop` and `max_tokens`. It knows the
request body and a catalogue row; nothing of HTTP, accounts or scripts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_openrouter_free.simulator.catalogue import Row
from langchain_openrouter_free.simulator.reply import Json
from langchain_openrouter_free.simulator.schemas import names, numbers, quoted, sample, type_of
from langchain_openrouter_free.simulator.tasks import Task, mentions, task_of

CHARS_PER_TOKEN = 4
TOKENS_PER_IMAGE = 256
TOKENS_PER_MESSAGE = 3
_ECHO = 80
_THOUGHTS = "The user says: {echo} A short answer will do."
_SHORT_WORDS = frozenset({"this", "that", "with", "from", "what", "when", "your", "have", "using", "tool", "tools"})
_PARTS = re.compile(r"\band\b|\bthen\b|;")
_KEY = re.compile(r"^\w+$")


@dataclass(slots=True)
class ToolCall:
    """One call: the name of the tool and its arguments as JSON text."""

    name: str
    arguments: str


@dataclass(slots=True)
class Answer:
    """What the model says, before it is told in the service's dialect."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    finish: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    images: int = 0


def count_tokens(text: str) -> int:
    """Tokens of a text: a quarter of its characters, rounded up."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


@dataclass(slots=True)
class Prompt:
    """What is read from the messages of a request, once."""

    messages: list[Json]
    said: str = ""
    tokens: int = 0
    images: int = 0
    audio: int = 0
    cacheable: list[str] = field(default_factory=list)


def read(body: Json) -> Prompt:
    """Go through the messages of a request; what is no message is passed over."""
    messages = body.get("messages")
    prompt = Prompt([one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else [])
    for message in prompt.messages:
        content = message.get("content")
        text = text_of(message)
        prompt.tokens += count_tokens(text) + TOKENS_PER_MESSAGE
        if message.get("role") == "user":
            prompt.said = text
        if isinstance(content, list):
            _read_parts(prompt, content)
    if body.get("tools"):
        prompt.tokens += count_tokens(json.dumps(body["tools"]))
    return prompt


def _read_parts(prompt: Prompt, content: list[Any]) -> None:
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "image_url":
            prompt.images += 1
            prompt.tokens += TOKENS_PER_IMAGE
        elif kind == "input_audio":
            prompt.audio += 1
        elif kind == "text" and part.get("cache_control"):
            prompt.cacheable.append(str(part.get("text", "")))


def text_of(message: Json) -> str:
    """The text of a message, whose content may be a text or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return " ".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def offered_tools(body: Json) -> list[Json]:
    """The function objects of the offered tools."""
    tools = body.get("tools")
    if not isinstance(tools, list):
        return []
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    return [one for one in functions if isinstance(one, dict) and one.get("name")]


def named_choice(body: Json) -> str | None:
    """The tool that tool_choice names, if it names one."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        function = choice.get("function")
        return str(function.get("name")) if isinstance(function, dict) else None
    return None


def thinks(body: Json, row: Row) -> bool:
    """Whether the model shows thoughts for this request."""
    wish = body.get("reasoning")
    wish = wish if isinstance(wish, dict) else {}
    effort = wish.get("effort", body.get("reasoning_effort"))
    if not row.takes("reasoning") or wish.get("exclude") or body.get("include_reasoning") is False:
        return False
    if (row.reasoning or {}).get("mandatory"):
        return True
    if wish.get("enabled") is False or effort == "none":
        return False
    asked = bool(wish.get("enabled") or effort or wish.get("max_tokens") or body.get("include_reasoning"))
    return asked or row.thinks


def answer(
    body: Json, row: Row, prompt: Prompt, *, text: str | None = None, reasoning: str | bool | None = None
) -> Answer:
    """What the model says.

    Args:
        body: the request.
        row: the model.
        prompt: what was read from the request.
        text: words to say instead of the model's own.
        reasoning: thoughts to show, or whether to show some; None leaves that to request and model.
    """
    messages = prompt.messages
    task = task_of(messages, [text_of(message) for message in messages])
    said = prompt.said if task is None else task.text
    result = Answer(prompt_tokens=prompt.tokens, images=prompt.images)
    if text is None:
        result.calls = _calls(body, _wanted(body, row, prompt, task), said, prompt)
    if result.calls:
        result.finish = "tool_calls"
    elif text is not None:
        result.text = text
    else:
        result.text = _json_text(body, row, said) or _plain_text(row, messages, said, task)
    if isinstance(reasoning, str):
        result.reasoning = reasoning
    elif thinks(body, row) if reasoning is None else reasoning:
        result.reasoning = _THOUGHTS.format(echo=said[:_ECHO])
    _count_and_cut(result, body)
    return result


def _plain_text(row: Row, messages: list[Json], said: str, task: Task | None) -> str:
    if task is not None and task.is_over:
        return f"{row.id} has done all steps: {said}"
    last = messages[-1] if messages else {}
    if last.get("role") == "tool":
        return f"{row.id} has read the result of the tool: {text_of(last)[:_ECHO]}"
    return f"{row.id} answers: you said {' '.join(said.split())[:_ECHO]}"


def _json_text(body: Json, row: Row, said: str) -> str | None:
    wish = body.get("response_format")
    kind = wish.get("type") if isinstance(wish, dict) else None
    told = _schema_in(said)
    if told is not None and kind != "json_schema":
        return json.dumps(sample(*told), ensure_ascii=False)
    if not isinstance(wish, dict) or not (row.takes("structured_outputs") or row.takes("response_format")):
        return None
    if kind == "json_schema":
        schema = (wish.get("json_schema") or {}).get("schema", {})
        return json.dumps(sample(schema, said), ensure_ascii=False)
    if kind == "json_object":
        keys = [one for one in quoted(said) if _KEY.match(one)] or ["answer"]
        return json.dumps({key: f"{key}: {said[:_ECHO]}" for key in keys}, ensure_ascii=False)
    return None


def _schema_in(said: str) -> tuple[Json, str] | None:
    """The JSON schema that a prompt tells, and the words before it."""
    words, found, told = said.partition("JSON schema:")
    if not found:
        return None
    try:
        schema, _ = json.JSONDecoder().raw_decode(told.strip())
    except ValueError:
        return None
    return (schema, words) if isinstance(schema, dict) else None


def _wanted(body: Json, row: Row, prompt: Prompt, task: Task | None) -> list[Json]:
    """The tools that the model calls."""
    tools = offered_tools(body)
    choice = body.get("tool_choice") if row.takes("tool_choice") else None
    if not tools or choice == "none":
        return []
    named = named_choice(body) if choice else None
    if named is not None:
        return [tool for tool in tools if tool["name"] == named]
    must = choice in ("required", "any")
    if task is None:
        answered = bool(prompt.messages) and prompt.messages[-1].get("role") == "tool"
        fitting = [] if answered and not must else [tool for tool in tools if _is_for(tool, prompt.said)]
        if must:
            return _forced(tools, fitting, _answered(prompt.messages))
    elif task.is_over:
        # Who has to call one more is to give the result in a form: a tool that was no part of the task.
        fitting = [tool for tool in tools if must and not task.names(str(tool["name"]))][-1:]
    else:
        fitting = [tool for tool in tools if mentions(task.text, str(tool["name"]))]
    return fitting or (tools[:1] if must else [])


def _forced(tools: list[Json], fitting: list[Json], known: set[str]) -> list[Json]:
    """The tools that one calls who has to: none again whose result is known, and the form of the result last."""
    left = [tool for tool in tools if tool["name"] not in known] or tools[-1:]
    fitting = [tool for tool in fitting if tool in left]
    before = [tool for tool in fitting if tool is not tools[-1]]
    return before or fitting or (left[-1:] if known else tools[:1])


def _answered(messages: list[Json]) -> set[str]:
    """The tools whose results came since the user spoke."""
    spoke = max((at for at, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    since = messages[spoke + 1 :]
    calls = [call for message in since for call in message.get("tool_calls") or () if isinstance(call, dict)]
    told = [message.get("tool_call_id") for message in since if message.get("role") == "tool"]
    return {name for call in calls if call.get("id") in told and (name := (call.get("function") or {}).get("name"))}


def _calls(body: Json, wanted: list[Json], said: str, prompt: Prompt) -> list[ToolCall]:
    calls = [call for tool in wanted for call in _calls_of(tool, said)]
    is_form = len(wanted) == 1 and wanted[0] is offered_tools(body)[-1] and bool(_answered(prompt.messages))
    return calls[:1] if is_form or body.get("parallel_tool_calls") is False else calls


def _is_for(tool: Json, said: str) -> bool:
    """Whether the text mentions the tool, something of its name, or numbers that it needs."""
    lower = said.lower()
    name = str(tool["name"])
    if name.lower() in lower:
        return True
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    words = [word for word in re.split(r"[\W_]+", spaced) if len(word) >= CHARS_PER_TOKEN]
    if any(word in lower for word in words if word not in _SHORT_WORDS):
        return True
    needed = _needs(tool, {"integer", "number"})
    return needed > 0 and len(numbers(said)) >= needed


def _needs(tool: Json, kinds: set[str]) -> int:
    schema = tool.get("parameters")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(properties, dict):
        return 0
    wanted = schema.get("required")
    needed = [properties.get(name) for name in (wanted if isinstance(wanted, list) and wanted else properties)]
    return sum(1 for one in needed if isinstance(one, dict) and "type" in one and type_of(one) in kinds)


def _calls_of(tool: Json, said: str) -> Iterator[ToolCall]:
    """One call, or one for each half of the text when each half has what the tool needs."""
    digits, words = _needs(tool, {"integer", "number"}), _needs(tool, {"string"})
    parts = [_with_name(part.strip()) for part in _PARTS.split(said) if part.strip()]
    enough = [(not digits or len(numbers(part)) >= digits) and (not words or bool(names(part))) for part in parts]
    several = len(parts) > 1 and all(enough) and digits + words > 0
    for text in parts if several else [said]:
        arguments = sample(tool.get("parameters") or {}, text)
        yield ToolCall(tool["name"], json.dumps(arguments if isinstance(arguments, dict) else {}, ensure_ascii=False))


def _with_name(part: str) -> str:
    """A part of a sentence that may have lost the word before its name."""
    return part if names(part) else f"to {part}"


def _count_and_cut(result: Answer, body: Json) -> None:
    stops = body.get("stop")
    for stop in [stops] if isinstance(stops, str) else stops or []:
        if isinstance(stop, str) and stop in result.text:
            result.text = result.text[: result.text.index(stop)]
    spoken = count_tokens(result.text) + sum(count_tokens(call.name + call.arguments) for call in result.calls)
    result.reasoning_tokens = count_tokens(result.reasoning)
    result.completion_tokens = result.reasoning_tokens + spoken
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(most, int) and most > 0 and result.completion_tokens > most and not result.calls:
        result.finish = "length"
        result.reasoning = result.reasoning[: most * CHARS_PER_TOKEN]
        result.reasoning_tokens = min(result.reasoning_tokens, most)
        result.text = result.text[: (most - result.reasoning_tokens) * CHARS_PER_TOKEN]
        result.completion_tokens = most
