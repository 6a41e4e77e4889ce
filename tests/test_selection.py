"""Whom a call asks: scores, patterns, `auto`, and what makes a model unfit; pure first, then over the wire."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from driving import PATHS, asked, drive
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage

from langchain_openrouter_free import ChatOpenRouterFree, ConfigurationError, MemoryStore, NoSuitableModel
from langchain_openrouter_free.books.health import Health, Strategy
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.catalogue.catalogue import Listing
from langchain_openrouter_free.catalogue.facts import ModelFacts
from langchain_openrouter_free.catalogue.ranking import NEAR_END, not_for_chat, scored
from langchain_openrouter_free.catalogue.selection import is_pattern, matches, selected
from langchain_openrouter_free.errors import AllModelsFailed
from langchain_openrouter_free.request.settings import free_models
from langchain_openrouter_free.route.choosing import Chooser
from langchain_openrouter_free.route.fitness import LEFT_OUT, Needs, needs_of
from langchain_openrouter_free.route.routing import Route
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.simulator.catalogue_rows import RICH
from langchain_openrouter_free.simulator.scenario import Scenario
from langchain_openrouter_free.testing import FakeClock

NOW, DAY, ROUTER = 1_790_000_000.0, 86_400.0, "openrouter/free"
INDICES = ("intelligence_index", "coding_index", "agentic_index")
TAKEN = ("tools", "tool_choice", "structured_outputs", "response_format", "stop", "max_tokens")

# -- scores

indices = st.dictionaries(st.sampled_from(INDICES), st.integers(0, 1000).map(lambda tenths: tenths / 10))
facts_drawn = st.builds(
    ModelFacts,
    id=st.sampled_from([f"{author}/{name}:free" for author in "ab" for name in ("m", "coder", "x-coder", "y")]),
    created=st.none() | st.floats(NOW - 900 * DAY, NOW + DAY),
    context=st.none() | st.integers(1, 2_000_000),
    output_limit=st.none() | st.integers(1, 200_000),
    parameters=st.none() | st.frozensets(st.sampled_from(TAKEN)),
    expires_at=st.none() | st.floats(NOW - 5 * DAY, NOW + 30 * DAY),
    benchmarks=indices,
)
catalogues = st.lists(facts_drawn, unique_by=lambda facts: facts.id, max_size=8)


def ids(*ranking: str, of: Sequence[ModelFacts]) -> list[str]:
    return [one.model for one in selected(ranking, of, NOW).chosen]


@given(catalogues, st.randoms(use_true_random=False))
def test_an_order_that_nobody_shuffles(models: list[ModelFacts], chance: random.Random) -> None:
    shuffled = models.copy()
    chance.shuffle(shuffled)
    scores, order = scored(models, NOW), ids("auto", of=models)
    assert scores == scored(shuffled, NOW)
    assert all(-1 <= score <= 1 for score in scores.values())
    assert order == ids("auto", of=shuffled)
    assert sorted(order) == sorted(facts.id for facts in models)
    assert [scores[model] for model in order] == sorted(scores.values(), reverse=True)


@given(catalogues, st.tuples(*(st.sampled_from([0.1, 0.5, 0.641, 1.0, 3.0, 10.0]) for _ in INDICES)))
def test_indices_on_another_scale_change_nothing(models: list[ModelFacts], factors: tuple[float, ...]) -> None:
    """In September 2026 one of the three was rescaled over night."""
    by = dict(zip(INDICES, factors, strict=True))
    rescaled = [replace(m, benchmarks={name: by[name] * v for name, v in m.benchmarks.items()}) for m in models]
    assert scored(rescaled, NOW) == scored(models, NOW)


BETTER = ("tools", "structured_outputs", "response_format", "context", "output_limit", "created", *INDICES)


@given(catalogues.filter(bool), st.sampled_from(BETTER), st.floats(0.01, 1e6))
def test_better_facts_never_score_less(models: list[ModelFacts], what: str, more: float) -> None:
    first = models[0]
    changes: dict[str, Any] = {"parameters": (first.parameters or frozenset()) | {what}}
    if what not in TAKEN:
        had = first.benchmarks.get(what) if what in INDICES else getattr(first, what)
        assume(had is not None)
        better = (had or 0) + int(more + 1)
        changes = {"benchmarks": {**first.benchmarks, what: better}} if what in INDICES else {what: better}
    assert scored([replace(first, **changes), *models[1:]], NOW)[first.id] >= scored(models, NOW)[first.id]


PLAIN = ModelFacts("a/m:free", context=131_072, parameters=frozenset({"max_tokens"}))


MORE: list[dict[str, Any]] = [{"parameters": frozenset({one})} for one in ("tools", "response_format")]
MORE += [{"context": 262_144}, {"context": 262_144, "output_limit": 131_072}, {"created": NOW - 10 * DAY}]


@pytest.mark.parametrize("more", MORE)
def test_each_fact_counts(more: dict[str, Any]) -> None:
    assert ids(of=[PLAIN, replace(PLAIN, id="b/better:free", **more)]) == ["b/better:free", "a/m:free"]


def test_a_first_measure_is_no_disadvantage() -> None:
    assert scored([replace(PLAIN, benchmarks={"coding_index": 99.0})], NOW)[PLAIN.id] >= scored([PLAIN], NOW)[PLAIN.id]


@pytest.mark.parametrize(("days", "last"), [(-30, True), (0, True), (2.9, True), (3, False), (30, False)])
def test_an_end_that_is_near(*, days: float, last: bool) -> None:
    leaving = replace(PLAIN, parameters=frozenset({"tools", "structured_outputs"}), expires_at=NOW + days * DAY)
    staying = replace(PLAIN, id="b/stays:free")
    assert (ids(of=[leaving, staying])[-1] == leaving.id) is last


def test_a_near_end_comes_last_whoever_stays() -> None:
    leaving = replace(PLAIN, id="b/m:free", expires_at=NOW + NEAR_END / 3, benchmarks={"coding_index": 90.0})
    poor = replace(PLAIN, context=4096, benchmarks={"coding_index": 1.0})
    assert ids(of=[leaving, poor])[-1] == leaving.id


# -- patterns, ids and `auto`

NAMES = ["qwen/big-coder:free", "qwen/chat:free", "a/x-coder:free", "a/b:free", "a/guard-x:free", ROUTER]
# By score: the later the better.
LISTED = [replace(PLAIN, id=name, context=9_000 * (2 + place)) for place, name in enumerate(NAMES)]
BIG, CHAT, CODER, OTHER, GUARD, _ = NAMES
RANKINGS: list[tuple[list[str], list[str]]] = [
    (["auto"], [OTHER, CODER, CHAT, BIG]),
    (["qwen/*"], [CHAT, BIG]),
    (["*coder*:free"], [CODER, BIG]),
    (["*-coder", "auto"], [CODER, BIG, OTHER, CHAT]),
    (["auto", "qwen/*"], [OTHER, CODER, CHAT, BIG]),
    (["[aq]*/?:free"], [OTHER]),
    ([BIG, "qwen/*", "auto"], [BIG, CHAT, OTHER, CODER]),
    (["auto", OTHER], [CODER, CHAT, BIG, OTHER]),
    (["*", CHAT, OTHER], [CODER, BIG, CHAT, OTHER]),
    (["gone/away:free", "auto"], ["gone/away:free", OTHER, CODER, CHAT, BIG]),
    ([GUARD, "qwen/c*"], [GUARD, CHAT]),
    (["*guard*", "openrouter/*", "QWEN/*", "qwen/*:paid"], []),
    ([ROUTER, "auto"], [OTHER, CODER, CHAT, BIG, ROUTER]),
]


@pytest.mark.parametrize(("ranking", "expected"), RANKINGS, ids=repr)
def test_what_a_ranking_means(ranking: list[str], expected: list[str]) -> None:
    assert ids(*ranking, of=LISTED) == expected


def row(model: str) -> dict[str, Any]:
    return {"id": model, "pricing": {"prompt": "0", "completion": "0"}, "context_length": 131_072}


def listing(*rows: Any) -> Listing:
    return Listing.of(list(rows), NOW) or Listing()


odd: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)
odd |= st.dictionaries(st.sampled_from(["prompt", "modality", "context_length", "artificial_analysis"]), odd)
FREE = st.just({"prompt": "0", "completion": "0"})
CHANGED = ("context_length", "top_provider", "architecture", "supported_parameters", "benchmarks", "expiration_date")
rows = st.fixed_dictionaries(
    {"id": st.sampled_from(NAMES), "pricing": FREE | odd}, optional=dict.fromkeys(CHANGED, odd)
)
words = st.sampled_from(
    ["auto", "*", "qwen/*", "*:free", "*[!a]*", "[a-", "*?[[]", "gone/m:free", "paid/m", "", *NAMES]
)
words |= st.text("aqwen/*?[]!-:fr~", min_size=1, max_size=9).map("{}*".format)
needs = st.builds(Needs, st.frozensets(st.sampled_from(["tools", "stop"])), prompt_tokens=st.integers(0, 10**6))


@given(st.lists(words, min_size=1, max_size=4, unique=True), st.lists(rows, max_size=6), needs)
def test_whatever_is_named_and_listed(ranking: list[str], offered: list[dict[str, Any]], wanted: Needs) -> None:
    """A ranking is refused, or it gives each id once: the user's own in their order, others only where they are fit."""
    try:
        checked = free_models(ranking)
    except ConfigurationError:
        return
    offer = listing(*offered)
    choice = Chooser(checked, wanted, Listing)(offer, NOW)
    chosen, named = [one.model for one in choice.candidates], [e for e in checked if e != "auto" and not is_pattern(e)]
    assert len(set(chosen)) == len(chosen)
    assert [m for m in chosen if m in named] == sorted(named, key=lambda m: m == ROUTER)
    for one in choice.candidates:
        if one.model not in named:
            assert offer.doubt(one.model) is None
            assert not_for_chat(ModelFacts(one.model)) is None
            assert checked[one.group] == "auto" or matches(checked[one.group], one.model)
        assert one.model in offer.rows or one.model in choice.doubts
    assert Chooser(checked, wanted, Listing)(None, NOW).candidates == () or named


