"""State in a file: what one process learned, the next one knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from driving import PATHS, TWENTY, asked, drive, make

from langchain_openrouter_free import FreeQuotaExhausted
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.stores.sqlite import SqliteStore

ANOTHER_PROCESS = """
import sys
from langchain_openrouter_free import ChatOpenRouterFree, FreeQuotaExhausted
url, path, *models = sys.argv[1:]
model = ChatOpenRouterFree(models=models, api_key="sk-or-v1-simulated", base_url=url, state=path)
try:
    print(model.invoke("hi").response_metadata["route"]["model"])
except FreeQuotaExhausted as error:
    print("spent", error.window)
"""


def another_process(sim: Simulator, path: Path, models: list[str]) -> str:
    """Call from a new process that shares nothing but the file."""
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER_PROCESS, sim.base_url, str(path), *models],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
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


def test_a_file_in_words() -> None:
    """A path is recognised, shared by name, and made only when it is used."""
    from langchain_openrouter_free import settings  # noqa: PLC0415

    first, second = settings.store("some/state.sqlite3"), settings.store(Path("some/state.sqlite3"))
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
