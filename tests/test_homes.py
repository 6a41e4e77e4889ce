"""Where the package's own folders are, and what becomes of a user whose home nobody knows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_openrouter_free import AllModelsFailed, ChatOpenRouterFree, ConfigurationError
from langchain_openrouter_free.cli.app import app
from langchain_openrouter_free.cli.output import near
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.stores import naming
from langchain_openrouter_free.stores.sqlite import SqliteStore


@pytest.fixture(params=["newer", "older"])
def homeless(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder where a user works whose id nobody knows, as in a container; older platformdirs leave the `~`."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "OPENROUTER_FREE_CONFIG", "OPENROUTER_FREE_STATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    if request.param == "older":
        monkeypatch.setattr("platformdirs.user_state_path", lambda name: Path("~/.local/state", name))
        monkeypatch.setattr("platformdirs.user_config_path", lambda name: Path("~/.config", name))
    naming._usual_store.cache_clear()
    yield tmp_path
    naming._usual_store.cache_clear()


def test_a_user_without_a_home_is_answered_from_memory(homeless: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning says so; a folder `~` that lies in the project is nobody's home."""
    (homeless / "openrouter-free.toml").write_text("allow_paid = true")
    planted = homeless / "~/.config/langchain-openrouter-free"
    planted.mkdir(parents=True)
    (planted / "config.toml").write_text("top_k = 7")
    before = sorted(homeless.rglob("*"))
    with Simulator() as sim:
        model = ChatOpenRouterFree(api_key=sim.api_key, base_url=sim.base_url)
        assert all(one.text for one in (model.invoke("hi"), *model.batch(["a", "b"])))
    assert (model.top_k, model.allow_paid, len(model.history())) == (None, False, 3)
    assert caplog.text.count("set HOME, or name a file for the state") == 1
    assert sorted(homeless.rglob("*")) == before


@pytest.mark.usefixtures("homeless")
def test_nothing_is_paid_for_without_a_home() -> None:
    """What was spent would be forgotten with the process, and the budget begin anew with each."""
    with Simulator() as sim:
        sim.script({"*": "500"})
        paying = {"allow_paid": True, "paid_models": ["simulated/paid-small"], "budget": "$1/day", "max_wait": 0}
        model = ChatOpenRouterFree(api_key=sim.api_key, base_url=sim.base_url, **paying)
        with pytest.raises(AllModelsFailed, match="so the budget cannot be kept"):
            model.invoke("hi")
        assert all((chat.model or "").endswith(":free") for chat in sim.chats())


def test_the_commands_of_a_user_without_a_home(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (homeless / "openrouter-free.toml").write_text("allow_paid = true")
    with Simulator() as sim:
        monkeypatch.setenv("OPENROUTER_API_KEY", sim.api_key)
        monkeypatch.setenv("OPENROUTER_API_BASE", sim.base_url)
        for words, code in {"config": 0, "config --json": 0, "chat hi": 0, "quota": 1, "doctor": 1}.items():
            told = CliRunner().invoke(app, words.split())
            assert (told.exit_code, isinstance(told.exception, SystemExit | None)) == (code, True)
    for arguments in (["config", "--trust", "--yes"], ["init", "--user"]):
        told = CliRunner().invoke(app, arguments)
        assert (told.exit_code, "set HOME, or name your own file" in told.output) == (2, True)


def test_a_home_that_nobody_has_is_a_mistake_of_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="~nosuch"):
        SqliteStore("~nosuch/state.sqlite3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENROUTER_FREE_STATE")
    (tmp_path / ".env").write_text("OPENROUTER_FREE_STATE=~nosuch/state.sqlite3")
    with pytest.raises(ConfigurationError, match="~nosuch"):
        ChatOpenRouterFree.from_profile(dotenv=True)


def test_paths_are_shown_from_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert near("/a/path") == "/a/path"
    assert CliRunner().invoke(app, ["config"]).exit_code == 0


def test_a_folder_that_is_closed_to_its_user_holds_nothing(tmp_path: Path) -> None:
    """A service that has given up its rights stands where it began, often in the home of another user."""
    code = (
        "import os, sys\n"
        "from langchain_openrouter_free import ChatOpenRouterFree\n"
        "from langchain_openrouter_free.cli.app import app\n"
        "ask = lambda: app(['doctor', '--offline', '--json'], standalone_mode=False)\n"
        "ask()\n"  # loads all that may be closed as well
        "os.chmod('.', 0)\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "os.environ['OPENROUTER_FREE_STATE'] = os.path.abspath('state.sqlite3')\n"
        "sys.modules['__main__'].__file__ = os.path.abspath('program.py')\n"
        "ChatOpenRouterFree(api_key='sk-or-v1-a')\n"
        "sys.exit(ask())"
    )
    home = {"HOME": str(tmp_path), "OPENROUTER_FREE_CONFIG": "/dev/null"}
    (tmp_path / "closed").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **home, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=tmp_path / "closed",
        capture_output=True,
        text=True,
        check=False,
    )
    (tmp_path / "closed").chmod(0o700)
    assert done.returncode == 1, done.stderr  # a state that cannot be used is not well
    assert done.stderr.count("Permission denied") == 1
    assert "Traceback" not in done.stderr
