"""What the user configured, checked once, at construction. Every mistake is a `ConfigurationError`.

Turns raw arguments into values that the rest may trust. Knows no network and no LangChain.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import date, time
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from langchain_openrouter_free.books.budget import Fees
from langchain_openrouter_free.books.quota import Limits, Part, Share
from langchain_openrouter_free.catalogue.catalogue import says_free
from langchain_openrouter_free.catalogue.selection import AUTO, PerModel, is_pattern, stands_for_many
from langchain_openrouter_free.engine.timeouts import Layer, Timeouts
from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.judging.answers import BY_DEFAULT, ROWS
from langchain_openrouter_free.judging.checks import named
from langchain_openrouter_free.protocol.preferences import PRIVACY, conflict, costs_beside
from langchain_openrouter_free.values import value_type

DEFAULT_BASE_URL = "https://openrouter.ai/api/v1"

_MODEL_ID = re.compile(r"^[A-Za-z0-9_.~-]+/[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.-]+)?\Z")
_PATTERN = re.compile(r"^[A-Za-z0-9_.~/:*?\[\]!-]+\Z")
_NO_LIMIT, _MOST_REQUESTS = 7 * 86_400.0, 10_000_000
# What most accounts have: 20 a minute, and 50 a day until credits were bought once (the service's limits page).
_USUAL = Limits(per_minute=20, per_day=50, guessed=True)
_SLOWEST_PACE, _HUGE = 0.001, 1e308  # a whole number may be more than a float holds
_SERVICE_HOST, _WINDOWS = "openrouter.ai", ("per_minute", "per_day")
_DEEPEST = 100  # so many tables in each other are no parameter any more
_PERCENT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*%\s*$")

# Fields of the body that the router owns: naming them elsewhere could reach a paid model or break the reader.
# A preset of the account may name another model; `n` multiplies the cost.
OWNED_FIELDS = frozenset(
    {"model", "models", "route", "fallbacks", "messages", "stream", "stream_options", "usage", "preset", "n"}
)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def free_models(models: Sequence[object]) -> tuple[str, ...]:
    """Check the ranking: free ids, patterns such as `"qwen/*"`, and `"auto"` for all others.

    Raises:
        ConfigurationError: if it is empty, holds an entry twice, no id, or an id that does not claim to be free.
    """
    if isinstance(models, str) or not isinstance(models, Sequence):
        raise ConfigurationError("models must be a list of ids, best first.")
    if not models:
        raise ConfigurationError("models is empty: name at least one ':free' id, or 'auto', best first.")
    checked = tuple(_ranked(model) for model in models)
    paid = next((model for model in checked if not says_free(model) and not stands_for_many(model)), None)
    if paid is not None:
        raise ConfigurationError(
            f"models: {paid!r} does not end in ':free', so it may cost money. "
            "Put paid ids into paid_models, with allow_paid=True and a budget."
        )
    _refuse_doubles(checked, "models")
    return checked


def _ranked(entry: object) -> str:
    if isinstance(entry, str) and (entry == AUTO or (is_pattern(entry) and _PATTERN.match(entry))):
        return entry
    return model_id(entry, "models")


def model_id(model: object, field: str) -> str:
    """Return `model` if it has the form of an id."""
    if not isinstance(model, str) or not model.strip():
        raise ConfigurationError(f"{field}: {model!r} is no model id; write 'author/name:free'.")
    if not _MODEL_ID.match(model):
        hint = " (there is a blank in it)" if model != model.strip() or " " in model else ""
        raise ConfigurationError(f"{field}: {model!r} is no model id{hint}; write 'author/name:free'.")
    return model


def _refuse_doubles(ids: Sequence[str], field: str) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise ConfigurationError(f"{field}: {name!r} is there twice; a rank must be unique.")
        seen.add(name)


def paid_ids(names: Sequence[str], free: Sequence[str]) -> None:
    """Check the names of the paid candidates."""
    _refuse_doubles(names, "paid_models")
    for name in names:
        if says_free(name) or name in free:
            raise ConfigurationError(f"paid_models: {name!r} is a free id; it belongs into models.")


def words_of(key: object) -> str:
    """Return the text of what was given as a key; it is empty where there is none."""
    key = key.get_secret_value() if isinstance(key, SecretStr) else key
    if not isinstance(key, str | None):
        raise ConfigurationError(f"api_key must be a text or a SecretStr, and it is a {type(key).__name__}.")
    return key or ""


def api_key(given: object) -> str:
    """Return the key without surrounding blanks (they come with files and shells)."""
    key = words_of(given).strip()
    if not key:
        raise ConfigurationError("No API key: set OPENROUTER_API_KEY or pass api_key=...")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError("The API key holds blanks or characters that no key has; copy it again.")
    return key


@lru_cache(maxsize=256)
def base_url(url: str | None) -> str:
    """Return the base URL without a trailing slash."""
    url = (url or DEFAULT_BASE_URL).strip().rstrip("/")
    # An error stands in traces: what is before an @ or behind a ? may be a secret.
    shown = "base_url" if "@" in url else f"base_url={re.split('[?#]', url)[0]!r}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        _ = host.isascii() and host.encode("idna")  # as before it is looked up: no part may be empty, or too long
    except ValueError as error:
        raise ConfigurationError(f"{shown} is no URL{'' if '@' in url else f': {error}'}.") from None
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() for c in url):
        raise ConfigurationError(f"{shown} is no http(s) URL; the service's is {DEFAULT_BASE_URL!r}.")
    if parts.username or parts.password:
        raise ConfigurationError("base_url holds a name or a password, which would stand in traces; use headers.")
    if parts.query or parts.fragment or url.endswith("/chat/completions"):
        raise ConfigurationError(f"{shown}: give the part before '/chat/completions', without a query.")
    return url


def timeouts(given: object, timeout: float | None = None) -> Layer:
    """Read `timeouts={"connect": 5, ...}` (seconds; None: no limit) and `timeout` (one attempt).

    `{"models": {"author/*": {"first_token": 90}}}` says them for some models; `{"adaptive": False}` keeps them as said.
    """
    given = _table(given, "timeouts")
    if not given and timeout is None:
        return Layer()
    models = _table(given.get("models"), "timeouts['models']")
    of_all = {name: value for name, value in given.items() if name != "models"}
    values = _deadlines(of_all, "timeouts", [*_DEADLINES, "models"])
    if timeout is not None:
        values["attempt"] = seconds(timeout, "timeout")
    own = [name for name in _DEADLINES if name != "call"]
    return Layer(
        values,
        {
            pattern(model, "timeouts['models']"): _deadlines(said, f"timeouts['models'][{model!r}]", own)
            for model, said in models.items()
        },
    )


_DEADLINES = [one.name for one in fields(Timeouts)]


def _table(given: object, field: str) -> Mapping[Any, object]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigurationError(f"{field}={given!r} must be a table.")
    return given or {}


def _deadlines(given: object, field: str, known: Sequence[str]) -> dict[str, float | bool]:
    values: dict[str, float | bool] = {}
    for name, value in _table(given, field).items():
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise ConfigurationError(f"{field}: unknown key {name!r}{hint}; known: {', '.join(known)}.")
        if name == "adaptive" and not isinstance(value, bool):
            raise ConfigurationError(f"{field}['adaptive']={value!r} must be True or False.")
        values[name] = value if isinstance(value, bool) and name == "adaptive" else seconds(value, f"{field}[{name!r}]")
    return values


def silence(given: object) -> float | Literal["p95"] | None:
    """Read `hedge_after`: seconds, `"p95"`, or None for never."""
    if given is None or given == "p95":
        return "p95" if given else None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < _HUGE:
        raise ConfigurationError(f"hedge_after={given!r} must be a positive number of seconds, 'p95', or None.")
    return float(given)


def pattern(entry: object, field: str) -> str:
    """Return `entry` if it can stand for models: an id, or a pattern such as `"qwen/*"`."""
    if not isinstance(entry, str) or not _PATTERN.match(entry):
        raise ConfigurationError(f"{field}: {entry!r} is neither a model id nor a pattern such as 'author/*'.")
    return entry


def wire(given: object) -> PerModel[str]:
    """Read `wire="stream"`, `"plain"`, or `{"default": "stream", "author/*": "plain"}`."""
    said = _table(given, "wire") if not isinstance(given, str) else {"default": given}
    for model, how in said.items():
        if how not in _WIRES:
            hint = did_you_mean(str(how), _WIRES)
            raise ConfigurationError(f"wire: {how!r} is none of {', '.join(_WIRES)}{hint}.")
        pattern(model, "wire")
    entries = {str(model): str(how) for model, how in said.items()}
    return PerModel(entries.pop("default", "stream"), tuple(entries.items()))


_WIRES = ("stream", "plain")


def seconds(value: object, field: str) -> float:
    """Return a positive number of seconds; None means no limit (a week, the most that sockets can wait)."""
    if value is None:
        return _NO_LIMIT
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigurationError(f"{field}={value!r} must be a positive number of seconds, or None.")
    return float(min(value, _NO_LIMIT))


def limits(given: Mapping[str, object] | str | None, url: str) -> Limits:
    """Read `limits={"per_minute": 20, "per_day": 50}`: None assumes no limit, a missing name what is usual.

    Args:
        given: the limits, `"usual"`, or None for what is usual at `url`.
        url: base URL; what is usual is known of the service itself only.
    """
    usual = given == "usual" or is_service(url)
    assumed = _USUAL if usual else Limits()
    if given is None or given == "usual":
        return assumed
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"limits={given!r} must be 'usual' or name 'per_minute' and 'per_day'.")
    values: dict[str, int | None] = {}
    for name, value in given.items():
        if name not in _WINDOWS:
            hint = did_you_mean(str(name), _WINDOWS)
            raise ConfigurationError(f"limits: unknown key {name!r}{hint}; known: {list(_WINDOWS)}.")
        if value is not None and not _is_count(value):
            raise ConfigurationError(f"limits[{name!r}]={value!r} must be a positive number of requests, or None.")
        values[name] = value if isinstance(value, int) else None
    return replace(assumed, **values, guessed=assumed.guessed and "per_day" not in values)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_REQUESTS


def share(given: object, project: str) -> Share:
    """Read `daily_share=40`, `"30%"`, or `{"at_most": ..., "at_least": ...}`."""
    parts = given if isinstance(given, Mapping) else {"at_most": given}
    unknown = next((name for name in parts if name not in ("at_most", "at_least")), None)
    if unknown is not None:
        hint = did_you_mean(str(unknown), ("at_most", "at_least"))
        raise ConfigurationError(f"daily_share: unknown key {unknown!r}{hint}; known: at_most, at_least.")
    most, least = (_part(parts.get(name), name) for name in ("at_most", "at_least"))
    if most and least and most.percent == least.percent and least.amount > most.amount:
        raise ConfigurationError(f"daily_share={given!r}: at_least is more than at_most.")
    return Share(project, most, least)


def _part(value: object, name: str) -> Part | None:
    if value is None:
        return None
    if isinstance(value, str) and (hit := _PERCENT.match(value)) and 0 < float(hit[1]) <= 100:
        return Part(float(hit[1]), percent=True)
    if not _is_count(value):
        raise ConfigurationError(
            f"daily_share: {name}={value!r} must be a positive number of requests, or a percentage such as '30%'."
        )
    return Part(float(str(value)))


def project(name: str | None) -> str:
    """Return the project's name; without one the working directory, as far as there is one."""
    if not name:
        try:
            name = os.getcwd()  # noqa: PTH109 - asked at each call
        except OSError:
            return ""
    # A folder's name may be any bytes, and stores keep text.
    return name.encode("utf-8", "backslashreplace").decode()


