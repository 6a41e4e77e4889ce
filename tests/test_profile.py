"""The model profile: what the models that may be asked can do together, and what agent frameworks make of it."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest
from driving import make
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.language_models import ModelProfile
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel

from langchain_openrouter_free import ChatOpenRouterFree, MemoryStore
from langchain_openrouter_free.catalogue.abilities import together
from langchain_openrouter_free.catalogue.facts import ModelFacts
from langchain_openrouter_free.catalogue.listings import LISTINGS
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.stores.sqlite import SqliteStore

ZERO = {"prompt": "0", "completion": "0"}
ALL = ["max_tokens", "tools", "tool_choice", "structured_outputs", "temperature", "reasoning"]


def of(context: int | None = 100, *parameters: str, **more: Any) -> ModelFacts:
    return ModelFacts("a/b:free", context=context, parameters=frozenset(parameters) or None, **more)


LIMITS: list[tuple[list[int | None], int | None]] = [
    ([], None),
    ([100], 100),
    ([100, 200], 100),
    ([300, 100, 200], 100),
    ([400, 300, 100, 200], 200),
    ([400, 400, 400, 5], 400),
    ([None], None),
    ([None, 100], None),
    ([None, 400, 300, 200], 200),
]


@pytest.mark.parametrize(("contexts", "most"), LIMITS, ids=repr)
def test_the_context_that_three_can_hold(contexts: list[int | None], most: int | None) -> None:
    """Or all, if they are fewer; what is not known is held by nobody."""
    assert together([of(context) for context in contexts]).get("max_input_tokens") == most
    assert together([of(output_limit=limit) for limit in contexts]).get("max_output_tokens") == most


TEXT, SEES = frozenset({"text"}), frozenset({"text", "image"})
TOGETHER: list[tuple[list[ModelFacts], dict[str, bool | None]]] = [
    ([of(1, "tools"), of(1, "tools", "stop")], {"tool_calling": True, "structured_output": False}),
    ([of(1, "tools"), of(1, "stop")], {"tool_calling": None}),
    ([of(1, "tools"), of(1)], {"tool_calling": None, "temperature": None}),
    ([of(1, "structured_outputs")] * 5 + [of(1, "tools")], {"structured_output": None}),
    ([of(1, *ALL)], {"tool_calling": True, "tool_choice": True, "structured_output": True, "temperature": True}),
    ([of(inputs=SEES), of(inputs=TEXT)], {"image_inputs": None, "audio_inputs": False}),
    ([of(inputs=TEXT), of(inputs=frozenset())], {"image_inputs": None, "video_inputs": None}),
    ([of(inputs=SEES), of(inputs=SEES)], {"image_inputs": True, "pdf_inputs": True, "text_inputs": True}),
    ([of(reasoning="mandatory"), of(reasoning="optional")], {"reasoning_output": True}),
    ([of(reasoning="none"), of(reasoning="unknown")], {"reasoning_output": None}),
]


@pytest.mark.parametrize(("models", "expected"), TOGETHER)
def test_what_models_can_do_together(models: list[ModelFacts], expected: dict[str, bool | None]) -> None:
    """True where all can, False where none can, and nothing where some can: a request finds those."""
    found = together(models)
    assert {name: found.get(name) for name in expected} == expected


drawn = st.builds(
    ModelFacts,
    id=st.just("a/b:free"),
    context=st.none() | st.integers(1, 10**6),
    parameters=st.none() | st.frozensets(st.sampled_from(ALL)),
    reasoning=st.sampled_from(["none", "optional", "mandatory", "unknown"]),
    inputs=st.frozensets(st.sampled_from(["text", "image", "audio"]), min_size=1),
)


@given(st.lists(drawn, max_size=6))
def test_a_profile_has_the_words_of_langchain(models: list[ModelFacts]) -> None:
    found = together(models)
    assert set(found) <= set(ModelProfile.__annotations__)
    held = [facts.context for facts in models if (facts.context or 0) >= found.get("max_input_tokens", 1)]
    assert len(held) >= min(3, len(models)) or "max_input_tokens" not in found


# -- the model's


def row(model: str, context: int, *but: str) -> dict[str, Any]:
    taken = [name for name in ALL if name not in but]
    shape = {"input_modalities": ["text"], "output_modalities": ["text"]}
    return {
        "id": model,
        "pricing": ZERO,
        "context_length": context,
        "supported_parameters": taken,
        "architecture": shape,
    }


NAMES = [f"a/m{n}:free" for n in range(4)]


def served(sim: Simulator, *but: str) -> None:
    """Offer four models, the first of which lacks something."""
    sim.serve([row(NAMES[0], 32_000, *but), *(row(name, 64_000 * n) for n, name in enumerate(NAMES[1:], 1))])


def test_a_profile_without_a_request(sim: Simulator) -> None:
    """The copy that is known tells it; at first that is what came with the package."""
    served(sim, "tools")
    first = make(sim, NAMES)
    assert first.profile == {"text_inputs": True, "text_outputs": True, "pdf_inputs": True}, "nobody knows these"
    assert (make(sim, ["auto"]).profile or {})["max_input_tokens"] >= 262_144
    assert sim.received == []
    first.refresh()
    assert first.profile is not None
    assert (first.profile["max_input_tokens"], first.profile.get("tool_calling")) == (64_000, None)
    count = len(sim.received)
    others = {name: make(sim, [name]).profile or {} for name in NAMES}
    assert [others[name]["max_input_tokens"] for name in NAMES] == [32_000, 64_000, 128_000, 192_000]
    assert [others[name]["tool_calling"] for name in NAMES] == [False, True, True, True]
    assert len(sim.received) == count


def test_a_profile_is_stable_within_a_run(sim: Simulator) -> None:
    """A new list changes it only where the user has it looked at: by `refresh`, or by a new model."""
    served(sim)
    model = make(sim, NAMES)
    asyncio.run(model.arefresh())
    before = dict(model.profile or {})
    assert before["structured_output"] is True
    served(sim, "structured_outputs")
    make(sim, NAMES).refresh()
    assert model.invoke("hi").text
    assert model.profile == before
    assert (make(sim, NAMES).profile or {}).get("structured_output") is None
    model.refresh()
    assert model.profile != before


def test_your_own_profile_counts(sim: Simulator) -> None:
    served(sim)
    mine: ModelProfile = {"max_input_tokens": 5, "tool_calling": False}
    model = make(sim, NAMES, profile=mine)
    model.refresh()
    assert model.profile == mine
    assert model.model_copy(update={"temperature": 1.0}).profile == mine
    assert ChatOpenRouterFree(**{name: getattr(model, name) for name in type(model).model_fields}).profile == mine


def test_a_copy_with_other_models_has_a_profile_of_its_own(sim: Simulator) -> None:
    """As LangChain makes them for `configurable_fields`; and a pickled one keeps what it had."""
    served(sim)
    make(sim, NAMES).refresh()
    model = make(sim, NAMES)
    bound = model.configurable_fields(models=ConfigurableField("models"))
    other, _ = bound._prepare({"configurable": {"models": NAMES[3:]}})  # type: ignore[attr-defined]
    assert (other.profile["max_input_tokens"], (model.profile or {})["max_input_tokens"]) == (192_000, 64_000)
    assert pickle.loads(pickle.dumps(model.profile)) == model.profile


def test_a_new_process_goes_by_the_state(sim: Simulator, tmp_path: Path) -> None:
    served(sim)
    state = SqliteStore(tmp_path / "state.sqlite3")
    make(sim, NAMES, state=state).refresh()
    count = len(sim.received)
    LISTINGS.clear()
    assert (make(sim, NAMES, state=state).profile or {})["max_input_tokens"] == 64_000
    assert len(sim.received) == count


def test_a_state_that_cannot_be_read_makes_no_model_fail(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite3").write_bytes(b"no database at all")
    model = ChatOpenRouterFree(api_key="k", state=str(tmp_path / "state.sqlite3"))
    assert (model.profile or {})["max_input_tokens"] > 100_000


# -- what frameworks make of it


class Answer(BaseModel):
    """What is asked for."""

    word: str


@pytest.mark.parametrize(("lacking", "form"), [((), "response_format"), (("structured_outputs",), "tool_choice")])
def test_an_agent_asks_in_a_form_that_all_can(sim: Simulator, lacking: tuple[str, ...], form: str) -> None:
    """Where one of four has no structured output, the agent calls a tool instead, which any of them can."""
    served(sim, *lacking)
    model = make(sim, NAMES, state=MemoryStore())
    model.refresh()
    agent = create_agent(model, [], response_format=Answer)
    asked: Any = {"messages": [("user", "say 'hello'")]}
    found = agent.invoke(asked)
    assert isinstance(found["structured_response"], Answer)
    assert form in sim.chats()[0].body


def test_deepagents_summarises_by_the_profile(sim: Simulator) -> None:
    """By a fraction of the context, which needs `max_input_tokens`."""
    summarization = pytest.importorskip("deepagents.middleware.summarization")
    served(sim)
    model = make(sim, NAMES)
    model.refresh()
    assert summarization.compute_summarization_defaults(model)["trigger"] == ("fraction", 0.85)
