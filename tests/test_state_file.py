"""State in a file: what one process learned, the next one knows."""

from __future__ import annotations

import contextlib
import os
import pickle
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, drive, make
from money_world import FLAT
from store_helpers import COUNT, Clock, counted, one_more, opened

from langchain_openrouter_free import (
    AllModelsFailed,
    BudgetExceeded,
    ChatOpenRouterFree,
    ConfigurationError,
    FreeQuotaExhausted,
)
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores import PageRef
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

ANOTHER_PROCESS = """
import sys
from langchain_openrouter_free import ChatOpenRouterFree, FreeQuotaExhausted
url, key, path, *models = sys.argv[1:]
model = ChatOpenRouterFree(
    models=models, api_key=key, base_url=url, state=path or None, limits={"per_day": 1}
)
try:
    print(model.invoke("hi").response_metadata["route"]["model"])
except FreeQuotaExhausted as error:
    print("spent", error.window)
"""


def another_process(sim: Simulator, path: Path | str, models: list[str], **environment: str) -> str:
    """Call from a new process that shares nothing but the file; an empty path is the default."""
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER_PROCESS, sim.base_url, sim.api_key, str(path), *models],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        env={**{name: value for name, value in os.environ.items() if name != "OPENROUTER_FREE_STATE"}, **environment},
    )
    return done.stdout.strip()


@pytest.mark.parametrize("path", PATHS)
def test_a_restart_knows_the_cooldowns(tmp_path: Path, path: str) -> None:
    """A model that failed under one store object is left alone under the next one on the same file."""
    with Simulator() as sim:
        sim.script({TWENTY[0]: {"do": "429-upstream", "retry_after": 60}})
        file = tmp_path / "state.sqlite3"
        assert drive(make(sim, state=SqliteStore(file)), path).outcomes == ["upstream_limit", "ok"]
        assert drive(make(sim, state=SqliteStore(file)), path).outcomes == ["ok"]
        assert asked(sim) == [TWENTY[0], TWENTY[1], TWENTY[1]]


def test_another_process_knows_that_the_day_is_spent(tmp_path: Path) -> None:
    """One request learns it; a new process on the same file sends none."""
    with Simulator(Scenario(per_minute=20, per_day=0)) as sim:
        file = tmp_path / "state.sqlite3"
        with pytest.raises(FreeQuotaExhausted):
            make(sim, TWENTY[:3], state=str(file)).invoke("hi")
        assert another_process(sim, file, TWENTY[:3]) == "spent day"
        assert len(sim.chats()) == 1


def test_the_default_is_the_users_own_file(tmp_path: Path) -> None:
    """Without a word about it two processes share the counters of the account; the file is the user's alone."""
    with Simulator() as sim:
        sim.offer(TWENTY[0])
        home = {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path / "home")}
        told = [another_process(sim, "", TWENTY[:1], **home) for _ in range(2)]
        assert told == [TWENTY[0], "spent day"]
        assert len(sim.chats()) == 1
    (file,) = tmp_path.rglob("state.sqlite3")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("word", ["memory", ":memory:"])
def test_memory_in_words(word: str) -> None:
    """Both words mean the memory of this process, shared by all models in it."""
    from langchain_openrouter_free.stores.naming import store_of  # noqa: PLC0415

    assert store_of(word) is store_of("memory")


