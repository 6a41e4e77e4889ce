"""What is an answer: every row of the table moves on, and every switch lets it pass; over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, drive, make
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pitfall_helpers import ADD
from reply_strategies import _streams

from langchain_openrouter_free import AllModelsFailed, ConfigurationError, StreamInterrupted
from langchain_openrouter_free.judging import schemas
from langchain_openrouter_free.judging.answers import MOST_REPEATS, ROWS, Terms, judge, looping, terms_of
from langchain_openrouter_free.judging.schemas import misfit
from langchain_openrouter_free.judging.verdicts import POLICIES, Kind, Verdict
from langchain_openrouter_free.protocol.wire import Assembly, Completion, ToolDelta
from langchain_openrouter_free.simulator import Simulator

QUIET = {"reasoning": False}
# Row -> (what the first model does, whether it has tools, what the caller gets who accepts it)
PLAYED: dict[str, tuple[Any, bool, str]] = {
    "error": ({"do": "error-chunk-choice", "after": 2, "text": "one two three"}, False, "one two "),
    "cut": ({"do": "cut-clean", "after": 2, "text": "one two three", "reasoning": False}, False, "one two "),
    "finish_error": ("200-finish-error", False, ""),
    "no_choices": ("200-no-choices", False, ""),
    "empty": ("200-empty", False, ""),
    "only_thoughts": ("200-thoughts-only", False, ""),
    "spent": ("200-length-thinking", False, ""),
    "refusal": ({"do": "refusal", **QUIET}, False, ""),
    "moderated": ("200-filtered", False, ""),
    "calls_missing": ("200-tool-calls-nothing", True, ""),
    "not_called": ({"do": "ok", "text": "no, I will not", **QUIET}, True, "no, I will not"),
    "unknown_tool": ({"do": "tool-unknown", **QUIET}, True, "a_tool_that_was_not_offered"),
    "bad_arguments": ({"do": "tool-malformed", **QUIET}, True, "add"),
    "wrong_arguments": ({"do": "wrong-schema", **QUIET}, True, "add"),
    "repeated": ({"do": "tool-repeated", **QUIET}, True, "add"),
}
# What a stream's caller has already seen when the row is found.
SEEN = {"only_thoughts", "spent", "cut", "error", "unknown_tool", "bad_arguments", "wrong_arguments", "repeated"}


pytestmark = pytest.mark.one_simulator


def _bound(sim: Simulator, *, tools: bool, row: str = "", **kwargs: Any) -> Any:
    model = make(sim, TWENTY[:2], **kwargs)
    if not tools:
        return model
    return model.bind_tools([ADD], tool_choice="any" if row in ("not_called", "wrong_arguments") else None)


def _gist(message: Any) -> str:
    """The words of a message, or the first tool that it calls."""
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    return str(calls[0]["name"]) if calls else message.text


def test_every_row_is_played_here() -> None:
    """Each row that is found on the wire; the others have tests of their own."""
    assert set(ROWS) - set(PLAYED) == {"announced", "wrong_object"}
    assert all(POLICIES[Kind(row)].step == "next model" for row in ROWS if row != "error")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("row", PLAYED)
def test_each_row_moves_on(sim: Simulator, row: str, path: str) -> None:
    """The next model answers; on a stream whose first words the caller has seen, the call ends with what came."""
    behaviour, tools, _ = PLAYED[row]
    slowly = {"speed": 2000 if row == "spent" else 50} if row in SEEN else {}
    sim.script({TWENTY[0]: {"do": behaviour, **slowly} if isinstance(behaviour, str) else {**behaviour, **slowly}})
    model = _bound(sim, tools=tools, row=row)
    if row in SEEN and path in ("stream", "astream"):
        with pytest.raises(StreamInterrupted) as caught:
            drive(model, path, "Use add for 3 and 4")
        assert caught.value.attempts[-1].outcome == ("broken" if row == "error" else row)
        assert set(asked(sim)) == {TWENTY[0]}
        return
    told = drive(model, path, "Use add for 3 and 4")
    assert told.outcomes[0] == ("broken" if row == "error" else row)
    assert told.outcomes[-1] == "ok"
    assert told.meta["route"]["model"] == TWENTY[1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("row", PLAYED)
def test_each_switch_lets_its_row_pass(sim: Simulator, row: str, path: str) -> None:
    """With the row accepted, the first model's answer is delivered as it is, streamed or not."""
    behaviour, tools, gist = PLAYED[row]
    sim.script({TWENTY[0]: behaviour})
    told = drive(_bound(sim, tools=tools, row=row).bind(accept=[row]), path, "Use add for 3 and 4")
    assert told.outcomes == ["ok"]
    assert asked(sim) == [TWENTY[0]]
    assert _gist(told.message) == gist


