"""The pitfalls of a router model that concern instances, threads, errors and answers, each by its number."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import json
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from driving import asked
from langchain_core.callbacks.manager import CallbackManager
from langchain_core.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelRateLimitError,
)
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages
from langchain_core.runnables import ConfigurableField
from pitfall_helpers import FIRST, SECOND, THIRD, Heard, cache_key, quiet
from pydantic import BaseModel

from langchain_openrouter_free import (
    ChatOpenRouterFree,
    ConfigurationError,
    FreeQuotaExhausted,
    MemoryStore,
    OpenRouterFreeError,
)
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.simulator.behaviours import REGISTRY
from langchain_openrouter_free.testing import FakeClock

Maker = Callable[..., ChatOpenRouterFree]

# -- 11: pickle and deepcopy


@pytest.mark.parametrize("twin", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_pitfall_11_pickle_and_deepcopy_give_a_model_that_works(sim: Simulator, make_model: Maker, twin: Any) -> None:
    sim.script({FIRST: "429-upstream"})
    model = make_model(sim, temperature=0.3)
    model.invoke("hello")
    again = twin(model)
    assert again.temperature == 0.3
    assert cache_key(again) == cache_key(model)
    assert again.invoke("hello").response_metadata["model_name"] == SECOND
    # What was learnt goes with it: the limited model is left alone.
    assert asked(sim) == [FIRST, SECOND, SECOND]


def test_pitfall_11_a_deepcopy_shares_the_book_and_the_clock(sim: Simulator, make_model: Maker) -> None:
    """Else it would have a day and a budget of its own; a pickle goes elsewhere, with what was known."""
    model = make_model(sim, state=MemoryStore(), clock=FakeClock(now=5.0))
    twin, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    twin.invoke("hello")
    assert [len(one.history()) for one in (model, twin, pickled)] == [1, 1, 0]
    pickled.clock.advance(2.0)
    assert [one.clock.now() for one in (model, twin, pickled)] == [5.0, 5.0, 7.0]


async def test_pitfall_11_pickle_and_deepcopy_work_after_an_async_call(sim: Simulator, make_model: Maker) -> None:
    model = make_model(sim)
    await model.ainvoke("hello")
    assert (await pickle.loads(pickle.dumps(model)).ainvoke("hello")).text
    assert (await copy.deepcopy(model).ainvoke("hello")).text


def test_pitfall_11_pickle_works_with_the_shared_state_and_with_bound_tools(sim: Simulator, make_model: Maker) -> None:
    model = make_model(sim, state="memory").bind(temperature=0.1)
    assert pickle.loads(pickle.dumps(model)).invoke("hello").text


@pytest.mark.parametrize("twin", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy], ids=["pickle", "copy"])
def test_pitfall_11_pickle_and_copy_keep_errors_whole(sim: Simulator, make_model: Maker, twin: Any) -> None:
    sim.script({"*": "429-account-day"})
    with pytest.raises(FreeQuotaExhausted) as caught:
        make_model(sim).invoke("hello")
    again = twin(caught.value)
    assert type(again) is FreeQuotaExhausted
    assert str(again) == str(caught.value)
    assert again.attempts == caught.value.attempts


# -- 12: instances that are rebuilt for each call


@pytest.mark.parametrize("state", ["shared", "own"])
def test_pitfall_12_configurable_fields_keep_cooldowns_and_connections(
    sim: Simulator, make_model: Maker, state: str
) -> None:
    sim.script({FIRST: "429-upstream"})
    plain = make_model(sim, state="memory") if state == "shared" else make_model(sim)
    model = plain.configurable_fields(temperature=ConfigurableField(id="t"))
    for warmth in (0.1, 0.2, 0.3):
        model.invoke("hello", config={"configurable": {"t": warmth}})
    assert asked(sim) == [FIRST, SECOND, SECOND, SECOND]
    assert [chat.body["temperature"] for chat in sim.chats()] == [0.1, 0.1, 0.2, 0.3]
    assert len({chat.connection for chat in sim.chats()}) == 1


def test_pitfall_12_configurable_fields_and_copies_share_the_state_of_an_account(
    sim: Simulator, make_model: Maker
) -> None:
    sim.script({FIRST: "429-upstream"})
    arguments = {"state": "memory", "models": [FIRST, SECOND]}
    make_model(sim, **arguments).invoke("hello")
    make_model(sim, **arguments).invoke("hello")
    make_model(sim, **arguments).model_copy(update={"temperature": 0.5}).invoke("hello")
    assert asked(sim) == [FIRST, SECOND, SECOND, SECOND]
    # Another key is another account: its own cooldowns, nothing of this one's.
    make_model(sim, **arguments, api_key="sk-or-v1-another").invoke("hello")
    assert asked(sim)[4:] == [FIRST, SECOND]


def test_pitfall_12_configurable_model_list_is_checked_like_a_constructor(sim: Simulator, make_model: Maker) -> None:
    model = make_model(sim).configurable_fields(models=ConfigurableField(id="models"))
    answer = model.invoke("hello", config={"configurable": {"models": [THIRD]}})
    assert answer.response_metadata["model_name"] == THIRD
    with pytest.raises(ConfigurationError):
        model.invoke("hello", config={"configurable": {"models": ["simulated/paid-small"]}})
    assert sim.bill == []


def test_pitfall_12_a_copy_with_another_list_asks_that_list_or_refuses(sim: Simulator, make_model: Maker) -> None:
    """`model_copy` runs no validator; the cache key follows the fields, so the route must do so too."""
    model = make_model(sim, models=[FIRST]).model_copy(update={"models": [SECOND]})
    assert SECOND in cache_key(model)
    assert model.invoke("hello").response_metadata["model_name"] == SECOND


def test_pitfall_12_a_copy_cannot_slip_a_paid_model_into_the_free_list(sim: Simulator, make_model: Maker) -> None:
    model = make_model(sim).model_copy(update={"models": ["simulated/paid-small"]})
    with contextlib.suppress(ConfigurationError):
        model.invoke("hello")
    assert "simulated/paid-small" not in asked(sim)
    assert sim.bill == []


def test_pitfall_12_a_copy_that_may_pay_without_a_budget_is_refused_in_our_words(
    sim: Simulator, make_model: Maker
) -> None:
    sim.script({"*": "503"})
    model = make_model(sim, paid_models=["simulated/paid-small"]).model_copy(update={"allow_paid": True})
    with pytest.raises(OpenRouterFreeError):
        model.invoke("hello")
    assert sim.bill == []


# -- 13: threads and event loops


def test_pitfall_13_event_loops_twenty_in_a_row_leave_one_client_and_no_warning(
    sim: Simulator, make_model: Maker
) -> None:
    model = make_model(sim)

    async def both() -> str:
        streamed = [chunk.text async for chunk in model.astream("hello")]
        return (await model.ainvoke("hello")).text + "".join(streamed)

    others = CLIENTS.count()  # of loops that other tests have open
    for _ in range(20):
        assert asyncio.run(both())
        assert CLIENTS.count() <= others + 1
    gc.collect()  # an unclosed socket would warn here, and a warning is an error


def test_pitfall_13_event_loops_in_eight_threads_share_one_model(sim: Simulator, make_model: Maker) -> None:
    model = make_model(sim)

    async def several() -> list[AIMessage]:
        return list(await asyncio.gather(*(model.ainvoke(f"hello {i}") for i in range(5))))

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: asyncio.run(several()), range(16)))
    assert sum(len(run) for run in runs) == len(sim.chats()) == 80
    gc.collect()


def test_pitfall_13_threads_two_hundred_calls_over_thirty_two(sim: Simulator, make_model: Maker) -> None:
    model = make_model(sim)
    answers = model.batch([f"number {i}" for i in range(200)], config={"max_concurrency": 32})
    assert [f"number {i}" in answer.text for i, answer in enumerate(answers)] == [True] * 200
    assert len(sim.chats()) == 200
    # One for each thread, and some more on a busy machine, where the end of a reply comes late or two threads choose
    # the same client at once. Without being used again they were 200.
    assert len({chat.connection for chat in sim.chats()}) <= 32


def test_pitfall_13_threads_learn_from_each_other_that_a_model_is_limited(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "429-upstream"})
    model = make_model(sim)
    model.invoke("hello")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(model.invoke, ["hello"] * 40))
    assert asked(sim).count(FIRST) == 1


def test_pitfall_13_threads_and_loops_close_and_go_on(sim: Simulator, make_model: Maker) -> None:
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
) -> None:
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


def test_pitfall_14_errors_of_the_http_client_never_come_out(sim: Simulator, make_model: Maker) -> None:
    """Whatever the service does: an answer or one of our errors, which LangChain knows as a model's."""
    for behaviour in REGISTRY:
        for index in range(2):
            try:
                _sync_paths(_one_that(behaviour, sim, make_model))[index]()
            except Exception as error:  # noqa: BLE001 - that is the question
                _is_ours(error, behaviour)


