"""The README's reliability table: every fault, by every way to call, still ends as it says there."""

from __future__ import annotations

import pytest
from readme import README, section
from reliability import FAULTS, LEGEND, PATHS, TABLE, cell, cells_of

from langchain_openrouter_free.simulator import Simulator


@pytest.mark.parametrize("path", PATHS)
def test_every_fault_ends_as_the_readme_says(server: Simulator, path: str) -> None:
    """An answer is one model's and whole, an error is typed, and which of them it is stands in the README.

    Where it should end otherwise than it does there, run `make reliability`.
    """
    assert {fault: cell(server, fault, path) for fault in FAULTS} == cells_of(section(README.read_text(), *TABLE), path)


def test_the_table_says_how_it_is_read() -> None:
    """The words above the table are those of the module that makes it."""
    assert section(README.read_text(), *TABLE).startswith(LEGEND)
