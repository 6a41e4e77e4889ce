"""The account's free quota: counted as the server counts it, booked in turn, never passed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, at_once, book_of, drive, make
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from langchain_openrouter_free import AllModelsFailed, FreeQuotaExhausted, MemoryStore
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import DAY, Full, Limits, Part, Share, Slot, Use, Windows
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.testing import FakeClock

START = 1_790_000_005.0  # 25 seconds into a minute


# The fake clock jumps over a minute while others are on their way: that is not their fault.
LIFTED = dict.fromkeys(("connect", "first_token", "stall", "attempt", "call")) | {"adaptive": False}


CAPPED, KEPT, OTHER = Share("capped", at_most=Part(2)), Share("kept", at_least=Part(30, percent=True)), Share("other")


class WindowsMachine(RuleBasedStateMachine):
    """Callers come, wait, give back and let time pass; compare with a list of every request that was let out."""

    limits = Limits(per_minute=3, per_day=10)

    def __init__(self) -> None:
        super().__init__()
        self.windows = Windows()
        self.now = START
        self.granted: list[tuple[frozenset[int], str]] = []  # minutes in which it may be counted, project
        self.claims: set[str] = set()

    @staticmethod
    def _minutes(leaves: float) -> frozenset[int]:
        """Every minute in which a server with a clock nearly like ours may count it."""
        return frozenset(int((leaves + late) // 60) for late in (-1.5, 0.0, 1.0, 2.0))

    def _of_day(self, day: int, project: str | None = None) -> int:
        """Of the account's day, what is booked on later ones counts as well: a clock may be set back."""
        days = [({minute // 1440 for minute in minutes}, whose) for minutes, whose in self.granted]
        if project is None:
            return sum(1 for counted, _ in days for one in counted if one >= day)
        return sum(1 for counted, whose in days if day == max(counted) and whose == project)

    def _full_day(self, leaves: float, share: Share) -> int | None:
        """Name the first day that is full; of a share, a request at midnight takes on the new day only."""
        days = sorted({minute // 1440 for minute in self._minutes(leaves)})
        for day in days:
            if self._of_day(day) >= 10:
                return day
        kept = max(3 - self._of_day(days[-1], "kept"), 0) if "kept" in self.claims and share is not KEPT else 0
        capped = share is CAPPED and self._of_day(days[-1], "capped") >= 2
        return days[-1] if capped or self._of_day(days[-1]) >= 10 - kept else None

    def _full(self, leaves: float) -> bool:
        taken = Counter(minute for minutes, _ in self.granted for minute in minutes)
        return any(taken[minute] >= 3 for minute in self._minutes(leaves))

    def _first_with_room(self, share: Share) -> tuple[float, bool]:
        """Try one minute after the other; tell also whether a full day was on the way."""
        leaves, days_full = self.now, False
        while True:
            if (day := self._full_day(leaves, share)) is not None:
                days_full = True
                leaves = (day + 1) * 86_400 + 1.5
            elif self._full(leaves):
                leaves = ((leaves - 1.5) // 60 + 1) * 60 + 1.5
            else:
                return leaves, days_full

    @rule(patience=st.sampled_from([0.0, 20.0, 60.0, 200.0, 86_400.0]), share=st.sampled_from([CAPPED, KEPT, OTHER]))
    def ask(self, patience: float, share: Share) -> None:
        """Granted if and only if there is room; at the earliest moment that has some, no later than patience."""
        self.claims |= {share.project}
        first, days_full = self._first_with_room(share)
        self.windows, found = self.windows.admitted(self.limits, self.now, patience, share=share)
        if first - self.now <= patience:
            assert found == Slot(tuple(sorted(self._minutes(first))), share.project)
            self.granted.append((self._minutes(first), share.project))
        else:
            assert isinstance(found, Full)
            assert found.window == ("day" if days_full else "minute")
            assert not (found.share and self._of_day(int(found.until // 86_400) - 1) >= 10)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """A slot whose minute is not over can be given back."""
        open_ones = [g for g in self.granted if min(g[0]) >= int(self.now // 60)]
        if open_ones:
            slot = data.draw(st.sampled_from(open_ones))
            self.granted.remove(slot)
            self.windows = self.windows.released(Slot(tuple(sorted(slot[0])), slot[1]), self.now)

    @rule(seconds=st.sampled_from([0.3, 1.0, 20.0, 32.0, 33.2, 55.0, 60.0, 3600.0, 86_400.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Minutes and days turn."""
        self.now += seconds

    @rule(window=st.sampled_from([60, 86_400]), after=st.sampled_from([-31.0, -2.1, -1.9, 1.4, 1.6]))
    def as_a_window_turns(self, window: int, after: float) -> None:
        """The minute or the day is about to turn, or has just turned."""
        self.now = (self.now // window + 1) * window + after

    @rule(share=st.sampled_from([CAPPED, KEPT]))
    def use_the_day_up(self, share: Share) -> None:
        """Others take what is left of the day: who comes next books the day after."""
        for _ in range(10):
            self.ask(200.0, OTHER)
        self.ask(86_400.0, share)

    @invariant()
    def never_more_than_there_is(self) -> None:
        """In whatever minute the server counts a request, no minute holds more than three, no day more than ten."""
        book, day = self.windows.turned_to(self.now), int(self.now // 86_400)
        taken = Counter(minute for minutes, _ in self.granted for minute in minutes)
        assert max(taken.values(), default=0) <= 3
        assert book.on(day) == self._of_day(day)
        assert (
            max(Counter(day for minutes, _ in self.granted for day in {m // 1440 for m in minutes}).values(), default=0)
            <= 10
        )
        assert {m: n for m, n in book.minutes.items() if m >= int(self.now // 60)} == {
            m: n for m, n in taken.items() if m >= int(self.now // 60)
        }


TestWindows = WindowsMachine.TestCase
TestWindows.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


STEPS = st.tuples(st.sampled_from([0, 0, 1, 2]), st.sampled_from([0, 0, 1]), st.sampled_from([1, 1, -1]))


@given(st.lists(STEPS, max_size=12))
def test_a_projects_days_are_those_of_a_list(steps: list[tuple[int, int, int]]) -> None:
    """Of today and the day after it knows each request; back on an earlier day all of them count, and none is owed."""
    use, today, taken = Use(20_000), 20_000, Counter[int]()
    for passed, ahead, number in steps:
        today += passed
        assert [use.on(day) for day in range(today, today + 4)] == [taken[day] for day in range(today, today + 4)]
        use = use.plus(Slot(((today + ahead) * 1440,)), number, today)
        taken[today + ahead] = max(taken[today + ahead] + number, 0)
        assert use.on(today - 1) == taken[today] + taken[today + 1]
    wrong = today - 4
    assert (use.seen_by(today - 3), use.seen_by(wrong)) == (use, Use(wrong, use.on(wrong)))


@pytest.mark.parametrize("share", ["30%", {"at_least": "30%"}])
def test_hundredths_of_a_day_that_nobody_knows_are_no_bound(sim: Simulator, share: Any) -> None:
    """A proxy may say nothing of its limits: then there is nothing to be shared."""
    assert drive(make(sim, TWENTY[:1], daily_share=share), "invoke").outcomes == ["ok"]


def test_a_slot_is_for_its_minute_alone() -> None:
    """Who has overslept and leaves as the minute ends is counted in the next one as well, for which the slot is not."""
    slot, begins = Slot((29_833_340,)), 29_833_340 * 60.0
    assert [slot.fits(begins + after) for after in (1.4, 1.5, 57.9, 58.0)] == [False, True, True, False]


def test_what_is_given_back_of_a_page_that_is_lost_makes_no_room() -> None:
    """The page that a slot was booked in is gone: nobody has more than a day's share for it."""
    windows = Windows().released(Slot.at(START, "capped"), START)
    for expected in (Slot, Slot, Full):
        windows, found = windows.admitted(Limits(), START, 0.0, share=CAPPED)
        assert isinstance(found, expected)


def test_a_clock_that_jumps_back_reopens_no_day() -> None:
    """What was used of a day stays used."""
    limits = Limits(per_day=1)
    windows, _ = Windows().admitted(limits, START, 0)
    _, found = windows.admitted(limits, START - 3 * 86_400, 0)
    assert isinstance(found, Full)


def test_what_the_server_states_counts_before_what_is_assumed() -> None:
    """A stated limit of 16 replaces the assumed 20."""
    book = Ledger().settled("m", verdict(Kind.MINUTE_LIMIT, until=START + 30, limit=16), START)
    later = START + 60
    for _ in range(16):
        book, slot = book.admitted(Limits(per_minute=20), later, 0)
        assert isinstance(slot, Slot)
    _, slot = book.admitted(Limits(per_minute=20), later, 0)
    assert isinstance(slot, Full)


@pytest.mark.parametrize("path", PATHS)
def test_forty_calls_at_once_on_twenty_a_minute(path: str) -> None:
    """Paced, not refused: all are answered and the service never has to say no."""

    class Turning(FakeClock):
        """The minute turns when those who were let out have arrived."""

        async def asleep(self, seconds: float) -> None:
            until = self.now() + seconds
            while len(sim.chats()) < 20:  # noqa: ASYNC110 - a real server on another thread
                await asyncio.sleep(0.005)
            self.advance(max(until - self.now(), 0.0))

    clock = Turning(now=START + 10)
    with Simulator(Scenario(per_minute=20, per_day=50), clock=clock.now) as sim:
        model = make(
            sim, TWENTY[:3], clock=clock, limits={"per_minute": 20, "per_day": 50}, max_wait=30, timeouts=LIFTED
        )
        if path in ("ainvoke", "astream"):

            async def run() -> list[str]:
                async def one(n: int) -> str:
                    if path == "ainvoke":
                        return (await model.ainvoke(f"n{n}")).text
                    return "".join([chunk.text async for chunk in model.astream(f"n{n}")])

                return await asyncio.gather(*(one(n) for n in range(40)))

            answers = asyncio.run(run())
        else:
            answers = [drive(model, path, f"n{n}").text for n in range(40)]
        assert len(answers) == 40
        assert {chat.status for chat in sim.chats()} == {200}


@pytest.mark.parametrize("path", PATHS)
def test_a_known_quota_is_refused_without_a_request(path: str) -> None:
    """With no slot left today, the error comes at once and nothing is sent."""
    clock = FakeClock(now=START)
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:3], clock=clock, limits={"per_day": 2})
        drive(model, path)
        drive(model, path)
        with pytest.raises(FreeQuotaExhausted) as caught:
            drive(model, path)
        assert (caught.value.window, caught.value.limit) == ("day", 2)
        assert caught.value.reset_at == (START // 86_400 + 1) * 86_400
        assert len(sim.chats()) == 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("window", ["minute", "day"])
def test_who_comes_right_at_the_reset_is_told_when_to_come_again(window: str, path: str) -> None:
    """For a moment a request may still be counted in the window that is over: no error names a moment in the past."""
    clock = FakeClock(now=START)
    with Simulator(clock=clock.now) as sim:
        model = make(sim, clock=clock, max_wait=0, limits={f"per_{window}": 2})
        model.batch(["hi", "ho"])
        for _ in range(2):
            with pytest.raises(FreeQuotaExhausted) as caught:
                drive(model, path)
            assert (caught.value.window, caught.value.limit, caught.value.used) == (window, 2, 2)
            assert caught.value.reset_at is not None
            assert caught.value.reset_at > clock.now()
            clock.advance(caught.value.reset_at - clock.now())
        assert drive(model, path).outcomes == ["ok"]


@pytest.mark.parametrize("path", PATHS)
def test_the_last_attempt_that_is_allowed_may_find_the_day_spent(path: str) -> None:
    """Then the call ends for the account's sake, with the moment at which there is room again."""
    clock = FakeClock(now=START)
    with Simulator(Scenario(per_day=50, day_used=50), clock=clock.now) as sim:
        with pytest.raises(FreeQuotaExhausted) as caught:
            drive(make(sim, TWENTY[:3], clock=clock, max_retries=0), path)
        assert (caught.value.window, caught.value.reset_at) == ("day", (START // DAY + 1) * DAY)
        assert len(sim.chats()) == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("models", [1, 5])
def test_a_new_day_that_is_near_is_waited_for(models: int, path: str) -> None:
    """The call that learns of a spent day waits for the next one as those after it do: if `max_wait` reaches it."""
    clock = FakeClock((START // DAY + 1) * DAY - 8)
    with Simulator(Scenario(per_day=50, day_used=50), clock=clock.now) as sim:
        with pytest.raises(FreeQuotaExhausted):
            drive(make(sim, TWENTY[:models], clock=clock, max_wait=5.0), path)
        told = drive(make(sim, TWENTY[:models], clock=clock, max_wait=20.0), path)
        assert (told.outcomes, clock.slept) == (["day_limit", "ok"], [9.5])
        assert len(sim.chats()) == 3


def test_failed_tries_count_and_unsent_ones_do_not() -> None:
    """A 503 used a slot; a refused connection used none."""
    clock = FakeClock(now=START)
    store = MemoryStore()
    with Simulator(clock=clock.now) as sim:
        sim.script({TWENTY[0]: "503"})
        model = make(sim, TWENTY[:2], clock=clock, limits={"per_day": 3}, state=store)
        assert drive(model, "invoke").outcomes == ["overloaded", "ok"]
    with pytest.raises(AllModelsFailed):
        drive(model, "invoke")
    with Simulator(clock=clock.now) as sim:
        again = make(sim, TWENTY[1:2], clock=clock, limits={"per_day": 3}, state=store)
        again = again.model_copy(update={"base_url": model.base_url})
        with pytest.raises(AllModelsFailed) as caught:
            drive(again, "invoke")
        assert caught.value.attempts[0].outcome == "unreachable", "there is still a slot to try with"


def test_a_cancelled_wait_gives_its_slot_back() -> None:
    """A caller that stops waiting for a booked minute leaves the slot to others."""

    class Stuck(FakeClock):
        async def asleep(self, seconds: float) -> None:
            self.slept.append(seconds)
            await asyncio.Event().wait()

    clock = Stuck(now=START + 10)
    store = MemoryStore()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:1], clock=clock, limits={"per_minute": 1}, max_wait=30, state=store)
        drive(model, "invoke")

        async def run() -> None:
            task = asyncio.create_task(model.ainvoke("hi"))
            while not clock.slept and not task.done():  # noqa: ASYNC110 - the clock has no event
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(run())
    book = book_of(store)
    assert sum(book.windows.minutes.values()) == 1
    assert sum(book.windows.days.values()) == 1


@pytest.mark.parametrize("k", [1, 5, 20])
def test_k_limited_models_cost_k_requests_once(k: int) -> None:
    """The first call finds the k dead ones; each later call inside the cooldown costs exactly one request."""
    clock = FakeClock()
    many = [*TWENTY, "test/last:free"]
    with Simulator() as sim:
        sim.script(dict.fromkeys(many[:k], "429-upstream"))
        model = make(sim, many, clock=clock)
        for call in range(3):
            drive(model, "invoke")
            assert len(sim.chats()) == k + 1 + call


def test_attempts_that_began_together_fail_as_one() -> None:
    """Ten parallel calls into a dead model make the first cooldown, not the tenth: five seconds, not an hour."""
    clock = FakeClock()
    store = MemoryStore()
    with Simulator() as sim:
        sim.script({TWENTY[0]: {"do": "503", "latency": 0.3}})
        model = make(sim, TWENTY[:2], clock=clock, state=store)
        at_once(lambda: model.invoke("hi"), 10)
        assert asked(sim).count(TWENTY[0]) > 1
    book = book_of(store)
    assert book.cooldowns[TWENTY[0]].failures == 1
    assert book.cooldowns[TWENTY[0]].until == clock.now() + 5


def test_one_call_probes_a_model_that_comes_back() -> None:
    """After a cooldown one request tries the model; the others go on to the next one meanwhile."""
    clock = FakeClock()
    with Simulator() as sim:
        sim.script({TWENTY[0]: ["503", {"do": "ok", "latency": 0.4}]})
        model = make(sim, TWENTY[:2], clock=clock)
        drive(model, "invoke")
        clock.advance(6)
        answers = model.batch(["a", "b", "c", "d", "e"], config={"max_concurrency": 5})
        served = Counter(answer.response_metadata["route"]["model"] for answer in answers)
        assert served == {TWENTY[0]: 1, TWENTY[1]: 4}
        assert model.invoke("f").response_metadata["route"]["model"] == TWENTY[0], "it is well again"


def test_a_late_answer_of_an_older_attempt_closes_nothing() -> None:
    """A success that began before the failure does not end the cooldown."""
    book = Ledger()
    before = book.generation("m")
    book = book.settled("m", verdict(Kind.BROKEN), START, before)
    book = book.settled("m", verdict(Kind.OK), START + 1, before)
    assert book.cooldown("m", START + 2) is not None
    book = book.settled("m", verdict(Kind.OK), START + 6, book.generation("m"))
    assert book.cooldown("m", START + 6) is None
    assert book.settled("m", verdict(Kind.BROKEN), START + 7).cooldowns["m"].failures == 1


def test_a_late_end_of_an_older_attempt_ends_no_probe() -> None:
    """Whoever tries the model again does so alone; what fails after it was well has failed once."""
    failed = Ledger().settled("m", verdict(Kind.BROKEN), START, 0)
    probed = failed.begun("m", None, START + 10, 60.0)
    assert probed.settled("m", verdict(Kind.UNFIT), START + 11, 0).cooldown("m", START + 12) is not None
    assert (
        probed.settled("m", verdict(Kind.UNFIT), START + 11, failed.generation("m")).cooldown("m", START + 12) is None
    )
    well = failed.settled("m", verdict(Kind.OK), START + 20)
    assert well.settled("m", verdict(Kind.BROKEN), START + 21, 0).rests_until("m", START + 21) == START + 26


def test_who_finds_a_model_probed_looks_again_soon() -> None:
    """The probe may be over long before its lease is: nobody waits for that."""
    probed = Ledger().settled("m", verdict(Kind.BROKEN), START).begun("m", None, START + 10, 60.0)
    assert probed.rests_until("m", START + 11) == START + 11.5
    assert probed.rests_until("m", START + 69.8) == START + 70
    well = probed.settled("m", verdict(Kind.OK), START + 11).begun("m", None, START + 12, 60.0)
    assert well.rests_until("m", START + 12) == 0.0, "who is well is asked by as many as like"


@pytest.mark.parametrize(("says", "rests"), [(None, 5), (2, 5), (60, 60)])
def test_a_late_failure_rests_its_model_as_long_as_the_server_says(says: float | None, rests: float) -> None:
    """Of two that began together the second one is no second failure, but the moment that it names counts."""
    failed = Ledger().settled("m", verdict(Kind.BROKEN), START, 0)
    limited = verdict(Kind.UPSTREAM_LIMIT, until=None if says is None else START + says)
    book = failed.settled("m", limited, START + 1, 0)
    assert (book.rests_until("m", START + 1), book.cooldowns["m"].failures) == (START + rests, 1)
