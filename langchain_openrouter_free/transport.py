"""What is asked of the HTTP client: one request, one open reply.

No retries, no judgement: a failure below HTTP becomes a `TransportFault`, a refusal is left to the
reader of the reply.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import httpx

from langchain_openrouter_free.clients import POOL_SECONDS, AsyncDirect, Count, Direct
from langchain_openrouter_free.deadlines import Deadline
from langchain_openrouter_free.unpacking import Unpacker
from langchain_openrouter_free.verdicts import Kind

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
    return httpx.Timeout(**_patience(connect, read))


def _patience(connect: Deadline, read: Deadline) -> dict[str, float]:
    return {"connect": connect, "read": read, "write": read, "pool": min(float(read), POOL_SECONDS)}


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@lru_cache(maxsize=16)
def _head(url: str, *headers: tuple[str, str]) -> tuple[httpx.URL, httpx.Headers]:
    """Read where requests go and what stands in the head of each: one service is asked again and again."""
    address = httpx.URL(url)
    named = {name.lower(): value for name, value in headers}
    return address, httpx.Headers({"host": address.netloc.decode("ascii"), **named})


def _built(
    client: httpx.Client | httpx.AsyncClient, request: Outgoing, connect: Deadline, read: Deadline
) -> httpx.Request:
    if not isinstance(client, Direct | AsyncDirect):
        return client.build_request(
            request.method,
            request.url,
            headers=dict(request.headers),
            content=request.content,
            timeout=timeout_of(connect, read),
        )
    address, head = _head(request.url, *client.usual, *request.headers.items())
    content = request.content or b""
    built = httpx.Request(
        request.method,
        address,
        headers=head,
        stream=httpx.ByteStream(content),
        extensions={"timeout": _patience(connect, read)},
    )
    if content:
        built.headers["content-length"] = str(len(content))
    return built


def _told(response: httpx.Response) -> dict[str, str]:
    """Return the headers of a reply by their names in small letters."""
    told: dict[str, str] = {}
    try:
        for raw_name, raw_value in response.headers.raw:
            name, value = raw_name.decode("ascii").lower(), raw_value.decode("ascii")
            told[name] = f"{told[name]}, {value}" if name in told else value
    except UnicodeDecodeError:
        return dict(response.headers.items())
    return told


def _unpacker(headers: Mapping[str, str]) -> Unpacker | None:
    """Return what unpacks a reply; None where it is not packed."""
    coding = headers.get("content-encoding")
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
        self._count = Count(client)
        try:
            built = _built(client, request, connect, read)
            # Never to another place, whatever a client of the user does otherwise: the key goes with the request.
            self._response = (
                client.straight(built)
                if isinstance(client, Direct)
                else client.send(built, stream=True, follow_redirects=False)
            )
        except BaseException as error:
            self._count.over()
            if isinstance(error, _FAULTS):
                raise fault_of(error, read) from error
            raise
        self.status, self.headers = self._response.status_code, _told(self._response)
        try:
            self._bytes = _pieces(self._response, None if raw else _unpacker(self.headers))
        except TransportFault:
            self.close()
            raise

    def read(self) -> bytes | None:
        """Return the next bytes, None at the end."""
        try:
            return next(self._bytes, None)
        except _FAULTS as error:
            raise fault_of(error, self._read) from error

    def close(self) -> None:
        """Close the reply; a connection whose reply was read to its end is used again."""
        try:
            self._response.close()
        finally:
            self._count.over()


class AsyncReply:
    """An open reply on an event loop."""

    def __init__(self, count: Count, response: httpx.Response, read: Deadline, *, raw: bool = False) -> None:
        self._count = count
        self._response = response
        self._read = read
        self.status, self.headers = response.status_code, _told(response)
        self._bytes = _apieces(response, None if raw else _unpacker(self.headers))

    @classmethod
    async def open(
        cls, client: httpx.AsyncClient, request: Outgoing, connect: Deadline, read: Deadline, *, raw: bool = False
    ) -> AsyncReply:
        """Send the request; return when the reply's headers are there."""
        count = Count(client)
        try:
            built = _built(client, request, connect, read)
            response = await (
                client.straight(built)
                if isinstance(client, AsyncDirect)
                else client.send(built, stream=True, follow_redirects=False)
            )
            try:
                return cls(count, response, read, raw=raw)
            except TransportFault:
                await response.aclose()
                raise
        except BaseException as error:
            count.over()
            if isinstance(error, _FAULTS):
                raise fault_of(error, read) from error
            raise

    async def read(self) -> bytes | None:
        """Return the next bytes, None at the end."""
        try:
            return await anext(self._bytes, None)
        except _FAULTS as error:
            raise fault_of(error, self._read) from error

    async def close(self) -> None:
        """Close the reply at once."""
        self._count.over()
        close = getattr(self._bytes, "aclose", None)
        if close is not None:
            await close()
        await self._response.aclose()