def account(key: str, url: str) -> str:
    """Return the name under which an account's book is kept: a one-way hash, never the key."""
    return hashlib.sha256(f"langchain_openrouter_free\0{url}\0{key}".encode()).hexdigest()[:32]


def finite(values: Mapping[str, object], depth: int = 0) -> None:
    """Refuse what JSON cannot carry (NaN, infinity, a date of TOML's), wherever it stands, and tables without end."""
    for name, value in values.items():
        if depth > _DEEPEST:
            raise ConfigurationError(f"{name.partition('[')[0]} holds itself, or tables {_DEEPEST} deep in each other.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigurationError(f"{name}={value!r} is no finite number.")
        if isinstance(value, date | time):
            raise ConfigurationError(f"{name}={value} is a date or a time, which JSON does not have: write a text.")
        if isinstance(value, list | tuple):
            inside = {number: inner for number, inner in enumerate(value) if not isinstance(inner, str)}
            finite({f"{name}[{number}]": inner for number, inner in inside.items()}, depth + 1)
        if isinstance(value, Mapping):
            finite({f"{name}[{key!r}]": inner for key, inner in value.items()}, depth + 1)


def header_values(headers: Mapping[str, object]) -> dict[str, str]:
    """Check headers: text that HTTP can carry, and not the ones the router sets itself."""
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if name.lower() in ("authorization", "content-length", "host", "transfer-encoding"):
            raise ConfigurationError(f"default_headers: {name!r} is set by the router; use api_key or base_url.")
        text = str(value).strip(" ")
        if not (text.isascii() and text.isprintable() and re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII)):
            raise ConfigurationError(f"default_headers: {name!r} holds characters that a header cannot carry.")
        if name.lower() == "accept-encoding" and text.lower() not in ("gzip", "identity"):
            raise ConfigurationError(f"default_headers: {name}={text!r} cannot be read here; gzip and identity can.")
        checked[name] = text
    return checked


