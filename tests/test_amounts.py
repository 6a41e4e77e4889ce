"""Amounts of money: read, rounded, lowered, reckoned from an answer's tokens, and what is left of an account's."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free.books.budget import (
    LEAST_TOKENS,
    NANO,
    Budget,
    Fees,
    Need,
    affordable_tokens,
    cost_of,
    nano,
    signed_nano,
    worst_case,
)
from langchain_openrouter_free.books.funds import Funds
from langchain_openrouter_free.books.purse import Shortfall
from langchain_openrouter_free.catalogue.catalogue import Prices
from langchain_openrouter_free.engine.payments import Held, Payments, Pocket
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.stores import MemoryStore

NOW = 1_790_000_000.0
BILLION = 10**18
PRICES = Prices(Decimal("0.000001"), Decimal("0.000002"))


@pytest.mark.parametrize(
    ("said", "amount", "debt"),
    [
        (0, 0, 0),
        (0.0, 0, 0),
        ("0", 0, 0),
        (1, 10**9, 10**9),
        ("1", 10**9, 10**9),
        (0.5, 5 * 10**8, 5 * 10**8),
        (Decimal("0.1"), 10**8, 10**8),
        (1e-10, 1, 1),
        ("1.0000000001", 10**9 + 1, 10**9 + 1),
        ("1000000000", BILLION, BILLION),
        ("1000000000.000000001", None, None),
        (-1, None, -(10**9)),
        ("-1000000000", None, -BILLION),
        ("-1000000000.000000001", None, None),
        ("-0.000000001", None, -1),
        ("-0.0000000001", None, -1),
        (-1e-17, None, -1),
        (True, None, None),
        (False, None, None),
        (None, None, None),
        ([1], None, None),
        ("", None, None),
        ("much", None, None),
        ("nan", None, None),
        (float("inf"), None, None),
    ],
)
def test_what_a_server_says_of_an_amount(said: object, amount: int | None, debt: int | None) -> None:
    """A part of a nano-dollar is a whole one, of a debt as well; what is no amount, or beyond belief, is not known."""
    assert (nano(said), signed_nano(said)) == (amount, debt)


@pytest.mark.parametrize("given", [None, [1], True, {"day": True}, 10**9 + 1, "nan", Decimal("inf"), 0, "1,5", {}])
def test_what_is_no_budget_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="amount"):
        Budget.parse(given)


@pytest.mark.parametrize(
    ("given", "credits", "to_buy"),
    [
        (None, 10 * 10**9, 10_800_000_000),
        (None, 100 * 10**9, 105_500_000_000),
        (None, 0, 0),
        (Fees(Decimal(10), Decimal(0)), 1, 2),
        (Fees(Decimal(0), Decimal(1)), 5, 10**9 + 5),
        ({"percent": 20}, 10 * 10**9, 12 * 10**9),
        ({"least": "2"}, 10 * 10**9, 12 * 10**9),
    ],
)
def test_what_credits_cost_to_buy(given: object, credits: int, to_buy: int) -> None:  # noqa: A002 - the service's word
    """The fee is a share, and no less than the least; part of a nano-dollar is a whole one."""
    assert Fees.parse(given).to_buy(credits) == to_buy


@pytest.mark.parametrize("given", [5, {"percents": 5}, Fees(percent=Decimal(-1)), {"least": "nan"}, {"least": True}])
def test_what_is_no_fee_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"credit_fee|amount"):
        Fees.parse(given)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (None, None),
        ({}, None),
        ({"cost": 0, "prompt_tokens": 3, "completion_tokens": 4}, 0),
        ({"cost": "0.5", "prompt_tokens": 3, "completion_tokens": 4}, 5 * 10**8),
        ({"prompt_tokens": 3, "completion_tokens": 4}, 3_000 + 8_000),
        ({"cost": None, "prompt_tokens": 1, "completion_tokens": 0}, 1_000),
        ({"prompt_tokens": 0, "completion_tokens": 4}, None),
        ({"prompt_tokens": 3, "completion_tokens": -1}, None),
        ({"prompt_tokens": 3}, None),
        ({"completion_tokens": 4}, None),
        ({"prompt_tokens": "3", "completion_tokens": 4}, None),
        ({"prompt_tokens": 3, "completion_tokens": 4.0}, None),
        # Thoughts that are counted in the sum alone are paid for, and a sum that is too small says nothing.
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 10}, 3_000 + 14_000),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 5}, 3_000 + 8_000),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": "10"}, 3_000 + 8_000),
        ({"prompt_tokens": 10**9, "completion_tokens": 10**9}, 3 * 10**12),
        ({"prompt_tokens": 10**9 + 1, "completion_tokens": 4}, None),
        ({"prompt_tokens": 3, "completion_tokens": 10**9 + 1}, None),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 10**9 + 4}, None),
    ],
)
def test_what_an_answer_cost_by_its_tokens(usage: dict[str, Any] | None, cost: int | None) -> None:
    """A stated cost counts; else all its tokens at their price, however small the context; else nobody knows."""
    assert cost_of(usage, replace(PRICES, context=2), Need(), NOW) == cost


def test_tokens_without_prices_tell_no_cost() -> None:
    assert cost_of({"prompt_tokens": 3, "completion_tokens": 4}, None, Need(), NOW) is None


def test_what_a_request_held_beside_its_text_is_part_of_its_cost() -> None:
    """Pictures at their price, and all of the prompt at the price of sound, also where that is the lower one."""
    usage, dear = {"prompt_tokens": 3, "completion_tokens": 0}, replace(PRICES, image=Decimal(1), audio=Decimal(2))
    assert cost_of(usage, dear, Need(images=2), NOW) == 2 * NANO + 3_000
    assert cost_of(usage, dear, Need(sound=True), NOW) == 6 * NANO
    assert cost_of(usage, PRICES, Need(sound=True), NOW) == 3_000


@given(
    st.integers(0, 5_000),
    st.integers(0, 50_000_000),
    st.integers(1, 9_999),
    st.integers(0, 9_999),
    st.none() | st.integers(1, 9_000),
)
def test_as_many_tokens_are_affordable_as_fit(
    prompt: int, room: int, output: int, request: int, context: int | None
) -> None:
    """They cost no more than there is room for, and one token more would."""
    prices = Prices(Decimal("0.0000015"), Decimal(output) / 10**10, request=Decimal(request) / 10**7, context=context)
    tokens = affordable_tokens(prices, Need(prompt), room, NOW)
    assert tokens is not None
    assert tokens >= 0
    assert tokens == 0 or worst_case(prices, Need(prompt), tokens, NOW) <= room
    # What the prompt costs is rounded up by itself: less than the two roundings may be left.
    assert worst_case(prices, Need(prompt), tokens + 1, NOW) >= room


def test_where_output_costs_nothing_no_room_bounds_it() -> None:
    assert affordable_tokens(Prices(Decimal(1), Decimal(0)), Need(5), 0, NOW) is None


@pytest.mark.parametrize(
    ("left", "most", "bought"),
    [(None, None, 4096), (5000, None, 4096), (300, None, 300), (256, None, 256), (255, None, None), (255, 200, 200)],
)
def test_an_answer_gets_shorter_as_far_as_it_is_worth_its_prompt(
    left: int | None, most: int | None, bought: int | None
) -> None:
    """Below that the attempt is refused, where no less was wanted."""
    budget = Budget() if left is None else Budget(total=left / NANO)
    payments = Payments(MemoryStore(), (Pocket("project", "p", budget),), Need())
    held = payments.reserve("r", Prices(Decimal(0), 1 / NANO), most, NOW)
    if bought is None:
        assert isinstance(held, Shortfall)
        assert held.asked == LEAST_TOKENS == 256
    else:
        assert held == Held("r", bought)


@given(
    st.dictionaries(st.sampled_from(["call", "day", "month", "total"]), st.integers(1, 100)),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_a_lowered_budget_has_room_for_so_much_more(caps: dict[str, int], taken: int, amount: int) -> None:
    """No cap rises, and one of nothing would be none: it is a nano-dollar."""
    budget = Budget(**{f"per_{w}" if w != "total" else w: Decimal(cap) / NANO for w, cap in caps.items()})
    lowered = budget.lowered(dict.fromkeys(set(caps) - {"call"}, taken), amount)
    assert lowered.caps() == {w: cap if w == "call" else max(min(cap, taken + amount), 1) for w, cap in caps.items()}


@pytest.mark.parametrize(
    ("kind", "status", "sent", "spent"),
    [
        (Kind.OK, 200, True, 7),
        (Kind.OK, 206, True, 7),
        (Kind.ABANDONED, 200, True, 7),
        (Kind.ABANDONED, None, True, 7),
        (Kind.ABANDONED, None, False, 0),
        (Kind.OVERLOADED, 200, True, 7),
        (Kind.OVERLOADED, 503, True, 0),
        (Kind.UNREACHABLE, None, True, 0),
    ],
)
def test_only_what_was_refused_or_never_left_costs_nothing_where_nobody_says(
    kind: Kind,
    status: int | None,
    sent: bool,  # noqa: FBT001
    spent: int,
) -> None:
    payments = Payments(MemoryStore(), (Pocket("project", "p", Budget()),), Need(max_tokens=7))
    prices = Prices(Decimal(0), 1 / NANO)
    payments.reserve("r", prices, None, NOW)
    payments.settle("r", verdict(kind, status=status), None, prices, "", NOW, sent=sent)
    assert [(purse.spent_total, purse.reserved) for purse in payments.look(NOW)] == [(spent, 0)]


def test_a_cost_that_a_refusal_states_is_booked_as_any_other() -> None:
    payments = Payments(MemoryStore(), (Pocket("project", "p", Budget(total=10 / NANO)),), Need(max_tokens=8))
    payments.reserve("r", Prices(Decimal(0), 1 / NANO), None, NOW)
    told = payments.settle("r", verdict(Kind.OVERLOADED, status=503), {"cost": 7e-9}, None, "", NOW)
    assert [(one.window, one.percent) for one in told] == [("total", 50)]
    assert [(one.window, one.percent) for one in payments.book(1, NOW)] == [("total", 80)]
    assert [purse.spent_total for purse in payments.look(NOW)] == [8]


def test_who_asks_for_a_cost_again_is_told_what_nobody_knew_before() -> None:
    payments = Payments(MemoryStore(), (Pocket("project", "p", Budget()),), Need(max_tokens=8))
    payments.reserve("r", Prices(Decimal(0), 1 / NANO), None, NOW)
    payments.settle("r", verdict(Kind.ABANDONED, status=200), None, None, "gen", NOW)
    payments.reconcile("gen", None, NOW + 60)
    assert payments.disputed(NOW + 61) == ()
    assert payments.disputed(NOW + 61, again=True) == ("gen",) == payments.disputed(NOW + 120)


KEY = {"limit": 2.5, "limit_remaining": "0.1", "limit_reset": "monthly"}
LEFT = "$0.1 are left of the key's limit of $2.5"


@pytest.mark.parametrize(
    ("key", "credit", "funds", "said"),
    [
        (KEY, {}, Funds(None, 2_500_000_000, 100_000_000, "monthly"), f"{LEFT}, filled again monthly"),
        ({**KEY, "limit_reset": "a\x1b[2J"}, {}, Funds(None, 2_500_000_000, 100_000_000), LEFT),
        ({**KEY, "limit_reset": 3}, {}, Funds(None, 2_500_000_000, 100_000_000), LEFT),
        ({"limit": None, "limit_remaining": 1}, {}, Funds(key_left=10**9), ""),
        ({"limit": 1}, {}, Funds(key_limit=10**9), ""),
        ({}, {"total_credits": 10, "total_usage": "9.5"}, Funds(5 * 10**8), "the balance is $0.5"),
        ({}, {"total_credits": 10, "total_usage": 12}, Funds(-2 * 10**9), "the balance is -$2"),
        ({}, {"total_credits": 10, "total_usage": 10}, Funds(0), "the balance is $0"),
        ({}, {"total_credits": 10}, Funds(), ""),
        ({}, {"total_usage": 10}, Funds(), ""),
    ],
)
def test_what_is_left_of_an_account(key: object, credit: object, funds: Funds, said: str) -> None:
    """What one of the two pages does not tell is not known."""
    found = Funds.of({"data": key}, {"data": credit})
    assert (found, str(found)) == (funds, said)
