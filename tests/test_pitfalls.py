"""Pitfalls of a routing chat model, by number, against the simulated service; the streams' ones are beside it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import json
import logging
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.callbacks.manager import CallbackManager
from langchain_core.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelRateLimitError,
)
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages
from langchain_core.runnables import ConfigurableField, RunnableLambda
from pitfall_helpers import FIRST, SECOND, THIRD, Heard, asked, quiet, trail

from langchain_openrouter_free import (
    AllModelsFailed,
    ChatOpenRouterFree,
    ConfigurationError,
    FreeQuotaExhausted,
    MemoryStore,
    OpenRouterFreeError,
)
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.simulator.behaviours import REGISTRY
from langchain_openrouter_free.transport import CLIENTS

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


def _cache_key(model: ChatOpenRouterFree) -> str:
    return model._get_llm_string()


@pytest.mark.parametrize("changed", SHAPING.values(), ids=SHAPING.keys())
def test_pitfall_01_cache_key_differs_with_whatever_shapes_an_answer(
    sim: Simulator, make_model: Maker, changed: dict[str, Any]
):
    assert _cache_key(make_model(sim)) != _cache_key(make_model(sim, **changed))


def test_pitfall_01_cache_key_ignores_state_key_and_patience(sim: Simulator, make_model: Maker):
    plain = make_model(sim)
    other = make_model(
        sim, api_key="sk-or-v1-other", state=MemoryStore(), max_wait=5.0, timeouts={"stall": 1.0}, project="p"
    )
    assert _cache_key(plain) == _cache_key(other)
    assert "sk-or" not in _cache_key(plain)


def test_pitfall_01_cache_key_follows_model_copy_and_mutation(sim: Simulator, make_model: Maker):
    model = make_model(sim)
    before = _cache_key(model)
    assert _cache_key(model.model_copy(update={"temperature": 0.9})) != before
    model.temperature = 0.4
    assert _cache_key(model) != before


def test_pitfall_01_cache_key_is_the_same_after_a_failover(sim: Simulator, make_model: Maker):
    sim.script({FIRST: "429-upstream"})
    model = make_model(sim)
    before = _cache_key(model)
    model.invoke("hello")
    assert _cache_key(model) == before


def test_pitfall_01_cache_key_keeps_two_lists_of_models_apart(sim: Simulator, make_model: Maker):
    cache = InMemoryCache()
    first, second = make_model(sim, models=[FIRST], cache=cache), make_model(sim, models=[SECOND], cache=cache)
    for _ in range(2):
        assert first.invoke("hello").response_metadata["model_name"] == FIRST
        assert second.invoke("hello").response_metadata["model_name"] == SECOND
        assert second.invoke("hello", temperature=0.1).response_metadata["model_name"] == SECOND
    assert len(sim.chats()) == 3


def test_pitfall_01_cache_key_keeps_two_stops_apart(sim: Simulator, make_model: Maker):
    cache = InMemoryCache()
    whole = make_model(sim, cache=cache).invoke("one two three")
    cut = make_model(sim, cache=cache, stop=["two"]).invoke("one two three")
    assert whole.text.endswith("one two three")
    assert cut.text.endswith("one ")


def test_pitfall_01_cache_key_a_failure_is_not_cached(sim: Simulator, make_model: Maker):
    sim.script({FIRST: ["503", "ok"]})
    model = make_model(sim, models=[FIRST], cache=InMemoryCache(), max_wait=30.0, clock=_fake_clock())
    with pytest.raises(AllModelsFailed):
        model.invoke("hello", max_wait=0.0)
    assert model.invoke("hello").text


def _fake_clock() -> Any:
    from langchain_openrouter_free.testing import FakeClock  # noqa: PLC0415 - few tests need it

    return FakeClock()


# -- 2: the model's name before the route is known


def test_pitfall_02_model_name_is_an_alias_at_the_start_and_real_at_the_end(sim: Simulator, make_model: Maker):
    sim.script({FIRST: "429-upstream"})
    heard, usage = Heard(), UsageMetadataCallbackHandler()
    model = make_model(sim)
    answer = model.invoke("hello", config={"callbacks": [heard, usage]})
    assert heard.starts[0]["metadata"]["ls_model_name"] == model.model_name == "openrouter-free"
    assert heard.starts[0]["metadata"]["ls_provider"] == answer.response_metadata["model_provider"] == "openrouter"
    assert answer.response_metadata["model_name"] == SECOND
    assert list(usage.usage_metadata) == [SECOND]


@pytest.mark.parametrize("path", ["invoke", "stream"])
def test_pitfall_02_model_name_of_the_usage_is_the_real_one(sim: Simulator, make_model: Maker, path: str):
    sim.script({FIRST: "429-upstream"})
    usage, model = UsageMetadataCallbackHandler(), make_model(sim)
    config: Any = {"callbacks": [usage]}
    _ = model.invoke("hello", config=config) if path == "invoke" else list(model.stream("hello", config=config))
    assert list(usage.usage_metadata) == [SECOND]
    assert usage.usage_metadata[SECOND]["output_tokens"] > 0


def test_pitfall_02_model_name_given_for_a_call_pins_one_route(sim: Simulator, make_model: Maker):
    heard = Heard()
    answer = make_model(sim).invoke("hello", model=THIRD, config={"callbacks": [heard]})
    assert answer.response_metadata["model_name"] == THIRD
    assert heard.starts[0]["metadata"]["ls_model_name"] == THIRD
    assert asked(sim) == [THIRD]


def test_pitfall_02_model_name_pinned_does_not_fall_over_to_another(sim: Simulator, make_model: Maker):
    sim.script({THIRD: "503"})
    with pytest.raises(AllModelsFailed):
        make_model(sim).bind(model=THIRD).invoke("hello")
    assert asked(sim) == [THIRD]


def test_pitfall_02_model_name_pinned_can_be_outside_the_list_but_must_be_free(sim: Simulator, make_model: Maker):
    model = make_model(sim, models=[FIRST])
    assert model.invoke("hello", model=SECOND).response_metadata["model_name"] == SECOND
    with pytest.raises(ConfigurationError):
        model.invoke("hello", model="simulated/paid-small")
    assert asked(sim) == [SECOND]
    assert sim.bill == []


def test_pitfall_02_model_name_alias_as_an_override_means_the_whole_list(sim: Simulator, make_model: Maker):
    sim.script({FIRST: "429-upstream"})
    model = make_model(sim)
    assert model.invoke("hello", model=model.model_name).response_metadata["model_name"] == SECOND


# -- 3: failed attempts are told once, in the answer


def test_pitfall_03_attempts_are_in_the_metadata_once_and_are_json(sim: Simulator, make_model: Maker):
    sim.script({FIRST: "429-upstream", SECOND: "503"})
    answer = make_model(sim).invoke("hello")
    assert trail(answer) == ["upstream_limit", "overloaded", "ok"]
    assert [a["model"] for a in answer.response_metadata["route"]["attempts"]] == [FIRST, SECOND, THIRD]
    assert json.loads(json.dumps(answer.response_metadata)) == answer.response_metadata


def test_pitfall_03_attempts_are_on_one_chunk_of_a_stream(sim: Simulator, make_model: Maker):
    sim.script({FIRST: "429-upstream", SECOND: "503"})
    chunks = list(make_model(sim).stream("hello"))
    assert [i for i, chunk in enumerate(chunks) if "route" in chunk.response_metadata] == [len(chunks) - 1]
    assert trail(chunks[-1]) == ["upstream_limit", "overloaded", "ok"]


def test_pitfall_03_attempts_are_in_the_error_when_nobody_answers(sim: Simulator, make_model: Maker):
    sim.script({"*": "503"})
    with pytest.raises(AllModelsFailed) as caught:
        make_model(sim).invoke("hello")
    assert [attempt.model for attempt in caught.value.attempts] == [FIRST, SECOND, THIRD]


# -- 8: progress without a parent run


def test_pitfall_08_custom_events_are_not_needed_outside_of_a_chain(
    sim: Simulator, make_model: Maker, caplog: pytest.LogCaptureFixture
):
    """A failover in a bare call has no run to hang an event on; it is logged, and raises nothing."""
    sim.script({FIRST: "429-upstream"})
    with caplog.at_level(logging.INFO, "langchain_openrouter_free"):
        make_model(sim).invoke("hello")
    assert any(FIRST in record.getMessage() for record in caplog.records)
    assert sim.api_key not in caplog.text


async def test_pitfall_08_custom_events_in_a_chain_do_not_disturb_it(sim: Simulator, make_model: Maker):
    sim.script({FIRST: "429-upstream"})
    chain = RunnableLambda(lambda text: text) | make_model(sim)
    events = [event async for event in chain.astream_events("hello", version="v2")]
    assert [event["event"] for event in events].count("on_chat_model_end") == 1


# -- 11: pickle and deepcopy


@pytest.mark.parametrize("twin", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_pitfall_11_pickle_and_deepcopy_give_a_model_that_works(sim: Simulator, make_model: Maker, twin: Any):
    sim.script({FIRST: "429-upstream"})
    model = make_model(sim, temperature=0.3)
    model.invoke("hello")
    again = twin(model)
    assert again.temperature == 0.3
    assert _cache_key(again) == _cache_key(model)
    assert again.invoke("hello").response_metadata["model_name"] == SECOND
    # What was learnt goes with it: the limited model is left alone.
    assert asked(sim) == [FIRST, SECOND, SECOND]


async def test_pitfall_11_pickle_and_deepcopy_work_after_an_async_call(sim: Simulator, make_model: Maker):
    model = make_model(sim)
    await model.ainvoke("hello")
    assert (await pickle.loads(pickle.dumps(model)).ainvoke("hello")).text
    assert (await copy.deepcopy(model).ainvoke("hello")).text


def test_pitfall_11_pickle_works_with_the_shared_state_and_with_bound_tools(sim: Simulator, make_model: Maker):
    model = make_model(sim, state="memory").bind(temperature=0.1)
    assert pickle.loads(pickle.dumps(model)).invoke("hello").text


@pytest.mark.parametrize("twin", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy], ids=["pickle", "copy"])
def test_pitfall_11_pickle_and_copy_keep_errors_whole(sim: Simulator, make_model: Maker, twin: Any):
    sim.script({"*": "429-account-day"})
    with pytest.raises(FreeQuotaExhausted) as caught:
        make_model(sim).invoke("hello")
    again = twin(caught.value)
    assert type(again) is FreeQuotaExhausted
    assert str(again) == str(caught.value)
    assert again.attempts == caught.value.attempts


# -- 12: instances that are rebuilt for each call


@pytest.mark.parametrize("state", ["shared", "own"])
def test_pitfall_12_configurable_fields_keep_cooldowns_and_connections(sim: Simulator, make_model: Maker, state: str):
    sim.script({FIRST: "429-upstream"})
    plain = make_model(sim, state="memory") if state == "shared" else make_model(sim)
    model = plain.configurable_fields(temperature=ConfigurableField(id="t"))
    for warmth in (0.1, 0.2, 0.3):
        model.invoke("hello", config={"configurable": {"t": warmth}})
    assert asked(sim) == [FIRST, SECOND, SECOND, SECOND]
    assert [chat.body["temperature"] for chat in sim.chats()] == [0.1, 0.1, 0.2, 0.3]
    assert len({chat.connection for chat in sim.chats()}) == 1


def test_pitfall_12_configurable_fields_and_copies_share_the_state_of_an_account(sim: Simulator, make_model: Maker):
    sim.script({FIRST: "429-upstream"})
    arguments = {"state": "memory", "models": [FIRST, SECOND]}
    make_model(sim, **arguments).invoke("hello")
    make_model(sim, **arguments).invoke("hello")
    make_model(sim, **arguments).model_copy(update={"temperature": 0.5}).invoke("hello")
    assert asked(sim) == [FIRST, SECOND, SECOND, SECOND]
    # Another key is another account: its own cooldowns, nothing of this one's.
    make_model(sim, **arguments, api_key="sk-or-v1-another").invoke("hello")
    assert asked(sim)[4:] == [FIRST, SECOND]


def test_pitfall_12_configurable_model_list_is_checked_like_a_constructor(sim: Simulator, make_model: Maker):
    model = make_model(sim).configurable_fields(models=ConfigurableField(id="models"))
    answer = model.invoke("hello", config={"configurable": {"models": [THIRD]}})
    assert answer.response_metadata["model_name"] == THIRD
    with pytest.raises(ConfigurationError):
        model.invoke("hello", config={"configurable": {"models": ["simulated/paid-small"]}})
    assert sim.bill == []


def test_pitfall_12_a_copy_with_another_list_asks_that_list_or_refuses(sim: Simulator, make_model: Maker):
    """`model_copy` runs no validator; the cache key follows the fields, so the route must do so too."""
    model = make_model(sim, models=[FIRST]).model_copy(update={"models": [SECOND]})
    assert SECOND in _cache_key(model)
    assert model.invoke("hello").response_metadata["model_name"] == SECOND


def test_pitfall_12_a_copy_cannot_slip_a_paid_model_into_the_free_list(sim: Simulator, make_model: Maker):
    model = make_model(sim).model_copy(update={"models": ["simulated/paid-small"]})
    with contextlib.suppress(ConfigurationError):
        model.invoke("hello")
    assert "simulated/paid-small" not in asked(sim)
    assert sim.bill == []


def test_pitfall_12_a_copy_that_may_pay_without_a_budget_is_refused_in_our_words(sim: Simulator, make_model: Maker):
    sim.script({"*": "503"})
    model = make_model(sim, paid_models=["simulated/paid-small"]).model_copy(update={"allow_paid": True})
    with pytest.raises(OpenRouterFreeError):
        model.invoke("hello")
    assert sim.bill == []


# -- 13: threads and event loops


def test_pitfall_13_event_loops_twenty_in_a_row_leave_one_client_and_no_warning(sim: Simulator, make_model: Maker):
    model = make_model(sim)

    async def both() -> str:
        streamed = [chunk.text async for chunk in model.astream("hello")]
        return (await model.ainvoke("hello")).text + "".join(streamed)

    others = CLIENTS.count()  # of loops that other tests have open
    for _ in range(20):
        assert asyncio.run(both())
        assert CLIENTS.count() <= others + 1
    gc.collect()  # an unclosed socket would warn here, and a warning is an error


def test_pitfall_13_event_loops_in_eight_threads_share_one_model(sim: Simulator, make_model: Maker):
    model = make_model(sim)

    async def several() -> list[AIMessage]:
        return list(await asyncio.gather(*(model.ainvoke(f"hello {i}") for i in range(5))))

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: asyncio.run(several()), range(16)))
    assert sum(len(run) for run in runs) == len(sim.chats()) == 80
    gc.collect()


def test_pitfall_13_threads_two_hundred_calls_over_thirty_two(sim: Simulator, make_model: Maker):
    model = make_model(sim)
    answers = model.batch([f"number {i}" for i in range(200)], config={"max_concurrency": 32})
    assert [f"number {i}" in answer.text for i, answer in enumerate(answers)] == [True] * 200
    assert len(sim.chats()) == 200
    assert len({chat.connection for chat in sim.chats()}) <= 32


def test_pitfall_13_threads_learn_from_each_other_that_a_model_is_limited(sim: Simulator, make_model: Maker):
    sim.script({FIRST: "429-upstream"})
    model = make_model(sim)
    model.invoke("hello")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(model.invoke, ["hello"] * 40))
    assert asked(sim).count(FIRST) == 1


def test_pitfall_13_threads_and_loops_close_and_go_on(sim: Simulator, make_model: Maker):
    model = make_model(sim)
    model.invoke("hello")
    model.close()

    async def around() -> None:
        await model.ainvoke("hello")
        await model.aclose()
        await model.ainvoke("hello")

    asyncio.run(around())
    assert model.invoke("hello").text
    assert threading.active_count() < 50


# -- 14: errors


ENDINGS: dict[str, tuple[Any, type[ModelError], bool]] = {
    "401": ("401", ModelAuthenticationError, False),
    "rejected": ("400-temperature", ModelInvalidRequestError, False),
    "delisted": ("404-delisted", ModelNotFoundError, False),
    "day": ("429-account-day", ModelRateLimitError, False),
    "minute": ("429-account-minute", ModelRateLimitError, True),
    "credits": ("402-credits", ModelAPIError, False),
    "overloaded": ("503", ModelAPIError, True),
    "upstream": ("429-upstream", ModelAPIError, True),
    "refused": ("refuse", ModelAPIError, True),
    "reset": ("reset", ModelAPIError, True),
    "html": ("502-html", ModelAPIError, True),
    "not-json": ("200-not-json", ModelAPIError, True),
}


@pytest.mark.parametrize(("script", "kind", "retryable"), ENDINGS.values(), ids=ENDINGS.keys())
def test_pitfall_14_errors_are_model_errors_that_say_whether_to_retry(
    sim: Simulator, make_model: Maker, script: Any, kind: type[ModelError], *, retryable: bool
):
    sim.script({"*": script})
    with pytest.raises(OpenRouterFreeError) as caught:
        make_model(sim).invoke("hello")
    assert isinstance(caught.value, kind)
    assert isinstance(caught.value, ModelError)
    assert caught.value.is_retryable is retryable
    assert not hasattr(caught.value, "response")
    assert sim.api_key not in repr(caught.value) + str(caught.value)


def _sync_paths(model: ChatOpenRouterFree) -> list[Callable[[], Any]]:
    return [lambda: model.invoke("Say hello"), lambda: list(model.stream("Say hello"))]


def _async_paths(model: ChatOpenRouterFree) -> list[Callable[[], Any]]:
    async def drain() -> list[Any]:
        return [chunk async for chunk in model.astream("Say hello")]

    return [lambda: model.ainvoke("Say hello"), drain]


def _is_ours(error: Exception, behaviour: str) -> None:
    assert isinstance(error, OpenRouterFreeError), (behaviour, error)
    assert isinstance(error, ModelError), behaviour
    assert error.attempts, behaviour


def _one_that(behaviour: str, sim: Simulator, make_model: Maker) -> ChatOpenRouterFree:
    sim.script({FIRST: {"do": behaviour, "latency": 0.0} if behaviour == "slow" else behaviour})
    return make_model(sim, models=[FIRST], state=MemoryStore(), timeout=0.2)


def test_pitfall_14_errors_of_the_http_client_never_come_out(sim: Simulator, make_model: Maker):
    """Whatever the service does: an answer or one of our errors, which LangChain knows as a model's."""
    for behaviour in REGISTRY:
        for index in range(2):
            try:
                _sync_paths(_one_that(behaviour, sim, make_model))[index]()
            except Exception as error:  # noqa: BLE001 - that is the question
                _is_ours(error, behaviour)


