"""Pages and rows for the stores' tests, a clock that stands, and what they do in other processes.

Run as a script it is a process without threads, which may fork and kill as it likes:
`store_helpers.py <what> <place> <log>` prints its findings as JSON.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from langchain_openrouter_free.stores import HistoryLog, PageRef, StateStore
from langchain_openrouter_free.stores.base import Page
from langchain_openrouter_free.stores.connection import Connection
from langchain_openrouter_free.stores.redis import RedisStore
from langchain_openrouter_free.stores.sqlite import SqliteStore

ADDED: PageRef[int] = PageRef("added", str, int, lambda base, mine, there: (there or 0) + mine - (base or 0))
COUNT: PageRef[int] = PageRef("count", str, int)
FOLDED: PageRef[list[str]] = PageRef("folded", json.dumps, json.loads)
GRANTS: PageRef[list[int]] = PageRef("grants", json.dumps, json.loads)
WORKERS, EACH = 4, 250
LOGGER = "langchain_openrouter_free"
LOG = "calls:a"
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


class LogStore(StateStore, HistoryLog, Protocol):
    """A store with logs."""


class Clock:
    """A monotonic clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(place: str, **arguments: Any) -> LogStore:
    """A store at a place: a file, or a server, which may be slow where much else runs."""
    return RedisStore(place, **{"patience": 10.0, **arguments}) if "://" in place else SqliteStore(place, **arguments)


def one_more(count: int | None) -> tuple[int, int]:
    """Count one up, leaving others time to come between."""
    time.sleep(0)
    return (count or 0) + 1, (count or 0) + 1


def counted(store: StateStore, ref: PageRef[int] = COUNT) -> int:
    return store.update(ref, lambda count: (count or 0, count or 0))


def gathered(page: list[str] | None, texts: list[str]) -> list[str]:
    """Put rows into a page, leaving others time to come between."""
    time.sleep(0)
    return [*(page or []), *texts]


def folded(store: StateStore) -> list[str]:
    return store.update(FOLDED, lambda page: (page or [], page or []))


def append_and_fold(store: HistoryLog, name: str, each: int) -> None:
    """Add rows of one's own, and fold a few of anybody's now and then."""
    for number in range(each):
        store.append(LOG, float(number), f"{name}.{number}")
        if number % 10 == 9:
            store.fold(LOG, math.inf, FOLDED, gathered, most=7)


def race(store_of: Callable[[int], StateStore], threads: int, each: int) -> list[int]:
    """Count in several threads; return all answers, sorted."""
    answers: list[int] = []

    def work(number: int) -> None:
        store = store_of(number)
        answers.extend([store.update(COUNT, one_more) for _ in range(each)])

    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sorted(answers)


def in_other_process(what: str, place: object, log: Path | None = None) -> Any:
    """Run this file as a script; return its findings."""
    command = [sys.executable, "-W", "error", __file__, what, str(place), str(log or f"{place}.log")]
    house = str(Path(__file__).parents[1])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=50, env=os.environ | {"PYTHONPATH": house}
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


def becoming(page: Page) -> Callable[[Page | None], tuple[Page, None]]:
    """Return the change to this page."""
    return lambda _: (page, None)


def left(found: int | None) -> tuple[int, None]:
    """Leave a page as it is."""
    assert found is not None
    return found, None


def raising(error: type[BaseException]) -> Callable[[Any], Any]:
    """Return a change that raises."""

    def change(_: Any) -> Any:
        raise error("no")

    return change


def noted(encoded: list[int]) -> PageRef[int]:
    """Return a page that is written down whenever it is encoded."""

    def encode(page: int) -> str:
        encoded.append(page)
        return str(page)

    return PageRef("count", encode, int)


def file_of(store: SqliteStore) -> Connection:
    """Return the file that a store has open."""
    assert store._file is not None
    return store._file


