"""Turns a route's actions into attempts. The only place that waits.

`for attempt in Attempts(...): with attempt: ...`, or both `async`. Sync and async share every decision;
only waiting, and reading bytes, exists twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from langchain_openrouter_free.books.funds import Funds
from langchain_openrouter_free.books.history import CallRecord
from langchain_openrouter_free.books.tripwire import Bill, bill_of
from langchain_openrouter_free.catalogue.catalogue import Listing
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.engine.attempt import Attempt
from langchain_openrouter_free.engine.bookkeeping import Books, Settled, Turn
from langchain_openrouter_free.engine.delivery import Delivery
from langchain_openrouter_free.engine.handover import handed_over, off_loop, to_its_end
from langchain_openrouter_free.engine.narration import Narration
from langchain_openrouter_free.engine.portal import PORTAL, bridged
from langchain_openrouter_free.engine.race import Hedge, Race
from langchain_openrouter_free.engine.roads import Pace, Roads
from langchain_openrouter_free.engine.timeouts import Deadlines
from langchain_openrouter_free.judging.verdicts import Kind, Verdict
from langchain_openrouter_free.route.actions import Ask, GiveUp, Settle, Topic, Try, Wait
from langchain_openrouter_free.route.lessons import lesson_of
from langchain_openrouter_free.route.onward import Onward, onward
from langchain_openrouter_free.route.routing import Route
from langchain_openrouter_free.route.walked import UNBOOKABLE
from langchain_openrouter_free.stores import at_once
from langchain_openrouter_free.values import value_type

T = TypeVar("T")

log = logging.getLogger("langchain_openrouter_free")

# A wait is decided anew when it ends; a clock that stands still must not spin.
_SHORTEST_WAIT = 0.01
# How often the user's rate limiter is asked: to wait in it would be to wait past the call's end.
_PACE_S = 0.1
# How many answers in dispute are asked about before a call is told that the budget falls short, and for how long at
# most one more is, in seconds.
_MOST_SETTLED, _SETTLING_S = 5, 5.0


@value_type()
class AskPace:
    """Ask the user's rate limiter, and decide again: a slot that was taken before would age meanwhile."""

    pace: Pace


Next = Turn | Wait | Ask | Settle | AskPace | GiveUp


