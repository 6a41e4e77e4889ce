"""A state server that is none, and one that throws keys away: a call hears of neither."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from redis_server import Server
from store_helpers import COUNT, FOLDED, LOG, fail, gathered, one_more

from langchain_openrouter_free.stores.redis import RedisStore


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that greets as Redis does, and then says this to whatever it is asked; yield its address."""

    class Other(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while asked := self.request.recv(65_536):
                agreed = b"+OK\r\n" * asked.count(b"SETINFO")
                self.wfile.write(b"%1\r\n+proto\r\n:3\r\n" if b"HELLO" in asked else agreed or answer + b"\r\n")

    with served_by(Other) as address:
        yield address


@contextmanager
def served_by(handler: type[socketserver.StreamRequestHandler]) -> Iterator[str]:
    class Threads(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Threads(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    "answer",
    [
        b"+OK",
        b":1",
        b"*0",
        b"*2\r\n+1\r\n+2",
        b"%1\r\n+a\r\n+b",
        b"*5\r\n+a\r\n+b\r\n+c\r\n+d\r\n+e",
        b"*5\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5",
        b"*1\r\n" * 3000,
        b"-LOADING Redis is loading the dataset in memory",
        b"-TRYAGAIN Multiple keys request during rehashing of slot",
        b"-CLUSTERDOWN Hash slot not served",
    ],
)
def test_a_server_of_something_else(answer: bytes) -> None:
    """It is one that cannot be used, whatever the client makes of its words; and so is one that is not ready."""
    said: list[str] = []
    with answering(answer) as address:
        store = RedisStore(address, warn=said.append)
        assert [store.update(COUNT, one_more) for _ in range(2)] == [1, 2]
        assert store.degraded
        store.close()
    assert ["cannot be used" in warning for warning in said] == [True]


@pytest.mark.wall_clock
@pytest.mark.parametrize("is_cluster", [False, True])
def test_an_answer_that_never_ends_is_none(*, is_cluster: bool) -> None:
    """However little silence there is in it."""
    moved = iter([b"-MOVED 1 127.0.0.1:%d\r\n"] if is_cluster else [])

    class Dripping(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            address: Any = self.server.server_address
            port: int = address[1]
            with suppress(OSError):
                while asked := self.request.recv(65_536):
                    node = b"*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$1\r\na\r\n" % port
                    if b"SLOTS" in asked:
                        self.wfile.write(b"*1\r\n*3\r\n:0\r\n:16383\r\n" + node)
                    elif is_cluster and (b"HELLO" in asked or b"CLIENT" in asked):
                        self.wfile.write(b"%1\r\n+proto\r\n:3\r\n" if b"HELLO" in asked else b"+OK\r\n")
                    elif (elsewhere := next(moved, None)) is not None:
                        self.wfile.write(elsewhere % port)
                    else:
                        break
                self.wfile.write(b"+")
                for _ in range(1000):
                    self.wfile.write(b"a")
                    time.sleep(0.01)

    said: list[str] = []
    with served_by(Dripping) as address:
        store = RedisStore(address, warn=said.append, patience=0.05)
        began = time.monotonic()
        assert [store.update(COUNT, one_more) for _ in range(2)] == [1, 2]
        assert time.monotonic() - began < 2.0
        store.close()
    assert len(said) == 1


@pytest.mark.parametrize(("part", "left"), [("texts", []), ("times", []), ("numbers", []), ("number", ["1", "0"])])
def test_a_log_of_which_a_part_was_thrown_away(part: str, left: list[str], shared: Server) -> None:
    """It is begun anew where its rows are not whole any more; no row is written over another."""
    store = RedisStore(shared.url, warn=fail)
    for number in range(2):
        store.append(LOG, float(number), str(number))
    with shared.client() as client:
        assert client.delete(f"openrouter-free:{{a}}:calls:{part}") == 1
    assert [text for _, text in store.recent(LOG)] == left
    store.append(LOG, 2.0, "2")
    assert [text for _, text in store.recent(LOG)] == ["2", *left]
    assert store.fold(LOG, 9.0, FOLDED, gathered) == 1 + len(left)
