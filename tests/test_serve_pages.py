"""The endpoint beside completions, and what no client should send it: wrong, huge, cut, hostile."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import HELLO, A, B, client, endpoints, router
from starlette.testclient import TestClient

from langchain_openrouter_free import AttemptRecord
from langchain_openrouter_free.books.history import CallRecord
from langchain_openrouter_free.protocol.wire import Completion, Delta, ToolDelta
from langchain_openrouter_free.serve.answering import Pieces, completion_of
from langchain_openrouter_free.serve.app import application
from langchain_openrouter_free.serve.backend import Backend
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.stores import HistoryLog

PROBABLE = {"content": [{"token": "hi", "logprob": -0.1}]}
SOURCE = {"type": "url_citation", "url_citation": {"url": "https://a.example"}}
CALL = ToolDelta(0, "c1", "add", "{}")
SIGNED = {"type": "reasoning.encrypted", "data": "c2lnbmF0dXJl", "index": 0}


def test_what_openrouter_adds_is_kept_streamed_or_not() -> None:
    """Probabilities, sources and signatures; those that come without a word are on the last piece."""
    said = Completion(
        text="hi", logprobs=PROBABLE, annotations=[SOURCE], reasoning_details=[SIGNED], finish_reason="stop"
    )
    (choice,) = completion_of(said, ident="x", created=1, model=A, route={})["choices"]
    assert (choice["logprobs"], choice["message"]["annotations"]) == (PROBABLE, [SOURCE])
    assert choice["message"]["reasoning_details"] == [SIGNED]
    pieces = Pieces(ident="x", created=1, model=A)
    assert pieces.content(Delta(text="hi", logprobs=PROBABLE))["choices"][0]["logprobs"] == PROBABLE
    last = pieces.last(said, {})["choices"][0]["delta"]
    assert last == {"annotations": [SOURCE], "reasoning_details": [SIGNED]}


@pytest.mark.parametrize(
    ("said", "calls", "told"),
    [
        (None, [CALL], "tool_calls"),
        ("stop", [CALL], "tool_calls"),
        ("length", [CALL], "length"),
        (None, [], "stop"),
        ("tool_calls", [], "stop"),
        ("length", [], "length"),
    ],
)
def test_an_answer_ends_for_calls_where_it_has_some(said: str | None, calls: list[ToolDelta], told: str) -> None:
    """An agent that is told of calls looks for them; what the provider said stands beside it."""
    whole = Completion(text="hi", tool_calls=calls, finish_reason=said, native_finish_reason="ITS OWN")
    (plain,) = completion_of(whole, ident="x", created=1, model=A, route={})["choices"]
    (streamed,) = Pieces(ident="x", created=1, model=A).last(whole, {})["choices"]
    for choice in (plain, streamed):
        assert (choice["finish_reason"], choice["native_finish_reason"]) == (told, "ITS OWN")


@pytest.mark.parametrize("counted", [{"stream_options": {"include_usage": True}}, {"usage": {"include": True}}, {}])
def test_tokens_are_counted_where_that_is_asked_and_limited_by_either_name(
    sim: Simulator, endpoint: Callable[..., str], counted: dict[str, Any]
) -> None:
    body = {"model": "auto", "messages": HELLO, "stream": True, "max_completion_tokens": 77, **counted}
    told = httpx.post(f"{endpoint()}/chat/completions", json=body).text
    events = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: {")]
    assert [bool(one.get("usage")) for one in events][-1] is bool(counted)
    assert sim.chats()[0].body["max_tokens"] == 77


def test_paid_ids_that_may_be_asked_are_listed(sim: Simulator) -> None:
    paying: dict[str, Any] = {"allow_paid": True, "paid_models": ["x/paid"], "budget": "$1/day"}
    assert "x/paid" in [one["id"] for one in Backend(router(sim, **paying)).models()]
    assert "x/paid" not in [one["id"] for one in Backend(router(sim)).models()]


@pytest.fixture
def endpoint(sim: Simulator) -> Iterator[Callable[..., str]]:
    """A maker of endpoints in front of the simulated service."""
    with endpoints(sim) as make:
        yield make


def test_a_piece_is_one_line_to_whoever_reads_lines(sim: Simulator, endpoint: Callable[..., str]) -> None:
    said = "one\u2028two\x85three\u2029 four"
    sim.script({A: {"do": "ok", "text": said}})
    body = {"model": "auto", "messages": HELLO, "stream": True}
    with httpx.stream("POST", f"{endpoint()}/chat/completions", json=body) as reply:
        pieces = [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: {")]
    assert "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces) == said


@pytest.mark.parametrize("call", [{"function": "add"}, {"function": ["add"]}, {"function": {"name": 5}}, "add"])
def test_a_call_that_is_none_is_told(sim: Simulator, endpoint: Callable[..., str], call: Any) -> None:
    """It is the client's mistake, wherever in a conversation it stands."""
    result = {"role": "tool", "tool_call_id": "a", "content": "3"}
    body = {"model": "auto", "messages": [*HELLO, {"role": "assistant", "tool_calls": [call]}, result]}
    told = httpx.post(f"{endpoint()}/chat/completions", json=body)
    assert (told.status_code, told.json()["error"]["code"]) == (400, "rejected")
    assert "messages[1].tool_calls" in told.json()["error"]["message"]
    assert sim.chats() == []


