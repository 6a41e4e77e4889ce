"""What messages need of a model beside text, and what they weigh."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from test_messages import PNG

from langchain_openrouter_free.protocol.sizes import is_endless, prompt_bytes
from langchain_openrouter_free.words.messages import needs, to_wire


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([{"type": "text", "text": "a"}], set()),
        (["a"], set()),
        ([{"type": "image_url", "image_url": {"url": "u"}}], {"image"}),
        ([{"type": "image", "base64": PNG, "mime_type": "image/png"}], {"image"}),
        ([{"type": "input_audio", "input_audio": {}}], {"audio"}),
        ([{"type": "audio", "base64": "x", "mime_type": "audio/wav"}], {"audio"}),
        ([{"type": "file", "file": {}}, {"type": "image", "url": "u"}], {"file", "image"}),
        ([{"type": "video", "url": "u"}], {"video"}),
        ([{"type": "video_url", "video_url": {"url": "u"}}], {"video"}),
        ([{"type": "non_standard", "value": {"type": "video_url"}}], {"video"}),
        ([{"type": ["odd"]}, {}], set()),
    ],
)
def test_needs_names_the_modalities(blocks: list[Any], expected: set[str]) -> None:
    assert needs([SystemMessage("x"), HumanMessage(blocks)]) == expected


def test_a_tools_picture_is_needed_too() -> None:
    assert needs([ToolMessage([{"type": "image", "url": "u"}], tool_call_id="1")]) == {"image"}


def test_each_message_and_tool_weighs_something() -> None:
    empty = [{"role": "user", "content": ""}]
    assert 0 < prompt_bytes(empty, []) < prompt_bytes(empty * 2, []) < prompt_bytes(empty * 2, [{}])


def test_the_first_tool_weighs_more_than_the_next() -> None:
    """Some providers put a page of instructions before the tools."""
    none, one, two = (prompt_bytes([], [{}] * n) for n in range(3))
    assert one - none > 500 > two - one


def test_text_weighs_its_bytes() -> None:
    light, heavy = ([{"role": "user", "content": text}] for text in ("", "ü" * 100))
    assert prompt_bytes(heavy, []) - prompt_bytes(light, []) == 200


def test_lone_surrogates_can_be_weighed() -> None:
    assert prompt_bytes([{"role": "user", "content": "\ud800"}], []) > 0


def _weight_of(block: dict[str, Any]) -> int:
    return prompt_bytes(to_wire([HumanMessage([block])]), [])


def test_a_picture_weighs_the_same_whatever_its_bytes() -> None:
    small, large = (_weight_of({"type": "image", "base64": "A" * n, "mime_type": "image/png"}) for n in (4, 10**6))
    assert small == large > 1000


def test_a_minute_of_sound_leaves_room_for_the_rest() -> None:
    """A megabyte of mp3 is about two thousand tokens, not a million."""
    minute = _weight_of({"type": "audio", "base64": "A" * 1_400_000, "mime_type": "audio/mp3"})
    assert 2_000 < minute < 100_000


def test_sound_weighs_by_its_length() -> None:
    short, long = (_weight_of({"type": "audio", "base64": "A" * n, "mime_type": "audio/wav"}) for n in (0, 64_000))
    assert long - short == 3_000


@pytest.mark.parametrize("kind", ["file", "video"])
def test_what_is_only_linked_weighs_a_constant(kind: str) -> None:
    short, long = (_weight_of({"type": kind, "url": f"https://x/{'y' * n}"}) for n in (1, 1000))
    assert short == long > 1000


def test_a_file_weighs_what_it_decodes_to() -> None:
    small, large = (
        _weight_of({"type": "file", "base64": "A" * n, "mime_type": "text/plain", "filename": "f"}) for n in (0, 4000)
    )
    assert large - small == 3000


@pytest.mark.parametrize(
    ("block", "endless"),
    [
        ({"type": "text", "text": "a"}, False),
        ({"type": "image", "base64": PNG, "mime_type": "image/png"}, False),
        ({"type": "image", "url": "https://x/y"}, False),
        ({"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}, False),
        ({"type": "audio", "base64": "AAAA", "mime_type": "audio/mp3"}, False),
        ({"type": "audio", "base64": "AAAA", "mime_type": "audio/flac"}, True),
        ({"type": "input_audio", "input_audio": "odd"}, True),
        ({"type": "file", "base64": "AAAA", "mime_type": "text/plain", "filename": "f"}, False),
        ({"type": "file", "base64": "AAAA", "mime_type": "application/pdf", "filename": "f"}, True),
        ({"type": "file", "url": "https://x/y.txt"}, True),
        ({"type": "file", "file": {"file_data": "AAAA"}}, True),
        ({"type": "video", "base64": "AAAA", "mime_type": "video/mp4"}, True),
        ({"type": "video", "url": "https://x/y"}, True),
    ],
)
def test_what_has_more_tokens_than_bytes(block: dict[str, Any], endless: bool) -> None:  # noqa: FBT001
    (message,) = to_wire([HumanMessage([block])])
    assert [is_endless(part) for part in message["content"]] == [endless]
