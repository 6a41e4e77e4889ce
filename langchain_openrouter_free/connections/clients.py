"""The process's HTTP clients, which all requests share: small pools, so that none has many connections to look at."""

from __future__ import annotations

import asyncio
import atexit
import os
import ssl
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import httpx

from langchain_openrouter_free import forks
from langchain_openrouter_free.later import Later
from langchain_openrouter_free.loops import is_on_a_loop, unbroken
from langchain_openrouter_free.values import value_type

if TYPE_CHECKING:
    from langchain_openrouter_free.connections import direct
    from langchain_openrouter_free.connections.direct import AsyncDirect, Direct
else:
    direct = Later("langchain_openrouter_free.connections.direct")

_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=60.0)
POOL_SECONDS = 30.0
# For each request a pool looks at all of its connections, and for each idle one at all again: many streams at once
# would cost more than all else. Beyond these, requests at once go by another pool.
_AT_ONCE = 4
# A pool beyond the first that nobody has used for so long is closed: its connections are not kept alive any more.
_UNUSED = 60.0


C = TypeVar("C", bound="Direct | AsyncDirect")


class Counted(Generic[C]):
    """A client, and how much it has to do.

    Attributes:
        client: the client.
        under_way: requests whose replies are awaited or open.
        used_at: when it was last chosen or left, in seconds of `time.monotonic`.
    """

    def __init__(self, client: C) -> None:
        self.client = client
        self.under_way = 0
        self.used_at = 0.0
        self._counts = threading.Lock()

    def begins(self) -> None:
        """Take note of a request."""
        with self._counts:
            self.under_way += 1
            self.used_at = time.monotonic()

    def ended(self) -> None:
        """Take note that a reply is over."""
        with self._counts:
            self.under_way -= 1
            self.used_at = time.monotonic()


class Pools(Generic[C]):
    """Clients in the order in which they are chosen: the first that has room."""

    def __init__(self, new: Callable[[], C]) -> None:
        self._new = new
        self.clients = [Counted(new())]

    def choose(self) -> tuple[Counted[C], C | None]:
        """Count a request on a client with room; return it, and one to be closed for nobody has used it for long."""
        now, last = time.monotonic(), self.clients[-1]
        # Whoever keeps the first one for longer than a reply does not count.
        is_spare = len(self.clients) > 1 and not last.under_way and last.used_at + _UNUSED < now
        unused = self.clients.pop() if is_spare else None
        chosen = next((client for client in self.clients if client.under_way < _AT_ONCE), None)
        if chosen is None:
            chosen = Counted(self._new())
            self.clients.append(chosen)
        chosen.begins()
        return chosen, None if unused is None else unused.client


async def _closed(pools: Pools[AsyncDirect]) -> None:
    for counted in pools.clients:
        await counted.client.aclose()


@value_type()
class _OfLoop:
    """The clients of one event loop."""

    loop: weakref.ref[asyncio.AbstractEventLoop]
    pools: Pools[AsyncDirect]
    guardian: AsyncGenerator[None, None]


class Clients:
    """The process's HTTP clients: one for its threads, one for each event loop (or more, for many requests at once).

    Closed loops have none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        self._sync: tuple[int, Pools[Direct]] | None = None
        self._loops: dict[int, _OfLoop] = {}
        forks.renewed(self)

    def sync(self) -> Counted[Direct]:
        """Return this process's client for one request, the first with room; a forked child gets its own.

        The request is counted until it is told that it has `ended`.
        """
        with self._lock:
            chosen, unused = self._of_threads().choose()
        if unused is not None:
            try:
                unused.close()
            except BaseException:
                chosen.ended()
                raise
        return chosen

    def sync_to_keep(self) -> Direct:
        """Return this process's first client, for whoever does not say when a request is over."""
        with self._lock:
            return self._of_threads().clients[0].client

    def _of_threads(self) -> Pools[Direct]:
        if self._sync is None or self._sync[0] != os.getpid():
            self._sync = (os.getpid(), Pools(partial(self._new, direct.Direct)))
        return self._sync[1]

    async def asynchronous(self) -> Counted[AsyncDirect]:
        """Return the running loop's client for one request, the first with room; counted until it has `ended`."""
        chosen, unused = (await self._of_loop()).choose()
        if unused is not None:
            try:
                await unbroken(unused.aclose())
            except BaseException:
                chosen.ended()
                raise
        return chosen

    async def asynchronous_to_keep(self) -> AsyncDirect:
        """Return the running loop's first client, for whoever does not say when a request is over."""
        return (await self._of_loop()).clients[0].client

    async def _of_loop(self) -> Pools[AsyncDirect]:
        """Return the running loop's clients; those of closed loops are swept."""
        loop = asyncio.get_running_loop()
        with self._lock:
            known = self._loops.get(id(loop))
            if known is not None and known.loop() is loop:
                return known.pools
            self._loops = {
                key: kept
                for key, kept in self._loops.items()
                if (owner := kept.loop()) is not None and not owner.is_closed()
            }
            pools = Pools(partial(self._new, direct.AsyncDirect))
            guardian = self._guardian(loop, pools)
            self._loops[id(loop)] = _OfLoop(weakref.ref(loop), pools, guardian)
        # Started here, the generator is closed by the loop's own shutdown, and closes the clients with it.
        await anext(guardian)
        return pools

    def _new(self, kind: Callable[..., C]) -> C:
        return kind(verify=self._context(), limits=_LIMITS, timeout=POOL_SECONDS)

    def _context(self) -> ssl.SSLContext:
        """Return the one TLS context: loading the certificates takes a tenth of a second."""
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls

    async def _guardian(self, loop: asyncio.AbstractEventLoop, pools: Pools[AsyncDirect]) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                known = self._loops.get(id(loop))
                if known is not None and known.pools is pools:
                    del self._loops[id(loop)]
            # A loop that does not watch over its generators, as that of `nest_asyncio`, leaves this to the garbage
            # collector: nothing can be awaited then.
            if is_on_a_loop():
                await unbroken(_closed(pools))

    def forked(self) -> None:
        """Go on in a forked process."""
        self._lock = threading.Lock()

    def count(self) -> int:
        """Return how many event loops have clients."""
        return len(self._loops)

    def close(self) -> None:
        """Close the clients of this process's threads."""
        with self._lock:
            made, self._sync = self._sync, None
        if made is not None and made[0] == os.getpid():
            for counted in made[1].clients:
                counted.client.close()

    async def aclose(self) -> None:
        """Close the running loop's clients."""
        with self._lock:
            known = self._loops.pop(id(asyncio.get_running_loop()), None)
        if known is not None:
            await known.guardian.aclose()


CLIENTS = Clients()
atexit.register(CLIENTS.close)
