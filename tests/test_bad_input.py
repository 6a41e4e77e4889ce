"""Bad input: a clear typed error before any request."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from driving import asked, drive, make
from langchain_core.messages import ChatMessage, HumanMessage
from pitfall_helpers import ADD

from langchain_openrouter_free import (
    Budget,
    BudgetExceeded,
    ChatOpenRouterFree,
    ConfigurationError,
    NoSuitableModel,
    OpenRouterFreeError,
    PaidModel,
    RequestRejected,
)
from langchain_openrouter_free.simulator import Simulator

GOOD: dict[str, Any] = {"models": ["a/b:free"], "api_key": "sk-or-v1-x"}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no models": ({"models": []}, "models is empty"),
    "a paid id": ({"models": ["a/b:free", "a/b"]}, "'a/b' does not end in ':free'"),
    "a stripped suffix": ({"models": ["a/b:free:nitro"]}, "no model id"),
    "an online suffix": ({"models": ["a/b:online"]}, "does not end in ':free'"),
    "twice": ({"models": ["a/b:free", "c/d:free", "a/b:free"]}, "'a/b:free' is there twice"),
    "a blank id": ({"models": [" "]}, "no model id"),
    "an id with a blank": ({"models": ["a/b:free "]}, "blank"),
    "not an id": ({"models": ["gpt"]}, "no model id"),
    "text for a list": ({"models": "a/b:free"}, "models"),
    "paid without budget": ({"allow_paid": True, "paid_models": ["a/b"]}, "budget"),
    "paid without models": ({"allow_paid": True, "budget": "$1"}, "paid_models"),
    "a free id as paid": ({"allow_paid": True, "budget": "$1", "paid_models": ["a/b:free"]}, "free id"),
    "paid twice": ({"allow_paid": True, "budget": "$1", "paid_models": ["a/b", "a/b"]}, "twice"),
    "a budget of nothing": ({"allow_paid": True, "budget": "$0", "paid_models": ["a/b"]}, "positive"),
    "a budget of thousands": (
        {"allow_paid": True, "budget": "$1,500/month", "paid_models": ["a/b"]},
        "one amount or two",
    ),
    "a budget with a decimal comma": ({"allow_paid": True, "budget": "1,50/day", "paid_models": ["a/b"]}, "0.50"),
    "a budget that names a window twice": (
        {"allow_paid": True, "budget": {"day": 1, "per_day": 2}, "paid_models": ["a/b"]},
        "twice",
    ),
    "a budget for a week": (
        {"allow_paid": True, "budget": {"week": 1}, "paid_models": ["a/b"]},
        "none of call, day, month, total",
    ),
    "a negative budget": ({"allow_paid": True, "budget": -1, "paid_models": ["a/b"]}, "positive"),
    "a budget in words": ({"allow_paid": True, "budget": "a lot", "paid_models": ["a/b"]}, "no amount"),
    "a budget without an amount": ({"allow_paid": True, "budget": Budget(), "paid_models": ["a/b"]}, "unlimited"),
    "an empty budget": ({"allow_paid": True, "budget": {}, "paid_models": ["a/b"]}, "unlimited"),
    "a budget of a year": ({"allow_paid": True, "budget": {"per_year": 1}, "paid_models": ["a/b"]}, "per_year"),
    "a ceiling in words": (
        {"allow_paid": True, "budget": "$1", "account_budget": "a lot", "paid_models": ["a/b"]},
        "no amount",
    ),
    "a budget of a week": ({"allow_paid": True, "budget": "$1/week", "paid_models": ["a/b"]}, "/call, /month, /total"),
    "a budget window twice": ({"allow_paid": True, "budget": "$1/day, $2/day", "paid_models": ["a/b"]}, "twice"),
    "NaN budget": ({"allow_paid": True, "budget": math.nan, "paid_models": ["a/b"]}, "positive"),
    "a budget beyond all numbers": (
        {"allow_paid": True, "budget": {"total": "1e999999"}, "paid_models": ["a/b"]},
        "a billion at most",
    ),
    "a price beyond all numbers": (
        {"allow_paid": True, "budget": "$1", "paid_models": [PaidModel("a/b", "1e999999", 1)]},
        "prompt_price",
    ),
    "an id with a price for a request alone": (
        {"allow_paid": True, "budget": "$1", "paid_models": [PaidModel("a/b", request_price="0.01")]},
        "request_price",
    ),
    "an id with a context alone": (
        {"allow_paid": True, "budget": "$1", "paid_models": [PaidModel("a/b", context=1000)]},
        "prompt_price",
    ),
    "a context that is none": (
        {"allow_paid": True, "budget": "$1", "paid_models": [PaidModel("a/b", 1, 1, context=0)]},
        "context",
    ),
    "a context in words": (
        {"allow_paid": True, "budget": "$1", "paid_models": [PaidModel("a/b", 1, 1, context="1000")]},  # type: ignore[arg-type]
        "context",
    ),
    "a chat model without prices": (
        {"allow_paid": True, "budget": "$1", "paid_models": [PaidModel(ChatOpenRouterFree(**GOOD))]},
        "prompt_price",
    ),
    "a clock that is none": ({"clock": 3}, "Clock"),
    "no key": ({"api_key": ""}, "OPENROUTER_API_KEY"),
    "a key with a blank": ({"api_key": "sk or"}, "blanks"),
    "a key with strange letters": ({"api_key": "sk-ö"}, "characters"),
    "base_url without a scheme": ({"base_url": "openrouter.ai/api/v1"}, "base_url"),
    "base_url of another kind": ({"base_url": "ftp://openrouter.ai"}, "base_url"),
    "base_url with the path": ({"base_url": "https://openrouter.ai/api/v1/chat/completions"}, "before"),
    "base_url with a password": ({"base_url": "https://me:secret@openrouter.ai/api/v1"}, "password"),
    "base_url with a bad port": ({"base_url": "https://openrouter.ai:99999/api"}, "base_url"),
    "base_url with a dot too many": ({"base_url": "https://openrouter..ai/api/v1"}, "base_url"),
    "base_url with a name that is too long": ({"base_url": f"https://{'a' * 64}.example/v1"}, "base_url"),
    "NaN temperature": ({"temperature": math.nan}, "temperature"),
    "infinite top_p": ({"top_p": math.inf}, "top_p"),
    "temperature out of range": ({"temperature": 5}, "range"),
    "no tokens": ({"max_tokens": 0}, "max_tokens"),
    "a negative timeout": ({"timeout": -1}, "timeout"),
    "a silence that no float holds": ({"hedge_after": 10**400}, "hedge_after"),
    "a pace that no float holds": ({"paid_rps": 10**400}, "paid_rps"),
    "an unknown timeout": ({"timeouts": {"frist_token": 3}}, "did you mean 'first_token'"),
    "one model's deadlines, misspelt": ({"timeouts": {"model": {"a/*": {"stall": 3}}}}, "did you mean 'models'"),
    "a deadline of no model": ({"timeouts": {"models": {"a b": {"stall": 3}}}}, "pattern"),
    "an unknown deadline of a model": ({"timeouts": {"models": {"a/*": {"stal": 3}}}}, "did you mean 'stall'"),
    "the call's deadline for a model": ({"timeouts": {"models": {"a/*": {"call": 3}}}}, "unknown key 'call'"),
    "deadlines that are no table": ({"timeouts": {"models": {"a/*": 3}}}, "table"),
    "adaptive in words": ({"timeouts": {"adaptive": "no"}}, "True or False"),
    "an unknown wire": ({"wire": "streem"}, "wire"),
    "an unknown wire of a model": ({"wire": {"a/*": "steam"}}, "did you mean 'stream'"),
    "a wire of no model": ({"wire": {"a b": "plain"}}, "pattern"),
    "a timeout of zero": ({"timeouts": {"stall": 0}}, "stall"),
    "a negative max_wait": ({"max_wait": -1}, "max_wait"),
    "NaN max_wait": ({"max_wait": math.nan}, "max_wait"),
    "negative max_retries": ({"max_retries": -1}, "max_retries"),
    "limits of nothing": ({"limits": {"per_minute": 0}}, "positive"),
    "negative limits": ({"limits": {"per_day": -1}}, "positive"),
    "an unknown limit": ({"limits": {"per_hour": 3}}, "per_hour"),
    "an unknown state": ({"state": "redis"}, "state"),
    "a state in nobody's home": ({"state": "~no-such-user/s.sqlite3"}, "state='~no-such-user/s.sqlite3'"),
    "an unknown argument": ({"temprature": 1}, "did you mean 'temperature'"),
    "models in extra_body": ({"extra_body": {"models": ["x/y"]}}, "router's own"),
    "model in extra_body": ({"extra_body": {"model": "x/y"}}, "router's own"),
    "a billed plugin": ({"extra_body": {"plugins": [{"id": "web"}]}}, "cost money"),
    "a key in the headers": ({"default_headers": {"Authorization": "x"}}, "api_key"),
    "a packing that nobody reads": ({"default_headers": {"Accept-Encoding": "br"}}, "gzip and identity"),
    "a header with a line break": ({"default_headers": {"X-A": "a\nb"}}, "header"),
    "a header with blanks in its name": ({"default_headers": {"X Request Source": "docs"}}, "header"),
    "a header with a colon in its name": ({"default_headers": {"X-A:": "docs"}}, "header"),
    "a title HTTP cannot carry": ({"app_title": "Grün\n"}, "header"),
    "a wrong type": ({"max_tokens": "many"}, "max_tokens"),
    "a profile by its number": ({"profile_name": 1}, "profile_name=1 must be the name"),
    "several profiles": ({"profile_name": ["batch", "chat"]}, "must be the name"),
    "a table under another name": ({"request_timeout": {"connect": 5}}, "request_timeout"),
}


@pytest.mark.parametrize("name", WRONG)
def test_constructor_mistakes_are_errors_at_construction(name: str) -> None:
    """Each mistake is told at once, in words that name it."""
    arguments, words = WRONG[name]
    with pytest.raises(ConfigurationError) as caught:
        ChatOpenRouterFree(**{**GOOD, **arguments})
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert "sk-or-v1-x" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://{}@h:99999/v1", "https://{}/@h/v1", "htps://{}@h/v1", "https://h/v1?token={}", "h/v1#{}"]
)
def test_no_secret_of_an_address_is_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url") as raised:
        ChatOpenRouterFree(**{**GOOD, "base_url": url.format("me:sesame")})
    assert "sesame" not in str(raised.value)


def test_no_key_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the environment is asked, and its absence is told."""
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="OPENROUTER_API_KEY"):
        ChatOpenRouterFree(models=["a/b:free"])
    monkeypatch.setenv("OPENROUTER_API_KEY", " sk-or-v1-env\n")
    key = ChatOpenRouterFree(models=["a/b:free"]).api_key
    assert key is not None
    assert key.get_secret_value().strip() == "sk-or-v1-env"


