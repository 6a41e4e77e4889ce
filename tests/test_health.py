"""What is remembered of the models, beside a list of every note; and the order that follows from it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from health_helpers import ONE_DAY, SICK, START, UNKNOWN, books, memories, moments, notes, remembered, steps, told
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from langchain_openrouter_free.books.health import HALF_LIFE, Health, pruned
from langchain_openrouter_free.books.repute import Repute

# -- what is remembered


class HealthMachine(RuleBasedStateMachine):
    """Notes come, time passes and jumps; the sums must be those of a list of every note and its age."""

    def __init__(self) -> None:
        super().__init__()
        self.health = UNKNOWN
        self.now = self.latest = START
        self.notes: list[tuple[float, bool, float, float]] = []  # (age at `latest`, ok, first token, speed)

    def _part(self, age: float) -> float:
        """What counts of a note; while the clock is behind, ages stand still."""
        part: float = 0.5 ** ((age + max(self.now - self.latest, 0.0)) / HALF_LIFE)
        return part

    @rule(ok=st.booleans(), first=st.floats(0, 100), speed=st.floats(1, 500))
    def note(self, *, ok: bool, first: float, speed: float) -> None:
        """An attempt ends; every answer is measured."""
        self.health = self.health.noted(ok=ok, now=self.now, first_token_s=first, tokens_per_s=speed)
        passed = max(self.now - self.latest, 0.0)
        if passed or self.latest - self.now > ONE_DAY:
            self.latest = self.now
        self.notes = [(note[0] + passed, *note[1:]) for note in self.notes] + [(0.0, ok, first, speed)]

    @rule(seconds=st.sampled_from([0.1, 20.0, 600.0, 1800.0, 7200.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([1.0, 900.0, 80_000.0, 90_000.0]))
    def jump_back(self, seconds: float) -> None:
        if self.notes:
            self.now -= seconds

    @invariant()
    def sums_and_means_agree(self) -> None:
        """What is remembered is what the list says."""
        if not self.notes:
            return
        faded = self.health.faded(self.now)
        answers = [(self._part(age), first, speed) for age, ok, first, speed in self.notes if ok]
        answered = sum(part for part, *_ in answers)
        assert faded.weight == pytest.approx(sum(self._part(age) for age, *_ in self.notes), abs=1e-9)
        assert faded.successes == pytest.approx(answered, abs=1e-9)
        if not answers:
            assert (faded.first_token_s, faded.tokens_per_s) == (None, None)
        elif answered > 1e-9:
            assert faded.first_token_s == pytest.approx(sum(part * first for part, first, _ in answers) / answered)
            assert faded.tokens_per_s == pytest.approx(sum(part * speed for part, _, speed in answers) / answered)

    @invariant()
    def what_follows_agrees(self) -> None:
        """Rates and the word `unhealthy` are those of the list."""
        counts = [(self._part(age), ok) for age, ok, *_ in self.notes]
        weight, answered = sum(part for part, _ in counts), sum(part for part, ok in counts if ok)
        assert self.health.success_rate(self.now) == pytest.approx((answered + 1.6) / (weight + 2.0))
        if abs(weight - 4.0) > 1e-6 and abs(answered - 0.2 * weight) > 1e-6:
            assert self.health.unhealthy(self.now) == (weight > 4.0 and answered < 0.2 * weight)


TestHealth = HealthMachine.TestCase
TestHealth.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


@given(st.lists(notes, min_size=1, max_size=12), steps)
def test_sums_are_those_of_the_whole_list(story: list[Any], later: float) -> None:
    """Each note counts half as much per half-life, whatever came after it."""
    known, last = told(story)
    now = last + later
    times = [START + sum(step for step, *_ in story[: n + 1]) for n in range(len(story))]
    parts = [0.5 ** ((now - t) / HALF_LIFE) for t in times]
    # A float of Unix seconds is good for a quarter of a microsecond.
    assert known.faded(now).weight == pytest.approx(sum(parts), abs=1e-8)
    answered = sum(part for part, (_, ok, *_) in zip(parts, story, strict=True) if ok)
    assert known.faded(now).successes == pytest.approx(answered, abs=1e-8)


@given(memories, st.lists(steps, max_size=8))
def test_fading_does_not_depend_on_when_it_is_looked_at(known: Health, waits: list[float]) -> None:
    """Many short waits fade as much as one long wait."""
    now, by_steps = known.at, known
    for wait in waits:
        now += wait
        by_steps = by_steps.faded(now)
    at_once = known.faded(now)
    assert by_steps.at == at_once.at == now
    assert by_steps.weight == pytest.approx(at_once.weight)
    assert by_steps.success_rate(now) == pytest.approx(known.success_rate(now))
    assert by_steps.expected_seconds(now) == pytest.approx(known.expected_seconds(now))


@given(known=memories, now=moments, ok=st.booleans())
def test_rates_are_likelihoods_and_learn_in_the_right_direction(*, known: Health, now: float, ok: bool) -> None:
    """Never sure, and every note moves the rate its own way."""
    before = known.success_rate(now)
    after = known.noted(ok=ok, now=now).success_rate(now)
    assert 0 < before < 1
    assert 0 < after < 1
    assert (after > before) == ok


@given(st.lists(notes, max_size=6), st.lists(st.tuples(moments, st.booleans()), max_size=8))
def test_no_clock_makes_a_memory_grow(story: list[Any], jumps: list[tuple[float, bool]]) -> None:
    """Wherever the clock jumps, a note adds one and nothing else adds anything."""
    known, _ = told(story)
    for now, ok in jumps:
        assert known.faded(now).weight <= known.weight
        after = known.noted(ok=ok, now=now)
        assert 1 <= after.weight <= known.weight + 1
        assert 0 <= after.successes <= after.weight
        assert now <= after.at <= now + ONE_DAY
        known = after


def test_a_clock_that_jumps_back() -> None:
    """Within a day nothing fades until it has caught up; a moment further ahead was never true."""
    known = remembered(False, False)
    back = known.noted(ok=False, now=START - 3600)
    assert (back.weight, back.at) == (3.0, START)
    assert back.faded(START + 1800).weight == 1.5
    far = known.noted(ok=False, now=START - 2 * ONE_DAY)
    assert (far.weight, far.at) == (3.0, START - 2 * ONE_DAY)
    assert far.faded(far.at + HALF_LIFE).weight == 1.5


def test_two_clocks_that_differ_forget_no_faster_than_one() -> None:
    """Notes of a machine that is five minutes behind do not make the other's fade twice."""
    known = UNKNOWN
    for turn in range(20):
        known = known.noted(ok=False, now=START + turn)
        known = known.noted(ok=False, now=START + turn - 300)
    assert known.weight == pytest.approx(40, rel=0.02)


