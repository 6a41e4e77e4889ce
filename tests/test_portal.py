"""Who is interrupted while a loop in another thread works for him: nothing is left behind, or told twice."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from driving import TWENTY, book_of, make

from langchain_openrouter_free import MemoryStore
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.engine import portal
from langchain_openrouter_free.engine.portal import PORTAL
from langchain_openrouter_free.simulator import Simulator

pytestmark = pytest.mark.one_simulator

HANGS, SPOKE = "hang-before-headers", {"do": "stall", "after": 2, "reasoning": False}


@contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, number: int, late: float | None) -> Iterator[None]:
    """Press Ctrl-C with what is handed to the portal for the so manieth time, so many seconds later.

    None: before that.
    """
    hand_over, handed = asyncio.run_coroutine_threadsafe, itertools.count(1)

    def handing_over(*arguments: Any) -> Any:
        is_now = next(handed) == number
        if is_now and late is None:
            arguments[0].close()
            raise KeyboardInterrupt
        future = hand_over(*arguments)
        if is_now and late is not None:
            time.sleep(late)
            raise KeyboardInterrupt
        return future

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "run_coroutine_threadsafe", handing_over)
        with pytest.raises(KeyboardInterrupt):
            yield
    PORTAL.run(asyncio.sleep(0.2))


@pytest.mark.parametrize("late", [0.0, 0.3], ids=["at once", "when somebody has spoken"])
def test_an_interruption_as_it_is_handed_to_the_portal(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    """Ctrl-C often comes just there, where a thread lets others run: nothing of the call goes on."""
    sim.script({"*": {"do": "stall", "after": 2, "reasoning": False}})
    model = make(sim, hedge_after=5, state=MemoryStore())
    model.refresh()
    with interrupted(monkeypatch, 1, late):
        model.invoke("hi")
    assert [chat.disconnected_at is not None for chat in sim.chats()] == [True] * len(sim.chats())
    # "At once" its request may be on its way, and then counts, or not.
    assert len(sim.chats()) <= len(model.history()) <= 1
    assert not late or model.history()
    assert all(one.under_way == 0 for one in PORTAL.run(CLIENTS._of_loop()).clients)


@pytest.mark.wall_clock
@pytest.mark.parametrize(
    ("scripts", "number", "late", "outcomes"),
    [
        pytest.param({TWENTY[0]: "503"}, 2, None, ["overloaded"], id="before it is handed over"),
        pytest.param({TWENTY[0]: HANGS, TWENTY[1]: SPOKE}, 1, 0.6, ["abandoned"] * 2, id="when the second has spoken"),
        pytest.param({TWENTY[0]: SPOKE}, 2, 0.1, ["abandoned"], id="as it is read"),
    ],
)
def test_a_call_that_is_interrupted_on_the_portal_is_told_once(
    sim: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    scripts: dict[str, Any],
    number: int,
    late: float | None,
    outcomes: list[str],
) -> None:
    """With all that was asked in it, and no slot is lost of what was not; it comes out, and nothing else."""
    sim.script(scripts)
    store = MemoryStore()
    model = make(sim, hedge_after=0.1, state=store)
    model.refresh()
    with interrupted(monkeypatch, number, late):
        model.invoke("hi")
    assert [[one.outcome for one in call.attempts] for call in model.history()] == [outcomes]
    assert book_of(store).windows.used(time.time())[1] == len(sim.chats()) == len(outcomes)
    assert all(one.under_way == 0 for one in PORTAL.run(CLIENTS._of_loop()).clients)


def test_an_interruption_as_the_portal_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread ends, for nobody would know of it; and what was to be done is not."""
    own, start = portal.Portal(), threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        started.append(thread)
        raise KeyboardInterrupt

    started: list[threading.Thread] = []
    work = asyncio.sleep(0)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        own.run(work)
    started[0].join(5)
    assert not started[0].is_alive()
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
