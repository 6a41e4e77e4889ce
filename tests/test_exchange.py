"""Requests that leave, and replies that are read, past the HTTP client: as by it, as soon, and with its mistakes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free.connections import exchange
from langchain_openrouter_free.connections.exchange import KEPT_SECONDS, MOST_KEPT, Connections, Place, Way, told
from langchain_openrouter_free.connections.network import AsyncDeadlineStream, DeadlineStream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HEADS = [
    HEAD,
    b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD,
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + HEAD,
    b"HTTP/1.1 200\r\nTRANSFER-ENCODING:chunked \r\nX-A: 1\r\nx-a:2\r\n\r\n",
    b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nX: transfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 40\r\nRetry-After: 3\r\n\r\n",
    b"HTTP/1.1 503 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7\r\nConnection: Keep-Alive\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: +7\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX: caf\xc3\xa9\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX: folded\r\n  on\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length : 7\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX: \x00\r\n\r\n",
    b"HTTP/1.1 999 OK\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: 1\r\n",
    b"no HTTP at all\r\n\r\n",
    b"",
]
PIECES = st.lists(st.one_of(st.binary(min_size=1, max_size=30), st.sampled_from([b"\r\n", b"0\r\n\r\n"])), max_size=8)
SIZES = st.sampled_from([b"%x\r\n", b"%X;name=value\r\n", b"%x \r\n", b"0%x\r\n", b"%x\n"])
LINES = st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\rx"])
ENDS = st.sampled_from(
    [b"0\r\n\r\n", b"0\r\nX-Trailer: yes\r\n\r\n", b"", b"zz\r\n", b"-1\r\n", b"0\n\n", b"0;x\r\n\r\nHTTP"]
)
CUTS = st.lists(st.integers(0, 500), max_size=12)
SENT = b'{"model":"test/m01:free"}'
PLACE = Place.of(
    httpcore.Request(
        "POST", "http://127.0.0.1:80/api/v1/chat", headers=[("host", "127.0.0.1"), ("X-One", "1")], content=b""
    )
)
PATIENCE = {"connect": 1.0, "read": 1.0, "write": 1.0, "pool": 1.0}


def unnoticed() -> None:
    """Nobody asks whether a request has left."""


class Wire(httpcore.NetworkStream):
    """Gives the reads that it was made with, then the end; writes down what it is asked for."""

    def __init__(self, reads: list[bytes], *, refuses: bool = False) -> None:
        self.reads, self.refuses = list(reads), refuses
        self.packets: list[bytes] = []
        self.story: list[int] = []  # how much was heard before each read that brought something
        self.heard = 0
        self.is_closed = False
        self.interrupts = False  # whoever looks whether it can be read

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self.reads:
            return b""
        self.story.append(self.heard)
        return self.reads.pop(0)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.packets.append(buffer)
        if self.refuses:
            raise httpcore.WriteError

    def close(self) -> None:
        self.is_closed = True

    def get_extra_info(self, info: str) -> Any:
        if self.interrupts:
            raise KeyboardInterrupt
        return bool(self.reads) if info == "is_readable" else None


class AsyncWire(httpcore.AsyncNetworkStream):
    """The same for who waits."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the client's signature
        return self._wire.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._wire.write(buffer, timeout)

    async def aclose(self) -> None:
        self._wire.close()
        await asyncio.sleep(0)


@dataclass
class Dialled:
    """Connects to wires, one after the other."""

    wires: list[Wire]

    def connect_tcp(self, *_: Any) -> DeadlineStream:
        return DeadlineStream(self.wires.pop(0))


@dataclass
class AsyncDialled(Dialled):
    """The same for who waits."""

    async def connect_tcp(self, *_: Any) -> AsyncDeadlineStream:  # type: ignore[override]
        return AsyncDeadlineStream(AsyncWire(self.wires.pop(0)))


