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


def task_of(messages: list[Json], said: str, texts: list[str]) -> Task | None:
    """The task of the last user message; None if it lists no steps.

    Args:
        messages: the conversation.
        said: the text of the last user message.
        texts: the text of each message.
    """
    steps = _STEP.findall(said)
    if len(steps) < _LEAST:
        return None
    asked = max(at for at, message in enumerate(messages) if message.get("role") == "user")
    since = list(zip(messages, texts, strict=True))[asked + 1 :]
    results = [text for message, text in since if message.get("role") == "tool"]
    return Task(steps, sum(bool(message.get("tool_calls")) for message, _ in since), results)
