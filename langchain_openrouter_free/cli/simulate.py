"""`simulate`: the simulated service as a server."""

from __future__ import annotations

import asyncio
import time

from langchain_openrouter_free.cli.output import Output
from langchain_openrouter_free.cli.start import Options
from langchain_openrouter_free.simulator.behaviours import COMMON_PARAMETERS, REGISTRY
from langchain_openrouter_free.simulator.scenario import Scenario, bundled, load
from langchain_openrouter_free.simulator.server import API_KEY, Server
from langchain_openrouter_free.simulator.service import Service
from langchain_openrouter_free.simulator.suggest import ScenarioError


def run(options: Options, *, scenario: str, host: str, port: int, seed: int, listed: bool) -> None:
    """Serve until it is interrupted, or list what can be played."""
    out = options.output()
    if listed:
        _list(out)
        return
    try:
        played = load(scenario)
    except ScenarioError as error:
        out.fail("ScenarioError", str(error), 2)
    try:
        asyncio.run(_serve(out, played, host, port, seed))
    except (OSError, OverflowError) as error:
        out.fail("CannotListen", f"cannot listen on {host}:{port}: {error}", 1)
    except KeyboardInterrupt:
        out.errors.print("stopped")


def _list(out: Output) -> None:
    shipped = {name: load(name).about for name in bundled()}
    if out.result({"scenarios": shipped, "behaviours": REGISTRY, "parameters": COMMON_PARAMETERS}):
        return
    for title, rows in {"Scenarios": shipped, "Behaviours": REGISTRY, "Parameters": COMMON_PARAMETERS}.items():
        out.say(title, "bold")
        for name, about in rows.items():
            out.say(f"  {name:<26} {about}")
        out.say()


async def _serve(out: Output, scenario: Scenario, host: str, port: int, seed: int) -> None:
    server = Server(Service(scenario, time.time, seed), host, port)
    url = f"http://{host}:{await server.start()}"
    told = {"scenario": scenario.name, "base_url": f"{url}/api/v1", "log": f"{url}/simulator/log", "api_key": API_KEY}
    if out.json:
        out.row(told)
    else:
        out.say(f"Simulated OpenRouter, scenario {scenario.name!r}: {scenario.about}")
        out.say(f"base URL: {told['base_url']}   log: {told['log']}")
        out.say(f"export OPENROUTER_API_BASE={told['base_url']} OPENROUTER_API_KEY={API_KEY}")
        out.say("Ctrl-C ends it.")
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop()
