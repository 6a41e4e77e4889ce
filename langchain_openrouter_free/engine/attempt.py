"""One try at one candidate: read to its end, judged, settled, and left.

Knows its source, its deadlines and what was said; whom to ask next, and when, is `engine.py`'s business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar

from langchain_openrouter_free.books.budget import dollars
from langchain_openrouter_free.books.history import CallRecord
from langchain_openrouter_free.books.ledger import Measured
from langchain_openrouter_free.books.purse import BudgetWarning
from langchain_openrouter_free.books.skew import Heard
from langchain_openrouter_free.books.tripwire import Bill
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.connections.transport import TransportFault
from langchain_openrouter_free.engine.bookkeeping import Books, Settled, Turn
from langchain_openrouter_free.engine.delivery import Delivery
from langchain_openrouter_free.engine.roads import Roads
from langchain_openrouter_free.engine.sources import Stopwatch
from langchain_openrouter_free.engine.timeouts import Deadlines
from langchain_openrouter_free.errors import AttemptRecord, FreeModelBilled, StreamInterrupted, route_facts
from langchain_openrouter_free.judging.answers import ENDLESS, ERROR, MOST_CALLS, judge
from langchain_openrouter_free.judging.refusals import classify
from langchain_openrouter_free.judging.verdicts import Kind, Scope, Step, Verdict, answered, verdict
from langchain_openrouter_free.protocol.evidence import Json, error_of, tidy
from langchain_openrouter_free.protocol.headers import header
from langchain_openrouter_free.protocol.payloads import tokens_of
from langchain_openrouter_free.protocol.spoken import Opening
from langchain_openrouter_free.protocol.wire import Assembly, Completion, Delta, ReplyError
from langchain_openrouter_free.route.candidate import Road
from langchain_openrouter_free.route.routing import Route

T = TypeVar("T")

log = logging.getLogger("langchain_openrouter_free")

# The header with the service's id of an answer (recorded 2026), and the most that is kept of one.
_ANSWER_ID, _LONGEST_ID = "x-generation-id", 100
# Contents within so many seconds came as one piece.
_SHORTEST_SPAN = 0.2


class AttemptFailed(Exception):
    """An attempt ended without an answer, for a reason that is already judged."""

    def __init__(self, how: Verdict) -> None:
        super().__init__(how)
        self.verdict = how


class Walk(Protocol):
    """The walk that an attempt is a step of; `engine.Attempts`."""

    route: Route
    roads: Roads
    books: Books
    clock: Clock
    deadlines: Deadlines
    delivery: Delivery

    @property
    def call_ends(self) -> float:
        """The whole call's deadline, on the monotonic scale."""
        ...

    def settle(self, attempt: Attempt, how: Verdict, *, is_last: bool = False) -> Verdict:
        """Book and record how an attempt ended; return its reading. `is_last`: nobody is asked after it."""
        ...

    async def asettle(self, attempt: Attempt, how: Verdict, *, is_last: bool = False) -> Verdict:
        """The same where it may block."""
        ...

    def tell(self, record: CallRecord | None = None, attempt: Attempt | None = None) -> None:
        """Tell the audience what the call has come to."""
        ...

    async def atell(self, record: CallRecord | None = None, attempt: Attempt | None = None) -> None:
        """The same on an event loop."""
        ...

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Run `work` where it may block, to its end."""
        ...

    def fail(self, error: BaseException) -> None:
        """Remember the last failure as the cause of the call's."""
        ...

    def forget(self) -> None:
        """Let go of the failures, for the call is over."""
        ...

    def break_off(self) -> None:
        """End the walk before its next step."""
        ...

    async def abreak_off(self) -> None:
        """The same on an event loop."""
        ...


