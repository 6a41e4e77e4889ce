"""The table of verdicts: what the service said, whom it concerns, until when, what comes next."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_table import ANSWERS, MIDNIGHT, NOW, REFUSALS, Case, event, sse

from langchain_openrouter_free.judging.answers import judge
from langchain_openrouter_free.judging.refusals import _judged, classify, classify_listing
from langchain_openrouter_free.judging.verdicts import POLICIES, Kind, Scope, Verdict, verdict
from langchain_openrouter_free.protocol.evidence import gather
from langchain_openrouter_free.protocol.wire import Assembly, ReplyError, ReplyReader

SHARED = Path(__file__).parents[2] / "shared" / "openrouter" / "wire" / "cases.jsonl"


def read_whole(status: int, headers: dict[str, str], raw: bytes, *, piece: int = 7) -> Verdict:
    """Read a reply in small pieces, as a socket gives it, and judge it."""
    reader, said = ReplyReader(status, headers), Assembly()
    try:
        for at in range(0, len(raw), piece):
            for delta in reader.feed(raw[at : at + piece]):
                said.add(delta)
        for delta in reader.end():
            said.add(delta)
    except ReplyError as error:
        return classify(error.status, error.headers, error.body, now=NOW)
    if not (reader.finished or (reader.ended and not reader.lost)):
        return verdict(Kind.CUT, status=status)
    return judge(said.completion(), status=status)


@pytest.mark.parametrize("case", [*REFUSALS, *ANSWERS], ids=lambda case: case.id)
def test_each_shape_has_its_verdict(case: Case) -> None:
    """Each known shape of a reply gets its kind, its scope and its moment."""
    found = read_whole(case.status, case.headers, case.raw)
    assert (found.kind, found.scope) == (case.kind, case.scope), found.reason
    if case.until is not None:
        assert found.until == pytest.approx(case.until)
    elif case.id.startswith("429-"):
        assert found.until is None


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.id)
def test_what_was_said_before_means_the_same_at_any_time(case: Case) -> None:
    """A verdict is remembered with its bytes; one that has a moment is judged anew."""
    for now in (NOW, NOW + 7200, NOW):
        fresh = _judged(gather(case.status, case.headers, case.raw), case.status, now)
        assert classify(case.status, case.headers, case.raw, now=now) == fresh


_ERROR_BODIES = [
    case
    for case in REFUSALS
    if case.status != 200 and isinstance(case.body, dict) and isinstance(case.body.get("error"), dict)
]


@pytest.mark.parametrize("case", _ERROR_BODIES, ids=lambda case: case.id)
def test_each_shape_survives_the_stream_dialect(case: Case) -> None:
    """An error object means the same when it comes as the only event of a 200 stream."""
    body = {**case.body, "choices": [], "error": {"code": case.status, **case.body["error"]}}
    raw = f": OPENROUTER PROCESSING\n\ndata: {json.dumps(body)}\n\n".encode()
    assert read_whole(200, {"content-type": "text/event-stream"}, raw).scope == case.scope


# What gateways do to a body that they hand on, each time to the error in it.
_ON_THE_WAY: dict[str, Callable[[dict[str, Any]], Any]] = {
    "blanks": lambda error: {**error, "message": error["message"].replace(" ", "  ")},
    "hard blanks": lambda error: {**error, "message": error["message"].replace(" ", "\u00a0")},
    "capitals": lambda error: {**error, "message": error["message"].upper()},
    "words in front": lambda error: {**error, "message": f"Error: {error['message']} (request id: abc-123)"},
    "more fields": lambda error: {**error, "trace": [1, {"of": None}]},
    "a code in words": lambda error: {**error, "code": str(error["code"])},
    "an error of its own": lambda error: {"error": error},
}


_SPOKEN = [case for case in _ERROR_BODIES if isinstance(case.body["error"].get("message"), str)]


@pytest.mark.parametrize("how", _ON_THE_WAY)
@pytest.mark.parametrize("case", _SPOKEN, ids=lambda case: case.id)
def test_each_shape_survives_a_gateway(case: Case, how: str) -> None:
    """Whatever stands around the words, they mean the same."""
    error = _ON_THE_WAY[how]({"code": case.status, **case.body["error"]})
    found = classify(case.status, case.headers, json.dumps({**case.body, "error": error}), now=NOW)
    assert (found.kind, found.scope) == (case.kind, case.scope)


@pytest.mark.parametrize(
    ("said", "tokens"), [("2666.", 2666), ("62186", 62186), ("1,234, not more", 1234), ("9" * 12, None)]
)
def test_how_many_tokens_the_balance_pays_for(said: str, tokens: int | None) -> None:
    body = {"error": {"code": 402, "message": f"This request requires fewer max_tokens; you can only afford {said}"}}
    assert classify(402, {}, body, now=NOW).affords == tokens


def test_the_older_words_for_it() -> None:
    """Recorded 2025-03."""
    said = "More credits are required to run this request. 128000 token capacity required, 19484 available."
    found = classify(402, {}, {"error": {"code": 402, "message": said}}, now=NOW)
    assert (found.kind, found.affords) == (Kind.TOO_DEAR, 19484)


# Two recordings hold the same body for the same message; only the request (a chain of two unknown ids, which
# this package never sends) made one of them the request's fault. For a single id it is the model's.
_TWINS = {"400-chain-invalid-id": "model"}


def _shared_cases() -> list[dict[str, Any]]:
    if not SHARED.exists():
        return []
    return [json.loads(line) for line in SHARED.read_text().splitlines() if line.strip()]


@pytest.mark.skipif(not SHARED.exists(), reason="the folder of recorded replies is not beside this checkout")
def test_the_recorded_cases_are_all_there() -> None:
    """The evidence folder holds the 115 cases that the next test reads."""
    assert len(_shared_cases()) >= 115


@pytest.mark.parametrize("case", _shared_cases(), ids=lambda case: case["id"])
def test_recorded_reply_gets_its_scope(case: dict[str, Any]) -> None:
    """Each recorded or documented reply concerns whom its collector says it concerns."""
    raw = (case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])).encode()
    headers = case["headers"] or {}
    if case["kind"] in ("models", "key", "credits"):
        found = classify_listing(case["status"], headers, raw, now=NOW)
    else:
        found = read_whole(case["status"], headers, raw, piece=512)
    expected = _TWINS.get(case["id"], case["scope"])
    if expected == "unclear":
        # Nothing in the reply says whose it is: the reading must be one from which the route goes on.
        assert found.scope in (Scope.MODEL, Scope.PROVIDER)
    else:
        assert found.scope == expected, found


def test_every_kind_has_a_policy() -> None:
    """No kind falls through the table."""
    assert set(POLICIES) == set(Kind)


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_a_verdict(status: int) -> None:
    """Any status, with and without a body, is judged, and only a 200 can be an answer."""
    for body in (b"", b"{}", b"<html>", b'{"error": {}}', b'{"error": null}', b'{"error": "x"}', b"null"):
        found = read_whole(status, {}, body)
        assert found.kind in POLICIES
        assert not found.ok


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["error", "metadata", "message", "code", "raw", "headers", "choices", "delta", "message", "tool_calls",
             "previous_errors", "routing_funnel", "availability", "Retry-After", "X-RateLimit-Reset", "usage",
             "function", "arguments", "content", "reasoning_details", "ineligibility_reasons", "finish_reason", "index"]
        )
        | st.text(max_size=5),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@given(status=st.integers(100, 599), body=json_values, headers=st.dictionaries(st.text(), st.text(), max_size=3))
def test_no_body_breaks_the_reader(status: int, body: object, headers: dict[str, str]) -> None:
    """Whatever JSON comes, in whatever place: a verdict, never another exception, never a far moment."""
    found = read_whole(status, headers, json.dumps(body).encode(), piece=64)
    assert found.until is None or NOW <= found.until <= NOW + 25 * 3600


@given(raw=st.binary(max_size=300), streamed=st.booleans(), piece=st.integers(1, 40))
def test_no_bytes_break_the_reader(raw: bytes, *, streamed: bool, piece: int) -> None:
    """Whatever bytes come, as a stream or not: a verdict."""
    headers = {"Content-Type": "text/event-stream"} if streamed else {}
    assert read_whole(200, headers, raw, piece=piece).kind in POLICIES


@given(piece=st.integers(1, 200))
def test_pieces_do_not_matter(piece: int) -> None:
    """A stream says the same however the socket cuts it: behind a byte order mark, and up to its `[DONE]`."""
    more = 'data: [DONE]\r\n\r\ndata: {"choices":[{"delta":{"content":"another"}}]}\r\n\r\n'
    text = '\ufeff: x\r\n\r\ndata: {"choices":[{"delta":{"content":"grün 🌲"},"finish_reason":"stop"}]}\r\n\r\n'
    raw = (text + more).encode()
    reader, said = ReplyReader(200, {"content-type": "text/event-stream"}), Assembly()
    for at in range(0, len(raw), piece):
        for delta in reader.feed(raw[at : at + piece]):
            said.add(delta)
    assert said.completion().text == "grün 🌲"


@pytest.mark.parametrize("begin", ["", "\r\n \r\n", ": x\n\n", "event: message\n", "id: 1\n"])
@pytest.mark.parametrize("piece", range(1, 9))
def test_a_stream_without_its_label_is_one(begin: str, piece: int) -> None:
    """The first packet may hold no more than the beginning of the word by which a stream is known."""
    raw = f'{begin}data: {{"choices":[{{"delta":{{"content":"a word"}},"finish_reason":"stop"}}]}}\n\n'.encode()
    reader, said = ReplyReader(200, {"content-type": "application/json"}), Assembly()
    for at in range(0, len(raw), piece):
        for delta in reader.feed(raw[at : at + piece]):
            said.add(delta)
    assert said.completion().text == "a word"


@pytest.mark.parametrize("last", [{}, {"delta": {}}, {"delta": None}])
def test_a_message_behind_its_pieces_is_not_said_twice(last: dict[str, Any]) -> None:
    """A stream that ends with the whole message says it once; one of nothing but messages is read by them."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": "two words", "tool_calls": [call]}
    whole = {"choices": [{"index": 0, **last, "message": message, "finish_reason": "stop"}]}
    pieces = [event({"content": "two "}), event({"content": "words"}), event({"tool_calls": [call]})]
    messages = [{"choices": [{"message": {"content": word}}]} for word in ("two ", "wor")]
    rest = {"choices": [{"message": {"content": "ds", "tool_calls": [call]}, "finish_reason": "stop"}]}
    for events in ([*pieces, whole], [whole], [*messages, rest]):
        reader, said = ReplyReader(200, {"content-type": "text/event-stream"}), Assembly()
        for delta in [*reader.feed(sse(*events).encode()), *reader.end()]:
            said.add(delta)
        assert said.completion().text == "two words"
        assert [one.arguments for one in said.completion().tool_calls] == ['{"a": 1}']


