"""Every behaviour of the registry over real HTTP, plain and streamed."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.simulator.behaviours import REGISTRY, Script
from langchain_openrouter_free.simulator.failures import FAILURES
from langchain_openrouter_free.simulator.stage import PLAYS

MODEL = "test/m01:free"
HELLO = [{"role": "user", "content": "Say a few words about the sea."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}},
            "required": ["place"],
        },
    },
}
BROKEN = {"cut", "refuse", "reset"}
SILENT = {"hang-before-headers", "hang-after-headers", "drip", "stall"}
KEY = {"Authorization": "Bearer sk-test"}


def ask(
    sim: Simulator,
    behaviour: Script | None = None,
    *,
    stream: bool = False,
    headers: dict[str, str] | None = None,
    **body: Any,
) -> httpx.Response:
    if behaviour is not None:
        sim.script({MODEL: behaviour})
    body = {"model": MODEL, "messages": HELLO, "stream": stream} | body
    url = f"{sim.base_url}/chat/completions"
    with httpx.Client(timeout=5, trust_env=False, verify=False) as client:
        return client.post(url, json=body, headers=KEY | (headers or {}))


def events(reply: httpx.Response) -> list[Any]:
    """The `data:` events of a stream; what is not JSON stays text."""
    found: list[Any] = []
    for line in reply.text.splitlines():
        if line.startswith("data: "):
            try:
                found.append(json.loads(line[6:]))
            except ValueError:
                found.append(line[6:])
    return found


def text_of(reply: httpx.Response) -> str:
    chunks = [event for event in events(reply) if isinstance(event, dict)]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices") or [])


def received_bytes(
    sim: Simulator, behaviour: Script, *, stream: bool
) -> tuple[int | None, bytes, httpx.TransportError | None]:
    """Status and all bytes until the client's patience ends or the connection breaks."""
    sim.script({MODEL: behaviour})
    body = {"model": MODEL, "messages": HELLO, "stream": stream}
    url = f"{sim.base_url}/chat/completions"
    raw, status, error = b"", None, None
    client = httpx.Client(timeout=httpx.Timeout(2, read=0.15), trust_env=False, verify=False)
    with client:
        try:
            with client.stream("POST", url, json=body, headers=KEY) as reply:
                status = reply.status_code
                for piece in reply.iter_raw():
                    raw += piece
                    if len(raw) > 400 and behaviour == {"do": "drip", "interval": 0.001}:
                        break
        except httpx.TransportError as problem:
            error = problem
    return status, raw, error


def test_every_name_can_be_played() -> None:
    """The registry, the failures and the plays name the same behaviours."""
    assert set(REGISTRY) == set(FAILURES) | set(PLAYS)
    assert all(REGISTRY.values())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(FAILURES))
def test_failures_keep_their_status(sim: Simulator, name: str, *, stream: bool) -> None:
    """A fast failure has its HTTP status and a plain body, also when a stream was asked for."""
    known = FAILURES[name]
    reply = ask(sim, name, stream=stream)
    assert reply.status_code == known.status
    assert reply.headers["x-generation-id"].startswith("gen-")
    if known.page:
        assert reply.headers["content-type"].startswith("text/html")
        assert known.page in reply.text
    elif known.empty:
        assert reply.content == b""
    else:
        error = reply.json()["error"]
        assert reply.headers["content-type"] == "application/json"
        assert error["code"] == known.status
        assert "{" not in error["message"]
        assert ("user_id" in reply.json()) == (known.status != 401), "nobody is known by a key that is not"
    assert sim.chats()[-1].behaviour == name
    assert sim.chats()[-1].status == known.status


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["ok", "slow", "bad-sse-line", "huge"])
def test_good_answers(sim: Simulator, name: str, *, stream: bool) -> None:
    """A good answer names its model, has usage once, and ends as it should."""
    behaviour = {"do": name, "latency": 0, "speed": 0, "size": 50_000}
    reply = ask(sim, behaviour, stream=stream)
    assert reply.status_code == 200
    if not stream:
        choice = reply.json()["choices"][0]
        assert choice["finish_reason"] == "stop"
        text, usage = choice["message"]["content"], reply.json()["usage"]
    else:
        assert reply.headers["content-type"] == "text/event-stream"
        found = events(reply)
        assert found[-1] == "[DONE]"
        reasons = [one["choices"][0]["finish_reason"] for one in found[:-1]]
        assert reasons[-2:] == ["stop", "stop"]
        text, usages = text_of(reply), [one["usage"] for one in found[:-1] if "usage" in one]
        assert len(usages) == 1
        usage = usages[0]
        assert len(found) > 4
    assert usage["cost"] == 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert len(text) == 50_000 if name == "huge" else MODEL in text


