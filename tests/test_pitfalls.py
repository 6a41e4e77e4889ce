"""Pitfalls of a routing chat model, by number, against the simulated service; the streams' ones are beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from driving import asked
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.runnables import RunnableLambda
from pitfall_helpers import FIRST, SECOND, THIRD, Heard, cache_key, trail

from langchain_openrouter_free import (
    AllModelsFailed,
    ChatOpenRouterFree,
    ConfigurationError,
    MemoryStore,
)
from langchain_openrouter_free.simulator import Simulator

Maker = Callable[..., ChatOpenRouterFree]

# -- 1: the cache key

SHAPING: dict[str, dict[str, Any]] = {
    "models": {"models": [SECOND, FIRST]},
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.5},
    "max_tokens": {"max_tokens": 50},
    "seed": {"seed": 7},
    "stop": {"stop": ["END"]},
    "reasoning": {"reasoning": {"effort": "low"}},
    "provider": {"provider": {"data_collection": "deny"}},
    "extra_body": {"extra_body": {"verbosity": "low"}},
    "base_url": {"base_url": "http://127.0.0.1:9/api/v1"},
    "output_version": {"output_version": "v1"},
    "paid": {"allow_paid": True, "budget": "$1/day", "paid_models": ["simulated/paid-small"]},
}


@pytest.mark.parametrize("changed", SHAPING.values(), ids=SHAPING.keys())
def test_pitfall_01_cache_key_differs_with_whatever_shapes_an_answer(
    sim: Simulator, make_model: Maker, changed: dict[str, Any]
) -> None:
    assert cache_key(make_model(sim)) != cache_key(make_model(sim, **changed))


def test_pitfall_01_cache_key_ignores_state_key_and_patience(sim: Simulator, make_model: Maker) -> None:
    plain = make_model(sim)
    other = make_model(
        sim, api_key="sk-or-v1-other", state=MemoryStore(), max_wait=5.0, timeouts={"stall": 1.0}, project="p"
    )
    assert cache_key(plain) == cache_key(other)
    assert "sk-or" not in cache_key(plain)


def test_pitfall_01_cache_key_follows_model_copy_and_mutation(sim: Simulator, make_model: Maker) -> None:
    model = make_model(sim)
    before = cache_key(model)
    assert cache_key(model.model_copy(update={"temperature": 0.9})) != before
    model.temperature = 0.4
    assert cache_key(model) != before


def test_pitfall_01_cache_key_is_the_same_after_a_failover(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "429-upstream"})
    model = make_model(sim)
    before = cache_key(model)
    model.invoke("hello")
    assert cache_key(model) == before


def test_pitfall_01_cache_key_keeps_two_lists_of_models_apart(sim: Simulator, make_model: Maker) -> None:
    cache = InMemoryCache()
    first, second = make_model(sim, models=[FIRST], cache=cache), make_model(sim, models=[SECOND], cache=cache)
    for _ in range(2):
        assert first.invoke("hello").response_metadata["model_name"] == FIRST
        assert second.invoke("hello").response_metadata["model_name"] == SECOND
        assert second.invoke("hello", temperature=0.1).response_metadata["model_name"] == SECOND
    assert len(sim.chats()) == 3


def test_pitfall_01_cache_key_keeps_two_stops_apart(sim: Simulator, make_model: Maker) -> None:
    cache = InMemoryCache()
    whole = make_model(sim, cache=cache).invoke("one two three")
    cut = make_model(sim, cache=cache, stop=["two"]).invoke("one two three")
    assert whole.text.endswith("one two three")
    assert cut.text.endswith("one ")


def test_pitfall_01_cache_key_of_a_call_ignores_its_patience_too(sim: Simulator, make_model: Maker) -> None:
    model = make_model(sim, cache=InMemoryCache())
    patience: dict[str, Any] = {
        "max_wait": 1.0,
        "timeout": 9.0,
        "timeouts": {"stall": 3.0},
        "on_interrupt": "restart",
        "sticky": False,
    }
    more: dict[str, Any]
    for more in ({}, *({name: value} for name, value in patience.items()), patience):
        model.invoke("hello", **more)
    assert len(sim.chats()) == 1
    for more in ({"temperature": 0.1}, {"accept": "empty"}, {"accept": {"empty"}}, {"model": SECOND}):
        model.invoke("hello", **more)
    assert len(sim.chats()) == 4, "the same acceptance, said in two ways, is one"


def longer_than(length: int) -> Callable[[Any], object]:
    def check(answer: Any) -> object:
        return any(len(text) > length for text in [answer.text]) or "too short"

    return check


def holds_itself() -> Callable[[Any], object]:
    def check(answer: Any) -> object:
        return check is not None

    return check


class Wanted:
    """Two methods of one name and one body, of objects that want different things."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __repr__(self) -> str:
        return f"Wanted({self.word})"

    def check(self, answer: Any) -> object:
        return self.word in answer.text


