"""The SQLite store: updates a second, and how long one takes, for 1, 4 and 8 processes on one file.

A page's codec is part of an update and runs under the file's lock: "text" is a page of the ledger's size that
costs nothing to write, which leaves the store itself. Arguments: seconds for each row (default 2), and the
folder of the file (default: a temporary one).
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from measuring import crowd, noise

from langchain_openrouter_free.books import pages
from langchain_openrouter_free.books.breaker import Cooldown
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.purse import Purse
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.stores import PageRef
from langchain_openrouter_free.stores.sqlite import SqliteStore

NOW = 1_800_000_000.0
MODELS = [f"vendor/a-model-of-usual-length-{number}:free" for number in range(30)]
LEDGER: PageRef[Any] = PageRef("account:a", pages.encode, pages.decode)
PURSE: PageRef[Any] = PageRef("project:p", Purse.encode, Purse.decode)
TEXT: PageRef[Any] = PageRef("text:t", str, str)


def cooled() -> Ledger:
    """Return a book in which all models cool down."""
    return Ledger(cooldowns={model: Cooldown(NOW + 60, Kind.UPSTREAM_LIMIT) for model in MODELS})


def rested(book: Ledger | None) -> tuple[Ledger, None]:
    """Change one cooldown of the book, as a failed attempt does."""
    book = book or cooled()
    first = book.cooldowns[MODELS[0]]
    return book._replace(cooldowns={**book.cooldowns, MODELS[0]: replace(first, until=first.until + 1)}), None


def looked(book: Ledger | None) -> tuple[Ledger, None]:
    """Leave the book as it is."""
    return book or cooled(), None


def settled(purse: Purse | None) -> tuple[Purse, None]:
    """Reserve and settle, as a paid attempt does in two updates."""
    return (purse or Purse()).reserved_for("r", 1_000, NOW).settled("r", 900, NOW), None


def typed(text: str | None) -> tuple[str, None]:
    """Change a text of the size of the book."""
    text = text or "0" * len(pages.encode(cooled()))
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


def updates(path: str, row: str) -> Callable[[], object]:
    """Return one update of a page."""
    ref, change = ROWS[row]
    store = SqliteStore(path, warn=refuse)
    return lambda: store.update(ref, change)


def measure(folder: str, row: str, processes: int, seconds: float) -> str:
    """Run so many processes on one new file; return a line of the table."""
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        did = crowd(updates, (str(Path(inside) / "state.sqlite3"), row), processes, seconds)
    times = f"{did.rate:>11,.0f}{did.middle:>10.3f}{did.late:>10.2f}{did.longest:>10.1f}"
    return f"  {row:<24}{processes:>4}{times}{did.fair:>9.2f}"


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
