"""The pytest fixture `openrouter_simulator`; opt in with `pytest_plugins`.

Owns the fixture and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from langchain_openrouter_free.simulator.server import Simulator


@pytest.fixture
def openrouter_simulator() -> Iterator[Simulator]:
    """A started simulator without limits, fresh for each test."""
    with Simulator() as simulator:
        yield simulator
