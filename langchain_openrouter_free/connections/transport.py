"""What is asked of the HTTP client: one request, one open reply.

No retries, no judgement: a failure below HTTP becomes a `TransportFault`, a refusal is left to the
reader of the reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

import httpx

from langchain_openrouter_free.connections.clients import CLIENTS, POOL_SECONDS, Counted
from langchain_openrouter_free.connections.deadlines import Deadline
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.later import Later
from langchain_openrouter_free.loops import unbroken
from langchain_openrouter_free.protocol.unpacking import Unpacker
from langchain_openrouter_free.values import value_type

if TYPE_CHECKING:
    from langchain_openrouter_free.connections import direct
    from langchain_openrouter_free.connections.exchange import Leaves, OpenedAsyncReply, OpenedReply
else:
    direct = Later("langchain_openrouter_free.connections.direct")

# What an attempt may run into below HTTP; anything else is a bug and passes through. A host's name (of a proxy, say) of
# which a part is empty or too long is a UnicodeError where it is looked up.
_FAULTS = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError, OSError)
# After these nothing has left; a connection that takes no request is one of them.
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    UnicodeError,
)


class TransportFault(Exception):
    """An attempt failed below HTTP."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason


@value_type()
class Outgoing:
    """One request to the service."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = None
    method: str = "POST"


@value_type()
class Service:
    """How the service is reached: its base URL, the headers of each request, the user's own clients if any."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    client: httpx.Client | None = None
    async_client: httpx.AsyncClient | None = None


def _raise_fault(error: BaseException, deadline: Deadline) -> None:
    """Raise an exception of an HTTP client, or of its pool, as what it means for an attempt; any other is passed by."""
    kind = direct.in_httpx(type(error))
    if issubclass(kind, _FAULTS):
        raise _fault_of(kind, error, deadline) from error


def _fault_of(kind: type[BaseException], error: BaseException, deadline: Deadline) -> TransportFault:
    if issubclass(kind, httpx.ConnectTimeout):
        return TransportFault(Kind.UNREACHABLE, "no connection within the deadline (connect)")
    if issubclass(kind, httpx.PoolTimeout):
        return TransportFault(Kind.UNREACHABLE, "no connection of the HTTP client was free in time")
    if issubclass(kind, httpx.TimeoutException):
        return _late(deadline)
    if issubclass(kind, _NEVER_SENT):
        return TransportFault(Kind.UNREACHABLE, f"no connection to the service: {_words(error)}")
    if issubclass(kind, httpx.DecodingError):
        return TransportFault(Kind.BROKEN, f"the reply cannot be decompressed: {_words(error)}")
    return TransportFault(Kind.CUT, f"the connection broke off: {_words(error)}")


def _late(deadline: Deadline) -> TransportFault:
    return TransportFault(Kind.TIMED_OUT, f"no content within the deadline ({deadline.limit})")


def timeout_of(connect: Deadline, read: Deadline) -> httpx.Timeout:
    """Return deadlines in the HTTP client's words: what its connections ask before each operation."""
    return httpx.Timeout(**_patience(connect, read))


def _patience(connect: Deadline, read: Deadline) -> dict[str, float]:
    return {"connect": connect, "read": read, "write": read, "pool": min(float(read), POOL_SECONDS)}


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _asked(
    request: Outgoing, connect: Deadline, read: Deadline, leaves: Leaves
) -> tuple[str, str, Iterable[tuple[str, str]], bytes, dict[str, float], Leaves]:
    content = request.content or b""
    return request.method, request.url, request.headers.items(), content, _patience(connect, read), leaves


def _unnoticed() -> None:
    """Nobody asks whether a request has left."""


def _unpacker(headers: Mapping[str, str]) -> Unpacker | None:
    """Return what unpacks a reply; None where it is not packed."""
    coding = headers.get("content-encoding")
    try:
        return None if coding is None else Unpacker(coding)
    except ValueError as error:
        raise TransportFault(Kind.BROKEN, f"the reply cannot be decompressed: {error}") from None


def _unpacked(unpacker: Unpacker, data: bytes, deadline: Deadline | None) -> Iterator[bytes]:
    """Yield what some packed bytes hold.

    They may hold a thousand times as many: no network asks the deadline between their pieces.
    """
    try:
        for number, piece in enumerate(unpacker.pieces(data)):
            if number and deadline is not None and deadline.remaining() <= 0:
                raise _late(deadline)
            yield piece
    except ValueError as error:
        raise TransportFault(Kind.BROKEN, f"the reply cannot be decompressed: {error}") from None