class Attempts(Narration):
    """The attempts of one call, as an iterator and as an async iterator."""

    def __init__(
        self,
        route: Route,
        roads: Roads,
        books: Books,
        clock: Clock,
        deadlines: Deadlines,
        delivery: Delivery | None = None,
        hedge: Hedge | None = None,
    ) -> None:
        super().__init__(route, roads, books, clock, delivery or Delivery())
        self.deadlines = deadlines
        self.hedge = hedge
        self._started = clock.monotonic()
        # LangChain has asked the rate limiter for the first attempt.
        self._may_send = True
        self._has_settled = False
        # Whom to ask next, where that was decided as an attempt failed.
        self._further: Turn | None = None

    def __iter__(self) -> Iterator[Attempt]:
        return self

    def __next__(self) -> Attempt:
        try:
            attempt = self._following()
        except BaseException:
            self.break_off()
            raise
        return attempt or self._over()

    def _following(self) -> Attempt | None:
        while True:
            match self._next():
                case Turn() as turn:
                    attempt = self._attempt(turn)
                    if attempt is not None:
                        return attempt
                case Wait() as wait:
                    with self._waiting(wait) as seconds:
                        self.tell()
                        self.clock.sleep(seconds)
                case Ask(topic):
                    with self._asking(topic):
                        found = self.roads.lookup.ask(topic, self.left)
                    self._found(topic, found)
                case Settle() as settle:
                    for answer in self._in_time(settle):
                        self.books.reconciled(answer, self.roads.lookup.cost(answer))
                case AskPace(pace):
                    self._in_pace(pace)
                case GiveUp():
                    self._has_ended = True
                    self.tell(self.given_up())
                    return None

    def __aiter__(self) -> Attempts:
        return self

    async def __anext__(self) -> Attempt:
        try:
            attempt = await self._afollowing()
        except GeneratorExit:
            # Its loop is gone.
            self.break_off()
            raise
        except BaseException:
            await self.abreak_off()
            raise
        return attempt or self._over()

    async def _afollowing(self) -> Attempt | None:
        while True:
            match await self._next_off_loop():
                case Turn() as turn:
                    attempt, self._has_ended = await self._raced(turn), False
                    if attempt is not None:
                        return attempt
                case Wait() as wait:
                    with self._waiting(wait) as seconds:
                        await self.atell()
                        await self.clock.asleep(seconds)
                case Ask(topic):
                    with self._asking(topic):
                        found = await self.roads.lookup.aask(topic, self.left)
                    await self.off_loop(partial(self._found, topic, found))
                case Settle() as settle:
                    for answer in self._in_time(settle):
                        cost = await self.roads.lookup.acost(answer)
                        await self.off_loop(partial(self.books.reconciled, answer, cost))
                case AskPace(pace):
                    await self._ain_pace(pace)
                case GiveUp():
                    self._has_ended = True
                    await self.atell(await self.off_loop(self.given_up))
                    return None

    # -- decisions, shared

    def _next(self) -> Next:
        """Ask the route for the next action, and the rate limiter before a further attempt."""
        further, self._further = self._further, None
        if further is not None:
            if self._is_due(further):
                return further
            self._undo(further)
        action = self._granted()
        if not isinstance(action, Turn) or self.roads.pace is None or self._may_send:
            return action
        self._undo(action)
        return AskPace(self.roads.pace)

    def _in_pace(self, pace: Pace) -> None:
        """Wait for leave of the rate limiter, at most until the call's end."""
        while seconds := self._held_up(granted=pace.acquire(blocking=False)):
            self.clock.sleep(seconds)

    async def _ain_pace(self, pace: Pace) -> None:
        while seconds := self._held_up(granted=await pace.aacquire(blocking=False)):
            await self.clock.asleep(seconds)

    def _held_up(self, *, granted: bool) -> float:
        """Note what the rate limiter says; return the seconds until it is asked again, none behind the call's end."""
        self._may_send = granted
        seconds = 0.0 if granted else min(_PACE_S, max(self.left, 0.0))
        if self.route.paced:
            self.route.waited, self.route.uncounted = self.route.waited + seconds, self.route.uncounted + seconds
        return seconds

    def _is_due(self, further: Turn) -> bool:
        """Tell whether a turn that was taken ahead may be used: whoever listens may have taken long since."""
        in_time = further.slot is None or further.slot.fits(self.books.now())
        return in_time and self.call_ends > self.clock.monotonic()

    def _granted(self) -> Next:
        """Ask the route for the next action; a paid attempt must get its reservation as well."""
        if self.route.needs_listing(self.clock.now()):
            return Ask(Topic.LISTING)
        while True:
            action = self.books.decide(self.route, self.left)
            if not isinstance(action, Try):
                return action
            if not action.candidate.paid:
                return _turn(action)
            bought = self.books.reserve(action)
            if isinstance(bought, Turn):
                return bought
            self.books.not_bought(action)
            if bought is None:
                log.warning("%s is not asked: %s", action.candidate.model, UNBOOKABLE)
                self.route.unbookable(action.candidate)
            elif answers := self._disputed():
                return Settle(answers, action.candidate, bought)
            else:
                self.route.refused(action.candidate, bought)

    def _disputed(self) -> tuple[str, ...]:
        """Return answers that may have cost less than was booked; asked for once in a call."""
        has_settled, self._has_settled = self._has_settled, True
        return () if has_settled else self.books.disputed()[:_MOST_SETTLED]

    def _in_time(self, settle: Settle) -> Iterator[str]:
        """Yield the answers while there is time; once the call's is over, the budget is what stood in its way."""
        left_by_then = self.left - _SETTLING_S
        for answer in settle.answers:
            if self.left <= 0:
                self.route.refused(settle.candidate, settle.shortfall)
            elif self.left > left_by_then:
                yield answer

    def _undo(self, action: Next | None) -> None:
        """Give back what an action took for a caller who does not want it any more."""
        if isinstance(action, Turn):
            self.books.give_back(action)
        elif isinstance(action, Wait):
            if action.slot is not None:
                self.books.release(action.slot)
            if action.turn is not None:
                self.books.leave_row(action.turn)

    def _attempt(self, turn: Turn) -> Attempt | None:
        """Begin an attempt, on a borrowed loop where a second one may be begun beside it."""
        if self.hedge is None or not self.hedge.bridged or turn.candidate.paid or PORTAL.is_here():
            self._may_send = False
            return self._opened(turn)
        # Given back by whoever breaks the walk off, until it is taken.
        self.roads, self._further = bridged(self.roads), turn
        attempt, self._has_ended = PORTAL.run(self._lent(), undo=self._unwanted), False
        return attempt

    async def _lent(self) -> Attempt | None:
        """Begin an attempt on the portal. From then on it is told of here: whoever waits for it may go away."""
        turn, self._further = self._further, None
        if turn is None:
            raise asyncio.CancelledError
        try:
            attempt, self._has_ended = await self._raced(turn), True
        except BaseException:
            await self.abreak_off()
            raise
        return attempt

    async def _unwanted(self, attempt: Attempt | None) -> None:
        """Leave an attempt that nobody waits for any more."""
        if attempt is None:
            self._has_ended = False
            await self.abreak_off()
        else:
            await attempt.__aexit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    async def _raced(self, turn: Turn) -> Attempt | None:
        """Begin an attempt; where it is hedged, return the one that has spoken first, or None if none has.

        Until somebody has it, nobody else tells of it: its race does, if it is broken off.
        """
        self._may_send = False
        silence = None if self.hedge is None else self.hedge.silence(turn)
        attempt = self._opened(turn)
        if silence is None:
            return attempt
        self._has_ended, race = True, Race(self)
        try:
            return await race.run(attempt, silence)
        except BaseException:
            self._has_ended = race.is_told
            raise

    def _opened(self, turn: Turn) -> Attempt:
        """Begin an attempt, or give back what its turn took: nobody else knows of that by now."""
        try:
            return Attempt(self, turn)
        except BaseException:
            self._undo(turn)
            raise

    async def silent(self, listening: Iterable[asyncio.Task[None]], seconds: float | None) -> bool:
        """Wait until one of the attempts has spoken or failed; tell whether all are silent when the time is over."""
        spoken, _ = await asyncio.wait(listening, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return not spoken

    async def rival(self, turn: Turn) -> Attempt | None:
        """Begin an attempt at another model, if one may be asked beside this one."""
        ask = partial(self._rival, turn)
        granted = await handed_over(ask, self._undo) if self.books.accounts.store.blocking else ask()
        if granted is None:
            return None
        log.info("%s is silent: %s is asked as well", turn.candidate.model, granted.candidate.model)
        return self._opened(granted)

    def _rival(self, turn: Turn) -> Turn | None:
        granted, pace = self.books.rival(self.route, turn.candidate.model), self.roads.pace
        if granted is not None and pace is not None and not pace.acquire(blocking=False):
            self._undo(granted)
            return None
        return granted

    @property
    def call_ends(self) -> float:
        """The whole call's deadline, on the monotonic scale; a paced call's queue and the caller's time don't count."""
        return self._started + self.deadlines.usual.call + self.route.uncounted + self.delivery.away

    @property
    def left(self) -> float:
        """Seconds until then; below 0 where it is over."""
        return self.call_ends - self.clock.monotonic()

    @contextlib.contextmanager
    def _waiting(self, wait: Wait) -> Iterator[float]:
        """Say how long to wait; give a booked slot back if the wait is broken off."""
        seconds, began = max(wait.until - self.books.now(), _SHORTEST_WAIT), self.clock.monotonic()
        self.route.waits(wait, seconds)
        log.info("waiting %.1f s: %s", seconds, wait.why)
        try:
            yield seconds
        except BaseException:
            self.route.waited += self.clock.monotonic() - began - seconds
            self._undo(wait)
            raise

    @contextlib.contextmanager
    def _asking(self, topic: Topic) -> Iterator[None]:
        """Let another call ask for the day's limit if this one's question is broken off."""
        try:
            yield
        except BaseException:
            if topic is Topic.DAY_LIMIT:
                self.books.not_inquired()
            raise

    def _found(self, topic: Topic, found: Listing | Funds | int | None) -> None:
        """Take note of what was found out."""
        if topic in (Topic.LISTING, Topic.NEWS):
            self.route.listed(found if isinstance(found, Listing) else None, self.clock.now())
            self.roads.noticed(self.route.choice.notices)
        elif isinstance(found, Funds):
            self.route.funded(found)
            if self.route.paid_rps == "balance":
                self.books.funded(found)
        else:
            self.books.hinted(found if isinstance(found, int) else None)

    async def _next_off_loop(self) -> Next:
        store = self.books.accounts.store
        if self._further is not None and self._is_due(self._further):
            return self._next()
        # Where somebody may be paid, a rate limiter says no, or a turn comes too late, one update is not all.
        is_all = not self.route.paid and not self.roads.pace and self._further is None
        quick = at_once(store, self._next) if is_all else None
        if quick is not None:
            return quick
        return await handed_over(self._next, self._undo) if store.blocking else self._next()

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Run `work` where it may block, to its end: a cancelled task does not stop it."""
        return await off_loop(work) if self.books.accounts.store.blocking else work()

    def settle(self, attempt: Attempt, how: Verdict, *, is_last: bool = False) -> Verdict:
        """Book and record how an attempt ended; return its reading. An attempt that ends the call ends its record.

        `is_last`: whatever its reading, nobody is asked after it.
        """
        attempt.bill = self._bill(attempt)
        read = self._settled(attempt, how, is_last=is_last)
        try:
            self.books.tidy()
        except BaseException:
            self.break_off()
            raise
        return read

    async def asettle(self, attempt: Attempt, how: Verdict, *, is_last: bool = False) -> Verdict:
        """The same where it may block."""
        attempt.bill, store = self._bill(attempt), self.books.accounts.store
        work = partial(self._settled, attempt, how, is_last=is_last)
        # Where money or the list of models is booked beside, one update is not all.
        is_all = attempt.bill is None and not attempt.turn.candidate.paid and how.kind is not Kind.DELISTED
        read = at_once(store, work) if is_all else None
        if read is None and self._has_ended:
            # Whoever breaks off a race tells of all that ran in it.
            read = await to_its_end(self.off_loop(work))
        elif read is None:
            read = await handed_over(work, lambda _: self.break_off()) if store.blocking else work()
        fold = self.books.tidying()
        try:
            if fold is not None:
                await self.off_loop(fold)
        except BaseException:
            await self.abreak_off()
            raise
        return read

    def _bill(self, attempt: Attempt) -> Bill | None:
        if attempt.turn.candidate.paid:
            return None
        said = attempt.completion()
        # A cost is told last, be it with an error.
        usage = attempt.last_usage or said.usage
        return bill_of(attempt.model, said.model, usage, expected=self.roads.beside)

    def _settled(self, attempt: Attempt, how: Verdict, *, is_last: bool) -> Verdict:
        said, candidate = attempt.completion(), attempt.turn.candidate
        ends = partial(self._end, attempt)
        settled = self.books.settle(
            attempt.turn,
            how,
            said.usage,
            attempt.heard,
            attempt.measured(said),
            ends,
            attempt.bill,
            attempt.answer,
            sent=attempt.sent,
            lesson=lesson_of(self.route.needs.using(self.roads.uses(candidate)), candidate, how, said),
            goes_on=None if is_last else self._goes_on(attempt, how),
        )
        if how.kind is Kind.WRONG_OBJECT:
            self._wrong = attempt
        attempt.warnings = settled.warnings
        self.booked(attempt, settled)
        if settled.verdict.kind is Kind.DELISTED and not candidate.paid:
            self.roads.lookup.outdated()
            self.roads.delisted(attempt.turn.candidate.model, settled.verdict.reason)
        if settled.onward is not None:
            self.route, self._further = settled.onward.route, _turn(settled.onward.action)
            return settled.onward.read
        # Made already where the history keeps it.
        story = attempt.story = attempt.story or self.story(attempt, settled)
        return self.route.record(candidate, settled.verdict, story.attempts[-1])

    def _goes_on(self, attempt: Attempt, how: Verdict) -> Callable[[Settled, float], Onward | None] | None:
        """Return what decides whom to ask after a failed attempt; None where more than the book has a say in that."""
        failed, free = not (how.ok or how.kind is Kind.ABANDONED), not attempt.turn.candidate.paid
        asks_nobody = self.hedge is None and self.roads.pace is None and attempt.bill is None
        if not (failed and free and asks_nobody) or attempt.committed or how.kind is Kind.DELISTED:
            return None
        left = self.left

        def goes_on(settled: Settled, now: float) -> Onward | None:
            assert settled.book is not None  # noqa: S101 - it is booked at this moment
            candidate, told = attempt.turn.candidate, attempt.told(settled)
            return onward(self.route, candidate, settled.verdict, told, settled.book, now, left)

        return goes_on

    def break_off(self) -> None:
        """End a walk before its next step: give back that one's turn, and keep the call, unless it is kept."""
        record = None
        try:
            record = self.broken_off()
        finally:
            self._put_away(record)

    async def abreak_off(self) -> None:
        """The same on an event loop, where the audience is told, and where nothing may block."""
        record = None
        try:
            record = self.broken_off()
        finally:
            await self.off_loop(partial(self._put_away, record))

    def _put_away(self, record: CallRecord | None) -> None:
        further, self._further = self._further, None
        self._undo(further)
        if record is not None:
            self.books.keep(record)

    def _end(self, attempt: Attempt, settled: Settled) -> CallRecord | None:
        """Return the record of a call that ends with this attempt; None if it goes on."""
        if settled.onward is not None:
            return None
        story = attempt.story = self.story(attempt, settled)
        return story if story.outcome else None


def _turn(action: Try) -> Turn:
    return Turn(action.candidate, action.slot, action.generation, usual_s=action.usual_s)
