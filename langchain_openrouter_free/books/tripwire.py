"""Was a free attempt really free? What its answer says, against what was asked for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_openrouter_free.books.budget import stated_cost
from langchain_openrouter_free.catalogue.catalogue import says_free
from langchain_openrouter_free.values import value_type

# A model that has billed is not asked again for so long, in seconds: a price does not vanish over night.
QUARANTINE = 30 * 86_400.0


@value_type()
class Bill:
    """What a free attempt cost.

    Attributes:
        model: the id that was asked.
        served: the id that answered, as far as it is known.
        cost: nano-dollars; None where another model answered and nobody says at what price.
        expected: whether the request held what costs money beside the model, with the user's leave.
    """

    model: str
    served: str | None
    cost: int | None
    expected: bool = False


def bill_of(model: str, served: str | None, usage: Mapping[str, Any] | None, *, expected: bool = False) -> Bill | None:
    """Return what a free attempt at `model` cost, or None if there is no sign that it cost anything.

    A stated cost decides. Without one, an answer of another model that does not call itself free counts as
    billed. Answers name the asked id, its dated slug with or without `:free`, or nothing (recorded 2025-2026).
    """
    cost = stated_cost(usage)
    if cost:
        return Bill(model, served, cost, expected)
    if cost == 0 or not served or says_free(served) or not model.endswith(":free"):
        return None
    same = served.startswith(model.removesuffix(":free"))
    return None if same else Bill(model, served, None)


@value_type()
class Quarantine:
    """A model that has billed a free attempt.

    Attributes:
        until: it is not asked before.
        cost: nano-dollars of the last bill; None where nobody said.
    """

    until: float
    cost: int | None = None
