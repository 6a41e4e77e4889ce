"""What proves an id free: the service's real lists, every way to misspell a price, and what the rest costs at worst."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from langchain_openrouter_free.books.budget import LONGEST_CONTEXT, Need, worst_case
from langchain_openrouter_free.catalogue.catalogue import Listing, Prices, parse_prices

FOLDER = Path(__file__).parents[2] / "shared" / "openrouter" / "catalog"
real = pytest.mark.skipif(not FOLDER.exists(), reason="the folder of the service's real lists is not beside this repo")

ROUTER = "openrouter/free"
LYRIA = {"google/lyria-3-clip-preview", "google/lyria-3-pro-preview"}
CLAIMS, UNLISTED, PRICED = "does not end in ':free'", "does not list it", "called free, but"
SEARCHERS = ("perplexity/sonar", "openai/gpt-4o-search", "openai/gpt-4o-mini", "openai/gpt-4o:batch", "sakana/")


@dataclass(frozen=True)
class Day:
    """What is known of one real list: how many rows, how many ':free' ids, and who is an exception."""

    rows: int
    frees: int
    router: bool = True  # whether openrouter/free is listed
    slips: frozenset[str] = frozenset()  # ':free' ids with a price
    claimless: frozenset[str] = frozenset()  # at zero, but they do not say that they are free


THINKING = {"qwen3-vl-30b-a3b-thinking", "qwen3-vl-235b-a22b-thinking", "qwen3-235b-a22b-thinking-2507"}
DAYS = {
    "2025-06-11": Day(324, 68, router=False, claimless=frozenset({"google/gemini-2.5-pro-exp-03-25"})),
    "2025-11-03": Day(343, 46, router=False),
    "2026-01-22": Day(345, 33, router=False, slips=frozenset({"google/gemini-2.0-flash-exp:free"})),
    "2026-02-27": Day(343, 25, claimless=frozenset(f"qwen/{name}" for name in THINKING)),
    "2026-03-20": Day(350, 26),
    "2026-05-01": Day(371, 29, claimless=frozenset(LYRIA | {"openrouter/owl-alpha"})),
    "2026-07-17": Day(342, 20, claimless=frozenset(LYRIA)),
    "2026-07-20": Day(339, 14, claimless=frozenset(LYRIA)),
    "2026-08-08": Day(400, 14, claimless=frozenset(LYRIA)),
    "2026-08-22": Day(421, 18, claimless=frozenset(LYRIA | {"stealth/ox-alpha"})),
}


def read(day: str) -> list[dict[str, Any]]:
    payload = json.loads((FOLDER / f"{day}.json").read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = payload["data"] if isinstance(payload, dict) else payload
    listing = Listing.of(payload, 0)
    assert listing is not None
    assert sum(map(len, listing.rows.values())) == len(rows), "none is left out, in either form of the list"
    return rows


def leaves(value: Any) -> Iterator[Any]:
    """Yield whatever stands anywhere in a value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        yield value
    else:
        for one in inner:
            yield from leaves(one)


def costs_nothing(row: dict[str, Any]) -> bool:
    """Tell whether everything under a real row's pricing is a zero in words; the package reads it in another way."""
    return {"prompt", "completion"} <= row["pricing"].keys() and all(
        isinstance(value, str) and re.fullmatch(r"0(\.0+)?", value) for value in leaves(row["pricing"])
    )


@real
@pytest.mark.parametrize("day", DAYS)
def test_what_a_real_list_lets_through(day: str) -> None:
    """Over all ids of the list: those ':free' ones without a price, and the free router. Nothing else."""
    assert {path.stem for path in FOLDER.glob("*.json")} == set(DAYS), "the table knows every list"
    rows, told = read(day), DAYS[day]
    listing, ids = listed(*rows), {row["id"] for row in rows}
    assert len(rows) == len(ids) == told.rows
    claiming = {name for name in ids if name.endswith(":free")}
    assert len(claiming) == told.frees
    let = {name for name in ids if listing.doubt(name) is None}
    assert let == (claiming - told.slips) | ({ROUTER} if told.router else set())
    zero = {row["id"] for row in rows if costs_nothing(row)}
    assert let <= zero
    assert zero - let == told.claimless
    for name in told.slips:
        assert PRICED in str(listing.doubt(name))
    # Without its suffix an id is another model, most often a paid one.
    assert all(listing.doubt(name.removesuffix(":free")) for name in claiming)


