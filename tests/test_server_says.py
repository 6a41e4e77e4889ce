"""What the server says badly: odd waits, odd limits and odd clocks neither raise nor bench anybody for years."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate, parsedate_to_datetime
from typing import Any

import pytest
from driving import PATHS, TWENTY, drive, make
from hypothesis import given
from hypothesis import strategies as st
from saying import FARTHEST, HOUR, LONGEST_GUESS, MINUTE_END, START, milliseconds, when

from langchain_openrouter_free import (
    AllModelsFailed,
)
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.books.quota import DAY, Limits, Slot
from langchain_openrouter_free.judging.refusals import classify
from langchain_openrouter_free.judging.verdicts import Kind, Verdict
from langchain_openrouter_free.protocol.evidence import http_date
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.testing import FakeClock


def body(message: str, metadata: dict[str, Any]) -> bytes:
    return json.dumps({"error": {"code": 429, "message": message, "metadata": metadata}}).encode()


ACCOUNT = "Rate limit exceeded: free-models-per-min. "
UPSTREAM = "test/m01:free is temporarily rate-limited upstream. Please retry shortly."


def minute_limit(headers: dict[str, str], metadata: dict[str, Any] | None = None) -> Verdict:
    found = classify(429, headers, body(ACCOUNT, metadata or {}), now=START)
    assert found.kind is Kind.MINUTE_LIMIT
    return found


def upstream_limit(headers: dict[str, str], metadata: dict[str, Any] | None = None, message: str = UPSTREAM) -> Verdict:
    found = classify(429, headers, body(message, metadata or {}), now=START)
    assert found.kind is Kind.UPSTREAM_LIMIT
    return found


# -- one source: what is read of it

RESETS: dict[str, tuple[str, float]] = {
    "in the past": (milliseconds(-3600), MINUTE_END),
    "long ago": ("1", START + 1),
    "in seconds": (str(int(START) + 20), START + 20),
    "in milliseconds": (milliseconds(20), START + 20),
    "in milliseconds with a fraction": (f"{milliseconds(20)}.0", START + 20),
    "relative": ("20", START + 20),
    "26 hours ahead": (milliseconds(26 * HOUR), MINUTE_END),
    "26 hours ahead in seconds": (str(int(START + 26 * HOUR)), MINUTE_END),
    "another window's": (milliseconds(150), MINUTE_END),
    "years ahead": (milliseconds(3 * 365 * DAY), MINUTE_END),
    "in microseconds": (milliseconds(20) + "000", MINUTE_END),
    "negative": ("-20", MINUTE_END),
    "empty": ("", MINUTE_END),
    "in words": ("abc", MINUTE_END),
    "not a number": ("nan", MINUTE_END),
    "infinite": ("inf", MINUTE_END),
    "infinite by size": ("1e400", MINUTE_END),
}


@pytest.mark.parametrize("place", ["headers", "metadata"])
@pytest.mark.parametrize("name", RESETS)
def test_a_reset_is_read_or_left(name: str, place: str) -> None:
    """A plausible reset is the end of the wait; of any other the minute's own end is."""
    said, expected = RESETS[name]
    lines = {"X-RateLimit-Reset": said}
    found = minute_limit(lines) if place == "headers" else minute_limit({}, {"headers": lines})
    assert found.until == pytest.approx(expected, abs=0.01)


WAITS: dict[str, tuple[str, float | None]] = {
    "an HTTP date": (when(30), START + 30),
    "an HTTP date in the past": (when(-30), None),
    "an HTTP date in a year": (when(365 * DAY), None),
    "seconds": ("30", START + 30),
    "a float": ("7.5", START + 7.5),
    "a moment in seconds": (str(int(START) + 30), START + 30),
    "with blanks": (" 30 ", START + 30),
    "words": ("abc", None),
    "a million": ("1000000", None),
    "negative": ("-30", None),
    "empty": ("", None),
    "not a number": ("nan", None),
    "infinite": ("inf", None),
    "infinite by size": ("1e400", None),
    "half a date": ("Mon, 21", None),
    "a date that is none": ("Mon, 99 Sep 2026 99:99:99 GMT", None),
    "a year that is none": ("Mon, 21 Sep 99999999999 14:13:00 GMT", None),
}


