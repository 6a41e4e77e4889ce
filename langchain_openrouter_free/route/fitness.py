"""What a request needs, and whether a model can do it: by its facts, and by what it has refused. Pure.

The rule of each parameter. The service ignores what a model doesn't list (its page on parameters); so the question is
whether the answer is then the one that was asked for. Of 18 free chat models of August 2026, 17 listed tools, 15
`tool_choice` and `seed`, 7 `response_format`, 5 `stop`, 1 `logprobs`: what runs on past a stop word was not asked for.

| in the request | where the model doesn't list it, or has refused it |
|---|---|
| tools, a forced tool choice, structured output, JSON mode, `logprobs`, `stop` | the model is unfit: the answer would \
not be what was asked for |
| images, sound, film; a context that is too small | unfit |
| files | fit, for the service reads them for any model; unfit once refused |
| reasoning switched off, of a model that always reasons | unfit |
| `temperature`, `top_p`, `top_k`, `min_p`, `top_a`, penalties, `seed`, `logit_bias`, `reasoning` switched on, \
`parallel_tool_calls` | left out for that model: the answer is an answer all the same |
| `tool_choice` auto, `strict` of a tool | left out |
| `tool_choice` none | the tools are left out with it |
| a system message, tool calls and their ids, the order of messages | fit: no list says it, and who has refused one is \
asked in another form |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_openrouter_free.catalogue.facts import ModelFacts
from langchain_openrouter_free.judging.traits import (
    CONTENT_PARTS,
    FORCED_CHOICE,
    INPUTS,
    JSON_MODE,
    MESSAGE_ORDER,
    MOST_RATIO,
    OWN_REASONING,
    PARALLEL,
    REASONING_OFF,
    SEVERAL_CALLS,
    STRUCTURED,
    SYSTEM_ROLE,
    TOOL_CALL_IDS,
    TOOLS,
    UNKNOWN,
    Traits,
)
from langchain_openrouter_free.protocol.preferences import PRIVACY
from langchain_openrouter_free.values import value_type

# Parameters without which an answer is still an answer, and what each is called when it is refused.
_SPARED = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "top_a": "top_a",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repetition_penalty": "repetition_penalty",
    "seed": "seed",
    "logit_bias": "logit_bias",
    "parallel_tool_calls": PARALLEL,
    "reasoning": "reasoning",
    "include_reasoning": "reasoning",
}
LEFT_OUT = frozenset(_SPARED)
UNFIT = "it is unfit for this request: "
_NO_ROOM = f"{UNFIT}a context of "
RULED_OUT = "the account's privacy setting or guardrail has ruled it out"
# Tokens that an answer needs at least, where the caller names no limit.
_SOME_ANSWER = 256


@value_type()
class Needs:
    """What a request asks of a model.

    Attributes:
        features: of `"tools"`, `"forced tool choice"`, `"structured output"`, `"JSON mode"`, `"stop"`, `"logprobs"`.
        inputs: modalities of the prompt beside text.
        no_reasoning: whether thinking is switched off.
        prompt_tokens: an estimate.
        output_tokens: what the caller wants at most; 0 where no limit is named.
        spared: parameters that may be left out.
        forms: forms of its history that some models refuse.
        privacy: what is asked of providers, one of `preferences.PRIVACY`.
        narrowed: whether the user's own preferences leave providers out.
    """

    features: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    no_reasoning: bool = False
    prompt_tokens: int = 0
    output_tokens: int = 0
    spared: frozenset[str] = frozenset()
    forms: frozenset[str] = frozenset()
    privacy: str = PRIVACY[0]
    narrowed: bool = False

    def room(self, known: Traits = UNKNOWN) -> int:
        """Return the tokens of prompt and answer together, as a model counts them, with a margin for the estimate."""
        return known.tokens(self.prompt_tokens) + (self.output_tokens or _SOME_ANSWER)

    @property
    def most_room(self) -> int:
        """More than any model can make of it: what fits into a context even so needs no closer look."""
        return int(self.prompt_tokens * MOST_RATIO * 2) + (self.output_tokens or _SOME_ANSWER)

    @property
    def needed(self) -> frozenset[str]:
        """Names (`traits.NEEDED`) of all without which the answer would not be the one that was asked for."""
        off = {REASONING_OFF} if self.no_reasoning else set()
        return self.features | {INPUTS[kind] for kind in self.inputs if kind in INPUTS} | off

    def used(self, takes: frozenset[str] | None, refused: frozenset[str]) -> frozenset[str]:
        """Return the names of all that a request to one model uses: not what is left out or reshaped for it."""
        sent = {_SPARED[name] for name in self.spared if takes is None or name in takes}
        return self.needed | ((sent | self.forms) - refused)

    def using(self, names: frozenset[str]) -> Needs:
        """Return the needs of a request that uses these features as well."""
        return replace(self, features=self.features | names) if names else self

    @property
    def kind(self) -> tuple[frozenset[str], frozenset[str], bool]:
        """What all requests have in common that the same models are fit for, by the catalogue."""
        return self.features, self.inputs, self.no_reasoning


# Which listed parameters satisfy a feature; any of them does.
_FEATURES: Mapping[str, tuple[str, ...]] = {
    TOOLS: ("tools",),
    FORCED_CHOICE: ("tool_choice",),
    STRUCTURED: ("structured_outputs", "response_format"),
    JSON_MODE: ("response_format", "structured_outputs"),
    "stop": ("stop",),
    "logprobs": ("logprobs",),
}


def needs_of(
    params: Mapping[str, Any],
    inputs: frozenset[str],
    prompt_tokens: int,
    *,
    forms: frozenset[str] = frozenset(),
    privacy: str = PRIVACY[0],
    narrowed: bool = False,
) -> Needs:
    """Return what a request asks for.

    Args:
        params: its body, less the model and the messages.
        inputs: modalities of the prompt beside text.
        prompt_tokens: an estimate.
        forms: what `forms_of` says of its messages.
        privacy: what is asked of providers.
        narrowed: whether the user's own preferences leave providers out.
    """
    features: set[str] = set()
    if params.get("tools") and params.get("tool_choice") != "none":
        features.add(TOOLS)
        if params.get("tool_choice") not in (None, "auto"):
            features.add(FORCED_CHOICE)
    form = params.get("response_format")
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "json_schema":
        features.add(STRUCTURED)
    elif kind == "json_object":
        features.add(JSON_MODE)
    features |= {name for name in ("stop", "logprobs") if params.get(name)}
    most, off = params.get("max_tokens"), _is_off(params)
    spared = LEFT_OUT & params.keys() - ({"reasoning"} if off else set())
    return Needs(
        frozenset(features),
        inputs,
        off,
        prompt_tokens,
        most if isinstance(most, int) else 0,
        spared,
        forms,
        privacy,
        narrowed,
    )


def _is_off(params: Mapping[str, Any]) -> bool:
    reasoning = params.get("reasoning")
    off = isinstance(reasoning, Mapping) and (reasoning.get("enabled") is False or reasoning.get("effort") == "none")
    return off or params.get("reasoning_effort") == "none"


def forms_of(wired: Sequence[Mapping[str, Any]], *, reasoning: bool = False) -> frozenset[str]:
    """Return which forms a history has that some models refuse; `reasoning`: whether any could be sent back."""
    forms = {OWN_REASONING} if reasoning else set()
    if len(wired) > 1 or wired[0].get("role") != "user":
        forms.add(MESSAGE_ORDER)
    for message in wired:
        if isinstance(message.get("content"), list):
            forms.add(CONTENT_PARTS)
        calls = message.get("tool_calls") or ()
        if message.get("role") in ("system", "developer"):
            forms.add(SYSTEM_ROLE)
        elif calls or message.get("role") == "tool":
            forms |= {TOOL_CALL_IDS, SEVERAL_CALLS} if len(calls) > 1 else {TOOL_CALL_IDS}
    return frozenset(forms)


def lacks(facts: ModelFacts, needs: Needs) -> str | None:
    """Say what a model lacks for a request, beside room; None if it is fit, as far as is known."""
    for feature in sorted(needs.features):
        if not any(facts.takes(name) for name in _FEATURES[feature]):
            return f"no {feature}"
    missing = sorted(needs.inputs - facts.inputs - {"file"})
    if missing:
        return f"no {' or '.join(missing)} input"
    if needs.no_reasoning and facts.reasoning == "mandatory":
        return "it always reasons"
    return None


def barred(needs: Needs, known: Traits, context: int | None, now: float) -> tuple[str, float | None] | None:
    """Say why a model is not asked for a request, by what was learned of it; None if it may be.

    Args:
        needs: what the request needs.
        known: what was learned of the model.
        context: most tokens that it can hold; None where nobody says.
        now: Unix seconds.

    Returns:
        The reason, and when it is asked again all the same, where that is known.
    """
    refused = known.refused_until(needs.needed, now) if known.refused else None
    if refused is not None:
        return f"{UNFIT}it has refused {refused[0]}", refused[1]
    if known.ruled_out and (until := known.ruled_out_until(needs.privacy, now)) is not None:
        return RULED_OUT, until
    context = known.context(context, now)
    if context is None or needs.most_room <= context or (room := needs.room(known)) <= context:
        return None
    if needs.output_tokens >= context:
        return f"{UNFIT}its context of {context} tokens has no room for max_tokens={needs.output_tokens}", None
    return f"{_NO_ROOM}{context} tokens is too small for about {room}", None


def is_for_length(reason: str) -> bool:
    """Tell whether a reason of `barred` is that a shorter prompt is needed; nothing else stands in the way then."""
    return reason.startswith(_NO_ROOM)


def fitted(params: Mapping[str, Any], takes: frozenset[str] | None, refused: frozenset[str]) -> dict[str, Any]:
    """Return the parameters without those that a model doesn't take, or has refused, and that may be left out."""
    if takes is None and not refused:
        return dict(params)
    may_go = [name for name in params if name in _SPARED]
    left_out = {name for name in may_go if _SPARED[name] in refused or not (takes is None or name in takes)}
    left_out |= _choice_left_out(params, takes)
    kept = {name: value for name, value in params.items() if name not in left_out}
    if "tools" in kept and (STRUCTURED in refused or not (takes is None or "structured_outputs" in takes)):
        kept["tools"] = [_loose(tool) for tool in kept["tools"]]
    return kept


def _choice_left_out(params: Mapping[str, Any], takes: frozenset[str] | None) -> set[str]:
    """Return what is left out of tools that are not to be called, or may be, for a model that takes no word on it."""
    choice = params.get("tool_choice")
    if takes is None or choice not in ("auto", "none") or {"tools", "tool_choice"} <= takes:
        return set()
    return {"tool_choice"} if choice == "auto" else {"tool_choice", "tools"}


def _loose(tool: Any) -> Any:
    """Return a tool that does not insist on arguments to the letter: only who can write by a schema keeps to that."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or "strict" not in function:
        return tool
    return {**tool, "function": {name: value for name, value in function.items() if name != "strict"}}