_ROUTERS = ("auto", "auto-beta", "bodybuilder", "fusion", "pareto-code")
ARGUED = [
    # Its price is "0", its description names $0.08 a song: a list can lie, and nobody called this one free.
    *(("2026-08-22", name, CLAIMS) for name in sorted(LYRIA)),
    # "-1" says that the answer's own model sets the price: smaller than zero, and anything but free.
    *(("2026-08-22", f"openrouter/{name}", CLAIMS) for name in _ROUTERS),
    ("2025-06-11", "openrouter/auto", CLAIMS),
    # The one id without the suffix that says it is free; only since it is listed.
    ("2026-08-22", ROUTER, None),
    ("2026-01-22", ROUTER, UNLISTED),
    # Nameless trials are free until the day that they are not; then the id stays the same.
    ("2026-05-01", "openrouter/owl-alpha", CLAIMS),
    ("2026-08-22", "stealth/ox-alpha", CLAIMS),
    ("2025-06-11", "google/gemini-2.5-pro-exp-03-25", CLAIMS),
    # A slip of the service: a paid model at zero for some days ...
    *(("2026-02-27", f"qwen/{name}", CLAIMS) for name in sorted(THINKING)),
    # ... and a free id at a price for two.
    ("2026-01-22", "google/gemini-2.0-flash-exp:free", "(prompt '0.0000001')"),
    ("2025-06-11", "google/gemini-2.0-flash-exp:free", None),
    # A classifier and no chat model, but it costs nothing: what it is good for is not the proof's business.
    ("2026-08-22", "nvidia/nemotron-3.5-content-safety:free", None),
    ("2026-08-22", "openai/gpt-oss-safeguard-20b", CLAIMS),
    # Embeddings: the one in this list is paid, the free ones stand in another list.
    ("2025-11-03", "openai/text-embedding-3-large", CLAIMS),
    ("2026-08-22", "nvidia/llama-nemotron-embed-vl-1b-v2:free", UNLISTED),
    # The paid twin of a free id, and a free id that was delisted.
    ("2026-08-22", "nvidia/nemotron-3-super-120b-a12b", CLAIMS),
    ("2026-08-22", "openai/gpt-oss-20b:free", UNLISTED),
    ("2026-07-20", "openai/gpt-oss-20b:free", None),
]


@real
@pytest.mark.parametrize(("day", "name", "says"), ARGUED)
def test_doubtful_ids_one_by_one(day: str, name: str, says: str | None) -> None:
    rows = read(day)
    assert (name in {row["id"] for row in rows}) == (says != UNLISTED)
    doubt = listed(*rows).doubt(name)
    assert doubt is None if says is None else says in str(doubt)


# -- rows made by hand

ID, ZERO = "test/m:free", {"prompt": "0", "completion": "0"}


def listed(*rows: Any) -> Listing:
    listing = Listing.of({"data": list(rows)}, 0)
    assert listing is not None
    return listing


def doubt_of(*pricings: Any, name: str = ID) -> str | None:
    return listed(*({"id": name, "pricing": pricing} for pricing in pricings)).doubt(name)


@pytest.mark.parametrize("zero", ["0", "0.0", "0.000", "-0", "+0", "0e-9", "00", 0, 0.0, -0.0, "-0.000"], ids=repr)
def test_ways_to_write_nothing(zero: Any) -> None:
    assert doubt_of({"prompt": zero, "completion": zero, "request": zero, "unheard_of": zero}) is None


BROKEN: list[Any] = ["-1", -1, None, "", " ", "abc", "free", "$0", "0,0", "0x0", "0 USD", True, False, [], {}, ["0"]]
BROKEN += [{"usd": "0"}, float("nan"), float("inf"), "NaN", "sNaN", "Infinity", "-inf", "1e400", 10**400, "1e-400"]
BROKEN += ["-1e-400", 1e-300, "0e999999999999999999999", "\N{MINUS SIGN}0"]
PRICES = [*BROKEN, "0.0000001", 1e-9, "1e-9", 1]


@pytest.mark.parametrize("price", PRICES, ids=lambda price: repr(price)[:20])
@pytest.mark.parametrize("name", ["prompt", "completion", "request", "image", "internal_reasoning", "unheard_of"])
def test_all_that_is_no_zero_counts_as_paid(name: str, price: Any) -> None:
    """Wherever it stands: beside the tokens, in an override, in a table of an override's own."""
    assert f"({name} " in str(doubt_of({**ZERO, name: price}))
    for layer in ({name: price}, {"min_prompt_tokens": 5, "pricing": {name: price}}):
        assert f"(overrides.{name} " in str(doubt_of({**ZERO, "overrides": [layer]}))


