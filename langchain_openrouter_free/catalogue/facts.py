"""One model as the catalogue describes it: facts only, read from whatever shape a row has. Pure.

Rows changed their fields several times from 2025 to 2026, and values are odd in all of them: limits that are null or
larger than the context, lists that are missing, dates that mean "none". A value that makes no sense is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any

from langchain_openrouter_free.catalogue.catalogue import Prices, parse_prices, priced
from langchain_openrouter_free.values import value_type

# What the catalogue writes where nothing is planned.
_NEVER = "2098-12-31"
_INDICES = ("intelligence_index", "coding_index", "agentic_index")
_KNOWN = frozenset(
    {"id", "name", "created", "context_length", "top_provider", "architecture", "supported_parameters", "reasoning"}
    | {"expiration_date", "benchmarks", "pricing"}
)
_MOST_INDEX = 1_000_000
_NO_BENCHMARKS: Mapping[str, float] = {}
_MOST_TOKENS = 1_000_000_000
# Sets of words that models share (452 in all lists on record), and how long they may be (23 words, 249 characters).
_SETS: dict[tuple[Any, ...], frozenset[str]] = {}
_MOST_SETS, _MOST_WORDS, _LONGEST_WORDS = 1024, 64, 1024


@value_type(frozen=True)
class ModelFacts:
    """What the catalogue says of a model.

    Attributes:
        id: its id.
        name: for people.
        created: Unix seconds at which its base model appeared; None where nobody says.
        context: most tokens of prompt and answer together: the smaller of the model's and its top provider's.
        output_limit: most tokens of an answer; None where nobody says. Never more than the context.
        inputs, outputs: modalities, such as `"text"`, `"image"`, `"audio"`, `"file"`, `"video"`; none where nothing is
            known.
        parameters: what a request may hold; None where the catalogue does not say.
        reasoning: `"none"`, `"optional"`, `"mandatory"`, or `"unknown"`.
        expires_at: Unix seconds of the announced end; None where none is. Dates move.
        benchmarks: index -> value; comparable inside one catalogue only.
        price: what of its prices is not zero, in words; None where all are.
        row: what the catalogue says, whole.
    """

    id: str
    name: str = ""
    created: float | None = None
    context: int | None = None
    output_limit: int | None = None
    inputs: frozenset[str] = frozenset({"text"})
    outputs: frozenset[str] = frozenset({"text"})
    parameters: frozenset[str] | None = None
    reasoning: str = "unknown"
    expires_at: float | None = None
    benchmarks: Mapping[str, float] = field(default_factory=dict, hash=False)
    price: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def rest(self) -> Mapping[str, Any]:
        """All fields of its row that are none of these facts."""
        return {name: value for name, value in self.row.items() if name not in _KNOWN}

    @property
    def prices(self) -> Prices | None:
        """What it costs; None where its prices cannot bound the cost of a request."""
        return parse_prices(self.row)

    def takes(self, parameter: str) -> bool:
        """Tell whether a request may hold a parameter, as far as is known."""
        return self.parameters is None or parameter in self.parameters


def facts_of(row: Mapping[str, Any]) -> ModelFacts | None:
    """Return what a row of the catalogue says; None where it has no id."""
    model = row.get("id")
    if not isinstance(model, str) or not model:
        return None
    provider = _table(row.get("top_provider"))
    context, providers = _tokens(row.get("context_length")), _tokens(provider.get("context_length"))
    if context is None or (providers is not None and providers < context):
        context = providers
    output = _tokens(provider.get("max_completion_tokens"))
    shape = _table(row.get("architecture"))
    inputs, outputs = _modalities(shape)
    name, known = row.get("name"), _parameters(row.get("supported_parameters"))
    return ModelFacts(
        id=model,
        name=name if isinstance(name, str) else "",
        created=_moment(row.get("created")),
        context=context,
        output_limit=output if output is None or context is None else min(output, context),
        inputs=inputs,
        outputs=outputs,
        parameters=known,
        reasoning=_reasoning(row.get("reasoning"), known),
        expires_at=_date(row.get("expiration_date")),
        benchmarks=_benchmarks(row.get("benchmarks")),
        price=priced(row),
        row=row,
    )


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        return frozenset()
    words = tuple(value)
    try:
        return _SETS[words]
    except (KeyError, TypeError):  # not seen before, or something in it is no word
        known = frozenset(one for one in value if isinstance(one, str))
    # Models of one kind share it, and it outlives its list: so it must be short, and all of it words.
    if len(_SETS) < _MOST_SETS and len(words) == len(known) <= _MOST_WORDS and sum(map(len, known)) <= _LONGEST_WORDS:
        _SETS[words] = known
    return known


def _tokens(value: object) -> int | None:
    if type(value) is int and 1 <= value <= _MOST_TOKENS:  # as nearly all of them
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= _MOST_TOKENS:
        return None
    return int(value)


def _moment(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e11 else None


def _date(value: object) -> float | None:
    """Return the beginning of an announced last day, UTC."""
    if not isinstance(value, str) or value.startswith(_NEVER):
        return None
    try:
        date = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _modalities(shape: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Return what goes in and what comes out; older rows have `"text+image->text"` only."""
    inputs, outputs = _words(shape.get("input_modalities")), _words(shape.get("output_modalities"))
    if inputs and outputs:
        return inputs, outputs
    before, arrow, after = str(shape.get("modality") or "").partition("->")
    others = (before.split("+"), after.split("+")) if arrow else (["text"], ["text"])
    return inputs or frozenset(others[0]), outputs or frozenset(others[1])


def _parameters(value: object) -> frozenset[str] | None:
    # An empty list is one that nobody filled in (April 2025), not a model that takes nothing.
    return _words(value) or None


def _reasoning(stated: object, known: frozenset[str] | None) -> str:
    if isinstance(stated, dict):
        return "mandatory" if stated.get("mandatory") is True else "optional"
    if known is None:
        return "unknown"
    return "optional" if "reasoning" in known else "none"


def _benchmarks(value: object) -> Mapping[str, float]:
    stated = value.get("artificial_analysis") if isinstance(value, dict) else None
    if not isinstance(stated, dict):
        return _NO_BENCHMARKS
    return {name: float(stated[name]) for name in _INDICES if _is_index(stated.get(name))}


def _is_index(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_INDEX
