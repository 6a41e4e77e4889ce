"""The table: what a refusal says that the model cannot do, in names of `traits.VOCABULARY`. Pure.

Only plain words teach: a feature beside "not supported", or the routing step that looks for it. Words that fit several
things ("the requested parameters") name nothing, and a schema or a value that a provider dislikes is no feature that it
lacks. Whether the request used what is named is for `lessons.py` to say.

Sources: recorded and reported replies of 2025-06 to 2026-10; the templates and servers behind open models (vLLM,
mistral-common, the chat templates of Gemma, Llama, Mistral and Qwen).
"""

from __future__ import annotations

import re

from langchain_openrouter_free.judging.traits import (
    CONTENT_PARTS,
    FORCED_CHOICE,
    INPUTS,
    JSON_MODE,
    MESSAGE_ORDER,
    OWN_REASONING,
    PARALLEL,
    REASONING_OFF,
    SEVERAL_CALLS,
    SPARED,
    STRUCTURED,
    SYSTEM_ROLE,
    TOOL_CALL_IDS,
    TOOLS,
)
from langchain_openrouter_free.protocol.evidence import Evidence, compiled

# A feature, as sentences call it.
_NOUNS: dict[frozenset[str], str] = {
    frozenset({TOOLS}): r"tools|tool (?:use|calls?|calling)|function.?calling|function calls?|functions",
    frozenset({FORCED_CHOICE}): r"tool.?choice(?: value)?|forced tool (?:use|calls?|choice)",
    frozenset({PARALLEL, SEVERAL_CALLS}): r"(?:parallel|multiple).?tool.?(?:calls?|calling|use)",
    frozenset({STRUCTURED}): r"json.?schema|structured.?outputs?",
    frozenset({STRUCTURED, JSON_MODE}): r"response.?format(?:\.type)?(?: type)?",
    frozenset({JSON_MODE}): r"json.?(?:mode|object)",
    frozenset({"stop"}): r"stop(?: (?:words?|sequences?))?|stop_sequences?",
    frozenset({"logprobs"}): r"(?:top_)?logprobs|log probabilities",
    frozenset({INPUTS["image"]}): r"images?|image.?(?:inputs?|urls?)|vision|multi.?modal(?: inputs?)?",
    frozenset({INPUTS["audio"]}): r"audio|(?:input.?)?audio.?(?:inputs?)?",
    frozenset({INPUTS["video"]}): r"videos?|video.?(?:inputs?|urls?)",
    frozenset({INPUTS["file"]}): r"(?:file|pdf|document)s? ?inputs?|pdfs?|files",
    frozenset({"reasoning"}): r"(?:reasoning|thinking)(?: mode)?",
    frozenset({SYSTEM_ROLE}): r"(?:system|developer) (?:role|message|prompt|instruction)s?",
    **{frozenset({name}): name.replace("_", "[_ ]") for name in SPARED - {PARALLEL, "reasoning"}},
}
# What stands around a name, and a few words between it and what is said of it.
_QUOTE, _WORDS = r"""[\s"'`\\]*""", r"(?:[\w-]+ ){0,4}?"
_NO = r"(?:not|n't|cannot|no endpoints? (?:were )?found that|no endpoints?(?: that)?) (?:currently |yet )?"
_IS_NOT = r"(?:(?:is|are|was|were) (?:currently |yet )?not|isn't|aren't|not) (?:\w+ )?"
_POSSIBLE = r"(?:supported|enabled|allowed|available|permitted|implemented|accepted)"
_ODD = r"(?:unsupported|unknown|unrecognized|unexpected) (?:\w+ )?(?:parameter|argument|field|key)s?(?: supplied)?"


def _refuses(said: str, noun: str) -> bool:
    """Tell whether a text says no to a feature."""
    return compiled(noun).search(said) is not None and compiled(_refusal(noun)).search(said) is not None


def _refusal(noun: str) -> str:
    """Return the sentences that say no to a feature."""
    begins, ends = rf"(?<![\w-])(?:{noun}){_QUOTE}", rf"{_QUOTE}(?:{noun})(?![\w-])"
    said = (
        rf"{_NO}support(?:ing)? {_WORDS}{ends}",
        rf"{begins}{_WORDS}{_IS_NOT}{_POSSIBLE}",
        rf"{begins}(?:is|are) (?:un(?:supported|available)|disabled)",
        rf"{_ODD}:?{ends}",
    )
    return "|".join(said)


_ONLY = r"(?:input should be|(?:supported|allowed) values(?: are)?|must be one of|expected one of)\W{0,5}"

