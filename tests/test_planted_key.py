"""No secret in any output, log, state file, report, exception, repr, pickle, cassette or trace.

The search over all that the suite says and writes is `conftest.py`'s, after each test and at the end of the session;
here is that it would find something, and one walk over everything that can be written. That of the examples is in
`test_examples.py`.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import planted
import pytest
from driving import drive
from langchain_core.load import dumps
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_openai import ChatOpenAI
from pydantic import SecretStr, ValidationError

from langchain_openrouter_free import ChatOpenRouterFree, ConfigurationError, OpenRouterFreeError, PaidModel
from langchain_openrouter_free.simulator import Scenario, Simulator

ROOT = Path(__file__).resolve().parents[1]
GLM, SUPER, SMALL = "z-ai/glm-5.2:free", "nvidia/nemotron-3-super-120b-a12b:free", "openai/gpt-oss-20b:free"
GATEWAY, OTHER = "gateway.Token-5544332211", "simulated/paid-small"


@pytest.mark.parametrize(
    "text",
    [
        planted.KEY.encode(),
        b"Authorization: Bearer " + planted.KEY.encode(),
        planted.KEY.removeprefix("sk-or-v1-").encode(),
        planted.KEY.encode("utf-16-le"),
        pickle.dumps({"key": planted.KEY}),
    ],
)
def test_the_search_finds_a_key_in_any_form(text: bytes) -> None:
    assert planted.leaks([("clean", b"nothing"), ("leak", b"\0\1" + text + b"\0")]) == ["leak"]


def test_what_the_package_says_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error and a line of the log that hold the key are found, each by its name, and only once."""
    OpenRouterFreeError(f"no such key: {planted.KEY}")
    ChatOpenRouterFree(api_key="sk-x", default_headers={"X-Token": "hush"}, state="memory")
    # pytest is not to print it.
    monkeypatch.setattr(logging.getLogger("langchain_openrouter_free"), "propagate", False)
    logging.getLogger("langchain_openrouter_free.engine.engine").warning("asked with %s", planted.KEY)
    found = planted.leaked()
    assert {name.partition(":")[0] for name in found} == {"OpenRouterFreeError", "log"}
    assert planted.leaked() == []


@pytest.mark.parametrize(
    "mistake",
    [
        {"max_wait": -1, "api_key": planted.KEY},
        {"api_key": f"{planted.KEY} # mine"},
        {"api_key": [planted.KEY]},
        {"api_key": "sk-x", "default_headers": {"X-Token": f"{planted.KEY}\n"}},
        {"api_key": "sk-x", "state": f"redis://:{planted.KEY}@host:port/0"},
    ],
)
def test_a_mistake_in_the_configuration_puts_no_secret_into_the_traceback(mistake: dict[str, Any]) -> None:
    """Nor the end of one, which is what an error that shortens its input leaves of it."""
    with pytest.raises(ConfigurationError) as caught:
        ChatOpenRouterFree(**mistake)
    # The lines of code in it are this test's.
    told = "".join(str(one) for one in (caught.value, caught.value.__cause__, caught.value.__context__))
    assert planted.KEY[-8:] not in told


def test_headers_of_ones_own_and_a_servers_password_are_in_no_repr() -> None:
    model = ChatOpenRouterFree(api_key="sk-x", default_headers={"X-Token": "hush"}, state="memory")
    assert "hush" not in repr(model)
    assert "state=" not in repr(model)


