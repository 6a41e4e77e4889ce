"""When nobody has answered: who said when to come back is waited for, within `max_wait`, and asked once more."""

from __future__ import annotations

from typing import Any

import pytest
from driving import PATHS, TWENTY, drive, make

from langchain_openrouter_free import AllModelsFailed, FreeQuotaExhausted
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.testing import FakeClock

NOW = 1_790_000_001.0
PAID = "simulated/paid-small"
PAYS = {"allow_paid": True, "paid_models": [PAID], "budget": 1.0}


def limited(seconds: float) -> dict[str, Any]:
    return {"do": "429-upstream", "retry_after": seconds}


# What each model says in turn, and what else is set -> who is asked, whether one answers, how long is waited.
STORIES: dict[str, tuple[list[list[Any]], dict[str, Any], str, float]] = {
    "the only one": ([[limited(5), "ok"]], {}, "0 0 ok", 5),
    "the first to come back": ([[limited(12), "ok"], [limited(4), "ok"], [limited(8), "ok"]], {}, "0 1 2 1 ok", 4),
    "by its rank among equals": ([[limited(5), "ok"], [limited(5), "ok"]], {}, "0 1 0 ok", 5),
    "once in a call": ([[limited(5)] * 9, [limited(6)] * 9], {}, "0 1 0 -", 5),
    "none without a moment": ([["429-upstream", "ok"], ["503", "ok"]], {}, "0 1 -", 0),
    "only who named one": ([["503", "ok"], [limited(7), "ok"]], {}, "0 1 1 ok", 7),
    "too late": ([[limited(21), "ok"]], {}, "0 -", 0),
    "no patience": ([[limited(5), "ok"]], {"max_wait": 0}, "0 -", 0),
    "little time": ([[limited(5), "ok"]], {"timeouts": {"call": 4}}, "0 -", 0),
    "what another is waited for counts": ([[limited(15)] * 2, [limited(9), "503"]], {"max_wait": 10}, "0 1 1 -", 9),
    "no request of the day left": ([[limited(5), "ok"]], {"limits": {"per_day": 1}}, "0 -", 0),
    "none of the minute by then": ([[limited(5), "ok"]], {"limits": {"per_minute": 1}}, "0 -", 0),
    "one of the next minute": ([[limited(45), "ok"]], {"limits": {"per_minute": 1}, "max_wait": 50}, "0 0 ok", 45),
    "pays first": ([[limited(5), "ok"]], PAYS, "0 paid ok", 0),
    "after the paid ones": ([[limited(5), "ok"], []], PAYS | {"paid": "503"}, "0 paid 0 ok", 5),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("story", STORIES)
def test_who_comes_back_in_time(story: str, path: str) -> None:
    says, how, expected, waited = STORIES[story]
    clock, settings = FakeClock(NOW), dict(how)
    with Simulator(Scenario(), clock=clock.now) as sim:
        models = TWENTY[: sum(map(bool, says))]
        sim.script({PAID: [settings.pop("paid", "ok")] * 9, **dict(zip(models, says, strict=False))})
        router = make(sim, models, clock=clock, **settings)
        try:
            ending = drive(router, path).outcomes[-1]
        except AllModelsFailed:
            ending = "-"
        asked = [chat.body["model"] for chat in sim.chats()]
    told = [str(models.index(model)) if model in models else "paid" for model in asked]
    assert " ".join([*told, ending]) == expected
    assert clock.now() - NOW == pytest.approx(waited, abs=1e-3)


@pytest.mark.parametrize("path", PATHS)
def test_nobody_waits_for_a_model_without_a_request_for_it(path: str) -> None:
    clock = FakeClock(NOW)
    with Simulator(Scenario(), clock=clock.now) as sim:
        sim.script({TWENTY[0]: limited(5)})
        router = make(sim, TWENTY[:1], clock=clock, limits={"per_day": 1}, max_wait=0)
        with pytest.raises(AllModelsFailed):
            drive(router, path)
        with pytest.raises(FreeQuotaExhausted):
            drive(router.model_copy(update={"max_wait": 20}), path)
    assert clock.now() == NOW
