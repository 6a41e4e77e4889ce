"""What the command does where its words can go nowhere: an exit code as ever, and no trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")

# A pipe whose reader has gone before anything is written.
GONE = ">gone"
TRUST = "config --trust --yes"


@pytest.mark.parametrize(
    ("command", "streams", "code"),
    [
        ("completion bash", ">/dev/full", 1),
        ("completion bash --json", ">/dev/full", 1),
        ("--help", ">/dev/full", 1),
        ("--version", ">/dev/full", 1),
        ("completion bash", GONE, 0),
        ("completion bash --json", GONE, 0),
        ("config --all", GONE, 0),
        ("config --all --json", GONE, 0),
        ("completion bash", ">&-", 0),
        ("completion bash --json", ">&-", 0),
        ("completion tcsh", "2>&-", 2),
        ("chat hi", "2>&-", 3),
        ("chat", "<&- >&- 2>&-", 3),
    ],
)
def test_streams_that_take_nothing(command: str, streams: str, code: int, tmp_path: Path) -> None:
    if streams == GONE:
        os.mkfifo(tmp_path / "gone")
        streams = "3<>gone >gone 4<gone 3<&- 4<&-"
    asked = f'exec "$0" -m langchain_openrouter_free {command} {streams}'
    home = {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1]), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["sh", "-c", asked, sys.executable], env=home, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("init", "FileNotFoundError"),
        ("models --dotenv .env", "ConfigurationError"),
        (TRUST, "NotADirectoryError"),
    ],
)
def test_what_the_system_refuses_is_json_as_well(command: str, kind: str, tmp_path: Path) -> None:
    """A working directory that is gone; a folder for what is confirmed that cannot be made."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "openrouter-free.toml").write_text("allow_paid = false")
    home = {"HOME": str(tmp_path), "OPENROUTER_FREE_CONFIG": "/dev/null/x/config.toml", "PATH": os.environ["PATH"]}
    leave = "" if command == TRUST else "rm -r ../place; "
    asked = f'{leave}exec "$0" -m langchain_openrouter_free {command} --json'
    done = subprocess.run(
        ["sh", "-c", asked, sys.executable],
        env={**home, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    said = json.loads(done.stdout)["error"]
    assert (said["kind"], said["exit_code"]) == (kind, done.returncode)
    assert done.stderr == ""


@pytest.mark.parametrize(("words", "name"), [("--pyproject", "pyproject.toml"), ("--force", "openrouter-free.toml")])
def test_a_pipe_is_no_file_to_write_a_configuration_into(words: str, name: str, tmp_path: Path) -> None:
    """Whoever opened it would wait for somebody at its other end."""
    os.mkfifo(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", "langchain_openrouter_free", "init", words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, "it is a pipe" in " ".join(done.stderr.split())) == (1, True)
