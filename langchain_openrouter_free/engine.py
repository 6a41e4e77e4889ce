"""Turns a route's actions into attempts. The only place that waits, and the only one that books.

`for attempt in Attempts(...): with attempt: ...`, or both `async`. Sync and async share every decision;
only waiting, and reading bytes, exists twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from langchain_openrouter_free import budget as money
from langchain_openrouter_free.answers import judge
from langchain_openrouter_free.budget import Budget, Purse, Shortfall
from langchain_openrouter_free.catalogue import Prices
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.endings import error_of_call
from langchain_openrouter_free.errors import AttemptRecord, OpenRouterFreeError, StreamInterrupted
from langchain_openrouter_free.ledger import Ledger
from langchain_openrouter_free.quota import Slot
from langchain_openrouter_free.routing import Action, Candidate, GiveUp, Price, Route, Try, Wait
from langchain_openrouter_free.sources import Source, Stopwatch, Timeouts
from langchain_openrouter_free.stores import Change, PageRef, StateStore
from langchain_openrouter_free.transport import TransportFault
from langchain_openrouter_free.verdicts import Kind, Step, Verdict, classify, verdict
from langchain_openrouter_free.wire import Assembly, Completion, Delta, ReplyError

log = logging.getLogger("langchain_openrouter_free")

T = TypeVar("T")
# A wait is decided anew when it ends; a clock that stands still must not spin.
_SHORTEST_WAIT = 0.01


class AttemptFailed(Exception):
    """An attempt ended without an answer, for a reason that is already judged."""

    def __init__(self, how: Verdict) -> None:
        super().__init__(how)
        self.verdict = how


@dataclass(frozen=True, slots=True)
class Roads:
    """How candidates are asked; made by the face.

    Attributes:
        open: opens an attempt at a candidate; the last argument is the most output tokens, if capped.
        prices, aprices: what a paid id costs, or None if nobody knows.
        prompt_tokens: upper bound of the prompt's tokens.
        images: pictures in the prompt.
        max_tokens: the caller's own output limit, if any.
    """

    open: Callable[[Candidate, Stopwatch, int | None], Source]
    prices: Callable[[Candidate], Prices | None]
    aprices: Callable[[Candidate], Any]
    prompt_tokens: int = 0
    images: int = 0
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Accounts:
    """Whose quota and whose money it is, and where both are kept."""

    store: StateStore
    account: str
    project: str
    budget: Budget | None = None

    @property
    def book(self) -> PageRef[Ledger]:
        """The account's page."""
        return PageRef(f"account:{self.account}", Ledger.encode, Ledger.decode)

    @property
    def purse(self) -> PageRef[Purse]:
        """The project's page."""
        return PageRef(f"project:{self.project}", Purse.encode, Purse.decode)


@dataclass(frozen=True, slots=True)
class Turn:
    """One granted attempt.

    Attributes:
        candidate: who is asked.
        slot: what was taken of the free quota; None for a paid attempt.
        generation: the model's generation when the attempt began.
        reservation: id of what was held back of the budget; None for a free attempt.
        max_tokens: cap on the output tokens of a paid attempt.
    """

    candidate: Candidate
    slot: Slot | None = None
    generation: int = 0
    reservation: str | None = None
    max_tokens: int | None = None


# A paid answer shorter than this is not worth its prompt.
LEAST_TOKENS = 256
# Reserved where the caller named no limit: what chat answers rarely pass.
USUAL_TOKENS = 4096


