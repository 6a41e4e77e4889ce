"""LangChain messages to request dicts: as ChatOpenAI makes them, and where we differ on purpose."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from chat_openai import chat_openai
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_openrouter_free.protocol.sizes import prompt_bytes
from langchain_openrouter_free.words.messages import needs, to_wire

PNG = "iVBORw0KGgo="
CALL = {"name": "add", "args": {"a": 1, "ключ": "ü"}, "id": "c1", "type": "tool_call"}
BROKEN = {"name": "add", "args": '{"a": 1', "id": "c2", "error": "cut", "type": "invalid_tool_call"}
RAW_CALL = {"id": "c3", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": 0}

CORPUS: dict[str, list[BaseMessage]] = {
    "human": [HumanMessage("Grüß Gott")],
    "human-empty": [HumanMessage("")],
    "human-named": [HumanMessage("hi", name="ann")],
    "human-named-in-kwargs": [HumanMessage("hi", additional_kwargs={"name": "ann"})],
    "human-chunk": [HumanMessageChunk(content="hi")],
    "human-text-blocks": [HumanMessage([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])],
    "human-cache-control": [HumanMessage([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}])],
    "human-tool-use-and-thinking": [
        HumanMessage([{"type": "tool_use", "id": "1"}, {"type": "thinking"}, {"type": "text", "text": "a"}])
    ],
    "system": [SystemMessage("be brief"), HumanMessage("hi")],
    "system-blocks": [SystemMessage([{"type": "text", "text": "be brief"}])],
    "developer": [SystemMessage("be brief", additional_kwargs={"__openai_role__": "developer"})],
    "chat-user": [ChatMessage(role="user", content="hi")],
    "chat-assistant": [ChatMessage(role="assistant", content="hi", name="bob")],
    "chat-system": [ChatMessage(role="system", content="hi")],
    "chat-developer": [ChatMessage(role="developer", content="hi")],
    "function": [FunctionMessage(name="f", content="4")],
    "ai": [AIMessage("hello")],
    "ai-named": [AIMessage("hello", name="bob")],
    "ai-chunk": [AIMessageChunk(content="hello")],
    "ai-chunk-tool": [
        AIMessageChunk(content="", tool_call_chunks=[{"name": "f", "args": "{}", "id": "1", "index": 0}])
    ],
    "ai-tool-call": [AIMessage("", tool_calls=[CALL]), ToolMessage("2", tool_call_id="c1")],
    "ai-tool-call-and-text": [AIMessage("let me see", tool_calls=[CALL])],
    "ai-tool-call-and-empty-list": [AIMessage([], tool_calls=[CALL])],
    "ai-invalid-call": [AIMessage("", invalid_tool_calls=[BROKEN]), ToolMessage("bad", tool_call_id="c2")],
    "ai-both-calls": [AIMessage("", tool_calls=[CALL], invalid_tool_calls=[BROKEN])],
    "ai-raw-calls": [AIMessage("", additional_kwargs={"tool_calls": [RAW_CALL]})],
    "ai-raw-calls-only": [
        AIMessage.model_construct(
            content="", additional_kwargs={"tool_calls": [RAW_CALL]}, tool_calls=[], invalid_tool_calls=[]
        )
    ],
    "ai-function-call": [AIMessage("", additional_kwargs={"function_call": {"name": "f", "arguments": "{}"}})],
    "ai-text-blocks": [AIMessage([{"type": "text", "text": "a", "annotations": [1], "index": "lc_txt_0", "id": "x"}])],
    "ai-reasoning-block": [AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "a"}])],
    "ai-thinking-block": [
        AIMessage([{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "a"}])
    ],
    "ai-v1": [
        AIMessage(
            content_blocks=[
                {"type": "reasoning", "reasoning": "hm"},
                {"type": "text", "text": "a"},
                {"type": "tool_call", "name": "add", "args": {"a": 1}, "id": "c1"},
            ],
            response_metadata={"output_version": "v1"},
        )
    ],
    "ai-invalid-tool-call-block": [
        AIMessage([{"type": "text", "text": "a"}, {"type": "invalid_tool_call", "id": "1"}])
    ],
    "ai-tool-use-block": [
        AIMessage(
            [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "c1", "name": "add", "input": {}}],
            tool_calls=[CALL],
        )
    ],
    "ai-only-tool-use-block": [AIMessage([{"type": "tool_use", "id": "c1"}], tool_calls=[CALL])],
    "ai-function-call-block": [AIMessage([{"type": "text", "text": "a"}, {"type": "function_call", "call_id": "c1"}])],
    "ai-refusal-block": [AIMessage([{"type": "refusal", "refusal": "no"}])],
    "ai-audio-in-kwargs": [AIMessage("", additional_kwargs={"audio": {"id": "a1", "data": "xx"}})],
    "ai-audio-without-id": [AIMessage("", additional_kwargs={"audio": {"data": "xx"}})],
    "ai-audio-block": [AIMessage([{"type": "audio", "id": "a1"}])],
    "ai-openrouter-kwargs": [AIMessage("a", additional_kwargs={"reasoning": "hm", "reasoning_content": "hm"})],
    "tool": [ToolMessage("4", tool_call_id="c1")],
    "tool-named": [ToolMessage("4", tool_call_id="c1", name="add")],
    "tool-error": [ToolMessage("boom", tool_call_id="c1", status="error")],
    "tool-blocks": [
        ToolMessage([{"type": "text", "text": "4", "id": "x", "index": 0}], tool_call_id="c1"),
    ],
    "tool-image": [ToolMessage([{"type": "image", "base64": PNG, "mime_type": "image/png"}], tool_call_id="c1")],
    "tool-artifact": [ToolMessage("4", tool_call_id="c1", artifact={"x": 1})],
    "image-url": [HumanMessage([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}])],
    "image-url-detail": [
        HumanMessage([{"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}])
    ],
    "image-v1-url": [HumanMessage([{"type": "image", "url": "https://x/y.png"}])],
    "image-v1-base64": [HumanMessage([{"type": "image", "base64": PNG, "mime_type": "image/png"}])],
    "image-v0-url": [HumanMessage([{"type": "image", "source_type": "url", "url": "https://x/y.png"}])],
    "image-v0-base64": [
        HumanMessage([{"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"}])
    ],
    "image-anthropic-base64": [
        HumanMessage([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}])
    ],
    "image-anthropic-url": [HumanMessage([{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}])],
    "audio-native": [HumanMessage([{"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}])],
    "audio-v1": [HumanMessage([{"type": "audio", "base64": "UklG", "mime_type": "audio/wav"}])],
    "audio-v0": [HumanMessage([{"type": "audio", "source_type": "base64", "data": "UklG", "mime_type": "audio/wav"}])],
    "file-native": [HumanMessage([{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:x;base64,JVBE"}}])],
    "file-v1": [
        HumanMessage([{"type": "file", "base64": "JVBE", "mime_type": "application/pdf", "filename": "a.pdf"}])
    ],
    "file-v1-name-in-extras": [
        HumanMessage(
            [{"type": "file", "base64": "J", "mime_type": "a/b", "extras": {"filename": "a.pdf"}}],
        )
    ],
    "file-v0-name-in-metadata": [
        HumanMessage(
            [
                {
                    "type": "file",
                    "source_type": "base64",
                    "data": "J",
                    "mime_type": "a/b",
                    "metadata": {"filename": "a.pdf"},
                }
            ]
        )
    ],
    "file-v1-id": [HumanMessage([{"type": "file", "file_id": "f1"}])],
    "file-v1-id-and-url": [HumanMessage([{"type": "file", "file_id": "f1", "url": "https://x/y.pdf"}])],
    "file-v0-id": [HumanMessage([{"type": "file", "source_type": "id", "id": "f1"}])],
    "unknown-block": [HumanMessage([{"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}])],
    "block-without-type": [HumanMessage([{"hello": "world"}])],
    "conversation": [
        SystemMessage("be brief"),
        HumanMessage("1+1?"),
        AIMessage("", tool_calls=[CALL], usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}),
        ToolMessage("2", tool_call_id="c1"),
        AIMessage("2"),
        HumanMessage("thanks"),
    ],
}


def _theirs(messages: list[BaseMessage], compared: str = "") -> list[dict[str, Any]]:
    return list(chat_openai(compared)._get_request_payload(messages)["messages"])


@pytest.mark.parametrize("name", CORPUS)
def test_request_is_that_of_chat_openai(name: str) -> None:
    """Whoever changes from ChatOpenAI to us sends the same words."""
    assert to_wire(CORPUS[name]) == _theirs(CORPUS[name], name)


@pytest.mark.parametrize("messages", CORPUS.values(), ids=CORPUS)
def test_callers_messages_stay_as_they_are(messages: list[BaseMessage]) -> None:
    """Neither converting nor changing what came out of it changes what went in."""
    before = copy.deepcopy(messages)
    _spoil(to_wire(messages, keep_reasoning_of="x"))
    assert messages == before


@pytest.mark.parametrize("messages", CORPUS.values(), ids=CORPUS)
def test_request_is_json(messages: list[BaseMessage]) -> None:
    """Everything that leaves is made of JSON."""
    assert json.loads(json.dumps(to_wire(messages))) == to_wire(messages)


# Where we differ from ChatOpenAI on purpose


def test_a_bare_string_among_blocks_becomes_a_text_block() -> None:
    """Adding a string chunk to a list chunk leaves strings in content, where the service takes objects."""
    assert to_wire([HumanMessage(["", "a", {"type": "text", "text": "b"}])])[0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]


@pytest.mark.parametrize("kind", ["image_url", "video_url"])
def test_an_address_alone_becomes_an_object(kind: str) -> None:
    """LangChain has this short form for images, and some chat models take it; the service takes objects."""
    assert to_wire([HumanMessage([{"type": kind, kind: "https://x/y"}])])[0]["content"] == [
        {"type": kind, kind: {"url": "https://x/y"}}
    ]


@pytest.mark.parametrize("content", [[], [{"type": "reasoning", "reasoning": "hm"}]])
def test_content_of_which_nothing_is_left_is_an_empty_text(content: list[Any]) -> None:
    """An empty list of parts would be refused, and with it the rest of the conversation."""
    assert to_wire([AIMessage(content)]) == [{"role": "assistant", "content": ""}]


def test_an_invalid_call_without_arguments_has_an_empty_object() -> None:
    """The service wants a string where ChatOpenAI sends null."""
    call = {"name": "f", "args": None, "id": "1", "error": None}
    (wire,) = to_wire([AIMessage("", invalid_tool_calls=[call])])
    assert wire["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    "kind",
    [
        *("redacted_thinking", "tool_call_chunk", "server_tool_call", "server_tool_result", "non_standard"),
        *("web_search_call", "mcp_call", "image_generation_call", "custom_tool_call", "computer_call"),
        *("server_tool_use", "web_search_tool_result", "executable_code", "code_execution_result", "reference"),
    ],
)
def test_more_kinds_of_records_stay_behind(kind: str) -> None:
    """Another provider's records of its own doing mean nothing here and would be refused."""
    (wire,) = to_wire([AIMessage([{"type": kind, "value": {"type": "x"}}, {"type": "text", "text": "a"}])])
    assert wire["content"] == [{"type": "text", "text": "a"}]


