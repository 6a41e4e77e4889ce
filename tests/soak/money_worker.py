"""Processes that call the model at random for `money.py`, and are killed meanwhile.

The driver forks a nursery before it has any threads; that forks a worker whenever it is told to, and kills one by its
id. A worker gets the numbers of its calls from the driver by a socket; what a call is depends on the seed and its
number alone. Each change of a page of money is kept in a log, in the same transaction.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import mmap
import os
import random
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.callbacks import BaseCallbackHandler

from langchain_openrouter_free import BudgetExceeded, ChatOpenRouterFree, OpenRouterFreeError
from langchain_openrouter_free.books.purse import Purse
from langchain_openrouter_free.clock import SystemClock
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.stores import Change, PageRef, Row
from langchain_openrouter_free.stores.sqlite import SqliteStore

sys.path.append(str(Path(__file__).resolve().parents[1]))

from store_helpers import forked

T = TypeVar("T")
Page = TypeVar("Page")

# A fault that hangs costs so much and no more, in seconds.
TIMEOUTS = {"connect": 1.0, "first_token": 0.4, "stall": 0.3, "attempt": 1.5, "call": 4.0}
KINDS = {
    "invoke": 20,
    "ainvoke": 14,
    "stream": 20,
    "astream": 20,
    "cancelled": 16,
    "batch": 3,
    "abatch": 3,
    "reconcile": 2,
    "areconcile": 2,
}
THREADS = 8


class LeapingClock(SystemClock):
    """The machine's clock, which all processes that map one file set forward together."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(struct.pack("d", 0.0))
        with file.open("r+b") as opened:
            self._ahead = mmap.mmap(opened.fileno(), 8)

    def now(self) -> float:
        """Return Unix seconds."""
        ahead: float = struct.unpack("d", self._ahead[:8])[0]
        return time.time() + ahead

    def leap(self, seconds: float) -> None:
        """Let so much time be over."""
        self._ahead[:8] = struct.pack("d", struct.unpack("d", self._ahead[:8])[0] + seconds)

    def sleep(self, seconds: float) -> None:
        """Wait until so much time is over, be it by a leap."""
        ends = self.now() + seconds
        while (left := ends - self.now()) > 0:
            time.sleep(min(left, 0.05))

    async def asleep(self, seconds: float) -> None:
        """Wait on an event loop."""
        ends = self.now() + seconds
        while (left := ends - self.now()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left, 0.05))


@dataclass(frozen=True)
class Plan:
    """What the workers need to know."""

    seed: str
    url: str
    well: list[str]
    sick: list[str]
    paid: list[str]
    state: str
    clock: str
    budget: str
    account_budget: str
    port: int


class ConsumerError(Exception):
    """What the program that reads an answer fails of."""


class Loud(BaseCallbackHandler):
    """A callback that fails at a token."""

    raise_error = True

    def __init__(self, after: int) -> None:
        self.left = after

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        """Fail when it is time."""
        self.left -= 1
        if self.left < 0:
            raise ConsumerError


def figures(book: Purse) -> list[Any]:
    """Return what is spent, reserved, unknown and in dispute."""
    disputed = sum(known.amount for known in book.disputes.values())
    return [book.spent_total, book.spent_month, book.spent_day, book.reserved, book.unknown, disputed]


def named(book: Purse) -> dict[str, tuple[int, float]]:
    """Return what is reserved or in dispute by its id: its amount, and since when."""
    held: dict[str, tuple[int, float]] = {
        one.generation: (one.amount, one.since) for one in book.reservations.values() if one.generation
    }
    return held | {name: (one.amount, one.since) for name, one in book.disputes.items()}


def moves_of(before: Purse, after: Purse) -> dict[str, Any]:
    """Tell what an update did: the figures, the ids that came and went, and what was reserved without one and went."""
    was, now = named(before), named(after)
    went = [one for key, one in before.reservations.items() if key not in after.reservations]
    nameless = [one.amount for one in went if not one.generation]
    gone = sorted([since, name, amount] for name, (amount, since) in was.items() if name not in now)
    came = [name for name in now if name not in was]
    return {"was": figures(before), "is": figures(after), "gone": gone, "came": came, "nameless": nameless}


