"""HTTP clients that can send without what no request of ours needs: redirects, cookies, hooks, ways to authorize.

That is a third of the HTTP client's work. A request goes by a connection of our own (`exchange.py`), opened as the
client's pool would open it; by that pool, in its own terms, where that does more (a proxy's does); and by whoever
listens in between (a recorder of cassettes, a tracer). Loaded with the first client, for the reason that `network`
gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, partial
from types import FunctionType
from typing import Any, cast

import httpcore
import httpx

from langchain_openrouter_free.connections.exchange import (
    Connections,
    Leaves,
    Opened,
    OpenedAsyncReply,
    OpenedReply,
    Patience,
    Place,
    Way,
    ask,
    ask_on_loop,
    told,
)
from langchain_openrouter_free.connections.network import (
    AsyncDeadlineStream,
    DeadlineStream,
    keep_deadlines,
    know_reader,
)

# Where httpx's own transports and their pools are defined: a function of another place, under the same name, is
# somebody's who listens.
_OWN, _OWN_POOLS = "httpx._transports.default", "httpcore."
# Private names of httpx; where one is missing, requests go a way that is longer.
_FIND, _POOL = "_transport_for_url", "_pool"
# Private names of a pool; where one is missing, what it forgets stays forgotten.
_CONNECTIONS, _REQUESTS = "_connections", "_requests"
# What a pool raises has the name of what httpx makes of it.
_TERMS = {
    term: getattr(httpx, name)
    for name, term in vars(httpcore).items()
    if isinstance(term, type) and issubclass(term, Exception) and hasattr(httpx, name)
}

# Whose errors a pool passes on as they are, where a Ctrl-C has left a connection between two replies.
_READER = "h11"

Headers = Iterable[tuple[str, str]]


@lru_cache(maxsize=16)
def _place(method: str, url: str, *headers: tuple[str, str]) -> tuple[httpx.URL, Place]:
    """Read where a request goes, once: one service is asked again and again."""
    address = httpx.URL(url)
    named = {name.lower(): value for name, value in headers}
    head = httpx.Headers({"host": address.netloc.decode("ascii"), **named})
    at = httpcore.URL(scheme=address.raw_scheme, host=address.raw_host, port=address.port, target=address.raw_path)
    return address, Place.of(httpcore.Request(method, at, headers=head.raw, content=b""))


class Direct(httpx.Client):
    """A client for threads."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._usual = tuple(self.headers.items())
        self.connections: Connections[DeadlineStream] = Connections()
        keep_deadlines([self._transport, *self._mounts.values()])

    def close(self) -> None:
        """Close the connections; replies that are open are cut."""
        super().close()
        used, waiting = self.connections.closed()
        for stream in used:
            stream.cut()
        for stream in waiting:
            stream.close()

    def straight(
        self, method: str, url: str, headers: Headers, content: bytes, patience: Patience, leaves: Leaves
    ) -> OpenedReply:
        """Send a request; return when the head of its reply is there. `patience`: seconds, by httpx's names.

        By a connection of our own `leaves` is called once that is there, by all else before it is asked for.

        Raises:
            Exception: one of httpx or of its pool; see `in_httpx`.
        """
        address, place = _place(method, url, *self._usual, *headers)
        find = getattr(self, _FIND, None)
        if find is None:
            return usual(self, method, url, headers, content, patience, leaves)
        transport = find(address)
        pool = _pool_of(transport, transport.handle_request)
        if pool is None:
            leaves()
            return _opened(transport.handle_request(_built(self, method, url, headers, content, patience)))
        way = _way_past(pool, pool.handle_request)
        if way is not None:
            return ask(self.connections, way, place, content, patience, leaves)
        leaves()
        reply = pool.handle_request(place.asked(content, patience))
        know_reader(reply)
        return Opened(reply.status, told(reply.headers), reply.stream, reply.close)


