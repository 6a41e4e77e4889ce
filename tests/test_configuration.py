"""Which settings count, where they may stand, and what is said of a mistake in them."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import ConfigurableField
from langchain_core.runnables.configurable import RunnableConfigurableFields
from typer.testing import CliRunner

from langchain_openrouter_free import ChatOpenRouterFree, ConfigurationError, PaidModel
from langchain_openrouter_free.cli.app import app
from langchain_openrouter_free.configuration import trust
from langchain_openrouter_free.configuration.effective import effective, user_file
from langchain_openrouter_free.configuration.lines import lines_of
from langchain_openrouter_free.configuration.schema import FILE, json_schema, names
from langchain_openrouter_free.request.fields import Fields

KEY = "sk-or-v1-" + "c0ffee" * 10


class Place:
    """A repository, a folder in it where the work is done, and the user's own file."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, monkeypatch
        (root / ".git").mkdir(parents=True)
        self.deep = root / "src" / "app"
        self.deep.mkdir(parents=True)
        monkeypatch.chdir(self.deep)
        monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
        monkeypatch.delenv("OPENROUTER_FREE_STATE")
        monkeypatch.setenv("XDG_STATE_HOME", str(root.parent / "state"))

    def pyproject(self, text: str, folder: Path | None = None) -> Path:
        return self._write((folder or self.root) / "pyproject.toml", text)

    def own(self, text: str, folder: Path | None = None) -> Path:
        return self._write((folder or self.root) / "openrouter-free.toml", text)

    def user(self, text: str) -> Path:
        file = user_file()
        assert file is not None
        return self._write(file, text)

    def _write(self, path: Path, text: str) -> Path:
        path.write_text(text, encoding="utf-8")
        return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path / "repository", monkeypatch)


# -- what counts


def test_later_places_win_and_tables_are_merged(place: Place) -> None:
    """Project, user, environment, argument: the last one that says something counts, key by key in tables."""
    place.pyproject(
        "[tool.openrouter-free]\nmax_wait = 1\ntemperature = 0.1\ntop_p = 0.1\ntop_k = 1\n"
        'models = ["a/p:free"]\ntimeouts = {connect = 1, call = 100, stall = 9}\n'
    )
    place.user('temperature = 0.2\ntop_p = 0.2\ntop_k = 2\nmodels = ["a/u:free", "b/u:free"]\ntimeouts = {call = 200}')
    place.patch.setenv("OPENROUTER_FREE_TOP_P", "0.3")
    place.patch.setenv("OPENROUTER_FREE_TOP_K", "3")
    place.patch.setenv("OPENROUTER_FREE_TIMEOUTS", "{stall = 'none'}")
    model = ChatOpenRouterFree(top_k=4, timeouts={"attempt": 50})
    assert (model.max_wait, model.temperature, model.top_p, model.top_k) == (1, 0.2, 0.3, 4)
    assert model.models == ["a/u:free", "b/u:free"]
    assert model.timeouts == {"connect": 1, "call": 200, "stall": None, "attempt": 50}
    place.patch.setenv("OPENROUTER_FREE_TIMEOUTS", '{"stall": 7}')  # as JSON has it
    assert ChatOpenRouterFree().timeouts == {"connect": 1, "call": 200, "stall": 7}


def test_the_nearest_file_counts_up_to_the_repositorys_root_and_never_beyond(place: Place) -> None:
    place.own("top_k = 1", place.root.parent)
    assert ChatOpenRouterFree().top_k is None
    place.pyproject("[tool.openrouter-free]\ntop_k = 2\n[tool.other]\nx = 1")
    assert ChatOpenRouterFree().top_k == 2
    place.own("top_k = 3")
    assert ChatOpenRouterFree().top_k == 3
    place.pyproject("[tool.other]\ntop_k = 9", place.deep)
    assert ChatOpenRouterFree().top_k == 3
    place.pyproject("[tool.openrouter-free]\ntop_k = 4", place.deep)
    assert ChatOpenRouterFree().top_k == 4


def test_without_a_repository_the_working_directory_alone_is_looked_at(place: Place) -> None:
    (place.root / ".git").rmdir()
    place.own("top_k = 1")
    assert ChatOpenRouterFree().top_k is None
    place.own("top_k = 2", place.deep)
    assert ChatOpenRouterFree().top_k == 2