ONE = {"min_prompt_tokens": 9, **ZERO}
ROWS: dict[str, tuple[tuple[Any, ...], str | None]] = {
    "prompt and completion are enough": ((ZERO,), None),
    "no prompt": (({"completion": "0"},), "(no prices)"),
    "no completion": (({"prompt": "0", "request": "0"},), "(no prices)"),
    "an empty table": (({},), "(no prices)"),
    "null instead of a table": ((None,), "(no prices)"),
    "a list instead of a table": (([ZERO],), "(no prices)"),
    "a word instead of a table": (("0",), "(no prices)"),
    "no overrides": (({**ZERO, "overrides": []},), None),
    "overrides of zero": (({**ZERO, "overrides": [ONE, {"utc_start": 100, "utc_end": 400, "prompt": "0"}]},), None),
    "an override without a price": (({**ZERO, "overrides": [{"min_prompt_tokens": 9}, {}]},), None),
    "one of three layers": (({**ZERO, "overrides": [ONE, {**ONE, "audio": "0.1"}, ONE]},), "(overrides.audio '0.1')"),
    "a table in the layer": (({**ZERO, "overrides": [{"pricing": {"image": "1"}}]},), "(overrides.image '1')"),
    "a table in the table": (({**ZERO, "overrides": [{"pricing": {"pricing": ZERO}}]},), "(overrides.pricing {"),
    "overrides in overrides": (({**ZERO, "overrides": [{"overrides": [ONE]}]},), "(overrides.overrides ["),
    "overrides as a table": (({**ZERO, "overrides": ONE},), "(overrides {"),
    "overrides as null": (({**ZERO, "overrides": None},), "(overrides None)"),
    "a layer that is null": (({**ZERO, "overrides": [ONE, None]},), "(overrides None)"),
    "a layer that is a word": (({**ZERO, "overrides": ["x"]},), "(overrides 'x')"),
    "a condition where there is none": (({**ZERO, "min_prompt_tokens": 9},), "(min_prompt_tokens 9)"),
    "twice the same": ((ZERO, ZERO), None),
    "two rows, the first one priced": (({**ZERO, "prompt": "1"}, ZERO), "(prompt '1')"),
    "two rows, the last one priced": ((ZERO, {**ZERO, "prompt": "1"}), "(prompt '1')"),
    "two rows, one without prices": ((ZERO, None), "(no prices)"),
    "a long price is cut short": (({**ZERO, "prompt": "9" * 999},), "(prompt '" + "9" * 38 + "…)"),
}


@pytest.mark.parametrize("case", ROWS)
def test_rows_made_by_hand(case: str) -> None:
    pricings, says = ROWS[case]
    found = doubt_of(*pricings)
    assert found is None if says is None else PRICED in str(found) and says in str(found)
    assert doubt_of(*pricings, name=ROUTER) == found
    assert CLAIMS in str(doubt_of(*pricings, name="test/m"))


@pytest.mark.parametrize(
    "name", ["test/m", "test/m:FREE", "test/m:free ", "test/m:freed", "openrouter/auto", "free", ""]
)
def test_a_claim_is_spelled_out(name: str) -> None:
    assert CLAIMS in str(doubt_of(ZERO, name=name))


def test_broken_rows_are_left_out_and_prove_nothing() -> None:
    broken: list[Any] = [None, 7, "x", [], {}, {"id": None}, {"pricing": ZERO}, {"id": 5, "pricing": ZERO}]
    listing = listed(*broken, {"id": "a/b:free"}, {"id": ID, "pricing": ZERO})
    assert listing.doubt(ID) is None
    assert "(no prices)" in str(listing.doubt("a/b:free"))
    assert UNLISTED in str(listing.doubt("c/d:free"))


@pytest.mark.parametrize("payload", [None, {}, {"data": None}, {"data": {ID: ZERO}}, "x", 7, {"models": []}])
def test_what_is_no_list(payload: Any) -> None:
    assert Listing.of(payload, 0) is None


# -- what the others cost

NOON = datetime(2026, 8, 22, 12, tzinfo=UTC).timestamp()
PAID = {"prompt": "0.000001", "completion": "0.000002"}


def at(hour: int, minute: int) -> float:
    return NOON + (hour - 12) * 3600 + minute * 60


