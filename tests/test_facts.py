"""What the catalogue says of a model: the service's real lists, odd values one by one, and anything at all."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free.catalogue.catalogue import Listing
from langchain_openrouter_free.catalogue.facts import ModelFacts, facts_of
from langchain_openrouter_free.catalogue.ranking import not_for_chat, scored
from langchain_openrouter_free.route.choosing import facts_in, free_in, selection_of

FOLDER = Path(__file__).parents[2] / "shared" / "openrouter" / "catalog"
real = pytest.mark.skipif(not FOLDER.exists(), reason="the folder of the service's real lists is not beside this repo")

ROUTER, SAFETY = "openrouter/free", "nvidia/nemotron-3.5-content-safety:free"


@dataclass(frozen=True)
class Day:
    """What one real list holds."""

    rows: int
    frees: int  # ids that end in ':free'
    proven: int  # ids that say they are free, and are
    usable: int  # those of them that are for chat
    others: frozenset[str] = frozenset({ROUTER})  # those that are not


_SPECIAL = {"deepseek/deepseek-prover-v2:free", "deepseek/deepseek-v3-base:free", "meta-llama/llama-3.1-405b:free"}
DAYS = {
    "2025-06-11": Day(324, 68, 68, 65, frozenset(_SPECIAL)),
    "2025-11-03": Day(343, 46, 46, 46, frozenset()),
    "2026-01-22": Day(345, 33, 32, 32, frozenset()),
    "2026-02-27": Day(343, 25, 26, 25),
    "2026-03-20": Day(350, 26, 27, 26),
    "2026-05-01": Day(371, 29, 30, 28, frozenset({ROUTER, "baidu/qianfan-ocr-fast:free"})),
    "2026-07-17": Day(342, 20, 21, 19, frozenset({ROUTER, SAFETY})),
    "2026-07-20": Day(339, 14, 15, 13, frozenset({ROUTER, SAFETY})),
    "2026-08-08": Day(400, 14, 15, 13, frozenset({ROUTER, SAFETY})),
    "2026-08-22": Day(421, 18, 19, 17, frozenset({ROUTER, SAFETY})),
}


def moment(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


@cache
def payload_of(day: str) -> Any:
    return json.loads((FOLDER / f"{day}.json").read_text(encoding="utf-8"))


def listing_of(day: str) -> Listing:
    listing = Listing.of(payload_of(day), moment(day))
    assert listing is not None
    return listing


def frees_of(day: str) -> set[str]:
    """The ids that are proven free."""
    return {facts.id for facts in free_in(listing_of(day))}


def known(day: str, model: str) -> ModelFacts:
    facts = facts_in(listing_of(day), model)
    assert facts is not None
    return facts


@real
@pytest.mark.parametrize("day", DAYS)
def test_what_a_real_list_holds(day: str) -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(DAYS), "the table knows every list"
    listing, told = listing_of(day), DAYS[day]
    assert sum(map(len, listing.rows.values())) == len(listing.rows) == told.rows
    frees = {model for model in listing.rows if model.endswith(":free")}
    proven = {facts.id for facts in free_in(listing)}
    selection = selection_of(("auto",), listing, listing.at)
    usable = [one.model for one in selection.chosen]
    assert (len(frees), len(proven), len(usable)) == (told.frees, told.proven, told.usable)
    assert len(set(usable)) == len(usable)
    assert proven - set(usable) == set(selection.left_out) == told.others


@real
@pytest.mark.parametrize("day", DAYS)
def test_every_row_of_a_real_list_has_plausible_facts(day: str) -> None:
    """Prices aside, the rows of paid models are the same kind: none crashes, none has a limit over its context."""
    for row in listing_of(day).rows.values():
        facts = facts_of(row[0])
        assert facts is not None
        assert facts.context is None or 1_000 < facts.context <= 20_000_000
        assert facts.output_limit is None or 0 < facts.output_limit <= (facts.context or math.inf)
        assert facts.inputs | facts.outputs <= {"text", "image", "audio", "video", "file", "embeddings"}
        assert "text" in facts.inputs
        assert facts.created is not None
        assert moment("2023-01-01") < facts.created < moment(day) + 86_400
        assert facts.expires_at is None or facts.expires_at < moment("2030-01-01")
        assert all(0 <= value <= 100 for value in facts.benchmarks.values())
        assert facts.price is None or not facts.id.endswith(":free") or day == "2026-01-22"


# Counted by hand in the folder's README, section 5: of all ':free' ids.
COUNTED = {
    "2026-02-27": {"tools": 16, "tool_choice": 14, "structured_outputs": 8, "response_format": 12, "reasoning": 11},
    "2026-05-01": {"tools": 18, "tool_choice": 17, "structured_outputs": 5, "response_format": 12, "reasoning": 16},
    "2026-08-22": {"tools": 17, "tool_choice": 15, "structured_outputs": 5, "response_format": 7, "reasoning": 18},
}


@real
@pytest.mark.parametrize("day", COUNTED)
def test_what_free_models_take(day: str) -> None:
    listing = listing_of(day)
    free = [known(day, model) for model in listing.rows if model.endswith(":free")]
    assert {name: sum(facts.takes(name) for facts in free) for name in COUNTED[day]} == COUNTED[day]
    assert sum("image" in facts.inputs for facts in free) == {"2026-02-27": 5, "2026-05-01": 8, "2026-08-22": 8}[day]
    assert (
        sum(facts.output_limit is None for facts in free) == {"2026-02-27": 13, "2026-05-01": 9, "2026-08-22": 2}[day]
    )


@real
def test_single_facts_of_real_rows() -> None:
    """What the folder's README names: limits that differ, ends, indices, and a model that always thinks."""
    differing = {
        "google/gemma-4-26b-a4b-it:free": 131_072,
        "qwen/qwen3-coder:free": 262_000,
        "nvidia/nemotron-3-super-120b-a12b:free": 262_144,
        "meta-llama/llama-3.3-70b-instruct:free": 65_536,
    }
    assert {model: known("2026-07-17", model).context for model in differing} == differing
    assert known("2026-08-22", "nvidia/nemotron-nano-9b-v2:free").expires_at == moment("2026-08-24")
    assert known("2026-08-22", "stealth/ox-alpha").expires_at is None
    assert known("2026-08-22", "z-ai/glm-5.2:free").benchmarks["intelligence_index"] == 52.6
    free = [facts for facts in free_in(listing_of("2026-08-22")) if facts.id != ROUTER]
    assert [facts.id for facts in free if facts.reasoning == "mandatory"] == ["liquid/lfm-2.5-2.6b:free"]
    assert not known("2025-06-11", "qwen/qwen3-8b:free").benchmarks
    assert known("2026-01-22", "google/gemini-2.0-flash-exp:free").price == "prompt '0.0000001'"


