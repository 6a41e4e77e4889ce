"""One file's settings, read and checked: every mistake names the file, the line and the nearest right word.

A file is parsed once as long as it does not change.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from langchain_openrouter_free.configuration.secrecy import in_version_control
from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.later import Later
from langchain_openrouter_free.request import settings
from langchain_openrouter_free.values import value_type

# Only those who have a file read one.
if TYPE_CHECKING:
    import tomllib

    from langchain_openrouter_free.configuration import lines as places
else:
    tomllib, places = Later("tomllib"), Later("langchain_openrouter_free.configuration.lines")

log = logging.getLogger("langchain_openrouter_free")

OWN_FILE = "openrouter-free.toml"
PYPROJECT = "pyproject.toml"
_IN_PYPROJECT = ("tool", "openrouter-free")
# Larger files are no configuration, in bytes.
_MOST_BYTES = 1_000_000
_BRANCHES = frozenset({"table", "value"})
_WORDS = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


@value_type(frozen=True)
class Document:
    """A file with settings in it.

    Attributes:
        path: where it is.
        table: its settings, and its profiles under `profiles`.
        lines: settings by path -> line.
    """

    path: Path
    table: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]

    def place(self, *path: str) -> str:
        """Return where a setting stands, for people and editors: `file:line`."""
        line = places.line_of(dict(self.lines), path)
        return f"{self.path}:{line}" if line else str(self.path)


def document(path: Path) -> Document | None:
    """Read a file; None where there is none, or it holds no settings of ours.

    Raises:
        ConfigurationError: if it cannot be read, or says something wrong.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return _document(path, found.st_mtime_ns, found.st_size, found.st_ino)


@lru_cache(maxsize=64)
def _document(path: Path, *_: int) -> Document | None:
    at = _IN_PYPROJECT if path.name == PYPROJECT else ()
    try:
        with path.open("rb") as file:
            written = file.read(_MOST_BYTES + 1)
        whole = len(written) <= _MOST_BYTES
        text = written.decode("utf-8-sig", errors="strict" if whole else "replace")
    except IsADirectoryError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}.") from None
    if at and at[-1] not in text:
        return None
    if not whole:
        raise ConfigurationError(f"{path}: cannot be read: it is larger than {_MOST_BYTES // 1_000_000} MB.")
    try:
        table: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        stated = re.search(r"at line (\d+)", str(error))
        line = int(stated[1]) if stated else len(text.splitlines())
        raise ConfigurationError(f"{path}:{line}: not TOML: {error}.") from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or brackets in thousands of brackets.
        raise ConfigurationError(f"{path}: cannot be read: {error}.") from None
    for name in at:
        table = table.get(name) if isinstance(table, Mapping) else None
    if table is None:
        return None
    lines = {key[len(at) :]: line for key, line in places.lines_of(text).items() if key[: len(at)] == at}
    made = Document(path, table, {key: line for key, line in lines.items() if key})
    return Document(path, _checked(made), made.lines)


def _checked(made: Document) -> dict[str, Any]:
    """Return the settings of a file, checked and without the secrets that it should not hold."""
    # The model of the fields takes its time to make: only those who have a file pay for it.
    from langchain_openrouter_free.configuration.schema import file_model  # noqa: PLC0415

    if not isinstance(made.table, Mapping):
        raise ConfigurationError(f"{made.path}: its settings must be a table.")
    table = validated(file_model(), made.table, made.place)
    return _without_secrets(table, made)


def validated(model: type[BaseModel], table: Mapping[str, Any], place: Any) -> dict[str, Any]:
    """Return a table as the model reads it.

    Args:
        model: what it may hold.
        table: what it holds.
        place: path of a setting -> where it stands.

    Raises:
        ConfigurationError: naming each mistake and its place.
    """
    try:
        checked = model.model_validate(table).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise ConfigurationError("\n".join(dict.fromkeys(_told(error, model, place))) + ".") from None
    for path, part in [
        ((), checked),
        *((("profiles", name), one) for name, one in checked.get("profiles", {}).items()),
    ]:
        _check_values(part, path, place)
    return checked