def test_the_key_is_in_no_repr() -> None:
    """Neither the model nor its identifying parameters show the key."""
    model = ChatOpenRouterFree(**GOOD)
    assert "sk-or-v1-x" not in repr(model) + str(model._identifying_params) + str(model)


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


ENDLESS: dict[str, Any] = {"type": "object"}
ENDLESS["properties"] = {"again": ENDLESS}
NESTED: dict[str, Any] = {"type": "text", "text": "x"}
for _ in range(2000):
    NESTED = {**NESTED, "more": NESTED}
ROUND: dict[str, Any] = {"type": "text", "text": "x"}
ROUND["more"] = ROUND
NAMED = {"type": "function", "function": {"name": "subtract"}}
BAD_CALLS: dict[str, tuple[Any, dict[str, Any], type[OpenRouterFreeError], str]] = {
    "no messages": ([], {}, RequestRejected, "no messages"),
    "an answer of less than nothing": (
        "hi",
        {"extra_body": {"max_tokens": -1}},
        ConfigurationError,
        "max_tokens=-1 is out of its range",
    ),
    "no answer by another name": (
        "hi",
        {"extra_body": {"max_completion_tokens": 0}},
        ConfigurationError,
        "max_tokens=0 is out of its range",
    ),
    "a text for tools": ("hi", {"extra_body": {"tools": "x"}}, ConfigurationError, "tools='x' must be a list"),
    "a call without tools": ("hi", {"tool_choice": "required"}, ConfigurationError, "the request has no tools"),
    "a call of none of no tools": ("hi", {"tools": [], "tool_choice": "any"}, ConfigurationError, "has no tools"),
    "a call of another tool": ("hi", {"tools": [ADD], "tool_choice": NAMED}, ConfigurationError, "asks for 'subtract'"),
    "a tool by its mere name": ("hi", {"tools": [ADD], "tool_choice": "add"}, ConfigurationError, "must be 'auto'"),
    "a list for a choice": ("hi", {"tools": [ADD], "tool_choice": ["add"]}, ConfigurationError, "must be 'auto'"),
    "a mere word for a form": ("hi", {"response_format": "json"}, ConfigurationError, "a table like"),
    "a form without a type": (
        "hi",
        {"response_format": {"json_schema": {}}},
        ConfigurationError,
        "must be a table like",
    ),
    "a class for a form": ("hi", {"response_format": Iterator}, ConfigurationError, "with_structured_output"),
    "a word for a schema": (
        "hi",
        {"response_format": {"type": "json_schema", "json_schema": "x"}},
        ConfigurationError,
        "must be a table with a schema",
    ),
    "a list as extra_body": ("hi", {"extra_body": [1]}, ConfigurationError, "extra_body=[1] must be a table"),
    "an unknown role": ([ChatMessage(role="wizard", content="x")], {}, RequestRejected, "wizard"),
    "NaN in a call": ("hi", {"temperature": math.nan}, ConfigurationError, "temperature"),
    "a text for a number": ("hi", {"temperature": "hot"}, ConfigurationError, "temperature='hot' must be a number"),
    "a truth for a number": ("hi", {"top_p": True}, ConfigurationError, "top_p=True must be a number"),
    "a part of a token": ("hi", {"max_tokens": 1.5}, ConfigurationError, "max_tokens=1.5 must be a whole number"),
    "no word to stop at": ("hi", {"stop": [""]}, ConfigurationError, "stop=[''] holds an empty text"),
    "a seed of no use": ("hi", {"seed": "x"}, ConfigurationError, "seed='x' must be a whole number"),
    "an unknown parameter": ("hi", {"temprature": 1}, ConfigurationError, "did you mean 'temperature'"),
    "a misspelt wish for privacy": ("hi", {"sensitve": True}, ConfigurationError, "did you mean 'sensitive'"),
    "a misspelt wait": ("hi", {"max_wait_s": 1}, ConfigurationError, "did you mean 'max_wait'"),
    "a list for one call": ("hi", {"models": ["a/b:free"]}, ConfigurationError, "did you mean 'model'"),
    "a paid model": ("hi", {"model": "simulated/paid-small"}, ConfigurationError, "may cost money"),
    "models smuggled in": ("hi", {"extra_body": {"models": ["simulated/paid-small"]}}, ConfigurationError, "router"),
    "a billed server tool": ("hi", {"tools": [{"type": "openrouter:web_search"}]}, ConfigurationError, "cost money"),
    "billed search options": ("hi", {"web_search_options": {"x": 1}}, ConfigurationError, "cost money"),
    "not JSON": ("hi", {"prediction": {"x": object()}}, RequestRejected, "JSON"),
    "a tool that holds itself": (
        "hi",
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": ENDLESS}}]},
        ConfigurationError,
        "tools cannot be written as JSON",
    ),
    "a parameter that holds itself": ("hi", {"extra_body": ENDLESS}, ConfigurationError, "properties holds itself"),
    "a form that holds itself": (
        "hi",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": ENDLESS}}},
        ConfigurationError,
        "response_format holds itself",
    ),
    "a message that holds itself": ([HumanMessage([ROUND])], {}, RequestRejected, "cannot be written as JSON"),
    "a message that is nested too deeply": ([HumanMessage([NESTED])], {}, RequestRejected, "cannot be sent"),
    "a bad wait": ("hi", {"max_wait": -3}, ConfigurationError, "max_wait"),
}