def test_results_that_a_user_tells_are_those_of_the_calls() -> None:
    """Anthropic has them among the user's words; here each call would be without its result, and they be refused."""
    result = {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "4"}]}
    also = {"type": "tool_result", "tool_use_id": "c2"}
    text = {"type": "text", "text": "and now?"}
    given = [HumanMessage([result, text, also], name="ann"), HumanMessage([result])]
    told = {"role": "tool", "content": [{"type": "text", "text": "4"}], "tool_call_id": "c1"}
    assert to_wire(given) == [
        told,
        {"role": "tool", "content": "", "tool_call_id": "c2"},
        {"role": "user", "content": [text], "name": "ann"},
        told,
    ]


def test_pictures_in_results_that_a_user_tells_are_needed() -> None:
    """Whoever sees none is not asked."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    assert needs([HumanMessage([{"type": "tool_result", "tool_use_id": "c1", "content": [picture]}])]) == {"image"}


@pytest.mark.parametrize("source", [{"type": "file", "file_id": "f1"}, {"type": "base64", "data": PNG}, {}])
def test_a_picture_that_cannot_be_sent_is_not_left_out(source: dict[str, str]) -> None:
    """ChatOpenAI asks without it: the answer would be about a picture that nobody has seen."""
    with pytest.raises(ValueError, match=r"Message 0 .*image whose 'source'"):
        to_wire([HumanMessage([{"type": "text", "text": "a"}, {"type": "image", "source": source}])])


def test_base64_may_be_bytes() -> None:
    """It is what `base64.b64encode` gives; the bytes of the picture itself are refused, and not shown."""
    block = {"type": "image", "base64": PNG.encode(), "mime_type": "image/png"}
    told = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert to_wire([HumanMessage([block])])[0]["content"] == [told]
    with pytest.raises(ValueError, match="Message 0") as caught:
        to_wire([HumanMessage([block | {"base64": b"\x89PNG" * 1000}])])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("mime_type", "told"),
    [
        ("audio/mpeg", "mp3"),
        ("audio/x-wav", "wav"),
        ("audio/wave", "wav"),
        ("audio/mp4", "m4a"),
        ("audio/x-m4a", "m4a"),
        ("audio/ogg; codecs=opus", "ogg"),
        ("AUDIO/FLAC", "flac"),
        ("audio/mp3", "mp3"),
    ],
)
def test_sounds_are_called_as_the_service_calls_them(mime_type: str, told: str) -> None:
    """An MP3 is `audio/mpeg` by its standard, and no service knows a format of that name."""
    for block in (
        {"type": "audio", "base64": "UklG", "mime_type": mime_type},
        {"type": "audio", "source_type": "base64", "data": "UklG", "mime_type": mime_type},
        {"type": "media", "data": "UklG", "mime_type": mime_type.lower()},
    ):
        part = {"type": "input_audio", "input_audio": {"data": "UklG", "format": told}}
        assert to_wire([HumanMessage([block])])[0]["content"] == [part]


def test_a_users_non_standard_block_is_unwrapped() -> None:
    """What a user put into LangChain's wrapper is meant for the service."""
    native = {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}
    assert to_wire([HumanMessage([{"type": "non_standard", "value": native}])])[0]["content"] == [native]


