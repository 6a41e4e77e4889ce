"""Structured output: in which form each model is asked for the object, and what a wish may be."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, drive
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, ConfigDict
from wishes import (
    ALL,
    JSON_ONLY,
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
    ConfigurationError,
    MemoryStore,
    NoSuitableModel,
    NoValidObject,
    StreamInterrupted,
)
from langchain_openrouter_free.face.structured import METHODS, shape_of
from langchain_openrouter_free.judging.shapes import BEST_FIRST, Shape, instructed
from langchain_openrouter_free.judging.shapes import asked as asked_in
from langchain_openrouter_free.simulator import Scenario, Simulator

pytestmark = pytest.mark.one_simulator


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
    model = make(sim, serve(sim, one=takes))
    _, found = ask(model.with_structured_output(KINDS[kind]), path)
    assert plain(found) == RIGHT
    assert isinstance(found, KINDS[kind] if kind in ("pydantic", "v1") else dict)
    assert forms(sim) == [form]


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("only", ["json_schema", "function_calling", "json_mode"])
def test_a_method_that_is_named_is_the_only_one(sim: Simulator, method: str, only: str) -> None:
    """A model that cannot do it is not asked; the next one is."""
    takes = {"json_schema": "max_tokens structured_outputs", "function_calling": TOOLS_ONLY, "json_mode": JSON_ONLY}
    models = serve(sim, one=takes[only], two=ALL)
    found = make(sim, models).with_structured_output(Count, method=method).invoke(PROMPT)  # type: ignore[arg-type]
    # What keeps to a schema can keep to JSON, and the reverse is worth a try.
    able = {only} | ({"json_schema", "json_mode"} if only in ("json_schema", "json_mode") else set())
    assert asked(sim) == [M1 if method in able else M2]
    assert forms(sim) == [method]
    if found.number != 12:
        raise AssertionError(found)


def test_nobody_can_do_what_was_named(sim: Simulator) -> None:
    """Then nothing is sent, and the error says what is missing."""
    model = make(sim, serve(sim, one=JSON_ONLY))
    with pytest.raises(NoSuitableModel, match="no forced tool choice"):
        model.with_structured_output(Count, method="function_calling").invoke(PROMPT)
    assert sim.chats() == []


def test_a_refused_forced_choice_is_not_tried_again(sim: Simulator) -> None:
    """What a model has refused once is remembered in the book, and the next form is used."""
    models: list[str | dict[str, Any]] = [
        {"id": M1, "supported_parameters": TOOLS_ONLY.split()},
        {"id": M2, "supported_parameters": ALL.split()},
    ]
    sim.reset(Scenario(models=models, refuses={M1: ["forced-tool-choice"]}))
    model = make(sim, [M1, M2], state=MemoryStore())
    assert model.with_structured_output(Count).invoke(PROMPT) == Count(**RIGHT)
    assert model.with_structured_output(Count).invoke(PROMPT) == Count(**RIGHT)
    assert list(zip(asked(sim), forms(sim), strict=True)) == [
        (M1, "function_calling"),
        (M2, "json_schema"),
        (M1, "prompt"),
    ]


def test_a_form_that_has_worked_is_used_again(sim: Simulator) -> None:
    """A tool call that worked is trusted more than a schema that was never tried."""
    model = make(sim, serve(sim, one=ALL), state=MemoryStore())
    model.with_structured_output(Count, method="function_calling").invoke(PROMPT)
    model.with_structured_output(Count).invoke(PROMPT)
    assert forms(sim) == ["function_calling", "function_calling"]


def test_a_form_that_brought_a_wrong_object_is_not_used_again(sim: Simulator) -> None:
    """The next call asks the same model in its next form, and keeps to that while it works."""
    sim.script({M1: ["wrong-schema", "ok"]})
    model = make(sim, serve(sim, one=ALL, two=ALL), state=MemoryStore())
    for _ in range(3):
        assert model.with_structured_output(Count).invoke(PROMPT) == Count(**RIGHT)
    assert list(zip(asked(sim), forms(sim), strict=True)) == [
        (M1, "json_schema"),
        (M2, "json_schema"),
        (M1, "function_calling"),
        (M1, "function_calling"),
    ]


def test_explain_knows_the_wish(sim: Simulator) -> None:
    """Any model will do where the form is chosen late; not where it was named."""
    model = make(sim, serve(sim, one=NOTHING, two=ALL))
    model.refresh()
    late, named = model.with_structured_output(Count), model.with_structured_output(Count, method="json_schema")
    assert model.explain(**late.first.kwargs).order == (M1, M2)  # type: ignore[attr-defined]
    assert model.explain(**named.first.kwargs).order == (M2,)  # type: ignore[attr-defined]


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
    ids = serve(sim, one=SCHEMA_ONLY, two=TOOLS_ONLY, three=JSON_ONLY)
    texts = ['{"place": []}', '{"place": []}', json.dumps(right)]
    sim.script({model: {"do": "ok", "text": text} for model, text in zip(ids, texts, strict=True)})
    schema = {"name": "C", "schema": rest} if wrapped else {"title": "C", **rest}
    assert make(sim, ids).with_structured_output(schema).invoke("hi") == right
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
        make(sim, [M1]).with_structured_output(**given)


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
        make(sim, [M1]).invoke("hi", structured_output=Count)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_chain_knows_which_class_it_ends_in(sim: Simulator, method: Any, kind: str) -> None:
    """What is made of its schema (endpoints, drawings) shows the class; of the others LangChain knows no type."""
    chain = RunnableLambda(str) | make(sim, [M1]).with_structured_output(KINDS[kind], method=method)
    assert chain.OutputType == (Count if kind == "pydantic" else Any)
    assert ("place" in chain.get_output_jsonschema().get("properties", {})) == (kind == "pydantic")


def test_strict_goes_only_to_who_can_keep_to_it(sim: Simulator) -> None:
    """In a tool, `strict` is for models that write by a schema; `tool_choice` none takes the tools away elsewhere."""
    tool = {"name": "add", "description": "Add.", "parameters": {"type": "object", "properties": {}}}
    model = make(sim, serve(sim, one=TOOLS_ONLY, two=ALL, three="max_tokens tools"))
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
    body: dict[str, Any] = sim.chats()[-1].body
    return body


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


SUM = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}
TOTAL = {"type": "json_schema", "json_schema": {"name": "total", "schema": SUM}}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("does", "answers"), [("wrong-schema", 1), ("fenced", 0)])
def test_an_object_that_a_response_format_wants_is_checked_as_well(
    sim: Simulator, does: str, answers: int, path: str
) -> None:
    """An agent asks so by itself, and has a plain parser; what was streamed already keeps its fence, or ends in it."""
    sim.offer(*TWENTY[:2])
    sim.script({TWENTY[0]: {"do": does, "speed": 50, "reasoning": False}})
    model = make(sim, TWENTY[:2]).bind(response_format=TOTAL)
    if path in ("stream", "astream") and answers:
        with pytest.raises(StreamInterrupted):
            drive(model, path, "The total is 12.")
        return
    told = drive(model, path, "The total is 12.")
    assert told.meta["route"]["model"] == TWENTY[answers]
    if path in ("invoke", "ainvoke"):
        assert json.loads(told.text) == {"total": 12}


def test_a_wrong_object_of_a_response_format_can_be_accepted(sim: Simulator) -> None:
    sim.offer(*TWENTY[:2])
    sim.script({TWENTY[0]: "wrong-schema"})
    model = make(sim, TWENTY[:2], accept="wrong_object")
    assert drive(model.bind(response_format=TOTAL), "invoke").outcomes == ["ok"]


class Counts(BaseModel):
    """How many of what."""

    model_config = ConfigDict(extra="forbid")
    counts: dict[str, int]


_OPEN = {"title": "Counts", "type": "object", "properties": {"counts": {"additionalProperties": {"type": "integer"}}}}


@pytest.mark.parametrize("kind", [Counts, Count, _OPEN, SCHEMA, SCHEMA | {"additionalProperties": False}])
@pytest.mark.parametrize(
    "said",
    [
        '{"place": "mercury", "number": "mercury"}',
        '{"place": "Rome", "number": 3, "mercury": 1}',
        '{"counts": {"mercury": "mercury"}}',
        '["mercury"]',
        '{"place": mercury',
    ],
)
def test_what_is_wrong_is_told_without_the_answers_words(
    sim: Simulator, kind: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is logged, kept in the history and told to hooks; the answer is with the error alone."""
    caplog.set_level("DEBUG")
    sim.script({"*": {"do": "ok", "text": said}})
    heard: list[dict[str, Any]] = []
    model = make(sim, serve(sim, one=ALL), on_route=heard.append, state=MemoryStore())
    with suppress(NoValidObject):
        model.with_structured_output(kind).invoke(PROMPT)
    [record] = model.history()
    assert heard
    assert "mercury" not in f"{record} {heard} {caplog.text}"
    assert all(len(attempt.reason) > 10 for attempt in record.attempts if attempt.outcome != "ok")
