"""One request and its usual reply, on connections of our own: without a pool, without a second look at each head.

A quarter of what a call takes would go into what every request and every usual reply have in common. Here that is done
once, or not at all; what writes a head, opens a connection, secures it, and reads a reply that is not usual, is the
HTTP client's own. Loaded with the first client, for the reason that `network` gives.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import h11
import httpcore
import httpx

from langchain_openrouter_free.connections.framing import Broken, Framing
from langchain_openrouter_free.connections.network import AsyncDeadlineStream, DeadlineStream
from langchain_openrouter_free.protocol.headers import Headers, joined

# As the HTTP client's pools would: so many connections are kept for another request, each for so long, in seconds.
MOST_KEPT, KEPT_SECONDS = 100, 60.0
_READ = 65_536
_SPOKEN = ("http/1.1",)
_POOLS = (httpcore.ConnectionPool, httpcore.AsyncConnectionPool)
# Private names of a pool: what they are of one that does nothing but connect, and how it does. Where one is missing or
# another, requests go by the pool.
_PROXY = "_proxy"  # older releases know no pool with one, but those of a kind of their own
_PLAIN = {"_uds": None, "_local_address": None, "_http1": True, "_http2": False}
_HOW = ("_network_backend", "_ssl_context", "_socket_options")

S = TypeVar("S", bound="DeadlineStream | AsyncDeadlineStream")
B = TypeVar("B")
E = TypeVar("E")
T = TypeVar("T")

Origin = tuple[bytes, bytes, int]
Patience = dict[str, float]
# Called before anything of a request may leave: until then nothing has.
Leaves = Callable[[], None]


class Place(NamedTuple):
    """Where a request goes, and all that each one that goes there begins with.

    Attributes:
        origin: scheme, host and port.
        request: one without content, in the HTTP client's terms.
        head: its head, without the empty line at its end.
    """

    origin: Origin
    request: httpcore.Request
    head: bytes

    @classmethod
    def of(cls, request: httpcore.Request) -> Place:
        """Read where a request goes.

        Raises:
            LocalProtocolError: of h11, if it cannot be sent.
        """
        head = h11.Request(method=request.method, target=request.url.target, headers=request.headers)
        written = h11.Connection(h11.CLIENT).send(head) or b""
        at = request.url.origin
        return cls((at.scheme, at.host, at.port), request, written.removesuffix(b"\r\n"))

    def begun(self, content: bytes) -> bytes:
        """Return the head of a request with content."""
        return b"%bcontent-length: %d\r\n\r\n" % (self.head, len(content)) if content else self.head + b"\r\n"

    def asked(self, content: bytes, patience: Patience) -> httpcore.Request:
        """Return a request with content in the HTTP client's terms; what it begins with is not looked at once more."""
        request = httpcore.Request.__new__(httpcore.Request)
        vars(request).update(vars(self.request), extensions={"timeout": patience})
        if content:
            request.headers = [*self.request.headers, (b"content-length", b"%d" % len(content))]
            request.stream = type(self.request.stream)(content)  # type: ignore[call-arg]  # its own kind, of bytes
        return request


class Opened(NamedTuple, Generic[B, E]):
    """A reply whose head is there.

    Attributes:
        status: HTTP status.
        headers: by their names in small letters.
        stream: the bytes to come.
        close: lets go of the connection, which is used again if all of the reply was read.
    """

    status: int
    headers: Headers
    stream: B
    close: Callable[[], E]


OpenedReply = Opened[Iterable[bytes], None]
OpenedAsyncReply = Opened[AsyncIterable[bytes], Coroutine[Any, Any, None]]


def told(raw: list[tuple[bytes, bytes]]) -> Headers:
    """Return the headers of a reply by their names in small letters."""
    try:
        return joined([(name.decode("ascii"), value.decode("ascii")) for name, value in raw])
    except UnicodeDecodeError:
        return joined(httpx.Headers(raw).items())


