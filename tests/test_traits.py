"""What is learned of a model by asking it: the memory by itself, drawn and by example."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free.books import pages
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.judging.traits import (
    FEATURE_KEPT,
    FORM_KEPT,
    FORMS,
    INPUTS,
    KEPT,
    MOST_MODELS,
    NEEDED,
    NOTHING,
    POLICY_KEPT,
    SPARED,
    UNKNOWN,
    VOCABULARY,
    WAYS,
    Lesson,
    Traits,
    pruned,
)
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.protocol.preferences import PRIVACY
from langchain_openrouter_free.route.actions import GiveUp, Try
from langchain_openrouter_free.route.candidate import Candidate
from langchain_openrouter_free.route.endings import Ending, ending_of
from langchain_openrouter_free.route.fitness import Needs, barred
from langchain_openrouter_free.route.routing import Route

NOW, DAY = 1_790_000_000.0, 86_400.0

names = st.frozensets(st.sampled_from(sorted(VOCABULARY)), max_size=5)
lessons = st.builds(
    Lesson,
    refused=names,
    done=names,
    worked=st.frozensets(st.sampled_from(sorted(WAYS))),
    failed=st.frozensets(st.sampled_from(sorted(WAYS))),
    privacy=st.sampled_from(PRIVACY),
    ruled_out=st.booleans(),
    answered=st.booleans(),
    estimate=st.integers(0, 10**7),
    counted=st.integers(-5, 10**9),
    context=st.sampled_from([0, 1, 32_768, 10**9 - 1]),
)
steps = st.tuples(lessons, st.sampled_from([0.0, 1.0, DAY / 2, 2 * DAY, 20 * DAY, -3 * DAY, -40 * DAY]))


def learned(*story: tuple[Lesson, float]) -> tuple[Traits, float]:
    """What is remembered after lessons at some distance from each other, and the moment of the last."""
    known, now = UNKNOWN, NOW
    for lesson, later in story:
        now += later
        known = known.taught(lesson, now)
    return known, now


def test_a_name_is_of_one_class() -> None:
    assert len(VOCABULARY) == len(FORMS) + len(NEEDED) + len(SPARED)


@given(st.lists(steps, max_size=12))
def test_a_memory_is_bounded_and_comes_back_from_its_page(story: list[tuple[Lesson, float]]) -> None:
    known, now = learned(*story)
    text = pages.encode(book := Ledger(traits={"a/b:free": known}))
    # Another book is written before: a page that was just written is not read again.
    pages.encode(Ledger())
    assert pages.decode(text).traits == book.traits
    assert known.refused.keys() <= VOCABULARY
    assert 0.25 <= known.ratio <= 4.0
    assert known.counts <= 20
    for privacy in PRIVACY:
        until = known.ruled_out_until(privacy, now)
        assert until is None or now < until <= now + DAY + POLICY_KEPT
    held = known.refused_until(known.refuses(now), now)
    assert (held is None) == (not known.refuses(now))
    assert held is None or now < held[1] <= now + DAY + FORM_KEPT


@given(st.lists(steps, max_size=8), lessons)
def test_the_same_lesson_twice_teaches_once(story: list[tuple[Lesson, float]], lesson: Lesson) -> None:
    """What is written under the store's lock changes only where something was learned."""
    known, now = learned(*story, (lesson, 0.0))
    uncounted = replace(lesson, estimate=0, counted=0, context=0)
    assert known.taught(uncounted, now) is known


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(-90 * DAY, 5 * DAY)), max_size=300))
def test_models_are_bounded_the_latest_stay(notes: list[tuple[int, float]]) -> None:
    traits = {f"m{number}:free": Traits(counts=1, at=NOW + at) for number, at in notes}
    kept = pruned(traits, NOW)
    assert len(kept) <= MOST_MODELS
    assert all(NOW - KEPT < known.at <= NOW + DAY for known in kept.values())
    gone = [known.at for model, known in traits.items() if model not in kept and NOW - KEPT < known.at <= NOW + DAY]
    assert not gone or max(gone) <= min(known.at for known in kept.values())


@pytest.mark.parametrize("name", sorted(VOCABULARY))
def test_a_refusal_is_believed_for_a_time(name: str) -> None:
    kept = FORM_KEPT if name in FORMS else FEATURE_KEPT
    known = UNKNOWN.taught(Lesson(refused=frozenset({name})), NOW)
    assert known.refuses(NOW + kept - 1) == {name}
    assert known.refused_until(frozenset({name}), NOW + 1) == (name, NOW + kept)
    assert known.refuses(NOW + kept) == frozenset()
    assert known.refuses(NOW - 2 * DAY) == frozenset(), "a clock that was wrong bars nobody for long"
    assert known.taught(Lesson(done=frozenset({name}), answered=True), NOW + 5).refuses(NOW + 5) == frozenset()


