"""Did you mean? One sentence for a name that is not known, and the error that carries it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ScenarioError(ValueError):
    """A scenario or a script that cannot be played; the message says where and what to write instead."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence about an unknown name, with the nearest known one if there is one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"unknown {kind} {name!r}; did you mean {near[0]!r}?"
    return f"unknown {kind} {name!r}; known: {', '.join(names)}"
