"""Which model is asked first: the user's order, measured speed, or both; unhealthy ones last."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, book_of, drive, make

from langchain_openrouter_free import AllModelsFailed, MemoryStore, RequestRejected
from langchain_openrouter_free.books.health import Health
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import Windows
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock

NOW = 1_790_000_000.0
WELL = Health(NOW, 10.0, 10.0, 1.0, 60.0)


def knowing(model: Any, health: dict[str, Health], used_today: int = 0) -> MemoryStore:
    """A store in which this model's account has measured that."""
    from langchain_openrouter_free.books import pages  # noqa: PLC0415
    from langchain_openrouter_free.request import settings  # noqa: PLC0415
    from langchain_openrouter_free.stores import PageRef  # noqa: PLC0415

    account = settings.account(model.api_key.get_secret_value(), settings.base_url(model.base_url))
    book = Ledger(health=health, windows=Windows(days={int(NOW // 86_400): used_today}))
    model.state.update(PageRef(f"account:{account}", pages.encode, pages.decode), lambda _: (book, None))
    assert isinstance(model.state, MemoryStore)
    return model.state


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_is_measured(sim: Simulator, path: str) -> None:
    """Its first token and its speed, by the wall; a failure counts as one."""
    sim.script({TWENTY[0]: "503", TWENTY[1]: {"do": "ok", "text": "word " * 40, "speed": 100}})
    store = MemoryStore()
    told = drive(make(sim, TWENTY[:2], state=store), path)
    health = book_of(store).health
    assert (health[TWENTY[0]].weight, health[TWENTY[0]].successes) == (1.0, 0.0)
    found = health[TWENTY[1]]
    assert (found.weight, found.successes) == (1.0, 1.0)
    assert found.first_token_s == pytest.approx(told.meta["route"]["attempts"][1]["first_token_s"], abs=0.05)
    assert found.tokens_per_s is not None
    assert 1 < found.tokens_per_s < 2000


@pytest.mark.parametrize("outcome", ["429-account-minute", "400-temperature", "404-tools", "403-moderation"])
def test_what_is_not_the_models_fault_does_not_count(sim: Simulator, outcome: str) -> None:
    """The account's limits and the request's own faults say nothing of the model."""
    sim.script({TWENTY[0]: outcome})
    store = MemoryStore()
    with contextlib.suppress(AllModelsFailed, RequestRejected):
        make(sim, TWENTY[:2], state=store, max_wait=0).invoke("hi")
    assert sim.chats()
    assert TWENTY[0] not in book_of(store).health


def test_ranked_skips_who_fails_nearly_always(sim: Simulator) -> None:
    """Four failures behind short stated waits: the model is asked last, until its bad hours may be over."""
    clock = FakeClock(NOW)
    sim.script({TWENTY[0]: {"do": "429-upstream", "retry_after": 1}})
    model = make(sim, TWENTY[:2], clock=clock)
    for _ in range(5):
        drive(model, "invoke")
        clock.advance(2)
    tries = asked(sim).count(TWENTY[0])
    assert tries == 4
    assert [drive(model, "invoke").outcomes for _ in range(10)] == [["ok"]] * 10, "not one request is wasted on it"
    clock.advance(3 * 3600)
    drive(model, "invoke")
    assert asked(sim).count(TWENTY[0]) == tries + 1, "it gets its chance"


def test_ranked_still_asks_the_unhealthy_when_nobody_else_answers(sim: Simulator) -> None:
    clock = FakeClock(NOW)
    sim.script({TWENTY[1]: "503"})
    model = make(sim, TWENTY[:2], clock=clock, state=MemoryStore())
    knowing(model, {TWENTY[0]: Health(NOW, 10.0, 0.0)})
    drive(model, "invoke")
    assert asked(sim) == [TWENTY[1], TWENTY[0]]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("strategy", "first"), [("ranked", 0), ("fastest", 1), ("adaptive", 1)])
def test_ten_times_faster_but_ranked_second(sim: Simulator, path: str, strategy: str, first: int) -> None:
    model = make(sim, TWENTY[:3], clock=FakeClock(NOW), strategy=strategy, chance=lambda: 0.5, state=MemoryStore())
    slow, fast = Health(NOW, 10.0, 10.0, 8.0, 12.0), Health(NOW, 10.0, 10.0, 0.8, 120.0)
    knowing(model, {TWENTY[0]: slow, TWENTY[1]: fast})
    drive(model, path)
    assert asked(sim) == [TWENTY[first]]


@pytest.mark.parametrize(
    ("used", "chance", "first"), [(0, 0.01, 2), (0, 0.5, 0), (30, 0.01, 0)], ids=["explores", "seldom", "scarce"]
)
def test_adaptive_explores_seldom_and_only_when_quota_is_plentiful(
    sim: Simulator, used: int, chance: float, first: int
) -> None:
    """The one of the others that was looked at least lately."""
    model = make(
        sim,
        TWENTY[:3],
        clock=FakeClock(NOW),
        strategy="adaptive",
        chance=lambda: chance,
        limits={"per_day": 50},
        state=MemoryStore(),
    )
    knowing(model, {TWENTY[0]: WELL, TWENTY[1]: WELL}, used_today=used)
    drive(model, "invoke")
    assert asked(sim) == [TWENTY[first]]


@pytest.mark.parametrize("path", PATHS)
def test_adaptive_looks_at_one_other_model_in_a_call(sim: Simulator, path: str) -> None:
    """Where that one fails, the best is next: a look costs one request, not one for each model never measured."""
    sim.script(dict.fromkeys(TWENTY[1:5], "503"))
    model = make(
        sim, TWENTY[:5], clock=FakeClock(NOW), strategy="adaptive", chance=lambda: 0.0, state=MemoryStore(), max_wait=0
    )
    knowing(model, {TWENTY[0]: WELL})
    order = model.explain("hi").order
    assert order[:2] == (TWENTY[1], TWENTY[0])
    drive(model, path)
    assert asked(sim) == [*order[:2]]
