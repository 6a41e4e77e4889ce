"""The rules of the house: who may import whom and what, how long a file may be, and what no file may say."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import langchain_openrouter_free as package
from langchain_openrouter_free.later import Later

NAME = package.__name__
ROOT = Path(str(package.__file__)).parent
# Packages of rules alone, and the rules in the others.
PURE_PACKAGES = ("protocol", "judging", "books", "route")
OTHERS = {
    "catalogue.abilities",
    "catalogue.advice",
    "catalogue.catalogue",
    "catalogue.facts",
    "catalogue.fetching",
    "catalogue.ranking",
    "catalogue.selection",
    "configuration.layers",
    "configuration.lines",
    "connections.addresses",
    "connections.framing",
    "engine.delivery",
    "engine.timeouts",
    "errors",
    "jsontext",
    "questions.checkup",
    "questions.standing",
    "report.charts",
    "serve.answering",
    "serve.asking",
    "serve.metrics",
    "values",
    "words.blanks",
}
LANGCHAIN = {
    "words.implied",
    "words.restarts",
    "request.audience",
    "questions.oversight",
    "cli.chat",
    "cli.demo",
    "cli.explain",
    "questions.outlook",
    "face.binding",
    "chat_model",
    "face.pacing",
    "request.call",
    "words.conversations",
    "request.external",
    "request.packages",
    "face.structured",
    "words.messages",
    "words.replies",
    "errors",
}
HTTP = {
    "connections.clients",
    "connections.direct",
    "connections.exchange",
    "connections.transport",
    "connections.network",
    "engine.sources",
    "request.lookup",
    "request.fields",
}
WORLD = {"httpx", "httpcore", "time", "random", "asyncio", "os", "sqlite3", "threading", "socket"}
# From the ground up: each may import those before it. A module at the top that is not named is of the ground.
FLOORS = (
    ("", "simulator"),
    ("protocol", "stores"),
    ("catalogue", "judging"),
    ("books", "connections"),
    ("report", "route"),
    ("engine",),
    ("words",),
    ("request",),
    ("configuration", "questions"),
    ("face", "serve"),
    ("chat_model",),
    ("cli",),
    ("__main__",),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
ID = re.compile(r"[a-z0-9~-]+/[a-z0-9][a-z0-9._-]*(:[a-z]+)?")
NO_MODEL = {"application/json", "text/event-stream", "text/html", "http/1.1"}  # content types, a protocol
OUR_OWN = ("simulated/", "test/", "openrouter/")  # inventions, and the service's own routers


FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
SIMULATOR = {name for name in TREES if name.startswith("simulator")}
HOUSE = {name: tree for name, tree in TREES.items() if name not in SIMULATOR}
RULES = OTHERS | {name for name in TREES if name.startswith(tuple(f"{package}." for package in PURE_PACKAGES))}
PURE = RULES | {"words.messages", "words.replies", "words.restarts"}


def imports(tree: ast.Module) -> set[str]:
    """Every module that is imported anywhere, with the package it is in."""
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {one if one.removeprefix(f"{NAME}.") in TREES else str(node.module) for one in whole}
    return found | {module.partition(".")[0] for module in found}


def ours(tree: ast.Module) -> set[str]:
    return {m.removeprefix(f"{NAME}.") for m in imports(tree)} & set(TREES) - {""}


def test_who_may_import_what() -> None:
    assert {name: found for name in PURE if (found := imports(HOUSE[name]) & WORLD)} == {}
    assert {name for name, tree in HOUSE.items() if "langchain_core" in imports(tree)} <= LANGCHAIN
    assert {m for m in imports(TREES["errors"]) if m.startswith("langchain_core.")} == {"langchain_core.exceptions"}
    assert {
        name for name, tree in HOUSE.items() if imports(tree) & {"langchain_openai", "openai", "langchain"}
    } == set()
    assert {name for name, tree in HOUSE.items() if imports(tree) & {"httpx", "httpcore"}} <= HTTP
    assert {name: found for name in SIMULATOR if (found := ours(TREES[name]) - SIMULATOR)} == {}
    assert {name for name, tree in HOUSE.items() if ours(tree) & SIMULATOR} == {"cli.demo", "cli.simulate"}


def test_every_module_is_in_the_map_and_the_rules_are_marked() -> None:
    page = (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    heads = re.split(r"^\*\*(?:`(\w+)/`)?", page, flags=re.MULTILINE)
    alone = {
        f"{package}.{module}" if package else module: mark
        for package, part in zip(heads[1::2], heads[2::2], strict=True)
        for module, mark in re.findall(r"^\| `(\w+)\.py`( \*)? \|", part, re.MULTILINE)
    }
    packages = {row[3:].partition("/`")[0]: set(re.findall(r"`(\w+)`", row)) for row in rows if "/` |" in row}
    told = alone.keys() | {f"{package}.{module}" for package, modules in packages.items() for module in modules}
    named = {name for name in TREES if name and not name.endswith("__main__") and FILES[name].name != "__init__.py"}
    assert (named - told, {name for name in alone if name not in named}) == (set(), set())
    rules = {name for name in RULES if name.partition(".")[0] not in packages}
    assert {name for name, mark in alone.items() if mark} == rules


def test_every_import_goes_down() -> None:
    """Within a package modules import each other, in no circle; all else is imported from a lower floor."""

    def place(name: str) -> str:
        top = name.partition(".")[0]
        return top if top in FLOOR else ""

    arrows = [(name, other) for name, tree in TREES.items() if name for other in ours(tree)]
    across = [(one, other) for one, other in arrows if place(one) != place(other)]
    assert [(one, other) for one, other in across if FLOOR[place(one)] <= FLOOR[place(other)]] == []


def test_no_import_goes_in_a_circle() -> None:
    list(TopologicalSorter({name: ours(tree) - {name} for name, tree in TREES.items()}).static_order())


@pytest.mark.parametrize("name", TREES)
def test_a_module_says_what_it_owns_and_fits_in_a_head(name: str) -> None:
    assert ast.get_docstring(TREES[name]), "no docstring"
    text = FILES[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 500
    assert not re.search(r"/(home|root|work|Users|tmp)/", text), "names a place on one machine"


def test_the_public_names_are_all_there_and_sorted() -> None:
    froms = [node for node in ast.walk(TREES[""]) if isinstance(node, ast.ImportFrom) and NAME in str(node.module)]
    assert package.__all__ == sorted({alias.asname or alias.name for node in froms for alias in node.names})
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_no_real_paid_model_is_named() -> None:
    nodes = [node for tree in TREES.values() for node in ast.walk(tree)]
    words = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    # Rows of the simulator's list: `_free` itself puts ":free" behind each.
    free = {ast.literal_eval(n.args[0]) for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "_free"}
    ids = {word for word in words - free - NO_MODEL if ID.fullmatch(word) and not word.endswith(":free")}
    assert {i for i in ids if not i.startswith(OUR_OWN)} == set()


def test_a_type_checker_sees_every_name_and_no_other() -> None:
    """A module's `__getattr__` would make any name one of the module's, misspelt ones above all."""
    seen = [
        name
        for name, tree in TREES.items()
        if any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)
    ]
    assert seen == []


@pytest.mark.parametrize("name", [name for name, tree in TREES.items() if "later" in ours(tree)])
def test_what_is_read_later_is_what_a_type_checker_takes_it_for(name: str) -> None:
    """The two lists of one module stand side by side, in an order that nothing else looks at."""
    asked = [one for one in TREES[name].body if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"]
    read = vars(import_module(f"{NAME}.{name}"))
    for one in (one for branch in asked for one in branch.body if isinstance(one, ast.ImportFrom | ast.Import)):
        for alias in one.names:
            stands_for = read.get(alias.asname or alias.name)
            if isinstance(stands_for, Later):
                whole = f"{one.module}.{alias.name}" if isinstance(one, ast.ImportFrom) else alias.name
                assert repr(stands_for) == f"Later({whole!r})"
