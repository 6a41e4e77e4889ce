"""Copies of the service's list: who waits for a new one, who fetches it, and who shares it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from background import settled
from driving import PATHS, TWENTY, asked, drive, make

from langchain_openrouter_free import AllModelsFailed, MemoryStore, NoSuitableModel, OpenRouterFreeError
from langchain_openrouter_free.catalogue.catalogue import FRESH, Listing
from langchain_openrouter_free.catalogue.listings import LISTINGS, USABLE, YOUNG, decode, encode
from langchain_openrouter_free.request import lookup
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

FREE = {"prompt": "0", "completion": "0"}
USER, ALL = "/api/v1/models/user", "/api/v1/models"


def lists(sim: Simulator) -> list[str]:
    """The lists that were fetched, in order."""
    return [one.path for one in sim.received if one.path in (USER, ALL)]


def failing(sim: Simulator, *paths: str, status: int = 500) -> None:
    """Let the simulator refuse some lists, or by a status of 0 never answer."""
    from langchain_openrouter_free.simulator.reply import FOREVER, Reply, json_reply  # noqa: PLC0415

    world = sim._service.world
    honest = world.answer

    def answer(request: Any) -> Any:
        if request.path in paths:
            return json_reply(status, {"error": {"message": "no"}}) if status else Reply(200, wait=FOREVER)
        return honest(request)

    world.answer = answer  # type: ignore[method-assign]


def slow(sim: Simulator, seconds: float) -> None:
    """Let the simulator think before it gives a list."""
    world = sim._service.world
    honest = world.answer

    def answer(request: Any) -> Any:
        reply = honest(request)
        return replace(reply, wait=seconds) if request.path in (USER, ALL) else reply

    world.answer = answer  # type: ignore[method-assign]


@pytest.mark.parametrize("path", PATHS)
def test_what_the_account_may_use_comes_first(path: str) -> None:
    """Of two lists the account's own is asked for; a model that is closed to it costs no request."""
    with Simulator(Scenario(closed=[TWENTY[0]])) as sim:
        told = drive(make(sim, TWENTY[:2]), path)
        assert (told.meta["route"]["model"], told.outcomes) == (TWENTY[1], ["ok"])
        assert lists(sim) == [USER]


@pytest.mark.parametrize("status", [401, 403, 404, 500])
@pytest.mark.parametrize("path", PATHS)
def test_without_it_all_that_is_on_offer_will_do(path: str, status: int) -> None:
    with Simulator() as sim:
        model = make(sim, TWENTY[:1])
        failing(sim, USER, status=status)
        assert drive(model, path).text
        assert lists(sim) == [USER, ALL]


@pytest.mark.parametrize("path", PATHS)
def test_a_paid_id_that_the_accounts_list_lacks(path: str) -> None:
    """Its price stands in the other list; a free id of that one is not taken over."""
    paid = {"id": "simulated/dear", "pricing": {"prompt": "0.000001", "completion": "0.000001"}}
    with Simulator(Scenario(models=[paid, *TWENTY[:2]], closed=[TWENTY[0]], scripts={TWENTY[1]: "503"})) as sim:
        sim._service.world.state.scenario.closed.append("simulated/dear")
        model = make(sim, TWENTY[:2], allow_paid=True, paid_models=["simulated/dear"], budget="$1", project=path)
        with pytest.raises(AllModelsFailed, match="simulated/dear: closed"):
            drive(model, path)
        assert lists(sim) == [USER, ALL]
        assert asked(sim) == [TWENTY[1], "simulated/dear"], "its price was known; the account may not use it"