def priced(pricing: dict[str, Any], **row: Any) -> Prices:
    found = parse_prices({"id": "test/m", "pricing": pricing, **row})
    assert found is not None
    return found


def test_a_long_prompt_costs_more() -> None:
    """From its threshold on, the whole prompt counts at the higher price; what an override leaves out stays."""
    prices = priced({**PAID, "overrides": [{"min_prompt_tokens": 1000, "prompt": "0.000003"}]})
    assert worst_case(prices, Need(999), 10, NOON) == 999_000 + 20_000
    assert worst_case(prices, Need(1000), 10, NOON) == 3_000_000 + 20_000
    assert prices.at_most(1000, NOON) == Prices(Decimal("0.000003"), Decimal("0.000002"))
    cheaper = priced({**PAID, "overrides": [{"min_prompt_tokens": 1000, "prompt": "0", "completion": "0.00001"}]})
    assert worst_case(cheaper, Need(1000), 10, NOON) == 1_000_000 + 100_000


@pytest.mark.parametrize(
    ("hours", "moment", "dear"),
    [
        ((2200, 600), at(23, 0), True),
        ((2200, 600), at(3, 0), True),
        ((2200, 600), at(21, 44), False),
        ((2200, 600), at(21, 45), True),
        ((2200, 600), at(6, 14), True),
        ((2200, 600), at(6, 15), False),
        ((2200, 600), NOON, False),
        ((1100, 1300), NOON, True),
        ((1300, 1400), NOON, False),
        ((0, 2400), NOON, True),
        ((1200, 1200), at(3, 0), True),
        ((1300, None), NOON, True),
        (("1300", "1400"), NOON, True),
        ((1300, 9999), NOON, True),
        ((-100, 100), NOON, True),
    ],
)
def test_an_hour_costs_more(hours: tuple[Any, Any], moment: float, dear: bool) -> None:  # noqa: FBT001
    """Over midnight too, and a quarter of an hour before and after; hours that cannot be read are all hours."""
    layer = {"utc_start": hours[0], "utc_end": hours[1], "completion": "0.00001"}
    held = priced({**PAID, "overrides": [layer]}).at_most(5, moment)
    assert held.completion == Decimal("0.00001" if dear else "0.000002")
    assert held.prompt == Decimal("0.000001")


def test_every_kind_of_price_counts() -> None:
    cached = priced({**PAID, "input_cache_write": "0.000004", "input_cache_write_1h": "0.000005"})
    assert worst_case(cached, Need(100), 0, NOON) == 500_000
    heard = priced({**PAID, "audio": "0.00001", "input_audio_cache": "0.00002", "audio_output": "0.00003"})
    assert worst_case(heard, Need(100), 10, NOON) == 100_000 + 300_000
    assert worst_case(heard, Need(100, sound=True), 10, NOON) == 2_000_000 + 300_000
    drawn = priced({**PAID, "image_output": "0.00004", "image": "0.01", "request": "0.005"})
    assert worst_case(drawn, Need(100, images=3), 10, NOON) == 100_000 + 400_000 + 30_000_000 + 5_000_000
    thinking = priced({**PAID, "internal_reasoning": "0.00002"})
    assert worst_case(thinking, Need(0), 10, NOON) == 200_000
    assert worst_case(priced({"prompt": "0.0000000001", "completion": "0"}), Need(1), 0, NOON) == 1


def test_the_context_bounds_a_prompt() -> None:
    prices = priced(PAID, context_length=1000, top_provider={"context_length": 2000})
    assert prices.context == 2000
    assert worst_case(prices, Need(5000), 0, NOON) == 2_000_000
    assert worst_case(prices, Need(10, linked=True), 0, NOON) == 2_000_000
    assert priced(PAID, context_length=1000, top_provider=None).context == 1000
    assert priced(PAID, context_length="1000", top_provider={"context_length": 0}).context is None
    assert worst_case(priced(PAID), Need(5000, linked=True), 0, NOON) == 5_000_000
    assert worst_case(prices, Need(10, endless=True), 0, NOON) == 2_000_000
    assert worst_case(priced(PAID), Need(10, endless=True), 0, NOON) == LONGEST_CONTEXT * 1000


def test_two_rows_of_one_paid_id_bound_nothing() -> None:
    row = {"id": "test/m", "pricing": PAID}
    assert [listed(*rows).prices("test/m") for rows in ([row], [row, row], [])] == [priced(PAID), None, None]


