"""Bytes, bodies, lists, pages and settings that nobody would send on purpose: only named errors may come of them.

`python tests/fuzzing.py [inputs]` (100,000) draws that many, spread over the targets, and prints how many each got;
`make test` draws a few hundred. Each input is a known good one that was damaged, or random JSON in its place. Before
that every recorded reply is cut off at every byte (`cuts.py`).
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cuts import bodies, cut
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import ABSENT
from wire_table import answer, err, event, sse, upstream

from langchain_openrouter_free import ChatOpenRouterFree, ConfigurationError
from langchain_openrouter_free.books import pages
from langchain_openrouter_free.books.funds import Funds
from langchain_openrouter_free.books.history import read_call
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.purse import Purse
from langchain_openrouter_free.catalogue.catalogue import Listing
from langchain_openrouter_free.catalogue.facts import facts_of
from langchain_openrouter_free.catalogue.fetching import Fetch, Fetched, Unpacked
from langchain_openrouter_free.catalogue.listings import decode, encode
from langchain_openrouter_free.configuration.reading import document
from langchain_openrouter_free.judging.answers import judge
from langchain_openrouter_free.judging.refusals import classify, classify_listing
from langchain_openrouter_free.judging.verdicts import Kind, verdict
from langchain_openrouter_free.protocol.wire import Assembly, Completion, ReplyError, ReplyReader
from langchain_openrouter_free.request.lookup import cost_of, day_limit_of
from langchain_openrouter_free.route.choosing import Chooser
from langchain_openrouter_free.route.fitness import Needs
from langchain_openrouter_free.words.replies import to_chunk, to_message

NOW = 1_790_000_000.0
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.just(10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
# What has broken parsers before.
NASTY = [
    b"", b"\xff\xfe", b"\x00", b"9" * 5000, b"[" * 20_000, b'{"a":' * 5_000, b"1e999", b"NaN", b'"\\ud800"', b"\r",
    b"\xef\xbb\xbf",
    b"data:" * 50, b": \n" * 50, b"data: [DONE]\n\n" * 3, b"-" * 300, b"null", b"[]", b"{}",
]  # fmt: skip
TOOL = {"index": 0, "id": "c", "function": {"name": "add", "arguments": '{"a": 1}'}}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "cost": 0.001, "cost_details": {"upstream_inference_cost": 0}}
THINKS = {"content": "a", "reasoning": "b", "reasoning_details": [{"type": "reasoning.text", "text": "b"}]}
STREAMS = [
    sse(event({"content": "four"}), event({}, "stop"), {"usage": USAGE, "choices": []}),
    sse(event({"tool_calls": [TOOL]}), event({"tool_calls": [TOOL]}, "tool_calls"), done=False),
    sse(event(THINKS), event({"refusal": "no"}), {**event({}, "error"), **err(502, "gone")}),
]
WHOLES = [answer({"content": "four"}, usage=USAGE), answer({"content": None, "tool_calls": [TOOL]}), answer(THINKS)]
RESET = {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1790035200000"}
REFUSALS: list[Any] = [
    err(429, "Rate limit exceeded: free-models-per-day. Add 10 credits", headers=RESET, limit_source="free_tier_daily"),
    err(
        429, "Rate limit exceeded: free-models-per-min.", headers=RESET, previous_errors=[{"code": 429, "message": "x"}]
    ),
    upstream(
        429, "a/b:free is temporarily rate-limited upstream.", retry_after_seconds=17, headers={"Retry-After": "9"}
    ),
    upstream(400, '{"error": {"message": "maximum context length is 4096 tokens. You requested 9000 tokens"}}'),
    err(402, "You requested up to 900 tokens, but can only afford 3"),
    err(404, "No endpoints found for a/b:free."),
    err(403, "a/b requires moderation", reasons=["violence"], flagged_input="x"),
]
ROWS: list[Any] = [
    {
        "id": "a/b:free",
        "canonical_slug": "a/b",
        "name": "A",
        "created": 1_780_000_000,
        "context_length": 131072,
        "architecture": {"modality": "text->text", "input_modalities": ["text"], "output_modalities": ["text"]},
        "pricing": {"prompt": "0", "completion": "0", "overrides": [{"utc_start": 815, "utc_end": 930, "prompt": "0"}]},
        "top_provider": {"context_length": 131072, "max_completion_tokens": 8192, "is_moderated": False},
        "supported_parameters": ["tools", "max_tokens"],
        "expiration_date": "2026-12-01",
        "benchmarks": {"artificial_analysis": {"intelligence_index": 40.0}},
    }
]
SETTINGS = """models = ["a/b:free", "auto"]
strategy = "ranked"
max_wait = 3.5
limits = {per_minute = 20, per_day = 50}
budget = "$1/day"
[timeouts]
connect = 2
models = {"a/*" = {first_token = 90}}
[profiles.fast]
strategy = 'fastest'
"""
FIELDS: dict[str, Any] = {
    "models": ["a/b:free"],
    "timeouts": {"connect": 2, "models": {"a/*": {"stall": 3}}},
    "limits": {"per_minute": 20},
    "budget": "$1/day",
    "daily_share": {"at_most": "50%"},
    "provider": {"max_price": {"prompt": 1}, "order": ["x"]},
    "wire": {"default": "stream"},
    "reasoning": {"effort": "low"},
    "strategy": "ranked",
    "max_wait": 1.0,
    "hedge_after": "p95",
    "on_interrupt": "restart",
    "stop": ["x"],
    "headers": {"X-Title": "y"},
    "base_url": "http://127.0.0.1:1/v1",
    "temperature": 0.5,
    "max_tokens": 10,
}


@st.composite
def damaged(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """Draw a good text with up to four pieces cut out, doubled, replaced or put in from another one."""
    data = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        other = draw(st.sampled_from([*good, *NASTY]))
        piece = draw(st.binary(max_size=6) | st.just(other) | st.just(bytes(data[start:end]) * 2))
        data[start:end] = piece
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@st.composite
def changed(draw: st.DrawFn, good: list[Any]) -> Any:
    """Draw a good JSON value with up to three of its values replaced by anything."""
    value = json.loads(json.dumps(draw(st.sampled_from(good))))
    for _ in range(draw(st.integers(0, 3))):
        spots = list(_spots(value))
        if not spots:
            return draw(JSON)
        holder, key = draw(st.sampled_from(spots))
        if draw(st.booleans()) or not isinstance(holder, dict):
            holder[key] = draw(JSON)
        else:
            del holder[key]
    return value


def _spots(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _spots(inner)


def _text(value: Any) -> bytes:
    return json.dumps(value).encode()


# -- the targets


def reply(data: bytes, status: int, kind: str, cuts: list[int]) -> None:
    """A reply in any pieces: deltas and a verdict, or an error that has one."""
    reader, assembly = ReplyReader(status, {"content-type": kind}), Assembly()
    try:
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
            for delta in reader.feed(data[start:end]):
                assembly.add(delta)
                to_chunk(delta)
        for delta in reader.end():
            assembly.add(delta)
    except ReplyError as error:
        classify(error.status, error.headers, error.body, now=NOW)
    said = assembly.completion()
    judge(said, status=status, complete=reader.finished or reader.ended)
    _message(said)


def _message(said: Completion) -> None:
    to_message(said, metadata={})
    to_message(said, metadata={}, v1=True)


def refusal(status: int | None, headers: dict[str, str], body: Any) -> None:
    """Any body with any status: a kind, a moment that is a number, a sentence that can be written; and a book."""
    for judged in (classify(status, headers, body, now=NOW), classify_listing(status or 0, headers, body, now=NOW)):
        assert judged.kind in Kind
        assert judged.until is None or judged.until == float(judged.until) < 1e12
        judged.reason.encode()
        book = Ledger().settled("a/b:free", judged, NOW)
        assert pages.decode(pages.encode(book)).cooldowns == book.cooldowns


def models(payload: Any, paid: bool) -> None:  # noqa: FBT001
    """Any list of models: who is free, what it can do, what it costs, whom a call may ask, and a copy of it."""
    fetch = Fetch("https://x.test/api/v1", paid=["c/d"] if paid else ())
    for _ in range(100):
        if fetch.asks() is None:
            break
        fetch.told(Fetched(200, payload if isinstance(payload, bytes) else _text(payload)))
    assert fetch.asks() is None
    listing = fetch.listing(NOW)
    if listing is None:
        return
    for model, rows in listing.rows.items():
        listing.doubt(model)
        listing.prices(model)
        for row in rows:
            facts_of(row)
    again = decode(encode(listing))
    assert set(again.rows) == set(listing.rows)
    Chooser(("auto", "a/*", "a/b:free"), Needs(), Listing)(listing, NOW)


def pages_of_state(text: str) -> None:
    """Any text where a page of the state should be."""
    for read in (pages.decode, Purse.decode, decode, read_call):
        try:
            read(text)
        except (ValueError, RecursionError):
            # What a store takes for a page that is to be set aside.
            continue


def questions(payload: Any) -> None:
    """Any reply to a question about the key, the credits or an answer's cost."""
    fetched = Fetched(200, payload if isinstance(payload, bytes) else _text(payload))
    limit, cost = day_limit_of(fetched), cost_of(fetched, "gen-1")
    assert limit is None or limit > 0
    assert cost is None or cost >= 0
    assert Funds.of(fetched.json, fetched.json).rps >= 0


