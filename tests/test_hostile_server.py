"""A server that means harm: it gets no key that it should not have, no memory, no disk, and no file but our own."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from bare_servers import Bare, Slow
from driving import PATHS, TWENTY, drive
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free import (
    AllModelsFailed,
    ChatOpenRouterFree,
    ConfigurationError,
    MemoryStore,
    RequestRejected,
    StreamInterrupted,
)
from langchain_openrouter_free.connections import exchange
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.protocol.unpacking import PIECE, Unpacker
from langchain_openrouter_free.protocol.wire import MAX_ERROR_BYTES, MAX_REPLY_BYTES, ReplyError, ReplyReader
from langchain_openrouter_free.testing import FakeClock

Say = Callable[[str], tuple[int, dict[str, str], bytes]]
EVENT = {"id": "gen-1", "choices": [{"index": 0, "delta": {"content": "well"}, "finish_reason": "stop"}]}
WELL = (200, {"Content-Type": "text/event-stream"}, f"data: {json.dumps(EVENT)}\n\ndata: [DONE]\n\n".encode())
JSON = {"Content-Type": "application/json"}


class Hostile(ThreadingHTTPServer):
    """Answers each chat request as it is told, and remembers what came."""

    daemon_threads = True

    def __init__(self, say: Say) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.say, self.keys, self.models = say, list[str](), list[str]()
        self.callers: list[Any] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hangs up does so."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hostile

    def do_GET(self) -> None:
        self._reply(404, JSON, b"{}")

    def do_POST(self) -> None:
        model = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["model"]
        self.server.keys.append(self.headers.get("Authorization", ""))
        self.server.models.append(model)
        self.server.callers.append(self.client_address)
        self._reply(*self.server.say(model))

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if "Connection" not in headers:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(say: Say, tls: ssl.SSLContext | None = None) -> Iterator[Hostile]:
    with Hostile(say) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def router(server: Hostile, scheme: str = "http", **fields: Any) -> ChatOpenRouterFree:
    url = f"{scheme}://127.0.0.1:{server.server_address[1]}/api/v1"
    usual: dict[str, Any] = {"models": TWENTY[:2], "state": MemoryStore(), "max_wait": 0.0}
    return ChatOpenRouterFree(api_key="sk-or-v1-secret", base_url=url, **{**usual, **fields})


def packed(start: bytes, size: int) -> bytes:
    return gzip.compress(start + b" " * size, 1)


MANY = gzip.compress(b'{"choices": [' + b"[]," * 3_400_000, 1)
BOMBS = {
    "an answer": (200, {**JSON, "Content-Encoding": "gzip"}, packed(b'{"choices": [', MAX_REPLY_BYTES + 1)),
    "a stream": (200, {**WELL[1], "Content-Encoding": "gzip"}, packed(b": ", MAX_REPLY_BYTES + 1)),
    "small values": (
        200,
        {**JSON, "Content-Encoding": "gzip"},
        MANY,
    ),
    "lines without end": (200, {**WELL[1], "Content-Encoding": "gzip"}, gzip.compress(b"data:ab\n" * 1_000_000)),
    "an error": (500, {**JSON, "Content-Encoding": "gzip"}, packed(b'{"error": {"message": "', 200_000_000)),
    "one in another": (200, {**JSON, "Content-Encoding": "gzip, gzip"}, gzip.compress(packed(b"{", 1_000_000))),
    "what nobody asked for": (200, {**JSON, "Content-Encoding": "br"}, b"\x1b\xff\xff"),
    "a count without end": (429, JSON, b"free_model_daily_requests used " + b"9" * 5000 + b" limit 50"),
    "no gzip at all": (200, {**JSON, "Content-Encoding": "gzip"}, b"\x1f\x8b" + b"x" * 100),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_a_failure_like_any_other(path: str, bomb: str) -> None:
    """The next model is asked."""
    with serving(lambda model: BOMBS[bomb] if model == TWENTY[0] else WELL) as server:
        told = drive(router(server), path)
        assert told.text == "well"
        assert server.models == TWENTY[:2]


@given(st.binary(max_size=2000), st.integers(1, 50), st.integers(1, 60), st.integers(0, 40))
def test_what_is_unpacked_is_all_of_it_in_small_pieces(data: bytes, times: int, cut: int, most: int) -> None:
    """However it is cut; no piece is larger than was asked for."""
    whole = data * times
    pack = gzip.compress(whole)
    unpacker = Unpacker("gzip")
    parts = [pack[at : at + cut] for at in range(0, len(pack), cut)]
    pieces = [piece for part in parts for piece in unpacker.pieces(part, most + 1)]
    assert b"".join(pieces) == whole
    assert max(map(len, pieces), default=0) <= most + 1
    assert unpacker.is_whole


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    st.integers(1, 60),
    st.sampled_from([b"", b"\0\0", b"\x1f?"]),
)
def test_members_of_a_packed_reply_are_joined(members: list[bytes], cut: int, behind: bytes) -> None:
    """However they are cut; what comes behind the last of them is no part of it."""
    pack = b"".join(map(gzip.compress, members)) + behind
    unpacker = Unpacker("gzip")
    parts = [pack[at : at + cut] for at in range(0, len(pack), cut)]
    assert b"".join(piece for part in parts for piece in unpacker.pieces(part, 100)) == b"".join(members)
    assert unpacker.is_whole


def test_what_comes_behind_a_packed_reply_without_end_is_not_kept() -> None:
    unpacker = Unpacker("gzip")
    assert list(unpacker.pieces(gzip.compress(b"well"))) == [b"well"]
    tracemalloc.start()
    try:
        assert not any(list(unpacker.pieces(b"x" * 100_000)) for _ in range(200))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_small_bomb_makes_no_large_piece() -> None:
    pieces = [len(piece) for piece in Unpacker("gzip").pieces(packed(b"", 20_000_000))]
    assert max(pieces) <= PIECE
    assert sum(pieces) == 20_000_000


def _framed(word: str, *, chunked: bool) -> bytes:
    body = json.dumps({"choices": [{"message": {"content": word}, "finish_reason": "stop"}]}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    if chunked:
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
@pytest.mark.parametrize("chunked", [True, False])
def test_what_came_behind_a_reply_is_no_answer_to_the_next_request(path: str, *, chunked: bool) -> None:
    """A gateway that miscounts must not have one call answered with what another one was sent."""

    def two_in_one(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(_framed("well", chunked=chunked) + _framed("of another", chunked=chunked))
        connection.recv(65536)

    async def twice(model: ChatOpenRouterFree) -> list[str]:
        return [(await model.ainvoke("hi") if path == "ainvoke" else model.invoke("hi")).text for _ in range(2)]

    with Slow(two_in_one) as server:
        model = ChatOpenRouterFree(models=[TWENTY[0]], api_key="k", base_url=server.base_url, state=MemoryStore())
        assert asyncio.run(twice(model)) == ["well", "well"]


def test_of_an_error_only_the_beginning_is_read() -> None:
    reader = ReplyReader(500, {})
    with pytest.raises(ReplyError) as caught:
        _ = [reader.feed(b"x" * 1000) for _ in range(10_000)]
    assert len(str(caught.value.body)) == MAX_ERROR_BYTES


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", PATHS)
def test_the_key_follows_no_redirect(path: str, status: int) -> None:
    """Neither by our own client nor by one of the user's that follows them otherwise."""
    with serving(lambda _: WELL) as other:
        address = f"http://127.0.0.1:{other.server_address[1]}/api/v1/chat/completions"
        with serving(lambda _: (status, {"Location": address}, b"")) as server:
            own: dict[str, Any] = {
                "http_client": httpx.Client(follow_redirects=True),
                "http_async_client": httpx.AsyncClient(follow_redirects=True),
            }
            for fields in ({}, own):
                with pytest.raises(RequestRejected, match="base_url is wrong"):
                    drive(router(server, **fields), path)
            own["http_client"].close()
            assert len(server.keys) == 2
        assert other.keys == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate that vouches for itself, and its key; in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("a certificate is made by the program openssl")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout both.pem -out cert.pem -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *names], cwd=file.parent, check=True, capture_output=True)
    file.write_text(file.read_text() + file.with_name("cert.pem").read_text())
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """Speak with that certificate."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    return tls


@pytest.fixture
def vouched_for(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let clients that are made meanwhile believe that certificate."""
    monkeypatch.setattr(CLIENTS, "_tls", ssl.create_default_context(cafile=certificate))
    CLIENTS.close()
    yield
    CLIENTS.close()


