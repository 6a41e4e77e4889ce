"""Every fault, over every call path, against the simulator on a real socket."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from driving import PATHS, TWENTY, Told, asked, drive, make
from test_hostile_server import router, serving

from langchain_openrouter_free import (
    AllModelsFailed,
    AuthenticationFailed,
    ContextTooLong,
    FreeQuotaExhausted,
    InsufficientCredits,
    NoSuitableModel,
    OpenRouterFreeError,
    RequestRejected,
    StreamInterrupted,
)
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.testing import FakeClock

# Faults after which the next model is asked, and what the route calls them.
MOVES_ON = {
    "429-upstream": "upstream_limit",
    "429-upstream-raw": "upstream_limit",
    "429-upstream-message": "upstream_limit",
    "429-model-rpm": "model_limit",
    "429-model-rpd": "model_limit",
    "404-delisted": "delisted",
    "404-unavailable-for-free": "delisted",
    "404-deprecated": "delisted",
    "404-tombstone": "delisted",
    "400-invalid-id": "delisted",
    "403-harness": "closed",
    "403-region": "region",
    "403-moderation": "moderated",
    "404-policy": "policy",
    "404-guardrail": "policy",
    "404-tools": "unfit",
    "404-image": "unfit",
    "404-parameters": "unfit",
    "404-max-price": "unfit",
    "404-providers-funnel": "unfit",
    "404-provider": "broken",
    "400-context": "too_long",
    "400-system-role": "incompatible",
    "400-tool-order": "incompatible",
    "408": "timed_out",
    "500": "broken",
    "502": "broken",
    "502-html": "broken",
    "503": "overloaded",
    "503-no-backends": "overloaded",
    "520": "broken",
    "522": "timed_out",
    "524": "timed_out",
    "524-html": "timed_out",
    "529": "overloaded",
    "200-error": "broken",
    "200-error-429": "upstream_limit",
    "200-choices-null": "no_choices",
    "200-no-choices": "no_choices",
    "200-empty": "empty",
    "200-empty-string": "empty",
    "200-finish-error": "finish_error",
    "200-html": "broken",
    "200-not-json": "cut",
    "refuse": "cut",
    "reset": "cut",
    "error-chunk": "broken",
}
# Faults that take time: the model is silent, and only a deadline tells.
HANGS = ["hang-before-headers", "hang-after-headers", "drip"]
# Faults in the middle of the words.
STALL = pytest.param("stall", marks=pytest.mark.wall_clock)
MIDWAY = ["cut", "cut-clean", "200-truncated-json", "error-chunk-after", "error-chunk-choice", STALL]
QUICK = {"connect": 2, "first_token": 0.3, "stall": 0.3, "attempt": 5, "call": 30}


pytestmark = pytest.mark.one_simulator


def check_answer(told: Told, model: str) -> None:
    """The answer is one model's, whole, and the trail says so."""
    assert told.meta["route"]["model"] == model
    assert told.meta["model_name"] == model
    assert model in told.text
    assert sum(told.text.count(other) for other in TWENTY) == told.text.count(model)


