"""How a verdict reads in the light of the call's earlier ones, and of whom it comes from. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from langchain_openrouter_free.judging.verdicts import Kind, Step, Verdict
from langchain_openrouter_free.route.candidate import Candidate, Road

# How the service says that the account has no more free requests.
OF_QUOTA = frozenset({Kind.DAY_LIMIT, Kind.MINUTE_LIMIT})
# What is believed of the service's key, or of the request, when a second one says the same.
_OF_TWO = frozenset({Kind.DOUBTFUL, Kind.FORBIDDEN})
# What another provider says of itself alone.
_OF_ITSELF = _OF_TWO | {Kind.UNREACHABLE}


def in_hindsight(candidate: Candidate, verdict: Verdict, earlier: Iterable[Verdict]) -> Verdict:
    """Return the verdict on a candidate with the step that follows from it in this call."""
    if verdict.ok or verdict.kind is Kind.ABANDONED:
        return verdict
    if candidate.road is Road.EXTERNAL:
        # Another provider's refusal says nothing about the service, the key or the request to others.
        return replace(verdict, step=Step.NEXT)
    if verdict.kind in OF_QUOTA and candidate.paid:
        # No end of a free window lets it answer.
        return replace(verdict, step=Step.NEXT)
    if verdict.kind is Kind.TOO_DEAR and not candidate.paid:
        # What is free needs no balance, unless that is below zero.
        return replace(verdict, step=Step.LEAVE_SERVICE)
    if verdict.kind in _OF_TWO and any(v.kind is verdict.kind for v in earlier):
        step = Step.RAISE if verdict.kind is Kind.DOUBTFUL else Step.LEAVE_SERVICE
        return replace(verdict, step=step)
    return verdict


def remembered(candidate: Candidate, verdict: Verdict) -> Verdict:
    """Return what later verdicts and the call's error go by: no other provider is a witness against the service."""
    of_others = candidate.road is Road.EXTERNAL and verdict.kind in _OF_ITSELF
    return replace(verdict, kind=Kind.BROKEN) if of_others else verdict
