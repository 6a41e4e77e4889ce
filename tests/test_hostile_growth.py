"""A server that means harm, for months: nothing of what it says makes a file or this process grow without end."""

from __future__ import annotations

import gzip
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from driving import PATHS, TWENTY, drive, make
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.utils.json import parse_partial_json
from test_hostile_server import JSON, WELL, greedily_answered, router, serving
from test_list_client import ZERO, refresh, reply_of, saying

from langchain_openrouter_free import AllModelsFailed, NoSuitableModel, StreamInterrupted
from langchain_openrouter_free.books import pages
from langchain_openrouter_free.books.history import OTHERS, CallRecord, Totals
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.tripwire import Bill
from langchain_openrouter_free.catalogue import facts
from langchain_openrouter_free.catalogue.catalogue import LONGEST_ID, MOST_ENTRIES, Listing
from langchain_openrouter_free.catalogue.fetching import MOST_BYTES, MOST_VALUES
from langchain_openrouter_free.catalogue.listings import LISTINGS, encode
from langchain_openrouter_free.errors import AttemptRecord, OpenRouterFreeError
from langchain_openrouter_free.judging.refusals import classify
from langchain_openrouter_free.judging.traits import Lesson
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.protocol import floods
from langchain_openrouter_free.protocol.wire import Assembly, Delta, ReplyReader, ToolDelta
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.simulator.reply import Reply
from langchain_openrouter_free.testing import FakeClock
from langchain_openrouter_free.words.blanks import MOST, Blanks

NOW = 1_790_000_000.0
DAY = 86_400.0


def named(number: int) -> str:
    """A name as long as one may be."""
    return f"{'x' * (LONGEST_ID - 16)}/{number:09}:free"


# -- lists of models


