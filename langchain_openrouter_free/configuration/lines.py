"""On which line of a TOML file a key stands: the parser of the standard library does not tell. Pure.

Reads only files that have been parsed without an error, so that it need not doubt what it sees.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

Path = tuple[str, ...]

_KEY = r"(?:[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*')"
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*(?P<key>{_DOTTED})[ \t]*\]")
_STATEMENT = re.compile(rf"[ \t]*(?P<key>{_DOTTED})[ \t]*=[ \t]*")
# What may hold a bracket or a newline that means nothing, and what opens and closes.
_TOKEN = re.compile(
    r"\"\"\"(?:[^\\]|\\.)*?\"{3,5}|'''.*?'{3,5}|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|#[^\n]*|[\[{]|[\]}]|\n", re.DOTALL
)
_INNER = re.compile(rf"[{{,\s]\s*(?P<key>{_DOTTED})\s*=")


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, from 1, of each table and key of a TOML text; keys of inline tables too."""
    found: dict[Path, int] = {}
    table: Path = ()
    position, line = 0, 1
    while position < len(text):
        header, statement = _HEADER.match(text, position), _STATEMENT.match(text, position)
        end = _end(text, position if statement is None else statement.end())
        if statement is not None:
            path = (*table, *_parts(statement["key"]))
            _note(found, path, line)
            for key, place in _inner(text, statement.end(), end):
                _note(found, (*path, *key), line + text.count("\n", position, place))
        elif header is not None:
            table = _parts(header["key"])
            _note(found, table, line)
            end = text.find("\n", header.end()) + 1 or len(text)
        position, line = end, line + text.count("\n", position, end)
    return found


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """Return the line of a key, or of the nearest table around it."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)


def _note(found: dict[Path, int], path: Path, line: int) -> None:
    for end in range(1, len(path) + 1):
        found.setdefault(path[:end], line)


def _parts(dotted: str) -> Path:
    return tuple(next(iter(tomllib.loads(f"{part} = 0"))) for part in re.findall(_KEY, dotted))


def _end(text: str, position: int) -> int:
    """Return where the statement ends whose value begins at `position`: behind a newline outside of brackets."""
    depth = 0
    for token in _TOKEN.finditer(text, position):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            return token.end()
    return len(text)


def _inner(text: str, start: int, end: int) -> Iterator[tuple[Path, int]]:
    """Yield the keys of an inline table, and where they stand; those of tables in it as if they were its own."""
    if not text.startswith("{", start):
        return
    flat = list(text[start:end])
    for token in _TOKEN.finditer(text, start, end):
        # Nothing in a text or a comment is a key, unless the text is one itself.
        if len(token[0]) > 1 and not text[token.end() :].lstrip(" \t").startswith("="):
            flat[token.start() - start : token.end() - start] = " " * len(token[0])
    for hit in _INNER.finditer("".join(flat)):
        yield _parts(hit["key"]), start + hit.start("key")
