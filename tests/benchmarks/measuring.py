"""What the benchmarks share: a simulator in a process of its own, several processes at once, clocks, medians, noise."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def simulator() -> Iterator[str]:
    """Run the simulator in another process; yield its base URL."""
    script = str(Path(__file__).with_name("unlimited.toml"))
    command = [sys.executable, "-m", "langchain_openrouter_free.simulator", "--port", "0", "--scenario", script]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.PIPE, text=True, env=environment) as server:
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


def starting(code: str) -> list[float]:
    """Run code in a fresh interpreter, with compiled modules, as every installation has them; return what it prints.

    The first run of a checkout compiles: it is none to measure.
    """
    environment = {name: said for name, said in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=True, env=environment)
    return [float(word) for word in done.stdout.split()]


def timed(work: Callable[[], object], times: int = 1) -> tuple[float, float]:
    """Return the seconds by the wall and of CPU that one run of `work` takes, as a mean over `times` runs."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    for _ in range(times):
        work()
    return (time.perf_counter() - wall) / times, (cpu_seconds() - cpu) / times


@dataclass(frozen=True)
class Crowd:
    """What several processes did at once.

    Attributes:
        rate: how often a second they did it, all together.
        middle, late, longest: milliseconds that it took once: the median, the 99th percentile, the maximum.
        fair: how often the slowest process did it, as a part of the fastest.
        cpu: milliseconds of CPU that it took once, which a machine busy with other things changes least.
    """

    rate: float
    middle: float
    late: float
    longest: float
    fair: float
    cpu: float


# A process's work: it prepares itself with its arguments, and returns what it is to do again and again.
Prepare = Callable[..., Callable[[], object]]


def _join_in(prepare: Prepare, arguments: tuple[Any, ...], seconds: float, start: Barrier, told: Queue[Any]) -> None:
    work = prepare(*arguments)
    work()
    times: list[float] = []
    start.wait()
    used = cpu_seconds()
    now = began = time.perf_counter()
    while now < began + seconds:
        work()
        after = time.perf_counter()
        times.append(after - now)
        now = after
    told.put((times, now - began, cpu_seconds() - used))


def crowd(prepare: Prepare, arguments: tuple[Any, ...], processes: int, seconds: float) -> Crowd:
    """Let new processes do the same for so many seconds, all at once; `prepare` belongs to an importable module."""
    context = multiprocessing.get_context("spawn")
    start, told = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=_join_in, args=(prepare, arguments, seconds, start, told)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    each = [told.get(timeout=seconds + 60) for _ in workers]
    for worker in workers:
        worker.join()
    told.close()
    told.join_thread()
    times = sorted(taken for one, _, _ in each for taken in one)
    return Crowd(
        rate=sum(len(one) / took for one, took, _ in each),
        middle=statistics.median(times) * 1e3,
        late=times[len(times) * 99 // 100] * 1e3,
        longest=times[-1] * 1e3,
        fair=min(len(one) for one, _, _ in each) / max(len(one) for one, _, _ in each),
        cpu=sum(used for _, _, used in each) / len(times) * 1e3,
    )


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