@pytest.mark.usefixtures("vouched_for")
@pytest.mark.parametrize("path", PATHS)
def test_a_certificate_that_is_vouched_for_gets_the_key(path: str, tls: ssl.SSLContext) -> None:
    """And its connection is used again."""
    with serving(lambda _: (WELL[0], WELL[1] | {"Connection": "keep-alive"}, WELL[2]), tls) as server:
        model = router(server, "https")

        async def twice() -> list[str]:
            return [(await model.ainvoke("hi")).text for _ in range(2)]

        assert [drive(model, path).text for _ in range(2)] == ["well", "well"]
        assert asyncio.run(twice()) == ["well", "well"]
        assert len(server.keys) == 4
        assert len(set(server.callers)) == (2 if path in ("invoke", "stream") else 3)


def asking(server: Bare, *, secured: bool) -> ChatOpenRouterFree:
    """A router in front of a server below HTTP, with or without TLS."""
    url = server.base_url.replace("http", "https" if secured else "http", 1)
    return ChatOpenRouterFree(api_key="sk-or-v1-secret", base_url=url, models=TWENTY[:1], state=MemoryStore())


@pytest.mark.usefixtures("vouched_for")
@pytest.mark.parametrize("threaded", [False, True], ids=["alone", "under a thread"])
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
def test_a_connection_that_is_closed_while_it_is_read_is_left_to_who_reads(
    tls: ssl.SSLContext, *, secured: bool, threaded: bool
) -> None:
    """That one hears of it at once; until it lets go, the descriptor can become no other connection's."""
    piece = json.dumps({"id": "gen-1", "choices": [{"index": 0, "delta": {"content": "well"}}]})
    begun = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {piece}\n\n".encode()

    def script(connection: socket.socket, over: threading.Event) -> None:
        with tls.wrap_socket(connection, server_side=True) if secured else connection as speaking:
            is_asked = speaking.recv(65536).startswith(b"POST")
            none = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            speaking.sendall(begun if is_asked else none)
            over.wait(30 * is_asked)

    with Bare(script) as server, ThreadPoolExecutor(1) as threads:
        model = asking(server, secured=secured)
        stream = model.stream("hi")
        assert next(stream).text
        (used,) = CLIENTS.sync_to_keep().connections.busy
        connected = used.get_extra_info("socket")
        rest = threads.submit(list, stream) if threaded else None
        model.close()
        if rest is None:
            assert connected.fileno() >= 0
            with pytest.raises(httpcore.ReadError, match="by this process"):
                used.read(1, 5.0)
        with pytest.raises(StreamInterrupted):
            list(stream) if rest is None else rest.result(5)
        assert connected.fileno() == -1


