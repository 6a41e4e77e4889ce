"""How large a prompt is at most, and what is in it beside text, by the service's own words. Pure.

An upper bound for setting money aside; what a prompt is likely to count is `tokens.py`'s.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

_MODALITIES = {
    "image": "image",
    "image_url": "image",
    "audio": "audio",
    "input_audio": "audio",
    "file": "file",
    "video": "video",
    "video_url": "video",
}

_PER_MESSAGE = 16
_PER_TOOL = 32
# Some providers put a page of instructions before the first tool.
_TOOL_PREAMBLE = 600
_PER_IMAGE = 16_384
# Nothing is known of what stands behind a link.
_PER_LINK = 16_384
# At the usual rates a clip has no more tokens for its bytes; these two kinds of sound have no more at their lowest.
_SOUNDS = frozenset({"wav", "mp3"})
_BYTES_PER_TOKEN = {"file": 1, "input_audio": 16, "video_url": 16}


def modalities(kinds: Collection[str]) -> frozenset[str]:
    """Name the modalities other than text that parts of these types hold."""
    return frozenset(_MODALITIES[kind] for kind in kinds if kind in _MODALITIES)


def parts_of(wired: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of all messages that have parts."""
    contents = [message.get("content") for message in wired]
    parts = (part for content in contents if isinstance(content, list) for part in content)
    return (part for part in parts if isinstance(part, dict))


def prompt_bytes(messages_wire: Sequence[Mapping[str, Any]], tools_wire: Sequence[Mapping[str, Any]]) -> int:
    """Give an upper bound for the tokens of a prompt, without a tokenizer.

    A token of text is at least one byte of UTF-8, so text counts its bytes: three to four times too many for
    English. A message and a tool add a constant for their markup. An image counts the most a large one
    costs, a file the bytes it decodes to, sound and film a sixteenth of theirs; what is only linked to counts
    a constant. Those are guesses where a part `is_linked` or `is_endless`: money is set aside for all of the context
    then. Too coarse to call a long prompt too long.

    Args:
        messages_wire: What `to_wire` gave.
        tools_wire: What `tools_to_wire` gave.

    Returns:
        A number of tokens that the prompt should not exceed.
    """
    said = sum(_PER_MESSAGE + _message_bytes(message) for message in messages_wire)
    tools = sum(_PER_TOOL + json_bytes(tool) for tool in tools_wire)
    return said + tools + (_TOOL_PREAMBLE if tools_wire else 0)


def _message_bytes(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    rest = {key: value for key, value in message.items() if key != "content"}
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    return json_bytes(rest) + sum(_part_bytes(part) for part in parts)


def _part_bytes(part: Mapping[str, Any]) -> int:
    kind = str(part.get("type"))
    if kind == "image_url":
        return _PER_IMAGE
    if kind not in _BYTES_PER_TOKEN:
        return json_bytes(part)
    if is_linked(part):
        return _PER_LINK
    return _PER_MESSAGE + len(_payload(part)) * 3 // 4 // _BYTES_PER_TOKEN[kind]


def is_linked(part: Mapping[str, Any]) -> bool:
    """Tell whether a part of a message only names what stands elsewhere: its size is anybody's guess."""
    kind = str(part.get("type"))
    linkable = kind in (*_BYTES_PER_TOKEN, "image_url") and kind != "input_audio"
    return linkable and not _payload(part).startswith("data:")


def is_endless(part: Mapping[str, Any]) -> bool:
    """Tell whether its bytes bound a part's tokens no more than a link does.

    A file's text is packed, a film or a sound may be still for an hour. Text is what it is, and wav and mp3 cannot be
    packed further than is counted here.
    """
    kind, body = str(part.get("type")), _body(part)
    if kind == "file":
        return not _payload(part).startswith("data:text/")
    return kind == "video_url" or (kind == "input_audio" and body.get("format") not in _SOUNDS)


def _payload(part: Mapping[str, Any]) -> str:
    body = _body(part)
    return str(body.get("file_data") or body.get("data") or body.get("url") or "")


def _body(part: Mapping[str, Any]) -> Mapping[str, Any]:
    body = part.get(str(part.get("type")))
    return body if isinstance(body, Mapping) else {}


def json_bytes(value: object) -> int:
    """Return how many bytes a value has as JSON."""
    return len(json.dumps(value, ensure_ascii=False, default=str).encode(errors="surrogatepass"))
