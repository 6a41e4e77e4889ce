"""The only place that knows the HTTP client: shared clients, one request, one open reply.

No retries, no judgement: a failure below HTTP becomes a `TransportFault`, a refusal is left to the
reader of the reply.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import httpx

from langchain_openrouter_free.deadlines import Deadline
from langchain_openrouter_free.unpacking import Unpacker
from langchain_openrouter_free.verdicts import Kind

_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=60.0)
_POOL_SECONDS = 30.0
# For each request a pool looks at all of its connections, and for each idle one at all again: 200 streams at once would
# cost more than all else. Beyond these, requests at once go by another pool.
_AT_ONCE = 32
# What an attempt may run into below HTTP; anything else is a bug and passes through.
_FAULTS = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError)


class TransportFault(Exception):
    """An attempt failed below HTTP."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request to the service."""

    url: str
    headers: Mapping[str, str]
    content: bytes | None = None
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Service:
    """How the service is reached: its base URL, the headers of each request, the user's own clients if any."""

    url: str
    headers: Mapping[str, str]
    client: httpx.Client | None = None
    async_client: httpx.AsyncClient | None = None


def fault_of(error: BaseException, deadline: Deadline | None) -> TransportFault:
    """Translate an HTTP client's exception."""
    limit = f" ({deadline.limit})" if deadline is not None else ""
    if isinstance(error, httpx.ConnectTimeout):
        return TransportFault(Kind.UNREACHABLE, "no connection within the deadline (connect)")
    if isinstance(error, httpx.TimeoutException):
        return TransportFault(Kind.TIMED_OUT, f"no content within the deadline{limit}")
    if isinstance(error, httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol | httpx.InvalidURL):
        return TransportFault(Kind.UNREACHABLE, f"no connection to the service: {_words(error)}")
    if isinstance(error, httpx.DecodingError):
        return TransportFault(Kind.BROKEN, f"the reply cannot be decompressed: {_words(error)}")
    return TransportFault(Kind.CUT, f"the connection broke off: {_words(error)}")


def timeout_of(connect: Deadline, read: Deadline) -> httpx.Timeout:
    """Return deadlines in the HTTP client's words: what its connections ask before each operation."""
    return httpx.Timeout(connect=connect, read=read, write=read, pool=min(float(read), _POOL_SECONDS))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class _Direct(httpx.Client):
    """Can send without what no request of ours needs: redirects, cookies, hooks, other ways to authorize.

    That is a quarter of the HTTP client's work. Its way to a transport is a private name of httpx; where that is
    missing, a request goes the usual way, as those of other packages do.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.usual = dict(self.headers.items())

    def straight(self, request: httpx.Request) -> httpx.Response:
        """Return the reply, to be read as it comes."""
        find = getattr(self, "_transport_for_url", None)
        if find is None:
            return self.send(request, stream=True)
        response: httpx.Response = find(request.url).handle_request(request)
        return response


class _AsyncDirect(httpx.AsyncClient):
    """The same for an event loop."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.usual = dict(self.headers.items())

    async def straight(self, request: httpx.Request) -> httpx.Response:
        """Return the reply, to be read as it comes."""
        find = getattr(self, "_transport_for_url", None)
        if find is None:
            return await self.send(request, stream=True)
        response: httpx.Response = await find(request.url).handle_async_request(request)
        return response


# One service is asked again and again, and httpx reads an address in a tenth of a millisecond.
_address = lru_cache(maxsize=64)(httpx.URL)


def _built(
    client: httpx.Client | httpx.AsyncClient, request: Outgoing, connect: Deadline, read: Deadline
) -> httpx.Request:
    if isinstance(client, _Direct | _AsyncDirect):
        return httpx.Request(
            request.method,
            _address(request.url),
            headers={**client.usual, **{name.lower(): value for name, value in request.headers.items()}},
            content=request.content,
            extensions={"timeout": timeout_of(connect, read).as_dict()},
        )
    return client.build_request(
        request.method,
        request.url,
        headers=dict(request.headers),
        content=request.content,
        timeout=timeout_of(connect, read),
    )