def test_a_profile_is_chosen_by_argument_method_or_environment(place: Place) -> None:
    place.pyproject(
        "[tool.openrouter-free]\nmax_wait = 5\ntop_k = 1\ntimeouts = {call = 9, stall = 3}\n"
        "[tool.openrouter-free.profiles.batch]\nmax_wait = 600\ntimeouts = {call = 900}\n"
        '[tool.openrouter-free.profiles."quick one"]\nmax_wait = 0'
    )
    assert ChatOpenRouterFree().max_wait == 5
    batch = ChatOpenRouterFree.from_profile("batch", top_k=7)
    assert (batch.max_wait, batch.top_k, batch.timeouts, batch.profile_name) == (
        600,
        7,
        {"call": 900, "stall": 3},
        "batch",
    )
    assert ChatOpenRouterFree(profile_name="quick one").max_wait == 0
    place.patch.setenv("OPENROUTER_FREE_PROFILE", "batch")
    assert ChatOpenRouterFree().max_wait == 600
    with pytest.raises(
        ConfigurationError, match=r"no profile 'bach' \(did you mean 'batch'\?\); known: batch, quick one"
    ):
        ChatOpenRouterFree.from_profile("bach")


def test_a_profile_of_the_users_own_lies_over_the_projects(place: Place) -> None:
    place.own("[profiles.batch]\nmax_wait = 600\ntop_k = 5")
    place.user("[profiles.batch]\nmax_wait = 60")
    model = ChatOpenRouterFree.from_profile("batch")
    assert (model.max_wait, model.top_k) == (60, 5)


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("MODELS", "a/b:free, c/d:free", "models", ["a/b:free", "c/d:free"]),
        ("MODELS", '["a/b:free"]', "models", ["a/b:free"]),
        ("MODELS", "auto", "models", ["auto"]),
        ("MAX_RETRIES", "2", "max_retries", 2),
        ("MAX_WAIT", "2.5", "max_wait", 2.5),
        ("STREAMING", "TRUE", "streaming", True),
        ("PRICE_LOCK", "1", "price_lock", True),
        ("DAILY_SHARE", "40", "daily_share", 40),
        ("DAILY_SHARE", "30%", "daily_share", "30%"),
        ("LIMITS", "usual", "limits", "usual"),
        ("LIMITS", "{per_day = 1000, per_minute = 'none'}", "limits", {"per_day": 1000, "per_minute": None}),
        ("BUDGET", "$0.50/day, $5/month", "budget", "$0.50/day, $5/month"),
        ("PAID_RPS", "balance", "paid_rps", "balance"),
        ("PROJECT", "2024", "project", "2024"),
        ("USER", "true", "user", "true"),
        ("STOP", "END", "stop", "END"),
        ("ACCEPT", "empty", "accept", "empty"),
        ("ACCEPT", "empty, refusal", "accept", ["empty", "refusal"]),
        ("ACCEPT", "{announced = false}", "accept", {"announced": False}),
        ("SEED", "", "seed", None),
        ("TEMPERATURE", "0", "temperature", 0),
    ],
)  # fmt: skip
def test_every_field_has_a_variable(place: Place, variable: str, text: str, field: str, value: object) -> None:
    place.patch.setenv(f"OPENROUTER_FREE_{variable}", text)
    assert getattr(ChatOpenRouterFree(), field) == value


def test_what_a_file_may_set_is_every_field_that_is_no_object() -> None:
    objects = {"on_event", "http_client", "http_async_client", "clock", "chance"}
    own = Fields.__annotations__.keys() & Fields.model_fields.keys()
    assert own - names() - {"profile_name"} >= objects
    assert {"models", "budget", "timeouts", "state", "api_key", "temperature", "provider"} <= names()


def test_paid_ids_with_prices_can_be_written_in_a_file(place: Place) -> None:
    place.user(
        'allow_paid = true\nbudget = {day = "0.5", call = 0.01}\n'
        'paid_models = ["x/y", {model = "x/z", prompt_price = 0.1, completion_price = "0.2"}]'
    )
    model = ChatOpenRouterFree()
    assert model.paid_models == ["x/y", PaidModel("x/z", prompt_price=0.1, completion_price="0.2")]
    assert {one.window: one.cap for one in model.spending().windows} == {"day": "0.5", "month": None, "total": None}


