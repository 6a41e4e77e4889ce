"""The command line in a process of its own: what it loads, what it says without its packages, and to a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_openrouter_free.cli.app import app

ROOT = str(Path(__file__).resolve().parents[1])


def test_help_loads_neither_langchain_nor_an_http_client() -> None:
    code = (
        "import sys\nfrom langchain_openrouter_free.cli.app import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit(bool({'langchain_core', 'httpx', 'pydantic', 'plotly'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_without_the_extra_there_is_a_clear_message() -> None:
    code = (
        "import sys\nsys.modules['typer'] = None\n"
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'typer' else found(name, *a)\n"
        "from langchain_openrouter_free.cli.main import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "openrouter-free needs typer: pip install 'langchain-openrouter-free[cli]'\n"


@pytest.mark.parametrize(
    ("shell", "asked"),
    [
        ("bash", {"COMP_WORDS": "openrouter-free mo", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "openrouter-free mo"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "openrouter-free mo", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_a_shell_is_told_how_a_word_may_end(shell: str, asked: dict[str, str]) -> None:
    environment = {**os.environ, "PYTHONPATH": ROOT, "_OPENROUTER_FREE_COMPLETE": f"complete_{shell}", **asked}
    code = "from langchain_openrouter_free.cli.app import app; app(prog_name='openrouter-free')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "models" in done.stdout
    assert "quota" not in done.stdout


@pytest.mark.parametrize(
    "words", ["modles", "models --jsn", "route --last 0", "watch --interval inf", "chat a b", "reset"]
)
def test_wrong_words_are_a_usage_error(words: str) -> None:
    """For scripts as well."""
    told, as_json = CliRunner().invoke(app, words.split()), CliRunner().invoke(app, [*words.split(), "--json"])
    assert (told.exit_code, told.stdout, as_json.exit_code, as_json.stderr) == (2, "", 2, "")
    said = json.loads(as_json.stdout)["error"]
    assert (said["kind"], said["exit_code"]) == ("UsageError", 2)
    assert said["message"] in " ".join(told.stderr.replace("│", "").split())


def test_doctor_tells_of_a_file_that_is_named_and_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was set in it would be missed in silence; it is no mistake, since `init --user` writes it."""

    def told() -> list[str]:
        said = json.loads(CliRunner().invoke(app, ["doctor", "--offline", "--json"]).stdout)
        return [one["text"] for one in said["findings"] if (one["check"], one["level"]) == ("configuration", "warn")]

    monkeypatch.setenv("OPENROUTER_FREE_CONFIG", str(tmp_path / "mine.toml"))
    assert [str(tmp_path / "mine.toml") in one for one in told()] == [True]
    (tmp_path / "mine.toml").touch()
    assert told() == []