def test_the_later_of_two_deadlines_wins() -> None:
    """Two sources that contradict each other: the later moment counts."""
    body = {
        "error": {
            "code": 429,
            "message": "free-models-per-day",
            "metadata": {"headers": {"X-RateLimit-Reset": "1790000100000"}},
        }
    }
    found = classify(429, {"x-ratelimit-reset": str(int(MIDNIGHT * 1000))}, body, now=NOW)
    assert found.until == MIDNIGHT


@pytest.mark.parametrize(
    "said",
    [
        "Invalid key: sk-or-v1-0123456789abcdef given",
        "Authorization: Bearer sk-or-v1-0123456789abcdef",
        'headers: {"authorization":"bearer 0123456789abcdef"}',
        "sk-or-v1-0123456789abcd",
    ],
)
def test_no_key_in_a_reason(said: str) -> None:
    """Proxies repeat what they were given; a reason is logged, kept and shown."""
    for body in ({"error": {"message": said}}, {"error": {"message": "no", "metadata": {"raw": said}}}, said):
        for status in (400, 401, 404, 429, 500, 200):
            assert "0123456789" not in classify(status, {}, body, now=NOW).reason


def test_no_user_id_and_no_control_character_in_a_reason() -> None:
    """What a server wrote is made safe before it is logged."""
    found = classify(500, {}, '{"error":"boom \x1b[31m red","user_id":"user_abc"} trailing', now=NOW)
    assert "user_abc" not in found.reason
    assert "\x1b" not in found.reason