async def test_pitfall_14_errors_of_the_async_http_client_never_come_out(sim: Simulator, make_model: Maker):
    """The same on an event loop."""
    for behaviour in REGISTRY:
        for index in range(2):
            try:
                await _async_paths(_one_that(behaviour, sim, make_model))[index]()
            except Exception as error:  # noqa: BLE001 - that is the question
                _is_ours(error, behaviour)


def test_pitfall_14_errors_tell_callbacks_no_headers_and_no_key(sim: Simulator, make_model: Maker):
    sim.script({"*": "401"})
    heard = Heard()
    with pytest.raises(ModelAuthenticationError):
        make_model(sim).invoke("hello", config={"callbacks": [heard]})
    assert len(heard.errors) == 1
    assert sim.api_key not in repr(heard.errors[0].__dict__)


# -- 15: counting tokens


def test_pitfall_15_token_counting_needs_neither_network_nor_tokenizer():
    model = ChatOpenRouterFree(models=[FIRST], api_key="sk-or-v1-offline", base_url="http://127.0.0.1:9/api/v1")
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 400, "parameters": {}}}
    few, many = model.get_num_tokens("hello"), model.get_num_tokens("hello " * 500)
    assert 0 < few < 20
    assert many > 400
    talk = [SystemMessage("be brief"), HumanMessage("hello " * 500), AIMessage("yes"), HumanMessage("and now?")]
    assert model.get_num_tokens_from_messages(talk) > 400
    assert model.get_num_tokens_from_messages(talk, tools=[tool]) > model.get_num_tokens_from_messages(talk)
    trimmed = trim_messages(talk, max_tokens=60, token_counter=model, include_system=True, start_on="human")
    assert trimmed == [talk[0], talk[3]]