class Attempt:
    """One try at one candidate. Leaving it settles the book and says whether to go on.

    Attributes:
        turn: the candidate and its reservation.
        committed: something of it has reached the caller; from there on a failure is final.
        answered: it is over, settled, and was an answer.
        warnings: caps of the budget that its cost has come near to.
        bill: what it cost although it is a free one.
        last_usage: what came as its usage with the error that it ended in.
        outrun: another attempt, at once with this one, has spoken first.
        story: what is to be told of the call, once the attempt is settled and no other follows at once.
    """

    def __init__(self, owner: Walk, turn: Turn) -> None:
        self.turn = turn
        self.committed = False
        self.answered = False
        self.outrun = False
        self.warnings: tuple[BudgetWarning, ...] = ()
        self.bill: Bill | None = None
        self.last_usage: Json | None = None
        self.story: CallRecord | None = None
        self._owner = owner
        timeouts = owner.deadlines.of(turn.candidate.model).adapted(turn.usual_s)
        self._watch = Stopwatch(owner.clock, timeouts, owner.call_ends)
        self._assembly = Assembly()
        # Content that is not shown yet: it says nothing so far, or may still be judged away.
        self._held: list[Delta] = []
        self._opening = Opening()
        self._judged_well = False
        self._let_through = False
        self._ahead: list[list[Delta] | None] = []
        self._unnamed = turn.reservation is not None
        self._nameless = False
        self._said_id = ""
        self._source = owner.roads.open(turn.candidate, self._watch, turn.max_tokens)
        log.debug("asking %s", turn.candidate.model)

    @property
    def model(self) -> str:
        """Id of the model that is asked."""
        return self.turn.candidate.model

    def committed_content(self, deltas: list[Delta]) -> Iterator[Delta]:
        """Yield what a caller would see; from the first of it on, a failure is final.

        Blanks and thoughts in the text in front of its first word commit to nothing: they are held back until it comes.
        """
        for delta in map(self._owner.delivery.shown, deltas):
            if not delta.has_content:
                continue
            self._held.append(delta)
            if self.committed or self._judged_well or self._commits(delta):
                self.committed = True
                yield from self._released()

    def _commits(self, delta: Delta) -> bool:
        """Tell whether something is said to the caller by now, and by a piece that no judgement can take back."""
        speaks = self._opening.speaks(delta.text) or replace(delta, text="").says_something
        return speaks and not self._owner.roads.terms.holds(delta)

    def _released(self) -> list[Delta]:
        held, self._held = self._held, []
        return held

    def read(self) -> list[Delta] | None:
        """Return the next deltas; None when the answer is over and is one."""
        if self._ahead:
            return self._ahead.pop(0)
        if self._unnamed:
            self._source.open()
            self._name()
        if self._let_through or self._judged_well:
            return self._finish()
        try:
            deltas = self._take(self._source.read())
        except ReplyError as error:
            if not self._accepts(error):
                raise
            # The answer ends with it.
            return self._take(error.said)
        except TransportFault as fault:
            if not self._accepts_end(fault):
                raise
            return self._finish()
        if self._nameless and self._said_id:
            self._name()
        return deltas

    async def aread(self) -> list[Delta] | None:
        """Return the next deltas; None when the answer is over and is one."""
        if self._ahead:
            return self._ahead.pop(0)
        if self._unnamed:
            await self._source.aopen()
            await self._owner.off_loop(self._name)
        if self._let_through or self._judged_well:
            return self._finish()
        try:
            deltas = self._take(await self._source.aread())
        except ReplyError as error:
            if not self._accepts(error):
                raise
            # The answer ends with it.
            return self._take(error.said)
        except TransportFault as fault:
            if not self._accepts_end(fault):
                raise
            return self._finish()
        if self._nameless and self._said_id:
            await self._owner.off_loop(self._name)
        return deltas

    async def alisten(self) -> None:
        """Read ahead to the first content, or to the end of the answer."""
        ahead: list[list[Delta] | None] = []
        while not ahead or (ahead[-1] is not None and not any(delta.says_something for delta in ahead[-1])):
            ahead.append(await self.aread())
        self._ahead = ahead

    def _name(self) -> None:
        """Book the service's id of a paid answer before its first word: it may be the last of this process."""
        self._unnamed = False
        self._nameless = not (self.answer or self._said_id)
        if self.answer:
            self._owner.books.named(self.turn, self.answer)

    @property
    def sent(self) -> bool:
        """Whether the request may have left."""
        return self._source.sent

    @property
    def answer(self) -> str:
        """The service's id of the answer; "" where it has told none.

        Where the header is missing (older replies, gateways), each piece of an answer has it, or a provider's own.
        """
        said = header(self._source.headers, _ANSWER_ID) or ""
        if not said and self._said_id.startswith("gen-") and self.turn.candidate.road is Road.SERVICE:
            said = self._said_id
        return said if said.isascii() and said.isprintable() and len(said) <= _LONGEST_ID else ""

    def _take(self, deltas: list[Delta] | None) -> list[Delta] | None:
        if deltas is None:
            return self._finish()
        for delta in deltas:
            self._assembly.add(delta)
        if not self._said_id and deltas:
            self._said_id = deltas[0].id or ""
        # It is not waited for the end of what has none.
        if self._assembly.calls > MOST_CALLS and Kind.REPEATED not in self._owner.roads.terms.accept:
            raise AttemptFailed(verdict(Kind.REPEATED, ENDLESS, status=self.status))
        return deltas

    def _accepts(self, error: ReplyError) -> bool:
        """Tell whether the caller takes what came with an error object for an answer."""
        told = isinstance(error.body, dict) and error_of(error.body) is not None
        if ERROR not in self._owner.roads.terms.accept or error.status != 200 or not told:
            return False
        how = classify(error.status, error.headers, error.body, now=self._owner.books.now())
        self._let_through = how.scope is not Scope.ACCOUNT and how.step is not Step.RAISE
        return self._let_through

    def _accepts_end(self, fault: TransportFault) -> bool:
        """Tell whether the caller takes for an answer what was said before the connection broke off."""
        is_accepted = fault.kind is Kind.CUT and Kind.CUT in self._owner.roads.terms.accept
        return is_accepted and self.completion().says_something

    def _finish(self) -> list[Delta] | None:
        """Judge the whole answer; return what of it was held back, and then None."""
        if not self._judged_well:
            said, roads = self.completion(), self._owner.roads
            complete = self._let_through or self._source.complete()
            how = judge(said, roads.terms, status=self.status, complete=complete, failed=self._let_through)
            delivery = self._owner.delivery
            unfit = roads.check(self.turn.candidate, delivery.standing(said)) if how.ok else None
            how = how if unfit is None else replace(unfit, status=self.status)
            if how.kind is Kind.SPENT and self.turn.candidate.ease is None:
                how = replace(how, ease=roads.ease(self.turn.candidate, said))
            # What was shown cannot be taken back: the reader of the object will say what is wrong with it.
            shown = how.kind is Kind.WRONG_OBJECT and roads.keeps and self.committed
            if not how.ok and (not shown or delivery.may_go_on(said)):
                raise AttemptFailed(how)
            self._judged_well = True
        return self._released() or None

    @property
    def began_at(self) -> float:
        """When it began, in Unix seconds of this machine's clock."""
        return self._watch.began_at

    @property
    def status(self) -> int | None:
        """HTTP status of the reply, None before there is one."""
        return self._source.status

    def completion(self) -> Completion:
        """Return what was said so far."""
        return self._assembly.completion()

    @property
    def heard(self) -> Heard | None:
        """The server's time, as its reply told it."""
        return self._source.heard

    def measured(self, said: Completion) -> Measured:
        """Return what the attempt showed of its model's speed."""
        first, tokens = self._watch.first_token_s, tokens_of((said.usage or {}).get("completion_tokens"))
        if first is None or tokens is None:
            return Measured(first)
        seconds = self._watch.last_content_s - first
        # What came in one piece says nothing about its speed.
        return Measured(first, tokens / seconds if seconds > _SHORTEST_SPAN else None)

    # -- leaving

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            with closing(self._source):
                how = self._judged(error)
        except BaseException:
            self._owner.settle(self, self._judged(error), is_last=True)
            self._owner.break_off()
            raise
        how = self._owner.settle(self, how)
        try:
            self._owner.tell(self.story, self)
            return self._leave(how, error)
        except BaseException:
            self._owner.break_off()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            async with aclosing(self._source):
                how = self._judged(error)
        except BaseException:
            await self._owner.asettle(self, self._judged(error), is_last=True)
            await self._owner.abreak_off()
            raise
        how = await self._owner.asettle(self, how)
        try:
            await self._owner.atell(self.story, self)
            return self._leave(how, error)
        except BaseException:
            await self._owner.abreak_off()
            raise

    async def aoutrun(self) -> None:
        """Let go of an attempt while another one, asked beside it, goes on."""
        self.outrun = True
        self._owner.books.heard(self.heard)
        how = verdict(Kind.ABANDONED, "another model, asked at the same time, spoke first", status=self.status)
        try:
            await self._source.aclose()
        finally:
            await self._owner.asettle(self, replace(how, step=Step.NEXT))
        await self._owner.atell(self.story, self)

    def _judged(self, error: BaseException | None) -> Verdict:
        self._owner.books.heard(self.heard)
        match error:
            case None:
                headers = None if self.turn.slot is None else self._source.headers
                return answered(self.status, headers, now=self._owner.books.now())
            case AttemptFailed():
                return error.verdict
            case ReplyError():
                self.last_usage = next((delta.usage for delta in error.said if delta.usage), None)
                return classify(error.status, error.headers, error.body, now=self._owner.books.now())
            case TransportFault():
                return verdict(error.kind, error.reason, status=self.status)
            case GeneratorExit() | asyncio.CancelledError() | KeyboardInterrupt():
                return verdict(Kind.ABANDONED, status=self.status)
            case _:
                return verdict(Kind.ABANDONED, f"{type(error).__name__} in the caller", status=self.status)

    def _leave(self, how: Verdict, error: BaseException | None) -> bool:
        """Return whether the walk goes on. Raise what ends the call."""
        self.answered = how.ok
        for warning in self.warnings:
            log.warning("%s", warning)
            self._owner.roads.warned(warning)
        if self.bill is not None and not self.bill.expected:
            self._tell(self.bill)
        if how.ok or how.kind is Kind.ABANDONED:
            self._owner.forget()
            return False
        log.info("%s: %s (%s), %s", self.model, how.kind, how.reason, how.step)
        assert error is not None  # noqa: S101 - a failed attempt is left by its exception
        if self.committed:
            self._interrupt(how.reason, error)
        self._owner.fail(error)
        # A verdict that ends the call is found by the next step: it waits and books where it may block.
        return True

    def _interrupt(self, reason: str, error: BaseException) -> None:
        """Raise what a caller gets who has half an answer, unless another model may be asked all the same."""
        delivery, said, route = self._owner.delivery, self.completion(), self._owner.route
        if not delivery.may_go_on(said):
            self._owner.forget()
            raise self._broken(said, reason) from error
        delivery.broke_off(said, self.model, reason)
        delivery.away += self._watch.away_s
        if delivery.continues:
            # What is held back for a paid attempt does not hold the words that are to be gone on from.
            route.paid = ()

    def _broken(self, said: Completion, reason: str) -> StreamInterrupted:
        broken = self._owner.delivery.error(said, self.model, reason, self._owner.route.trail)
        broken.route = self.trail
        return broken

    def _tell(self, bill: Bill) -> None:
        cost = None if bill.cost is None else dollars(bill.cost)
        trail = self._owner.route.trail
        served = None if bill.served is None else tidy(bill.served)
        told = FreeModelBilled(bill.model, served, cost, self._assembly.text, trail)
        told.route = self.trail
        log.warning("%s", told)
        self._owner.roads.billed(told)

    @property
    def trail(self) -> dict[str, Any]:
        """The route trail up to its end, once it is settled."""
        return route_facts() if self.story is None else self.story.as_route()

    def told(self, settled: Settled) -> AttemptRecord:
        """Return the attempt as the route trail tells it."""
        how, first = settled.verdict, self._watch.first_token_s
        return AttemptRecord(
            model=self.model,
            outcome=str(how.kind),
            scope=str(how.scope),
            status=how.status,
            reason="" if how.ok else how.reason,
            first_token_s=None if first is None else round(first, 3),
            seconds=round(self._watch.seconds(), 3),
            until=settled.until,
        )


class Recalled(Attempt):
    """An attempt that is over and settled, said once more: it was no answer, and the caller wants it all the same."""

    def __init__(self, former: Attempt, story: CallRecord) -> None:
        self.turn, self.story = former.turn, story
        self.committed, self.answered = False, True
        self._said = former.completion()
        self._left: list[Delta] | None = [self._said]

    def completion(self) -> Completion:
        """Return what was said."""
        return self._said

    def committed_content(self, deltas: list[Delta]) -> Iterator[Delta]:
        """Yield what was said, as one piece."""
        yield from deltas

    def read(self) -> list[Delta] | None:
        """Return all of it, and then None."""
        left, self._left = self._left, None
        return left

    async def aread(self) -> list[Delta] | None:
        """Return all of it, and then None."""
        return self.read()

    def __exit__(self, *_: object) -> Literal[False]:
        return False

    async def __aexit__(self, *_: object) -> Literal[False]:
        return False