def test_two_models_of_an_account_keep_both_their_prices() -> None:
    """Each pays for an id that the account's own list lacks; a list that is fetched for one has the other's as well."""
    price = {"prompt": "0.000001", "completion": "0.000001"}
    dear: list[dict[str, Any]] = [{"id": f"simulated/dear-{name}", "pricing": price} for name in "ab"]
    clock = FakeClock()
    with Simulator(Scenario(models=[*dear, TWENTY[0]], scripts={TWENTY[0]: "503"}), clock=clock.now) as sim:
        sim._service.world.state.scenario.closed += [row["id"] for row in dear]
        paying: dict[str, Any] = {"allow_paid": True, "budget": "$1", "state": MemoryStore(), "clock": clock}
        models = [make(sim, TWENTY[:1], paid_models=[row["id"]], max_wait=0.0, **paying) for row in dear]
        for _ in range(2):
            for model, row in zip(models, dear, strict=True):
                with pytest.raises(AllModelsFailed, match=f"{row['id']}: closed"):
                    model.invoke("hi")
                settled()
            clock.advance(FRESH + 8 * 86_400)


@pytest.mark.parametrize("path", PATHS)
def test_nobody_waits_while_a_usable_copy_exists(path: str) -> None:
    """After an hour a call goes by the old copy, and the next one by the new one."""
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:2], clock=clock)
        assert drive(model, path).text
        clock.advance(FRESH - 1)
        assert drive(model, path).text
        assert len(lists(sim)) == 1
        sim.reset(Scenario(gone=[TWENTY[0]], models=[TWENTY[1]]))
        clock.advance(2)
        assert drive(model, path).outcomes == ["delisted", "ok"], "the old copy still had it"
        settled()
        assert len(lists(sim)) == 1
        assert drive(model, path).outcomes == ["ok"]
        assert asked(sim) == [TWENTY[0], TWENTY[1], TWENTY[1]]


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
@pytest.mark.parametrize("script", ["ok", ["ok", "404-delisted"]])
def test_a_list_takes_its_time_in_the_background(path: str, script: Any) -> None:
    """However short the call that had it fetched, because it was old or because a model has gone."""
    clock = FakeClock()
    with Simulator(Scenario(models=TWENTY[:2], scripts={TWENTY[0]: script}), clock=clock.now) as sim:
        model = make(sim, TWENTY[:2], clock=clock, sticky=False, timeouts={"call": 1.0})
        drive(model, path)
        sim.offer(TWENTY[2])
        slow(sim, 0.8)
        clock.advance(FRESH + 1 if script == "ok" else YOUNG + 1)
        drive(model, path)
        settled()
        assert TWENTY[2] in {facts.id for facts in model.catalogue}


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_first_list_takes_its_time_in_the_background(path: str) -> None:
    """A call that has less is answered by what is known without it, and the next ones know it."""
    with Simulator(Scenario(models=TWENTY[:2])) as sim:
        slow(sim, 1.2)
        model = make(sim, TWENTY[:1], timeouts={"call": 2.0})
        assert drive(model, path).text
        assert TWENTY[1] not in {facts.id for facts in model.catalogue}
        settled()
        assert TWENTY[1] in {facts.id for facts in model.catalogue}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("ranking", [["auto"], [*TWENTY[:4], "auto"], [*TWENTY[:4], TWENTY[4]]])
def test_after_two_deaths_a_newer_list_is_waited_for(path: str, ranking: list[str]) -> None:
    """Each further one would cost a request. The last list may be young, and a good one."""
    clock = FakeClock()
    with Simulator(Scenario(models=TWENTY[:4]), clock=clock.now) as sim:
        model = make(sim, ranking, clock=clock, state=MemoryStore(), sticky=False)
        assert drive(model, path).text
        sim.serve([{"id": one, "pricing": FREE} for one in TWENTY[4:6]])
        told = drive(model, path)
        assert told.outcomes == ["delisted", "delisted", "ok"]
        assert told.meta["model_name"] in TWENTY[4:6]


