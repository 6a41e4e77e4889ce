"""Failures of the moment: those that a script asks for and those that the account's laws make.

Owns the numbers inside them (limits, resets, hints). It decides nothing: others say what is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from langchain_openrouter_free.simulator.account import DAY, MINUTE, UNLOCKED_PER_DAY, Refusal
from langchain_openrouter_free.simulator.behaviours import Behaviour
from langchain_openrouter_free.simulator.brain import offered_tools, read
from langchain_openrouter_free.simulator.catalogue import Row
from langchain_openrouter_free.simulator.dialect import with_limit, with_retry_after
from langchain_openrouter_free.simulator.failure import Failure
from langchain_openrouter_free.simulator.failures import failure
from langchain_openrouter_free.simulator.reply import Json

_WINDOWS = {
    "429-account-minute": (20, MINUTE),
    "429-account-day": (50, DAY),
    "429-account-day-1000": (UNLOCKED_PER_DAY, DAY),
    "429-model-rpm": (8, MINUTE),
}
_MODEL_PER_DAY = 100
_NEW_FIELDS = ("limit_source", "remedy_hint")


def by_account(refusal: Refusal, row: Row, *, unlocked: bool) -> tuple[str, Failure]:
    """The behaviour name and the failure of a refusal by the account."""
    if refusal.law == "credits":
        return "402-credits", failure("402-credits", row)
    if refusal.law == "afford":
        told = failure("402-afford", row, wanted=refusal.wanted, affordable=refusal.affordable)
        return "402-afford", told
    name = "429-account-minute"
    if refusal.law == "day":
        name = "429-account-day-1000" if unlocked else "429-account-day"
    return name, with_limit(failure(name, row), refusal.limit, refusal.reset_at)


def by_model_minute(refusal: Refusal, row: Row, uuid: str) -> Failure:
    """The failure of a model's own minute limit."""
    told = failure("429-model-rpm", row, limit=refusal.limit, uuid=uuid)
    return with_limit(told, refusal.limit, refusal.reset_at)


def by_script(behaviour: Behaviour, row: Row, body: Json, now: float, uuid: str) -> Failure:
    """The failure that a script asks for."""
    name = behaviour.name
    told = failure(name, row, **_values(name, row, body), uuid=uuid)
    if name in _WINDOWS:
        limit, seconds = _WINDOWS[name]
        told = with_limit(told, limit, (now // seconds + 1) * seconds)
    if name == "429-model-rpd":
        lines = {"X-RateLimit-Limit": str(_MODEL_PER_DAY), "X-RateLimit-Remaining": "0"}
        told = told.with_metadata(headers=lines)
    if behaviour.get("message") is not None:
        told = replace(told, message=str(behaviour.get("message")))
    if behaviour.get("retry_after") is not None:
        told = with_retry_after(told, behaviour.get("retry_after"))
    return told


def without_new_fields(told: Failure) -> Failure:
    """The same failure in the dialect of 2025, which had no `limit_source`."""
    if told.metadata is None:
        return told
    kept = {name: value for name, value in told.metadata.items() if name not in _NEW_FIELDS}
    return replace(told, metadata=kept)


def _values(name: str, row: Row, body: Json) -> dict[str, Any]:
    if name == "400-context":
        return {"wanted": max(read(body).tokens, row.context_length + 1)}
    if name == "400-temperature":
        return {"wanted": body.get("temperature", 5)}
    if name == "402-afford":
        return {"wanted": body.get("max_tokens", 64_000)}
    if name == "400-tool-schema":
        tools = offered_tools(body)
        return {"name": tools[0]["name"] if tools else "tool"}
    if name == "400-schema":
        wish = body.get("response_format")
        inner = wish.get("json_schema") if isinstance(wish, dict) else None
        return {"name": inner.get("name", "schema") if isinstance(inner, dict) else "schema"}
    return {}