def test_the_environment_names_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENROUTER_FREE_STATE is read at each call, and loses against `state=`."""
    from langchain_openrouter_free.stores.naming import store_of  # noqa: PLC0415

    monkeypatch.setenv("OPENROUTER_FREE_STATE", str(tmp_path / "mine.sqlite3"))
    store = store_of(None)
    assert isinstance(store, SqliteStore)
    assert store.path == tmp_path / "mine.sqlite3"
    assert store_of("memory") is not store


@pytest.mark.parametrize("path", PATHS)
def test_a_restart_knows_windows_breakers_and_health(tmp_path: Path, path: str) -> None:
    """The second failure after a restart is the second, the minute is as full as it was, and so is the day."""
    clock, file = FakeClock(1_790_000_005.0), tmp_path / "state.sqlite3"
    with Simulator(clock=clock.now) as sim:
        sim.script({TWENTY[0]: ["503", "503", "ok"]})
        limits = {"per_minute": 4, "per_day": 5}

        def restarted() -> ChatOpenRouterFree:
            return make(sim, TWENTY[:2], state=SqliteStore(file), clock=clock, limits=limits, max_wait=0)

        assert drive(restarted(), path).outcomes == ["overloaded", "ok"]
        clock.advance(6)
        told = drive(restarted(), path)
        assert told.outcomes == ["overloaded", "ok"]
        assert told.meta["route"]["attempts"][0]["until"] == clock.now() + 30, "the second guess, not the first again"
        with pytest.raises(FreeQuotaExhausted) as caught:
            drive(restarted(), path)
        assert (caught.value.window, caught.value.used) == ("minute", 4)
        clock.advance(60)
        drive(restarted(), path)
        with pytest.raises(FreeQuotaExhausted) as caught:
            drive(restarted(), path)
        assert (caught.value.window, caught.value.used) == ("day", 5)
        assert len(sim.chats()) == 5


def test_one_request_probes_over_all_processes(tmp_path: Path) -> None:
    """After a cooldown one of two stores on the file tries the model again; the other goes on to the next."""
    clock, file = FakeClock(), tmp_path / "state.sqlite3"
    with Simulator() as sim:
        sim.script({TWENTY[0]: ["503", {"do": "ok", "latency": 0.5}]})
        first, second = (make(sim, TWENTY[:2], state=SqliteStore(file), clock=clock) for _ in range(2))
        first.invoke("hi")
        clock.advance(6)
        probing = threading.Thread(target=first.invoke, args=("hi",))
        probing.start()
        while len(sim.chats()) < 3:
            threading.Event().wait(0.005)
        assert drive(second, "invoke").meta["route"]["model"] == TWENTY[1]
        probing.join()
        assert drive(second, "invoke").meta["route"]["model"] == TWENTY[0]


def test_a_project_cannot_starve_the_others(tmp_path: Path) -> None:
    """A batch job with a share stops at it; what is kept for a project is left by everybody."""
    clock, file = FakeClock(1_790_000_005.0), tmp_path / "state.sqlite3"
    with Simulator(clock=clock.now) as sim:

        def of(project: str, **share: Any) -> ChatOpenRouterFree:
            state = SqliteStore(file)
            limits = {"per_day": 10}
            return make(sim, TWENTY[:1], state=state, clock=clock, project=project, limits=limits, **share)

        job, chat, kept = of("job", daily_share="30%"), of("chat"), of("kept", daily_share={"at_least": 4})
        kept.invoke("hi")
        found = job.batch(["hi"] * 5, return_exceptions=True)
        refused = [error for error in found if isinstance(error, FreeQuotaExhausted)]
        assert len(refused) == 2
        assert (refused[0].share, refused[0].limit, refused[0].used, refused[0].is_retryable) == (True, 3, 3, False)
        assert "raise daily_share" in str(refused[0])
        for _ in range(3):
            chat.invoke("hi")
        with pytest.raises(FreeQuotaExhausted, match="share"):
            chat.invoke("hi")
        for _ in range(3):
            kept.invoke("hi")
        with pytest.raises(FreeQuotaExhausted) as caught:
            kept.invoke("hi")
        assert (caught.value.share, caught.value.used) == (False, 10)
        copied = pickle.loads(pickle.dumps(refused[0]))
        assert (copied.share, copied.used, str(copied)) == (True, 3, str(refused[0]))
        clock.advance(86_400)
        assert len(job.batch(["hi"] * 3)) == 3


def test_a_file_in_words() -> None:
    """A path is recognised, shared by name, and made only when it is used."""
    from langchain_openrouter_free.stores.naming import store_of  # noqa: PLC0415

    first, second = store_of("some/state.sqlite3"), store_of(Path("some/state.sqlite3"))
    assert first is second
    assert isinstance(first, SqliteStore)
    assert not Path("some").exists()


def test_no_key_is_in_the_file(tmp_path: Path) -> None:
    """Pages are kept under a hash of the key."""
    with Simulator() as sim:
        file = tmp_path / "state.sqlite3"
        store = SqliteStore(file)
        make(sim, state=store).invoke("hi")
        store.close()
        assert sim.api_key.encode() not in b"".join(part.read_bytes() for part in tmp_path.iterdir())


def test_what_comes_back_of_one_page_does_not_wait_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is locked again between two pages that come back: what others wrote of the first is not forgotten."""
    pages = [PageRef(name, str, int, lambda base, mine, there: (there or 0) + mine - (base or 0)) for name in "ab"]
    clock, file = Clock(), tmp_path / "state.sqlite3"
    store = SqliteStore(file, warn=lambda _: None, patience=0.0, monotonic=clock)
    other = SqliteStore(file)
    holder = contextlib.closing(sqlite3.connect(file, isolation_level=None))

    def add(store: SqliteStore, number: int) -> None:
        for page in pages:
            store.update(page, lambda count: ((count or 0) + number, None))

    add(store, 100)
    with holder as lock:
        lock.execute("BEGIN IMMEDIATE")
        add(store, 10)
        lock.execute("ROLLBACK")
        add(other, 5)
        update = store._update

        def locked_behind_it(*how: Any) -> Any:
            answer = update(*how)
            lock.execute("BEGIN IMMEDIATE")
            return answer

        with monkeypatch.context() as patched:
            patched.setattr(store, "_update", locked_behind_it)
            clock.now = 31.0
            store.update(pages[0], lambda count: ((count or 0) + 1, None))
        lock.execute("ROLLBACK")
    clock.now = 62.0
    assert [counted(store, page) for page in pages] == [116, 115]
    assert [counted(other, page) for page in pages] == [116, 115]


