"""Whom to ask beside a model that is silent. Pure."""

from __future__ import annotations

from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import Full
from langchain_openrouter_free.route.actions import Try
from langchain_openrouter_free.route.ordering import in_order
from langchain_openrouter_free.route.routing import Route


def rival(route: Route, silent: str, book: Ledger, now: float) -> tuple[Ledger, Try | None]:
    """Grant a second attempt beside one that is silent, and book its slot in the same move.

    None where it would have to wait, where less than a tenth of the day is left, or where nobody else is free and well.

    Args:
        route: the walk of the call.
        silent: id of the model that is being asked.
        book: the account's book at this moment.
        now: Unix seconds.
    """
    # The silent one is not on the trail yet.
    is_last = route.max_attempts is not None and len(route.trail) + 2 > route.max_attempts
    if is_last or route.is_over or book.hold(now) is not None or book.is_scarce(route.limits, now, route.share):
        return book, None
    free = in_order(route.free, book, route.strategy, route.limits, now, route.chance, route.speaks(book, now))
    candidate = next(route.beside(silent, free, book, now), None)
    if candidate is None:
        return book, None
    after, slot = book.admitted(route.limits, now, 0.0, 0.0, route.share)
    if isinstance(slot, Full) or not slot.fits(now):
        return book, None
    model = candidate.model
    return after.begun(model, slot, now, route.lease), Try(
        route.amends.known(candidate, book, now), slot, book.generation(model)
    )