@real
@pytest.mark.parametrize("day", ["2026-07-17", "2026-08-22"])
def test_those_about_to_go_are_the_last_choice(day: str) -> None:
    """In both lists some models had two days left."""
    listing = listing_of(day)
    near = [
        (end := known(day, one.model).expires_at) is not None and end < listing.at + 3 * 86_400
        for one in selection_of(("auto",), listing, listing.at).chosen
    ]
    assert 0 < sum(near) < len(near)
    assert near == sorted(near)


NOT_CHAT = [
    ("2025-06-11", "meta-llama/llama-guard-4-12b", "a content classifier"),
    ("2025-11-03", "openai/text-embedding-3-large", "for embeddings"),
    ("2025-11-03", "bytedance/ui-tars-1.5-7b", "for steering a screen"),
    ("2026-05-01", "google/lyria-3-pro-preview", "for audio"),
]


@real
def test_real_models_for_something_else() -> None:
    """Paid ones too: the next free ones may be of their kind."""
    assert [(day, model, not_for_chat(known(day, model))) for day, model, _ in NOT_CHAT] == NOT_CHAT


# -- rows made by hand


def of(**row: Any) -> ModelFacts:
    facts = facts_of({"id": "test/m:free", **row})
    assert facts is not None
    return facts


SPECIAL = ["nvidia/nemotron-3-embed-1b", "nvidia/llama-nemotron-rerank-vl-1b-v2", "fish-audio/s2.1-pro-free"]
SPECIAL += ["deepgram/flux-tts", "google/shieldgemma-9b", "x/whisper-large", "x/m-base", "google/lyria-3"]


