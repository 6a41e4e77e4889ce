"""Servers below HTTP: what they do with a connection is a script of bytes and pauses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import httpx

from langchain_openrouter_free.simulator import Simulator


class Slow:
    """A server that plays a script of bytes and pauses, below HTTP, to who chats; it has no other page."""

    def __init__(self, script: Callable[[socket.socket, threading.Event], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/api/v1"
        self._script = script
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                if connection.recv(65536).startswith(b"GET"):
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                else:
                    self._script(connection, self._over)
            except OSError:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in [self._accepting, *self._threads]:
            thread.join(5)


class Bare(Slow):
    """A server whose script hears each connection from its first byte."""

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._script(connection, self._over)


class Forwarding(Bare):
    """A proxy for one service, whatever is asked for, that forwards as the bytes come."""

    def __init__(self, sim: Simulator) -> None:
        self._service = httpx.URL(sim.base_url)
        super().__init__(self._forward)

    def _forward(self, connection: socket.socket, over: threading.Event) -> None:
        with socket.create_connection((self._service.host, self._service.port)) as service:
            back = threading.Thread(target=self._back, args=(service, connection))
            back.start()
            while asked := connection.recv(65536):
                # A proxy is told the whole address.
                service.sendall(asked.replace(b" http://openrouter.localhost:9/", b" /"))
            service.shutdown(socket.SHUT_WR)
            back.join(5)

    def _back(self, service: socket.socket, connection: socket.socket) -> None:
        with suppress(OSError):
            while told := service.recv(65536):
                connection.sendall(told)
