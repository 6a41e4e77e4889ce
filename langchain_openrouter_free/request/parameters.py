"""Parameters of a request: the model's own, the call's, and what neither may say.

Knows the names that the service's chat completions take; no network, no LangChain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any

from langchain_openrouter_free.engine.delivery import ON_INTERRUPT, OnInterrupt
from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.judging.shapes import Shape
from langchain_openrouter_free.protocol.dialects import plain_choice, plain_tool
from langchain_openrouter_free.request import settings
from langchain_openrouter_free.values import value_type

# Parameters that are fields of the model as well.
FIELDS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "top_a",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "max_tokens",
    "seed",
    "stop",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "user",
    "reasoning",
    "provider",
)
# Parameters of a single call only.
PER_CALL = frozenset(
    {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "metadata",
        "plugins",
        "prediction",
        "modalities",
        "verbosity",
        "transforms",
        "web_search_options",
        "session_id",
        "structured_outputs",
        "include_reasoning",
        "cache_control",
    }
)
_ALIASES = {"max_completion_tokens": "max_tokens", "stop_sequences": "stop"}
# What other parts of LangChain put among the parameters, for their own use.
_NOT_SENT = frozenset({"ls_structured_output_format", "stream", "stream_usage", "stream_options", "run_id"})
# The ranges that every model shares (the service refuses the rest with a 400 for every model).
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "top_a": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
    "repetition_penalty": (0.0, 2.0),
    "max_tokens": (1, 10_000_000),
    "top_k": (0, 10_000_000),
    "top_logprobs": (0, 20),
    "seed": (-(2**63), 2**63 - 1),
}
_WHOLE = frozenset({"max_tokens", "top_k", "top_logprobs", "seed"})


_YEAR = 366 * 86_400.0
UNSAID: Any = object()
# Options that leave open what is answered: how long, in which order, and what follows where a stream breaks off.
UNASKED = frozenset({"hedge_after", "max_wait", "on_interrupt", "sticky", "timeout", "timeouts"})


@value_type()
class Options:
    """What a single call says about routing, not about the answer.

    Attributes:
        model: the one model to ask.
        sticky: whether the model that served the conversation last is asked first, over the model's own setting.
        max_wait: seconds this call may wait in all.
        timeout: seconds for one attempt.
        timeouts: seconds by name, over the model's own.
        privacy: what is asked of providers, over the model's own.
        sensitive: whether no free model may see it.
        on_interrupt: what follows where a stream breaks off, over the model's own.
        accept: what counts as an answer, instead of the model's own `accept`.
        hedge_after: after how much silence a second model is asked; `UNSAID` where the call says nothing of it.
        shape: the object that is wanted, as `with_structured_output` binds it.
    """

    model: str | None = None
    sticky: bool | None = None
    max_wait: float | None = None
    timeout: float | None = None
    timeouts: Mapping[str, Any] = field(default_factory=dict)
    privacy: str | None = None
    sensitive: bool = False
    on_interrupt: OnInterrupt | None = None
    accept: object = None
    hedge_after: Any = UNSAID
    shape: Shape | None = None

    @classmethod
    def taken_from(cls, kwargs: dict[str, Any]) -> Options:
        """Take the options out of a call's keyword arguments."""
        if not kwargs:
            return cls()
        sticky = kwargs.pop("sticky", None)
        if not isinstance(sticky, bool | None):
            raise ConfigurationError(f"sticky={sticky!r} must be True or False.")
        wait = kwargs.pop("max_wait", None)
        if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int | float) or not wait >= 0):
            raise ConfigurationError(f"max_wait={wait!r} must be 0 or more seconds.")
        # A whole number may be more than a float holds; no call waits for longer than a year.
        wait = wait if wait is None else min(wait, _YEAR)
        kwargs.pop("model_name", None)
        sensitive = kwargs.pop("sensitive", None)
        if not isinstance(sensitive, bool | None):
            raise ConfigurationError(f"sensitive={sensitive!r} must be True or False.")
        then = kwargs.pop("on_interrupt", None)
        if then is not None and then not in ON_INTERRUPT:
            hint = settings.did_you_mean(str(then), ON_INTERRUPT)
            raise ConfigurationError(f"on_interrupt={then!r} is none of {', '.join(ON_INTERRUPT)}{hint}.")
        hedge = kwargs.pop("hedge_after", UNSAID)
        model, timeout, timeouts = kwargs.pop("model", None), kwargs.pop("timeout", None), kwargs.pop("timeouts", None)
        accept, shape = kwargs.pop("accept", None), kwargs.pop("structured_output", None)
        if not isinstance(shape, Shape | None):
            raise ConfigurationError("structured_output is bound by with_structured_output(schema).")
        privacy = kwargs.pop("privacy", None)
        return cls(model, sticky, wait, timeout, timeouts or {}, privacy, bool(sensitive), then, accept, hedge, shape)


_OPTIONS = {one.name for one in fields(Options)} - {"shape"}


