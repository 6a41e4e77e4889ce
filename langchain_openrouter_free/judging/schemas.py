"""Does a value fit a JSON schema? With `jsonschema` where it is installed, else by required keys and simple types.

Pure. Whatever is odd about a schema, a check never raises: what cannot be checked fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "integer": (int, float),
    "null": type(None),
}
# A schema that refers to itself describes values without end.
_DEEPEST = 40
_LONGEST = 200


def misfit(value: Any, schema: object) -> str | None:
    """Say what about a value does not fit a schema, in one line; None if it fits, as far as can be told.

    Args:
        value: parsed JSON.
        schema: a JSON schema of any draft; references into it are followed, references to elsewhere are not.
    """
    if not isinstance(schema, Mapping):
        return None
    try:
        found = next(_by_package(value, schema) if _package() else _by_hand(value, schema, schema, "", 0), None)
    except Exception:  # noqa: BLE001 - schemas are the user's, and of every kind
        return None
    return None if found is None else found[:_LONGEST]


@cache
def _package() -> bool:
    try:
        import jsonschema  # noqa: F401, PLC0415 - an extra, and slow to load
    except ImportError:
        return False
    return True


def _by_package(value: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    from jsonschema.validators import Draft202012Validator, validator_for  # noqa: PLC0415 - as above
    from referencing import Registry  # noqa: PLC0415 - comes with it
    from referencing.jsonschema import EMPTY_REGISTRY  # noqa: PLC0415 - as above

    # With a registry of its own nothing is fetched.
    registry: Registry[Any] = EMPTY_REGISTRY
    validator = validator_for(schema, default=Draft202012Validator)(schema, registry=registry)
    for error in validator.iter_errors(value):
        # What is wrong is logged and kept, and an answer is not: only the schema's own words, and no name of another.
        known = set(map(str, error.absolute_schema_path))
        path = [str(part) if isinstance(part, int) or part in known else "*" for part in error.absolute_path]
        yield _told(".".join(path), str(error.validator), error.validator_value, error.instance)


def _told(where: str, rule: str, wanted: Any, value: Any) -> str:
    if rule == "required" and isinstance(value, Mapping):
        name = next((name for name in wanted if name not in value), "something")
        return f"{where}.{name} is missing" if where else f"{name} is missing"
    if rule == "type":
        return f"{where or 'it'} is not of type {' or '.join([wanted] if isinstance(wanted, str) else wanted)}"
    if rule == "enum":
        return f"{where or 'it'} is none of the allowed values"
    return f"{where or 'it'} does not keep to {rule}" + (f" {wanted}" if isinstance(wanted, int | float | str) else "")


def _by_hand(value: Any, schema: Any, root: Mapping[str, Any], where: str, depth: int) -> Iterator[str]:
    """Check types, required keys and enumerations, down through properties and items."""
    schema = _resolved(schema, root)
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices and all(next(_by_hand(value, one, root, where, depth + 1), None) for one in choices):
        yield f"{where or 'it'} fits none of the allowed forms"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{where or 'it'} is not of type {' or '.join(map(str, kinds))}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where or 'it'} is none of the allowed values"
    for name, inner in _inside(value, schema):
        at = f"{where}.{name}" if where else str(name)
        if inner is None:
            yield f"{at} is missing"
        else:
            yield from _by_hand(value[name], inner, root, at, depth + 1)


def _inside(value: Any, schema: Mapping[str, Any]) -> Iterator[tuple[str | int, Any]]:
    """Return the schema of each part of a value, and None for each that is missing."""
    if isinstance(value, dict):
        yield from ((name, None) for name in schema.get("required", ()) if name not in value)
        yield from ((name, inner) for name, inner in schema.get("properties", {}).items() if name in value)
    if isinstance(value, list) and "items" in schema:
        yield from ((index, schema["items"]) for index in range(len(value)))


def _resolved(schema: Any, root: Mapping[str, Any]) -> Any:
    for _ in range(_DEEPEST):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        schema = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            schema = schema[part] if part else schema
    return schema


def _is(value: object, kind: str) -> bool:
    if kind not in _TYPES:
        return True
    if isinstance(value, bool):
        return kind == "boolean"
    whole = kind != "integer" or not isinstance(value, float) or value.is_integer()
    return isinstance(value, _TYPES[kind]) and whole
