"""What each command prints with `--json`: the shapes that scripts may rely on, and no key beside them."""

from __future__ import annotations

from dataclasses import is_dataclass
from types import GenericAlias
from typing import Any, Literal, get_type_hints

from pydantic import ConfigDict, TypeAdapter, create_model
from typing_extensions import TypedDict

from langchain_openrouter_free.books.spending import Spending
from langchain_openrouter_free.books.usage import Cost, ProjectUse, WindowUse
from langchain_openrouter_free.questions.checkup import Finding
from langchain_openrouter_free.questions.outlook import Considered
from langchain_openrouter_free.questions.standing import Standing

Mark = float | None


class Attempt(TypedDict):
    model: str
    outcome: str
    scope: str
    status: int | None
    reason: str
    first_token_s: Mark
    seconds: float
    until: Mark


class Wait(TypedDict):
    why: str
    seconds: float


class Window(TypedDict):
    limit: int | None
    used: int
    left: int | None
    resets_at: Mark


class Windows(TypedDict, total=False):
    minute: Window
    day: Window


class Route(TypedDict):
    outcome: str | None
    model: str | None
    provider: str | None
    paid: bool
    cost: Mark
    attempts: list[Attempt]
    waits: list[Wait]
    waited_s: float
    quota: Windows


class Call(Route):
    at: float
    project: str
    prompt_tokens: int | None
    completion_tokens: int | None


def closed(kind: type) -> Any:
    """Return a dataclass's shape with nothing beside its fields."""
    assert is_dataclass(kind)
    hints: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        inner = getattr(hint, "__args__", (None,))[0]
        hints[name] = several(closed(inner)) if isinstance(inner, type) and is_dataclass(inner) else hint
    fields: dict[str, Any] = {name: (hint, ...) for name, hint in hints.items()}
    return create_model(kind.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def several(kind: Any) -> Any:
    """Return the type of a list of what is known at run time alone."""
    return GenericAlias(list, (kind,))


def table(title: str, /, **fields: Any) -> Any:
    made: dict[str, Any] = {key: (kind, ...) for key, kind in fields.items()}
    return create_model(title, __config__=ConfigDict(extra="forbid"), **made)


SETTING = TypedDict("SETTING", {"name": str, "value": Any, "from": str, "secret": bool})
SPENT = closed(Spending)
QUOTA = {"windows": several(closed(WindowUse)), "projects": several(closed(ProjectUse))}
STANDINGS = several(closed(Standing))
SCENE = table("Scene", title=str, answered=bool, text=str, routes=list[Route])

SHAPES: dict[str, Any] = {
    "init": table("Init", written=str),
    "config": table(
        "Config",
        project_file=str | None,
        user_file=str,
        user_file_exists=bool,
        profile=str | None,
        profiles=list[str],
        settings=several(SETTING),
        refused=several(table("Refused", name=str, reason=str)),
    ),
    "doctor": table("Doctor", healthy=bool, findings=several(closed(Finding))),
    "models": table("Models", listed_at=float, bundled=bool, models=STANDINGS),
    "explain": table("Explain", order=list[str], models=several(closed(Considered)), listed_at=float, bundled=bool),
    "quota": table("Quota", key=bool, **QUOTA),
    "budget": table("Budget", spending=SPENT, allow_paid=bool, by_day_and_model=several(closed(Cost))),
    "chat": table("Chat", text=str, route=Route, usage=dict[str, Any] | None),
    "route": list[Call],
    "watch": table("Watch", at=float, models=STANDINGS, quota=table("Q", **QUOTA), spending=SPENT, calls=list[Call]),
    "report": table(
        "Report",
        since=float,
        until=float,
        project=str | None,
        calls=int,
        moves=int,
        answers=dict[str, int],
        outcomes=dict[str, int],
        failures=dict[str, int],
        course=list[dict[str, float]],
        first_content=dict[str, dict[str, float]],
        hours=list[dict[str, Mark]],
        quota=Windows,
        spent=dict[str, float],
        budget=list[dict[str, Any]],
        cooldowns=list[dict[str, Any]],
        delistings=list[dict[str, Any]],
        last=list[Call],
    ),
    "serve": table("Serve", base_url=str, models=list[str], token_needed=bool),
    "simulate": table("Simulate", scenario=str, base_url=str, log=str, api_key=str),
    "simulate --list": table("Listed", scenarios=dict[str, str], behaviours=dict[str, str], parameters=dict[str, str]),
    "demo": table("Demo", scenes=several(SCENE), answered=int, of=int, day_spent=list[str], seconds=float),
    "reset": table("Reset", reset=Literal["cooldowns", "state"], models=int, kept_as=str | None),
    "completion": table("Completion", shell=str, script=str),
    "error": table("Error", error=table("Told", kind=str, message=str, exit_code=int)),
}


def schema(command: str) -> dict[str, Any]:
    """Return the JSON schema of what a command prints."""
    return TypeAdapter(SHAPES[command]).json_schema()