@pytest.mark.parametrize("model", SPECIAL)
def test_ids_that_tell_of_another_purpose(model: str) -> None:
    assert not_for_chat(of(id=f"{model}:free")) is not None


@pytest.mark.parametrize("model", ["openai/gpt-oss-safeguard-20b", "ibm-granite/granite-guardian", "qwen/qwen3guard"])
def test_guards_by_other_names(model: str) -> None:
    assert not_for_chat(of(id=f"{model}:free")) is not None


@pytest.mark.parametrize("model", ["x/guardsman-7b", "x/database-expert", "x/baseline", "x/proverb-3b", "x/ocrius"])
def test_ids_that_only_sound_like_it(model: str) -> None:
    assert not_for_chat(of(id=f"{model}:free")) is None
    assert not_for_chat(of(id=f"{model}:free", name="It: 405B (base) (free)")) == "a base model"


@pytest.mark.parametrize("row", [{}, {"id": None}, {"id": ""}, {"id": 5}, {"id": ["x"]}], ids=repr)
def test_a_row_without_an_id_says_nothing(row: dict[str, Any]) -> None:
    assert facts_of(row) is None


def test_a_row_with_nothing_but_an_id() -> None:
    """Nothing is known, so nothing is denied."""
    facts = of()
    assert facts == ModelFacts("test/m:free", price="no prices")
    assert facts.takes("tools")
    assert {facts, of()} == {facts}
    with pytest.raises(FrozenInstanceError):
        facts.context = 5  # type: ignore[misc]


NO_LIMIT: list[Any] = [None, 0, -1, True, "8192", [], {}, math.nan, math.inf, -math.inf, 10**400, 10**10]


@pytest.mark.parametrize("odd", NO_LIMIT, ids=lambda odd: repr(odd)[:12])
def test_limits_that_are_none(odd: Any) -> None:
    assert of(context_length=odd).context is None
    assert of(context_length=odd, top_provider={"context_length": 9_000}).context == 9_000
    assert of(context_length=9_000, top_provider={"context_length": odd}).context == 9_000
    assert of(context_length=9_000, top_provider={"max_completion_tokens": odd}).output_limit is None


def test_half_a_token_is_no_limit() -> None:
    assert of(context_length=0.5).context is None


LIMITS = [
    ((262_144, 131_072, 32_768), (131_072, 32_768)),
    ((131_072, 262_144, None), (131_072, None)),
    ((4_096, None, 16_384), (4_096, 4_096)),  # more than fits
    ((None, None, 16_384), (None, 16_384)),
    ((4_096.0, 8_192.0, 1_000.0), (4_096, 1_000)),
]


