"""What importing the package costs nobody: what only some users need stays unread, until they ask for it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from langchain_core.tools import StructuredTool

import langchain_openrouter_free
from langchain_openrouter_free import ChatOpenRouterFree
from langchain_openrouter_free.later import Later

HOUSE = Path(__file__).resolve().parent.parent
NAME = "langchain_openrouter_free"
# Where langchain-core or httpx load one of them by themselves, it is no cost of ours.
BASE = "from langchain_core.language_models import BaseChatModel; import httpx, httpcore"
UNREAD = {
    *("langchain_openai", "openai", "langchain_core.tools", "opentelemetry"),
    *("sqlite3", "redis", "platformdirs", "jsonschema", "plotly", "typer", "rich", "starlette", "uvicorn"),
    *(f"{NAME}.{one}" for one in ("cli", "serve", "simulator", "face.structured", "words.restarts", "testing")),
    *(f"{NAME}.{one}" for one in ("stores.sqlite", "stores.redis", "configuration.schema", "configuration.template")),
    *("tomllib", f"{NAME}.configuration.lines", f"{NAME}.request.external"),
    *(f"{NAME}.{one}" for one in ("books.spending", "books.figures", "books.usage", "report")),
    *(f"{NAME}.questions.{one}" for one in ("checkup", "examination", "standing")),
    # What the first model loads, and its first call.
    *(f"{NAME}.{one}" for one in ("engine.bookkeeping", "books.ledger", "request.lookup", "route.routing")),
    *(f"{NAME}.{one}" for one in ("engine.engine", "engine.portal", "request.call", "request.request")),
}
ASKED = f"""
import json, sys
{BASE}
before = set(sys.modules)
from {NAME} import ChatOpenRouterFree as Model
from {NAME}.protocol import evidence
parts = [part for part in Model.__mro__ if part.__module__.startswith("{NAME}.")]
print(json.dumps({{
    "read": sorted(sys.modules.keys() - before),
    "built": [part.__name__ for part in parts if part.__dict__.get("__pydantic_complete__")],
    "compiled": evidence.compiled.cache_info().currsize,
}}))
"""


@pytest.fixture(scope="module")
def fresh() -> dict[str, Any]:
    """What is there after the import in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED], cwd=HOUSE, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_import_reads_only_what_every_user_needs(fresh: dict[str, Any]) -> None:
    assert f"{NAME}.chat_model" in fresh["read"]
    assert UNREAD & set(fresh["read"]) == set()
    assert [name for name in UNREAD if name.startswith(NAME) and find_spec(name) is None] == []


def test_of_the_models_parts_only_the_whole_is_built(fresh: dict[str, Any]) -> None:
    assert fresh["built"] == ["ChatOpenRouterFree"]


def test_the_table_of_what_models_cannot_do_is_compiled_when_a_refusal_is_read(fresh: dict[str, Any]) -> None:
    assert fresh["compiled"] == 0


def own_methods() -> dict[str, Any]:
    found = {name: inspect.getattr_static(ChatOpenRouterFree, name) for name in dir(ChatOpenRouterFree)}
    plain = {name: getattr(one, "fget", None) or getattr(one, "__func__", one) for name, one in found.items()}
    return {n: one for n, one in plain.items() if inspect.isfunction(one) and one.__module__.startswith(f"{NAME}.")}


@pytest.mark.parametrize("name", own_methods())
def test_the_types_of_a_method_can_be_looked_up(name: str) -> None:
    assert "return" in get_type_hints(own_methods()[name])


def test_a_method_that_is_read_later_can_be_a_tool() -> None:
    model = ChatOpenRouterFree(api_key="sk-or-v1-none", state="memory")
    tool = StructuredTool.from_function(model.quota, description="What is left of the free requests.")
    assert type(tool.invoke({})).__name__ == "Usage"


def test_a_module_that_is_read_later_is_the_module() -> None:
    later = Later("json.decoder")
    assert later.JSONDecodeError is json.JSONDecodeError
    with pytest.raises(AttributeError, match=r"json\.decoder.*'nothing'"):
        _ = later.nothing
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        _ = Later("no_such_module").anything


def test_what_was_used_once_of_a_module_that_is_read_later_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    later, decode = Later("json.decoder"), json.JSONDecodeError
    assert later.JSONDecodeError is decode
    monkeypatch.setitem(sys.modules, "json.decoder", None)
    assert later.JSONDecodeError is decode


def test_a_package_that_is_not_installed_can_be_looked_at_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools read all of a module's attributes, and take no error but AttributeError for an answer."""
    monkeypatch.setattr(metadata.Distribution, "discover", lambda **_: iter(()))
    found = dict(inspect.getmembers(langchain_openrouter_free))
    assert found["__version__"] == "0+unknown"


@pytest.mark.parametrize("path", ["_generate", "_agenerate"])
def test_the_signatures_that_are_kept_are_those_of_the_methods(path: str) -> None:
    """Of a bound method as of the function, asked for again, and changed in other ways."""
    bound, plain = getattr(ChatOpenRouterFree(api_key="sk-or-v1-none"), path), getattr(ChatOpenRouterFree, path)
    names = ["self", "messages", "stop", "run_manager", "kwargs"]
    for _ in range(2):
        assert list(inspect.signature(plain).parameters) == names
        assert list(inspect.signature(bound).parameters) == names[1:]
        assert inspect.signature(bound).bind([]).arguments == {"messages": []}
        assert list(inspect.signature(plain).replace(parameters=[]).parameters) == []
        assert inspect.signature(plain).replace(return_annotation=int).return_annotation is int
