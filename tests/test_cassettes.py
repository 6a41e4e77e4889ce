"""Recorded conversations, replayed through the whole model on all four paths; no server is running."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cassette_conversations import CONVERSATIONS, FOLDER, Recorded, make_model, recorder, scrubbed
from langchain_core.messages import AIMessage, BaseMessage
from pitfall_helpers import merged
from vcr.errors import CannotOverwriteExistingCassetteException

from langchain_openrouter_free import FreeQuotaExhausted
from langchain_openrouter_free.catalogue.listings import LISTINGS
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock

CASSETTES = sorted(FOLDER.glob("*/*.yaml"))
# No socket may be opened to anywhere, this machine included.
pytestmark = pytest.mark.allow_hosts(["192.0.2.1"])


def _invoke(model: Any, messages: list[BaseMessage]) -> AIMessage:
    answer: AIMessage = model.invoke(messages)
    return answer


def _stream(model: Any, messages: list[BaseMessage]) -> AIMessage:
    return merged(list(model.stream(messages)))


def _ainvoke(model: Any, messages: list[BaseMessage]) -> AIMessage:
    answer: AIMessage = asyncio.run(model.ainvoke(messages))
    return answer


def _astream(model: Any, messages: list[BaseMessage]) -> AIMessage:
    async def drain() -> list[Any]:
        return [chunk async for chunk in model.astream(messages)]

    return merged(asyncio.run(drain()))


PATHS: dict[str, Callable[[Any, list[BaseMessage]], AIMessage]] = {
    "invoke": _invoke,
    "stream": _stream,
    "ainvoke": _ainvoke,
    "astream": _astream,
}
REPLAYS = [
    pytest.param(cassette, path, id=f"{cassette.parent.name}-{cassette.stem}-{path}")
    for cassette in CASSETTES
    for path in PATHS
    # A plain reply was recorded, and a stream asks for something else.
    if CONVERSATIONS[cassette.stem].wire == "stream" or not path.endswith("stream")
]


def _replayed(cassette: Path, path: str) -> list[AIMessage]:
    """Play a cassette: all of it, and nothing beside it."""
    LISTINGS.clear()
    told, conversation = Recorded.of(cassette), CONVERSATIONS[cassette.stem]
    model = make_model(conversation, told.models, told.base_url, "sk-or-v1-replayed", clock=FakeClock(told.at))
    with recorder("none").use_cassette(str(cassette)) as tape:
        try:
            return conversation.talk(model, PATHS[path])
        finally:
            assert tape.all_played


@pytest.mark.parametrize(("cassette", "path"), REPLAYS)
def test_a_recorded_conversation_is_understood_on_every_path(cassette: Path, path: str) -> None:
    told, conversation = Recorded.of(cassette), CONVERSATIONS[cassette.stem]
    if conversation.error is not None:
        with pytest.raises(conversation.error):
            _replayed(cassette, path)
        return
    answers = _replayed(cassette, path)
    good = [index for index, status in enumerate(told.statuses) if status == 200][-len(answers) :]
    for answer, index in zip(answers, good, strict=True):
        text, usage = told.said(index)
        assert answer.text == text
        assert answer.response_metadata["model_name"] == told.requests[index]["model"]
        assert answer.usage_metadata is not None
        assert answer.usage_metadata["input_tokens"] == usage["prompt_tokens"]
        assert answer.usage_metadata["output_tokens"] == usage["completion_tokens"]
        assert answer.text or answer.tool_calls


@pytest.mark.parametrize("path", PATHS)
def test_a_recorded_tool_call_is_answered(path: str) -> None:
    called, answer = _replayed(FOLDER / "simulated" / "tools.yaml", path)
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [("add", {"a": 3, "b": 4})]
    assert answer.tool_calls == []
    assert "7" in answer.text


@pytest.mark.parametrize(
    ("name", "first"), [("limited-then-answer", "upstream_limit"), ("delisted-then-answer", "delisted")]
)
@pytest.mark.parametrize("path", PATHS)
def test_a_recorded_failure_leads_to_the_next_model(name: str, first: str, path: str) -> None:
    (answer,) = _replayed(FOLDER / "simulated" / f"{name}.yaml", path)
    attempts = answer.response_metadata["route"]["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == [first, "ok"]


@pytest.mark.parametrize("path", PATHS)
def test_a_recorded_spent_day_ends_at_the_next_midnight(path: str) -> None:
    cassette = FOLDER / "simulated" / "day-spent.yaml"
    with pytest.raises(FreeQuotaExhausted) as caught:
        _replayed(cassette, path)
    now, day = Recorded.of(cassette).at, 86_400
    assert (caught.value.window, caught.value.limit) == ("day", 50)
    assert caught.value.reset_at == (now // day + 1) * day
    assert not caught.value.is_retryable


@pytest.mark.parametrize("asynchronous", ["sync", "async"])
def test_another_request_is_not_answered_from_a_cassette(asynchronous: str) -> None:
    """Matching looks at the body, so a change of what is sent is noticed."""
    cassette = FOLDER / "simulated" / "streamed.yaml"
    told = Recorded.of(cassette)
    model = make_model(CONVERSATIONS["streamed"], told.models, told.base_url, "sk-or-v1-replayed")
    with recorder("none").use_cassette(str(cassette)), pytest.raises(CannotOverwriteExistingCassetteException):
        model.invoke("something else") if asynchronous == "sync" else asyncio.run(model.ainvoke("something else"))


# -- what is in the files

SECRETS = re.compile(
    r"sk-[\w-]{8,}|bearer\s|authorization|cookie|\b(?:user|org)_(?!scrubbed|id\b)\w+|(?:api|x)[-_]key", re.IGNORECASE
)
HEADERS = re.compile(r"content-type|date|retry-after|x-ratelimit-[a-z]+|accept")


@pytest.mark.parametrize("cassette", sorted(FOLDER.rglob("*.*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_no_key_and_no_user_is_in_a_cassette(cassette: Path) -> None:
    found = SECRETS.search(cassette.read_text(encoding="utf-8").replace("OPENROUTER_API_KEY", ""))
    assert found is None, found


def test_the_search_for_keys_would_find_one() -> None:
    for secret in ("sk-or-v1-0123456789", "Bearer abc", "Authorization: x", "user_2abcDEF", "x-api-key: 1"):
        assert SECRETS.search(secret), secret
    body = '{"user_id":"user_2abcDEF","echo":"sk-or-v1-0123456789","org":"org_77"}'
    assert not SECRETS.search(scrubbed(body).decode())
    assert scrubbed(body).decode().startswith('{"user_id":"user_scrubbed"')


@pytest.mark.parametrize("cassette", CASSETTES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_cassette_says_honestly_where_it_is_from(cassette: Path) -> None:
    told = Recorded.of(cassette)
    label = (cassette.parent / "README.md").read_text(encoding="utf-8")
    assert f"`{cassette.name}`" in label
    assert f"`{told.base_url}`" in label
    simulated = told.base_url.startswith("http://127.0.0.1")
    assert simulated == (cassette.parent.name == "simulated") == ("**not** answers of the real service" in label)


@pytest.mark.parametrize("cassette", CASSETTES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_cassette_holds_only_the_headers_that_are_needed(cassette: Path) -> None:
    names = re.findall(r"^      ([\w-]+):$", cassette.read_text(encoding="utf-8"), re.MULTILINE)
    assert names
    assert [name for name in names if not HEADERS.fullmatch(name)] == []


def test_every_simulated_conversation_has_its_cassette() -> None:
    assert sorted(CONVERSATIONS) == sorted(path.stem for path in (FOLDER / "simulated").glob("*.yaml"))


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_recording_again_gives_the_same_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorder still works, its cassettes replay, and what the package sends is what it sent for the kept ones."""
    import record_cassettes  # noqa: PLC0415 - a command line

    monkeypatch.setattr(record_cassettes, "FOLDER", tmp_path)
    monkeypatch.setattr(record_cassettes, "PORT", 0)
    assert record_cassettes.main([]) == 0
    for name in CONVERSATIONS:
        fresh, kept = (Recorded.of(folder / "simulated" / f"{name}.yaml") for folder in (tmp_path, FOLDER))
        assert fresh.statuses == kept.statuses
        assert [request["model"] for request in fresh.requests] == [request["model"] for request in kept.requests]
        assert [sorted(request) for request in fresh.requests] == [sorted(request) for request in kept.requests]
        if CONVERSATIONS[name].error is None:
            assert _replayed(tmp_path / "simulated" / f"{name}.yaml", "invoke")


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_live_recording_skips_limits_and_leaves_no_key(
    sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `--live` does, with the simulator in the place of the real service."""
    import record_cassettes  # noqa: PLC0415 - a command line

    monkeypatch.setattr(record_cassettes, "FOLDER", tmp_path)
    monkeypatch.setattr(record_cassettes, "LIVE_URL", sim.base_url)
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-v1-0123456789abcdef")
    sim.script({"gone/model:free": "404-delisted"})
    assert record_cassettes.main(["--live", "--models", "z-ai/glm-5.2:free", "--delisted", "gone/model:free"]) == 0
    written = sorted(path.name for path in (tmp_path / "live").iterdir())
    assert written == ["README.md", "delisted-then-answer.yaml", "plain.yaml", "streamed.yaml", "tools.yaml"]
    assert capsys.readouterr().out.count("skipped, an account's limit") == 2
    for path in (tmp_path / "live").glob("*.yaml"):
        assert not SECRETS.search(path.read_text(encoding="utf-8"))
        assert path.name in (tmp_path / "live" / "README.md").read_text(encoding="utf-8")


def test_a_live_recording_needs_a_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import record_cassettes  # noqa: PLC0415 - a command line

    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    assert record_cassettes.main(["--live"]) == 2
    assert "OPENROUTER_API_KEY" in capsys.readouterr().err
