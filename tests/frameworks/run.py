"""Agents of other frameworks, each in a process of its own, through the endpoint while the first model dies.

`make frameworks` runs it; arguments choose frameworks. They live in an environment of their own, `.venv-frameworks`;
FRAMEWORKS_PYTHON names the interpreter of another one, which is then taken as it is. One that cannot be installed or
played is told with the reason, and the exit status is 1.
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from langchain_openrouter_free.serve import Backend, application, served
from langchain_openrouter_free.simulator import Simulator

HERE = Path(__file__).resolve().parent
HOUSE = HERE.parents[1]
ENVIRONMENT = HOUSE / ".venv-frameworks"
A, B = "test/first:free", "test/second:free"
# What is played (a function of `play.py`) -> what must be installed for it.
PLAYS = {
    "crewai": ("crewai",),
    "crewai_adapter": ("crewai", "langchain-openrouter-free"),
    "pydantic_ai": ("pydantic-ai-slim",),
    "smolagents": ("smolagents",),
    "autogen": ("autogen-agentchat", "autogen-ext"),
    "openai_agents": ("openai-agents",),
}
DONE = [["add", 3, 4], ["multiply", 6, 7]]
PATIENCE = 120.0


def environment() -> tuple[Path, dict[str, str]]:
    """Return the frameworks' interpreter, and what could not be installed: requirement -> why."""
    named = os.environ.get("FRAMEWORKS_PYTHON")
    if named:
        return Path(named), {}
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=shutil.which("uv") is None)
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [*(line for line in lines if line and not line.startswith("#")), str(HOUSE)]
    if not install(python, *wanted):
        return python, {}
    # One after the other: what can be had is played all the same.
    return python, {one: why for one in wanted if (why := install(python, one))}


def install(python: Path, *wanted: str) -> str:
    """Install into an environment; return why that could not be, or ""."""
    uv = shutil.which("uv")
    pip = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    command = [*pip, "--quiet", "--constraint", str(HERE / "constraints.txt"), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else (told[-1] if told else f"exit status {done.returncode}")


def versions(python: Path, names: tuple[str, ...]) -> str:
    """Return the installed versions of distributions; "" if one is missing."""
    code = "import sys, importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    done = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def play(python: Path, name: str) -> list[str]:
    """Play one; return what is wrong."""
    with Simulator() as sim, tempfile.TemporaryDirectory() as folder:
        sim.offer(A, B)
        sim.script({A: ["ok", "503"]})
        service = {"api_key": sim.api_key, "base_url": sim.base_url}
        app = application(Backend.configured(models=[A, B], **service, state="memory", max_wait=0.0))
        settings = {"OPENROUTER_API_KEY": sim.api_key, "OPENROUTER_API_BASE": sim.base_url}
        settings |= {"OPENROUTER_FREE_STATE": "memory", "OPENROUTER_FREE_MODELS": f"{A},{B}"}
        about = {"PATH": os.environ.get("PATH", ""), "HOME": folder, **(settings if name == "crewai_adapter" else {})}
        with served(app) as url:
            command = [str(python), str(HERE / "play.py"), name, url]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=about, cwd=folder
                )
            except subprocess.TimeoutExpired:
                return [f"not over after {PATIENCE:g} s"]
        if done.returncode:
            return [f"exit status {done.returncode}:\n{done.stderr[-2000:]}"]
        return wrong(json.loads(done.stdout.splitlines()[-1]), [str(chat.model) for chat in sim.chats()])


def wrong(told: dict[str, object], asked: list[str]) -> list[str]:
    """Return what is wrong with what was done, said, reached and asked."""
    found = []
    if told["calls"] != DONE:
        found.append(f"the tools were called with {told['calls']}")
    if "42" not in str(told["said"]):
        found.append(f"it said {told['said']!r}")
    if told["reached"]:
        found.append(f"it wanted to reach {told['reached']}")
    if asked[:3] != [A, A, B] or set(asked[3:]) - {B}:
        found.append(f"the models were asked in this order: {asked}")
    return found


def main() -> int:
    """Play all, or those that are named."""
    python, failed = environment()
    for requirement, why in failed.items():
        print(f"{requirement}: cannot be installed: {why}")
    results: dict[str, list[str]] = {}
    for name in sys.argv[1:] or PLAYS:
        found = versions(python, PLAYS[name])
        results[name] = play(python, name) if found else [f"not played: {' and '.join(PLAYS[name])} is not installed"]
        print(f"{name} ({found}): {'; '.join(results[name]) or 'both steps done, the second by the next model'}")
    return int(any(results.values()))


if __name__ == "__main__":
    sys.exit(main())
