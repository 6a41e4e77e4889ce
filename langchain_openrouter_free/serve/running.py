"""The endpoint as a server: by the command line, or in a thread for tests and programs."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.serve.guard import LOOPBACK, App

PORT = 8788
# Heads of requests end somewhere: larger ones are refused with a 4xx by the server, in bytes.
_LARGEST_HEAD = 64 * 1024


def check_host(host: str, token: str | None) -> tuple[str, ...]:
    """Return the host names that are served, for an address to listen on.

    Raises:
        ConfigurationError: if others than this machine could ask without a token.
    """
    if not is_loopback(host) and not token:
        raise ConfigurationError(
            f"host={host!r} lets other machines ask: that needs a token as well (--token, or OPENROUTER_FREE_TOKEN)."
        )
    return LOOPBACK if is_loopback(host) else (*LOOPBACK, host)


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def config(
    app: App | str, *, host: str, port: int, log_level: str, workers: int = 1, factory: bool = False
) -> uvicorn.Config:
    """Return how the server runs; its own log has no bodies."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level=log_level,
        workers=workers,
        factory=factory,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
        http="h11",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


@contextmanager
def served(app: App, *, host: str = "127.0.0.1", port: int = 0, log_level: str = "error") -> Iterator[str]:
    """Serve an application in a thread; yield its base URL, for clients: `http://127.0.0.1:<port>/v1`.

    Args:
        app: what `application` returns.
        host: the address to listen on.
        port: 0 for one that is free.
        log_level: of the server.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    server = uvicorn.Server(config(app, host=host, port=port, log_level=log_level))
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.run(sockets=[listening])
        except BaseException as error:  # noqa: BLE001 - told to who waits
            failed.append(error)

    thread = threading.Thread(target=run, name="openrouter-free-serve", daemon=True)
    thread.start()
    try:
        _wait_for(lambda: server.started or bool(failed) or not thread.is_alive())
        if failed or not server.started:
            raise RuntimeError("the endpoint did not start") from (failed[0] if failed else None)
        yield f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def _wait_for(happened: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if happened():
            return
        pause.wait(0.01)