def extra_body(extra: Mapping[str, Any], *, unbounded: bool) -> dict[str, Any]:
    """Check what goes into the body beside the known parameters.

    Args:
        extra: the fields.
        unbounded: whether the user may be billed without a bound.

    Raises:
        ConfigurationError: for a field that the router owns, or, unless `unbounded`, one that costs money by itself.
    """
    owned = next((name for name in extra if name in OWNED_FIELDS), None)
    if owned is not None:
        raise ConfigurationError(
            f"extra_body: {owned!r} is the router's own field; models are chosen by models and paid_models."
        )
    if not unbounded:
        refuse_costs(extra)
    return dict(extra)


def refuse_costs(body: Mapping[str, Any]) -> None:
    """Refuse parts of a body that are billed beside the model, even when that is free.

    Raises:
        ConfigurationError: for the first of them.
    """
    found = next(costs_beside(body), None)
    if found is not None:
        raise ConfigurationError(
            f"{found} may cost money beside the model, and nothing bounds how much: "
            "it needs allow_paid=True and budget='unlimited', spelled out."
        )


def paid_rps(given: object) -> float | Literal["balance"] | None:
    """Read the most paid requests a second: a number, or `"balance"` for one for each dollar of it."""
    if given is None or given == "balance":
        return "balance" if given else None
    if isinstance(given, bool) or not isinstance(given, int | float) or not _SLOWEST_PACE <= given < _HUGE:
        raise ConfigurationError(
            f"paid_rps={given!r} must be a number of requests a second, {_SLOWEST_PACE:g} or more, or 'balance'."
        )
    return float(given)