class Attempts:
    """The attempts of one call, as an iterator and as an async iterator."""

    def __init__(
        self,
        route: Route,
        roads: Roads,
        accounts: Accounts,
        clock: Clock,
        timeouts: Timeouts,
        new_id: Callable[[], str],
        tools: frozenset[str] = frozenset(),
    ) -> None:
        self.route = route
        self.roads = roads
        self.accounts = accounts
        self.clock = clock
        self.timeouts = timeouts
        self.tools = tools
        self._new_id = new_id
        self._started = clock.monotonic()
        self._last_error: BaseException | None = None

    def __iter__(self) -> Iterator[Attempt]:
        return self

    def __next__(self) -> Attempt:
        while True:
            match self._next():
                case Turn() as turn:
                    return Attempt(self, turn)
                case Wait() as wait:
                    with self._waiting(wait) as seconds:
                        self.clock.sleep(seconds)
                case Price(candidate):
                    self.route.priced(candidate, self.roads.prices(candidate))
                case GiveUp():
                    raise self.error() from self._last_error

    def __aiter__(self) -> Attempts:
        return self

    async def __anext__(self) -> Attempt:
        while True:
            match await self._off_loop(self._next):
                case Turn() as turn:
                    return Attempt(self, turn)
                case Wait() as wait:
                    with self._waiting(wait) as seconds:
                        await self.clock.asleep(seconds)
                case Price(candidate):
                    self.route.priced(candidate, await self.roads.aprices(candidate))
                case GiveUp():
                    raise self.error() from self._last_error

    # -- decisions, shared

    def _next(self) -> Turn | Wait | Price | GiveUp:
        """Ask the route for the next action; a paid attempt must get its reservation as well."""
        while True:
            action = self._step()
            if not isinstance(action, Try):
                return action
            if not action.candidate.paid:
                return Turn(action.candidate, action.slot, action.generation)
            bought = self._reserve(action)
            if isinstance(bought, Turn):
                return bought
            self.route.refused(action.candidate, bought)

    def _step(self) -> Action:
        now = self.clock.now()
        left = self.call_ends - self.clock.monotonic()

        def change(book: Ledger | None) -> tuple[Ledger, Action]:
            return self.route.step(book or Ledger(), now, left)

        action = self.accounts.store.update(self.accounts.book, change)
        self.route.took(action)
        return action

    def _reserve(self, action: Try) -> Turn | Shortfall:
        """Hold back the worst case of a paid attempt, lowering its output limit to what there is room for."""
        candidate = action.candidate
        now, key = self.clock.now(), self._new_id()
        budget, prices = self.accounts.budget, candidate.prices
        assert budget is not None  # noqa: S101 - paid candidates exist only with a budget
        assert prices is not None  # noqa: S101 - a paid candidate is tried only once priced
        prompt, images = self.roads.prompt_tokens, self.roads.images

        def change(purse: Purse | None) -> tuple[Purse, Turn | Shortfall]:
            purse = (purse or Purse()).turned_to(now)
            tokens = self.roads.max_tokens or USUAL_TOKENS
            room = purse.room(budget, now)
            if room is not None and self.roads.max_tokens is None:
                most = money.affordable_tokens(prices, room=room, prompt_tokens=prompt, images=images)
                tokens = tokens if most is None else max(min(tokens, most), LEAST_TOKENS)
            amount = money.worst_case(prices, prompt_tokens=prompt, max_tokens=tokens, images=images)
            short = purse.shortfall(budget, amount, now)
            if short is not None:
                return purse, short
            return purse.reserved_for(key, amount, now), Turn(candidate, None, action.generation, key, tokens)

        return self.accounts.store.update(self.accounts.purse, change)

    @property
    def call_ends(self) -> float:
        """The whole call's deadline, on the monotonic scale."""
        return self._started + self.timeouts.call

    @contextlib.contextmanager
    def _waiting(self, wait: Wait) -> Iterator[float]:
        """Say how long to wait; give a booked slot back if the wait is broken off."""
        seconds = max(wait.until - self.clock.now(), _SHORTEST_WAIT)
        self.route.waited += seconds
        log.info("waiting %.1f s: %s", seconds, wait.why)
        try:
            yield seconds
        except BaseException:
            if wait.slot is not None:
                change = partial(_released, slot=wait.slot, now=self.clock.now())
                self.accounts.store.update(self.accounts.book, change)
            raise

    async def _off_loop(self, work: Callable[[], T]) -> T:
        """Run `work` where it may block; a store that cannot block is asked on the loop."""
        if not self.accounts.store.blocking:
            return work()
        return await asyncio.shield(asyncio.to_thread(work))

    # -- the book, after an attempt

    def settle(self, turn: Turn, how: Verdict, usage: dict[str, Any] | None) -> Verdict:
        """Book how an attempt ended; return its reading.

        A store that fails here is told in the log: an answer that was earned is not lost for it, and a
        reservation that stays open counts as spent.
        """
        try:
            return self._settle(turn, how, usage)
        except Exception:
            log.exception("the outcome of an attempt at %s cannot be kept", turn.candidate.model)
            return how

    def _settle(self, turn: Turn, how: Verdict, usage: dict[str, Any] | None) -> Verdict:
        """Book it in the account's page and then in the project's."""
        now = self.clock.now()
        model = turn.candidate.model

        def change(book: Ledger | None) -> tuple[Ledger, Verdict]:
            book = book or Ledger()
            read = book.read(model, how, now)
            book = book.settled(model, read, now, turn.generation)
            if turn.slot is not None and how.kind is Kind.UNREACHABLE:
                book = book.released(turn.slot, now)
            return book, read

        read = self.accounts.store.update(self.accounts.book, change)
        if turn.reservation is not None:
            self._settle_money(turn, how, usage, now)
        return read

    def _settle_money(self, turn: Turn, how: Verdict, usage: dict[str, Any] | None, now: float) -> None:
        """Book the cost; a refusal before any content costs nothing, a broken-off answer the worst case."""
        cost = money.cost_of(usage, turn.candidate.prices)
        if cost is None and not how.ok and how.status is not None and how.status != 200:
            cost = 0
        if cost is None and how.kind is Kind.UNREACHABLE:
            cost = 0
        change: Change[Purse, None] = partial(_settled, key=turn.reservation or "", cost=cost, now=now)
        self.accounts.store.update(self.accounts.purse, change)

    def error(self) -> OpenRouterFreeError:
        """Make the error for a call in which nobody answered."""
        now = self.clock.now()
        book = self.accounts.store.update(self.accounts.book, _look)
        return error_of_call(self.route, book, now)

    def fail(self, error: BaseException) -> None:
        """Remember the last failure as the cause of the call's."""
        self._last_error = error