def _unpacker(response: httpx.Response) -> Unpacker | None:
    """Return what unpacks a reply; None where it is not packed."""
    coding = response.headers.get("content-encoding")
    try:
        return None if coding is None else Unpacker(coding)
    except ValueError as error:
        raise TransportFault(Kind.BROKEN, f"the reply cannot be decompressed: {error}") from None


def _unpacked(unpacker: Unpacker, data: bytes) -> Iterator[bytes]:
    try:
        yield from unpacker.pieces(data)
    except ValueError as error:
        raise TransportFault(Kind.BROKEN, f"the reply cannot be decompressed: {error}") from None


def _pieces(response: httpx.Response, unpacker: Unpacker | None) -> Iterator[bytes]:
    # Without compression the stream is read as it is: a third of the cost of each piece.
    stream = iter(cast("httpx.SyncByteStream", response.stream))
    return stream if unpacker is None else (piece for data in stream for piece in _unpacked(unpacker, data))


async def _unpacked_stream(stream: AsyncIterator[bytes], unpacker: Unpacker) -> AsyncIterator[bytes]:
    async for data in stream:
        for piece in _unpacked(unpacker, data):
            yield piece


def _apieces(response: httpx.Response, unpacker: Unpacker | None) -> AsyncIterator[bytes]:
    stream = aiter(cast("httpx.AsyncByteStream", response.stream))
    return stream if unpacker is None else _unpacked_stream(stream, unpacker)


class Reply:
    """An open reply on a thread: bytes until they are over; `raw` ones as they come, packed or not.

    Attributes:
        status: HTTP status.
        headers: by their names in small letters.
    """

    def __init__(
        self, client: httpx.Client, request: Outgoing, connect: Deadline, read: Deadline, *, raw: bool = False
    ) -> None:
        self._read = read
        try:
            built = _built(client, request, connect, read)
            # Never to another place, whatever a client of the user does otherwise: the key goes with the request.
            self._response = (
                client.straight(built)
                if isinstance(client, _Direct)
                else client.send(built, stream=True, follow_redirects=False)
            )
        except _FAULTS as error:
            raise fault_of(error, read) from error
        response = self._response
        self.status, self.headers = response.status_code, dict(response.headers.items())
        try:
            self._bytes = _pieces(response, None if raw else _unpacker(response))
        except TransportFault:
            response.close()
            raise

    def read(self) -> bytes | None:
        """Return the next bytes, None at the end."""
        try:
            return next(self._bytes, None)
        except _FAULTS as error:
            raise fault_of(error, self._read) from error

    def close(self) -> None:
        """Close the reply; a connection whose reply was read to its end is used again."""
        self._response.close()


# Replies that are awaited or open.
_UNDER_WAY: weakref.WeakKeyDictionary[httpx.AsyncClient, int] = weakref.WeakKeyDictionary()


class AsyncReply:
    """An open reply on an event loop."""

    def __init__(
        self, client: httpx.AsyncClient, response: httpx.Response, read: Deadline, *, raw: bool = False
    ) -> None:
        self._client: httpx.AsyncClient | None = client
        self._response = response
        self._read = read
        self.status, self.headers = response.status_code, dict(response.headers.items())
        self._bytes = _apieces(response, None if raw else _unpacker(response))

    @classmethod
    async def open(
        cls, client: httpx.AsyncClient, request: Outgoing, connect: Deadline, read: Deadline, *, raw: bool = False
    ) -> AsyncReply:
        """Send the request; return when the reply's headers are there."""
        _UNDER_WAY[client] = _UNDER_WAY.get(client, 0) + 1
        try:
            built = _built(client, request, connect, read)
            response = await (
                client.straight(built)
                if isinstance(client, _AsyncDirect)
                else client.send(built, stream=True, follow_redirects=False)
            )
        except BaseException as error:
            _UNDER_WAY[client] -= 1
            if isinstance(error, _FAULTS):
                raise fault_of(error, read) from error
            raise
        try:
            return cls(client, response, read, raw=raw)
        except TransportFault:
            _UNDER_WAY[client] -= 1
            await response.aclose()
            raise

    async def read(self) -> bytes | None:
        """Return the next bytes, None at the end."""
        try:
            return await anext(self._bytes, None)
        except _FAULTS as error:
            raise fault_of(error, self._read) from error

    async def close(self) -> None:
        """Close the reply at once."""
        if self._client is not None:
            _UNDER_WAY[self._client] -= 1
            self._client = None
        close = getattr(self._bytes, "aclose", None)
        if close is not None:
            await close()
        await self._response.aclose()


