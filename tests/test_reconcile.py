"""What nobody told the cost of is booked at its worst case, until `GET /generation` says less."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from driving import PATHS, TWENTY, asked, drive
from money_world import DAY, DEAR, FLAT, NEVER, STALL, WORST, World, figures, reconciled, window
from pydantic import SecretStr

from langchain_openrouter_free import BudgetExceeded, ChatOpenRouterFree, OpenRouterFreeError
from langchain_openrouter_free.books.purse import LEASE
from langchain_openrouter_free.catalogue.fetching import Fetched
from langchain_openrouter_free.request.lookup import ServiceLookup, cost_of
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.simulator.behaviours import REGISTRY
from langchain_openrouter_free.testing import FakeClock


@pytest.fixture
def world() -> Iterator[World]:
    # A killed process has this machine's clock.
    clock = FakeClock(time.time())
    with Simulator(clock=clock.now) as sim:
        yield World(sim, clock)


# -- how a stream can end before its time


def closed(world: World) -> None:
    stream = world.model().stream("hi")
    next(stream)
    stream.close()  # type: ignore[attr-defined]


def aclosed(world: World) -> None:
    async def run() -> None:
        stream = world.model().astream("hi")
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())


def left_by_an_error(world: World) -> None:
    stream = world.model().stream("hi")
    with contextlib.closing(stream), contextlib.suppress(ZeroDivisionError):  # type: ignore[type-var]
        for _ in stream:
            raise ZeroDivisionError


def cancelled(path: str) -> Callable[[World], None]:
    def end(world: World) -> None:
        async def run() -> None:
            model = world.model()
            call = model.ainvoke("hi") if path == "ainvoke" else anext(aiter(model.astream("hi", stop=["none"])))
            task = asyncio.ensure_future(call)
            assert await asyncio.to_thread(world.store.named.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(run())

    return end


def broken(path: str, **kwargs: Any) -> Callable[[World], None]:
    def end(world: World) -> None:
        with pytest.raises(OpenRouterFreeError):
            drive(world.model(**kwargs), path)

    return end


CUTS = ("cut", "cut-clean", "error-chunk-after", "error-chunk-choice", "200-truncated-json")
ENDS: dict[str, tuple[Any, Callable[[World], None]]] = {
    "stream closed": (STALL, closed),
    "astream closed": (STALL, aclosed),
    "error in the caller": (STALL, left_by_an_error),
    "ainvoke cancelled": (STALL, cancelled("ainvoke")),
    "astream cancelled": ("hang-after-headers", cancelled("astream")),
    **{f"{path} {cut}": (cut, broken(path)) for path in PATHS for cut in CUTS},
    **{f"plain {path} cut": ("cut", broken(path, wire="plain")) for path in ("invoke", "ainvoke")},
}
# The simulator bills no answer that never began.
UNBILLED = {"astream cancelled"}


@pytest.mark.parametrize("way", ["reconcile", "areconcile"])
@pytest.mark.parametrize("end", ENDS)
def test_an_answer_that_breaks_off(world: World, end: str, way: str) -> None:
    """The worst case, in dispute; once the service knows more, its bill to the nano-dollar."""
    behaviour, leave = ENDS[end]
    world.play(behaviour)
    leave(world)
    assert asked(world.sim) == [TWENTY[0], DEAR["id"]]
    model = world.model()
    assert figures(model.spending()) == (WORST, 0, WORST, 0)
    world.clock.advance(29)
    assert figures(reconciled(model, way)) == (WORST, 0, WORST, 0)
    assert world.questions() == 0, "the service knows nothing yet"
    world.clock.advance(2)
    told = reconciled(model, way)
    assert world.questions() == 1
    if end in UNBILLED:
        assert figures(told) == (WORST, 0, WORST, 0)
        return
    assert 0 < world.bill < WORST
    assert figures(told) == (world.bill, 0, 0, 0)
    assert Decimal(window(told, "day").spent) == Decimal(window(told, "month").spent) == world.bill
    assert figures(reconciled(model, way)) == (world.bill, 0, 0, 0)
    assert world.questions() == 1, "what is settled is not asked for again"


def without_a_header(world: World) -> None:
    """Let the service tell the id of an answer in the answer alone."""
    pages = world.sim._service.world
    honest = pages.answer

    def answer(request: Any) -> Any:
        reply = honest(request)
        reply.headers.pop("X-Generation-Id", None)
        return reply

    pages.answer = answer  # type: ignore[method-assign]


@pytest.mark.parametrize("end", ["stream closed", "astream closed", "invoke cut", "ainvoke cut-clean", "died"])
def test_an_answer_that_is_named_in_its_pieces_alone(world: World, tmp_path: Path, end: str) -> None:
    """As older replies are, and those behind a gateway that drops headers: its cost is asked for all the same."""
    file = tmp_path / "state.sqlite3"
    behaviour, leave = ENDS.get(
        end, (STALL, lambda _: killed(world, file, lambda one: one.stdout and one.stdout.readline()))
    )
    world.play(behaviour)
    without_a_header(world)
    leave(world)
    world.clock.advance(60)
    where: dict[str, Any] = {"state": str(file)} if end == "died" else {}
    model = world.model(**where)
    assert figures(model.reconcile()) == (world.bill, 0, 0, 0)
    assert 0 < world.bill < WORST


# Those that never end by themselves, or take seconds.
_LONG = {"hang-before-headers", "hang-after-headers", "drip", "stall", "slow", "huge"}


@pytest.mark.parametrize("path", ["invoke", "astream"])
@pytest.mark.parametrize("behaviour", sorted(REGISTRY.keys() - _LONG))
def test_whatever_happens_the_bill_is_covered(world: World, behaviour: str, path: str) -> None:
    """Before the service is asked the ledger is never below its bill; after that only what it does not know is."""
    world.play(behaviour)
    model = world.model()
    with contextlib.suppress(OpenRouterFreeError):
        drive(model, path)
    spent, reserved, disputed, unknown = figures(model.spending())
    assert reserved == 0
    assert spent >= world.bill
    assert spent - disputed - unknown <= world.bill, "what is not in doubt was billed"
    world.clock.advance(60)
    spent, reserved, disputed, unknown = figures(model.reconcile())
    assert spent - disputed - unknown == world.bill
    assert not (world.bill and disputed + unknown)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("refusal", ["429-upstream", "500", "503", "404-delisted"])
def test_a_refusal_is_given_back(world: World, path: str, refusal: str) -> None:
    """Nothing was processed: nothing is spent, reserved or in dispute, and there is nothing to ask."""
    world.play(refusal)
    with pytest.raises(OpenRouterFreeError):
        drive(world.model(), path)
    assert asked(world.sim)[-1] == DEAR["id"]
    world.clock.advance(60)
    assert figures(world.model().reconcile()) == (0, 0, 0, 0)
    assert world.questions() == 0


# -- what the service does not know


@pytest.mark.parametrize("way", ["reconcile", "areconcile"])
def test_nothing_changes_before_the_service_knows(world: World, way: str) -> None:
    """It says 404 for minutes: that is no answer, and no cost of zero."""
    world.play(STALL, delay=600)
    closed(world)
    model = world.model()
    for asks in (1, 2, 3):
        world.clock.advance(180)
        assert figures(reconciled(model, way)) == (WORST, 0, WORST, 0)
        assert world.questions() == asks
    world.clock.advance(180)
    assert figures(reconciled(model, way)) == (world.bill, 0, 0, 0)


def test_what_nobody_ever_knows_stays_counted(world: World) -> None:
    """After two days it is unknown, and not asked for any more; the day's budget is new, the total's is not."""
    world.play(STALL, delay=NEVER)
    closed(world)
    model = world.model()
    world.clock.advance(2 * DAY - 60)
    assert figures(model.reconcile()) == (WORST, 0, WORST, 0)
    assert world.questions() == 1
    world.clock.advance(60)
    told = model.reconcile()
    assert figures(told) == (WORST, 0, 0, WORST)
    assert window(told, "day").spent == "0"
    assert world.questions() == 1
    assert "never told: $0.3" in str(told)


def test_what_is_told_next_day_frees_the_day_it_was_spent_on(world: World) -> None:
    """The new day's counter never had it, and does not go below nothing."""
    world.play(STALL)
    closed(world)
    world.clock.advance(DAY)
    told = world.model().reconcile()
    assert figures(told) == (world.bill, 0, 0, 0)
    assert window(told, "day").spent == "0"


