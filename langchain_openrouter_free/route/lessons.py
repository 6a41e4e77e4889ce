"""What an attempt taught of its model, beside its health: what it refused, what worked, how it counts. Pure.

Joins what the request used and what the reply said. A refusal teaches only what it names and the request used.
"""

from __future__ import annotations

import json

from langchain_openrouter_free.judging.traits import (
    FORCED_CHOICE,
    JSON_MODE,
    NOTHING,
    STRUCTURED,
    TOOLS,
    WAYS,
    Lesson,
)
from langchain_openrouter_free.judging.verdicts import Kind, Verdict
from langchain_openrouter_free.protocol.wire import Completion
from langchain_openrouter_free.route.candidate import Candidate, Road
from langchain_openrouter_free.route.fitness import Needs

# Said by the service's routing, so perhaps only of the providers that the user's preferences have left.
_ROUTED = frozenset({Kind.UNFIT, Kind.POLICY})


def lesson_of(needs: Needs, candidate: Candidate, how: Verdict, said: Completion) -> Lesson:
    """Return what an attempt taught.

    Args:
        needs: what the request needed.
        candidate: who was asked, with what was known of it then.
        how: how the attempt ended.
        said: what was said, with the usage.
    """
    if candidate.road is Road.EXTERNAL or (needs.narrowed and how.kind in _ROUTED):
        return NOTHING
    if how.kind is Kind.POLICY:
        return Lesson(privacy=needs.privacy, ruled_out=True)
    # Only text is estimated.
    estimate = 0 if needs.inputs else needs.prompt_tokens
    used = needs.used(candidate.takes, candidate.refused)
    if not how.ok:
        refused = _most_special(how.names & used)
        failed = used & WAYS if how.kind is Kind.WRONG_OBJECT else frozenset()
        if not refused and not failed and how.context is how.counted is None:
            return NOTHING
        told, held = how.counted or 0, how.context or 0
        return Lesson(refused=refused, estimate=estimate, counted=told, context=held, failed=failed)
    counted = (said.usage or {}).get("prompt_tokens")
    return Lesson(
        done=used,
        worked=_worked(used & WAYS, said),
        privacy=needs.privacy,
        answered=True,
        estimate=estimate,
        counted=counted if type(counted) is int else 0,
    )


def _most_special(refused: frozenset[str]) -> frozenset[str]:
    """Who refuses tools refuses a forced choice of them; the other way round that is not said."""
    return refused - {TOOLS} if FORCED_CHOICE in refused else refused


def _worked(ways: frozenset[str], said: Completion) -> frozenset[str]:
    """Return the ways of asking that an answer shows to have worked."""
    shown = {TOOLS, FORCED_CHOICE} if said.tool_calls else set()
    if ways & {STRUCTURED, JSON_MODE} and _is_object(said.text):
        shown |= {STRUCTURED, JSON_MODE}
    return ways & shown


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False
