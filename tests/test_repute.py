"""A model's memory over days: whom it spares requests, for how long, and that it takes nobody away."""

from __future__ import annotations

import pytest
from driving import PATHS, TWENTY, asked, drive, make
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free.books.breaker import COOLDOWNS
from langchain_openrouter_free.books.health import Health
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.repute import HALF_LIFE, LONGEST, PROOF, UNPROVEN, Repute, spared
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock

START = 1_790_000_000.0
amounts = st.floats(0, 1000)
stories = st.lists(st.tuples(st.floats(0, 3 * HALF_LIFE), st.booleans()), max_size=30)


def told(story: list[tuple[float, bool]]) -> tuple[Repute, float]:
    known, now = UNPROVEN, START
    for step, ok in story:
        now += step
        known = known.faded(step, now).noted(ok=ok, now=now)
    return known, now


@given(amounts, amounts, st.floats(0, 100))
def test_a_failure_more_spares_longer_and_an_answer_more_shorter(failures: float, answers: float, more: float) -> None:
    """It grows with the failures, shrinks with the answers once it counts, and is bounded."""
    now = spared(failures + answers, answers)
    assert 0.0 <= now <= LONGEST
    assert spared(failures + more + answers, answers) >= now
    if failures + answers > PROOF:
        assert spared(failures + answers + more, answers + more) <= now


@given(stories)
def test_the_sums_are_those_of_the_list(story: list[tuple[float, bool]]) -> None:
    """Each attempt counts half as much per day, and nobody is spared longer than six hours after the last failure."""
    known, now = told(story)
    moments = [START + sum(step for step, _ in story[: n + 1]) for n in range(len(story))]
    parts = [0.5 ** ((now - moment) / HALF_LIFE) for moment in moments]
    assert known.attempts == pytest.approx(sum(parts), abs=1e-6)
    assert known.answers == pytest.approx(sum(part for part, (_, ok) in zip(parts, story, strict=True) if ok), abs=1e-6)
    failed = [moment for moment, (_, ok) in zip(moments, story, strict=True) if not ok]
    assert not known.spares(max(failed, default=START) + LONGEST)
    read = Repute.from_row(known.as_row())
    assert read.as_row() == known.as_row()


@given(st.lists(st.floats(0, HALF_LIFE), max_size=30))
def test_who_always_answers_is_never_spared(steps: list[float]) -> None:
    """Nor is who fails once among any number of answers: it rests five seconds, as ever."""
    known, now = told([(step, True) for step in steps])
    assert known.until == 0.0
    assert known.noted(ok=False, now=now).spares(now) is False
    book = Ledger().settled("m", verdict(Kind.BROKEN), START)
    assert book.cooldowns["m"].until == START + COOLDOWNS[0]
    assert not book.health["m"].repute.spares(START)


@pytest.mark.parametrize(
    ("answers", "failures", "hours"),
    [(0, 3, 0.0), (0, 4, 3.0), (0, 9, 6.0), (3, 1, 0.0), (2, 2, 0.72), (19, 2, 0.01), (75, 25, 1.95), (20, 1, 0.0)],
)
def test_for_how_long(answers: int, failures: int, hours: float) -> None:
    assert spared(answers + failures, answers) / 3600 == pytest.approx(hours, abs=0.01)


def test_a_clock_that_was_wrong_spares_nobody_for_long() -> None:
    """A moment that no failure can have led to yet is none, and the next note forgets it."""
    ahead = Repute(9.0, 0.0, START + LONGEST + 60)
    assert not ahead.spares(START)
    assert Health(START, 9.0, 0.0, repute=ahead).noted(ok=True, now=START).repute.until == 0.0


@pytest.mark.parametrize("path", PATHS)
def test_a_model_that_fails_every_fourth_time_is_spared(sim: Simulator, path: str) -> None:
    """Fifty calls an hour apart cost it few requests; where nobody else answers, it is asked all the same."""
    clock = FakeClock(START)
    model = make(sim, TWENTY[:2], clock=clock)
    flaky = [{"do": "503"} if n % 4 == 3 else {"do": "ok"} for n in range(200)]
    sim.script({TWENTY[0]: flaky})
    for _ in range(100):
        drive(model, path)
        clock.advance(600)
    requests = asked(sim)
    wasted = len(requests) - 100
    assert 3 <= wasted <= 12, "not twenty-five"
    assert requests.count(TWENTY[0]) > 20, "it gets its turns"
    for _ in range(4):
        sim.script({TWENTY[0]: "503", TWENTY[1]: "ok"})
        drive(model, path)
        clock.advance(7200)
    sim.script({TWENTY[0]: "ok", TWENTY[1]: "503"})
    assert drive(model, path).outcomes[-1] == "ok"
