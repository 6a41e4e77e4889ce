"""Modules that are read when something of them is first used: what a program never asks for costs it no start.

Where a class has methods that few programs call, or what it needs is needed by calls alone, its module says
`figures, ledger = modules("books.figures", "books.ledger")` in place of the imports, and the imports themselves for
type checkers. Unlike an import within a function it leaves the method's annotations true for whoever evaluates them:
`typing.get_type_hints`, and what makes a tool of a method.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from pydantic import ConfigDict

# Of a class that holds some of the model's methods: it is built for the whole model alone, which is a class of its own.
PART = ConfigDict(defer_build=True)


class Later:
    """Stands for a module until something of it is used; what was used once stays at hand.

    Attributes:
        _name: the module's full name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        # Kept, as an import keeps it: a call asks for some of them each time.
        found = self.__dict__[name] = getattr(import_module(self._name), name)
        return found

    def __repr__(self) -> str:
        return f"Later({self._name!r})"


def modules(*names: str) -> Iterator[Later]:
    """Return some of this package's modules, by their names within it, for when something of them is used."""
    return (Later(f"{__package__}.{name}") for name in names)
