"""What a file that lies in a project may not decide alone: who gets the key, what may be paid, which file is written.

Whoever works in a folder that came from elsewhere has not read its configuration. So the settings below count from a
project's file (or a `.env` beside it) only where the user is known to mean them: the program that runs is itself a
file of that folder (its code could do the same; what an environment in it has installed is not), the user has
confirmed these very values (`openrouter-free config --trust`), or has named the folder in OPENROUTER_FREE_TRUSTED.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from langchain_openrouter_free.configuration.layers import Setting
from langchain_openrouter_free.connections.addresses import is_loopback
from langchain_openrouter_free.homes import expanded
from langchain_openrouter_free.request import settings

VARIABLE = "OPENROUTER_FREE_TRUSTED"
# What costs money, or says how much may be paid and where that is kept.
_MONEY = frozenset({"allow_paid", "paid_models", "budget", "account_budget", "extra_body", "state"})
_ALWAYS = frozenset({"allow_paid", "paid_models"})


def refused(found: Mapping[str, Setting]) -> dict[str, str]:
    """Return the settings that do not count, each with what it would do."""
    told = {
        name: reason for name, setting in found.items() if not setting.trusted and (reason := _danger(name, setting))
    }
    paying = found.get("allow_paid")
    if paying is not None and paying.value is True and "allow_paid" not in told:
        # Leave to pay was given elsewhere: then how much, for what, and by which book is the user's word as well.
        told |= {name: "decides what may be paid" for name, one in found.items() if name in _MONEY and not one.trusted}
    return told


def _danger(name: str, setting: Setting) -> str | None:
    if name in _ALWAYS and setting.value:
        return "lets models cost money"
    if name == "base_url" and not _harmless(setting.value):
        return "sends the key and the prompts elsewhere"
    if name == "allow_http" and setting.value:
        return "lets the key and the prompts be sent unencrypted"
    if name == "state" and not _inside(setting):
        return "keeps the books outside of the project's folder"
    return None


def _harmless(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return is_loopback(parts.hostname or "") or (parts.scheme == "https" and settings.is_service(url))


def _inside(setting: Setting) -> bool:
    if setting.value in ("memory", ":memory:"):
        return True
    if "://" in setting.value:
        return False
    folder = Path(setting.origins[0].file).parent.resolve()
    return expanded(setting.value, "state").resolve().is_relative_to(folder)


def guarded(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a file that trust is about, profiles included."""
    names = _MONEY | {"base_url", "allow_http"}
    own = {name: value for name, value in table.items() if name in names}
    profiles = {name: part for name, inner in table.get("profiles", {}).items() if (part := guarded(inner))}
    return own | ({"profiles": profiles} if profiles else {})


def is_trusted(file: Path, table: Mapping[str, Any], confirmed: Path | None) -> bool:
    """Tell whether the user is known to mean what this file says.

    Args:
        file: the project's file.
        table: its settings.
        confirmed: the file that `confirm` writes; None where the user's home is not known.
    """
    if not guarded(table):
        return True
    folder = file.resolve().parent
    return _runs_from(folder) or _named(folder) or _fingerprint(file, table) in _read(confirmed)


def confirm(file: Path, table: Mapping[str, Any], confirmed: Path) -> None:
    """Remember that the user means these very settings of this file."""
    confirmed.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = _read(confirmed)
    # For people to read, on one line: a folder's name may be any bytes.
    path = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in str(file.resolve()))
    known[_fingerprint(file, table)] = path
    text = "".join(f"{mark} {place}\n" for mark, place in known.items())
    confirmed.write_text(text, encoding="utf-8")


def _runs_from(folder: Path) -> bool:
    """Tell whether the program is the folder's own: not what is typed or piped there, nor what is installed in it."""
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    if program is None or not os.path.isfile(program):  # noqa: PTH113 - raises nothing
        return False
    path = Path(program).resolve()
    installed = any(path.is_relative_to(Path(prefix).resolve()) for prefix in {sys.prefix, sys.exec_prefix})
    return path.is_relative_to(folder) and not installed and "site-packages" not in path.parts


def _named(folder: Path) -> bool:
    named = [expanded(one, VARIABLE) for one in os.environ.get(VARIABLE, "").split(os.pathsep) if one]
    return any(one.is_absolute() and folder.is_relative_to(one.resolve()) for one in named)


def _fingerprint(file: Path, table: Mapping[str, Any]) -> str:
    said = json.dumps([str(file.resolve()), guarded(table)], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def _read(confirmed: Path | None) -> dict[str, str]:
    if confirmed is None:
        return {}
    try:
        lines = confirmed.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return dict(line.split(" ", 1) for line in lines if " " in line)
