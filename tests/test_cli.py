"""The command line: what it says to people and to scripts, with and without a key, a network and a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from json_shapes import schema
from jsonschema import Draft202012Validator
from packaging.version import Version
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner, Result

from langchain_openrouter_free import ChatOpenRouterFree
from langchain_openrouter_free.books.history import CallRecord
from langchain_openrouter_free.cli.app import app
from langchain_openrouter_free.cli.output import plain
from langchain_openrouter_free.clock import SystemClock
from langchain_openrouter_free.configuration.schema import names
from langchain_openrouter_free.errors import AttemptRecord
from langchain_openrouter_free.simulator import Scenario, Simulator

ROOT = str(Path(__file__).resolve().parents[1])
NOW = 1_790_000_000.0
KEY = "sk-or-v1-" + "feedface" * 8
GLM, SUPER = "z-ai/glm-5.2:free", "nvidia/nemotron-3-super-120b-a12b:free"
PROJECT = f"""models = ["{GLM}", "{SUPER}"]
project = "shop"
timeouts = {{ connect = 2, first_token = 5 }}
default_headers = {{ X-Tenant = "secret-tenant" }}
budget = "$0.50/day"

[profiles.batch]
max_wait = 600
"""
Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is no repository, a home of its own, and a width of 80."""
    home, place = tmp_path / "home", tmp_path / "shop"
    home.mkdir()
    place.mkdir()
    monkeypatch.chdir(place)
    for name, value in {"HOME": str(home), "COLUMNS": "80", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OPENROUTER_FREE_CONFIG")
    monkeypatch.delenv("OPENROUTER_FREE_STATE")
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return place


@pytest.fixture
def run(folder: Path) -> Run:
    def runs(*words: str, **options: Any) -> Result:
        return CliRunner().invoke(app, list(words), **options)

    return runs


@pytest.fixture
def used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a configuration, a key, and two calls in its history, at a fixed moment."""
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    monkeypatch.setattr(SystemClock, "now", lambda _: NOW)
    (folder / "openrouter-free.toml").write_text(PROJECT)
    accounts = ChatOpenRouterFree()._accounts()
    failed = AttemptRecord(GLM, "upstream_limit", "model", 429, "Provider returned error", None, 0.21, NOW + 60)
    served = AttemptRecord(SUPER, "ok", "ok", 200, "answered", 0.8, 2.5)
    billed = AttemptRecord("your/paid-id", "ok", "ok", 200, "answered", 0.5, 1.0)
    for record in (
        CallRecord(NOW - 300, "shop", "answered", SUPER, attempts=(failed, served), waited_s=0.5),
        CallRecord(NOW - 200, "shop", "answered", "your/paid-id", paid=True, attempts=(billed,), cost=1_250_000),
        CallRecord(NOW - 100, "shop", "exhausted", attempts=(failed,)),
    ):
        accounts.store.append(accounts.log, record.at, record.encode())  # type: ignore[attr-defined]
    return folder


def even(text: str) -> str:
    """What differs from run to run, made the same."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"\d{4}-\d\d-\d\d", "0000-00-00", text)
    return re.sub(r"\b\d+\.\d+( s)?\b", lambda hit: re.sub(r"\d", "0", hit[0]), text)


def drawn_alike() -> bool:
    """Tell whether typer and rich lay help out as they did for its picture."""
    return Version(version("typer")) >= Version("0.29") and Version(version("rich")) >= Version("14.3")


# -- to people

PICTURES = [
    "--help",
    "config",
    "config --profile batch",
    "models",
    "explain",
    "explain hello --tools --image",
    "quota",
    "budget",
    "route",
    "watch",
    "doctor --offline",
]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("words", PICTURES)
def test_what_people_see(
    used: Path, run: Run, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch, words: str, width: int
) -> None:
    if words == "--help" and not drawn_alike():
        pytest.skip("how help is laid out is the business of typer and rich: the picture is of their newer versions")
    monkeypatch.setenv("COLUMNS", str(width))
    shown = run(*words.split()).output
    assert [line for line in shown.splitlines() if "\x1b" in line] == []
    assert snapshot == shown


def test_tables_keep_to_the_width(used: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        for words in ("--help", "models", "quota", "budget", "watch"):
            lines = run(*words.split()).output.partition("\n\n")[0].splitlines()
            assert max(map(len, lines)) <= width, words


# -- to scripts


@pytest.mark.parametrize(
    "words",
    ["init --pyproject --force", "config --all", "doctor --offline", "models", "explain hi --tools", "quota", "budget",
     "route", "watch", "report", "reset cooldowns --yes", "reset state --yes", "completion zsh", "simulate --list",
     "demo"],
)  # fmt: skip
@pytest.mark.parametrize("keyed", [True, False])
def test_json_is_one_document_of_a_known_shape(
    used: Path, run: Run, monkeypatch: pytest.MonkeyPatch, words: str, *, keyed: bool
) -> None:
    """Every command that needs no key says the same with and without one."""
    if words == "demo":
        monkeypatch.undo()
        monkeypatch.setenv("HOME", str(used))
    if not keyed:
        monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    result = run(*words.split(), "--json")
    assert result.exit_code == 0, result.output
    name = words if words == "simulate --list" else words.split(maxsplit=1)[0]
    Draft202012Validator(schema(name)).validate(json.loads(result.stdout))
    assert KEY not in result.output


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ("chat hello", 3, "KeyNeeded"),
        ("demo --live", 3, "KeyNeeded"),
        ("models --refresh", 3, "KeyNeeded"),
        ("budget --reconcile", 3, "KeyNeeded"),
        ("models --profile nowhere", 2, "ConfigurationError"),
        ("report --since lately", 2, "UsageError"),
        ("reset everything", 2, "UsageError"),
        ("reset state", 2, "UsageError"),
        ("completion tcsh", 2, "UsageError"),
        ("simulate no-such-scenario", 2, "ScenarioError"),
        ("explain --sensitive", 1, "PrivacyNotSatisfiable"),
        ("config --trust", 1, "NoFile"),
        ("init --user --pyproject", 2, "UsageError"),
        ("serve", 3, "KeyNeeded"),
        ("serve --log-level loud", 2, "UsageError"),
    ],
)
def test_failures_have_exit_codes_and_words(run: Run, words: str, code: int, kind: str) -> None:
    told = run(*words.split())
    assert (told.exit_code, told.stdout) == (code, "")
    assert told.stderr.startswith("error: ")
    as_json = run(*words.split(), "--json")
    assert as_json.exit_code == code
    said = json.loads(as_json.stdout)
    Draft202012Validator(schema("error")).validate(said)
    assert (said["error"]["kind"], said["error"]["exit_code"]) == (kind, code)