@pytest.mark.parametrize("kind", ["file", "server"])
def test_a_page_that_is_overwritten_is_gone_on_with(
    kind: str, tmp_path: Path, sim: Simulator, request: pytest.FixtureRequest
) -> None:
    """Somebody writes what cannot be read over the book of money: what this process knows to be spent is spent."""
    sim.reset(Scenario(models=[FLAT, TWENTY[0]], scripts={TWENTY[0]: "503"}))
    place = str(tmp_path / "state.sqlite3") if kind == "file" else request.getfixturevalue("shared").url
    paying = {"allow_paid": True, "paid_models": [FLAT["id"]], "budget": "$0.60 total", "project": "one"}
    model = make(sim, TWENTY[:1], state=opened(place, warn=lambda _: None), max_wait=0, **paying)
    assert drive(model, "invoke").meta["route"]["paid"]
    if kind == "file":
        with contextlib.closing(sqlite3.connect(place, isolation_level=None)) as other:
            assert other.execute("UPDATE pages SET text = '{' WHERE key = 'project:one'").rowcount == 1
    else:
        with request.getfixturevalue("shared").client() as client:
            client.hset("openrouter-free:{one}:project", mapping={"version": "another", "text": "{"})
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            drive(model, "invoke")
    assert len(sim.bill) == 1


@pytest.mark.parametrize(
    ("page", "sound", "damaged"),
    [
        ("account", '"skew":0.0', '"skew":NaN'),
        ("account", '"skew":0.0', '"skew":Infinity'),
        ("project", '"day":"', '"day":20,"month":"'),
        ("project", '"month":"', '"month":null,"day":"'),
    ],
)
def test_a_page_with_a_number_that_means_nothing_breaks_no_call(
    page: str, sound: str, damaged: str, tmp_path: Path
) -> None:
    """It is JSON, so that it can be read, and no page of ours."""
    file, paid = tmp_path / "s.sqlite3", "simulated/paid-small"
    with Simulator() as sim:
        leave: dict[str, Any] = {"allow_paid": True, "paid_models": [paid], "budget": "$1/day", "max_wait": 0}
        drive(make(sim, TWENTY[:2], state=file, **leave), "invoke", model=paid)
        with contextlib.closing(sqlite3.connect(file)) as kept, kept:
            text = kept.execute("SELECT text FROM pages WHERE key LIKE ?", (f"{page}:%",)).fetchone()[0]
            assert sound in text
            kept.execute("UPDATE pages SET text = ? WHERE key LIKE ?", (text.replace(sound, damaged), f"{page}:%"))
        model = make(sim, TWENTY[:2], state=file, **leave)
        assert drive(model, "invoke").outcomes == ["ok"]
        assert drive(model, "invoke", model=paid).outcomes == ["ok"]
        assert str(model.explain())
        assert str(model.spending())


