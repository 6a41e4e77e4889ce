"""One open attempt: where its deltas come from, and the deadlines it keeps to.

`ServiceSource` reads the service's reply; a chat model of another package is read by
`external.ExternalSource`. Both speak `Source`, so the engine does not know which one it has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Protocol

import httpx

from langchain_openrouter_free.books.skew import Heard
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.connections.deadlines import Deadline
from langchain_openrouter_free.connections.transport import AsyncReply, Outgoing, Reply, TransportFault
from langchain_openrouter_free.engine.timeouts import Timeouts
from langchain_openrouter_free.protocol.evidence import http_date
from langchain_openrouter_free.protocol.headers import header
from langchain_openrouter_free.protocol.wire import Delta, ReplyError, ReplyReader

# After the finish reason only usage can follow: an answer is not lost because that never comes.
_AFTER_FINISH = 5.0
# After `[DONE]` the end of the body is at hand; with it the connection can be used again.
_DRAIN = 0.05


class Stopwatch:
    """The deadlines of one attempt, on one clock. The consumer's own time does not count."""

    def __init__(self, clock: Clock, timeouts: Timeouts, call_ends: float) -> None:
        self._clock = clock
        self._timeouts = timeouts
        self.started = clock.monotonic()
        self.began_at = clock.now()
        self.first_token_s: float | None = None
        self.last_content_s = 0.0
        # Of the attempt's and the call's end only the nearer one matters: both move alike.
        self._end, self._end_limit = min((self.started + timeouts.attempt, "attempt"), (call_ends, "call"))
        self._left_at: float | None = None
        self.away_s = 0.0
        self._finished = False
        self.connect = Deadline(*self._soonest(self.started + timeouts.connect, "connect"), clock.monotonic)
        self.read = Deadline(*self._soonest(self.started + timeouts.first_token, "first_token"), clock.monotonic)

    def _soonest(self, moment: float, limit: str) -> tuple[float, str]:
        return (self._end, self._end_limit) if self._end <= moment else (moment, limit)

    def awaits_whole(self) -> None:
        """Take note that the reply comes in one piece: until it is whole, slow and dead look alike."""
        self.read.at, self.read.limit = self._end, self._end_limit

    def content(self) -> None:
        """Take note that content came: the next one may take a stall."""
        now = self._clock.monotonic()
        self.last_content_s = now - self.started
        if self.first_token_s is None:
            self.first_token_s = self.last_content_s
        self.read.at, self.read.limit = self._soonest(now + self._timeouts.stall, "stall")

    def finish(self) -> None:
        """Take note that the answer is finished: what is said after its finish reason moves nothing any more."""
        if not self._finished:
            self._finished = True
            gap = min(self._timeouts.stall, _AFTER_FINISH)
            self.read.at, self.read.limit = self._soonest(self._clock.monotonic() + gap, "stall")

    def drain(self, seconds: float) -> None:
        """Allow a few more bytes after the end of the answer."""
        self.read.at = min(self.read.at, self._clock.monotonic() + seconds)

    def leave(self) -> None:
        """The caller has the word: its time is not the model's."""
        self._left_at = self._clock.monotonic()

    def enter(self) -> None:
        """The model has the word again."""
        if self._left_at is None:
            return
        away = self._clock.monotonic() - self._left_at
        self._left_at = None
        self.away_s += away
        self.read.at += away
        self._end += away

    def heard(self, date: float | None) -> Heard | None:
        """Return the server's time, in Unix seconds, beside this machine's of now; None where it is not known."""
        return None if date is None else Heard(date, self.began_at, self._clock.now())

    def seconds(self) -> float:
        """Return how long the attempt has lasted."""
        return self._clock.monotonic() - self.started


