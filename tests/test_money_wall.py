"""Calls of $0.50 against a cap of $0.60: one passes, however many try at once and from wherever."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from driving import PATHS, TWENTY, at_once, drive, make
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_openrouter_free import AllModelsFailed, BudgetExceeded, PaidModel
from langchain_openrouter_free.books.purse import Purse
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores import PageRef
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

HALF: dict[str, Any] = {"id": "simulated/half", "pricing": {"prompt": "0", "completion": "0", "request": "0.5"}}
LAWS = Scenario(models=[HALF, TWENTY[0]], scripts={TWENTY[0]: "503", HALF["id"]: {"do": "ok", "latency": 0.2}})
PAYING: dict[str, Any] = {
    "allow_paid": True,
    "paid_models": [HALF["id"]],
    "budget": "$0.60",
    "project": "wall",
    "max_wait": 0,
}

CLIENTS_OF_OPENAI: dict[str, Any] = {"http_client": httpx.Client, "http_async_client": httpx.AsyncClient}

EIGHT_PROCESSES = """
import os, sys
from langchain_openrouter_free import BudgetExceeded, ChatOpenRouterFree
url, key, path, free, paid = sys.argv[1:]
(told, ready), (go, begin) = os.pipe(), os.pipe()

def call():
    model = ChatOpenRouterFree(
        models=[free], api_key=key, base_url=url, state=path,
        allow_paid=True, paid_models=[paid], budget="$0.60", project="wall", max_wait=0,
    )
    os.close(begin)
    os.write(ready, b".")
    os.read(go, 1)
    try:
        model.invoke("hi")
        os.write(1, b"answered\\n")
    except BudgetExceeded:
        os.write(1, b"wall\\n")

for _ in range(8):
    if not os.fork():
        call()
        os._exit(0)
for _ in range(8):
    os.read(told, 1)
os.close(begin)
for _ in range(8):
    assert os.wait()[1] == 0