@pytest.mark.parametrize("when", ["found", "in use"])
def test_a_schema_that_is_no_text_is_damage_as_well(when: str, tmp_path: Path) -> None:
    """SQLite's own words hold the bytes that it has read, and cannot be read either: no call fails for that."""
    file, said, page = tmp_path / "state.sqlite3", list[str](), PageRef("a", str, int)
    store = SqliteStore(file, warn=said.append)
    store.update(page, lambda _: (100, None))
    if when == "found":
        store.close()
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA writable_schema = 1")
        other.execute("UPDATE sqlite_master SET name = CAST(x'E328FF' AS TEXT), sql = 'CREATE' WHERE name = 'pages'")
        (version,) = other.execute("PRAGMA schema_version").fetchone()
        other.execute(f"PRAGMA schema_version = {version + 1}")
    assert [store.update(page, lambda count: ((count or 0) + 1,) * 2) for _ in range(2)] == [1, 2]
    assert not store.degraded
    (aside,) = tmp_path.glob("state.sqlite3.corrupt-*Z")
    assert [str(aside) in told for told in said] == [True]


def test_a_budget_outlives_the_damage_of_its_file(tmp_path: Path, sim: Simulator) -> None:
    """What this process knows to be spent is spent in the file that it begins anew; in one that was reset it is not."""
    sim.reset(Scenario(models=[FLAT, TWENTY[0]], scripts={TWENTY[0]: "503"}))
    file, said = tmp_path / "state.sqlite3", list[str]()
    store = SqliteStore(file, warn=said.append)
    paying = {"allow_paid": True, "paid_models": [FLAT["id"]], "budget": "$0.60 total", "project": "one"}
    model = make(sim, TWENTY[:1], state=store, max_wait=0, **paying)
    assert drive(model, "invoke").meta["route"]["paid"]
    store.close()
    file.write_bytes(b"this is no database. " * 500)
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            drive(model, "invoke")
    assert len(said) == len(sim.bill) == 1
    assert model.spending().windows[2].spent == "0.5"
    # Others find it in the new file.
    other = make(sim, TWENTY[:1], state=SqliteStore(file), max_wait=0, **paying)
    assert other.spending().windows[2].spent == "0.5"
    model.forget_everything()
    assert [one.spending().windows[2].spent for one in (model, other)] == ["0", "0"]


def test_a_state_that_is_begun_anew_in_an_outage_is_new(tmp_path: Path) -> None:
    """The file was not ours; what was counted beside it is forgotten with it, and the new one is used at once."""
    place = tmp_path / "state.sqlite3"
    with contextlib.closing(sqlite3.connect(place)) as foreign:
        foreign.execute("CREATE TABLE theirs (it)")
    store = SqliteStore(place, warn=lambda _: None)
    assert (store.update(COUNT, one_more), store.degraded) == (1, True)
    assert Path(str(store.begin_anew())).is_file()
    assert not store.degraded
    assert (store.update(COUNT, one_more), store.degraded, place.is_file()) == (1, False, True)


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_python_without_sqlite3_keeps_its_state_in_memory(
    path: str, sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning says so; nothing is paid for, and there is no file to move away."""
    monkeypatch.delitem(sys.modules, "langchain_openrouter_free.stores.sqlite", raising=False)
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    paid: dict[str, Any] = {"allow_paid": True, "paid_models": [FLAT["id"]], "budget": 1.0, "max_wait": 0}
    sim.reset(Scenario(models=[FLAT, TWENTY[0]], scripts={TWENTY[0]: ["ok", "503"]}))
    model = make(sim, [TWENTY[0]], state=str(tmp_path / "s.sqlite3"), **paid)
    assert drive(model, path).text
    with pytest.raises(AllModelsFailed):
        drive(model, path)
    assert [chat.model for chat in sim.chats()] == [TWENTY[0]] * 2
    assert caplog.text.count("has no sqlite3") == 1
    with pytest.raises(ConfigurationError, match="not kept in a file"):
        model.forget_everything()