def test_pitfall_01_cache_key_tells_checks_of_one_name_apart(sim: Simulator, make_model: Maker) -> None:
    """An answer that one of them wanted is none for the other."""
    cache = InMemoryCache()
    pairs: list[tuple[Any, Any]] = [
        (longer_than(3), longer_than(5000)),
        (lambda _: True, lambda _: False),
        (lambda _, wanted=True: wanted, lambda _, wanted=False: wanted),
        (Wanted("you said").check, Wanted("elephant").check),
    ]
    for lenient, strict in pairs:
        own: Iterator[tuple[Any, dict[str, Any]]] = (
            (make_model(sim, cache=cache, accept=check), {}) for check in (lenient, strict)
        )
        of_the_call: Iterator[tuple[Any, dict[str, Any]]] = (
            (make_model(sim, cache=cache), {"accept": check}) for check in (lenient, strict)
        )
        for (wants_little, little), (wants_much, much) in (own, of_the_call):
            wants_little.invoke("hello", **little)
            with pytest.raises(AllModelsFailed):
                wants_much.invoke("hello", **much)
            before = len(sim.chats())
            wants_little.invoke("hello", **little)
            assert len(sim.chats()) == before
    assert cache_key(make_model(sim, accept=holds_itself())) == cache_key(make_model(sim, accept=holds_itself()))
    keys = {cache_key(make_model(sim, accept=longer_than(3))) for _ in range(3)}
    assert len(keys) == 1, "a check that is made anew is the same one"


def test_pitfall_01_cache_key_a_failure_is_not_cached(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: ["503", "ok"]})
    model = make_model(sim, models=[FIRST], cache=InMemoryCache(), max_wait=30.0, clock=_fake_clock())
    with pytest.raises(AllModelsFailed):
        model.invoke("hello", max_wait=0.0)
    assert model.invoke("hello").text


def _fake_clock() -> Any:
    from langchain_openrouter_free.testing import FakeClock  # noqa: PLC0415 - few tests need it

    return FakeClock()


# -- 2: the model's name before the route is known


def test_pitfall_02_model_name_is_an_alias_at_the_start_and_real_at_the_end(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "429-upstream"})
    heard, usage = Heard(), UsageMetadataCallbackHandler()
    model = make_model(sim)
    answer = model.invoke("hello", config={"callbacks": [heard, usage]})
    assert heard.starts[0]["metadata"]["ls_model_name"] == model.model_name == "openrouter-free"
    assert heard.starts[0]["metadata"]["ls_provider"] == answer.response_metadata["model_provider"] == "openrouter"
    assert answer.response_metadata["model_name"] == SECOND
    assert list(usage.usage_metadata) == [SECOND]


