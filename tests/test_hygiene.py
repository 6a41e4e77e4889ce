"""The form of a conversation: whatever comes in, what goes out is what the model demands, and nothing is lost."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_openrouter_free.judging.refusals import classify
from langchain_openrouter_free.judging.traits import (
    CONTENT_PARTS,
    FORMS,
    MESSAGE_ORDER,
    OWN_REASONING,
    SEVERAL_CALLS,
    SYSTEM_ROLE,
    TOOL_CALL_IDS,
)
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.route import hygiene
from langchain_openrouter_free.route.hygiene import NINE, Form, form_of, formed

SHAPES = {
    "any": Form(),
    "nine": Form(call_ids=NINE),
    "no-system": Form(system=False),
    "ordered": Form(ordered=True),
    "texts": Form(parts=False),
    "one-call": Form(one_call=True),
    "no-tools": Form(tools=False),
    "no-reasoning": Form(reasoning=False),
    "all": Form(NINE, system=False, ordered=True, parts=False, reasoning=False, one_call=True, tools=False),
    "learned": Form(NINE, system=False, ordered=True, parts=False, reasoning=False, one_call=True),
}
INSTRUCTIONS = ("system", "developer")


def said(role: str, content: Any = "", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(call_id: Any, arguments: Any = "{}") -> dict[str, Any]:
    return {"type": "function", "id": call_id, "function": {"name": "look", "arguments": arguments}}


def nameless(call_id: str, name: str | None) -> dict[str, Any]:
    return {**call(call_id), "function": {"name": name, "arguments": "{}"}}


def calls(*ids: Any, content: Any = None) -> dict[str, Any]:
    return said("assistant", content, tool_calls=[call(one) for one in ids])


def result(call_id: Any, content: Any = "found", **more: Any) -> dict[str, Any]:
    return said("tool", content, tool_call_id=call_id, **more)


# -- any conversation

WORDS = st.integers(0, 9999).map(lambda n: f"w{n:04}")
PART = st.builds(lambda word: {"type": "text", "text": word}, WORDS)
PICTURE = st.just({"type": "image_url", "image_url": {"url": "https://x/y.png"}})
CONTENT = st.one_of(WORDS, st.lists(PART, min_size=1, max_size=3))
IDS = st.sampled_from(["a", "b", "call_0123456789abcdef", "functions.look:0", "AbCdEf123", "", None, "x" * 70])
ARGUMENTS = st.sampled_from(["{}", '{"a": 1}', '{"a": 1', "", None, "[1]"])
SPEECH = st.one_of(
    st.builds(said, st.sampled_from(["system", "developer"]), CONTENT),
    st.builds(said, st.just("user"), st.one_of(CONTENT, st.lists(st.one_of(PART, PICTURE), min_size=1, max_size=3))),
    st.builds(said, st.just("user"), CONTENT, name=st.sampled_from(["ann", "bob"])),
    st.builds(said, st.just("assistant"), st.one_of(CONTENT, st.sampled_from(["", None]))),
    st.builds(said, st.just("assistant"), WORDS, reasoning=WORDS),
    st.builds(
        said,
        st.just("assistant"),
        st.one_of(CONTENT, st.none()),
        tool_calls=st.lists(st.builds(call, IDS, ARGUMENTS), max_size=3),
    ),
    st.builds(result, IDS, CONTENT),
)
CONVERSATION = st.lists(SPEECH, min_size=1, max_size=10)


def texts_of(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content)
    return str(content)


def assert_paired(messages: list[dict[str, Any]], ids: str) -> None:
    """Each call has its result directly behind it, by an id that nobody else has."""
    seen: list[str] = []
    position = 0
    while position < len(messages):
        message = messages[position]
        assert message["role"] != "tool"
        names = [one["id"] for one in message.get("tool_calls", [])]
        results = messages[position + 1 : position + 1 + len(names)]
        assert [one["role"] for one in results] == ["tool"] * len(names)
        assert [one["tool_call_id"] for one in results] == names
        assert all(isinstance(json.loads(one["function"]["arguments"]), dict) for one in message.get("tool_calls", []))
        seen += names
        position += 1 + len(names)
    assert len(set(seen)) == len(seen)
    assert all(name and (not ids or re.fullmatch(ids, name)) for name in seen)


def assert_in_turns(messages: list[dict[str, Any]]) -> None:
    roles = [message["role"] for message in messages]
    assert not set(roles[1:]) & set(INSTRUCTIONS)
    spoken = roles[1:] if roles[0] in INSTRUCTIONS else roles
    allowed = {"user": {"assistant"}, "assistant": {"user", "tool", "assistant"}, "tool": {"tool", "assistant"}}
    assert spoken[0] == "user"
    assert all(after in allowed[before] for before, after in pairwise(spoken))
    assert spoken[-1] in ("user", "tool")


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=60)
@given(messages=CONVERSATION)
def test_any_conversation_comes_out_in_the_form_that_is_demanded(name: str, messages: list[dict[str, Any]]) -> None:
    """It is paired and in form, all that was said is still there, twice is once, and nobody's messages changed."""
    form, before = SHAPES[name], copy.deepcopy(messages)
    out = formed(messages, form)
    assert messages == before
    assert formed(out, form) == out
    assert_paired(out, form.call_ids)
    roles = {message["role"] for message in out}
    assert form.system or not roles & set(INSTRUCTIONS)
    if form.ordered:
        assert_in_turns(out)
    for message in out:
        content = message.get("content")
        pictured = isinstance(content, list) and any(part["type"] != "text" for part in content)
        assert form.parts or pictured or not isinstance(content, list)
        assert form.reasoning or "reasoning" not in message
        assert form.tools or (message["role"] != "tool" and "tool_calls" not in message)
        assert not form.one_call or len(message.get("tool_calls", ())) <= 1
        silent = message["role"] == "assistant" and not content and not message.get("tool_calls")
        assert not silent or "reasoning" in message
    words = set(re.findall(r"w\d{4}", " ".join(map(texts_of, messages))))
    assert words <= set(re.findall(r"w\d{4}", " ".join(map(texts_of, out))))


