"""What a refusal says that a model cannot do: the wordings, and what they teach of which request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_table import NOW, err, upstream

from langchain_openrouter_free.judging.refusals import classify
from langchain_openrouter_free.judging.traits import FORMS, INPUTS, NEEDED, NOTHING, SPARED, VOCABULARY
from langchain_openrouter_free.judging.verdicts import Kind, Verdict, verdict
from langchain_openrouter_free.protocol.wire import Completion, ToolDelta
from langchain_openrouter_free.route.candidate import Candidate, Road
from langchain_openrouter_free.route.fitness import Needs, forms_of, needs_of
from langchain_openrouter_free.route.lessons import lesson_of

CASES = Path(__file__).parents[2] / "shared" / "openrouter" / "wire" / "cases.jsonl"
IMAGE, AUDIO, VIDEO, FILE = (INPUTS[kind] for kind in ("image", "audio", "video", "file"))


def step(message: str, name: str) -> Any:
    return err(404, message, failed_routing_step=name)


# Body -> what it names. The wordings are facts; each stands for a sort of its own.
WORDS: list[tuple[Any, set[str]]] = [
    (err(404, 'No endpoints found that support tool use. Try disabling "x". To learn more'), {"tools"}),
    (
        err(404, "No endpoints found that support the provided 'tool_choice' value. To learn more"),
        {"forced tool choice"},
    ),
    (
        step("No endpoints found that support the provided 'tool_choice' value.", "Filter by Tool Compatibility"),
        {"forced tool choice"},
    ),
    (step("No endpoints found for this request.", "Filter by Tool Compatibility"), {"tools", "forced tool choice"}),
    (
        upstream(400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        {"tools"},
    ),
    (upstream(400, '{"message":"`tool_choice` is not supported by this model"}'), {"forced tool choice"}),
    (upstream(400, "tool_choice 'required' is not supported"), {"forced tool choice"}),
    (upstream(400, "x-reasoner does not support this tool_choice"), {"forced tool choice"}),
    (upstream(400, "Thinking may not be enabled when tool_choice forces tool use."), {"forced tool choice"}),
    (
        upstream(400, "The tool_choice parameter does not support being set to required or object in thinking mode"),
        {"forced tool choice"},
    ),
    (
        upstream(
            422,
            "[{'type': 'literal_error', 'loc': ('body', 'tool_choice'), 'msg': \"Input should be 'none' or 'auto'\"}]",
        ),
        {"forced tool choice"},
    ),
    (
        upstream(
            400,
            '{"message":"Invalid value: \'required\'. Supported values are: \'none\' and \'auto\'.","param":"tool_choice"}',
        ),
        {"forced tool choice"},
    ),
    (
        upstream(400, "'response_format.type' : value is not one of the allowed values ['text','json_object']"),
        {"structured output"},
    ),
    (upstream(400, "Function call is missing a thought_signature in functionCall parts"), {"its own reasoning"}),
    (upstream(400, "messages[1].content must be a string"), {"content parts"}),
    (upstream(400, "this model does not support tools"), {"tools"}),
    (upstream(400, "registry.x.ai/library/gemma does not support tools"), {"tools"}),
    (upstream(400, "Function calling is not enabled for this model"), {"tools"}),
    (upstream(400, "tool calls are not supported"), {"tools"}),
    (
        upstream(400, "`parallel_tool_calls` is not supported with this model"),
        {"parallel tool calls", "several tool calls in a message"},
    ),
    (
        upstream(400, "This model only supports single tool-calls at once!"),
        {"parallel tool calls", "several tool calls in a message"},
    ),
    (
        upstream(400, "This response_format type is unavailable. response_format is not supported"),
        {"structured output", "JSON mode"},
    ),
    (upstream(400, "model does not support structured outputs"), {"structured output"}),
    (upstream(400, "JSON mode is not enabled for this model"), {"JSON mode"}),
    (upstream(400, "json_schema is not supported"), {"structured output"}),
    (upstream(400, "Unsupported parameter: 'stop' is not supported with this model."), {"stop"}),
    (upstream(400, "logprobs are not supported with reasoning models."), {"logprobs"}),
    (upstream(400, "Unsupported parameter: 'seed'"), {"seed"}),
    (upstream(400, "temperature is not supported with this model"), {"temperature"}),
    (upstream(400, "repetition_penalty is currently not supported"), {"repetition_penalty"}),
    (step("No endpoints found that support image input", "Filter by Image Support"), {IMAGE}),
    (err(404, "No endpoints found that support image input"), {IMAGE}),
    (step("x", "Filter by Image Support"), {IMAGE}),
    (upstream(400, "x/y is not a multimodal model"), {IMAGE}),
    (upstream(400, "Failed to deserialize the JSON body: unknown variant `image_url`, expected `text`"), {IMAGE}),
    (upstream(400, "At most 0 image(s) may be provided in one prompt."), {IMAGE}),
    (err(404, "No endpoints found that support input audio"), {AUDIO}),
    (err(404, "No endpoints found that support audio input"), {AUDIO}),
    (err(404, "No endpoints found that support video input"), {VIDEO}),
    (err(404, "No endpoints found that support file input"), {FILE}),
    (err(400, "Reasoning is mandatory for this endpoint and cannot be disabled."), {"reasoning off"}),
    (
        upstream(400, "Budget 0 is invalid. This model only works in thinking mode: thinking cannot be disabled"),
        {"reasoning off"},
    ),
    (upstream(400, "this model does not support reasoning"), {"reasoning"}),
    (upstream(400, '{"error":{"message":"Developer instruction is not enabled for models/x"}}'), {"system role"}),
    (upstream(400, "System role not supported"), {"system role"}),
    (upstream(400, "system messages are not supported by this model"), {"system role"}),
    (upstream(400, "Only user and assistant roles are supported!"), {"system role"}),
    (upstream(400, "Conversation roles must alternate user/assistant/user/assistant/..."), {"message order"}),
    (
        upstream(400, "After the optional system message, conversation roles must alternate user/assistant"),
        {"message order"},
    ),
    (upstream(400, "Unexpected role 'tool' after role 'system'"), {"message order"}),
    (
        upstream(400, "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"),
        {"message order"},
    ),
    (upstream(400, "System message must be at the beginning."), {"message order"}),
    (upstream(400, "Please ensure that function call turn comes immediately after a user turn"), {"message order"}),
    (
        upstream(
            400, '{"message":"Duplicate tool call id in assistant message","type":"invalid_request_message_order"}'
        ),
        {"tool-call ids"},
    ),
    (upstream(400, "Tool call id was call_12 but must be a-z, A-Z, 0-9, with a length of 9."), {"tool-call ids"}),
    (upstream(400, "Tool call IDs should be alphanumeric strings with length 9!"), {"tool-call ids"}),
    (
        upstream(400, "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"),
        {"tool-call ids"},
    ),
]
# What is refused here is no feature of the model's, or nobody can tell which.
SILENT: list[Any] = [
    err(404, "No endpoints found that can handle the requested parameters."),
    step("No endpoints found that can handle the requested parameters.", "Filter by Parameters"),
    err(404, "No allowed providers are available for the selected model."),
    err(404, "No endpoints found that satisfy the max price for this request"),
    upstream(400, 'failed to translate request: folding the request grammar: tool "a" parameter schema'),
    upstream(400, "Invalid schema for response_format 'x': 'foo' is not valid under any of the given schemas."),
    upstream(400, "'oneOf' is not supported in response_format schema"),
    upstream(400, "tools[0].function.parameters: additionalProperties is not supported"),
    upstream(
        400, "Invalid value for 'function_call': no function named 'x' was specified in the 'functions' parameter."
    ),
    upstream(400, "The request could not be processed."),
    upstream(400, "The image could not be read: unsupported format"),
    upstream(429, "tools are not supported"),
    upstream(400, "Invalid value: 'x'. Supported values are: 'none', 'auto', and 'required' for tool_choice."),
    upstream(400, "tool_choice: function 'add' was not found in tools"),
    upstream(400, "response_format.type must be one of 'text', 'json_object', 'json_schema'"),
    upstream(500, "image input is not supported"),
    err(404, "No endpoints found for a/tools-not-supported:free."),
    err(404, "No endpoints found matching your data policy"),
    err(400, "a/b is not a valid model ID"),
]


def said(body: Any) -> str:
    """What a body says, as the name of a test."""
    error = body["error"]
    return str(error.get("metadata", {}).get("raw") or error["message"])[:70]


SAID = [said(body) for body, _ in WORDS]


def judged(body: Any) -> Verdict:
    code = body["error"]["code"]
    return classify(code, {}, json.dumps(body), now=NOW)


@pytest.mark.parametrize(("body", "names"), WORDS, ids=SAID)
def test_what_a_refusal_names(body: Any, names: set[str]) -> None:
    assert judged(body).names == names


@pytest.mark.parametrize("body", SILENT, ids=said)
def test_what_names_nothing(body: Any) -> None:
    assert judged(body).names == frozenset()


def test_the_table_has_all_names_but_the_samplers() -> None:
    told = frozenset().union(*(names for _, names in WORDS))
    assert told >= NEEDED | FORMS
    assert told <= VOCABULARY


@given(
    st.text()
    | st.builds(
        "{} {} {}".format, *[st.sampled_from(["tools", "not supported", "No endpoints found that", "role", ""])] * 3
    )
)
def test_whatever_a_provider_says(raw: str) -> None:
    assert judged(upstream(400, raw)).names <= VOCABULARY


EVERYTHING = Needs(
    features=frozenset({"tools", "forced tool choice", "structured output", "JSON mode", "stop", "logprobs"}),
    inputs=frozenset(INPUTS),
    no_reasoning=True,
    spared=frozenset({"seed", "temperature", "repetition_penalty", "parallel_tool_calls", "reasoning"}),
    forms=FORMS,
)
MODEL = Candidate("a/b:free")


@pytest.mark.parametrize(("body", "names"), WORDS, ids=SAID)
def test_only_what_was_used_is_learned(body: Any, names: set[str]) -> None:
    """Nothing of a request that used nothing; what is named, or the most special of it, of one that used all."""
    how = judged(body)
    assert lesson_of(Needs(), MODEL, how, Completion()) == NOTHING
    learned = lesson_of(EVERYTHING, MODEL, how, Completion()).refused
    assert learned == (names - {"tools"} if "forced tool choice" in names else names)
    for name in names - SPARED - FORMS:
        without = EVERYTHING.needed - {name}
        assert name not in how.names & without


def test_what_is_left_out_was_not_refused() -> None:
    """A parameter that the model doesn't list is not sent, so it cannot be what was refused."""
    how, needs = judged(upstream(400, "Unsupported parameter: 'seed'")), Needs(spared=frozenset({"seed"}))
    assert lesson_of(needs, Candidate("a/b:free", takes=frozenset({"tools"})), how, Completion()) == NOTHING
    assert lesson_of(needs, Candidate("a/b:free", takes=frozenset({"seed"})), how, Completion()).refused == {"seed"}
    assert lesson_of(needs, Candidate("a/b:free", refused=frozenset({"seed"})), how, Completion()) == NOTHING


