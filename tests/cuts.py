"""Every recorded reply, cut off: what is said of it is never a whole answer unless all of it was there.

`test_fuzz.py` cuts in short, `make fuzz` at every byte. The recordings are read where they lie beside the checkout.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from recorded import cases, cassettes, interactions

from langchain_openrouter_free.judging.answers import judge
from langchain_openrouter_free.judging.refusals import classify
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.protocol.wire import Assembly, Completion, ReplyError, ReplyReader
from langchain_openrouter_free.words.replies import to_chunk, to_message

NOW = 1_790_000_000.0
# In short: every byte of a short reply, of longer ones each 997th and each of the last 40.
SHORT, STRIDE, END = 400, 997, 40


@dataclass(frozen=True)
class Body:
    """One recorded reply to a chat."""

    name: str
    status: int
    headers: dict[str, str]
    raw: bytes


def bodies() -> Iterator[Body]:
    """Yield every recorded reply to a chat; none where the folder is absent."""
    for case in cases():
        if case["kind"].startswith("chat"):
            raw = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])
            yield Body(case["id"], case["status"] or 200, case["headers"] or {}, raw.encode())
    for path in cassettes():
        for one in interactions(path):
            yield Body(one.name, one.status, one.headers, one.raw)


def few(raw: bytes) -> Iterable[int]:
    """Return where a reply is cut in short."""
    every = len(raw) <= SHORT
    return range(len(raw)) if every else [*range(0, len(raw), STRIDE), *range(len(raw) - END, len(raw))]


def read(body: Body, upto: int | None = None) -> tuple[Kind, Completion, bool]:
    """Read a reply, or the start of it, as an attempt does: what it is judged to be, what it said, if it had ended."""
    reader, assembly = ReplyReader(body.status, body.headers), Assembly()
    try:
        for delta in [*reader.feed(body.raw[:upto]), *reader.end()]:
            assembly.add(delta)
            to_chunk(delta)
    except ReplyError as error:
        return classify(error.status, error.headers, error.body, now=NOW).kind, assembly.completion(), False
    said, ended = assembly.completion(), reader.finished or (reader.ended and not reader.lost)
    to_message(said, metadata={})
    return judge(said, status=body.status, complete=ended).kind, said, reader.finished or reader.ended


def cut(body: Body, places: Iterable[int]) -> int:
    """Cut a reply at these places, and return how many there were.

    Raises:
        AssertionError: a cut reply was taken for an answer, and a word was missing or its end was.
        Exception: another one than what a cut reply is meant to raise; it names no place, a debugger does.
    """
    kind, whole, _ = read(body)
    number = 0
    for place in places:
        number += 1
        found, said, ended = read(body, place)
        if found is Kind.OK:
            assert kind is Kind.OK, (body.name, place)
            assert ended, (body.name, place)
            assert (said.text, said.tool_calls) == (whole.text, whole.tool_calls), (body.name, place)
    return number
