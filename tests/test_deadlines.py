"""Deadlines on every path, over a real socket: what keeps an attempt alive, for whom they hold, how they shrink."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from typing import Any

import pytest
from driving import PATHS, TWENTY, Told, asked, book_of, drive, make
from hypothesis import given
from hypothesis import strategies as st
from langchain_openai import ChatOpenAI
from money_world import DEAR, PAYING
from pydantic import SecretStr

from langchain_openrouter_free import AllModelsFailed, ConfigurationError, MemoryStore, PaidModel, StreamInterrupted
from langchain_openrouter_free.books.health import Health
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.engine.timeouts import Deadlines, Timeouts
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.request.settings import timeouts, wire
from langchain_openrouter_free.route.actions import Try
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.routing import Route
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.testing import FakeClock

DROPS = ["comment", "role", "empty", "blank", "tool"]
QUICK = {"first_token": 0.3, "stall": 0.3}


pytestmark = pytest.mark.one_simulator


# -- what is no content


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("drop", DROPS)
def test_what_says_nothing_keeps_no_attempt_alive(sim: Simulator, drop: str, path: str) -> None:
    """Comments, role-only and empty deltas, blanks, and tool calls without a word end at the first-token deadline."""
    sim.script({TWENTY[0]: {"do": "drip", "drop": drop, "interval": 0.02}})
    told = drive(make(sim, timeouts=QUICK), path)
    assert told.outcomes == ["timed_out", "ok"]
    assert told.meta["route"]["attempts"][0]["first_token_s"] is None
    assert told.text.startswith(TWENTY[1]), "nothing of it has reached the caller"


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("drop", DROPS)
def test_what_says_nothing_ends_no_stall(sim: Simulator, drop: str, path: str) -> None:
    """Nor do they count as the next content after some words."""
    sim.script({TWENTY[0]: {"do": "drip", "drop": drop, "interval": 0.02, "after": 2, "reasoning": False}})
    model = make(sim, timeouts=QUICK)
    if path in ("invoke", "ainvoke"):
        assert drive(model, path).outcomes == ["timed_out", "ok"]
        return
    with pytest.raises(StreamInterrupted, match="stall"):
        drive(model, path)
    assert asked(sim) == TWENTY[:1]


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("drop", DROPS)
def test_an_answer_that_is_finished_is_not_waited_with(sim: Simulator, drop: str, path: str) -> None:
    """After the finish reason nothing moves the deadline any more, and the answer is kept."""
    sim.script({"*": {"do": "drip", "drop": drop, "interval": 0.02, "finish": True, "text": "done and over"}})
    began = time.monotonic()
    told = drive(make(sim, timeouts=QUICK), path)
    assert (told.text.strip(), told.outcomes) == ("done and over", ["ok"])
    assert time.monotonic() - began < 3  # without it: for ever


@pytest.mark.parametrize("path", PATHS[2:])
def test_blanks_in_front_of_the_first_word_commit_to_nothing(sim: Simulator, path: str) -> None:
    """They are delivered with it, and not at all where it never comes."""
    sim.script({TWENTY[0]: {"do": "error-chunk-after", "text": " \n \n \n word", "reasoning": False, "after": 1}})
    told = drive(make(sim), path)
    assert told.outcomes == ["broken", "ok"]
    sim.script({"*": {"do": "ok", "text": " \n two words"}})
    assert drive(make(sim), path).text == " \n two words"


@pytest.mark.wall_clock
@pytest.mark.parametrize("gzip", [False, True])
def test_two_seconds_are_two_seconds(sim: Simulator, *, gzip: bool) -> None:
    """`timeout=2` against comments or padding for ever ends after 2 to 2.5 s: sync and async, streamed or not."""
    sim.script({"*": {"do": "drip", "interval": 0.1, "gzip": gzip}})
    models = {how: make(sim, TWENTY[:1], timeout=2, wire=how) for how in ("stream", "plain")}

    def seconds(path: str, how: str) -> float:
        began = time.monotonic()
        with pytest.raises(AllModelsFailed, match="attempt"):
            drive(models[how], path)
        return time.monotonic() - began

    cases = list(product(PATHS, models))
    with ThreadPoolExecutor(len(cases)) as pool:
        took = dict(zip(cases, pool.map(lambda case: seconds(*case), cases), strict=True))
    for case in [case for case in cases if took[case] >= 2.5]:
        took[case] = seconds(*case)  # alone: a busy machine is not a late deadline
    assert all(2.0 <= one < 2.5 for one in took.values()), took


@pytest.mark.wall_clock
@pytest.mark.parametrize("wire", ["stream", "plain"])
@pytest.mark.parametrize("path", PATHS)
def test_deadlines_hold_for_another_packages_model(sim: Simulator, path: str, wire: str) -> None:
    """A `ChatOpenAI` without any timeout of its own is left in time, on a thread as well."""
    sim.reset(Scenario(models=[DEAR, TWENTY[0]], scripts={TWENTY[0]: "503", DEAR["id"]: "drip"}))
    other = ChatOpenAI(model=DEAR["id"], api_key=SecretStr("sk-other"), base_url=sim.base_url)
    paid = PaidModel(other, prompt_price="0.1", completion_price="0.4")
    model = make(sim, TWENTY[:1], timeout=0.4, wire=wire, **{**PAYING, "paid_models": [paid]})
    began = time.monotonic()
    with pytest.raises(AllModelsFailed) as caught:
        drive(model, path)
    assert [one.outcome for one in caught.value.attempts] == ["overloaded", "timed_out"]
    assert 0.39 <= time.monotonic() - began < 1.5


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
def test_another_packages_connection_is_had_in_time(sim: Simulator, path: str) -> None:
    """A host that takes no connection is left by the deadline for it, not by that for the first word, and unpaid."""
    sim.script({TWENTY[0]: "503"})
    with ExitStack() as open_, socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            waiting = open_.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        other = ChatOpenAI(model=DEAR["id"], api_key=SecretStr("sk-other"), base_url=url)
        paid = PaidModel(other, prompt_price="0.1", completion_price="0.4")
        patience = {"connect": 0.3, "first_token": 3}
        model = make(sim, TWENTY[:1], timeouts=patience, **{**PAYING, "paid_models": [paid]})
        with pytest.raises(AllModelsFailed) as caught:
            drive(model, path)
    assert [one.outcome for one in caught.value.attempts] == ["overloaded", "unreachable"]
    assert model.spending().windows[0].spent == "0"


# -- for whom


@pytest.mark.parametrize("path", PATHS)
def test_the_wire_of_some_models(sim: Simulator, path: str) -> None:
    """A model whose stream is broken is asked for a plain reply on every path; the others stream."""
    sim.script({TWENTY[0]: "503"})
    model = make(sim, wire={"test/m02": "plain"})
    told = drive(model, path)
    assert told.outcomes == ["overloaded", "ok"]
    assert [bool(chat.body.get("stream")) for chat in sim.chats()] == [True, False]
    if path.endswith("stream"):
        assert [piece for piece in told.pieces if piece] == [told.text], "one piece"
    sim.script({TWENTY[1]: {"do": "ok", "latency": 0.4, "padding": 2}})
    assert drive(model, path, timeouts={"first_token": 0.1}, model=TWENTY[1]).outcomes == ["ok"]


def test_the_default_of_the_wire_is_how_invoke_asks(sim: Simulator) -> None:
    """`stream` streams all the same; what is said last of a model counts."""
    model = make(sim, wire={"default": "plain", "test/*": "plain", TWENTY[0]: "stream"})
    for path in PATHS:
        drive(model, path)
    assert all(chat.body.get("stream") for chat in sim.chats())
    sim.reset(Scenario())
    for path in PATHS:
        drive(make(sim, wire="plain"), path)
    assert [bool(chat.body.get("stream")) for chat in sim.chats()] == [False, False, True, True]
    assert wire("plain").of("x/y") == "plain"


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
def test_deadlines_of_some_models_and_of_a_call(sim: Simulator, path: str) -> None:
    """A slow thinker may take its time while the others may not; the call's word is the last."""
    sim.script({"*": {"do": "ok", "latency": 0.5}})
    own = {"first_token": 0.1, "models": {"test/m03": {"first_token": 5}}}
    assert drive(make(sim, timeouts=own), path).outcomes == ["timed_out", "timed_out", "ok"]
    with pytest.raises(AllModelsFailed):
        drive(make(sim, timeouts=own), path, timeouts={"first_token": 0.1})
    told = drive(make(sim, timeouts=own), path, timeouts={"models": {"test/m02:free": {"first_token": 5}}})
    assert told.outcomes == ["timed_out", "ok"]


