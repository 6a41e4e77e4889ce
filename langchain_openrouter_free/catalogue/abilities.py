"""What several models can do together: the model profile that agent frameworks read. Pure.

A yes decides what a framework sends in every turn (structured output in the service's own form, for one), so it needs
all of the models; a no makes it leave things out (images), so it needs all of them as well; else nothing is said, and
whoever is fit for a request answers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langchain_openrouter_free.catalogue.facts import ModelFacts

# So many models are to hold what the profile promises, or all if there are fewer: one may fail, or cool down.
_HOLDERS = 3


def _lists(*names: str) -> Callable[[ModelFacts], bool | None]:
    return lambda facts: None if facts.parameters is None else not facts.parameters.isdisjoint(names)


def _reads(kind: str) -> Callable[[ModelFacts], bool | None]:
    return lambda facts: kind in facts.inputs if facts.inputs else None


# In the words of langchain-core's `ModelProfile`; None where the catalogue does not say.
_ABILITIES: Mapping[str, Callable[[ModelFacts], bool | None]] = {
    "tool_calling": _lists("tools"),
    "tool_choice": _lists("tool_choice"),
    "structured_output": _lists("structured_outputs"),
    "temperature": _lists("temperature"),
    "reasoning_output": lambda facts: None if facts.reasoning == "unknown" else facts.reasoning != "none",
    "image_inputs": _reads("image"),
    "audio_inputs": _reads("audio"),
    "video_inputs": _reads("video"),
}


def together(models: Sequence[ModelFacts]) -> dict[str, Any]:
    """Return what models can do together; empty where there are none.

    Args:
        models: those that may be asked.

    Returns:
        `max_input_tokens` and `max_output_tokens`: what at least three of them hold, or all if they are fewer; each
        ability as True where all have it, False where none has, and not at all where some do or it is not known.
    """
    if not models:
        return {}
    # Files are read by the service for any model.
    profile: dict[str, Any] = {"text_inputs": True, "text_outputs": True, "pdf_inputs": True}
    for name, has in _ABILITIES.items():
        said = {has(facts) for facts in models}
        if said in ({True}, {False}):
            profile[name] = said.pop()
    limits = {
        "max_input_tokens": _held((facts.context for facts in models), len(models)),
        "max_output_tokens": _held((facts.output_limit for facts in models), len(models)),
    }
    return profile | {name: most for name, most in limits.items() if most is not None}


def _held(limits: Iterable[int | None], models: int) -> int | None:
    """Return the largest amount that enough of the models are known to hold."""
    known = sorted((limit for limit in limits if limit is not None), reverse=True)
    enough = min(_HOLDERS, models)
    return known[enough - 1] if len(known) >= enough else None