def test_a_pickle_has_the_key_by_its_mark_alone(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows it again; another one takes its own, or says that there is none."""
    written = pickle.dumps(ChatOpenRouterFree(api_key=planted.KEY, base_url=sim.base_url, models=[GLM]))
    assert planted.leaks([("pickle", written)]) == []
    assert pickle.loads(written).invoke("hello").text
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())._key())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENROUTER_API_KEY": "sk-or-v1-their-own"}
    done = subprocess.run([sys.executable, "-c", code], input=written, env=environment, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "sk-or-v1-their-own"
    environment.pop("OPENROUTER_API_KEY")
    done = subprocess.run(
        [sys.executable, "-c", code], input=written, env=environment, capture_output=True, check=False
    )
    assert b"No API key" in done.stderr


def _assigned(model: Any) -> Any:
    model.api_key = planted.KEY
    return model


@pytest.mark.parametrize("change", [_assigned, lambda model: model.model_copy(update={"api_key": planted.KEY})])
def test_a_key_that_is_changed_as_plain_text_counts_and_is_hidden(change: Callable[[Any], Any]) -> None:
    """Whoever rotates keys assigns what they have: the next call uses it, and nothing shows it."""
    with Simulator(Scenario(keys=[planted.KEY])) as sim:
        model = change(ChatOpenRouterFree(api_key="sk-x", base_url=sim.base_url, models=[GLM], state="memory"))
        assert model.invoke("hello").text
    told = [repr(model), str(model), repr(model.model_dump()), dumps(model), repr(model.to_json())]
    assert planted.leaks([("pickle", pickle.dumps(model)), *((one, one.encode()) for one in told)]) == []


@pytest.mark.parametrize("fault", ["401", "400-schema", "503", "error-chunk", "200-error"])
def test_a_key_of_any_form_is_hidden_in_what_a_server_repeats_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """Gateways give out keys of their own, and some quote those that they refuse."""
    key, file = "gateway.Token-9988776655", tmp_path / "state.sqlite3"
    with caplog.at_level(logging.DEBUG), Simulator() as sim:
        sim.script({GLM: {"do": fault, "message": f"Incorrect API key provided: {key}, see your account"}})
        model = ChatOpenRouterFree(models=[GLM], api_key=key, base_url=sim.base_url, state=str(file), max_wait=0)
        with pytest.raises(OpenRouterFreeError) as caught:
            model.invoke("hello")
        told = [str(caught.value), repr(caught.value.route), repr(model.history()), caplog.text]
    assert "Incorrect API key provided: ..., see" in told[1]
    assert not [one for one in [*told, *(repr(text) for _, text in planted.files(tmp_path))] if key in one]


async def _everything(sim: Simulator, folder: Path) -> list[Any]:
    """Call in every way, with success and failure; return what was said, and what a tracer saw."""
    tracer = RunCollectorCallbackHandler()
    arguments: dict[str, Any] = {
        "models": [GLM, SUPER, SMALL],
        "base_url": sim.base_url,
        "state": str(folder / "state.sqlite3"),
        "max_wait": 0,
        "allow_paid": True,
        "paid_models": ["simulated/paid-small"],
        "budget": "$0.01/day",
    }
    model = ChatOpenRouterFree(api_key=planted.KEY, **arguments)
    wrong = ChatOpenRouterFree(api_key=planted.KEY[:-1] + "0", **arguments)
    told: list[Any] = [repr(model), str(model), model.model_dump_json(), model._identifying_params]
    told += [model.get_lc_namespace(), model.to_json(), model.spending(), model.standings(), model.quota()]
    config: Any = {"callbacks": [tracer]}
    for chat in (model, wrong):
        for _ in range(2):
            try:
                told += [chat.invoke("one", config), await chat.ainvoke("two", config)]
                told += [list(chat.stream("three", config)), [one async for one in chat.astream("four", config)]]
                told += [one async for one in chat.astream_events("five")]
            except OpenRouterFreeError as error:
                told += [repr(error), str(error), vars(error), pickle.dumps(error), error.__cause__, error.__context__]
    told += [model.history(), model.report(), model.examine(), model.explain(), pickle.dumps(model)]
    told += [run.model_dump() for run in tracer.traced_runs]
    return told


@pytest.mark.filterwarnings("default")
async def test_nothing_that_is_written_on_any_way_holds_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hour = Scenario(
        keys=[planted.KEY], per_minute=None, scripts={GLM: ["429-upstream", "ok"], SUPER: ["503", "cut", "ok"]}
    )
    with caplog.at_level(logging.DEBUG), Simulator(hour) as sim:
        told = await _everything(sim, tmp_path)
        log = json.dumps([str(one) for one in sim.chats()])
    assert len(told) > 20
    texts = [(f"told {number}", repr(one).encode()) for number, one in enumerate(told)]
    texts += [("log", caplog.text.encode()), ("the simulator's log", log.encode())]
    assert planted.leaks([*texts, *planted.files(tmp_path)]) == []


def test_no_cassette_holds_a_key() -> None:
    """Cassettes are made with the simulator's or the user's key: neither may be in them, nor anything of its shape."""
    for name, text in planted.files(ROOT / "cassettes"):
        assert b"sk-or-v1-" not in text, name
        assert b"Bearer " not in text, name


def _keys(way: str) -> Any:
    async def own() -> str:
        return GATEWAY

    given: Any = {"text": SecretStr(GATEWAY), "function": lambda: GATEWAY, "coroutine": own}[way]
    try:
        ChatOpenAI(model=OTHER, api_key=given)
    except ValidationError:
        pytest.skip("this version of langchain-openai takes no function for a key")
    return given


@pytest.mark.parametrize(
    ("way", "path"),
    [
        ("text", "invoke"),
        ("text", "astream"),
        ("function", "stream"),
        ("function", "ainvoke"),
        ("coroutine", "ainvoke"),
    ],
)
def test_the_key_of_another_packages_model_is_hidden_as_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str, path: str
) -> None:
    """Its gateway quotes it; what that package has raised is then no cause that is shown."""
    file, routes = tmp_path / "state.sqlite3", list[Any]()
    with caplog.at_level(logging.DEBUG, "langchain_openrouter_free"), Simulator() as sim:
        sim.script({GLM: "429-upstream", OTHER: {"do": "401", "message": f"Incorrect API key: {GATEWAY}, see there"}})
        model = ChatOpenRouterFree(
            models=[GLM],
            paid_models=[PaidModel(ChatOpenAI(model=OTHER, api_key=_keys(way), base_url=sim.base_url), 1, 1)],
            allow_paid=True,
            budget="$1/day",
            max_wait=0,
            on_route=routes.append,
            api_key=planted.KEY,
            base_url=sim.base_url,
            state=str(file),
        )
        with pytest.raises(OpenRouterFreeError) as caught:
            drive(model, path)
        told = [*traceback.format_exception(caught.value), repr(vars(caught.value)), repr(model.history()), caplog.text]
    assert "Incorrect API key: ..., see" in repr(routes)
    assert not [one for one in [*told, *(repr(text) for _, text in planted.files(tmp_path))] if GATEWAY in one]


@pytest.mark.parametrize("key", [lambda: planted.KEY, [planted.KEY], 5, SecretStr(SecretStr(planted.KEY))])  # type: ignore[arg-type]
@pytest.mark.parametrize("give", ["constructor", "assignment", "copy"])
def test_what_can_be_no_key_is_a_mistake_that_is_told(key: Any, give: str) -> None:
    model = ChatOpenRouterFree(api_key="sk-x", models=[GLM], state="memory")
    ways: dict[str, Callable[[], object]] = {
        "constructor": lambda: ChatOpenRouterFree(api_key=key),
        "assignment": lambda: setattr(model, "api_key", key),
        "copy": lambda: model.model_copy(update={"api_key": key}),
    }
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        ways[give]()
    assert planted.leaks([("error", repr(caught.value).encode())]) == []
