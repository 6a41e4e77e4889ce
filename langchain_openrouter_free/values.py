"""What a value is here: a dataclass that nobody changes, and that costs little to make.

`dataclass(frozen=True)` sets each field by a call, and a call of the model makes some sixty values of some four hundred
fields: 2.4 us for one of fourteen fields, where this takes 0.2. That none is changed is the type checker's to see. What
users are given, or give, is frozen at run time as well: their own code may not be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, cast, dataclass_transform

T = TypeVar("T")

# What is further from 1970, in seconds, is no moment of ours: it may have no date.
_FARTHEST = 6e10


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_type(*, eq: bool = True, kw_only: bool = False, frozen: bool = False) -> Callable[[type[T]], type[T]]:
    """Make a class a value: equal by its fields unless `eq` is false, hashable as they are, not to be changed.

    `frozen` sees to the last at run time. How it is compared, hashed and shown are closures: what `dataclass` has for
    that is written and compiled for each class at each import.
    """

    def made(cls: type[T]) -> type[T]:
        value: Any = dataclass(slots=True, eq=False, repr=False, kw_only=kw_only, frozen=frozen)(cls)
        value.__repr__ = _told
        if eq:
            compared = [each for each in fields(value) if each.compare]
            value.__eq__ = _equal_by(_taken(each.name for each in compared))
            value.__hash__ = _hashed_by(_taken(each.name for each in compared if each.hash is not False))
        return cast("type[T]", value)

    return made


def _taken(names: Iterable[str]) -> Callable[[Any], object]:
    found = tuple(names)
    return attrgetter(*found) if found else lambda _: found


def _equal_by(what: Callable[[Any], object]) -> Callable[[Any, object], bool]:
    def equal(one: Any, other: object) -> bool:
        return what(one) == what(other) if other.__class__ is one.__class__ else NotImplemented

    return equal


def _hashed_by(what: Callable[[Any], object]) -> Callable[[Any], int]:
    def hashed(one: Any) -> int:
        return hash(what(one))

    return hashed


def _told(value: Any) -> str:
    said = ", ".join(f"{each.name}={getattr(value, each.name)!r}" for each in fields(value) if each.repr)
    return f"{type(value).__qualname__}({said})"


def moment_of(written: Any) -> float:
    """Read a moment, or a span, in seconds from a page of the state: what is damaged may be a number all the same.

    Raises:
        ValueError: for what has no date. As the end of a wait it would never come.
    """
    moment = float(written)
    if not -_FARTHEST < moment < _FARTHEST:
        raise ValueError(f"{written!r} is no moment")
    return moment


class Newer(ValueError):
    """A page of the state was written by a newer version of this package: no damage, and nothing to be replaced."""


def check_version(written: Any, known: int, *, least: int | None = None) -> None:
    """Check the version that a page of the state says it is of: from `least` to `known`, or `known` alone.

    Raises:
        Newer: for a later one.
        ValueError: for any other.
    """
    if type(written) is int and written > known:
        raise Newer(f"version {written}; known: {known}")
    if type(written) is not int or written < (known if least is None else least):
        raise ValueError(f"{written!r} is no version that is known")