# -- 16: what langchain-core's converter leaves open


def test_pitfall_16_convert_drops_what_an_assistant_must_not_send_back(sim: Simulator, make_model: Maker):
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "text", "text": "let me see"},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {}},
    ]
    call = {"name": "look", "args": {"at": "x"}, "id": "c1", "type": "tool_call"}
    talk = [HumanMessage("look"), AIMessage(blocks, tool_calls=[call]), ToolMessage("seen", tool_call_id="c1")]
    make_model(sim).invoke(talk)
    sent = sim.chats()[-1].body["messages"]
    assert "hm" not in json.dumps(sent)
    assert "tool_use" not in json.dumps(sent)
    assert sent[1]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": "x"}'}
    assert sent[2] == {"role": "tool", "content": "seen", "tool_call_id": "c1"}


def test_pitfall_16_convert_keeps_the_call_that_a_tool_message_answers_even_if_it_was_invalid(
    sim: Simulator, make_model: Maker
):
    bad = {"name": "look", "args": '{"at": ', "id": "c1", "error": "cut", "type": "invalid_tool_call"}
    talk = [
        HumanMessage("look"),
        AIMessage("", invalid_tool_calls=[bad]),
        ToolMessage("not JSON", tool_call_id="c1", status="error"),
    ]
    make_model(sim).invoke(talk)
    sent = sim.chats()[-1].body["messages"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == [sent[2]["tool_call_id"]]
    assert sent[1]["content"] is None


def test_pitfall_16_convert_gives_reasoning_back_to_the_model_that_reasoned_and_to_no_other(
    sim: Simulator, make_model: Maker
):
    model = make_model(sim, models=[FIRST, SECOND])
    answer = model.invoke("think")
    assert answer.additional_kwargs["reasoning_details"]
    sim.script({FIRST: ["ok", "429-upstream"]})
    talk = [HumanMessage("think"), answer, HumanMessage("again")]
    model.invoke(talk)
    model.invoke(talk)
    sent = {(chat.model, "reasoning_details" in chat.body["messages"][1]) for chat in sim.chats()[1:]}
    assert sent == {(FIRST, True), (SECOND, False)}


# -- 17: successes that are none

# Two of the simulated oddities are answers: text beside an announced tool call, and a sign that is none in a text.
ANSWERS = {"200-tool-calls-missing", "200-bad-utf8"}
SILENT = [name for name in REGISTRY if name.startswith("200-") and name not in ANSWERS] + [
    "cut",
    "cut-clean",
    "error-chunk",
    "error-chunk-after",
    "error-chunk-choice",
]


@pytest.mark.parametrize("wire", ["stream", "plain"])
@pytest.mark.parametrize("behaviour", SILENT)
def test_pitfall_17_silent_successes_are_rejected_and_the_next_model_answers(
    sim: Simulator, make_model: Maker, behaviour: str, wire: str
):
    sim.script({FIRST: quiet(behaviour), SECOND: quiet()})
    answer = make_model(sim, wire=wire).invoke("hello there, my good friend")
    assert answer.response_metadata["model_name"] == SECOND
    assert SECOND in answer.text
    assert "hello there, my good friend" in answer.text


@pytest.mark.parametrize("behaviour", sorted(ANSWERS))
def test_pitfall_17_silent_successes_do_not_include_odd_answers(sim: Simulator, make_model: Maker, behaviour: str):
    sim.script({FIRST: quiet(behaviour)})
    answer = make_model(sim).invoke("hello")
    assert answer.text
    assert answer.response_metadata["model_name"] == FIRST


@pytest.mark.parametrize("behaviour", ["tool-malformed", "tool-unknown"])
def test_pitfall_17_silent_successes_include_unusable_tool_calls(sim: Simulator, make_model: Maker, behaviour: str):
    sim.script({FIRST: behaviour})
    tool = {
        "type": "function",
        "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    }
    answer = make_model(sim).bind_tools([tool], tool_choice="add").invoke("add 3")
    assert answer.response_metadata["model_name"] == SECOND
    assert answer.tool_calls[0]["args"] == {"a": 3}


def test_the_callback_manager_sees_one_run_for_three_attempts(sim: Simulator, make_model: Maker):
    """One start, one end and no error, however many models were asked."""
    sim.script({FIRST: "429-upstream", SECOND: "cut"})
    heard = Heard()
    make_model(sim).invoke("hello", config={"callbacks": CallbackManager([heard])})
    assert (len(heard.starts), len(heard.ends), heard.errors) == (1, 1, [])
    assert len(sim.chats()) == 3