params = st.sampled_from(["tools", "tool_choice", "response_format", "stop", "logprobs", "max_tokens", "reasoning"])


@given(st.dictionaries(params, odd | st.dictionaries(st.sampled_from(["type", "effort", "enabled"]), odd)))
def test_whatever_is_asked_for(given_params: dict[str, Any]) -> None:
    assert isinstance(needs_of(given_params, frozenset(), 5), Needs)


def order_of(strategy: Strategy, ranking: tuple[str, ...], *ends: str, **health: Health) -> list[str]:
    """In which order a walk asks those of a list, when these end soon and these were measured (`b` is `a/b:free`)."""
    route = Route((), strategy=strategy, choose=Chooser(ranking, Needs(), Listing))
    soon = {"expiration_date": datetime.fromtimestamp(NOW + DAY, UTC).isoformat()}
    route.listed(listing(*(row(name) | (soon if name in ends else {}) for name in NAMES)), NOW)
    book = Ledger(health={f"a/{name}:free": known for name, known in health.items()})
    return [one.model for one in route._in_order(book, NOW)]


SLOW = Health(NOW, 5.0, 5.0, 60.0, 5.0)


@pytest.mark.parametrize("strategy", Strategy)
def test_the_router_is_the_last_resort_for_ever(strategy: Strategy) -> None:
    assert order_of(strategy, (ROUTER, "a/?"), b=SLOW) == [OTHER, ROUTER]