# -- mistakes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\nmodles = []", ["{file}:3: unknown key 'modles' (did you mean 'models'?)"]),
        ('max_wait = "5"', ["{file}:2: max_wait must be a number"]),
        ("models = 5", ["{file}:2: models must be a list"]),
        ('models = [\n  "a/b:free",\n  5,\n]', ["{file}:2: models.1 must be a text"]),
        ("timeouts = {conect = 5}", ["{file}:2: unknown key 'conect' (did you mean 'connect'?)"]),
        ("[tool.openrouter-free.timeouts]\n\ncall = true", ["{file}:4: timeouts.call must be a number"]),
        ("timeouts.call = -1", ["{file}:2: timeouts['call']=-1", "positive number of seconds"]),
        ('strategy = "fast"', ["{file}:2: strategy must be one of 'ranked', 'fastest' or 'adaptive'"]),
        ("budget = {dya = 1}", ["{file}:2: unknown key 'dya' (did you mean 'day'?)"]),
        ('budget = "lots"', ["{file}:2: budget='lots' is no amount"]),
        ("budget = true", ["{file}:2: budget must be a number or a text"]),
        ('models = ["x/y"]', ["{file}:2: models: 'x/y' does not end in ':free'"]),
        ("temperature = nan", ["{file}:2: temperature=nan is no finite number"]),
        ("extra_body = {a = [{b = [inf]}]}", ["{file}:2: extra_body['a'][0]['b'][0]=inf is no finite number"]),
        ("provider = {order = [2026-11-28]}", ["{file}:2: provider['order'][0]=2026-11-28 is a date or a time"]),
        ('paid_models = [{model = "x/y", prise = 1}]', ["{file}:2: unknown key 'prise'"]),
        ("[tool.openrouter-free.profiles.b]\nmax_wiat = 5", ["{file}:3: unknown key 'max_wiat' (did you"]),
        ("[tool.openrouter-free.profiles.batch]\nmodels = []", ["{file}:3: models is empty"]),
        ("clock = 5", ["{file}:2: unknown key 'clock'"]),
        ("x = ", ["{file}:2: not TOML"]),
        ("x = 1\ny = [\nz = 2", ["{file}:4: not TOML"]),
        ('base_url = "ftp://x"', ["{file}:2: base_url='ftp://x' is no http(s) URL"]),
        ("temperature = 9", ["{file}:2: temperature=9.0 is out of its range"]),
        ("max_tokens = 0", ["{file}:2: max_tokens=0 is out of its range"]),
        ("max_wait = -1", ["{file}:2: max_wait=-1.0 must be 0 or more"]),
        ("max_retries = -1", ["{file}:2: max_retries=-1 must be 0 or more"]),
        ('accept = "emty"', ["{file}:2: accept: 'emty' is no row (did you mean 'empty'?)"]),
        ('state = "~no-such-user/s.db"', ["{file}:2: state='~no-such-user/s.db': Could not determine home"]),
        ('app_title = "Grün"', ["{file}:2: default_headers: 'X-Title' holds characters"]),
        ('paid_models = ["x/y:free"]', ["{file}:2: paid_models: 'x/y:free' is a free id"]),
        ('paid_models = [{model = "x/y", prompt_price = "1"}]', ["{file}:2: paid_models: x/y needs prompt_price and"]),
        ("max_wait = 1\nmodles = 1\nstopp = 2", ["{file}:3: unknown key 'modles'", "{file}:4: unknown key 'stopp'"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_file_and_line(place: Place, text: str, says: list[str]) -> None:
    file = place.pyproject(f"[tool.openrouter-free]\n{text}")
    with pytest.raises(ConfigurationError) as raised:
        ChatOpenRouterFree()
    assert [one for one in says if one.replace("{file}", str(file)) not in str(raised.value)] == [], raised.value


def test_mistakes_in_variables_are_told_by_name(place: Place) -> None:
    for variable, text, says in (
        ("MAX_WAIT", "soon", "OPENROUTER_FREE_MAX_WAIT: max_wait must be a number"),
        ("TEMPERATURE", "9", "OPENROUTER_FREE_TEMPERATURE: temperature=9"),
        ("MODLES", "auto", r"OPENROUTER_FREE_MODLES.*did you mean OPENROUTER_FREE_MODELS"),
        ("SEED", "9" * 5000, "OPENROUTER_FREE_SEED: seed must be a whole number"),
        ("MODELS", "openai/gpt-4o", "OPENROUTER_FREE_MODELS: models: 'openai/gpt-4o' does not end in ':free'"),
        ("MODELS", "a/b:free,nonsense", "OPENROUTER_FREE_MODELS: models: 'nonsense' is no model id"),
        ("PAID_MODELS", "q", "OPENROUTER_FREE_PAID_MODELS: paid_models: 'q' is no model id"),
        ("DAILY_SHARE", "x%", "OPENROUTER_FREE_DAILY_SHARE: daily_share: at_most='x%'"),
    ):
        place.patch.setenv(f"OPENROUTER_FREE_{variable}", text)
        with pytest.raises(ConfigurationError, match=says):
            ChatOpenRouterFree()
        place.patch.delenv(f"OPENROUTER_FREE_{variable}")
    place.patch.setenv("OPENROUTER_FREE_STOP", "[" * 5000)
    assert ChatOpenRouterFree().stop == "[" * 5000


def test_lines_are_found_whatever_stands_in_texts_and_brackets() -> None:
    text = '# [a]\nx = """\n[no]\ny = 2\n"""\n"q.r" = [ # [\n "a]",\n]\n'
    text += '[b . c]\nd.e = {f = 1, "g" = {h = "i = 2"}}\n[[l]]\nk = 1\n'
    assert lines_of(text) == {
        ("x",): 2,
        ("q.r",): 6,
        ("b",): 9,
        ("b", "c"): 9,
        ("b", "c", "d"): 10,
        ("b", "c", "d", "e"): 10,
        ("b", "c", "d", "e", "f"): 10,
        ("b", "c", "d", "e", "g"): 10,
        ("b", "c", "d", "e", "h"): 10,
        ("l",): 11,
        ("l", "k"): 12,
    }


@pytest.mark.parametrize("where", ["same", "above"])
@pytest.mark.parametrize(("file", "words"), [("pyproject", ["init"]), ("own", ["init", "--pyproject"])])
def test_init_does_not_put_a_projects_settings_out_of_force(
    place: Place, file: str, words: list[str], where: str
) -> None:
    """Of two files only one counts: an empty one must not take its place, nor a new one be written for nothing."""
    heading = "[tool.openrouter-free]\n" if file == "pyproject" else ""
    there = getattr(place, file)(heading + 'privacy = "no-training"', place.deep if where == "same" else None)
    told = CliRunner().invoke(app, words)
    assert (told.exit_code, str(there) in told.output.replace("\n", "")) == (1, True)
    assert ChatOpenRouterFree().privacy == "no-training"
    assert CliRunner().invoke(app, [*words, "--force"]).exit_code == 0


# -- resolved once


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: m.model_copy()]
)
def test_a_copy_keeps_what_was_configured_when_the_model_was_made(
    place: Place, again: Callable[..., ChatOpenRouterFree]
) -> None:
    file = place.own("top_k = 1")
    place.patch.setenv("OPENROUTER_API_BASE", "http://127.0.0.1:1/v1")
    model = ChatOpenRouterFree()
    file.write_text("top_k = 2")
    place.patch.setenv("OPENROUTER_API_BASE", "http://127.0.0.1:2/v1")
    twin = again(model)
    assert (twin.top_k, twin.base_url, twin._meaning().service.url) == (
        1,
        "http://127.0.0.1:1/v1",
        "http://127.0.0.1:1/v1",
    )
    assert ChatOpenRouterFree().top_k == 2