def packed(data: bytes, coding: str) -> None:
    """Any bytes said to be packed."""
    try:
        unpacked = Unpacked(coding, 1000)
        unpacked.feed(data)
        unpacked.whole()
    except ValueError:
        return


@dataclass
class Config:
    """Any text as the file of settings."""

    path: Any

    def __call__(self, data: bytes) -> None:
        # A file that is written over may be waited for until the disk has it.
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(data)
        with contextlib.suppress(ConfigurationError):
            document(self.path)


def arguments(fields: dict[str, Any]) -> None:
    """Any values for the fields of the model."""
    with contextlib.suppress(ConfigurationError):
        ChatOpenRouterFree(api_key="sk-or-v1-x", state="memory", **fields)


KINDS = st.sampled_from(["text/event-stream", "application/json", "", "text/html"])
STATUSES = st.sampled_from([200, 200, 200, 200, 400, 402, 404, 429, 500, 503, 999])
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Retry-After", "X-RateLimit-Reset", "X-RateLimit-Limit", "X-RateLimit-Remaining", "Date", "Content-Type"]
    ),
    st.text(max_size=12) | st.integers(-(10**30), 10**30).map(str) | st.sampled_from(["nan", "inf", "1e400", "\u0663"]),
)
WIRE = [*(text.encode() for text in STREAMS), *map(_text, WHOLES), *map(_text, REFUSALS)]
LISTS = [{"data": ROWS}, ROWS, {"data": ROWS * 2, "links": {"next": "/models?page=2"}}]
BOOK = Ledger().settled("a/b:free", verdict(Kind.BROKEN), NOW)
PAGES = [pages.encode(BOOK).encode(), Purse().encode().encode(), encode(Listing.of(ROWS, NOW) or Listing()).encode()]
MONEY: list[Any] = [
    {"data": {"free_model_daily_requests": {"limit": 50, "used": 3}, "limit_remaining": 2.5, "is_free_tier": True}},
    {"data": {"total_credits": 10, "total_usage": 2.5, "total_cost": 0.0012}},
]