@pytest.mark.parametrize("place", ["headers", "metadata", "seconds", "raw", "availability"])
@pytest.mark.parametrize("name", WAITS)
def test_a_wait_is_read_or_left(name: str, place: str) -> None:
    """A plausible Retry-After is kept; any other is as if there were none."""
    said, expected = WAITS[name]
    metadata: dict[str, dict[str, Any]] = {
        "headers": {},
        "metadata": {"headers": {"Retry-After": said}},
        "seconds": {"retry_after_seconds": said},
        "raw": {"retry_after_seconds_raw": said},
        "availability": {"availability": {"retry_after": said}},
    }
    found = upstream_limit({"Retry-After": said} if place == "headers" else {}, metadata[place])
    assert found.until == (None if expected is None else pytest.approx(expected, abs=0.01))


@pytest.mark.parametrize("place", ["headers", "metadata"])
def test_the_accounts_window_is_no_rest_of_a_model(place: str) -> None:
    """A reset beside a provider's own limit tells how long the account's window lasts, not that limit."""
    lines = {"X-RateLimit-Reset": milliseconds(20)}
    assert (upstream_limit(lines) if place == "headers" else upstream_limit({}, {"headers": lines})).until is None


MIDNIGHT = 1_790_035_200.0
LATE: dict[str, tuple[float, dict[str, str], float]] = {
    "no reset": (0.3, {}, MIDNIGHT + 60),
    "a reset that is just over": (0.3, {"X-RateLimit-Reset": f"{MIDNIGHT * 1000:.0f}"}, MIDNIGHT + 60),
    "the new day's end": (0.3, {"X-RateLimit-Reset": f"{(MIDNIGHT + DAY) * 1000:.0f}"}, MIDNIGHT + DAY),
    "a minute later": (60.0, {}, MIDNIGHT + DAY),
    "an end of its own": (300.0, {"X-RateLimit-Reset": f"{(MIDNIGHT + 600) * 1000:.0f}"}, MIDNIGHT + 600),
    "somebody's wait": (300.0, {"Retry-After": "30"}, MIDNIGHT + DAY),
    "a minute before": (-60.0, {}, MIDNIGHT),
}


@pytest.mark.parametrize("name", LATE)
def test_the_first_minute_of_a_day_is_not_its_last(name: str) -> None:
    """A spent day that is told in the next one's first minute is the one before, unless its end is named."""
    late, headers, expected = LATE[name]
    found = classify(429, headers, body("Rate limit exceeded: free-models-per-day. ", {}), now=MIDNIGHT + late)
    assert (found.kind, found.until) == (Kind.DAY_LIMIT, expected)


@pytest.mark.parametrize(("ahead", "window"), [(20, "minute"), (60, "minute"), (61, "day"), (None, None)])
def test_a_models_limit_in_no_words_is_of_the_window_that_ends_then(ahead: float | None, window: str | None) -> None:
    """Its size is kept to from then on, if a reset tells which window it is of."""
    headers = {"X-RateLimit-Limit": "16"} | ({} if ahead is None else {"X-RateLimit-Reset": milliseconds(ahead)})
    found = classify(429, headers, body("Please retry", {"limit_source": "openrouter_shared_capacity"}), now=START)
    assert (found.kind, found.window, found.limit) == (Kind.MODEL_LIMIT, window, 16)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["the account's", "one model's"])
def test_a_refusal_that_is_read_after_midnight_spends_no_new_day(kind: str, path: str) -> None:
    """The server is half a second behind, less than its `Date` shows; its old day is over, and the new one is open."""
    clock = FakeClock(MIDNIGHT + 0.2)
    spent = Scenario(per_day=50, day_used=50) if kind == "the account's" else Scenario()
    with Simulator(spent, clock=lambda: clock.now() - 0.5) as sim:
        model = make(sim, TWENTY[:1], clock=clock, max_wait=0.0)
        if kind == "one model's":
            sim.script({TWENTY[0]: ["429-model-rpd", "ok"]})
        with pytest.raises(AllModelsFailed):
            drive(model, path)
        clock.advance(90)
        assert drive(model, path).outcomes == ["ok"]


@pytest.mark.parametrize("name", ["retry-after", "Retry-After", "RETRY-AFTER", "rEtRy-AfTeR"])
@pytest.mark.parametrize("place", ["headers", "metadata"])
def test_a_name_in_any_case(name: str, place: str) -> None:
    """Names of headers have no case, on the wire and inside the error."""
    lines = {name: "30"}
    found = upstream_limit(lines) if place == "headers" else upstream_limit({}, {"headers": lines})
    assert found.until == START + 30