FOREIGN = json.dumps({"id": "gen-9", "choices": [{"message": {"content": "for another"}, "finish_reason": "stop"}]})
STRAY = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(FOREIGN)}\r\n\r\n{FOREIGN}".encode()


@pytest.mark.usefixtures("vouched_for")
@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="two writes cannot be held together on this system")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("length", "secured"), [(4096, False), (16_384, True)], ids=["plain", "tls"])
def test_what_stands_behind_a_reply_in_any_layer_answers_no_other_call(
    path: str, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, length: int, *, secured: bool
) -> None:
    """A reply that ends where a read of the socket, of the event loop or of TLS ends, and another one behind it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %05d\r\n\r\n"
    head %= length - len(head) - 1
    reply = head + b":" * (length - len(head) - len(WELL[2]) - 2) + b"\n\n" + WELL[2]
    assert (len(reply), int(head.split()[-1])) == (length, length - len(head))

    def script(connection: socket.socket, over: threading.Event) -> None:
        with tls.wrap_socket(connection, server_side=True) if secured else connection as speaking:
            while not over.is_set() and speaking.recv(65536):
                # Both come together: what is sent later than the next request cannot be told from its reply.
                speaking.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                for data in (reply, STRAY):
                    speaking.sendall(data)
                speaking.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    if not secured:
        monkeypatch.setattr(exchange, "_READ", length)
    with Bare(script) as server:
        model = asking(server, secured=secured)

        async def thrice() -> list[str]:
            return [await _text(model, path) for _ in range(3)]

        told = asyncio.run(thrice()) if path in ("ainvoke", "astream") else [drive(model, path).text for _ in range(3)]
        assert told == ["well"] * 3


async def _text(model: ChatOpenRouterFree, path: str) -> str:
    if path == "ainvoke":
        return (await model.ainvoke("hi")).text
    return "".join([chunk.text async for chunk in model.astream("hi")])


@pytest.mark.parametrize("path", PATHS)
def test_a_certificate_that_nobody_vouches_for_gets_no_key(path: str, tls: ssl.SSLContext) -> None:
    with serving(lambda _: WELL, tls) as server:
        with pytest.raises(AllModelsFailed, match="CERTIFICATE_VERIFY_FAILED"):
            drive(router(server, "https"), path)
        assert server.keys == []


ADDRESSES = {
    "https://openrouter.ai/api/v1": True,
    "https://proxy.example/v1": True,
    "http://127.0.0.1:8787/api/v1": True,
    "http://127.1.2.3/api/v1": True,
    "http://[::1]:8787/api/v1": True,
    "http://localhost:8787/api/v1": True,
    "http://LOCALHOST/v1": True,
    "http://box.localhost/v1": True,
    "http://openrouter.ai/api/v1": False,
    "http://10.0.0.1/v1": False,
    "http://0.0.0.0/v1": False,
    "http://127.0.0.1.example/v1": False,
    "http://localhost.example/v1": False,
    "http://litellm:4000/v1": False,
}


@pytest.mark.parametrize(("address", "fine"), ADDRESSES.items())
def test_unencrypted_only_to_this_machine_or_where_it_is_said(*, address: str, fine: bool) -> None:
    if fine:
        ChatOpenRouterFree(models=["a/b:free"], api_key="k", base_url=address, state="memory")
        return
    with pytest.raises(ConfigurationError, match="allow_http=True"):
        ChatOpenRouterFree(models=["a/b:free"], api_key="k", base_url=address, state="memory")
    ChatOpenRouterFree(models=["a/b:free"], api_key="k", base_url=address, state="memory", allow_http=True)


LONG = "../../etc/passwd\x00\n" * 2_000
GREEDY: list[tuple[int, dict[str, str], Any]] = [
    (429, JSON | {"Retry-After": "1"}, {"error": {"code": 429, "message": LONG, "metadata": {"raw": LONG}}}),
    (400, JSON, {"error": {"code": 400, "message": f"tools are not supported {LONG}", "metadata": {LONG: LONG}}}),
    (502, JSON, {"error": {"code": 502, "message": LONG, "metadata": {"provider_name": LONG}}, "user_id": LONG}),
    (200, JSON | {"X-Generation-Id": "../" * 2000}, {"id": LONG, "provider": LONG, "choices": []}),
    (
        200,
        JSON | {"X-Generation-Id": "../../x"},
        {
            "id": LONG,
            "provider": LONG,
            "usage": {"cost": 0, LONG: LONG, "prompt_tokens": 10**300, "completion_tokens": 10**400},
            "choices": [{"message": {"content": "well"}, "finish_reason": "stop"}],
        },
    ),
]


def greedily_answered(state: Path, calls: int) -> int:
    """Make so many calls with a state file, seven hours apart, answered by GREEDY in turn; return how many came."""
    turn = iter(range(10**9))

    def say(_: str) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = GREEDY[next(turn) % len(GREEDY)]
        return status, headers, json.dumps(body).encode()

    clock = FakeClock()
    with serving(say) as server:
        model = router(server, models=TWENTY[:5], state=str(state), clock=clock)
        for number in range(calls):
            with suppress(AllModelsFailed):
                drive(model, PATHS[number % 4])
            clock.advance(7 * 3600)
        model.close()
        return len(server.keys)


@pytest.mark.filterwarnings("ignore::langchain_openrouter_free.FreeModelBilled")
def test_what_it_says_fills_no_disk_and_names_no_file(tmp_path: Path) -> None:
    """Sixty calls, answered with words of 36 kB: a state file of its usual size, and nothing beside it."""
    folder = tmp_path / "state"
    assert greedily_answered(folder / "state.sqlite3", 60) > 60
    assert {file.name.partition("-")[0] for file in folder.iterdir()} == {"state.sqlite3"}
    assert [file.name for file in tmp_path.iterdir()] == ["state"]
    # Most of it is the log of SQLite, which is emptied each 4 MB.
    assert sum(file.stat().st_size for file in folder.iterdir()) < 6_000_000
