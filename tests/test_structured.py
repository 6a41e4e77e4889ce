"""Structured output: the form is chosen for each model, the object is checked inside the attempt."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, TypedDict

import pytest
from driving import PATHS, asked
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, field_validator
from pydantic.v1 import BaseModel as BaseModelV1

from langchain_openrouter_free import (
    AllModelsFailed,
    ChatOpenRouterFree,
    ConfigurationError,
    FreeQuotaExhausted,
    MemoryStore,
    NoSuitableModel,
    NoValidObject,
    PaidModel,
    StreamInterrupted,
)
from langchain_openrouter_free.shapes import BEST_FIRST, Shape, instructed
from langchain_openrouter_free.shapes import asked as asked_in
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.structured import METHODS, StructuredParser, shape_of

M1, M2, M3 = "test/one:free", "test/two:free", "test/three:free"
SCHEMA_ONLY = "max_tokens structured_outputs response_format"
TOOLS_ONLY = "max_tokens tools tool_choice"
JSON_ONLY = "max_tokens response_format"
NOTHING = "max_tokens temperature"
ALL = "max_tokens tools tool_choice structured_outputs response_format"
PROMPT = "How many cats live in Paris? I counted 12."


class Count(BaseModel):
    """How many of something."""

    place: str = Field(description="where")
    number: int


class CountV1(BaseModelV1):
    """How many of something."""

    place: str
    number: int


class CountDict(TypedDict):
    """How many of something."""

    place: Annotated[str, ..., "where"]
    number: Annotated[int, ..., "how many"]


SCHEMA = Count.model_json_schema()
KINDS: dict[str, Any] = {"pydantic": Count, "v1": CountV1, "typed": CountDict, "schema": SCHEMA}


def _plain(found: Any) -> dict[str, Any]:
    if isinstance(found, BaseModel):
        return found.model_dump()
    return found.dict() if isinstance(found, BaseModelV1) else found


RIGHT = {"place": "Paris", "number": 12}


@pytest.fixture
def sim(server: Simulator) -> Simulator:
    server.reset(Scenario())
    return server


def _serve(sim: Simulator, **takes: str) -> list[str]:
    """Offer models that take these parameters; return their ids."""
    ids = {"one": M1, "two": M2, "three": M3}
    rows = [
        {
            "id": ids[name],
            "supported_parameters": words.split(),
            "context_length": 65_536,
            "pricing": {"prompt": "0", "completion": "0"},
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        }
        for name, words in takes.items()
    ]
    sim.serve(rows)
    return [row["id"] for row in rows]


def _make(sim: Simulator, models: list[str], **kwargs: Any) -> ChatOpenRouterFree:
    kwargs.setdefault("state", MemoryStore())
    return ChatOpenRouterFree(
        models=models, base_url=sim.base_url, api_key=sim.api_key, chance=lambda: 0.0, max_wait=0, **kwargs
    )


def _form(body: dict[str, Any]) -> str:
    """The form in which a request asks for an object."""
    told = "JSON schema:" in json.dumps(body["messages"])
    form = (body.get("response_format") or {}).get("type")
    if body.get("tools"):
        assert body["tool_choice"] == {"type": "function", "function": {"name": body["tools"][-1]["function"]["name"]}}
        assert not form
        return "function_calling"
    if form == "json_object":
        assert told
        return "json_mode"
    assert told == (form is None)
    return form or "prompt"


def _forms(sim: Simulator) -> list[str]:
    return [_form(chat.body) for chat in sim.chats()]


def ask(runnable: Any, path: str, prompt: Any = PROMPT) -> tuple[list[Any], Any]:
    """Call by one path; return all that came, and the last of it."""
    import asyncio  # noqa: PLC0415 - of this helper alone

    async def run() -> list[Any]:
        return [await runnable.ainvoke(prompt)] if path == "ainvoke" else [x async for x in runnable.astream(prompt)]

    came = asyncio.run(run()) if path[0] == "a" else None
    if came is None:
        came = [runnable.invoke(prompt)] if path == "invoke" else list(runnable.stream(prompt))
    return came, came[-1]


# -- the form


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("takes", "form"),
    [
        (ALL, "json_schema"),
        (SCHEMA_ONLY, "json_schema"),
        (TOOLS_ONLY, "function_calling"),
        (JSON_ONLY, "json_mode"),
        (NOTHING, "prompt"),
        ("max_tokens tools", "prompt"),
    ],
)
def test_the_form_is_the_best_that_the_model_can_do(
    sim: Simulator, takes: str, form: str, kind: str, path: str
) -> None:
    """Whatever the schema is written in, and whatever the model lists: the same object."""
    model = _make(sim, _serve(sim, one=takes))
    _, found = ask(model.with_structured_output(KINDS[kind]), path)
    assert _plain(found) == RIGHT
    assert isinstance(found, KINDS[kind] if kind in ("pydantic", "v1") else dict)
    assert _forms(sim) == [form]


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("only", ["json_schema", "function_calling", "json_mode"])
def test_a_method_that_is_named_is_the_only_one(sim: Simulator, method: str, only: str) -> None:
    """A model that cannot do it is not asked; the next one is."""
    takes = {"json_schema": "max_tokens structured_outputs", "function_calling": TOOLS_ONLY, "json_mode": JSON_ONLY}
    models = _serve(sim, one=takes[only], two=ALL)
    found = _make(sim, models).with_structured_output(Count, method=method).invoke(PROMPT)  # type: ignore[arg-type]
    # What keeps to a schema can keep to JSON, and the reverse is worth a try.
    able = {only} | ({"json_schema", "json_mode"} if only in ("json_schema", "json_mode") else set())
    assert asked(sim) == [M1 if method in able else M2]
    assert _forms(sim) == [method]
    if found.number != 12:
        raise AssertionError(found)


def test_nobody_can_do_what_was_named(sim: Simulator) -> None:
    """Then nothing is sent, and the error says what is missing."""
    model = _make(sim, _serve(sim, one=JSON_ONLY))
    with pytest.raises(NoSuitableModel, match="no forced tool choice"):
        model.with_structured_output(Count, method="function_calling").invoke(PROMPT)
    assert sim.chats() == []


def test_a_refused_forced_choice_is_not_tried_again(sim: Simulator) -> None:
    """What a model has refused once is remembered in the book, and the next form is used."""
    takes = {"supported_parameters": TOOLS_ONLY.split()}
    models = [{"id": M1, **takes}, {"id": M2, "supported_parameters": ALL.split()}]
    sim.reset(Scenario(models=models, refuses={M1: ["forced-tool-choice"]}))
    model = _make(sim, [M1, M2], state=MemoryStore())
    assert model.with_structured_output(Count).invoke(PROMPT) == Count(**RIGHT)
    assert model.with_structured_output(Count).invoke(PROMPT) == Count(**RIGHT)
    assert list(zip(asked(sim), _forms(sim), strict=True)) == [
        (M1, "function_calling"),
        (M2, "json_schema"),
        (M1, "prompt"),
    ]


def test_a_form_that_has_worked_is_used_again(sim: Simulator) -> None:
    """A tool call that worked is trusted more than a schema that was never tried."""
    model = _make(sim, _serve(sim, one=ALL), state=MemoryStore())
    model.with_structured_output(Count, method="function_calling").invoke(PROMPT)
    model.with_structured_output(Count).invoke(PROMPT)
    assert _forms(sim) == ["function_calling", "function_calling"]


def test_a_form_that_brought_a_wrong_object_is_not_used_again(sim: Simulator) -> None:
    """The next call asks the same model in its next form, and keeps to that while it works."""
    sim.script({M1: ["wrong-schema", "ok"]})
    model = _make(sim, _serve(sim, one=ALL, two=ALL), state=MemoryStore())
    for _ in range(3):
        assert model.with_structured_output(Count).invoke(PROMPT) == Count(**RIGHT)
    assert list(zip(asked(sim), _forms(sim), strict=True)) == [
        (M1, "json_schema"),
        (M2, "json_schema"),
        (M1, "function_calling"),
        (M1, "function_calling"),
    ]


def test_explain_knows_the_wish(sim: Simulator) -> None:
    """Any model will do where the form is chosen late; not where it was named."""
    model = _make(sim, _serve(sim, one=NOTHING, two=ALL))
    model.refresh()
    late, named = model.with_structured_output(Count), model.with_structured_output(Count, method="json_schema")
    assert model.explain(**late.first.kwargs).order == (M1, M2)  # type: ignore[attr-defined]
    assert model.explain(**named.first.kwargs).order == (M2,)  # type: ignore[attr-defined]


# -- the check


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_ignores_the_schema_is_followed_by_the_next(
    sim: Simulator, kind: str, method: str, path: str
) -> None:
    """It is no answer. Of a schema, parts are streamed as they come: there the stream ends with a typed error."""
    sim.script({M1: {"do": "wrong-schema", "speed": 200, "reasoning": False}})
    model = _make(sim, _serve(sim, one=ALL, two=ALL))
    runnable = model.with_structured_output(KINDS[kind], method=method)  # type: ignore[arg-type]
    if path in ("stream", "astream") and kind in ("typed", "schema"):
        with pytest.raises(StreamInterrupted) as caught:
            ask(runnable, path)
        assert caught.value.attempts[-1].outcome == "wrong_object"
        return
    assert _plain(ask(runnable, path)[1]) == RIGHT
    assert asked(sim) == [M1, M2]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["auto", "json_schema", "json_mode"])
def test_an_object_in_a_fence_is_read(sim: Simulator, method: str, path: str) -> None:
    """With words around it."""
    sim.script({M1: "fenced"})
    model = _make(sim, _serve(sim, one=ALL))
    came, found = ask(model.with_structured_output(SCHEMA, method=method), path)  # type: ignore[arg-type]
    assert found == RIGHT
    assert all(found.items() >= part.items() or part for part in came)


@pytest.mark.parametrize("path", PATHS)
def test_when_nobody_gives_a_right_object_the_error_tells_what_the_last_one_said(sim: Simulator, path: str) -> None:
    """It is one that handlers of wrong output and of failed models both catch."""
    sim.script({M1: {"do": "ok", "text": "I would rather not."}, M2: "503", M3: "wrong-schema"})
    model = _make(sim, _serve(sim, one=ALL, two=ALL, three=ALL))
    with pytest.raises(NoValidObject, match="place: Field required") as caught:
        ask(model.with_structured_output(Count), path)
    error = caught.value
    assert isinstance(error, AllModelsFailed)
    assert isinstance(error, OutputParserException)
    assert [record.outcome for record in error.attempts] == ["wrong_object", "overloaded", "wrong_object"]
    assert "No JSON object" in error.attempts[0].reason
    assert "unexpected" in error.llm_output
    assert "unexpected" in str(error.raw.content)
    assert error.raw.response_metadata["model_name"] == M3
    assert pickle.loads(pickle.dumps(error)).llm_output == error.llm_output


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
def test_include_raw_gives_the_last_answer_instead_of_an_error(sim: Simulator, kind: str, path: str) -> None:
    """Nothing that was earned is lost: raw, no object, and why."""
    sim.script({M1: "503", M2: "wrong-schema"})
    model = _make(sim, _serve(sim, one=ALL, two=ALL))
    _, found = ask(model.with_structured_output(KINDS[kind], include_raw=True), path)
    assert isinstance(found["raw"], AIMessage)
    assert "unexpected" in found["raw"].text
    assert found["raw"].response_metadata["route"]["attempts"][0]["outcome"] == "overloaded"
    if kind in ("pydantic", "v1"):
        assert found["parsed"] is None
        assert isinstance(found["parsing_error"], OutputParserException)


@pytest.mark.parametrize("path", PATHS)
def test_include_raw_gives_all_three(sim: Simulator, path: str) -> None:
    """Where all went well."""
    model = _make(sim, _serve(sim, one=ALL))
    _, found = ask(model.with_structured_output(Count, include_raw=True), path)
    assert (found["parsed"], found["parsing_error"]) == (Count(**RIGHT), None)
    assert found["raw"].response_metadata["route"]["model"] == M1


def test_include_raw_prefers_a_right_object(sim: Simulator) -> None:
    """It moves on like all the others."""
    sim.script({M1: "wrong-schema"})
    model = _make(sim, _serve(sim, one=ALL, two=ALL))
    found = model.with_structured_output(Count, include_raw=True).invoke(PROMPT)
    assert found["parsed"] == Count(**RIGHT)
    assert asked(sim) == [M1, M2]


def test_a_wrong_object_came_with_its_status(sim: Simulator) -> None:
    """The route tells how the service answered, whatever is wrong with the answer."""
    sim.script({M1: "wrong-schema"})
    model = _make(sim, _serve(sim, one=ALL, two=ALL)).with_structured_output(Count, include_raw=True)
    attempts = model.invoke(PROMPT)["raw"].response_metadata["route"]["attempts"]
    assert [(one["outcome"], one["status"]) for one in attempts] == [("wrong_object", 200), ("ok", 200)]


def test_a_spent_quota_is_more_precise_than_a_wrong_object(sim: Simulator) -> None:
    """The error says what ended the call; with include_raw the answer is there all the same."""
    sim.script({M1: "wrong-schema", M2: "429-account-day"})
    models = _serve(sim, one=ALL, two=ALL)
    with pytest.raises(FreeQuotaExhausted):
        _make(sim, models).with_structured_output(Count).invoke(PROMPT)
    sim.script({M1: "wrong-schema", M2: "429-account-day"})
    found = _make(sim, models).with_structured_output(Count, include_raw=True).invoke(PROMPT)
    assert found["parsing_error"] is not None


def test_a_wrong_object_can_be_accepted(sim: Simulator) -> None:
    """As every row of the table: then the parser says what it makes of it."""
    sim.script({M1: "wrong-schema"})
    model = _make(sim, _serve(sim, one=ALL, two=ALL), accept="wrong_object")
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
    model = _make(sim, _serve(sim, one=ALL, two=ALL))
    answer = model.with_structured_output(Small, include_raw=True).invoke(PROMPT)
    assert answer["parsed"] == Small(place="Rome", number=3)
    first = answer["raw"].response_metadata["route"]["attempts"][0]
    assert (first["outcome"], "too many cats" in first["reason"]) == ("wrong_object", True)
    assert "input" not in first["reason"]


def test_a_refusal_is_told_as_one(sim: Simulator) -> None:
    """And not as a wrong object."""
    sim.script({M1: "refusal"})
    model = _make(sim, _serve(sim, one=ALL, two=ALL))
    raw = model.with_structured_output(Count, include_raw=True).invoke(PROMPT)["raw"]
    assert [a["outcome"] for a in raw.response_metadata["route"]["attempts"]] == ["refusal", "ok"]


# -- streams


@pytest.mark.parametrize("path", ["stream", "astream"])
@pytest.mark.parametrize("takes", [SCHEMA_ONLY, TOOLS_ONLY, NOTHING])
def test_a_schema_is_streamed_key_by_key(sim: Simulator, takes: str, path: str) -> None:
    """Each part is the beginning of the next, in whichever form the object comes."""
    sim.script({M1: {"do": "ok", "chunks": 12}})
    model = _make(sim, _serve(sim, one=takes))
    came, found = ask(model.with_structured_output(SCHEMA), path)
    assert found == RIGHT
    assert len(came) > 2
    for part, longer in pairwise(came):
        assert list(longer)[: len(part)] == list(part)
    assert [part for part in came if part == RIGHT] == [RIGHT]


def test_parts_are_as_langchains_own_parser_gives_them() -> None:
    """Of a text in a fence as well; a class appears as soon as it is satisfied."""
    pieces = ["Sure:\n```json\n", '{"place": "Pa', 'ris", "num', 'ber": 1', "2}\n```"]
    chunks = [AIMessageChunk(piece) for piece in pieces]
    parts = list(StructuredParser().transform(iter(chunks)))
    assert parts == [{"place": "Pa"}, {"place": "Paris"}, {"place": "Paris", "number": 1}, RIGHT]
    grown = list(StructuredParser(schema_class=Count).transform(iter(chunks)))
    assert grown == [Count(place="Paris", number=1), Count(**RIGHT)]
    assert list(StructuredParser().transform(iter(['{"a": 1}']))) == [{"a": 1}]
    with pytest.raises(OutputParserException):
        list(StructuredParser().transform(iter([AIMessageChunk("nothing")])))


# -- the wish


FREE_TABLE = {"type": "object", "additionalProperties": {"type": "integer"}}


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("rest", "right"),
    [
        (FREE_TABLE, {"cats": 12}),
        ({"anyOf": [SCHEMA, FREE_TABLE]}, RIGHT),
        ({"$ref": "#/$defs/C", "$defs": {"C": SCHEMA}}, RIGHT),
    ],
    ids=["a free table", "a union", "a reference"],
)
def test_a_schema_without_properties_of_its_own_is_kept(
    sim: Simulator, rest: dict[str, Any], right: dict[str, Any], *, wrapped: bool
) -> None:
    """It is sent whole in every form, and what does not fit it is no answer."""
    ids = _serve(sim, one=SCHEMA_ONLY, two=TOOLS_ONLY, three=JSON_ONLY)
    texts = ['{"place": []}', '{"place": []}', json.dumps(right)]
    sim.script({model: {"do": "ok", "text": text} for model, text in zip(ids, texts, strict=True)})
    schema = {"name": "C", "schema": rest} if wrapped else {"title": "C", **rest}
    assert _make(sim, ids).with_structured_output(schema).invoke("hi") == right
    by_schema, by_tool, in_words = (chat.body for chat in sim.chats())
    assert by_schema["response_format"]["json_schema"]["schema"] == rest
    assert by_tool["tools"][0]["function"]["parameters"] == rest
    assert "JSON schema" in str(in_words["messages"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"schema": Count, "method": "json_shema"}, "did you mean 'json_schema'"),
        ({"schema": None, "method": "function_calling"}, "needs a schema"),
        ({"schema": {"type": "object"}}, "needs a 'title'"),
        ({"schema": 3}, "cannot read this schema"),
        ({"schema": {"title": "Numbers", "type": "array", "items": {"type": "integer"}}}, "one of an object"),
    ],
)
def test_a_wish_that_cannot_be_is_an_error_at_once(sim: Simulator, given: dict[str, Any], words: str) -> None:
    """Before any call."""
    with pytest.raises(ConfigurationError, match=words):
        _make(sim, [M1]).with_structured_output(**given)


def test_a_wish_pickles_and_says_what_it_is(sim: Simulator) -> None:
    """It is bound to the model, shows in traces, and is a part of the cache key."""
    shape = shape_of(Count, method="auto", keeps=False, strict=None)
    again = pickle.loads(pickle.dumps(shape))
    assert again.tool == shape.tool
    assert again.misfit(AIMessage('{"place": "x", "number": 1}')) is None
    assert "place" in repr(shape)
    assert repr(shape) == repr(shape_of(Count, method="auto", keeps=False, strict=None))
    assert "0x" not in repr(shape)
    with pytest.raises(ConfigurationError, match="with_structured_output"):
        _make(sim, [M1]).invoke("hi", structured_output=Count)


def test_strict_goes_only_to_who_can_keep_to_it(sim: Simulator) -> None:
    """In a tool, `strict` is for models that write by a schema; `tool_choice` none takes the tools away elsewhere."""
    tool = {"name": "add", "description": "Add.", "parameters": {"type": "object", "properties": {}}}
    model = _make(sim, _serve(sim, one=TOOLS_ONLY, two=ALL, three="max_tokens tools"))
    bound = model.bind_tools([tool], strict=True, parallel_tool_calls=False)
    assert "strict" not in _sent(sim, bound, M1)["tools"][0]["function"]
    assert "parallel_tool_calls" not in _sent(sim, bound, M1)
    assert _sent(sim, bound, M2)["tools"][0]["function"]["strict"] is True
    none = model.bind_tools([tool], tool_choice="none")
    assert _sent(sim, none, M1)["tool_choice"] == "none"
    assert not {"tools", "tool_choice"} & _sent(sim, none, M3).keys()
    auto = _sent(sim, model.bind_tools([tool], tool_choice="auto"), M3)
    assert "tools" in auto
    assert "tool_choice" not in auto


def _sent(sim: Simulator, model: Any, one: str) -> dict[str, Any]:
    model.bind(model=one).invoke("hello")
    return sim.chats()[-1].body


SHAPE = shape_of(Count, method="auto", keeps=False, strict=None)
SENT = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize("form", BEST_FIRST)
def test_asking_changes_nothing_of_the_callers(form: str) -> None:
    """Parameters and messages are left as they were; other tools stay beside the one for the object."""
    params = {"temperature": 1, "tools": [{"type": "function", "function": {"name": "other"}}]}
    before = json.dumps([params, SENT])
    body, told = asked_in(SHAPE, form, params, SENT)
    assert json.dumps([params, SENT]) == before
    assert body["temperature"] == 1
    assert len(body["tools"]) == (2 if form == "function_calling" else 1)
    assert ("JSON schema" in json.dumps(told)) == (form in ("json_mode", "prompt"))


def test_the_instruction_stands_behind_the_users_last_words() -> None:
    """Where every model takes it; a picture beside the words stays."""
    assert [m["content"] for m in instructed(SENT, "!")] == ["s", "u\n\n!", "a"]
    parts = [{"type": "image_url", "image_url": {"url": "x"}}]
    assert instructed([{"role": "user", "content": parts}], "!")[0]["content"] == [
        *parts,
        {"type": "text", "text": "!"},
    ]
    assert instructed([{"role": "system", "content": "s"}], "!")[-1] == {"role": "user", "content": "!"}


def test_a_form_that_failed_is_the_last_resort() -> None:
    """Then what was not tried; when all have failed, the best of them again."""
    takes, failed = frozenset(ALL.split()), frozenset({"structured output"})
    assert SHAPE.form(takes, failed=failed) == "function_calling"
    assert SHAPE.form(takes, failed=failed | {"tools", "forced tool choice", "JSON mode"}) == "prompt"
    assert replace(SHAPE, forms=BEST_FIRST[:1] * 2).form(takes, failed=failed) == "json_schema"


@pytest.mark.parametrize(
    ("takes", "refused", "worked", "form"),
    [
        (None, (), (), "function_calling"),
        (None, ("forced tool choice",), (), "json_schema"),
        (ALL, (), (), "json_schema"),
        (ALL, ("structured output",), (), "function_calling"),
        (ALL, ("structured output", "tools"), (), "json_mode"),
        (ALL, ("structured output", "tools", "JSON mode"), (), "prompt"),
        (ALL, (), ("tools", "forced tool choice"), "function_calling"),
        (ALL, (), ("tools",), "json_schema"),
        (ALL, (), ("structured output", "tools", "forced tool choice"), "json_schema"),
        (NOTHING, (), ("tools", "forced tool choice"), "prompt"),
    ],
)
def test_the_choice_of_the_form(
    takes: str | None, refused: tuple[str, ...], worked: tuple[str, ...], form: str
) -> None:
    """What has worked, else the best that is listed and was not refused."""
    listed = None if takes is None else frozenset(takes.split())
    assert SHAPE.form(listed, frozenset(refused), frozenset(worked)) == form
    assert Shape("x", ("json_mode",)).form(listed, frozenset(refused), frozenset(worked)) == "json_mode"


# -- beside the service


def test_another_packages_model_is_asked_in_its_words(sim: Simulator) -> None:
    """By a tool that must be called; what it gives is checked like all the others'."""
    models = _serve(sim, one=ALL)
    sim.script({M1: "wrong-schema"})
    other = ChatOpenAI(model=M1, base_url=sim.base_url, api_key=sim.api_key, max_retries=0)  # type: ignore[arg-type]
    paid = PaidModel(other, prompt_price=1, completion_price=1, name="another")
    model = _make(sim, models, allow_paid=True, budget="$1", paid_models=[paid])
    with pytest.raises(NoValidObject) as caught:
        model.with_structured_output(Count).invoke(PROMPT)
    assert [record.outcome for record in caught.value.attempts] == ["wrong_object"] * 2
    sim.script({M1: ["wrong-schema", "ok"]})
    model = _make(sim, models, allow_paid=True, budget="$1", paid_models=[paid])
    assert model.with_structured_output(Count).invoke(PROMPT) == Count(**RIGHT)
    assert _forms(sim)[-1] == "function_calling"


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
    model = _make(sim, _serve(sim, one=NOTHING))
    call = {"name": "count", "args": {}, "id": "c1"}
    said = [HumanMessage(PROMPT), AIMessage("", tool_calls=[call]), ToolMessage("12", tool_call_id="c1")]
    found = model.with_structured_output(Count).invoke(said)
    assert found.number == 12
    assert [json.dumps(m).count("JSON schema:") for m in sim.chats()[0].body["messages"] if m["role"] == "user"][
        -1
    ] == 1