def test_langchains_rebuilding_reads_nothing_again(place: Place) -> None:
    """`configurable_fields` makes a new object of all fields: what a file says by then is not for it."""
    file = place.own("top_k = 1\ntimeouts = {call = 5}")
    field = ConfigurableField(id="temperature")
    model = ChatOpenRouterFree().configurable_fields(temperature=field)
    file.write_text("top_k = 2\ntimeouts = {call = 6, stall = 1}\nmax_wait = 0")
    assert isinstance(model, RunnableConfigurableFields)
    made, _ = model.prepare({"configurable": {"temperature": 0.7}})
    assert isinstance(made, ChatOpenRouterFree)
    assert (made.temperature, made.top_k, made.timeouts, made.max_wait) == (0.7, 1, {"call": 5}, 20.0)


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(place: Place) -> None:
    from langchain_openrouter_free.configuration.reading import _document  # noqa: PLC0415

    file = place.own("top_k = 1")
    assert [ChatOpenRouterFree().top_k for _ in range(3)] == [1, 1, 1]
    misses = _document.cache_info().misses
    ChatOpenRouterFree()
    assert _document.cache_info().misses == misses
    file.write_text("top_k = 22")
    assert ChatOpenRouterFree().top_k == 22


# -- secrets


def git(place: Place, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "init.defaultBranch=main", "-C", str(place.root), *words], check=True, capture_output=True
    )


