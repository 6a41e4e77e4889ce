"""The service's own limit on one model: learned once, kept from then on, and nobody else's business."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, book_of, drive, make

from langchain_openrouter_free import AllModelsFailed, ChatOpenRouterFree, MemoryStore
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import DAY, MINUTE, Slot
from langchain_openrouter_free.judging.refusals import classify
from langchain_openrouter_free.judging.verdicts import Kind, Scope, verdict
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.simulator.reply import Reply
from langchain_openrouter_free.testing import FakeClock

START = 1_790_000_005.0  # 25 seconds into a minute, 14:13 UTC
MINUTE_END = 1_790_000_040.0
MIDNIGHT = 1_790_035_200.0
HOUR = 3600.0
FIRST, SECOND = TWENTY[:2]


def page(store: MemoryStore) -> Ledger:
    return book_of(store)


def statuses(sim: Simulator) -> list[int | None]:
    return [chat.status for chat in sim.chats()]


def router(sim: Simulator, clock: FakeClock, models: list[str] | None = None, **kwargs: Any) -> ChatOpenRouterFree:
    return make(sim, models or TWENTY[:2], clock=clock, **kwargs)


# -- learned once, and kept


@pytest.mark.parametrize("path", PATHS)
def test_one_refusal_teaches_it(path: str) -> None:
    """Eight a minute go to the model, the rest to the next one, and no other minute sees a refusal."""
    clock, store = FakeClock(now=START), MemoryStore()
    with Simulator(Scenario(rpm={FIRST: 8}), clock=clock.now) as sim:
        model = router(sim, clock, state=store)
        for minute in range(4):
            before = len(sim.chats())
            served = Counter(drive(model, path).meta["route"]["model"] for _ in range(12))
            assert served == {FIRST: 8, SECOND: 4}
            assert len(sim.chats()) - before == (13 if minute == 0 else 12)
            clock.advance(MINUTE)
        assert statuses(sim).count(429) == 1
        assert clock.slept == []
        assert page(store).holds == {}


@pytest.mark.parametrize("path", PATHS)
def test_calls_in_the_last_second_are_counted_in_both_minutes(path: str) -> None:
    """Around the turn of a minute the model gets no more than eight in either, whatever the clocks say."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(rpm={FIRST: 8}), clock=clock.now) as sim:
        model = router(sim, clock)
        for _ in range(9):
            drive(model, path)
        for moment in (58.5, 59.9, 60.2, 60.4, 61.0, 118.5, 119.9, 120.2, 121.0):
            clock.advance(MINUTE_END + moment - clock.now())
            for _ in range(5):
                drive(model, path)
        assert statuses(sim).count(429) == 1


@pytest.mark.parametrize("path", PATHS)
def test_it_never_shuts_the_account(path: str) -> None:
    """In the same second another model answers, and the account's own count goes on."""
    clock, store = FakeClock(now=START), MemoryStore()
    with Simulator(Scenario(per_minute=20, rpm={FIRST: 1}), clock=clock.now) as sim:
        model = router(sim, clock, limits={"per_minute": 20}, state=store)
        assert [drive(model, path).meta["route"]["model"] for _ in range(3)] == [FIRST, SECOND, SECOND]
        book = page(store)
        assert book.hold(clock.now()) is None
        assert book.learned == {}
        assert book.windows.used(clock.now())[0] == 4, "the refused one counts"


@pytest.mark.parametrize("path", PATHS)
def test_two_models_with_limits_of_their_own(path: str) -> None:
    """Each keeps its own, and still it is not the account's."""
    clock, store = FakeClock(now=START), MemoryStore()
    with Simulator(Scenario(rpm={FIRST: 2, SECOND: 3}), clock=clock.now) as sim:
        model = router(sim, clock, TWENTY[:3], state=store)
        for _ in range(3):
            served = Counter(drive(model, path).meta["route"]["model"] for _ in range(7))
            assert served == {FIRST: 2, SECOND: 3, TWENTY[2]: 2}
            clock.advance(MINUTE)
        assert statuses(sim).count(429) == 2
        assert page(store).hold(clock.now()) is None


@pytest.mark.parametrize("path", PATHS)
def test_the_first_is_waited_for_when_it_is_the_only_one(path: str) -> None:
    """With patience the call waits for the model's next minute; that is one wait a minute, and one refusal in all."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(rpm={FIRST: 2}), clock=clock.now) as sim:
        model = router(sim, clock, [FIRST], max_wait=90)
        drive(model, path)
        drive(model, path)
        assert drive(model, path).outcomes == ["model_limit", "ok"]
        for _ in range(1 + 2):
            drive(model, path)
        assert statuses(sim).count(429) == 1
        assert len(clock.slept) == 2
        assert clock.slept[0] == pytest.approx(36.5, abs=0.5)
        assert clock.slept[1] == pytest.approx(60, abs=0.5)


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_the_older_dialect_teaches_it_too(path: str) -> None:
    """Bodies of 2025 without `limit_source`: the words say it."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(rpm={FIRST: 8}, limit_source=False), clock=clock.now) as sim:
        model = router(sim, clock)
        for _ in range(3):
            for _ in range(10):
                drive(model, path)
            clock.advance(MINUTE)
        assert statuses(sim).count(429) == 1


