"""Answers that follow schemas, tools and limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.simulator.schemas import sample

MODEL = "test/m01:free"

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(sim: Simulator) -> Iterator[Ask]:
    """Ask and get the first choice of a plain answer, with the usage beside it."""
    client = httpx.Client(
        base_url=sim.base_url, headers={"Authorization": "Bearer x"}, trust_env=False, verify=False, timeout=5
    )

    def asked(said: str | list[dict[str, Any]], model: str = MODEL, **body: Any) -> dict[str, Any]:
        messages = said if isinstance(said, list) else [{"role": "user", "content": said}]
        reply = client.post("/chat/completions", json={"model": model, "messages": messages} | body)
        assert reply.status_code == 200, reply.text
        choice: dict[str, Any] = reply.json()["choices"][0]
        return choice | {"usage": reply.json()["usage"]}

    with client:
        yield asked


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


WEATHER = tool("get_weather", city={"type": "string"})
ADDER = tool("my_adder_tool", a={"type": "integer"}, b={"type": "integer"})
MAGIC = tool("magic_function", input={"type": "integer"})


def calls(choice: dict[str, Any]) -> list[tuple[str, Any]]:
    found = choice["message"].get("tool_calls", [])
    return [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in found]


@pytest.mark.parametrize(
    ("said", "tools", "expected"),
    [
        ("What is the weather in San Francisco, CA?", [WEATHER], [("get_weather", {"city": "San Francisco, CA"})]),
        ("What is the value of magic_function(3)? Use the tool.", [MAGIC], [("magic_function", {"input": 3})]),
        ("What is 1 + 2", [ADDER], [("my_adder_tool", {"a": 1, "b": 2})]),
        (
            "What is the weather in Paris and London?",
            [WEATHER],
            [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "London"})],
        ),
        (
            "Tell me the weather in Rome; also magic_function(4)",
            [WEATHER, MAGIC],
            [("get_weather", {"city": "Rome"}), ("magic_function", {"input": 4})],
        ),
        ("Hello!", [WEATHER, MAGIC], []),
    ],
)
def test_auto_calls_what_the_text_is_about(
    ask: Ask, said: str, tools: list[dict[str, Any]], expected: list[tuple[str, Any]]
) -> None:
    """Left to itself the model calls the tools that the text mentions, once for each thing."""
    choice = ask(said, tools=tools)
    assert calls(choice) == expected
    assert choice["finish_reason"] == ("tool_calls" if expected else "stop")


def test_tool_choice(ask: Ask) -> None:
    """none, required and a name are honoured; two calls become one if calls may not be parallel."""
    said = "What is the weather in Paris and London?"
    assert calls(ask(said, tools=[WEATHER], tool_choice="none")) == []
    assert [name for name, _ in calls(ask("Hello!", tools=[MAGIC, WEATHER], tool_choice="required"))] == [
        "magic_function"
    ]
    named = {"type": "function", "function": {"name": "get_weather"}}
    assert [name for name, _ in calls(ask("Hello!", tools=[MAGIC, WEATHER], tool_choice=named))] == ["get_weather"]
    assert calls(ask("Hello!", tools=[WEATHER], tool_choice={"type": "auto"})) == []
    assert len(calls(ask(said, tools=[WEATHER], parallel_tool_calls=False))) == 1


def test_text_after_a_tool_message(ask: Ask) -> None:
    """When the tool has answered the model speaks, unless it must call."""
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    talk = [
        {"role": "user", "content": "What is the weather in Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "It rains."},
    ]
    choice = ask(talk, tools=[WEATHER])
    assert "It rains." in choice["message"]["content"]
    assert calls(ask(talk, tools=[WEATHER], tool_choice="required"))


def test_unicode_survives(ask: Ask) -> None:
    """Quoted text of any script goes into the arguments as it is."""
    customer = tool("create_customer", customer_name={"type": "string"})
    choice = ask("Create a customer named '你好啊集团' (Hello Group)", tools=[customer], tool_choice="required")
    assert "你好啊集团" in choice["message"]["tool_calls"][0]["function"]["arguments"]


def test_structured_output(ask: Ask) -> None:
    """json_schema and json_object give JSON that fits."""
    schema = {
        "$defs": {"Joke": {"type": "object", "properties": {"setup": {"type": "string"}}, "required": ["setup"]}},
        "type": "object",
        "properties": {
            "jokes": {"type": "array", "items": {"$ref": "#/$defs/Joke"}},
            "mood": {"enum": ["grim", "merry"]},
            "rating": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 5}, {"type": "null"}]},
        },
        "required": ["jokes", "mood", "rating"],
    }
    wish = {"type": "json_schema", "json_schema": {"name": "jokes", "schema": schema}}
    said = "A merry joke about cats, rated 9 of 10"
    found = json.loads(ask(said, response_format=wish)["message"]["content"])
    assert found["mood"] == "merry"
    assert found["rating"] == 5
    assert set(found["jokes"][0]) == {"setup"}
    said = "Return a JSON with 'setup' and 'punchline' keys."
    found = json.loads(ask(said, response_format={"type": "json_object"})["message"]["content"])
    assert set(found) == {"setup", "punchline"}
    text = ask(said, "nvidia/nemotron-nano-12b-v2-vl:free", response_format=wish)["message"]["content"]
    assert not text.startswith("{")


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "exclusiveMinimum": 7}, 8),
        ({"type": "number", "maximum": 2.5}, 2.5),
        ({"type": "integer", "multipleOf": 4}, 4),
        ({"type": ["null", "string"], "format": "date"}, "2026-01-01"),
        ({"type": "string", "minLength": 6, "maxLength": 8}, "oslo.."),
        ({"const": 7}, 7),
        ({"type": "null"}, None),
        ({"type": "boolean"}, True),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}]}, [5, None]),
        ({"allOf": [{"type": "object", "properties": {"a": {"const": 1}}}, {"required": ["a"]}]}, {"a": 1}),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {}),
        ({"oneOf": [{"type": "null"}]}, None),
        ({"items": {"const": "x"}}, ["x"]),
        (True, "anything"),
    ],
)
def test_samples(schema: Any, expected: Any) -> None:
    """The smallest value of a schema, with words and numbers of the text."""
    assert sample(schema, "give 5 to 'oslo'") == expected


def test_endless_schemas_end() -> None:
    """A schema that refers to itself is followed for a while only."""
    node = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    assert json.dumps(sample(node, "")).count("next") < 30
    tree = {"type": "object", "properties": {"leaves": {"type": "array", "items": {"$ref": "#"}}}}
    assert json.dumps(sample(tree, "")).count("leaves") < 30
    assert sample({"$ref": "#"}, "") is not None


def test_stop_and_max_tokens(ask: Ask) -> None:
    """`stop` cuts before the word, `max_tokens` cuts with finish_reason length."""
    assert ask("hello big world", stop=["big"])["message"]["content"].endswith("hello ")
    choice = ask("hello big world", max_tokens=3)
    assert choice["finish_reason"] == "length"
    assert choice["usage"]["completion_tokens"] == 3
    assert len(choice["message"]["content"]) == 12


def test_reasoning(ask: Ask) -> None:
    """Models think if they always do or are asked to, and thinking can eat the budget."""
    thinker, doer = "openai/gpt-oss-20b:free", MODEL
    assert ask("hello", thinker)["message"]["reasoning"]
    assert ask("hello", thinker, reasoning={"enabled": False})["message"]["reasoning"]
    assert ask("hello", "z-ai/glm-5.2:free", reasoning={"enabled": False})["message"]["reasoning"] is None
    assert ask("hello", thinker, reasoning={"exclude": True})["message"]["reasoning"] is None
    assert ask("hello", doer)["message"]["reasoning"] is None
    choice = ask("hello", doer, reasoning={"effort": "low"})
    assert choice["message"]["reasoning_details"][0]["type"] == "reasoning.text"
    assert choice["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    eaten = ask("hello", thinker, max_tokens=4)
    assert (eaten["finish_reason"], eaten["message"]["content"]) == ("length", "")


def test_cached_tokens(ask: Ask) -> None:
    """Parts marked for the cache are written at first and read later."""
    part = {"type": "text", "text": "a long text " * 10, "cache_control": {"type": "ephemeral"}}
    messages = [{"role": "user", "content": [part]}]
    first = ask(messages)["usage"]["prompt_tokens_details"]
    second = ask(messages)["usage"]["prompt_tokens_details"]
    assert first["cache_write_tokens"] == second["cached_tokens"] == 30
    assert first["cached_tokens"] == second["cache_write_tokens"] == 0


def test_same_seed_same_luck() -> None:
    """Two worlds with one seed do the same."""

    def story() -> list[str]:
        with Simulator(seed=7) as sim, httpx.Client(trust_env=False, verify=False) as client:
            sim.script({"*": {"ok": 1, "503": 1}})
            body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
            for _ in range(12):
                client.post(f"{sim.base_url}/chat/completions", json=body, headers={"Authorization": "Bearer x"})
            return [entry.behaviour for entry in sim.chats()]

    first = story()
    assert first == story()
    assert set(first) == {"ok", "503"}


def test_numbered_steps_are_done_one_after_the_other(ask: Ask) -> None:
    """A list of steps is played over several requests, by any model: a call for each, then a word of all results."""
    tools = [tool("add", a={"type": "integer"}, b={"type": "integer"}), tool("negate", a={"type": "integer"})]
    messages = [{"role": "user", "content": "Please:\n1. Use add for 3 and 4.\n2. Use negate for 5."}]
    made = []
    for result in ("seven", "minus five"):
        choice = ask(messages, tools=tools)
        (call,) = choice["message"]["tool_calls"]
        made.append((call["function"]["name"], json.loads(call["function"]["arguments"])))
        messages += [choice["message"], {"role": "tool", "content": result, "tool_call_id": call["id"]}]
    assert made == [("add", {"a": 3, "b": 4}), ("negate", {"a": 5})]
    assert ask(messages, tools=tools)["message"]["content"].endswith("has done all steps: seven, minus five")
    must = ask(messages, tools=[*tools, tool("report", total={"type": "integer"})], tool_choice="required")
    assert [call["function"]["name"] for call in must["message"]["tool_calls"]] == ["report"]


def test_steps_are_known_as_done_where_calls_and_results_are_told_in_words(ask: Ask) -> None:
    """So does smolagents: a call is a sentence of the assistant's, its result one of the user's."""
    tools = [tool("add", a={"type": "integer"}, b={"type": "integer"}), tool("negate", a={"type": "integer"})]
    messages = [
        {"role": "user", "content": "Please:\n1. Use add for 3 and 4.\n2. Use negate for 5."},
        {"role": "assistant", "content": "Calling tools:\n[{'function': {'name': 'add'}}]"},
        {"role": "user", "content": "Observation:\nseven"},
    ]
    (call,) = ask(messages, tools=tools)["message"]["tool_calls"]
    assert call["function"]["name"] == "negate"
    messages += [{**messages[1]}, {"role": "user", "content": "Observation:\nminus five"}]
    assert ask(messages, tools=tools)["message"]["content"].endswith("has done all steps: seven, minus five")


REPORT = tool("Report", summary={"type": "string"})


def _told(*names: str) -> list[dict[str, Any]]:
    """A conversation in which these tools were called one after the other, each with a result."""
    talk: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Oslo?"}]
    for name in names:
        call = {"id": f"c-{name}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        talk.append({"role": "assistant", "content": "", "tool_calls": [call]})
        talk.append({"role": "tool", "tool_call_id": f"c-{name}", "content": "It rains."})
    return talk


@pytest.mark.parametrize("choice", ["required", "any"])
@pytest.mark.parametrize(
    ("talk", "expected"),
    [
        (_told(), "get_weather"),
        (_told("get_weather"), "Report"),
        (_told("get_weather", "Report"), "magic_function"),
        (_told("get_weather", "Report", "magic_function"), "Report"),
        ([*_told("get_weather"), {"role": "user", "content": "And the weather in Rome?"}], "get_weather"),
        (_told("get_weather")[:-1], "get_weather"),
    ],
    ids=["at first", "result in a form", "the other", "the form again", "asked anew", "no result"],
)
def test_a_forced_call_is_not_made_again_once_it_has_its_result(
    ask: Ask, talk: list[dict[str, Any]], expected: str, choice: str
) -> None:
    """The forced model goes on to what was not told yet, in the end to the last tool: the form of the result."""
    found = calls(ask(talk, tools=[WEATHER, MAGIC, REPORT], tool_choice=choice))
    assert [name for name, _ in found] == [expected]


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"a": {"type": ["integer", "null"]}, "b": {"type": ["null", "number"]}}, True),
        ({"a": {"type": ["string", "null"]}}, False),
        ({"a": {}}, False),
        ({"a": True}, False),
        ({"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}, False),
    ],
)
def test_tools_of_any_types_are_read(ask: Ask, needs: dict[str, Any], *, expected: bool) -> None:
    """A type may be a list or be missing; a schema may be no object."""
    choice = ask("What is 1 + 2", tools=[tool("q", **needs)])
    assert bool(calls(choice)) is expected
