"""The JSON objects in the data of one event, and what their fields say. Pure.

There is one object, or several in a row, or none that can be read; a field may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from langchain_openrouter_free.protocol.evidence import LENIENT, Json

# What ends a stream; compared by `is`.
DONE = Json()
# More tokens than this are a mistake of the reply, and may be more than a float can hold.
_MOST_TOKENS = 10**9


def values_in(data: bytes) -> int:
    """Return how many JSON values may be in some bytes, of sixty bytes each when they are read: an object is three."""
    return data.count(b",") + data.count(b"[") + 3 * data.count(b"{")


def objects(lines: list[str]) -> Iterable[Json | None]:
    """Return the JSON objects of one event's data lines; `DONE` for `[DONE]`, None for what is unreadable."""
    joined = lines[0] if len(lines) == 1 else "\n".join(lines)
    if joined.strip() == "[DONE]":
        return (DONE,)
    text = joined.strip(" \t\r\n")  # blanks, by the rules of JSON
    try:
        found, end = LENIENT.raw_decode(text)
    except (ValueError, RecursionError):
        end = -1
    if end == len(text):
        return (found if isinstance(found, dict) else None,)
    if len(lines) > 1:
        return [found for line in lines for found in objects([line])]
    return _joined_objects(joined.strip())


def _joined_objects(text: str) -> Iterator[Json | None]:
    at = 0
    while at < len(text):
        try:
            found, at = LENIENT.raw_decode(text, at)
        except (ValueError, RecursionError):
            yield None
            return
        yield found if isinstance(found, dict) else None
        while at < len(text) and text[at].isspace():
            at += 1


def text_of(content: object) -> str:
    """Return text from a string or from a list of text parts."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in dicts(content) if isinstance(part.get("text"), str))


def reasoning_of(said: Json, details: list[Json]) -> str:
    """Return the words of a thought, by whichever name they came."""
    for key in ("reasoning", "reasoning_content"):
        if isinstance(said.get(key), str) and said[key]:
            return str(said[key])
    words = [d.get("text") or d.get("summary") for d in details]
    return "".join(w for w in words if isinstance(w, str))


def dicts(value: object) -> list[Json]:
    """Return the objects of a list; none where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def mapping(value: object) -> Json | None:
    """Return what is an object."""
    return value if isinstance(value, dict) else None


def word_of(value: object) -> str | None:
    """Return what is a text that is not empty."""
    return value if isinstance(value, str) and value else None


def tokens_of(stated: object) -> int | None:
    """Return a number of tokens as a reply states it; None for what is no such number."""
    return stated if isinstance(stated, int) and not isinstance(stated, bool) and 0 <= stated < _MOST_TOKENS else None
