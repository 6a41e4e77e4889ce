"""Values: what the package makes for itself is plain, and the type checker's to guard; what users hold is frozen."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

import langchain_openrouter_free
from langchain_openrouter_free.books.skew import Heard
from langchain_openrouter_free.values import value_type


def test_a_value_is_equal_by_its_fields_and_hashable() -> None:
    """As a frozen one would be: equal, hashable, replaced, copied, pickled; without a dictionary."""
    one, same = Heard(1.0, 2.0, 3.0), Heard(1.0, 2.0, 3.0)
    assert one == same
    assert len({one, same, dataclasses.replace(one, date=9.0)}) == 2
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    assert not hasattr(one, "__dict__")


def test_a_value_without_equality_is_itself_alone() -> None:
    """For those that hold what cannot be compared."""

    @value_type(eq=False)
    class Held:
        what: list[int]

    assert len({Held([1]), Held([1])}) == 2


@pytest.mark.parametrize("name", sorted(langchain_openrouter_free.__all__))
def test_what_users_are_given_is_frozen(name: str) -> None:
    """Their own code may not be type-checked."""
    public: Any = getattr(langchain_openrouter_free, name)
    has_fields: bool = dataclasses.is_dataclass(public)
    if has_fields:
        assert public.__dataclass_params__.frozen