def test_a_file_may_be_a_link() -> None:
    """The service fetches documents itself; ChatOpenAI raises."""
    block = {"type": "file", "url": "https://x/y.pdf", "filename": "y.pdf"}
    assert to_wire([HumanMessage([block])])[0]["content"] == [
        {"type": "file", "file": {"filename": "y.pdf", "file_data": "https://x/y.pdf"}}
    ]


def test_a_file_without_a_name_gets_one_without_a_warning() -> None:
    """ChatOpenAI sends the same name and warns; with warnings as errors that would be an exception."""
    (wire,) = to_wire([HumanMessage([{"type": "file", "base64": "J", "mime_type": "a/b"}])])
    assert wire["content"][0]["file"] == {"file_data": "data:a/b;base64,J", "filename": "LC_AUTOGENERATED"}


@pytest.mark.parametrize(
    ("block", "url"),
    [
        ({"type": "video", "url": "https://x/y.mp4"}, "https://x/y.mp4"),
        ({"type": "video", "base64": "AAAA", "mime_type": "video/mp4"}, "data:video/mp4;base64,AAAA"),
    ],
)
def test_film_is_sent(block: dict[str, Any], url: str) -> None:
    """The service has a part for it; OpenAI's dialect and ChatOpenAI do not."""
    assert to_wire([HumanMessage([block])])[0]["content"] == [{"type": "video_url", "video_url": {"url": url}}]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text-plain", "text": "a", "mime_type": "text/plain"},
        {"type": "text", "source_type": "text", "text": "a"},
    ],
)
def test_plain_text_documents_are_text(block: dict[str, Any]) -> None:
    """ChatOpenAI raises on both forms."""
    assert to_wire([HumanMessage([block])])[0]["content"] == [{"type": "text", "text": "a"}]