def test_what_other_providers_would_say_is_not_known() -> None:
    """Where preferences leave providers out, the service's no is of the rest of them; a provider's own counts."""
    needs = needs_of({"tools": [{}]}, frozenset(), 5, narrowed=True)
    routed, own = (
        judged(err(404, "No endpoints found that support tool use")),
        judged(upstream(400, "tools are not supported")),
    )
    assert lesson_of(needs, MODEL, routed, Completion()) == NOTHING
    assert lesson_of(needs, MODEL, own, Completion()).refused == {"tools"}
    assert lesson_of(needs, MODEL, verdict(Kind.POLICY), Completion()) == NOTHING


def test_another_packages_model_teaches_nothing() -> None:
    other = Candidate("other", paid=True, road=Road.EXTERNAL)
    assert lesson_of(EVERYTHING, other, judged(upstream(400, "tools are not supported")), Completion()) == NOTHING


CALL = ToolDelta(0, "c1", "add", "{}")
WAYS: list[tuple[Completion, set[str]]] = [
    (Completion(text="hi"), set()),
    (Completion(tool_calls=[CALL]), {"tools", "forced tool choice"}),
    (Completion(text='{"a": 1}'), {"structured output", "JSON mode"}),
    (Completion(text=" [1, 2]\n"), {"structured output", "JSON mode"}),
    (Completion(text='```json\n{"a": 1}\n```'), set()),
    (Completion(text='"a"'), set()),
    (Completion(text="[" * 100_000), set()),
]


