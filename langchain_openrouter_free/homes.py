"""Paths as people write them, with `~` for a home."""

from __future__ import annotations

from pathlib import Path

from langchain_openrouter_free.errors import ConfigurationError


def expanded(place: str | Path, what: str) -> Path:
    """Return a path with the folder that its `~` stands for.

    Raises:
        ConfigurationError: if nobody knows that folder: there is no such user, or one without a home (in containers).
    """
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"{what}={str(place)!r}: {error}") from None
