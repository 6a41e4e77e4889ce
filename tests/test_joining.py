"""Two versions of one page, joined: what each has counted since they parted is in it, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_openrouter_free.books import pages
from langchain_openrouter_free.books.breaker import Cooldown
from langchain_openrouter_free.books.budget import Budget
from langchain_openrouter_free.books.health import Health
from langchain_openrouter_free.books.joining import joined_books, joined_purses
from langchain_openrouter_free.books.ledger import Hold, Ledger, Metered, Stated
from langchain_openrouter_free.books.purse import LEASE, Part, Purse
from langchain_openrouter_free.books.quota import Limits, Share, Slot, Use, Windows
from langchain_openrouter_free.books.tripwire import Bill, Quarantine
from langchain_openrouter_free.judging.traits import Lesson
from langchain_openrouter_free.judging.verdicts import Kind, verdict

NOON = 1_790_000_000.0 // 86_400 * 86_400 + 43_200
MODELS = ["test/a:free", "test/b:free"]

# What a process does with the account's book: (book, moment) -> book.
DEEDS: dict[str, Callable[[Ledger, float], Ledger]] = {
    "takes a slot": lambda book, now: book.admitted(Limits(), now, 0.0, None, Share("p"))[0],
    "fails a": lambda book, now: book.settled(MODELS[0], verdict(Kind.BROKEN), now),
    "fails b": lambda book, now: book.settled(MODELS[1], verdict(Kind.UPSTREAM_LIMIT, until=now + 600), now),
    "answers": lambda book, now: book.settled(MODELS[0], verdict(Kind.OK), now),
    "hears of the day": lambda book, now: book.settled(MODELS[0], verdict(Kind.DAY_LIMIT, until=now + 3600), now),
    "is billed": lambda book, now: book.billed(Bill(MODELS[1], None, 5), now),
}
moments = st.floats(NOON, NOON + 600)
deeds = st.lists(st.tuples(st.sampled_from(sorted(DEEDS)), moments), max_size=6)


def done(book: Ledger, what: list[tuple[str, float]]) -> Ledger:
    for name, now in sorted(what, key=lambda deed: deed[1]):
        book = DEEDS[name](book, now)
    return book


def taken(book: Ledger) -> int:
    return book.windows.on(int(NOON // 86_400))


@given(deeds, deeds, deeds)
def test_a_joined_book_has_what_both_have_done(before: Any, here: Any, elsewhere: Any) -> None:
    base = done(Ledger(), before)
    mine, there = done(base, here), done(base, elsewhere)
    joined = joined_books(base, mine, there)
    assert taken(joined) == taken(base) + (taken(mine) - taken(base)) + (taken(there) - taken(base))
    for name in ("holds", "cooldowns", "quarantined"):
        for key in {*getattr(mine, name), *getattr(there, name)}:
            until = getattr(joined, name)[key].until
            changed = [book for book in (mine, there) if getattr(book, name).get(key) != getattr(base, name).get(key)]
            assert until >= max((getattr(book, name)[key].until for book in changed), default=0.0)
    assert pages.decode(pages.encode(joined)) == pages.decode(pages.encode(pages.decode(pages.encode(joined))))


@given(deeds, deeds)
def test_who_was_alone_keeps_all(before: Any, after: Any) -> None:
    base = done(Ledger(), before)
    changed = done(base, after)
    assert joined_books(base, changed, None) == changed
    assert joined_books(base, base, changed).windows == changed.windows
    assert joined_books(base, changed, base).cooldowns == changed.cooldowns


kinds = st.sampled_from(["reserves", "settles", "books"])
spending = st.lists(st.tuples(kinds, st.integers(0, 3), st.integers(1, 100)), max_size=8)


def spent(purse: Purse, what: Any, side: str, now: float) -> tuple[Purse, int]:
    """The book after these deeds of one side, and what they cost at most."""
    most = 0
    for deed, number, amount in what:
        key = f"{side}{number}"
        if deed == "reserves" and key not in purse.reservations:
            purse, most = purse.reserved_for(key, amount, now), most + amount
        elif deed == "settles" and key in purse.reservations:
            purse = purse.settled(key, None, now)
        elif deed == "books":
            purse, most = purse.booked(amount, now), most + amount
    return purse, most


@given(spending, spending, spending, st.sampled_from([0.0, 86_400.0, 40 * 86_400.0]))
def test_a_joined_purse_has_what_both_have_spent(before: Any, here: Any, elsewhere: Any, later: float) -> None:
    base, first = spent(Purse(), before, "before", NOON)
    mine, second = spent(base, here, "here", NOON + later)
    there, third = spent(base, elsewhere, "there", NOON)
    joined = joined_purses(base, mine, there)
    assert joined.spent_total + joined.reserved >= first + second + third
    assert joined.spent_total == mine.spent_total + there.spent_total - base.spent_total
    assert joined.unknown == mine.unknown + there.unknown - base.unknown
    assert set(joined.reservations) >= {key for key in mine.reservations if key.startswith("here")}
    if later == 0.0:
        assert joined.spent_day == mine.spent_day + there.spent_day - base.spent_day
    elif mine.day > there.day:
        assert joined.spent_day == mine.spent_day
    assert Purse.decode(joined.encode()) == joined


@pytest.mark.parametrize("closed_by", ["mine", "there"])
def test_what_one_side_has_settled_is_not_open_again(closed_by: str) -> None:
    base = Purse().reserved_for("r", 100, NOON)
    closed, open_ = base.settled("r", 30, NOON), base.booked(5, NOON)
    mine, there = (closed, open_) if closed_by == "mine" else (open_, closed)
    joined = joined_purses(base, mine, there)
    assert (joined.reserved, joined.spent_total) == (0, 35)


@pytest.mark.parametrize("closed_by", ["mine", "there"])
@pytest.mark.parametrize("learned", ["its name", "nothing yet"])
def test_what_one_side_has_settled_is_not_opened_by_what_the_other_learns_of_it(closed_by: str, learned: str) -> None:
    """An attempt's own process hears its name, or asks in vain, while the others count it as spent or know its cost."""
    base = Purse().reserved_for("r", 100, NOON).named("r", "old")
    open_ = base.named("r", "new") if learned == "its name" else base.unanswered("old", NOON + 60)
    assert open_ != base
    for closed, counts in ((base.turned_to(NOON + LEASE), 100), (base.reconciled("old", 30, NOON + 60), 30)):
        joined = joined_purses(base, *((closed, open_) if closed_by == "mine" else (open_, closed)))
        assert (joined.reserved, joined.spent_total, joined.disputes) == (0, counts, closed.disputes)
        later = joined.turned_to(NOON + 2 * LEASE)
        assert (later.reserved, later.spent_total) == (0, counts)


