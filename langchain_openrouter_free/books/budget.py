"""Amounts of money: what the user lets a project spend, and what a request costs at worst and in the end. Pure.

All amounts inside are integers of nano-dollars; a float never touches money. The book is `purse.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_UP, Decimal, InvalidOperation
from typing import Any

from langchain_openrouter_free.catalogue.catalogue import Prices
from langchain_openrouter_free.values import value_type

NANO = Decimal(1_000_000_000)
UNLIMITED = "unlimited"
# A paid answer shorter than this is not worth its prompt.
LEAST_TOKENS = 256
# Reserved where the caller named no limit: what chat answers rarely pass.
USUAL_TOKENS = 4096
# An amount of more US dollars than this is a mistake, of ours or of a server.
MOST = Decimal(1_000_000_000)
# The longest in the service's lists of 2025 and 2026, in tokens.
LONGEST_CONTEXT = 10_000_000
# So many tokens are one as well: no model holds a hundredth of them.
_MOST_TOKENS = 1_000_000_000

_CAPS = {"call": "per_call", "day": "per_day", "month": "per_month", "total": "total"}
_WORDS = {"request": "call", "daily": "day", "monthly": "month"}
_MONEY = r"\s*(?:(?:us)?\$|usd)?\s*(?P<amount>\d+(?:\.\d+)?|\.\d+)\s*(?:\$|usd|dollars?)?\s*"
_AMOUNT = _MONEY + r"(?:(?:/|per\b|an?\b|in)?\s*(?P<window>call|request|daily|day|monthly|month|total))?\s*"


@value_type(frozen=True)
class Budget:
    """Amounts in US dollars that paid attempts of this project may cost; None means no such cap.

    Attributes:
        per_call: worst case of one paid attempt.
        per_day: for one UTC day.
        per_month: for one UTC calendar month.
        total: ever, as far as the state reaches back.

    Raises:
        ValueError: if an amount is none, is not above zero, or is above a billion. Numbers and text are read as they
            are written.
    """

    per_call: Decimal | None = None
    per_day: Decimal | None = None
    per_month: Decimal | None = None
    total: Decimal | None = None

    def __post_init__(self) -> None:
        for name in _CAPS.values():
            given = getattr(self, name)
            if given is None:
                continue
            amount = _dollars(given)
            if not amount.is_finite() or not 0 < amount <= MOST:
                raise ValueError(f"budget: {name}={given!r} must be a positive amount of US dollars, a billion at most")
            object.__setattr__(self, name, amount)

    @classmethod
    def parse(cls, given: object) -> Budget:
        """Read `"$0.50/day"`, `"2 USD/month"`, `"1.00"` (in total), a number, a `Budget`, or `"unlimited"`.

        Several amounts may be joined: `"$0.01/call, $1/day"`, `"$1/day and $5/month"`. A comma between digits is
        refused: it could be meant as part of a number.

        Raises:
            ValueError: if it is not an amount, is negative, zero or above a billion, names a window twice, or names
                none at all.
        """
        if isinstance(given, str) and given.strip().lower() == UNLIMITED:
            return cls()
        if isinstance(given, Mapping):
            given = cls(**_named(given))
        elif isinstance(given, int | float | Decimal) and not isinstance(given, bool):
            given = cls(total=_dollars(given))
        elif isinstance(given, str):
            given = cls(**_amounts(given))
        if not isinstance(given, Budget):
            raise ValueError(f"budget={given!r} is no amount: write for example '$0.50/day'")
        if not given.caps():
            raise ValueError("budget names no amount: write for example '$0.50/day', or 'unlimited', spelled out")
        return given

    def caps(self) -> dict[str, int]:
        """Return the caps by window, in nano-dollars."""
        named = {window: getattr(self, name) for window, name in _CAPS.items()}
        return {window: int(cap * NANO) for window, cap in named.items() if cap is not None}

    def lowered(self, taken: Mapping[str, int], amount: int) -> Budget:
        """Return the caps under which only so much more may be spent; a call's cap stays.

        Args:
            taken: what is spent or held back of each window, in nano-dollars.
            amount: in nano-dollars.
        """
        known = {window: cap for window, cap in self.caps().items() if window in taken}
        caps = {window: min(cap, taken[window] + amount) for window, cap in known.items()}
        # A cap of nothing would be none.
        return replace(self, **{_CAPS[window]: Decimal(max(cap, 1)) / NANO for window, cap in caps.items()})


def _named(table: Mapping[Any, Any]) -> dict[str, Any]:
    """Read a table of amounts, by either name of their windows."""
    found: dict[str, Any] = {}
    for name, amount in table.items():
        window = _CAPS.get(str(name), str(name))
        if window not in _CAPS.values():
            raise ValueError(f"budget={table!r}: {name!r} is none of {', '.join(_CAPS)}")
        if window in found:
            raise ValueError(f"budget={table!r} names an amount for {name!r} twice")
        found[window] = amount
    return found


def _amounts(text: str) -> dict[str, Decimal]:
    """Read amounts in words."""
    if re.search(r"\d,[\d.]", text):
        raise ValueError(
            f"budget={text!r} may be one amount or two: write '1500' for a thousand and a half, '0.50' for a half, and "
            "a blank behind a comma between amounts"
        )
    found: dict[str, Decimal] = {}
    for part in re.split(r"[,;\n]|\band\b", text.strip(), flags=re.IGNORECASE):
        hit = re.fullmatch(_AMOUNT, part, re.IGNORECASE)
        if not hit:
            raise ValueError(
                f"budget={text!r} is no amount: write '$0.50/day' (or /call, /month, /total), or 'unlimited'"
            )
        window = _WORDS.get(said := (hit["window"] or "total").lower(), said)
        if _CAPS[window] in found:
            raise ValueError(f"budget={text!r} names an amount for {window!r} twice")
        found[_CAPS[window]] = _dollars(hit["amount"])
    return found


def _dollars(value: object) -> Decimal:
    hit = re.fullmatch(_MONEY, value, re.IGNORECASE) if isinstance(value, str) else None
    try:
        return Decimal(hit["amount"] if hit else str(value))
    except (InvalidOperation, ValueError):
        raise ValueError(f"{value!r} is no amount of US dollars") from None


def nano(dollars: object) -> int | None:
    """Return an amount in nano-dollars, rounded up; None for what is no amount, is negative, or beyond belief."""
    amount = signed_nano(dollars)
    return None if amount is None or amount < 0 else amount


def signed_nano(dollars: object) -> int | None:
    """Return an amount in nano-dollars; None for what is none, or beyond belief.

    It is rounded away from zero: a debt is no less than it was, and what is below zero does not become nothing.
    """
    if isinstance(dollars, bool) or not isinstance(dollars, str | int | float | Decimal):
        return None
    if dollars == 0:
        return 0  # what nearly every answer costs
    try:
        amount = Decimal(str(dollars))
    except (InvalidOperation, ValueError):
        return None
    if not amount.is_finite() or abs(amount) > MOST:
        return None
    return int((amount * NANO).to_integral_value(rounding=ROUND_UP))


def dollars(amount: int) -> str:
    """Write nano-dollars as US dollars with all their digits."""
    return format((Decimal(amount) / NANO).normalize(), "f")


@value_type()
class Need:
    """What a paid attempt at a request could use.

    Attributes:
        prompt_tokens: upper bound of the prompt's tokens, counted in bytes.
        images: pictures in the prompt.
        sound: whether there is sound in it, which may cost more than text.
        linked: whether it names what stands elsewhere, so that a model's context bounds its tokens better.
        endless: whether nothing but a model's context bounds them: there is a file in it, or a film.
        max_tokens: the caller's own output limit, if any.
    """

    prompt_tokens: int = 0
    images: int = 0
    sound: bool = False
    linked: bool = False
    endless: bool = False
    max_tokens: int | None = None

    def tokens(self, context: int | None) -> int:
        """Return the upper bound of the prompt's tokens for a model with this context: a longer one is refused."""
        if self.endless:
            return LONGEST_CONTEXT if context is None else context
        if context is None:
            return self.prompt_tokens
        return context if self.linked else min(self.prompt_tokens, context)