@pytest.mark.parametrize(("said", "worked"), WAYS, ids=[way.text[:20] for way, _ in WAYS])
def test_which_ways_have_worked(said: Completion, worked: set[str]) -> None:
    lesson = lesson_of(EVERYTHING, MODEL, verdict(Kind.OK), said)
    assert lesson.worked == worked
    assert lesson_of(Needs(), MODEL, verdict(Kind.OK), said).worked == frozenset()


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": True}, {"prompt_tokens": "9"}, {"prompt_tokens": 9}]
)
def test_the_models_own_count(usage: Any) -> None:
    said = Completion(text="hi", usage=usage)
    told = (usage or {}).get("prompt_tokens")
    assert lesson_of(Needs(prompt_tokens=10), MODEL, verdict(Kind.OK), said).counted == (9 if told == 9 else 0)
    assert (
        lesson_of(Needs(frozenset(), frozenset({"image"}), prompt_tokens=10), MODEL, verdict(Kind.OK), said).estimate
        == 0
    )


SIZES: list[tuple[Any, tuple[int | None, int | None]]] = [
    (
        err(
            400,
            "This endpoint's maximum context length is 32768 tokens. However, you requested about 46493 tokens (13725 of text input, 32768 in the output).",
        ),
        (32768, 13725),
    ),
    (err(400, "prompt is too long: 20 tokens > 10 maximum"), (10, 20)),
    (err(400, "prompt is too long:\n 1284668 tokens > 1,000,000 maximum"), (1_000_000, 1_284_668)),
    (
        upstream(
            400, "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens."
        ),
        (4096, 5000),
    ),
    (
        upstream(
            400,
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8000 in the messages, 1000 in the completion).",
        ),
        (8192, 8000),
    ),
    (err(400, "Input is too long"), (None, None)),
    (err(400, "maximum context length is 99999999999999999999 tokens"), (None, None)),
    (err(429, "context length is 5 tokens"), (None, None)),
]