def test_health_moves_nobody_out_of_its_entry() -> None:
    """Of the same score, the one that failed is behind; never behind an entry that the user ranked below."""
    failed = Health(NOW, 2.0, 0.0)
    assert order_of(Strategy.RANKED, ("a/*", "qwen/chat*")) == [OTHER, CODER, CHAT]
    assert order_of(Strategy.RANKED, ("a/*", "qwen/chat*"), b=failed) == [CODER, OTHER, CHAT]
    assert order_of(Strategy.RANKED, (OTHER, "auto"), b=failed)[0] == OTHER
    for ends, expected in (((OTHER,), [CODER, OTHER]), ((OTHER, CODER), [CODER, OTHER]), ((CODER,), [OTHER, CODER])):
        assert order_of(Strategy.RANKED, ("a/*",), *ends, b=failed) == expected


# -- over the wire

TAKES = [*RICH.split(), "logprobs"]
BEST, SECOND, THIRD = "test/best:free", "test/second:free", "other/third:free"


def takes(*but: str) -> dict[str, Any]:
    return {"supported_parameters": [name for name in TAKES if name not in but]}


def world(server: Simulator, *offered: dict[str, Any], **scripts: str) -> Simulator:
    """Offer three models, or others; a script for `best` is one for `test/best:free`."""
    ranked = [{"id": name, "indices": (n, n, n)} for name, n in ((THIRD, 10), (BEST, 60), (SECOND, 50))]
    models = [*(offered or ranked), {"id": ROUTER}, {"id": "test/content-safety:free", "indices": (99, 99, 99)}]
    server.reset(Scenario(models=models, scripts={f"test/{name}:free": how for name, how in scripts.items()}))
    return server


