"""What the engine is given to ask with: the ways to a candidate, to the service's other pages, and to the user."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, Protocol

from langchain_openrouter_free.books.funds import Funds
from langchain_openrouter_free.books.history import CallRecord
from langchain_openrouter_free.books.purse import BudgetWarning
from langchain_openrouter_free.catalogue.advice import Notice
from langchain_openrouter_free.catalogue.catalogue import Listing
from langchain_openrouter_free.engine.sources import Source, Stopwatch
from langchain_openrouter_free.errors import FreeModelBilled
from langchain_openrouter_free.judging.answers import Terms
from langchain_openrouter_free.judging.easing import Ease
from langchain_openrouter_free.judging.verdicts import Verdict
from langchain_openrouter_free.protocol.wire import Completion
from langchain_openrouter_free.route.actions import Topic
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.values import value_type


class Lookup(Protocol):
    """What is asked of the service beside the attempts; none of it costs a free request."""

    def ask(self, topic: Topic, left: float) -> Listing | Funds | int | None:
        """Return what is found out about a topic, or None if nobody says; `left`: seconds until the call's deadline."""
        ...

    async def aask(self, topic: Topic, left: float) -> Listing | Funds | int | None:
        """The same on an event loop."""
        ...

    def outdated(self) -> None:
        """Take note that an id of the service's list is not offered any more."""
        ...

    def cost(self, answer: str) -> int | None:
        """Return what an answer cost in nano-dollars, or None if nobody says (yet)."""
        ...

    async def acost(self, answer: str) -> int | None:
        """The same on an event loop."""
        ...


@value_type()
class Moment:
    """A call at a moment that is told of: an attempt has ended, a wait begins, or the call is over.

    Attributes:
        record: the call up to then; its outcome is "" while it goes on.
        began_at, ended_at: when the call began, and this moment, in Unix seconds of this machine's clock.
        begun: when each of its attempts began.
        finish_reason, answer: how an answer ended, and the service's id of it.
    """

    record: CallRecord
    began_at: float
    ended_at: float
    begun: tuple[float, ...] = ()
    finish_reason: str | None = None
    answer: str = ""


class Audience(Protocol):
    """Who hears of a call while it goes on. Decides nothing, and raises nothing."""

    def listens(self, *, is_over: bool) -> bool:
        """Tell whether there is anybody who would hear of a call that is over, or goes on."""
        ...

    def hear(self, moment: Moment) -> None:
        """Tell what needs no event loop."""
        ...

    def emit(self, moment: Moment) -> None:
        """Tell those who may have to be awaited."""
        ...

    async def aemit(self, moment: Moment) -> None:
        """The same on an event loop."""
        ...


class Pace(Protocol):
    """The user's own rate limiter, as LangChain describes it."""

    def acquire(self, *, blocking: bool = True) -> bool:
        """Wait for leave to send one request."""
        ...

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """The same on an event loop."""
        ...


@value_type()
class Roads:
    """How candidates are asked; made by the face.

    Attributes:
        open: opens an attempt at a candidate; the last argument is the most output tokens, if capped.
        lookup: what is asked beside the attempts.
        terms: what counts as an answer.
        check: judges an answer further, as the caller wants; None where it is one. May raise the caller's own errors.
        uses: what a request uses of one candidate beside what all of the call's do, in names of `traits.VOCABULARY`.
        ease: what to change of a request to a candidate whose tokens all went into thinking; None where nothing can be.
        message: makes the message of what a candidate has said.
        keeps: whether the last wrong object is delivered where nobody gave a right one.
        billed: gets the warning of a free attempt that cost money; may raise it.
        warned: gets the warning of a cap of the budget; must not raise.
        beside: whether the request holds what is billed beside the model, with the user's leave.
        noticed: gets what the user should know of the candidates, whenever these are chosen.
        delisted: gets a free id and the words with which the service said that it is not offered.
        pace: the user's rate limiter. LangChain asks it once for each call; we ask it for each further attempt.
        audience: who hears of the call while it goes on.
    """

    open: Callable[[Candidate, Stopwatch, int | None], Source]
    lookup: Lookup
    terms: Terms = field(default_factory=Terms)
    check: Callable[[Candidate, Completion], Verdict | None] = lambda *_: None
    uses: Callable[[Candidate], frozenset[str]] = lambda _: frozenset()
    ease: Callable[[Candidate, Completion], Ease | None] = lambda *_: None
    message: Callable[[Candidate, Completion], Any] = lambda *_: None
    keeps: bool = False
    pace: Pace | None = None
    billed: Callable[[FreeModelBilled], None] = warnings.warn
    warned: Callable[[BudgetWarning], None] = lambda _: None
    beside: bool = False
    audience: Audience | None = None
    noticed: Callable[[Sequence[Notice]], None] = lambda _: None
    delisted: Callable[[str, str], None] = lambda _id, _reason: None
