"""Whom a call asks next, decided in the step of the books in which its attempt failed. Pure.

Saves an update of the store for each model that fails: over a network, a round trip or two.
"""

from __future__ import annotations

from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.errors import AttemptRecord
from langchain_openrouter_free.judging.verdicts import Verdict
from langchain_openrouter_free.route.actions import Try
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.routing import Route
from langchain_openrouter_free.values import value_type


@value_type()
class Onward:
    """A walk one attempt further.

    Attributes:
        route: the walk as it then stands.
        read: the failed attempt's verdict, as the walk reads it.
        action: whom it asks next.
        book: the account's book after both.
    """

    route: Route
    read: Verdict
    action: Try
    book: Ledger


def onward(
    route: Route, candidate: Candidate, how: Verdict, told: AttemptRecord, book: Ledger, now: float, left: float
) -> Onward | None:
    """Take note of a failure and grant the next free attempt; None where something else comes first.

    Args:
        route: the walk; it stays as it is, for a store may run this again, or never keep what comes of it.
        candidate: who has failed.
        how: the failure in the light of the book.
        told: the attempt as the route trail tells it.
        book: the account's book, in which the failure is booked.
        now: Unix seconds.
        left: seconds until the call's deadline.
    """
    further = route.copied()
    read = further.record(candidate, how, told)
    if further.needs_listing(now):
        return None
    book, action = further.step(book, now, left)
    if not isinstance(action, Try) or action.candidate.paid:
        return None
    further.took(action)
    return Onward(further, read, action, book)