@given(turns=st.lists(st.lists(WORDS, max_size=3), min_size=1, max_size=4))
def test_a_conversation_without_fault_stays_as_it_is(turns: list[list[str]]) -> None:
    """Where nothing is wrong and nothing is demanded, nothing is done."""
    messages = [said("system", "be brief")]
    for number, words in enumerate(turns):
        ids = [f"call_{number}_{position}" for position in range(len(words))]
        messages.append(said("user", f"turn {number}"))
        messages += [calls(*ids), *map(result, ids, words)] if words else []
        messages.append(said("assistant", "done"))
    messages.append(said("user", "and?"))
    assert formed(messages, Form()) == messages


@given(ids=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=40, unique=True))
def test_new_ids_are_the_same_each_time_and_never_meet(ids: list[str]) -> None:
    """Ids that have the form are kept; the others get nine letters or digits which follow from them alone."""
    conversation = [calls(*ids), *map(result, ids)]
    nine = SHAPES["nine"]
    out = [one["id"] for one in formed(conversation, nine)[0]["tool_calls"]]
    assert len(set(out)) == len(ids)
    assert all(new == old for new, old in zip(out, ids, strict=True) if re.fullmatch(NINE, old))
    longer = formed([*conversation, said("assistant", "done"), calls("later"), result("later")], nine)
    assert [one["id"] for one in longer[0]["tool_calls"]] == out


def noted(patch: pytest.MonkeyPatch, place: object, name: str) -> list[object]:
    """Return a list of what a function is called with from now on."""
    taken, does = list[object](), getattr(place, name)

    def noting(value: object) -> Any:
        taken.append(value)
        return does(value)

    patch.setattr(place, name, noting)
    return taken


