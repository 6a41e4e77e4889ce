"""A model whose tokens all went into thinking is asked once more: with less of it, or with more tokens."""

from __future__ import annotations

from typing import Any

import pytest
from driving import PATHS, asked, drive
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free import (
    AllModelsFailed,
    ChatOpenRouterFree,
    MemoryStore,
    NoSuitableModel,
    StreamInterrupted,
)
from langchain_openrouter_free.judging.easing import Ease, ease_of
from langchain_openrouter_free.simulator import Scenario, Simulator

FIRST, SECOND = "test/first:free", "test/second:free"
THINKS = ["max_tokens", "reasoning"]
ALWAYS = {"mandatory": True}


@pytest.fixture
def sim(server: Simulator) -> Simulator:
    return server


def _world(sim: Simulator, script: Any, **first: Any) -> None:
    rows: list[str | dict[str, Any]] = [
        {"id": FIRST, "supported_parameters": THINKS, **first},
        {"id": SECOND, "supported_parameters": THINKS},
    ]
    sim.reset(Scenario(models=rows))
    sim.script({FIRST: script})


def _model(sim: Simulator, **fields: Any) -> ChatOpenRouterFree:
    fields.setdefault("state", MemoryStore())
    return ChatOpenRouterFree(models=[FIRST, SECOND], base_url=sim.base_url, api_key=sim.api_key, **fields)


SPENT_ONCE = ["200-length-thinking", "ok"]


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
@pytest.mark.parametrize(
    ("row", "params", "changed"),
    [
        ({}, {}, {"reasoning": {"enabled": False}}),
        ({}, {"max_tokens": 100}, {"reasoning": {"enabled": False}, "max_tokens": 100}),
        ({"reasoning": ALWAYS}, {"max_tokens": 100}, {"max_tokens": 2148}),
        ({"reasoning": ALWAYS}, {"max_tokens": 1000}, {"max_tokens": 4000}),
        ({"reasoning": ALWAYS, "max_completion_tokens": 1500}, {"max_tokens": 1000}, {"max_tokens": 1500}),
        ({"reasoning": ALWAYS, "context_length": 1040}, {"max_tokens": 1000}, {"max_tokens": 1030}),
        ({"reasoning": ALWAYS}, {}, {"reasoning": {"effort": "low"}}),
        (
            {},
            {"max_tokens": 100, "reasoning": {"effort": "high"}},
            {"max_tokens": 2148, "reasoning": {"effort": "high"}},
        ),
        ({"supported_parameters": ["max_tokens"]}, {"max_tokens": 100}, {"max_tokens": 2148}),
    ],
)
def test_the_same_model_is_asked_once_more(
    sim: Simulator, row: dict[str, Any], params: dict[str, Any], changed: dict[str, Any], path: str
) -> None:
    """With what its row allows, and never with more than its limits."""
    _world(sim, SPENT_ONCE, **row)
    told = drive(_model(sim, **params), path, "hi")
    assert told.outcomes == ["spent", "ok"]
    assert asked(sim) == [FIRST, FIRST]
    before, after = (chat.body for chat in sim.chats())
    sent = {name: after[name] for name in ("max_tokens", "reasoning") if name in after}
    if "context_length" in row:
        assert params["max_tokens"] < sent["max_tokens"] < row["context_length"]
    else:
        assert sent == changed
    assert {name: before[name] for name in params} == params
    assert before["messages"] == after["messages"]


def test_once_and_then_the_next(sim: Simulator) -> None:
    """A second time the next model is asked, with the caller's own words."""
    _world(sim, "200-length-thinking")
    told = drive(_model(sim, max_tokens=100), "invoke", "hi")
    assert told.outcomes == ["spent", "spent", "ok"]
    assert asked(sim) == [FIRST, FIRST, SECOND]
    assert sim.chats()[-1].body["max_tokens"] == 100
    assert "reasoning" not in sim.chats()[-1].body


def test_not_where_nothing_can_be_changed(sim: Simulator) -> None:
    """No parameter for thinking and no limit of the caller's own: the next model at once."""
    _world(sim, "200-length-thinking", supported_parameters=["max_tokens"])
    assert drive(_model(sim), "invoke", "hi").outcomes == ["spent", "ok"]
    assert asked(sim) == [FIRST, SECOND]


