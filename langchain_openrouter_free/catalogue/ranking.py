"""Which models are for chat, and which of them are better, by the catalogue's facts alone. Pure.

The score is deterministic: the same catalogue gives the same order. Benchmarks count by their place among the models
of one catalogue, since the published indices were rescaled in 2026 from one month to the next.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from langchain_openrouter_free.catalogue.catalogue import FREE_ROUTER
from langchain_openrouter_free.catalogue.facts import ModelFacts

_DAY = 86_400.0
# An announced end this near, in seconds, makes a model the last choice; dates move, so it does not remove it.
NEAR_END = 3 * _DAY
# Words of ids and names by which the catalogue's free models are no partners in a conversation (2025 to 2026).
_NOT_CHAT = {
    "a content classifier": r"content.?safety|guard(?:ian)?(?![a-z])|shield|moderation",
    "for embeddings": r"\bembed",
    "a reranker": r"rerank",
    "for music": r"\blyria\b|\bmusic\b",
    "for speech": r"\btts\b|text-to-speech|\bwhisper\b|transcri|fish-audio",
    "for reading scans": r"\bocr\b",
    "for images": r"flash-image|image-preview|image-gen|\bdall-e\b",
    "for steering a screen": r"ui-tars",
    "for proofs": r"\bprover\b",
    "a base model": r"[-_ ]base\b|\(base\)",
}
_PATTERNS = {what: re.compile(words, re.IGNORECASE) for what, words in _NOT_CHAT.items()}
# One of these is in whatever matches: most ids have none of them, and to look for them takes a tenth of the time.
_SIGNS: tuple[str, ...] = (
    "safety",
    "guard",
    "shield",
    "moderation",
    "embed",
    "rerank",
    "lyria",
    "music",
    "tts",
    "text-to-speech",
)
_SIGNS += ("whisper", "transcri", "fish-audio", "ocr", "image", "dall-e", "ui-tars", "prover", "base")
# What each fact weighs. A model about which nothing is known scores about a third.
_BENCHMARKS, _TOOLS, _STRUCTURED, _CONTEXT, _OUTPUT, _RECENCY = _WEIGHTS = (4.0, 1.5, 1.0, 1.0, 0.5, 1.0)
_ALL = sum(_WEIGHTS)
_UNKNOWN_PLACE = 0.35
_SMALL_CONTEXT, _LARGE_CONTEXT = 8_192, 1_048_576
_DOUBLINGS = math.log(_LARGE_CONTEXT / _SMALL_CONTEXT)
_LONG_OUTPUT = 32_768
_OLD = 540 * _DAY


def not_for_chat(facts: ModelFacts) -> str | None:
    """Say what else than chat a model is for; None if it is for chat."""
    if facts.id == FREE_ROUTER:
        return "a router, asked only where it is named"
    if "text" not in facts.outputs:
        return f"for {' and '.join(sorted(facts.outputs)) or 'nothing known'}"
    if facts.outputs - {"text"}:
        return f"for {' and '.join(sorted(facts.outputs - {'text'}))}"
    if "text" not in facts.inputs:
        return "not for text"
    told = f"{facts.id.partition(':')[0]} {facts.name}"
    small = told.lower()
    if not any(sign in small for sign in _SIGNS):
        return None
    return next((what for what, pattern in _PATTERNS.items() if pattern.search(told)), None)


def scored(models: Sequence[ModelFacts], now: float) -> dict[str, float]:
    """Return a score from 0 to 1 for each model, compared inside this catalogue; below 0 where its end is near.

    Args:
        models: all that are compared.
        now: Unix seconds, for recency and announced ends.
    """
    places = {
        index: sorted(facts.benchmarks[index] for facts in models if index in facts.benchmarks)
        for index in {name for facts in models for name in facts.benchmarks}
    }
    return {facts.id: _score(facts, places, now) for facts in models}


def _score(facts: ModelFacts, places: Mapping[str, list[float]], now: float) -> float:
    known = facts.parameters or frozenset()
    form = 1.0 if "structured_outputs" in known else 0.5 if "response_format" in known else 0.0
    output = facts.output_limit or facts.context or 0
    age = None if facts.created is None else (now - facts.created) / _OLD
    total = (
        _BENCHMARKS * _place(facts, places)
        + (_TOOLS if "tools" in known else 0.0)
        + _STRUCTURED * form
        + _CONTEXT * _roomy(facts.context)
        + _OUTPUT * min(output / _LONG_OUTPUT, 1.0)
        + (0.0 if age is None else _RECENCY * min(max(1.0 - age, 0.0), 1.0))
    )
    score = total / _ALL
    return score - 1.0 if ends_soon(facts, now) else score


def ends_soon(facts: ModelFacts, now: float) -> bool:
    """Tell whether a model's announced end is near, or past."""
    return facts.expires_at is not None and facts.expires_at - now < NEAR_END


def _place(facts: ModelFacts, places: Mapping[str, list[float]]) -> float:
    """Return the mean of a model's places among all that have the index, from 0 to 1."""
    found = [_rank(value, places[index]) for index, value in facts.benchmarks.items()]
    # To be measured never counts less than not to be.
    return _UNKNOWN_PLACE + (1 - _UNKNOWN_PLACE) * sum(found) / len(found) if found else _UNKNOWN_PLACE


def _rank(value: float, values: list[float]) -> float:
    """Return the middle of a value's places among all values, from 0 to 1."""
    if len(values) < 2:
        return 0.5
    return (bisect_left(values, value) + bisect_right(values, value) - 1) / 2 / (len(values) - 1)


def _roomy(tokens: int | None) -> float:
    """Return 0 for a small context, 1 for a large one, by its logarithm."""
    if not tokens or tokens <= _SMALL_CONTEXT:
        return 0.0
    return min(math.log(tokens / _SMALL_CONTEXT) / _DOUBLINGS, 1.0)
