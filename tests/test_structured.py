"""Structured output: the object is checked inside the attempt, streamed key by key, and wished of any chat model."""

from __future__ import annotations

import json
import pickle
from datetime import date
from enum import Enum
from itertools import pairwise
from typing import Any

import pytest
from driving import PATHS, asked
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ConfigDict, field_validator
from wishes import (
    ALL,
    KINDS,
    M1,
    M2,
    M3,
    NOTHING,
    PROMPT,
    RIGHT,
    SCHEMA,
    SCHEMA_ONLY,
    TOOLS_ONLY,
    Count,
    ask,
    forms,
    make,
    plain,
    serve,
)

from langchain_openrouter_free import (
    AllModelsFailed,
    ChatOpenRouterFree,
    FreeQuotaExhausted,
    MemoryStore,
    NoValidObject,
    PaidModel,
    PrivacyNotSatisfiable,
    StreamInterrupted,
)
from langchain_openrouter_free.face.structured import METHODS, StructuredParser
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.testing import FakeClock

pytestmark = pytest.mark.one_simulator


# -- the check


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_ignores_the_schema_is_followed_by_the_next(
    sim: Simulator, kind: str, method: str, path: str
) -> None:
    """It is no answer. Of a schema, parts are streamed as they come: there the stream ends with a typed error."""
    sim.script({M1: {"do": "wrong-schema", "speed": 200, "reasoning": False}})
    model = make(sim, serve(sim, one=ALL, two=ALL))
    runnable = model.with_structured_output(KINDS[kind], method=method)  # type: ignore[arg-type]
    if path in ("stream", "astream") and kind in ("typed", "schema"):
        with pytest.raises(StreamInterrupted) as caught:
            ask(runnable, path)
        assert caught.value.attempts[-1].outcome == "wrong_object"
        return
    assert plain(ask(runnable, path)[1]) == RIGHT
    assert asked(sim) == [M1, M2]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["auto", "json_schema", "json_mode"])
def test_an_object_in_a_fence_is_read(sim: Simulator, method: str, path: str) -> None:
    """With words around it."""
    sim.script({M1: "fenced"})
    model = make(sim, serve(sim, one=ALL))
    came, found = ask(model.with_structured_output(SCHEMA, method=method), path)  # type: ignore[arg-type]
    assert found == RIGHT
    assert all(found.items() >= part.items() or part for part in came)


@pytest.mark.parametrize("path", PATHS)
def test_when_nobody_gives_a_right_object_the_error_tells_what_the_last_one_said(sim: Simulator, path: str) -> None:
    """It is one that handlers of wrong output and of failed models both catch."""
    sim.script({M1: {"do": "ok", "text": "I would rather not."}, M2: "503", M3: "wrong-schema"})
    model = make(sim, serve(sim, one=ALL, two=ALL, three=ALL))
    with pytest.raises(NoValidObject, match="place: Field required") as caught:
        ask(model.with_structured_output(Count), path)
    error = caught.value
    assert isinstance(error, AllModelsFailed)
    assert isinstance(error, OutputParserException)
    assert [record.outcome for record in error.attempts] == ["wrong_object", "overloaded", "wrong_object"]
    assert "No JSON object" in error.attempts[0].reason
    assert error.llm_output is not None
    assert "unexpected" in error.llm_output
    assert "unexpected" in str(error.raw.content)
    assert error.raw.response_metadata["model_name"] == M3
    assert pickle.loads(pickle.dumps(error)).llm_output == error.llm_output


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
def test_include_raw_gives_the_last_answer_instead_of_an_error(sim: Simulator, kind: str, path: str) -> None:
    """Nothing that was earned is lost: raw, no object, and why."""
    sim.script({M1: "503", M2: "wrong-schema"})
    model = make(sim, serve(sim, one=ALL, two=ALL))
    _, found = ask(model.with_structured_output(KINDS[kind], include_raw=True), path)
    assert isinstance(found["raw"], AIMessage)
    assert "unexpected" in found["raw"].text
    assert found["raw"].response_metadata["route"]["attempts"][0]["outcome"] == "overloaded"
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], OutputParserException)


