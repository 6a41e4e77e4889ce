"""A service with one free model that is down and two paid ones, and the figures of what was spent there."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from driving import TWENTY, make

from langchain_openrouter_free import ChatOpenRouterFree, MemoryStore, Spending, Spent
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.testing import FakeClock

# The worst case of 300 tokens is $0.30; the simulator's answers have about twenty.
DEAR: dict[str, Any] = {"id": "simulated/dear", "pricing": {"prompt": "0", "completion": "0.001"}}
FLAT: dict[str, Any] = {"id": "simulated/half", "pricing": {"prompt": "0", "completion": "0", "request": "0.5"}}
WORST = Decimal("0.3")
STALL = {"do": "stall", "after": 3}
PAYING: dict[str, Any] = {"allow_paid": True, "budget": "$9", "project": "one", "max_tokens": 300, "max_wait": 0}
NEVER = 1e12
DAY = 86_400.0
# What a test compares with a zero or with dollars.
Figure = Decimal | int


class NoticingStore(MemoryStore):
    """Says when the service's id of an answer is in the book."""

    def __init__(self) -> None:
        super().__init__()
        self.named = threading.Event()

    def update(self, ref: Any, change: Any) -> Any:
        answer = super().update(ref, change)
        page = self._pages[ref.key]
        if ref.key.startswith("project:") and any(kept.generation for kept in page.reservations.values()):
            self.named.set()
        return answer


@dataclass
class World:
    """The service, a clock for it and its callers, and their store."""

    sim: Simulator
    clock: FakeClock
    store: NoticingStore = field(default_factory=NoticingStore)

    def __post_init__(self) -> None:
        self.play("ok")

    def play(self, behaviour: Any, delay: float = 30.0, **laws: Any) -> None:
        scripts = {TWENTY[0]: "503", DEAR["id"]: behaviour}
        self.sim.reset(Scenario(models=[DEAR, FLAT, TWENTY[0]], scripts=scripts, generation_delay=delay, **laws))

    def model(self, paid: dict[str, Any] = DEAR, **kwargs: Any) -> ChatOpenRouterFree:
        usual = {**PAYING, "paid_models": [paid["id"]], "state": self.store, "clock": self.clock}
        return make(self.sim, [TWENTY[0]], **{**usual, **kwargs})

    @property
    def bill(self) -> Decimal:
        return sum((entry.cost for entry in self.sim.bill), Decimal(0))

    def questions(self) -> int:
        """How often the cost of an answer was asked for."""
        return sum("/generation" in one.path for one in self.sim.received)


def window(told: Spending, name: str, whose: str = "project") -> Spent:
    [found] = [one for one in told.windows if (one.whose, one.window) == (whose, name)]
    return found


def figures(told: Spending) -> tuple[Figure, Figure, Figure, Figure]:
    """Spent in all, reserved, in dispute, and unknown for ever."""
    total = window(told, "total")
    return Decimal(total.spent), Decimal(total.reserved), Decimal(told.disputed), Decimal(told.unknown)


def reconciled(model: ChatOpenRouterFree, way: str = "reconcile") -> Spending:
    return model.reconcile() if way == "reconcile" else asyncio.run(model.areconcile())