@dataclass
class Heard:
    """What somebody got of a reply, and of its connection."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    error: str = ""
    story: list[int] = field(default_factory=list)
    sent: bytes = b""
    kept: bool = False

    @contextlib.contextmanager
    def of(self, wire: Wire) -> Iterator[Self]:
        """Take note of how it ends."""
        try:
            yield self
        except httpcore.RemoteProtocolError as error:
            self.error = type(error).__name__
        self.story, self.sent = wire.story, b"".join(wire.packets)
        self.kept = self.kept and not wire.is_closed

    def take(self, wire: Wire, data: bytes) -> None:
        """Take note of content."""
        self.content += data
        wire.heard = len(self.content)


def by_client(reads: list[bytes]) -> Heard:
    """Ask by the HTTP client."""
    wire = Wire(reads)
    with Heard().of(wire) as heard, httpcore.HTTP11Connection(PLACE.request.url.origin, wire) as connection:
        reply = connection.handle_request(PLACE.asked(SENT, PATIENCE))
        heard.status, heard.headers = reply.status, told(reply.headers)
        for data in reply.iter_stream():
            heard.take(wire, data)
        reply.close()
        heard.kept = connection.is_idle() and not connection._h11_state.trailing_data[0]
        wire.is_closed, connection._network_stream = False, Wire([])
    return heard


def by_us(reads: list[bytes]) -> Heard:
    """Ask past it, on a thread."""
    wire, connections = Wire(reads), Connections[DeadlineStream]()
    with Heard().of(wire) as heard:
        opened = exchange.ask(connections, Way(Dialled([wire]), None, None), PLACE, SENT, PATIENCE, unnoticed)
        heard.status, heard.headers, heard.kept = opened.status, opened.headers, True
        with contextlib.closing(opened):
            for data in opened.stream:
                heard.take(wire, data)
    assert connections.busy == set()
    return heard


async def on_loop(reads: list[bytes]) -> Heard:
    """The same on an event loop."""
    wire, connections = Wire(reads), Connections[AsyncDeadlineStream]()
    with Heard().of(wire) as heard:
        opened = await exchange.ask_on_loop(
            connections, Way(AsyncDialled([wire]), None, None), PLACE, SENT, PATIENCE, unnoticed
        )
        heard.status, heard.headers, heard.kept = opened.status, opened.headers, True
        try:
            async for data in opened.stream:
                heard.take(wire, data)
        finally:
            await opened.close()
    assert connections.busy == set()
    return heard


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut data into reads."""
    at = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [piece for first, last in itertools.pairwise(at) if (piece := data[first:last])]


def both(reads: list[bytes]) -> Heard:
    """Return what is heard past the HTTP client, on a thread and on a loop; it is what the client hears itself."""
    expected, ours, on_a_loop = by_client(reads), by_us(reads), asyncio.run(on_loop(reads))
    assert ours == on_a_loop
    # Who has read an unusual reply does not use its connection again, though it could.
    assert expected.kept or not ours.kept
    assert replace(ours, kept=expected.kept) == expected
    return ours


@given(st.sampled_from(HEADS), PIECES, SIZES, ENDS, LINES, CUTS)
def test_the_same_is_heard_as_by_the_client(
    head: bytes, pieces: list[bytes], size: bytes, end: bytes, line: bytes, places: list[int]
) -> None:
    """Whatever comes, in whatever cuts: the same request, the same of the reply before each read, and the same end."""
    body = b"".join(size % len(piece) + piece + line for piece in pieces)
    both(cut(head + body + end, places))


USUAL = [
    HEAD + b"3\r\nabc\r\n4;a=b\r\ndefg\r\n0\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nabcdefg",
    b"HTTP/1.1 200 \r\nConnection: keep-alive\r\ncontent-length:2\r\n\r\nab",
]
WRONG = st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b";", b"0", b"9", b"a", b"\x00", b"\xff"])
EDITS = st.tuples(st.integers(0, 200), WRONG, st.booleans())


@given(st.sampled_from(USUAL), st.lists(EDITS, min_size=1, max_size=4), CUTS)
def test_the_same_is_heard_of_what_is_wrong_somewhere(
    reply: bytes, edits: list[tuple[int, bytes, bool]], places: list[int]
) -> None:
    """A byte too many, one too few or another one, anywhere."""
    for at, what, more in edits:
        place = at % (len(reply) + 1)
        reply = reply[:place] + what + reply[place + (not more) :]
    both(cut(reply, places))


