"""The README says what the code does: its table is the code's, its Python blocks run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from readme import (
    ANSWERS,
    FAILURES,
    README,
    SETTINGS,
    TRANSCRIPT,
    answers,
    evened,
    section,
    settings,
    table,
    transcript,
)

from langchain_openrouter_free import ChatOpenRouterFree
from langchain_openrouter_free.cli.app import app
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.simulator import Simulator

BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulated service in the environment, as a reader would have the real one."""
    with Simulator() as sim:
        monkeypatch.setenv("OPENROUTER_API_KEY", sim.api_key)
        monkeypatch.setenv("OPENROUTER_API_BASE", sim.base_url)
        yield sim
    CLIENTS.close()


def test_the_tables_are_the_codes() -> None:
    """`python tests/readme.py` was run after the last change of a table."""
    assert section(README.read_text(), *FAILURES) == table()
    assert section(README.read_text(), *ANSWERS) == answers()
    assert section(README.read_text(), *SETTINGS) == settings()


def test_the_transcript_is_the_demos() -> None:
    """But for the seconds, the demo says the same today; nothing of it is made up."""
    assert evened(section(README.read_text(), *TRANSCRIPT)) == evened(transcript())


def test_every_place_that_is_pointed_at_is_there() -> None:
    """Links within the page name a heading of it, links to files a file."""
    text = README.read_text()
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    headings = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    places = {place.partition("#")[::2] for place in re.findall(r"\]\(([^):]+)\)", text)}
    assert {place for place, _ in places if place and not (README.parent / place).exists()} == set()
    assert {heading for place, heading in places if not place} <= headings


def test_the_configuration_is_one(service: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown as a project's file makes a model, with its profile laid over it."""
    (block,) = re.findall(r"```toml\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(block)
    monkeypatch.chdir(tmp_path)
    assert ChatOpenRouterFree().project == "shop"
    assert ChatOpenRouterFree.from_profile("batch").max_wait == 600


def test_every_command_is_told() -> None:
    """The table of the command line has a row for each command, and for no other."""
    part = README.read_text().partition("\n## The command ")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)", part, re.MULTILINE))
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert told == commands


def test_the_python_blocks_run(service: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    """Every block runs, in order, in one namespace, without a key and without the internet."""
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(README), "exec"), names)
    assert "nvidia/nemotron-3-super-120b-a12b:free" in capsys.readouterr().out
    assert len(BLOCKS) >= 5


def test_make_help_tells_all_of_each_line() -> None:
    """Each target is listed with its whole sentence, whatever colons that has."""
    targets = re.findall(
        r"^([a-z-]+):.*?## (.*)", (README.parent / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    told = subprocess.run(["make", "-s", "help"], cwd=README.parent, capture_output=True, text=True, check=True).stdout
    assert [line.split(None, 2)[1:] for line in told.splitlines()] == [list(target) for target in targets]