@pytest.mark.parametrize("path", PATHS)
def test_first_model_answers(sim: Simulator, path: str) -> None:
    """With everybody well, the first model answers with one request."""
    told = drive(make(sim, TWENTY), path)
    check_answer(told, TWENTY[0])
    assert asked(sim) == [TWENTY[0]]
    assert told.outcomes == ["ok"]
    route = told.meta["route"]
    assert route["paid"] is False
    assert route["cost"] == 0
    assert route["waited_s"] == 0
    assert route["attempts"][0]["first_token_s"] <= route["attempts"][0]["seconds"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fault", MOVES_ON)
def test_first_k_of_twenty_die(sim: Simulator, fault: str, path: str) -> None:
    """When the first k of 20 die by a fault, the next one answers, and each was asked once."""
    # All but the last on one path for each fault, and on each path for a fourth of the faults.
    all_but_one = PATHS[list(MOVES_ON).index(fault) % len(PATHS)] == path
    for k in (1, 4, 19) if all_but_one else (1, 4):
        sim.reset(Scenario())
        sim.script(dict.fromkeys(TWENTY[:k], fault))
        told = drive(make(sim, TWENTY), path)
        check_answer(told, TWENTY[k])
        assert asked(sim) == TWENTY[: k + 1]
        assert told.outcomes == [MOVES_ON[fault]] * k + ["ok"]


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fault", HANGS)
def test_first_k_of_twenty_hang(sim: Simulator, fault: str, path: str) -> None:
    """Silence, and comments that keep a dead stream alive, end at the first-token deadline."""
    sim.script(dict.fromkeys(TWENTY[:2], fault))
    began = time.monotonic()
    told = drive(make(sim, TWENTY, timeouts=QUICK), path)
    check_answer(told, TWENTY[2])
    assert told.outcomes == ["timed_out"] * 2 + ["ok"]
    assert time.monotonic() - began < 8  # without the deadline: for ever


@pytest.mark.wall_clock
@pytest.mark.parametrize("wire", ["stream", "plain"])
@pytest.mark.parametrize("path", PATHS)
def test_a_timeout_is_kept_to_the_tenth(sim: Simulator, path: str, wire: str) -> None:
    """A timeout of 0.4 s against comments for ever lasts 0.4 s, streamed or not, and not one comment longer."""
    sim.script({"*": {"do": "drip", "interval": 0.05}})
    began = time.monotonic()
    with pytest.raises(AllModelsFailed) as caught:
        drive(make(sim, TWENTY[:1], timeout=0.4, wire=wire), path)
    assert 0.4 <= time.monotonic() - began < 1.5  # the machine may be busy; a comment comes every 0.05 s
    assert caught.value.attempts[0].outcome == "timed_out"
    assert "attempt" in caught.value.attempts[0].reason


@pytest.mark.parametrize("path", PATHS)
def test_timeouts_can_be_lifted(sim: Simulator, path: str) -> None:
    """None means no limit, for each of them; so does a number of seconds that no float holds."""
    for limit in (None, 10**400):
        none = dict.fromkeys(("connect", "first_token", "stall", "attempt", "call"), limit)
        assert drive(make(sim, timeouts=none), path).outcomes == ["ok"]


@pytest.mark.parametrize("path", PATHS)
def test_a_call_may_wait_for_as_long_as_no_float_holds(sim: Simulator, path: str) -> None:
    assert drive(make(sim), path, max_wait=10**400).outcomes == ["ok"]


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_plain_reply_may_take_longer_than_a_first_token(sim: Simulator, path: str) -> None:
    """Asked for one plain reply, a model that thinks is not taken for dead by the first-token deadline."""
    sim.script({"*": {"do": "ok", "latency": 0.4, "padding": 2}})
    told = drive(make(sim, timeouts={"first_token": 0.1}, wire="plain"), path)
    assert told.outcomes == ["ok"]


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
@pytest.mark.parametrize("fault", MIDWAY)
def test_a_broken_answer_is_dropped_whole(sim: Simulator, fault: str, path: str) -> None:
    """Without streaming to the caller, a half answer is thrown away and the next model starts over."""
    sim.script({TWENTY[0]: {"do": fault, "after": 2}})
    told = drive(make(sim, TWENTY, timeouts=QUICK), path)
    check_answer(told, TWENTY[1])
    assert len(told.outcomes) == 2


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", ["stream", "astream"])
@pytest.mark.parametrize("fault", MIDWAY)
def test_a_broken_stream_is_never_spliced(sim: Simulator, fault: str, path: str) -> None:
    """After the first words a failure is final: StreamInterrupted with what came, and no other model is asked."""
    # One by one: words that arrive together with the failure are dropped with it, unseen.
    sim.script({TWENTY[0]: {"do": fault, "after": 2, "speed": 30}})
    told = Told()
    with pytest.raises(StreamInterrupted) as caught:
        drive(make(sim, TWENTY, timeouts=QUICK), path, told=told)
    assert told.text
    assert caught.value.partial == told.text
    assert caught.value.model == TWENTY[0]
    assert caught.value.attempts[-1].outcome in ("cut", "broken", "timed_out")
    assert asked(sim) == [TWENTY[0]]


@pytest.mark.parametrize("path", PATHS)
def test_thinking_that_ate_the_tokens(sim: Simulator, path: str) -> None:
    """All tokens spent on thinking, twice: the next model is asked, unless the thoughts have reached the caller."""
    sim.script({TWENTY[0]: "200-length-thinking"})
    if path in ("invoke", "ainvoke"):
        assert drive(make(sim, TWENTY), path).outcomes == ["spent", "spent", "ok"]
    else:
        with pytest.raises(StreamInterrupted, match="thinking"):
            drive(make(sim, TWENTY), path)


@pytest.mark.parametrize("path", PATHS)
def test_announced_tool_calls_that_are_missing(sim: Simulator, path: str) -> None:
    """Words are an answer, even if the finish reason announced calls; nothing earned is thrown away."""
    sim.script({TWENTY[0]: "200-tool-calls-missing"})
    assert drive(make(sim, TWENTY), path).outcomes == ["ok"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fault", ["500", "429-upstream", "refuse", "200-empty"])
def test_all_die(sim: Simulator, fault: str, path: str) -> None:
    """When all twenty die, the error tells each attempt with its reason, status and seconds."""
    sim.script({"*": fault})
    with pytest.raises(AllModelsFailed) as caught:
        drive(make(sim, TWENTY), path)
    assert asked(sim) == TWENTY
    assert [record.model for record in caught.value.attempts] == TWENTY
    assert all(record.reason and record.seconds >= 0 for record in caught.value.attempts)
    assert all(model in str(caught.value) for model in TWENTY)
    assert caught.value.is_retryable


@pytest.mark.parametrize("path", PATHS)
def test_a_key_that_may_not_do_this(path: str) -> None:
    """Two models say so and it is the key's: nobody else is asked, and asking again is of no use."""
    refused = (403, {"Content-Type": "application/json"}, b'{"error": {"code": 403, "message": "Not with this key"}}')
    with serving(lambda _: refused) as server, pytest.raises(AuthenticationFailed, match="Not with this key") as caught:
        drive(router(server, models=TWENTY), path)
    assert (server.models, caught.value.is_retryable) == (TWENTY[:2], False)
    assert [record.outcome for record in caught.value.attempts] == ["forbidden"] * 2


@pytest.mark.parametrize("path", PATHS)
def test_what_every_filter_refuses_is_not_asked_again(sim: Simulator, path: str) -> None:
    """Whoever retries others' errors leaves this one alone: each time would cost a request of each model."""
    sim.script({"*": "403-moderation"})
    with pytest.raises(NoSuitableModel, match="refused the content") as caught:
        drive(make(sim, TWENTY[:3]), path)
    assert not caught.value.is_retryable


STOPS: list[tuple[str, type[OpenRouterFreeError]]] = [
    ("429-account-day", FreeQuotaExhausted),
    ("429-account-day-1000", FreeQuotaExhausted),
    ("401", AuthenticationFailed),
    ("401-missing", AuthenticationFailed),
    ("402-credits", InsufficientCredits),
    ("402-prompt-tokens", InsufficientCredits),
    ("403-key-limit", InsufficientCredits),
    ("403-guardrail", RequestRejected),
    ("400-schema", RequestRejected),
    ("400-tool-schema", RequestRejected),
    ("400-tool-choice", RequestRejected),
    ("400-temperature", RequestRejected),
    ("400-no-input", RequestRejected),
    ("413", RequestRejected),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("fault", "error"), STOPS, ids=[fault for fault, _ in STOPS])
def test_one_request_then_a_typed_error(
    sim: Simulator, fault: str, error: type[OpenRouterFreeError], path: str
) -> None:
    """What concerns every model is said by the first: one request, then the precise error."""
    sim.script({"*": fault})
    with pytest.raises(error) as caught:
        drive(make(sim, TWENTY), path)
    assert asked(sim) == TWENTY[:1]
    assert [record.model for record in caught.value.attempts] == TWENTY[:1]


@pytest.mark.parametrize("path", PATHS)
def test_a_spent_day_costs_one_request_and_then_none(sim: Simulator, path: str) -> None:
    """The account's spent day is learned once: the next call knows it without asking."""
    clock = FakeClock()
    with Simulator(Scenario(per_minute=20, per_day=0), clock=clock.now) as strict:
        model = make(strict, TWENTY[:5], clock=clock)
        for expected in (1, 1):
            with pytest.raises(FreeQuotaExhausted) as caught:
                drive(model, path)
            assert len(strict.chats()) == expected
        assert caught.value.window == "day"
        assert caught.value.reset_at == pytest.approx((clock.now() // 86400 + 1) * 86400)
        assert not caught.value.is_retryable
        assert clock.slept == []


@pytest.mark.parametrize("path", PATHS)
def test_a_spent_minute_is_waited_out(sim: Simulator, path: str) -> None:
    """A minute that turns within max_wait is waited for, and the same model answers."""
    clock = FakeClock(now=1_790_000_035.0)
    with Simulator(Scenario(per_minute=2, per_day=50), clock=clock.now) as strict:
        model = make(strict, TWENTY[:5], clock=clock)
        for _ in range(2):
            drive(model, path)
        told = drive(model, path)
        assert told.outcomes == ["minute_limit", "ok"]
        assert asked(strict) == [TWENTY[0]] * 4
        assert clock.slept == [pytest.approx(6.5)], "the minute, and a moment for what clocks differ"
        assert told.meta["route"]["waited_s"] == pytest.approx(6.5)


@pytest.mark.parametrize("path", PATHS)
def test_a_minute_too_far_away_is_an_error_at_once(sim: Simulator, path: str) -> None:
    """A minute that turns later than max_wait raises FreeQuotaExhausted without a sleep."""
    clock = FakeClock(now=1_790_000_001.0)
    with Simulator(Scenario(per_minute=0, per_day=50), clock=clock.now) as strict:
        with pytest.raises(FreeQuotaExhausted) as caught:
            drive(make(strict, TWENTY[:5], clock=clock, max_wait=5), path)
        assert caught.value.window == "minute"
        assert caught.value.is_retryable
        assert len(strict.chats()) == 1
        assert clock.slept == []


@pytest.mark.parametrize("path", PATHS)
def test_account_limits_hidden_behind_another_error(sim: Simulator, path: str) -> None:
    """An outer 400 with account 429s inside is the account's: no second model is asked."""
    sim.script({"*": "429-previous-account"})
    with pytest.raises(FreeQuotaExhausted):
        drive(make(sim, TWENTY, max_wait=0), path)
    assert len(sim.chats()) == 1


@pytest.mark.parametrize("fault", ["429-empty", "429-generic"])
def test_a_429_that_says_nothing_is_the_accounts_when_a_second_model_says_it(sim: Simulator, fault: str) -> None:
    """One such 429 cools its model; a second model's, seconds later, stops the walk."""
    sim.script({"*": fault})
    with pytest.raises(FreeQuotaExhausted):
        make(sim, TWENTY, max_wait=0, clock=FakeClock()).invoke("hi")
    assert len(sim.chats()) == 2
    sim.reset(Scenario())
    sim.script({TWENTY[0]: fault})
    assert make(sim, TWENTY).invoke("hi").response_metadata["route"]["model"] == TWENTY[1]


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_between_two_429_that_say_nothing(sim: Simulator, path: str) -> None:
    """It shows that the account is open: each of them is its model's, and the next one is asked."""
    sim.script({TWENTY[0]: "429-generic", TWENTY[1]: ["ok", "429-generic"]})
    model = make(sim, clock=FakeClock(), max_wait=0, sticky=False)
    assert [drive(model, path).outcomes for _ in range(2)] == [["rate_limit", "ok"]] * 2


@pytest.mark.parametrize("fault", ["400-unknown-raw", "422"])
def test_two_refusals_in_unknown_words_are_the_requests(sim: Simulator, fault: str) -> None:
    """A provider's unexplained refusal is believed when a second model says the same."""
    sim.script({"*": fault})
    with pytest.raises(RequestRejected):
        make(sim, TWENTY).invoke("hi")
    assert len(sim.chats()) == 2


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("404-tools", NoSuitableModel, "can take this request"),
        ("404-policy", NoSuitableModel, "privacy settings"),
        ("404-delisted", NoSuitableModel, "Check the ids"),
        ("400-context", ContextTooLong, "too long"),
    ],
)
def test_nobody_can_do_it(sim: Simulator, fault: str, error: type[OpenRouterFreeError], words: str) -> None:
    """If each model says that it cannot do this request, the error says so, and what to change."""
    sim.script({"*": fault})
    with pytest.raises(error, match=words):
        make(sim, TWENTY[:3]).invoke("hi")
    assert len(sim.chats()) == 3


def test_an_unreachable_service_is_not_asked_twenty_times() -> None:
    """Three refused connections in a row are enough to know."""
    with Simulator() as gone:
        model = make(gone, TWENTY)
    with pytest.raises(AllModelsFailed) as caught:
        model.invoke("hi")
    assert len(caught.value.attempts) == 3
    assert {record.outcome for record in caught.value.attempts} == {"unreachable"}


def test_a_web_page_instead_of_the_api(sim: Simulator) -> None:
    """A wrong path in base_url is told as what it is, after one request."""
    model = make(sim)
    model = model.model_copy(update={"base_url": sim.base_url.replace("/api/v1", "/api/v7")})
    with pytest.raises(RequestRejected, match="base_url"):
        model.invoke("hi")
    assert [one.method for one in sim.received] == ["GET", "GET", "POST"], "two lists of models, and one attempt"


# -- cancelled in the middle


def _closed_within(sim: Simulator, since: float) -> float:
    sim.wait_for(lambda s: any(r.disconnected_at is not None for r in s.chats()), timeout=2.0)
    return next(r.disconnected_at for r in sim.chats() if r.disconnected_at is not None) - since


@pytest.mark.wall_clock
@pytest.mark.parametrize("fault", ["hang-before-headers", "drip", {"do": "stall", "after": 2}])
def test_a_cancelled_task_closes_its_socket_at_once(sim: Simulator, fault: Any) -> None:
    """Cancelling a task closes the connection within 100 ms, and nothing else is asked."""
    sim.script({"*": fault})

    async def run() -> float:
        task = asyncio.create_task(make(sim, TWENTY).ainvoke("hi"))
        await asyncio.to_thread(sim.wait_for, lambda s: s.chats())
        await asyncio.sleep(0.05)
        task.cancel()
        since = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return since

    since = asyncio.run(run())
    assert _closed_within(sim, since) < 0.1
    assert len(sim.chats()) == 1


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", ["stream", "astream"])
def test_a_consumer_that_stops_closes_the_socket(sim: Simulator, path: str) -> None:
    """Breaking out of a stream closes the connection, cools nothing, and asks nobody else."""
    sim.script({"*": {"do": "stall", "after": 2}})
    model = make(sim, TWENTY)

    async def run() -> float:
        stream = model.astream("hi")
        assert isinstance(stream, AsyncGenerator)
        await anext(stream)
        since = time.monotonic()
        await stream.aclose()
        return since

    if path == "stream":
        stream = model.stream("hi")
        assert isinstance(stream, Generator)
        next(stream)
        since = time.monotonic()
        stream.close()
    else:
        since = asyncio.run(run())
    assert _closed_within(sim, since) < 0.1
    assert asked(sim) == [TWENTY[0]]
    sim.script({"*": "ok"})
    assert model.invoke("hi").response_metadata["route"]["model"] == TWENTY[0]


@pytest.mark.wall_clock
def test_a_slow_consumer_is_not_a_slow_model(sim: Simulator) -> None:
    """The time that the caller takes between chunks does not count against the model."""
    sim.script({"*": {"do": "ok", "speed": 50, "text": "one two three four"}})
    gate = threading.Event()
    pieces = []
    for chunk in make(sim, timeouts={**QUICK, "stall": 0.1, "attempt": 0.6}).stream("hi"):
        pieces.append(chunk.text)
        gate.wait(0.2)
    assert "".join(pieces) == "one two three four"


def test_connections_are_used_again(sim: Simulator) -> None:
    """Calls one after another share a connection, streamed or not."""
    model = make(sim)
    for path in ("invoke", "stream", "invoke"):
        drive(model, path)
    assert len({chat.connection for chat in sim.chats()}) == 1


def test_the_finish_reason_is_enough(sim: Simulator) -> None:
    """A stream that goes silent after its finish reason is an answer, not a failure."""
    sim.script({"*": {"do": "ok", "done": False}})
    assert make(sim).invoke("hi").response_metadata["route"]["attempts"][0]["outcome"] == "ok"
