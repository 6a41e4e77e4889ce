"""What importing `ChatOpenRouterFree` costs beyond langchain-core's chat model and httpx. Aim: at most 0.15 s of CPU.

Each sample is three fresh interpreters, one after the other. Argument: samples (default 9).
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import subprocess
import sys

from measuring import HOUSE, noise, spread

BASE = "from langchain_core.language_models import BaseChatModel; import httpx"
CORE = f"{BASE}; import httpcore"  # what httpx itself loads for its first client
OURS = "from langchain_openrouter_free import ChatOpenRouterFree"
CLOCK = "; import time; print(time.process_time())"


def seconds(code: str) -> float:
    """Return the CPU seconds that a fresh interpreter needs for an import."""
    done = subprocess.run([sys.executable, "-c", code + CLOCK], cwd=HOUSE, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    steps: dict[str, list[float]] = {code: [] for code in (BASE, CORE, f"{CORE}; {OURS}")}
    for _ in range(rounds):
        for code, samples in steps.items():
            samples.append(seconds(code))
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
    print(noise())


if __name__ == "__main__":
    main()
