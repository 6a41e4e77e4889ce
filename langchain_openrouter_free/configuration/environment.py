"""Settings out of variables and `.env` files: OPENROUTER_FREE_* for each field, and the service's own names.

An empty variable is one that is not set. A value is written as in TOML (`20`, `true`, `{connect = 5}`), as plain
text, or, for a list, with commas.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_openrouter_free.configuration.layers import Layer, Origin, Setting, Source
from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.later import Later
from langchain_openrouter_free.request import settings

if TYPE_CHECKING:
    import tomllib
else:
    tomllib = Later("tomllib")

PREFIX = "OPENROUTER_FREE_"
PROFILE, DOTENV, CONFIG, TRUSTED = (f"{PREFIX}{name}" for name in ("PROFILE", "DOTENV", "CONFIG", "TRUSTED"))
# What clients of the endpoint must say; the command reads it.
TOKEN = f"{PREFIX}TOKEN"
CHOOSERS = (PROFILE, DOTENV, CONFIG, TRUSTED, TOKEN)
# The service's own names come first, so that ours count more.
_COMMON = {"OPENROUTER_API_KEY": "api_key", "OPENROUTER_API_BASE": "base_url"}
# What is text however it looks, and is checked by the model itself.
_PLAIN = frozenset({"api_key", "base_url", "state", "project"})
_YES = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_LINE = r"^[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(?P<value>.*?)[ \t]*$"


def layer(variables: Mapping[str, str], source: Source, place: str = "") -> Layer:
    """Return what variables set.

    Args:
        variables: the environment, or what a `.env` says.
        source: which of both.
        place: the file's path, if it is one.

    Raises:
        ConfigurationError: for a value that its field does not take, or a name that is nearly one of ours.
    """
    found: dict[str, Setting] = {}
    before = f"{place}: " if place else ""
    for variable, name in _named(variables, before):
        shown = f"{before}{variable}"
        value = variables[variable] if name in _PLAIN else _typed(name, variables[variable], shown)
        found[name] = Setting(value, (Origin(source, shown, place),))
    return found


def _named(variables: Mapping[str, str], before: str) -> Iterator[tuple[str, str]]:
    """Yield the variables that set something, with the field that each sets."""
    yield from ((variable, name) for variable, name in _COMMON.items() if variables.get(variable, "").strip())
    ours = [name for name, value in variables.items() if name.startswith(PREFIX) and value.strip()]
    if not ours:
        return
    for variable in sorted(set(ours) - set(CHOOSERS)):
        name = variable.removeprefix(PREFIX).lower()
        if name in _PLAIN or name in _names():
            yield variable, name
        elif hint := settings.did_you_mean(name, _names()):
            near = hint.split("'")[1].upper()
            raise ConfigurationError(f"{before}{variable}: no such setting (did you mean {PREFIX}{near}?).")


def _names() -> frozenset[str]:
    # The fields are the model's own: they are asked for only where there is something to look up.
    from langchain_openrouter_free.configuration.schema import names  # noqa: PLC0415

    return names()


def _typed(name: str, text: str, shown: str) -> Any:
    """Return what a text means for a field: the first reading of it that the field takes."""
    from langchain_openrouter_free.configuration.reading import validated  # noqa: PLC0415 - as above
    from langchain_openrouter_free.configuration.schema import settings_model  # noqa: PLC0415 - as above

    failed: ConfigurationError | None = None
    for reading in _readings(text):
        try:
            return validated(settings_model(), {name: reading}, lambda *_: shown)[name]
        except ConfigurationError as error:
            # That a text is no list says nothing where its parts, read as one, have a mistake of their own.
            failed = error if failed is None or str(failed).endswith("must be a list.") else failed
    assert failed is not None  # noqa: S101 - there is always one reading
    raise failed


def _readings(text: str) -> Iterator[Any]:
    text = text.strip()
    # A number of thousands of digits is no TOML either, nor are brackets in thousands of brackets.
    with contextlib.suppress(ValueError, RecursionError):
        yield tomllib.loads(f"value = {text}")["value"]
    if text.startswith("{"):  # a table, as JSON has it
        with contextlib.suppress(ValueError, RecursionError):
            yield json.loads(text)
    if text.lower() in _YES:
        yield _YES[text.lower()]
    yield text
    yield [part.strip() for part in text.split(",") if part.strip()]


def dotenv(path: Path) -> dict[str, str]:
    """Read a `.env` file: `NAME=value`, with or without `export`, quotes, and comments; nothing is expanded.

    Raises:
        ConfigurationError: if it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}.") from None
    hits = filter(None, (re.match(_LINE, line) for line in text.splitlines()))
    return {hit["name"]: _unquoted(hit["value"]) for hit in hits}


def _unquoted(value: str) -> str:
    for quote in "\"'":
        if value.startswith(quote) and (end := value.find(quote, 1)) > 0:
            return value[1:end]
    return re.split(r"\s#", value, maxsplit=1)[0].rstrip()
