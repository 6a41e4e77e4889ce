"""What object a call wants, and in which form each model is asked for it: the neutral wish and its wire forms. Pure.

Which form works differs by model, and the model is not known when the wish is made. So the wish names the forms that
are allowed, best first, and each request is written in the first that its model can do.

| form | what is sent | a model can do it if it lists |
|---|---|---|
| `json_schema` | `response_format` with the schema | `structured_outputs` |
| `function_calling` | the schema as a tool that must be called | `tools` and `tool_choice` |
| `json_mode` | `response_format: json_object`, and the schema in the prompt | `response_format` |
| `prompt` | the schema in the prompt | nothing |
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from langchain_openrouter_free.judging.traits import FORCED_CHOICE, JSON_MODE, STRUCTURED, TOOLS
from langchain_openrouter_free.values import value_type

Json = dict[str, Any]

# What each form uses of a model, in names of `traits.VOCABULARY`.
_USES: Mapping[str, frozenset[str]] = {
    "json_schema": frozenset({STRUCTURED}),
    "function_calling": frozenset({TOOLS, FORCED_CHOICE}),
    "json_mode": frozenset({JSON_MODE}),
    "prompt": frozenset(),
}
_LISTED: Mapping[str, frozenset[str]] = {
    "json_schema": frozenset({"structured_outputs"}),
    "function_calling": frozenset({"tools", "tool_choice"}),
    "json_mode": frozenset({"response_format"}),
    "prompt": frozenset(),
}
BEST_FIRST = ("json_schema", "function_calling", "json_mode", "prompt")
# Where nobody says what a model takes: tools are what most can do.
_UNLISTED = ("function_calling", "json_schema", "json_mode", "prompt")
_ASKS = "Answer with one JSON object and nothing else. It must fit this JSON schema:\n"


@value_type()
class Shape:
    """The object that a call wants.

    Attributes:
        name: what it is called.
        forms: the forms in which it may be asked for, best first.
        tool: the schema as a tool of a request; None where any object will do.
        format: the schema as `response_format`; None where any object will do.
        schema: the JSON schema that goes into a prompt; None where any object will do.
        keeps: whether the last wrong object is delivered where nobody gave a right one.
        whole: whether a stream is of no use before its end.
        misfit: says what is wrong with the object in a message, or None.
    """

    name: str
    forms: tuple[str, ...] = BEST_FIRST
    tool: Json | None = field(default=None, repr=False)
    format: Json | None = None
    schema: Json | None = field(default=None, repr=False)
    keeps: bool = False
    whole: bool = False
    misfit: Callable[[Any], str | None] = field(default=lambda _: None, repr=False)

    @property
    def chosen_late(self) -> bool:
        """Whether the form depends on the model."""
        return len(self.forms) > 1

    @property
    def needed(self) -> frozenset[str]:
        """What every model must be able to do; nothing where another form serves as well."""
        return frozenset() if self.chosen_late else _USES[self.forms[0]]

    @property
    def prompt(self) -> str:
        """What is said in the prompt where the schema is to stand there."""
        return "" if self.schema is None else _ASKS + json.dumps(self.schema, ensure_ascii=False)

    def form(
        self,
        takes: frozenset[str] | None,
        refused: frozenset[str] = frozenset(),
        worked: frozenset[str] = frozenset(),
        failed: frozenset[str] = frozenset(),
    ) -> str:
        """Return the form in which a model is asked: one that has worked, else the best that it can do.

        A form that lately brought a wrong object is the last to be used again.

        Args:
            takes: parameters that a request to it may hold; None where nobody says.
            refused: what it is known to have refused.
            worked: ways of asking that are known to have worked.
            failed: ways of asking that lately brought a wrong object.
        """
        if not self.chosen_late:
            return self.forms[0]
        order = _UNLISTED if takes is None else BEST_FIRST
        able = [
            form
            for form in order
            if form in self.forms and (takes is None or _LISTED[form] <= takes) and not _USES[form] & refused
        ]
        known = [form for form in able if _USES[form] and _USES[form] <= worked]
        untried = [form for form in able if not _USES[form] & failed]
        return next(iter([*known, *untried, *able]), self.forms[-1])


def uses(form: str) -> frozenset[str]:
    """Return what a form uses of a model, in names of `traits.VOCABULARY`."""
    return _USES[form]


def asked(shape: Shape, form: str, params: Mapping[str, Any], messages: Sequence[Json]) -> tuple[Json, list[Json]]:
    """Return parameters and messages of a request that asks for an object in one form.

    Args:
        shape: the object.
        form: one of its forms.
        params: the request's body, less the model and the messages.
        messages: the conversation in the service's words; not changed.
    """
    body, told = dict(params), list(messages)
    if form == "function_calling" and shape.tool is not None:
        body["tools"] = [*(params.get("tools") or ()), shape.tool]
        body["tool_choice"] = {"type": "function", "function": {"name": shape.tool["function"]["name"]}}
    elif form == "json_schema" and shape.format is not None:
        body["response_format"] = shape.format
    elif form == "json_mode":
        body["response_format"] = {"type": "json_object"}
    if form in ("json_mode", "prompt") and shape.prompt:
        told = instructed(messages, shape.prompt)
    return body, told


def instructed(messages: Sequence[Json], words: str) -> list[Json]:
    """Return a conversation with an instruction behind the user's last words: every model takes it there."""
    at = next((i for i in reversed(range(len(messages))) if messages[i].get("role") == "user"), None)
    if at is None:
        return [*messages, {"role": "user", "content": words}]
    told = [*messages]
    content = told[at].get("content")
    if isinstance(content, list):
        more: Any = [*copy.copy(content), {"type": "text", "text": words}]
    else:
        more = f"{content}\n\n{words}" if content else words
    told[at] = {**told[at], "content": more}
    return told