@pytest.mark.parametrize("path", ["stream", "astream"])
@pytest.mark.parametrize("kind", ["typed", "schema"])
def test_include_raw_tells_of_a_wrong_object_that_was_streamed(sim: Simulator, kind: str, path: str) -> None:
    """What was streamed cannot be taken back, and is not passed off as a right one."""
    sim.script({M1: {"do": "wrong-schema", "speed": 200, "reasoning": False}})
    model = make(sim, serve(sim, one=ALL, two=ALL))
    _, found = ask(model.with_structured_output(KINDS[kind], include_raw=True), path)
    assert "unexpected" in found["raw"].text
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], OutputParserException)


@pytest.mark.parametrize("path", PATHS)
def test_include_raw_gives_all_three(sim: Simulator, path: str) -> None:
    """Where all went well."""
    model = make(sim, serve(sim, one=ALL))
    _, found = ask(model.with_structured_output(Count, include_raw=True), path)
    assert (found["parsed"], found["parsing_error"]) == (Count(**RIGHT), None)
    assert found["raw"].response_metadata["route"]["model"] == M1


def test_include_raw_prefers_a_right_object(sim: Simulator) -> None:
    """It moves on like all the others."""
    sim.script({M1: "wrong-schema"})
    model = make(sim, serve(sim, one=ALL, two=ALL))
    found = model.with_structured_output(Count, include_raw=True).invoke(PROMPT)
    assert found["parsed"] == Count(**RIGHT)
    assert asked(sim) == [M1, M2]


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_what_is_said_for_one_call_holds_with_the_raw_answer_as_well(
    sim: Simulator, path: str, *, include_raw: bool
) -> None:
    """A pinned model is asked, and what is sensitive is sent to nobody."""
    model = make(sim, serve(sim, one=ALL, two=ALL)).with_structured_output(Count, include_raw=include_raw)
    found = ask(model.bind(model=M2), path)[1]
    assert (found["parsed"] if include_raw else found) == Count(**RIGHT)
    assert asked(sim) == [M2]
    with pytest.raises(PrivacyNotSatisfiable):
        ask(model.bind(sensitive=True), path)
    assert len(sim.chats()) == 1


@pytest.mark.parametrize("include_raw", [False, True])
def test_a_batch_of_objects_queues_for_the_next_minute(*, include_raw: bool) -> None:
    """It is a batch of the model, whichever form its answers are given in."""
    clock = FakeClock()
    with Simulator(Scenario(per_minute=2), clock=clock.now) as sim:
        router = make(sim, serve(sim, one=ALL), clock=clock, limits={"per_minute": 2})
        model = router.with_structured_output(Count, include_raw=include_raw)
        found = model.batch([PROMPT] * 5, {"max_concurrency": 1})
        assert [one["parsed"] if include_raw else one for one in found] == [Count(**RIGHT)] * 5
        assert clock.slept


def test_a_wrong_object_came_with_its_status(sim: Simulator) -> None:
    """The route tells how the service answered, whatever is wrong with the answer."""
    sim.script({M1: "wrong-schema"})
    model = make(sim, serve(sim, one=ALL, two=ALL)).with_structured_output(Count, include_raw=True)
    attempts = model.invoke(PROMPT)["raw"].response_metadata["route"]["attempts"]
    assert [(one["outcome"], one["status"]) for one in attempts] == [("wrong_object", 200), ("ok", 200)]


def test_a_spent_quota_is_more_precise_than_a_wrong_object(sim: Simulator) -> None:
    """The error says what ended the call; with include_raw the answer is there all the same."""
    sim.script({M1: "wrong-schema", M2: "429-account-day"})
    models = serve(sim, one=ALL, two=ALL)
    with pytest.raises(FreeQuotaExhausted):
        make(sim, models).with_structured_output(Count).invoke(PROMPT)
    sim.script({M1: "wrong-schema", M2: "429-account-day"})
    found = make(sim, models).with_structured_output(Count, include_raw=True).invoke(PROMPT)
    assert found["parsing_error"] is not None