@pytest.mark.parametrize(("body", "told"), SIZES, ids=[said(body) for body, _ in SIZES])
def test_what_a_refusal_for_length_tells(body: Any, told: tuple[int | None, int | None]) -> None:
    how = judged(body)
    assert (how.context, how.counted) == told
    lesson = lesson_of(Needs(prompt_tokens=700), MODEL, how, Completion())
    assert (lesson == NOTHING) == (told == (None, None))
    assert (lesson.context, lesson.counted) == tuple(number or 0 for number in told)


def test_words_that_are_known_are_no_doubt() -> None:
    """Two models that cannot see do not make a request wrong for all."""
    assert judged(upstream(400, "unknown variant `image_url`, expected `text`")).kind is Kind.INCOMPATIBLE
    assert judged(upstream(400, "The request could not be processed.")).kind is Kind.DOUBTFUL


def test_the_forms_of_a_history() -> None:
    user, system = {"role": "user", "content": "hi"}, {"role": "system", "content": "x"}
    one, two = ({"role": "assistant", "tool_calls": [{"id": str(n)} for n in range(count)]} for count in (1, 2))
    assert forms_of([user]) == frozenset()
    assert forms_of([system, user]) == {"system role", "message order"}
    assert forms_of([user, one, {"role": "tool"}]) == {"tool-call ids", "message order"}
    assert forms_of([user, two]) == {"tool-call ids", "message order", "several tool calls in a message"}