@pytest.mark.parametrize(("stated", "expected"), LIMITS, ids=repr)
def test_the_smaller_context_counts(stated: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    context, providers, output = stated
    facts = of(context_length=context, top_provider={"context_length": providers, "max_completion_tokens": output})
    assert (facts.context, facts.output_limit) == expected


TEXT, SEEN = frozenset({"text"}), frozenset({"text", "image"})
NO_END: list[Any] = ["2098-12-31", "2098-12-31T00:00:00Z", "", "soon", "2026-02-30", None, 5, True, [], {}]
NO_BIRTHDAY: list[Any] = [None, 0, -5, True, "1786470519", math.nan, math.inf, 10**400, 1e12, []]
NO_SHAPE: list[Any] = [
    None,
    [],
    {},
    "text->image",
    *({"modality": odd} for odd in (None, 5, "", "text", "nonsense", ["text"])),
]
# April 2025 has empty lists: not models that take nothing.
NOBODY_SAYS: list[Any] = [None, [], {}, "tools", 5, [None, 5]]
NO_REASONING: list[Any] = [None, "mandatory", True, []]
NO_SCORES: list[Any] = [None, [], 5, "x", {"artificial_analysis": None}]
# What stands in a field -> what it means for a fact.
VALUES: list[tuple[str, Any, str, Any]] = [
    ("expiration_date", "2026-08-24", "expires_at", moment("2026-08-24")),
    ("expiration_date", "2026-08-24T06:00:00Z", "expires_at", moment("2026-08-24") + 6 * 3600),
    ("expiration_date", "2026-08-24T06:00:00+02:00", "expires_at", moment("2026-08-24") + 4 * 3600),
    *(("expiration_date", odd, "expires_at", None) for odd in NO_END),
    ("created", 1_786_470_519, "created", 1_786_470_519.0),
    *(("created", odd, "created", None) for odd in NO_BIRTHDAY),
    ("architecture", {"modality": "text->text"}, "inputs", TEXT),
    ("architecture", {"modality": "text+image->text"}, "inputs", SEEN),
    ("architecture", {"modality": "text+image->text"}, "outputs", TEXT),
    ("architecture", {"modality": "text+image->text+image"}, "outputs", SEEN),
    ("architecture", {"modality": "text->image"}, "outputs", frozenset({"image"})),
    ("architecture", {"modality": "text->text", "input_modalities": ["image", "text"]}, "inputs", SEEN),
    ("architecture", {"modality": "text->image", "output_modalities": ["text"]}, "outputs", TEXT),
    ("architecture", {"input_modalities": [None, 5, "text"]}, "inputs", TEXT),
    *(("architecture", odd, "inputs", TEXT) for odd in NO_SHAPE),
    *(("architecture", odd, "outputs", TEXT) for odd in NO_SHAPE),
    ("supported_parameters", ["tools", None, "stop", ["seed"]], "parameters", frozenset({"tools", "stop"})),
    ("supported_parameters", ["tools", "reasoning"], "reasoning", "optional"),
    ("supported_parameters", ["tools"], "reasoning", "none"),
    *(("supported_parameters", odd, "parameters", None) for odd in NOBODY_SAYS),
    *(("supported_parameters", odd, "reasoning", "unknown") for odd in NOBODY_SAYS),
    ("reasoning", {"mandatory": True}, "reasoning", "mandatory"),
    ("reasoning", {"mandatory": False, "default_enabled": True}, "reasoning", "optional"),
    ("reasoning", {"mandatory": "yes"}, "reasoning", "optional"),
    ("reasoning", {}, "reasoning", "optional"),
    *(("reasoning", odd, "reasoning", "unknown") for odd in NO_REASONING),
    ("name", None, "name", ""),
    *(("benchmarks", odd, "benchmarks", {}) for odd in NO_SCORES),
]


@pytest.mark.parametrize(("name", "value", "fact", "expected"), VALUES)
def test_what_a_value_means(name: str, value: Any, fact: str, expected: Any) -> None:
    assert getattr(of(**{name: value}), fact) == expected


def test_what_a_model_takes() -> None:
    facts = of(supported_parameters=["tools"], reasoning={"mandatory": True})
    assert (facts.takes("tools"), facts.takes("seed"), facts.reasoning) == (True, False, "mandatory")


def measured(value: Any) -> ModelFacts:
    return of(benchmarks={"artificial_analysis": {"coding_index": value, "agentic_index": 5, "new_index": 1}})


@pytest.mark.parametrize("odd", [None, "52.6", True, -1, math.nan, -math.inf, [], {}], ids=repr)
def test_odd_indices(odd: Any) -> None:
    assert measured(odd).benchmarks == {"agentic_index": 5.0}
    assert measured(52).benchmarks == {"agentic_index": 5.0, "coding_index": 52.0}


def test_a_huge_index() -> None:
    assert "coding_index" not in measured(10**400).benchmarks


def test_unknown_fields_are_kept() -> None:
    facts = of(description="words", unheard_of={"deep": [1]}, knowledge_cutoff=None, context_length=9_000)
    assert facts.rest == {"description": "words", "unheard_of": {"deep": [1]}, "knowledge_cutoff": None}


# -- anything at all

_ODD: list[Any] = [None, True, False, 0, -1, 0.5, 1e308, -1e308, math.nan, math.inf, "", "x", "0", "2026-99-99"]
_ODD += ["->", "a->b->c", [], {}, [[]], [None], {"": None}, {"text": 1}, "\x00", "\ud800", 10**30]
_ODD += ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"]
# Copies: who draws a list may write into it.
odd_values = st.sampled_from(_ODD).map(copy.deepcopy) | st.floats() | st.integers(-(2**70), 2**70) | st.text(max_size=8)
anything = st.recursive(
    odd_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = "id name created context_length top_provider architecture supported_parameters reasoning expiration_date"
_INNER = "context_length max_completion_tokens modality input_modalities output_modalities mandatory prompt completion"
_DEEP = "artificial_analysis coding_index intelligence_index overrides"
names = st.sampled_from(f"{_FIELDS} {_INNER} {_DEEP} benchmarks pricing".split()) | st.text(max_size=5)
deep = st.dictionaries(names, anything | st.dictionaries(names, anything, max_size=3), max_size=4)
rows = st.dictionaries(names, anything | deep, max_size=12)


def sound(facts: ModelFacts) -> None:
    """Hold the facts to their types, and to what the ranking makes of them."""
    assert isinstance(facts.name, str)
    for limit in (facts.context, facts.output_limit):
        assert limit is None or (isinstance(limit, int) and 0 <= limit <= 10**9)
    assert facts.context is None or facts.output_limit is None or facts.output_limit <= facts.context
    for when in (facts.created, facts.expires_at):
        assert when is None or math.isfinite(when)
    assert min(len(facts.inputs), len(facts.outputs)) > 0
    assert facts.reasoning in ("none", "optional", "mandatory", "unknown")
    assert all(isinstance(value, float) and value >= 0 for value in facts.benchmarks.values())
    assert isinstance(not_for_chat(facts), str | None)
    assert all(-1 <= score <= 1 for score in scored([facts], 1.79e9).values())


@given(rows)
def test_no_row_crashes(row: dict[str, Any]) -> None:
    facts = facts_of(row)
    assert (facts is None) == (not isinstance(row.get("id"), str) or not row["id"])
    if facts is not None:
        sound(facts)
        taken = {field.name for field in fields(ModelFacts)}
        assert set(row) - set(facts.rest) <= taken | set(_FIELDS.split()) | {"pricing"}


@given(anything)
def test_no_reply_crashes(payload: Any) -> None:
    """Whatever the service answers, there is a list or there is none."""
    for reply in (payload, {"data": payload}, {"data": [payload, {"id": "test/m:free"}]}):
        listing = Listing.of(reply, 1.79e9)
        assert listing is None or isinstance(free_in(listing), list)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where something stands in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places(one, (*path, key))


@real
@given(st.data())
def test_real_rows_with_something_odd_in_them(data: st.DataObject) -> None:
    """Up to four values of a real row are replaced, or missing."""
    listing = listing_of(data.draw(st.sampled_from(sorted(DAYS))))
    row = copy.deepcopy(listing.rows[data.draw(st.sampled_from(sorted(listing.rows)))][0])
    for _ in range(data.draw(st.integers(1, 4))):
        *way, last = data.draw(st.sampled_from(list(places(row))))
        spot: Any = row
        for step in way:
            spot = spot[step]
        if data.draw(st.booleans()):
            spot[last] = data.draw(anything)
        else:
            del spot[last]
    facts = facts_of(row)
    if facts is not None:
        sound(facts)
