"""What the benchmarks share: a simulator in a process of its own, clocks, medians, and the machine's noise."""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def simulator() -> Iterator[str]:
    """Run the simulator in another process; yield its base URL."""
    script = str(Path(__file__).with_name("unlimited.toml"))
    command = [sys.executable, "-m", "langchain_openrouter_free.simulator", "--port", "0", "--scenario", script]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        line = next((line for line in server.stdout if line.startswith("base URL: ")), None)
        if line is None:
            sys.exit("the simulator did not start")
        yield line.split()[2]
    finally:
        server.terminate()
        server.wait(10)


def cpu_seconds() -> float:
    """Return user and system time of this process so far, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(work: Callable[[], object], times: int = 1) -> tuple[float, float]:
    """Return the seconds by the wall and of CPU that one run of `work` takes, as a mean over `times` runs."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    for _ in range(times):
        work()
    return (time.perf_counter() - wall) / times, (cpu_seconds() - cpu) / times


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Write a median with its quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def noise() -> str:
    """Say how far the machine differs from itself: the quartiles of a fixed piece of work, and its load."""
    fixed = [timed(lambda: sum(range(200_000)))[0] for _ in range(60)]
    low, middle, high = statistics.quantiles(fixed, n=4)
    return (
        f"machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}; "
        f"a fixed loop varies by -{100 * (1 - low / middle):.0f} %/+{100 * (high / middle - 1):.0f} % (quartiles)"
    )
