"""Catalogue, refusals of bad requests, the log, and what happens on the connection."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from langchain_openrouter_free.simulator import Scenario, ScenarioError, Simulator
from langchain_openrouter_free.simulator.server import Server
from langchain_openrouter_free.simulator.service import Service

MODEL = "test/m01:free"
HELLO = [{"role": "user", "content": "hello there"}]
KEY = {"Authorization": "Bearer sk-secret"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def client(sim: Simulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sim.base_url, headers=KEY, trust_env=False, verify=False, timeout=5) as made:
        yield made


def ask(client: httpx.Client, model: str = MODEL, **body: Any) -> httpx.Response:
    return client.post("/chat/completions", json={"model": model, "messages": HELLO} | body)


def message_of(reply: httpx.Response) -> str:
    message: str = reply.json()["error"]["message"]
    return message


def test_models(client: httpx.Client) -> None:
    """About twenty free models, three paid ones that do not exist, and the router; prices are texts."""
    rows = {row["id"]: row for row in httpx.get(client.base_url.join("models"), trust_env=False).json()["data"]}
    free = [slug for slug in rows if slug.endswith(":free")]
    assert 18 <= len(free) <= 22
    assert sorted(set(rows) - set(free)) == [
        "openrouter/free",
        "simulated/paid-large",
        "simulated/paid-priced-by-request",
        "simulated/paid-small",
    ]
    for row in rows.values():
        assert all(isinstance(price, str) for price in row["pricing"].values())
        assert {"canonical_slug", "context_length", "architecture", "top_provider", "created"} <= row.keys()
    assert "tools" not in rows["nvidia/nemotron-3.5-content-safety:free"]["supported_parameters"]


def test_single_models(client: httpx.Client) -> None:
    """One row by id, and its endpoints; also by its dated slug."""
    row = client.get("/model/z-ai/glm-5.2:free").json()["data"]
    assert row["id"] == "z-ai/glm-5.2:free"
    ends = client.get("/models/z-ai/glm-5.2:free/endpoints").json()["data"]["endpoints"]
    assert ends[0]["provider_name"]
    assert ends[0]["supported_parameters"] == row["supported_parameters"]
    assert client.get(f"/models/{row['canonical_slug']}/endpoints").status_code == 200
    assert client.get("/model/no/body").status_code == 404


def test_listed_closed_gone_and_unknown(sim: Simulator, client: httpx.Client) -> None:
    """Four ways of being or not being on offer."""
    sim.reset(Scenario(gone=["z-ai/glm-5.2:free"], closed=["openai/gpt-oss-20b:free"]))
    listed = {row["id"] for row in client.get("/models").json()["data"]}
    usable = {row["id"] for row in client.get("/models/user").json()["data"]}
    assert "z-ai/glm-5.2:free" not in listed
    assert listed - usable == {"openai/gpt-oss-20b:free"}
    gone = ask(client, "z-ai/glm-5.2:free")
    assert (gone.status_code, message_of(gone)) == (404, "No endpoints found for z-ai/glm-5.2:free.")
    closed = ask(client, "openai/gpt-oss-20b:free")
    assert closed.status_code == 403
    assert closed.json()["error"]["metadata"]["failed_routing_step"] == "Gate Free Endpoints by Agentic Harness"
    unknown = ask(client, "no/body:free")
    assert (unknown.status_code, message_of(unknown)) == (400, "no/body:free is not a valid model ID")


def test_test_ids_are_listed_once_named(sim: Simulator, client: httpx.Client) -> None:
    """`test/...:free` exists as soon as somebody names it; so does any free id that is scripted."""
    assert ask(client, "test/m07:free").status_code == 200
    sim.script({"some/body:free": "429-upstream"})
    listed = {row["id"] for row in client.get("/models").json()["data"]}
    assert {"test/m07:free", "some/body:free"} <= listed
    assert ask(client, "some/body:free").status_code == 429
    with pytest.raises(ScenarioError, match="did you mean 'simulated/paid-small'"):
        sim.script({"simulated/paid-smal": "ok"})


def test_models_of_a_scenario_replace_the_list(sim: Simulator, client: httpx.Client) -> None:
    """A scenario may bring its own rows."""
    dear = {"id": "own/dear", "pricing": {"prompt": "0.1", "completion": "0.2"}, "context_length": 1000}
    sim.reset(Scenario(models=["own/a:free", dear]))
    listed = {row["id"]: row for row in client.get("/models").json()["data"]}
    assert set(listed) == {"own/a:free", "own/dear"}
    assert listed["own/dear"]["pricing"]["prompt"] == "0.1"
    assert ask(client, "z-ai/glm-5.2:free").status_code == 400


def test_router_picks_free_models_that_can(sim: Simulator, client: httpx.Client) -> None:
    """openrouter/free answers with a model of its choice, and tries three."""
    reply = ask(client, "openrouter/free", tools=[TOOL])
    assert reply.json()["model"].endswith(":free")
    sim.script({"*": "503"})
    failed = ask(client, "openrouter/free")
    assert len(failed.json()["error"]["metadata"]["previous_errors"]) == 2


def test_malformed_requests(client: httpx.Client) -> None:
    """Bodies that make no sense, in the service's words."""
    raw = client.post("/chat/completions", content=b"{nope")
    assert raw.json()["error"] == {
        "message": "Input must have at least 1 token.",
        "code": 400,
        "metadata": {"provider_name": None},
    }
    assert client.post("/chat/completions", json=[1]).status_code == 400
    assert message_of(ask(client, messages=[])) == 'Input required: specify "prompt" or "messages"'
    assert message_of(ask(client, temperature=5)) == "Expected temperature to be at most 2, received 5"
    assert message_of(ask(client, temperature=-1)) == "Expected temperature to be at least 0, received -1"
    assert message_of(ask(client, max_tokens=0)) == "Expected max_tokens to be at least 1, received 0"
    choice = {"type": "function", "function": {"name": "leap"}}
    error = ask(client, tools=[TOOL], tool_choice=choice).json()["error"]
    assert error["message"] == "Provider returned error"
    assert "no function named 'leap'" in json.loads(error["metadata"]["raw"])["error"]["message"]


