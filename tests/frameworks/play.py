"""A task of two steps by an agent of each framework: `python play.py <framework> <base URL>`.

Runs where the frameworks are installed, as a user's program would, through the endpoint at that address. Prints one
JSON document: what the tools were called with, what the agent said in the end, and which names beside loopback it
looked up.
"""

# ruff: noqa: PLC0415, T201 - each framework is imported only where it is played; the result is printed

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import sys
from typing import Any

# Nothing is told to their makers; they read this when they are imported.
os.environ |= {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TESTING": "true",
    "OTEL_SDK_DISABLED": "true",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}

TASK = "Do this:\n1. Use add for 3 and 4.\n2. Use multiply for 6 and 7."
# smolagents ends with a call.
AND_SAY_SO = '\n3. Use final_answer for "the product is 42".'
calls: list[list[Any]] = []
reached: list[str] = []


def add(a: int, b: int) -> str:
    """Add two numbers.

    Args:
        a: the first number.
        b: the second number.
    """
    calls.append(["add", a, b])
    return f"the sum is {a + b}"


def multiply(a: int, b: int) -> str:
    """Multiply two numbers.

    Args:
        a: the first number.
        b: the second number.
    """
    calls.append(["multiply", a, b])
    return f"the product is {a * b}"


def crewai(url: str) -> str:
    """CrewAI through the endpoint."""
    from crewai import LLM

    llm = LLM(model="openai/auto", base_url=url, api_key="unused")
    return crew_of(llm)


def crewai_adapter(_: str) -> str:
    """CrewAI with an adapter to the LangChain model, which is configured by the environment."""
    from crewai import BaseLLM

    from langchain_openrouter_free import ChatOpenRouterFree

    router = ChatOpenRouterFree()

    class OpenRouterFree(BaseLLM):  # type: ignore[misc, unused-ignore]  # of any type where CrewAI is not installed
        def call(self, messages, tools=None, *_, **__):  # type: ignore[no-untyped-def]  # as the README shows it
            answer = (router.bind_tools(tools) if tools else router).invoke(messages)
            calls = [
                {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": json.dumps(c["args"])}}
                for c in answer.tool_calls
            ]
            return calls or answer.text

        def supports_function_calling(self):  # type: ignore[no-untyped-def]  # as the README shows it
            return True

    llm = OpenRouterFree(model="openrouter-free")
    return crew_of(llm)


def crew_of(llm: Any) -> str:
    """A crew of one with two tools."""
    from crewai import Agent, Crew, Task
    from crewai.tools import tool

    agent = Agent(role="clerk", goal="calculate", backstory="careful", llm=llm, tools=[tool(add), tool(multiply)])
    task = Task(description=TASK, expected_output="what the tools said", agent=agent)
    return str(Crew(agents=[agent], tasks=[task]).kickoff())


def pydantic_ai(url: str) -> str:
    """pydantic-ai: an agent with two functions."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("auto", provider=OpenAIProvider(base_url=url, api_key="unused"))
    return str(Agent(model, tools=[add, multiply]).run_sync(TASK).output)


def smolagents(url: str) -> str:
    """smolagents: an agent that calls tools, its last one to say what it found."""
    from smolagents import OpenAIModel, ToolCallingAgent, tool

    model = OpenAIModel("auto", api_base=url, api_key="unused")
    return str(ToolCallingAgent([tool(add), tool(multiply)], model, max_steps=5).run(TASK + AND_SAY_SO))


def autogen(url: str) -> str:
    """AutoGen: an assistant that may use tools several times."""
    from autogen_agentchat.agents import AssistantAgent
    from autogen_core.models import ModelInfo
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    abilities = ModelInfo(vision=False, function_calling=True, json_output=True, family="any", structured_output=True)
    client = OpenAIChatCompletionClient(model="auto", base_url=url, api_key="unused", model_info=abilities)
    agent = AssistantAgent("clerk", client, tools=[add, multiply], max_tool_iterations=5)
    said: Any = asyncio.run(agent.run(task=TASK)).messages[-1]
    return str(said.content)


def openai_agents(url: str) -> str:
    """The OpenAI Agents SDK: an agent with two functions."""
    from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool
    from openai import AsyncOpenAI

    model = OpenAIChatCompletionsModel("auto", AsyncOpenAI(base_url=url, api_key="unused"))
    agent = Agent(name="clerk", model=model, tools=[function_tool(add), function_tool(multiply)])
    return str(Runner.run_sync(agent, TASK).final_output)


FRAMEWORKS = {one.__name__: one for one in (crewai, crewai_adapter, pydantic_ai, smolagents, autogen, openai_agents)}


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Let nothing but loopback be reached."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name in ("localhost", "None") or _is_loopback(name):
        return
    reached.append(name)
    raise OSError(f"{name} is not to be reached")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def main() -> None:
    """Play one."""
    framework, url = sys.argv[1:]
    sys.addaudithook(watch)
    said = FRAMEWORKS[framework](url)
    print("\n" + json.dumps({"calls": calls, "said": said, "reached": reached}))


if __name__ == "__main__":
    main()
