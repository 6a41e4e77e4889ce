"""Is it an answer? The verdict on an attempt that ended without an error status.

Free models fail in ways that look like success. Each way is a row, with its policy in `verdicts.POLICIES`; what a call
lets through all the same, it says by the rows' names. Pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_openrouter_free.judging.schemas import misfit
from langchain_openrouter_free.judging.verdicts import Kind, Verdict, verdict
from langchain_openrouter_free.protocol.evidence import BROKEN_OFF
from langchain_openrouter_free.protocol.spoken import is_answer, says_something
from langchain_openrouter_free.protocol.wire import Completion, Delta, ToolDelta
from langchain_openrouter_free.values import value_type

Json = dict[str, Any]

_LENGTH = frozenset({"length", "max_tokens", "max_output_tokens"})
_FILTERED = frozenset(
    # z.ai's word, and those of Gemini
    {"content_filter", "refusal", "sensitive", "safety", "prohibited_content", "recitation", "blocklist", "spii"}
)

# The row of error objects; which kind such a reply is, its words say.
ERROR = "error"
_DELIVERED: Mapping[str, str] = {
    ERROR: "what was said before the error object, unless that concerns the account or the request",
    Kind.CUT: "what was said before the end",
    Kind.FINISH_ERROR: "what was said before the end",
    Kind.NO_CHOICES: "a message without content",
    Kind.EMPTY: "a message without content",
    Kind.ONLY_THOUGHTS: "the thoughts, in `additional_kwargs`, or as the text that they came in",
    Kind.SPENT: "the thoughts, in `additional_kwargs`, or as the text that they came in",
    Kind.REFUSAL: "the refusal, in `additional_kwargs`",
    Kind.MODERATED: "what the filter has left",
    Kind.ANNOUNCED: "the words (so by default)",
    Kind.CALLS_MISSING: "a message without content",
    Kind.NOT_CALLED: "what was said instead",
    Kind.UNKNOWN_TOOL: "the call as it is",
    Kind.BAD_ARGUMENTS: "the call, in `invalid_tool_calls`; of a stream, in `tool_calls` as far as it can be read",
    Kind.WRONG_ARGUMENTS: "the call as it is",
    Kind.REPEATED: "the call as it is",
    Kind.WRONG_OBJECT: "what the parser makes of it",
}
# Row -> what a caller gets who accepts it.
ROWS = {str(row): delivered for row, delivered in _DELIVERED.items()}
# Recorded: the words that came in place of the announced calls were the answer.
BY_DEFAULT = frozenset({str(Kind.ANNOUNCED)})
# So often the same call is made in one answer, or was answered in a row, before it counts as made without end.
MOST_REPEATS = 5
ENDLESS = "more tool calls in one answer than anyone means to make"
# More calls than these in one answer are made without end, however different: adding up their chunks takes whoever
# streams them the square of their number (4,000: a minute and a half).
MOST_CALLS = 256


@value_type()
class Terms:
    """What a call takes for an answer.

    Attributes:
        tools: name of each tool that may be called -> its JSON schema; None where that is not known.
        must_call: the tool that must be called, `""` for any of them, None where none must.
        looping: calls, as `key_of` writes them, that were answered so often in a row that they lead nowhere.
        accept: the rows that are let through.
        whole: whether nothing may be shown before all of it was judged.
    """

    tools: Mapping[str, Json] | None = None
    must_call: str | None = None
    looping: frozenset[tuple[str, str]] = frozenset()
    accept: frozenset[str] = BY_DEFAULT
    whole: bool = False

    def holds(self, delta: Delta) -> bool:
        """Tell whether a first piece of content is held back until the answer was judged: it may still be dropped."""
        if self.whole or delta.tool_calls or not (delta.text or delta.refusal):
            return self.whole
        if self.must_call is not None and Kind.NOT_CALLED not in self.accept:
            return True
        return not delta.text and Kind.REFUSAL not in self.accept


_PLAIN = Terms()


def terms_of(
    params: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], accept: frozenset[str], *, whole: bool
) -> Terms:
    """Return what a request takes for an answer.

    Args:
        params: its body, less the model and the messages.
        messages: the conversation in the service's words.
        accept: the rows that are let through.
        whole: whether nothing may be shown before all of it was judged.
    """
    offered, choice = params.get("tools") or (), params.get("tool_choice")
    functions = [tool.get("function") for tool in offered]
    # What the service runs itself calls things by names of its own.
    known = all(isinstance(function, Mapping) and function.get("name") for function in functions)
    tools = {f["name"]: f.get("parameters") or {} for f in functions if f and f.get("name")} if known else None
    named = choice.get("function") if isinstance(choice, Mapping) else None
    return Terms(
        {} if choice == "none" else tools,
        named.get("name") if isinstance(named, Mapping) else "" if choice in ("required", "any") else None,
        looping(messages),
        accept,
        whole,
    )


def judge(
    said: Completion,
    terms: Terms = _PLAIN,
    *,
    status: int | None = 200,
    complete: bool = True,
    failed: bool = False,
) -> Verdict:
    """Judge what an attempt has said once its reply is over; the first row that is not accepted decides.

    Args:
        said: all of the attempt's deltas together.
        terms: what the call takes for an answer.
        status: HTTP status of the reply.
        complete: whether the reply said that it is over.
        failed: whether an error object ended it that the call accepts.
    """
    for kind, why in _flaws(said, terms, complete=complete, failed=failed):
        if kind not in terms.accept:
            return verdict(kind, why, status=status)
    return verdict(Kind.OK, status=status)


def _flaws(said: Completion, terms: Terms, *, complete: bool, failed: bool) -> Iterator[tuple[Kind, str]]:
    if not failed:
        ended = _end_flaw(said, complete=complete) or _content_flaw(said, terms)
        if ended is not None:
            yield ended
    if not said.tool_calls:
        return
    for call in said.tool_calls:
        flaw = _call_flaw(call, terms)
        if flaw is not None:
            yield flaw
    if len(said.tool_calls) > MOST_CALLS:
        yield Kind.REPEATED, ENDLESS
    made = Counter(key_of(call.name, call.arguments) for call in said.tool_calls)
    for key, times in made.items():
        if times >= MOST_REPEATS or key in terms.looping:
            yield Kind.REPEATED, f"the same call of the tool {key[0]!r} again and again"


def _end_flaw(said: Completion, *, complete: bool) -> tuple[Kind, str] | None:
    """Say what is wrong with the end of a reply, whatever it said."""
    if not complete:
        return Kind.CUT, "the stream ended without a finish reason"
    finish, native = said.finish_reason or "", said.native_finish_reason or ""
    if finish.lower() in BROKEN_OFF or native.lower() in BROKEN_OFF:
        return Kind.FINISH_ERROR, f"the answer ended with finish_reason {finish!r} ({native or 'no reason given'})"
    return None if said.choice else (Kind.NO_CHOICES, "a success without choices")


def _content_flaw(said: Completion, terms: Terms) -> tuple[Kind, str] | None:
    """Say what is wrong with what a reply says as a whole."""
    finish, native = (said.finish_reason or "").lower(), (said.native_finish_reason or "").lower()
    filtered = f"finish_reason {finish or native!r}" if finish in _FILTERED or native in _FILTERED else ""
    if said.tool_calls:
        unnamed = terms.must_call and all(call.name != terms.must_call for call in said.tool_calls)
        return (Kind.NOT_CALLED, f"the tool {terms.must_call!r} was not called") if unnamed else None
    if is_answer(said.text):
        if filtered:
            return Kind.MODERATED, filtered
        if terms.must_call is not None:
            return Kind.NOT_CALLED, "words, and no tool call"
        return (Kind.ANNOUNCED, "words, and no tool call") if finish == "tool_calls" else None
    if said.refusal:
        return Kind.REFUSAL, f"the model refuses: {said.refusal[:200]!r}"
    if finish in _LENGTH or native in _LENGTH:
        return Kind.SPENT, "all tokens went into thinking"
    if filtered:
        return Kind.MODERATED, f"{filtered} and no content"
    if finish == "tool_calls":
        return Kind.CALLS_MISSING, "finish_reason announced tool calls, and there are none"
    if says_something(said.reasoning) or says_something(said.text):
        return Kind.ONLY_THOUGHTS, f"thoughts, and no answer (finish_reason {said.finish_reason!r})"
    return Kind.EMPTY, f"no text, no tool call (finish_reason {said.finish_reason!r})"


def _call_flaw(call: ToolDelta, terms: Terms) -> tuple[Kind, str] | None:
    """Say what makes a tool call unusable, or None."""
    if not call.name:
        return Kind.UNKNOWN_TOOL, "a tool call without a name"
    if terms.tools is not None and call.name not in terms.tools:
        return Kind.UNKNOWN_TOOL, f"a call of the tool {call.name!r}, which was not offered"
    arguments = _parsed(call.arguments)
    if not isinstance(arguments, dict):
        what = "are not JSON" if arguments is None else "are not an object"
        return Kind.BAD_ARGUMENTS, f"the arguments of the tool call {call.name!r} {what}"
    wrong = misfit(arguments, (terms.tools or {}).get(call.name))
    return (Kind.WRONG_ARGUMENTS, f"the arguments of the tool call {call.name!r}: {wrong}") if wrong else None


def _parsed(arguments: str) -> object:
    """Return the arguments of a call; None where they are no JSON."""
    try:
        return json.loads(arguments, strict=False) if arguments.strip() else {}
    except (ValueError, RecursionError):
        return None


def key_of(name: object, arguments: object) -> tuple[str, str]:
    """Return what two calls have in common that are the same, however their arguments are written."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, default=str)
    try:
        return str(name), json.dumps(json.loads(text, strict=False), sort_keys=True)
    except (ValueError, RecursionError):
        return str(name), text.strip() or "{}"


def looping(messages: Sequence[Mapping[str, Any]]) -> frozenset[tuple[str, str]]:
    """Return the calls that each of the last answers of a conversation has made, whatever they led to.

    Args:
        messages: the conversation in the service's words; what another than model and tools said begins it anew.
    """
    common: frozenset[tuple[str, str]] = frozenset()
    answers = 0
    for message in reversed(messages):
        if message.get("role") == "tool":
            continue
        told = [call.get("function") or {} for call in message.get("tool_calls") or ()]
        made = frozenset(key_of(call.get("name"), call.get("arguments") or "") for call in told)
        common = made if not answers else common & made
        answers += 1
        if not common or answers == MOST_REPEATS:
            return common
    return frozenset()
