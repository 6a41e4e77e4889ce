"""What the service refuses before any model is asked: keys, malformed bodies, unknown ids, capabilities.

Owns the order and the wording of these refusals. It counts nothing.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from langchain_openrouter_free.simulator import brain
from langchain_openrouter_free.simulator.account import Key
from langchain_openrouter_free.simulator.brain import Prompt
from langchain_openrouter_free.simulator.catalogue import ROUTER, Row
from langchain_openrouter_free.simulator.failure import Failure
from langchain_openrouter_free.simulator.failures import failure
from langchain_openrouter_free.simulator.http import Request
from langchain_openrouter_free.simulator.reply import Json
from langchain_openrouter_free.simulator.state import State

CHAIN_LIMIT = 3
_HOTTEST = 2
_PRICED = ("prompt", "completion", "request", "image")
_COUNTS = ("max_tokens", "max_completion_tokens")
_ROUTED = {
    *(
        "tools",
        "tool_choice",
        "response_format",
        "structured_outputs",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
    ),
    *(
        "seed",
        "stop",
        "max_tokens",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "logprobs",
    ),
    *("top_logprobs", "reasoning"),
}


class RefusedError(Exception):
    """A no before any model was asked."""

    def __init__(self, name: str, told: Failure) -> None:
        super().__init__(told.message)
        self.name = name
        self.failure = told


def refuse(kind: str, row: Row | None = None, /, **values: Any) -> RefusedError:
    """The refusal of a kind, ready to be raised."""
    return RefusedError(kind, failure(kind, row, **values))


def key_of(state: State, request: Request) -> Key:
    """The key of a request.

    Raises:
        RefusedError: it is missing, unknown or revoked.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise refuse("401-missing")
    if not state.keys:
        return state.anybody
    key = state.keys.get(secret.strip())
    if key is None or key.revoked:
        raise refuse("401")
    return key


def body_of(request: Request) -> Json:
    """The body of a chat request, as far as it makes sense.

    Raises:
        RefusedError: it does not.
    """
    try:
        body = request.json()
    except ValueError:
        raise refuse("400-not-json") from None
    if not isinstance(body, dict):
        raise refuse("400-not-json")
    if not body.get("messages") or not isinstance(body["messages"], list):
        raise refuse("400-no-input")
    for name in _COUNTS:
        if (value := body.get(name)) is not None and not (isinstance(value, int) and value > 0):
            raise RefusedError("400-temperature", _out_of_range(f"{name} to be at least 1", value))
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and temperature > _HOTTEST:
        raise refuse("400-temperature", wanted=temperature)
    if isinstance(temperature, int | float) and temperature < 0:
        raise RefusedError("400-temperature", _out_of_range("temperature to be at least 0", temperature))
    return body


def _out_of_range(expected: str, value: Any) -> Failure:
    return replace(failure("400-temperature"), message=f"Expected {expected}, received {value}")


def rows_of(state: State, body: Json, prompt: Prompt) -> list[Row]:
    """The models that a request names, in order; the free router stands for three of the free ones.

    Raises:
        RefusedError: there are too many, none, or one that nobody knows.
    """
    chain = body.get("models") or []
    first = body.get("model")
    slugs = list(dict.fromkeys([first, *chain] if first else chain)) if isinstance(chain, list) else []
    if not isinstance(chain, list) or max(len(chain), len(slugs)) > CHAIN_LIMIT:
        raise refuse("400-chain")
    if not slugs:
        raise RefusedError("400-no-input", Failure(400, "No models provided"))
    rows: list[Row] = []
    for slug in slugs:
        row = state.catalogue.find(str(slug))
        if row is None:
            raise RefusedError("400-invalid-id", Failure(400, f"{slug} is not a valid model ID"))
        rows += _routed(state, body, prompt) if row.id == ROUTER else [row]
    return rows


def _routed(state: State, body: Json, prompt: Prompt) -> list[Row]:
    fit = [
        row
        for row in state.catalogue.listed()
        if row.is_free and row.id not in (ROUTER, *state.scenario.closed) and missing(row, body, prompt) is None
    ]
    return state.rng.sample(fit, min(CHAIN_LIMIT, len(fit)))


def missing(row: Row, body: Json, prompt: Prompt) -> str | None:
    """Which 404 or 400 a model deserves because it cannot do what the request wants; None if it can."""
    if body.get("tools") and not row.takes("tools"):
        return "404-tools"
    if "image" not in row.input_modalities and prompt.images:
        return "404-image"
    if "audio" not in row.input_modalities and prompt.audio:
        return "404-audio"
    provider = body.get("provider")
    strict = isinstance(provider, dict) and provider.get("require_parameters")
    if strict and any(name in body and not row.takes(name) for name in _ROUTED):
        return "404-parameters"
    tokens = prompt.tokens + (body.get("max_tokens") or 0)
    return "400-context" if tokens > row.context_length else None


def excluded(row: Row, body: Json, now: float) -> str | None:
    """Which 404 a model deserves for what the request asks of providers: their prices, their use of prompts."""
    provider = body.get("provider")
    if not isinstance(provider, dict):
        return None
    if row.trains and (provider.get("data_collection") == "deny" or provider.get("zdr")):
        return "404-policy"
    most = provider.get("max_price")
    for what, bound in most.items() if isinstance(most, dict) else ():
        # Tokens are priced by the million there.
        unit = 1_000_000 if what in ("prompt", "completion") else 1
        try:
            most_of_it = Decimal(str(bound))
        except InvalidOperation:
            raise RefusedError("400-temperature", _out_of_range("max_price to be a number", bound)) from None
        if what in _PRICED and row.price(what, 0, now) * unit > most_of_it:
            return "404-max-price"
    return None


def unoffered_choice(body: Json) -> str | None:
    """The tool that tool_choice names although it was not offered."""
    named = brain.named_choice(body)
    offered = [tool["name"] for tool in brain.offered_tools(body)]
    return named if named is not None and named not in offered else None