@pytest.mark.parametrize("tracked", ["tracked", "new", "ignored", "ignored and tracked"])
def test_the_key_is_read_from_no_file_under_version_control(
    place: Place, caplog: pytest.LogCaptureFixture, tracked: str
) -> None:
    (place.root / ".git").rmdir()
    git(place, "init")
    place.patch.delenv("OPENROUTER_API_KEY")
    file = place.own(f'top_k = 5\napi_key = "{KEY}"\n')
    if "ignored" in tracked:
        (place.root / ".gitignore").write_text("openrouter-free.toml\n")
    if "tracked" in tracked:
        git(place, "add", "--force", "openrouter-free.toml")
    if tracked == "ignored":
        assert ChatOpenRouterFree()._key() == KEY
        return
    with pytest.raises(ConfigurationError, match="No API key"), caplog.at_level(logging.WARNING):
        ChatOpenRouterFree()
    assert f"{file}:2: api_key is not read" in caplog.text
    assert KEY not in caplog.text


def test_a_dotenv_is_read_on_request_only(place: Place) -> None:
    (place.root / ".git").rmdir()
    place.patch.delenv("OPENROUTER_API_KEY")
    file = place.deep / ".env"
    file.write_text(f"# mine\nexport OPENROUTER_API_KEY='{KEY}' # so\nOPENROUTER_FREE_TOP_K=3\nOTHER=\"x\"\n")
    with pytest.raises(ConfigurationError, match="No API key"):
        ChatOpenRouterFree()
    model = ChatOpenRouterFree.from_profile(dotenv=True)
    assert (model._key(), model.top_k) == (KEY, 3)
    place.patch.setenv("OPENROUTER_FREE_DOTENV", str(file))
    assert ChatOpenRouterFree().top_k == 3
    place.patch.setenv("OPENROUTER_FREE_TOP_K", "4")
    assert ChatOpenRouterFree().top_k == 4
    file.write_text("OPENROUTER_FREE_MODLES=auto\n")
    with pytest.raises(ConfigurationError, match=f"{file}: OPENROUTER_FREE_MODLES: no such setting"):
        ChatOpenRouterFree()
    file.write_text(f"OPENROUTER_API_KEY={KEY}\nOPENROUTER_API_BASE=http://[bad\n")
    assert ChatOpenRouterFree().base_url is None


def test_no_secret_is_shown_in_an_error_of_its_file(place: Place) -> None:
    file = place.user(f'api_key = "{KEY} x"')
    place.patch.delenv("OPENROUTER_API_KEY")
    with pytest.raises(ConfigurationError) as raised:
        ChatOpenRouterFree()
    assert str(file) in str(raised.value)
    assert KEY not in repr(raised.value)


# -- what a strange project may not decide

HOSTILE = (
    'top_k = 5\nbase_url = "https://evil.example/v1"\nallow_paid = true\npaid_models = ["x/y"]\n'
    'budget = "unlimited"\nstate = "/etc/hosts.db"\n'
)


