"""What is left of an account's money and of its key's own limit, as `GET /key` and `GET /credits` tell it. Pure.

An ordinary key may be refused the balance (recorded: 403, "Only management keys can perform this operation"), and
a key without a limit of its own says null.
"""

from __future__ import annotations

from collections.abc import Mapping

from langchain_openrouter_free.books.budget import NANO, dollars, signed_nano
from langchain_openrouter_free.values import value_type

# The service's old rule: a request a second for each dollar of the balance, from 1 to 500.
_LEAST_RPS, _MOST_RPS = 1.0, 500.0


@value_type()
class Funds:
    """What is known of the money; amounts in nano-dollars.

    Attributes:
        balance: what was bought less what was used; may be below zero. None where it is not told.
        key_limit: the key's own spending limit; None where it has none.
        key_left: what is left of that.
        resets: when the key's limit is filled again, in the service's word (`"daily"`, `"monthly"`), if ever.
    """

    balance: int | None = None
    key_limit: int | None = None
    key_left: int | None = None
    resets: str | None = None

    @classmethod
    def of(cls, key: object, credit: object) -> Funds:
        """Read the bodies of `GET /key` and `GET /credits`, parsed; anything that is not understood is not known."""
        about, totals = _data(key), _data(credit)
        bought, used = signed_nano(totals.get("total_credits")), signed_nano(totals.get("total_usage"))
        resets = about.get("limit_reset")
        return cls(
            None if bought is None or used is None else bought - used,
            signed_nano(about.get("limit")),
            signed_nano(about.get("limit_remaining")),
            resets if isinstance(resets, str) and resets.isprintable() else None,
        )

    def __str__(self) -> str:
        told = []
        if self.balance is not None:
            sign = "-" if self.balance < 0 else ""
            told.append(f"the balance is {sign}${dollars(abs(self.balance))}")
        if self.key_left is not None and self.key_limit is not None:
            again = f", filled again {self.resets}" if self.resets else ""
            told.append(f"${dollars(self.key_left)} are left of the key's limit of ${dollars(self.key_limit)}{again}")
        return " and ".join(told)

    @property
    def rps(self) -> float:
        """Paid requests a second that the balance stands for; the least where it is not known."""
        whole = (self.balance or 0) // int(NANO)
        return min(max(float(whole), _LEAST_RPS), _MOST_RPS)


def _data(body: object) -> Mapping[str, object]:
    data = body.get("data") if isinstance(body, Mapping) else None
    return data if isinstance(data, Mapping) else {}
