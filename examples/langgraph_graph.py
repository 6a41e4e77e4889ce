"""A graph of LangGraph: write, review, and write again until the review is content or two rounds are over.

Each step is a call of its own, so each may be answered by another model; the graph's state keeps who did.
"""

from __future__ import annotations

from typing import TypedDict

from langgraph.graph import END, START, StateGraph

from langchain_openrouter_free import ChatOpenRouterFree

model = ChatOpenRouterFree(models=["z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"])
ROUNDS = 2


class Draft(TypedDict):
    """What the steps hand on."""

    topic: str
    text: str
    review: str
    rounds: int
    served: list[str]


def write(state: Draft) -> dict[str, object]:
    wish = f" Mind this: {state['review']}" if state["review"] else ""
    answer = model.invoke(f"Write one sentence about {state['topic']}.{wish}")
    served = [*state["served"], answer.response_metadata["route"]["model"]]
    return {"text": answer.text, "rounds": state["rounds"] + 1, "served": served}


def review(state: Draft) -> dict[str, object]:
    answer = model.invoke(f"Say 'fine', or what to better in this sentence: {state['text']}")
    return {"review": answer.text, "served": [*state["served"], answer.response_metadata["route"]["model"]]}


def decide(state: Draft) -> str:
    return END if state["rounds"] >= ROUNDS or state["review"].strip().lower().startswith("fine") else "write"


graph = StateGraph(Draft)
graph.add_node("write", write)
graph.add_node("review", review)
graph.add_edge(START, "write")
graph.add_edge("write", "review")
graph.add_conditional_edges("review", decide)
app = graph.compile()

end = app.invoke(Draft(topic="the sea", text="", review="", rounds=0, served=[]))
print(end["text"])
print(f"{end['rounds']} rounds, served by {', '.join(sorted(set(end['served'])))}")
