"""The quota by force: processes take it out of one file as fast as they can, and are killed meanwhile.

Each try is a whole decision, through `Books.decide`, on a `SqliteStore`. What the processes do is `force_worker.py`'s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from force_worker import A_DAY, A_MINUTE, CALLS, KILLS, NOON, QUEUES, SPARED, TICK, TICKS, TRIES, WORKERS, letters

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks and kills")


def in_processes(what: str, folder: Path) -> Any:
    """Run the workers apart from this process, whose threads and sockets they must not inherit."""
    script = Path(__file__).with_name("force_worker.py")
    command = [sys.executable, "-W", "error", str(script), what, str(folder / "state.sqlite3")]
    environment = os.environ | {"PYTHONPATH": str(script.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def spent(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of the day."""
    return in_processes("spending", tmp_path_factory.mktemp("spent"))


@pytest.fixture(scope="module")
def queued(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of the minutes."""
    return in_processes("queueing", tmp_path_factory.mktemp("queued"))


class TestADay:
    """Eight processes, a day's cap of 1000, 400 tries each: the account grants 1000, and never one more."""

    @pytest.fixture
    def told(self, spent: Any) -> list[tuple[int, int]]:
        """Of each process: how many of its tries were granted, and how many refused."""
        return [(spent["told"][yes], spent["told"][no]) for yes, no in map(letters, range(WORKERS))]

    def test_the_book_says_exactly_1000(self, spent: Any) -> None:
        assert spent["today"] == spent["of minutes"] == spent["of projects"] == A_DAY

    def test_no_process_was_told_of_one_more(self, spent: Any, told: list[tuple[int, int]]) -> None:
        """A kill can silence one grant, between its commit and its being told; it can add none."""
        granted = sum(yes for yes, _ in told)
        assert A_DAY - len(spent["kills"]) <= granted <= A_DAY

    def test_every_try_got_its_answer(self, told: list[tuple[int, int]]) -> None:
        assert [yes + no for yes, no in told] == [TRIES] * WORKERS
        assert sum(no for _, no in told) >= WORKERS * TRIES - A_DAY

    def test_every_process_saw_the_quota_and_its_end(self, told: list[tuple[int, int]]) -> None:
        """Each was granted something, also those that were never killed, and refused what was left to do."""
        assert all(yes and (no or yes == TRIES) for yes, no in told[:SPARED])
        assert all(yes for yes, _ in told)

    def test_a_further_try_is_refused_for_the_day(self, spent: Any) -> None:
        assert spent["further"] == ["GiveUp", "day"]
        assert spent["in the end"] == A_DAY

    def test_they_were_killed_while_the_quota_was_being_taken(self, spent: Any) -> None:
        """What was granted and not told yet is one for each process and each kill: these were done before that."""
        in_time = [told for told in spent["kills"] if told < A_DAY - WORKERS - KILLS]
        assert len(in_time) >= 5


def test_a_grant_begins_with_its_commit(tmp_path: Path) -> None:
    """Killed right before it, a process has taken nothing; right after it, one, and the file is in order."""
    assert in_processes("dying", tmp_path) == {"before": 0, "after": 1, "and another": 2}


class TestMinutes:
    """Four processes queue for minutes of 7 requests each, for three minutes."""

    def test_no_minute_holds_more_than_seven(self, queued: Any) -> None:
        """Neither of the slots that were given out, by process, nor of the requests that left."""
        slots = [
            (process, minute) for what, process, minutes, _ in queued["told"] if what != "used" for minute in minutes
        ]
        left = [at // 60 for what, _, _, at in queued["told"] if what != "booked"]
        assert len(slots) == QUEUES * CALLS * TICKS
        assert max(Counter(minute for _, minute in slots).values()) == A_MINUTE
        assert max(Counter(left).values()) == A_MINUTE
        assert {process for process, _ in slots} == set(range(QUEUES))

    def test_no_slot_is_wasted(self, queued: Any) -> None:
        """All minutes but the last booked one are full, and each slot whose minute has come was used."""
        slots = Counter(minute for what, _, minutes, _ in queued["told"] if what != "used" for minute in minutes)
        assert {taken for minute, taken in slots.items() if minute != max(slots)} == {A_MINUTE}
        booked = Counter((p, tuple(m)) for what, p, m, _ in queued["told"] if what == "booked")
        used = Counter((p, tuple(m)) for what, p, m, _ in queued["told"] if what == "used")
        last = (NOON + (TICKS - 1) * TICK) // 60
        assert used == {slot: count for slot, count in booked.items() if slot[1][0] <= last}

    def test_the_book_agrees(self, queued: Any) -> None:
        slots = Counter(minute for what, _, minutes, _ in queued["told"] if what != "used" for minute in minutes)
        book = dict(queued["book"])
        assert book == {minute: slots[minute] for minute in book}
        assert set(slots) - set(book) <= {min(slots), min(slots) + 1}  # what is past is closed
