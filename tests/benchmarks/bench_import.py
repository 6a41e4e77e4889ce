"""What importing `ChatOpenRouterFree` costs beyond langchain-core's chat model and httpx. Aim: at most 0.15 s of CPU.

Each sample is two fresh interpreters, one after the other. Argument: samples (default 9).
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import statistics
import subprocess
import sys

from measuring import HOUSE, noise, spread

BASE = "from langchain_core.language_models import BaseChatModel; import httpx"
CLOCK = "; import time; print(time.process_time())"


def seconds(code: str) -> float:
    """Return the CPU seconds that a fresh interpreter needs for an import."""
    done = subprocess.run([sys.executable, "-c", code + CLOCK], cwd=HOUSE, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    ours = "from langchain_openrouter_free import ChatOpenRouterFree"
    base: list[float] = []
    whole: list[float] = []
    for code in (BASE, ours):
        seconds(code)
    for _ in range(rounds):
        base.append(seconds(BASE))
        whole.append(seconds(f"{BASE}; {ours}"))
    more = [a - b for a, b in zip(whole, base, strict=True)]
    print("Import, CPU seconds of a fresh interpreter; median (quartiles)")
    print(f"  langchain-core's BaseChatModel and httpx   {spread(base, 3)}")
    print(f"  with ChatOpenRouterFree                    {spread(whole, 3)}")
    print(f"  difference, pair by pair                   {spread(more, 3)}   aim: at most 0.15")
    print(noise())
    sys.exit(statistics.median(more) > 0.15)


if __name__ == "__main__":
    main()
