"""What the service offers, as far as money needs it: the prices of an id. Pure.

Prices come as text in US dollars a token (or a request, or an image). Anything that is not a plain,
non-negative number counts as unknown, and what is unknown is not paid for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

FREE_SUFFIX = ":free"
FREE_ROUTER = "openrouter/free"


@dataclass(frozen=True, slots=True)
class Prices:
    """What a paid model costs, in US dollars.

    Attributes:
        prompt: per prompt token.
        completion: per completion token.
        request: per request.
        image: per image of the prompt.
        reasoning: per reasoning token, where it differs from `completion`.
    """

    prompt: Decimal
    completion: Decimal
    request: Decimal = Decimal(0)
    image: Decimal = Decimal(0)
    reasoning: Decimal = Decimal(0)


def says_free(model: str) -> bool:
    """Tell whether an id claims to be free. A claim, not a proof: prices are the proof."""
    return model.endswith(FREE_SUFFIX) or model == FREE_ROUTER


def parse_prices(row: Mapping[str, Any]) -> Prices | None:
    """Return the prices of a catalogue row, or None if they cannot bound the cost of a request.

    `overrides` (prices by prompt length or hour of the day) are taken at their highest.
    """
    pricing = row.get("pricing")
    if not isinstance(pricing, Mapping):
        return None
    layers = [pricing, *(_override_layers(pricing.get("overrides")))]
    known: dict[str, Decimal] = {}
    for name in ("prompt", "completion", "request", "image", "internal_reasoning"):
        stated = [layer[name] for layer in layers if layer.get(name) is not None]
        amounts = [_amount(value) for value in stated]
        if any(amount is None for amount in amounts) or (not amounts and name in ("prompt", "completion")):
            return None
        known[name] = max((a for a in amounts if a is not None), default=Decimal(0))
    return Prices(known["prompt"], known["completion"], known["request"], known["image"], known["internal_reasoning"])


def _override_layers(overrides: object) -> list[Mapping[str, Any]]:
    rows = overrides if isinstance(overrides, list) else []
    layers = [row.get("pricing", row) for row in rows if isinstance(row, Mapping)]
    return [layer for layer in layers if isinstance(layer, Mapping)]


def _amount(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None


def prices_of(rows: Iterable[object], model: str) -> Prices | None:
    """Return the prices of `model` in the rows of `GET /models`, or None where it is missing or unpriced."""
    for row in rows:
        if isinstance(row, Mapping) and row.get("id") == model:
            return parse_prices(row)
    return None