class Connections(Generic[S]):
    """The connections of one client: those in use, and those that wait for another request."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self.busy: set[S] = set()
        self._waiting: dict[Origin, deque[tuple[S, float]]] = {}
        self._is_closed = False

    def take(self, origin: Origin) -> tuple[S | None, bool]:
        """Return a connection that waits, the one used last, and whether it can be used; if not, it is to be closed.

        Where none waits, it is one that waits in vain elsewhere, if any does: nobody may ever ask there again.
        """
        with self._lock:
            waiting = self._waiting.get(origin)
            if not waiting:
                return self._in_vain(), False
            stream, until = waiting.pop()
        return stream, not self._is_over(stream, until)

    def _is_over(self, stream: S, until: float) -> bool:
        # One that can be read has come to its end, or holds what nobody asked for.
        return self._monotonic() >= until or bool(stream.get_extra_info("is_readable"))

    def _in_vain(self) -> S | None:
        for origin, waiting in [*self._waiting.items()]:
            stream = waiting.popleft()[0] if waiting and self._is_over(*waiting[0]) else None
            if not waiting:
                del self._waiting[origin]
            if stream is not None:
                return stream
        return None

    def give(self, origin: Origin, stream: S, *, fresh: bool) -> list[S]:
        """Take a connection back, to wait for another request if it can; return those to be closed."""
        now, loose = self._monotonic(), list[S]()
        with self._lock:
            if stream not in self.busy:
                return loose
            self.busy.discard(stream)
            if self._is_closed or not fresh:
                return [stream]
            waiting = self._waiting.setdefault(origin, deque())
            waiting.append((stream, now + KEPT_SECONDS))
            while len(waiting) > MOST_KEPT or waiting[0][1] <= now:
                loose.append(waiting.popleft()[0])
        return loose

    def closed(self) -> tuple[list[S], list[S]]:
        """Return those in use, and those that wait, to be closed; none waits for another request after that."""
        with self._lock:
            self._is_closed = True
            waiting = [stream for waiting in self._waiting.values() for stream, _ in waiting]
            self._waiting.clear()
        return [*self.busy], waiting


class Way(NamedTuple):
    """How a pool connects to where its requests go."""

    backend: Any
    context: ssl.SSLContext | None
    options: Any

    @classmethod
    def of(cls, pool: object) -> Way | None:
        """Return it for a pool that does nothing but connect; None where more is to be done."""
        known = vars(pool)
        is_plain = type(pool) in _POOLS and [known.get(name, name) for name in _PLAIN] == [*_PLAIN.values()]
        is_proxied = known.get(_PROXY) is not None
        return cls(*[known[name] for name in _HOW]) if is_plain and not is_proxied and known.keys() >= {*_HOW} else None

    def securing(self, origin: Origin) -> ssl.SSLContext | None:
        """Return what secures a connection to there; None where nothing is to."""
        if origin[0] != b"https":
            return None
        context = self.context or httpcore.default_ssl_context()
        context.set_alpn_protocols(list(_SPOKEN))
        return context


def _in_terms(step: Callable[..., T], *data: bytes) -> T:
    """Take a step in a reply's framing; what is broken there is told in the HTTP client's terms."""
    try:
        return step(*data)
    except Broken as error:
        raise httpcore.RemoteProtocolError(str(error)) from None


class _Exchange(Generic[S]):
    """A request on a connection, and its reply."""

    def __init__(
        self, connections: Connections[S], stream: S, place: Place, content: bytes, patience: Patience
    ) -> None:
        self._connections, self._stream, self._place = connections, stream, place
        self._sent, self._patience = content, patience
        self._framing = Framing()
        self._first = b""
        # The reply in the HTTP client's terms, where that reads it.
        self._by_client: httpcore.Response | None = None
        self._is_let_go = False

    def _handed_over(self) -> httpcore.Request:
        """Return the request once more, for the HTTP client's own reader, who is to find what was not read."""
        self._stream.again(self._framing.unread())
        return self._place.asked(self._sent, self._patience)

    def _read(self, data: bytes) -> bytes:
        """Return what of these bytes is content."""
        return _in_terms(self._framing.content, data)

    def _is_left_to_client(self) -> bool:
        """Tell whether the reply, or what is left of it, is for the HTTP client's own reader."""
        _in_terms(self._framing.check)
        return self._framing.is_unusual

    @property
    def _origin(self) -> httpcore.Origin:
        return httpcore.Origin(*self._place.origin)

    @property
    def head(self) -> tuple[int, Headers]:
        """The status and the headers of the reply."""
        by_client = self._by_client
        if by_client is not None:
            return by_client.status, told(by_client.headers)
        return self._framing.status, self._framing.headers

    def _let_go(self) -> list[S]:
        """Return the connections to be closed, now that nobody needs this one for the reply any more.

        Once: by the second time it may be another request's.
        """
        is_let_go, self._is_let_go = self._is_let_go, True
        if is_let_go:
            return []
        fresh = self._framing.keeps and self._by_client is None
        return self._connections.give(self._place.origin, self._stream, fresh=fresh)