@pytest.mark.parametrize("path", PATHS)
def test_accepted_arguments_that_are_no_object_stand_where_the_table_says(sim: Simulator, path: str) -> None:
    """LangChain reads the pieces of a stream as far as it can, and takes them for a call."""
    sim.script({TWENTY[0]: "tool-malformed"})
    told = drive(_bound(sim, tools=True, accept="bad_arguments"), path, "Use add for 3 and 4").message
    whole, read = ["add"], [("add", {"input": 3, "unit": "cel"})]
    if path in ("stream", "astream"):
        assert [(call["name"], call["args"]) for call in told.tool_calls] == read
    else:
        assert [call["name"] for call in told.invalid_tool_calls] == whole
        assert told.tool_calls == []


@pytest.mark.parametrize("path", PATHS)
def test_what_was_said_before_a_connection_broke_off_can_be_accepted(sim: Simulator, path: str) -> None:
    """It is cut like an answer whose framing is proper; where nothing was said, the next model is asked."""
    behaviour = {"do": "cut", "after": 2, "text": "one two three", **QUIET, "speed": 50}
    sim.script({TWENTY[0]: {**behaviour, "after": 0}, TWENTY[1]: behaviour})
    told = drive(make(sim, TWENTY[:2], accept="cut"), path)
    assert told.outcomes == ["cut", "ok"]
    assert told.text == "one two "


def test_words_in_place_of_announced_calls_are_an_answer_unless_switched_off(sim: Simulator) -> None:
    """Recorded: the words were the answer. `accept={"announced": False}` asks the next model."""
    sim.script({TWENTY[0]: "200-tool-calls-missing"})
    assert drive(_bound(sim, tools=True), "invoke").outcomes == ["ok"]
    model = _bound(sim, tools=True, accept={"announced": False})
    assert drive(model, "invoke").outcomes == ["announced", "ok"]


def test_a_calls_accept_stands_in_place_of_the_models(sim: Simulator) -> None:
    """As other parameters do."""
    sim.script({TWENTY[0]: "200-empty"})
    model = make(sim, TWENTY[:2], accept="empty")
    assert model.invoke("hi").text == ""
    assert drive(model, "invoke", accept=set()).outcomes == ["empty", "ok"]


def test_an_error_that_is_the_accounts_is_never_let_through(sim: Simulator) -> None:
    """A spent day, told in a success, stays one; a provider's full pool can be accepted."""
    message = "Rate limit exceeded: free-models-per-day"
    sim.script({"*": {"do": "200-error", "code": 429, "message": message}})
    with pytest.raises(AllModelsFailed, match="quota"):
        make(sim, accept={"error", "empty"}).invoke("hi")


@pytest.mark.parametrize("wrong", ["emtpy", {"refusals": True}, ["empty", 3], ("empty", "nonsense"), 5], ids=str)
def test_an_unknown_row_is_an_error_at_once(wrong: Any) -> None:
    """With the nearest right word, at construction and at a call."""
    with pytest.raises(ConfigurationError, match="is no row"):
        make_nothing(accept=wrong)
    with pytest.raises(ConfigurationError, match="is no row"):
        make_nothing().invoke("hi", accept=wrong)
    if wrong == "emtpy":
        with pytest.raises(ConfigurationError, match="did you mean 'empty'"):
            make_nothing(accept=wrong)


def make_nothing(**kwargs: Any) -> Any:
    from langchain_openrouter_free import ChatOpenRouterFree  # noqa: PLC0415 - of this test alone

    return ChatOpenRouterFree(models=TWENTY[:1], api_key="k", base_url="http://127.0.0.1:9/api/v1", **kwargs)


# -- the caller's own check


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("no", [False, "it is too short"])
def test_a_check_of_the_callers_own_moves_on(sim: Simulator, no: Any, path: str) -> None:
    """False, or a reason, asks the next model; a stream is held until the check has said yes."""
    seen: list[AIMessage] = []

    def check(message: AIMessage) -> Any:
        seen.append(message)
        return no if message.response_metadata["model_name"] == TWENTY[0] else True

    told = drive(make(sim, TWENTY[:2], accept=check), path)
    assert told.outcomes == ["unwanted", "ok"]
    assert told.meta["route"]["attempts"][0]["reason"] == (no or POLICIES[Kind.UNWANTED].means)
    assert told.text == seen[-1].text
    assert TWENTY[0] not in told.text
    assert told.message.additional_kwargs == seen[-1].additional_kwargs


