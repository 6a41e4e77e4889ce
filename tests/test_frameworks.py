"""Agents, graphs and wrappers around the model: a model dies in mid-task, and nobody outside notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from driving import asked
from langchain_core.caches import InMemoryCache
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import ConfigurableField, RunnableBinding, RunnableLambda
from langchain_core.tools import tool
from pitfall_helpers import FIRST, SECOND, THIRD, merged, quiet
from pydantic import BaseModel

from langchain_openrouter_free import AllModelsFailed, ChatOpenRouterFree, FreeQuotaExhausted
from langchain_openrouter_free.simulator import Simulator

Maker = Callable[..., ChatOpenRouterFree]
TASK = {"messages": [{"role": "user", "content": "Use add for 3 and 4."}]}
DEADLY = ["429-upstream", "503", "404-delisted", "200-error", "cut", "refuse"]


class Total(BaseModel):
    """The total that was found."""

    total: int


def add_tool(sim: Simulator, *, deadly: Any = None) -> Any:
    """A tool; while it runs, the first model dies."""

    @tool
    def add(a: int, b: int) -> str:
        """Add two numbers."""
        if deadly is not None:
            sim.script({FIRST: deadly, SECOND: quiet()})
        return f"the sum is {a + b}"

    return add


def _answered_by(message: AIMessage) -> str:
    name: str = message.response_metadata["model_name"]
    return name


def _done(messages: list[Any]) -> None:
    """The first model called the tool, the second one read its result."""
    kinds = [type(message) for message in messages]
    assert kinds == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert messages[1].tool_calls[0]["args"] == {"a": 3, "b": 4}
    assert messages[2].content == "the sum is 7"
    assert "the sum is 7" in messages[3].text
    assert [_answered_by(messages[1]), _answered_by(messages[3])] == [FIRST, SECOND]


# -- agents


@pytest.fixture
def agents() -> Any:
    return pytest.importorskip("langchain.agents", reason="langchain is not installed")


@pytest.mark.parametrize("deadly", DEADLY)
def test_create_agent_goes_on_when_the_model_dies_between_its_steps(
    sim: Simulator, make_model: Maker, agents: Any, deadly: str
) -> None:
    agent = agents.create_agent(make_model(sim), [add_tool(sim, deadly=deadly)])
    _done(agent.invoke(TASK)["messages"])
    assert asked(sim) == [FIRST, FIRST, SECOND]


async def test_create_agent_goes_on_asynchronously_and_streamed(sim: Simulator, make_model: Maker, agents: Any) -> None:
    agent = agents.create_agent(make_model(sim), [add_tool(sim, deadly="503")])
    pieces = [piece async for piece, _ in agent.astream(TASK, stream_mode="messages")]
    last = merged([piece for piece in pieces if piece.id == pieces[-1].id])
    assert last.text == f"{SECOND} has read the result of the tool: the sum is 7"
    assert asked(sim) == [FIRST, FIRST, SECOND]


async def test_create_agent_streams_never_mix_two_models_in_one(sim: Simulator, make_model: Maker, agents: Any) -> None:
    """Listeners see a broken message and a whole one, the agent keeps the whole one alone."""
    dying = quiet("cut", text="one two three four five", speed=200)
    agent = agents.create_agent(make_model(sim), [add_tool(sim, deadly=dying)])
    heard: dict[str | None, str] = {}
    async for mode, piece in agent.astream(TASK, stream_mode=["messages", "values"]):
        if mode == "values":
            state = piece
        elif isinstance(piece[0], AIMessage):
            heard[piece[0].id] = heard.get(piece[0].id, "") + piece[0].text
    _done(state["messages"])
    *_, broken, whole = heard.values()
    assert "one two three four five".startswith(broken)
    assert whole == state["messages"][-1].text == f"{SECOND} has read the result of the tool: the sum is 7"
    assert asked(sim) == [FIRST, FIRST, SECOND]


def test_create_agent_takes_a_response_format_as_a_tool(sim: Simulator, make_model: Maker, agents: Any) -> None:
    """The neutral model name keeps LangChain from guessing that every route knows response_format."""
    sim.script({FIRST: "429-upstream"})
    agent = agents.create_agent(make_model(sim), [], response_format=Total)
    answer = agent.invoke({"messages": [{"role": "user", "content": "The total is 12."}]})
    assert answer["structured_response"] == Total(total=12)
    assert all(chat.body["tool_choice"] == "required" for chat in sim.chats())
    assert asked(sim) == [FIRST, SECOND]


def test_create_agent_uses_its_tools_before_the_form_that_ends_it(
    sim: Simulator, make_model: Maker, agents: Any
) -> None:
    """Each of its calls is forced: after a tool's result the model goes on to the tool that the result is given by."""
    structured = pytest.importorskip("langchain.agents.structured_output")
    form = structured.ToolStrategy(Total)
    agent = agents.create_agent(make_model(sim), [add_tool(sim, deadly="503")], response_format=form)
    answer = agent.invoke(TASK)
    assert answer["structured_response"] == Total(total=3)
    assert "the sum is 7" in [message.content for message in answer["messages"]]
    assert asked(sim) == [FIRST, FIRST, SECOND]