@pytest.mark.parametrize("path", PATHS)
def test_a_newer_list_is_waited_for_where_all_of_this_one_are_gone(path: str) -> None:
    """Before the call fails; without a minute's pause after the last one."""
    clock = FakeClock()
    with Simulator(Scenario(models=TWENTY[:12]), clock=clock.now) as sim:
        model = make(sim, ["auto"], clock=clock, state=MemoryStore(), sticky=False)
        assert drive(model, path).text
        # Twelve die at once, and then one: a list that has lost so much is doubted, but for whom it has anew.
        for there in (TWENTY[12:13], TWENTY[14:16]):
            sim.serve([{"id": one, "pricing": FREE} for one in there])
            told = drive(model, path)
            assert told.meta["model_name"] in there
            assert set(told.outcomes[:-1]) == {"delisted"}
        assert max(Counter(asked(sim)).values()) <= 2, "once for its answer, and once for its death"


@pytest.mark.parametrize("path", PATHS)
def test_a_newer_list_is_looked_at_before_anybody_is_paid(path: str) -> None:
    """It costs nothing, and may have a free model."""
    paid = {"id": "simulated/dear", "pricing": {"prompt": "0.000001", "completion": "0.000001"}}
    clock = FakeClock()
    with Simulator(Scenario(models=[TWENTY[0], paid]), clock=clock.now) as sim:
        fields: dict[str, Any] = {"allow_paid": True, "paid_models": [paid["id"]], "budget": "$1 total"}
        model = make(sim, ["auto"], clock=clock, **fields)
        assert drive(model, path).meta["model_name"] == TWENTY[0]
        for there, served in (([TWENTY[1]], TWENTY[1]), ([], paid["id"])):
            sim.serve([paid, *({"id": one, "pricing": FREE} for one in there)])
            assert drive(model, path).meta["model_name"] == served


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
def test_a_newer_list_that_does_not_come_is_not_waited_for_beyond_the_calls_end(path: str) -> None:
    """Whoever fetches it: the call, or the background, which has more patience."""
    with Simulator(Scenario(models=TWENTY[:3], scripts={"*": "404-delisted", TWENTY[2]: "ok"})) as sim:
        model = make(sim, TWENTY[:3], state=MemoryStore())
        model.refresh()
        failing(sim, USER, ALL, status=0)
        began = time.monotonic()
        assert drive(model, path, timeout=2.0).outcomes == ["delisted", "delisted", "ok"]
        assert time.monotonic() - began < 2.0


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_whoever_else_fetches_is_not_waited_for_longer(colour: str) -> None:
    """A fetch in the background has four times the patience; a call's own end is nearer still."""
    with Simulator(Scenario(models=TWENTY[:4], scripts={one: ["ok", "404-delisted"] for one in TWENTY[:3]})) as sim:
        model = make(sim, TWENTY[:4], state=MemoryStore(), sticky=False, timeouts={"call": 1.0})
        for one in TWENTY[:3]:
            model.invoke("hi", model=one)
        account = model._lookup().shelf.account

        async def call() -> Any:
            async with LISTINGS.turn_on_this_loop(account):  # it hangs
                return await asyncio.wait_for(model.ainvoke("hi"), 5)

        with ThreadPoolExecutor() as pool, LISTINGS.turn(account):
            told = pool.submit(model.invoke, "hi").result(5) if colour == "sync" else asyncio.run(call())
        outcomes = [attempt["outcome"] for attempt in told.response_metadata["route"]["attempts"]]
        assert outcomes == ["delisted", "delisted", "delisted", "ok"]