@pytest.mark.parametrize("path", ["invoke", "stream"])
def test_pitfall_02_model_name_of_the_usage_is_the_real_one(sim: Simulator, make_model: Maker, path: str) -> None:
    sim.script({FIRST: "429-upstream"})
    usage, model = UsageMetadataCallbackHandler(), make_model(sim)
    config: Any = {"callbacks": [usage]}
    _ = model.invoke("hello", config=config) if path == "invoke" else list(model.stream("hello", config=config))
    assert list(usage.usage_metadata) == [SECOND]
    assert usage.usage_metadata[SECOND]["output_tokens"] > 0


def test_pitfall_02_model_name_given_for_a_call_pins_one_route(sim: Simulator, make_model: Maker) -> None:
    heard = Heard()
    answer = make_model(sim).invoke("hello", model=THIRD, config={"callbacks": [heard]})
    assert answer.response_metadata["model_name"] == THIRD
    assert heard.starts[0]["metadata"]["ls_model_name"] == THIRD
    assert asked(sim) == [THIRD]


def test_pitfall_02_model_name_pinned_does_not_fall_over_to_another(sim: Simulator, make_model: Maker) -> None:
    sim.script({THIRD: "503"})
    with pytest.raises(AllModelsFailed):
        make_model(sim).bind(model=THIRD).invoke("hello")
    assert asked(sim) == [THIRD]


def test_pitfall_02_model_name_pinned_can_be_outside_the_list_but_must_be_free(
    sim: Simulator, make_model: Maker
) -> None:
    model = make_model(sim, models=[FIRST])
    assert model.invoke("hello", model=SECOND).response_metadata["model_name"] == SECOND
    with pytest.raises(ConfigurationError):
        model.invoke("hello", model="simulated/paid-small")
    assert asked(sim) == [SECOND]
    assert sim.bill == []


def test_pitfall_02_model_name_alias_as_an_override_means_the_whole_list(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "429-upstream"})
    model = make_model(sim)
    assert model.invoke("hello", model=model.model_name).response_metadata["model_name"] == SECOND


# -- 3: failed attempts are told once, in the answer


def test_pitfall_03_attempts_are_in_the_metadata_once_and_are_json(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "429-upstream", SECOND: "503"})
    answer = make_model(sim).invoke("hello")
    assert trail(answer) == ["upstream_limit", "overloaded", "ok"]
    assert [a["model"] for a in answer.response_metadata["route"]["attempts"]] == [FIRST, SECOND, THIRD]
    assert json.loads(json.dumps(answer.response_metadata)) == answer.response_metadata


def test_pitfall_03_attempts_are_on_one_chunk_of_a_stream(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "429-upstream", SECOND: "503"})
    chunks = list(make_model(sim).stream("hello"))
    assert [i for i, chunk in enumerate(chunks) if "route" in chunk.response_metadata] == [len(chunks) - 1]
    assert trail(chunks[-1]) == ["upstream_limit", "overloaded", "ok"]


def test_pitfall_03_attempts_are_in_the_error_when_nobody_answers(sim: Simulator, make_model: Maker) -> None:
    sim.script({"*": "503"})
    with pytest.raises(AllModelsFailed) as caught:
        make_model(sim).invoke("hello")
    assert [attempt.model for attempt in caught.value.attempts] == [FIRST, SECOND, THIRD]


# -- 8: progress without a parent run


def test_pitfall_08_custom_events_are_not_needed_outside_of_a_chain(
    sim: Simulator, make_model: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    """A failover in a bare call has no run to hang an event on; it is logged, and raises nothing."""
    sim.script({FIRST: "429-upstream"})
    with caplog.at_level(logging.INFO, "langchain_openrouter_free"):
        make_model(sim).invoke("hello")
    assert any(FIRST in record.getMessage() for record in caplog.records)
    assert sim.api_key not in caplog.text


async def test_pitfall_08_custom_events_in_a_chain_do_not_disturb_it(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "429-upstream"})
    chain = RunnableLambda(lambda text: text) | make_model(sim)
    events = [event async for event in chain.astream_events("hello", version="v2")]
    assert [event["event"] for event in events].count("on_chat_model_end") == 1
