"""What a walk may do next, as values: whom to ask, how long to wait, what to find out first. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from langchain_openrouter_free.books.purse import Shortfall
from langchain_openrouter_free.books.quota import Slot
from langchain_openrouter_free.catalogue.advice import Notice
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.values import value_type


@value_type()
class Choice:
    """The free candidates of a call, by the service's list.

    Attributes:
        candidates: in the order in which they are to be asked.
        doubts: id -> why it is not asked all the same.
        left_out: id -> why no entry of the ranking stands for it.
        notices: what the user should know of the candidates.
        open: whether another list may have others: a pattern or `auto` is named.
    """

    candidates: tuple[Candidate, ...]
    doubts: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    open: bool = False


@value_type()
class PaidTurn:
    """A place in the row of paid requests.

    Attributes:
        at: Unix seconds at which it comes.
        until: when the next one comes.
        wait: seconds that it was ahead when it was booked.
    """

    at: float
    until: float
    wait: float


@value_type()
class Try:
    """Ask this candidate.

    Attributes:
        slot: what was taken of the free quota for it; None for paid candidates.
        generation: the model's generation in the book, for the settlement.
        most_tokens: most tokens of output, where the service has said what the balance pays for.
        turn: what was taken of the row of paid requests, if there is one.
        usual_s: seconds within which its first content usually comes; None where that is not known, or where no
            other candidate could answer instead.
    """

    candidate: Candidate
    slot: Slot | None = None
    generation: int = 0
    most_tokens: int | None = None
    turn: PaidTurn | None = None
    usual_s: float | None = None


@value_type()
class Wait:
    """Nothing opens before `until` (Unix seconds); decide again then.

    Attributes:
        slot: a slot that was booked and opens then.
        uncounted: whether it uses up neither the call's patience nor its time.
        turn: a turn in the row of paid requests that was booked and comes then.
    """

    until: float
    why: str
    slot: Slot | None = None
    uncounted: bool = False
    turn: PaidTurn | None = None


class Topic(StrEnum):
    """What the service can be asked beside the attempts; none of it costs a free request."""

    LISTING = "what is on offer, and at what price"
    NEWS = "what is on offer by now, for a model of the list is not"
    DAY_LIMIT = "how many free requests a day the account has"
    FUNDS = "what is left of the account's money and of the key's limit"


@value_type()
class Ask:
    """Ask the service about something before going on."""

    topic: Topic


@value_type()
class Settle:
    """The budget falls short: ask what these answers cost that were booked at their worst case."""

    answers: tuple[str, ...]
    candidate: Candidate
    shortfall: Shortfall


@value_type()
class GiveUp:
    """Nobody is left to ask."""


Action = Try | Wait | Ask | GiveUp
