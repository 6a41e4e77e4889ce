"""Paths as people write them, with `~` for a home, and the folders below a home that are this package's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from langchain_openrouter_free.errors import ConfigurationError

UNKNOWN = "The home of this user is not known: set HOME"


def own(find: Callable[[str], Path]) -> Path | None:
    """Return this package's folder of one kind, or None where the user has no home that is known (in containers).

    Args:
        find: the function of platformdirs for this kind.
    """
    try:
        folder = find("langchain-openrouter-free")
    except RuntimeError:
        return None
    # Older versions leave the `~` as it is: that would be a folder of the working directory, which is anybody's.
    return folder if folder.is_absolute() else None


def expanded(place: str | Path, what: str) -> Path:
    """Return a path with the folder that its `~` stands for.

    Raises:
        ConfigurationError: if nobody knows that folder: there is no such user, or one without a home (in containers).
    """
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"{what}={str(place)!r}: {error}") from None


def absolute(place: str | Path, what: str) -> Path:
    """Return a path from the root on, with the folder that its `~` stands for.

    Raises:
        ConfigurationError: as for `expanded`, or if it begins with the working directory and that was deleted.
    """
    try:
        return expanded(place, what).absolute()
    except OSError:
        raise ConfigurationError(f"{what}={str(place)!r}: the working directory is not there any more.") from None
