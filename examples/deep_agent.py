"""A deep agent (package deepagents): it plans, keeps files, and calls tools, over many calls of free models.

Do not stack ModelRetryMiddleware or ModelFallbackMiddleware on it: each call has already asked everybody.
"""

from __future__ import annotations

from deepagents import create_deep_agent
from langchain_core.messages import AIMessage, HumanMessage

from langchain_openrouter_free import ChatOpenRouterFree


def get_population(city: str) -> int:
    """Tell how many people live in a city."""
    return {"Oslo": 717_710, "Bergen": 291_940}.get(city, 0)


# A long task is many requests: max_wait lets each wait for the account's next minute instead of failing.
model = ChatOpenRouterFree(models=["z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"], temperature=0, max_wait=120)
agent = create_deep_agent(model=model, tools=[get_population], system_prompt="Use the tools. Answer in one sentence.")
state = agent.invoke(
    {"messages": [HumanMessage("Get the population of Oslo.")]},
    {"recursion_limit": 40},
)
for message in state["messages"]:
    if isinstance(message, AIMessage):
        calls = ", ".join(call["name"] for call in message.tool_calls)
        print(f"{message.response_metadata['route']['model']}: {calls or message.text}")