# -- processes that die

DYING = """
import sys
from langchain_openrouter_free import ChatOpenRouterFree
url, key, path, free, paid = sys.argv[1:]
model = ChatOpenRouterFree(
    models=[free], api_key=key, base_url=url, state=path,
    allow_paid=True, paid_models=[paid], budget="$9", project="one", max_tokens=300,
)
for chunk in model.stream("hi"):
    print(chunk.text, flush=True)
"""


def killed(world: World, file: Path, when: Callable[[subprocess.Popen[str]], object]) -> None:
    """Let another process stream a paid answer, and end it with SIGKILL."""
    sim = world.sim
    arguments = [sys.executable, "-c", DYING, sim.base_url, sim.api_key, str(file), TWENTY[0], str(DEAR["id"])]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
        when(child)
        child.kill()
        assert child.wait(20) == -signal.SIGKILL


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "after-the-lease"])
def test_a_process_killed_in_its_stream(world: World, tmp_path: Path, late: bool) -> None:  # noqa: FBT001
    """Its reservation is found by another process, and settled at what the answer cost."""
    file = tmp_path / "state.sqlite3"
    world.play(STALL)
    killed(world, file, lambda child: child.stdout and child.stdout.readline())
    model = world.model(state=str(file))
    assert figures(model.spending()) == (0, WORST, 0, 0)
    world.clock.advance(LEASE + 60 if late else 60)
    assert figures(model.spending()) == ((WORST, 0, WORST, 0) if late else (0, WORST, 0, 0))
    assert figures(model.reconcile()) == (world.bill, 0, 0, 0)
    assert 0 < world.bill < WORST


