"""The JSON objects in the data of one event: one, several in a row, or none that can be read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from langchain_openrouter_free.evidence import LENIENT, Json

# What ends a stream; compared by `is`.
DONE = Json()


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
