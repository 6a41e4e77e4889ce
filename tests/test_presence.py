"""Models that vanish, come back and go for good: the service's real lists replayed, and what the user is told."""

from __future__ import annotations

import logging
import time
from itertools import pairwise
from typing import Any

import pytest
from background import settled
from driving import PATHS, asked, book_of, drive, make
from hypothesis import given
from hypothesis import strategies as st
from test_facts import DAYS, listing_of, moment, payload_of, real
from test_facts import frees_of as frees

from langchain_openrouter_free import ChatOpenRouterFree, MemoryStore, ModelGone, ModelLeaving
from langchain_openrouter_free.catalogue.advice import SOON, nearest
from langchain_openrouter_free.catalogue.catalogue import FRESH, SUSPECT
from langchain_openrouter_free.catalogue.facts import ModelFacts
from langchain_openrouter_free.catalogue.listings import LISTINGS
from langchain_openrouter_free.route.choosing import selection_of
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock

DAY, NOW = 86_400.0, moment("2026-08-01")
ZERO = {"prompt": "0", "completion": "0"}


# -- the dated lists in order


@real
@pytest.mark.parametrize("path", PATHS)
def test_a_ranking_of_the_first_date_answers_on_every_later_one(path: str) -> None:
    """Its ids die one after the other, `auto` goes on, and nobody who is dead is asked."""
    clock = FakeClock(moment(min(DAYS)))
    ranking = [one.model for one in selection_of(("auto",), listing_of(min(DAYS)), clock.now()).chosen[:8]]
    with Simulator(clock=clock.now) as sim:
        model = make(sim, [*ranking, "auto"], clock=clock)
        for day in DAYS:
            clock.advance(moment(day) - clock.now())
            sim.serve(payload_of(day))
            told = drive(model, path)
            assert told.outcomes == ["ok"], "the list was looked at first"
            alive = [one for one in ranking if one in frees(day)]
            assert told.meta["route"]["model"] in (alive[:1] or frees(day))
        assert all(one not in frees(day) for one in ranking), "all of them are dead by then"


@real
@pytest.mark.parametrize("path", PATHS)
def test_each_death_costs_one_request_at_most(path: str) -> None:
    """The list changes while a copy is fresh: the service says so once for an id, by 404 or 400, or the list does."""
    clock, dates = FakeClock(moment(min(DAYS))), list(DAYS)
    with Simulator(clock=clock.now) as sim:
        for before, after in pairwise(dates):
            clock.advance(moment(before) - clock.now())
            sim.serve(payload_of(before))
            dying = sorted(frees(before) - frees(after))[:4]
            model = make(sim, [*dying, "auto"], clock=clock, max_wait=0.0)
            model.refresh()
            already = len(asked(sim))
            sim.serve(payload_of(after))
            for _ in range(6):
                clock.advance(20)
                assert drive(model, path).text
                settled()
            spent = asked(sim)[already:]
            assert spent[0] == dying[0]
            assert all(spent.count(one) <= 1 for one in frees(before) - frees(after))


@real
def test_a_bare_list_and_one_in_a_table_say_the_same() -> None:
    """Both shapes are among the real ones; over the wire a list of either is read whole."""
    assert {type(payload_of(day)).__name__ for day in DAYS} == {"list", "dict"}
    clock = FakeClock(moment(min(DAYS)))
    with Simulator(clock=clock.now) as sim:
        model = make(sim, ["auto"], clock=clock)
        for day in DAYS:
            clock.advance(moment(day) - clock.now())
            sim.serve(payload_of(day))
            model.refresh()
            assert {facts.id for facts in model.catalogue} == frees(day)


# -- who vanishes


def row(model: str, **more: Any) -> dict[str, Any]:
    taken = ["max_tokens", "tools", "tool_choice"]
    return {"id": model, "pricing": ZERO, "context_length": 131_072, "supported_parameters": taken, **more}


FIRST, SECOND, OTHER = "a/gpt-oss-20b:free", "b/qwen-9b:free", "c/other:free"


def router(sim: Simulator, *models: str, **fields: Any) -> tuple[ChatOpenRouterFree, list[Any]]:
    heard: list[Any] = []
    return make(sim, list(models), on_event=heard.append, state=MemoryStore(), **fields), heard