def test_a_process_killed_before_its_answer_had_a_name(world: World, tmp_path: Path) -> None:
    """Nobody can be asked: reserved until the lease is over, and counted for ever."""
    file = tmp_path / "state.sqlite3"
    world.play("hang-before-headers")
    killed(world, file, lambda _: world.sim.wait_for(lambda sim: len(sim.chats()) == 2, 20))
    model = world.model(state=str(file))
    world.clock.advance(60)
    assert figures(model.reconcile()) == (0, WORST, 0, 0)
    world.clock.advance(LEASE)
    assert figures(model.reconcile()) == (WORST, 0, 0, WORST)
    assert world.questions() == 0


# -- a budget that falls short


@pytest.mark.parametrize("path", PATHS)
def test_disputes_are_settled_before_a_call_is_refused(world: World, path: str) -> None:
    """$0.30 of $0.50 are booked unseen; the next $0.30 pass, because the answer cost less."""
    world.play([STALL, "ok"])
    closed(world)
    world.clock.advance(60)
    told = drive(world.model(budget="$0.5"), path)
    assert told.meta["route"]["paid"]
    assert world.questions() == 1
    assert figures(world.model().spending()) == (world.bill, 0, 0, 0)
    assert len(world.sim.bill) == 2


@pytest.mark.parametrize("path", PATHS)
def test_only_then_the_budget_is_exceeded(world: World, path: str) -> None:
    """Nobody knows what it cost: asked once, refused, and nothing was sent or held back."""
    world.play([STALL, "ok"], delay=NEVER)
    closed(world)
    world.clock.advance(60)
    with pytest.raises(BudgetExceeded) as caught:
        drive(world.model(budget="$0.5"), path)
    error = caught.value
    assert (error.whose, error.window, error.cap) == ("project", "total", "0.5")
    assert (error.spent, error.reserved, error.asked) == ("0.3", "0", "0.3")
    assert world.questions() == 1
    assert asked(world.sim).count(DEAR["id"]) == 1
    assert figures(world.model().spending()) == (WORST, 0, WORST, 0)


def test_a_budget_that_holds_the_call_asks_nothing(world: World) -> None:
    world.play([STALL, "ok"])
    closed(world)
    world.clock.advance(60)
    assert drive(world.model(budget="$0.6"), "invoke").meta["route"]["paid"]
    assert world.questions() == 0


@pytest.mark.parametrize("path", PATHS)
def test_answers_that_are_still_coming_are_asked_for_ever_more_seldom(world: World, path: str) -> None:
    """Long streams hold the budget: the calls that fall short of it meanwhile do not all ask what those will cost."""
    world.play([STALL, STALL, "ok"], delay=NEVER)
    with contextlib.ExitStack() as open_:
        for _ in range(2):
            stream = open_.enter_context(contextlib.closing(world.model().stream("hi")))  # type: ignore[type-var]
            next(stream)
        world.clock.advance(60)
        for _ in range(8):
            with pytest.raises(BudgetExceeded):
                drive(world.model(budget="$0.8"), path)
            world.clock.advance(10)
        assert world.questions() == 2 * 2, "after a minute, and after two"


