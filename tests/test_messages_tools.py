"""Tools and tool choices to request dicts: the same as ChatOpenAI.bind_tools makes of them."""

from __future__ import annotations

import copy
from typing import Annotated, Any

import pytest
from chat_openai import chat_openai
from langchain_core.runnables import RunnableBinding
from langchain_core.tools import BaseTool, StructuredTool, tool
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_openrouter_free.words.messages import tool_choice_to_wire, tools_to_wire


class Add(BaseModel):
    """Add two numbers."""

    a: int = Field(description="the first")
    b: int | None = None


class AddV1(BaseModelV1):
    """Add two numbers, as of old."""

    a: int


class Multiply(TypedDict):
    """Multiply a number."""

    a: Annotated[int, ..., "the number"]


def subtract(a: int, b: int = 1) -> int:
    """Subtract b from a.

    Args:
        a: the larger
        b: the smaller
    """
    return a - b


@tool
def divide(a: int, b: int) -> float:
    """Divide a by b."""
    return a / b


class Power(BaseTool):
    name: str = "power"
    description: str = "Raise."
    args_schema: type[BaseModel] = Add

    def _run(self, a: int, b: int | None = None) -> int:
        power: int = a ** (b or 1)
        return power


async def later(a: int) -> int:
    """Do it later."""
    return a


FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}

TOOLS: dict[str, Any] = {
    "pydantic": Add,
    "pydantic-v1": AddV1,
    "typed-dict": Multiply,
    "function": subtract,
    "async-function": later,
    "decorated": divide,
    "base-tool": Power(),
    "base-tool-with-extras": Power(extras={"defer_loading": True, "other": 1}),
    "structured": StructuredTool.from_function(subtract),
    "wire-dict": {"type": "function", "function": FUNCTION},
    "function-dict": FUNCTION,
    "json-schema": {
        "title": "g",
        "description": "d",
        "type": "object",
        "properties": {"a": {"type": "string"}},
    },
    "anthropic-dict": {"name": "h", "description": "d", "input_schema": {"type": "object", "properties": {}}},
    "builtin-openai": {"type": "web_search"},
}


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("name", TOOLS)
def test_tool_is_that_of_chat_openai(name: str, strict: bool | None) -> None:  # noqa: FBT001
    bound = chat_openai(name).bind_tools([TOOLS[name]], strict=strict)
    assert isinstance(bound, RunnableBinding)
    assert tools_to_wire([TOOLS[name]], strict=strict) == bound.kwargs["tools"]


def test_order_is_kept() -> None:
    names = [wire["function"]["name"] for wire in tools_to_wire([divide, Add, subtract])]
    assert names == ["divide", "Add", "subtract"]


def test_a_tool_of_the_service_passes_untouched() -> None:
    """ChatOpenAI refuses what is not a function; the service has tools of its own."""
    given = {"type": "openrouter:web_search", "parameters": {"max_results": 3}}
    (wire,) = tools_to_wire([given], strict=True)
    assert wire == given


@pytest.mark.parametrize("given", [TOOLS["wire-dict"], {"type": "openrouter:x", "parameters": {"a": 1}}])
def test_a_callers_dict_is_not_shared(given: dict[str, Any]) -> None:
    before = copy.deepcopy(given)
    for inner in tools_to_wire([given])[0].values():
        if isinstance(inner, dict):
            inner.clear()
    assert given == before


@pytest.mark.parametrize("given", [42, "divide", {"description": "no name"}])
def test_what_is_no_tool_is_an_error(given: Any) -> None:
    with pytest.raises(ValueError):
        tools_to_wire([given])


CHOICES: dict[str, Any] = {
    "nothing": None,
    "false": False,
    "empty": "",
    "true": True,
    "auto": "auto",
    "none": "none",
    "any": "any",
    "required": "required",
    "name": "divide",
    "builtin": "web_search",
    "dict": {"type": "function", "function": {"name": "divide"}},
    "other-dict": {"type": "allowed_tools", "mode": "auto"},
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_choice_is_that_of_chat_openai(choice: Any) -> None:
    tools: list[Any] = [divide, Add, {"type": "web_search"}]
    bound = chat_openai().bind_tools(tools, tool_choice=choice)
    assert isinstance(bound, RunnableBinding)
    assert tool_choice_to_wire(choice, tools_to_wire(tools)) == bound.kwargs.get("tool_choice")


def test_a_tool_called_any_can_be_chosen() -> None:
    """A name comes before a word of the dialect, as with ChatOpenAI."""
    tools = tools_to_wire([{"name": "any", "description": "d", "parameters": {}}])
    assert tool_choice_to_wire("any", tools) == {"type": "function", "function": {"name": "any"}}


def test_a_tool_of_the_service_can_be_chosen() -> None:
    tools = tools_to_wire([{"type": "openrouter:web_search"}])
    assert tool_choice_to_wire("openrouter:web_search", tools) == {"type": "openrouter:web_search"}


@pytest.mark.parametrize("choice", ["minus", {"type": "function", "function": {"name": "minus"}}])
def test_an_unknown_tool_is_an_error_that_names_the_known(choice: Any) -> None:
    """ChatOpenAI sends it and leaves the refusal to the service, which costs a request."""
    with pytest.raises(ValueError, match=r"'minus'.*'divide', 'Add'"):
        tool_choice_to_wire(choice, tools_to_wire([divide, Add]))


def test_function_is_not_the_name_of_a_built_in_tool() -> None:
    with pytest.raises(ValueError, match="'function'"):
        tool_choice_to_wire("function", tools_to_wire([divide]))


def test_without_tools_no_name_is_known() -> None:
    with pytest.raises(ValueError, match="none"):
        tool_choice_to_wire("divide", [])


def test_a_choice_of_no_known_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="int"):
        tool_choice_to_wire(7, [])  # type: ignore[arg-type]


def test_a_callers_choice_is_not_shared() -> None:
    given = {"type": "function", "function": {"name": "divide"}}
    wire = tool_choice_to_wire(given, tools_to_wire([divide]))
    assert isinstance(wire, dict)
    wire["function"].clear()
    assert given["function"] == {"name": "divide"}
