"""The command `serve`: processes of its own, ended as a terminal ends them, and the names that programs use."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from driving import at_once
from json_shapes import schema
from jsonschema import Draft202012Validator
from places import ROOT, environment_of
from typer.testing import CliRunner

from langchain_openrouter_free.cli.app import app
from langchain_openrouter_free.serve import Backend, application, served
from langchain_openrouter_free.serve.workers import supervise
from langchain_openrouter_free.simulator import Simulator

pytest_plugins = [
    "langchain_openrouter_free.simulator.pytest_plugin",
    "langchain_openrouter_free.serve.pytest_plugin",
]
A, B = "test/a:free", "test/b:free"
TOKEN = "t0ken-of-mine"
HELLO: Any = [{"role": "user", "content": "a secret word"}]
Start = Callable[..., tuple["subprocess.Popen[str]", str]]


@pytest.fixture
def environment(sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A folder with a configuration in front of the simulated service."""
    sim.offer(A, B)
    written = f'models = ["{A}", "{B}"]\nmax_wait = 0\nlimits = {{per_day = 7}}\n[profiles.batch]\nmodels = ["{B}"]\n'
    return {**environment_of(sim, tmp_path, monkeypatch, written), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """A starter of the command; returns its process and its base URL."""
    running: list[subprocess.Popen[str]] = []

    def begin(*words: str, **more: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "langchain_openrouter_free", "serve", "--port", "0", "--json", *words]
        pipe = subprocess.PIPE
        one = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**environment, **more})
        running.append(one)
        told = json.loads(str(one.stdout.readline()) if one.stdout else "")
        Draft202012Validator(schema("serve")).validate(told)
        assert told["models"] == ["auto", "batch"]
        return one, told["base_url"]

    yield begin
    for one in running:
        one.kill()
        one.communicate()


def ask(url: str, key: str = "x", **more: Any) -> Any:
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
        return client.chat.completions.create(**{"model": "auto", "messages": HELLO, **more})


def test_one_process_and_ctrl_c(sim: Simulator, start: Start) -> None:
    """Moves are told on standard error, prompts and keys nowhere; a stream on its way does not keep it alive."""
    sim.script({A: "429-upstream", B: ["ok", "ok", {"do": "stall", "after": 3}]})
    process, url = start("--log-level", "debug")
    assert ask(url).model == B
    assert ask(url, model="batch").model == B
    client = openai.OpenAI(base_url=url, api_key="x", max_retries=0)
    stream = client.chat.completions.create(model="auto", messages=HELLO, stream=True)
    assert next(iter(stream)).model == B
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    client.close()
    assert (process.returncode, out) == (0, "")
    assert err.endswith("stopped\n")
    assert f"{A}: upstream_limit" in err
    assert "Traceback" not in err
    for hidden in ("secret word", sim.api_key):
        assert hidden not in err


def test_two_workers_share_one_day_and_end_together(sim: Simulator, start: Start) -> None:
    """Options reach the workers, one that is killed is replaced, and nobody is left when it ends."""
    process, url = start("--workers", "2", OPENROUTER_FREE_TOKEN=TOKEN)
    with pytest.raises(openai.AuthenticationError):
        ask(url)
    outcomes: list[str] = []

    def work() -> None:
        try:
            outcomes.append(ask(url, TOKEN).model)
        except openai.RateLimitError:
            outcomes.append("full")

    at_once(work, 16)
    assert (outcomes.count(A), outcomes.count("full"), len(sim.chats())) == (7, 9, 7)
    first, second = workers = children(process.pid)
    os.kill(first, signal.SIGKILL)
    until(lambda: len(now := children(process.pid)) == 2 and first not in now and second in now)
    assert {httpx.get(url.replace("/v1", "/health"), headers=bearer(), timeout=30).status_code for _ in range(10)} == {
        200
    }
    workers = [*workers, *children(process.pid)]
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert TOKEN not in err
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_workers_follow_a_supervisor_that_is_killed(start: Start) -> None:
    """Nobody is left who holds the port, and whom nobody would end."""
    process, url = start("--workers", "2", OPENROUTER_FREE_TOKEN=TOKEN)
    assert httpx.get(url.replace("/v1", "/health"), headers=bearer(), timeout=30).status_code == 200
    workers = children(process.pid)
    assert len(workers) == 2
    process.kill()
    process.wait(20)
    try:
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    finally:
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def bearer() -> dict[str, str]:
    return {"authorization": f"Bearer {TOKEN}"}


