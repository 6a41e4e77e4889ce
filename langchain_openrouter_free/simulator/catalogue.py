"""What the service offers: rows of facts, their prices, and how `/models` shows them.

Owns ids and capabilities. It knows no account, no scripts and nothing of requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import date, time
from decimal import Decimal
from typing import Any

from langchain_openrouter_free.simulator.catalogue_rows import DEFAULT_ROWS, RICH
from langchain_openrouter_free.simulator.reply import Json
from langchain_openrouter_free.simulator.suggest import ScenarioError, unknown

ROUTER = "openrouter/free"
TEST_AUTHOR = "test/"
_CREATED = 1_780_000_000
_TRAINERS = frozenset({"Nvidia", "Poolside"})
_ZERO = {"prompt": "0", "completion": "0"}
_INDICES = ("intelligence_index", "coding_index", "agentic_index")


@dataclass(slots=True)
class Row:
    """One model of the catalogue. `pricing` has decimal strings, as the service gives them."""

    id: str
    canonical_slug: str = ""
    name: str = ""
    created: int = _CREATED
    context_length: int = 131_072
    max_completion_tokens: int | None = 32_768
    supported_parameters: list[str] = field(default_factory=RICH.split)
    input_modalities: list[str] = field(default_factory=lambda: ["text"])
    reasoning: dict[str, Any] | None = field(default_factory=lambda: {"mandatory": False})
    pricing: dict[str, Any] = field(default_factory=lambda: dict(_ZERO))
    indices: tuple[float, float, float] | None = None
    expiration_date: str | None = None
    provider: str = "Simulated"
    stated: Json | None = None

    def __post_init__(self) -> None:
        bare = self.id.removesuffix(":free")
        self.canonical_slug = self.canonical_slug or f"{bare}-20260801"
        self.name = self.name or self.id

    @property
    def is_free(self) -> bool:
        """Whether the account's laws for free models apply to it."""
        return self.id.endswith(":free") or self.id == ROUTER

    @property
    def thinks(self) -> bool:
        """Whether it thinks without being asked to."""
        facts = self.reasoning or {}
        return bool(facts.get("mandatory") or facts.get("default_enabled"))

    @property
    def trains(self) -> bool:
        """Whether its provider trains on prompts, and so keeps them (of the free ones in August 2026, these did)."""
        return self.is_free and self.provider in _TRAINERS

    def price(self, what: str, tokens: int = 0, now: float = 0.0) -> Decimal:
        """The price of one unit (`prompt`, `completion`, `request`, `image`) for a prompt of so many tokens, now."""
        stated: Any = self.pricing.get(what, "0")
        for layer in self.pricing.get("overrides") or ():
            if what in layer and tokens >= layer.get("min_prompt_tokens", 0) and _is_open(layer, now):
                stated = layer[what]
        return Decimal(str(stated))

    def takes(self, parameter: str) -> bool:
        """Whether a request parameter is supported."""
        return parameter in self.supported_parameters

    def as_json(self) -> Json:
        """The row as `GET /models` shows it."""
        if self.stated is not None:
            return self.stated
        inputs = "+".join(self.input_modalities)
        shown: Json = {
            "id": self.id,
            "canonical_slug": self.canonical_slug,
            "hugging_face_id": "",
            "name": self.name,
            "created": self.created,
            "description": f"{self.name}, as the simulator plays it.",
            "context_length": self.context_length,
            "architecture": {
                "modality": f"{inputs}->text",
                "input_modalities": list(self.input_modalities),
                "output_modalities": ["text"],
                "tokenizer": "Router" if self.id == ROUTER else "Other",
                "instruct_type": None,
            },
            "pricing": dict(self.pricing),
            "top_provider": self._top_provider(),
            "per_request_limits": None,
            "supported_parameters": sorted(self.supported_parameters),
            "default_parameters": {},
            "supported_voices": None,
            "knowledge_cutoff": None,
            "expiration_date": self.expiration_date,
            "links": {"details": f"/api/v1/models/{self.canonical_slug}/endpoints"},
        }
        if self.reasoning is not None:
            shown["reasoning"] = dict(self.reasoning)
        if self.indices is not None:
            shown["benchmarks"] = {"artificial_analysis": dict(zip(_INDICES, self.indices, strict=True))}
        return shown

    def endpoints_as_json(self) -> Json:
        """The row as `GET /models/.../endpoints` shows it."""
        shown = self.as_json()
        endpoint = {
            "name": f"{self.provider} | {self.canonical_slug}",
            "model_name": self.name,
            "context_length": self.context_length,
            "pricing": dict(self.pricing),
            "provider_name": self.provider,
            "tag": self.provider.lower().replace(" ", "-"),
            "quantization": None,
            "max_completion_tokens": self.max_completion_tokens,
            "max_prompt_tokens": None,
            "supported_parameters": shown["supported_parameters"],
            "status": 0,
            "uptime_last_30m": None,
            "supports_implicit_caching": False,
        }
        kept = ("id", "name", "created", "description", "architecture")
        return {name: shown[name] for name in kept} | {"endpoints": [endpoint]}

    def _top_provider(self) -> Json:
        router = self.id == ROUTER
        return {
            "context_length": None if router else self.context_length,
            "max_completion_tokens": self.max_completion_tokens,
            "is_moderated": False,
        }