# Sentences of their own, most specific first: the first that is there names it all.
_SENTENCES: tuple[tuple[frozenset[str], tuple[str, ...]], ...] = (
    (frozenset({TOOLS}), (r"auto.{0,3}tool.choice", r"tool.call.parser")),
    (
        frozenset({PARALLEL, SEVERAL_CALLS}),
        (r"single tool.calls? at once", r"one tool.call at a time", r"multiple tool.calls"),
    ),
    (
        frozenset({FORCED_CHOICE}),
        (
            r"tool.?choice\W{1,4}(?:parameter )?(?:value|that forces|forces|must be|may only|does(?: not|n't) support)",
            r"tool.?choice\W{1,4}(?:required|any|function|named)\b.{0,20}(?:not|un|incompatible)",
            rf"^(?=.*tool.?choice).*{_ONLY}(?:none|auto)\W{{1,3}}(?:and|or)?\W{{0,3}}(?:none|auto)\b(?!.{{0,30}}required)",
            r"tool.?choice.{0,40}(?:incompatible|only .{0,10}auto)",
            r"only supports? .{0,20}auto\b.{0,40}tool.?choice",
            r"support (?:the |this )?(?:provided )?\W?tool.?choice",
        ),
    ),
    (
        frozenset({REASONING_OFF}),
        (
            r"(?:reasoning|thinking) is mandatory",
            r"(?:reasoning|thinking).{0,30}(?:cannot|can't|must not) be disabled",
            r"(?:cannot|can't) disable (?:reasoning|thinking)",
            r"(?:reasoning|thinking).{0,20}must be enabled",
        ),
    ),
    (frozenset({STRUCTURED}), (rf"^(?=.*response.?format.{{0,6}}type).*{_ONLY}(?!.{{0,60}}json.?schema)",)),
    (frozenset({INPUTS["image"]}), (r"not a multimodal model", r"unknown variant \W{0,2}image", r"at most 0 image")),
    (frozenset({INPUTS["audio"]}), (r"unknown variant \W{0,2}(?:input_)?audio", r"at most 0 audio")),
    (frozenset({INPUTS["video"]}), (r"unknown variant \W{0,2}video", r"at most 0 video")),
    (frozenset({INPUTS["file"]}), (r"unknown variant \W{0,2}file",)),
    (
        frozenset({TOOL_CALL_IDS}),
        (
            r"duplicate tool.?call.?id",
            r"tool.?call.?ids? (?:was|should|must|has to)",
            r"tool_(?:use|call)s?\S*id\S*\W.{0,20}match",
            r"alphanumeric strings? with length",
            r"tool_calls\[\d+\]\.id",
        ),
    ),
    (
        frozenset({MESSAGE_ORDER}),
        (
            r"unexpected role",
            r"roles? must alternate",
            r"alternat\w+ between (?:user|roles)",
            r"invalid_request_message_order",
            r"expected last role",
            r"after role",
            r"(?:first|last) message (?:must|should)",
            r"message order",
            r"function call turn comes",
            r"must be at the beginning",
            r"prefill",
            r"successive user",
            r"same number of function calls",
            r"must be a response to a prece",
        ),
    ),
    (
        frozenset({OWN_REASONING}),
        (r"thought_?signature", r"thinking.?block", r"signature\W+in\b", r"reasoning_(?:details|content)"),
    ),
    (frozenset({CONTENT_PARTS}), (r"content.{0,60}(?:must|should|expected to) be a (?:valid )?string",)),
    (
        frozenset({SYSTEM_ROLE}),
        (
            r"developer instruction",
            r"only user and assistant roles",
            r"unknown variant \W{0,2}(?:system|developer)",
            r"invalid value\W{1,3}(?:system|developer)\b",
        ),
    ),
)
_SPOKEN = tuple((names, "|".join(sentences)) for names, sentences in _SENTENCES)
# Of a body without end the first words tell.
_READ = 8_000
# No model has a context of so many digits.
_MOST_DIGITS = 10

# The service's own steps (`failed_routing_step`, 2026), which say what they looked for.
_STEPS = (
    (frozenset({TOOLS, FORCED_CHOICE}), r"tool compat|tool (?:use|support)"),
    (frozenset({FORCED_CHOICE}), r"tool.choice"),
    (frozenset({INPUTS["image"]}), r"image"),
    (frozenset({INPUTS["audio"]}), r"audio"),
    (frozenset({INPUTS["video"]}), r"video"),
    (frozenset({INPUTS["file"]}), r"file|pdf"),
    (frozenset({STRUCTURED, JSON_MODE}), r"structured|response.format"),
)


# How a refusal for length tells the context, and the model's own count of the prompt.
_CONTEXT = r"context (?:length|window|limit|size)(?: is| of|:) (?:only )?(\d[\d,]*)|> ?(\d[\d,]*) (?:tokens )?maximum"
_PROMPT = (
    r"\((\d[\d,]*) (?:of text input|in the messages|in the prompt|input)"
    r"|(?:prompt|input) is too long:?\s+(\d[\d,]*) tokens"
    r"|(?:has|contains|have) (?:at least )?(\d[\d,]*) (?:input|prompt) tokens"
)


def sizes(seen: Evidence) -> tuple[int | None, int | None]:
    """Return the context that a refusal for length names, and the tokens that it counted in the prompt."""
    said = seen.said[:_READ]
    return _number(compiled(_CONTEXT).search(said)), _number(compiled(_PROMPT).search(said))


def _number(hit: re.Match[str] | None) -> int | None:
    digits = "" if hit is None else next(group for group in hit.groups() if group).replace(",", "")
    return int(digits) if 0 < len(digits) < _MOST_DIGITS else None


def named(seen: Evidence) -> frozenset[str]:
    """Return what a refusal names; words count before the step, for they are more precise."""
    said = seen.said[:_READ]
    spoken = next((names for names, sentence in _SPOKEN if compiled(sentence, re.DOTALL).search(said)), None)
    found = spoken or frozenset(name for names, noun in _NOUNS.items() if _refuses(said, noun) for name in names)
    if found or not seen.routing_step:
        return found
    return next((names for names, step in _STEPS if compiled(step).search(seen.routing_step)), frozenset())