@pytest.mark.parametrize("path", PATHS)
def test_tomorrow_it_is_forgotten(path: str) -> None:
    """A limit is believed on the day on which it was stated."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(rpm={FIRST: 2}), clock=clock.now) as sim:
        model = router(sim, clock)
        for _ in range(4):
            drive(model, path)
        sim.reset(Scenario())
        clock.advance(DAY)
        for _ in range(6):
            drive(model, path)
        assert asked(sim) == [FIRST] * 6


def without_times(sim: Simulator) -> None:
    """Let refusals say nothing of when the window ends."""
    world = sim._service.world
    honest = world.answer

    def answer(request: Any) -> Reply:
        reply = honest(request)
        if reply.status == 429:
            reply.headers = {name: said for name, said in reply.headers.items() if "reset" not in name.lower()}
            (raw,) = reply.steps
            whole = json.loads(raw)  # type: ignore[arg-type]
            whole["error"]["metadata"].pop("headers", None)
            reply.steps = (json.dumps(whole).encode(),)
        return reply

    world.answer = answer  # type: ignore[method-assign]


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_minute_without_a_time_lasts_until_its_end(path: str) -> None:
    """The words name the minute: it is over when the minute is, though no header says so."""
    clock = FakeClock(now=START - 20)
    with Simulator(Scenario(rpm={FIRST: 8}), clock=clock.now) as sim:
        without_times(sim)
        model = router(sim, clock)
        for _ in range(9):
            drive(model, path)
        for _ in range(5):
            clock.advance(7)
            drive(model, path)
        assert statuses(sim).count(429) == 1
        clock.advance(MINUTE)
        assert drive(model, path).meta["route"]["model"] == FIRST


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_spent_day_of_a_model_is_not_tried_again_on_it(path: str) -> None:
    """ "Daily limit reached" for a model: every further try of that day would be refused, and cost the account one."""
    clock = FakeClock(now=START)
    with Simulator(clock=clock.now) as sim:
        sim.script({FIRST: "429-model-rpd"})
        model = router(sim, clock)
        for _ in range(9):
            drive(model, path)
            clock.advance(HOUR)
        assert statuses(sim).count(429) == 1
        sim.script({FIRST: "ok"})
        clock.advance(MIDNIGHT + MINUTE - clock.now())
        assert drive(model, path).meta["route"]["model"] == FIRST


# -- what the words mean


def refusal(message: str, **metadata: Any) -> bytes:
    return json.dumps({"error": {"code": 429, "message": message, "metadata": metadata}}).encode()


RPM = (
    "Rate limit exceeded: limit_rpm/test/m01/0. High demand for test/m01:free on OpenRouter - limited to 8 requests per"
)
WORDS: dict[str, tuple[str, dict[str, Any], str | None, int | None]] = {
    "a minute": (f"{RPM} minute. Please retry shortly.", {}, "minute", 8),
    "a minute, in 2026": (f"{RPM} minute. Please retry shortly.", {"limit_source": "openrouter_shared_capacity"},
                          "minute", 8),
    "a minute by its name only": ("Rate limit exceeded: limit_rpm/test/m01/0.", {}, "minute", None),
    "a minute by its words only": ("High demand for test/m01:free on OpenRouter - limited to 8 requests per minute.",
                                   {}, "minute", 8),
    "a minute in capitals": (f"{RPM} minute.".upper(), {}, "minute", 8),
    "a day": ("Rate limit exceeded: limit_rpd/test/m01/0. Daily limit reached for test/m01:free via OpenRouter.", {},
              "day", None),
    "a day by its name only": ("Rate limit exceeded: limit_rpd/test/m01/0.", {}, "day", None),
    "a day by its words only": ("Daily limit reached for test/m01:free via OpenRouter. Credits don't affect this cap.",
                                {}, "day", None),
    "a day with its number": ("High demand for test/m01:free on OpenRouter - limited to 100 requests per day.", {},
                              "day", 100),
    "tokens of a minute": ("Rate limit exceeded: limit_tpm/test/m01/0. Limited to 40000 tokens per minute.",
                           {}, None, None),
    "tokens of a day": ("Rate limit exceeded: limit_tpd/test/m01/0. Daily limit reached for test/m01:free.", {}, None,
                        None),
    "no words and no time": ("High demand for test/m01:free on OpenRouter.", {}, None, None),
    "no words and a short wait": ("High demand for test/m01:free on OpenRouter.", {"retry_after_seconds": 20},
                                  "minute", None),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_the_words_name_the_window(name: str) -> None:
    """Whose limit it is, which window it is of, and how large that is."""
    message, metadata, window, limit = WORDS[name]
    found = classify(429, {}, refusal(message, **metadata), now=START)
    assert (found.kind, found.scope) == (Kind.MODEL_LIMIT, Scope.MODEL)
    assert (found.window, found.limit) == (window, limit)


def test_a_number_of_tokens_is_no_number_of_requests() -> None:
    """A token limit's header counts tokens: it makes no limit of requests, in any window."""
    how = classify(
        429,
        {"X-RateLimit-Limit": "40000", "X-RateLimit-Reset": str(int(MINUTE_END) * 1000)},
        refusal("Rate limit exceeded: limit_tpm/test/m01/0. High demand for test/m01:free on OpenRouter."),
        now=START,
    )
    book = Ledger().settled("m", how, START)
    assert book.metered == {}
    assert book.rests_until("m", START) == MINUTE_END