def test_what_a_model_cannot_do(client: httpx.Client) -> None:
    """No tools, no eyes, no ears, no room, and parameters that are required."""
    guard, blind = "nvidia/nemotron-3.5-content-safety:free", "openai/gpt-oss-20b:free"
    assert message_of(ask(client, guard, tools=[TOOL])).startswith("No endpoints found that support tool use")
    picture = [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, IMAGE]}]
    assert message_of(ask(client, blind, messages=picture)) == "No endpoints found that support image input"
    assert ask(client, "google/gemma-4-31b-it:free", messages=picture).status_code == 200
    sound = [{"role": "user", "content": [AUDIO]}]
    assert ask(client, blind, messages=sound).status_code == 404
    strict = {"provider": {"require_parameters": True}, "top_k": 5}
    assert ask(client, "poolside/laguna-s-2.1:free", **strict).status_code == 404
    assert ask(client, blind, **strict).status_code == 200
    long = [{"role": "user", "content": "word " * 110_000}]
    assert "maximum context length is 131072 tokens" in message_of(ask(client, blind, messages=long))


def test_paths_and_methods(sim: Simulator, client: httpx.Client) -> None:
    """Unknown paths give a web page, wrong methods a 405; HEAD is GET without a body."""
    missing = client.get("/nothing/here")
    assert missing.status_code == 404
    assert missing.headers["content-type"].startswith("text/html")
    assert client.get("/chat/completions").status_code == 405
    assert client.post("/models").headers["allow"] == "GET"
    head = client.head("/models")
    assert (head.status_code, head.content) == (200, b"")
    assert client.get("/key", headers={"Authorization": "Basic x"}).status_code == 401
    assert {entry.connection for entry in sim.received} == {sim.received[0].connection}


def test_headers_of_every_reply() -> None:
    """Date by the clock, and the look of the real thing."""
    with Simulator(clock=lambda: 1_790_942_400.0) as sim, httpx.Client(trust_env=False, verify=False) as client:
        reply = client.get(f"{sim.base_url}/models")
    assert reply.headers["date"] == "Fri, 02 Oct 2026 12:00:00 GMT"
    assert reply.headers["server"] == "cloudflare"
    assert "cf-ray" in reply.headers


def test_log(sim: Simulator, client: httpx.Client) -> None:
    """The log has everything but the key."""
    ask(client, stream=True)
    client.get("/models")
    first, second = sim.received
    assert (first.method, first.path, first.model) == ("POST", "/api/v1/chat/completions", MODEL)
    assert (first.status, first.behaviour, first.disconnected_at) == (200, "ok", None)
    assert first.body["messages"] == HELLO
    assert json.loads(first.raw) == first.body
    assert first.headers["authorization"].startswith("sha256:")
    assert "sk-secret" not in repr(sim.received)
    assert first.finished_at is not None
    assert first.at <= first.finished_at <= second.at
    assert first.connection == second.connection
    assert sim.chats() == [first]
    sim.reset()
    assert sim.received == []


