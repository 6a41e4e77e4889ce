"""`local-share`: who is cut off from the shared state spends what was kept for it, and nobody else spends that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, ClassVar

import pytest
import redis_server
from driving import PATHS, drive, make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from money_world import DEAR, FLAT, STALL
from redis_server import Server
from store_helpers import Clock, becoming
from test_redis_unheard import deaf_at

from langchain_openrouter_free import AllModelsFailed, BudgetExceeded
from langchain_openrouter_free.books.budget import NANO, Budget, Need
from langchain_openrouter_free.books.joining import joined_purses
from langchain_openrouter_free.books.purse import PART_KEPT, Part, Purse, Shortfall
from langchain_openrouter_free.catalogue.catalogue import Prices
from langchain_openrouter_free.engine.payments import Held, Payments, Pocket
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores import MemoryStore
from langchain_openrouter_free.stores.redis import RedisStore
from langchain_openrouter_free.testing import FakeClock

NOW = 1_790_000_000.0
BROKEN_OFF = verdict(Kind.ABANDONED, status=200)
TEN = Budget(total=Decimal(10))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if redis_server.PROGRAM is None:
        pytest.skip(redis_server.MISSING)
    with redis_server.served(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the connections of the test's machines: the garbage collector may come to them in another test."""
    yield
    while Machine.made:
        Machine.made.pop().store.close()


class Machine:
    """One of those who share the server; it can be cut off."""

    made: ClassVar[list[Machine]] = []

    def __init__(self, server: Server, sim: Simulator, name: str, budget: str, machines: int, **kwargs: Any) -> None:
        self._server, self._name, self._clock = server, name, Clock()
        self.rejoin()
        url = server.url.replace("//", f"//{name}:{name}@")
        self.store = RedisStore(
            url, degraded="local-share", machines=machines, warn=lambda _: None, monotonic=self._clock
        )
        paid = {"allow_paid": True, "paid_models": [FLAT["id"]], "budget": budget, "project": "team", "max_wait": 0}
        self.model = make(sim, ["test/m01:free"], state=self.store, **paid, **kwargs)
        self.made.append(self)

    def _acl(self, *rules: str) -> None:
        with self._server.client() as client:
            client.execute_command("ACL", "SETUSER", self._name, "reset", f">{self._name}", "~*", "+@all", *rules)

    def cut_off(self) -> None:
        self._acl("off")
        with self._server.client() as client:
            client.execute_command("CLIENT", "KILL", "USER", self._name)

    def rejoin(self) -> None:
        self._acl("on")
        self._clock.now += 31.0

    def pay(self, path: str = "invoke") -> bool:
        try:
            return bool(drive(self.model, path).meta["route"]["paid"])
        except (BudgetExceeded, AllModelsFailed):
            return False


def down() -> Scenario:
    return Scenario(models=[FLAT, "test/m01:free"], scripts={"test/m01:free": "503"})


@pytest.mark.parametrize("path", PATHS)
def test_one_machine_of_two_is_cut_off(path: str, sim: Simulator, server: Server) -> None:
    """Together they spend the budget and no more, though neither sees what the other does."""
    server.forget()
    sim.reset(down())
    one, two = (Machine(server, sim, name, "$4.20 total", 2) for name in ("one", "two"))
    assert one.pay(path)
    assert two.pay(path)
    one.cut_off()
    # $3.70 was left when it last saw the book, after its own.
    assert [one.pay(path) for _ in range(5)] == [True] * 3 + [False] * 2
    assert [two.pay(path) for _ in range(5)] == [True] * 2 + [False] * 3
    one.rejoin()
    # What is left is kept for either of them, and is no whole attempt: it is everyone's when that ends.
    assert not one.pay(path)
    assert not two.pay(path)
    assert sum(entry.cost for entry in sim.bill) == Decimal("3.5")
    assert {found.spent for found in one.model.spending().windows if found.window == "total"} == {"3.5"}


