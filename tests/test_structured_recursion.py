"""Structured output of classes that hold themselves: a model is told what stands inside, at any depth."""

from __future__ import annotations

from typing import Any

import pytest
from driving import make
from pydantic import BaseModel

from langchain_openrouter_free.face.structured import shape_of
from langchain_openrouter_free.simulator import Simulator


class Tree(BaseModel):
    """A tree."""

    name: str
    children: list[Tree]


class Book(BaseModel):
    """A book."""

    title: str
    parts: list[Part]


class Part(BaseModel):
    """A part of a book."""

    heading: str
    inner: Part | None


class Man(BaseModel):
    """A man."""

    name: str
    wife: Woman | None


class Woman(BaseModel):
    """A woman."""

    name: str
    husband: Man | None


CLASSES = [Tree, Book, Man]


@pytest.mark.parametrize("strict", [None, True])
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_that_holds_itself_is_described_whole(
    sim: Simulator, kind: type[BaseModel], method: Any, *, strict: bool | None
) -> None:
    found = make(sim).with_structured_output(kind, method=method, strict=strict).invoke("Tell me about Oslo.")
    assert isinstance(found, kind)
    assert len(sim.chats()) == 1


@pytest.mark.parametrize("kind", CLASSES)
def test_nothing_of_it_is_left_open(kind: type[BaseModel]) -> None:
    shape = shape_of(kind, method="auto", keeps=False, strict=None)
    assert shape.tool is not None
    for sent in (shape.tool["function"]["parameters"], shape.format["json_schema"]["schema"]):  # type: ignore[index]
        assert sent["type"] == "object"
        assert sent["$defs"]
        assert "{}" not in str(sent)


def test_of_other_classes_nothing_is_said_by_reference() -> None:
    class Leaf(BaseModel):
        """A leaf."""

        colour: str

    class Twig(BaseModel):
        """A twig."""

        left: Leaf
        right: Leaf

    shape = shape_of(Twig, method="auto", keeps=False, strict=None)
    assert "$ref" not in str(shape.tool)