def _check_values(table: dict[str, Any], path: tuple[str, ...], place: Any) -> None:
    from langchain_openrouter_free.configuration.schema import CHECKS  # noqa: PLC0415 - as above

    for name, written in table.items():
        table[name] = value = _unlimited(name, written)
        try:
            settings.finite({name: value})
            if name in CHECKS and value is not None:
                CHECKS[name](value)
        except ValueError as error:
            raise ConfigurationError(f"{place(*path, name)}: {str(error).rstrip('.')}.") from None


def _unlimited(name: str, value: Any) -> Any:
    """Return deadlines and limits with None for `"none"`, which TOML cannot say."""
    if name in ("timeouts", "limits") and isinstance(value, Mapping):
        return {key: None if inner == "none" else _unlimited(name, inner) for key, inner in value.items()}
    return value


def _told(error: ValidationError, model: type[BaseModel], place: Any) -> Iterator[str]:
    """Yield a sentence for each mistake; the branches of a union make one."""
    wishes: dict[tuple[str, ...], list[str]] = {}
    for item in error.errors(include_url=False, include_input=False):
        path = tuple(str(part) for part in item["loc"] if part not in _BRANCHES)
        if item["type"] == "extra_forbidden":
            hint = settings.did_you_mean(path[-1], _known(model, path[:-1]))
            yield f"{place(*path)}: unknown key {path[-1]!r}{hint}"
        else:
            path = tuple(part for part in path if "[" not in part and part not in ("str", "float", "int", "bool"))
            expected = item.get("ctx", {}).get("expected")
            wish = f"one of {expected}" if expected else _WORDS.get(item["type"], item["msg"])
            wishes.setdefault(path, []).append(wish)
    for path, several in wishes.items():
        yield f"{place(*path)}: {'.'.join(path)} must be {' or '.join(dict.fromkeys(several))}"


def _known(model: type[BaseModel], path: Iterable[str]) -> set[str]:
    """Return the keys that a table may have."""
    definitions = model.model_json_schema()
    at: Any = definitions
    for name in path:
        at = _resolved(at, definitions)
        at = at.get("properties", {}).get(name) or at.get("additionalProperties") or at.get("items") or at
    return set(_resolved(at, definitions).get("properties", {}))


def _resolved(at: Any, definitions: Any) -> Any:
    """Follow a reference, and of several branches take the one that is a table."""
    while isinstance(at, Mapping):
        if "$ref" in at:
            at = definitions["$defs"][at["$ref"].rpartition("/")[2]]
        elif branches := at.get("anyOf") or at.get("oneOf"):
            tables = [one for one in branches if "$ref" in one or {"properties", "items", "oneOf"} & one.keys()]
            at = tables[0] if tables else {}
        elif "items" in at:
            at = at["items"]
        else:
            return at
    return {}


def _without_secrets(table: dict[str, Any], made: Document) -> dict[str, Any]:
    """Leave out the key where the file is under version control, and say so."""
    from langchain_openrouter_free.configuration.schema import is_secret  # noqa: PLC0415 - as above

    profiles = table.get("profiles", {})
    holding = [((), table), *((("profiles", name), part) for name, part in profiles.items())]
    found = [(path, name) for path, part in holding for name, value in part.items() if is_secret(name, value)]
    if not found or not in_version_control(made.path):
        return table
    for path, name in found:
        log.warning(
            "%s: %s is not read from a file that is, or may come, under version control: set %s, or have git ignore "
            "the file. A secret that was committed is none any more.",
            made.place(*path, name),
            name,
            "OPENROUTER_API_KEY" if name == "api_key" else f"OPENROUTER_FREE_{name.upper()}",
        )
    clean = {name: value for name, value in table.items() if not is_secret(name, value)}
    if profiles:
        clean["profiles"] = {
            profile: {name: value for name, value in part.items() if not is_secret(name, value)}
            for profile, part in profiles.items()
        }
    return clean
