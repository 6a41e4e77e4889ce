"""The endpoint beside the direct call: the same request to the same simulator, A B A B, each server in its own process.

Overhead is the endpoint's time less the direct call's, pair by pair, in milliseconds; a stream's is of its first word
and of its end. The endpoint asks for an event stream in both cases (that buys its deadlines), and books in a file.
Arguments: pairs (default 300).
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from measuring import HOUSE, noise, simulator, spread

MODEL = "nvidia/nemotron-3-super-120b-a12b:free"
PROMPT = "Say in about twenty words why the sky is blue in the day and red in the evening, please."
KEY = "sk-or-v1-simulated"
Call = Callable[[], tuple[float, ...]]  # seconds to what is compared


@contextlib.contextmanager
def endpoint(base_url: str) -> Iterator[str]:
    """Run the endpoint in another process; yield its base URL."""
    with tempfile.TemporaryDirectory() as folder:
        about = {
            "PYTHONPATH": str(HOUSE),
            "OPENROUTER_API_KEY": KEY,
            "OPENROUTER_API_BASE": base_url,
            "OPENROUTER_FREE_MODELS": MODEL,
            "OPENROUTER_FREE_STATE": str(Path(folder) / "state.sqlite3"),
        }
        command = [sys.executable, "-m", "langchain_openrouter_free", "serve", "--port", "0", "--json"]
        command += ["--log-level", "error"]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, env=os.environ | about) as server:
            try:
                assert server.stdout is not None
                yield json.loads(server.stdout.readline())["base_url"]
            finally:
                server.terminate()
                server.wait(10)


def body(*, stream: bool) -> bytes:
    """Return the request."""
    about = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "reasoning": {"enabled": False}}
    return json.dumps({**about, "stream": stream}).encode()


def plain(client: httpx.Client, url: str) -> Call:
    """Ask for a whole answer."""
    content = body(stream=False)

    def call() -> tuple[float, ...]:
        began = time.perf_counter()
        client.post(url, content=content).raise_for_status()
        return (time.perf_counter() - began,)

    return call


def streamed(client: httpx.Client, url: str) -> Call:
    """Ask for a stream."""
    content = body(stream=True)

    def call() -> tuple[float, ...]:
        began, first = time.perf_counter(), 0.0
        with client.stream("POST", url, content=content) as reply:
            for line in reply.iter_lines():
                if not first and '"content"' in line:
                    first = time.perf_counter() - began
        return first, time.perf_counter() - began

    return call


def overhead(direct: Call, through: Call, pairs: int) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    """Return what each way took; who comes first changes from pair to pair."""
    for _ in range(20):
        direct()
        through()
    took: tuple[list[tuple[float, ...]], list[tuple[float, ...]]] = ([], [])
    for number in range(pairs):
        for who in (0, 1) if number % 2 == 0 else (1, 0):
            took[who].append((direct, through)[who]())
    return took


def main() -> None:
    """Print the table."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    row = "{:<22} {:>8} {:>9}   {}"
    print("The endpoint beside the direct call; milliseconds, medians; overhead: median (quartiles)")
    print(row.format("", "direct", "endpoint", "overhead"))
    with (
        simulator() as base_url,
        endpoint(base_url) as url,
        httpx.Client(headers={"Authorization": f"Bearer {KEY}"}) as client,
    ):
        urls = [f"{one}/chat/completions" for one in (base_url, url)]
        for make, names in ((plain, ["plain"]), (streamed, ["stream, first word", "stream, end"])):
            direct, through = overhead(make(client, urls[0]), make(client, urls[1]), pairs)
            for place, name in enumerate(names):
                mine, yours = [1e3 * one[place] for one in direct], [1e3 * one[place] for one in through]
                more = [b - a for a, b in zip(mine, yours, strict=True)]
                middle = [f"{statistics.median(one):.2f}" for one in (mine, yours)]
                print(row.format(name, *middle, spread(more)), flush=True)
    print(noise())


if __name__ == "__main__":
    main()
