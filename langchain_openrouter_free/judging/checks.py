"""The caller's own checks of an answer, told apart: two of one name may want different things. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import CodeType
from typing import Any


def named(check: Callable[..., object], within: tuple[int, ...] = ()) -> str:
    """Return a name for a check that no other one has: the same for one that is made anew, where it can be told.

    Args:
        check: a function, whose code and whatever it holds are looked at, or any other callable, in its own words.
        within: the functions that hold it, by their ids.
    """
    code = getattr(check, "__code__", None)
    name = getattr(check, "__qualname__", type(check).__name__)
    told = [_words(check)] if code is None else [*_said(code), *_held(check, (*within, id(check)))]
    return f"{name}#{hashlib.sha256(repr(told).encode(errors='surrogatepass')).hexdigest()[:16]}"


def _said(code: CodeType) -> list[Any]:
    """Return what a function does; its own words would tell where it lies in memory."""
    parts = [_said(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return [code.co_code, code.co_names, code.co_freevars, parts]


def _held(check: Any, within: tuple[int, ...]) -> list[str]:
    """Return what a function takes with it: its module, its object, its defaults, and the variables around it."""
    names = ("__module__", "__self__", "__defaults__", "__kwdefaults__")
    around = [_content(cell, within) for cell in getattr(check, "__closure__", None) or ()]
    return [*(_words(getattr(check, name, None)) for name in names), *around]


def _content(cell: Any, within: tuple[int, ...]) -> str:
    try:
        held = cell.cell_contents
    except ValueError:
        return ""
    if not hasattr(held, "__code__"):
        return _words(held)
    # A function may hold itself.
    return "" if id(held) in within else named(held, within)


def _words(value: object) -> str:
    try:
        return repr(value)
    # Another's words; who has none is known by its place.
    except Exception:  # noqa: BLE001
        return object.__repr__(value)
