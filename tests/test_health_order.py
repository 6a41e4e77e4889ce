"""The order in which models are asked, as it follows from what is remembered of them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from health_helpers import MODELS, ONE_DAY, SICK, START, UNKNOWN, WELL, books, models_asked, moments, remembered
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free.books.health import EXPLORE, HALF_LIFE, Health, Strategy, ordered
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.judging.verdicts import POLICIES, Kind, verdict


@given(
    models=models_asked,
    health=books,
    strategy=st.sampled_from(Strategy),
    now=moments,
    chance=st.floats(0, 1, exclude_max=True),
    plentiful=st.booleans(),
    ill=st.sets(st.sampled_from([*MODELS, "other:free"])),
)
def test_everyone_is_asked_once_and_the_unhealthy_last(
    *,
    models: list[str],
    health: dict[str, Health],
    strategy: Strategy,
    now: float,
    chance: float,
    plentiful: bool,
    ill: set[str],
) -> None:
    """The order is a permutation, with the unhealthy behind all others."""
    health |= dict.fromkeys(ill, SICK)
    before = dict(health)
    order = ordered(models, health, strategy, now, chance=chance, plentiful=plentiful)
    assert sorted(order) == list(range(len(models)))
    skipped = [models[i] in health and health[models[i]].unhealthy(now) for i in order]
    assert skipped == sorted(skipped)
    assert health == before


@given(models_asked, books, moments, st.sets(st.sampled_from(MODELS)))
def test_ranked_is_the_users_order(models: list[str], health: dict[str, Health], now: float, ill: set[str]) -> None:
    """Whatever was measured, ranks are kept; the unhealthy follow in theirs."""
    health = {m: known for m, known in health.items() if not known.unhealthy(now)}
    assert ordered(models, health, Strategy.RANKED, now, chance=0.0, plentiful=True) == list(range(len(models)))
    health |= dict.fromkeys(ill, SICK)
    behind = {i for i, m in enumerate(models) if m in health and health[m].unhealthy(now)}
    expected = [i for i in range(len(models)) if i not in behind] + sorted(behind)
    assert ordered(models, health, Strategy.RANKED, now) == expected


@given(models_asked, books, moments)
def test_fastest_asks_by_the_seconds_expected(models: list[str], health: dict[str, Health], now: float) -> None:
    """No healthy model stands before one that is expected to answer a tenth sooner; equals stand by rank."""
    order = ordered(models, health, Strategy.FASTEST, now)
    known = [health.get(m, UNKNOWN) for m in models]
    keys = [(known[i].unhealthy(now), int(10 * known[i].expected_seconds(now) + 0.5), i) for i in order]
    assert all(a < b for a, b in pairwise(keys))


def test_a_failure_of_yesterday_does_not_overrule_the_rank() -> None:
    """A trace of a memory makes no difference that anybody feels."""
    health = {"a": remembered(*[False] * 3, first_token_s=1.0)}
    assert ordered(["a", "b"], health, Strategy.FASTEST, START) == [1, 0]
    assert ordered(["a", "b"], health, Strategy.FASTEST, START + 5 * 3600) == [0, 1]


@given(models_asked.filter(bool), books, moments, st.data())
def test_adaptive_never_punishes_an_answer_nor_rewards_a_failure(
    models: list[str], health: dict[str, Health], now: float, data: st.DataObject
) -> None:
    """One more outcome moves a model of unmeasured speed only in the direction that it deserves."""
    index = data.draw(st.integers(0, len(models) - 1))
    model = models[index]
    seen = health.get(model, UNKNOWN)
    health[model] = seen = Health(seen.at, seen.weight, seen.successes)
    place = ordered(models, health, Strategy.ADAPTIVE, now).index(index)
    better = {**health, model: seen.noted(ok=True, now=now)}
    worse = {**health, model: seen.noted(ok=False, now=now)}
    # An answer may also end a model's being unhealthy; a lone attempt more cannot begin it by an answer.
    if not better[model].unhealthy(now) or seen.unhealthy(now):
        assert ordered(models, better, Strategy.ADAPTIVE, now).index(index) <= place
    assert ordered(models, worse, Strategy.ADAPTIVE, now).index(index) >= place


SILLY = [Kind.EMPTY, Kind.ONLY_THOUGHTS, Kind.NO_CHOICES, Kind.FINISH_ERROR, Kind.CALLS_MISSING, Kind.UNKNOWN_TOOL]
SILLY += [Kind.BAD_ARGUMENTS, Kind.WRONG_ARGUMENTS]


@pytest.mark.parametrize("kind", Kind)
def test_who_answers_nonsense_is_skipped_and_who_is_unfit_is_not(kind: Kind) -> None:
    """Nonsense cools nobody down, so only the health can tell; what is the request's or the account's is not in it."""
    book = Ledger()
    for _ in range(5):
        book = book.settled("m", verdict(kind), START)
    failed = kind in SILLY or (POLICIES[kind].cools and kind not in (Kind.DELISTED, Kind.CLOSED, Kind.REGION))
    assert book.health.get("m", UNKNOWN).unhealthy(START) is failed


def test_nobody_to_ask_and_nothing_known() -> None:
    for strategy in Strategy:
        assert ordered([], {"m": SICK}, strategy, START, chance=0.0, plentiful=True) == []
        assert ordered(["m"], {"m": SICK}, strategy, START, chance=0.0, plentiful=True) == [0]
        assert ordered(MODELS, {}, strategy, START) == list(range(6))
        assert ordered(MODELS, dict.fromkeys(MODELS, SICK), strategy, START) == list(range(6))


@pytest.mark.parametrize(("strategy", "first"), [(Strategy.RANKED, 0), (Strategy.FASTEST, 1), (Strategy.ADAPTIVE, 1)])
def test_ten_times_faster_but_ranked_second(strategy: Strategy, first: int) -> None:
    """Speed wins where it was asked for, and never against the user's own order."""
    slow = remembered(*[True] * 5, first_token_s=4.0, tokens_per_s=25.0)
    fast = remembered(*[True] * 5, first_token_s=0.4, tokens_per_s=250.0)
    assert ordered(["slow", "fast"], {"slow": slow, "fast": fast}, strategy, START)[0] == first


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (remembered(True, True), remembered(True, True, True), 0),  # a little more sure: the rank decides
        (remembered(False), UNKNOWN, 1),  # more than a ninth less reliable
        (remembered(False), remembered(False), 0),
        (remembered(*[True] * 9, first_token_s=2.2), remembered(*[True] * 9, first_token_s=2.0), 0),
        (remembered(*[True] * 9, first_token_s=9.0), remembered(*[True] * 9, first_token_s=2.0), 1),
        # A seventh less time is felt less than a rank.
        (remembered(*[True] * 99), remembered(*[True] * 99, first_token_s=0.85), 0),
        # Twice as fast makes not good for half the answers.
        (remembered(*[True] * 9), remembered(*[True, False] * 5, first_token_s=1.0, tokens_per_s=100.0), 0),
    ],
)
def test_what_adaptive_weighs(first: Health, second: Health, expected: int) -> None:
    assert ordered(["a", "b"], {"a": first, "b": second}, Strategy.ADAPTIVE, START)[0] == expected


