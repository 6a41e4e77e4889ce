"""A task in numbered steps: which of them comes next, and what the tools have said so far.

Owns the reading of steps from a conversation, so that a model can do one after the other over several requests,
whoever answered the last one. It knows no tools and no models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from langchain_openrouter_free.simulator.reply import Json

_STEP = re.compile(r"^\s*\d+[.)]\s+(\S.*)$", re.MULTILINE)
_LEAST = 2
# smolagents tells its models in words what they have called, and what came of it.
_CALLED, _OBSERVED = "Calling tools:", "Observation:"


@dataclass(frozen=True, slots=True)
class Task:
    """A task that the user has set.

    Args:
        steps: what is to be done, in order.
        done: how many steps a model has called tools for.
        results: what the tools have said since the task was set.
    """

    steps: list[str]
    done: int
    results: list[str]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done but to tell of it."""
        return self.done >= len(self.steps)

    @property
    def text(self) -> str:
        """What a model has to read at this moment: the step, or in the end all results."""
        return ", ".join(self.results) if self.is_over else self.steps[self.done]

    def names(self, tool: str) -> bool:
        """Whether any step names this tool."""
        return any(mentions(step, tool) for step in self.steps)


def mentions(text: str, tool: str) -> bool:
    """Whether a text has the name of a tool as a word."""
    return re.search(rf"(?<!\w){re.escape(tool)}(?!\w)", text) is not None


def task_of(messages: list[Json], texts: list[str]) -> Task | None:
    """The task of the last user message; None if it lists no steps.

    Args:
        messages: the conversation.
        texts: the text of each message.
    """
    told = list(zip(messages, texts, strict=True))
    asked = max((at for at, (one, text) in enumerate(told) if _is_user(one) and not _is_result(one, text)), default=-1)
    steps = _STEP.findall(texts[asked]) if asked >= 0 else []
    if len(steps) < _LEAST:
        return None
    since = told[asked + 1 :]
    results = [text.removeprefix(_OBSERVED).strip() for one, text in since if _is_result(one, text)]
    return Task(steps, sum(_calls(one, text) for one, text in since), results)


def _is_user(message: Json) -> bool:
    return message.get("role") == "user"


def _is_result(message: Json, text: str) -> bool:
    return message.get("role") == "tool" or (_is_user(message) and text.startswith(_OBSERVED))


def _calls(message: Json, text: str) -> bool:
    return bool(message.get("tool_calls")) or (message.get("role") == "assistant" and text.startswith(_CALLED))