@pytest.mark.parametrize("nonsense", [-1.0, -math.inf, math.inf, math.nan])
def test_nonsense_is_not_measured(nonsense: float) -> None:
    """What no clock can have measured counts as an answer without a measure."""
    bare = UNKNOWN.noted(ok=True, now=START)
    assert UNKNOWN.noted(ok=True, now=START, first_token_s=nonsense, tokens_per_s=nonsense) == bare
    known = remembered(True, first_token_s=1.0, tokens_per_s=10.0)
    after = known.noted(ok=True, now=START, first_token_s=nonsense, tokens_per_s=nonsense)
    assert (after.first_token_s, after.tokens_per_s, after.successes) == (1.0, 10.0, 2.0)


def test_extremes_stay_within_what_can_be_written() -> None:
    """No measure makes the seconds infinite or the row unwritable; no tokens are no speed."""
    assert remembered(True, tokens_per_s=0.0).tokens_per_s is None
    assert remembered(True, first_token_s=0.0).first_token_s == 0.0
    for least, most in ((5e-324, 1e308), (1e308, 5e-324)):
        known = remembered(True, first_token_s=least, tokens_per_s=most)
        assert 0 < known.expected_seconds(START) < math.inf
        assert Health.from_row(known.as_row()).expected_seconds(START) == pytest.approx(known.expected_seconds(START))


def test_measures_of_a_failure_do_not_count() -> None:
    known = remembered(False, first_token_s=0.1, tokens_per_s=900.0)
    assert (known.first_token_s, known.tokens_per_s) == (None, None)


@pytest.mark.parametrize(
    ("known", "rate", "seconds"),
    [
        (UNKNOWN, 0.8, 10.0),
        (remembered(True), 2.6 / 3, 8.0 / (2.6 / 3)),
        (remembered(False), 1.6 / 3, 15.0),  # one failure proves little
        (remembered(True, True, True, True), 5.6 / 6, 8.0 / (5.6 / 6)),
        (remembered(True, first_token_s=0.5, tokens_per_s=300.0), 2.6 / 3, (1.5 + 4.0) / 1.5 / (2.6 / 3)),
        (remembered(True, first_token_s=5.0), 2.6 / 3, (11.0 + 4.0) / 1.5 / (2.6 / 3)),
        (remembered(True, tokens_per_s=10.0), 2.6 / 3, (32.0 + 4.0) / 1.5 / (2.6 / 3)),
    ],
)
def test_what_is_expected(known: Health, rate: float, seconds: float) -> None:
    assert known.success_rate(START) == pytest.approx(rate)
    assert known.expected_seconds(START) == pytest.approx(seconds)