@pytest.mark.parametrize("path", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_send_nothing(sim: Simulator, name: str, path: str) -> None:
    """What cannot work is told before anything leaves."""
    sim.reset()
    prompt, kwargs, error, words = BAD_CALLS[name]
    with pytest.raises(error) as caught:
        drive(make(sim), path, prompt, **kwargs)
    assert words in str(caught.value)
    assert sim.chats() == []


@pytest.mark.parametrize("since", ["report.html", datetime(2026, 11, 1, tzinfo=UTC), True])
@pytest.mark.parametrize("name", ["history", "figures", "report"])
def test_a_past_that_is_no_number(name: str, since: object) -> None:
    with pytest.raises(ConfigurationError, match="must be Unix seconds"):
        getattr(ChatOpenRouterFree(state=":memory:", **GOOD), name)(since=since)


def test_blanks_around_a_title_are_not_sent(sim: Simulator) -> None:
    """HTTP knows no such value, and nobody means them."""
    sim.reset()
    drive(make(sim, app_title=" Demo "), "invoke")
    assert sim.chats()[0].headers["x-title"] == "Demo"


@pytest.mark.parametrize("path", ["invoke", "ainvoke", "stream", "astream"])
def test_whole_tokens_are_whole_however_they_are_written(sim: Simulator, path: str) -> None:
    """As a float they were sent to free models, and no paid one was held to them."""
    sim.reset()
    paid: dict[str, Any] = {"allow_paid": True, "paid_models": ["simulated/paid-small"], "budget": "$0.01/call"}
    drive(make(sim, **paid), path, max_tokens=50.0, model="simulated/paid-small")
    assert repr(sim.chats()[0].body["max_tokens"]) == "50"
    with pytest.raises(BudgetExceeded):
        drive(make(sim, **paid), path, max_tokens=1_000_000.0, model="simulated/paid-small")


def test_two_thousand_models_are_fine(sim: Simulator) -> None:
    """A long list is walked like a short one."""
    sim.reset()
    many = [f"test/n{n}:free" for n in range(2000)]
    sim.script({many[0]: "500"})
    assert drive(make(sim, many), "invoke").meta["route"]["model"] == many[1]


def test_an_image_for_models_without_eyes(sim: Simulator) -> None:
    """Nobody is asked who cannot see; the error says of each what it lacks."""
    sim.reset()
    picture = HumanMessage(
        [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}]
    )
    with pytest.raises(NoSuitableModel) as caught:
        drive(make(sim), "invoke", [picture])
    assert asked(sim) == []
    assert str(caught.value).count("no image input") == 3


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("$0.50/day", {"day": 500_000_000}),
        ("2 USD/month", {"month": 2_000_000_000}),
        ("$0.01 per call, $1 a day", {"call": 10_000_000, "day": 1_000_000_000}),
        ("1.00", {"total": 1_000_000_000}),
        ("3 dollars", {"total": 3_000_000_000}),
        ("$.50/day and US$5/month", {"day": 500_000_000, "month": 5_000_000_000}),
        ("$1/day; $5/month\n.01/call", {"day": 1_000_000_000, "month": 5_000_000_000, "call": 10_000_000}),
        ({"day": "$0.25", "total": "3 USD"}, {"day": 250_000_000, "total": 3_000_000_000}),
        (2, {"total": 2_000_000_000}),
        (0.1, {"total": 100_000_000}),
        ({"per_day": "0.25"}, {"day": 250_000_000}),
        ({"day": 0.25, "total": 3}, {"day": 250_000_000, "total": 3_000_000_000}),
        (Budget(per_day=0.5), {"day": 500_000_000}),  # type: ignore[arg-type]
        (
            "$5 monthly, 0.5 usd daily, $9 in total",
            {"month": 5_000_000_000, "day": 500_000_000, "total": 9_000_000_000},
        ),
        ("$1/day AND $5/month", {"day": 1_000_000_000, "month": 5_000_000_000}),
        (Decimal("0.25"), {"total": 250_000_000}),
        (1_000_000_000, {"total": 10**18}),
        ("unlimited", {}),
    ],
)
def test_budgets_in_words(text: object, budget: dict[str, int]) -> None:
    """A budget is written as people write amounts."""
    assert Budget.parse(text).caps() == budget