def test_calls_at_once_look_at_the_same_newer_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a megabyte, and may have the dead ones as well: whoever waited for it needs none of its own."""
    # On a busy machine some of them are there before the others have lost their patience.
    monkeypatch.setattr(lookup, "_PATIENCE", replace(lookup._PATIENCE, call=60.0))
    with Simulator(Scenario(models=TWENTY[:2], scripts={"*": "404-delisted"})) as sim:
        model = make(sim, TWENTY[:2], state=MemoryStore())

        async def calls() -> None:
            model.refresh()
            turn = LISTINGS.turn_on_this_loop(model._lookup().shelf.account)
            async with turn:
                waiting = [asyncio.create_task(model.ainvoke("hi")) for _ in range(5)]
                while sum(not task.done() for task in waiting) != len(turn._waiters or ()):  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.01)
                several = len(turn._waiters or ())
            await asyncio.gather(*waiting, return_exceptions=True)
            assert several > 1

        asyncio.run(calls())
        settled()
        assert len(lists(sim)) == 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("ranking", "fetched"), [(TWENTY[:2], 2), (TWENTY[:1], 1), (["*", TWENTY[0]], 2)])
def test_it_is_looked_at_once(path: str, ranking: list[str], fetched: int) -> None:
    """Where the service's list has nobody else either; not at all for one death where only ids are named."""
    with Simulator(Scenario(models=TWENTY[:2], scripts={"*": "404-delisted"})) as sim:
        model = make(sim, ranking, state=MemoryStore(), clock=FakeClock())
        for _ in range(3):
            with pytest.raises(OpenRouterFreeError):
                drive(model, path)
            settled()
            assert len(lists(sim)) == fetched


@pytest.mark.parametrize("path", PATHS)
def test_a_copy_that_is_too_old_is_waited_for(path: str) -> None:
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:2], clock=clock)
        assert drive(model, path).text
        sim.reset(Scenario(gone=[TWENTY[0]], models=[TWENTY[1]]))
        clock.advance(USABLE + 1)
        assert drive(model, path).outcomes == ["ok"]
        assert asked(sim) == [TWENTY[1]]


def test_a_refresh_that_fails_is_not_tried_at_every_call() -> None:
    """And the copy serves on."""
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:1], clock=clock)
        model.invoke("hi")
        failing(sim, USER, ALL)
        clock.advance(FRESH + 1)
        for _ in range(3):
            assert model.invoke("hi").text
            settled()
        assert lists(sim) == [USER, USER, ALL]
        clock.advance(31)
        assert model.invoke("hi").text
        settled()
        assert len(lists(sim)) == 5


@pytest.mark.parametrize("path", PATHS)
def test_a_dead_id_costs_one_request_and_one_list(path: str) -> None:
    """A delisting error has the list fetched anew; from then on the id is not asked, and nothing more is fetched."""
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:2], clock=clock)
        assert drive(model, path).text
        sim.reset(Scenario(gone=[TWENTY[0]], models=[TWENTY[1]]))
        clock.advance(600)
        for _ in range(3):
            assert drive(model, path).meta["route"]["model"] == TWENTY[1]
            settled()
            clock.advance(90)
        assert asked(sim).count(TWENTY[0]) == 1
        assert len(lists(sim)) == 1


@pytest.mark.parametrize(("status", "seconds"), [(404, FRESH), (405, FRESH), (501, FRESH), (500, 30), (401, 30)])
def test_a_server_without_a_list_is_left_alone(status: int, seconds: float) -> None:
    """For an hour where there is no such page, else for a moment; what is named is believed meanwhile."""
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:1], clock=clock)
        failing(sim, USER, ALL, status=status)
        for advance, fetched in ((0, 2), (seconds - 1, 2), (1, 4)):
            clock.advance(advance)
            assert model.invoke("hi").text
            assert len(lists(sim)) == fetched


def test_processes_share_a_copy(tmp_path: Path) -> None:
    """A new process on the same state fetches nothing; one of another account does."""
    file, clock = tmp_path / "state.sqlite3", FakeClock()
    with Simulator(Scenario(keys=["sk-one", "sk-two"]), clock=clock.now) as sim:
        for key, count in (("sk-one", 1), ("sk-one", 1), ("sk-two", 2)):
            LISTINGS.clear()  # as in a new process
            assert make(sim, TWENTY[:1], clock=clock, state=SqliteStore(file), api_key=key).invoke("hi").text
            assert len(lists(sim)) == count
        LISTINGS.clear()
        clock.advance(FRESH + 1)
        assert make(sim, TWENTY[:1], clock=clock, state=SqliteStore(file), api_key="sk-one").invoke("hi").text
        settled()
        assert len(lists(sim)) == 3, "it was usable, and not fresh"