def test_what_was_slow_yesterday_is_not_slow_for_ever() -> None:
    known = remembered(True, True, first_token_s=60.0, tokens_per_s=5.0)
    assert known.expected_seconds(START) > 90
    assert known.expected_seconds(START + ONE_DAY) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("outcomes", "after", "unhealthy"),
    [
        ([False] * 3, 0.0, False),
        ([False] * 4, 0.0, True),
        ([False] * 4, 1.0, False),  # less than four are remembered
        ([False] * 8, HALF_LIFE, True),
        ([False] * 8, HALF_LIFE + 1, False),
        ([True] + [False] * 4, 0.0, False),  # exactly one in five answers
        ([True] + [False] * 5, 0.0, True),
        ([True] * 20, 0.0, False),
    ],
)
def test_who_is_skipped(*, outcomes: list[bool], after: float, unhealthy: bool) -> None:
    assert remembered(*outcomes).unhealthy(START + after) is unhealthy


# -- how long the first content takes

answers = st.lists(st.tuples(st.sampled_from(["ok", "failed", "silent"]), st.floats(0, 200)), max_size=60)


@given(answers)
def test_the_95th_percentile_is_that_of_the_last_answers(story: list[tuple[str, float]]) -> None:
    """By an oracle that remembers everything: nearest rank of at most 20 answers, none below 10, halved by silence."""
    known, seen = UNKNOWN, []
    for what, seconds in story:
        known = known.noted(ok=what == "ok", now=START, first_token_s=seconds, silent=what == "silent")
        if what == "ok":
            seen.append(seconds)
            del seen[:-20]
        elif what == "silent":
            seen = seen[len(seen) - len(seen) // 2 :]
        found = known.first_token_p95()
        assert len(known.firsts) <= 20
        if len(seen) < 10:
            assert found is None
            continue
        assert found is not None
        assert any(found == pytest.approx(one, abs=0.000501) for one in seen)
        within = sum(one <= found + 0.000501 for one in seen)
        below = sum(one < found - 0.000501 for one in seen)
        assert below < 0.95 * len(seen) <= within
    assert known.faded(START + ONE_DAY).firsts == Health.from_row(known.as_row()).firsts == known.firsts


@given(st.lists(st.floats(0, 200), min_size=10, max_size=20), st.floats(1, 5))
def test_the_percentile_grows_with_its_answers(seconds: list[float], factor: float) -> None:
    """Slower answers never make the estimate smaller, and it lies between the quickest and the slowest."""
    quick, slow = UNKNOWN, UNKNOWN
    for one in seconds:
        quick = quick.noted(ok=True, now=START, first_token_s=one)
        slow = slow.noted(ok=True, now=START, first_token_s=one * factor)
    estimate = quick.first_token_p95()
    assert estimate is not None
    assert min(seconds) - 0.001 <= estimate <= max(seconds) + 0.001
    assert estimate <= (slow.first_token_p95() or 0)


# -- the row


@given(memories, st.floats(0, 2 * HALF_LIFE))
def test_written_and_read_again_it_is_nearly_the_same(known: Health, later: float) -> None:
    """Only rounding is lost, nothing more is lost the second time, and every number is whole."""
    row = json.loads(json.dumps(known.as_row()))
    assert {type(number) for number in (*row[:5], *known.firsts)} == {int}
    assert len(row) == (5 if known == UNKNOWN else 7)
    read = Health.from_row(row)
    assert read.as_row() == row
    assert read.at == pytest.approx(known.at, abs=0.501)
    assert read.weight == pytest.approx(known.weight, abs=0.000501)
    assert read.successes == pytest.approx(known.successes, abs=0.000501)
    assert (read.first_token_s is None) == (known.first_token_s is None)
    assert (read.tokens_per_s is None) == (known.tokens_per_s is None)
    assert (read.first_token_s or 0.0) == pytest.approx(known.first_token_s or 0.0, abs=0.000501)
    assert (read.tokens_per_s or 0.0) == pytest.approx(known.tokens_per_s or 0.0, abs=0.0501)
    now = known.at + later
    assert read.success_rate(now) == pytest.approx(known.success_rate(now), abs=0.002)


GOOD_ROW = [1_790_000_000, 2500, 1500, 800, 432]


def test_a_row() -> None:
    assert Health.from_row(GOOD_ROW) == Health(START, 2.5, 1.5, 0.8, 43.2)
    assert Health.from_row(tuple(GOOD_ROW)).as_row() == GOOD_ROW
    assert Health.from_row([*GOOD_ROW, [7, 9]]) == Health(START, 2.5, 1.5, 0.8, 43.2, (7, 9))
    repute = Repute(9.0, 4.5, START)
    known = Health(START, 2.5, 1.5, 0.8, 43.2, (), repute)
    assert Health.from_row([*GOOD_ROW, [], [9000, 4500, int(START)]]) == known
    assert UNKNOWN.as_row() == [0, 0, 0, -1, -1]
    assert Health.from_row([0, 0, 0, -1, -1]) == UNKNOWN


@pytest.mark.parametrize(
    "row",
    [
        None,
        7,
        "12345",
        {"at": 1},
        dict.fromkeys(GOOD_ROW),
        [],
        GOOD_ROW[:4],
        [*GOOD_ROW, 1],
        [*GOOD_ROW, [1.5]],
        [*GOOD_ROW, [-1]],
        [*GOOD_ROW, [True]],
        [*GOOD_ROW, [1] * 21],
        [*GOOD_ROW, [10**400]],
        [*GOOD_ROW, [1], 1],
        [*GOOD_ROW, [1], [3000, 4000, 0]],
        [*GOOD_ROW, [1], [True, 0, 0]],
        [*GOOD_ROW, [1], [3000, 2000]],
        [*GOOD_ROW, [1], [3000, 2000, -1]],
        [*GOOD_ROW, [1], [3000, 2000, 10**400]],
        [*GOOD_ROW, [1], [3000, 2000, 0], 0],
        [float(GOOD_ROW[0]), *GOOD_ROW[1:]],
        [float(number) for number in GOOD_ROW],
        [*GOOD_ROW[:4], 43.2],
        [*GOOD_ROW[:4], None],
        [*GOOD_ROW[:4], "432"],
        [0, True, 0, -1, -1],
        [0, 1000, True, -1, -1],
        [0, -1, -1, -1, -1],
        [0, 1000, -1, -1, -1],
        [0, 1000, 1001, -1, -1],
        [0, 1000, 1000, -2, -1],
        [0, 1000, 1000, -1, -2],
        [0, 1000, 1000, -1, 0],  # would take for ever
        [10**400, 1000, 1000, -1, -1],
        [0, 10**400, 1000, -1, -1],
        [0, 1000, 1000, 10**400, -1],
        [0, 1000, 1000, -1, 10**400],
    ],
)
def test_what_is_no_row(row: object) -> None:
    with pytest.raises(ValueError, match="no row of health"):
        Health.from_row(row)


_json = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(st.lists(_json | st.integers(-2, 10_000), min_size=4, max_size=6) | _json)
def test_any_row_is_read_or_refused(row: object) -> None:
    """Nothing but ValueError comes of a bad row, and what is read can be used and written."""
    try:
        known = Health.from_row(row)
    except ValueError:
        return
    assert known.as_row() == row
    assert 0 < known.success_rate(START) < 1
    assert 0 < known.expected_seconds(START) < math.inf


# -- what is kept


def test_the_old_and_the_many_are_dropped() -> None:
    health = {f"m{n}": remembered(True, at=START - n * ONE_DAY) for n in range(12)}
    assert set(pruned(health, START)) == {f"m{n}" for n in range(8)}, "a week, to the second"
    assert set(pruned(health, START, keep=3)) == {"m0", "m1", "m2"}
    assert pruned(health, START, keep=0) == {}
    assert set(pruned(health, START, longest=0.0)) == {"m0"}
    assert len(pruned({str(n): remembered(True, at=START - n) for n in range(300)}, START)) == 200


def test_an_impossible_future_becomes_now() -> None:
    """Else a model noted under a wrong clock would stay unhealthy until that moment."""
    ahead = remembered(*[False] * 6, at=START + 30 * ONE_DAY)
    soon = remembered(*[False] * 6, at=START + 3600)
    kept = pruned({"ahead": ahead, "soon": soon}, START)
    assert kept == {"ahead": replace(SICK, repute=Repute(6.0, 0.0)), "soon": soon}
    assert not kept["ahead"].unhealthy(START + HALF_LIFE)


@given(books, moments, st.integers(0, 5), st.floats(0, ONE_DAY))
def test_what_is_kept_is_newer_than_what_is_dropped(
    health: dict[str, Health], now: float, keep: int, longest: float
) -> None:
    """As many as are wanted and young enough, and once pruned nothing more goes."""
    kept = pruned(health, now, keep, longest)
    young = {m for m, known in health.items() if now - known.at <= longest}
    assert set(kept) <= young
    assert len(kept) == min(keep, len(young))
    # Where the clock is far behind, all those moments are the same one.
    times = {m: known.at if known.at <= now + ONE_DAY else now for m, known in health.items()}
    dropped = [times[m] for m in young - set(kept)]
    assert not dropped or not kept or max(dropped) <= min(times[m] for m in kept)
    assert pruned(kept, now, keep, longest) == kept
