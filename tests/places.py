"""A folder with a configuration, in front of the simulated service: where a command is run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from langchain_openrouter_free.simulator import Simulator

ROOT = str(Path(__file__).resolve().parents[1])


def environment_of(sim: Simulator, folder: Path, patch: pytest.MonkeyPatch, configuration: str) -> dict[str, str]:
    """Go to a folder with this configuration; return the environment of a command in it, which is ours as well."""
    (folder / "openrouter-free.toml").write_text(configuration)
    patch.chdir(folder)
    named = {
        "OPENROUTER_API_KEY": sim.api_key,
        "OPENROUTER_API_BASE": sim.base_url,
        "OPENROUTER_FREE_STATE": str(folder / "state.sqlite3"),
    }
    for name, value in named.items():
        patch.setenv(name, value)
    return {**os.environ, "PYTHONPATH": ROOT}
