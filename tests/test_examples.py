"""Every example runs as it stands, against the simulator, with nothing but two environment variables.

None of them says or writes its key. They run in this process; one in a process of its own, where what the interpreter
itself says at its end is looked at as well.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import planted
import pytest

from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.simulator import Scenario, Simulator

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
GLM, SUPER, SMALL = "z-ai/glm-5.2:free", "nvidia/nemotron-3-super-120b-a12b:free", "openai/gpt-oss-20b:free"
BUSY = {GLM: "429-upstream", SMALL: "503"}
FIFTY = Scenario(per_minute=1000, per_day=50, credits="0")
SPENT = Scenario(per_minute=20, per_day=50, day_used=50, credits="0")

# Example, the hour it runs in, and what it must have said.
RUNS = [
    ("quickstart", Scenario(), ["you said Why is the sky blue?", f"{SUPER}: ok in "]),
    ("quickstart", Scenario(scripts={SUPER: "429-upstream"}), [f"{SUPER}: upstream_limit in ", f"{GLM}: ok in "]),
    ("streaming", Scenario(), ["answers: you said Tell a story", f"answered by {SUPER}", "total_tokens"]),
    ("streaming", Scenario(scripts={SUPER: {"do": "cut", "after": 3}}), [f"[{SUPER} broke off after "]),
    ("tools_agent", Scenario(), ["get_weather", "18 degrees and dry in Oslo"]),
    ("tools_agent", Scenario(scripts={GLM: "tool-malformed"}), [f"{SMALL} has read the result of the tool"]),
    ("structured_output", Scenario(), ["name='Oslo'", "population="]),
    ("paid_fallback", Scenario(), [f"by {GLM}, paid: False, after 0 others"]),
    ("paid_fallback", Scenario(scripts=BUSY), ["by ChatOpenAI:simulated/paid-small, paid: True, after 2 others"]),
    ("lcel_chain", Scenario(), ["called: z-ai/glm-5.2:free answers", "streamed: z-ai/", "snow: ", "fire: "]),
    ("lcel_chain", Scenario(scripts={GLM: "503"}), [f"called: {SMALL} answers", f"streamed: {SMALL}"]),
    ("rag_chain", Scenario(), ["Answer from these notes alone", "from: limits, "]),
    ("langgraph_graph", Scenario(), ["2 rounds, served by z-ai/glm-5.2:free"]),
    ("langgraph_graph", Scenario(scripts={GLM: ["ok", "503"]}), [f"served by {SMALL}, {GLM}"]),
    ("deep_agent", Scenario(), [f"{GLM}: get_population", "717710"]),
    ("deep_agent", Scenario(scripts={GLM: "429-upstream"}), [f"{SMALL}: get_population", "717710"]),
    ("batch_extraction", Scenario(), ["100 of 100 letters", "100 requests, 0 s of waiting"]),
    ("batch_extraction", FIFTY, ["50 of 100 letters", "the rest must wait: ", "quota of 50 requests a day"]),
    ("sensitive", Scenario(), [f"harmless: {GLM}", "refused: ", "paid: True, asked: ['simulated/paid-small']"]),
    ("shared_account", Scenario(), ["job: 6 documents, then: ", "10 of 10 used", "'chat': 4"]),
    ("fastapi_stream", Scenario(), ["200 application/x-ndjson", f'{{"served": "{GLM}"}}']),
    ("fastapi_stream", Scenario(scripts=BUSY), ["503 application/json", "None of the 2 attempts was answered"]),
    ("fastapi_stream", SPENT, ["429 application/json"]),
    (
        "fastapi_stream",
        Scenario(scripts={GLM: {"do": "cut", "after": 3}}),
        ["200 app", '{"error": "The answer of z-ai'],
    ),
    ("errors", Scenario(), ["you said Why is the sky blue?"]),
    ("errors", SPENT, ["50 free requests are used up; come back at 00:00 UTC", "Asked 1 of 2 models"]),
    ("errors", Scenario(scripts=BUSY), [f"{GLM}: upstream_limit", f"{SMALL}: "]),
]


class Play:
    """Runs a script of examples/ in this process, as `python examples/name.py` would, in a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._patch = monkeypatch
        self._capsys = capsys
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HOME", str(folder))
        for name in ("OPENROUTER_API_KEY", "OPENROUTER_API_BASE"):
            # Set first, so that what the demo sets is undone as well.
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)

    def __call__(self, name: str, *arguments: str, **environment: str) -> str:
        for variable, value in environment.items():
            self._patch.setenv(variable, value)
        self._patch.setattr(sys, "argv", [f"{name}.py", *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        said = self._capsys.readouterr()
        texts = [("out", said.out.encode()), ("err", said.err.encode()), *planted.files(self._folder)]
        assert planted.leaks(texts) == []
        return said.out


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Play]:
    monkeypatch.setenv("OPENROUTER_FREE_STATE", str(tmp_path / "state.sqlite3"))
    yield Play(tmp_path, monkeypatch, capsys)
    CLIENTS.close()


@pytest.mark.parametrize(("name", "hour", "says"), RUNS, ids=[f"{name}-{i}" for i, (name, _, _) in enumerate(RUNS)])
def test_an_example_says_what_it_promises(play: Play, name: str, hour: Scenario, says: list[str]) -> None:
    with Simulator(hour) as sim:
        # A key of its own is an account of its own in the process's book; the search finds the planted part of it.
        said = play(name, OPENROUTER_API_KEY=f"{planted.KEY}{uuid.uuid4().hex}", OPENROUTER_API_BASE=sim.base_url)
    assert [words for words in says if words not in said] == [], said


def test_any_example_runs_offline(play: Play) -> None:
    assert "you said Why is the sky blue?" in play("offline", "quickstart")
    with pytest.raises(SystemExit, match="lcel_chain, paid_fallback"):
        play("offline", "nothing")


def test_an_example_in_a_process_of_its_own_says_no_key(tmp_path: Path) -> None:
    """With the free models busy and no paid one, so that the error's own words are among those that are searched."""
    with Simulator(Scenario(keys=[planted.KEY], scripts={"*": "503"})) as sim:
        environment = {
            **os.environ,
            "PYTHONPATH": str(EXAMPLES.parent),
            "OPENROUTER_API_KEY": planted.KEY,
            "OPENROUTER_API_BASE": sim.base_url,
            "OPENROUTER_FREE_MAX_WAIT": "0",
            "OPENROUTER_FREE_STATE": str(tmp_path / "state.sqlite3"),
            "HOME": str(tmp_path),
        }
        command = [sys.executable, str(EXAMPLES / "quickstart.py")]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=False, timeout=50)
    assert b"AllModelsFailed" in done.stderr
    assert planted.leaks([("out", done.stdout), ("err", done.stderr), *planted.files(tmp_path)]) == []


def test_the_tests_of_your_app_pass() -> None:
    """As a user's pytest would run them: in a process of their own, with nothing said but their name."""
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "test_your_app.py")]
    ran = subprocess.run(pytest_, capture_output=True, text=True, check=False)
    assert "3 passed" in ran.stdout, ran.stdout + ran.stderr


def test_every_example_is_run_and_short() -> None:
    scripts = {path.stem: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES.glob("*.py")}
    assert set(scripts) == {name for name, _, _ in RUNS} | {"offline", "test_your_app"}
    assert {name for name, lines in scripts.items() if lines >= 60} == set()
