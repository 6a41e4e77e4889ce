"""A process that forks while its threads are at work: the child has its own locks, and goes on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from driving import TWENTY, make
from store_helpers import COUNT, forked, one_more

from langchain_openrouter_free import MemoryStore
from langchain_openrouter_free.connections.clients import Clients
from langchain_openrouter_free.engine.portal import Portal
from langchain_openrouter_free.simulator import Simulator

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def forked_while_held(holder: Any, work: Callable[[], object]) -> int:
    """Fork while another thread holds a lock; return how the child ended that does the work."""
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with holder._lock:
            held.set()
            let_go.wait(20)

    def does() -> None:
        signal.alarm(5)
        work()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(forked(does), 0)[1])
    finally:
        let_go.set()
        thread.join()


def test_the_store_of_a_process() -> None:
    store = MemoryStore()
    store.update(COUNT, one_more)
    assert forked_while_held(store, lambda: store.update(COUNT, one_more)) == 0
    assert store.update(COUNT, one_more) == 2


@pytest.mark.parametrize("make_one", [Clients, Portal])
def test_what_all_calls_share(make_one: Callable[[], Any]) -> None:
    one = make_one()
    assert forked_while_held(one, one.close) == 0


def test_a_call(sim: Simulator) -> None:
    """A thread is about to book something when the process forks: the child asks all the same."""
    store = MemoryStore()
    model = make(sim, TWENTY[:1], state=store)
    model.invoke("hi")
    assert forked_while_held(store, lambda: model.invoke("hi")) == 0
    assert len(sim.chats()) == 2
