"""What a user names as a paid way out, and at which price. Knows no LangChain: a chat model is any object here.

How a chat model of another package is asked is `external.py`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from langchain_openrouter_free.books.budget import MOST
from langchain_openrouter_free.catalogue.catalogue import Prices
from langchain_openrouter_free.errors import ConfigurationError

_MILLION = 1_000_000


@dataclass(frozen=True)
class PaidModel:
    """A paid way out: an id of the service, or a chat model of another package with its prices.

    Attributes:
        model: an OpenRouter id, or a LangChain chat model.
        prompt_price: US dollars for a million prompt tokens; needed for a chat model, and for an id only
            to override the catalogue.
        completion_price: US dollars for a million completion tokens; the same.
        name: how errors and the route call a chat model; default: its own name. An id is called by itself.
        request_price: US dollars for a request, beside its tokens; for an id only together with the other two. With 0
            a provider who takes a fee for each request is not asked.
        private: for a chat model: you know that nothing sent to it is kept or trained on. Only then is it asked
            where `privacy` is not `"any"`.
        context: most tokens of a prompt that it takes; for an id only together with the two prices. Nothing else bounds
            a file or a film: without it money is held back for the longest context that any model has.
    """

    model: Any
    prompt_price: Decimal | str | float | None = None
    completion_price: Decimal | str | float | None = None
    name: str | None = None
    request_price: Decimal | str | float = 0
    private: bool = False
    context: int | None = None

    @property
    def external(self) -> bool:
        """Whether it is asked by its own road."""
        return not isinstance(self.model, str)

    @property
    def label(self) -> str:
        """Its name in errors and in the route."""
        if isinstance(self.model, str):
            return self.model
        if self.name:
            return self.name
        named = getattr(self.model, "model_name", None) or getattr(self.model, "model", None)
        return f"{type(self.model).__name__}:{named}" if isinstance(named, str) else type(self.model).__name__

    def prices(self) -> Prices | None:
        """Return the prices as given, in US dollars a token, or None where the catalogue's count.

        Raises:
            ConfigurationError: for what is no price, and for one that stands alone.
        """
        a_request = _amount(self.request_price, self.label)
        named = (self.prompt_price, self.completion_price, self.context)
        if not self.external and not a_request and named == (None, None, None):
            return None
        prompt, completion = _amount(self.prompt_price, self.label), _amount(self.completion_price, self.label)
        return Prices(prompt / _MILLION, completion / _MILLION, a_request, context=_context(self.context, self.label))


def _context(tokens: object, label: str) -> int | None:
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int) or tokens <= 0):
        raise ConfigurationError(f"paid_models: the context of {label} is a number of tokens, 1 or more.")
    return tokens


def _amount(price: Decimal | str | float | None, label: str) -> Decimal:
    try:
        amount = Decimal(str(price))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= MOST:
        raise ConfigurationError(
            f"paid_models: {label} needs prompt_price and completion_price, in US dollars a million tokens, 0 or more "
            "(and request_price, in US dollars a request, if there is one)."
        )
    return amount