@pytest.mark.parametrize("path", PATHS)
def test_a_page_of_costs_that_hangs_holds_a_call_up_once(
    world: World, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many answers are in dispute: a call waits no longer for all of them than for one."""
    world.play(STALL, delay=NEVER)
    for _ in range(4):
        closed(world)
    world.clock.advance(60)
    asks: list[str] = []

    def hang(_: ServiceLookup, answer: str) -> None:
        asks.append(answer)
        world.clock.advance(5.0)

    async def ahang(lookup: ServiceLookup, answer: str) -> None:
        hang(lookup, answer)

    monkeypatch.setattr(ServiceLookup, "cost", hang)
    monkeypatch.setattr(ServiceLookup, "acost", ahang)
    for number in range(1, 4):
        began = world.clock.now()
        with pytest.raises(BudgetExceeded):
            drive(world.model(budget="$1.3"), path)
        assert world.clock.now() - began == 5.0
        assert len({*asks}) == len(asks) == number


@pytest.mark.parametrize("path", PATHS)
def test_an_account_that_is_not_told_keeps_nobody_else_from_asking(world: World, path: str) -> None:
    """Two accounts spend one project's budget: who asks in vain for the other's answer asks ever more seldom itself."""
    world.play([STALL, "ok"], keys=[world.sim.api_key, {"key": "sk-other", "account": "other"}])
    closed(world)
    for _ in range(5):
        world.clock.advance(60)
        with pytest.raises(BudgetExceeded):
            drive(world.model(budget="$0.5", api_key="sk-other"), path)
    assert world.questions() == 3
    assert drive(world.model(budget="$0.5"), path).meta["route"]["paid"]
    assert figures(world.model().spending()) == (world.bill, 0, 0, 0)


def test_old_disputes_that_nobody_knows_do_not_hide_a_new_one(world: World) -> None:
    """Five answers are lost for ever; of the sixth the service knows that it cost next to nothing."""
    world.play(STALL, delay=NEVER)
    for _ in range(5):
        closed(world)
    world.clock.advance(60)
    world.play([STALL, "ok"])
    closed(world)
    world.clock.advance(60)
    model = world.model(budget="$2")
    for _ in range(2):
        with contextlib.suppress(BudgetExceeded):
            assert drive(model, "invoke").meta["route"]["paid"]
            return
    pytest.fail("the budget holds the call once the sixth is settled")


def test_a_clock_that_is_ahead_opens_no_new_day(world: World) -> None:
    """It is 23:00 at the server and past midnight here: asking for costs in between frees no budget."""
    world.clock.advance((world.clock.now() // DAY + 1) * DAY - 3600 - world.clock.now())
    here = FakeClock(world.clock.now() + 7200)
    world.play(STALL)
    model = world.model(FLAT, budget="$0.9/day", clock=here)
    drive(model, "invoke")
    stream = world.model(budget="$0.9/day", clock=here).stream("hi")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    for clock in (world.clock, here):
        clock.advance(60)
    assert Decimal(window(model.reconcile(), "day").spent) == world.bill
    with pytest.raises(BudgetExceeded):
        drive(model, "invoke")


@pytest.mark.parametrize(("own_key", "cost"), [(True, 320_000_000), (False, 20_000_000), (None, 20_000_000)])
def test_a_bill_to_a_key_of_one_s_own_is_part_of_the_cost(own_key: object, cost: int) -> None:
    """The service takes a fee, or nothing, and the provider bills the rest."""
    data = {"total_cost": 0.02, "upstream_inference_cost": 0.3, "is_byok": own_key}
    assert cost_of(Fetched(200, json.dumps({"data": data}).encode()), "gen-1") == cost


@pytest.mark.parametrize(
    ("status", "rest", "cost"),
    [
        (200, {"id": "gen-1"}, 0),
        (200, {}, 0),
        (200, {"id": "gen-2"}, None),
        (200, {"error": {"code": 500}}, None),
        (500, {"id": "gen-1"}, None),
    ],
)
def test_a_cost_is_believed_of_the_answer_that_was_asked_for(status: int, rest: dict[str, Any], cost: object) -> None:
    """What a cache or a gateway says of another answer, or beside an error, takes nothing off the book."""
    body = {"data": {"total_cost": 0, **rest}, "error": rest.get("error")}
    assert cost_of(Fetched(status, json.dumps(body).encode()), "gen-1") == cost


def test_a_key_that_changes_meanwhile_asks_for_no_answer_of_the_former_account(world: World) -> None:
    """Nor is it noted of that one that it was not told."""
    world.play(STALL)
    closed(world)
    world.clock.advance(DAY / 2)
    model, books = world.model(), ChatOpenRouterFree._books

    def opened(self: Any, *accounts: Any) -> Any:
        self.api_key = SecretStr("sk-or-v1-of-another-account")
        return books(self, *accounts)

    with patch.object(ChatOpenRouterFree, "_books", opened):
        asyncio.run(model.areconcile())
    asking = [one for one in world.sim.received if "/generation" in one.path]
    assert {one.headers["authorization"] for one in asking} == {world.sim.chats()[0].headers["authorization"]}
