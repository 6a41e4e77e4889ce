"""What is told of a call: its record for the history and the route trail, each moment, and its last word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from langchain_openrouter_free.books.budget import cost_of
from langchain_openrouter_free.books.history import CallRecord
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.engine.attempt import Attempt, Recalled
from langchain_openrouter_free.engine.bookkeeping import Books, Settled
from langchain_openrouter_free.engine.delivery import Delivery
from langchain_openrouter_free.engine.roads import Moment, Roads
from langchain_openrouter_free.errors import AttemptRecord, OpenRouterFreeError
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.protocol.evidence import tidy
from langchain_openrouter_free.protocol.payloads import tokens_of
from langchain_openrouter_free.route.endings import Ending, ending_of, error_of_call, no_valid_object
from langchain_openrouter_free.route.routing import Route

# The outcome of a call whose caller is gone: who would have to be awaited is not told of it.
_ABANDONED = "abandoned"


class Narration:
    """One call, and who hears of it. It decides nothing."""

    def __init__(self, route: Route, roads: Roads, books: Books, clock: Clock, delivery: Delivery) -> None:
        self.route = route
        self.roads = roads
        self.books = books
        self.clock = clock
        self.delivery = delivery
        self._began_at = clock.now()
        self._begun: list[float] = []
        self._book: Ledger | None = None
        # Whether its end is told, or is being told.
        self._has_ended = False
        self._last_error: BaseException | None = None
        self._last_word: OpenRouterFreeError | Attempt | None = None
        # The last attempt that held an object of the wrong form: all that a caller may get.
        self._wrong: Attempt | None = None

    def booked(self, attempt: Attempt, settled: Settled) -> None:
        """Take note of an attempt that is over, and of the book that is told of from now on."""
        self._book = settled.book
        # In the order of the trail, which is not that of their beginnings where two ran at once.
        self._begun.append(attempt.began_at)

    def story(self, attempt: Attempt, settled: Settled) -> CallRecord:
        """Return what is to be told of the call when this attempt is over; its outcome is "" if the call goes on."""
        told = attempt.told(settled)
        said, candidate = attempt.completion(), attempt.turn.candidate
        if settled.verdict.kind is Kind.ABANDONED and not attempt.outrun:
            self._has_ended = True
            return self.record(_ABANDONED, settled.book, told)
        if not settled.verdict.ok:
            is_final = attempt.committed and not self.delivery.may_go_on(said)
            self._has_ended |= is_final
            return self.record("interrupted" if is_final else "", settled.book, told)
        self._has_ended = True
        usage, prices = said.usage or {}, candidate.prices if candidate.paid else None
        return self.record(
            "answered",
            settled.book,
            told,
            model=candidate.model,
            paid=candidate.paid,
            provider=None if said.provider is None else tidy(said.provider),
            cost=cost_of(usage, prices, self.books.payments.need, self.books.now()),
            prompt_tokens=tokens_of(usage.get("prompt_tokens")),
            completion_tokens=tokens_of(usage.get("completion_tokens")),
        )

    def broken_off(self) -> CallRecord | None:
        """Tell of a call that its caller leaves between two attempts, unless its end is told.

        Return what is to be kept of it: a call that has asked nobody is not.
        """
        if self._has_ended:
            return None
        self._has_ended = True
        record = self.record(_ABANDONED, self._book)
        self.tell(record)
        return record if record.attempts else None

    def given_up(self) -> CallRecord:
        """Keep the call in which nobody answered, and make its last word; return its record.

        That word is an error, or what was said before and the caller wants all the same.
        """
        book, ending = self.books.look(), ending_of(self.route)
        is_left = bool(self.delivery.interruptions) and not self.delivery.invoked
        record = self.record("interrupted" if is_left else str(ending), book)
        self.books.keep(record)
        wrong, now = self._wrong, self.books.now()
        if wrong is not None and self.roads.keeps and not is_left:
            self._last_word = Recalled(wrong, record)
            return record
        error = error_of_call(self.route, ending, book, now)
        if wrong is not None and ending is Ending.FAILED:
            said = wrong.completion()
            raw = self.roads.message(wrong.turn.candidate, said)
            error = no_valid_object(self.route, book, now, raw, said)
        if is_left:
            error.__cause__ = self._last_error
            self.fail(error)
            error = self.delivery.left_alone(error, self.route.trail)
        error.route = record.as_route()
        self._last_word = error
        return record

    def tell(self, record: CallRecord | None = None, attempt: Attempt | None = None) -> None:
        """Tell the audience what the call has come to: an attempt has ended, a wait begins, or it is over."""
        audience, moment = self.roads.audience, self._heard(record, attempt)
        if audience is not None and moment is not None:
            audience.emit(moment)

    async def atell(self, record: CallRecord | None = None, attempt: Attempt | None = None) -> None:
        """The same on an event loop."""
        audience, moment = self.roads.audience, self._heard(record, attempt)
        if audience is not None and moment is not None:
            await audience.aemit(moment)

    def _heard(self, record: CallRecord | None, attempt: Attempt | None) -> Moment | None:
        """Tell those who need no event loop; return what the others are to be told, if there is anybody."""
        audience = self.roads.audience
        if audience is None or not audience.listens(is_over=record is not None and bool(record.outcome)):
            return None
        moment = self._moment(record, attempt)
        audience.hear(moment)
        return None if moment.record.outcome == _ABANDONED else moment

    def _moment(self, record: CallRecord | None, attempt: Attempt | None) -> Moment:
        record = record or self.record("", self._book)
        moment = Moment(record, self._began_at, self.clock.now(), tuple(self._begun))
        if attempt is None:
            return moment
        return replace(moment, finish_reason=attempt.completion().finish_reason, answer=attempt.answer)

    def record(self, outcome: str, book: Ledger | None, *last: AttemptRecord, **of_answer: Any) -> CallRecord:
        """Return the record of the call as it stands, with an attempt that is not on its trail yet."""
        now = self.books.now()
        return CallRecord(
            now,
            self.books.accounts.project,
            outcome,
            waited_s=self.route.waited,
            attempts=(*self.route.trail, *last),
            quota=None if book is None else book.quota(self.route.limits, now),
            waits=tuple(self.route.pauses),
            **of_answer,
        )

    def _over(self) -> Attempt:
        """Return what is left to say of a call that nobody answered, or raise its error."""
        word, cause = self._last_word, self._last_error
        self.forget()
        assert word is not None  # noqa: S101 - the call was given up before
        if isinstance(word, Attempt):
            return word
        try:
            raise word from cause
        finally:
            # An error's traceback holds this frame.
            del word, cause

    def fail(self, error: BaseException) -> None:
        """Remember the last failure as the cause of the call's."""
        self._last_error = error

    def forget(self) -> None:
        """Let go of the failures, for the call is over: their tracebacks hold the frames that hold this walk."""
        self._last_error = self._last_word = self._wrong = None