def test_parameters_of_ok(sim: Simulator) -> None:
    """The dialect of an answer can be bent."""
    behaviour = {
        "do": "ok", "text": "one two three four", "comments": 2, "doubled_finish": False, "done": False,
        "model_field": "test/m01-20260801", "reasoning": "hm hm", "chunks": 2,
    }  # fmt: skip
    found = events(reply := ask(sim, behaviour, stream=True))
    assert reply.text.startswith(": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n")
    assert found[0]["model"] == "test/m01-20260801"
    assert "".join(one["choices"][0]["delta"].get("reasoning") or "" for one in found) == "hm hm"
    assert [one["choices"][0]["delta"]["content"] for one in found if one["choices"][0]["delta"]["content"]] == [
        "one two t",
        "hree four",
    ]
    assert [one["choices"][0]["finish_reason"] for one in found[-2:]] == ["stop", None]


def test_padding_crlf_and_gzip(sim: Simulator) -> None:
    """Blank blocks in front of JSON, CR LF in streams, compression when the client takes it."""
    padded = ask(sim, {"do": "ok", "padding": 3})
    assert padded.text.startswith("\n         \n" * 3 + "{")
    assert padded.json()["choices"]
    windows = ask(sim, {"do": "ok", "crlf": True}, stream=True)
    assert "\r\n\r\ndata: [DONE]\r\n\r\n" in windows.text
    for stream in (False, True):
        packed = ask(sim, {"do": "ok", "gzip": True}, stream=stream)
        assert packed.headers["content-encoding"] == "gzip"
        assert MODEL in packed.text
        plain = ask(sim, None, stream=stream, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers


def test_latency_and_speed_take_time(sim: Simulator) -> None:
    """Latency delays the first byte; padding lets headers and blanks out before."""
    reply = ask(sim, {"do": "ok", "latency": 0.05, "speed": 2000})
    assert reply.elapsed.total_seconds() >= 0.05
    padded = ask(sim, {"do": "ok", "latency": 0.05, "padding": 5})
    assert padded.elapsed.total_seconds() >= 0.05
    assert ask(sim, {"do": "503", "latency": 0.05}).elapsed.total_seconds() >= 0.05


def test_retry_after_stands_in_all_four_places(sim: Simulator) -> None:
    """A provider's hint is told in header, metadata and the metadata's headers."""
    without = ask(sim, "429-upstream")
    assert "retry-after" not in without.headers
    assert "retry_after_seconds" not in without.json()["error"]["metadata"]
    reply = ask(sim, {"do": "429-upstream", "retry_after": 26})
    metadata = reply.json()["error"]["metadata"]
    assert reply.headers["retry-after"] == "26"
    assert metadata["retry_after_seconds"] == metadata["retry_after_seconds_raw"] == 26
    assert metadata["headers"] == {"Retry-After": "26"}
    assert metadata["limit_source"] == "upstream_provider_shared_pool"
    assert f"{MODEL} is temporarily rate-limited upstream" in metadata["raw"]


def test_account_refusals_by_script_have_their_headers(sim: Simulator) -> None:
    """The account's refusals carry three numbers, in the body and as real headers."""
    for name, limit in {
        "429-account-minute": "20", "429-account-day": "50", "429-account-day-1000": "1000", "429-model-rpm": "8",
    }.items():  # fmt: skip
        reply = ask(sim, name)
        told = reply.json()["error"]["metadata"]["headers"]
        assert told["X-RateLimit-Limit"] == reply.headers["x-ratelimit-limit"] == limit
        assert told["X-RateLimit-Remaining"] == "0"
        assert int(told["X-RateLimit-Reset"]) % 60_000 == 0
        assert "retry-after" not in reply.headers
    told = ask(sim, "429-model-rpd").json()["error"]["metadata"]["headers"]
    assert "X-RateLimit-Reset" not in told


def test_outer_400_hides_account_429s(sim: Simulator) -> None:
    """The outer status is a 400, the reason stands in previous_errors."""
    error = ask(sim, "429-previous-account").json()["error"]
    assert error["code"] == 400
    assert {one["code"] for one in error["metadata"]["previous_errors"]} == {429}


@pytest.mark.parametrize("name", ["200-error", "error-chunk", "200-error-429"])
def test_late_errors(sim: Simulator, name: str) -> None:
    """A 200 whose body is an error: behind padding, or as the only event of a stream without [DONE]."""
    code = 429 if name.endswith("429") else 504
    behaviour = {"do": name, "code": code}
    plain = ask(sim, behaviour)
    assert plain.status_code == 200
    assert plain.text.startswith("\n         \n")
    assert plain.json()["error"]["code"] == code
    streamed = ask(sim, behaviour, stream=True)
    assert streamed.text.startswith(": OPENROUTER PROCESSING")
    (only,) = events(streamed)
    assert only["error"]["code"] == code
    assert only["choices"] == []


@pytest.mark.parametrize("name", ["error-chunk-after", "error-chunk-choice", "200-choice-error"])
def test_errors_after_content(sim: Simulator, name: str) -> None:
    """An error event after some deltas; in a plain answer an error body or an error inside the choice."""
    found = events(ask(sim, {"do": name, "after": 2}, stream=True))
    assert len(found) == 3
    assert all(one["choices"][0]["delta"]["content"] for one in found[:2])
    if name == "error-chunk-after":
        assert found[2]["choices"] == []
    else:
        assert found[2]["choices"][0]["finish_reason"] == "error"
    plain = ask(sim, name).json()
    error = plain["error"] if name == "error-chunk-after" else plain["choices"][0]["error"]
    assert error["code"] == 502


@pytest.mark.parametrize("stream", [False, True])
def test_odd_choices(sim: Simulator, *, stream: bool) -> None:
    """choices null, and a list of none."""
    odd: dict[str, list[Any] | None] = {"200-choices-null": None, "200-no-choices": []}
    for name, choices in odd.items():
        reply = ask(sim, name, stream=stream)
        body = events(reply)[0] if stream else reply.json()
        assert reply.status_code == 200
        assert body["choices"] == choices


def test_empty_answers(sim: Simulator) -> None:
    """content null, content '', thoughts that ate the budget, missing calls, an error without a word."""

    def choice(name: str) -> Any:
        return ask(sim, name).json()["choices"][0]

    assert choice("200-empty")["message"]["content"] is None
    assert choice("200-empty-string")["message"]["content"] == ""
    thinking = choice("200-length-thinking")
    assert thinking["finish_reason"] == "length"
    assert thinking["message"]["content"] == ""
    assert thinking["message"]["reasoning"]
    missing = choice("200-tool-calls-missing")
    assert missing["finish_reason"] == "tool_calls"
    assert "tool_calls" not in missing["message"]
    error = choice("200-finish-error")
    assert error["finish_reason"] == "error"
    assert error["native_finish_reason"] == "MALFORMED_FUNCTION_CALL"


@pytest.mark.parametrize(
    ("name", "finish"),
    [
        ("200-empty", "stop"),
        ("200-empty-string", "stop"),
        ("200-length-thinking", "length"),
        ("200-tool-calls-missing", "tool_calls"),
        ("200-finish-error", "error"),
    ],
)
def test_empty_streams(sim: Simulator, name: str, finish: str) -> None:
    """The same as streams: a finish_reason and [DONE], but no content to speak of."""
    found = events(reply := ask(sim, name, stream=True))
    assert found[-1] == "[DONE]"
    assert found[-2]["choices"][0]["finish_reason"] == finish
    assert bool(text_of(reply)) is (name == "200-tool-calls-missing")


@pytest.mark.parametrize("stream", [False, True])
def test_bodies_that_are_not_json(sim: Simulator, *, stream: bool) -> None:
    """Pages, text, half an object and bytes that are no text, all with 200."""
    assert ask(sim, "200-html", stream=stream).headers["content-type"].startswith("text/html")
    for name in ("200-not-json", "200-truncated-json"):
        reply = ask(sim, name, stream=stream)
        assert reply.status_code == 200
        parts = events(reply) if stream else [reply.text]
        assert any(isinstance(part, str) and part != "[DONE]" for part in parts)
        if not stream:
            with pytest.raises(ValueError, match=r"."):
                reply.json()
    broken = ask(sim, "200-bad-utf8", stream=stream).content
    with pytest.raises(UnicodeDecodeError):
        broken.decode()


def test_schema_and_tools_gone_wrong(sim: Simulator) -> None:
    """JSON beside the schema, arguments that are no JSON, a tool that nobody offered."""
    wish = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"required": ["a"], "properties": {"a": {}}}}}
    wrong = ask(sim, "wrong-schema", response_format=wish).json()["choices"][0]["message"]["content"]
    assert "a" not in json.loads(wrong)
    malformed = ask(sim, "tool-malformed", tools=[TOOL]).json()["choices"][0]["message"]["tool_calls"][0]
    assert malformed["function"]["name"] == "get_weather"
    with pytest.raises(ValueError, match=r"."):
        json.loads(malformed["function"]["arguments"])
    unknown = ask(sim, "tool-unknown", tools=[TOOL]).json()["choices"][0]["message"]["tool_calls"][0]
    assert unknown["function"]["name"] != "get_weather"
    assert events(ask(sim, "tool-unknown", stream=True, tools=[TOOL]))[-2]["choices"][0]["finish_reason"] == (
        "tool_calls"
    )
    assert text_of(ask(sim, "wrong-schema", stream=True))
    assert ask(sim, "tool-malformed", stream=True).status_code == 200
    assert "error" not in ask(sim, "tool-malformed").json()