def test_create_agent_takes_a_response_format_of_the_provider(sim: Simulator, make_model: Maker, agents: Any) -> None:
    structured = pytest.importorskip("langchain.agents.structured_output")
    agent = agents.create_agent(
        make_model(sim),
        [add_tool(sim, deadly="503")],
        response_format=structured.ProviderStrategy(Total),
    )
    answer = agent.invoke(TASK)
    assert isinstance(answer["structured_response"], Total)
    assert asked(sim) == [FIRST, FIRST, SECOND]


@pytest.mark.parametrize("reasoning", [True, False])
async def test_create_agent_gets_an_object_without_its_fence_while_somebody_listens(
    sim: Simulator, make_model: Maker, agents: Any, *, reasoning: bool
) -> None:
    """As it does where nobody does; what listeners have seen is voided by the mark of a restart."""
    sim.script({FIRST: {"do": "fenced", "reasoning": reasoning}})
    form = pytest.importorskip("langchain.agents.structured_output").ProviderStrategy(Total)
    agent = agents.create_agent(make_model(sim), [], response_format=form)
    heard = []
    async for mode, piece in agent.astream(
        {"messages": [HumanMessage("The total is 12.")]}, stream_mode=["messages", "values"]
    ):
        if mode == "values":
            state = piece
        else:
            heard.append(piece[0])
    assert state["structured_response"] == Total(total=12)
    assert json.loads(state["messages"][-1].text) == {"total": 12}
    assert bool(state["messages"][-1].additional_kwargs.get("reasoning")) is reasoning
    assert sum("interrupted" in chunk.response_metadata for chunk in heard) == 1
    assert asked(sim) == [FIRST]


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("form", ["plain", "pre-bound"])
def test_create_react_agent_goes_on_when_the_model_dies_between_its_steps(
    sim: Simulator, make_model: Maker, form: str
) -> None:
    prebuilt = pytest.importorskip("langgraph.prebuilt", reason="langgraph is not installed")
    tools = [add_tool(sim, deadly="429-upstream")]
    model: Any = make_model(sim)
    agent = prebuilt.create_react_agent(model.bind_tools(tools) if form == "pre-bound" else model, tools)
    _done(agent.invoke(TASK)["messages"])


