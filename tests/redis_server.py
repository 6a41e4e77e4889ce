"""A real Redis or Valkey server for the tests: on a free port of this machine, without a file, gone with them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
MISSING = "neither redis-server nor valkey-server is installed (Debian: apt-get install redis-server)"


class Server:
    """One server; it can be stopped, and started again with what it had or without."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder, self._options = folder, options
        self.start()

    def start(self) -> None:
        command = [str(PROGRAM), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        options = ["--dir", str(self._folder), *self._options]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        # It says so itself; what it says afterwards nobody reads.
        assert self._process.stdout is not None
        with self._process.stdout as said:
            assert any(b"Ready to accept connections" in line for line in said), "the server ended"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def option(self, name: str) -> str:
        return self._options[self._options.index(name) + 1]

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def forget(self) -> None:
        with self.client() as client:
            client.flushall()


class Door:
    """An address that leads to one server or another, and where a connection can be cut."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._cuts: list[tuple[str, Callable[[], object]]] = []
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._door.getsockname()[1]}/0"
        threading.Thread(target=self._open, daemon=True).start()

    def cut_next(self, when: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Cut the connection by which the next script is asked for: "before" the server hears of it, or "after"."""
        self._cuts.append((when, meanwhile))

    def lead_to(self, server: Server) -> None:
        """Lead to this server from now on; who is connected to the other one is cut off."""
        self.server = server
        while self._pairs:
            _close(*self._pairs.pop())

    def close(self) -> None:
        _close(self._door)
        self.lead_to(self.server)

    def _open(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._door.accept()
                try:
                    there = socket.create_connection(("127.0.0.1", self.server.port))
                except OSError:
                    _close(here)
                    continue
                self._pairs.append((here, there))
                deaf: list[Callable[[], object]] = []
                for way in (self._ask, self._answer):
                    threading.Thread(target=way, args=(here, there, deaf), daemon=True).start()

    def _ask(self, here: socket.socket, there: socket.socket, deaf: list[Callable[[], object]]) -> None:
        with suppress(OSError):
            while asked := here.recv(1 << 20):
                if b"EVALSHA" in asked and self._cuts:
                    when, meanwhile = self._cuts.pop()
                    if when == "before":
                        meanwhile()
                        break
                    deaf.append(meanwhile)
                there.sendall(asked)
        _close(here, there)

    def _answer(self, here: socket.socket, there: socket.socket, deaf: list[Callable[[], object]]) -> None:
        with suppress(OSError):
            while said := there.recv(1 << 20):
                if deaf:
                    deaf[0]()
                    break
                here.sendall(said)
        _close(here, there)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Server]:
    server = Server(folder, *options)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def clustered(folder: Path) -> Iterator[list[Server]]:
    """Two servers of one cluster, each with half of the keys."""
    with ExitStack() as stack:
        nodes = []
        for half in ("0", "1"):
            (folder / half).mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port")
            nodes.append(stack.enter_context(served(folder / half, *options, str(_free_port()))))
        first, second = (stack.enter_context(node.client()) for node in nodes)
        first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        second.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        bus = nodes[1].option("--cluster-port")
        first.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1].port, bus)
        await_cluster(nodes)
        yield nodes


def await_cluster(nodes: list[Server]) -> None:
    """Return when each node knows of the others."""
    ends = time.monotonic() + 20
    for node in nodes:
        with node.client() as client:
            while "cluster_state:ok" not in _state(client):
                assert time.monotonic() < ends, "they do not find each other"
                time.sleep(0.02)


def _state(client: redis.Redis) -> str:
    command: Any = client.execute_command  # the client's own types do not tell what it takes
    said = command("CLUSTER", "INFO")
    return said.decode() if isinstance(said, bytes) else str(said)