def test_a_part_is_spent_once_in_several_outages(sim: Simulator, server: Server) -> None:
    """Who is back between them, and sees that nothing is left, has no part any more; the others may still be away."""
    server.forget()
    sim.reset(down())
    one, two = (Machine(server, sim, name, "$8 total", 2) for name in ("one", "two"))
    assert one.pay()
    assert two.pay()
    for machine in (one, two):
        machine.cut_off()
    assert sum(machine.pay() for machine in [one] * 8 + [two] * 8) == 13
    for _ in range(2):
        one.rejoin()
        one.model.spending()
        assert not one.pay()
        one.cut_off()
        assert not one.pay()
    for machine, spent in ((one, "4.5"), (two, "7.5")):
        machine.rejoin()
        assert {found.spent for found in machine.model.spending().windows if found.window == "total"} == {spent}
    assert sum(entry.cost for entry in sim.bill) == Decimal("7.5")


def test_who_is_cut_off_as_it_asks_what_an_answer_cost(sim: Simulator, server: Server) -> None:
    """The others are told meanwhile: what they took off is not taken off once more when it is back and is told too."""
    server.forget()
    machines = [Machine(server, sim, name, "$8 total", 2) for name in ("one", "two")]
    one, two = (Payments(machine.store, (Pocket("project", "team", TEN),), Need(max_tokens=1)) for machine in machines)
    for name in ("a", "b"):
        one.reserve(name, Prices(Decimal(1), Decimal(1)), None, NOW)
        one.settle(name, BROKEN_OFF, None, None, f"gen-{name}", NOW)
    assert one.disputed(NOW + 60) == two.disputed(NOW + 60) == ("gen-a", "gen-b")
    machines[0].cut_off()
    for name in ("gen-a", "gen-b"):
        one.reconcile(name, None, NOW + 60)
        two.reconcile(name, int(NANO) // 10, NOW + 60)
    machines[0].rejoin()
    assert one.disputed(NOW + 600) == ()
    for payments in (one, two):
        payments.reconcile("gen-a", int(NANO) // 10, NOW + 600)
        assert [purse.spent_total for purse in payments.look(NOW + 600)] == [int(NANO) // 5]


@pytest.mark.parametrize("lost", range(6))
def test_a_part_that_has_become_smaller_unheard(lost: int, sim: Simulator, server: Server) -> None:
    """The others have what is over of it by then, though its owner's store went away with the answer."""
    server.forget()
    sim.reset(down())
    one, two = (Machine(server, sim, name, "$8 total", 2) for name in ("one", "two"))
    assert [one.pay() for _ in range(1)] + [two.pay() for _ in range(6)] == [True] * 7
    one.model.spending()
    deaf_at(one.store, {lost})
    assert sum(machine.pay() for machine in [one] * 16 + [two] * 16) >= 7
    assert sum(entry.cost for entry in sim.bill) <= Decimal(8)
    one.rejoin()
    total = one.model.spending().windows[-1]
    assert Decimal(total.spent) == sum(entry.cost for entry in sim.bill)


def test_who_has_paid_nothing_yet_has_no_part(sim: Simulator, server: Server) -> None:
    """What is kept for a machine is kept with what it pays for: before, others may have spent all."""
    server.forget()
    sim.reset(down())
    one = Machine(server, sim, "one", "$4 total", 2)
    one.model.spending()
    one.cut_off()
    with pytest.raises(AllModelsFailed, match="the budget cannot be kept"):
        drive(one.model, "invoke")
    one.rejoin()
    assert one.pay()


@pytest.mark.parametrize(("later", "spends"), [(PART_KEPT - 10, True), (PART_KEPT - 4, False)])
def test_a_part_has_an_end(later: float, spends: bool, sim: Simulator, server: Server) -> None:  # noqa: FBT001
    """A machine that is gone must not keep the others from the budget for good."""
    server.forget()
    sim.reset(down())
    clock = FakeClock()
    one = Machine(server, sim, "one", "$4 total", 2, clock=clock)
    assert one.pay()
    clock.advance(later)
    one.cut_off()
    assert one.pay() is spends


@pytest.mark.parametrize("path", PATHS)
def test_what_an_answer_in_dispute_has_not_cost_is_nobodys_while_cut_off(path: str, server: Server) -> None:
    """Each of those who are cut off could ask for it, and would spend the same money: it is asked for when they are
    back."""
    server.forget()
    clock = FakeClock()
    laws = Scenario(models=[DEAR, FLAT, "test/m01:free"], scripts={"test/m01:free": "503", DEAR["id"]: STALL})
    with Simulator(laws, clock=clock.now) as sim:
        one, two = (Machine(server, sim, name, "$3.60 total", 2, clock=clock) for name in ("one", "two"))
        dear = one.model.model_copy(update={"paid_models": [DEAR["id"]], "max_tokens": 300})
        for _ in range(2):
            stream = dear.stream("hi")
            next(stream)
            stream.close()  # type: ignore[attr-defined]
        clock.advance(60)
        assert two.pay(path)
        assert one.pay(path)
        # $2 are left: $1 for each.
        for machine in (one, two):
            machine.cut_off()
        for machine in (one, two):
            machine.model.reconcile()
            assert [machine.pay(path) for _ in range(4)] == [True] * 2 + [False] * 2
        for machine in (one, two):
            machine.rejoin()
            machine.model.reconcile()
        billed = sum(entry.cost for entry in sim.bill)
        assert Decimal(3) < billed < Decimal("3.1")
        [told] = [found for found in one.model.spending().windows if found.window == "total"]
        assert Decimal(told.spent) == billed, "nothing is settled twice"


def test_what_others_may_settle_makes_no_room_for_who_is_cut_off(server: Server) -> None:
    """An answer that ends meanwhile: who still sees the budget finds it held back, asks, and spends the rest."""
    server.forget()
    clock = FakeClock()
    laws = Scenario(models=[DEAR, FLAT, "test/m01:free"], scripts={"test/m01:free": "503"})
    with Simulator(laws, clock=clock.now) as sim:
        one, two = (Machine(server, sim, name, "$3.60 total", 2, clock=clock) for name in ("one", "two"))
        dear = one.model.model_copy(update={"paid_models": [DEAR["id"]], "max_tokens": 300})
        streams = [dear.stream("hi") for _ in range(2)]
        for stream in streams:
            next(stream)
        assert two.pay()
        assert one.pay()
        one.cut_off()
        for stream in streams:
            list(stream)
        clock.advance(60)
        assert [two.pay() for _ in range(4)] == [True] * 3 + [False]
        assert [one.pay() for _ in range(3)] == [True] + [False] * 2
        assert sum(entry.cost for entry in sim.bill) < Decimal("3.6")


STEPS = st.lists(st.tuples(st.sampled_from(["pay", "pay", "pay", "cut", "rejoin"]), st.integers(0, 2)), max_size=30)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_budget_is_passed_by_who_is_cut_off(sim: Simulator, server: Server, steps: list[tuple[str, int]]) -> None:
    server.forget()
    sim.reset(down())
    machines = [Machine(server, sim, name, "$6.20 total", 3) for name in ("one", "two", "three")]
    does: dict[str, Callable[[Machine], Any]] = {
        "pay": Machine.pay,
        "cut": Machine.cut_off,
        "rejoin": Machine.rejoin,
    }
    for what, who in steps:
        does[what](machines[who])
    assert sum(entry.cost for entry in sim.bill) <= Decimal("6.20")
    for machine in machines * 2:
        machine.rejoin()
        machine.pay()
    billed = sum(entry.cost for entry in sim.bill)
    assert billed <= Decimal("6.20")
    [told] = [found for found in machines[0].model.spending().windows if found.window == "total"]
    assert Decimal(told.spent) == billed


def test_a_part_is_of_what_is_left_and_not_kept_already() -> None:
    one = Purse().with_part("one", TEN, 0.5, NOW)
    assert one.part_of("one", NOW) == 5 * NANO
    both = one.with_part("two", TEN, 0.6, NOW)
    assert both.part_of("two", NOW) == 5 * NANO
    assert both.with_part("three", TEN, 0.5, NOW).part_of("three", NOW) is None
    assert both.room(TEN, NOW, kept=both.kept_from("one", NOW)) == 5 * NANO
    assert both.kept_from("", NOW + PART_KEPT) == 0
    assert both.with_part("one", TEN, 0.5, NOW + PART_KEPT).parts.keys() == {"one"}
    assert Purse().with_part("one", Budget(), 0.5, NOW).parts == {}
    assert Purse.decode(both.encode()) == both


def test_of_two_opinions_of_a_part_the_later_one_stays() -> None:
    base = Purse(parts={"one": Part(5, NOW), "two": Part(5, NOW)})
    mine, there = (Purse(parts={"one": Part(amount, NOW + amount)}) for amount in (3, 4))
    assert joined_purses(base, mine, there).parts == {"one": Part(4, NOW + 4)}


def test_a_part_is_of_the_windows_and_not_of_what_one_call_may_cost() -> None:
    one = Purse().with_part("one", Budget(per_call=Decimal(1), total=Decimal(10)), 0.5, NOW)
    assert one.part_of("one", NOW) == 5 * NANO


def test_what_is_kept_for_others_is_nobody_elses_room() -> None:
    """Not one nano-dollar of it; a cap on one call has nothing to do with it."""
    dollar, capped = int(NANO), Budget(per_call=Decimal(9), total=Decimal(10))
    book = Purse().reserved_for("r", 2 * dollar, NOW)
    assert book.room(capped, NOW, kept=5 * dollar) == 3 * dollar
    assert book.shortfall(capped, 3 * dollar, NOW, kept=5 * dollar) is None
    short = book.shortfall(capped, 3 * dollar + 1, NOW, kept=5 * dollar)
    assert short is not None
    assert (short.window, short.reserved) == ("total", 7 * dollar)


def test_an_answer_gets_shorter_for_what_is_kept_for_others() -> None:
    """Where the caller named no limit; else he is refused."""
    store, pocket = MemoryStore(), Pocket("project", "p", Budget(total=1000 / NANO))
    store.update(pocket.page, becoming(Purse(parts={"one": Part(400, NOW + 300)})))
    prices = Prices(Decimal(0), 1 / NANO)
    refused = Payments(store, (pocket,), Need(max_tokens=601)).reserve("r", prices, None, NOW)
    assert isinstance(refused, Shortfall)
    assert Payments(store, (pocket,), Need()).reserve("s", prices, None, NOW) == Held("s", 600)


@pytest.mark.parametrize(
    ("owner", "amount", "left"),
    [("one", 2, {"one": 3, "two": 4}), ("one", 9, {"one": 0, "two": 4}), ("three", 2, {"one": 5, "two": 4})],
)
def test_what_is_spent_of_a_part_unseen_is_taken_off_it(owner: str, amount: int, left: dict[str, int]) -> None:
    book = Purse(parts={"one": Part(5, NOW), "two": Part(4, NOW)}).with_less_of_part(owner, amount)
    assert {name: part.amount for name, part in book.parts.items()} == left


@pytest.mark.parametrize(
    ("later", "perhaps", "least"),
    [
        (0.0, {}, 5),
        (0.0, {"one": Part(3, NOW + 310)}, 3),
        (0.0, {"one": Part(7, NOW + 310)}, 5),
        (0.0, {"one": Part(3, NOW + 300)}, 5),
        (0.0, {"two": Part(3, NOW + 310)}, 5),
        (294.9, {"one": Part(3, NOW + 310)}, 3),
        (295.0, {"one": Part(3, NOW + 310)}, None),
    ],
)
def test_of_a_part_that_may_have_been_renewed_the_smaller_one_is_spent(
    later: float, perhaps: dict[str, Part], least: int | None
) -> None:
    """One that ends no later is an older one, and says nothing; five seconds before its end a part is not touched."""
    book = Purse(parts={"one": Part(5, NOW + 300)})
    assert book.least_part([Purse(parts=perhaps)], "one", NOW + later) == least
    assert book.least_part([Purse(parts=perhaps)], "nobody", NOW + later) is None


def test_what_was_held_back_and_is_settled_since() -> None:
    """An answer in dispute is not settled: it is booked in full, and others may set that right."""
    seen = Purse()
    for key, amount in (("told", 5), ("disputed", 7), ("open", 9)):
        seen = seen.reserved_for(key, amount, NOW).named(key, f"gen-{key}")
    book = seen.settled("told", 1, NOW).settled("disputed", None, NOW).reserved_for("new", 11, NOW)
    assert book.settled_since(seen) == 5