class _OnThread(_Exchange[DeadlineStream]):
    def begin(self) -> None:
        """Send the request, and read the head of its reply."""
        # Whoever doesn't take the request may have answered all the same.
        with contextlib.suppress(httpcore.WriteError):
            self._stream.write(self._place.begun(self._sent), self._patience["write"])
            self._stream.write(self._sent, self._patience["write"])
        while self._framing.goes_on and not self._framing.status:
            self._first += self._read(self._stream.read(_READ, self._patience["read"]))
        if self._framing.is_unusual and not self._framing.status:
            self._by_client = self._read_by_client()

    def _read_by_client(self) -> httpcore.Response:
        request = self._handed_over()
        return httpcore.HTTP11Connection(self._origin, self._stream, None).handle_request(request)

    def content(self) -> Iterator[bytes]:
        """Yield the content as it comes."""
        if self._first:
            yield self._first
        while self._framing.goes_on:
            if content := self._read(self._stream.read(_READ, self._patience["read"])):
                yield content
        if self._is_left_to_client():
            self._by_client = self._by_client or self._read_by_client()
            yield from self._by_client.iter_stream()

    def close(self) -> None:
        """Let go of the connection."""
        if self._by_client is not None:
            self._by_client.close()
        for stream in self._let_go():
            stream.close()


class _OnLoop(_Exchange[AsyncDeadlineStream]):
    async def begin(self) -> None:
        """Send the request, and read the head of its reply."""
        with contextlib.suppress(httpcore.WriteError):
            await self._stream.write(self._place.begun(self._sent), self._patience["write"])
            await self._stream.write(self._sent, self._patience["write"])
        while self._framing.goes_on and not self._framing.status:
            self._first += self._read(await self._stream.read(_READ, self._patience["read"]))
        if self._framing.is_unusual and not self._framing.status:
            self._by_client = await self._read_by_client()

    async def _read_by_client(self) -> httpcore.Response:
        request = self._handed_over()
        return await httpcore.AsyncHTTP11Connection(self._origin, self._stream, None).handle_async_request(request)

    async def content(self) -> AsyncIterator[bytes]:
        """Yield the content as it comes."""
        if self._first:
            yield self._first
        while self._framing.goes_on:
            if content := self._read(await self._stream.read(_READ, self._patience["read"])):
                yield content
        if self._is_left_to_client():
            self._by_client = self._by_client or await self._read_by_client()
            async for content in self._by_client.aiter_stream():
                yield content

    async def close(self) -> None:
        """Let go of the connection."""
        if self._by_client is not None:
            await self._by_client.aclose()
        for stream in self._let_go():
            await stream.aclose()


def ask(
    connections: Connections[DeadlineStream], way: Way, place: Place, content: bytes, patience: Patience, leaves: Leaves
) -> OpenedReply:
    """Send a request; return when the head of its reply is there."""
    stream, is_fresh = connections.take(place.origin)
    while stream is not None and not is_fresh:
        stream.close()
        stream, is_fresh = connections.take(place.origin)
    if stream is None:
        stream = _connected(way, place.origin, patience["connect"])
    exchange = _OnThread(connections, stream, place, content, patience)
    try:
        # In use from here on: what an interruption keeps from coming here is nobody's, and closed as such.
        connections.busy.add(stream)
        leaves()
        exchange.begin()
        return Opened(*exchange.head, exchange.content(), exchange.close)
    except BaseException:
        exchange.close()
        raise


def _connected(way: Way, origin: Origin, timeout: float) -> DeadlineStream:
    _, host, port = origin
    context, name = way.securing(origin), host.decode("ascii")
    stream: DeadlineStream = way.backend.connect_tcp(name, port, timeout, None, way.options)
    try:
        return stream if context is None else stream.start_tls(context, name, timeout)
    except BaseException:
        stream.close()
        raise


async def ask_on_loop(
    connections: Connections[AsyncDeadlineStream],
    way: Way,
    place: Place,
    content: bytes,
    patience: Patience,
    leaves: Leaves,
) -> OpenedAsyncReply:
    """The same on an event loop."""
    stream, is_fresh = connections.take(place.origin)
    while stream is not None and not is_fresh:
        await stream.aclose()
        stream, is_fresh = connections.take(place.origin)
    if stream is None:
        stream = await _connected_on_loop(way, place.origin, patience["connect"])
    exchange = _OnLoop(connections, stream, place, content, patience)
    try:
        connections.busy.add(stream)
        leaves()
        await exchange.begin()
        return Opened(*exchange.head, exchange.content(), exchange.close)
    except BaseException:
        await exchange.close()
        raise


async def _connected_on_loop(way: Way, origin: Origin, patience: float) -> AsyncDeadlineStream:
    _, host, port = origin
    context, name = way.securing(origin), host.decode("ascii")
    stream: AsyncDeadlineStream = await way.backend.connect_tcp(name, port, patience, None, way.options)
    try:
        return stream if context is None else await stream.start_tls(context, name, patience)
    except BaseException:
        await stream.aclose()
        raise