@pytest.mark.parametrize("path", PATHS)
def test_a_flap_costs_neither_the_place_nor_what_was_measured(path: str) -> None:
    """Five ids were absent for 19 hours (2026-01-15): not asked meanwhile, and first again when they are back."""
    clock = FakeClock(NOW)
    with Simulator(clock=clock.now) as sim:
        sim.serve([row(FIRST), row(SECOND)])
        model, heard = router(sim, FIRST, SECOND, clock=clock)
        drive(model, path)
        measured = book_of(model.state).health[FIRST]
        sim.serve([row(SECOND)])
        clock.advance(FRESH + 1)
        model.refresh()
        assert drive(model, path).meta["route"]["model"] == SECOND
        told = {one.model: one.reason for one in model.explain().models}
        assert told[FIRST].startswith("suspect: the service's catalogue does not list it since 2026-08-01")
        clock.advance(18 * 3600)
        sim.serve([row(FIRST), row(SECOND)])
        model.refresh()
        assert book_of(model.state).health[FIRST].weight == measured.weight
        assert drive(model, path).meta["route"]["model"] == FIRST
        assert asked(sim) == [FIRST, SECOND, FIRST]
        assert heard == [], "a flap is no reason to warn"


@pytest.mark.parametrize("path", PATHS)
def test_who_is_gone_is_told_once(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """After two days, with the nearest that are left; `explain` says it as well, again and again."""
    clock = FakeClock(NOW)
    with Simulator(clock=clock.now) as sim:
        sim.serve([row(FIRST), row(SECOND)])
        model, heard = router(sim, FIRST, SECOND, clock=clock)
        drive(model, path)
        sim.serve([row(SECOND), row("a/gpt-oss-120b:free"), row(OTHER), row("a/paint:free"), row("d/guard:free")])
        model.refresh()
        for _ in range(4):
            clock.advance(SUSPECT / 2 + 1)
            drive(model, path)
            settled()
        why = "for the service's list of models does not have it any more"
        assert heard == [ModelGone(FIRST, why, ("a/gpt-oss-120b:free", "a/paint:free", OTHER))]
        told = [record for record in caplog.records if record.getMessage() == str(heard[0])]
        assert [record.levelno for record in told] == [logging.WARNING]
        considered = {one.model: one for one in model.explain().models}
        assert considered[FIRST].reason.startswith("gone: ")
        assert considered[FIRST].note == str(heard[0])
        assert "a/gpt-oss-120b:free" in str(model.explain())


@pytest.mark.parametrize("path", PATHS)
def test_who_was_never_there_is_told_at_once(path: str) -> None:
    """The package knows what it was: the facts that came with it tell its abilities."""
    with Simulator() as sim:
        sim.serve([row(SECOND), row("z-ai/glm-6:free"), row("z-ai/glm-tiny:free", supported_parameters=["stop"])])
        model, heard = router(sim, "z-ai/glm-5.2:free", SECOND)
        for _ in range(2):
            drive(model, path)
            router(sim, "z-ai/glm-5.2:free", SECOND)[0].invoke("hi")
        why = "for the service's list of models does not have it"
        assert heard == [ModelGone("z-ai/glm-5.2:free", why, ("z-ai/glm-6:free", "z-ai/glm-tiny:free"))]


@pytest.mark.parametrize("path", PATHS)
def test_who_is_refused_and_unlisted_is_told_at_once(path: str) -> None:
    """The service's own word needs no two days; while the list still has the id, it is no word of an end."""
    clock = FakeClock(NOW)
    with Simulator(clock=clock.now) as sim:
        sim.serve([row(FIRST), row(SECOND), row(OTHER)])
        sim.script({FIRST: "404-delisted"})
        model, heard = router(sim, FIRST, SECOND, clock=clock)
        assert drive(model, path).outcomes == ["delisted", "ok"]
        assert heard == []
        sim.serve([row(SECOND), row(OTHER)])
        model.refresh()
        for _ in range(2):
            assert drive(model, path).outcomes == ["ok"]
        assert [(one.model, one.nearest[:1]) for one in heard] == [(FIRST, (OTHER,))]
        assert "No endpoints found" in str(heard[0])
        assert str(heard[0]) in {one.note for one in model.explain().models}


def test_whom_auto_finds_dead_is_no_news() -> None:
    with Simulator() as sim:
        sim.serve([row(FIRST, benchmarks={"artificial_analysis": {"coding_index": 9}}), row(SECOND)])
        model, heard = router(sim, "auto")
        model.refresh()
        sim.serve([row(SECOND)])
        assert drive(model, "invoke").outcomes == ["delisted", "ok"]
        assert heard == []


ENDS = [(-1, True), (0, True), (2, True), (6, True), (8, False), (300, False)]


@pytest.mark.parametrize(("days", "is_told"), ENDS)
@pytest.mark.parametrize("ranking", [[FIRST, SECOND], ["auto"]], ids=["named", "auto"])
def test_an_announced_end_is_told_once_a_day(days: int, ranking: list[str], *, is_told: bool) -> None:
    """From seven days before it, and it removes nobody: some stay after their date."""
    clock, ends = FakeClock(NOW + 3600), NOW + days * DAY
    date = f"2026-08-{1 + days:02d}" if 0 <= days < 20 else "2026-07-31" if days < 0 else "2098-12-31"
    with Simulator(clock=clock.now) as sim:
        sim.serve([row(FIRST, expiration_date=date), row(SECOND)])
        model, heard = router(sim, *ranking, clock=clock)
        for _ in range(3):
            assert model.invoke("hi").text
            clock.advance(60)
        named = ranking != ["auto"]
        notice = ModelLeaving(FIRST, ends, int(NOW // DAY), named)
        assert heard == [notice] * is_told
        assert FIRST in model.explain().order
        assert (model.explain().order[0] == FIRST) == (named or days >= 3)
        assert str(notice) in {one.note for one in model.explain().models} or not is_told
        clock.advance(DAY)
        model.invoke("hi")
        assert len(heard) == (2 if is_told else 1 if ends - clock.now() <= SOON else 0)


def test_without_a_list_nobody_is_called_gone(caplog: pytest.LogCaptureFixture) -> None:
    """A cold start, no network, no state: the facts that came with the package explain, and the log says so once."""
    heard: list[Any] = []
    url = "https://openrouter.ai:9/api/v1"
    fields: dict[str, Any] = {"api_key": "k", "state": MemoryStore(), "max_wait": 0.0, "on_event": heard.append}

    def dead(_: Any) -> Any:
        import httpx  # noqa: PLC0415

        raise httpx.ConnectError("no network")

    import httpx  # noqa: PLC0415

    client = httpx.Client(transport=httpx.MockTransport(dead))
    model = ChatOpenRouterFree(models=["no/such:free", "auto"], base_url=url, http_client=client, **fields)
    before = model.explain("hi")
    assert before.bundled
    assert "z-ai/glm-5.2:free" in before.order
    assert "no/such:free" not in before.order
    for _ in range(3):
        with pytest.raises(Exception, match="cannot be reached"):
            model.invoke("hi")
    assert model.explain("hi").bundled
    assert heard == []
    told = [one.getMessage() for one in caplog.records if "came with the package" in one.getMessage()]
    assert len(told) == 1


# -- who is like whom


def facts(model: str, *parameters: str, context: int = 131_072, image: bool = False) -> ModelFacts:
    inputs = frozenset({"text", "image"} if image else {"text"})
    return ModelFacts(model, context=context, parameters=frozenset(parameters), inputs=inputs)


LIVE = [
    facts("nvidia/nemotron-3-super-120b-a12b:free", "tools", context=262_144),
    facts("nvidia/nemotron-nano-12b-v2-vl:free", "tools", image=True),
    facts("google/gemma-4-31b-it:free", "tools", image=True, context=262_144),
    facts("google/gemma-4-26b-a4b-it:free", "tools", image=True),
    facts("qwen/qwen3.8-27b:free", "tools"),
    facts("elsewhere/qwen3-writer:free"),
]
LIKE: list[tuple[ModelFacts, str]] = [
    (facts("google/gemma-3-27b-it:free", "tools", image=True), "google/gemma-4-26b-a4b-it:free"),
    (facts("qwen/qwen3-coder:free", "tools"), "qwen/qwen3.8-27b:free"),
    (facts("nvidia/nemotron-3-nano-30b-a3b:free", "tools", context=262_144), "nvidia/nemotron-3-super-120b-a12b:free"),
    (facts("nobody/seen:free", "tools", image=True), "google/gemma-4-26b-a4b-it:free"),
    (facts("nobody/seen:free", "tools", context=262_144), "google/gemma-4-31b-it:free"),
]


@pytest.mark.parametrize(("lost", "first"), LIKE, ids=lambda value: getattr(value, "id", value))
def test_who_is_nearest(lost: ModelFacts, first: str) -> None:
    found = nearest(lost.id, lost, LIVE)
    assert (found[0], len(found)) == (first, 3)
    assert nearest(lost.id, lost, LIVE, [first])[0] != first
    assert nearest(lost.id, lost, LIVE, [one.id for one in LIVE])[0] == first


@given(st.text("ab/-:free1", max_size=12), st.lists(st.sampled_from(LIVE), max_size=4, unique_by=lambda one: one.id))
def test_nearest_of_anything(model: str, live: list[ModelFacts]) -> None:
    found = nearest(model, None, live)
    assert len(found) == min(3, len(live))
    assert set(found) <= {one.id for one in live}
    assert found == nearest(model, None, live[::-1])


def test_thousands_of_models_that_nobody_offers() -> None:
    """Who is nearest to each is looked for among those on offer: naming many takes no time by the square of them."""
    began = time.process_time()
    ChatOpenRouterFree(models=[f"author/model-{n}:free" for n in range(5000)], api_key="k", state="memory")
    assert time.process_time() - began < 3.0


def test_what_was_told_is_forgotten_with_the_process() -> None:
    assert LISTINGS.first_time("account", "x")
    assert not LISTINGS.first_time("account", "x")
    LISTINGS.clear()
    assert LISTINGS.first_time("account", "x")
