"""Is it an answer? The verdict on an attempt that ended without an error.

Free models fail in ways that look like success: this table tells them apart. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet

from langchain_openrouter_free.verdicts import Kind, Scope, Verdict, verdict
from langchain_openrouter_free.wire import Completion, ToolDelta

_LENGTH = frozenset({"length", "max_tokens", "max_output_tokens"})
_FILTERED = frozenset({"content_filter", "safety", "prohibited_content", "recitation", "refusal"})


def judge(said: Completion, *, tools: AbstractSet[str] = frozenset(), status: int | None = 200) -> Verdict:
    """Judge what an attempt has said once its reply is over.

    Args:
        said: all of the attempt's deltas together.
        tools: names of the tools that were offered; empty where none were.
        status: HTTP status of the reply.
    """
    finish = (said.finish_reason or "").lower()
    native = (said.native_finish_reason or "").lower()
    if finish == "error":
        why = f"the answer ended with finish_reason 'error' ({said.native_finish_reason or 'no reason given'})"
        return verdict(Kind.BROKEN, why, scope=Scope.MODEL, status=status)
    fault = _tool_fault(said.tool_calls, tools)
    if fault:
        return verdict(Kind.BROKEN, fault, scope=Scope.MODEL, status=status)
    if said.text.strip() or said.tool_calls or said.refusal:
        return verdict(Kind.OK, status=status)
    if finish in _LENGTH or native in _LENGTH:
        return verdict(Kind.SPENT, status=status)
    if finish in _FILTERED or native in _FILTERED:
        return verdict(Kind.MODERATED, f"finish_reason {finish or native!r} and no content", status=status)
    if finish == "tool_calls":
        why = "finish_reason announced tool calls, and there are none"
        return verdict(Kind.BROKEN, why, scope=Scope.MODEL, status=status)
    why = f"no text, no tool call (finish_reason {said.finish_reason!r})"
    return verdict(Kind.EMPTY, why, status=status)


def _tool_fault(calls: list[ToolDelta], tools: AbstractSet[str]) -> str | None:
    """Say what makes a tool call unusable, or None."""
    for call in calls:
        if not call.name:
            return "a tool call without a name"
        if tools and call.name not in tools:
            return f"a call of the tool {call.name!r}, which was not offered"
        try:
            arguments = json.loads(call.arguments, strict=False) if call.arguments.strip() else {}
        except ValueError:
            return f"the arguments of the tool call {call.name!r} are not JSON"
        if not isinstance(arguments, dict):
            return f"the arguments of the tool call {call.name!r} are not an object"
    return None
