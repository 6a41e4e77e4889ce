"""A task that is cancelled while a thread works for it loses nothing that the thread got."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from driving import TWENTY, HeldStore, book_of, make

from langchain_openrouter_free.engine.handover import handed_over
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock


class Shelf:
    """Something that is taken by a thread and must not be lost."""

    def __init__(self) -> None:
        self.may_go, self.asked = threading.Event(), threading.Event()
        self.back = threading.Event()
        self.given: list[str] = []

    def take(self) -> str:
        self.asked.set()
        assert self.may_go.wait(10)
        return "slot"

    def give_back(self, what: str) -> None:
        self.given.append(what)
        self.back.set()


async def test_what_is_got_is_returned() -> None:
    shelf = Shelf()
    shelf.may_go.set()
    assert await handed_over(shelf.take, shelf.give_back) == "slot"
    assert shelf.given == []


async def test_cancelled_while_the_thread_works() -> None:
    shelf = Shelf()
    task = asyncio.create_task(handed_over(shelf.take, shelf.give_back))
    await asyncio.to_thread(shelf.asked.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert shelf.given == [], "nothing is got yet"
    shelf.may_go.set()
    assert await asyncio.to_thread(shelf.back.wait, 10)
    assert shelf.given == ["slot"]


async def test_cancelled_when_the_thread_had_just_finished() -> None:
    shelf = Shelf()
    shelf.may_go.set()
    task = asyncio.create_task(handed_over(shelf.take, shelf.give_back))
    await asyncio.sleep(0)  # the task begins, and what it shields
    assert shelf.asked.wait(10)  # the loop is held meanwhile, so that the task cannot see the end
    for thread in threading.enumerate():
        if thread.name.startswith("asyncio_"):
            thread.join(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(shelf.back.wait, 10)
    assert shelf.given == ["slot"]


def test_cancelled_as_its_loop_ends() -> None:
    """What no thread has begun by then is done all the same: it may be what books a call that is over."""
    shelf, others = Shelf(), threading.Event()
    shelf.may_go.set()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        loop.run_in_executor(None, others.wait, 10)
        task = asyncio.create_task(handed_over(shelf.take, shelf.give_back))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        threading.Timer(0.1, others.set).start()

    asyncio.run(run())
    assert shelf.given == ["slot"]


async def test_what_the_thread_raises_is_raised() -> None:
    def fail() -> str:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await handed_over(fail, lambda _: None)


def test_a_call_that_is_cancelled_while_it_takes_a_slot() -> None:
    """The slot goes back into the account's minute and day, and nothing is sent."""
    store = HeldStore(held=1)
    with Simulator() as sim:
        clock = FakeClock()
        make(sim, TWENTY[:1], clock=clock).refresh()
        model = make(sim, TWENTY[:1], state=store, clock=clock, limits={"per_minute": 3, "per_day": 3})

        store.cancel_meanwhile(model, updates=2)
        book = book_of(store)
        assert sum(book.windows.days.values()) == 0
        assert not any(book.windows.minutes.values())
        assert sim.chats() == []
