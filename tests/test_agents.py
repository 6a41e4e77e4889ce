"""Agents on a task of three steps while models die between them: every step is done once, no result is lost.

Each framework plays the same task on the simulator, by its sync and its async call. The first model dies after the
first step, the second one after the second, in several ways; what arrived at the service is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from driving import asked
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from pitfall_helpers import FIRST, SECOND, THIRD, quiet
from pydantic import BaseModel

from langchain_openrouter_free import ChatOpenRouterFree
from langchain_openrouter_free.simulator import Simulator

agents = pytest.importorskip("langchain.agents", reason="langchain is not installed")
middleware = pytest.importorskip("langchain.agents.middleware")
structured = pytest.importorskip("langchain.agents.structured_output")

Maker = Callable[..., ChatOpenRouterFree]
STEPS = "1. Use add for 3 and 4.\n2. Use multiply for 6 and 7.\n3. Use negate for 5."
RESULTS = ["the sum is 7", "the product is 42", "the opposite is -5"]
TASK = {"messages": [{"role": "user", "content": f"Please do these steps:\n{STEPS}"}]}
# How the first two models die: refused for a while or for good, broken off, or kept alive by comments alone.
DEADLY = ["429-upstream", "404-delisted", "cut", pytest.param("drip", marks=pytest.mark.wall_clock), "200-error"]
COLOURS = ["sync", "async"]
LISTENING = ["streamed", "streamed async"]
MODES = ["messages", "values"]
# Who was asked for the four answers: three steps and the last word.
WALK = [FIRST, FIRST, SECOND, SECOND, THIRD, THIRD]


class Total(BaseModel):
    """The number that was found last."""

    total: int


class Workshop:
    """Three tools; while the first two run, the model that called them dies."""

    def __init__(self, sim: Simulator, deadly: str) -> None:
        self.ran: list[str] = []
        # The dying drip is waited for; the others may take as long as a busy machine needs.
        self.timeouts = {"first_token": 0.4 if deadly == "drip" else 10.0}
        dead = {"do": deadly, "interval": 0.02}
        scripts: dict[str, Any] = {FIRST: quiet(), SECOND: quiet(), THIRD: quiet()}
        sim.script(scripts)

        def goes_on(name: str, dying: str | None = None) -> None:
            self.ran.append(name)
            if dying is not None:
                sim.script({dying: dead})

        @tool
        def add(a: int, b: int) -> str:
            """Add two numbers."""
            goes_on("add", FIRST)
            return f"the sum is {a + b}"

        @tool
        def multiply(a: int, b: int) -> str:
            """Multiply two numbers."""
            goes_on("multiply", SECOND)
            return f"the product is {a * b}"

        @tool
        def negate(a: int) -> str:
            """Give the opposite of a number."""
            goes_on("negate")
            return f"the opposite is {-a}"

        self.tools = [add, multiply, negate]


@pytest.fixture(params=DEADLY)
def workshop(request: pytest.FixtureRequest, sim: Simulator) -> Workshop:
    return Workshop(sim, request.param)


@pytest.fixture
def model(sim: Simulator, make_model: Maker, workshop: Workshop) -> ChatOpenRouterFree:
    return make_model(sim, timeouts=workshop.timeouts)


def run(agent: Any, colour: str, what: Any = TASK, config: Any = None) -> Any:
    """Run an agent by its sync or its async call, or while somebody listens to every token."""
    if colour == "sync":
        return agent.invoke(what, config)
    if colour == "async":
        return asyncio.run(agent.ainvoke(what, config))
    if colour == "streamed":
        return [state for mode, state in agent.stream(what, config, stream_mode=MODES) if mode == "values"][-1]

    async def listen() -> Any:
        return [state async for mode, state in agent.astream(what, config, stream_mode=MODES) if mode == "values"][-1]

    return asyncio.run(listen())


def told_by_tools(sim: Simulator) -> list[list[str]]:
    """Return the tools' results in each request that arrived, each paired with the call before it."""
    found = []
    for chat in sim.chats():
        calls: set[str] = set()
        results = []
        for message in chat.body["messages"]:
            calls |= {call["id"] for call in message.get("tool_calls") or ()}
            if message["role"] == "tool":
                assert message["tool_call_id"] in calls, "a result that answers to no call"
                results.append(message["content"])
        found.append(results)
    return found


def check(sim: Simulator, workshop: Workshop, messages: list[Any]) -> None:
    """Each tool ran once, each result arrived at whoever was asked next, and nobody was asked twice for the same."""
    assert workshop.ran == ["add", "multiply", "negate"]
    assert asked(sim) == WALK
    assert told_by_tools(sim) == [RESULTS[:n] for n in (0, 1, 1, 2, 2, 3)]
    assert messages[-1].text == f"{THIRD} has done all steps: {', '.join(RESULTS)}"
    answers = [message for message in messages if isinstance(message, AIMessage)]
    assert [answer.response_metadata["model_name"] for answer in answers] == [FIRST, SECOND, THIRD, THIRD]


@pytest.mark.parametrize("colour", [*COLOURS, *LISTENING])
def test_create_agent_does_all_steps(
    sim: Simulator, model: ChatOpenRouterFree, workshop: Workshop, colour: str
) -> None:
    """LangChain's own agent."""
    check(sim, workshop, run(agents.create_agent(model, workshop.tools), colour)["messages"])