SAMPLE = re.compile(
    r'(?P<name>[a-z_:][a-z0-9_:]*)(\{([a-z_]+="([^"\\\n]|\\["\\n])*",?)*\})? '
    r"(?P<value>[-+]?[0-9.]+(E[-+]?[0-9]+)?)",
    re.IGNORECASE,
)


def families(lines: list[str]) -> dict[str, str]:
    """Read metrics as Prometheus does: each family is named once, with its type, before its samples."""
    kinds: dict[str, str] = {}
    current = ""
    for line in lines:
        if line.startswith("# TYPE "):
            _, _, current, kind = line.split(" ")
            assert current not in kinds
            kinds[current] = kind
        elif not line.startswith("# HELP "):
            hit = SAMPLE.fullmatch(line)
            assert hit, line
            ends = ("", "_sum", "_count") if kinds[current] == "summary" else ("",)
            assert hit["name"] in {f"{current}{end}" for end in ends}
    return kinds


class TestOtherPages:
    """Beside completions."""

    def test_health_and_metrics(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        sim.script({A: "503"})
        url = endpoint(limits={"per_minute": 20, "per_day": 50})
        client(url).chat.completions.create(model="auto", messages=HELLO)
        root = url.removesuffix("/v1")
        assert httpx.get(f"{root}/health").json() == {"status": "ok"}
        lines = httpx.get(f"{root}/metrics").text.splitlines()
        assert f'openrouter_free_attempts_total{{model="{A}",outcome="overloaded"}} 1' in lines
        assert f'openrouter_free_attempts_total{{model="{B}",outcome="ok"}} 1' in lines
        assert 'openrouter_free_quota_left{window="day"} 48' in lines
        samples = families(lines)
        assert samples["openrouter_free_first_content_seconds"] == "summary"
        assert f'openrouter_free_first_content_seconds_count{{model="{B}"}} 1' in lines
        assert samples.keys() >= {f"openrouter_free_{name}" for name in ("attempts_total", "quota_left", "spent_usd")}

    def test_names_from_outside_do_not_break_the_metrics(self, sim: Simulator) -> None:
        """Each is one label, whatever stands in it."""
        nasty = 'evil"\\\n} 1'
        backend = Backend(router(sim))
        accounts, now = backend._main._accounts(), time.time()
        assert isinstance(accounts.store, HistoryLog)
        tried = AttemptRecord(nasty, "ok", "ok", 200, "", 0.5, 1.0)
        accounts.store.append(accounts.log, now, CallRecord(now, "p", "answered", nasty, attempts=(tried,)).encode())
        assert families(backend.metrics().splitlines())

    @pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("PUT", "/v1/models", 405)])
    def test_what_is_not_there(self, sim: Simulator, method: str, path: str, status: int) -> None:
        with TestClient(application(Backend(router(sim))), base_url="http://127.0.0.1") as ask:
            told = ask.request(method, path)
        assert (told.status_code, told.json()["error"]["code"]) == (status, "not_found")

    def test_nothing_of_langchain_is_loaded_but_its_errors(self) -> None:
        code = (
            "import sys, langchain_openrouter_free.serve.backend, langchain_openrouter_free.serve.running\n"
            "print(sorted(m for m in sys.modules if m.split('.')[0].startswith('langchain')"
            " and not m.startswith('langchain_openrouter_free')))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        loaded = {name.partition(".")[2].partition(".")[0] for name in eval(done.stdout)}
        assert loaded <= {"", "exceptions", "_api", "_import_utils", "version"}


@pytest.fixture(scope="module")
def fuzzed(server: Simulator) -> Iterator[TestClient]:
    """An endpoint whose service must never be asked anything wrong."""
    with TestClient(application(Backend(router(server, max_retries=0))), base_url="http://127.0.0.1") as ask:
        yield ask


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "model",
        "messages",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "response_format",
        "temperature",
        "stop",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "reasoning",
        "provider",
        "extra_body",
        "models",
        "logit_bias",
        "seed",
        "plugins",
        "user",
        "metadata",
    ]
)
bodies = st.dictionaries(names, json_values, max_size=6).map(
    lambda body: json.dumps({"model": "auto", "messages": HELLO, **body}).encode()
)