@pytest.mark.parametrize("path", PATHS)
def test_what_a_check_raises_reaches_the_caller_as_it_is(sim: Simulator, path: str) -> None:
    """It is no failure of the model: nobody else is asked, and the model does not rest."""

    def check(message: AIMessage) -> bool:
        raise LookupError(message.text)

    model = make(sim, TWENTY[:2])
    with pytest.raises(LookupError, match=TWENTY[0]):
        drive(model, path, accept=[check, "empty"])
    assert drive(model, path).outcomes == ["ok"]
    assert asked(sim) == [TWENTY[0]] * 2


@pytest.mark.parametrize("silent", [None, ""])
def test_a_check_without_a_word_is_a_yes(sim: Simulator, silent: Any) -> None:
    """A function that only complains need not say True."""
    assert drive(make(sim, accept=lambda _: silent), "invoke").outcomes == ["ok"]


def test_a_check_that_must_be_awaited_is_refused() -> None:
    """It could not be asked on the synchronous paths."""

    async def check(_: AIMessage) -> bool:
        return await asyncio.sleep(0, True)

    with pytest.raises(ConfigurationError, match="plain function"):
        make_nothing(accept=check)


# -- what is held back


@pytest.mark.parametrize("path", ["stream", "astream"])
def test_a_streamed_call_of_no_use_is_followed_by_another_where_that_is_wanted(sim: Simulator, path: str) -> None:
    """Its pieces were shown, so the caller must have said that he can discard them."""
    sim.script({TWENTY[0]: {"do": "tool-malformed", **QUIET}, TWENTY[1]: {"do": "ok", "reasoning": "I add."}})
    told = drive(_bound(sim, tools=True, on_interrupt="restart"), path, "Use add for 3 and 4")
    assert told.outcomes == ["bad_arguments", "ok"]
    assert [(call["name"], call["args"]) for call in told.message.tool_calls] == [("add", {"a": 3, "b": 4})]
    assert told.message.additional_kwargs["reasoning"] == "I add."
    assert len(told.pieces) > 3


# -- calls without end


def _rounds(count: int, arguments: dict[str, Any] | None = None) -> list[Any]:
    messages: list[Any] = [HumanMessage("Use add for 3 and 4")]
    for index in range(count):
        args = arguments if arguments is not None else {"b": 4, "a": 3}
        call = {"name": "add", "args": args, "id": f"c{index}"}
        messages += [AIMessage("", tool_calls=[call]), ToolMessage("busy", tool_call_id=f"c{index}")]
    return messages


@pytest.mark.parametrize("path", PATHS)
def test_a_call_that_was_answered_again_and_again_is_not_made_again(sim: Simulator, path: str) -> None:
    """After five answers in a row to the same call, the next model is asked what to do; four may be polling."""
    sim.script({TWENTY[0]: {"do": "tool-again", **QUIET}})
    model = _bound(sim, tools=True, sticky=False, on_interrupt="restart")
    assert drive(model, path, _rounds(MOST_REPEATS - 1)).outcomes == ["ok"]
    told = drive(model, path, _rounds(MOST_REPEATS))
    assert told.outcomes == ["repeated", "ok"]
    assert not told.message.tool_calls
    assert drive(model, path, _rounds(MOST_REPEATS, {"a": 1, "b": 1})).outcomes == ["ok"]


def test_a_word_of_the_user_begins_it_anew() -> None:
    """So does an answer without the call, or with others only."""
    call, another = ({"function": {"name": "f", "arguments": text}} for text in ("{}", '{"x":1}'))
    turn: list[dict[str, Any]] = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool"}]
    other: list[dict[str, Any]] = [{"role": "assistant", "tool_calls": [another]}]
    assert looping(turn * 5) == {("f", "{}")}
    assert looping([*turn * 2, {"role": "user"}, *turn * 4]) == frozenset()
    assert looping([*turn * 2, *other, *turn * 4]) == frozenset()
    assert looping([]) == frozenset()


# -- tolerated where the rest makes sense


