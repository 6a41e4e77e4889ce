"""Scenarios: the laws of an account, the models on offer and what they do, as data.

In Python a scenario is `Scenario(per_minute=20, scripts={"a/b:free": "429-upstream"})`. As a TOML file it has
the same keys at the top, and `scripts` as a table:

    about = "one line about it"
    per_minute = 20            # requests to free models in a minute; without it: no limit
    per_day = 50               # in a UTC day; 1000 and more stands for an account that bought credits
    minute_used = 0            # used at the start
    day_used = 0
    credits = "10"             # money on the account, as a decimal string; may be below zero
    limit_source = true        # false: bodies of 2025, without metadata.limit_source
    generation_delay = 30.0    # seconds by the clock until GET /generation knows an answer
    keys = ["sk-one", {key = "sk-two", limit = "0.5", revoked = false, account = "other"}]
    # these replace the list of models:
    models = ["test/m01:free", {id = "x/y", pricing = {prompt = "0.1", completion = "0.2"}}]
    gone = ["a/b:free"]        # known ids that are not offered any more: 404
    closed = ["c/d:free"]      # listed by /models, but not for this account: 403
    page_size = 500            # entries on a page of the lists of models; without it: all on one

    [rpm]                      # minute limits of single models
    "e/f:free" = 8

    [refuses]                  # what single models refuse though /models says nothing; see the module `manners`
    "g/h:free" = ["forced-tool-choice", "system-role"]

    [scripts]                  # see the module `behaviours`
    "*" = {ok = 9, 503 = 1}
    "a/b:free" = ["429-upstream", {do = "ok", latency = 0.3}]

Without `keys` every key is accepted. Several keys belong to one account unless they name another.

Owns the format and its error messages. It plays nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from langchain_openrouter_free.simulator import manners
from langchain_openrouter_free.simulator.behaviours import Script, parse_script
from langchain_openrouter_free.simulator.catalogue import Catalogue
from langchain_openrouter_free.simulator.reply import Json
from langchain_openrouter_free.simulator.suggest import ScenarioError, unknown

_KEY_FIELDS = {"key", "limit", "revoked", "account"}
_MOST_DIGITS = 15
_COUNTS = ("per_minute", "per_day", "minute_used", "day_used")


@dataclass(kw_only=True)
class Scenario:
    """What a simulator plays; see the module docstring for the fields.

    Without arguments it is generous: no limits, and money for paid models.

    Raises:
        ScenarioError: something in it cannot be played.
    """

    name: str = ""
    about: str = ""
    per_minute: int | None = None
    per_day: int | None = None
    minute_used: int = 0
    day_used: int = 0
    credits: Decimal | int | float | str = Decimal(100)
    limit_source: bool = True
    generation_delay: float = 30.0
    keys: Sequence[str | Json] = field(default_factory=list)
    models: Sequence[str | Json] | None = None
    gone: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    page_size: int | None = None
    rpm: Mapping[str, int] = field(default_factory=dict)
    refuses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scripts: Mapping[str, Script] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.credits = _amount("credits", self.credits)
        for name in _COUNTS:
            _check_count(name, getattr(self, name))
        if self.page_size is not None:
            _check_count("page_size", self.page_size)
        for key in self.keys:
            _check_key(key)
        for slug, limit in self.rpm.items():
            _check_count(f"rpm of {slug}", limit)
        for slug, names in self.refuses.items():
            manners.check(slug, names)
        for slug, script in self.scripts.items():
            parse_script(f"scripts: {slug}", script)
        self.catalogue()

    def catalogue(self) -> Catalogue:
        """The models on offer, with every ':free' id that the scenario names."""
        catalogue = Catalogue(self.models, self.gone)
        for slug in (*self.gone, *self.closed, *self.rpm, *self.refuses, *self.scripts):
            if slug != "*":
                catalogue.name(slug)
        return catalogue


def _check_count(name: str, value: Any) -> None:
    optional = name.startswith("per_")
    if (value is None and optional) or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return
    raise ScenarioError(f"{name}: a whole number from 0, not {value!r}")


def _amount(name: str, value: Any) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount.adjusted() > _MOST_DIGITS:
        raise ScenarioError(f"{name}: a decimal number, not {value!r}")
    return amount


def _check_key(entry: Any) -> None:
    if isinstance(entry, str):
        return
    if not isinstance(entry, dict) or not isinstance(entry.get("key"), str):
        raise ScenarioError(f"keys: a key is a text or a table with 'key', not {entry!r}")
    for name in entry:
        if name not in _KEY_FIELDS:
            raise ScenarioError(f"keys: {unknown('field', name, _KEY_FIELDS)}")
    if entry.get("limit") is not None:
        _amount("keys: limit", entry["limit"])


def from_table(table: Mapping[str, Any], where: str = "scenario") -> Scenario:
    """A scenario from parsed TOML or JSON.

    Raises:
        ScenarioError: an unknown key or a value that cannot be played; the message begins with `where`.
    """
    known = {one.name for one in fields(Scenario)}
    for key in table:
        if key not in known:
            raise ScenarioError(f"{where}: {unknown('key', key, known)}")
    try:
        return Scenario(**table)
    except ScenarioError as error:
        raise ScenarioError(f"{where}: {error}") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise ScenarioError(f"{where}: a value has the wrong type ({error})") from None


def bundled() -> dict[str, Traversable]:
    """The scenarios that come with the package, were it imported from an archive, by name."""
    folder = resources.files("langchain_openrouter_free.simulator") / "scenarios"
    files = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return {file.name.removesuffix(".toml"): file for file in files if file.name.endswith(".toml")}


def load(name: str) -> Scenario:
    """A scenario by the name of a bundled one, or by the path of a TOML file.

    Raises:
        ScenarioError: no such scenario, or the file cannot be played.
    """
    shipped = bundled()
    path: Traversable = shipped.get(name, Path(name))
    if not path.is_file():
        raise ScenarioError(unknown("scenario", name, shipped) + f" (bundled: {', '.join(shipped)})")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: not TOML: {error}") from None
    return from_table({"name": Path(path.name).stem} | table, str(path))