async def test_pitfall_14_errors_of_the_async_http_client_never_come_out(sim: Simulator, make_model: Maker) -> None:
    """The same on an event loop."""
    for behaviour in REGISTRY:
        for index in range(2):
            try:
                await _async_paths(_one_that(behaviour, sim, make_model))[index]()
            except Exception as error:  # noqa: BLE001 - that is the question
                _is_ours(error, behaviour)


def test_pitfall_14_errors_tell_callbacks_no_headers_and_no_key(sim: Simulator, make_model: Maker) -> None:
    sim.script({"*": "401"})
    heard = Heard()
    with pytest.raises(ModelAuthenticationError):
        make_model(sim).invoke("hello", config={"callbacks": [heard]})
    assert len(heard.errors) == 1
    assert sim.api_key not in repr(heard.errors[0].__dict__)


# -- 15: counting tokens


class Small(BaseModel):
    """A number."""

    number: int


def tool_of_a_function(number: int) -> str:
    """Say a number."""
    return str(number)


def test_pitfall_15_token_counting_needs_neither_network_nor_tokenizer() -> None:
    model = ChatOpenRouterFree(models=[FIRST], api_key="sk-or-v1-offline", base_url="http://127.0.0.1:9/api/v1")
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 400, "parameters": {}}}
    few, many = model.get_num_tokens("hello"), model.get_num_tokens("hello " * 500)
    assert 0 < few < 20
    assert many > 400
    talk = [SystemMessage("be brief"), HumanMessage("hello " * 500), AIMessage("yes"), HumanMessage("and now?")]
    assert model.get_num_tokens_from_messages(talk) > 400
    assert model.get_num_tokens_from_messages(talk, tools=[tool]) > model.get_num_tokens_from_messages(talk)
    for other in (tool_of_a_function, Small):
        assert model.get_num_tokens_from_messages(talk, tools=[other]) > model.get_num_tokens_from_messages(talk)
    trimmed = trim_messages(talk, max_tokens=60, token_counter=model, include_system=True, start_on="human")
    assert trimmed == [talk[0], talk[3]]


