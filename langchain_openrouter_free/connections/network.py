"""Network streams that keep to deadlines: bytes that are no content keep nothing alive.

Stands under the HTTP client, in its own terms. The head and the body of a request leave in one packet. Loaded with the
first client, because `httpcore` takes a tenth of a second to import (httpx puts it off in the same way).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from langchain_openrouter_free.connections.deadlines import Deadline

# A request's head is shorter than this.
_MOST_HELD = 16_384


def _left(timeout: float | None, error: type[Exception]) -> float | None:
    if not isinstance(timeout, Deadline):
        return timeout
    left = timeout.remaining()
    if left <= 0:
        raise error(f"deadline {timeout.limit} passed")
    return left


def _too_late_for(held: bytes) -> type[Exception]:
    # Whose beginning is still held has not left: the connection took all the time that there was.
    return httpcore.ConnectTimeout if held else httpcore.WriteTimeout


def _is_readable(connected: socket.socket | None) -> bool:
    """Tell whether bytes, or the end, have come on a socket; true of one that is gone."""
    number = -1 if connected is None else connected.fileno()
    if number < 0:
        return True
    if hasattr(select, "poll"):
        watched = select.poll()
        watched.register(number, select.POLLIN)
        return bool(watched.poll(0))
    return bool(select.select([number], [], [], 0)[0])


def _has_more(stream: object) -> bool:
    """Tell whether bytes wait above a socket, where an event loop or a TLS layer has put them.

    anyio has no public way to ask, hence the private names here, guarded by a test. Where one is missing, what waits in
    that place is read as the beginning of the next reply.
    """
    inner = getattr(stream, "_stream", None)
    while inner is not None:
        if getattr(getattr(inner, "_protocol", None), "read_queue", None):
            return True
        if getattr(getattr(inner, "_read_bio", None), "pending", 0):
            return True
        inner = getattr(inner, "transport_stream", None)
    return False


def _has_rest(reader: Any) -> bool:
    """Tell whether bytes came behind the end of a connection's last reply: they would begin the next one's."""
    return reader is not None and bool(reader.trailing_data[0])


class DeadlineStream(httpcore.NetworkStream):
    """A network stream that asks the deadline before each operation."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        # The beginning of a request: it leaves with what follows, at the latest when its reply is waited for.
        self._held = b""
        self._again = b""
        self._is_cut = False
        self.reader: Any = None

    def again(self, data: bytes) -> None:
        """Let the next read begin with what was read already: until then requests are not sent, for they were."""
        self._again = data

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._again:
            data, self._again = self._again, b""
            return data
        if self._held:
            # Whoever doesn't take the request may have answered all the same.
            with contextlib.suppress(httpcore.WriteError):
                self._send(b"", timeout)
        data = self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))
        if not data and self._is_cut:
            raise httpcore.ReadError("the connection was closed by this process")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._again:
            return
        if self._held or len(buffer) > _MOST_HELD:
            self._send(buffer, timeout)
        else:
            self._held = buffer

    def _send(self, buffer: bytes, timeout: float | None) -> None:
        held, self._held = self._held, b""
        self._inner.write(held + buffer, _left(timeout, _too_late_for(held)))

    def close(self) -> None:
        self._inner.close()

    def cut(self) -> None:
        """Let another thread, which uses it, find its end at once, and close it.

        A TLS layer knows a descriptor by its number alone: closed here, it could be another connection's by the time
        that thread reads on.
        """
        connected = self._inner.get_extra_info("socket")
        if not isinstance(connected, socket.socket):
            self.close()
            return
        self._is_cut = True
        # Not a TLS socket's own way, which takes the layer from under who reads.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> DeadlineStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return (info == "is_readable" and _has_rest(self.reader)) or self._inner.get_extra_info(info)


class DeadlineBackend(httpcore.NetworkBackend):
    """Opens streams that keep to deadlines."""

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return DeadlineStream(self._inner.connect_tcp(host, port, left, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return DeadlineStream(self._inner.connect_unix_socket(path, left, socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class AsyncDeadlineStream(httpcore.AsyncNetworkStream):
    """The same for an event loop."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._held = b""
        self._again = b""
        self._socket: socket.socket | None = None
        self.reader: Any = None

    def again(self, data: bytes) -> None:
        """Let the next read begin with what was read already."""
        self._again = data

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._again:
            data, self._again = self._again, b""
            return data
        if self._held:
            with contextlib.suppress(httpcore.WriteError):
                await self._send(b"", timeout)
        return await self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._again:
            return
        if self._held or len(buffer) > _MOST_HELD:
            await self._send(buffer, timeout)
        else:
            self._held = buffer

    async def _send(self, buffer: bytes, timeout: float | None) -> None:
        held, self._held = self._held, b""
        await self._inner.write(held + buffer, _left(timeout, _too_late_for(held)))

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncDeadlineStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return AsyncDeadlineStream(await self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":
            return self._inner.get_extra_info(info)
        # A pool asks this of each idle connection for each request, and on an event loop to find the socket costs most.
        if self._socket is None:
            self._socket = self._inner.get_extra_info("socket")
        return _has_rest(self.reader) or _has_more(self._inner) or _is_readable(self._socket)


class AsyncDeadlineBackend(httpcore.AsyncNetworkBackend):
    """Opens streams that keep to deadlines, on an event loop."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return AsyncDeadlineStream(await self._inner.connect_tcp(host, port, left, local_address, socket_options))

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return AsyncDeadlineStream(await self._inner.connect_unix_socket(path, left, socket_options))

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def know_reader(reply: httpcore.Response) -> None:
    """Tell the network stream of a reply who reads it: whether that has unread bytes left, a pool never asks.

    httpcore has no public way to its reader, hence the three private names here. Where one is missing, only what is
    left in the socket keeps a connection from being used again.
    """
    stream = reply.extensions.get("network_stream")
    if isinstance(stream, DeadlineStream | AsyncDeadlineStream) and stream.reader is None:
        connection = getattr(getattr(reply.stream, "_stream", None), "_connection", None)
        stream.reader = getattr(connection, "_h11_state", None)


def keep_deadlines(transports: Iterable[object]) -> int:
    """Make the connection pools of HTTP transports keep to deadlines; return how many do so now.

    httpx has no public way to choose a pool's network backend, hence the two private names here. Where
    they are missing a deadline degrades to the client's own timeout for each read.
    """
    armed = 0
    for transport in transports:
        pool = getattr(transport, "_pool", None)
        inner = getattr(pool, "_network_backend", None)
        if isinstance(inner, httpcore.AsyncNetworkBackend):
            pool._network_backend = AsyncDeadlineBackend(inner)  # type: ignore[union-attr]  # noqa: SLF001
            armed += 1
        elif isinstance(inner, httpcore.NetworkBackend):
            pool._network_backend = DeadlineBackend(inner)  # type: ignore[union-attr]  # noqa: SLF001
            armed += 1
    return armed