def router(sim: Simulator, **fields: Any) -> ChatOpenRouterFree:
    fields.setdefault("state", MemoryStore())
    return ChatOpenRouterFree(api_key=sim.api_key, base_url=sim.base_url, max_wait=0.0, chance=lambda: 0.0, **fields)


WALKS: list[tuple[dict[str, Any], str, list[str]]] = [
    ({}, "", [BEST]),
    ({}, "best second", [BEST, SECOND, THIRD]),
    ({"models": [SECOND, "auto"]}, "second", [SECOND, BEST]),
    ({"models": ["other/*", "*e*:free"]}, "", [THIRD]),
    ({"models": ["*/s*"]}, "", [SECOND]),
    ({"models": ["test/*"]}, "best", [BEST, SECOND]),
    ({"models": [ROUTER, SECOND]}, "", [SECOND]),
    ({"models": [ROUTER, SECOND]}, "second", [SECOND, ROUTER]),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("fields", "failing", "expected"), WALKS, ids=repr)
def test_who_is_asked(server: Simulator, path: str, fields: dict[str, Any], failing: str, expected: list[str]) -> None:
    sim = world(server, **dict.fromkeys(failing.split(), "503"))
    assert drive(router(sim, **fields), path).meta["route"]["model"] == expected[-1]
    assert asked(sim) == expected