def children(pid: int) -> list[int]:
    """The processes that serve; not the one that cleans up behind them."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            line = Path(f"/proc/{child}/cmdline")
            if line.exists() and b"spawn_main" in line.read_bytes():
                found.append(int(child))
    return sorted(found)


def until(happened: Callable[[], bool]) -> None:
    for _ in range(600):
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("it has not happened")


def test_workers_that_cannot_serve_end_it(tmp_path: Path) -> None:
    import socket  # noqa: PLC0415 - a name of this test

    with socket.socket() as taking, pytest.raises(RuntimeError, match="as soon as it had begun"):
        supervise(os._exit, taking, 1)  # type: ignore[arg-type]
    assert threading.active_count() < 60


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--host", "0.0.0.0"], 2, "needs a token"),
        (["--host", "192.0.2.1", "--token", TOKEN], 1, "cannot listen on 192.0.2.1"),
        (["--profile", "nowhere"], 2, "nowhere"),
        (["--workers", "0"], 2, "workers"),
    ],
)
def test_what_cannot_be_served(environment: dict[str, str], words: list[str], code: int, says: str) -> None:
    told = CliRunner().invoke(app, ["serve", "--port", "0", *words])
    assert told.exit_code == code
    assert says in told.output
    assert TOKEN not in told.output


def test_workers_need_a_state_that_they_share(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_FREE_STATE", "memory")
    told = CliRunner().invoke(app, ["serve", "--workers", "2"])
    assert (told.exit_code, "processes share" in told.output) == (2, True)


@pytest.mark.parametrize("name", ["starlette", "uvicorn"])
def test_without_the_extra_there_is_a_clear_message(name: str, environment: dict[str, str]) -> None:
    code = (
        f"import sys\nsys.modules['{name}'] = None\n"
        "import importlib.util as u\nfound = u.find_spec\n"
        f"u.find_spec = lambda name, *a: None if name == '{name}' else found(name, *a)\n"
        "from langchain_openrouter_free.cli.app import app\napp(['serve'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True, env=environment)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == f"error: serve needs {name}: pip install 'langchain-openrouter-free[serve]'\n"


@pytest.mark.parametrize(("missing", "public"), [("starlette", "application"), ("uvicorn", "served")])
@pytest.mark.parametrize("module", ["serve", "serve.pytest_plugin"])
def test_a_program_without_the_extra_is_told_what_to_install(missing: str, public: str, module: str) -> None:
    code = f"import sys\nsys.modules['{missing}'] = None\nfrom langchain_openrouter_free.{module} import {public}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    said = f"ImportError: The endpoint needs {missing}: pip install 'langchain-openrouter-free[serve]'"
    assert done.stderr.splitlines()[-1] == said


# -- the public names


def test_the_endpoint_in_a_program(sim: Simulator) -> None:
    """What the README shows: an application of what is configured, and a thread that serves it."""
    service: dict[str, Any] = {"api_key": sim.api_key, "base_url": sim.base_url, "state": "memory", "models": [A]}
    sim.offer(A)
    with served(application(Backend.configured(**service))) as url:
        assert ask(url).model == A
    with pytest.raises(openai.APIConnectionError):
        ask(url)


def test_the_fixture(openrouter_simulator: Simulator, openrouter_endpoint: str) -> None:
    assert ask(openrouter_endpoint).choices[0].message.content
    assert len(openrouter_simulator.chats()) == 1


def test_a_wrong_setting_is_named(sim: Simulator) -> None:
    from langchain_openrouter_free import ConfigurationError  # noqa: PLC0415 - as a program would

    with pytest.raises(ConfigurationError, match="did you mean 'models'"):
        Backend.configured(model=[A])
    with pytest.raises(ConfigurationError, match="functions"):
        Backend.configured(api_key="x", accept=[lambda _: True])
    with pytest.raises(ConfigurationError, match="temperature"):
        Backend.configured(temperature="hot")


def test_what_the_readme_shows_of_other_frameworks_is_what_is_played() -> None:
    """`make frameworks` runs the very lines."""
    readme = (Path(ROOT) / "README.md").read_text()
    played = (Path(ROOT) / "tests" / "frameworks" / "play.py").read_text()
    names = set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"import (.*)", played))))
    for block in re.findall(r"```py\n(.*?)```", readme, re.DOTALL):
        compile(block, "README.md", "exec")
        for line in map(str.strip, block.splitlines()):
            if line.startswith(("from ", "import ")):
                assert set(re.findall(r"[A-Za-z_]+", line.partition("import ")[2])) <= names
            elif line and not line.startswith(("#", "url =")):
                assert line in played
