"""A refusal costs one request: what it taught serves the next call, of this process or another, on every path."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from driving import PATHS, asked, drive
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_openrouter_free import ChatOpenRouterFree, ContextTooLong, NoSuitableModel
from langchain_openrouter_free.engine.bookkeeping import Accounts
from langchain_openrouter_free.judging.traits import FEATURE_KEPT
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.simulator.catalogue_rows import RICH
from langchain_openrouter_free.simulator.scenario import Scenario
from langchain_openrouter_free.testing import FakeClock

FIRST, SECOND, PAID = "test/first:free", "test/second:free", "simulated/paid-small"
IDS = {"first": FIRST, "second": SECOND, "paid": PAID}
TAKES = {
    "supported_parameters": [*RICH.split(), "logprobs", "parallel_tool_calls"],
    "input_modalities": ["text", "image"],
}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}}
NAMED = {"type": "function", "function": {"name": "add"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}

# Manner of the simulated model -> a request that it refuses, and what is said of it.
UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "tools": ({"tools": [TOOL]}, "tools"),
    "forced-tool-choice": ({"tools": [TOOL], "tool_choice": NAMED}, "forced tool choice"),
    "json-schema": ({"response_format": SCHEMA}, "structured output"),
    "json-object": ({"response_format": {"type": "json_object"}}, "JSON mode"),
    "stop": ({"stop": ["x"]}, "stop"),
    "logprobs": ({"logprobs": True}, "logprobs"),
    "reasoning-off": ({"reasoning": {"enabled": False}}, "reasoning off"),
}
# What is left out for who has refused it.
SPARED: dict[str, Any] = {"seed": 7, "temperature": 0.5, "top_p": 0.5, "parallel_tool_calls": False}


def world(server: Simulator, context: int = 131_072, **refuses: list[str]) -> Simulator:
    """Offer two models whose rows list everything; each refuses what is named."""
    models: list[Any] = [{"id": FIRST, **TAKES, "context_length": context}, {"id": SECOND, **TAKES}]
    models.append({"id": PAID, **TAKES, "pricing": {"prompt": "0.0000001", "completion": "0.0000004"}})
    server.reset(Scenario(models=models, refuses={IDS[name]: names for name, names in refuses.items()}))
    return server


class Machine:
    """One machine's processes: each call is of a fresh model with a handle of its own on the same file."""

    def __init__(self, sim: Simulator, folder: Path) -> None:
        self.sim, self.clock = sim, FakeClock()
        self.state = str(folder / "state.sqlite3")

    def model(self, *models: str, **fields: Any) -> ChatOpenRouterFree:
        """A router of another process."""
        return ChatOpenRouterFree(
            models=list(models or (FIRST, SECOND)),
            api_key=self.sim.api_key,
            base_url=self.sim.base_url,
            state=self.state,
            clock=self.clock,
            chance=lambda: 0.0,
            max_wait=0.0,
            **fields,
        )


