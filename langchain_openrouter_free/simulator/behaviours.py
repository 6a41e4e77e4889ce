"""Scripts: what a model does next.

A behaviour is a name or a table with `do` and parameters. A script is one behaviour, a sequence (the last
one repeats), a timetable by the clock's time of day (UTC), or a lottery with weights:

    "429-upstream"
    {do = "ok", latency = 0.5, speed = 40}
    ["429-upstream", {do = "cut", after = 3, times = 2}, "ok"]
    [{from = "00:00", to = "00:30", do = "503"}]
    {ok = 8, stall = 1, "429-upstream" = 1}
    [{do = "ok", weight = 8}, {do = "cut", after = 2, weight = 2}]

Owns the registry of names and parameters and the choice of the next behaviour. It does not know how a
behaviour is played.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_openrouter_free.simulator.failures import FAILURES
from langchain_openrouter_free.simulator.suggest import ScenarioError, unknown

Script = str | dict[str, Any] | list[Any]
NUMBERS = {
    *("latency", "speed", "chunks", "padding", "comments", "code", "retry_after", "after", "interval", "size"),
}
TEXTS = {"text", "message", "line", "model_field"}
_MOST_TIMES = 1_000_000
DROPS = ("comment", "role", "empty", "blank", "tool")
TOOL_SHAPES = ("split", "one-delta", "no-arguments-key", "null-content")

COMMON_PARAMETERS: dict[str, str] = {
    "latency": "seconds before the first byte (with padding or comments: spread over them)",
    "speed": "tokens a second; 0 is at once",
    "chunks": "into how many deltas the text is cut; 0 is word by word",
    "text": "the answer, instead of one from the prompt",
    "reasoning": "true, false, or the text of the thoughts",
    "padding": "blank blocks in front of a plain body",
    "comments": "': OPENROUTER PROCESSING' lines in front of a stream and between its events",
    "doubled_finish": "finish_reason comes twice, as in 2026 (default true)",
    "done": "the stream ends in [DONE] (default true)",
    "crlf": "lines of the stream end in CR LF",
    "gzip": "compress, if the client takes it",
    "model_field": "the model named in the answer",
    "tool_shape": "how tool calls are told: " + ", ".join(TOOL_SHAPES),
    "code": "the code of an error inside a 200",
    "message": "the sentence of an error",
    "retry_after": "seconds, told in all four places",
    "after": "after how many deltas; thoughts come on top",
    "interval": "seconds between two drops of a drip",
    "drop": "what a streamed drip consists of: " + ", ".join(DROPS) + " (all but the first are deltas without content)",
    "finish": "whether a streamed drip comes after the answer's end, its finish reason included",
    "size": "bytes of text",
    "line": "the garbage line",
}

SUCCESSES = {
    "ok": "a proper answer",
    "slow": "a proper answer with latency=1 and speed=20",
    "huge": "a proper answer with size=1000000 bytes of text",
    "wrong-schema": "JSON that does not follow the schema",
    "tool-malformed": "a tool call whose arguments are not JSON",
    "tool-unknown": "a call of a tool that was not offered",
    "tool-repeated": "the same tool call eight times in one answer",
    "tool-again": "a call of the first tool, whatever it was answered before",
    "fenced": "the answer in a code fence, with words around it",
    "refusal": "a refusal, and no content",
    "joined": "two JSON objects in one event",
    "no-index": "tool calls without an index",
    "no-finish": "no finish_reason, but a proper end",
    "bad-sse-line": "one garbage line between good ones (line=...)",
}

FAILING_200 = {
    "200-error": "200 whose body is an error (code=502, padding=2): it failed after the headers",
    "200-error-429": "the same with an upstream 429",
    "200-choices-null": "200 with choices null",
    "200-no-choices": "200 with an empty list of choices",
    "200-empty": "content null and finish_reason stop",
    "200-empty-string": "content '' and finish_reason stop",
    "200-length-thinking": "content '' and finish_reason length: thinking ate the budget",
    "200-tool-calls-missing": "finish_reason tool_calls without tool_calls",
    "200-tool-calls-nothing": "finish_reason tool_calls, and neither calls nor words",
    "200-thoughts-only": "thoughts, content '' and finish_reason stop",
    "200-filtered": "content '' and finish_reason content_filter",
    "200-choice-error": "part of an answer, and an error inside the choice",
    "200-finish-error": "finish_reason error and no error object",
    "200-html": "200 with a web page",
    "200-not-json": "200 with text that is not JSON",
    "200-truncated-json": "200 with JSON that stops in the middle",
    "200-bad-utf8": "200 with bytes that are not UTF-8",
}

TRANSPORT = {
    "refuse": "the socket is closed before any byte of a reply",
    "reset": "the connection is reset before any byte of a reply",
    "hang-before-headers": "silence for ever",
    "hang-after-headers": "headers, then silence for ever",
    "drip": "comments or padding for ever (interval=0.05, drop=comment), in a stream after=0 deltas",
    "cut": "the socket is closed after=3 deltas",
    "cut-clean": "the reply ends properly framed after=3 deltas, without finish_reason and [DONE]",
    "stall": "silence for ever after=3 deltas",
    "error-chunk": "an error event before any content (code=502)",
    "error-chunk-after": "an error event after=3 deltas (code=502)",
    "error-chunk-choice": "an error event with one choice and finish_reason error, after=3 deltas",
}

REGISTRY: dict[str, str] = SUCCESSES | {name: one.about for name, one in FAILURES.items()} | FAILING_200 | TRANSPORT


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One behaviour with its parameters."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter, or what it is by default."""
        return self.parameters.get(name, default)