# -- exploring

CHANCES = [n / 2000 for n in range(2000)]


def first_asked(health: dict[str, Health], strategy: Strategy = Strategy.ADAPTIVE, *, plentiful: bool = True) -> Any:
    """Who is asked first at each of many evenly spread chances."""
    return [ordered(MODELS, health, strategy, START, chance=c, plentiful=plentiful)[0] for c in CHANCES]


def test_adaptive_explores_as_seldom_as_it_says() -> None:
    """One time in twenty another model goes first, and each of the healthy ones gets its turn."""
    health = {MODELS[2]: SICK, MODELS[0]: WELL, MODELS[3]: WELL}
    asked = first_asked(health)
    others = [index for index in asked if index != 0]
    assert len(others) == EXPLORE * len(CHANCES)
    assert set(others) == {1, 3, 4, 5}, "never the unhealthy one"
    # Models 1, 4 and 5 were never noted, so each is looked at sooner than model 3.
    assert others.count(1) == max(others.count(n) for n in (1, 3, 4, 5))
    assert others.count(3) == min(others.count(n) for n in (1, 3, 4, 5))


def test_nothing_is_explored_without_leave() -> None:
    """Not where quota is short, nor by a strategy that does not explore, nor by default."""
    assert set(first_asked({}, plentiful=False)) == {0}
    assert set(first_asked({}, Strategy.RANKED)) == {0}
    assert set(first_asked({}, Strategy.FASTEST)) == {0}
    assert ordered(MODELS, {}, Strategy.ADAPTIVE, START, plentiful=True) == list(range(6))
    alone = dict.fromkeys(MODELS[1:], SICK)
    assert set(first_asked(alone)) == {0}, "there is no other healthy one"