def _arm(client: httpx.Client | httpx.AsyncClient) -> None:
    """Make a client's connections keep to deadlines, those through a proxy of the environment too."""
    from langchain_openrouter_free.network import keep_deadlines  # noqa: PLC0415 - see there

    keep_deadlines([client._transport, *client._mounts.values()])  # noqa: SLF001


@dataclass(frozen=True, slots=True)
class _OfLoop:
    """The clients of one event loop, in the order in which they are used."""

    loop: weakref.ref[asyncio.AbstractEventLoop]
    clients: list[httpx.AsyncClient]
    guardian: AsyncGenerator[None, None]


class Clients:
    """The process's HTTP clients: one for its threads, one for each event loop (or more, for many requests at once).

    Closed loops have none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        self._sync: tuple[int, httpx.Client] | None = None
        self._loops: dict[int, _OfLoop] = {}

    def sync(self) -> httpx.Client:
        """Return this process's client; a forked child gets its own."""
        made = self._sync
        if made is not None and made[0] == os.getpid():
            return made[1]
        with self._lock:
            if self._sync is None or self._sync[0] != os.getpid():
                client = _Direct(verify=self._context(), limits=_LIMITS, timeout=_POOL_SECONDS)
                _arm(client)
                self._sync = (os.getpid(), client)
            return self._sync[1]

    async def asynchronous(self) -> httpx.AsyncClient:
        """Return the running loop's client, the first with room; clients of closed loops are swept."""
        loop = asyncio.get_running_loop()
        with self._lock:
            known = self._loops.get(id(loop))
            if known is not None and known.loop() is loop:
                return self._with_room(known.clients)
            self._loops = {
                key: kept
                for key, kept in self._loops.items()
                if (owner := kept.loop()) is not None and not owner.is_closed()
            }
            clients = [self._new()]
            guardian = self._guardian(loop, clients)
            self._loops[id(loop)] = _OfLoop(weakref.ref(loop), clients, guardian)
        # Started here, the generator is closed by the loop's own shutdown, and closes the clients with it.
        await anext(guardian)
        return clients[0]

    def _with_room(self, clients: list[httpx.AsyncClient]) -> httpx.AsyncClient:
        for client in clients:
            if _UNDER_WAY.get(client, 0) < _AT_ONCE:
                return client
        clients.append(self._new())
        return clients[-1]

    def _new(self) -> httpx.AsyncClient:
        client = _AsyncDirect(verify=self._context(), limits=_LIMITS, timeout=_POOL_SECONDS)
        _arm(client)
        return client

    def _context(self) -> ssl.SSLContext:
        """Return the one TLS context: loading the certificates takes a tenth of a second."""
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls

    async def _guardian(
        self, loop: asyncio.AbstractEventLoop, clients: list[httpx.AsyncClient]
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                known = self._loops.get(id(loop))
                if known is not None and known.clients is clients:
                    del self._loops[id(loop)]
            for client in clients:
                await client.aclose()

    def count(self) -> int:
        """Return how many event loops have clients."""
        return len(self._loops)

    def close(self) -> None:
        """Close the client of this process's threads."""
        with self._lock:
            made, self._sync = self._sync, None
        if made is not None and made[0] == os.getpid():
            made[1].close()

    async def aclose(self) -> None:
        """Close the running loop's clients."""
        with self._lock:
            known = self._loops.pop(id(asyncio.get_running_loop()), None)
        if known is not None:
            await known.guardian.aclose()


CLIENTS = Clients()
atexit.register(CLIENTS.close)
