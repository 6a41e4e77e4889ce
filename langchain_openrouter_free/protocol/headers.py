"""The headers of a reply, looked up by names in any case. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Headers(dict[str, str]):
    """Headers by their names in small letters: what is not found so is not there."""


def joined(fields: Iterable[tuple[str, str]]) -> Headers:
    """Return headers by their names in small letters; of one that is there twice, both values."""
    told = Headers()
    for field, value in fields:
        name = field.lower()
        told[name] = f"{told[name]}, {value}" if name in told else value
    return told


def header(headers: Mapping[str, str] | None, name: str) -> str | None:
    """Return a header whatever the case of its name."""
    if not headers:
        return None
    wanted = name.lower()
    if isinstance(headers, Headers):
        return headers.get(wanted)
    if wanted in headers:
        return str(headers[wanted])
    return next((str(v) for k, v in headers.items() if str(k).lower() == wanted), None)