def test_a_fault_of_the_simulator_is_a_500(
    sim: Simulator, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that the simulator cannot digest does not hang anybody, and is told in the log."""
    assert ask(client, response_format={"type": "json_schema", "json_schema": "what"}).status_code == 500
    assert "the simulator failed to answer POST" in caplog.text
    assert sim.chats()[0].behaviour == "fault"


def test_a_chain_is_logged_by_its_first_model(sim: Simulator, client: httpx.Client) -> None:
    """Without `model` the log names the first of `models`."""
    client.post("/chat/completions", json={"models": ["test/a:free", "test/b:free"], "messages": HELLO})
    assert sim.chats()[0].model == "test/a:free"


def test_control_pages(sim: Simulator, client: httpx.Client) -> None:
    """Another process can read the log, change scripts and start anew."""
    root = sim.base_url.removesuffix("/api/v1")
    with httpx.Client(base_url=root, trust_env=False, verify=False) as other:
        assert other.post("/simulator/script", json={MODEL: "503"}).status_code == 200
        assert ask(client).status_code == 503
        (entry,) = other.get("/simulator/log").json()["received"]
        assert (entry["behaviour"], entry["model"]) == ("503", MODEL)
        assert "sk-secret" not in json.dumps(entry)
        wrong = other.post("/simulator/script", json={MODEL: "505"})
        assert wrong.status_code == 400
        assert "unknown behaviour '505'" in wrong.json()["error"]["message"]
        assert other.post("/simulator/script", json=[1]).status_code == 400
        assert other.get("/simulator/logs").status_code == 404
        assert other.post("/simulator/reset", json={"scenario": "day-spent"}).status_code == 200
        assert ask(client).status_code == 429
        assert other.post("/simulator/reset", json={"scenario": {"per_minute": 0}}).status_code == 200
        assert ask(client).status_code == 429
        assert other.post("/simulator/reset", json={"scenario": "nothing"}).status_code == 400
        assert other.post("/simulator/reset").status_code == 200
    assert ask(client).status_code == 200


def test_a_client_that_leaves_is_noticed(sim: Simulator, client: httpx.Client) -> None:
    """`disconnected_at` is set soon after a client closed in the midst of a stream (the best of three)."""
    sim.script({MODEL: {"do": "stall", "after": 2}})
    body = {"model": MODEL, "messages": HELLO, "stream": True}
    delays = []
    for _ in range(3):
        with client.stream("POST", "/chat/completions", json=body) as reply:
            pieces = reply.iter_raw()
            next(pieces)
            assert sim.chats()[-1].disconnected_at is None
            closed_at = time.monotonic()
        sim.wait_for(lambda sim: sim.chats()[-1].disconnected_at is not None)
        assert sim.chats()[-1].finished_at is None
        noticed_at = sim.chats()[-1].disconnected_at
        assert noticed_at is not None
        delays.append(noticed_at - closed_at)
    assert min(delays) < 0.1


def test_wait_for_gives_up(sim: Simulator) -> None:
    """A predicate that never holds ends in TimeoutError."""
    with pytest.raises(TimeoutError, match="0 requests received"):
        sim.wait_for(lambda sim: sim.chats(), timeout=0.01)


def test_wait_for_hears_other_threads(sim: Simulator, client: httpx.Client) -> None:
    """It returns as soon as a request has arrived."""
    sim.script({MODEL: "hang-before-headers"})
    quick = httpx.Timeout(2, read=0.1)
    body = {"model": MODEL, "messages": HELLO}

    def knock() -> None:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/chat/completions", json=body, timeout=quick)

    thread = threading.Thread(target=knock)
    thread.start()
    sim.wait_for(lambda sim: len(sim.chats()) == 1)
    sim.wait_for(lambda sim: sim.chats()[0].disconnected_at)
    thread.join()


def test_stopping_drops_everybody() -> None:
    """Stopping closes open replies at once and leaves no thread; starting again works."""
    sim = Simulator().start()
    sim.script({"*": "hang-after-headers"})
    with (
        httpx.Client(trust_env=False, verify=False) as client,
        client.stream(
            "POST", f"{sim.base_url}/chat/completions", json={"model": MODEL, "messages": HELLO}, headers=KEY
        ) as reply,
    ):
        sim.stop()
        with pytest.raises(httpx.TransportError):
            reply.read()
    assert not [thread for thread in threading.enumerate() if thread.name == "openrouter-simulator"]
    port = sim.port
    with sim:
        assert sim.port == port
    sim.stop()


@pytest.mark.parametrize("turns", range(6))
async def test_who_comes_as_it_stops_leaves_no_socket(turns: int) -> None:
    """Whichever turn of its loop a connection has come to when the server stops, it is closed."""
    server = Server(Service(None, time.time, 0))
    port = await server.start()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with socket.create_connection(("127.0.0.1", port)):
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.stop()
            await asyncio.sleep(0)
            gc.collect()
    assert [str(one.message) for one in told] == []


def test_a_taken_port_is_an_error() -> None:
    """Two simulators cannot share a port."""
    with Simulator() as sim, pytest.raises(OSError, match=r"in use"):
        Simulator(port=sim.port).start()


def raw_exchange(sim: Simulator, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", sim.port), timeout=2) as sock:
        sock.sendall(data)
        received = b""
        while piece := sock.recv(65_536):
            received += piece
    return received


def test_raw_http(sim: Simulator) -> None:
    """Chunked requests, two requests at once, old clients, and bytes that are no request."""
    body = json.dumps({"model": MODEL, "messages": HELLO}).encode()
    head = b"POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
    half = len(body) // 2
    chunked = head + b"Transfer-Encoding: chunked\r\n%s\r\n%x;ext=1\r\n%s\r\n%x\r\n%s\r\n0\r\n%s\r\n"
    one = chunked % (b"", half, body[:half], len(body) - half, body[half:], b"")
    last = chunked % (b"Connection: close\r\n", half, body[:half], len(body) - half, body[half:], b"Trailer: x\r\n")
    both = raw_exchange(sim, one + last)
    assert both.count(b"HTTP/1.1 200 OK") == both.count(b"0\r\n\r\n") == 2
    assert len(sim.chats()) == 2
    old = raw_exchange(sim, b"GET /api/v1/models HTTP/1.0\r\n\r\n")
    assert b"Transfer-Encoding" not in old
    assert b"Content-Length" in old
    assert raw_exchange(sim, b"what?\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw_exchange(sim, b"GET / HTTP/1.1\r\nno colon\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw_exchange(sim, head + b"Content-Length: many\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw_exchange(sim, head + b"Content-Length: -1\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw_exchange(sim, head + b"Content-Length: 99999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
    assert raw_exchange(sim, b"GET / HTTP/1.1\r\n" + b"x" * 70_000).startswith(b"HTTP/1.1 431")
    waits = head + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", sim.port), timeout=2) as sock:
        sock.sendall(waits)
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(100).startswith(b"HTTP/1.1 200")


def test_slow_readers_do_not_fill_the_memory(sim: Simulator, client: httpx.Client) -> None:
    """A huge stream waits for its reader and arrives whole."""
    sim.script({MODEL: {"do": "huge", "size": 8_000_000}})
    body = {"model": MODEL, "messages": HELLO, "stream": True}
    with client.stream("POST", "/chat/completions", json=body) as reply:
        assert sim.chats()[0].finished_at is None
        size = sum(len(piece) for piece in reply.iter_raw())
    assert size > 8_000_000
    sim.wait_for(lambda sim: sim.chats()[0].finished_at)


def test_a_list_page_by_page_and_only_once(sim: Simulator, client: httpx.Client) -> None:
    """Pages link to the next one; an unchanged page is a 304 without a body."""
    sim.reset(Scenario(page_size=10))
    first = client.get("/models")
    pages = [first.json()]
    while link := pages[-1]["links"]["next"]:
        pages.append(client.get(httpx.URL(sim.base_url).join(link)).json())
    whole = client.get("/models?limit=1000").json()["data"]
    assert [row for page in pages for row in page["data"]] == whole
    assert {page["total_count"] for page in pages} == {len(whole)}
    known = client.get("/models", headers={"If-None-Match": first.headers["ETag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert client.get("/models/user", headers={"If-None-Match": '"x"'}).status_code == 200


def test_a_list_that_is_served(sim: Simulator, client: httpx.Client) -> None:
    """Its entries are shown as they are; what was on offer before is gone, and later forgotten."""
    rows = [{"id": f"a/{name}", "pricing": {"prompt": "0", "completion": "0"}, "odd": [1]} for name in ("m:free", "p")]
    rows.append({"id": "a/p:free", "architecture": {"modality": "text+image->text"}})
    sim.serve(rows)
    assert sorted(client.get("/models").json()["data"], key=str) == sorted(rows, key=str)
    assert message_of(ask(client, "z-ai/glm-5.2:free")) == "No endpoints found for z-ai/glm-5.2:free."
    sim.serve({"data": rows[1:2]})
    assert message_of(ask(client, "a/m:free")) == "No endpoints found for a/m:free."
    assert "a/p" in message_of(ask(client, "a/p:free")), "its paid twin is on offer"
    forgotten = ask(client, "z-ai/glm-5.2:free")
    assert (forgotten.status_code, message_of(forgotten)) == (400, "z-ai/glm-5.2:free is not a valid model ID")
    no_lists: list[Any] = [None, {}, [5], [{"id": "x"}]]
    for nonsense in no_lists:
        with pytest.raises(ScenarioError, match="serve"):
            sim.serve(nonsense)