@st.composite
def replies(draw: st.DrawFn) -> tuple[bytes, int, str, list[int]]:
    """Draw a damaged reply, its head, and where it is cut."""
    data = draw(damaged(WIRE) | st.binary(max_size=60) | changed([*WHOLES, *REFUSALS]).map(_text))
    return data, draw(STATUSES), draw(KINDS), draw(st.lists(st.integers(0, len(data)), max_size=5))


BODIES = damaged(WIRE) | changed(REFUSALS) | changed(REFUSALS).map(_text) | JSON | st.text(max_size=30)
_LISTS = changed(LISTS) | damaged([_text(one) for one in LISTS]) | JSON
FIELD_VALUES = changed([FIELDS]).filter(lambda value: isinstance(value, dict) and all(map(str.isidentifier, value)))


def targets(folder: Any) -> dict[str, tuple[st.SearchStrategy[Any], Callable[..., None]]]:
    """Return name -> (arguments, what to do with them)."""
    return {
        "replies": (replies(), reply),
        "refusals": (st.tuples(st.none() | STATUSES, HEADERS, BODIES), refusal),
        "lists of models": (st.tuples(_LISTS, st.booleans()), models),
        "pages of the state": (
            st.tuples(damaged(PAGES).map(lambda data: data.decode("utf-8", "replace"))),
            pages_of_state,
        ),
        "questions": (st.tuples(changed(MONEY) | damaged([_text(one) for one in MONEY]) | JSON), questions),
        "packed bytes": (
            st.tuples(st.binary(max_size=40), st.text(max_size=4) | st.sampled_from(["gzip", "br"])),
            packed,
        ),
        "files of settings": (st.tuples(damaged([SETTINGS.encode()])), Config(folder / "openrouter-free.toml")),
        "arguments": (st.tuples(FIELD_VALUES), arguments),
    }


# How dear an input is, to spread the time.
SHARES = {"replies": 4, "refusals": 4, "lists of models": 2, "files of settings": 2, "arguments": 1}


def fuzz(name: str, folder: Any, inputs: int) -> int:
    """Try one target with so many inputs; return how many there were."""
    drawn, target = targets(folder)[name]
    count = 0

    @settings(max_examples=inputs, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(drawn)
    def run(values: Any) -> None:
        nonlocal count
        count += 1
        target(*values)

    run()
    return count


def cut_off() -> None:
    """Cut every recorded reply at every byte, and print how many cuts there were."""
    began, replies = time.monotonic(), list(bodies())
    cuts = sum(cut(body, range(len(body.raw))) for body in replies)
    took = f"{time.monotonic() - began:.0f} s" if replies else f"skipped, {ABSENT}"
    sys.stdout.write(f"cut off: {cuts} cuts of {len(replies)} recorded replies, {took}\n")
    sys.stdout.flush()


def main() -> None:
    """Do what the command line says."""
    import logging  # noqa: PLC0415
    import tempfile  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    logging.getLogger("langchain_openrouter_free").setLevel(logging.CRITICAL)
    inputs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    cut_off()
    with tempfile.TemporaryDirectory() as folder:
        names = list(targets(Path(folder)))
        parts = sum(SHARES.get(name, 1) for name in names)
        for name in names:
            began = time.monotonic()
            found = fuzz(name, Path(folder), inputs * SHARES.get(name, 1) // parts + 1)
            sys.stdout.write(f"{name}: {found} inputs, {time.monotonic() - began:.0f} s\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
