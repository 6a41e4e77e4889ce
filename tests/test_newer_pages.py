"""Two versions of the package share a state: the older one writes over nothing that it cannot read."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from driving import PATHS, TWENTY, drive, make
from money_world import FLAT, PAYING
from redis_server import Server
from store_helpers import Clock, counted, one_more, opened

from langchain_openrouter_free import AllModelsFailed
from langchain_openrouter_free.books import pages
from langchain_openrouter_free.books.history import Totals
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.purse import VERSION, Purse
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores import PageRef, is_degraded
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.values import Newer, check_version

BOOKS: dict[str, tuple[Callable[[str], object], str]] = {
    "account": (pages.decode, pages.encode(Ledger())),
    "money": (Purse.decode, Purse().encode()),
    "counts": (Totals.decode, Totals().encode()),
}


def renumbered(text: str, version: object) -> str:
    head, newline, rest = text.partition("\n")
    return json.dumps({**json.loads(head), "v": version}) + newline + rest


@pytest.mark.parametrize("version", [9, 10**30, None, 0, -1, True, 9.5, "9", [9]])
@pytest.mark.parametrize("book", BOOKS)
def test_a_later_version_is_no_damage_and_no_version_is(book: str, version: object) -> None:
    decode, text = BOOKS[book]
    assert decode(text) is not None
    with pytest.raises(ValueError, match="version") as raised:
        decode(renumbered(text, version))
    assert isinstance(raised.value, Newer) == (type(version) is int and version > 0)


def count_of(version: int) -> PageRef[int]:
    """A page, as a package of this version reads and writes it."""

    def decode(text: str) -> int:
        by, count = map(int, text.split())
        check_version(by, version, least=1)
        return count

    def joined(base: int | None, mine: int, there: int | None) -> int:
        return (there or 0) + mine - (base or 0)

    return PageRef("account:both", lambda count: f"{version} {count}", decode, joined)


@pytest.mark.parametrize("place", ["file", "server"])
def test_an_older_one_stands_aside_until_it_can_read_again(place: str, tmp_path: Path, own: Server) -> None:
    """It goes on from what it saw last, says so once, and adds what it counted to a page of its own."""
    where, said, clock = (own.url if place == "server" else str(tmp_path / "state")), list[str](), Clock()
    older, newer = opened(where, warn=said.append, monotonic=clock), opened(where)
    assert [older.update(count_of(1), one_more), newer.update(count_of(2), one_more)] == [1, 2]
    for clock.now in (0.0, 1.0, 40.0):
        older.update(count_of(1), one_more)
    assert (counted(older, count_of(1)), counted(newer, count_of(2))) == (4, 2)
    assert ["newer version" in line for line in said] == [True]
    newer.update(count_of(1), one_more)  # gone back to the older version
    clock.now = 80.0
    assert counted(older, count_of(1)) == counted(newer, count_of(2)) == 6
    assert not is_degraded(older)


@pytest.mark.parametrize("path", PATHS)
def test_a_budget_that_a_newer_one_wrote_pays_for_nothing(
    path: str, tmp_path: Path, sim: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Free calls go on, and what was spent stands as it was written."""
    file = tmp_path / "state.sqlite3"
    paying = {**PAYING, "paid_models": [FLAT["id"]], "budget": "$0.60"}

    def called(model: str) -> object:
        return drive(make(sim, [model], state=SqliteStore(file), **paying), path).meta["route"]["model"]

    def money(change: str = "") -> str:
        with contextlib.closing(sqlite3.connect(file)) as other, other:
            other.execute(
                "UPDATE pages SET text = replace(text, ?, ?) WHERE key = 'project:one'", (f'"v":{VERSION}', change)
            )
            return str(other.execute("SELECT text FROM pages WHERE key = 'project:one'").fetchone()[0])

    sim.reset(Scenario(models=[FLAT, *TWENTY[:2]], scripts={TWENTY[0]: "503"}))
    assert called(TWENTY[0]) == FLAT["id"]
    newer = money(f'"v":{VERSION + 1}')
    with pytest.raises(AllModelsFailed):
        called(TWENTY[0])
    assert called(TWENTY[1]) == TWENTY[1]
    assert (len(sim.bill), money()) == (1, newer)
    assert sum("newer version" in line for line in caplog.messages) == 1
