"""Each free model as it stands now: usable or why not, what it can do, how it did lately. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.catalogue.facts import ModelFacts
from langchain_openrouter_free.values import value_type


@value_type(frozen=True)
class Standing:
    """One model; times are Unix seconds.

    Attributes:
        rank: its place among those that would be asked, from 1; None where it would not be.
        model: its id, or the name of another package's chat model.
        usable: whether it would be asked now.
        reason: why not; "" where it is usable.
        until: when that ends, where it does.
        paid: whether asking it may cost money.
        context: most tokens of prompt and answer together.
        output_limit: most tokens of an answer.
        tools, structured_output, images, reasoning: what it can do; None where the catalogue does not say.
        health: how likely an answer is, from 0 to 1, by our own attempts; None where there were none.
        first_token_s, tokens_per_s: measured means.
        cooldown_until: until when it is left alone.
        expires_at: its announced end.
    """

    rank: int | None
    model: str
    usable: bool
    reason: str = ""
    until: float | None = None
    paid: bool = False
    context: int | None = None
    output_limit: int | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    images: bool | None = None
    reasoning: bool | None = None
    health: float | None = None
    first_token_s: float | None = None
    tokens_per_s: float | None = None
    cooldown_until: float | None = None
    expires_at: float | None = None


def standings(
    considered: Iterable[tuple[str, bool, str, float | None]], facts: Mapping[str, ModelFacts], book: Ledger, now: float
) -> tuple[Standing, ...]:
    """Return how each model stands, those that would be asked first.

    Args:
        considered: id, whether it is paid, why it would not be asked ("" where it would), until when; in order.
        facts: what the catalogue says, by id.
        book: the account's.
        now: Unix seconds.
    """
    rows: list[Standing] = []
    for model, paid, reason, until in considered:
        rank = None if reason else sum(row.usable for row in rows) + 1
        rests = book.rests_until(model, now)
        rows.append(
            Standing(
                rank,
                model,
                not reason,
                reason,
                until,
                paid,
                cooldown_until=rests if rests > now else None,
                **_abilities(facts.get(model)),
                **_measures(book, model, now),
            )
        )
    return tuple(rows)


def _abilities(known: ModelFacts | None) -> dict[str, Any]:
    if known is None:
        return {}
    stated = known.parameters
    return {
        "context": known.context,
        "output_limit": known.output_limit,
        "tools": None if stated is None else "tools" in stated,
        "structured_output": None if stated is None else bool(stated & {"structured_outputs", "response_format"}),
        "images": "image" in known.inputs,
        "reasoning": None if known.reasoning == "unknown" else known.reasoning != "none",
        "expires_at": known.expires_at,
    }


def _measures(book: Ledger, model: str, now: float) -> dict[str, Any]:
    health = book.health.get(model)
    if health is None:
        return {}
    return {
        "health": round(health.success_rate(now), 3),
        "first_token_s": health.first_token_s,
        "tokens_per_s": health.tokens_per_s,
    }
