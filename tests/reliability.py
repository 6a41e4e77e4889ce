"""Every fault of the simulator, by every way to call: a whole answer of one model, or a typed error.

`make reliability` prints the table and writes it into the README; `test_reliability.py` compares each column with it.
A cell is filled in only after the answer was found to be whole and one model's, or the error to be ours.
"""

# ruff: noqa: T201 - the table is printed

from __future__ import annotations

import json
import urllib.request
from typing import Any

from driving import Told, asked, drive, make
from langchain_core.messages import AIMessage
from pitfall_helpers import ADD
from pydantic import BaseModel
from readme import README, written

from langchain_openrouter_free import OpenRouterFreeError, StreamInterrupted
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.simulator.behaviours import REGISTRY
from langchain_openrouter_free.testing import FakeClock

TABLE = "reliability table", "made by `make reliability`"
PATHS = ("invoke", "ainvoke", "stream", "astream", "batch", "tools", "tools, streamed", "structured")
FAULTS = [name for name in REGISTRY if name not in {"ok", "slow", "huge"}]
MODELS = [f"test/r{n}:free" for n in range(1, 4)]
NEXT, SAME, PARTIAL = "next", "same", "partial"
LEGEND = f"""\
The first of three models has the fault, always, and shows no thoughts before it (they are content: on a stream, a
`refusal` after them is *{PARTIAL}*); `max_wait` is 0. *{NEXT}*: the next model's whole answer. *{SAME}*: the first
model's, whole all the same (of a batch in the next minute). *{PARTIAL}*: `StreamInterrupted` with exactly the words
that had been delivered. Else the error that is raised before any word."""

SAY, ADD_UP, FIND = "tell me a word", "Use add for 3 and 4.", "The total is 12."
CALLS = [("add", {"a": 3, "b": 4})]
MIDWAY = (
    *("200-choice-error", "200-truncated-json", "cut", "cut-clean"),
    *("stall", "error-chunk-after", "error-chunk-choice"),
)
# Said once: a batch waits for the next minute and is answered then.
MINUTE = ("429-account-minute", "429-previous-account")
SILENT = ("hang-before-headers", "hang-after-headers", "drip")


class Total(BaseModel):
    """The total that was found."""

    total: int


def cell(sim: Simulator, fault: str, path: str) -> str:
    """Play a fault to one way of calling; return what came of it.

    Raises:
        AssertionError: an answer was not whole or not one model's, or an error was not ours.
    """
    if fault not in MINUTE:
        return _played(sim, fault, path)
    clock = FakeClock()
    with Simulator(clock=clock.now) as timed:
        return _played(timed, [fault, "ok"], path, clock=clock)


def _played(sim: Simulator, fault: Any, path: str, **more: Any) -> str:
    sim.reset(Scenario())
    # Words that arrive together with a failure are dropped with it, unseen: to a listener these come one by one.
    pace = {"after": 2, "speed": 30} if fault in MIDWAY and "stream" in path else {}
    sim.script({MODELS[0]: fault if isinstance(fault, list) else {"do": fault, "reasoning": False, **pace}})
    model, told = make(sim, MODELS, timeouts=_timeouts(fault), max_wait=0.0, **more), Told()
    try:
        messages = _answers(model, path, told)
    except OpenRouterFreeError as error:
        return _raised(sim, error, told)
    served = {message.response_metadata["model_name"] for message in messages}
    assert len(served) == 1, (fault, path, served)
    own = served == {MODELS[0]}
    for message in messages:
        _check_whole(sim, message, path, own=own)
    return SAME if own else NEXT


def _raised(sim: Simulator, error: OpenRouterFreeError, told: Told) -> str:
    """An error has its attempts; one that broke off has what was delivered, and nobody else was asked."""
    assert error.attempts, error
    if isinstance(error, StreamInterrupted):
        assert error.partial == told.text, (error, told.text)
        assert asked(sim) == MODELS[:1], (error, asked(sim))
        return PARTIAL
    assert not told.text, (error, told.text)
    return f"`{type(error).__name__}`"


def _timeouts(fault: Any) -> dict[str, float]:
    if fault in SILENT:
        return {"first_token": 0.3}
    return {"stall": 0.5} if fault == "stall" else {}


def _answers(model: Any, path: str, told: Told) -> list[AIMessage]:
    if path == "batch":
        return list(model.batch([SAY] * 3, config={"max_concurrency": 1}))
    if path == "structured":
        found = model.with_structured_output(Total, include_raw=True).invoke(FIND)
        assert found["parsed"] == Total(total=12), found
        return [found["raw"]]
    if path.startswith("tools"):
        way = "stream" if path.endswith("streamed") else "invoke"
        return [drive(model.bind_tools([ADD]), way, ADD_UP, told).message]
    return [drive(model, path, SAY, told).message]


def _check_whole(sim: Simulator, message: AIMessage, path: str, *, own: bool) -> None:
    """An answer is the model's whole one: the well model's, or what the odd one says to a plain question."""
    if path == "structured":
        return
    called = [(call["name"], call["args"]) for call in message.tool_calls]
    if path.startswith("tools") and (called or not own):
        assert called == CALLS, (path, called)
    else:
        said = _asked_directly(sim, ADD_UP if path.startswith("tools") else SAY) if own else None
        expected = f"{message.response_metadata['model_name']} answers: you said {SAY}" if said is None else said
        assert message.text == expected, (path, message.text, expected)


def _asked_directly(sim: Simulator, prompt: str) -> str:
    body = {"model": MODELS[0], "messages": [{"role": "user", "content": prompt}]}
    headers = {"Authorization": f"Bearer {sim.api_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{sim.base_url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=5) as reply:
        answer = json.loads(reply.read().decode(errors="replace"))
    return str(answer["choices"][0]["message"]["content"])


def table() -> str:
    """Play everything; return the table as Markdown, with one row for all faults that end alike."""
    rows: dict[tuple[str, ...], list[str]] = {}
    with Simulator() as sim:
        for fault in FAULTS:
            rows.setdefault(tuple(cell(sim, fault, path) for path in PATHS), []).append(f"`{fault}`")
    CLIENTS.close()
    lines = [f"| {', '.join(faults)} | {' | '.join(cells)} |" for cells, faults in rows.items()]
    return "\n".join([LEGEND, "", f"| fault | {' | '.join(PATHS)} |", "|---" * (len(PATHS) + 1) + "|", *lines])


def cells_of(markdown: str, path: str) -> dict[str, str]:
    """Return a column of the table as it is written: fault to cell."""
    at = PATHS.index(path) + 2
    rows = [line.split(" | ") for line in markdown.splitlines() if line.startswith("| `")]
    found = {}
    for row in rows:
        faults = row[0].removeprefix("| ").replace("`", "").split(", ")
        found.update(dict.fromkeys(faults, row[at - 1].removesuffix(" |")))
    return found


if __name__ == "__main__":
    made = table()
    print(made)
    README.write_text(written(README.read_text(), made, *TABLE))