# Reasoning

DETAILS = [{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}]


def _thoughtful(model: str = "a/b:free") -> AIMessage:
    return AIMessage("a", additional_kwargs={"reasoning_details": DETAILS}, response_metadata={"model_name": model})


def test_a_models_own_reasoning_goes_back_to_it() -> None:
    (wire,) = to_wire([_thoughtful()], keep_reasoning_of="a/b:free")
    assert wire == {"role": "assistant", "content": "a", "reasoning_details": DETAILS}
    _spoil([wire])
    assert DETAILS[0]["signature"] == "s"


@pytest.mark.parametrize("asked", [None, "", "c/d:free"])
def test_another_models_reasoning_stays_behind(asked: str | None) -> None:
    """Signatures of one model make the request to another fail."""
    assert to_wire([_thoughtful()], keep_reasoning_of=asked) == [{"role": "assistant", "content": "a"}]


def test_reasoning_of_nobody_goes_to_nobody() -> None:
    """A message that does not say who wrote it matches no model, not even an unnamed one."""
    message = AIMessage("a", additional_kwargs={"reasoning_details": DETAILS})
    assert "reasoning_details" not in to_wire([message])[0]


def test_reasoning_is_kept_message_by_message() -> None:
    wire = to_wire([_thoughtful("c/d"), _thoughtful("a/b"), AIMessage("x")], keep_reasoning_of="a/b")
    assert ["reasoning_details" in message for message in wire] == [False, True, False]