class JournalStore(SqliteStore):
    """A state file that also keeps what each update did to a page of money, and kills its process at one of them.

    Attributes:
        fuse: how many updates of money are left until then; None for never.
        late: whether it is killed right after the commit, or right before.
    """

    fuse: int | None = None
    late = False

    def update(self, ref: PageRef[Page], change: Change[Page, T]) -> T:
        """Do the update; what it did is kept in the same transaction."""
        if not ref.key.startswith(("project:", "money:")):
            return super().update(ref, change)
        if self.fuse is not None:
            self.fuse -= 1
        doomed = self.fuse is not None and self.fuse <= 0

        def moved(page: Page | None) -> tuple[Page, tuple[T, str | None]]:
            new, answer = change(page)
            before = Purse() if page is None else page
            assert isinstance(before, Purse)
            assert isinstance(new, Purse)
            if doomed and not self.late:
                os.kill(os.getpid(), signal.SIGKILL)
            return new, (answer, None if new is before else json.dumps(moves_of(before, new)))

        def row(told: tuple[T, str | None]) -> Row | None:
            return None if told[1] is None else (f"moves of {ref.key}", 0.0, told[1])

        told = super().update_and_append(ref, moved, row)
        if doomed:
            # Committed, and nobody in this process has heard of it.
            os.kill(os.getpid(), signal.SIGKILL)
        return told[0]


class Caller:
    """Makes calls; what they are depends on the plan's seed and on their number."""

    def __init__(self, plan: Plan, store: JournalStore) -> None:
        self.plan, self.store = plan, store
        self.clock = LeapingClock(Path(plan.clock))
        self.threads = ThreadPoolExecutor(THREADS)

    def model(self, chance: random.Random) -> ChatOpenRouterFree:
        """Return a model with a few candidates: a free one that is well, or some that are sick; and paid ones."""
        plan, well = self.plan, chance.random() < 0.2
        free = chance.sample(plan.well, 1) if well else chance.sample(plan.sick, chance.randint(1, 2))
        paid = chance.sample(plan.paid, chance.randint(1, 3))
        lean = all("lean" in one for one in paid)
        return ChatOpenRouterFree(
            models=free,
            paid_models=paid,
            allow_paid=True,
            budget=plan.budget,
            account_budget=plan.account_budget,
            project="soak",
            api_key="sk-or-v1-simulated",
            base_url=plan.url,
            state=self.store,
            clock=self.clock,
            timeouts=dict(TIMEOUTS),
            max_wait=chance.choice([0.0, 0.0, 0.05]),
            max_tokens=None if lean else chance.choice([16, 40, 40, 120]),
            wire=chance.choice(["stream", "stream", "plain"]),
        )

    async def call(self, number: int) -> tuple[str, list[str]]:
        """Make one call; return what it was, and how each of its answers ended."""
        chance = random.Random(f"{self.plan.seed} {number}")
        kind = "reconcile" if number < 0 else chance.choices(list(KINDS), list(KINDS.values()))[0]
        model, prompt = self.model(chance), " ".join(["word"] * chance.randint(1, 30))
        match kind:
            case "reconcile":
                return kind, [await self._sync(model.reconcile)]
            case "areconcile":
                return kind, [await _ended(model.areconcile())]
            case "invoke":
                return kind, [await self._sync(lambda: model.invoke(prompt))]
            case "ainvoke":
                return kind, [await _ended(model.ainvoke(prompt))]
            case "batch":
                work = model.batch
                return kind, await self._all(self._in_thread(lambda: work([prompt] * 3, return_exceptions=True)))
            case "abatch":
                return kind, await self._all(model.abatch([prompt] * 3, return_exceptions=True))
            case "stream":
                way = chance.choice(["all", "all", "all", "close", "fail", "throw", "loud"])
                return f"{kind}, {way}", [await self._sync(lambda: self._stream(model, prompt, way, chance))]
            case "astream":
                way = chance.choice(["all", "all", "all", "close", "fail", "leave", "loud"])
                return f"{kind}, {way}", [await _ended(self._astream(model, prompt, way, chance))]
        reading = chance.random() < 0.5
        work_to_cancel = self._astream(model, prompt, "all", chance) if reading else model.ainvoke(prompt)
        return kind, [await self._cancelled(work_to_cancel, chance)]

    async def _sync(self, work: Callable[[], Any]) -> str:
        return await _ended(self._in_thread(work))

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    async def _all(self, batch: Any) -> list[str]:
        return [_name(one) if isinstance(one, BaseException) else "answered" for one in await batch]

    async def _cancelled(self, work: Any, chance: random.Random) -> str:
        task = asyncio.ensure_future(work)
        await asyncio.sleep(chance.choice([chance.uniform(0, 0.03), chance.uniform(0, 0.4)]))
        task.cancel()
        if chance.random() < 0.3:
            # Somebody who does not wait until the first word of it was heard.
            await asyncio.sleep(0)
            task.cancel()
        return await _ended(task)

    def _stream(self, model: ChatOpenRouterFree, prompt: str, way: str, chance: random.Random) -> None:
        after = chance.choice([0, 0, 1, 4])
        chunks = model.stream(prompt, config={"callbacks": [Loud(after)] if way == "loud" else []})
        for number, _ in enumerate(chunks):
            if number < after or way in ("all", "loud"):
                continue
            if way == "fail":
                raise ConsumerError
            assert isinstance(chunks, Iterator)
            if way == "throw":
                chunks.throw(ConsumerError())  # type: ignore[attr-defined]
            chunks.close()  # type: ignore[attr-defined]

    async def _astream(self, model: ChatOpenRouterFree, prompt: str, way: str, chance: random.Random) -> None:
        after, number = chance.choice([0, 0, 1, 4]), 0
        chunks = model.astream(prompt, config={"callbacks": [Loud(after)] if way == "loud" else []})
        async for _ in chunks:
            number += 1
            if number <= after or way in ("all", "loud"):
                continue
            if way == "fail":
                raise ConsumerError
            if way == "leave":
                return
            await chunks.aclose()  # type: ignore[attr-defined]