@pytest.mark.parametrize("asked", PRIVACY)
@pytest.mark.parametrize("answered", PRIVACY)
def test_who_is_ruled_out_for_less_is_ruled_out_for_more(asked: str, answered: str) -> None:
    """An answer lifts what it disproves: that nobody keeps to as much, or to less."""
    known = UNKNOWN.taught(Lesson(privacy=asked, ruled_out=True), NOW)
    level = PRIVACY.index(asked)
    assert [known.ruled_out_until(p, NOW) for p in PRIVACY] == [
        NOW + POLICY_KEPT if index >= level else None for index in range(3)
    ]
    after = known.taught(Lesson(privacy=answered, answered=True), NOW + 1)
    assert (after.ruled_out_until("zdr", NOW + 1) is None) == (PRIVACY.index(answered) >= level)


@pytest.mark.parametrize("real", [0.5, 1.0, 1.7, 3.0])
def test_the_better_it_is_known_the_less_margin(real: float) -> None:
    known, margins = UNKNOWN, [UNKNOWN.tokens(1000) / 1000 - 1]
    for _ in range(40):
        known = known.taught(Lesson(answered=True, estimate=1000, counted=int(1000 * real)), NOW)
        margins.append(known.tokens(10_000) / 10_000 / known.ratio - 1)
    assert known.ratio == pytest.approx(real, rel=0.01)
    assert margins[0] == pytest.approx(0.1)
    assert margins[-1] == pytest.approx(0.022, abs=0.001)
    assert margins == sorted(margins, reverse=True)


@pytest.mark.parametrize(("estimate", "counted"), [(100, 300), (1000, 0), (1000, -4), (1000, 10), (1000, 10**7)])
def test_counts_that_tell_nothing(estimate: int, counted: int) -> None:
    """Of a short prompt most is the template; and what is far off was no count of it."""
    assert UNKNOWN.taught(Lesson(answered=True, estimate=estimate, counted=counted), NOW) is UNKNOWN


odd: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
odd |= st.lists(odd, max_size=7) | st.dictionaries(st.text(max_size=5) | st.sampled_from(["tools", "zdr"]), odd)


@given(odd | st.tuples(odd, odd, odd, odd, odd, odd, odd))
def test_a_broken_row_is_refused_not_believed(row: Any) -> None:
    try:
        known = Traits.from_row(row)
    except ValueError:
        return
    assert Traits.from_row(known.as_row()) == known


NAMES = [f"test/m{number}:free" for number in range(4)]
wanted = st.builds(
    Needs,
    features=st.frozensets(st.sampled_from(["tools", "forced tool choice", "stop", "JSON mode"])),
    inputs=st.frozensets(st.sampled_from(sorted(INPUTS))),
    no_reasoning=st.booleans(),
    prompt_tokens=st.integers(0, 10**6),
    output_tokens=st.integers(0, 10**6),
    privacy=st.sampled_from(PRIVACY),
)
stories = st.dictionaries(st.sampled_from(NAMES), st.lists(lessons, min_size=1, max_size=4))


@given(stories, wanted, st.lists(st.none() | st.integers(1, 10**6), min_size=4, max_size=4))
def test_the_first_that_suits_is_tried(
    taught: dict[str, list[Lesson]], needs: Needs, contexts: list[int | None]
) -> None:
    """Nobody who has refused what is needed, nor who cannot hold it; where nobody is left, the error names each."""
    book = Ledger(traits={model: learned(*((one, 0.0) for one in story))[0] for model, story in taught.items()})
    free = [Candidate(model, context=context) for model, context in zip(NAMES, contexts, strict=True)]
    why = {c.model: barred(needs, book.traits.get(c.model, UNKNOWN), c.context, NOW) for c in free}
    route = Route(free, needs=needs)
    _, action = route.step(book, NOW, 60.0)
    first = next((model for model in NAMES if why[model] is None), None)
    if first is None:
        assert isinstance(action, GiveUp)
        long = any("context of" in why[model][0] for model in NAMES)  # type: ignore[index]
        assert ending_of(route) in ((Ending.UNSUITABLE, Ending.TOO_LONG) if long else (Ending.UNSUITABLE,))
        assert [(one.model, (one.reason, one.until)) for one in route.skipped(book, NOW)] == list(why.items())
    else:
        assert isinstance(action, Try)
        assert action.candidate.model == first
        assert action.candidate.refused == book.traits.get(first, UNKNOWN).refuses(NOW)


def test_a_page_of_before_has_none() -> None:
    assert pages.decode(pages.encode(Ledger())).traits == {}


def test_an_attempt_without_a_lesson_leaves_the_traits_alone() -> None:
    book = Ledger(traits={"a/b:free": UNKNOWN})
    assert book.settled("c/d:free", verdict(Kind.OK), NOW, lesson=NOTHING).traits is book.traits