@pytest.mark.parametrize("path", PATHS)
def test_an_old_copy_is_renewed_by_a_process_that_makes_one_call(tmp_path: Path, path: str) -> None:
    """Without waiting: the call goes by the copy of the state, and the next process by the new one."""
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        for fetched in (1, 2, 3):
            LISTINGS.clear()  # as in a new process
            assert drive(make(sim, TWENTY[:1], clock=clock, state=SqliteStore(tmp_path / "state.sqlite3")), path).text
            settled()
            assert len(lists(sim)) == fetched
            clock.advance(FRESH)


@pytest.mark.parametrize("path", PATHS)
def test_a_pinned_id_that_is_new_is_looked_for(path: str) -> None:
    """As one of the ranking is: the list is fetched once more for it."""
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:1], clock=clock)
        assert drive(model, path).text
        sim.offer("test/new:free")
        clock.advance(300)
        assert drive(model, path, model="test/new:free").meta["route"]["model"] == "test/new:free"
        assert len(lists(sim)) == 2


@pytest.mark.parametrize("is_down", [False, True])
@pytest.mark.parametrize("beside", [[], TWENTY[:1]], ids=["alone", "beside"])
@pytest.mark.parametrize("path", PATHS)
def test_an_id_that_a_copy_is_too_old_for_is_looked_for(path: str, beside: list[str], *, is_down: bool) -> None:
    """By a new process that finds the copy, and again by one whose look has failed; alone it is waited for."""
    clock, store = FakeClock(), MemoryStore()
    with Simulator(clock=clock.now) as sim:
        assert make(sim, TWENTY[:1], clock=clock, state=store).invoke("hi").text
        model = make(sim, ["test/new:free", *beside], clock=clock, state=store)
        clock.advance(300)
        if not is_down:
            LISTINGS.clear()  # as in a new process
        else:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(sim._service.world, "answer", sim._service.world.answer)
                failing(sim, USER, ALL)
                with nullcontext() if beside else pytest.raises(NoSuitableModel):
                    drive(model, path)
                settled()
            clock.advance(61)
        served = []
        for _ in range(2):
            served.append(drive(model, path).meta["route"]["model"])
            settled()
        assert served == [*beside, "test/new:free", "test/new:free"][:2]


def test_on_demand() -> None:
    """`refresh` fetches at once, whatever the age of the copy."""
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:2], clock=clock)
        model.invoke("hi")
        sim.reset()
        sim._service.world.state.catalogue.gone.update(TWENTY[:2])
        model.refresh()
        with pytest.raises(NoSuitableModel):
            model.invoke("hi")
        assert asked(sim) == []


def test_a_list_is_read_as_it_was_written() -> None:
    """Less what is for people only."""
    rows = [{"id": "a/b:free", "pricing": {"prompt": "0"}, "new": [1], "description": "long"}, {"id": "c/d"}]
    listing = Listing.of({"data": rows}, 12.5)
    assert listing is not None
    again = decode(encode(listing))
    assert again.at == 12.5
    assert again.rows == {"a/b:free": ({"id": "a/b:free", "pricing": {"prompt": "0"}, "new": [1]},), "c/d": (rows[1],)}
    moments = (
        f'{{"v": 1, "at": 1, "data": [], "absent": [["a/b:free", {at}, {{}}]]}}' for at in ("NaN", "1e300", "-1e11")
    )
    late = '{"v": 1, "at": 1e300, "data": []}'
    for broken in ("{}", "[]", '{"v": 9, "at": 1, "data": []}', "x", late, *moments):
        with pytest.raises(ValueError, match=r".*"):
            decode(broken)


def test_a_store_that_fails_costs_no_call(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(MemoryStore):
        def update(self, ref: Any, change: Any) -> Any:
            if ref.key.startswith("catalogue:"):
                raise OSError("no disk")
            return super().update(ref, change)

    with Simulator() as sim:
        assert make(sim, TWENTY[:1], state=Failing()).invoke("hi").text
    assert "cannot be kept" in caplog.text