def _name(error: BaseException) -> str:
    """Return the name of an error that a caller may see, the whole story of any other."""
    if isinstance(error, BudgetExceeded):
        return f"BudgetExceeded: {error.whose} {error.window}"
    if isinstance(error, OpenRouterFreeError | ConsumerError | asyncio.CancelledError):
        return type(error).__name__
    return "UNNAMED " + "".join(traceback.format_exception(error))


async def _ended(work: Any) -> str:
    """Return how some work ended."""
    try:
        await work
    except BaseException as error:  # noqa: BLE001
        return _name(error)
    return "answered"


async def serve(plan: Plan) -> None:
    """Make the calls that the driver asks for, several at once, until it says no more."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", plan.port)
    except ConnectionError:
        return  # all is over
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def tell(**what: Any) -> None:
        writer.write(json.dumps(what).encode() + b"\n")

    def trouble(words: str) -> None:
        loop.call_soon_threadsafe(lambda: tell(trouble=words))

    _listen(loop, trouble)
    store = JournalStore(plan.state, warn=trouble, patience=40.0)
    caller = Caller(plan, store)

    async def answer(number: int) -> None:
        kind, ends = await caller.call(number)
        tell(number=number, kind=kind, ends=ends)

    tell(pid=os.getpid())
    store.fuse, store.late = json.loads(await reader.readline() or "[null, false]")
    while line := await reader.readline():
        task = asyncio.create_task(answer(json.loads(line)["number"]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    caller.threads.shutdown()
    gc.collect()


def _listen(loop: asyncio.AbstractEventLoop, trouble: Callable[[str], None]) -> None:
    """Hear of everything that fails where no caller sees it."""

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            trouble(logging.Formatter().format(record))

    logging.getLogger("langchain_openrouter_free").addHandler(Heard(logging.ERROR))
    # LangChain tells of callbacks that fail, as they are meant to here.
    logging.getLogger("langchain_core").addHandler(logging.NullHandler())
    loop.set_exception_handler(lambda _, told: trouble(f"in the loop: {told} {_story(told.get('exception'))}"))
    sys.unraisablehook = lambda told: trouble(f"in {told.object!r}: {_story(told.exc_value)}")
    threading.excepthook = lambda told: trouble(f"in a thread: {_story(told.exc_value)}")


def _story(error: BaseException | None) -> str:
    return "" if error is None else "".join(traceback.format_exception(error))


def nurse(orders: int, other_end: int) -> None:
    """Fork and kill workers as the driver says, on a pipe; fail if one ended in another way."""
    os.close(other_end)
    with os.fdopen(orders) as lines:
        plan = Plan(**json.loads(lines.readline()))
        # Read once, for all workers: the certificates take a tenth of a second.
        CLIENTS._context()
        living, failed = set[int](), 0
        while line := lines.readline():
            word, _, pid = line.strip().partition(" ")
            if word == "start":
                living.add(forked(lambda: asyncio.run(serve(plan))))
            elif int(pid) in living:
                os.kill(int(pid), signal.SIGKILL)
                failed += _status(int(pid))
                living.remove(int(pid))
        # All others have ended, or do so now.
        failed += sum(map(_status, living))
    assert not failed, f"{failed} workers ended of themselves"


def _status(child: int) -> bool:
    return os.waitpid(child, 0)[1] not in (0, signal.SIGKILL)