def test_what_is_said_later_wins() -> None:
    """Of all models, then of some, then of the call, then of some in the call."""
    own = timeouts({"stall": 1, "attempt": None, "models": {"a/*": {"stall": 2, "attempt": 7}, "a/b": {"stall": 3}}}, 9)
    said = Deadlines((own, timeouts({"models": {"*/c": {"stall": 4}}})))
    assert [said.of(model).stall for model in ("x/y", "a/x:free", "a/b:free", "a/c")] == [1, 2, 3, 4]
    assert (said.of("x/y").attempt, said.of("a/b").attempt) == (9, 7)
    assert Deadlines((own, timeouts({}, 5))).of("a/b").attempt == 5
    assert Deadlines((own, timeouts({"stall": 8}))).of("a/b").stall == 8
    assert said.usual == Timeouts(stall=1, attempt=9)


@pytest.mark.parametrize("given", [[("stall", 3)], {"models": []}, {"models": {"": {}}}, {"adaptive": 1}])
def test_deadlines_of_a_call_are_checked_too(sim: Simulator, given: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeouts"):
        make(sim).invoke("hi", timeouts=given)


# -- how they shrink


@given(usual=st.none() | st.floats(0, 1000), own=st.floats(0.1, 1000), adaptive=st.booleans())
def test_deadlines_only_shrink_and_not_below_their_floors(*, usual: float | None, own: float, adaptive: bool) -> None:
    before = Timeouts(first_token=own, stall=own, attempt=own, adaptive=adaptive)
    after = before.adapted(usual)
    assert (after.connect, after.call) == (before.connect, before.call)
    for name, floor in (("first_token", 10), ("stall", 10), ("attempt", 120)):
        was, now = getattr(before, name), getattr(after, name)
        assert min(was, floor) <= now <= was
        assert usual is None or now >= min(was, usual), "what is usual is in time"
    assert adaptive or after == before


FREE = [Candidate(model) for model in TWENTY[:3]]
KNOWN = Health(1000.0, 12.0, 12.0, 2.0, None, (2000,) * 12)
SICK = Health(1000.0, 12.0, 0.0)


def _quick() -> Ledger:
    return Ledger(health={TWENTY[0]: KNOWN})


def _resting(*models: str) -> Ledger:
    book = _quick()
    for model in models:
        book = book.settled(model, verdict(Kind.OVERLOADED), 1000.0)
    return book


@pytest.mark.parametrize(
    ("book", "free", "usual"),
    [
        (_quick(), FREE, 2.0),
        (_quick(), FREE[:1], None),
        (Ledger(health={TWENTY[0]: KNOWN.noted(ok=False, now=1000.0, silent=True)}), FREE, None),
        (Ledger(), FREE, None),
        (_resting(TWENTY[1]), FREE, 2.0),
        (_resting(*TWENTY[1:3]), FREE, None),
        (Ledger(health={TWENTY[0]: KNOWN, TWENTY[1]: SICK, TWENTY[2]: SICK}), FREE, None),
    ],
    ids=["known", "alone", "silent lately", "unknown", "one rests", "both rest", "both are ill"],
)
def test_they_shrink_only_where_another_could_answer(book: Ledger, free: list[Candidate], usual: float | None) -> None:
    """Never for the last candidate that is left and well, nor by fewer than ten answers."""
    _, action = Route(free).step(book, 1000.0, 600.0)
    assert isinstance(action, Try)
    assert (action.candidate.model, action.usual_s) == (TWENTY[0], usual)


class Ticking(FakeClock):
    """A clock that moves whenever a deadline is looked at."""

    def monotonic(self) -> float:
        self.advance(0.25)
        return super().monotonic()


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
def test_a_model_that_was_quick_is_not_waited_for_as_long(sim: Simulator, path: str) -> None:
    """After twenty quick answers, silence is believed after 10 s instead of 45 s, if another model can answer."""
    store, clock = MemoryStore(), Ticking()
    model = make(sim, TWENTY[:2], state=store, clock=clock)
    for _ in range(20):
        drive(model, "invoke")
    usual = book_of(store).health[TWENTY[0]].first_token_p95()
    assert usual is not None
    assert usual < 5
    sim.script({TWENTY[0]: {"do": "drip", "interval": 0.001}})
    waited: Callable[[Told], float] = lambda told: told.meta["route"]["attempts"][0]["seconds"]  # noqa: E731
    assert waited(drive(model, path, timeouts={"adaptive": False})) > 40
    clock.advance(3600)
    assert 10 <= waited(drive(model, path)) < 25
    clock.advance(3600)
    sim.script({TWENTY[0]: {"do": "drip", "interval": 0.001}})
    with pytest.raises(AllModelsFailed) as caught:
        drive(model, path, model=TWENTY[0])
    assert caught.value.attempts[0].seconds > 40, "nobody else was left"