# -- the way things look


def test_a_terminal_gets_colour_unless_it_wants_none(used: Path) -> None:
    def on_a_terminal(**more: str) -> str:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "langchain_openrouter_free", "route"]
        subprocess.run(
            command,
            stdout=theirs,
            stderr=theirs,
            stdin=theirs,
            env={**os.environ, "PYTHONPATH": ROOT, **more},
            check=True,
        )
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 65536):
                text += part
        except OSError:
            pass
        os.close(ours)
        return text.decode()

    colour = re.compile(r"\x1b\[[0-9;]*3[0-7]")
    assert colour.search(on_a_terminal())
    assert not colour.search(on_a_terminal(NO_COLOR="1"))


def test_nothing_from_the_network_moves_the_cursor(used: Path, run: Run) -> None:
    """Names and reasons are shown without control characters and without marks that turn the writing."""
    nasty = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\x9b31m\r\n\x00end"
    accounts = ChatOpenRouterFree()._accounts()
    attempt = AttemptRecord(f"evil/{nasty}:free", "broken", "model", 500, nasty, None, 0.1)
    record = CallRecord(NOW, f"shop{nasty}", "answered", f"evil/{nasty}", attempts=(attempt, attempt))
    accounts.store.append(accounts.log, record.at, record.encode())  # type: ignore[attr-defined]
    for words in ("route", "watch", "budget", "route --json", "watch --json"):
        said = run(*words.split()).output
        assert "end" in said or words == "budget"
        assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", said) == []
    assert plain("a\x1b[31mb\nc\td\u2066e") == "a[31mb c de"
    assert plain("a\nb", lines=True) == "a\nb"