# -- a graph with a memory


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_graph_with_a_checkpointer_goes_on_with_another_model(sim: Simulator, make_model: Maker, mode: str) -> None:
    graph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
    memory = pytest.importorskip("langgraph.checkpoint.memory")
    prebuilt = pytest.importorskip("langgraph.prebuilt")
    tools = [add_tool(sim, deadly="503")]
    model = make_model(sim).bind_tools(tools)

    def ask(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    builder = graph.StateGraph(graph.MessagesState)
    builder.add_node("ask", ask)
    builder.add_node("tools", prebuilt.ToolNode(tools))
    builder.add_edge(graph.START, "ask")
    builder.add_conditional_edges("ask", prebuilt.tools_condition)
    builder.add_edge("tools", "ask")
    compiled = builder.compile(checkpointer=memory.InMemorySaver(), interrupt_before=["tools"])
    thread = {"configurable": {"thread_id": "1"}}

    def run(what: Any) -> Any:
        return compiled.invoke(what, thread) if mode == "sync" else asyncio.run(compiled.ainvoke(what, thread))

    run(TASK)
    assert compiled.get_state(thread).next == ("tools",)
    _done(run(None)["messages"])
    # What the first model thought stays with it: the second one would refuse foreign reasoning.
    by_model = {chat.model: chat.body["messages"] for chat in sim.chats()}
    assert "reasoning_details" in by_model[FIRST][1]
    assert "reasoning_details" not in by_model[SECOND][1]
    run({"messages": [{"role": "user", "content": "thank you"}]})
    assert asked(sim) == [FIRST, FIRST, SECOND, SECOND]


# -- those who try again by themselves


def _agent_with(agents: Any, model: Any, *middleware: Any) -> Any:
    return agents.create_agent(model, [], middleware=list(middleware))


def _retries(**more: Any) -> Any:
    found = pytest.importorskip("langchain.agents.middleware")
    return found.ModelRetryMiddleware(max_retries=2, initial_delay=0.0, jitter=False, on_failure="error", **more)


def test_retry_middleware_does_not_ask_limited_models_again(sim: Simulator, make_model: Maker, agents: Any) -> None:
    sim.script({"*": "429-upstream"})
    agent = _agent_with(agents, make_model(sim), _retries())
    with pytest.raises(AllModelsFailed):
        agent.invoke(TASK)
    assert asked(sim) == [FIRST, SECOND, THIRD]


def test_retry_middleware_leaves_a_spent_day_alone(sim: Simulator, make_model: Maker, agents: Any) -> None:
    sim.script({"*": "429-account-day"})
    with pytest.raises(FreeQuotaExhausted):
        _agent_with(agents, make_model(sim), _retries()).invoke(TASK)
    assert asked(sim) == [FIRST]


def test_fallback_middleware_does_not_multiply_attempts(sim: Simulator, make_model: Maker, agents: Any) -> None:
    found = pytest.importorskip("langchain.agents.middleware")
    sim.script({"*": "503", THIRD: ["503", "ok"]})
    model = make_model(sim)
    other = make_model(sim, models=[SECOND, FIRST])
    agent = _agent_with(agents, model, found.ModelFallbackMiddleware(other, FakeListChatModel(responses=["spare"])))
    assert agent.invoke(TASK)["messages"][-1].text == "spare"
    assert sorted(map(str, asked(sim))) == sorted([FIRST, SECOND, THIRD])


def test_with_retry_does_not_multiply_attempts(sim: Simulator, make_model: Maker) -> None:
    sim.script({"*": "503"})
    model = make_model(sim).with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    with pytest.raises(AllModelsFailed):
        model.invoke("hello")
    assert asked(sim) == [FIRST, SECOND, THIRD]


def test_with_retry_gets_through_a_short_bad_spell(sim: Simulator, make_model: Maker) -> None:
    """The models cool down for some seconds; a call with patience waits for them by itself."""
    from langchain_openrouter_free.testing import FakeClock  # noqa: PLC0415 - used once

    sim.script({FIRST: ["503", "ok"], SECOND: "503", THIRD: "503"})
    model = make_model(sim, clock=FakeClock())
    retrying = model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    assert _answered_by(retrying.invoke("hello", max_wait=30.0)) == FIRST


def test_with_fallbacks_takes_over_when_the_day_is_spent(sim: Simulator, make_model: Maker) -> None:
    sim.script({"*": "429-account-day"})
    model = make_model(sim).with_fallbacks([FakeListChatModel(responses=["spare"])])
    assert [model.invoke("hello").text for _ in range(3)] == ["spare"] * 3
    assert asked(sim) == [FIRST]


def test_with_fallbacks_can_choose_by_error(sim: Simulator, make_model: Maker) -> None:
    sim.script({"*": "401"})
    spare = FakeListChatModel(responses=["spare"])
    model = make_model(sim).with_fallbacks([spare], exceptions_to_handle=(FreeQuotaExhausted,))
    with pytest.raises(Exception, match="API key"):
        model.invoke("hello")


# -- many at once


def _most_at_once(sim: Simulator) -> int:
    spans = [(chat.at, chat.finished_at) for chat in sim.chats()]
    return max(sum(start <= at < (end or start) for start, end in spans) for at, _ in spans)


def test_batch_keeps_order_and_max_concurrency(sim: Simulator, make_model: Maker) -> None:
    sim.script({"*": {"do": "ok", "latency": 0.03}})
    answers = make_model(sim).batch([f"number {i}" for i in range(8)], config={"max_concurrency": 2})
    assert [f"number {i}" in answer.text for i, answer in enumerate(answers)] == [True] * 8
    assert _most_at_once(sim) <= 2


async def test_abatch_keeps_order_and_max_concurrency(sim: Simulator, make_model: Maker) -> None:
    sim.script({"*": {"do": "ok", "latency": 0.03}})
    answers = await make_model(sim).abatch([f"number {i}" for i in range(8)], config={"max_concurrency": 2})
    assert [f"number {i}" in answer.text for i, answer in enumerate(answers)] == [True] * 8
    assert _most_at_once(sim) <= 2


async def test_abatch_of_a_hundred_finds_the_working_model(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "429-upstream", SECOND: "503"})
    model = make_model(sim)
    answers = [await model.ainvoke("first"), *await model.abatch(["hello"] * 100)]
    assert {_answered_by(answer) for answer in answers} == {THIRD}
    assert len(sim.chats()) == 103


