"""A conversation that changes its model in the middle: foreign ids, foreign thoughts, strict models, on every path."""

from __future__ import annotations

import copy
from typing import Any

import httpx
import pytest
from driving import PATHS, Told, asked, drive, make
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_to_dict,
    messages_from_dict,
)
from langchain_openai import ChatOpenAI
from pitfall_helpers import ADD
from pydantic import SecretStr

from langchain_openrouter_free import AllModelsFailed, PaidModel
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.simulator.strict import DEMANDS
from langchain_openrouter_free.testing import FakeClock

X, Y, MISTRAL = "test/m01:free", "test/m02:free", "mistralai/mistral-small-3.2-24b-instruct:free"
ALWAYS = ["pairs", "content", "own-thoughts"]
THINKING = {"do": "ok", "reasoning": True}


def conversation_of(told: Told) -> AIMessage:
    """The answer as a checkpointer gives it back."""
    message = told.message
    whole = AIMessage(**{k: v for k, v in message.model_dump().items() if k in AIMessage.model_fields and k != "type"})
    (back,) = messages_from_dict([message_to_dict(whole)])
    assert isinstance(back, AIMessage)
    return back


def three_steps(router: Any, path: str, sim: Simulator, plan: list[dict[str, Any]]) -> list[BaseMessage]:
    """Two additions and a question about them: each model's turn is given by the scripts of a step."""
    tools = router.bind_tools([ADD])
    history: list[BaseMessage] = [SystemMessage("You add."), HumanMessage("Use add for 3 and 4.")]
    for step, scripts in enumerate(plan):
        sim.script(scripts)
        before = copy.deepcopy(history)
        answer = conversation_of(drive(tools, path, history))
        assert history == before
        history.append(answer)
        history += [ToolMessage(f"sum {step}", tool_call_id=call["id"]) for call in answer.tool_calls]
        if not answer.tool_calls:
            history.append(HumanMessage("Use add for 5 and 6."))
    return history


def served(history: list[BaseMessage]) -> list[str]:
    return [m.response_metadata["model_name"] for m in history if isinstance(m, AIMessage)]


@pytest.mark.parametrize("other", [MISTRAL, Y])
@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("path", PATHS)
def test_a_tool_conversation_goes_to_another_model_and_back(path: str, version: str, other: str) -> None:
    """Neither model ever gets an id or a thought that it would refuse; each gets its own thoughts back."""
    refuses = {X: ALWAYS, other: [*ALWAYS, "tool-call-ids", "role-order"] if other == MISTRAL else ALWAYS}
    with Simulator(Scenario(refuses=refuses)) as sim:
        router = make(sim, [X, other], clock=FakeClock(), output_version=version)
        well, down = {X: THINKING, other: THINKING}, {X: "503", other: THINKING}
        history = three_steps(router, path, sim, [well, down, down, down, well, {X: THINKING, other: "503"}])
        assert served(history) == [X, other, other, other, other, X]
        assert [chat.status for chat in sim.chats()] == [200, 503, 200, 200, 200, 200, 503, 200]
        last = sim.chats()[-1].body
        thoughts = [message for message in last["messages"] if message.get("reasoning_details")]
        assert len(thoughts) == 1
        assert thoughts[0]["tool_calls"][0]["id"].startswith("call_")


MANNERS: dict[str, list[BaseMessage]] = {
    "tool-call-ids": [
        HumanMessage("u"),
        AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "call_1"}]),
        ToolMessage("7", tool_call_id="call_1"),
    ],
    "safe-call-ids": [
        HumanMessage("u"),
        AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "functions.add:0"}]),
        ToolMessage("7", tool_call_id="functions.add:0"),
    ],
    "several-tool-calls": [
        HumanMessage("u"),
        AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": name} for name in ("a", "b")]),
        ToolMessage("7", tool_call_id="a"),
        ToolMessage("8", tool_call_id="b"),
    ],
    "system-role": [SystemMessage("s"), HumanMessage("u")],
    "role-order": [SystemMessage("s"), HumanMessage("u"), AIMessage("hm")],
    "alternation": [HumanMessage("a"), HumanMessage("b")],
    "text-only": [HumanMessage([{"type": "text", "text": "a"}])],
}


@pytest.mark.parametrize("demand", MANNERS)
@pytest.mark.parametrize("path", PATHS)
def test_a_model_is_asked_once_more_in_the_form_that_it_demands(path: str, demand: str) -> None:
    """A refusal costs one slot, as the next model would, and the first model answers; later it costs none."""
    with Simulator(Scenario(refuses={X: [demand]})) as sim:
        router = make(sim, [X, Y])
        told = drive(router, path, MANNERS[demand])
        assert told.outcomes == ["incompatible", "ok"]
        assert told.meta["route"]["model"] == X
        assert drive(router, path, MANNERS[demand]).outcomes == ["ok"]
        assert asked(sim) == [X, X, X]


