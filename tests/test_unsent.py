"""A request that never left costs no slot, and the model that it was meant for is not blamed."""

from __future__ import annotations

import signal
from typing import Any

import h11
import httpx
import pytest
from driving import PATHS, TWENTY, asked, book_of, by_a_pool, drive, make

from langchain_openrouter_free import AllModelsFailed, MemoryStore
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.connections.network import AsyncDeadlineBackend, DeadlineBackend
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock


def _used(store: MemoryStore, now: float) -> int:
    return book_of(store).windows.used(now)[1]


@pytest.mark.parametrize("path", PATHS)
def test_a_connection_that_takes_all_the_time(sim: Simulator, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """It is there, but past the deadline for the first word, and the request is not sent any more."""
    clock, slow = FakeClock(), list[float]()
    plain, aplain = DeadlineBackend.connect_tcp, AsyncDeadlineBackend.connect_tcp

    def connect(self: DeadlineBackend, *args: Any, **kwargs: Any) -> Any:
        stream = plain(self, *args, **kwargs)
        clock.advance(slow.pop() if slow else 0.0)
        return stream

    async def aconnect(self: AsyncDeadlineBackend, *args: Any, **kwargs: Any) -> Any:
        stream = await aplain(self, *args, **kwargs)
        clock.advance(slow.pop() if slow else 0.0)
        return stream

    store = MemoryStore()
    model = make(sim, state=store, clock=clock)
    drive(model, path)
    CLIENTS.close()
    slow.append(50.0)
    monkeypatch.setattr(DeadlineBackend, "connect_tcp", connect)
    monkeypatch.setattr(AsyncDeadlineBackend, "connect_tcp", aconnect)
    assert drive(model, path).outcomes == ["unreachable", "ok"]
    assert asked(sim) == TWENTY[:2], "the first one before"
    assert _used(store, clock.now()) == 2
    assert TWENTY[0] not in book_of(store).cooldowns


def test_a_client_of_your_own_whose_connections_are_all_in_use(sim: Simulator) -> None:
    """What waited in vain for one of them has not left."""
    sim.offer(TWENTY[3])
    sim.script({TWENTY[3]: "hang-after-headers"})
    with httpx.Client(limits=httpx.Limits(max_connections=1)) as client:
        store, clock = MemoryStore(), FakeClock()
        model = make(sim, state=store, clock=clock, http_client=client, timeouts={"first_token": 0.2})
        drive(model, "invoke")
        held = client.send(
            client.build_request(
                "POST",
                f"{sim.base_url}/chat/completions",
                headers={"Authorization": f"Bearer {sim.api_key}"},
                json={"model": TWENTY[3], "stream": True, "messages": [{"role": "user", "content": "hello"}]},
            ),
            stream=True,
        )
        with pytest.raises(AllModelsFailed, match="no connection of the HTTP client was free"):
            drive(model, "invoke")
        held.close()
        assert asked(sim) == [TWENTY[0], TWENTY[3]]
        assert _used(store, clock.now()) == 1, "the first call's"
        assert drive(model, "invoke").outcomes == ["ok"]


@pytest.mark.parametrize("path", ["invoke", "stream"])
def test_a_connection_that_an_interruption_has_left_between_two_replies_is_nobodys_fault(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """It takes no request: none leaves, no model rests for it, and the next call is answered all the same."""
    sim.reset()
    by_a_pool(monkeypatch)
    model = make(sim)
    assert drive(model, path).text
    with monkeypatch.context() as patch:
        patch.setattr(h11.Connection, "start_next_cycle", lambda _: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            drive(model, path)
    assert drive(model, path).text
    assert drive(model, path).text
    assert [attempt.outcome for attempt in model.history(1)[0].attempts] == ["ok"]
    assert asked(sim)[2:] == [TWENTY[1], TWENTY[0]]
