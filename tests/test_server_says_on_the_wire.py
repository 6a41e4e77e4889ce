"""What the server says badly, over the wire: a call waits, and a model rests, as long as can be meant."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, drive, make
from saying import HOUR, START, milliseconds, when

from langchain_openrouter_free import (
    AllModelsFailed,
    FreeQuotaExhausted,
)
from langchain_openrouter_free.books.quota import DAY
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.simulator.reply import Reply, encode
from langchain_openrouter_free.testing import FakeClock


def altered(sim: Simulator, edit: Callable[[Reply], None], statuses: tuple[int, ...] = (402, 429)) -> None:
    """Let each refusal (or answer) of the simulator pass through other hands, as a proxy's."""
    world = sim._service.world
    honest = world.answer

    def answer(request: Any) -> Reply:
        reply = honest(request)
        if reply.status in statuses:
            edit(reply)
        return reply

    world.answer = answer  # type: ignore[method-assign]


def told(headers: dict[str, str], inner: dict[str, Any] | None = None) -> Callable[[Reply], None]:
    """Replace what a refusal says of limits and waits."""

    def edit(reply: Reply) -> None:
        ours = {name: said for name, said in reply.headers.items() if not name.lower().startswith(("x-rate", "retry"))}
        reply.headers = {**ours, **headers}
        (raw,) = reply.steps
        whole = json.loads(raw)  # type: ignore[arg-type]
        whole["error"]["metadata"]["headers"] = inner or {}
        reply.steps = (encode(whole),)

    return edit


ON_THE_WIRE: dict[str, tuple[dict[str, str], dict[str, Any], float]] = {
    "a reset in the past": ({"X-RateLimit-Reset": milliseconds(-3600)}, {}, 36.5),
    "a reset in seconds": ({"X-RateLimit-Reset": str(int(START) + 30)}, {}, 31.5),
    "a reset in milliseconds": ({"X-RateLimit-Reset": milliseconds(30)}, {}, 31.5),
    "a relative reset": ({"X-RateLimit-Reset": "30"}, {}, 31.5),
    "a reset in two days": ({"X-RateLimit-Reset": milliseconds(2 * DAY)}, {}, 36.5),
    "a wait as a date": ({"Retry-After": when(30)}, {}, 31.5),
    "a wait as a float": ({"Retry-After": "29.5"}, {}, 31.0),
    "a wait in words": ({"Retry-After": "abc"}, {}, 36.5),
    "a wait of a million seconds": ({"Retry-After": "1000000"}, {}, 36.5),
    "a negative wait": ({"Retry-After": "-1"}, {}, 36.5),
    "an empty wait": ({"Retry-After": ""}, {}, 36.5),
    "a wait that is no number": ({"Retry-After": "nan"}, {}, 36.5),
    "an infinite wait": ({"Retry-After": "inf"}, {}, 36.5),
    "odd cases": ({"rEtRy-aFtEr": "30"}, {}, 31.5),
    "odd cases inside": ({}, {"x-rAtElImIt-ReSeT": milliseconds(30)}, 31.5),
    "a contradiction": ({"Retry-After": "20"}, {"X-RateLimit-Reset": milliseconds(30)}, 31.5),
    "a negative limit": ({"X-RateLimit-Limit": "-5"}, {}, 36.5),
    "a limit of nothing": ({"X-RateLimit-Limit": "0"}, {}, 36.5),
    "a limit in words": ({"X-RateLimit-Limit": "abc"}, {}, 36.5),
    "a limit beyond all": ({"X-RateLimit-Limit": "1e30"}, {}, 36.5),
}


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
@pytest.mark.parametrize("name", ON_THE_WIRE)
def test_the_account_waits_as_long_as_can_be_meant(name: str, path: str) -> None:
    """A minute's refusal with odd headers: one wait, at most until the minute's end, and then an answer."""
    headers, inner, slept = ON_THE_WIRE[name]
    clock = FakeClock(now=START)
    with Simulator(clock=clock.now) as sim:
        sim.script({TWENTY[0]: ["429-account-minute", "ok"]})
        altered(sim, told(headers, inner))
        model = make(sim, TWENTY[:2], clock=clock, max_wait=60)
        assert drive(model, path).outcomes == ["minute_limit", "ok"]
        assert clock.slept == [pytest.approx(slept)]
        assert asked(sim) == [TWENTY[0], TWENTY[0]]


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
@pytest.mark.parametrize("said", ["abc", "1000000", "-1", "", "nan", "inf", when(-30), when(365 * DAY)])
def test_a_model_rests_as_long_as_can_be_meant(said: str, path: str) -> None:
    """A provider's nonsense is as if it had said nothing: the model is tried again after five seconds."""
    clock = FakeClock(now=START)
    with Simulator(clock=clock.now) as sim:
        sim.script({TWENTY[0]: ["429-upstream", "ok"]})
        altered(sim, told({"Retry-After": said}, {"Retry-After": said}))
        model = make(sim, TWENTY[:2], clock=clock)
        assert drive(model, path).outcomes == ["upstream_limit", "ok"]
        clock.advance(6)
        assert drive(model, path).meta["route"]["model"] == TWENTY[0]


