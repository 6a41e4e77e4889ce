"""One TCP connection: bytes in, replies out, step by step.

Owns framing (chunked, length, gzip), timers of a reply, untimely endings and the notice of clients that
go away. It knows no models: a handler decides what is said.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import zlib
from collections.abc import Iterator
from http import HTTPStatus
from typing import Protocol, cast

from langchain_openrouter_free.simulator.http import BadRequestError, Request, RequestParser
from langchain_openrouter_free.simulator.log import Received
from langchain_openrouter_free.simulator.reply import FOREVER, Ending, Reply, Step

_numbers = itertools.count(1)
_LAST_CHUNK = b"0\r\n\r\n"
_FLUSH_AT = 65_536
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Handler(Protocol):
    """What a connection asks of the world behind it."""

    def handle(self, request: Request, connection: int) -> tuple[Reply, Received]:
        """Decide the reply to a request."""

    def date(self) -> str:
        """The Date header of this moment."""

    def finished(self, entry: Received) -> None:
        """A reply was handed over whole."""

    def disconnected(self, entry: Received) -> None:
        """The client left before that."""


class Connections:
    """The open connections of a server."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._changed = asyncio.Event()
        self._closing = False

    def add(self, connection: Connection) -> None:
        """Take one in; when all are being closed it is closed at once."""
        self._open.add(connection)
        if self._closing:
            connection.abort()

    def discard(self, connection: Connection) -> None:
        """Forget one that is gone."""
        self._open.discard(connection)
        self._changed.set()

    async def close(self) -> None:
        """Drop all at once, and wait until they are gone."""
        self._closing = True
        for connection in tuple(self._open):
            connection.abort()
        while self._open:
            self._changed.clear()
            await self._changed.wait()


class Connection(asyncio.Protocol):
    """Speaks HTTP/1.1 with one client; one reply at a time, later requests wait in the buffer."""

    def __init__(self, handler: Handler, all_of_them: Connections) -> None:
        self._handler = handler
        self._all = all_of_them
        self._number = next(_numbers)
        self._parser = RequestParser()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._entry: Received | None = None
        self._request: Request | None = None
        self._reply = Reply(0)
        self._steps: Iterator[Step] = iter(())
        self._zip: zlib._Compress | None = None
        self._paused = False
        self._waiting_to_write = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport; small packets must not wait for each other."""
        self._transport = cast("asyncio.Transport", transport)
        self._all.add(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes; answer if they make a request and none is being answered."""
        self._parser.feed(data)
        self._drain()

    def eof_received(self) -> None:
        """The client has closed: whatever was being answered is in vain."""
        self._gone()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone; stop timers and forget the connection."""
        self._gone()
        self._all.discard(self)

    def pause_writing(self) -> None:
        """The client reads too slowly; go on when it has caught up."""
        self._paused = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._paused = False
        if self._waiting_to_write:
            self._waiting_to_write = False
            self._advance()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._gone()
        self._transport.abort()

    def _gone(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._steps = iter(())
        self._waiting_to_write = False
        if self._entry is not None:
            entry, self._entry = self._entry, None
            self._handler.disconnected(entry)

    def _drain(self) -> None:
        try:
            while self._request is None and (request := self._parser.next_request()) is not None:
                self._start(request)
        except BadRequestError as error:
            self._refuse(error)
            return
        if self._request is None and self._parser.wants_to_be_told_to_continue():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, error: BadRequestError) -> None:
        line = f"HTTP/1.1 {error.status} {_REASONS[error.status]}"
        self._transport.write(f"{line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        self._transport.close()

    def _start(self, request: Request) -> None:
        self._request = request
        self._reply, self._entry = self._handler.handle(request, self._number)
        if self._reply.wait == FOREVER:
            return
        if self._reply.wait > 0:
            self._timer = self._loop.call_later(self._reply.wait, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        self._timer = None
        request = self._request
        if request is None:
            return
        reply = self._reply
        self._zip = None
        takes = request.method != "HEAD" and "gzip" in request.headers.get("accept-encoding", "")
        if reply.gzip and takes:
            self._zip = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
            reply.chunked = True
        if not reply.chunked or not request.modern:
            self._measure(reply)
        self._steps = iter(() if request.method == "HEAD" else reply.steps)
        self._advance(self._head(request, reply) if reply.status else b"")

    def _measure(self, reply: Reply) -> None:
        """Give the body a length if it is all there; otherwise its end is the connection's end."""
        steps = tuple(reply.steps) if isinstance(reply.steps, tuple) else ()
        self._zip = None
        reply.chunked = False
        if all(isinstance(step, bytes) for step in steps) and isinstance(reply.steps, tuple):
            body = b"".join(step for step in steps if isinstance(step, bytes))
            reply.steps = (body,) if body else ()
            reply.headers["Content-Length"] = str(len(body))
        elif self._request is not None:
            self._request.keep_alive = False

    def _head(self, request: Request, reply: Reply) -> bytes:
        lines = [
            f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}",
            f"Date: {self._handler.date()}",
        ]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        if reply.chunked:
            lines.append("Transfer-Encoding: chunked")
        if self._zip is not None:
            lines.append("Content-Encoding: gzip")
        lines.append("Connection: keep-alive" if request.keep_alive else "Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _advance(self, ready: bytes = b"") -> None:
        """Say as much as can be said now; the rest comes by timer, or when the client has read."""
        self._timer = None
        out = bytearray(ready)
        for step in self._steps:
            if isinstance(step, bytes):
                out += self._framed(step)
                if len(out) >= _FLUSH_AT:
                    self._transport.write(out)
                    out = bytearray()
                    if self._paused:
                        self._waiting_to_write = True
                        return
                continue
            if out:
                self._transport.write(out)
            if isinstance(step, Ending):
                self._end(step)
            elif step.seconds != FOREVER:
                self._timer = self._loop.call_later(step.seconds, self._advance)
            return
        self._finish(out)

    def _framed(self, piece: bytes) -> bytes:
        if self._zip is not None:
            piece = self._zip.compress(piece) + self._zip.flush(zlib.Z_SYNC_FLUSH)
        if self._reply.chunked and piece:
            return b"%x\r\n%b\r\n" % (len(piece), piece)
        return piece

    def _finish(self, out: bytearray) -> None:
        request = self._request
        if request is None:
            return
        if self._zip is not None:
            rest = self._zip.flush()
            out += b"%x\r\n%b\r\n" % (len(rest), rest)
        if self._reply.chunked and request.method != "HEAD":
            out += _LAST_CHUNK
        self._transport.write(out)
        self._request = None
        if self._entry is not None:
            entry, self._entry = self._entry, None
            self._handler.finished(entry)
        if request.keep_alive:
            if self._parser.holds_bytes:
                self._loop.call_soon(self._drain)
        else:
            self._transport.close()

    def _end(self, how: Ending) -> None:
        """End before the end; the log calls this finished, for it was not the client who left."""
        if self._entry is not None:
            entry, self._entry = self._entry, None
            self._handler.finished(entry)
        if how is Ending.RESET:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()
