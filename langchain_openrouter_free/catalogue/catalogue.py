"""What the service offers, as far as money needs it: what is proven free, and what the rest costs. Pure.

Prices come as text in US dollars a token (or a request, or an image). Anything that is not a plain,
non-negative number counts as unknown, and what is unknown is neither free nor paid for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from langchain_openrouter_free.values import value_type

FREE_SUFFIX = ":free"
FREE_ROUTER = "openrouter/free"
# How long a list of models is good, in seconds.
FRESH = 3600.0
# An id that has vanished may be back so soon, in seconds: five were, after 19 hours (2026-01-15).
SUSPECT = 2 * 86_400.0
NOT_PROVEN = "so nothing proves that it is free"

Row = Mapping[str, Any]

# More entries than this are no list of models (421 at most, 2026-08), and no id is longer, in characters (61 at most).
MOST_ENTRIES, LONGEST_ID = 10_000, 200
# How long an absence is remembered, in seconds; of too many the latest, and of a row that is too long the id alone.
_REMEMBERED, _MOST_ABSENT, _LONGEST_ROW = 90 * 86_400.0, 300, 16_384
# A list with less than this part of the entries, or of the free ids, of the one before is not believed at once.
_MUCH, _MUCH_FREE, _TELLING = 0.6, 0.5, 10

# Fields of an override that say when it holds; all others are prices (catalogues of 2026-07 to 2026-08).
_CONDITIONS = frozenset({"min_prompt_tokens", "utc_start", "utc_end"})
# A request is priced when it is served: an hour that is this near, in seconds, may be the one.
_NEAR = 900.0
_MILLION = 1_000_000
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_ZERO = Decimal(0)
# What is smaller or larger than this is no price, in US dollars.
_LEAST, _MOST = Decimal("1e-18"), Decimal(1_000_000)


@value_type()
class Tier:
    """Prices that hold under a condition.

    Attributes:
        prices: what holds then.
        min_prompt_tokens: for prompts from this length on.
        utc_start, utc_end: between these times of the day, as hours * 100 + minutes; the end may be the smaller
            one. None: all day.
    """

    prices: Prices
    min_prompt_tokens: int = 0
    utc_start: int | None = None
    utc_end: int | None = None

    def may_hold(self, prompt_tokens: int, now: float) -> bool:
        """Tell whether it may hold for a prompt of up to so many tokens that is served about now."""
        if prompt_tokens < self.min_prompt_tokens:
            return False
        if self.utc_start is None or self.utc_end is None:
            return True
        # Minutes of the day: whether the window is open when the near time begins, or begins within it.
        start, end, first = _minutes(self.utc_start), _minutes(self.utc_end), int(now - _NEAR) // 60 % 1440
        long = (end - start) % 1440 or 1440
        return (first - start) % 1440 < long or (start - first) % 1440 <= 2 * _NEAR // 60


def _minutes(clock: int) -> int:
    return clock // 100 * 60 + clock % 100


@value_type()
class Prices:
    """What a paid model costs, in US dollars.

    Attributes:
        prompt: per prompt token; where writing it into a cache costs more, that.
        completion: per completion token, of whatever kind costs most.
        request: per request.
        image: per image of the prompt.
        reasoning: per reasoning token, where it differs from `completion`.
        audio: per prompt token of sound, where it differs from `prompt`.
        context: most tokens of a prompt; None where nobody says.
        tiers: prices for long prompts, or for hours of the day.
    """

    prompt: Decimal
    completion: Decimal
    request: Decimal = Decimal(0)
    image: Decimal = Decimal(0)
    reasoning: Decimal = Decimal(0)
    audio: Decimal = Decimal(0)
    context: int | None = None
    tiers: tuple[Tier, ...] = ()

    def at_most(self, prompt_tokens: int, now: float) -> Prices:
        """Return the highest prices that may hold for a prompt of up to so many tokens, served about now."""
        layers = [self, *(tier.prices for tier in self.tiers if tier.may_hold(prompt_tokens, now))]
        if len(layers) == 1:
            return self
        highest = {name: max(getattr(layer, name) for layer in layers) for name in _AMOUNTS}
        return replace(self, tiers=(), **highest)

    def ceiling(self, images: int = 0) -> dict[str, float]:
        """Return them as `provider.max_price`, which the service documents in US dollars a million tokens.

        Several providers may serve one id at different prices, and the catalogue names one: this makes it hold. What
        costs nothing is named as well, since what is not named is not bounded.

        Args:
            images: in the prompt; without any, what a picture costs leaves nobody out.
        """
        named = {"prompt": self.prompt * _MILLION, "completion": self.output * _MILLION, "request": self.request}
        if images or self.image > 0:
            named["image"] = self.image
        return {name: float(amount) for name, amount in named.items()}

    @property
    def output(self) -> Decimal:
        """The highest price of a token of output."""
        return max(self.completion, self.reasoning)


_AMOUNTS = ("prompt", "completion", "request", "image", "reasoning", "audio")


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")


def says_free(model: str) -> bool:
    """Tell whether an id claims to be free. A claim, not a proof: prices are the proof."""
    return model.endswith(FREE_SUFFIX) or model == FREE_ROUTER


def priced(row: Row) -> str | None:
    """Say what of a row's prices is not zero, or cannot be read; None if all that it names are zero.

    A price that is absent is none, but a row without prices for prompt and completion says nothing at all. What
    this version does not know is a price as well.
    """
    pricing = row.get("pricing")
    if not isinstance(pricing, Mapping) or "prompt" not in pricing or "completion" not in pricing:
        return "no prices"
    if list(pricing.values()).count("0") == len(pricing):  # as nearly all that are free
        return None
    for name, value in _stated(pricing):
        if _amount(value) != 0:
            return f"{name} {_shown(value)}"
    overrides = pricing.get("overrides", [])
    if not isinstance(overrides, list):
        return f"overrides {_shown(overrides)}"
    return next((f"overrides {_shown(layer)}" for layer in overrides if not isinstance(layer, Mapping)), None)


def _stated(pricing: Row) -> Iterator[tuple[str, object]]:
    """Yield everything that is a price, those of overrides too, wherever in them they stand."""
    yield from ((str(name), value) for name, value in pricing.items() if name != "overrides")
    overrides = pricing.get("overrides")
    for layer in overrides if isinstance(overrides, list) else ():
        for name, value in layer.items() if isinstance(layer, Mapping) else ():
            if name == "pricing" and isinstance(value, Mapping):
                yield from ((f"overrides.{key}", inner) for key, inner in value.items() if key not in _CONDITIONS)
            elif name not in _CONDITIONS:
                yield f"overrides.{name}", value


def _layer(layer: object) -> Row | None:
    """Return an override as one table; its prices may stand in a table of their own."""
    if not isinstance(layer, Mapping):
        return None
    inner = layer.get("pricing")
    return {**{k: v for k, v in layer.items() if k != "pricing"}, **inner} if isinstance(inner, Mapping) else layer


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"


def parse_prices(row: Row) -> Prices | None:
    """Return the prices of a catalogue row, or None if they cannot bound the cost of a request.

    A model that searches the web by itself (it takes `web_search_options` and has a price for searching) may
    search as often as it likes, so nothing bounds its cost.
    """
    pricing = row.get("pricing")
    if not isinstance(pricing, Mapping) or _searches(row, pricing):
        return None
    base = _prices(pricing)
    overrides = pricing.get("overrides")
    if base is None or not isinstance(overrides, list | None):
        return None
    tiers = [_tier(pricing, layer) for layer in overrides or []]
    if any(tier is None for tier in tiers):
        return None
    return replace(base, context=_context(row), tiers=tuple(tier for tier in tiers if tier is not None))


def _searches(row: Row, pricing: Row) -> bool:
    supported = row.get("supported_parameters")
    return (
        isinstance(supported, list)
        and "web_search_options" in supported
        and pricing.get("web_search") is not None
        and _amount(pricing["web_search"]) != 0
    )


# Which prices bound which amount.
_KINDS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "input_cache_read", "input_cache_write", "input_cache_write_1h"),
    "completion": ("completion", "image_output", "audio_output"),
    "request": ("request",),
    "image": ("image",),
    "reasoning": ("internal_reasoning",),
    "audio": ("audio", "input_audio_cache"),
}
# A search is refused beside a budget, so its price is none of a request's.
_BOUNDED = frozenset({kind for kinds in _KINDS.values() for kind in kinds} | {"web_search", "overrides", "discount"})


def _prices(pricing: Row) -> Prices | None:
    known: list[Decimal] = []
    for name, kinds in _KINDS.items():
        amounts = [_amount(pricing[kind]) for kind in kinds if kind in pricing]
        if any(amount is None for amount in amounts) or (name in ("prompt", "completion") and name not in pricing):
            return None
        known.append(max((a for a in amounts if a is not None), default=Decimal(0)))
    if any(_amount(value) != 0 for name, value in pricing.items() if name not in _BOUNDED | _CONDITIONS):
        return None
    prompt, completion, request, image, reasoning, audio = known
    return Prices(prompt, completion, request, image, reasoning, audio)


def _tier(pricing: Row, layer: object) -> Tier | None:
    """Return an override; a price that it doesn't name is the model's usual one."""
    stated = _layer(layer)
    prices = None if stated is None else _prices({**pricing, **stated})
    if stated is None or prices is None:
        return None
    # A condition that cannot be read is no condition: then the prices may always hold.
    least = _count(stated.get("min_prompt_tokens"))
    start, end = _clock_time(stated.get("utc_start")), _clock_time(stated.get("utc_end"))
    by_hour = start is not None and end is not None
    return Tier(prices, least or 0, start if by_hour else None, end if by_hour else None)


def _clock_time(value: object) -> int | None:
    time = _count(value)
    return time if time is not None and time <= 2400 else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _context(row: Row) -> int | None:
    """Return the most tokens that any provider of the row is known to take."""
    provider = row.get("top_provider")
    stated = [row.get("context_length"), provider.get("context_length") if isinstance(provider, Mapping) else None]
    return max((length for length in map(_count, stated) if length), default=None)


def _amount(value: object) -> Decimal | None:
    if value == "0":  # as nearly all of them
        return _ZERO
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    try:
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):  # the second for whole numbers of thousands of digits
        return None
    return amount if amount.is_finite() and (amount == 0 or _LEAST <= amount <= _MOST) else None


@value_type()
class Absence:
    """An id that a list used to have.

    Attributes:
        since: Unix seconds of the first list that lacked it.
        row: what the last one said of it that had it.
    """

    since: float
    row: Row

    def is_suspect(self, now: float) -> bool:
        """Tell whether it may be back soon; else it is gone."""
        return now - self.since < SUSPECT


def _kept(model: str, row: Row) -> Row:
    """Return what is kept of the row of an id that has vanished."""
    try:
        is_short = len(json.dumps(row)) <= _LONGEST_ROW
    except (ValueError, TypeError, RecursionError):
        is_short = False
    return row if is_short else {"id": model}


@value_type(eq=False)
class Listing:
    """The service's list of models as it was at a moment; `None` stands for a list that could not be had.

    Attributes:
        rows: id -> its rows; there should be one.
        at: Unix seconds at which it was fetched, or known to be unchanged.
        memo: what others have worked out of it, by a key of theirs; it makes things faster and changes nothing.
        absent: free id -> since when the lists lack it that used to have it.
        tag: the ETag by which the service knows it; "" where it has none.
        path: which of the service's lists it is; "" where that is not known.
    """

    rows: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    at: float = 0.0
    memo: dict[object, Any] = field(default_factory=dict)
    absent: Mapping[str, Absence] = field(default_factory=dict)
    tag: str = ""
    path: str = ""

    @classmethod
    def of(cls, payload: object, at: float) -> Listing | None:
        """Read the reply of `GET /models`, `{"data": [...]}` or the bare list; None if it is neither, or far too long.

        A row that is broken is left out, never the whole list.
        """
        found = payload.get("data") if isinstance(payload, Mapping) else payload
        if not isinstance(found, list) or len(found) > MOST_ENTRIES:
            return None
        rows: dict[str, tuple[Row, ...]] = {}
        for row in found:
            model = row.get("id") if isinstance(row, dict) else None
            # An id stands in logs and on terminals: what could write there by itself is none.
            if isinstance(model, str) and len(model) <= LONGEST_ID and model.isprintable():
                rows[model] = (*rows[model], row) if model in rows else (row,)
        return cls(rows, at)

    def doubt(self, model: str) -> str | None:
        """Say why an id is not proven free; None if it is: it says so, and every price that it has is zero."""
        if model in self.absent:
            return self._doubt(model)
        known: dict[str, str | None] = self.memo.setdefault("doubts", {})
        if model not in known:
            known[model] = self._doubt(model)
        return known[model]

    def _doubt(self, model: str) -> str | None:
        if not says_free(model):
            return "its id does not end in ':free', so it may cost money"
        rows, absence = self.rows.get(model), self.absent.get(model)
        if not rows and absence is not None:
            state = "suspect" if absence.is_suspect(self.at) else "gone"
            return f"{state}: the service's catalogue does not list it since {_day(absence.since)}, {NOT_PROVEN}"
        if not rows:
            return f"the service's catalogue does not list it, {NOT_PROVEN}"
        price = next((found for row in rows if (found := priced(row)) is not None), None)
        return None if price is None else f"it is called free, but the service's catalogue says otherwise ({price})"

    def after(self, before: Listing | None) -> Listing:
        """Return it as the list that follows another: what it lacks of that one's free ids is absent from now on."""
        if before is None:
            return self
        absent = {
            model: absence
            for model, absence in before.absent.items()
            if model not in self.rows and self.at - absence.since < _REMEMBERED
        }
        for model in before.rows.keys() - self.rows.keys() - absent.keys():
            # An account's own list is not what all may use, less something.
            if says_free(model) and self.path == before.path:
                absent[model] = Absence(self.at, _kept(model, before.rows[model][0]))
        latest = sorted(absent, key=lambda model: absent[model].since, reverse=True)[:_MOST_ABSENT]
        return replace(self, absent={model: absent[model] for model in latest} if len(absent) > len(latest) else absent)

    def is_much_less(self, before: Listing, refused: Collection[str] = ()) -> bool:
        """Tell whether so much of another list is missing that this one may be broken.

        That ids are gone which the service itself has `refused` is no sign of that.

        Of real lists that followed each other by a day none lost a sixth of its entries, or a third of its free ones
        (20 to 14, 2026-07-19). Small lists tell nothing.
        """
        if len(before.rows) < _TELLING or self.path != before.path:
            return False
        expected = [model for model in before.rows if model in self.rows or model not in refused]
        frees, were = (sum(map(says_free, rows)) for rows in (self.rows, expected))
        return len(self.rows) < _MUCH * len(expected) or (were >= _TELLING and frees < _MUCH_FREE * were)

    def amended(self, later: Listing) -> Listing:
        """Return it with what a later list says of the ids that this has; it is no list of the service's any more."""
        rows = {**self.rows, **later.rows}
        return self if rows == self.rows else replace(self, rows=rows, memo={}, tag="")

    def prices(self, model: str) -> Prices | None:
        """Return what a paid id costs, or None where it is missing or its cost cannot be bounded."""
        known: dict[str, Prices | None] = self.memo.setdefault("prices", {})
        if model not in known:
            found = [parse_prices(row) for row in self.rows.get(model, ())]
            known[model] = found[0] if len(found) == 1 else None
        return known[model]