OK = Behaviour("ok")
Chooser = Callable[[float, random.Random], Behaviour]


def parse_script(where: str, script: Any) -> Chooser:
    """Make a script playable.

    Args:
        where: whose script it is, for the error message.
        script: a behaviour, a sequence, a timetable or a lottery.

    Raises:
        ScenarioError: a name or a parameter is not known.
    """
    if isinstance(script, dict) and script and "do" not in script:
        return _lottery(where, [{"do": name, "weight": weight} for name, weight in script.items()])
    entries = script if isinstance(script, list) else [script]
    if not entries:
        raise ScenarioError(f"{where}: an empty script says nothing")
    tables = [entry for entry in entries if isinstance(entry, dict)]
    if any("weight" in table for table in tables):
        return _lottery(where, entries)
    if any("from" in table or "to" in table for table in tables):
        return _timetable(where, entries)
    return _sequence(where, entries)


def parse_behaviour(where: str, entry: Any) -> Behaviour:
    """One behaviour from a name or a table with `do`; a Behaviour is left as it is."""
    if isinstance(entry, str):
        entry = {"do": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("do"), str):
        raise ScenarioError(f"{where}: a behaviour is a name or a table with 'do', not {entry!r}")
    parameters = {key: value for key, value in entry.items() if key not in {"do", "weight", "times", "from", "to"}}
    if entry["do"] not in REGISTRY:
        raise ScenarioError(f"{where}: {unknown('behaviour', entry['do'], REGISTRY)}")
    for key, value in parameters.items():
        if key not in COMMON_PARAMETERS:
            raise ScenarioError(f"{where}: {unknown('parameter', key, COMMON_PARAMETERS)}")
        if key in NUMBERS and (not _is_number(value) or value < 0):
            raise ScenarioError(f"{where}: {key} is a number from 0, not {value!r}")
        if (key in TEXTS and not isinstance(value, str)) or (key == "reasoning" and not isinstance(value, str | bool)):
            raise ScenarioError(f"{where}: {key} is a text, not {value!r}")
        for name, choices in (("tool_shape", TOOL_SHAPES), ("drop", DROPS)):
            if key == name and value not in choices:
                raise ScenarioError(f"{where}: {unknown(name, str(value), choices)}")
    return Behaviour(entry["do"], parameters)


def _sequence(where: str, entries: list[Any]) -> Chooser:
    behaviours: list[Behaviour] = []
    for entry in entries:
        times = entry.get("times", 1) if isinstance(entry, dict) else 1
        if not _is_number(times) or not 0 <= times <= _MOST_TIMES:
            raise ScenarioError(f"{where}: times is a number from 0 to {_MOST_TIMES}, not {times!r}")
        behaviours += [parse_behaviour(where, entry)] * int(times)
    position = iter(behaviours)
    last = behaviours[-1] if behaviours else OK

    def choose(_now: float, _rng: random.Random) -> Behaviour:
        return next(position, last)

    return choose


def _lottery(where: str, entries: list[Any]) -> Chooser:
    behaviours = [parse_behaviour(where, entry) for entry in entries]
    weights = [entry.get("weight", 1) if isinstance(entry, dict) else 1 for entry in entries]
    if any(not _is_number(one) or one < 0 for one in weights) or sum(weights) <= 0:
        raise ScenarioError(f"{where}: weights are numbers above zero, not {weights!r}")

    def choose(_now: float, rng: random.Random) -> Behaviour:
        return rng.choices(behaviours, weights)[0]

    return choose


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _timetable(where: str, entries: list[Any]) -> Chooser:
    rows: list[tuple[int, int, Behaviour]] = []
    otherwise = OK
    for entry in entries:
        if isinstance(entry, dict) and ("from" in entry or "to" in entry):
            start, stop = (
                _minutes(where, entry.get("from", "00:00")),
                _minutes(where, entry.get("to", "24:00")),
            )
            rows.append((start, stop, parse_behaviour(where, entry)))
        else:
            otherwise = parse_behaviour(where, entry)

    def choose(now: float, _rng: random.Random) -> Behaviour:
        minute = int(now // 60) % 1440
        for start, stop, behaviour in rows:
            inside = start <= minute < stop if start <= stop else minute >= start or minute < stop
            if inside:
                return behaviour
        return otherwise

    return choose


def _minutes(where: str, text: Any) -> int:
    hours, _, minutes = str(text).partition(":")
    if not (hours.isdigit() and minutes.isdigit() and int(hours) * 60 + int(minutes) <= 24 * 60):
        raise ScenarioError(f"{where}: a time of day is written HH:MM, not {text!r}")
    return int(hours) * 60 + int(minutes)


class Scripts:
    """The scripts of all models; `*` is for every model that has none of its own."""

    def __init__(self) -> None:
        self._choosers: dict[str, Chooser] = {}
        self._named: set[str] = set()
        self._for_all: Any = None

    def update(self, scripts: Mapping[str, Any]) -> None:
        """Take scripts by model; a model's earlier script is forgotten, and nothing is if one is wrong."""
        parsed = {slug: parse_script(slug, script) for slug, script in scripts.items()}
        if "*" in parsed:
            del parsed["*"]
            self._for_all = scripts["*"]
            self._choosers = {slug: one for slug, one in self._choosers.items() if slug in self._named}
        self._choosers.update(parsed)
        self._named |= parsed.keys()

    def next(self, slug: str, now: float, rng: random.Random) -> Behaviour:
        """What the model does with the request that has just come."""
        chooser = self._choosers.get(slug)
        if chooser is None:
            if self._for_all is None:
                return OK
            chooser = self._choosers[slug] = parse_script("*", self._for_all)
        return chooser(now, rng)