@pytest.fixture
def machine(server: Simulator, tmp_path: Path) -> Machine:
    return Machine(server, tmp_path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("manner", UNFIT)
def test_a_refusal_is_learned_once(machine: Machine, manner: str, path: str) -> None:
    """The second call, of another process, spends nothing on it, nor does the third day; then it is tried again."""
    params, name = UNFIT[manner]
    sim = world(machine.sim, first=[manner])
    told = drive(machine.model(), path, **params)
    assert told.outcomes[-1] == "ok"
    assert asked(sim) == [FIRST, SECOND]
    assert drive(machine.model(), path, **params).outcomes == ["ok"]
    machine.clock.advance(FEATURE_KEPT - 60.0)
    assert drive(machine.model(), path, **params).outcomes == ["ok"]
    assert asked(sim) == [FIRST, SECOND, SECOND, SECOND]
    drive(machine.model(), path)
    assert asked(sim)[4:] == [FIRST], "what it has not refused it is asked"
    with pytest.raises(
        NoSuitableModel, match=f"{FIRST}: not asked, it is unfit .*: it has refused {name} until "
    ) as none:
        drive(machine.model(FIRST), path, **params)
    assert none.value.attempts == ()
    explained = machine.model().explain(**params)
    assert (explained.order, explained.models[-1].reason) == (
        (SECOND,),
        f"it is unfit for this request: it has refused {name}",
    )
    assert explained.models[-1].until == pytest.approx(machine.clock.now() + 60.0, abs=5.0)
    machine.clock.advance(120.0)
    world(sim)
    drive(machine.model(), path, **params)
    assert asked(sim) == [FIRST]
    machine.clock.advance(1.0)
    drive(machine.model(), path, **params)
    assert asked(sim) == [FIRST, FIRST]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("streamed", ["stream", "plain"])
def test_a_forced_choice_is_no_refusal_of_tools(machine: Machine, path: str, streamed: str) -> None:
    sim = world(machine.sim, first=["forced-tool-choice"])
    drive(machine.model(wire=streamed), path, tools=[TOOL], tool_choice="required")
    drive(machine.model(wire=streamed), path, tools=[TOOL])
    drive(machine.model(wire=streamed), path, tools=[TOOL], tool_choice="required")
    assert asked(sim) == [FIRST, SECOND, FIRST, SECOND]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", SPARED)
def test_what_was_refused_is_left_out(machine: Machine, name: str, path: str) -> None:
    """The model is asked again, without it."""
    sim = world(machine.sim, first=[name])
    for _ in range(2):
        drive(machine.model(), path, **{name: SPARED[name]})
    sent = [(str(chat.model), name in chat.body) for chat in sim.chats()]
    assert sent == [(FIRST, True), (SECOND, True), (FIRST, False)]


HISTORY = [
    SystemMessage("Be brief."),
    HumanMessage("add"),
    AIMessage(
        "", tool_calls=[{"name": "add", "args": {}, "id": "call_1"}, {"name": "add", "args": {}, "id": "call_2"}]
    ),
    ToolMessage("3", tool_call_id="call_1"),
    ToolMessage("4", tool_call_id="call_2"),
    HumanMessage("again"),
]
FORMS = {
    "system-role": "system role",
    "tool-call-ids": "tool-call ids",
    "alternation": "message order",
    "several-tool-calls": "several tool calls in a message",
}


def book(machine: Machine) -> Any:
    accounts: Accounts = machine.model()._accounts()
    return accounts.look()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("manner", FORMS)
def test_a_form_makes_nobody_unfit(machine: Machine, manner: str, path: str) -> None:
    """It is known to whom the history is to be written in another way: at once, and in each later call."""
    sim = world(machine.sim, first=[manner])
    drive(machine.model(), path, HISTORY, tools=[TOOL])
    assert asked(sim) == [FIRST, FIRST]
    assert FORMS[manner] in book(machine).traits[FIRST].refuses(machine.clock.now())
    assert machine.model().explain(HISTORY, tools=[TOOL]).order == (FIRST, SECOND)
    assert drive(machine.model(), path, HISTORY, tools=[TOOL]).outcomes == ["ok"]


@pytest.mark.parametrize("path", PATHS)
def test_a_paid_model_can_refuse_as_well(machine: Machine, path: str) -> None:
    sim = world(machine.sim, first=["tools"], second=["tools"], paid=["tools"])
    paying = {"allow_paid": True, "paid_models": [PAID], "budget": "$1"}
    for known in (3, 0):
        with pytest.raises(NoSuitableModel) as caught:
            drive(machine.model(**paying), path, tools=[TOOL])
        assert len(caught.value.attempts) == known
    assert {one.model for one in caught.value.skipped} == {FIRST, SECOND, PAID}
    assert all("it has refused tools" in one.reason for one in caught.value.skipped)
    assert asked(sim) == [FIRST, SECOND, PAID]


@pytest.mark.parametrize("path", PATHS)
def test_ways_that_have_worked_are_kept(machine: Machine, path: str) -> None:
    world(machine.sim)
    drive(machine.model(), path, "add 1 and 2", tools=[TOOL], tool_choice="required")
    drive(machine.model(), path, response_format=SCHEMA)
    assert book(machine).traits[FIRST].works(machine.clock.now()) == {
        "tools",
        "forced tool choice",
        "structured output",
    }


@pytest.mark.parametrize("path", PATHS)
def test_who_is_ruled_out_is_not_asked_at_every_call(machine: Machine, path: str) -> None:
    """By what was asked of providers; an answer lifts it."""
    sim = world(machine.sim)
    sim.script({FIRST: "404-policy"})
    for privacy in ("no-training", "no-training", "zdr"):
        drive(machine.model(privacy=privacy), path)
    assert asked(sim) == [FIRST, *[SECOND] * 3]
    why = machine.model(privacy="zdr").explain().models[-1]
    assert why.reason == "the account's privacy setting or guardrail has ruled it out"
    sim.script({FIRST: "ok"})
    for privacy in ("any", "no-training"):
        drive(machine.model(privacy=privacy), path)
    assert asked(sim)[4:] == [FIRST, SECOND]
    machine.clock.advance(6 * 3600.0)
    for privacy in ("no-training", "zdr"):
        drive(machine.model(privacy=privacy), path)
    assert asked(sim)[6:] == [FIRST, FIRST]


@pytest.mark.parametrize("colour", ["refresh", "arefresh"])
def test_a_refresh_forgets_whom_the_setting_ruled_out(machine: Machine, colour: str) -> None:
    """The setting may have been changed; what a model cannot do has not."""
    sim = world(machine.sim)
    sim.script({FIRST: ["404-policy", "404-tool-choice", "ok"]})
    model = machine.model()
    drive(model, "invoke")
    asyncio.run(model.arefresh()) if colour == "arefresh" else model.refresh()
    for _ in range(2):
        drive(model, "invoke", tools=[TOOL], tool_choice="required")
    model.refresh()
    drive(model, "invoke", tools=[TOOL], tool_choice="required")
    drive(model, "invoke")
    assert asked(sim) == [FIRST, SECOND, FIRST, SECOND, SECOND, SECOND, FIRST]


@pytest.mark.parametrize("path", PATHS)
def test_an_unclear_refusal_teaches_nothing(machine: Machine, path: str) -> None:
    sim = world(machine.sim)
    sim.script({FIRST: "404-parameters"})
    for _ in range(2):
        drive(machine.model(), path, tools=[TOOL], tool_choice="required", seed=1)
    assert asked(sim) == [FIRST, SECOND, FIRST, SECOND]
    assert FIRST not in book(machine).traits


def english(tokens: int) -> str:
    return "word" * tokens


def chinese(tokens: int) -> str:
    """A text that the simulated models count as so many tokens, and we as more than twice as many."""
    return "日本日本" * tokens


@pytest.mark.parametrize("path", PATHS)
def test_what_a_model_counts_makes_room(machine: Machine, path: str) -> None:
    """A prompt that is called too long at first fits as soon as shorter ones have shown how the model counts."""
    sim = world(machine.sim, context=2_000)
    drive(machine.model(), path, chinese(1_000))
    assert asked(sim) == [SECOND]
    for _ in range(2):
        drive(machine.model(), path, chinese(400))
    drive(machine.model(), path, chinese(1_000))
    assert asked(sim)[1:] == [FIRST] * 3


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("streamed", ["stream", "plain"])
def test_too_long_once_is_too_long_for_the_next(machine: Machine, path: str, streamed: str) -> None:
    """A refusal for length tells how the model counts: the next prompt of that length is not sent."""
    sim = world(machine.sim, context=2_000)
    sim.script({FIRST: ["400-context", "ok"]})
    for _ in range(2):
        assert drive(machine.model(wire=streamed), path, english(950)).meta["route"]["model"] == SECOND
    assert asked(sim) == [FIRST, SECOND, SECOND]
    with pytest.raises(ContextTooLong, match="a context of 2000 tokens is too small for about 2"):
        drive(machine.model(FIRST), path, english(950))
    drive(machine.model(wire=streamed), path, english(100))
    assert asked(sim)[3:] == [FIRST]


@pytest.mark.parametrize("path", PATHS)
def test_a_context_that_only_a_refusal_tells(machine: Machine, path: str) -> None:
    """The list has the largest of several providers'; what the one that answered holds is believed for three days."""
    sim = world(machine.sim)
    smaller = "This endpoint's maximum context length is 900 tokens. However, you requested about 1000 tokens"
    sim.script({FIRST: [{"do": "400-context", "message": smaller}, "ok"]})
    for tokens in (1_000, 1_000, 100):
        drive(machine.model(), path, english(tokens))
    assert asked(sim) == [FIRST, SECOND, SECOND, FIRST]
    machine.clock.advance(FEATURE_KEPT)
    drive(machine.model(), path, english(1_000))
    assert asked(sim)[4:] == [FIRST]


CHILD = """
import sys
from langchain_openrouter_free import ChatOpenRouterFree
key, url, state, *models = sys.argv[1:]
tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
model = ChatOpenRouterFree(models=models, api_key=key, base_url=url, state=state)
model.invoke("hi", tools=[tool], tool_choice="required")
"""


def test_what_another_process_has_learned(server: Simulator, tmp_path: Path) -> None:
    sim, taught = world(server, first=["forced-tool-choice"]), tmp_path / "taught"
    taught.mkdir()
    told = [sys.executable, "-c", CHILD, sim.api_key, sim.base_url, str(taught / "state.sqlite3"), FIRST, SECOND]
    subprocess.run(told, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=60)
    assert asked(sim) == [FIRST, SECOND]
    for path in PATHS:
        state = str(shutil.copytree(taught, tmp_path / path) / "state.sqlite3")
        model = ChatOpenRouterFree(models=[FIRST, SECOND], api_key=sim.api_key, base_url=sim.base_url, state=state)
        assert drive(model, path, tools=[TOOL], tool_choice="required").outcomes == ["ok"]
    assert asked(sim) == [FIRST, *[SECOND] * 5]
