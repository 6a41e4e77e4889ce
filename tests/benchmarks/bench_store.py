"""The SQLite store: updates a second, and how long one takes, for 1, 4 and 8 processes on one file.

A page's codec is part of an update and runs under the file's lock: "text" is a page of the ledger's size that
costs nothing to write, which leaves the store itself. Arguments: seconds for each row (default 2), and the
folder of the file (default: a temporary one).
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from measuring import noise

from langchain_openrouter_free.budget import Purse
from langchain_openrouter_free.ledger import Cooldown, Ledger
from langchain_openrouter_free.stores import PageRef
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.verdicts import Kind

NOW = 1_800_000_000.0
MODELS = [f"vendor/a-model-of-usual-length-{number}:free" for number in range(30)]
LEDGER: PageRef[Any] = PageRef("account:a", Ledger.encode, Ledger.decode)
PURSE: PageRef[Any] = PageRef("project:p", Purse.encode, Purse.decode)
TEXT: PageRef[Any] = PageRef("text:t", str, str)


def cooled() -> Ledger:
    """Return a book in which all models cool down."""
    return Ledger(cooldowns={model: Cooldown(NOW + 60, Kind.UPSTREAM_LIMIT) for model in MODELS})


def rested(book: Ledger | None) -> tuple[Ledger, None]:
    """Change one cooldown of the book, as a failed attempt does."""
    book = book or cooled()
    first = book.cooldowns[MODELS[0]]
    return replace(book, cooldowns={**book.cooldowns, MODELS[0]: replace(first, until=first.until + 1)}), None


def looked(book: Ledger | None) -> tuple[Ledger, None]:
    """Leave the book as it is."""
    return book or cooled(), None


def settled(purse: Purse | None) -> tuple[Purse, None]:
    """Reserve and settle, as a paid attempt does in two updates."""
    return (purse or Purse()).reserved_for("r", 1_000, NOW).settled("r", 900, NOW), None


def typed(text: str | None) -> tuple[str, None]:
    """Change a text of the size of the book."""
    text = text or "0" * len(cooled().encode())
    return f"{int(text[:9]) + 1:09}{text[9:]}", None


ROWS: dict[str, tuple[PageRef[Any], Callable[[Any], tuple[Any, None]]]] = {
    "Ledger, changed": (LEDGER, rested),
    "Ledger, only looked at": (LEDGER, looked),
    "Purse, changed": (PURSE, settled),
    "text, changed": (TEXT, typed),
}


def refuse(warning: str) -> None:
    """End a run whose store gave the file up: its figures would be the memory's."""
    raise SystemExit(warning)


def work(path: str, row: str, seconds: float, barrier: Barrier, results: Queue[list[float]]) -> None:
    """Update one page for so many seconds; hand over how long each update took."""
    ref, change = ROWS[row]
    store = SqliteStore(path, warn=refuse)
    store.update(ref, change)
    times: list[float] = []
    barrier.wait()
    ends = time.perf_counter() + seconds
    now = time.perf_counter()
    while now < ends:
        store.update(ref, change)
        after = time.perf_counter()
        times.append(after - now)
        now = after
    store.close()
    results.put(times)


def measure(folder: str, row: str, processes: int, seconds: float) -> str:
    """Run so many processes on one new file; return a line of the table."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        arguments = (str(Path(inside) / "state.sqlite3"), row, seconds, barrier, results)
        workers = [context.Process(target=work, args=arguments) for _ in range(processes)]
        for worker in workers:
            worker.start()
        each = [results.get(timeout=seconds + 60) for _ in workers]
        for worker in workers:
            worker.join()
    times = sorted(time for times in each for time in times)
    middle, late = statistics.median(times) * 1e3, times[len(times) * 99 // 100] * 1e3
    least = min(len(times) for times in each) / max(len(times) for times in each)
    rate = len(times) / seconds
    return f"  {row:<24}{processes:>4}{rate:>11,.0f}{middle:>10.3f}{late:>10.2f}{times[-1] * 1e3:>10.1f}{least:>9.2f}"


def main() -> None:
    """Print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    folder = sys.argv[2] if len(sys.argv) > 2 else tempfile.gettempdir()
    print("SqliteStore, one file. Times of one update in ms; fairness: updates of the slowest / fastest process")
    print(f"  {'page':<24}{'proc':>4}{'updates/s':>11}{'p50':>10}{'p99':>10}{'max':>10}{'fair':>9}")
    for row in ROWS:
        for processes in (1, 4, 8):
            print(measure(folder, row, processes, seconds))
    print(noise())


if __name__ == "__main__":
    main()
