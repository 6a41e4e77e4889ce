"""The command line: `python -m langchain_openrouter_free.simulator --scenario rush-hour`.

Owns arguments and what is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

from langchain_openrouter_free.simulator.behaviours import COMMON_PARAMETERS, REGISTRY
from langchain_openrouter_free.simulator.scenario import Scenario, bundled, load
from langchain_openrouter_free.simulator.server import API_KEY, HOST, Server
from langchain_openrouter_free.simulator.service import Service
from langchain_openrouter_free.simulator.suggest import ScenarioError

_PORT = 8787
_WIDTH = 26


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulator until it is interrupted; the result is the exit status."""
    wish = _parser().parse_args(arguments)
    if wish.list:
        _print_list()
        return 0
    try:
        scenario = load(wish.scenario)
    except ScenarioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(_serve(scenario, wish.host, wish.port, wish.seed))
    except KeyboardInterrupt:
        print("stopped")
    except (OSError, OverflowError) as error:
        print(f"error: cannot listen on {wish.host}:{wish.port}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m langchain_openrouter_free.simulator",
        description="A simulated OpenRouter on this machine: no key, no network, no cost.",
    )
    parser.add_argument("--scenario", default="calm", help="a bundled scenario or a TOML file (default: calm)")
    parser.add_argument("--host", default=HOST, help=f"address to listen on (default: {HOST})")
    parser.add_argument("--port", type=int, default=_PORT, help=f"0 takes a free one (default: {_PORT})")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--list", action="store_true", help="show scenarios, behaviours and parameters")
    return parser


def _print_list() -> None:
    shipped = {name: load(name).about for name in bundled()}
    sections = {"Scenarios": shipped, "Behaviours": REGISTRY, "Parameters of behaviours": COMMON_PARAMETERS}
    for title, rows in sections.items():
        print(f"{title}\n")
        for name, about in rows.items():
            print(f"  {name:<{_WIDTH}} {about}")
        print()


async def _serve(scenario: Scenario, host: str, port: int, seed: int) -> None:
    server = Server(Service(scenario, time.time, seed), host, port)
    bound = await server.start()
    url = f"http://{host}:{bound}"
    print(f"simulated OpenRouter, scenario {scenario.name!r}: {scenario.about}")
    print(f"base URL: {url}/api/v1   log: {url}/simulator/log")
    print(f"export OPENROUTER_API_BASE={url}/api/v1 OPENROUTER_API_KEY={API_KEY}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop()


if __name__ == "__main__":
    sys.exit(main())