class Source(Protocol):
    """An open attempt. `read` returns the next contents, and None when the answer is over."""

    @property
    def status(self) -> int | None:
        """HTTP status of the reply, None before there is one."""
        ...

    @property
    def sent(self) -> bool:
        """Whether the request may have left."""
        ...

    @property
    def heard(self) -> Heard | None:
        """The server's time, as the head of its reply told it."""
        ...

    @property
    def headers(self) -> Mapping[str, str] | None:
        """Headers of the service's reply, None before there is one."""
        ...

    def open(self) -> None:
        """Send the request; return when the head of its reply is there."""
        ...

    async def aopen(self) -> None:
        """The same on an event loop."""
        ...

    def read(self) -> list[Delta] | None:
        """Return the next deltas; None when the reply is over. Raise what `engine.Attempt` understands."""
        ...

    async def aread(self) -> list[Delta] | None:
        """The same on an event loop."""
        ...

    def complete(self) -> bool:
        """Tell whether the reply said that it is over, or only ended."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...

    async def aclose(self) -> None:
        """The same on an event loop."""
        ...


class ServiceSource:
    """Reads a reply of the service, streamed or whole, under the attempt's deadlines."""

    def __init__(
        self,
        request: Callable[[], Outgoing],
        watch: Stopwatch,
        client: httpx.Client | None = None,
        async_client: httpx.AsyncClient | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self._request = request
        self._whole = whole
        self._watch = watch
        self._client = client
        self._async_client = async_client
        self._reply: Reply | None = None
        self._async_reply: AsyncReply | None = None
        self._reader: ReplyReader | None = None
        self._failed: ReplyError | None = None
        self.heard: Heard | None = None
        self.sent = False
        self._over = False
        self._open = False

    @property
    def status(self) -> int | None:
        """HTTP status of the reply, None before there is one."""
        return self._reader.status if self._reader else None

    @property
    def headers(self) -> Mapping[str, str] | None:
        """Headers of the reply, None before there is one."""
        return self._reader.headers if self._reader else None

    def open(self) -> None:
        """Send the request; return when the head of its reply is there."""
        request = self._request()
        self._reply = Reply(self._client, request, self._watch.connect, self._watch.read, leaves=self._leaves)
        self._begun(self._reply)

    async def aopen(self) -> None:
        """Send the request; return when the head of its reply is there."""
        connect, read = self._watch.connect, self._watch.read
        reply = await AsyncReply.open(self._async_client, self._request(), connect, read, leaves=self._leaves)
        self._async_reply = reply
        self._begun(reply)

    def _leaves(self) -> None:
        self.sent = True

    def read(self) -> list[Delta] | None:
        """Return the next deltas; None when the reply is over."""
        self._watch.enter()
        if self._reply is None:
            self.open()
        assert self._reply is not None  # noqa: S101 - opened
        reader = self._begun(self._reply)
        self._fail()
        while not self._over:
            try:
                data = self._reply.read()
            except TransportFault:
                self._survive()
                break
            deltas = self._take(reader, data)
            if deltas:
                return deltas
        if self._begin_drain():
            with contextlib.suppress(TransportFault):
                while self._reply.read() is not None:
                    pass
        return None

    async def aread(self) -> list[Delta] | None:
        """Return the next deltas; None when the reply is over."""
        self._watch.enter()
        if self._async_reply is None:
            await self.aopen()
        assert self._async_reply is not None  # noqa: S101 - opened
        reader = self._begun(self._async_reply)
        self._fail()
        while not self._over:
            try:
                data = await self._async_reply.read()
            except TransportFault:
                self._survive()
                break
            deltas = self._take(reader, data)
            if deltas:
                return deltas
        if self._begin_drain():
            with contextlib.suppress(TransportFault):
                while await self._async_reply.read() is not None:
                    pass
        return None

    def _begin_drain(self) -> bool:
        """Tell whether the body may have bytes left after the answer's own end, and allow them a moment."""
        drain = self._open and self._reader is not None and self._reader.ended
        self._open = False
        if drain:
            self._watch.drain(_DRAIN)
        return drain

    def _begun(self, reply: Reply | AsyncReply) -> ReplyReader:
        if self._reader is None:
            self._reader = ReplyReader(reply.status, reply.headers, whole=self._whole)
            self.heard = self._watch.heard(http_date(header(reply.headers, "date")))
        return self._reader

    def _take(self, reader: ReplyReader, data: bytes | None) -> list[Delta]:
        """Decode bytes; move the deadline where they hold content."""
        try:
            deltas = reader.end() if data is None else reader.feed(data)
        except ReplyError as error:
            if not error.before:
                raise
            # However the bytes were cut: what came before an error was said.
            self._failed, deltas, error.before = error, error.before, []
        self._over = data is None or reader.ended
        self._open = data is not None
        if any(delta.says_something for delta in deltas):
            self._watch.content()
        if reader.finished:
            self._watch.finish()
        if deltas:
            self._watch.leave()
        return deltas

    def _fail(self) -> None:
        """Raise the error that came behind what was handed out last."""
        failed, self._failed = self._failed, None
        try:
            if failed is not None:
                raise failed
        finally:
            # An error's traceback holds this frame.
            del failed

    def _survive(self) -> None:
        """Keep an answer whose finish reason was there before the connection failed; re-raise otherwise."""
        self._over, self._open = True, False
        if not (self._reader and self._reader.streamed and self._reader.finished):
            raise  # noqa: PLE0704 - called from an except clause only

    def complete(self) -> bool:
        """Tell whether a finish reason, a whole JSON body, or `[DONE]` after readable events came."""
        reader = self._reader
        return reader is not None and (reader.finished or (reader.ended and not reader.lost))

    def close(self) -> None:
        """Let go of the connection."""
        if self._reply is not None:
            self._reply.close()

    async def aclose(self) -> None:
        """Let go of the connection, on an event loop."""
        if self._async_reply is not None:
            await self._async_reply.close()
