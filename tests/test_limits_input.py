"""Wrong limits, shares and strategies are told at construction, by the name of their field."""

from __future__ import annotations

import math
from typing import Any

import pytest
from driving import TWENTY

from langchain_openrouter_free import (
    ChatOpenRouterFree,
    ConfigurationError,
    MemoryStore,
)

GOOD: dict[str, Any] = {"models": TWENTY[:1], "api_key": "sk-or-v1-x", "state": MemoryStore()}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    **{
        f"limits of {value!r} {window}": ({"limits": {window: value}}, "limits")
        for window in ("per_minute", "per_day")
        for value in (0, -1, -(10**30), 10**30, 10_000_001, True, False, 0.5, 20.5, math.nan, math.inf, "many", [20])
    },
    "a misspelt window": ({"limits": {"per_mintue": 20}}, "did you mean 'per_minute'"),
    "another window": ({"limits": {"per_hour": 20}}, "limits: unknown key 'per_hour'"),
    "misspelt limits": ({"limit": {"per_minute": 20}}, "did you mean 'limits'"),
    "limits in other words": ({"limits": "usuall"}, "limits"),
    "limits in a number": ({"limits": 20}, "limits"),
    "limits in a list": ({"limits": [20, 50]}, "limits"),
    **{
        f"a share of {value!r}": ({"daily_share": value}, "daily_share")
        for value in ("130%", "0%", "-5%", "nan%", "%", "", "abc", "30", -1, 0, 0.5, 1.5, True, math.nan, math.inf)
    },
    "a share in a list": ({"daily_share": [1]}, "daily_share"),
    "a share of many": ({"daily_share": 10**30}, "daily_share"),
    "a misspelt share": ({"daily_share": {"at_mots": 3}}, "did you mean 'at_most'"),
    "a share with a number for a name": ({"daily_share": {3: 3}}, "daily_share"),
    "at_least more than at_most": ({"daily_share": {"at_least": 4, "at_most": 3}}, "daily_share"),
    "at_least more than at_most in percent": ({"daily_share": {"at_least": "40%", "at_most": "30%"}}, "daily_share"),
    "a bad at_least": ({"daily_share": {"at_least": "none"}}, "daily_share: at_least"),
    "an unknown strategy": ({"strategy": "fast"}, "strategy"),
    "no strategy": ({"strategy": ""}, "strategy"),
    "a strategy in a number": ({"strategy": 1}, "strategy"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_names_its_field(name: str) -> None:
    """Each wrong value is told at construction, by the name of its field."""
    arguments, words = WRONG[name]
    with pytest.raises(ConfigurationError) as caught:
        ChatOpenRouterFree(**{**GOOD, **arguments})
    assert words in str(caught.value)