TOLERATED: dict[str, dict[str, Any]] = {
    "invalid UTF-8": {"do": "200-bad-utf8"},
    "one bad line": {"do": "bad-sse-line"},
    "one bad event": {"do": "bad-sse-line", "line": "data: {oops"},
    "a doubled finish": {"do": "ok", "doubled_finish": True},
    "CRLF": {"do": "ok", "crlf": True},
    "joined JSON": {"do": "joined"},
    "no index": {"do": "no-index"},
    "no finish": {"do": "no-finish"},
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("oddity", TOLERATED)
def test_what_is_tolerated(sim: Simulator, oddity: str, path: str) -> None:
    """An odd dialect is no reason to ask another model: the same words, and the same call."""
    sim.script({TWENTY[0]: TOLERATED[oddity]})
    model = _bound(sim, tools=True)
    told = drive(model, path, "tell me a word")
    assert told.outcomes == ["ok"]
    assert told.text.startswith("a sign that is none" if "UTF" in oddity else f"{TWENTY[0]} answers: you said")
    called = drive(model, path, "Use add for 3 and 4")
    assert called.outcomes == ["ok"]
    if "UTF" not in oddity:
        assert [call["args"] for call in called.message.tool_calls] == [{"a": 3, "b": 4}]


# -- judging, by itself


def _said(*calls: tuple[str, str], **facts: Any) -> Completion:
    return Completion(tool_calls=[ToolDelta(i, f"c{i}", *call) for i, call in enumerate(calls)], **facts)


OFFERED = terms_of({"tools": [ADD]}, [], frozenset(), whole=False)
FORCED = terms_of({"tools": [ADD], "tool_choice": {"function": {"name": "add"}}}, [], frozenset(), whole=False)
ANY = terms_of({"tools": [ADD], "tool_choice": "required"}, [], frozenset(), whole=False)
NONE = terms_of({"tools": [ADD], "tool_choice": "none"}, [], frozenset(), whole=False)
BUILT_IN = terms_of({"tools": [ADD, {"type": "openrouter:web_search"}]}, [], frozenset(), whole=False)
GOOD = ("add", '{"a": 1, "b": 2}')


@pytest.mark.parametrize(
    ("said", "terms", "kind"),
    [
        (_said(GOOD), OFFERED, "ok"),
        (_said(GOOD, GOOD), OFFERED, "ok"),
        (_said(*[GOOD] * 5), OFFERED, "repeated"),
        (_said(*[("add", f'{{"a": {n}, "b": 2}}') for n in range(9)]), OFFERED, "ok"),
        (_said(*[("add", f'{{"a": {n}, "b": 2}}') for n in range(256)]), OFFERED, "ok"),
        (_said(*[("add", f'{{"a": {n}, "b": 2}}') for n in range(257)]), OFFERED, "repeated"),
        (_said(("add", '{"b": 2}')), OFFERED, "wrong_arguments"),
        (_said(("add", '{"a": "1", "b": 2}')), OFFERED, "wrong_arguments"),
        (_said(("add", '{"a": 1, "b": 2, "c": 3}')), OFFERED, "ok"),
        (_said(("add", "")), OFFERED, "wrong_arguments"),
        (_said(("add", "[" * 9999)), OFFERED, "bad_arguments"),
        (_said(("sub", "{}")), OFFERED, "unknown_tool"),
        (_said(("search", "{}")), BUILT_IN, "ok"),
        (_said(GOOD), NONE, "unknown_tool"),
        (_said(GOOD), terms_of({}, [], frozenset(), whole=False), "unknown_tool"),
        (_said(text="4"), NONE, "ok"),
        (_said(text="4"), OFFERED, "ok"),
        (_said(text="4"), ANY, "not_called"),
        (_said(text="4"), FORCED, "not_called"),
        (_said(GOOD), FORCED, "ok"),
        (_said(GOOD, text="I add."), ANY, "ok"),
        (_said(refusal="no"), ANY, "refusal"),
        (_said(text="half", refusal="no"), OFFERED, "ok"),
        (_said(finish_reason="length", reasoning="hm"), OFFERED, "spent"),
        (_said(finish_reason="length", text="half"), OFFERED, "ok"),
        (_said(text="half", native_finish_reason="SAFETY", finish_reason="stop"), OFFERED, "moderated"),
        (_said(text="words", finish_reason="tool_calls"), OFFERED, "announced"),
        (_said(reasoning=" "), OFFERED, "empty"),
        (_said(choice=False), OFFERED, "no_choices"),
    ],
)
def test_the_table_of_answers(said: Completion, terms: Terms, kind: str) -> None:
    """Each row by an example, and what looks like one and is none."""
    assert judge(said, terms).kind == kind


def test_an_unfinished_answer_is_cut_first() -> None:
    """Half a call's arguments are not the model's fault."""
    assert judge(_said(("add", '{"a')), OFFERED, complete=False).kind == "cut"


WEIRD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SCHEMA_WORDS = st.sampled_from(
    ["type", "properties", "required", "items", "anyOf", "$ref", "enum", "pattern", "minimum"]
)
SCHEMAS = st.dictionaries(SCHEMA_WORDS, WEIRD | st.sampled_from(["object", "#", "#/x", "("]), max_size=5)


@given(_streams(lawful=False, broken=True), WEIRD, WEIRD, st.booleans(), st.sets(st.sampled_from(sorted(ROWS))))
def test_judging_never_raises(said: list[Any], schema: Any, history: Any, complete: bool, accept: set[str]) -> None:  # noqa: FBT001
    """Whatever was said, by whatever schema, and whatever is accepted."""
    assembly = Assembly()
    for delta in said:
        assembly.add(delta)
    tools = {call.name: schema for delta in said for call in delta.tool_calls if call.name}
    messages = [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": history}}]}] * 6
    terms = Terms(tools, None, looping(messages), frozenset(accept))
    found = judge(assembly.completion(), terms, complete=complete)
    assert isinstance(found, Verdict)
    assert found.kind not in accept


@given(WEIRD, SCHEMAS)
def test_checking_a_schema_never_raises(value: Any, schema: Any) -> None:
    """With the package and without it, whatever stands in the schema."""
    assert isinstance(misfit(value, schema), str | None)
    assert isinstance(next(schemas._by_hand(1, {}, {}, "", 0), None), str | None)


FITS: list[tuple[Any, dict[str, Any], bool]] = [
    ({"a": 1}, ADD["function"]["parameters"], False),  # type: ignore[index]
    ({"a": 1, "b": 2.0}, ADD["function"]["parameters"], True),  # type: ignore[index]
    ({"a": 1, "b": 2.5}, ADD["function"]["parameters"], False),  # type: ignore[index]
    ({"a": 1, "b": True}, ADD["function"]["parameters"], False),  # type: ignore[index]
    ({"x": {"y": ["a"]}}, {"$ref": "#/$defs/X", "$defs": {"X": {"properties": {"x": {"required": ["z"]}}}}}, False),
    ({"x": None}, {"properties": {"x": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, True),
    ({"x": 3}, {"properties": {"x": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, False),
    ({"x": "c"}, {"properties": {"x": {"enum": ["a", "b"]}}}, False),
    ([1, "b"], {"type": "array", "items": {"type": ["integer", "string"]}}, True),
    ([1, []], {"type": "array", "items": {"type": ["integer", "string"]}}, False),
    ({}, {"$ref": "http://elsewhere.test/schema.json"}, True),
    ({}, {"type": "objekt"}, True),
]


@pytest.mark.parametrize("installed", [True, False], ids=["with jsonschema", "without it"])
@pytest.mark.parametrize(("value", "schema", "fits"), FITS)
def test_a_value_fits_a_schema(
    monkeypatch: pytest.MonkeyPatch,
    value: Any,
    schema: Any,
    fits: bool,  # noqa: FBT001
    installed: bool,  # noqa: FBT001
) -> None:
    """Required keys, simple types, unions, enumerations, references; what cannot be checked fits."""
    monkeypatch.setattr(schemas, "_package", lambda: installed)
    assert (misfit(value, schema) is None) == fits


# -- error objects, wherever they stand

ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "in a body, or a chunk alone": ({"do": "200-error"}, ""),
    "in a chunk without choices": ({"do": "error-chunk-after", "after": 2, "text": "one two three"}, "one two "),
    "in a chunk with a choice": ({"do": "error-chunk-choice", "after": 2, "text": "one two three"}, "one two "),
    "inside a choice": ({"do": "200-choice-error", "after": 2, "text": "one two three"}, "one two "),
}


@pytest.mark.parametrize("wire", ["stream", "plain"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("place", ERRORS)
def test_an_error_object_is_found_and_can_be_accepted(sim: Simulator, place: str, path: str, wire: str) -> None:
    """In a body, in a chunk with or without a choice, inside a choice; what was said before it is delivered then."""
    behaviour, words = ERRORS[place]
    sim.script({TWENTY[0]: behaviour})
    told = drive(make(sim, TWENTY[:2], wire=wire, accept="error"), path)
    assert told.outcomes == ["ok"]
    assert asked(sim) == [TWENTY[0]]
    if wire == "plain" and "stream" not in path:
        # One body: it holds the whole text beside the error of its choice, or the error alone.
        words = "" if "without" in place or "alone" in place else "one two three"
    assert told.text == words
    sim.script({TWENTY[0]: behaviour})
    assert drive(make(sim, TWENTY[:2], wire=wire), "invoke").outcomes == ["broken", "ok"]