def test_garbage_line_stands_between_good_ones(sim: Simulator) -> None:
    """A line that is neither field nor comment, in the midst of a stream."""
    text = ask(sim, {"do": "bad-sse-line", "line": "%%% what"}, stream=True).text
    first, garbage, second = text.split("\n\n")[:3]
    assert first.startswith("data: ")
    assert garbage == "%%% what"
    assert second.startswith("data: ")


@pytest.mark.parametrize("shape", ["split", "one-delta", "no-arguments-key", "null-content"])
def test_tool_shapes(sim: Simulator, shape: str) -> None:
    """The ways in which providers tell a call."""
    told: dict[str, Any] = {"tools": [TOOL], "tool_choice": "required"}
    behaviour = {"do": "ok", "tool_shape": shape}
    message = ask(sim, behaviour, **told).json()["choices"][0]["message"]
    assert ("arguments" in message["tool_calls"][0]["function"]) is (shape != "no-arguments-key")
    assert (message["content"] is None) is (shape == "null-content")
    deltas = [one["choices"][0]["delta"] for one in events(ask(sim, behaviour, stream=True, **told))[:-1]]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert len(calls) == 1 or shape == "split"
    assert calls[0]["function"]["name"] == "get_weather"
    assert all("id" not in later for later in calls[1:])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_connections(sim: Simulator, name: str, *, stream: bool) -> None:
    """The connection breaks: before any byte, or in the midst of an answer."""
    status, raw, error = received_bytes(sim, {"do": name, "after": 2}, stream=stream)
    assert isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
    if name == "cut":
        assert status == 200
        assert raw
        assert raw.count(b"data: ") == (2 if stream else 0)
    else:
        assert status is None
        assert raw == b""
    assert sim.chats()[-1].behaviour == name


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(SILENT))
def test_silence(sim: Simulator, name: str, *, stream: bool) -> None:
    """Nothing more comes, or nothing but drops; the client has to lose its patience."""
    behaviour = {"do": name, "after": 2} if name != "drip" else {"do": "drip", "interval": 0.001}
    status, raw, error = received_bytes(sim, behaviour, stream=stream)
    if name == "drip":
        assert error is None
        drops = raw.split(b"\n\n" if stream else b"\n")[:-1]
        assert {drop.strip() for drop in drops} <= {b"", b": OPENROUTER PROCESSING"}
    else:
        assert isinstance(error, httpx.ReadTimeout)
    assert status == (None if name == "hang-before-headers" else 200)
    assert bool(raw) is (name in {"drip", "stall"})
    sim.wait_for(lambda sim: sim.chats()[-1].disconnected_at is not None)


def test_thoughts_do_not_count_for_after(sim: Simulator) -> None:
    """`after` counts what is said; a thinking model has thought before."""
    found = events(ask(sim, {"do": "cut-clean", "after": 2, "reasoning": "hm hm"}, stream=True))
    deltas = [one["choices"][0]["delta"] for one in found]
    assert [bool(delta.get("reasoning")) for delta in deltas] == [True, True, False, False]


@pytest.mark.parametrize("stream", [False, True])
def test_cut_clean(sim: Simulator, *, stream: bool) -> None:
    """The reply ends properly framed, but it is not a whole answer."""
    reply = ask(sim, {"do": "cut-clean", "after": 2}, stream=stream)
    assert reply.status_code == 200
    if stream:
        assert [one["choices"][0]["finish_reason"] for one in events(reply)] == [None, None]
    else:
        with pytest.raises(ValueError, match=r"."):
            reply.json()
