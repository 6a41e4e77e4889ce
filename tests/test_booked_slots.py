"""A slot that a waiting call has booked: it is used, kept or given back, whatever has happened meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import MINUTE, Limits
from langchain_openrouter_free.catalogue.catalogue import Prices
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.route.actions import GiveUp, Try, Wait
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.routing import Route

START = 1_790_000_000.0  # 40 seconds before a minute ends
OPENS = START + 41.5
HOUR = 3600.0
LIMITS = Limits(per_minute=1, per_day=50)
PAID = Candidate("p", paid=True, prices=Prices(Decimal(1), Decimal(1)))


def as_it_was(book: Ledger) -> Ledger:
    return book


def failed(book: Ledger) -> Ledger:
    return book.settled("m", verdict(Kind.UPSTREAM_LIMIT, until=OPENS + HOUR), OPENS)


def shut(book: Ledger) -> Ledger:
    return book.settled("n", verdict(Kind.DAY_LIMIT, until=OPENS + HOUR), OPENS)


# When the call looks again, the seconds that it has left, what others have booked meanwhile, whether a paid model may
# answer -> what it does, and how many requests of the day are taken then: one is another's.
STORIES: dict[str, tuple[float, float, Callable[[Ledger], Ledger], bool, type, int]] = {
    "in time": (OPENS, 90, as_it_was, False, Try, 2),
    "too early": (OPENS - 5, 90, as_it_was, False, Wait, 2),
    "late in its minute": (OPENS + 56, 90, as_it_was, False, Try, 2),
    "a minute late": (OPENS + MINUTE, 90, as_it_was, False, Try, 2),
    "an hour late": (OPENS + HOUR, 90, as_it_was, False, Try, 2),
    "after the clock was set back": (OPENS - HOUR, 90, as_it_was, False, Try, 2),
    "after its deadline": (OPENS, 0, as_it_was, False, GiveUp, 1),
    "when the model rests": (OPENS, 90, failed, False, GiveUp, 1),
    "when the day is shut": (OPENS, 90, shut, False, GiveUp, 1),
    "when a paid one is asked instead": (OPENS, 90, failed, True, Try, 1),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_booked_slot_is_used_or_given_back(story: str) -> None:
    """Nobody takes two for one request, and none is lost to the others where no request follows."""
    now, left, meanwhile, pays, expected, taken = STORIES[story]
    book, _ = Ledger().admitted(LIMITS, START, 0.0)
    route = Route([Candidate("m")], [PAID] if pays else [], patience=60.0, limits=LIMITS)
    book, booked = route.step(book, START, 90.0)
    assert isinstance(booked, Wait)
    assert (booked.until, book.windows.on(0)) == (OPENS, 2)
    route.took(booked)
    book, action = route.step(meanwhile(book), now, left)
    assert isinstance(action, expected)
    assert book.windows.on(0) == taken
    if isinstance(action, Try) and not pays:
        assert action.slot is not None
        assert action.slot.fits(now)
    assert not isinstance(action, Wait) or action == booked