@pytest.mark.parametrize("turned_by", ["mine", "there"])
def test_a_warning_of_yesterday_is_none_of_today(turned_by: str) -> None:
    budget = Budget.parse("$1/day, $1.6/month")
    base, _ = Purse().booked(8 * 10**8, NOON).crossed(budget, NOON)
    today = base.turned_to(NOON + 86_400).booked(5 * 10**8, NOON + 86_400)
    joined = joined_purses(base, *((today, base) if turned_by == "mine" else (base, today)))
    told = joined.crossed(budget, NOON + 86_400)[1]
    assert [(warning.window, warning.percent) for warning in told] == [("day", 50), ("month", 80)]


def test_what_each_has_learned_of_another_model_is_known() -> None:
    """Each of them would pay a request to learn it once more."""
    refused = Lesson(refused=frozenset({"tools"}))
    mine, there = (Ledger().settled(model, verdict(Kind.UNFIT), NOON, lesson=refused) for model in MODELS)
    joined = joined_books(Ledger(), mine, there)
    assert [joined.traits[model].refuses(NOON) for model in MODELS] == [{"tools"}, {"tools"}]


def test_what_was_given_back_here_is_not_taken_from_the_others() -> None:
    """Of the day they still know each request that left."""
    slot, today = Slot.at(NOON + 30, "p"), int(NOON // 86_400)
    base = Ledger(windows=Windows().plus(slot, 2, today))
    joined = joined_books(base, base.released(slot, NOON + 30), base)
    assert (joined.windows.on(today), joined.windows.projects["p"].used) == (2, 2)


def test_slots_of_one_project_add_up() -> None:
    slot = Slot.at(NOON + 30, "p")
    base = Ledger()
    mine = base._replace(windows=base.windows.plus(slot, 3, int(NOON // 86_400)))
    there = base._replace(windows=base.windows.plus(slot, 4, int(NOON // 86_400)))
    assert joined_books(base, mine, there).windows.projects["p"].used == 7


@pytest.mark.parametrize("changed_by", ["mine", "there"])
def test_who_has_seen_the_new_day_and_the_new_claim_is_believed(changed_by: str) -> None:
    """Whichever side went on at midnight: a project has on each day what it took on it, and what it claims last."""
    today = int(NOON // 86_400)
    before = Ledger(windows=Windows(projects={"p": Use(today, used=2, kept=5)}))
    old = before._replace(windows=Windows(projects={"p": Use(today, used=6, kept=5)}))
    new = before._replace(windows=Windows(projects={"p": Use(today + 1, used=3, ahead=1, kept=7)}))
    new = new.settled(MODELS[0], verdict(Kind.DAY_LIMIT, until=NOON + 100_000, limit=1000), NOON + 86_400)
    old = old.settled(MODELS[0], verdict(Kind.DAY_LIMIT, until=NOON + 3600, limit=50), NOON)
    joined = joined_books(before, *((new, old) if changed_by == "mine" else (old, new)))
    assert joined.windows.projects["p"] == Use(today + 1, used=3, ahead=1, kept=7)
    assert joined.learned["day"].limit == 1000


def test_a_claim_that_others_have_changed_today_is_kept() -> None:
    today = int(NOON // 86_400)
    base, there = (Ledger(windows=Windows(projects={"p": Use(today, kept=kept)})) for kept in (0, 25))
    assert joined_books(base, base, there).windows.projects["p"].kept == 25


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 100)),
    st.sets(st.sampled_from("abcd")),
    st.sets(st.sampled_from("abcd")),
    st.sets(st.sampled_from("abcd")),
    st.sets(st.sampled_from("abcd")),
    st.sampled_from([0.0, 3600.0, 86_400.0]),
    st.integers(1, 2),
)
def test_an_answer_whose_cost_both_have_learned_is_not_free(
    costs: dict[str, int],
    here: set[str],
    elsewhere: set[str],
    asked_here: set[str],
    asked_elsewhere: set[str],
    later: float,
    times: int,
) -> None:
    """Each was booked at 100 and turns out to be less: what both take off is taken off once, and nothing below cost.

    Nor is it taken off once more for one who has asked in vain meanwhile.
    """
    base = Purse().booked(7, NOON)
    for name in costs:
        base = base.reserved_for(name, 100, NOON).settled(name, None, NOON, name)
    mine, joined = base, base
    for name, cost in costs.items():
        mine = mine.unanswered(name, NOON + 60) if name in asked_here else mine
        joined = joined.unanswered(name, NOON + 60, "another") if name in asked_elsewhere else joined
        mine = mine.reconciled(name, cost, NOON + later) if name in here else mine
        joined = joined.reconciled(name, cost, NOON + 60) if name in elsewhere else joined
    # The second time, the server has done it the first time and its word was lost.
    for _ in range(times):
        joined = joined_purses(base, mine, joined)
    for name, cost in costs.items():
        joined = joined.reconciled(name, cost, NOON + later)
    once = 7 + sum(costs.values())
    assert once <= joined.spent_total <= once + sum(costs[name] for name in here & costs.keys()) * times
    assert joined.spent_day >= (once if later < 43_200 else 0)
    assert joined.spent_month >= once


# What two attempts of 100 really cost: one is this side's, the other one the others'.
COSTS = {"ours": 0, "theirs": 30}
fates = st.lists(
    st.tuples(
        st.sampled_from(["is named", "is told", "is unseen", "is asked for in vain", "is learned", "time passes"]),
        st.sampled_from(sorted(COSTS)),
        st.sampled_from([10.0, 60.0, LEASE, 86_400.0, 2 * 86_400.0]),
    ),
    max_size=6,
)


def befallen(purse: Purse, fate: Any, now: float, *owned: str) -> tuple[Purse, float]:
    """The book after this fate of attempts, and when that is; only their own processes name and settle them."""
    for deed, key, seconds in fate:
        if deed == "is named" and key in owned:
            purse = purse.named(key, f"gen-{key}")
        elif deed in ("is told", "is unseen") and key in owned:
            purse = purse.settled(key, COSTS[key] if deed == "is told" else None, now, f"gen-{key}")
        elif deed == "is asked for in vain":
            purse = purse.unanswered(f"gen-{key}", now)
        elif deed == "is learned":
            purse = purse.reconciled(f"gen-{key}", COSTS[key], now)
        elif deed == "time passes":
            now += seconds
            purse = purse.turned_to(now)
    return purse, now


@settings(max_examples=400, deadline=None)
@given(fates, fates, fates, fates, st.integers(1, 2))
def test_whatever_befalls_an_attempt_on_either_side_it_is_counted(
    before: Any, here: Any, elsewhere: Any, later: Any, times: int
) -> None:
    """It may be counted twice, but never for less than it costs; nor does any window hold less than nothing."""
    base = Purse()
    for key in COSTS:
        base = base.reserved_for(key, 100, NOON).named(key, f"gen-{key}")
    base, parted = befallen(base, before, NOON, *COSTS)
    (mine, now), (there, then) = befallen(base, here, parted, "ours"), befallen(base, elsewhere, parted, "theirs")
    for _ in range(times):
        there = joined_purses(base, mine, there)
    joined, now = befallen(there, later, max(now, then), *COSTS)
    for purse in (there, joined, befallen(joined, [("is learned", key, 0.0) for key in COSTS], now)[0]):
        assert purse.spent_total + purse.reserved >= sum(COSTS.values())
        assert min(purse.spent_day, purse.spent_month, purse.unknown) >= 0


SIDES = pytest.mark.parametrize("ahead", ["mine", "there"])


@SIDES
def test_what_was_spent_in_the_month_before_is_not_of_this_one(ahead: str) -> None:
    base, later = Purse().booked(5, NOON), NOON + 40 * 86_400
    old, new = base.booked(7, NOON), base.booked(11, later)
    joined = joined_purses(base, *((new, old) if ahead == "mine" else (old, new)))
    assert (joined.day, joined.month) == (new.day, new.month)
    assert (joined.spent_day, joined.spent_month, joined.spent_total) == (11, 11, 23)


@pytest.mark.parametrize(
    ("date", "days", "figures"), [(21, 0, (20, 20, 20)), (21, 1, (0, 20, 20)), (30, 1, (0, 0, 20))]
)
def test_what_both_have_settled_counts_in_the_window_that_it_was_booked_in(
    date: int, days: int, figures: tuple[int, int, int]
) -> None:
    """Each has taken off what it did not cost, of its own windows; of those that are over there is nothing to take."""
    then = NOON + (date - 21) * 86_400
    base = Purse().reserved_for("r", 100, then).settled("r", None, then, "gen")
    mine = there = base.reconciled("gen", 10, then + days * 86_400)
    joined = joined_purses(base, mine, there)
    assert (joined.spent_day, joined.spent_month, joined.spent_total) == figures


def test_two_that_began_with_nothing_add_up() -> None:
    """Neither had a page when they parted, or one of them has none any more."""
    mine, there = Purse().booked(5, NOON), Purse().booked(7, NOON).reserved_for("r", 11, NOON)
    joined = joined_purses(None, mine, there)
    assert (joined.spent_day, joined.spent_month, joined.spent_total, joined.reserved) == (12, 12, 12, 11)
    assert joined_purses(Purse().booked(5, NOON), mine, None) == mine
    ours, theirs = (done(Ledger(), [("takes a slot", NOON)] * times) for times in (2, 3))
    assert taken(joined_books(None, ours, theirs)) == 5


@SIDES
def test_a_fact_without_a_rule_is_of_who_has_changed_it(ahead: str) -> None:
    """Of two who have, the others' stays."""
    base, changed = Ledger(skew=1.0), Ledger(skew=2.0)
    assert joined_books(base, *((changed, base) if ahead == "mine" else (base, changed))).skew == 2.0
    assert joined_books(base, changed, Ledger(skew=3.0)).skew == 3.0


@SIDES
def test_a_part_that_one_has_renewed_stays(ahead: str) -> None:
    """It and what only one of them keeps; of two the one that ends later."""
    base = Purse(parts={"one": Part(5, NOON)})
    new = Purse(parts={"one": Part(3, NOON + 300), "two": Part(4, NOON)})
    older = Purse(parts={"one": Part(9, NOON + 200)})
    for other in (base, older):
        assert joined_purses(base, *((new, other) if ahead == "mine" else (other, new))).parts == new.parts


@pytest.mark.parametrize(
    ("mine", "there", "joined"),
    [(20.0, None, 20.0), (10.0, 5.0, 5.0), (5.0, 10.0, 5.0), (20.0, 15.0, 20.0), (12.0, 15.0, 15.0)],
)
def test_of_a_shut_window_the_changed_opinion_counts_and_of_two_the_longer(
    mine: float, there: float | None, joined: float
) -> None:
    """What one of them has opened, the other has shut for longer: it stays shut."""
    base, here, other = (
        Ledger(holds={} if until is None else {"day": Hold("day", until)}) for until in (10.0, mine, there)
    )
    assert joined_books(base, here, other).holds["day"].until == joined


def test_what_a_project_has_taken_of_tomorrow_adds_up_too() -> None:
    """By a clock that is ahead; and its claim outlives the others' forgetting it."""
    today = int(NOON // 86_400)
    base, mine, there = (Use(today, used, ahead, kept=5) for used, ahead in ((1, 2), (3, 7), (2, 4)))
    books = [Ledger(windows=Windows(projects={"p": use})) for use in (base, mine, there)]
    assert joined_books(*books).windows.projects["p"] == Use(today, used=4, ahead=9, kept=5)
    assert joined_books(books[0], books[1], Ledger()).windows.projects["p"].kept == 5


def test_two_counts_of_a_model_s_own_limit_add_up() -> None:
    """And the limit that was named last is believed."""
    today = int(NOON // 86_400)
    old, new = (Metered({"day": Stated(limit, day)}, Windows(days={today: 3})) for limit, day in ((9, 1), (5, 2)))
    for mine, there in ((old, new), (new, old)):
        joined = joined_books(Ledger(), *(Ledger(metered={MODELS[0]: one}) for one in (mine, there)))
        assert joined.metered[MODELS[0]] == Metered({"day": Stated(5, 2)}, Windows(days={today: 6}))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("field", "one", "other", "joined"),
    [
        (
            "cooldowns",
            {"m": Cooldown(9.0, Kind.BROKEN, generation=2)},
            {"m": Cooldown(8.0, Kind.UPSTREAM_LIMIT, generation=5)},
            # An attempt that began before they were joined changes nothing.
            {"m": Cooldown(9.0, Kind.BROKEN, generation=6)},
        ),
        ("quarantined", {"m": Quarantine(9.0, 1)}, {"m": Quarantine(8.0, 2)}, {"m": Quarantine(9.0, 1)}),
        ("health", {"m": Health(at=9.0)}, {"m": Health(at=8.0)}, {"m": Health(at=9.0)}),
        ("learned", {"day": Stated(50, 2)}, {"day": Stated(1000, 1)}, {"day": Stated(50, 2)}),
        ("paid_row", (9.0, 1.0), (8.0, 2.0), (9.0, 1.0)),
        ("inquired", 9.0, 8.0, 9.0),
    ],
)
def test_of_two_opinions_the_more_careful_or_the_later_one_stays(
    turned: bool,  # noqa: FBT001
    field: str,
    one: Any,
    other: Any,
    joined: Any,
) -> None:
    mine, there = (other, one) if turned else (one, other)
    found = joined_books(Ledger(), Ledger()._replace(**{field: mine}), Ledger()._replace(**{field: there}))
    assert getattr(found, field) == joined
