"""The pytest fixture `openrouter_endpoint`; opt in with `pytest_plugins`, together with the simulator's.

Owns the fixture and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from langchain_openrouter_free.serve import Backend, application, served


@pytest.fixture
def openrouter_endpoint(openrouter_simulator: Any) -> Iterator[str]:
    """The base URL of an endpoint in front of the simulated service, fresh for each test; waits for nothing."""
    service = {"api_key": openrouter_simulator.api_key, "base_url": openrouter_simulator.base_url}
    with served(application(Backend.configured(**service, state="memory", max_wait=0.0))) as url:
        yield url