def _pieces(stream: Iterable[bytes], unpacker: Unpacker | None, deadline: Deadline | None) -> Iterator[bytes]:
    # Without compression the stream is read as it is: a third of the cost of each piece.
    if unpacker is None:
        return iter(stream)
    return (piece for data in stream for piece in _unpacked(unpacker, data, deadline))


async def _unpacked_stream(
    stream: AsyncIterable[bytes], unpacker: Unpacker, deadline: Deadline | None
) -> AsyncIterator[bytes]:
    async for data in stream:
        for piece in _unpacked(unpacker, data, deadline):
            yield piece
            # Nor does the loop get its turn by itself.
            await asyncio.sleep(0)


def _apieces(
    stream: AsyncIterable[bytes], unpacker: Unpacker | None, deadline: Deadline | None
) -> AsyncIterator[bytes]:
    return aiter(stream) if unpacker is None else _unpacked_stream(stream, unpacker, deadline)


class _Counting:
    """A reply of one of the process's own clients counts as under way until it is over, once; a user's does not."""

    def __init__(self, counted: Counted[Any] | None) -> None:
        self._counted = counted

    def _over(self) -> None:
        counted, self._counted = self._counted, None
        if counted is not None:
            counted.ended()


class Reply(_Counting):
    """An open reply on a thread: bytes until they are over; `raw` ones as they come, packed or not.

    The request goes by `client`, the user's own, or by one of the process's where that is None; `leaves` is called
    before anything of it may have left.

    Attributes:
        status: HTTP status.
        headers: by their names in small letters.
    """

    def __init__(
        self,
        client: httpx.Client | None,
        request: Outgoing,
        connect: Deadline,
        read: Deadline,
        *,
        raw: bool = False,
        leaves: Leaves = _unnoticed,
    ) -> None:
        by = CLIENTS.sync() if client is None else client
        super().__init__(by if isinstance(by, Counted) else None)
        self._read = read
        self._opened: OpenedReply | None = None
        try:
            asked = _asked(request, connect, read, leaves)
            self._opened = by.client.straight(*asked) if isinstance(by, Counted) else direct.usual(by, *asked)
            self.status, self.headers = self._opened.status, self._opened.headers
            unpacker = None if raw else _unpacker(self.headers)
            # A client of the user's own keeps to its own timeouts.
            self._bytes = _pieces(self._opened.stream, unpacker, read if isinstance(by, Counted) else None)
        except BaseException as error:
            self.close()
            _raise_fault(error, read)
            raise

    def read(self) -> bytes | None:
        """Return the next bytes, None at the end."""
        try:
            return next(self._bytes, None)
        except Exception as error:
            _raise_fault(error, self._read)
            raise

    def close(self) -> None:
        """Close the reply; a connection whose reply was read to its end is used again."""
        try:
            if self._opened is not None:
                self._opened.close()
        finally:
            self._over()


class AsyncReply(_Counting):
    """An open reply on an event loop."""

    def __init__(
        self, counted: Counted[Any] | None, opened: OpenedAsyncReply, read: Deadline, *, raw: bool = False
    ) -> None:
        super().__init__(counted)
        self._opened, self._read = opened, read
        self.status, self.headers = opened.status, opened.headers
        unpacker = None if raw else _unpacker(self.headers)
        self._bytes = _apieces(opened.stream, unpacker, None if counted is None else read)

    @classmethod
    async def open(
        cls,
        client: httpx.AsyncClient | None,
        request: Outgoing,
        connect: Deadline,
        read: Deadline,
        *,
        raw: bool = False,
        leaves: Leaves = _unnoticed,
    ) -> AsyncReply:
        """Send the request; return when the reply's headers are there."""
        by = await CLIENTS.asynchronous() if client is None else client
        counted = by if isinstance(by, Counted) else None
        try:
            asked = _asked(request, connect, read, leaves)
            opened = await (by.client.straight(*asked) if isinstance(by, Counted) else direct.ausual(by, *asked))
            try:
                return cls(counted, opened, read, raw=raw)
            except TransportFault:
                await unbroken(opened.close())
                raise
        except BaseException as error:
            if counted is not None:
                counted.ended()
            _raise_fault(error, read)
            raise

    async def read(self) -> bytes | None:
        """Return the next bytes, None at the end."""
        try:
            return await anext(self._bytes, None)
        except Exception as error:
            _raise_fault(error, self._read)
            raise

    async def close(self) -> None:
        """Close the reply at once."""
        self._over()
        await unbroken(self._closing())

    async def _closing(self) -> None:
        close = getattr(self._bytes, "aclose", None)
        if close is not None:
            await close()
        await self._opened.close()
