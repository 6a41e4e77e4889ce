"""What importing `ChatOpenRouterFree` costs beyond langchain-core's chat model and httpx. Aim: at most 0.15 s of CPU.

Each sample is three fresh interpreters, one after the other. What an import leaves for later is paid by the first call,
so that is measured as well, against the simulator. Argument: samples (default 9).
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import sys
from itertools import pairwise

from measuring import noise, simulator, spread, starting

BASE = "from langchain_core.language_models import BaseChatModel; import httpx"
CORE = f"{BASE}; import httpcore"  # what httpx itself loads for its first client
OURS = "from langchain_openrouter_free import ChatOpenRouterFree"
CLOCK = "import time; print(time.process_time())"


def main() -> None:
    """Print the tables."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    imports(rounds)
    with simulator() as url:
        first_call(url, rounds)
    print(noise())


def imports(rounds: int) -> None:
    """Print what the import costs."""
    steps: dict[str, list[float]] = {code: [] for code in (BASE, CORE, f"{CORE}; {OURS}")}
    for number in range(rounds + 1):
        for code, samples in steps.items():
            took = starting(f"{code}; {CLOCK}")
            samples.extend(took if number else [])
    base, core, whole = steps.values()
    print("Import, CPU seconds of a fresh interpreter; median (quartiles)")
    for name, samples in (
        ("langchain-core's BaseChatModel and httpx", base),
        ("and httpcore, which httpx loads for its first client", core),
        ("and ChatOpenRouterFree", whole),
        ("difference to the first line, round by round", [b - a for a, b in zip(base, whole, strict=True)]),
        ("difference to the second line (aim: at most 0.15)", [b - a for a, b in zip(core, whole, strict=True)]),
    ):
        print(f"  {name:<54} {spread(samples, 3)}")


def first_call(url: str, rounds: int) -> None:
    """Print what the first answer costs, step by step."""
    model = f"ChatOpenRouterFree(api_key='sk-or-v1-simulated', base_url={url!r}, state='memory')"
    steps = (CORE, OURS, f"model = {model}", "model.invoke('hello')", "model.invoke('hello')")
    code = "; ".join(f"{step}; {CLOCK}" for step in steps)
    clocks = [starting(code) for _ in range(rounds)]
    taken = list(zip(*([b - a for a, b in pairwise(one)] for one in clocks), strict=True))
    print("From there to an answer of the simulator, CPU seconds")
    for name, samples in (
        ("import of ChatOpenRouterFree", taken[0]),
        ("the first model", taken[1]),
        ("its first call", taken[2]),
        ("its second call", taken[3]),
        ("all until the first answer", [one[-2] - one[0] for one in clocks]),
    ):
        print(f"  {name:<54} {spread(samples, 4)}")


if __name__ == "__main__":
    main()
