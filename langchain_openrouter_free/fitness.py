"""What a request needs, and whether a model's facts allow it: the rule of each parameter. Pure.

| in the request | where the catalogue says that a model doesn't take it |
|---|---|
| tools, a forced tool choice, structured output, JSON mode, `logprobs`, `stop` | the model is unfit: the answer would \
not be what was asked for |
| images, sound, film; a context that is too small | unfit (files are read by the service for any model) |
| reasoning switched off, of a model that always reasons | unfit |
| `temperature`, `top_p`, `top_k`, `min_p`, `top_a`, penalties, `seed`, `logit_bias`, `reasoning`, \
`parallel_tool_calls` | left out for that model: the answer is an answer all the same |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_openrouter_free.facts import ModelFacts

# Parameters without which an answer is still an answer.
LEFT_OUT = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "top_a",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "seed",
        "logit_bias",
        "parallel_tool_calls",
        "reasoning",
        "include_reasoning",
    }
)
# A prompt is counted with this margin before it is called too long.
_MARGIN = 1.1
# Tokens that an answer needs at least, where the caller names no limit.
_SOME_ANSWER = 256


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request asks of a model.

    Attributes:
        features: of `"tools"`, `"forced tool choice"`, `"structured output"`, `"JSON mode"`, `"stop"`, `"logprobs"`.
        inputs: modalities of the prompt beside text.
        no_reasoning: whether thinking is switched off.
        prompt_tokens: an estimate.
        output_tokens: what the caller wants at most; 0 where no limit is named.
    """

    features: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    no_reasoning: bool = False
    prompt_tokens: int = 0
    output_tokens: int = 0

    @property
    def room(self) -> int:
        """Tokens of prompt and answer together, with a margin for the estimate."""
        return int(self.prompt_tokens * _MARGIN) + (self.output_tokens or _SOME_ANSWER)

    @property
    def kind(self) -> tuple[frozenset[str], frozenset[str], bool]:
        """What all requests have in common that the same models are fit for."""
        return self.features, self.inputs, self.no_reasoning


# Which listed parameters satisfy a feature; any of them does.
_FEATURES: Mapping[str, tuple[str, ...]] = {
    "tools": ("tools",),
    "forced tool choice": ("tool_choice",),
    "structured output": ("structured_outputs", "response_format"),
    "JSON mode": ("response_format", "structured_outputs"),
    "stop": ("stop",),
    "logprobs": ("logprobs",),
}


def needs_of(params: Mapping[str, Any], inputs: frozenset[str], prompt_tokens: int) -> Needs:
    """Return what a request asks for.

    Args:
        params: its body, less the model and the messages.
        inputs: modalities of the prompt beside text.
        prompt_tokens: an estimate.
    """
    features: set[str] = set()
    if params.get("tools"):
        features.add("tools")
        choice = params.get("tool_choice")
        if choice not in (None, "auto", "none"):
            features.add("forced tool choice")
    form = params.get("response_format")
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "json_schema":
        features.add("structured output")
    elif kind == "json_object":
        features.add("JSON mode")
    features |= {name for name in ("stop", "logprobs") if params.get(name)}
    most = params.get("max_tokens")
    reasoning = params.get("reasoning")
    off = isinstance(reasoning, Mapping) and (reasoning.get("enabled") is False or reasoning.get("effort") == "none")
    return Needs(frozenset(features), inputs - {"file"}, off, prompt_tokens, most if isinstance(most, int) else 0)


def lacks(facts: ModelFacts, needs: Needs) -> str | None:
    """Say what a model lacks for a request, beside room; None if it is fit, as far as is known."""
    for feature in sorted(needs.features):
        if not any(facts.takes(name) for name in _FEATURES[feature]):
            return f"no {feature}"
    missing = sorted(needs.inputs - facts.inputs)
    if missing:
        return f"no {' or '.join(missing)} input"
    if needs.no_reasoning and facts.reasoning == "mandatory":
        return "it always reasons"
    return None


def too_long(facts: ModelFacts, needs: Needs) -> str | None:
    """Say that a request has no room in a model's context; None if it has, as far as is known."""
    if facts.context is None or needs.room <= facts.context:
        return None
    return f"a context of {facts.context} tokens is too small for about {needs.room}"


def fitted(params: Mapping[str, Any], takes: frozenset[str] | None) -> dict[str, Any]:
    """Return the parameters without those that a model doesn't take and that may be left out."""
    if takes is None:
        return dict(params)
    return {name: value for name, value in params.items() if name not in LEFT_OUT or name in takes}
