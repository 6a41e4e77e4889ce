"""What a user asks of the money: what was spent, and what the answers in dispute really cost."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Any

from langchain_core.language_models import BaseChatModel

from langchain_openrouter_free import settings
from langchain_openrouter_free.bookkeeping import Accounts
from langchain_openrouter_free.budget import Need
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.lookup import ServiceLookup
from langchain_openrouter_free.spending import Spending, spending
from langchain_openrouter_free.transport import Service


class Accounting(BaseChatModel):
    """The methods of the model that look at its books of money."""

    clock: Any
    credit_fee: Any

    @abstractmethod
    def _service(self) -> Service:
        """Return how the service is reached."""

    @abstractmethod
    def _accounts(self) -> Accounts:
        """Return whose money it is."""

    def spending(self) -> Spending:
        """Return what this project has spent, reserved and left, and what those credits cost to buy.

        No request is made; what other processes booked in the same state is in it.
        """
        clock: Clock = self.clock
        accounts, now = self._accounts(), clock.now()
        payments = accounts.payments(Need())
        books = [
            (pocket.whose, purse, pocket.budget)
            for pocket, purse in zip(payments.pockets, payments.look(now), strict=True)
        ]
        return spending(accounts.project, books, settings.fees(self.credit_fee), now)

    def reconcile(self) -> Spending:
        """Ask what each answer cost that was booked at its worst case, book that, and return what was spent.

        Those are answers that were closed early, cancelled or cut, and those of processes that died. The service
        knows an answer's cost some time after it (`GET /generation`); one of whom it knows nothing stays as it is.
        """
        payments, clock, lookup = self._accounts().payments(Need()), self.clock, self._lookup()
        for answer in payments.disputed(clock.now()):
            cost = lookup.cost(answer)
            if cost is not None:
                payments.reconcile(answer, cost, clock.now())
        return self.spending()

    async def areconcile(self) -> Spending:
        """The same on an event loop."""
        payments, clock, lookup = self._accounts().payments(Need()), self.clock, self._lookup()
        for answer in await asyncio.to_thread(payments.disputed, clock.now()):
            cost = await lookup.acost(answer)
            if cost is not None:
                await asyncio.to_thread(payments.reconcile, answer, cost, clock.now())
        return await asyncio.to_thread(self.spending)

    def _lookup(self) -> ServiceLookup:
        return ServiceLookup(self._service(), self.clock)
