"""What most tests begin with: a fresh simulated service, and models that talk to it."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import planted
import pytest
import redis_server
import waiting
from hypothesis import settings

from langchain_openrouter_free import ChatOpenRouterFree, MemoryStore
from langchain_openrouter_free.catalogue.listings import LISTINGS
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.words.voices import VOICES

# A busy machine is not a slow function. What a run finds, the next one finds as well; `--hypothesis-profile=searching`
# tries what was never tried before.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("searching", deadline=None)
settings.load_profile("repeatable")

# Every simulator's key is the one that is looked for when the session is over.
Simulator.api_key = planted.KEY
planted.watch()
waiting.watch()

MODELS = ["z-ai/glm-5.2:free", "nvidia/nemotron-3-super-120b-a12b:free", "openai/gpt-oss-20b:free"]


@pytest.fixture(scope="session", autouse=True)
def few_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let clients trust one authority in place of all: to load all of them takes each client 30 ms."""
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
    file = tmp_path_factory.mktemp("tls") / "one.pem"
    file.write_text(first + end, encoding="ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a new folder for each test. pytest would look through all that are there for the next number."""
    base = tmp_path_factory.mktemp("homes")
    return (base / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def state_home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the state file of models without a `state` of their own, and what is configured, away from the user's."""
    for name in [name for name in os.environ if name.startswith("OPENROUTER_")]:
        monkeypatch.delenv(name)
    folder = next(homes)
    folder.mkdir()
    monkeypatch.setenv("OPENROUTER_FREE_STATE", str(folder / "state.sqlite3"))
    monkeypatch.setenv("OPENROUTER_FREE_CONFIG", str(folder / "config.toml"))


@pytest.fixture(autouse=True)
def watched() -> Iterator[None]:
    """See that the package says no key in this test, and does not wait in earnest."""
    waiting.taken()
    yield
    assert planted.leaked() == []
    slept = waiting.taken()
    assert not slept, f"the package slept for {slept} s in earnest: give the model a FakeClock, or max_wait=0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what the wall clock may fail another turn: a busy machine is not a late deadline."""
    for item in items:
        if item.get_closest_marker("wall_clock"):
            item.add_marker(pytest.mark.flaky(reruns=2))


_printed: list[tuple[str, bytes]] = []


def pytest_sessionstart(session: pytest.Session) -> None:
    # What a shell began in the background ignores Ctrl-C, and so would the commands that the tests start and end.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _printed.extend((f"{report.nodeid}: {name}", text.encode(errors="replace")) for name, text in report.sections)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look for the planted key in everything that the suite wrote and printed; only the process that began it does."""
    if hasattr(session.config, "workerinput"):
        return
    found = planted.leaks([*_printed, *planted.files(_folder(session))])
    if found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        told = session.config.get_terminal_writer()
        told.line(f"\nThe planted key can be read in {len(found)} places:", red=True)
        for name in found:
            told.line(f"  {name}")


def _folder(session: pytest.Session) -> Path:
    factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
    return factory.getbasetemp()


@pytest.fixture(autouse=True)
def no_listing() -> None:
    """Forget what services offered and who answered: another test's simulator may have had the same port."""
    LISTINGS.clear()
    VOICES.clear()


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """A simulated service without limits: of this test's own, or its module's, begun anew (`one_simulator`)."""
    if request.node.get_closest_marker("one_simulator"):
        server: Simulator = request.getfixturevalue("server")
        server.reset(Scenario())
        yield server
        return
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    """A simulated service for all tests of a module; each resets it first."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="session")
def redis_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_server.Server]:
    """A real server for all tests of this process."""
    if redis_server.PROGRAM is None:
        pytest.skip(redis_server.MISSING)
    with redis_server.served(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def shared(redis_session: redis_server.Server) -> redis_server.Server:
    """The same, empty."""
    redis_session.forget()
    return redis_session


@pytest.fixture
def own(tmp_path: Path) -> Iterator[redis_server.Server]:
    """One of a single test, which may stop it."""
    if redis_server.PROGRAM is None:
        pytest.skip(redis_server.MISSING)
    with redis_server.served(tmp_path) as server:
        yield server


@pytest.fixture
def make_model() -> Callable[..., ChatOpenRouterFree]:
    """A maker of models: `make_model(sim, **arguments)`. Those of one test share a fresh store, no other does."""
    state = MemoryStore()

    def make(sim: Simulator, **arguments: Any) -> ChatOpenRouterFree:
        usual = {
            "models": MODELS,
            "api_key": sim.api_key,
            "base_url": sim.base_url,
            "state": state,
            "max_wait": 0.0,
            "timeouts": {"connect": 5.0, "first_token": 10.0, "stall": 5.0, "call": 20.0},
        }
        return ChatOpenRouterFree(**{**usual, **arguments})

    return make
