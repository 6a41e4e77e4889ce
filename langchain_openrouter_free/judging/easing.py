"""Asking a model once more whose tokens all went into thinking: with less of it, or with more tokens. Pure.

| the model | asked once more |
|---|---|
| may leave thinking out, and the caller has said nothing of it | without thinking: so the caller's limit is kept |
| is free, and the limit is the caller's own | with more tokens, as far as its limits go |
| always thinks, and takes an effort | with the least effort |
| any other | not: the next model is asked |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_openrouter_free.judging.traits import REASONING_OFF
from langchain_openrouter_free.values import value_type

# How many times as many tokens, and at least so many more.
_TIMES, _MORE = 4, 2048


@value_type()
class Ease:
    """What is changed of a request.

    Attributes:
        max_tokens: most tokens of output; None as it was.
        reasoning: settings of thinking, as `reasoning` of a request; None as they were.
    """

    max_tokens: int | None = None
    reasoning: Mapping[str, Any] | None = None

    def applied(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a request with what is changed."""
        changed = {"max_tokens": self.max_tokens, "reasoning": self.reasoning}
        return {**params, **{name: value for name, value in changed.items() if value is not None}}


def ease_of(
    params: Mapping[str, Any],
    *,
    takes: frozenset[str] | None,
    refused: frozenset[str],
    always_thinks: bool,
    room: int | None,
    paid: bool,
) -> Ease | None:
    """Return what to change of a request whose tokens all went into thinking; None where nothing can be.

    Args:
        params: its body, less the model and the messages.
        takes: parameters that a request to the model may hold; None where nobody says.
        refused: what it is known to have refused.
        always_thinks: whether its thinking cannot be left out.
        room: most tokens of output that its limits leave; None where nobody says.
        paid: whether tokens cost money.
    """
    unsaid = not params.keys() & {"reasoning", "reasoning_effort", "include_reasoning"}
    settable = unsaid and takes is not None and "reasoning" in takes and "reasoning" not in refused
    if settable and not always_thinks and REASONING_OFF not in refused:
        return Ease(reasoning={"enabled": False})
    most = params.get("max_tokens")
    if isinstance(most, int) and not paid:
        more = max(most * _TIMES, most + _MORE)
        more = more if room is None else min(more, room)
        if more > most:
            return Ease(max_tokens=more)
    return Ease(reasoning={"effort": "low"}) if settable else None