def test_a_strange_projects_file_cannot_take_the_key_or_spend(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    file = place.own(HOSTILE)
    with caplog.at_level(logging.WARNING):
        model = ChatOpenRouterFree()
    assert (model.top_k, model.base_url, model.allow_paid, model.paid_models) == (5, None, False, [])
    assert model.state != "/etc/hosts.db"
    for line, name in [(2, "base_url"), (3, "allow_paid"), (4, "paid_models"), (6, "state")]:
        assert f"{file}:{line}: {name} " in caplog.text
    assert "openrouter-free config --trust" in caplog.text


@pytest.mark.parametrize("how", ["confirmed", "named", "its own program"])
def test_what_the_user_means_counts(place: Place, how: str, tmp_path: Path) -> None:
    text = HOSTILE.replace("/etc/hosts.db", "books/state.db")
    file = place.own(text)
    if how == "named":
        place.patch.setenv("OPENROUTER_FREE_TRUSTED", f"{tmp_path / 'x'}:{place.root}")
    if how == "its own program":
        (place.deep / "main.py").touch()
        place.patch.setattr("__main__.__file__", str(place.deep / "main.py"), raising=False)
    if how == "confirmed":
        found, user = effective().project, user_file()
        assert found is not None
        assert user is not None
        trust.confirm(file, found.table, user.with_name("trusted"))
    model = ChatOpenRouterFree()
    assert (model.base_url, model.allow_paid) == ("https://evil.example/v1", True)
    assert model.state == str(place.root / "books/state.db")
    if how == "confirmed":
        place.own(text.replace("evil", "more.evil").replace("top_k = 5", "top_k = 6"))
        assert (ChatOpenRouterFree().base_url, ChatOpenRouterFree().top_k) == (None, 6)


def test_a_folder_s_name_confirms_nothing_but_itself(tmp_path: Path) -> None:
    """It may hold a line that looks like another confirmation, or be no text; what was confirmed before stays so."""
    table = {"allow_paid": True}
    confirmed, meant, evil = (tmp_path / name for name in ("trusted", "meant.toml", "evil.toml"))
    smuggling = tmp_path / f"a\n{trust._fingerprint(evil, table)} b"
    for file in (meant, smuggling / "x.toml", tmp_path / "caf\udce9" / "x.toml"):
        trust.confirm(file, table, confirmed)
        assert trust.is_trusted(file, table, confirmed)
    assert trust.is_trusted(meant, table, confirmed)
    assert not trust.is_trusted(evil, table, confirmed)


@pytest.mark.parametrize("program", ["<stdin>", ".venv/bin/openrouter-free", "lib/site-packages/some/__main__.py"])
def test_what_is_piped_or_installed_in_a_strange_project_is_not_its_program(place: Place, program: str) -> None:
    """People make their environments inside of what they have checked out."""
    place.own(HOSTILE)
    path = place.root / program
    if program != "<stdin>":
        path.parent.mkdir(parents=True)
        path.touch()
        place.patch.setattr("sys.prefix", str(place.root / ".venv"))
    place.patch.setattr("__main__.__file__", str(path), raising=False)
    model = ChatOpenRouterFree()
    assert (model.base_url, model.allow_paid) == (None, False)


def test_harmless_things_of_a_strange_project_count(place: Place) -> None:
    place.own('base_url = "http://127.0.0.1:9/v1"\nbudget = "$1/day"\nstate = "state.db"\nproject = "mine"')
    model = ChatOpenRouterFree()
    assert (model.base_url, model.budget, model.project) == ("http://127.0.0.1:9/v1", "$1/day", "mine")
    assert model.state == str(place.root / "state.db")
    place.own('base_url = "https://openrouter.ai/api/v1"')
    assert ChatOpenRouterFree().base_url == "https://openrouter.ai/api/v1"
    place.own('base_url = "http://openrouter.ai/api/v1"')
    assert ChatOpenRouterFree().base_url is None


def test_leave_to_pay_of_the_users_own_is_not_widened_by_a_strange_project(place: Place) -> None:
    """Who may pay has said how much: a project's file neither names the amount nor the book nor the models."""
    place.user('allow_paid = true\npaid_models = ["x/y"]')
    place.own('budget = "unlimited"')
    with pytest.raises(ConfigurationError, match="needs a budget"):
        ChatOpenRouterFree()
    place.user('allow_paid = true\npaid_models = ["x/y"]\nbudget = "$1/day"')
    place.own('state = "state.db"\naccount_budget = "unlimited"\nextra_body = {plugins = [{id = "web"}]}')
    model = ChatOpenRouterFree()
    assert (model.budget, model.account_budget, model.extra_body) == ("$1/day", None, {})
    assert model.state != str(place.root / "state.db")


# -- the schema


def test_the_published_schema_is_up_to_date() -> None:
    """`openrouter-free config --schema` writes it anew."""
    import langchain_openrouter_free  # noqa: PLC0415

    published = Path(langchain_openrouter_free.__file__).with_name("configuration") / FILE
    assert json.loads(published.read_text(encoding="utf-8")) == json_schema()


def test_the_schema_tells_right_from_wrong() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json_schema())
    assert check.is_valid({"models": ["a"], "timeouts": {"call": 5, "stall": "none"}, "profiles": {"b": {"top_k": 1}}})
    wrong: dict[str, Any]
    for wrong in ({"modles": []}, {"timeouts": {"cal": 1}}, {"profiles": {"b": {"x": 1}}}, {"max_wait": "5"}):
        assert not check.is_valid(wrong)
    described = json_schema()["properties"]
    assert [name for name in ("models", "budget", "state", "max_wait") if not described[name].get("description")] == []
