"""How many tokens a prompt has, about: an estimate without a tokenizer, the same for every model. Pure.

It is meant to be low rather than high, for what it calls too long is not asked; what each model counts of its prompts
corrects it (`traits.py`). Rules of thumb: four characters of English or code are a token, two to three of Cyrillic,
Greek and Arabic, one to two of Chinese, Japanese, Korean and Hindi.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_openrouter_free.errors import ConfigurationError

_CHARACTERS_PER_TOKEN = 4
# A character of Cyrillic (two bytes) counts as 1.6 of ASCII, one of Chinese (three bytes) as 2.2.
_PER_EXTRA_BYTE = 0.6


def estimated(wired: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> int:
    """Return the tokens of a prompt, as far as it is text.

    Args:
        wired: its messages in the service's words.
        tools: the tools that are offered, in the service's words.

    Raises:
        ConfigurationError: for a tool that holds itself, or is nested too deeply to be written.
    """
    characters = sum(_weight(text) for message in wired for text in _texts(message))
    if tools:
        try:
            characters += _weight(json.dumps(tools, ensure_ascii=False, default=str))
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"tools cannot be written as JSON: {error}.") from error
    return int(characters) // _CHARACTERS_PER_TOKEN


def _weight(text: str) -> float:
    """Return how many characters of English a text is as long as."""
    if text.isascii():
        return len(text)
    return len(text) + _PER_EXTRA_BYTE * (len(text.encode(errors="surrogatepass")) - len(text))


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, Mapping) and isinstance(part.get("text"), str):
            yield part["text"]
    for call in message.get("tool_calls") or ():
        asked = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(asked, Mapping):
            yield str(asked.get("arguments", ""))
