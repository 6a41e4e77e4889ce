"""What nobody would send on purpose, in short; `make fuzz` draws 100,000 of it. And every recorded reply, cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzing import fuzz, targets
from recorded import ABSENT, FOLDER, cases, cassettes, interactions
from test_verdicts import NOW

from langchain_openrouter_free.answers import judge
from langchain_openrouter_free.refusals import classify
from langchain_openrouter_free.verdicts import Kind
from langchain_openrouter_free.wire import Assembly, Completion, ReplyError, ReplyReader

# Longer recordings are cut at each 251st byte, and at each of their last 60; all of it takes minutes.
SHORT, STRIDE, END = 400, 251, 60


@pytest.mark.parametrize("name", targets(Path()))
def test_only_named_errors_come_of_it(name: str, tmp_path: Path) -> None:
    """150 inputs for each reader of what comes from outside: no exception but ours, and what is read can be used."""
    assert fuzz(name, tmp_path, 150) > 20


def bodies() -> Iterator[tuple[str, int, dict[str, str], bytes]]:
    """Yield every recorded reply to a chat: its name, its head and its bytes."""
    for case in cases():
        if case["kind"].startswith("chat"):
            raw = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])
            yield case["id"], case["status"] or 200, case["headers"] or {}, raw.encode()
    for path in cassettes():
        for one in interactions(path):
            yield one.name, one.status, one.headers, one.raw


def read(status: int, headers: dict[str, str], data: bytes) -> tuple[Kind, Completion]:
    """Read a reply as an attempt does: what it is judged to be, and what it said."""
    reader, assembly = ReplyReader(status, headers), Assembly()
    try:
        for delta in [*reader.feed(data), *reader.end()]:
            assembly.add(delta)
    except ReplyError as error:
        return classify(error.status, error.headers, error.body, now=NOW).kind, assembly.completion()
    complete = reader.finished or (reader.ended and not reader.lost)
    said = assembly.completion()
    return judge(said, status=status, complete=complete).kind, said


@pytest.mark.skipif(not FOLDER.exists(), reason=ABSENT)
def test_a_reply_cut_off_at_any_byte_is_no_answer_unless_all_of_it_was_there() -> None:
    """No cut raises anything; and where a cut reply is taken for an answer, not a word of it is missing."""
    seen = 0
    for name, status, headers, raw in bodies():
        kind, whole = read(status, headers, raw)
        cuts = range(len(raw)) if len(raw) <= SHORT else [*range(0, len(raw), STRIDE), *range(len(raw) - END, len(raw))]
        for cut in cuts:
            seen += 1
            found, said = read(status, headers, raw[:cut])
            if found is Kind.OK:
                assert kind is Kind.OK, (name, cut)
                assert (said.text, said.tool_calls) == (whole.text, whole.tool_calls), (name, cut)
    assert seen > 10_000
