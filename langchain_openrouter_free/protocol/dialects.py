"""What other providers' dialects say, in that of the chat completions: parts of messages, tools, their choice. Pure.

Only what has one certain meaning is said anew. All else is left as it is: some model's provider may know it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Json = dict[str, Any]

# What is a text under another name.
TEXTS = frozenset({"input_text", "output_text"})
_KINDS = frozenset({"image", "audio", "video"})
_FOREIGN = {"document": "file", "input_file": "file", "input_image": "image"}
_MODES = {"auto": "auto", "none": "none", "any": "required", "required": "required"}
_WEB = ("http://", "https://", "data:")


def plain_parts(block: Json) -> Iterator[Json]:
    """Yield the blocks that say the same as one of another provider, in the words of LangChain or of the service.

    Args:
        block: a part of a message in any dialect: a document or search result as Anthropic writes them, Gemini's
            media, the inputs of OpenAI's Responses.
    """
    kind, said = str(block.get("type")), None
    if kind in TEXTS and isinstance(block.get("text"), str):
        said = [_text(block["text"])]
    elif kind == "document":
        said = _document(block, block.get("source"))
    elif kind == "search_result":
        said = _titled([block.get("title"), block.get("source")], block.get("content"))
    elif kind == "media":
        said = _media(str(block.get("mime_type") or ""), block)
    elif kind == "input_image" and isinstance(block.get("image_url"), str):
        detail = {"detail": block["detail"]} if block.get("detail") else {}
        said = [{"type": "image_url", "image_url": {"url": block["image_url"], **detail}}]
    elif kind == "input_file":
        said = _file(block)
    yield from [block] if said is None else said


def is_foreign(block: Mapping[str, Any]) -> bool:
    """Tell whether a part may hold more than text, in another provider's words."""
    return block.get("type") in {"media", *_FOREIGN}


def foreign_modalities(blocks: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Name what parts in other providers' words hold beside text, where it could not be said anew."""
    kinds = {_FOREIGN.get(str(block.get("type"))) for block in blocks}
    media = {_kind_of(str(block.get("mime_type") or "")) for block in blocks if block.get("type") == "media"}
    return frozenset(kind for kind in kinds | media if kind is not None)


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _document(block: Json, source: object) -> list[Json] | None:
    """Say a document in Anthropic's form."""
    if not isinstance(source, Mapping):
        return None
    kind, data = source.get("type"), source.get("data")
    if kind == "base64" and isinstance(data, str) and source.get("media_type"):
        return [{"type": "file", "base64": data, "mime_type": source["media_type"]}]
    if kind == "url" and isinstance(source.get("url"), str):
        return [{"type": "file", "url": source["url"]}]
    about = [block.get("title"), block.get("context")]
    if kind == "text":
        return _titled(about, data)
    return _titled(about, source.get("content")) if kind == "content" else None


def _titled(about: Iterable[object], content: object) -> list[Json] | None:
    """Return a content with what is told of it in front; None where it is no content."""
    parts = [_text(content)] if isinstance(content, str) else content
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        return None
    head = [_text("\n".join(words))] if (words := [word for word in about if word and isinstance(word, str)]) else []
    return [*head, *(said for part in parts for said in plain_parts(part))]


def _kind_of(mime_type: str) -> str | None:
    family = mime_type.partition("/")[0]
    return None if family == "text" else family if family in _KINDS else "file"


def _media(mime_type: str, block: Json) -> list[Json] | None:
    """Say one of Gemini's media: bytes, their base64, or an address."""
    data, url, kind = block.get("data"), block.get("file_uri"), _kind_of(mime_type)
    if isinstance(data, bytes):
        data = base64.b64encode(data).decode("ascii")
    if not mime_type or not (isinstance(data, str) and data):
        is_link = isinstance(url, str) and url.startswith(_WEB) and kind not in (None, "audio")
        return [{"type": kind, "url": url}] if mime_type and is_link else None
    if kind is not None:
        return [{"type": kind, "base64": data, "mime_type": mime_type}]
    try:
        return [_text(base64.b64decode(data).decode("utf-8"))]
    except (binascii.Error, UnicodeDecodeError):
        return None


def _file(block: Json) -> list[Json] | None:
    """Say a file of OpenAI's Responses."""
    name = {"filename": block["filename"]} if block.get("filename") else {}
    if isinstance(data := block.get("file_data"), str) and data.startswith("data:"):
        head, _, packed = data.removeprefix("data:").partition(";base64,")
        return [{"type": "file", "base64": packed, "mime_type": head, **name}] if packed else None
    if isinstance(block.get("file_url"), str):
        return [{"type": "file", "url": block["file_url"], **name}]
    return [{"type": "file", "file": {"file_id": block["file_id"]}}] if block.get("file_id") else None


def plain_tool(tool: Mapping[str, Any]) -> Json:
    """Return a tool as the service knows it, where OpenAI's Responses write it flat; else as it is."""
    if tool.get("type") != "function" or "function" in tool or not isinstance(tool.get("name"), str):
        return dict(tool)
    return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}


def plain_choice(choice: Mapping[str, Any]) -> str | Json | None:
    """Return a choice of tools in the service's words.

    Args:
        choice: `{"type": "any"}` and `{"type": "tool", "name": ...}` as Anthropic writes them, `{"type": "function",
            "name": ...}` as OpenAI's Responses do, or a bare name.

    Returns:
        None where it is in the service's words, or in nobody's that are known.
    """
    kind, function = choice.get("type"), choice.get("function")
    if isinstance(kind, str) and kind in _MODES:
        return _MODES[kind]
    name = function.get("name") if kind is None and isinstance(function, Mapping) else choice.get("name")
    is_named = kind in (None, "tool", "function") and isinstance(name, str) and bool(name)
    return {"type": "function", "function": {"name": name}} if is_named else None