def test_a_wrong_object_can_be_accepted(sim: Simulator) -> None:
    """As every row of the table: then the parser says what it makes of it."""
    sim.script({M1: "wrong-schema"})
    model = make(sim, serve(sim, one=ALL, two=ALL), accept="wrong_object")
    assert model.with_structured_output(SCHEMA).invoke(PROMPT) == {"unexpected": [True, None]}
    with pytest.raises(OutputParserException, match="does not fit Count"):
        model.with_structured_output(Count).invoke(PROMPT)
    assert asked(sim) == [M1, M1]


def test_the_callers_own_rules_count(sim: Simulator) -> None:
    """A validator of the class decides, inside the attempt."""

    class Small(Count):
        """How many of something."""

        @field_validator("number")
        @classmethod
        def small(cls, number: int) -> int:
            if number > 10:
                raise ValueError("too many cats")
            return number

    sim.script({M2: {"do": "ok", "text": '{"place": "Rome", "number": 3}'}})
    model = make(sim, serve(sim, one=ALL, two=ALL))
    answer = model.with_structured_output(Small, include_raw=True).invoke(PROMPT)
    assert answer["parsed"] == Small(place="Rome", number=3)
    first = answer["raw"].response_metadata["route"]["attempts"][0]
    assert (first["outcome"], "too many cats" in first["reason"]) == ("wrong_object", True)
    assert "input" not in first["reason"]


class Mood(Enum):
    """How somebody feels."""

    GLAD, SAD = "glad", "sad"


class Visit(BaseModel):
    """A visit."""

    model_config = ConfigDict(strict=True)

    mood: Mood
    day: date
    spot: tuple[int, str]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("takes", [SCHEMA_ONLY, TOOLS_ONLY, NOTHING])
def test_a_strict_class_takes_what_json_can_say(sim: Simulator, takes: str, path: str) -> None:
    """JSON has no enums, dates and tuples."""
    model = make(sim, serve(sim, one=takes, two=takes))
    assert isinstance(ask(model.with_structured_output(Visit), path)[1], Visit)
    assert asked(sim) == [M1]


@pytest.mark.parametrize(
    ("spot", "why"), [(["3", "left"], "spot.0: Input should be a valid integer"), ([3, "\ud83d"], "")]
)
def test_what_is_wrong_with_a_strict_object_is_all_that_is_told(sim: Simulator, spot: list[Any], why: str) -> None:
    """Half a character is no JSON to pydantic: then it says what it can."""
    said = json.dumps({"mood": "glad", "day": "2026-01-02", "spot": spot})
    sim.script({M1: {"do": "ok", "text": said, "reasoning": False}})
    model = make(sim, serve(sim, one=SCHEMA_ONLY))
    with pytest.raises(NoValidObject) as caught:
        model.with_structured_output(Visit).invoke(PROMPT)
    (record,) = caught.value.attempts
    assert record.reason.startswith(f"the object does not fit Visit: {why or 'mood'}")
    assert (record.reason.count(";"), "JSON" in record.reason) == (2 * (not why), False)


def test_a_refusal_is_told_as_one(sim: Simulator) -> None:
    """And not as a wrong object."""
    sim.script({M1: "refusal"})
    model = make(sim, serve(sim, one=ALL, two=ALL))
    raw = model.with_structured_output(Count, include_raw=True).invoke(PROMPT)["raw"]
    assert [a["outcome"] for a in raw.response_metadata["route"]["attempts"]] == ["refusal", "ok"]


# -- streams


@pytest.mark.parametrize("path", ["stream", "astream"])
@pytest.mark.parametrize("takes", [SCHEMA_ONLY, TOOLS_ONLY, NOTHING])
def test_a_schema_is_streamed_key_by_key(sim: Simulator, takes: str, path: str) -> None:
    """Each part is the beginning of the next, in whichever form the object comes."""
    sim.script({M1: {"do": "ok", "chunks": 12}})
    model = make(sim, serve(sim, one=takes))
    came, found = ask(model.with_structured_output(SCHEMA), path)
    assert found == RIGHT
    assert len(came) > 2
    for part, longer in pairwise(came):
        assert list(longer)[: len(part)] == list(part)
    assert [part for part in came if part == RIGHT] == [RIGHT]


