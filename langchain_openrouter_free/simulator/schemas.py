"""The smallest sensible value for a JSON schema, with words and numbers taken from a text.

Owns the reading of schemas. It knows nothing of messages, models or HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
_DEEP = 6
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_QUOTED = re.compile(r"(?:(?<=^)|(?<=[\s(\[{:,=]))(?:'([^'\n]+)'|\"([^\"\n]+)\"|“([^”\n]+)”|«([^»\n]+)»)(?!\w)")
_PLACE = re.compile(
    r"\b(?:in|for|at|to|from|of|named|called|about)\s+((?:[A-Z][\w'.-]*)(?:(?:,\s*|\s+)[A-Z][\w'.-]*)*)"
)
_CAPITAL = re.compile(r"(?<=[a-z,;:]\s)[A-Z][\w'-]+")
_WORD = re.compile(r"[^\W\d_][\w'-]{3,}")
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


def quoted(text: str) -> list[str]:
    """All that stands between quotation marks."""
    return [next(part for part in match if part) for match in _QUOTED.findall(text)]


def numbers(text: str) -> list[float]:
    """All numbers of the text."""
    return [float(one) for one in _NUMBER.findall(text)]


def names(text: str) -> list[str]:
    """What looks like a name: quoted, or capitalised in the midst of a sentence."""
    found = quoted(text) + [one.rstrip("., ") for one in _PLACE.findall(text)]
    return found or _CAPITAL.findall(text)


def sample(schema: Any, text: str) -> Any:
    """A value that obeys the schema; unknown keywords are not minded."""
    return _Sampler(schema if isinstance(schema, dict) else {}, text).value(schema, "", 0)


def _cycle(items: list[Any]) -> Iterator[Any]:
    """The items in turn; the last one repeats."""
    yield from items
    while items:
        yield items[-1]


class _Sampler:
    def __init__(self, root: Schema, text: str) -> None:
        self._root = root
        self._text = text
        words = _WORD.findall(text)
        self._numbers = _cycle(numbers(text))
        self._names = _cycle(names(text) or words[-1:])

    def value(self, schema: Any, name: str, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > _DEEP * 4:
            return None if schema is False else "anything"
        schema = self._resolved(schema, depth)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            lower = self._text.lower()
            return next((one for one in schema["enum"] if str(one).lower() in lower), schema["enum"][0])
        for word in ("anyOf", "oneOf"):
            if schema.get(word):
                return self.value(self._choice(schema[word], depth), name, depth + 1)
        return self._typed(type_of(schema), schema, name, depth)

    def _typed(self, kind: str, schema: Schema, name: str, depth: int) -> Any:
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        if kind in {"integer", "number"}:
            return self._number(schema, whole=kind == "integer")
        if kind == "boolean":
            return not re.search(r"\b(no|not|false|never)\b", self._text.lower())
        return None if kind == "null" else self._string(schema, name)

    def _resolved(self, schema: Schema, depth: int) -> Schema:
        reference = schema.get("$ref")
        if isinstance(reference, str) and depth <= _DEEP * 4:
            target: Any = self._root
            for part in reference.removeprefix("#").strip("/").split("/"):
                if part:
                    target = target.get(part, {}) if isinstance(target, dict) else {}
            rest = {key: one for key, one in schema.items() if key != "$ref"}
            return self._resolved((target if isinstance(target, dict) else {}) | rest, depth + 1)
        if isinstance(schema.get("allOf"), list):
            merged: Schema = {key: one for key, one in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                for key, one in self._resolved(part, depth + 1).items():
                    merged[key] = _joined(merged.get(key), one)
            return merged
        return schema

    def _choice(self, choices: list[Any], depth: int) -> Any:
        real = [one for one in choices if not (isinstance(one, dict) and one.get("type") == "null")]
        if depth > _DEEP and len(real) < len(choices):
            return {"type": "null"}
        return real[0] if real else {"type": "null"}

    def _object(self, schema: Schema, depth: int) -> Any:
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            return {}
        wanted = schema.get("required") or (list(properties) if depth <= _DEEP else [])
        return {name: self.value(properties.get(name, {}), name, depth + 1) for name in wanted}

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        if isinstance(schema.get("prefixItems"), list):
            return [self.value(one, name, depth + 1) for one in schema["prefixItems"]]
        count = max(int(schema.get("minItems", 0)), 0 if depth > _DEEP else 1)
        return [self.value(schema.get("items", {"type": "string"}), name, depth + 1) for _ in range(count)]

    def _number(self, schema: Schema, *, whole: bool) -> int | float:
        number = float(next(self._numbers, 1.0))
        step = 1 if whole else 0.5
        low = schema.get("minimum", _beside(schema.get("exclusiveMinimum"), step))
        high = schema.get("maximum", _beside(schema.get("exclusiveMaximum"), -step))
        if low is not None:
            number = max(number, low)
        if high is not None:
            number = min(number, high)
        if schema.get("multipleOf"):
            number = round(number / schema["multipleOf"]) * schema["multipleOf"]
        return int(number) if whole else number

    def _string(self, schema: Schema, name: str) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[str(schema["format"])]
        text = str(next(self._names, name or "text"))
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        text = text.ljust(least, ".")
        return text if most is None else text[: int(most)]


def type_of(schema: Schema) -> str:
    """The type that a value of the schema gets: the first that is not null, or what its keywords speak of."""
    kind = schema.get("type")
    if isinstance(kind, list):
        return str(next((one for one in kind if one != "null"), "null"))
    if isinstance(kind, str):
        return kind
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _beside(bound: Any, step: float) -> Any:
    return None if bound is None or isinstance(bound, bool) else bound + step


def _joined(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return old | new
    if isinstance(old, list) and isinstance(new, list):
        return old + [one for one in new if one not in old]
    return new