class TestFuzz:
    """Wrong requests: always a clean answer, never a hang, never a trace."""

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(bodies | st.binary(max_size=60) | json_values.map(lambda v: json.dumps(v).encode()))
    def test_bodies(self, fuzzed: TestClient, body: bytes) -> None:
        told = fuzzed.post("/v1/chat/completions", content=body)
        assert told.status_code in (200, 400, 402, 503)
        assert told.status_code != 503 or told.json()["error"]["code"] == "all_models_failed"
        assert "Traceback" not in told.text

    @pytest.mark.parametrize(
        "raw",
        [
            b"GARBAGE\r\n\r\n",
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\n\xff\xfe{",
            b"GET /v1/models HTTP/1.1\r\n" + b"X-A: b\r\n" * 1000 + b"\r\n",
            b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\n\r\n",
        ],
        ids=["garbage", "length", "chunk", "utf-8", "1000 headers", "target", "two hosts"],
    )
    def test_bytes(self, sim: Simulator, endpoint: Callable[..., str], raw: bytes) -> None:
        url = httpx.URL(endpoint())
        with socket.create_connection((url.host, url.port), timeout=5) as wire:
            wire.sendall(raw)
            told = wire.recv(4096)
        assert told.startswith(b"HTTP/1.1 4")
        assert b"Traceback" not in told

    @pytest.mark.wall_clock
    @pytest.mark.parametrize(
        ("first", "drops", "statuses"),
        [
            (b"", b"", []),
            (b"POST /v1/chat/comp", b"", [b"400"]),
            (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"X-A: " + b"b" * 500, [b"400"]),
            (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /hea", b"lth", [b"200", b"400"]),
        ],
        ids=["silence", "cut", "drop by drop", "the next one"],
    )
    def test_half_a_head_is_not_waited_for(
        self, endpoint: Any, first: bytes, drops: bytes, statuses: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("langchain_openrouter_free.serve.running._HEAD_PATIENCE", 0.5)
        url, began, told = httpx.URL(endpoint()), time.monotonic(), b"?"
        with socket.create_connection((url.host, url.port), timeout=0.05) as wire:
            wire.sendall(first)
            heard = b""
            while told and time.monotonic() - began < 4:
                try:
                    told = wire.recv(4096)
                    heard += told
                except TimeoutError:
                    wire.sendall(drops[:1])
                    drops = drops[1:]
        assert not told, "the connection is still open"
        assert re.findall(rb"HTTP/1.1 (\d+)", heard) == statuses

    def test_a_thousand_headers_of_a_good_request(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        told = httpx.get(f"{endpoint()}/models", headers=[(f"x-{n}", "v") for n in range(1000)])
        assert told.status_code in (200, 431, 400)

    def test_half_a_body_is_no_request(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        url = httpx.URL(endpoint())
        with socket.create_connection((url.host, url.port), timeout=5) as wire:
            wire.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n{")
        assert threading.active_count() < 60
        assert sim.chats() == []