def test_one_id_for_every_call_costs_one_hash_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some models number their calls anew in each turn: a long run of an agent must not be dearer with each step."""
    hashed = noted(monkeypatch, hashlib, "sha256")
    steps = [calls("look:0"), result("look:0")] * 200
    out = [one["tool_calls"][0]["id"] for one in formed(steps, Form()) if "tool_calls" in one]
    assert (len(set(out)), out[0], len(hashed)) == (200, "look:0", 199)


def test_calls_of_one_turn_find_their_results_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a look at all calls for each of them: their number does not count twice."""
    seen = noted(monkeypatch, hygiene, "_id")
    ids = [f"call_{number}" for number in range(200)]
    assert formed([calls(*ids), *map(result, reversed(ids))], Form()) == [calls(*ids), *map(result, ids)]
    assert len(seen) <= 6 * len(ids)


# -- single cases

FILLED = said("user", "Continue.")
CASES: dict[str, tuple[Form, list[dict[str, Any]], list[dict[str, Any]]]] = {
    "orphaned-result": (
        Form(),
        [said("system", "s"), result("gone", "42", name="look"), said("user", "u")],
        [said("system", "s"), said("user", "The result of an earlier call of the tool look:\n42"), said("user", "u")],
    ),
    "call-without-result": (
        Form(),
        [calls("a"), said("user", "never mind")],
        [calls("a"), result("a", "No result is known of this call."), said("user", "never mind")],
    ),
    "late-result": (
        Form(),
        [calls("a", "b"), said("user", "hm"), result("b", "2"), result("a", "1")],
        [calls("a", "b"), result("a", "1"), result("b", "2"), said("user", "hm")],
    ),
    "second-result": (
        Form(),
        [calls("a", "b"), result("a", "1"), result("a", "again"), result("b", "2")],
        [calls("a", "b"), result("a", "1"), result("b", "2"), said("user", "A tool's result:\nagain")],
    ),
    "same-id-in-two-steps": (
        Form(),
        [calls("0"), result("0", "1"), calls("0"), result("0", "2")],
        [calls("0"), result("0", "1"), calls("IyQy1PVn5"), result("IyQy1PVn5", "2")],
    ),
    "silent-assistant": (Form(), [said("user", "u"), said("assistant", "")], [said("user", "u")]),
    "nothing-said": (Form(), [said("assistant", "")], [FILLED]),
    "null-content": (Form(), [said("user", None)], [said("user", "")]),
    "system-folded": (
        Form(system=False),
        [said("system", "s"), said("developer", "d"), said("user", "u"), said("system", "late")],
        [said("user", "s\n\nd\n\nu"), said("user", "late")],
    ),
    "system-folded-before-a-picture": (
        Form(system=False),
        [said("system", "s"), said("user", [{"type": "image_url", "image_url": {"url": "u"}}])],
        [said("user", [{"type": "text", "text": "s"}, {"type": "image_url", "image_url": {"url": "u"}}])],
    ),
    "system-alone": (Form(system=False), [said("system", "s")], [said("user", "s")]),
    "turns": (
        Form(ordered=True),
        [said("system", "s"), said("system", "t"), said("user", "a", name="ann"), said("user", "b", name="bob")],
        [said("system", "s\n\nt"), said("user", "a\n\nb")],
    ),
    "user-behind-a-tool": (
        Form(ordered=True),
        [said("user", "u"), calls("a"), result("a"), said("user", "and?")],
        [said("user", "u"), calls("a"), result("a"), said("assistant", "Understood."), said("user", "and?")],
    ),
    "assistant-first-and-last": (
        Form(ordered=True),
        [said("assistant", "hello"), said("assistant", "there")],
        [FILLED, said("assistant", "hello\n\nthere"), FILLED],
    ),
    "parts": (
        Form(parts=False),
        [said("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])],
        [said("user", "a\nb")],
    ),
    "one-call": (
        Form(one_call=True),
        [calls("a", "b", content="hm"), result("a"), result("b")],
        [calls("a", content="hm"), result("a"), calls("b"), result("b")],
    ),
    "no-tools": (
        Form(tools=False),
        [calls("a", content="hm"), result("a", "42"), said("user", "and?")],
        [
            said("assistant", "hm\n\n(Called the tool look with {}.)"),
            said("user", "The result of an earlier call of the tool look:\n42"),
            said("user", "and?"),
        ],
    ),
    "cut-arguments": (
        Form(),
        [said("assistant", None, tool_calls=[call("a", '{"x')]), result("a", "no JSON")],
        [said("assistant", None, tool_calls=[call("a", '{"invalid": "{\\"x"}')]), result("a", "no JSON")],
    ),
    "arguments-that-only-python-reads": (
        Form(),
        [said("assistant", None, tool_calls=[call("a", '{"x": NaN}')]), result("a")],
        [said("assistant", None, tool_calls=[call("a", '{"invalid": "{\\"x\\": NaN}"}')]), result("a")],
    ),
    "no-name": (
        Form(),
        [said("assistant", None, tool_calls=[nameless("a", None), nameless("b", "")]), result("a"), result("b")],
        [
            said("assistant", None, tool_calls=[nameless("a", "unknown"), nameless("b", "unknown")]),
            *(result("a"), result("b")),
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_becomes_of_a_conversation(name: str) -> None:
    """Each fault is mended in one way, and no more than that is done."""
    form, given_, expected = CASES[name]
    assert formed(given_, form) == expected


def test_repairs_are_told() -> None:
    """Who reads the log can see what was added and left out."""
    notes: list[str] = []
    formed([result("x"), calls("a"), said("assistant", ""), said("user", "u")], Form(), notes)
    assert [note.split()[0:4] for note in notes] == [
        ["an", "assistant", "message", "that"],
        ["a", "tool's", "result", "without"],
        ["a", "tool", "call", "without"],
    ]


FAMILIES = [
    ("mistralai/mistral-small-3.2-24b-instruct:free", Form(call_ids=NINE, ordered=True)),
    ("google/gemma-3-27b-it:free", Form(system=False, ordered=True)),
    ("google/gemma-4-31b-it:free", Form()),
    ("qwen/qwen3-coder:free", Form()),
]


@pytest.mark.parametrize(("model", "form"), FAMILIES)
def test_what_is_known_of_a_family(model: str, form: Form) -> None:
    """A model's form is known by its family, and a demand that was learned comes on top."""
    assert form_of(model) == form
    assert form_of(model, frozenset({SYSTEM_ROLE, TOOL_CALL_IDS})).system is False
    assert form_of(model, frozenset({TOOL_CALL_IDS})).call_ids == NINE
    assert form_of(model, frozenset({MESSAGE_ORDER, "tools"})).ordered
    assert form_of(model, FORMS) == replace(SHAPES["learned"], call_ids=NINE)


WORDINGS = {
    "Developer instruction is not enabled for models/gemma-3-27b-it": SYSTEM_ROLE,
    "System role not supported": SYSTEM_ROLE,
    "Unexpected role 'tool' after role 'system'": MESSAGE_ORDER,
    "Unexpected role 'system' after role 'tool'": MESSAGE_ORDER,
    "Conversation roles must alternate user/assistant/user/assistant/...": MESSAGE_ORDER,
    "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant": MESSAGE_ORDER,
    "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.": TOOL_CALL_IDS,
    "Duplicate tool call id in assistant message": TOOL_CALL_IDS,
    "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'": TOOL_CALL_IDS,
    "messages.1.content.0: Invalid `signature` in `thinking` block": OWN_REASONING,
    "messages[1].content must be a string": CONTENT_PARTS,
    "This model only supports single tool-calls at once!": SEVERAL_CALLS,
    "failed to translate request: folding the request grammar": None,
    "Reasoning is mandatory for this endpoint and cannot be disabled.": None,
}


@pytest.mark.parametrize("words", WORDINGS)
def test_a_refusal_tells_what_is_demanded(words: str) -> None:
    """The words of those who refuse are known."""
    metadata = {"raw": words, "provider_name": "Somebody"}
    body = {"error": {"message": "Provider returned error", "code": 400, "metadata": metadata}}
    how = classify(400, {}, body, now=0.0)
    assert how.kind is Kind.INCOMPATIBLE
    assert how.names & FORMS == ({WORDINGS[words]} if WORDINGS[words] else set())
