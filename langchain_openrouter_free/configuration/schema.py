"""What a file or the environment may set: the model's own fields, as far as text can say them.

Made from the fields themselves, so that a new field is a new setting. Knows no file and no order.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, create_model

from langchain_openrouter_free.books.budget import Budget
from langchain_openrouter_free.catalogue.selection import AUTO
from langchain_openrouter_free.request import parameters, settings
from langchain_openrouter_free.request.candidates import Candidates
from langchain_openrouter_free.request.fields import Fields, check_moves, check_wait
from langchain_openrouter_free.request.paid import PaidModel
from langchain_openrouter_free.stores.naming import store_of

# Settings that no other module may print or write, and that no file under version control may hold.
SECRETS = frozenset({"api_key"})
# A server's address may hold a password, before the host or among its options.
_PASSWORD = re.compile(
    r"(?<=://)(?P<user>[^/@\s]*:)[^/@\s]+(?=@)|(?P<option>[?&][\w-]*(?:password|token|key|secret)=)[^&\s]+",
    re.IGNORECASE,
)
TABLE = "tool.openrouter-free"
FILE = "configuration.schema.json"

_Never = Literal["none"]
_Seconds = float | _Never | None
_Requests = int | _Never | None
_Amount = float | str


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Limits(_Table):
    """What to assume of the account's free quota; `"none"`: no such limit."""

    per_minute: _Requests = None
    per_day: _Requests = None


class Share(_Table):
    """A project's part of the day: requests, or a percentage such as `"30%"`."""

    at_most: int | str | None = None
    at_least: int | str | None = None


class Caps(_Table):
    """US dollars."""

    call: _Amount | None = None
    day: _Amount | None = None
    month: _Amount | None = None
    total: _Amount | None = None


class Fee(_Table):
    """What buying credits costs beside them."""

    percent: _Amount | None = None
    least: _Amount | None = None


class Paid(_Table):
    """A paid id with prices of your own, in US dollars a million tokens."""

    model: str
    prompt_price: _Amount | None = None
    completion_price: _Amount | None = None
    request_price: _Amount = 0
    context: Annotated[int, Field(ge=1)] | None = None


class ModelDeadlines(_Table):
    """Seconds, for some models; `none`: no limit."""

    connect: _Seconds = None
    first_token: _Seconds = None
    stall: _Seconds = None
    attempt: _Seconds = None
    adaptive: bool = True


class Deadlines(ModelDeadlines):
    """Seconds; `none`: no limit. In `models` those for some, by id or pattern."""

    call: _Seconds = None
    models: dict[str, ModelDeadlines] = Field(default_factory=dict)


def _kind(value: object) -> str:
    return "table" if isinstance(value, Mapping | BaseModel) else "value"


def _or(table: type[BaseModel], scalar: Any) -> Any:
    """Return the type of what is a table or one value: an error then speaks of the one that was meant."""
    return Annotated[Annotated[table, Tag("table")] | Annotated[scalar, Tag("value")], Discriminator(_kind)]


# Fields whose own type says less than what may be written.
_WRITTEN: Mapping[str, Any] = {
    "budget": _or(Caps, _Amount),
    "account_budget": _or(Caps, _Amount),
    "paid_models": list[_or(Paid, str)],  # type: ignore[misc]
    "paid_rps": float | Literal["balance"],
    "hedge_after": float | Literal["p95"],
    "credit_fee": Fee,
    "api_key": str,
    "limits": _or(Limits, Literal["usual"]),
    "daily_share": _or(Share, int | str),
    "timeouts": Deadlines,
    "state": str,
}
# What chooses the configuration is no part of it.
_CHOOSERS = frozenset({"profile_name"})


def _paid(given: Sequence[Any]) -> None:
    """Check paid models as the model itself does, whether or not they may be asked."""
    named = [PaidModel(**one) if isinstance(one, Mapping) else one for one in given]
    Candidates.named([AUTO], named, None, allow_paid=False)


# What each value is checked by beside its type, so that an error can name its line.
CHECKS: Mapping[str, Callable[[Any], object]] = {
    **{name: lambda given, name=name: parameters.check({name: given}) for name in parameters.FIELDS},  # type: ignore[misc]
    "models": settings.free_models,
    "budget": Budget.parse,
    "account_budget": Budget.parse,
    "paid_rps": settings.paid_rps,
    "credit_fee": settings.fees,
    "api_key": settings.api_key,
    "base_url": settings.base_url,
    "limits": lambda given: settings.limits(given, ""),
    "daily_share": lambda given: settings.share(given, ""),
    "timeouts": settings.timeouts,
    "wire": settings.wire,
    "hedge_after": settings.silence,
    "timeout": lambda given: settings.seconds(given, "timeout"),
    "state": store_of,
    "default_headers": settings.header_values,
    "extra_body": lambda given: settings.extra_body(given, unbounded=True),
    "provider": lambda given: settings.privacy("any", given),
    "paid_models": _paid,
    "accept": settings.acceptance,
    "max_wait": check_wait,
    "max_retries": check_moves,
    "app_url": lambda given: settings.header_values({"HTTP-Referer": given}),
    "app_title": lambda given: settings.header_values({"X-Title": given}),
}


def is_secret(name: str, value: object) -> bool:
    """Tell whether a setting is a secret, or has one in it."""
    return name in SECRETS or (isinstance(value, str) and _PASSWORD.search(value) is not None)


def without_secrets(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they may be shown, profiles included: an address without its password."""
    return {name: _shown(name, value) for name, value in table.items()}


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if name in SECRETS:
        return "***"
    return _PASSWORD.sub(r"\g<user>\g<option>***", value) if isinstance(value, str) else value


def names() -> frozenset[str]:
    """Return the names of all settings: the fields of this package that are no Python objects."""
    own = Fields.__annotations__.keys() & Fields.model_fields.keys()
    return frozenset(name for name in own if not Fields.model_fields[name].exclude) - _CHOOSERS


@cache
def settings_model() -> type[BaseModel]:
    """Return the model of one file's table, or of one profile."""
    fields: dict[str, Any] = {
        name: (_WRITTEN.get(name, field.annotation) | None, None)
        for name, field in Fields.model_fields.items()
        if name in names()
    }
    return create_model("Settings", __base__=_Table, **fields)


@cache
def file_model() -> type[BaseModel]:
    """Return the model of what a file holds: settings, and profiles of settings."""
    profile = settings_model()
    named: Any = (dict[str, profile], Field(default_factory=dict, description="Named settings, over the others."))  # type: ignore[valid-type]
    return create_model("OpenRouterFree", __base__=profile, profiles=named)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of `openrouter-free.toml`, for editors."""
    made, described = file_model().model_json_schema(), told()
    for table in (made, made["$defs"]["Settings"]):
        for name, stated in table["properties"].items():
            stated.update({"description": described[name]} if name in described else {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "openrouter-free.toml",
        "description": f"Settings of langchain-openrouter-free; in pyproject.toml they stand under [{TABLE}].",
    }


def defaults() -> dict[str, Any]:
    """Return the default of each setting that is text or has none."""
    made = {name: Fields.model_fields[name] for name in Fields.model_fields if name in names()}
    return {
        name: None if name in SECRETS else field.get_default(call_default_factory=True) for name, field in made.items()
    }


def told() -> dict[str, str]:
    """Return what stands below each field in the source, which the interpreter does not keep."""
    body = ast.parse(inspect.getsource(Fields)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - it is a class's source
    found: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[ast.unparse(field.target)] = inspect.cleandoc(str(below.value.value)).replace("\n", " ")
    return found