@pytest.mark.parametrize("colour", COLOURS)
def test_create_agent_does_all_steps_behind_retrying_middleware(
    sim: Simulator, model: ChatOpenRouterFree, workshop: Workshop, colour: str
) -> None:
    """ModelRetryMiddleware has nothing to do: not one request more arrives than without it."""
    retries = middleware.ModelRetryMiddleware(max_retries=3, initial_delay=0.0, jitter=False, on_failure="error")
    agent = agents.create_agent(model, workshop.tools, middleware=[retries])
    check(sim, workshop, run(agent, colour)["messages"])


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("strategy", ["ToolStrategy", "ProviderStrategy"])
def test_create_agent_ends_in_the_form_that_was_asked_for(
    sim: Simulator, model: ChatOpenRouterFree, workshop: Workshop, strategy: str, colour: str
) -> None:
    """With a `response_format` the last word is an object, by a tool call or by the service's own means."""
    form = getattr(structured, strategy)(Total)
    answer = run(agents.create_agent(model, workshop.tools, response_format=form), colour)
    assert answer["structured_response"] == Total(total=7), "the first number among the results"
    assert workshop.ran == ["add", "multiply", "negate"]
    assert asked(sim) == WALK
    assert told_by_tools(sim) == [RESULTS[:n] for n in (0, 1, 1, 2, 2, 3)]


def _graph(model: ChatOpenRouterFree, tools: list[Any], colour: str) -> Any:
    """A graph of a model and its tools that stops before each tool and keeps its state in a checkpointer."""
    graph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
    prebuilt, memory = pytest.importorskip("langgraph.prebuilt"), pytest.importorskip("langgraph.checkpoint.memory")
    bound = model.bind_tools(tools)

    def ask(state: Any) -> Any:
        return {"messages": [bound.invoke(state["messages"])]}

    async def aask(state: Any) -> Any:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    builder = graph.StateGraph(graph.MessagesState)
    builder.add_node("ask", ask if colour == "sync" else aask)
    builder.add_node("tools", prebuilt.ToolNode(tools))
    builder.add_edge(graph.START, "ask")
    builder.add_conditional_edges("ask", prebuilt.tools_condition)
    builder.add_edge("tools", "ask")
    return builder.compile(checkpointer=memory.InMemorySaver(), interrupt_before=["tools"])


@pytest.mark.parametrize("colour", COLOURS)
def test_a_graph_does_all_steps_from_checkpoint_to_checkpoint(
    sim: Simulator, model: ChatOpenRouterFree, workshop: Workshop, colour: str
) -> None:
    """Stopped before each tool and taken up again from its checkpoint, the task goes on with whoever lives."""
    compiled, thread = _graph(model, workshop.tools, colour), {"configurable": {"thread_id": "1"}}
    state = run(compiled, colour, TASK, thread)
    for _ in range(3):
        assert compiled.get_state(thread).next == ("tools",)
        state = run(compiled, colour, None, thread)
    check(sim, workshop, state["messages"])
    later = run(compiled, colour, {"messages": [HumanMessage("thank you")]}, thread)["messages"]
    assert later[-1].response_metadata["model_name"] == THIRD
    assert told_by_tools(sim)[-1] == RESULTS


@pytest.mark.parametrize("colour", COLOURS)
def test_deepagents_does_all_steps(sim: Simulator, model: ChatOpenRouterFree, workshop: Workshop, colour: str) -> None:
    """An agent with files, plans and subagents at hand does the task with the three tools it was given."""
    deep = pytest.importorskip("deepagents", reason="deepagents is not installed")
    check(sim, workshop, run(deep.create_deep_agent(model=model, tools=workshop.tools), colour)["messages"])


# -- a summary in the middle of the task


@pytest.mark.parametrize("colour", COLOURS)
def test_a_summary_in_mid_task_loses_no_result_and_asks_nobody_twice(
    sim: Simulator, make_model: Maker, workshop: Workshop, colour: str
) -> None:
    """SummarizationMiddleware by the same router, ModelRetryMiddleware beside it, and models that die all the while."""
    model = make_model(sim, timeouts=workshop.timeouts)
    # The question is what fills the context: it is summarized as soon as four messages follow it.
    long = {"messages": [HumanMessage(f"{TASK['messages'][0]['content']}\n{'This is what it is about. ' * 250}")]}
    # The summary is the router's own work: of a list whose first model is dead as well.
    sim.offer("test/dead:free", "test/scribe:free")
    sim.script({"test/dead:free": "503", "test/scribe:free": quiet(text=f"The user wants:\n{STEPS}")})
    scribe = make_model(sim, models=["test/dead:free", "test/scribe:free"])
    agent = agents.create_agent(
        model,
        workshop.tools,
        middleware=[
            middleware.SummarizationMiddleware(scribe, trigger=("tokens", 1000), keep=("messages", 4)),
            middleware.ModelRetryMiddleware(max_retries=3, initial_delay=0.0, jitter=False, on_failure="error"),
        ],
    )
    messages = run(agent, colour, long)["messages"]
    assert "summary" in messages[0].text
    assert workshop.ran == ["add", "multiply", "negate"]
    assert asked(sim) == [*WALK[:3], "test/dead:free", "test/scribe:free", *WALK[3:]]
    told = [results for chat, results in zip(sim.chats(), told_by_tools(sim), strict=True) if chat.model in WALK]
    assert told == [RESULTS[:n] for n in (0, 1, 1, 2, 2, 3)]
    assert messages[-1].text == f"{THIRD} has done all steps: {', '.join(RESULTS)}"
