"""A program that ends with something of a model left open ends at once, and without a word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from langchain_openrouter_free.simulator import Simulator

MADE = """
import asyncio, sys
from langchain_openrouter_free import ChatOpenRouterFree

url, key, state = sys.argv[1:]


def made(**settings):
    return ChatOpenRouterFree(models=["test/m01:free"], api_key=key, base_url=url, state=state, **settings)


async def called():
    # As the loop of `nest_asyncio` is, which does not watch over its generators.
    sys.set_asyncgen_hooks(None, None)
    await made().ainvoke("hi")


"""
PROGRAMS = {
    # The interpreter lets go of it when no thread begins any more.
    "a hedged stream": "chunks = made(hedge_after=5).stream('hi'); next(chunks)",
    "a stream": "chunks = made().stream('hi'); next(chunks)",
    "a loop": "asyncio.new_event_loop().run_until_complete(called())",
}


@pytest.mark.parametrize("left", PROGRAMS)
def test_what_is_left_open_holds_up_no_exit(left: str, sim: Simulator, tmp_path: Path) -> None:
    sim.script({"test/m01:free": {"do": "ok", "speed": 5} if "stream" in left else "ok"})
    program = [sys.executable, "-c", MADE + PROGRAMS[left], sim.base_url, sim.api_key, str(tmp_path / "state.sqlite3")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=50, check=True)
    assert done.stderr == ""
