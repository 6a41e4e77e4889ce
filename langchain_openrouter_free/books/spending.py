"""What was spent, as a user asks for it: by window, with caps, with what is in doubt, and what credits cost. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_openrouter_free.books.budget import Budget, Fees, dollars
from langchain_openrouter_free.books.purse import Purse
from langchain_openrouter_free.errors import at
from langchain_openrouter_free.values import value_type


@value_type(frozen=True)
class Spent:
    """One window of one book of money; amounts in US dollars, as text with all digits.

    Attributes:
        whose: `"project"` or `"account"`.
        window: `"day"`, `"month"` or `"total"`.
        spent: what is settled.
        reserved: what attempts under way may cost.
        cap: the budget; None where there is none.
        left: what may still be reserved; None where there is no cap.
        frees_at: Unix seconds at which the window turns; None for `total`.
    """

    whose: str
    window: str
    spent: str
    reserved: str
    cap: str | None = None
    left: str | None = None
    frees_at: float | None = None


@value_type(frozen=True)
class Spending:
    """What a project spent; amounts in US dollars, as text with all digits.

    Attributes:
        project: its name.
        windows: day, month and total of the project, then those of the account where it has a ceiling.
        disputed: part of the total that was booked at the worst case and may turn out to be less.
        unknown: part of the total whose true cost nobody will tell any more.
        credits: what was spent in all, in the service's credits (a dollar each).
        to_buy: what so many credits cost to buy at once, with the service's fee.
    """

    project: str
    windows: tuple[Spent, ...]
    disputed: str
    unknown: str
    credits: str
    to_buy: str

    def __str__(self) -> str:
        lines = [f"Spent by {self.project or 'this project'}:"]
        for one in self.windows:
            cap = "" if one.cap is None else f" of ${one.cap}, ${one.left} left"
            frees = "" if one.frees_at is None else f", until {at(one.frees_at)}"
            lines.append(f"  {one.whose}, {one.window}: ${one.spent} and ${one.reserved} reserved{cap}{frees}")
        lines.append(f"  in dispute: ${self.disputed}; never told: ${self.unknown}")
        lines.append(f"  credits used: {self.credits}; to buy them: ${self.to_buy}")
        return "\n".join(lines)


def spending(project: str, books: Sequence[tuple[str, Purse, Budget | None]], fees: Fees, now: float) -> Spending:
    """Return what was spent.

    Args:
        project: its name.
        books: whose, the book, and its caps; the project's first.
        fees: what buying credits costs beside them.
        now: Unix seconds.
    """
    own = books[0][1].turned_to(now)
    windows = tuple(_spent(*book, window, now) for book in books for window in ("day", "month", "total"))
    disputed = sum(known.amount for known in own.disputes.values())
    total = own.spent_total
    return Spending(
        project, windows, dollars(disputed), dollars(own.unknown), dollars(total), dollars(fees.to_buy(total))
    )


def _spent(whose: str, purse: Purse, budget: Budget | None, window: str, now: float) -> Spent:
    book = purse.turned_to(now)
    cap = None if budget is None else budget.caps().get(window)
    spent, reserved = book.spent(window), book.reserved
    left = None if cap is None else dollars(max(cap - spent - reserved, 0))
    capped = None if cap is None else dollars(cap)
    return Spent(whose, window, dollars(spent), dollars(reserved), capped, left, book.frees_at(window, now))