AT_ONCE: dict[str, dict[str, str]] = {
    "a wait of nothing": {"Retry-After": "0"},
    "a relative reset of nothing": {"X-RateLimit-Reset": "0"},
    "a reset at this moment": {"X-RateLimit-Reset": milliseconds(0)},
    "a wait of less than nothing to speak of": {"Retry-After": "0.000001"},
}


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
@pytest.mark.parametrize("refusal", ["429-account-minute", "402-in-flight"])
@pytest.mark.parametrize("name", AT_ONCE)
def test_a_wait_of_nothing_is_no_reason_to_hammer(name: str, refusal: str, path: str) -> None:
    """A server that says "now" and refuses again is asked a few times by one call, not without end."""
    clock = FakeClock(now=START)
    with Simulator(clock=clock.now) as sim:
        sim.script({"*": [{"do": refusal, "times": 60}, "ok"]})
        altered(sim, told(AT_ONCE[name], AT_ONCE[name]))
        with contextlib.suppress(AllModelsFailed):
            drive(make(sim, TWENTY[:2], clock=clock, max_wait=20), path)
        assert len(sim.chats()) <= 10


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_stated_limit_is_kept_for_the_day(path: str) -> None:
    """16 instead of 20: one refusal teaches it, no other minute sees a second one, and tomorrow 20 count again."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(per_minute=16), clock=clock.now) as sim:
        model = make(sim, TWENTY[:2], clock=clock, limits={"per_minute": 20}, max_wait=60)
        for _ in range(16 + 16 + 16):
            drive(model, path)
        assert [chat.status for chat in sim.chats()].count(429) == 1
        assert len(clock.slept) == 2
        sim.reset(Scenario(per_minute=20))
        clock.advance(DAY)
        clock.slept.clear()
        for _ in range(20):
            drive(model, path)
        assert clock.slept == []
        assert {chat.status for chat in sim.chats()} == {200}


# -- what an answer says of the quota

METERS: dict[str, tuple[dict[str, str], tuple[str, int] | None]] = {
    "a minute that is used up": ({"limit": "20", "remaining": "0", "reset": milliseconds(30)}, ("minute", 20)),
    "a day that is used up": ({"limit": "50", "remaining": "0", "reset": milliseconds(5 * HOUR)}, ("day", 50)),
    "a minute with room": ({"limit": "20", "remaining": "1", "reset": milliseconds(30)}, None),
    "a single model's minute": ({"limit": "8", "remaining": "0", "reset": milliseconds(30)}, None),
    "nothing of what is left": ({"limit": "20", "reset": milliseconds(30)}, None),
    "no reset": ({"limit": "20", "remaining": "0"}, None),
    "a reset in the past": ({"limit": "20", "remaining": "0", "reset": milliseconds(-30)}, None),
    "less than nothing left": ({"limit": "20", "remaining": "-1", "reset": milliseconds(30)}, None),
    "more left than there is": ({"limit": "20", "remaining": "21", "reset": milliseconds(30)}, None),
    "words": ({"limit": "many", "remaining": "few", "reset": "soon"}, None),
}


@pytest.mark.parametrize("case", METERS)
@pytest.mark.parametrize("path", PATHS)
def test_an_answer_that_counts_is_believed(path: str, case: str) -> None:
    """Others use the account too: what is left by the headers of an answer is all that there is."""
    headers, full = METERS[case]
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        said = {f"X-RateLimit-{name.title()}": value for name, value in headers.items()}
        altered(sim, lambda reply: reply.headers.update(said), (200,))
        model = make(sim, TWENTY[:2], clock=clock, max_wait=0)
        drive(model, path)
        if full is None:
            assert drive(model, path).text
            return
        with pytest.raises(FreeQuotaExhausted) as caught:
            drive(model, path)
        assert (caught.value.window, caught.value.limit) == full
        assert len(sim.chats()) == 1