@pytest.mark.parametrize(("shell", "check"), [("bash", ["bash", "-n"]), ("zsh", None), ("fish", None)])
def test_completion_for_each_shell(run: Run, shell: str, check: list[str] | None) -> None:
    script = run("completion", shell).output
    assert "_OPENROUTER_FREE_COMPLETE" in script
    if check:
        subprocess.run(check, input=script, text=True, check=True)


# -- configuration


def test_init_writes_what_can_be_used_line_by_line(run: Run, folder: Path) -> None:
    """As it is written it changes nothing; each of its settings, uncommented, is valid."""
    assert run("init").exit_code == 0
    file = folder / "openrouter-free.toml"
    text = file.read_text()
    assert tomllib.loads(text) == {}
    assert run("init").exit_code == 1
    assert file.read_text() == text
    assert run("init", "--force").exit_code == 0
    file.write_text("\n".join(line.removeprefix("# ") for line in text.splitlines()))
    settings = {one["name"] for one in json.loads(run("config", "--json").stdout)["settings"]}
    refused = {one["name"] for one in json.loads(run("config", "--json").stdout)["refused"]}
    assert settings | refused <= names() - {"api_key"}
    assert len(settings | refused) > 40


def test_init_appends_to_a_pyproject(run: Run, folder: Path) -> None:
    file = folder / "pyproject.toml"
    file.write_text('[project]\nname = "x"')
    assert run("init", "--pyproject").exit_code == 0
    assert tomllib.loads(file.read_text()) == {"project": {"name": "x"}, "tool": {"openrouter-free": {}}}
    assert run("init", "--pyproject").exit_code == 1
    assert run("init", "--user").exit_code == 0


@pytest.mark.parametrize("room", [0, 500])
def test_init_leaves_a_pyproject_whole_where_the_rest_finds_no_room(folder: Path, room: int) -> None:
    """Nor does it change how its lines end."""
    file, before = folder / "pyproject.toml", b'[project]\r\nname = "x"\r\n'
    file.write_bytes(before)
    code = (
        "import resource, signal, sys; from langchain_openrouter_free.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + room}, resource.RLIM_INFINITY))\n"
        "sys.argv[1:] = ['init', '--pyproject', '--json']; main()"
    )
    command = [sys.executable, "-B", "-c", code]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["error"]["kind"]) == (1, "CannotWrite")
    assert file.read_bytes() == before
    assert CliRunner().invoke(app, ["init", "--pyproject"]).exit_code == 0
    assert file.read_bytes().startswith(before + b"\r\n## ")
    assert b"\n" not in file.read_bytes().replace(b"\r\n", b"")


SECRETS = {
    "redis://me:hunter2secret@localhost/0": "STATE",
    "redis://h/0?db=1&password=hunter2secret": "STATE",
    "https://h.example/v1?access_token=hunter2secret": "BASE_URL",
    "{plugins = {api_key = 'hunter2secret'}}": "EXTRA_BODY",
}