KEPT = dict.fromkeys(USUAL, True) | {
    USUAL[0] + b"HTTP": False,
    USUAL[1] + b"\r\n": False,
    USUAL[1][:-1]: False,
    USUAL[1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"): False,
    HEAD + b"0\r\nX-Trailer: yes\r\n\r\n": False,
}


@pytest.mark.parametrize(("reply", "kept"), KEPT.items())
def test_a_connection_waits_for_another_request_after_a_reply_that_is_whole(reply: bytes, *, kept: bool) -> None:
    assert both([reply]).kept is kept


@pytest.mark.parametrize("reply", USUAL)
def test_a_read_that_holds_no_byte_of_the_content_is_no_end(reply: bytes) -> None:
    """Half a line of the framing is waited out."""
    assert both([bytes([byte]) for byte in reply]).kept


def test_connections_that_wait_are_few_and_young() -> None:
    """The one used last is taken first; what is too old, too many, or has something to say is to be closed."""
    now, at, elsewhere = [100.0], PLACE.origin, (b"https", *PLACE.origin[1:])
    wires = [Wire([]) for _ in range(MOST_KEPT + 3)]
    streams, kept = [DeadlineStream(wire) for wire in wires], Connections[DeadlineStream](lambda: now[0])
    kept.busy.update(streams)
    assert [kept.give(at, stream, fresh=True) for stream in streams[:-2]] == [[]] * MOST_KEPT + [[streams[0]]]
    assert kept.give(at, streams[-2], fresh=False) == [streams[-2]]
    assert kept.busy == {streams[-1]}
    wires[MOST_KEPT].reads.append(b"HTTP/1.1 408 Request Timeout")
    assert [kept.take(at), kept.take(at)] == [(streams[MOST_KEPT], False), (streams[MOST_KEPT - 1], True)]
    assert kept.take(elsewhere) == (None, False)
    now[0] += KEPT_SECONDS
    assert kept.take(elsewhere) == (streams[1], False), "it waits in vain"
    assert kept.give(at, streams[-1], fresh=True) == streams[2 : MOST_KEPT - 1]
    assert kept.give(at, streams[-1], fresh=True) == [], "it waits already"
    wires[-1].reads.append(b"")
    assert [kept.take(elsewhere), kept.take(elsewhere)] == [(streams[-1], False), (None, False)]
    assert not kept._waiting
    kept.busy.add(streams[-1])
    assert kept.give(at, streams[-1], fresh=True) == []
    wires[-1].reads.clear()
    assert kept.take(at) == (streams[-1], True)
    kept.busy.update([streams[-1], streams[MOST_KEPT - 1]])
    assert kept.give(at, streams[-1], fresh=True) == []
    assert kept.closed() == ([streams[MOST_KEPT - 1]], [streams[-1]])
    assert kept.give(at, streams[MOST_KEPT - 1], fresh=True) == [streams[MOST_KEPT - 1]], "nothing waits after that"
    assert kept.closed() == ([], [])


def test_whoever_is_interrupted_as_a_connection_is_looked_at_keeps_none() -> None:
    """The one that was taken is nobody's, and closed as such."""
    wire, kept = Wire([USUAL[1]]), Connections[DeadlineStream]()
    exchange.ask(kept, Way(Dialled([wire]), None, None), PLACE, SENT, PATIENCE, unnoticed).close()
    wire.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        exchange.ask(kept, Way(Dialled([]), None, None), PLACE, SENT, PATIENCE, unnoticed)
    assert kept.closed() == ([], [])


def test_a_reply_that_is_closed_twice_leaves_its_connection_to_who_has_it_by_then() -> None:
    """It does not wait for a third request, which would hear what the second one is answered."""
    kept = Connections[DeadlineStream]()
    opened = exchange.ask(kept, Way(Dialled([Wire([USUAL[1]])]), None, None), PLACE, SENT, PATIENCE, unnoticed)
    opened.close()
    stream, is_fresh = kept.take(PLACE.origin)
    assert stream is not None
    assert is_fresh
    kept.busy.add(stream)
    opened.close()
    assert kept.busy == {stream}
    assert kept.take(PLACE.origin) == (None, False)


async def test_whoever_is_cancelled_as_old_connections_are_closed_loses_none() -> None:
    """Each is closed, or waits to be."""
    wires, kept = [Wire([]) for _ in range(4)], Connections[AsyncDeadlineStream]()
    streams = [AsyncDeadlineStream(AsyncWire(wire)) for wire in wires]
    kept.busy.update(streams)
    assert [kept.give(PLACE.origin, stream, fresh=True) for stream in streams] == [[]] * 4
    asking = asyncio.create_task(
        exchange.ask_on_loop(kept, Way(AsyncDialled([]), None, None), PLACE, SENT, PATIENCE, unnoticed)
    )
    await asyncio.sleep(0)
    asking.cancel()
    assert isinstance((await asyncio.gather(asking, return_exceptions=True))[0], asyncio.CancelledError)
    _, waiting = kept.closed()
    assert [wire.is_closed for wire in wires] == [stream not in waiting for stream in streams] != [False] * 4


@pytest.mark.parametrize(
    ("writes", "packets"),
    [
        ([b"head", b"body", b""], [b"headbody", b""]),
        ([b"head", b""], [b"head"]),
        ([b"h" * 20_000, b"body"], [b"h" * 20_000, b"body"]),
        ([b"head", b"b" * 200_000, b"more"], [b"head" + b"b" * 200_000, b"more"]),
    ],
)
async def test_a_request_leaves_in_one_packet(writes: list[bytes], packets: list[bytes]) -> None:
    """Its head waits for its body, and at the latest leaves when the reply is waited for; in the order of writing."""
    wire, other = Wire([HEAD]), Wire([HEAD])
    stream, far = DeadlineStream(wire), AsyncDeadlineStream(AsyncWire(other))
    for data in writes:
        stream.write(data)
        await far.write(data)
    assert stream.read(100) == await far.read(100) == HEAD
    assert wire.packets == other.packets
    assert [data for data in wire.packets if data] == [data for data in packets if data]


async def test_who_refuses_a_request_is_heard() -> None:
    """A server may answer before it has taken the request, and close: its answer is read all the same."""
    reply = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
    for content in (SENT, SENT * 1000):
        wire, other = Wire([reply], refuses=True), Wire([reply], refuses=True)
        opened = exchange.ask(Connections(), Way(Dialled([wire]), None, None), PLACE, content, PATIENCE, unnoticed)
        far = await exchange.ask_on_loop(
            Connections(), Way(AsyncDialled([other]), None, None), PLACE, content, PATIENCE, unnoticed
        )
        assert (
            (opened.status, b"".join(opened.stream))
            == (far.status, b"".join([x async for x in far.stream]))
            == (413, b"no")
        )
