"""What a catalogue costs: reading a large one and ranking it, and choosing the candidates of one request.

Not part of the test run. From the project's root:

    python -m pytest tests/benchmarks/test_bench_catalogue.py -o addopts= --benchmark-columns=median,iqr,ops,rounds -s

Aims: 60 ms and 20 MB for a body of 2 MB with 5,000 models, from its bytes to the order of `auto`; 0.2 ms for the
candidates of one request among 400 free models. Of the times only a tenth is asserted: a busy machine is no slow code.
A faster JSON parser would save a third of the JSON, and take 32 MB for it.
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import pytest
from measuring import noise, spread, timed
from pytest_benchmark.fixture import BenchmarkFixture

from langchain_openrouter_free.catalogue.catalogue import Listing
from langchain_openrouter_free.catalogue.selection import Selection
from langchain_openrouter_free.route.actions import Choice
from langchain_openrouter_free.route.choosing import Chooser, selection_of
from langchain_openrouter_free.route.fitness import Needs

NOW = 1_790_000_010.0
AUTO = ("auto",)
MODELS, SIZE = 5_000, 2_000_000
NEEDS = Needs(frozenset({"tools"}), frozenset({"image"}), prompt_tokens=3_000, output_tokens=1_000)
TAKEN = ["max_tokens", "temperature", "top_p", "tools", "stop", "seed", "tool_choice"]

pytestmark = pytest.mark.timeout(300)


def row(number: int, every: int = 1) -> dict[str, Any]:
    """Return a model like those of August 2026; no two are alike, and each so many is free."""
    free = number % every == 0
    row: dict[str, Any] = {
        "id": f"vendor-{number % 40}/a-model-{number}{':free' if free else ''}",
        "name": f"A Model {number} (free)",
        "created": 1_786_000_000 - 3_600 * number,
        "context_length": 32_768 * (1 + number % 9),
        "architecture": {"input_modalities": ["text", "image"][: 1 + number % 2], "output_modalities": ["text"]},
        "pricing": {"prompt": "0" if free else "0.0000002", "completion": "0"},
        "top_provider": {"context_length": 32_768 * (1 + number % 7), "max_completion_tokens": 8_192},
        "supported_parameters": TAKEN[: 2 + number % 6],
    }
    if number % 2:
        row["benchmarks"] = {"artificial_analysis": {"coding_index": number % 83, "agentic_index": number % 61}}
    return row


def body(models: int, size: int = 0, every: int = 1) -> bytes:
    """Return a reply of `GET /models`; descriptions make it as large as it is to be."""
    rows = [row(number, every) | {"description": ""} for number in range(models)]
    bare = len(json.dumps({"data": rows}, separators=(",", ":")))
    for each in rows:
        each["description"] = "x" * max((size - bare) // models, 0)
    return json.dumps({"data": rows}, separators=(",", ":")).encode()


def read(content: bytes) -> Selection:
    """Do with a reply what its first call does."""
    listing = Listing.of(json.loads(content), NOW)
    assert listing is not None
    return selection_of(AUTO, listing, NOW)


def median(benchmark: BenchmarkFixture) -> float:
    """Return the median of what was measured, in ms; 0 where pytest-benchmark is switched off."""
    return benchmark.stats.stats.median * 1e3 if benchmark.stats else 0.0


def told(what: str, times: list[float], capsys: pytest.CaptureFixture[str], digits: int) -> None:
    """Print a median with its quartiles."""
    with capsys.disabled():
        print(f"\n{what}: {spread([seconds * 1e3 for seconds in times], digits)} ms; {noise()}")


# All of them free, which is the worst, and 417 of them.
@pytest.fixture(scope="module", params=[1, 12], ids=["all free", "a twelfth free"])
def large(request: pytest.FixtureRequest) -> bytes:
    content = body(MODELS, SIZE, request.param)
    assert abs(len(content) - SIZE) < 0.1 * SIZE
    assert len(read(content).chosen) == -(-MODELS // request.param)
    return content


def test_a_large_list(benchmark: BenchmarkFixture, large: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON, rows, facts, scores and order. Aim: 60 ms; none where all are free, as they never were."""
    benchmark.pedantic(lambda: read(large), rounds=15, warmup_rounds=2)
    told("5,000 models, whole", [timed(lambda: read(large))[0] for _ in range(15)], capsys, 1)
    told("  of that the JSON", [timed(lambda: json.loads(large))[0] for _ in range(15)], capsys, 1)
    assert median(benchmark) < (3000.0 if len(read(large).chosen) == MODELS else 600.0)


def test_the_memory_of_a_large_list(large: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """The most at any moment, and what is kept as long as the list is. Aim: 20 MB."""
    gc.collect()
    tracemalloc.start()
    try:
        listing = Listing.of(json.loads(large), NOW)
        assert listing is not None
        parsed = tracemalloc.get_traced_memory()[0]
        selection_of(AUTO, listing, NOW)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    with capsys.disabled():
        print(
            f"\n5,000 models: peak {peak / 1e6:.1f} MB, kept {kept / 1e6:.1f} MB, the rows alone {parsed / 1e6:.1f} MB"
        )
    assert peak < 20e6


REQUESTS = {
    "auto": (AUTO, Needs()),
    "auto with needs": (AUTO, NEEDS),
    "a pattern and auto": (("vendor-7/*", "auto"), NEEDS),
    "twenty ids": (tuple(row(number)["id"] for number in range(20)), NEEDS),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_one_request(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str], what: str) -> None:
    """The candidates of one request among 400 free models, once their list was ranked. Aim: 0.2 ms."""
    ranking, needs = REQUESTS[what]
    listing = Listing.of(json.loads(body(400)), NOW)

    def choose() -> Choice:
        return Chooser(ranking, needs, Listing)(listing, NOW)

    expected = 20 if what == "twenty ids" else 400
    assert len(choose().candidates) == expected
    assert bool(choose().doubts) is (needs is NEEDS)
    benchmark(choose)
    told(f"one request, {what}", [timed(choose, 20)[0] for _ in range(60)], capsys, 3)
    assert median(benchmark) < 2.0


def test_a_first_request(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """The same where nobody has ranked the list yet: once an hour. No aim."""
    rows = json.loads(body(400))

    def choose() -> Choice:
        return Chooser(AUTO, NEEDS, Listing)(Listing.of(rows, NOW), NOW)

    benchmark(choose)
    told("the first request of a list", [timed(choose)[0] for _ in range(60)], capsys, 2)
    assert median(benchmark) < 100.0