FAULTY: dict[str, list[BaseMessage]] = {
    "orphaned result": [SystemMessage("s"), ToolMessage("7", tool_call_id="gone"), HumanMessage("u")],
    "call without result": [
        HumanMessage("u"),
        AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "a"}]),
        HumanMessage("never mind"),
    ],
    "foreign thoughts": [
        HumanMessage("u"),
        AIMessage(
            "hm",
            additional_kwargs={"reasoning": "t", "reasoning_details": [{"type": "reasoning.text", "text": "t"}]},
            response_metadata={"model_name": Y},
        ),
        HumanMessage("v"),
    ],
    "silent assistant": [HumanMessage("u"), AIMessage(""), HumanMessage("v")],
    "assistant of an empty part": [
        HumanMessage("u"),
        AIMessage([{"type": "text", "text": "", "extras": {"signature": "s"}}]),
        HumanMessage("v"),
    ],
}


@pytest.mark.parametrize("fault", FAULTY)
@pytest.mark.parametrize("path", PATHS)
def test_what_is_wrong_for_every_model_is_mended_before_it_is_sent(path: str, fault: str) -> None:
    """No slot is spent on what is known to be refused, and the caller's messages stay as they are."""
    before = copy.deepcopy(FAULTY[fault])
    with Simulator(Scenario(refuses={X: ALWAYS})) as sim:
        told = drive(make(sim, [X]), path, FAULTY[fault])
        assert told.outcomes == ["ok"]
    assert FAULTY[fault] == before


@pytest.mark.parametrize("path", PATHS)
def test_a_chat_model_of_another_package_gets_mended_messages_as_well(path: str) -> None:
    """What every provider refuses is mended for it too; what is in order reaches it as it was said."""
    refuses = {"simulated/paid-small": ["pairs", "content"]}
    with Simulator(Scenario(refuses=refuses, scripts={X: "503"})) as sim:
        chat = ChatOpenAI(model="simulated/paid-small", api_key=SecretStr("sk-other"), base_url=sim.base_url)
        paid = PaidModel(chat, prompt_price="0.2", completion_price="0.8")
        router = make(sim, [X], allow_paid=True, budget="$1", paid_models=[paid], max_tokens=300, max_wait=0)
        for fault in ("orphaned result", "call without result", "silent assistant"):
            told = drive(router, path, FAULTY[fault])
            assert told.meta["route"]["paid"]
        proper = [HumanMessage("u", name="ann"), AIMessage("hm"), HumanMessage("v")]
        drive(router, path, proper)
        sent = [(one["role"], one["content"], one.get("name")) for one in sim.chats()[-1].body["messages"]]
        assert sent == [("user", "u", "ann"), ("assistant", "hm", None), ("user", "v", None)]


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "other",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "of Responses", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_model_of_openai_s_responses_gets_no_thoughts_of_others(path: str, version: str) -> None:
    """It would take them for those of its own older answers, and break; the caller's messages stay as they are."""
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.read().decode())
        return httpx.Response(200, json=RESPONSE)

    transport = httpx.MockTransport(answer)
    chat = ChatOpenAI(
        model="other",
        api_key=SecretStr("sk-other"),
        use_responses_api=True,
        http_client=httpx.Client(transport=transport),
        http_async_client=httpx.AsyncClient(transport=transport),
    )
    paid = PaidModel(chat, prompt_price="0.2", completion_price="0.8")
    with Simulator(Scenario(scripts={X: [{"do": "ok", "reasoning": "Well, well."}, "503"]})) as sim:
        router = make(
            sim, [X], output_version=version, allow_paid=True, budget="$1", paid_models=[paid], max_wait=0, wire="plain"
        )
        history = [HumanMessage("u"), conversation_of(drive(router, path, "u")), HumanMessage("v")]
        before = copy.deepcopy(history)
        assert drive(router, path, history).text == "of Responses"
        assert history == before
        assert history[1].text in sent[0]
        assert "Well, well." not in sent[0]


@pytest.mark.parametrize("path", PATHS)
def test_a_model_without_tools_is_told_in_words_what_tools_did(path: str) -> None:
    """A conversation with tools may end at a model that has none, where the request needs none."""
    bare = {"id": Y, "supported_parameters": ["max_tokens", "temperature"]}
    with Simulator(Scenario(models=[X, bare], refuses={Y: ["no-tool-role"]}, scripts={X: "503"})) as sim:
        told = drive(make(sim, [X, Y]), path, MANNERS["tool-call-ids"])
        assert told.outcomes == ["overloaded", "ok"]
        roles = [(one["role"], "7" in one["content"]) for one in sim.chats()[-1].body["messages"]]
        assert roles == [("user", False), ("assistant", False), ("user", True)]


def test_a_demand_that_changes_nothing_is_no_reason_to_ask_again() -> None:
    """A model that refuses whatever it is sent is left after one attempt."""
    refusing = {"do": "400-system-role"}
    with Simulator() as sim:
        sim.offer(X, Y)
        sim.script({X: refusing, Y: refusing})
        with pytest.raises(AllModelsFailed):
            make(sim, [X, Y]).invoke("no system message here")
        assert asked(sim) == [X, Y]


def test_every_demand_of_the_simulator_is_met_somewhere() -> None:
    """A demand that nobody tests would prove nothing."""
    assert set(DEMANDS) <= set(MANNERS) | {*ALWAYS, "no-tool-role"}