def test_exploring_moves_one_model_only() -> None:
    """Behind the one that goes first, the order is what it would have been."""
    usual = ordered(MODELS, {}, Strategy.ADAPTIVE, START)
    for chance in (0.0, 0.02, math.nextafter(EXPLORE, 0.0)):
        order = ordered(MODELS, {}, Strategy.ADAPTIVE, START, chance=chance, plentiful=True)
        assert order[0] != usual[0]
        assert order[1:] == [index for index in usual if index != order[0]]
    assert ordered(MODELS, {}, Strategy.ADAPTIVE, START, chance=EXPLORE, plentiful=True) == usual


# -- a story


@pytest.mark.parametrize("strategy", Strategy)
def test_a_bad_hour_costs_few_requests_and_is_forgiven(strategy: Strategy) -> None:
    """The best model fails 19 of 20 times for an hour: it is put last, and later comes back for good."""
    health: dict[str, Health] = dict.fromkeys(MODELS, remembered(*[True] * 6, at=START - 4 * 3600))
    asked_first: list[tuple[float, int]] = []
    attempts = 0
    for turn in range(180):  # one call a minute, three hours long
        now = START + 60.0 * turn
        order = ordered(MODELS, health, strategy, now)
        asked_first.append((now - START, order[0]))
        for index in order:
            attempts += index == 0
            ok = index != 0 or now >= START + 3600 or attempts % 20 == 0
            health[MODELS[index]] = health[MODELS[index]].noted(ok=ok, now=now)
            if ok:
                break
        if turn == 10:
            # The other two turn away before enough has failed to call it unhealthy.
            assert ordered(MODELS, health, strategy, now).index(0) >= (5 if strategy is Strategy.RANKED else 1)
    wasted = sum(1 for at, first in asked_first if first == 0 and at < 3600)
    assert wasted <= 12, "not sixty"
    if strategy is Strategy.RANKED:
        back = next(at for at, first in asked_first if first == 0 and at >= 3600)
        assert back <= 3600 + HALF_LIFE
        assert all(first == 0 for at, first in asked_first if at >= back)


def test_without_a_router_the_chance_comes_back_too() -> None:
    """After an hour of failures, nobody asks; the memory fades and the user's order is law again."""
    known = UNKNOWN
    for turn in range(20):
        known = known.noted(ok=turn == 9, now=START + 180 * turn)
    end = START + 3600
    for strategy in Strategy:
        assert ordered(MODELS, {MODELS[0]: known}, strategy, end) == [1, 2, 3, 4, 5, 0]
    # Eleven failures are remembered: after one half-life still more than four, after two no longer.
    assert ordered(MODELS, {MODELS[0]: known}, Strategy.RANKED, end + HALF_LIFE) == [1, 2, 3, 4, 5, 0]
    assert ordered(MODELS, {MODELS[0]: known}, Strategy.RANKED, end + 2 * HALF_LIFE) == [0, 1, 2, 3, 4, 5]
    for strategy in Strategy:
        assert ordered(MODELS, {MODELS[0]: known}, strategy, end + ONE_DAY) == [0, 1, 2, 3, 4, 5]