# Errors


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (ChatMessage(role="oracle", content="x"), "'oracle'"),
        (ChatMessage(role="tool", content="x"), "'tool'"),
        (SystemMessage("x", additional_kwargs={"__openai_role__": "god"}), "'god'"),
        (RemoveMessage(id="1"), "RemoveMessage"),
        ({"role": "user", "content": "x"}, "dict"),
        ("x", "str"),
        (HumanMessage([{"type": "audio", "base64": "x"}]), "mime_type"),
        (HumanMessage([{"type": "audio", "url": "https://x/y.wav"}]), "base64"),
        (HumanMessage([{"type": "video", "file_id": "f"}]), "'data'"),
        (HumanMessage([{"type": []}]), "unhashable"),
        (HumanMessage([{"type": "file", "base64": "x", "mime_type": "a/b", "extras": "y"}]), "HumanMessage"),
        (AIMessage([{"type": "text"}]), "'text'"),
        (AIMessage("", tool_calls=[{"name": "f", "args": {"x": object()}, "id": "1"}]), "JSON"),
    ],
)
def test_what_cannot_be_said_is_named(message: Any, found: str) -> None:
    """The sentence tells which message it is and what is wrong with it."""
    with pytest.raises(ValueError, match=r"^Message 1 .*cannot be sent") as raised:
        to_wire([HumanMessage("hi"), message])
    assert found in str(raised.value)


def test_nothing_to_say_is_an_error() -> None:
    with pytest.raises(ValueError, match="no message"):
        to_wire([])


# Any conversation

TEXTS = st.text(max_size=12)
PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}),
    st.fixed_dictionaries({"type": st.just("image"), "url": TEXTS}),
    st.fixed_dictionaries({"type": st.sampled_from(["thinking", "tool_use"]), "id": TEXTS}),
)
CONTENT = st.one_of(TEXTS, st.lists(PARTS, max_size=3))
NAMES = st.one_of(st.none(), TEXTS)
ARGS = st.dictionaries(TEXTS, st.one_of(st.none(), st.booleans(), st.integers(), TEXTS), max_size=3)
CALLS = st.lists(st.builds(lambda n, a, i: {"name": n, "args": a, "id": i}, TEXTS, ARGS, TEXTS), max_size=2)
MESSAGES = st.one_of(
    st.builds(HumanMessage, content=CONTENT, name=NAMES),
    st.builds(SystemMessage, content=CONTENT, name=NAMES),
    st.builds(AIMessage, content=CONTENT, name=NAMES, tool_calls=CALLS),
    st.builds(ToolMessage, content=CONTENT, tool_call_id=TEXTS, status=st.sampled_from(["success", "error"])),
)


@given(messages=st.lists(MESSAGES, min_size=1, max_size=4))
def test_any_conversation_is_that_of_chat_openai(messages: list[BaseMessage]) -> None:
    """Also outside the corpus, up to the empty parts and the empty content that we do not send."""
    expected = _theirs(messages)
    for message in expected:
        if isinstance(message["content"], list):
            said = [part for part in message["content"] if part != {"type": "text", "text": ""}]
            message["content"] = said or (None if "tool_calls" in message else "")
    before = copy.deepcopy(messages)
    assert to_wire(messages) == expected
    assert messages == before


@given(messages=st.lists(MESSAGES, min_size=1, max_size=4))
def test_prompt_bytes_is_at_least_the_text(messages: list[BaseMessage]) -> None:
    """No byte of text is forgotten, wherever in the message it stands."""
    wire = to_wire(messages)
    text = sum(len(leaf.encode()) for leaf in _leaves(wire) if isinstance(leaf, str))
    urls = sum(len(leaf.encode()) for leaf in _urls(wire))
    assert prompt_bytes(wire, []) >= text - urls


# Helpers


def _spoil(value: Any) -> None:
    """Change everything changeable in a structure."""
    if isinstance(value, dict):
        for inner in value.values():
            _spoil(inner)
        value.clear()
    if isinstance(value, list):
        for inner in value:
            _spoil(inner)
        value.clear()


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [value]


def _urls(wire: list[dict[str, Any]]) -> list[str]:
    parts = [part for message in wire if isinstance(message["content"], list) for part in message["content"]]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
