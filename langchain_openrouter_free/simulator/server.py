"""The sockets: an asyncio server, and `Simulator`, which runs one in a thread of its own.

Owns listening, starting and stopping. It decides no reply.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from langchain_openrouter_free.simulator.account import Account
from langchain_openrouter_free.simulator.behaviours import Script
from langchain_openrouter_free.simulator.connection import Connection, Connections
from langchain_openrouter_free.simulator.log import Received
from langchain_openrouter_free.simulator.scenario import Scenario
from langchain_openrouter_free.simulator.service import Service
from langchain_openrouter_free.simulator.state import BillEntry

HOST = "127.0.0.1"
API_KEY = "sk-or-v1-simulated"
_BACKLOG = 1024
_PATIENCE = 10.0


class Server:
    """A listening socket and its connections, inside a running event loop."""

    def __init__(self, service: Service, host: str = HOST, port: int = 0) -> None:
        self._service = service
        self._host = host
        self._wanted = port
        self._connections = Connections()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen, and tell the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._service, self._connections), self._host, self._wanted, backlog=_BACKLOG
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the listening socket and drop all connections at once."""
        if self._server is not None:
            await self._hear_out(self._server)
            self._server.close()
        await self._connections.close()
        if self._server is not None:
            await self._server.wait_closed()

    @staticmethod
    async def _hear_out(server: asyncio.Server) -> None:
        """Accept nobody else; whoever has been accepted must be a connection before the server is closed.

        The loop makes it one a turn later, which fails for a closed server and leaves its socket open, and tells it so
        in the next: from then on it is among those that are dropped and waited for.
        """
        if isinstance(loop := asyncio.get_running_loop(), asyncio.SelectorEventLoop):
            for listener in server.sockets:
                loop.remove_reader(listener.fileno())
            for _ in range(2):
                await asyncio.sleep(0)


class Simulator:
    """OpenRouter's HTTP API on loopback, in a thread of its own.

    Use it as a context manager, or call `start` and `stop`.

    Args:
        scenario: laws, models and scripts; without one nothing is limited and every model answers.
        clock: seconds since 1970, for the account's windows and the Date header.
        seed: of all that is random.
        port: 0 takes a free one.
    """

    api_key = API_KEY

    def __init__(
        self,
        scenario: Scenario | None = None,
        *,
        clock: Callable[[], float] = time.time,
        seed: int = 0,
        port: int = 0,
    ) -> None:
        self._service = Service(scenario, clock, seed)
        self._port = port
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        if self._thread is None:
            self._started.clear()
            self._thread = threading.Thread(target=self._run, name="openrouter-simulator", daemon=True)
            self._thread.start()
            self._started.wait()
            if self._error is not None:
                error, self._error = self._error, None
                self.stop()
                raise error
        return self

    def stop(self) -> None:
        """Drop all connections and end the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._loop is not None and self._stop is not None and thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        thread.join(_PATIENCE)
        self._loop = self._stop = None

    @property
    def base_url(self) -> str:
        """What clients take as base URL."""
        return f"http://{HOST}:{self._port}/api/v1"

    @property
    def port(self) -> int:
        """The port."""
        return self._port

    @property
    def received(self) -> list[Received]:
        """All requests in order of arrival."""
        return self._service.log.entries()

    def chats(self) -> list[Received]:
        """The requests for chat completions in order of arrival."""
        return self._service.log.chats()

    @property
    def account(self) -> Account:
        """The account with its counters."""
        return self._service.world.state.account

    @property
    def accounts(self) -> dict[str, Account]:
        """All accounts by name, when the scenario's keys name several; `main` is the first."""
        return self._service.world.state.accounts

    @property
    def bill(self) -> list[BillEntry]:
        """All answers that cost money."""
        with self._service.log.changed:
            return list(self._service.world.state.bill)

    def script(self, scripts: Mapping[str, Script]) -> None:
        """Give models new scripts; the module `behaviours` tells what a script is.

        Raises:
            ScenarioError: a script cannot be played; nothing has changed then.
        """
        self._service.script(scripts)

    def offer(self, *ids: str) -> None:
        """List these ids from now on, after a reset too; those that are not listed yet must end in ':free'.

        Raises:
            ScenarioError: one is unknown and not free.
        """
        self._service.offer(ids)

    def serve(self, payload: Any) -> None:
        """Offer what a list of the service holds, entry by entry as it is; what was on offer before is gone.

        Args:
            payload: the body of `GET /models`, or its `data` alone.

        Raises:
            ScenarioError: it is no such list.
        """
        self._service.serve(payload)

    def reset(self, scenario: Scenario | None = None) -> None:
        """A fresh world with an empty log on the same port."""
        self._service.reset(scenario)

    def wait_for(self, predicate: Callable[[Simulator], object], timeout: float = 2.0) -> None:
        """Block until the predicate holds; it is asked again after every change.

        Raises:
            TimeoutError: it did not hold in time.
        """
        self._service.log.wait_for(lambda: bool(predicate(self)), timeout)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            try:
                runner.run(self._serve())
            except (OSError, OverflowError) as error:
                self._error = error
            finally:
                self._started.set()

    async def _serve(self) -> None:
        server = Server(self._service, HOST, self._port)
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._port = await server.start()
        self._started.set()
        try:
            await self._stop.wait()
        finally:
            await server.stop()
