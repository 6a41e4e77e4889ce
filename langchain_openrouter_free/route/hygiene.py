"""The form of a conversation that a model demands, and how a conversation is brought into it. Pure.

Works on messages in the service's words. What is wrong for every model (a result without a call, a call without a
result, an id twice, an assistant that says nothing) is mended for every model; the rest only where a form asks for
it. What is given is never changed, and bringing a conversation into form twice is the same as once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from langchain_openrouter_free.judging.traits import (
    CONTENT_PARTS,
    MESSAGE_ORDER,
    OWN_REASONING,
    SEVERAL_CALLS,
    SYSTEM_ROLE,
    TOOL_CALL_IDS,
)
from langchain_openrouter_free.protocol.evidence import STRICT
from langchain_openrouter_free.values import value_type

Json = dict[str, Any]

_INSTRUCTIONS = frozenset({"system", "developer"})
_RESULTS = frozenset({"tool", "function"})
# What an assistant can say beside text.
_SAID = ("tool_calls", "function_call", "audio", "refusal", "reasoning", "reasoning_details")
# Stand where an order of roles has a gap.
_GO_ON, _READ, _NO_RESULT = "Continue.", "Understood.", "No result is known of this call."
# Models make calls without a name, and are told so; but the call must have one where it comes back.
_NAMELESS = "unknown"
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 9


@value_type()
class Form:
    """What a model demands.

    Attributes:
        call_ids: regular expression that each id of a tool call must match; "" where any id will do.
        system: whether the roles for instructions are known; else they are folded into the first user message.
        ordered: whether instructions must come first, then user and assistant by turns, an assistant between a
            tool's result and a user, and no assistant at the end.
        parts: whether a text may be a list of parts.
        reasoning: whether the model takes its own reasoning back; another model's is never sent.
        one_call: whether a message may hold but one tool call.
        tools: whether tool calls and their results are known as such; else they are told in words.
    """

    call_ids: str = ""
    system: bool = True
    ordered: bool = False
    parts: bool = True
    reasoning: bool = True
    one_call: bool = False
    tools: bool = True


NINE = r"[a-zA-Z0-9]{9}"
# https://docs.mistral.ai (code 3280 "must be a-z, A-Z, 0-9, with a length of 9"; 3230 "Unexpected role 'user' after
# role 'tool'"), recorded 2024-07 to 2026-06. The other ids: "should match pattern '^[a-zA-Z0-9_-]+$'", "maximum length
# 40". Gemma 1 to 3: "Developer instruction is not enabled" (recorded 2026), and a template that raises unless roles
# alternate.
KNOWN: tuple[tuple[str, Form], ...] = (
    ("mistralai/*", Form(call_ids=NINE, ordered=True)),
    ("anthropic/*", Form(call_ids=r"[a-zA-Z0-9_-]{1,64}")),
    ("openai/*", Form(call_ids=r".{1,40}")),
    ("google/gemma-[123]*", Form(system=False, ordered=True)),
)


@cache
def form_of(model: str, refused: frozenset[str] = frozenset(), *, tools: bool = True) -> Form:
    """Return the form for a model.

    Args:
        model: its id.
        refused: the forms (`traits.FORMS`) that it has refused, beside what is known of its family.
        tools: whether it can use tools.
    """
    form = next((form for pattern, form in KNOWN if fnmatchcase(model, pattern)), Form())
    return Form(
        call_ids=NINE if TOOL_CALL_IDS in refused else form.call_ids,
        system=form.system and SYSTEM_ROLE not in refused,
        ordered=form.ordered or MESSAGE_ORDER in refused,
        parts=form.parts and CONTENT_PARTS not in refused,
        reasoning=form.reasoning and OWN_REASONING not in refused,
        one_call=form.one_call or SEVERAL_CALLS in refused,
        tools=form.tools and tools,
    )


def formed(messages: Sequence[Json], form: Form, notes: list[str] | None = None) -> list[Json]:
    """Bring a conversation into a form.

    Args:
        messages: the conversation in the service's words; reasoning in it is the asked model's own.
        form: what the model demands.
        notes: gets a line for each thing that was repaired.

    Returns:
        A list of its own. Its messages may be those that were given; none of them is changed.
    """
    told: list[str] = [] if notes is None else notes
    said = [_proper(message) for message in messages]
    if not form.reasoning:
        said = [_without(message, "reasoning", "reasoning_details") for message in said]
    kept = [message for message in said if not _says_nothing(message)]
    if len(kept) < len(said):
        told.append("an assistant message that says nothing was left out")
    turns = _paired(kept or [{"role": "user", "content": _GO_ON}], told)
    if not form.tools:
        turns = [_Turn(message) for turn in turns for message in _in_words(turn)]
    if form.one_call:
        turns = [one for turn in turns for one in _split(turn)]
    said = _with_ids(turns, form.call_ids)
    if not form.system:
        said = _without_instructions(said)
    if form.ordered:
        said = list(_in_turns(_instructions_first(said)))
    return said if form.parts else [_flat(message) for message in said]


def _proper(message: Json) -> Json:
    """Return a message without an empty list of calls, and with a content where it has no calls either."""
    if "tool_calls" in message and not message["tool_calls"]:
        message = _without(message, "tool_calls")
    silent = message.get("content") is None and "tool_calls" not in message and "function_call" not in message
    return {**message, "content": ""} if silent else message


def _says_nothing(message: Json) -> bool:
    return message["role"] == "assistant" and not message.get("content") and not any(message.get(k) for k in _SAID)


def _without(message: Json, *names: str) -> Json:
    return {name: value for name, value in message.items() if name not in names}


# -- tool calls and their results


@dataclass(slots=True)
class _Turn:
    """One message with what belongs directly behind it: the results of its tool calls, by position."""

    message: Json
    calls: list[Json] = field(default_factory=list)
    results: dict[int, Json] = field(default_factory=dict)


def _paired(messages: Sequence[Json], notes: list[str]) -> list[_Turn]:
    """Put each result directly behind its call, and repair what has no partner.

    A result belongs to the latest call of its id that has none yet. A result without a call becomes a user's message,
    so that nothing is lost; a call without a result gets one that says so.
    """
    turns: list[_Turn] = []
    open_calls: dict[str, list[tuple[_Turn, int]]] = {}
    for message in messages:
        calls = [_readable(call) for call in message.get("tool_calls") or ()] if message["role"] == "assistant" else []
        if message["role"] == "tool":
            waiting = open_calls.get(_id(message.get("tool_call_id")))
            if waiting:
                turn, position = waiting.pop(0)
                turn.results[position] = message
            else:
                notes.append("a tool's result without its call was told as a user's message")
                turns.append(_Turn(_retold(message)))
            continue
        turn = _Turn(message, calls)
        turns.append(turn)
        latest: dict[str, list[tuple[_Turn, int]]] = {}
        for position, call in enumerate(calls):
            latest.setdefault(_id(call.get("id")), []).append((turn, position))
        open_calls |= latest
    for turn in turns:
        for position in set(range(len(turn.calls))) - turn.results.keys():
            notes.append("a tool call without a result was given one that says so")
            turn.results[position] = {"role": "tool", "content": _NO_RESULT}
    return turns


def _split(turn: _Turn) -> Iterator[_Turn]:
    """Yield a turn of several calls as turns of one call each; the words stand before the first."""
    for position, call in enumerate(turn.calls):
        rest = {"role": "assistant", "content": None, "tool_calls": [call]}
        message = {**turn.message, "tool_calls": [call]} if position == 0 else rest
        yield _Turn(message, [call], {0: turn.results[position]})
    if not turn.calls:
        yield turn


def _id(value: object) -> str:
    return "" if value is None else str(value)


def _readable(call: Json) -> Json:
    """Return a call with a name whose arguments are a JSON object: chat templates stumble over others."""
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    if not function.get("name"):
        call = {**call, "function": (function := {**function, "name": _NAMELESS})}
    arguments = function.get("arguments")
    try:
        if isinstance(STRICT.decode(arguments or "{}"), dict):
            return call if arguments else {**call, "function": {**function, "arguments": "{}"}}
    except (TypeError, ValueError, RecursionError):
        pass
    return {**call, "function": {**function, "arguments": json.dumps({"invalid": _id(arguments)}, ensure_ascii=False)}}


def _retold(result: Json, name: object = None) -> Json:
    name = result.get("name") or name
    about = f"The result of an earlier call of the tool {name}:" if name else "A tool's result:"
    return {"role": "user", "content": _joined(about, result.get("content"), "\n")}


def _in_words(turn: _Turn) -> Iterator[Json]:
    """Yield a turn for a model that knows no tools: what the assistant called, and a user who tells the results."""
    if not turn.calls:
        yield turn.message
        return
    functions = [call.get("function") or {} for call in turn.calls]
    called = "\n".join(f"(Called the tool {one.get('name')} with {one.get('arguments')}.)" for one in functions)
    yield {**_without(turn.message, "tool_calls"), "content": _joined(turn.message.get("content"), called)}
    yield from (_retold(turn.results[position], one.get("name")) for position, one in enumerate(functions))


def _with_ids(turns: Sequence[_Turn], pattern: str) -> list[Json]:
    """Give each call an id of its own that has the form, and its result the same; an id that will do is kept."""
    given = [_id(call.get("id")) for turn in turns for call in turn.calls]
    if not given:
        return [turn.message for turn in turns]
    taken = {one for one in given if _fits(one, pattern)}
    used: set[str] = set()
    tried: Counter[str] = Counter()
    messages: list[Json] = []
    for turn in turns:
        names = []
        for call in turn.calls:
            name = _id(call.get("id"))
            if name not in taken or name in used:
                name = _new_id(name, taken, tried)
                taken.add(name)
            used.add(name)
            names.append(name)
        calls = [
            call if call.get("id") == name else {**call, "id": name}
            for call, name in zip(turn.calls, names, strict=True)
        ]
        changed = calls and calls != turn.message["tool_calls"]
        messages.append({**turn.message, "tool_calls": calls} if changed else turn.message)
        messages += [_named(turn.results[position], name) for position, name in enumerate(names)]
    return messages


def _named(result: Json, name: str) -> Json:
    return result if result.get("tool_call_id") == name else {**result, "tool_call_id": name}


def _fits(name: str, pattern: str) -> bool:
    return bool(name) and (not pattern or re.fullmatch(pattern, name) is not None)


def _new_id(name: str, taken: Collection[str], tried: Counter[str]) -> str:
    """Return nine letters and digits that follow from an id and are not taken: what every known form allows.

    Some models give each of their calls the same id: what was made of it before is taken, and not made anew.
    """
    for _ in range(len(taken) + 1):
        attempt, tried[name] = tried[name], tried[name] + 1
        number = int.from_bytes(hashlib.sha256(f"{attempt}:{name}".encode(errors="surrogatepass")).digest())
        made = "".join(_LETTERS[number // len(_LETTERS) ** place % len(_LETTERS)] for place in range(_ID_LENGTH))
        if made not in taken:
            return made
    raise AssertionError("more hashes than ids that are taken")


# -- roles


def _without_instructions(messages: Sequence[Json]) -> list[Json]:
    """Tell instructions as a user would: the first ones at the head of the first user message."""
    start = next((n for n, message in enumerate(messages) if message["role"] not in _INSTRUCTIONS), len(messages))
    head, rest = (
        [_as_user(message) for message in messages[:start]],
        [_as_user(message) for message in messages[start:]],
    )
    if not head:
        return rest
    folded = head[0]
    for message in head[1:]:
        folded = _merged(folded, message)
    if rest and rest[0]["role"] == "user":
        return [{**rest[0], "content": _joined(folded.get("content"), rest[0].get("content"))}, *rest[1:]]
    return [folded, *rest]


def _as_user(message: Json) -> Json:
    return {**message, "role": "user"} if message["role"] in _INSTRUCTIONS else message


def _instructions_first(messages: Sequence[Json]) -> list[Json]:
    """Keep the first instructions as such, in one message; a user tells the later ones."""
    start = next((n for n, message in enumerate(messages) if message["role"] not in _INSTRUCTIONS), len(messages))
    head = list(messages[:1]) if start else []
    for message in messages[1:start]:
        head = [_merged(head[0], message)]
    return [*head, *(_as_user(message) for message in messages[start:])]


def _in_turns(messages: Iterable[Json]) -> Iterator[Json]:
    """Yield the messages so that user and assistant take turns and the last word is not the assistant's."""
    last: Json | None = None
    for message in messages:
        role, before = message["role"], None if last is None else last["role"]
        if last is not None and role == before and role in ("user", "assistant") and "function_call" not in last:
            last = _merged(last, message)
            continue
        if last is not None:
            yield last
        if role == "assistant" and (before is None or before in _INSTRUCTIONS):
            yield {"role": "user", "content": _GO_ON}
        elif role == "user" and before in _RESULTS:
            yield {"role": "assistant", "content": _READ}
        last = message
    if last is not None:
        yield last
        if last["role"] == "assistant" or last["role"] in _INSTRUCTIONS:
            yield {"role": "user", "content": _GO_ON}


def _merged(first: Json, second: Json) -> Json:
    """Return two messages of a role as one."""
    merged = {**second, **first, "content": _joined(first.get("content"), second.get("content"))}
    if first.get("name") != second.get("name"):
        merged.pop("name", None)
    if "tool_calls" in merged:
        merged["content"] = merged["content"] or None
    if details := [*first.get("reasoning_details", ()), *second.get("reasoning_details", ())]:
        merged["reasoning_details"] = details
    if reasoning := [said for one in (first, second) if (said := one.get("reasoning"))]:
        merged["reasoning"] = "\n\n".join(reasoning)
    return merged


# -- content


def _joined(first: Any, second: Any, between: str = "\n\n") -> Any:
    """Return two contents as one: a text if both are, else parts."""
    if not first or not second:
        return first or second or ""
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}{between}{second}"
    return [*_as_parts(first), *_as_parts(second)]


def _as_parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _flat(message: Json) -> Json:
    """Return a message whose parts are one text, if all of them are texts; a picture cannot be told so."""
    content = message.get("content")
    if not isinstance(content, list) or not all(part.get("type") == "text" for part in content):
        return message
    return {**message, "content": "\n".join(str(part.get("text", "")) for part in content)}
