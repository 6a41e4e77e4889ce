"""What is configured here and now: the files that count, the environment, the arguments, laid over each other.

In this order, the later ones winning: the project's file, the user's file, a `.env` where it is asked for, the
environment, the arguments. It is asked once, when a model is made.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from langchain_openrouter_free import homes
from langchain_openrouter_free.configuration import environment, trust
from langchain_openrouter_free.configuration.layers import Layer, Origin, Setting, Source, merged
from langchain_openrouter_free.configuration.reading import OWN_FILE, PYPROJECT, Document, document
from langchain_openrouter_free.configuration.secrecy import in_version_control, repository
from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.homes import absolute, expanded
from langchain_openrouter_free.request import settings
from langchain_openrouter_free.values import value_type

log = logging.getLogger("langchain_openrouter_free")

NO_HOME = f"{homes.UNKNOWN}, or name your own file (OPENROUTER_FREE_CONFIG)."


@value_type(frozen=True)
class Effective:
    """What is configured.

    Attributes:
        settings: by field.
        refused: settings of a project's file that do not count, each with the reason.
        project: the project's file, if there is one.
        user: the user's file, if there is one.
        profile: the profile that was chosen.
    """

    settings: Mapping[str, Setting]
    refused: Mapping[str, str]
    project: Document | None
    user: Document | None
    profile: str | None


def effective(
    arguments: Mapping[str, Any] | None = None, profile: str | None = None, *, dotenv: bool | str | Path = False
) -> Effective:
    """Return what is configured in the working directory.

    Args:
        arguments: what is given in code; it counts most.
        profile: a named profile; None for the one that OPENROUTER_FREE_PROFILE names, if it does.
        dotenv: a `.env` file to read as well; True for the one in the working directory.

    Raises:
        ConfigurationError: for anything in a file or a variable that cannot work.
    """
    own = user_file()
    project, user = project_document(), document(own) if own else None
    profile = profile or os.environ.get(environment.PROFILE) or None
    files = [(one, source) for one, source in ((project, Source.PROJECT), (user, Source.USER)) if one is not None]
    _check_profile(profile, [one for one, _ in files])
    layers = [part for one, source in files for part in _parts(one, source, profile)]
    layers += _dotenv(dotenv or os.environ.get(environment.DOTENV, ""))
    layers.append(environment.layer(os.environ, Source.ENVIRONMENT))
    given = (Origin(Source.ARGUMENT, "argument"),)
    layers.append({name: Setting(value, given) for name, value in (arguments or {}).items()})
    refused = _refuse(layers)
    return Effective(merged(layers), refused, project, user, profile)


def profiles_in(found: Effective) -> tuple[str, ...]:
    """Return the names of the profiles that may be chosen."""
    files = [one for one in (found.project, found.user) if one is not None]
    return tuple(sorted({str(name) for one in files for name in one.table.get("profiles", {})}))


def project_document() -> Document | None:
    """Return the project's file: the nearest one, from the working directory upwards to the repository's root.

    The root is the nearest folder with a `.git`; where there is none, the working directory alone is looked at. In
    one folder `openrouter-free.toml` counts before `pyproject.toml`, and nothing is merged over folders.
    """
    for folder in _folders():
        for name in (OWN_FILE, PYPROJECT):
            # What anybody's folder may hold beside files never ends, or waits for somebody to write.
            found = document(folder / name) if os.path.isfile(folder / name) else None  # noqa: PTH113 - raises nothing
            if found is not None:
                return found
    return None


def _folders() -> Iterator[Path]:
    try:
        here = Path.cwd()
    except OSError:  # it was deleted
        return
    root = repository(here)
    yield here
    if root is not None and root != here:
        yield from here.parents[: len(here.parts) - len(root.parts)]


def user_file() -> Path | None:
    """Return where the user's own file is or would be: what OPENROUTER_FREE_CONFIG names, or the usual place.

    None where nothing is named and the user's home is not known.
    """
    named = os.environ.get(environment.CONFIG)
    if named:
        return absolute(named, environment.CONFIG)
    import platformdirs  # noqa: PLC0415 - as for the state file

    folder = homes.own(platformdirs.user_config_path)
    return folder and folder / "config.toml"


def confirmed_file() -> Path | None:
    """Return where it is kept which projects' files the user has confirmed; None as for the user's file."""
    own = user_file()
    return own and own.with_name("trusted")


def _check_profile(profile: object, files: Iterable[Document]) -> None:
    if not isinstance(profile, str | None):
        raise ConfigurationError(f"profile_name={profile!r} must be the name of a profile.")
    known = {name: one for one in files for name in one.table.get("profiles", {})}
    if profile is None or profile in known:
        return
    hint = settings.did_you_mean(profile, known)
    there = f"known: {', '.join(sorted(known))}" if known else f"no {OWN_FILE} or {PYPROJECT} here defines one"
    raise ConfigurationError(f"There is no profile {profile!r}{hint}; {there}.")


def _parts(file: Document, source: Source, profile: str | None) -> Iterator[Layer]:
    """Yield a file's settings, and those of its profile."""
    trusted = source is not Source.PROJECT or trust.is_trusted(file.path, file.table, confirmed_file())
    named = file.table.get("profiles", {})
    yield _layer(file, file.table, (), source, trusted=trusted)
    if profile in named:
        yield _layer(file, named[profile], ("profiles", str(profile)), source, trusted=trusted)


