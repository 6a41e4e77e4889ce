"""The only place that books money: reservations, settlements and disputes, in each page of money in turn.

A page belongs to a project; where the account has a ceiling, a second one belongs to the account, and a paid
attempt must be held back in both. Every method is one atomic update of each, always in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_openrouter_free.books import budget as money
from langchain_openrouter_free.books.budget import LEAST_TOKENS, USUAL_TOKENS, Budget, Need
from langchain_openrouter_free.books.joining import joined_purses
from langchain_openrouter_free.books.purse import BudgetWarning, Purse, Shortfall
from langchain_openrouter_free.catalogue.catalogue import Prices
from langchain_openrouter_free.judging.verdicts import Kind, Verdict
from langchain_openrouter_free.stores import PageRef, StateStore, is_degraded
from langchain_openrouter_free.values import value_type


@value_type()
class Pocket:
    """A page of money and the caps that it is held against.

    Attributes:
        whose: `"project"` or `"account"`.
        name: of its owner.
        budget: its caps; None where nothing may be paid.
    """

    whose: str
    name: str
    budget: Budget | None = None

    @property
    def page(self) -> PageRef[Purse]:
        """Where it is kept."""
        kind = "project" if self.whose == "project" else "money"
        return PageRef(f"{kind}:{self.name}", Purse.encode, Purse.decode, joined_purses)


@value_type()
class Held:
    """What is held back for a paid attempt.

    Attributes:
        key: the reservation's id.
        max_tokens: the cap on its output tokens that the amount is worked out for.
    """

    key: str
    max_tokens: int


@value_type()
class Payments:
    """The money that one call may move.

    Attributes:
        store: where the pages are.
        pockets: the pages that are changed, in this order.
        need: what a paid attempt could use.
        account: whose key asks.
    """

    store: StateStore
    pockets: tuple[Pocket, ...]
    need: Need
    account: str = ""

    def reserve(
        self, key: str, prices: Prices, most_tokens: int | None, now: float, output_limit: int | None = None
    ) -> Held | Shortfall | None:
        """Hold back the worst case of a paid attempt, lowering its output limit to what there is room for.

        None where a budget cannot be kept: the store has lost sight of what others spend. Nothing is held back
        then, nor where one of the pockets falls short; where several do, the last to free up is returned.

        Args:
            key: id of the reservation.
            prices: the model's.
            most_tokens: most tokens of output, where the service has said what the balance affords.
            now: Unix seconds.
            output_limit: most tokens of an answer that the model gives at all.
        """
        wanted = self._wanted(key, most_tokens, output_limit)
        bought: Held | Shortfall | None = wanted
        touched: list[Pocket] = []
        give_back = partial(Purse.settled, key=key, cost=0, now=now)
        try:
            for pocket in self.pockets:
                if not isinstance(bought, Held):
                    break
                touched.append(pocket)
                bought = self._hold_back(pocket, bought, prices, now)
                # Asked afterwards: the update is what finds out.
                if isinstance(bought, Held) and self._is_blind(pocket, now):
                    bought = None
        except BaseException:
            self._change(touched, give_back)
            raise
        if not isinstance(bought, Held):
            self._change(touched, give_back)
        if not isinstance(bought, Shortfall):
            return bought
        rest = self._shortfalls(self.pockets[len(touched) :], wanted, prices, now)
        return max((bought, *rest), key=Shortfall.lasts)

    def short_of(self, prices: Prices, output_limit: int | None, now: float) -> Shortfall | None:
        """Return what a paid attempt would fall short of now; nothing is held back. See `reserve`."""
        found = self._shortfalls(self.pockets, self._wanted("", None, output_limit), prices, now)
        return max(found, key=Shortfall.lasts, default=None)

    def _shortfalls(self, pockets: Sequence[Pocket], held: Held, prices: Prices, now: float) -> Iterator[Shortfall]:
        for pocket, book in zip(pockets, self._looked(pockets, now), strict=True):
            # Whatever another page has room for: one falls short of the fewest tokens that are worth a prompt.
            bought = self._afforded(pocket, book, held, prices, now)[0]
            if isinstance(bought, Shortfall):
                yield bought

    def _wanted(self, key: str, most_tokens: int | None, output_limit: int | None) -> Held:
        limits = [limit for limit in (most_tokens, self.need.max_tokens) if limit is not None] or [USUAL_TOKENS]
        return Held(key, min(limits if output_limit is None else [*limits, output_limit]))

    def _hold_back(self, pocket: Pocket, held: Held, prices: Prices, now: float) -> Held | Shortfall:
        def change(purse: Purse | None) -> tuple[Purse, Held | Shortfall]:
            book = (purse or Purse()).turned_to(now)
            bought, amount = self._afforded(pocket, book, held, prices, now)
            if isinstance(bought, Shortfall):
                return book, bought
            book = book.reserved_for(held.key, amount, now, self.account)
            if self._is_degraded:
                book = book.with_less_of_part(self._holder, amount)
            elif self._share:
                book = book.with_part(self._holder, pocket.budget or Budget(), self._share, now)
            return book, bought

        return self.store.update(pocket.page, change)

    def _afforded(
        self, pocket: Pocket, book: Purse, held: Held, prices: Prices, now: float
    ) -> tuple[Held | Shortfall, int]:
        """Return what a page has room for of an attempt, and what that costs at worst."""
        need, tokens = self.need, held.max_tokens
        budget, kept = self._means(pocket, book, now)
        room = book.room(budget, now, kept=kept)
        if room is not None and need.max_tokens is None:
            most = money.affordable_tokens(prices, need, room, now)
            tokens = tokens if most is None else max(min(tokens, most), min(tokens, LEAST_TOKENS))
        amount = money.worst_case(prices, need, tokens, now)
        short = book.shortfall(budget, amount, now, pocket.whose, kept=kept)
        return Held(held.key, tokens) if short is None else replace(short, endless=need.endless), amount

    @property
    def _is_degraded(self) -> bool:
        return is_degraded(self.store)

    @property
    def _share(self) -> float:
        return getattr(self.store, "paid_share", 0.0)

    @property
    def _holder(self) -> str:
        return getattr(self.store, "holder", "")

    def _means(self, pocket: Pocket, book: Purse, now: float) -> tuple[Budget, int]:
        """Return the caps, and what of them is kept for others; while those are not seen, this one's part alone."""
        budget = pocket.budget or Budget()
        if not self._is_degraded:
            return budget, book.kept_from(self._holder, now)
        seen, part = self._part(pocket, now)
        if part is None:
            # Nothing may be spent; `_is_blind` finds that out.
            return budget, 0
        # What has come back of it since may have come back to the others as well: they settle what seems lost.
        held = seen.reserved - book.settled_since(seen)
        taken = {window: seen.spent(window) + held for window in budget.caps() if window != "call"}
        return budget.lowered(taken, part), 0

    def _seen(self, pocket: Pocket) -> Purse:
        """Return the page as it was when the store lost sight of it."""
        last_seen = getattr(self.store, "last_seen", None)
        seen: Purse | None = last_seen(pocket.page) if last_seen else None
        return seen or Purse()

    def _part(self, pocket: Pocket, now: float) -> tuple[Purse, int | None]:
        """Return the page as it was when the store lost sight of it, and what was kept of it for this process then.

        Where a change of that went unheard, it may be either: others have what is over of the smaller one.
        """
        seen = self._seen(pocket)
        doubted = getattr(self.store, "doubted", None)
        perhaps: tuple[Purse, ...] = doubted(pocket.page) if doubted else ()
        return seen.turned_to(now), seen.least_part(perhaps, self._holder, now)

    def _is_blind(self, pocket: Pocket, now: float) -> bool:
        """Tell whether a cap cannot be kept."""
        capped = pocket.budget is not None and pocket.budget.caps().keys() - {"call"}
        return bool(capped) and self._is_degraded and self._part(pocket, now)[1] is None

    def named(self, key: str, generation: str) -> None:
        """Book the service's id of an answer while it is coming: if this process dies, its cost can be asked for."""
        self._change(self.pockets, partial(Purse.named, key=key, generation=generation))

    def settle(
        self,
        key: str,
        how: Verdict,
        usage: dict[str, Any] | None,
        prices: Prices | None,
        generation: str,
        now: float,
        *,
        sent: bool = True,
    ) -> tuple[BudgetWarning, ...]:
        """Book the cost of an attempt; return which caps are to be warned of.

        What never left, or was refused before any content, costs nothing. A broken-off answer is booked at its worst
        case.
        """
        cost = money.cost_of(usage, prices, self.need, now)
        refused = not how.ok and how.status is not None and how.status != 200
        if cost is None and (refused or how.kind is Kind.UNREACHABLE or not sent):
            cost = 0
        return self._booked(partial(Purse.settled, key=key, cost=cost, now=now, generation=generation), now)

    def book(self, cost: int, now: float) -> tuple[BudgetWarning, ...]:
        """Book a cost that nobody had reserved; return which caps are to be warned of."""
        return self._booked(partial(Purse.booked, cost=cost, now=now), now)

    def disputed(self, now: float, *, again: bool = False) -> tuple[str, ...]:
        """Return the answers whose cost `GET /generation` may tell by now; see `Purse.due`.

        While the store has lost sight of what others do, those that they know are theirs to ask for as well: twice
        settled, they would be counted twice.
        """
        due = dict.fromkeys(one for purse in self.look(now) for one in purse.due(now, self.account, again=again))
        if not self._is_degraded:
            return tuple(due)
        shared = set[str]().union(*(self._seen(pocket).named_answers() for pocket in self.pockets))
        return tuple(one for one in due if one not in shared)

    def reconcile(self, generation: str, cost: int | None, now: float) -> None:
        """Book what `GET /generation` told of an answer; None if it told nothing."""
        if cost is None:
            self._change(self.pockets, partial(Purse.unanswered, generation=generation, now=now, account=self.account))
        else:
            self._change(self.pockets, partial(Purse.reconciled, generation=generation, cost=cost, now=now))

    def look(self, now: float) -> list[Purse]:
        """Return the pages as they are, one for each pocket."""
        return self._looked(self.pockets, now)

    def _looked(self, pockets: Iterable[Pocket], now: float) -> list[Purse]:
        seen = [self.store.update(one.page, lambda purse: (purse or Purse(),) * 2) for one in pockets]
        return [purse.turned_to(now) for purse in seen]

    def _change(self, pockets: Iterable[Pocket], change: Callable[[Purse], Purse]) -> None:
        for one in pockets:
            self.store.update(one.page, lambda purse: (change(purse or Purse()), None))

    def _booked(self, change: Callable[[Purse], Purse], now: float) -> tuple[BudgetWarning, ...]:
        """Change all pages, and mark what is warned of: only who tells it may mark it."""

        def changed(purse: Purse | None, pocket: Pocket) -> tuple[Purse, tuple[BudgetWarning, ...]]:
            after = change(purse or Purse())
            return (after, ()) if pocket.budget is None else after.crossed(pocket.budget, now, pocket.whose)

        return tuple(w for one in self.pockets for w in self.store.update(one.page, partial(changed, pocket=one)))
