"""What single models refuse though the catalogue does not say so: a forced choice of tools, a role, a form of history.

Owns the rules and their names. Each is one that a real model or its server has; the wording stands in `failures`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from langchain_openrouter_free.simulator import strict
from langchain_openrouter_free.simulator.catalogue import Row
from langchain_openrouter_free.simulator.failure import Failure
from langchain_openrouter_free.simulator.failures import failure
from langchain_openrouter_free.simulator.reply import Json
from langchain_openrouter_free.simulator.suggest import ScenarioError, unknown

_NINE = re.compile(r"[a-zA-Z0-9]{9}")
_PARAMETERS = ("stop", "seed", "logprobs", "temperature", "top_p", "parallel_tool_calls", "reasoning")


def _messages(body: Json) -> list[Json]:
    messages = body.get("messages")
    return [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []


def _calls(message: Json) -> list[Json]:
    calls = message.get("tool_calls")
    return [one for one in calls if isinstance(one, dict)] if isinstance(calls, list) else []


def _forces(body: Json) -> bool:
    return bool(body.get("tools")) and body.get("tool_choice") not in (None, "auto", "none")


def _asks_for(*kinds: str) -> Callable[[Json], bool]:
    def asks(body: Json) -> bool:
        wish = body.get("response_format")
        return isinstance(wish, dict) and wish.get("type") in kinds

    return asks


def _has_system(body: Json) -> bool:
    return any(message.get("role") in ("system", "developer") for message in _messages(body))


def _ids(body: Json) -> Iterator[str]:
    for message in _messages(body):
        yield from (str(call.get("id")) for call in _calls(message))
        if message.get("role") == "tool":
            yield str(message.get("tool_call_id"))


def _has_other_ids(body: Json) -> bool:
    return any(not _NINE.fullmatch(one) for one in _ids(body))


def _breaks_alternation(body: Json) -> bool:
    """Whether user and assistant do not take turns, after one system message at most, beginning with the user.

    A tool call and its result belong to the answer that they lead to.
    """
    spoken = [message for message in _messages(body) if message.get("role") != "tool" and not _calls(message)]
    turns = [str(message.get("role")) for message in spoken]
    turns = turns[1:] if turns[:1] == ["system"] else turns
    return any(role != ("user", "assistant")[place % 2] for place, role in enumerate(turns))


def _has_several_calls(body: Json) -> bool:
    return any(len(_calls(message)) > 1 for message in _messages(body))


def _thinks_not(body: Json) -> bool:
    wish = body.get("reasoning")
    return isinstance(wish, dict) and (wish.get("enabled") is False or wish.get("effort") == "none")


def _holds(name: str) -> Callable[[Json], bool]:
    return lambda body: body.get(name) is not None


# Name -> when it is broken, and the failure.
MANNERS: dict[str, tuple[Callable[[Json], bool], str]] = {
    "tools": (_holds("tools"), "404-tools"),
    "forced-tool-choice": (_forces, "404-tool-choice"),
    "json-schema": (_asks_for("json_schema"), "400-json-schema"),
    "json-object": (_asks_for("json_object"), "400-json-object"),
    "system-role": (_has_system, "400-system-role"),
    "tool-call-ids": (_has_other_ids, "400-tool-ids"),
    "alternation": (_breaks_alternation, "400-alternation"),
    "several-tool-calls": (_has_several_calls, "400-several-calls"),
    "reasoning-off": (_thinks_not, "400-reasoning"),
    **{name: (_holds(name), "400-parameter") for name in _PARAMETERS},
}


def check(slug: str, names: Iterable[str]) -> None:
    """Refuse names that nobody knows.

    Raises:
        ScenarioError: there is one.
    """
    for name in names:
        if name not in MANNERS and name not in strict.DEMANDS:
            raise ScenarioError(f"refuses of {slug}: {unknown('manner', name, [*MANNERS, *strict.DEMANDS])}")


def refused(
    row: Row, names: Iterable[str], body: Json, own: Callable[[str], bool] = lambda _: True
) -> tuple[str, Failure] | None:
    """The failure of the first manner that a request breaks; None if it breaks none.

    Args:
        row: the model.
        names: its manners.
        body: the request.
        own: tells whether a thought is the model's own.
    """
    for name in names:
        if name in strict.DEMANDS:
            told = strict.refused(row, name, _messages(body), own)
            if told is not None:
                return "400-form", told
            continue
        breaks, kind = MANNERS[name]
        if breaks(body):
            return kind, failure(kind, row, parameter=name)
    return None