def check(params: Mapping[str, Any]) -> None:
    """Refuse numbers that no model takes.

    Raises:
        ConfigurationError: for NaN, infinity, what is no number, or one out of the common range.
    """
    settings.finite({name: value for name, value in params.items() if name != "tools"})  # they may be large
    tools, stop = params.get("tools"), params.get("stop")
    if tools is not None and not (isinstance(tools, list | tuple) and all(_is_tool(tool) for tool in tools)):
        raise ConfigurationError(f"tools={tools!r} must be a list of tables, as bind_tools makes them.")
    words = [stop] if isinstance(stop, str | None) else stop
    if not isinstance(words, list | tuple) or not all(isinstance(word, str | None) for word in words):
        raise ConfigurationError(f"stop={stop!r} must be a text, or a list of texts.")
    if "" in words:
        raise ConfigurationError(f"stop={stop!r} holds an empty text, which no answer can stop at.")
    _check_form(params.get("response_format"))
    for name, (least, most) in _RANGES.items():
        value = params.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or (name in _WHOLE and value != int(value)):
            raise ConfigurationError(f"{name}={value!r} must be a {'whole ' * (name in _WHOLE)}number.")
        if not least <= value <= most:
            raise ConfigurationError(f"{name}={value!r} is out of its range, {least:g} to {most:g}.")


def _check_form(form: object) -> None:
    """Refuse a wish for an object that nobody would understand."""
    if form is None:
        return
    if isinstance(form, type):
        hint = "with_structured_output() asks for objects of a class"
        raise ConfigurationError(f"response_format={form.__name__} must be a table; {hint}.")
    if not isinstance(form, Mapping) or not isinstance(form.get("type"), str):
        raise ConfigurationError(f"response_format={form!r} must be a table like {{'type': 'json_object'}}.")
    about = form.get("json_schema") if form["type"] == "json_schema" else {}
    if not isinstance(about, Mapping) or not isinstance(about.get("schema", {}), Mapping):
        raise ConfigurationError(f"response_format: json_schema={about!r} must be a table with a schema.")


def _is_tool(tool: object) -> bool:
    about = tool.get("function", {}) if isinstance(tool, Mapping) else None
    return isinstance(about, Mapping) and isinstance(about.get("name", ""), str)


def _check_choice(params: Mapping[str, Any]) -> None:
    """Refuse a demand for a call that no model can make: each of them would be asked for it."""
    choice, tools = params.get("tool_choice"), params.get("tools") or ()
    if not isinstance(choice, Mapping) and choice not in (None, "auto", "none", "required", "any"):
        known = "'auto', 'none', 'required', or a table that names a tool: bind_tools makes one of its name"
        raise ConfigurationError(f"tool_choice={choice!r} must be {known}.")
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not tools and (name or choice in ("required", "any")):
        raise ConfigurationError(f"tool_choice={choice!r} demands a tool call, and the request has no tools.")
    # A tool that the service runs itself has a name of its own.
    names = [tool.get("function", {}).get("name") for tool in tools]
    if name and all(names) and name not in names:
        raise ConfigurationError(f"tool_choice asks for {name!r}, but the tools of this request are: {names}.")


def body(
    own: Mapping[str, Any],
    extra: Mapping[str, Any],
    stop: list[str] | None,
    kwargs: Mapping[str, Any],
    *,
    unbounded: bool,
) -> dict[str, Any]:
    """Return the request's body, less the model and the messages; the call's words win over the model's.

    Args:
        own: the model's parameters.
        extra: its `extra_body`.
        stop: the call's stop words.
        kwargs: the call's parameters.
        unbounded: whether the user may be billed without a bound.

    Raises:
        ConfigurationError: for an unknown parameter, one out of range, or one that costs money without leave.
    """
    named = {_ALIASES.get(name, name): value for name, value in kwargs.items() if name not in _NOT_SENT}
    per_call_extra = named.pop("extra_body", None) or {}
    if not isinstance(per_call_extra, Mapping):
        raise ConfigurationError(f"extra_body={per_call_extra!r} must be a table.")
    known = PER_CALL | set(FIELDS)
    unknown = next((name for name in named if name not in known), None)
    if unknown is not None:
        hint = settings.did_you_mean(unknown, known | _OPTIONS)
        raise ConfigurationError(f"Unknown parameter {unknown!r}{hint}; what is new goes into extra_body={{...}}.")
    if stop is not None:
        named["stop"] = stop
    params = {name: value for name, value in {**own, **named}.items() if value is not None}
    params |= settings.extra_body({**extra, **per_call_extra}, unbounded=unbounded)
    # Under its other name a limit would stand beside the one that a reservation goes by.
    if "max_completion_tokens" in params:
        params["max_tokens"] = params.pop("max_completion_tokens")
    check(params)
    if params.get("tools"):
        params["tools"] = [plain_tool(tool) for tool in params["tools"]]
    if isinstance(choice := params.get("tool_choice"), Mapping):
        params["tool_choice"] = plain_choice(choice) or choice
    _check_choice(params)
    # A reservation, and the room in a context, go by whole numbers.
    params |= {name: int(params[name]) for name in _WHOLE & params.keys() if isinstance(params[name], float)}
    if not unbounded:
        settings.refuse_costs(params)
    return params
