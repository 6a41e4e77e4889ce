"""Tells the user what they should know of their models: in the log and to their hook, once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from langchain_openrouter_free.catalogue.advice import ModelGone, ModelLeaving, Notice
from langchain_openrouter_free.catalogue.bundle import bundled
from langchain_openrouter_free.catalogue.listings import LISTINGS
from langchain_openrouter_free.route.choosing import replacements
from langchain_openrouter_free.values import value_type

log = logging.getLogger("langchain_openrouter_free")


@value_type()
class Teller:
    """Tells one account's user.

    Attributes:
        account: whose list of models it is.
        ranking: the user's entries.
        hook: gets each notice; must not raise.
    """

    account: str
    ranking: Sequence[str] = ()
    hook: Callable[[Notice], None] = lambda _: None

    def tell(self, notices: Iterable[Notice]) -> None:
        """Tell what has not been told in this process."""
        for notice in (*notices, *self.gone()):
            if LISTINGS.first_time(self.account, notice.key):
                by_the_way = isinstance(notice, ModelLeaving) and not notice.named
                log.log(logging.INFO if by_the_way else logging.WARNING, "%s", notice)
                self.hook(notice)

    def delisted(self, model: str, reason: str) -> None:
        """Take note that the service has refused a model as one that is not offered."""
        LISTINGS.refused(self.account, model, reason)

    def gone(self) -> list[ModelGone]:
        """Return the models that the user names, the service has refused, and its list lacks since."""
        listing, refused = LISTINGS.last(self.account), LISTINGS.refusals(self.account)
        if listing is None or not refused:
            return []
        return [
            ModelGone(
                model,
                f"for the service says: {why.rstrip('.')}",
                replacements(model, listing, frozenset(self.ranking), bundled()),
            )
            for model, why in refused.items()
            if model in self.ranking and model not in listing.rows
        ]