def _look(book: Ledger | None) -> tuple[Ledger, Ledger]:
    book = book or Ledger()
    return book, book


def _released(book: Ledger | None, *, slot: Slot, now: float) -> tuple[Ledger, None]:
    return (book or Ledger()).released(slot, now), None


def _settled(purse: Purse | None, *, key: str, cost: int | None, now: float) -> tuple[Purse, None]:
    return (purse or Purse()).settled(key, cost, now), None


class Attempt:
    """One try at one candidate. Leaving it settles the book and says whether to go on.

    Attributes:
        turn: the candidate and its reservation.
        committed: something of it has reached the caller; from there on a failure is final.
        answered: it is over, settled, and was an answer.
    """

    def __init__(self, owner: Attempts, turn: Turn) -> None:
        self.turn = turn
        self.committed = False
        self.answered = False
        self._owner = owner
        self._watch = Stopwatch(owner.clock, owner.timeouts, owner.call_ends)
        self._assembly = Assembly()
        self._source = owner.roads.open(turn.candidate, self._watch, turn.max_tokens)
        log.debug("asking %s", turn.candidate.model)

    @property
    def model(self) -> str:
        """Id of the model that is asked."""
        return self.turn.candidate.model

    def committed_content(self, deltas: list[Delta]) -> Iterator[Delta]:
        """Yield what a caller would see; from the first of it on, a failure is final."""
        for delta in deltas:
            if delta.has_content:
                self.committed = True
                yield delta

    def read(self) -> list[Delta] | None:
        """Return the next deltas; None when the answer is over and is one."""
        deltas = self._source.read()
        return self._take(deltas)

    async def aread(self) -> list[Delta] | None:
        """Return the next deltas; None when the answer is over and is one."""
        deltas = await self._source.aread()
        return self._take(deltas)

    def _take(self, deltas: list[Delta] | None) -> list[Delta] | None:
        if deltas is not None:
            for delta in deltas:
                self._assembly.add(delta)
            return deltas
        if not self._source.complete():
            raise AttemptFailed(verdict(Kind.CUT, "the stream ended without a finish reason", status=self.status))
        how = judge(self.completion(), tools=self._owner.tools, status=self.status)
        if not how.ok:
            raise AttemptFailed(how)
        return None

    @property
    def status(self) -> int | None:
        """HTTP status of the reply, None before there is one."""
        return self._source.status

    def completion(self) -> Completion:
        """Return what was said so far."""
        return self._assembly.completion()

    # -- leaving

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        how = self._judged(error)
        try:
            self._source.close()
        finally:
            how = self._owner.settle(self.turn, how, self.completion().usage)
        return self._leave(how, error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        how = self._judged(error)
        owner, usage = self._owner, self.completion().usage
        try:
            await self._source.aclose()
        finally:
            how = await owner._off_loop(partial(owner.settle, self.turn, how, usage))  # noqa: SLF001
        return self._leave(how, error)

    def _judged(self, error: BaseException | None) -> Verdict:
        match error:
            case None:
                return verdict(Kind.OK, status=self.status)
            case AttemptFailed():
                return error.verdict
            case ReplyError():
                return classify(error.status, error.headers, error.body, now=self._owner.clock.now())
            case TransportFault():
                return verdict(error.kind, error.reason, status=self.status)
            case GeneratorExit() | asyncio.CancelledError() | KeyboardInterrupt():
                return verdict(Kind.ABANDONED, status=self.status)
            case _:
                return verdict(Kind.ABANDONED, f"{type(error).__name__} in the caller", status=self.status)

    def _leave(self, how: Verdict, error: BaseException | None) -> bool:
        """Record the attempt; return whether the walk goes on. Raise what ends the call."""
        how = self._owner.route.record(self.turn.candidate, how, self._record(how))
        self.answered = how.ok
        if how.ok:
            self._warn_of_costs()
        if how.ok or how.kind is Kind.ABANDONED:
            return False
        log.info("%s: %s (%s), %s", self.model, how.kind, how.reason, how.step)
        assert error is not None  # noqa: S101 - a failed attempt is left by its exception
        self._owner.fail(error)
        if self.committed:
            raise StreamInterrupted(self.model, how.reason, self._assembly.text, self._owner.route.trail) from error
        if how.step is Step.RAISE:
            raise self._owner.error() from error
        return True

    def _warn_of_costs(self) -> None:
        cost = money.nano((self.completion().usage or {}).get("cost"))
        if cost and not self.turn.candidate.paid:
            log.warning("%s is called free, and this answer was billed $%s", self.model, money.dollars(cost))

    def _record(self, how: Verdict) -> AttemptRecord:
        first = self._watch.first_token_s
        return AttemptRecord(
            model=self.model,
            outcome=str(how.kind),
            scope=str(how.scope),
            status=how.status,
            reason="" if how.ok else how.reason,
            first_token_s=None if first is None else round(first, 3),
            seconds=round(self._watch.seconds(), 3),
        )
