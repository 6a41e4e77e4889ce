"""A model that may be asked, as a value. Pure."""

from __future__ import annotations

from enum import StrEnum

from langchain_openrouter_free.catalogue.catalogue import Prices
from langchain_openrouter_free.judging.easing import Ease
from langchain_openrouter_free.judging.traits import FORMS
from langchain_openrouter_free.values import value_type


class Road(StrEnum):
    """By which road a candidate is asked."""

    SERVICE = "service"
    EXTERNAL = "external"


@value_type()
class Candidate:
    """A model admitted for this call.

    Attributes:
        model: its id, or the name of an external chat model.
        paid: whether asking it may cost money.
        road: through the service, or by a chat model of another package.
        index: position among the external models.
        prices: what it costs, once known; free candidates have none.
        private: whether nothing that is sent to an external chat model is kept, as the user says.
        takes: parameters that a request to it may hold; None where nobody says.
        group: position of the user's entry that it came by.
        score: how good the catalogue makes it, from 0 to 1; None where the user's own order counts.
        context: most tokens of prompt and answer together; None where nobody says.
        refused: what it is known to have refused, when it is asked: names of `traits.VOCABULARY`.
        worked: ways of asking (`traits.WAYS`) that are known to have worked with it.
        failed: ways of asking for an object that lately brought a wrong one.
        output_limit: most tokens of an answer; None where nobody says.
        always_thinks: whether its thinking cannot be left out.
        ease: what is made easier for it, where its tokens all went into thinking before.
    """

    model: str
    paid: bool = False
    road: Road = Road.SERVICE
    index: int = 0
    prices: Prices | None = None
    private: bool = False
    takes: frozenset[str] | None = None
    group: int = 0
    score: float | None = None
    context: int | None = None
    refused: frozenset[str] = frozenset()
    worked: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    output_limit: int | None = None
    always_thinks: bool = False
    ease: Ease | None = None

    @property
    def forms(self) -> frozenset[str]:
        """Forms of the history (`traits.FORMS`) that it has refused: it is to be written in another way for it."""
        return self.refused & FORMS
