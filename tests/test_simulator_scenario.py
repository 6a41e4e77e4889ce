"""Scenarios, scripts and the command line: what can be written, and what is said about mistakes."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

import langchain_openrouter_free.simulator
from langchain_openrouter_free.simulator import Scenario, ScenarioError, Simulator
from langchain_openrouter_free.simulator.__main__ import main
from langchain_openrouter_free.simulator.behaviours import REGISTRY, Scripts, parse_script
from langchain_openrouter_free.simulator.scenario import bundled, from_table, load

ROOT = Path(langchain_openrouter_free.simulator.__file__).parents[2]
HOUR = 3600.0


def played(script: Any, moments: Sequence[float]) -> list[str]:
    chooser = parse_script("it", script)
    rng = random.Random(1)
    return [chooser(moment, rng).name for moment in moments]


def test_sequences() -> None:
    """The last one repeats; `times` repeats an earlier one."""
    assert played(["503", "ok"], [0] * 4) == ["503", "ok", "ok", "ok"]
    assert played("408", [0, 0]) == ["408", "408"]
    assert played([{"do": "503", "times": 2}, "ok"], [0] * 3) == ["503", "503", "ok"]


def test_timetables() -> None:
    """By the time of day, also over midnight; otherwise the entry without times, or ok."""
    table = [{"from": "23:00", "to": "01:00", "do": "503"}, {"from": "12:00", "do": "429-upstream"}]
    hours = [23.5 * HOUR, 24.5 * HOUR, 2 * HOUR, 13 * HOUR]
    assert played(table, hours) == ["503", "503", "ok", "429-upstream"]
    assert played([*table, "200-empty"], [2 * HOUR]) == ["200-empty"]


def test_lotteries() -> None:
    """Weights decide; a weight of nothing never comes."""
    names = played({"ok": 3, "503": 1, "502": 0}, [0] * 50)
    assert set(names) == {"ok", "503"}
    assert names.count("ok") > names.count("503")
    assert set(played([{"do": "ok", "weight": 1}, {"do": "cut", "weight": 1}], [0] * 30)) == {"ok", "cut"}


def test_star_is_for_the_unnamed() -> None:
    """`*` plays for each model that has no script of its own, each from its beginning."""
    scripts, rng = Scripts(), random.Random(1)
    scripts.update({"*": ["503", "ok"], "a/b:free": "408"})
    assert [scripts.next(slug, 0, rng).name for slug in ("x/y:free", "x/y:free", "z/z:free", "a/b:free")] == [
        "503",
        "ok",
        "503",
        "408",
    ]
    scripts.update({"*": "502"})
    assert [scripts.next(slug, 0, rng).name for slug in ("x/y:free", "a/b:free")] == ["502", "408"]


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("429-upstraem", "it: unknown behaviour '429-upstraem'; did you mean '429-upstream'?"),
        ({"do": "ok", "latensy": 1}, "it: unknown parameter 'latensy'; did you mean 'latency'?"),
        ({"do": "ok", "tool_shape": "spit"}, "unknown tool_shape 'spit'; did you mean 'split'?"),
        ({"do": "ok", "latency": "long"}, "it: latency is a number from 0, not 'long'"),
        ({"do": "ok", "text": 5}, "it: text is a text, not 5"),
        ({"do": "ok", "reasoning": 5}, "it: reasoning is a text, not 5"),
        ([{"do": "ok", "times": math.inf}], "it: times is a number from 0 to 1000000, not inf"),
        ([], "an empty script says nothing"),
        ([7], "a behaviour is a name or a table with 'do', not 7"),
        ([{"do": 7}], "not {'do': 7}"),
        ({"ok": -1}, "weights are numbers above zero"),
        ({"ok": "much"}, "weights are numbers above zero"),
        ([{"from": "25:00", "do": "ok"}], "a time of day is written HH:MM, not '25:00'"),
    ],
)
def test_wrong_scripts(script: Any, complaint: str) -> None:
    """A mistake in a script is told where it is, with the nearest right name."""
    with pytest.raises(ScenarioError) as caught:
        parse_script("it", script)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"per_minut": 20}, "here: unknown key 'per_minut'; did you mean 'per_minute'?"),
        ({"per_minute": "20"}, "per_minute: a whole number from 0, not '20'"),
        ({"day_used": None}, "day_used: a whole number from 0, not None"),
        ({"credits": "much"}, "credits: a decimal number, not 'much'"),
        ({"scripts": {"a/b:free": "okay"}}, "scripts: a/b:free: unknown behaviour 'okay'; did you mean 'ok'?"),
        ({"scripts": ["ok"]}, "a value has the wrong type"),
        ({"scripts": {"a/paid": "ok"}}, "unknown model 'a/paid'"),
        ({"keys": [7]}, "a key is a text or a table with 'key', not 7"),
        ({"keys": [{"key": "a", "limits": 1}]}, "keys: unknown field 'limits'; did you mean 'limit'?"),
        ({"models": [{"id": "a/b:free", "context": 1}]}, "models: unknown field 'context'"),
        ({"models": [{"id": "a/b:free", "created": "now"}]}, "models: a/b:free: created cannot be 'now'"),
        ({"models": [{"id": "a/b:free", "indices": [1, 2]}]}, "models: a/b:free: indices are 3 numbers, not [1, 2]"),
        ({"models": [5]}, "models: a model is an id or a table with 'id', not 5"),
        ({"credits": "nan"}, "credits: a decimal number, not 'nan'"),
        ({"credits": "-1e999999"}, "credits: a decimal number, not '-1e999999'"),
        ({"keys": [{"key": "a", "limit": "much"}]}, "keys: limit: a decimal number, not 'much'"),
        ({"models": ["nameless"]}, "an id has the form author/slug, not 'nameless'"),
        ({"models": ["a/paid"]}, "'a/paid' is not ':free', so it needs a pricing"),
        ({"rpm": {"a/b:free": -1}}, "rpm of a/b:free: a whole number from 0, not -1"),
    ],
)
def test_wrong_scenarios(table: dict[str, Any], complaint: str) -> None:
    """A mistake in a scenario is told with its key."""
    with pytest.raises(ScenarioError) as caught:
        from_table(table, "here")
    assert str(caught.value).startswith("here: ")
    assert complaint in str(caught.value)


def test_wrong_scripts_change_nothing() -> None:
    """A script that is refused leaves the old one in place."""
    with Simulator(Scenario(scripts={"test/a:free": "503"})) as sim:
        with pytest.raises(ScenarioError):
            sim.script({"test/a:free": "ok", "test/b:free": "no such thing"})
        numbered: Any = {7: "ok"}
        with pytest.raises(ScenarioError):
            sim.script(numbered)
        body = {"model": "test/a:free", "messages": [{"role": "user", "content": "x"}]}
        with httpx.Client(trust_env=False, verify=False) as client:
            url = f"{sim.base_url}/chat/completions"
            assert client.post(url, json=body, headers={"Authorization": "Bearer x"}).status_code == 503


def test_bundled_scenarios() -> None:
    """All that is shipped can be played, and says what it is about."""
    assert {"calm", "rush-hour", "day-spent", "outage", "flaky"} <= set(bundled())
    for name in bundled():
        scenario = load(name)
        assert scenario.name == name
        assert scenario.about


def test_files(tmp_path: Path) -> None:
    """A path will do as well; what is wrong with a file is told with its name."""
    good = tmp_path / "mine.toml"
    good.write_text('per_minute = 3\n[scripts]\n"test/a:free" = ["503", {do = "ok", latency = 0.1}]\n')
    assert load(str(good)).per_minute == 3
    assert load(str(good)).name == "mine"
    good.write_text('models = [{id = "test/a:free", expiration_date = 2026-12-01, created = 1.5e9}]\n')
    with Simulator(load(str(good))) as sim, httpx.Client(trust_env=False, verify=False) as client:
        rows = client.get(f"{sim.base_url}/models").json()["data"]
        assert [row["expiration_date"] for row in rows] == ["2026-12-01"]
    bad = tmp_path / "bad.toml"
    bad.write_text("per_minute = = 3")
    with pytest.raises(ScenarioError, match=r"bad\.toml: not TOML: .*line 1"):
        load(str(bad))
    bad.write_text("per_minut = 3")
    with pytest.raises(ScenarioError, match=r"bad\.toml: unknown key 'per_minut'; did you mean 'per_minute'\?"):
        load(str(bad))
    with pytest.raises(ScenarioError, match=r"did you mean 'rush-hour'\? \(bundled: calm, "):
        load("rush-hou")


def test_list_and_complaints(capsys: pytest.CaptureFixture[str]) -> None:
    """--list shows everything; an unknown scenario is an error with the list."""
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in [*REGISTRY, *bundled()])
    assert main(["--scenario", "calmer"]) == 2
    assert "unknown scenario 'calmer'; did you mean 'calm'?" in capsys.readouterr().err
    with Simulator() as sim:
        assert main(["--port", str(sim.port)]) == 1
    assert "cannot listen on 127.0.0.1" in capsys.readouterr().err


def test_command_line() -> None:
    """The command starts, prints where it is, answers, and stops cleanly at Ctrl-C."""
    command = [sys.executable, "-W", "error", "-m", "langchain_openrouter_free.simulator", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--scenario", "day-spent"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert "day-spent" in lines[0]
        url = lines[1].split()[2]
        assert lines[2].startswith(f"export OPENROUTER_API_BASE={url} OPENROUTER_API_KEY=sk-or-v1-")
        body = {"model": "test/a:free", "messages": [{"role": "user", "content": "x"}]}
        with httpx.Client(trust_env=False, verify=False, timeout=5) as client:
            reply = client.post(f"{url}/chat/completions", json=body, headers={"Authorization": "Bearer x"})
            assert reply.status_code == 429
            log = client.get(url.replace("/api/v1", "/simulator/log")).json()["received"]
            assert log[0]["behaviour"] == "429-account-day"
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 0
        assert process.stdout.read() == "stopped\n"
        assert process.stderr.read() == ""


pytest_plugins = ["langchain_openrouter_free.simulator.pytest_plugin"]


def test_fixture(openrouter_simulator: Simulator) -> None:
    """The fixture yields a simulator that runs."""
    assert httpx.get(f"{openrouter_simulator.base_url}/models", trust_env=False).status_code == 200


def test_the_scenarios_are_found_in_an_archive(tmp_path: Path) -> None:
    """The package may be imported from one."""
    package = Path(langchain_openrouter_free.simulator.__file__).parent
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        for file in [package.parent / "__init__.py", *package.rglob("*.py"), *package.rglob("*.toml")]:
            archive.write(file, file.relative_to(ROOT))
    done = subprocess.run(
        [sys.executable, "-m", "langchain_openrouter_free.simulator", "--list"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "it.zip")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr, "rush-hour" in done.stdout) == (0, "", True)
