"""An agent with a tool. Each step is routed on its own: an answer that calls a tool badly goes to the next model."""

from __future__ import annotations

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage

from langchain_openrouter_free import ChatOpenRouterFree


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"18 degrees and dry in {city}"


model = ChatOpenRouterFree(models=["z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"], temperature=0)
agent = create_agent(model, tools=[get_weather])
state = agent.invoke({"messages": [HumanMessage("What is the weather in Oslo?")]})
for message in state["messages"]:
    message.pretty_print()
