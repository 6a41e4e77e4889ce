"""What a user asks of the money: what was spent, and what the answers in dispute really cost."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from langchain_openrouter_free.later import PART, modules
from langchain_openrouter_free.request import settings
from langchain_openrouter_free.request.meaning import Meaning

if TYPE_CHECKING:
    from langchain_openrouter_free.books import budget
    from langchain_openrouter_free.books import spending as money
    from langchain_openrouter_free.catalogue import listings
    from langchain_openrouter_free.engine import bookkeeping
    from langchain_openrouter_free.request import lookup as lookups
else:
    budget, money, listings, bookkeeping, lookups = modules(
        *("books.budget", "books.spending", "catalogue.listings", "engine.bookkeeping", "request.lookup")
    )


class Accounting(BaseModel):
    """The methods of the model that look at its books of money."""

    model_config = PART

    clock: Any
    credit_fee: Any

    @abstractmethod
    def _meaning(self) -> Meaning:
        """Return what the fields mean."""

    @abstractmethod
    def _accounts(self) -> bookkeeping.Accounts:
        """Return whose money it is."""

    def spending(self) -> money.Spending:
        """Return what this project has spent, reserved and left, and what those credits cost to buy.

        No request is made; what other processes booked in the same state is in it.
        """
        books = self._books()
        payments, now = books.payments, books.now()
        pages = [
            (pocket.whose, purse, pocket.budget)
            for pocket, purse in zip(payments.pockets, payments.look(now), strict=True)
        ]
        return money.spending(books.accounts.project, pages, settings.fees(self.credit_fee), now)

    def reconcile(self) -> money.Spending:
        """Ask what each answer cost that was booked at its worst case, book that, and return what was spent.

        Those are answers that were closed early, cancelled or cut, and those of processes that died. The service
        knows an answer's cost some time after it (`GET /generation`); one of which it knows nothing stays as it is.
        """
        books, lookup = self._books(), self._lookup()
        for answer in books.disputed(again=True):
            books.reconciled(answer, lookup.cost(answer))
        return self.spending()

    async def areconcile(self) -> money.Spending:
        """The same on an event loop."""
        # Both of the same account: while the books are opened, somebody else may change the key.
        lookup, accounts = self._lookup(), self._accounts()
        books = await asyncio.to_thread(self._books, accounts)
        for answer in await asyncio.to_thread(partial(books.disputed, again=True)):
            cost = await lookup.acost(answer)
            await asyncio.to_thread(books.reconciled, answer, cost)
        return await asyncio.to_thread(self.spending)

    def _books(self, accounts: bookkeeping.Accounts | None = None) -> bookkeeping.Books:
        """Return the books, on the server's time as far as it is known; by default the model's own."""
        accounts = accounts or self._accounts()
        payments = accounts.payments(budget.Need())
        books = bookkeeping.Books(accounts, accounts.time(self.clock), payments, lambda: "", lambda: 1.0)
        books.skew = books.look().skew
        return books

    def _lookup(self) -> lookups.ServiceLookup:
        accounts = self._accounts()
        shelf = listings.Shelf(accounts.store, accounts.account)
        return lookups.ServiceLookup(self._meaning().service, accounts.time(self.clock), shelf)