def test_batch_returns_exceptions_when_asked_to(sim: Simulator, make_model: Maker) -> None:
    sim.script({"*": "429-account-day"})
    results: Sequence[object] = make_model(sim).batch(
        ["hello"] * 5, return_exceptions=True, config={"max_concurrency": 1}
    )
    assert [type(result) for result in results] == [FreeQuotaExhausted] * 5
    assert asked(sim) == [FIRST]


def test_batch_as_completed_gives_every_index_once(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "503"})
    done = dict(make_model(sim).batch_as_completed(["hello"] * 10))
    assert sorted(done) == list(range(10))


# -- wrappers


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_global_cache_saves_requests(sim: Simulator, make_model: Maker, mode: str) -> None:
    model = make_model(sim)
    before = get_llm_cache()
    set_llm_cache(InMemoryCache())
    try:
        answers = [model.invoke("hello") if mode == "sync" else asyncio.run(model.ainvoke("hello")) for _ in range(3)]
    finally:
        set_llm_cache(before)
    assert len({answer.text for answer in answers}) == len(sim.chats()) == 1


def test_configurable_fields_go_with_tools(sim: Simulator, make_model: Maker) -> None:
    """By `bind`: langchain-core's own `configurable_fields(...).bind_tools(...)` forgets the fields."""
    model = make_model(sim)
    configurable = model.configurable_fields(max_tokens=ConfigurableField(id="most"))
    with_tool = model.bind_tools([add_tool(sim)])
    assert isinstance(with_tool, RunnableBinding)
    bound = configurable.bind(**with_tool.kwargs)
    answer = bound.invoke("Use add for 3 and 4", config={"configurable": {"most": 200}})
    assert answer.tool_calls[0]["args"] == {"a": 3, "b": 4}
    assert sim.chats()[-1].body["max_tokens"] == 200


def test_structured_output_with_fallbacks_and_a_broken_first_model(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "wrong-schema"})
    found = make_model(sim).with_structured_output(Total, include_raw=True).invoke("The total is 12.")
    assert found["parsed"] == Total(total=12)
    assert _answered_by(found["raw"]) == SECOND
    assert found["parsing_error"] is None


@pytest.mark.parametrize("include_raw", [False, True])
def test_structured_output_in_json_mode_needs_no_schema(sim: Simulator, make_model: Maker, include_raw: bool) -> None:  # noqa: FBT001
    model = make_model(sim).with_structured_output(None, method="json_mode", include_raw=include_raw)
    found = model.invoke('Return JSON with the key "city".')
    assert list(found["parsed"] if include_raw else found) == ["city"]


async def test_structured_output_is_streamed(sim: Simulator, make_model: Maker) -> None:
    sim.script({FIRST: "200-error"})
    found = [piece async for piece in make_model(sim).with_structured_output(Total).astream("The total is 12.")]
    assert found[-1] == Total(total=12)
    assert asked(sim) == [FIRST, SECOND]


def test_a_chain_passes_its_tags_and_its_limit_on(sim: Simulator, make_model: Maker) -> None:
    say: RunnableLambda[str, str] = RunnableLambda(lambda text: f"say {text}")
    chain = say | make_model(sim)
    assert "say hello" in chain.invoke("hello", config={"tags": ["a"], "metadata": {"b": 1}}).text
    assert "tags" not in sim.chats()[-1].body