def test_attempts_are_counted(sim: Simulator) -> None:
    """The second try is one of those that `max_retries` allows."""
    _world(sim, "200-length-thinking")
    with pytest.raises(AllModelsFailed) as caught:
        _model(sim, max_retries=0).invoke("hi")
    assert [(record.outcome, record.scope) for record in caught.value.attempts] == [("spent", "request")]


@pytest.mark.parametrize("path", PATHS[:2])
def test_it_is_the_request_where_it_happens_to_all(sim: Simulator, path: str) -> None:
    """So it is no failure that whoever retries would hope to be spared: each retry would cost every model again."""
    _world(sim, "200-length-thinking")
    sim.script({SECOND: "200-length-thinking"})
    with pytest.raises(NoSuitableModel, match="Raise max_tokens, or ask for less reasoning") as caught:
        drive(_model(sim), path, "hi", max_tokens=50)
    assert (set(asked(sim)), caught.value.is_retryable) == ({FIRST, SECOND}, False)


@pytest.mark.parametrize("path", PATHS[:2])
def test_it_is_not_where_others_are_only_resting(sim: Simulator, path: str) -> None:
    """They may need no thinking, and are back in seconds."""
    _world(sim, "200-length-thinking")
    sim.script({SECOND: "503"})
    model = _model(sim, max_wait=0)
    with pytest.raises(AllModelsFailed):
        drive(model, path, "hi", model=SECOND)
    with pytest.raises(AllModelsFailed, match="Raise max_tokens, or ask for less reasoning") as caught:
        drive(model, path, "hi", max_tokens=50)
    assert ({record.outcome for record in caught.value.attempts}, caught.value.is_retryable) == ({"spent"}, True)


@pytest.mark.parametrize("path", ["stream", "astream"])
def test_thoughts_that_were_shown_are_final(sim: Simulator, path: str) -> None:
    """The call ends with them, for another answer would stand behind them."""
    _world(sim, SPENT_ONCE)
    with pytest.raises(StreamInterrupted) as caught:
        drive(_model(sim), path, "hi")
    assert caught.value.reason == "all tokens went into thinking", "nobody was asked once more"
    assert asked(sim) == [FIRST]


@pytest.mark.parametrize("path", PATHS)
def test_nobody_pays_for_it(sim: Simulator, path: str) -> None:
    """A paid model is not asked for more tokens than were reserved."""
    paid = "simulated/paid-small"
    sim.reset(Scenario())
    sim.script({paid: "200-length-thinking"})
    model = _model(sim, allow_paid=True, budget="$1", paid_models=[paid], max_tokens=50)
    model = model.model_copy(update={"models": ["test/gone:free"]})
    with pytest.raises((AllModelsFailed, StreamInterrupted)):
        drive(model, path, "hi")
    assert {chat.body["max_tokens"] for chat in sim.chats() if chat.model == paid} == {50}


@given(
    st.dictionaries(st.sampled_from(["reasoning", "reasoning_effort", "seed"]), st.just(None)),
    st.none() | st.integers(1, 9999),
    st.none() | st.frozensets(st.sampled_from(["reasoning", "max_tokens"])),
    st.frozensets(st.sampled_from(["reasoning", "reasoning off"])),
    st.booleans(),
    st.none() | st.integers(0, 9999),
    st.booleans(),
)
def test_what_is_eased_is_more_and_within_the_limits(
    params: dict[str, Any],
    most: int | None,
    takes: frozenset[str] | None,
    refused: frozenset[str],
    always: bool,  # noqa: FBT001
    room: int | None,
    paid: bool,  # noqa: FBT001
) -> None:
    """More tokens than before, within the room, none that cost; no word on thinking against the caller's."""
    params = params if most is None else {**params, "max_tokens": most}
    eased = ease_of(params, takes=takes, refused=refused, always_thinks=always, room=room, paid=paid)
    if eased is None:
        return
    assert eased != Ease()
    if eased.max_tokens is not None:
        assert not paid
        assert most is not None
        assert most < eased.max_tokens
        assert room is None or eased.max_tokens <= room
    if eased.reasoning is not None:
        assert not params.keys() & {"reasoning", "reasoning_effort"}
        assert "reasoning" in (takes or ())
        assert "reasoning" not in refused
        assert eased.reasoning != {"enabled": False} or not always