"""


def purse_in(file: Path) -> Purse:
    ref = PageRef("project:wall", Purse.encode, Purse.decode)
    return SqliteStore(file).update(ref, lambda purse: (purse or Purse(), purse or Purse()))


def agree(sim: Simulator, file: Path) -> None:
    """The service's bill is the ledger's, to the nano-dollar."""
    assert [entry.cost for entry in sim.bill] == [Decimal("0.5")]
    assert purse_in(file).spent_total == 500_000_000
    assert purse_in(file).reserved == 0


def by_another_package(sim: Simulator) -> PaidModel:
    """The same model, asked by a chat model of another package."""
    other = ChatOpenAI(model=HALF["id"], api_key=SecretStr(sim.api_key), base_url=sim.base_url)
    return PaidModel(other, prompt_price=0, completion_price=0, request_price="0.5")


@pytest.mark.parametrize("road", [lambda _: HALF["id"], by_another_package], ids=["the service", "another package"])
@pytest.mark.parametrize("wire", ["stream", "plain"])
def test_sixteen_threads(tmp_path: Path, wire: str, road: Callable[[Simulator], object]) -> None:
    file = tmp_path / "state.sqlite3"
    said: list[str] = []
    walls: list[BudgetExceeded] = []
    with Simulator(LAWS) as sim:
        paying = {**PAYING, "paid_models": [road(sim)]}
        model = make(sim, [TWENTY[0]], state=SqliteStore(file), wire=wire, **paying)

        def call() -> None:
            try:
                model.invoke("hi")
                said.append("answered")
            except BudgetExceeded as error:
                walls.append(error)

        at_once(call, 16)
        assert said == ["answered"]
        assert len(walls) == 15
        assert {(wall.cap, wall.asked) for wall in walls} == {("0.6", "0.5")}
        assert {Decimal(wall.spent) + Decimal(wall.reserved) for wall in walls} == {Decimal("0.5")}
        agree(sim, file)


def test_eight_processes(tmp_path: Path) -> None:
    """They begin together, and share nothing but the file: each makes its model after the fork."""
    file = tmp_path / "state.sqlite3"
    with Simulator(LAWS) as sim:
        arguments = [sim.base_url, sim.api_key, str(file), TWENTY[0], str(HALF["id"])]
        command = [sys.executable, "-c", EIGHT_PROCESSES, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert sorted(done.stdout.split()) == ["answered"] + ["wall"] * 7, done.stderr
        agree(sim, file)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_paid_while_the_budget_cannot_be_kept(tmp_path: Path, path: str) -> None:
    """A file that cannot be used breaks no free call; but what others spend is not seen, so nothing is spent."""
    file = tmp_path / "state.sqlite3"
    file.mkdir()
    with Simulator(LAWS) as sim:
        store = SqliteStore(file, warn=lambda _: None)
        with pytest.raises(AllModelsFailed, match="the budget cannot be kept") as caught:
            drive(make(sim, [TWENTY[0]], state=store, **PAYING), path)
        assert [one.model for one in caught.value.skipped] == [HALF["id"]]
        assert store.degraded
        assert sim.bill == []
        for budget in ("unlimited", "$9/call"):
            alone = make(sim, [TWENTY[0]], state=store, **{**PAYING, "budget": budget})
            assert drive(alone, path).meta["route"]["paid"], "there is no cap that others share"
        kept = make(sim, [TWENTY[0]], state="memory", **{**PAYING, "project": f"memory-{path}"})
        assert drive(kept, path).meta["route"]["paid"]


def test_a_file_that_comes_back_can_be_paid_from_again(tmp_path: Path) -> None:
    """The refused reservation is not left behind in memory either."""
    file, clock = tmp_path / "state.sqlite3", FakeClock()
    file.mkdir()
    with Simulator(LAWS) as sim:
        store = SqliteStore(file, warn=lambda _: None, retry_after=1.0, monotonic=clock.monotonic)
        model = make(sim, [TWENTY[0]], state=store, clock=clock, **PAYING)
        for _ in range(3):
            with pytest.raises(AllModelsFailed, match="the budget cannot be kept"):
                model.invoke("hi")
        file.rmdir()
        clock.advance(60)
        assert model.invoke("hi").response_metadata["route"]["paid"]
        agree(sim, file)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("length", "many"),
    [
        ("max_completion_tokens", {"max_tokens": 9000, "n": 3}),
        ("max_completion_tokens", {"extra_body": {"max_completion_tokens": 9000, "max_tokens": 9000, "n": 3}}),
        ("max_output_tokens", {"max_tokens": 9000, "use_responses_api": True}),
        ("max_output_tokens", {"extra_body": {"max_output_tokens": 9000}, "use_responses_api": True}),
    ],
)
def test_another_packages_model_says_no_more_than_is_held_back_for(
    path: str, length: str, many: dict[str, Any]
) -> None:
    """It is asked for one answer of that length, whatever it was made for: limit and number were its own once."""
    bodies: list[dict[str, Any]] = []

    def keep(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(503, json={"error": {"message": "down", "code": 503}})

    clients: dict[str, Any] = {
        name: kind(transport=httpx.MockTransport(keep)) for name, kind in CLIENTS_OF_OPENAI.items()
    }
    other = ChatOpenAI(model="dear", api_key=SecretStr("k"), **many, **clients)
    paid = [PaidModel(other, prompt_price=1, completion_price=2)]
    with Simulator(LAWS) as sim:
        model = make(sim, [TWENTY[0]], **{**PAYING, "paid_models": paid, "max_tokens": 123})
        with pytest.raises(AllModelsFailed):
            drive(model, path)
    [body] = bodies
    assert (body[length], body.get("max_tokens", 123), body.get("n", 1)) == (123, 123, 1)


PACKED = HumanMessage([{"type": "file", "base64": "JVBERi0=", "mime_type": "application/pdf", "filename": "a.pdf"}])
READER: dict[str, Any] = {
    "id": "simulated/reader",
    "pricing": {"prompt": "0.000001", "completion": "0.000001"},
    "context_length": 100_000,
    "input_modalities": ["text", "file"],
}


def test_a_file_of_text_is_no_packed_one() -> None:
    """Its bytes bound it, so what it may cost is no matter of the context, and the error does not say so."""
    text = {"type": "file", "base64": "AAAA" * 50_000, "mime_type": "text/plain", "filename": "a.txt"}
    laws = Scenario(models=[{**READER, "context_length": 1_000_000}, TWENTY[0]], scripts={TWENTY[0]: "503"})
    with Simulator(laws) as sim:
        model = make(sim, [TWENTY[0]], **{**PAYING, "paid_models": [READER["id"]], "budget": "$0.10"})
        with pytest.raises(BudgetExceeded, match=r"it could cost \$0\.15\d+, \$0 are spent"):
            model.invoke([HumanMessage([text])])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("paid", "budget", "passes"),
    [
        (READER["id"], "$0.09", False),
        (READER["id"], "$0.11", True),
        (PaidModel(READER["id"], 1, 1), "$9", False),
        (PaidModel(READER["id"], 1, 1), "$11", True),
        (PaidModel(READER["id"], 1, 1, context=50_000), "$0.06", True),
        (PaidModel(READER["id"], 1, 1, context=50_000), "$0.04", False),
    ],
)
def test_a_packed_file_is_held_back_for_by_the_context(path: str, paid: object, budget: str, *, passes: bool) -> None:
    """Six bytes of it may hold any number of pages: a model's context bounds them, and nothing else."""
    laws = Scenario(models=[READER, TWENTY[0]], scripts={TWENTY[0]: "503"})
    with Simulator(laws) as sim:
        model = make(sim, [TWENTY[0]], **{**PAYING, "paid_models": [paid], "budget": budget, "max_tokens": 300})
        if passes:
            assert drive(model, path, [PACKED]).text
        else:
            with pytest.raises(BudgetExceeded, match=r"all of the model's context.*PaidModel") as caught:
                drive(model, path, [PACKED])
            assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        assert [chat.model for chat in sim.chats() if chat.model == READER["id"]] == [READER["id"]] * passes