def forked(work: Callable[[], object]) -> int:
    """Run `work` in a child; return its id. A child that fails says why, and ends with status 1."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def fail(warning: str) -> None:
    """A store that gave the file up would prove nothing."""
    raise AssertionError(warning)


def said(log: Path, what: object) -> None:
    with log.open("a", encoding="ascii") as lines:
        lines.write(f"{what}\n")


def heard(log: Path) -> list[int]:
    return [int(line) for line in log.read_text(encoding="ascii").split()]


def wait_for(*children: int) -> None:
    for child in children:
        assert os.waitpid(child, 0)[1] == 0


# -- what a script run does


def counting(place: str, log: Path) -> Any:
    """Count in several processes."""

    def work() -> None:
        # A damaged file is part of one test; that it was given up would show in the count.
        store = opened(place, warn=lambda _: None)
        said(log, "\n".join(str(store.update(COUNT, one_more)) for _ in range(EACH)))

    wait_for(*[forked(work) for _ in range(WORKERS)])
    return heard(log)


def granting(place: str, log: Path) -> Any:
    """Kill processes at random while they grant, and start others, until all is granted."""
    log.touch()
    most = WORKERS * EACH

    def grant(grants: list[int] | None) -> tuple[list[int], int | None]:
        grants = grants or []
        time.sleep(0.000_3)
        return (grants, None) if len(grants) >= most else ([*grants, len(grants) + 1], len(grants) + 1)

    def work() -> None:
        store = opened(place, warn=fail)
        while (granted := store.update(GRANTS, grant)) is not None:
            said(log, granted)

    kills, children = 0, [forked(work) for _ in range(WORKERS)]
    while True:
        time.sleep(random.uniform(0.005, 0.03))
        victim = random.choice(children)
        os.kill(victim, signal.SIGKILL)
        status = os.waitpid(victim, 0)[1]
        if status == 0:  # it had nothing left to grant
            children.remove(victim)
            wait_for(*children)
            break
        assert os.WIFSIGNALED(status), "a worker failed"
        kills += 1
        children[children.index(victim)] = forked(work)
    grants = opened(place, warn=fail).update(GRANTS, lambda page: (page or [], page))
    return {"grants": grants, "told": heard(log), "kills": kills}


def forking(path: str, _folder: Path) -> Any:
    """Fork with the connection open; the parent closes its own while the child goes on."""
    store = SqliteStore(path, warn=fail)
    store.update(COUNT, one_more)
    ready, go = os.pipe()

    def work() -> None:
        assert store._file is None
        store.update(COUNT, one_more)
        os.read(ready, 1)
        for _ in range(100):
            store.update(COUNT, one_more)

    child = forked(work)
    while counted(store) < 2:
        time.sleep(0.001)
    for _ in range(100):
        store.update(COUNT, one_more)
    store.close()
    os.write(go, b"!")
    wait_for(child)
    return counted(SqliteStore(path, warn=fail))


def forking_in_a_crowd(place: str, _folder: Path) -> Any:
    """Fork again and again while threads update through the same store."""
    store = opened(place, warn=fail)
    counted(store)
    crowd = [threading.Thread(target=lambda: [store.update(COUNT, one_more) for _ in range(100)]) for _ in range(3)]
    for thread in crowd:
        thread.start()
    for _ in range(10):
        wait_for(forked(lambda: [store.update(COUNT, one_more) for _ in range(10)]))
    for thread in crowd:
        thread.join()
    return counted(store)


def folding(place: str, _: Path) -> Any:
    """Append and fold in several processes, all of them at once."""

    def work(name: str) -> None:
        append_and_fold(opened(place, warn=fail), name, EACH)

    wait_for(*[forked(partial(work, str(number))) for number in range(WORKERS)])
    store = opened(place, warn=fail)
    return {"folded": folded(store), "left": [text for _, text in store.recent(LOG, WORKERS * EACH)]}


def folding_after_a_fork(path: str, _: Path) -> Any:
    """Go on with the log on both sides of a fork, through one store."""
    store = SqliteStore(path, warn=fail)
    store.append(LOG, 0.0, "before")

    def work() -> None:
        assert store._file is None
        append_and_fold(store, "child", EACH)

    child = forked(work)
    append_and_fold(store, "parent", EACH)
    wait_for(child)
    return {"folded": folded(store), "left": [text for _, text in store.recent(LOG, 2 * EACH + 1)]}


def main() -> None:
    """Do what the command line says."""
    does = (counting, granting, forking, forking_in_a_crowd, folding, folding_after_a_fork)
    whats = {what.__name__: what for what in does}
    sys.stdout.write(json.dumps(whats[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))))


if __name__ == "__main__":
    main()
