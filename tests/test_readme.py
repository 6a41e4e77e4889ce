"""The README says what the code does: its table is the code's, its Python blocks run."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from readme import ANSWERS, FAILURES, README, answers, section, table

from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.transport import CLIENTS

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


def test_the_python_blocks_run(service: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    """Every block runs, in order, in one namespace, without a key and without the internet."""
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(README), "exec"), names)
    assert "nvidia/nemotron-3-super-120b-a12b:free" in capsys.readouterr().out
    assert len(BLOCKS) >= 5