class _Endless(BaseHTTPRequestHandler):
    """A list of a million models with names of a kilobyte, for as long as somebody reads it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        rows = json.dumps({"id": f"{'x' * 1000}:free", "pricing": ZERO}) + ","
        with suppress(OSError):
            self.wfile.write(b'{"data": [')
            for _ in range(1000):
                self.wfile.write(rows.encode() * 1000)
                self.server.megabytes += 1  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_a_list_of_a_million_models_is_not_read_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """Of a gigabyte of names a few megabytes are read."""
    with serving(lambda _: WELL) as server:
        server.RequestHandlerClass, server.megabytes = _Endless, 0  # type: ignore[attr-defined]
        router(server).refresh()
        assert "more than 8388608 bytes" in caplog.text
        assert MOST_BYTES // 1_000_000 <= server.megabytes < 100  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1"])
def test_a_list_of_too_many_values_is_not_read(value: bytes, sim: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """It has fewer bytes than are too many, and would hold the process up for seconds: the last good copy serves."""
    good = refresh(make(sim, TWENTY[:2]), "sync")
    body = b'{"data": [' + (value + b",") * 2_500_000 + value + b"]}"
    assert len(body) < MOST_BYTES
    saying(sim, lambda _: reply_of(body))
    assert refresh(make(sim, TWENTY[:2]), "sync") == good
    assert f"more than {MOST_VALUES} values" in caplog.text


@pytest.mark.parametrize("size", [1, 1000])
def test_a_list_of_too_many_models_is_none(size: int) -> None:
    """Neither in one piece nor in pages, were they all of one name."""
    rows = [{"id": f"a/{number % size}:free"} for number in range(MOST_ENTRIES + 1)]
    assert Listing.of(rows[:-1], NOW) is not None
    assert Listing.of(rows, NOW) is None
    with Simulator() as sim:
        model = make(sim, TWENTY[:2])
        good = refresh(model, "sync")

        def page(request: Any) -> Reply:
            number = int(request.query.partition("=")[2] or 0)
            named = [{"id": f"a/{number}-{row % size}:free", "pricing": ZERO} for row in range(3000)]
            return reply_of(json.dumps({"data": named, "links": {"next": f"?n={number + 1}"}}).encode())

        saying(sim, page)
        assert refresh(model, "sync") == good


def test_a_name_that_is_too_long_is_no_name() -> None:
    """Its row is left out, as any that is broken."""
    listing = Listing.of([{"id": "a" * LONGEST_ID}, {"id": "a" * (LONGEST_ID + 1)}], NOW)
    assert listing is not None
    assert list(listing.rows) == ["a" * LONGEST_ID]


@pytest.mark.parametrize("char", ["\n", "\x1b[2J", "\0", "\u202e", "\ud800"])
def test_a_name_that_would_write_in_a_log_is_no_name(
    char: str, sim: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """It is listed, and nearest to one that the user names: nobody is told of it."""
    listed = [{"id": name, "pricing": ZERO} for name in (f"a/{char}b:free", "a/c:free")]
    saying(sim, lambda _: reply_of(json.dumps({"data": listed}).encode()))
    with pytest.raises(NoSuitableModel):
        make(sim, ["a/b:free"]).invoke("hi")
    assert "nearest to it are a/c:free" in caplog.text
    assert f"a/{char}" not in caplog.text


def test_lists_that_change_wholly_each_hour_are_forgotten() -> None:
    """What is kept of the models that have vanished is bounded in number and in size, on the disk and in memory."""
    account = "hostile-growth"
    for hour in range(20):
        rows = [{"id": named(hour * 1000 + row), "about": "x" * 20_000 * (row < 10)} for row in range(1000)]
        listing = Listing.of(rows, NOW + hour * 3600)
        assert listing is not None
        assert LISTINGS.keep(account, listing, listing.at)
        ids = [named(-hour * 1000 - row) for row in range(1000)]
        LISTINGS.usable(account, ids, (), listing.at + 600, only=False)
        for model in ids:
            LISTINGS.refused(account, model, "gone")
            LISTINGS.first_time(account, model)
    last, kept = LISTINGS.last(account), LISTINGS._kept[account]
    assert last is not None
    assert {int(model[-14:-5]) // 1000 for model in last.absent} == {18}, "the latest are remembered"
    assert len(last.absent) == 300
    assert len(encode(last)) < 1_000_000
    assert max(len(kept.sought), len(kept.refused), len(kept.said)) == 2000
    assert kept.refused.keys() == {named(-hour * 1000 - row) for hour in (18, 19) for row in range(1000)}


def test_words_of_models_are_remembered_only_where_they_are_short() -> None:
    """Sets of words outlive their list, since models share them."""
    before = len(facts._SETS)
    for number in range(300):
        long, many = [f"word {number}", "x" * 5000], [f"{number} {one}" for one in range(100)]
        for words in (long, many, [f"odd {number}", 3], [f"odd {number}", []]):
            told = facts.facts_of({"id": "a/b:free", "supported_parameters": words})
            assert told is not None
            assert told.parameters == frozenset(word for word in words if isinstance(word, str))
    assert len(facts._SETS) == before
    for number in range(3000):
        facts.facts_of({"id": "a/b:free", "supported_parameters": [f"word {number}"]})
    assert len(facts._SETS) <= 1024


# -- what is remembered of models


def test_the_book_of_an_account_is_bounded_however_many_models_there_were() -> None:
    """Each thing that is known of a model is known of some hundred at most, those that were asked last."""
    book = Ledger()
    for number in range(700):
        now, model = NOW + number, named(number)
        book = book.settled(model, verdict(Kind.MODEL_LIMIT, limit=5, window="day", until=now + 3600), now)
        book = book.settled(model, verdict(Kind.OK), now, lesson=Lesson(done=frozenset({"tools"}), answered=True))
        book = book.settled(model, verdict(Kind.BROKEN), now, lesson=Lesson(refused=frozenset({"tools"})))
        book = book.billed(Bill(model, None, 5), now)
    known = [book.cooldowns, book.health, book.metered, book.traits, book.quarantined]
    assert [len(models) for models in known] == [300, 200, 300, 200, 300]
    assert all(named(699) in models for models in known)
    assert len(pages.encode(book)) < 1_000_000
    assert pages.decode(pages.encode(book)).quarantined == book.quarantined


def test_counts_of_old_calls_are_bounded_however_many_models_there_were() -> None:
    """Nothing is lost but names, and the oldest days."""
    rows = []
    for day in range(150):
        models = [named(day * 500 + number) for number in range(500)]
        tried = tuple(AttemptRecord(model, "broken", "model", 500, "", None, 0.1) for model in models)
        rows.append(CallRecord(NOW + day * DAY, "default", "failed", attempts=tried).encode())
    totals = Totals().plus(rows[:75]).plus(rows[75:])
    assert len(totals.encode()) < 3_000_000
    assert sum(map(len, totals.days.values())) <= 10_000
    assert [sum(sum(counts.values()) for counts in models.values()) for models in totals.days.values()] == [500] * 99
    last = totals.days[max(totals.days)]
    assert last[OTHERS] == {"broken": 400}


@pytest.mark.filterwarnings("ignore::langchain_openrouter_free.FreeModelBilled")
def test_what_it_says_makes_no_row_and_no_page_long(tmp_path: Path) -> None:
    """A thousand characters of each attempt, and a page of its usual size, whatever 36 kB words are said."""
    path = tmp_path / "state.sqlite3"
    greedily_answered(path, 20)
    with sqlite3.connect(path) as file:
        texts = [CallRecord.decode(text) for (text,) in file.execute("SELECT text FROM history")]
        (longest,) = file.execute("SELECT max(length(text)) FROM pages WHERE key NOT LIKE 'catalogue:%'").fetchone()
    file.close()
    assert sum(len(call.attempts) for call in texts) > 40
    assert max(len(call.encode()) / (len(call.attempts) + 1) for call in texts) < 1000
    assert longest < 10_000


# -- waits

ABSURD = ["1e999", "-1", "nan", "inf", "9" * 5000, "1e300", "99999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "\xb2", ""]
SAYING: dict[str, Callable[[str], tuple[dict[str, str], dict[str, Any]]]] = {
    "Retry-After": lambda wait: ({"Retry-After": wait}, {}),
    "X-RateLimit-Reset": lambda wait: ({"X-RateLimit-Reset": wait, "X-RateLimit-Limit": "20"}, {}),
    "in the body": lambda wait: ({}, {"retry_after_seconds": wait, "headers": {"Retry-After": wait}}),
}
REFUSING = {
    "the account's day": (429, "Rate limit exceeded: free-models-per-day"),
    "the account's minute": (429, "Rate limit exceeded: free-models-per-min"),
    "a model": (429, "Provider returned error"),
    "nobody knows whose": (429, "slow down"),
    "out of order": (503, "overloaded"),
}


@pytest.mark.parametrize("wait", ABSURD)
@pytest.mark.parametrize("place", SAYING)
@pytest.mark.parametrize("whose", REFUSING)
def test_an_absurd_wait_is_none(whose: str, place: str, wait: str) -> None:
    """Nobody is left alone for longer than a window lasts, or we would guess."""
    status, words = REFUSING[whose]
    headers, more = SAYING[place](wait)
    body = json.dumps({"error": {"code": status, "message": words, "metadata": more}}).encode()
    clock = FakeClock()
    with serving(lambda model: (status, JSON | headers, body) if model == TWENTY[0] else WELL) as server:
        model = router(server, clock=clock)
        with suppress(AllModelsFailed):
            drive(model, PATHS[0])
        book = model._accounts().look()
        hold, now = book.hold(clock.now()), clock.now()
        assert book.rests_until(TWENTY[0], now) - now <= 26 * 3600
        assert hold is None or hold.until - now <= 25 * 3600
        clock.advance(27 * 3600)
        assert book.hold(clock.now()) is None
        assert book.rests_until(TWENTY[0], clock.now()) <= clock.now()


def test_the_bounds_hold_together() -> None:
    """As many entries of names as long as they may be are still read."""
    assert MOST_ENTRIES * LONGEST_ID < MOST_BYTES


# -- time


@pytest.mark.parametrize("piece", [" ", "\n", "tool_calls(", "tool_calls_", "status ", '"user_id":', "Bearer ", "{'"])
def test_no_words_keep_a_process_busy(piece: str) -> None:
    """A megabyte of what a rule begins to fit again and again takes no longer than other words."""
    words = piece * (1_000_000 // len(piece))
    errors = [{"message": words}, {"message": "Provider returned error", "metadata": {"raw": words}}]
    bodies = [json.dumps({"error": error}).encode() for error in errors]
    began = time.process_time()
    for body in (*bodies, words.encode()):
        assert len(classify(400, None, body, now=NOW).reason) <= 400
    assert time.process_time() - began < 5.0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a\\" \n\t', max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a\\" ', max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.integers(0, 150), st.sampled_from([" ", "\n", "\t "]), st.integers(1, 40), st.integers(0, 400))
def test_blanks_between_the_parts_are_spared(value: Any, indent: int, blank: str, cut: int, end: int) -> None:
    """What is handed out says the same, however it is cut; a text in it stays as it is, whatever is in it."""
    told = json.dumps(value, indent=indent, ensure_ascii=False) + blank * end
    blanks = Blanks()
    deltas = [Delta(tool_calls=[ToolDelta(1, arguments=told[at : at + cut])]) for at in range(0, len(told), cut)]
    kept = "".join(blanks.without(delta).tool_calls[0].arguments for delta in deltas)
    assert json.loads(kept) == value
    assert len(kept) - len(kept.rstrip()) <= MOST
    if indent < 5 and not end:
        assert kept == told


def always(reply: tuple[Any, ...]) -> Callable[[str], tuple[Any, ...]]:
    return lambda _: reply


def calling(calls: list[dict[str, Any]], finish: str = "tool_calls") -> bytes:
    """A stream of pieces of tool calls, an event each."""
    events = [{"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]} for call in calls]
    events += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"


@pytest.mark.parametrize("path", PATHS)
def test_calls_without_end_take_no_minutes(path: str) -> None:
    """LangChain adds up their chunks in the square of their number."""
    calls = [{"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": f'{{"n": {n}}}'}} for n in range(4000)]
    with serving(lambda _: (200, WELL[1], calling(calls))) as server:
        began = time.process_time()
        # By the cuts of the bytes: some of the calls may have been handed out.
        with pytest.raises((StreamInterrupted, AllModelsFailed), match="more tool calls"):
            drive(router(server), path)
        assert time.process_time() - began < 10.0


@pytest.mark.parametrize("stated", [True, False])
def test_calls_in_one_event_take_no_minutes(*, stated: bool) -> None:
    """With an index of their own or without, each is told from all before it."""
    calls = [{"id": f"c{n}", "function": {"name": "f"}} | ({"index": n} if stated else {}) for n in range(20_000)]
    event = json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]})
    began = time.process_time()
    (delta,) = ReplyReader(200, WELL[1]).feed(f"data: {event}\n\n".encode())
    assert [call.index for call in delta.tool_calls] == list(range(20_000))
    assert time.process_time() - began < 4.0


def piece_of(kind: str, said: str) -> dict[str, Any]:
    if kind == "thoughts":
        return {"reasoning": said, "reasoning_details": [{"type": "reasoning.text", "text": said}]}
    return {"tool_calls": [{"index": 0, "function": {"arguments": said}}]}


def told_in_pieces(kind: str, said: list[str], *, end: bool) -> bytes:
    """A stream of thoughts, or of one tool call whose argument is a text."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a": "'}}
    deltas = [piece_of(kind, one) for one in said]
    if kind == "arguments":
        deltas = [{"tool_calls": [call]}, *deltas, piece_of(kind, '"}')]
    body = b"".join(b"data: %b\n\n" % json.dumps({"choices": [{"delta": delta}]}).encode() for delta in deltas)
    finish = {"choices": [{"delta": {"content": "well" * (kind == "thoughts")}, "finish_reason": "stop"}]}
    return body + (b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(finish).encode()) * end


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["thoughts", "arguments"])
def test_thoughts_and_arguments_without_end_take_no_minutes(
    path: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LangChain adds them up in the square of their number, and once more when the stream has failed.

    How long it takes for the whole bound is a matter of its version: a quarter of it is played.
    """
    if kind == "arguments" and "stream" in path:
        began = time.process_time()
        with suppress(ValueError):
            parse_partial_json("a" * 16_384)
        if time.process_time() - began > 0.2:
            pytest.skip("this langchain-core reads a piece of arguments in the square of its length")
    most = {"thoughts": floods.MOST_THOUGHTS // 4, "arguments": floods.MOST_ARGUMENTS // 4}
    monkeypatch.setattr(floods, "MOST_THOUGHTS", most["thoughts"])
    monkeypatch.setattr(floods, "MOST_ARGUMENTS", most["arguments"])
    body = told_in_pieces(kind, ["a" * 500] * (most[kind] // 500 + 2), end=False)
    with serving(lambda _: (200, WELL[1], body)) as server:
        began = time.process_time()
        with pytest.raises((StreamInterrupted, AllModelsFailed), match="characters of thoughts"):
            drive(router(server, models=TWENTY[:1]), path)
        assert time.process_time() - began < 20.0


@pytest.mark.parametrize("kind", ["thoughts", "arguments"])
@pytest.mark.parametrize("cut", [97, 4096, 10**9])
def test_what_is_handed_out_as_one_is_the_same(kind: str, cut: int) -> None:
    """However the bytes are cut; short answers come piece by piece as ever."""
    for times in (3, 5_000):
        body = told_in_pieces(kind, [f"{n:05}" for n in range(times)], end=True)
        reader, assembly, deltas = ReplyReader(200, WELL[1]), Assembly(), []
        for at in range(0, len(body), cut):
            deltas += reader.feed(body[at : at + cut])
        deltas += reader.end()
        for delta in deltas:
            assembly.add(delta)
        said, whole = assembly.completion(), "".join(f"{n:05}" for n in range(times))
        assert (said.reasoning or said.tool_calls[0].arguments) == (
            whole if kind == "thoughts" else f'{{"a": "{whole}"}}'
        )
        assert len(said.reasoning_details) == times * (kind == "thoughts")
        assert (len(deltas) < times) == (times > 3 and cut > 97)


class TickingClock(FakeClock):
    """A second passes whenever it is looked at."""

    def monotonic(self) -> float:
        self.advance(1.0)
        return super().monotonic()


@pytest.mark.parametrize("path", PATHS)
def test_what_is_unpacked_keeps_to_the_deadline(path: str) -> None:
    """A few packed bytes hold work for a minute, and while they are read no network asks what time it is."""
    packed = (200, {**WELL[1], "Content-Encoding": "gzip"}, gzip.compress(b": no word\n\n" * 1_500_000, 1))
    with serving(lambda model: packed if model == TWENTY[0] else WELL) as server:
        assert drive(router(server, clock=TickingClock()), path).outcomes == ["timed_out", "ok"]


def test_blanks_in_front_of_a_reply_are_read_once() -> None:
    """Some gateways send them while they wait; how many there were does not matter to the next one."""
    reader = ReplyReader(200, JSON)
    began = time.process_time()
    for _ in range(60_000):
        reader.feed(b" " * 1000)
    reader.feed(b'{"choices": [{"message": {"content": "well"}}]}')
    assert [delta.text for delta in reader.end()] == ["well"]
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize("path", ["stream", "astream"])
@pytest.mark.parametrize("begin", ["", '{"a": 1, ', '{"a": "\\""'])
def test_a_call_that_gets_stuck_in_blanks_takes_no_minutes(path: str, begin: str) -> None:
    """Neither where they come at once nor one by one."""
    for pieces in ([begin, "\n" * 50_000], [begin, *["\n"] * 3000]):
        calls = [{"index": 0, "id": "1", "function": {"name": "f", "arguments": piece}} for piece in pieces]
        with serving(always((200, WELL[1], calling(calls)))) as server:
            began = time.process_time()
            with suppress(OpenRouterFreeError):
                drive(router(server), path)
            assert time.process_time() - began < 10.0