@pytest.mark.parametrize("path", PATHS)
def test_a_failing_model_moves_behind(server: Simulator, path: str) -> None:
    """When its cooldown is over its failure still counts, for `auto` only; after hours it doesn't."""
    sim, clock = world(server, best="503"), FakeClock(NOW)
    auto = router(sim, clock=clock)
    mine = router(sim, clock=clock, state=auto.state, models=[BEST, SECOND])
    drive(auto, path)
    sim.script({BEST: "ok"})
    for model, later in ((auto, 1000.0), (mine, 0.0), (auto, 6 * 3600.0)):
        clock.advance(later)
        drive(model, path)
    assert asked(sim) == [BEST, SECOND, SECOND, BEST, BEST]


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
NAMED = {"type": "function", "function": {"name": "add"}}
TOO_LONG = "a context of 3000 tokens is too small for about"
FORMS = takes("structured_outputs", "response_format")
THINKER, SMALL = {"reasoning": {"mandatory": True}}, {"context_length": 3000}
# What a request says, what it is, what a model has that cannot do it, and what it lacks.
NEEDS: dict[str, tuple[dict[str, Any], Any, dict[str, Any], str]] = {
    "tools": ({"tools": [TOOL]}, "hi", takes("tools", "tool_choice"), "no tools"),
    "required": ({"tools": [TOOL], "tool_choice": "required"}, "hi", takes("tool_choice"), "no forced tool choice"),
    "named": ({"tools": [TOOL], "tool_choice": NAMED}, "hi", takes("tool_choice"), "no forced tool choice"),
    "schema": ({"response_format": SCHEMA}, "hi", FORMS, "no structured output"),
    "JSON": ({"response_format": {"type": "json_object"}}, "hi", FORMS, "no JSON mode"),
    "stop": ({"stop": ["x"]}, "hi", takes("stop"), "no stop"),
    "logprobs": ({"logprobs": True}, "hi", takes("logprobs"), "no logprobs"),
    "off": ({"reasoning": {"enabled": False}}, "hi", THINKER, "it always reasons"),
    "no effort": ({"reasoning": {"effort": "none"}}, "hi", THINKER, "it always reasons"),
    "image": ({}, [HumanMessage([IMAGE])], {}, "no image input"),
    "audio": ({}, [HumanMessage([AUDIO, IMAGE])], {"input_modalities": ["text", "image"]}, "no audio input"),
    "long prompt": ({}, "word " * 3000, SMALL, f"{TOO_LONG} 4381"),
    "long answer": (
        {"max_tokens": 3000},
        "tell me a word",
        SMALL,
        "its context of 3000 tokens has no room for max_tokens=3000",
    ),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("what", NEEDS)
def test_the_unfit_are_not_asked(server: Simulator, path: str, what: str) -> None:
    """Neither where they are named nor by `auto`; where nobody is left, the error names each with what it lacks."""
    params, prompt, unfit, lacks = NEEDS[what]
    poor = {"id": BEST, "indices": (60, 60, 60), **takes(), **unfit}
    fit = {"id": SECOND, "input_modalities": ["text", "image", "audio"], **takes()}
    sim = world(server, poor, fit, poor | {"id": THIRD})
    for models in ([BEST, SECOND], ["auto"]):
        drive(router(sim, models=models), path, prompt, **params)
    assert asked(sim) == [SECOND, SECOND]
    for models in ([THIRD, BEST], ["other/*", "*/best"]):
        with pytest.raises(NoSuitableModel) as caught:
            drive(router(sim, models=models), path, prompt, **params)
        told = {one.model: one.reason for one in caught.value.skipped}
        assert told == dict.fromkeys((BEST, THIRD), f"it is unfit for this request: {lacks}")
        assert all(f"{name}: not asked, it is unfit for this request: {lacks}" in str(caught.value) for name in told)
    assert len(sim.chats()) == 2


LACKS = takes("stop")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("first", "second", "shorter_would_do"),
    [
        (SMALL, SMALL, True),
        (SMALL, LACKS, True),
        (LACKS | SMALL, LACKS, False),
        ({"context_length": 100}, {"context_length": 50}, False),
    ],
    ids=["all too small", "one too small", "none that is only too small", "the answer alone is too long"],
)
def test_agents_are_told_that_a_shorter_prompt_would_do(
    server: Simulator, path: str, first: dict[str, Any], second: dict[str, Any], *, shorter_would_do: bool
) -> None:
    """By langchain-core's own error, at which they shorten the conversation; no request is spent, dead ids or not."""
    sim = world(server, {"id": BEST, **takes()} | first, {"id": SECOND, **takes()} | second)
    with pytest.raises(NoSuitableModel) as caught:
        drive(router(sim, models=[BEST, SECOND, "test/gone:free"]), path, "word " * 3000, stop=["x"], max_tokens=100)
    assert isinstance(caught.value, ContextOverflowError) is shorter_would_do
    assert {one.model for one in caught.value.skipped} == {BEST, SECOND, "test/gone:free"}
    assert asked(sim) == []


def test_each_lacks_something_else(server: Simulator) -> None:
    sim = world(server, {"id": BEST, **takes("tools")}, {"id": SECOND, **takes()}, {"id": THIRD, "context_length": 10})
    with pytest.raises(NoSuitableModel) as caught:
        drive(router(sim), "invoke", [HumanMessage([IMAGE])], tools=[TOOL])
    told = {one.model: one.reason.rpartition(": ")[2] for one in caught.value.skipped}
    assert told == {BEST: "no tools", SECOND: "no image input", THIRD: "no image input"}


def test_what_a_resting_model_lacks(server: Simulator) -> None:
    drive(model := router(world(server, best="503"), models=[BEST, SECOND]), "invoke")
    with pytest.raises(NoSuitableModel) as caught:
        drive(model, "invoke", logprobs=True)
    assert str(caught.value).count("no logprobs") == 2


def test_a_pattern_of_classifiers_only(server: Simulator) -> None:
    with pytest.raises(NoSuitableModel, match="test/content-safety:free"):
        drive(router(world(server), models=["test/content*"]), "invoke")


def test_a_short_prompt_and_a_long_answer(server: Simulator) -> None:
    sim = world(server, {"id": BEST, "context_length": 3000})
    with pytest.raises(AllModelsFailed):
        drive(router(sim), "invoke", "hi", max_tokens=100_000)
    assert asked(sim) == []


def test_auto_without_a_service() -> None:
    model = ChatOpenRouterFree(api_key="k", base_url="http://127.0.0.1:9/api/v1", state=MemoryStore(), max_wait=0.0)
    with pytest.raises(AllModelsFailed) as caught:
        model.invoke("a word")
    assert not isinstance(caught.value, NoSuitableModel)


