"""Driving the model by each of its four call paths, and counting what it did."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from langchain_openrouter_free import ChatOpenRouterFree, MemoryStore
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.connections import exchange
from langchain_openrouter_free.simulator import Simulator

PATHS = ("invoke", "ainvoke", "stream", "astream")
TWENTY = [f"test/m{n:02d}:free" for n in range(1, 21)]


@dataclass
class Told:
    """What a caller got."""

    text: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    message: Any = None

    @property
    def outcomes(self) -> list[str]:
        """Outcome of each attempt."""
        return [attempt["outcome"] for attempt in self.meta["route"]["attempts"]]


def make(sim: Simulator, models: list[str] | None = None, **kwargs: Any) -> ChatOpenRouterFree:
    """A router on the simulator with a book of its own."""
    kwargs.setdefault("state", MemoryStore())
    kwargs.setdefault("api_key", sim.api_key)
    kwargs.setdefault("chance", lambda: 0.0)
    models = models or TWENTY[:3]
    sim.offer(*(model for model in models if model.startswith("test/")))
    return ChatOpenRouterFree(models=models, base_url=sim.base_url, **kwargs)


def by_a_pool(patch: pytest.MonkeyPatch) -> None:
    """Let requests go by the HTTP client's pools, as where a private name that leads past them is missing."""
    patch.setattr(exchange, "_PLAIN", {"_renamed": None})


def drive(router: Any, path: str, prompt: Any = "tell me a word", told: Told | None = None, **kwargs: Any) -> Told:
    """Call the router by one path; `told` keeps what was delivered before an error."""
    told = told if told is not None else Told()

    def keep(chunk: Any) -> None:
        told.pieces.append(chunk.text)
        told.text += chunk.text
        told.message = chunk if told.message is None else told.message + chunk
        told.meta = told.message.response_metadata

    async def run() -> None:
        if path == "ainvoke":
            keep(await router.ainvoke(prompt, **kwargs))
        else:
            async for chunk in router.astream(prompt, **kwargs):
                keep(chunk)

    if path == "invoke":
        keep(router.invoke(prompt, **kwargs))
    elif path == "stream":
        for chunk in router.stream(prompt, **kwargs):
            keep(chunk)
    else:
        asyncio.run(run())
    return told


def at_once(work: Callable[[], object], times: int) -> None:
    """Do the same in so many threads at once, and wait for all of them."""
    threads = [threading.Thread(target=work) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def book_of(store: MemoryStore) -> Ledger:
    """The account's book in a store that has one."""
    (book,) = (page for page in store._pages.values() if isinstance(page, Ledger))
    return book


def asked(sim: Simulator) -> list[str]:
    """Ids of the models that were asked, in order."""
    return [str(chat.model) for chat in sim.chats()]


class HeldStore(MemoryStore):
    """A store on a slow disk: its nth update waits until it is let go (0: none does). It counts its updates."""

    def __init__(self, held: int = 0) -> None:
        super().__init__()
        self.blocking = bool(held)
        self.asked, self.may_go = threading.Event(), threading.Event()
        self.begun, self.updates = 0, 0
        self.changed = threading.Condition()
        self._held = held

    def update(self, ref: Any, change: Any) -> Any:
        with self.changed:
            self.begun += 1
            is_held = self.begun == self._held
        if is_held:
            self.asked.set()
            assert self.may_go.wait(10)
        answer = super().update(ref, change)
        with self.changed:
            self.updates += 1
            self.changed.notify_all()
        return answer

    def cancel_meanwhile(self, model: ChatOpenRouterFree, updates: int) -> None:
        """Cancel a call while its update is held; return when there have been so many updates."""

        async def run() -> None:
            task = asyncio.create_task(model.ainvoke("hi"))
            assert await asyncio.to_thread(self.asked.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            self.may_go.set()

        asyncio.run(run())
        with self.changed:
            assert self.changed.wait_for(lambda: self.updates == updates, 10)
