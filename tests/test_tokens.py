"""The estimate of a prompt's tokens: low rather than high, in every script, and whatever a message holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free.route.tokens import estimated

# Text -> the fewest and the most tokens a character that today's tokenizers make of such text.
SCRIPTS = {
    "The weather is fine, and the trains are on time. ": (0.15, 0.3),
    "Погода хорошая, и поезда идут по расписанию. ": (0.25, 0.6),
    "天気が良く、電車は時間通りに走っています。": (0.5, 1.2),
    "मौसम अच्छा है और ट्रेनें समय पर हैं। ": (0.3, 1.2),
    "🌲🐸🌧️": (0.5, 4.0),
}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize("text", SCRIPTS)
def test_a_script_counts_as_what_it_is(text: str) -> None:
    low, high = SCRIPTS[text]
    assert low <= estimated([user(text * 50)], []) / len(text * 50) <= high


def test_what_counts() -> None:
    """Text, text of parts, arguments of calls, tools; not what is no text."""
    assert estimated([user("a" * 40)], []) == 10
    assert (
        estimated(
            [user([{"type": "text", "text": "a" * 40}, {"type": "image_url", "image_url": {"url": "x" * 4000}}])], []
        )
        == 10
    )
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "a" * 40}}]}
    assert estimated([call], []) == 10
    assert 20 <= estimated([], [{"type": "function", "function": {"name": "f", "description": "a" * 40}}]) <= 30


odd: st.SearchStrategy[Any] = st.none() | st.integers() | st.text(max_size=5) | st.just("\ud800")
odd |= st.lists(odd, max_size=2) | st.dictionaries(st.sampled_from(["text", "function", "arguments"]), odd)
messages = st.lists(st.dictionaries(st.sampled_from(["content", "role"]), odd), max_size=3)


@given(messages, st.lists(odd, max_size=2))
def test_whatever_is_said(wired: list[dict[str, Any]], tools: list[Any]) -> None:
    assert estimated(wired, tools) >= 0