def test_a_model_s_limits_are_kept_apart_by_window() -> None:
    """A day's limit does not undo the minute's: both hold."""
    book = Ledger().settled("m", verdict(Kind.MODEL_LIMIT, limit=2, window="minute", until=START + 1), START)
    now = START + 60
    for _ in range(2):
        assert book.rests_until("m", now) == 0.0
        book = book.begun("m", Slot.at(now), now, lease=60.0)
        book = book.settled("m", verdict(Kind.OK), now)
    assert now < book.rests_until("m", now) <= now + 60
    book = book.settled("m", verdict(Kind.MODEL_LIMIT, limit=2, window="day", until=START + 70), now)
    assert set(book.metered["m"].limits) == {"minute", "day"}
    assert book.rests_until("m", now + 600) == pytest.approx(MIDNIGHT, abs=2), "the server says that the day is full"


def test_the_next_minute_begins_for_a_model_as_for_the_account() -> None:
    """A second into a minute the server may still count the last one: a full model is left alone until then."""
    book = Ledger().settled("m", verdict(Kind.MODEL_LIMIT, limit=1, window="minute", until=START + 1), START)
    now = MINUTE_END + 30
    book = book.begun("m", Slot.at(now), now, lease=60.0).settled("m", verdict(Kind.OK), now)
    turn = MINUTE_END + 60
    for moment in (turn - 1, turn, turn + 1.25):
        assert book.rests_until("m", moment) > moment
    assert book.rests_until("m", turn + 1.5) <= turn + 1.5


@pytest.mark.parametrize("path", PATHS)
def test_a_service_that_is_a_moment_behind(path: str) -> None:
    """No Date shows four tenths of a second: the wait for a model's next minute allows for them."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(rpm={FIRST: 2}), clock=lambda: clock.now() - 0.4) as sim:
        model = router(sim, clock, [FIRST], max_wait=90)
        for _ in range(2):
            drive(model, path)
        assert drive(model, path).outcomes == ["model_limit", "ok"]  # learns the limit
        for _ in range(4):
            drive(model, path)
        assert statuses(sim).count(429) == 1


# -- what the error says


@pytest.mark.parametrize("path", PATHS)
def test_the_error_says_why_and_until_when(path: str) -> None:
    """A model that was skipped for its own limit is named with the limit and the moment."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(rpm={FIRST: 2}), clock=clock.now) as sim:
        sim.script({SECOND: "503"})
        model = router(sim, clock, max_wait=0)
        drive(model, path)
        drive(model, path)
        with pytest.raises(AllModelsFailed):  # learns the limit
            drive(model, path)
        with pytest.raises(AllModelsFailed) as caught:
            drive(model, path)
        skipped = {one.model: one for one in caught.value.skipped}
        assert "the service's own limit on this one model" in skipped[FIRST].reason
        assert skipped[FIRST].until == MINUTE_END + 1.5
        clock.advance(MINUTE)
        drive(model, path)
        drive(model, path)
        before = len(sim.chats())
        with pytest.raises(AllModelsFailed) as caught:
            drive(model, path)
        skipped = {one.model: one for one in caught.value.skipped}
        assert FIRST not in [record.model for record in caught.value.attempts]
        assert "limit on this model (2 a minute) is used up" in skipped[FIRST].reason
        assert skipped[FIRST].until == pytest.approx(MINUTE_END + MINUTE, abs=1)
        assert FIRST in str(caught.value)
        assert "2026-09-21 14:15:00 UTC" in str(caught.value)
        assert FIRST not in asked(sim)[before:]
