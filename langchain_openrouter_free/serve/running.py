"""The endpoint as a server: by the command line, or in a thread for tests and programs."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.serve.guard import ADDRESSES, LOOPBACK, App

# What stands for all addresses of a machine.
_ALL = ("0.0.0.0", "::")  # noqa: S104 - it is asked whether that was said
# Heads of requests end somewhere: larger ones are refused with a 4xx by the server, in bytes.
_LARGEST_HEAD = 64 * 1024
# Seconds in which the head of a request must have come; a body has its own (`guard.py`).
_HEAD_PATIENCE = 30.0
# Seconds that answers on their way are given when the server ends.
_LAST_SECONDS = 5
# How often, in seconds, it is looked whether they are to be given less.
_HURRIED = 0.1
_BACKLOG = 1024


def check_host(host: str, token: str | None) -> tuple[str, ...]:
    """Return the host names that are served, for an address to listen on.

    One that stands for all addresses of the machine serves each of them; a name of its own must be named.

    Raises:
        ConfigurationError: if others than this machine could ask without a token.
    """
    if not is_loopback(host) and not token:
        raise ConfigurationError(
            f"host={host!r} lets other machines ask: that needs a token as well (--token, or OPENROUTER_FREE_TOKEN)."
        )
    if is_loopback(host):
        return (*LOOPBACK, host)
    return (*LOOPBACK, host, ADDRESSES) if host in _ALL else (*LOOPBACK, host)


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def config(app: App, *, log_level: str) -> uvicorn.Config:
    """Return how the server runs; its own log has no bodies."""
    return uvicorn.Config(
        app,
        log_level=log_level,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
        http=Connection,
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that takes connections: clients may come at once, and wait until somebody serves.

    Args:
        host: the address or name to listen on.
        port: 0 for one that is free.

    Raises:
        OSError: if that cannot be.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where the protocol is named does asyncio switch Nagle's algorithm off, which costs a stream 40 ms.
    taking = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taking.bind((host, port))
        taking.listen(_BACKLOG)
    except BaseException:
        taking.close()
        raise
    return taking


def url_of(host: str, taking: socket.socket) -> str:
    """Return the base URL for clients: `http://127.0.0.1:<port>/v1`."""
    return f"http://{f'[{host}]' if ':' in host else host}:{taking.getsockname()[1]}/v1"


def run(app: App, taking: socket.socket, *, log_level: str = "warning") -> None:
    """Serve until a signal ends it; answers on their way have some seconds left."""
    server = Server(config(app, log_level=log_level))
    logging.getLogger("uvicorn.error").addFilter(_is_no_end)
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        # The server does not know of terminals that are closed.
        signal.signal(hangup, lambda *_: signal.raise_signal(signal.SIGTERM))
    server.run(sockets=[taking])


def _is_no_end(record: logging.LogRecord) -> bool:
    """Tell whether a record is anything but the trace of an answer that was cancelled because the server ends."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class Connection(H11Protocol):
    """A connection that waits no longer than so for a request, or for the rest of its head."""

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on where this was but a part of a head."""
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        """Wait for the next request, of which a part may be here."""
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._wait(over=True)

    def _wait(self, *, over: bool = False) -> None:
        if over or not (self.cycle is None or self.cycle.response_complete):
            if self._due is not None:
                self._due.cancel()
            self._due = None
        elif self._due is None:
            self._due = self.loop.call_later(_HEAD_PATIENCE, self._give_up)

    def _give_up(self) -> None:
        if self.transport.is_closing():
            return
        if self.conn.trailing_data[0]:
            self.send_400_response("The head of the request took too long.")
        else:
            self.timeout_keep_alive_handler()


class Server(uvicorn.Server):
    """A server that leaves no connection open when it ends, were its client silent or half way through a request."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the server, and then what is left of its connections."""
        # Who has been accepted becomes a connection a turn later; with a closed server that fails, and leaves a socket.
        if isinstance(loop := asyncio.get_running_loop(), asyncio.SelectorEventLoop):
            for listener in (one for server in self.servers for one in server.sockets):
                loop.remove_reader(listener.fileno())
            await asyncio.sleep(0)
        hurrying = asyncio.create_task(self._hurry())
        await super().shutdown(sockets)
        hurrying.cancel()
        if self.force_exit:  # by a second Ctrl-C; the application would be cancelled, and its trace be shown
            await self.lifespan.shutdown()
        self._abort()
        # A transport lets go of its socket in the loop's next turn.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _hurry(self) -> None:
        """Abort the connections at a second Ctrl-C: from Python 3.12 on a server is waited for until it has none."""
        while not self.force_exit:  # noqa: ASYNC110 - a signal's handler sets it
            await asyncio.sleep(_HURRIED)
        self._abort()

    def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()


@contextmanager
def served(app: App, *, host: str = "127.0.0.1", port: int = 0, log_level: str = "error") -> Iterator[str]:
    """Serve an application in a thread; yield its base URL, for clients: `http://127.0.0.1:<port>/v1`.

    Args:
        app: what `application` returns.
        host: the address to listen on.
        port: 0 for one that is free.
        log_level: of the server.
    """
    taking = listening(host, port)
    server = Server(config(app, log_level=log_level))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            server.run(sockets=[taking])
        except BaseException as error:  # noqa: BLE001 - told to who waits
            failed.append(error)

    thread = threading.Thread(target=work, name="openrouter-free-serve", daemon=True)
    thread.start()
    try:
        _wait_for(lambda: server.started or not thread.is_alive())
        if not server.started:
            raise RuntimeError("the endpoint did not start") from (failed[0] if failed else None)
        yield url_of(host, taking)
    finally:
        server.should_exit = True
        thread.join(2 * _LAST_SECONDS)
        taking.close()


def _wait_for(happened: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if happened():
            return
        pause.wait(0.01)