def test_the_ceiling_is_in_dollars_a_million() -> None:
    prices = priced({**PAID, "request": "0.005", "internal_reasoning": "0.000008", "image": "0.01"})
    assert prices.ceiling() == {"prompt": 1.0, "completion": 8.0, "request": 0.005, "image": 0.01}
    assert priced(ZERO).ceiling() == {"prompt": 0, "completion": 0, "request": 0}, "what costs nothing is bounded too"
    assert priced(PAID).ceiling(1)["image"] == 0


@pytest.mark.parametrize(
    ("price", "bounded"), [("0.01", False), ("-1", False), ("abc", False), ("0", True), (None, True)]
)
def test_who_searches_by_itself_is_not_bounded(price: Any, bounded: bool) -> None:  # noqa: FBT001
    row: dict[str, Any] = {"pricing": {**PAID, "web_search": price}}
    assert (parse_prices({**row, "supported_parameters": ["web_search_options"]}) is not None) == bounded
    assert parse_prices({**row, "supported_parameters": ["tools"]}) is not None


@pytest.mark.parametrize("price", BROKEN, ids=lambda price: repr(price)[:20])
def test_a_price_that_cannot_be_read_bounds_nothing(price: Any) -> None:
    assert parse_prices({"pricing": {**PAID, "prompt": price}}) is None
    assert parse_prices({"pricing": {**PAID, "overrides": [{"completion": price}]}}) is None
    # No overrides are none; all else is no list of them.
    assert (parse_prices({"pricing": {**PAID, "overrides": price}}) is not None) == (price in (None, []))


@real
@pytest.mark.parametrize("day", DAYS)
def test_real_prices_parse(day: str) -> None:
    """All but the routers that set no price, and those that search by themselves: those with overrides too."""
    for row in read(day):
        name, pricing = row["id"], row["pricing"]
        found = parse_prices(row)
        endless = "web_search_options" in row["supported_parameters"] and pricing.get("web_search", "0") != "0"
        assert (found is None) == (endless or pricing["prompt"] == "-1"), name
        assert not endless or name.startswith(SEARCHERS), name
        if found is not None:
            assert len(found.tiers) == len(pricing.get("overrides", [])), name
            # One row of 2025-11-03 says 0.
            assert found.context or row["context_length"] == 0, name


@real
def test_real_overrides_to_the_nano_dollar() -> None:
    """A threshold and hours of the list of 2026-08-22, reckoned by hand."""
    rows = {row["id"]: row for row in read("2026-08-22")}
    names = ("openai/gpt-5.6-luna", "deepseek/deepseek-v4-flash-vision-exp")
    luna, hourly = (priced(rows[name]["pricing"]) for name in names)
    assert worst_case(luna, Need(1000), 500, NOON) == 250_000 + 600_000
    assert worst_case(luna, Need(271_999), 500, NOON) == 67_999_750 + 600_000
    assert worst_case(luna, Need(272_000), 500, NOON) == 136_000_000 + 900_000
    # Outside its cheap hours it costs the base price, which is the dear one: that may always hold.
    assert [tier.utc_start for tier in hourly.tiers] == [1000, 100, 400, 600]
    assert [tier.utc_end for tier in hourly.tiers] == [100, 400, 600, 1000]
    assert {worst_case(hourly, Need(1000), 500, at(hour, 30)) for hour in range(24)} == {440_000 + 660_000}


# -- prices in odd places and odd shapes


def test_a_price_beside_an_inner_table_counts() -> None:
    assert doubt_of({**ZERO, "overrides": [{"prompt": "1", "pricing": {"prompt": "0"}}]}) is not None


@pytest.mark.parametrize("zero", ["0_0", "\N{ARABIC-INDIC DIGIT ZERO}", "\N{FULLWIDTH DIGIT ZERO}", "\n0 "])
def test_a_zero_in_disguise_is_malformed(zero: str) -> None:
    assert doubt_of({**ZERO, "prompt": zero}) is not None


def test_a_short_hour_is_near_as_well() -> None:
    layer = {"utc_start": 1201, "utc_end": 1211, "completion": "0.00001"}
    assert priced({**PAID, "overrides": [layer]}).at_most(5, NOON).completion == Decimal("0.00001")


@pytest.mark.parametrize("name", ["video", "input_cache_read"])
def test_a_price_that_is_not_counted_bounds_nothing(name: str) -> None:
    found = parse_prices({"pricing": {**PAID, name: "5"}})
    assert found is None or worst_case(found, Need(1), 1, NOON) >= 5_000_000_000