@pytest.mark.parametrize("path", ["stream", "astream"])
@pytest.mark.parametrize("takes", [SCHEMA_ONLY, TOOLS_ONLY, NOTHING])
def test_of_a_class_only_the_whole_object_is_streamed(sim: Simulator, takes: str, path: str) -> None:
    """Its beginning may satisfy the class already, with half a word in it: that is no object to be worked with."""
    sim.script({M1: {"do": "ok", "chunks": 12}})
    model = make(sim, serve(sim, one=takes))
    came, _ = ask(model.with_structured_output(Count), path)
    assert came == [Count(**RIGHT)]


def test_parts_are_as_langchains_own_parser_gives_them() -> None:
    """Of a text in a fence as well; of a class there is only the whole."""
    pieces = ["Sure:\n```json\n", '{"place": "Pa', 'ris", "num', 'ber": 1', "2}\n```"]
    chunks = [AIMessageChunk(content=piece) for piece in pieces]
    parts = list(StructuredParser().transform(iter(chunks)))
    assert parts == [{"place": "Pa"}, {"place": "Paris"}, {"place": "Paris", "number": 1}, RIGHT]
    grown = list(StructuredParser(schema_class=Count).transform(iter(chunks)))
    assert grown == [Count(**RIGHT)]
    assert list(StructuredParser().transform(iter(['{"a": 1}']))) == [{"a": 1}]
    with pytest.raises(OutputParserException):
        list(StructuredParser().transform(iter([AIMessageChunk(content="nothing")])))


# -- beside the service


def test_another_packages_model_is_asked_in_its_words(sim: Simulator) -> None:
    """By a tool that must be called; what it gives is checked like all the others'."""
    models = serve(sim, one=ALL)
    sim.script({M1: "wrong-schema"})
    other = ChatOpenAI(model=M1, base_url=sim.base_url, api_key=sim.api_key, max_retries=0)  # type: ignore[arg-type]
    paid = PaidModel(other, prompt_price=1, completion_price=1, name="another")
    model = make(sim, models, allow_paid=True, budget="$1", paid_models=[paid])
    with pytest.raises(NoValidObject) as caught:
        model.with_structured_output(Count).invoke(PROMPT)
    assert [record.outcome for record in caught.value.attempts] == ["wrong_object"] * 2
    sim.script({M1: ["wrong-schema", "ok"]})
    model = make(sim, models, allow_paid=True, budget="$1", paid_models=[paid])
    assert model.with_structured_output(Count).invoke(PROMPT) == Count(**RIGHT)
    assert forms(sim)[-1] == "function_calling"


def test_a_paid_model_is_reserved_for_the_schema_as_well(sim: Simulator) -> None:
    """The worst case holds whichever form is used: no answer costs more than was held back."""
    model = ChatOpenRouterFree(
        models=["z-ai/glm-5.2:free"],
        base_url=sim.base_url,
        api_key=sim.api_key,
        state=MemoryStore(),
        allow_paid=True,
        budget="$1",
        paid_models=["simulated/paid-small"],
        max_wait=0,
    )
    sim.script({"z-ai/glm-5.2:free": "503"})
    plain = model.invoke(PROMPT)
    assert plain.response_metadata["route"]["paid"]
    found = model.with_structured_output(Count, include_raw=True).invoke(PROMPT)
    assert found["parsed"] == Count(**RIGHT)
    assert float(model.spending().windows[0].spent) > 0


def test_a_conversation_with_tools_can_end_in_an_object(sim: Simulator) -> None:
    """The instruction of a prompt stands with the user's words, also where a tool has spoken last."""
    model = make(sim, serve(sim, one=NOTHING))
    call = {"name": "count", "args": {}, "id": "c1"}
    said = [HumanMessage(PROMPT), AIMessage("", tool_calls=[call]), ToolMessage("12", tool_call_id="c1")]
    found = model.with_structured_output(Count).invoke(said)
    assert found.number == 12
    assert [json.dumps(m).count("JSON schema:") for m in sim.chats()[0].body["messages"] if m["role"] == "user"][
        -1
    ] == 1