LIMITS: dict[str, tuple[Any, int | None]] = {
    "sixteen": ("16", 16),
    "a number": (16, 16),
    "with a point": ("16.0", 16),
    "negative": ("-20", None),
    "zero": ("0", None),
    "less than one": ("0.5", None),
    "words": ("abc", None),
    "empty": ("", None),
    "more than there are": ("1e30", None),
    "not a number": ("nan", None),
    "infinite": ("inf", None),
    "true": (True, None),
    "a list": ([20], None),
    "nothing": (None, None),
    "too long": ("9" * 5000, None),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_read_or_left(name: str) -> None:
    """A limit is a number of requests from 1; any other is as if there were none."""
    said, expected = LIMITS[name]
    assert minute_limit({}, {"headers": {"x-RateLimit-limit": said}}).limit == expected
    if isinstance(said, str):
        assert minute_limit({"X-RateLimit-Limit": said}).limit == expected


@pytest.mark.parametrize("said", ["Mon Sep 21 14:13:55 2026", "Mon, 21 Sep 2026 14:13:55 GMT"])
def test_a_date_without_a_zone_is_utc(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP knows UTC only, also in the old form without a zone, wherever this machine stands."""
    import time  # noqa: PLC0415 - one test needs it

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert http_date(said) == 1_790_000_035.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2999, 1, 1)))  # noqa: DTZ001 - the service's is UTC
def test_the_date_of_a_head_is_read_as_a_mails_is(date: datetime) -> None:
    said = format_datetime(date.replace(microsecond=0, tzinfo=UTC), usegmt=True)
    assert http_date(said) == parsedate_to_datetime(said).timestamp()


@pytest.mark.parametrize(
    "said", ["Mon, 31 Feb 2026 14:13:55 GMT", "Mon, 21 Xxx 2026 14:13:55 GMT", "Mon, 21 Sep 2026 24:00:00 GMT"]
)
def test_a_day_that_is_none_is_no_date(said: str) -> None:
    assert http_date(said) is None


# -- two sources

CONTRADICTIONS: dict[str, tuple[dict[str, str], dict[str, Any], float]] = {
    "two waits": ({"Retry-After": "20"}, {"headers": {"Retry-After": "30"}}, 30),
    "two waits the other way round": ({"Retry-After": "30"}, {"headers": {"Retry-After": "20"}}, 30),
    "a wait and its raw number": ({"Retry-After": "20"}, {"retry_after_seconds_raw": 30.5}, 30.5),
    "a wait and a date": ({"Retry-After": "20"}, {"headers": {"Retry-After": when(30)}}, 30),
    "a date and a wait": ({"Retry-After": when(20)}, {"retry_after_seconds": 30}, 30),
    "two dates": ({"Retry-After": when(20)}, {"headers": {"Retry-After": when(30)}}, 30),
    "words and a date": ({"Retry-After": "soon"}, {"headers": {"Retry-After": when(30)}}, 30),
    "nothing and a date": ({"Retry-After": ""}, {"headers": {"Retry-After": when(30)}}, 30),
    "nonsense and a wait": ({"Retry-After": "1000000"}, {"headers": {"Retry-After": "30"}}, 30),
    "a wait and nonsense": ({"Retry-After": "30"}, {"retry_after_seconds_raw": 1e12}, 30),
    "a reset and a wait": ({"X-RateLimit-Reset": milliseconds(20), "Retry-After": "30"}, {}, 30),
    "a wait and a reset": ({"X-RateLimit-Reset": milliseconds(30), "Retry-After": "20"}, {}, 30),
    "two resets": (
        {"X-RateLimit-Reset": milliseconds(20)},
        {"headers": {"X-RateLimit-Reset": milliseconds(30)}},
        30,
    ),
    "seconds and milliseconds": (
        {"X-RateLimit-Reset": str(int(START) + 30)},
        {"headers": {"X-RateLimit-Reset": milliseconds(20)}},
        30,
    ),
    "relative and milliseconds": (
        {"X-RateLimit-Reset": "30"},
        {"headers": {"X-RateLimit-Reset": milliseconds(20)}},
        30,
    ),
    "a reset and one in years": (
        {"X-RateLimit-Reset": milliseconds(30)},
        {"headers": {"X-RateLimit-Reset": milliseconds(1000 * DAY)}},
        30,
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_the_later_plausible_moment_counts(name: str) -> None:
    """Where two places say different things, the later deadline that can be meant wins."""
    headers, metadata, seconds = CONTRADICTIONS[name]
    assert minute_limit(headers, metadata).until == pytest.approx(START + seconds, abs=0.01)


def test_the_sentence_is_a_source_too() -> None:
    """A wait in words counts beside a shorter one in a header."""
    assert upstream_limit({"Retry-After": "20"}, message=f"{UPSTREAM} Retry after 30s.").until == START + 30


SENTENCES = {
    "Please retry after 30 s.": 30,
    "Please try again in 7.66s. Visit the console": 7.66,
    "Please try again in 1m20.5s.": 80.5,
    "retry in 2 minutes": 120,
    "try again in 250ms": 0.25,
    "try again in a while": None,
    "try again in 99999999999999h": None,
    "limited to 5 requests in 20s": None,
}


@pytest.mark.parametrize("place", ["message", "raw", "quoted"])
@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_wait_in_a_provider_s_own_words(sentence: str, place: str) -> None:
    """It stands in the message, in what the provider said, or in the error object that is quoted there."""
    raw = json.dumps({"error": {"message": sentence}}) if place == "quoted" else sentence
    told: tuple[Any, ...] = ({}, f"{UPSTREAM} {sentence}") if place == "message" else ({"raw": raw},)
    found = upstream_limit({}, *told)
    expected = SENTENCES[sentence]
    assert found.until == (None if expected is None else pytest.approx(START + expected, abs=0.001))


def test_a_wait_in_milliseconds() -> None:
    """By the header that OpenAI's and Azure's clients know."""
    lines = {"Retry-After-Ms": "1500"}
    assert upstream_limit(lines).until == upstream_limit({}, {"headers": lines}).until == START + 1.5


def test_a_later_reply_shortens_no_hold() -> None:
    """Two replies that contradict each other: the account waits for the later deadline."""
    book = Ledger().settled("a", minute_limit({"Retry-After": "30"}), START)
    book = book.settled("b", minute_limit({"Retry-After": "20"}), START + 1)
    hold = book.hold(START + 1)
    assert hold is not None
    assert hold.until == START + 30


# -- any source

TEXTS = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.floats(START - DAY, START + 3 * DAY).map(str),
    st.integers(int(START - DAY) * 1000, int(START + 3 * DAY) * 1000).map(str),
    st.floats(-1e10, 1e11).map(lambda at: formatdate(at, usegmt=True) if abs(at) < 1e10 else str(at)),
    st.tuples(st.sampled_from(["Mon, ", ""]), st.integers(), st.text(max_size=5)).map("{0[0]}{0[1]} {0[2]}".format),
)
VALUES = TEXTS | st.integers() | st.floats() | st.booleans() | st.lists(st.integers(), max_size=1)
NAMES = ("Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
MESSAGES = (
    ACCOUNT,
    "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
    "Rate limit exceeded: limit_rpm/test/m01/0. High demand - limited to 8 requests per minute. Please retry shortly.",
    "Rate limit exceeded: limit_rpd/test/m01/0. Daily limit reached for test/m01:free via OpenRouter.",
    UPSTREAM,
    "Rate limit exceeded",
    "",
)


@given(
    outer=st.fixed_dictionaries(dict.fromkeys(NAMES, TEXTS)),
    inner=st.fixed_dictionaries(dict.fromkeys(NAMES, VALUES)),
    seconds=VALUES,
    message=st.sampled_from(MESSAGES),
    status=st.sampled_from([200, 400, 429, 502, 503]),
    bare=st.booleans(),
    times=st.integers(1, 7),
)
def test_no_header_benches_anybody_for_long(
    outer: dict[str, Any],
    inner: dict[str, Any],
    seconds: Any,
    message: str,
    status: int,
    bare: bool,  # noqa: FBT001 - hypothesis passes it by name
    times: int,
) -> None:
    """Whatever a refusal says: the model rests 25 hours and its own guess at most, the account 25 hours."""
    headers = {name: said for name, said in outer.items() if said is not None}
    told = {"error": {"code": 429, "message": message, "metadata": {"headers": inner, "retry_after_seconds": seconds}}}
    book = Ledger()
    for _ in range(times):
        how = classify(status, headers, b"" if bare else told, now=START)
        book = book.settled("m", book.read("m", how, START), START, book.generation("m"), chance=1.0)
    assert book.rests_until("m", START) <= START + FARTHEST + LONGEST_GUESS
    hold = book.hold(START)
    assert hold is None or hold.until <= START + FARTHEST
    assert all(shut.until <= START + FARTHEST for shut in book.holds.values())
    _, found = book.admitted(Limits(), START, DAY * 2)
    assert isinstance(found, Slot) or found.until <= START + FARTHEST