def worst_case(prices: Prices, need: Need, max_tokens: int, now: float) -> int:
    """Return the highest cost of a request in nano-dollars.

    Reasoning tokens are part of the completion tokens, at the higher of the two prices. Of prices by prompt length
    or by hour, the highest that may hold counts.

    Args:
        prices: the model's.
        need: what the request could use.
        max_tokens: most tokens of output.
        now: Unix seconds.
    """
    tokens = need.tokens(prices.context)
    held = prices.at_most(tokens, now)
    token = max(held.prompt, held.audio) if need.sound else held.prompt
    total = token * tokens + held.output * max_tokens + held.request + held.image * need.images
    return int((total * NANO).to_integral_value(rounding=ROUND_CEILING))


def affordable_tokens(prices: Prices, need: Need, room: int, now: float) -> int | None:
    """Return how many output tokens `room` nano-dollars pay for; None where output costs nothing."""
    output = prices.at_most(need.tokens(prices.context), now).output
    if output == 0:
        return None
    left = Decimal(room - worst_case(prices, need, 0, now)) / NANO
    return max(int(left // output), 0)


def stated_cost(usage: Mapping[str, Any] | None) -> int | None:
    """Return what an answer's `usage` says that it cost in nano-dollars, or None.

    With a key of the user's own at a provider (`is_byok`), `cost` is the service's fee alone, often nothing, and the
    provider bills the rest. Else what the provider takes is part of `cost` (recorded 2025-2026).
    """
    said = usage or {}
    details = said.get("cost_details")
    upstream = details.get("upstream_inference_cost") if isinstance(details, Mapping) else None
    return with_upstream(said.get("cost"), upstream, own_key=said.get("is_byok"))


def with_upstream(fee: object, upstream: object, *, own_key: object) -> int | None:
    """Return a cost in nano-dollars, with what a provider bills to the user's own key; None where it is not told."""
    cost, billed = nano(fee), nano(upstream) if own_key is True else 0
    return None if cost is None or billed is None else cost + billed


def cost_of(usage: Mapping[str, Any] | None, prices: Prices | None, need: Need, now: float) -> int | None:
    """Return what an answer cost in nano-dollars: the stated cost, else its tokens at their price, else None.

    Every prompt has tokens: where none are told, nobody has counted.
    """
    stated = stated_cost(usage)
    if stated is not None or prices is None or not usage:
        return stated
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int) or prompt < 1 or completion < 0:
        return None
    # Some providers count thoughts in the sum alone (Gemini's and Grok's, by OpenAI's dialect).
    total = usage.get("total_tokens")
    completion = max(completion, total - prompt) if isinstance(total, int) else completion
    if max(prompt, completion) > _MOST_TOKENS:
        return None
    counted = Need(prompt, need.images, need.sound)
    return worst_case(replace(prices, context=None), counted, completion, now)


@value_type()
class Fees:
    """What it costs to buy credits (the service's page of fees, 2026: 5.5 %, at least $0.80 a purchase).

    Attributes:
        percent: of the amount bought.
        least: US dollars a purchase.
    """

    percent: Decimal = Decimal("5.5")
    least: Decimal = Decimal("0.80")

    @classmethod
    def parse(cls, given: object) -> Fees:
        """Read `{"percent": 5.5, "least": 0.8}`, a `Fees`, or None for what is usual.

        Raises:
            ValueError: for another name, or what is no amount.
        """
        if given is None:
            return cls()
        if isinstance(given, Fees):
            given = {"percent": given.percent, "least": given.least}
        if not isinstance(given, Mapping) or given.keys() - {"percent", "least"}:
            raise ValueError(f"credit_fee={given!r} must name 'percent' and 'least'")
        amounts = {str(name): _dollars(value) for name, value in given.items()}
        if any(not amount.is_finite() or amount < 0 for amount in amounts.values()):
            raise ValueError(f"credit_fee={given!r} must name amounts of 0 or more")
        return cls(**amounts)

    def to_buy(self, credits: int) -> int:  # noqa: A002 - the service's word
        """Return what so many nano-dollars of credits cost when bought at once, in nano-dollars."""
        if credits <= 0:
            return 0
        fee = max(Decimal(credits) * self.percent / 100, self.least * NANO)
        return credits + int(fee.to_integral_value(rounding=ROUND_CEILING))
