"""Chunks are joined under the HTTP client: it reads the same bytes, at the same time, and the same mistakes."""

from __future__ import annotations

import itertools

import h11
import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free.connections.framing import Framing
from langchain_openrouter_free.connections.network import AsyncDeadlineStream, DeadlineStream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HEADS = st.sampled_from(
    [
        HEAD,
        b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD,
        b"HTTP/1.1 200 OK\r\nTRANSFER-ENCODING:chunked \r\n\r\n",
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nX: transfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 40\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n",
        b"no HTTP at all\r\n\r\n",
    ]
)
PIECES = st.lists(st.one_of(st.binary(min_size=1, max_size=30), st.sampled_from([b"\r\n", b"0\r\n\r\n"])), max_size=8)
SIZES = st.sampled_from([b"%x\r\n", b"%X;name=value\r\n", b"%x \r\n", b"0%x\r\n"])
LINES = st.sampled_from([b"\r\n", b"\n"])
ENDS = st.sampled_from([b"0\r\n\r\n", b"0\r\nX-Trailer: yes\r\n\r\n", b"", b"zz\r\n", b"-1\r\n", b"0\n\n"])


def heard(reads: list[bytes], *, joined: bool) -> list[tuple[bytes, str]]:
    """Return what the HTTP client has of the body after each read, and how it stands."""
    client, framing = h11.Connection(h11.CLIENT), Framing()
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    body, story = b"", []
    for data in [*reads, b""]:
        read = framing.coarser(data) if joined and data else data
        if data and not read:
            story.append((body, "waits"))
            continue
        client.receive_data(read)
        try:
            while not isinstance(event := client.next_event(), h11.EndOfMessage | h11.ConnectionClosed | type):
                body += event.data if isinstance(event, h11.Data) else b""
            story.append((body, "waits" if event is h11.NEED_DATA else type(event).__name__))
        except h11.RemoteProtocolError:
            return [*story, (body, "is broken")]
        if not isinstance(event, type) or event is h11.PAUSED:
            break
    return story


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [piece for first, last in itertools.pairwise(at) if (piece := data[first:last])]


@given(HEADS, PIECES, SIZES, ENDS, LINES, st.lists(st.integers(0, 500), max_size=12))
def test_the_client_hears_the_same(
    head: bytes, pieces: list[bytes], size: bytes, end: bytes, line: bytes, places: list[int]
) -> None:
    """Whatever comes, in whatever cuts: after each read the same of the body, and in the end the same or a mistake."""
    body = b"".join(size % len(piece) + piece + line for piece in pieces)
    reads = cut(head + body + end, places)
    found, expected = heard(reads, joined=True), heard(reads, joined=False)
    # A wrong end of a chunk may be noticed with the line after it.
    assert found[: len(expected) - 1] == expected[:-1]
    assert found[-1] == expected[-1]


@given(st.binary(max_size=200), st.lists(st.integers(0, 500), max_size=5))
def test_nothing_is_lost_of_what_is_no_reply(noise: bytes, places: list[int]) -> None:
    """Bytes behind a head that it does not understand come as they were, and so does the next reply."""
    framing = Framing()
    reads = cut(b"HTTP/1.1 200 OK\r\n\r\n" + noise, places)
    assert b"".join(map(framing.coarser, reads)) == b"".join(reads)
    framing.begin()
    assert framing.coarser(HEAD + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n") == HEAD + b"2\r\nab\r\n0\r\n\r\n"


class Wire(httpcore.NetworkStream):
    """Writes down what it is asked for; gives the reads that it was made with."""

    def __init__(self, *reads: bytes, refuses: bool = False) -> None:
        self.reads, self.refuses = list(reads), refuses
        self.told: list[bytes] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.reads.pop(0)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.told.append(buffer)
        if self.refuses:
            raise httpcore.WriteError


class AsyncWire(httpcore.AsyncNetworkStream):
    """The same for who waits."""

    def __init__(self, *reads: bytes, refuses: bool = False) -> None:
        self._wire = Wire(*reads, refuses=refuses)
        self.told = self._wire.told

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the client's signature
        return self._wire.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._wire.write(buffer, timeout)


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
    wire, other = Wire(HEAD), AsyncWire(HEAD)
    stream, far = DeadlineStream(wire), AsyncDeadlineStream(other)
    for data in writes:
        stream.write(data)
        await far.write(data)
    assert stream.read(100) == await far.read(100) == HEAD
    assert wire.told == other.told
    assert [data for data in wire.told if data] == [data for data in packets if data]


async def test_who_refuses_a_request_is_heard() -> None:
    """A server may answer before it has taken the request, and close: its answer is read all the same."""
    stream, far = DeadlineStream(Wire(HEAD, refuses=True)), AsyncDeadlineStream(AsyncWire(HEAD, refuses=True))
    stream.write(b"head")
    await far.write(b"head")
    assert stream.read(100) == await far.read(100) == HEAD


async def test_a_read_that_holds_no_byte_of_the_body_is_no_end() -> None:
    """Half a line of the framing is waited out: no byte at all would mean that the reply is over."""
    reads = (HEAD + b"5", b"\r\n", b"hello\r", b"\n0\r\n\r\n", b"")
    stream, far = DeadlineStream(Wire(*reads)), AsyncDeadlineStream(AsyncWire(*reads))
    for expected in (HEAD, b"5\r\nhello\r\n", b"0\r\n\r\n", b""):
        assert stream.read(100) == await far.read(100) == expected
