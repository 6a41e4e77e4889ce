"""What `doctor`, `quota` and `models` make of facts: no clock, no network, one case a line."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_openrouter_free.books.breaker import Cooldown
from langchain_openrouter_free.books.health import Health
from langchain_openrouter_free.books.history import CallRecord
from langchain_openrouter_free.books.ledger import Hold, Ledger, Stated
from langchain_openrouter_free.books.quota import Limits, Use, Windows
from langchain_openrouter_free.books.usage import costs, usage
from langchain_openrouter_free.catalogue.bundle import bundled
from langchain_openrouter_free.catalogue.catalogue import Listing
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.questions import checkup
from langchain_openrouter_free.questions.checkup import Level, Said
from langchain_openrouter_free.questions.standing import standings

NOW = 1_790_000_000.0
DAY = int(NOW // 86_400)
GLM = "z-ai/glm-5.2:free"
FREE = {"prompt": "0", "completion": "0"}


def listed(*ids: str, **more: Any) -> Listing:
    return Listing(
        {one: ({"id": one, "pricing": FREE, "supported_parameters": ["tools"], **more},) for one in ids}, NOW
    )


@pytest.mark.parametrize(
    ("said", "keyed", "level", "words"),
    [
        (None, False, "warn", "No key"),
        (None, True, "note", "was not asked"),
        (Said(401, {}), True, "fail", "does not accept"),
        (Said(500, None), True, "warn", "HTTP 500"),
        (Said(200, {"data": {}}), True, "ok", "The key is good."),
        (Said(200, {"data": {"is_free_tier": True, "limit_remaining": None}}), True, "ok", "without credits"),
        (Said(200, {"data": {"is_free_tier": False, "limit_remaining": 0}}), True, "warn", "limit is used up"),
        (Said(200, "<html>"), True, "warn", "does not say"),
    ],
)
def test_what_is_said_of_a_key(said: Said | None, *, keyed: bool, level: str, words: str) -> None:
    found = checkup.key(said, keyed=keyed)
    assert (found.level, words in found.text) == (level, True)
    assert found.remedy or level != "fail"


@pytest.mark.parametrize(
    ("said", "level"),
    [
        (Said(200, {"data": []}), "ok"),
        (Said(404, None), "warn"),
        (Said(200, "<html>"), "warn"),
        (Said(503, None), "warn"),
        (Said(reason="refused"), "warn"),
        (None, "warn"),
    ],
)
def test_what_is_said_of_the_network(said: Said | None, level: str) -> None:
    found = checkup.network("example.org", said, offline=False)
    assert (found.level, "example.org" in found.text, bool(found.remedy)) == (level, True, level != "ok")


@pytest.mark.parametrize(("ahead", "level"), [(0.0, "ok"), (-4.9, "ok"), (6.0, "warn"), (-61.0, "fail"), (1e6, "fail")])
def test_what_is_said_of_the_clock(ahead: float, level: str) -> None:
    found = checkup.clock(Said(200, {}, ahead=ahead))
    assert found is not None
    assert found.level == level
    assert checkup.clock(Said(200, {})) is None


@pytest.mark.parametrize(
    ("path", "mode", "troubles", "shared", "level"),
    [
        ("/x/s.db", 0o600, [], True, "ok"),
        ("/x/s.db", 0o644, [], True, "warn"),
        ("/x/s.db", 0o600, ["locked"], True, "fail"),
        (None, None, [], False, "note"),
        (None, None, [], True, "ok"),
    ],
)
def test_what_is_said_of_the_state(
    path: str | None, mode: int | None, troubles: list[str], *, shared: bool, level: str
) -> None:
    assert [one.level for one in checkup.state(path, mode, troubles, shared=shared)] == [level]


def test_what_the_accounts_settings_rule_out() -> None:
    found = checkup.privacy(listed("a/b:free"), listed("a/b:free", "c/d:free"))
    assert found is not None
    assert (found.level, "1 of 2" in found.text, "c/d:free" in found.text) == (Level.NOTE, True, True)
    assert checkup.privacy(None, listed("a/b:free")) is None


def test_what_is_said_of_configured_ids() -> None:
    ends = Listing({"a/end:free": ({"id": "a/end:free", "pricing": FREE, "expiration_date": "2026-09-25"},)}, NOW)
    both = Listing({**listed(GLM).rows, **ends.rows}, NOW)
    named = [GLM, "auto", "qwen/*", "z-ai/glm-5.1:free", "a/end:free"]
    dead, ending = checkup.ids(named, both, NOW, fetched=True)
    assert (dead.level, dead.remedy) == (Level.FAIL, f"take it out of models, or write {GLM}")
    assert (ending.level, "announced to end" in ending.text) == (Level.WARN, True)
    assert [one.level for one in checkup.ids(["no/such:free"], bundled(), NOW, fetched=False)] == [Level.WARN]
    paid = Listing({"a/b:free": ({"id": "a/b:free", "pricing": {"prompt": "0.1", "completion": "0"}},)}, NOW)
    assert [one.level for one in checkup.ids(["a/b:free"], paid, NOW, fetched=True)] == [Level.FAIL]


@pytest.mark.parametrize(("order", "level"), [([], "fail"), ([GLM], "warn"), ([GLM, "a/b:free"], "ok")])
def test_what_is_said_of_how_many_are_left(order: list[str], level: str) -> None:
    assert checkup.left(order, 19, {"cooling down": 2}).level == level


def test_what_is_taken_of_the_windows() -> None:
    """A limit is assumed until it was stated today; a hold leaves nothing; projects by what they took."""
    windows = Windows({int(NOW // 60): 3}, {DAY: 12}, {"a": Use(DAY, 2, 0, 5), "b": Use(DAY, 10, 0, 0), "c": Use()})
    book = Ledger(windows=windows, learned={"day": Stated(1000, DAY)})
    told = usage(book, Limits(20, 50), NOW)
    assert [(one.used, one.limit, one.left, one.assumed) for one in told.windows] == [
        (3, 20, 17, True),
        (12, 1000, 988, False),
    ]
    assert [(one.project, one.used, one.kept) for one in told.projects] == [("b", 10, 0), ("a", 2, 5)]
    shut = usage(book._replace(holds={"day": Hold("day", NOW + 60)}), Limits(20, 50), NOW).windows[1]
    assert (shut.left, shut.shut_until) == (0, NOW + 60)
    assert [one.level for one in checkup.quota([shut])] == [Level.WARN]
    assert [one.left for one in usage(Ledger(), Limits(), NOW).windows] == [None, None]


def test_how_each_model_stands() -> None:
    book = Ledger(
        cooldowns={"c/d:free": Cooldown(NOW + 30, Kind.UPSTREAM_LIMIT, 1)},
        health={"a/b:free": Health(NOW, 2.0, 2.0, 0.5, 40.0)},
    )
    considered = [("a/b:free", False, "", None), ("c/d:free", False, "cooling down", NOW + 30), ("x/y", True, "", None)]
    first, second, third = standings(considered, {}, book, NOW)
    assert (first.rank, second.rank, third.rank) == (1, None, 2)
    assert (first.health, first.first_token_s, second.cooldown_until) == (0.9, 0.5, NOW + 30)
    assert (third.paid, third.tools, third.health) == (True, None, None)


def test_costs_are_added_by_day_and_model() -> None:
    records = [
        CallRecord(NOW, "p", "answered", "x/y", paid=True, cost=1_000_000_000),
        CallRecord(NOW - 10, "p", "answered", "x/y", paid=True, cost=500_000_000),
        CallRecord(NOW - 86_400, "p", "answered", "x/z", paid=True, cost=1),
        CallRecord(NOW, "p", "answered", "a/b:free"),
    ]
    told = [(one.day, one.model, one.answers, one.cost) for one in costs(records)]
    assert told == [("2026-09-21", "x/y", 2, "1.5"), ("2026-09-20", "x/z", 1, "0.000000001")]