LESS: dict[str, Any] = dict.fromkeys(("temperature", "top_p", "min_p", "top_a", "frequency_penalty"), 0.5)
LESS |= {"presence_penalty": 0.5, "repetition_penalty": 1.1, "top_k": 5, "seed": 7, "logit_bias": {"5": 1.0}}
LESS |= {"parallel_tool_calls": False, "reasoning": {"effort": "low"}, "include_reasoning": True}


@pytest.mark.parametrize("path", PATHS)
def test_parameters_that_are_left_out(server: Simulator, path: str) -> None:
    """A model that lists others does without them; one that lists them, or nothing at all, gets them."""
    assert set(LESS) == LEFT_OUT, "the table knows every one"
    bare = {"id": BEST, "supported_parameters": ["max_tokens", "seed"]}
    full = {"id": SECOND, "supported_parameters": [*LESS, "max_tokens"]}
    sim = world(server, bare, full, {"id": THIRD, "supported_parameters": []}, best="503", second="503")
    drive(router(sim, models=[BEST, SECOND, THIRD]), path, max_tokens=50, **LESS)
    sent = [{name: chat.body[name] for name in (*LESS, "max_tokens") if name in chat.body} for chat in sim.chats()]
    assert sent == [{"max_tokens": 50, "seed": 7}, {**LESS, "max_tokens": 50}, {**LESS, "max_tokens": 50}]


NO_LISTS: list[Any] = ["auto", "qwen/*", None, {}, [None], [5], [["auto"]]]
MISUSE: list[tuple[Any, str]] = [
    ([], "empty"),
    (["qwen/qwen3"], "may cost money"),
    (["auto", "openrouter/auto"], "may cost money"),
    (["auto", "auto"], "twice"),
    (["qwen/*", "a/b:free", "qwen/*"], "twice"),
    *(([bad], "no model id") for bad in ("qwen *", "qwen/*\n", "é*", "AUTO", "auto:free", "", " ", "qwen/*;")),
    *((bad, "models") for bad in NO_LISTS),
]


@pytest.mark.parametrize(("models", "says"), MISUSE, ids=repr)
def test_rankings_that_cannot_work(models: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        ChatOpenRouterFree(models=models, api_key="k", state=MemoryStore())


# -- a bad hour

MANY = [f"test/m{number:02d}:free" for number in range(30)]
# The day's limit, what of it is used, the user's ranking and bound, and how many are asked when all of them fail.
BAD_HOURS: list[tuple[int | None, int, list[str], int | None, int]] = [
    (None, 0, ["auto"], None, 30),
    (50, 0, ["auto"], None, 12),
    (50, 0, ["test/m*"], None, 12),
    (50, 30, ["auto"], None, 5),
    (50, 45, ["auto"], None, 3),
    (1000, 0, ["auto"], None, 30),
    (50, 0, ["auto"], 19, 20),
    (50, 0, MANY, None, 30),
    (50, 0, [*MANY[:20], "auto"], None, 20 + 7),
    (50, 0, ["test/m0*", *MANY[10:]], None, 10 + 20),
    (50, 0, ["test/m[01]*", *MANY[20:]], None, 12 + 10),
    (50, 48, ["auto"], None, 2),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("per_day", "used", "ranking", "most", "expected"), BAD_HOURS)
def test_a_bad_hour_does_not_use_the_day_up(
    server: Simulator, path: str, per_day: int | None, used: int, ranking: list[str], most: int | None, expected: int
) -> None:
    """Whom the user names is asked before the call gives up; of the others a quarter of what is left, or three."""
    server.reset(Scenario(models=list(MANY), scripts={"*": "503"}))
    clock = FakeClock(NOW)
    limits = {"per_minute": None, "per_day": per_day}
    model = router(server, models=ranking, clock=clock, limits=limits, max_retries=most)
    if used:
        server.script({MANY[0]: "ok"})
        filler = router(server, models=MANY[:1], clock=clock, limits=limits, state=model.state)
        for _ in range(used):
            filler.invoke("hi")
        server.script({MANY[0]: "503"})
    before = len(asked(server))
    with pytest.raises(AllModelsFailed) as caught:
        drive(model, path)
    assert len(asked(server)) - before == expected
    spared = [one for one in caught.value.skipped if "of what is left of the day" in one.reason]
    assert len(spared) == (30 - expected if per_day and most is None and used < 48 else 0)