class AsyncDirect(httpx.AsyncClient):
    """The same for an event loop."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._usual = tuple(self.headers.items())
        self.connections: Connections[AsyncDeadlineStream] = Connections()
        keep_deadlines([self._transport, *self._mounts.values()])

    async def aclose(self) -> None:
        """Close the connections; replies that are open are cut."""
        await super().aclose()
        used, waiting = self.connections.closed()
        for stream in (*used, *waiting):
            # Who uses it has nothing to close any more.
            self.connections.busy.discard(stream)
            await stream.aclose()

    async def straight(
        self, method: str, url: str, headers: Headers, content: bytes, patience: Patience, leaves: Leaves
    ) -> OpenedAsyncReply:
        """Send a request; return when the head of its reply is there."""
        address, place = _place(method, url, *self._usual, *headers)
        find = getattr(self, _FIND, None)
        if find is None:
            return await ausual(self, method, url, headers, content, patience, leaves)
        transport = find(address)
        pool = _pool_of(transport, transport.handle_async_request)
        if pool is None:
            leaves()
            return _aopened(await transport.handle_async_request(_built(self, method, url, headers, content, patience)))
        way = _way_past(pool, pool.handle_async_request)
        if way is not None:
            return await ask_on_loop(self.connections, way, place, content, patience, leaves)
        leaves()
        try:
            reply = await pool.handle_async_request(place.asked(content, patience))
        except BaseException:
            await _close_forgotten(pool)
            raise
        know_reader(reply)
        return Opened(reply.status, told(reply.headers), reply.stream, partial(self._let_go, reply, pool))

    async def _let_go(self, reply: httpcore.Response, pool: object) -> None:
        await reply.aclose()
        await _close_forgotten(pool)
        stream = reply.extensions.get("network_stream")
        if self.is_closed and isinstance(stream, httpcore.AsyncNetworkStream):
            # Made as the client was being closed, its pool does not know it any more.
            await stream.aclose()


async def _close_forgotten(pool: object) -> None:
    """Close the connections of a pool that no request has and none can get.

    A task that is cancelled as it is given a connection, or as a failed one is closed, leaves such: they would keep
    their sockets for as long as the loop runs, and with a thousand of them the pool is full.
    """
    while (connection := _forgotten(pool)) is not None:
        getattr(pool, _CONNECTIONS).remove(connection)
        await connection.aclose()


def _forgotten(pool: object) -> Any:
    connections, requests = getattr(pool, _CONNECTIONS, []), getattr(pool, _REQUESTS, None)
    if not connections or requests is None:
        return None
    busy = {id(request.connection) for request in requests}
    loose = (one for one in connections if id(one) not in busy)
    return next((one for one in loose if not (one.is_idle() or one.is_closed())), None)


def _pool_of(transport: object, way: object) -> Any:
    """Return the pool that a transport would ask; None where something else answers, or stands before it."""
    return getattr(transport, _POOL, None) if _home_of(way) == _OWN else None


def _way_past(pool: object, way: object) -> Way | None:
    """Return how to go without a pool; None where it does more than connect, or something else stands before it."""
    return Way.of(pool) if _home_of(way).startswith(_OWN_POOLS) else None


def _home_of(way: object) -> str:
    """Return the module that a method is from; nothing for what stands in the place of one."""
    function = getattr(way, "__func__", None)
    return str(function.__globals__.get("__name__")) if type(function) is FunctionType else ""


def usual(
    client: httpx.Client, method: str, url: str, headers: Headers, content: bytes, patience: Patience, leaves: Leaves
) -> OpenedReply:
    """Send a request by any client, as it sends; but never to another place, for the key goes with it."""
    request = _built(client, method, url, headers, content, patience)
    leaves()
    return _opened(client.send(request, stream=True, follow_redirects=False))


async def ausual(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    headers: Headers,
    content: bytes,
    patience: Patience,
    leaves: Leaves,
) -> OpenedAsyncReply:
    """The same on an event loop."""
    request = _built(client, method, url, headers, content, patience)
    leaves()
    return _aopened(await client.send(request, stream=True, follow_redirects=False))


def _built(
    client: httpx.Client | httpx.AsyncClient,
    method: str,
    url: str,
    headers: Headers,
    content: bytes,
    patience: Patience,
) -> httpx.Request:
    return client.build_request(
        method, url, headers=dict(headers), content=content or None, timeout=httpx.Timeout(**patience)
    )


def _opened(reply: httpx.Response) -> OpenedReply:
    return Opened(reply.status_code, told(reply.headers.raw), cast("httpx.SyncByteStream", reply.stream), reply.close)


def _aopened(reply: httpx.Response) -> OpenedAsyncReply:
    return Opened(reply.status_code, told(reply.headers.raw), cast("httpx.AsyncByteStream", reply.stream), reply.aclose)


def in_httpx(raised: type[BaseException]) -> type[BaseException]:
    """Return httpx's class for what a pool of connections raises; any other class as it is."""
    if raised.__module__.partition(".")[0] == _READER:
        return getattr(httpx, raised.__name__, raised)
    return next((_TERMS[kind] for kind in raised.__mro__ if kind in _TERMS), raised)
