"""Tests of your own app against the simulator: no key, no network, and every bad hour on demand.

pytest examples/test_your_app.py

In a project of yours, what stands in `pytest_plugins` is rather said in conftest.py, for all files.
"""

from __future__ import annotations

import pytest

from langchain_openrouter_free import AllModelsFailed, ChatOpenRouterFree, MemoryStore
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock

pytest_plugins = ["langchain_openrouter_free.simulator.pytest_plugin"]

GLM, SMALL = "z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"


def headline(model: ChatOpenRouterFree, text: str) -> str:
    """The app: a headline, or the text's own beginning where nobody answers."""
    try:
        return model.invoke(f"A headline for: {text}").text
    except AllModelsFailed:
        return text[:20]


@pytest.fixture
def model(openrouter_simulator: Simulator) -> ChatOpenRouterFree:
    sim = openrouter_simulator
    # A book of its own for each test, and a clock that never really waits.
    return ChatOpenRouterFree(
        models=[GLM, SMALL], api_key=sim.api_key, base_url=sim.base_url, state=MemoryStore(), clock=FakeClock()
    )


def test_the_answer_is_used(openrouter_simulator: Simulator, model: ChatOpenRouterFree) -> None:
    openrouter_simulator.script({GLM: {"do": "ok", "text": "Rain again"}})
    assert headline(model, "It rained all day.") == "Rain again"


def test_a_busy_model_is_passed_over(openrouter_simulator: Simulator, model: ChatOpenRouterFree) -> None:
    openrouter_simulator.script({GLM: "429-upstream", SMALL: {"do": "ok", "text": "Rain"}})
    assert headline(model, "It rained all day.") == "Rain"
    assert [chat.model for chat in openrouter_simulator.chats()] == [GLM, SMALL]


def test_nobody_answers(openrouter_simulator: Simulator, model: ChatOpenRouterFree) -> None:
    openrouter_simulator.script({"*": "503"})
    assert headline(model, "It rained all day.") == "It rained all day."