@lru_cache(maxsize=256)
def is_service(url: str) -> bool:
    """Tell whether a base URL is the service's own."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return host == _SERVICE_HOST or host.endswith(f".{_SERVICE_HOST}")


def privacy(wanted: object, provider: object) -> None:
    """Check what is asked of providers, against the user's own preferences."""
    if provider is not None and not isinstance(provider, Mapping):
        raise ConfigurationError(f"provider={provider!r} must be a table, e.g. {{'data_collection': 'deny'}}.")
    if wanted not in PRIVACY:
        hint = did_you_mean(str(wanted), PRIVACY)
        raise ConfigurationError(f"privacy={wanted!r} is none of {', '.join(PRIVACY)}{hint}.")
    clash = conflict(provider, str(wanted))
    if clash is not None:
        raise ConfigurationError(f"{clash} contradicts privacy={wanted!r}; leave one of them out.")


def fees(given: object) -> Fees:
    """Read what buying credits costs beside them."""
    try:
        return Fees.parse(given)
    except ValueError as error:
        raise ConfigurationError(f"{error}.") from None


@value_type()
class Acceptance:
    """What counts as an answer beside the obvious.

    Attributes:
        rows: names of the rows of `answers.ROWS` that are let through.
        checks: the caller's own; each gets the message.
    """

    rows: frozenset[str] = BY_DEFAULT
    checks: tuple[Callable[[Any], object], ...] = ()

    def __str__(self) -> str:
        return ", ".join([*sorted(self.rows), *map(named, self.checks)])


def acceptance(given: object) -> Acceptance:
    """Read `accept="empty"`, `{"empty", "refusal"}`, `{"empty": True, "announced": False}`, a function, or a mixture.

    Raises:
        ConfigurationError: for a row that is not known, or a function that must be awaited.
    """
    if given is None:
        return Acceptance()
    if isinstance(given, Mapping):
        wanted = {_row(name): bool(value) for name, value in given.items()}
        on = {name for name, value in wanted.items() if value}
        return Acceptance((BY_DEFAULT - wanted.keys()) | on)
    several = isinstance(given, Iterable) and not isinstance(given, str) and not callable(given)
    entries = list(given) if several and isinstance(given, Iterable) else [given]
    checks = [entry for entry in entries if callable(entry)]
    if any(inspect.iscoroutinefunction(check) for check in checks):
        raise ConfigurationError("accept: a check is a plain function, which returns True, False or a reason.")
    return Acceptance(BY_DEFAULT | {_row(entry) for entry in entries if not callable(entry)}, tuple(checks))


def _row(name: object) -> str:
    if not isinstance(name, str) or name not in ROWS:
        hint = did_you_mean(str(name), ROWS)
        raise ConfigurationError(f"accept: {name!r} is no row{hint}; known: {', '.join(ROWS)}.")
    return name