def test_pitfall_15_tokens_are_counted_by_the_callers_encoder_where_there_is_one() -> None:
    """One token a word; whoever counts asks for it: texts, messages, tools, and what is to be trimmed."""
    url = "http://127.0.0.1:9/api/v1"
    encode = lambda text: list(range(len(text.split())))  # noqa: E731 - as it is given
    model = ChatOpenRouterFree(models=[FIRST], api_key="sk-or-v1-offline", base_url=url, custom_get_token_ids=encode)
    talk: list[BaseMessage] = [HumanMessage("hm " * 99), HumanMessage("extraordinarily incomprehensible")]
    assert model.get_num_tokens("extraordinarily incomprehensible") == 2
    assert 101 <= model.get_num_tokens_from_messages(talk) <= 105
    assert model.get_num_tokens_from_messages(talk, [Small]) > model.get_num_tokens_from_messages(talk)
    assert trim_messages(talk, max_tokens=4, token_counter=model) == talk[1:]


@pytest.mark.parametrize("kind", ["file", "audio", "video", "media", "document", "tool_result"])
def test_pitfall_15_what_is_no_text_is_not_counted_by_its_characters(kind: str) -> None:
    model = ChatOpenRouterFree(models=[FIRST], api_key="sk-or-v1-offline", base_url="http://127.0.0.1:9/api/v1")
    data, mime_type = "A" * 400_000, "application/pdf"
    block: dict[str, Any] = {"type": kind, "data" if kind == "media" else "base64": data, "mime_type": mime_type}
    if kind == "document":
        block = {"type": kind, "source": {"type": "base64", "data": data, "media_type": mime_type}}
    if kind == "tool_result":
        block = {"type": kind, "tool_use_id": "c1", "content": [{"type": "file", "base64": data, "mime_type": "a/b"}]}
    asked: list[BaseMessage] = [HumanMessage([{"type": "text", "text": "What is in it?"}, block])]
    assert 20 < model.get_num_tokens_from_messages(asked) < 500
    assert trim_messages(asked, max_tokens=1000, token_counter=model) == asked
    assert len(str(asked[0].content)) > 400_000


# -- 16: what langchain-core's converter leaves open


def test_pitfall_16_convert_drops_what_an_assistant_must_not_send_back(sim: Simulator, make_model: Maker) -> None:
    blocks: list[str | dict[str, Any]] = [
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
) -> None:
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
) -> None:
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
) -> None:
    sim.script({FIRST: quiet(behaviour), SECOND: quiet()})
    answer = make_model(sim, wire=wire).invoke("hello there, my good friend")
    assert answer.response_metadata["model_name"] == SECOND
    assert SECOND in answer.text
    assert "hello there, my good friend" in answer.text


@pytest.mark.parametrize("behaviour", sorted(ANSWERS))
def test_pitfall_17_silent_successes_do_not_include_odd_answers(
    sim: Simulator, make_model: Maker, behaviour: str
) -> None:
    sim.script({FIRST: quiet(behaviour)})
    answer = make_model(sim).invoke("hello")
    assert answer.text
    assert answer.response_metadata["model_name"] == FIRST


@pytest.mark.parametrize("behaviour", ["tool-malformed", "tool-unknown"])
def test_pitfall_17_silent_successes_include_unusable_tool_calls(
    sim: Simulator, make_model: Maker, behaviour: str
) -> None:
    sim.script({FIRST: behaviour})
    tool = {
        "type": "function",
        "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    }
    answer = make_model(sim).bind_tools([tool], tool_choice="add").invoke("add 3")
    assert answer.response_metadata["model_name"] == SECOND
    assert answer.tool_calls[0]["args"] == {"a": 3}


def test_the_callback_manager_sees_one_run_for_three_attempts(sim: Simulator, make_model: Maker) -> None:
    """One start, one end and no error, however many models were asked."""
    sim.script({FIRST: "429-upstream", SECOND: "cut"})
    heard = Heard()
    make_model(sim).invoke("hello", config={"callbacks": CallbackManager([heard])})
    assert (len(heard.starts), len(heard.ends), heard.errors) == (1, 1, [])
    assert len(sim.chats()) == 3