def _is_open(layer: Json, now: float) -> bool:
    """Whether an override's hours (UTC, hours * 100 + minutes, perhaps over midnight) hold now."""
    if "utc_start" not in layer:
        return True
    start, end = int(layer["utc_start"]), int(layer["utc_end"])
    time = int(now // 3600 % 24) * 100 + int(now // 60 % 60)
    return start <= time < end if start < end else time >= start or time < end


_KNOWN_FIELDS = {one.name for one in fields(Row)} - {"stated"}
# What cannot be played as anything else; all other fields may be as odd as those of a real list.
_KINDS: dict[str, Any] = {
    "created": int | float,
    "supported_parameters": list | tuple,
    "input_modalities": list | tuple,
    "pricing": dict,
    "reasoning": dict | None,
    "indices": list | tuple | None,
}
# What a row has in common with an entry of the service's list.
_STATED = ("id", "canonical_slug", "name", "created", "context_length", "supported_parameters", "pricing")


def row_from(entry: str | Json) -> Row:
    """A row from an id alone, or from a table of the fields of `Row`.

    Raises:
        ScenarioError: a field is not known or has no price where it needs one.
    """
    if not isinstance(entry, str | dict):
        raise ScenarioError(f"models: a model is an id or a table with 'id', not {entry!r}")
    table: Json = {"id": entry} if isinstance(entry, str) else {name: _plain(value) for name, value in entry.items()}
    for name, value in table.items():
        if name not in _KNOWN_FIELDS:
            raise ScenarioError(f"models: {unknown('field', name, _KNOWN_FIELDS)}")
        if name in _KINDS and (not isinstance(value, _KINDS[name]) or isinstance(value, bool)):
            raise ScenarioError(f"models: {table.get('id')}: {name} cannot be {value!r}")
    if not isinstance(table.get("id"), str) or "/" not in table["id"]:
        raise ScenarioError(f"models: an id has the form author/slug, not {table.get('id')!r}")
    row = Row(**table)
    if row.indices is not None and len(row.indices) != len(_INDICES):
        raise ScenarioError(f"models: {row.id}: indices are {len(_INDICES)} numbers, not {row.indices!r}")
    if not row.is_free and row.pricing == _ZERO:
        raise ScenarioError(f"models: {row.id!r} is not ':free', so it needs a pricing with prompt and completion")
    return row


def _plain(value: object) -> object:
    """Return a value as JSON has it: TOML knows dates by themselves, the service writes them as text."""
    return value.isoformat() if isinstance(value, date | time) else value


def row_of(stated: Json) -> Row:
    """A row that is shown as it was stated, and plays as far as its fields are those of `Row`."""
    shape, provider = stated.get("architecture") or {}, stated.get("top_provider") or {}
    kept = {name: stated[name] for name in _STATED if stated.get(name) is not None}
    inputs = shape.get("input_modalities") or str(shape.get("modality") or "text").partition("->")[0].split("+")
    return Row(
        **kept,
        max_completion_tokens=provider.get("max_completion_tokens"),
        input_modalities=list(inputs),
        reasoning=stated.get("reasoning"),
        stated=stated,
    )


class Catalogue:
    """The rows by id. Ids of the author `test` with the suffix ':free' exist as soon as they are named."""

    def __init__(self, entries: Iterable[str | Json] | None = None, gone: Iterable[str] = ()) -> None:
        rows = DEFAULT_ROWS if entries is None else tuple(entries)
        self._rows = {row.id: row for row in map(row_from, rows)}
        self.gone = set(gone)
        for slug in self.gone:
            self.find(slug)

    def find(self, slug: str) -> Row | None:
        """The row of an id, or None. Rows that are gone are still found: the service remembers them."""
        row = self._rows.get(slug)
        if row is None and slug.startswith(TEST_AUTHOR) and slug.endswith(":free"):
            return self.name(slug)
        return row

    def name(self, slug: str) -> Row:
        """The row of an id; a ':free' id that is not in the catalogue is added to it.

        Raises:
            ScenarioError: the id is unknown and not free.
        """
        if slug in self._rows:
            return self._rows[slug]
        if not slug.endswith(":free"):
            raise ScenarioError(unknown("model", slug, self._rows))
        return self._rows.setdefault(slug, row_from(slug))

    def serve(self, entries: Iterable[Json]) -> None:
        """Offer these entries of a real list alone, as they are.

        What was on offer before is gone (404); what was gone before is forgotten (400, as for any unknown id).
        """
        rows = {row.id: row for row in map(row_of, entries)}
        offered = {slug: row for slug, row in self._rows.items() if slug not in self.gone}
        self.gone = offered.keys() - rows.keys()
        self._rows = offered | rows

    def twin(self, slug: str) -> str | None:
        """The paid id that a free one which is gone has left behind, if it is on offer."""
        paid = slug.removesuffix(":free")
        return paid if paid != slug and paid in self._rows and paid not in self.gone else None

    def listed(self) -> list[Row]:
        """What `GET /models` shows, newest first."""
        rows = [row for row in self._rows.values() if row.id not in self.gone]
        return sorted(rows, key=lambda row: -row.created)
