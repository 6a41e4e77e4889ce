"""Layers of settings laid over each other, each value with the place that it came from. Pure.

Later layers win. Tables are merged key by key, at every depth; everything else, lists too, is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from langchain_openrouter_free.values import value_type


class Source(StrEnum):
    """Where a setting comes from; the later, the more it counts."""

    PROJECT = "project file"
    USER = "user's file"
    DOTENV = ".env"
    ENVIRONMENT = "environment"
    ARGUMENT = "argument"


@value_type(frozen=True)
class Origin:
    """Where one value came from.

    Attributes:
        source: the kind of place.
        place: for people: `pyproject.toml:12`, or the name of a variable.
        file: its path; "" for what is no file.
        trusted: whether the user is known to have meant it; see `trust.py`.
    """

    source: Source
    place: str
    file: str = ""
    trusted: bool = True


@value_type(frozen=True)
class Setting:
    """A value and where it came from; a merged table has several origins, the last one first."""

    value: Any
    origins: tuple[Origin, ...]

    @property
    def trusted(self) -> bool:
        """Whether all that is in it is meant by the user."""
        return all(origin.trusted for origin in self.origins)


Layer = Mapping[str, Setting]


def merged(layers: Iterable[Layer]) -> dict[str, Setting]:
    """Return the settings of all layers; the first layer is the weakest."""
    found: dict[str, Setting] = {}
    for layer in layers:
        for name, setting in layer.items():
            found[name] = _over(found.get(name), setting)
    return found


def _over(below: Setting | None, above: Setting) -> Setting:
    if below is None or not isinstance(below.value, Mapping) or not isinstance(above.value, Mapping):
        return above
    value = tables(below.value, above.value)
    # A table that was replaced key by key is no place of origin any more.
    kept = below.origins if any(key not in above.value for key in below.value) else ()
    return Setting(value, (*above.origins, *(origin for origin in kept if origin not in above.origins)))


def tables(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two tables as one: where both have a key, `above` counts; where both have a table, they are merged."""
    both = {
        key: tables(below[key], value)
        for key, value in above.items()
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
    }
    return {**below, **above, **both}