@pytest.mark.parametrize("text", SECRETS)
def test_config_shows_where_things_come_from_and_no_secret(
    used: Path, run: Run, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("OPENROUTER_FREE_TOP_K", "7")
    monkeypatch.setenv(f"OPENROUTER_FREE_{SECRETS[text]}", text)
    said = run("config", "--json").stdout
    found = {one["name"]: one for one in json.loads(said)["settings"]}
    assert found["models"]["from"] == f"project file: {used / 'openrouter-free.toml'}:1"
    assert (found["top_k"]["value"], found["top_k"]["from"]) == (7, "environment: OPENROUTER_FREE_TOP_K")
    for hidden in (KEY, "secret-tenant", "hunter2secret"):
        assert hidden not in said + run("config").output + run("config", "--all").output


def test_a_strange_projects_file_is_confirmed_before_it_counts(run: Run, folder: Path) -> None:
    (folder / "openrouter-free.toml").write_text('allow_paid = true\npaid_models = ["x/y"]\nbudget = "$1/day"\n')
    told = json.loads(run("config", "--json").stdout)
    assert {one["name"] for one in told["refused"]} == {"allow_paid", "paid_models"}
    assert run("config", "--trust").exit_code == 2
    assert run("config", "--trust", "--yes").exit_code == 0
    told = json.loads(run("config", "--json").stdout)
    assert told["refused"] == []
    assert "allow_paid" in {one["name"] for one in told["settings"]}


def test_a_password_is_not_shown_to_be_confirmed(run: Run, folder: Path) -> None:
    (folder / "openrouter-free.toml").write_text(
        'state = "redis://me:hunter2secret@host:1/0"\n'
        '[profiles.other]\nstate = "redis://host:2/0?password=hunter2secret&db=1"\n'
    )
    said = [run("config", "--trust", "--yes", *more).stdout for more in ([], ["--json"])]
    for shown in said:
        assert "hunter2secret" not in shown
        assert "redis://me:***@host:1/0" in shown
        assert "redis://host:2/0?password=***&db=1" in shown
    assert json.loads(run("config", "--json").stdout)["refused"] == []


def test_the_schema_is_printed(run: Run) -> None:
    assert json.loads(run("config", "--schema").stdout)["title"] == "openrouter-free.toml"


# -- with a service


@pytest.fixture
def online(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    with Simulator(
        Scenario(scripts={GLM: "429-upstream"}, gone=["qwen/qwen3-coder:free"], per_minute=20, per_day=50)
    ) as sim:
        monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
        monkeypatch.setenv("OPENROUTER_API_BASE", sim.base_url)
        monkeypatch.setenv("OPENROUTER_FREE_MODELS", f"{GLM},{SUPER}")
        yield sim


def test_chat_streams_and_tells_who_answered_and_each_move(
    online: Simulator, run: Run, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = run("chat", "hello there")
    assert told.exit_code == 0, told.output
    assert snapshot == even(told.output)
    assert "hello there" in told.stdout
    assert f"{GLM}: upstream_limit" in told.stderr
    assert f"-- {SUPER}" in told.stderr
    piped = run("chat", "--json", input="from a pipe")
    said = json.loads(piped.stdout)
    Draft202012Validator(schema("chat")).validate(said)
    assert (said["route"]["model"], "from a pipe" in said["text"]) == (SUPER, True)
    assert json.loads(run("route", "--json").stdout)[0]["attempts"] != []
    monkeypatch.setenv("OPENROUTER_FREE_MAX_WAIT", "0")
    assert run("chat", "hi", "--model", GLM).exit_code == 1
    assert KEY not in told.output + piped.output


def test_doctor_tells_each_finding_with_its_remedy(
    online: Simulator, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = run("doctor")
    assert healthy.exit_code == 0, healthy.output
    assert "The key is good" in healthy.output
    monkeypatch.setenv("OPENROUTER_FREE_MODELS", "z-ai/glm-5.3:free,qwen/qwen3-coder:free")
    told = run("doctor", "--json")
    said = json.loads(told.stdout)
    Draft202012Validator(schema("doctor")).validate(said)
    dead = [one for one in said["findings"] if one["check"] == "models" and one["level"] == "fail"]
    assert (told.exit_code, said["healthy"]) == (1, False)
    assert dead[0]["text"].startswith("z-ai/glm-5.3:free is not in the service's list")
    assert dead[0]["remedy"] == f"take it out of models, or write {GLM}"
    assert all(one["remedy"] for one in said["findings"] if one["level"] in ("warn", "fail"))


def test_doctor_needs_neither_key_nor_network(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_BASE", "http://127.0.0.1:9/api/v1")
    told = run("doctor", "--json")
    levels = {one["check"]: one["level"] for one in json.loads(told.stdout)["findings"]}
    assert told.exit_code == 0
    assert (levels["key"], levels["network"], levels["state"]) == ("warn", "warn", "ok")


def test_doctor_says_that_a_key_is_bad(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with Simulator(Scenario(keys=["sk-another"])) as sim:
        monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
        monkeypatch.setenv("OPENROUTER_API_BASE", sim.base_url)
        told = run("doctor")
    assert told.exit_code == 1
    assert "The service does not accept the key." in told.output
    assert KEY not in told.output


def test_models_fetches_the_list_on_request(online: Simulator, run: Run) -> None:
    assert json.loads(run("models", "--json").stdout)["bundled"] is True
    for _ in range(2):  # the second time it is unchanged
        told = run("models", "--json", "--refresh")
        assert (told.exit_code, json.loads(told.stdout)["bundled"]) == (0, False)
    assert json.loads(run("models", "--json", "--usable").stdout)["models"][0]["rank"] == 1


def test_a_list_that_cannot_be_fetched_is_told_to_scripts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts at hand are shown all the same."""
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    monkeypatch.setenv("OPENROUTER_API_BASE", "http://127.0.0.1:9/api/v1")
    told = run("models", "--refresh")
    assert (told.exit_code, GLM in told.output) == (1, True)
    assert run("models").exit_code == 0


@pytest.mark.parametrize(
    "words", ["budget", "quota --json", "route", "report -o -", "reset cooldowns --yes", "models", "explain", "watch"]
)
def test_books_that_cannot_be_seen_are_told_to_scripts(run: Run, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setenv("OPENROUTER_FREE_STATE", "/dev/null/state.sqlite3")
    assert run(*words.split()).exit_code == 1


def test_reset_asks_first_and_keeps_the_old_file(online: Simulator, run: Run) -> None:
    def resting() -> list[str]:
        return [one["model"] for one in json.loads(run("models", "--json").stdout)["models"] if one["cooldown_until"]]

    assert run("chat", "hello").exit_code == 0
    assert resting() == [GLM]
    assert json.loads(run("reset", "cooldowns", "--yes", "--json").stdout)["models"] == 1
    assert resting() == []
    kept = json.loads(run("reset", "state", "--yes", "--json").stdout)["kept_as"]
    assert Path(kept).is_file()
    assert json.loads(run("route", "--json").stdout) == []


@pytest.mark.parametrize("width", [80, 120])
def test_the_demo_answers_all_scenes_without_a_key_or_a_network(
    run: Run, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    told = run("demo")
    assert told.exit_code == 0, told.output
    assert snapshot == even(told.output)
    assert "4 of 4 answered" in told.output
    assert "1 request to the service" in told.output


def test_the_report_is_written(used: Path, run: Run) -> None:
    told = run("report", "-o", "page.html", "--since", "2w")
    assert told.exit_code == 0, told.output
    assert (used / "page.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("since", ["99999999999999999999d", "999999d", "0001-01-01T00:00+23:59"])
def test_a_span_longer_than_any_calendar_is_all_that_is_known(used: Path, run: Run, since: str) -> None:
    told = run("report", "-o", "page.html", "--since", since)
    assert told.exit_code == 0, told.output
    assert json.loads(run("report", "--json", "--since", since).stdout)["calls"] == 3


def test_a_terminal_without_a_letter_gets_the_rest(used: Path, sim: Simulator) -> None:
    """An answer costs a request; the page is UTF-8 by its own word, and stays it."""
    named = {"OPENROUTER_API_BASE": sim.base_url, "PYTHONIOENCODING": "ascii", "PYTHONPATH": ROOT}
    for words in (["chat", "h\u2603llo"], ["report", "-o", "-"]):
        command = [sys.executable, "-m", "langchain_openrouter_free", *words]
        done = subprocess.run(command, env={**os.environ, **named}, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        # The drawing library's own text is no ASCII, in its newer versions at least.
        assert ("h?llo" if words[0] == "chat" else "</html>") in done.stdout.decode()


def test_a_piped_text_of_another_encoding_is_asked_all_the_same(used: Path, sim: Simulator) -> None:
    named = {"OPENROUTER_API_BASE": sim.base_url, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": ROOT}
    command = [sys.executable, "-m", "langchain_openrouter_free", "chat"]
    done = subprocess.run(command, input=b"caf\xe9?", env={**os.environ, **named}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sim.chats()[-1].body["messages"][-1]["content"] == "caf\ufffd?"