def _layer(file: Document, table: Mapping[str, Any], path: tuple[str, ...], source: Source, *, trusted: bool) -> Layer:
    found: dict[str, Setting] = {}
    for name, value in table.items():
        if name == "profiles" or value is None:
            continue
        # A path belongs to its file, wherever the program runs.
        is_path = name == "state" and value not in ("memory", ":memory:") and "://" not in value
        meant = str(file.path.parent / expanded(value, f"{file.place(*path, name)}: state")) if is_path else value
        found[name] = Setting(meant, (Origin(source, file.place(*path, name), str(file.path), trusted),))
    return found


def _dotenv(asked: object) -> list[Layer]:
    """Return the layer of a `.env` file: it is as much, or as little, the user's as a project's file."""
    if not asked:
        return []
    path = absolute(".env" if asked is True or asked in ("1", "true") else str(asked), ".env")
    layer = environment.layer(environment.dotenv(path), Source.DOTENV, str(path))
    if "api_key" in layer and in_version_control(path):
        _warn_once(f"{path}: the key is not read from a file that is, or may come, under version control.")
        layer = {name: setting for name, setting in layer.items() if name != "api_key"}
    if trust.is_trusted(path, {name: one.value for name, one in layer.items()}, confirmed_file()):
        return [layer]
    return [{n: Setting(one.value, (replace(one.origins[0], trusted=False),)) for n, one in layer.items()}]


def _refuse(layers: list[Layer]) -> dict[str, str]:
    """Take out of the layers what a project's file may not decide alone; return it with the reasons."""
    told: dict[str, str] = {}
    while found := trust.refused(merged(layers)):
        untrusted = {name: setting for name, setting in merged(layers).items() if name in found}
        for name, reason in found.items():
            place = next(origin.place for origin in untrusted[name].origins if not origin.trusted)
            told[name] = f"{place}: {name} {reason}"
        for number, layer in enumerate(layers):
            layers[number] = {name: one for name, one in layer.items() if name not in found or one.trusted}
    for reason in told.values():
        _warn_once(
            f"{reason}, so it does not count until you say that you mean it: `openrouter-free config --trust`, or "
            f"{environment.TRUSTED}=<the project's folder>."
        )
    return told


@lru_cache(maxsize=256)
def _warn_once(text: str) -> None:
    log.warning("%s", text)


def constructor_arguments(
    given: Mapping[str, Any],
    aliases: Mapping[str, str],
    profile: str | None = None,
    *,
    dotenv: bool | str | Path = False,
) -> dict[str, Any]:
    """Return a model's arguments with what is configured around them.

    Args:
        given: the arguments.
        aliases: each name under which a field may be given -> the field.
        profile: the profile that they choose.
        dotenv: as for `effective`.
    """
    own = {aliases.get(name, name): value for name, value in given.items()}
    found = effective(own, profile, dotenv=dotenv)
    around = {name: usable(name, one.value) for name, one in found.settings.items() if name not in own}
    tables = {name: found.settings[aliases.get(name, name)].value for name in given if isinstance(given[name], Mapping)}
    chosen = {"profile_name": found.profile} if found.profile else {}
    return {**around, **chosen, **given, **tables}


def usable(name: str, value: Any) -> Any:
    """Return a setting as its field takes it: what text calls a paid id is a `PaidModel` where it has prices."""
    if name != "paid_models":
        return value
    from langchain_openrouter_free.request.paid import PaidModel  # noqa: PLC0415 - only where somebody pays

    return [PaidModel(**one) if isinstance(one, Mapping) else one for one in value]
