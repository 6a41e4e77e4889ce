"""Reading a reply as evidence: everything the verdict rules look at, found wherever the service put it.

The service says the same thing in many places: HTTP status against `error.code`, the reason in
`message` or in `metadata.raw`, waits in up to four spots. This module gathers them into one value and
judges nothing. Pure: no clock, no HTTP client.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Never, cast

from langchain_openrouter_free.keys import hidden
from langchain_openrouter_free.protocol.headers import header
from langchain_openrouter_free.values import value_type

Json = dict[str, Any]

# What a server of HTTP writes (RFC 9110, 5.6.7); other forms are left to a parser of mails, which takes all of them.
_IMF_DATE = re.compile(r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT")
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}

# Words that stand in `code` or `error_type` instead of a number (documented mid-stream form, and proxies).
_CODE_WORDS: dict[str, int] = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "too_many_requests": 429,
    "capacity_exhausted": 429,
    "server_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "api_error": 500,
    "provider_unavailable": 502,
    "provider_error": 502,
    "bad_gateway": 502,
    "service_unavailable": 503,
    "overloaded": 529,
    "overloaded_error": 529,
    "provider_overloaded": 529,
    "timeout": 408,
    "request_timeout": 408,
    "invalid_api_key": 401,
    "authentication": 401,
    "authentication_error": 401,
    "unauthorized": 401,
    "payment_required": 402,
    "insufficient_credits": 402,
    "permission_denied": 403,
    "permission_error": 403,
    "forbidden": 403,
    "not_found": 404,
    "not_found_error": 404,
    "invalid_request": 400,
    "invalid_request_error": 400,
    "bad_request": 400,
    "context_length_exceeded": 400,
    "request_too_large": 413,
    "payload_too_large": 413,
    "unprocessable_entity": 422,
}

# Ends of an answer that are none, as the service, z.ai ("network_error") and servers of open models write them.
BROKEN_OFF = frozenset({"error", "abort", "aborted", "cancelled", "canceled", "failed", "network_error"})

# Sentences of refusals are compiled when the first of them is read: a dozen milliseconds that no start should pay for.
compiled = cache(re.compile)
_CODE_PATTERNS = (
    r"""["']code["']\s*:\s*["']?(\d{3})\b""",
    r"(?i)\bstatus(?:[ _]code)?\b[\s:=`'\"]*(\d{3})\b",
    r"(?i)\berror code:?\s*(\d{3})\b",
    r"^\W*(\d{3})\b",
)
_FIELD_PATTERN = r"""{name}["'`]?\s*[:=]\s*["'`]?(?:\n[\s#*]*)?\s*["'`]?([A-Za-z0-9_\- ]+)"""
_DAY_COUNTER = r"free_model_daily_requests\W+used\W+(\d{1,9})\W+limit\W+(\d{1,9})\b"
_PART_OF_WAIT = r"(\d{1,9}(?:\.\d{1,9})?)\s{0,2}(ms|mil|h|m|s)[a-z]*"
_SPOKEN_WAIT = r"\b(?:retry|try again) (?:after|in) ((?:\d{1,9}(?:\.\d{1,9})?\s{0,2}(?:ms|mil|h|m|s)[a-z]*[\s,]{0,2})+)"
_UNITS = {"ms": 0.001, "mil": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_AFFORDS = r"(?i)(?:can\s+only\s+afford|token capacity required,)\s+(\d{1,3}(?:,\d{3}){1,2}|\d{1,9})\b"
_REASON = r"(?:in_flight|weight_exceeds)\w*"
# Reads what comes from a model or a gateway: control characters inside strings are tolerated.
LENIENT = json.JSONDecoder(strict=False)


def _no_json(word: str) -> Never:
    raise ValueError(f"{word} is no JSON")


# NaN and infinities are written and read by Python, and by nobody else.
STRICT = json.JSONDecoder(parse_constant=_no_json)
_USER_ID = re.compile(r"""[,{]?\s{0,8}["']user_id["']\s*:\s*["'][^"']*["']""")
# A key, as services quote those that they refuse, and what a proxy repeats of the header.
_SECRET = re.compile(r"""\b(sk-|Bearer\s+(?=\S*\d))[^\s"'`,;<>()]{4,}""", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
# Neither a key nor an id of a user is a word of letters and digits alone, and as short as a provider's name.
_ONE_WORD = 20
_MESSAGE_CHARS = 300
# Where a server's check of the form (pydantic's, in vLLM and others) repeats the prompt: nothing of it is said by them.
_REPEATED = r"""\\?["']input\\?["']\s*:"""
# Where a provider repeats what its model said that could not be used.
_OF_THE_MODEL = "failed_generation"
# Of longer words the beginning and the end are looked at: some services repeat the whole request before or behind what
# they say. Rules go through a text again and again, so a megabyte made for that would keep a process busy for hours.
_FIRST, _LAST = 12_288, 4_096
# Errors in errors; what is nested deeper is nobody's.
_WRAPPINGS = 4
# A body written by Python is read as such up to this length: its parser takes a hundred times as much memory.
_LONGEST_REPR = 64 * 1024


@value_type()
class Evidence:
    """What one reply says, in one place. Texts are lower-cased unless told otherwise."""

    status: int | None = None
    code: int | None = None
    said: str = ""
    message: str = ""
    limit_source: str = ""
    routing_step: str = ""
    availability: str = ""
    provider: str | None = None
    provider_fault: bool = False
    initial_endpoints: int | None = None
    earlier: str = ""
    flagged: bool = False
    blocked_patterns: bool = False
    html: bool = False
    error: bool = False
    waits: tuple[float, ...] = ()
    dates: tuple[float, ...] = ()
    resets: tuple[float, ...] = ()
    limit: int | None = None
    affords: int | None = None


def number(value: object) -> float | None:
    """Return `value` as a finite number, or None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if found - found == 0 else None


def decode(body: object) -> tuple[Json | None, str]:
    """Return the reply's JSON object, if one can be made out, and its text.

    Tolerates blank padding before the JSON, bytes that are not UTF-8, a Python repr, and an object
    that stands inside a sentence (as proxies and SDKs wrap it).
    """
    if isinstance(body, Mapping):
        return dict(body), json.dumps(body, ensure_ascii=False, default=str)
    if isinstance(body, bytes | bytearray):
        body = bytes(body).decode("utf-8", errors="replace")
    text = "" if body is None else str(body).strip()
    if text.startswith('"{') and text.endswith('}"'):
        # Some proxies write the JSON text as a JSON string.
        with suppress(ValueError):
            text = str(LENIENT.decode(text))
    for start in _object_starts(text):
        found = _object_at(text, start)
        if found is not None:
            return found, text
    return None, text


def _object_starts(text: str) -> list[int]:
    first = text.find("{")
    if first < 0:
        return []
    inner = text.find('{"error"')
    return [first] if inner in (-1, first) else [first, inner]


def _object_at(text: str, start: int) -> Json | None:
    try:
        found, _ = LENIENT.raw_decode(text, start)
    except (ValueError, RecursionError):
        source = text[start : text.rfind("}") + 1]
        if not source.startswith("{'") or len(source) > _LONGEST_REPR:
            return None
        try:
            found = ast.literal_eval(source)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
    return found if isinstance(found, dict) else None


def error_of(payload: Json) -> object | None:
    """Return the error that a body or a stream event carries, wherever it stands; None if there is none."""
    error: object = payload.get("error")
    if error:
        return error
    choices = payload.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        for place in (choice, choice.get("delta"), choice.get("message")) if isinstance(choice, dict) else ():
            if isinstance(place, dict) and place.get("error"):
                return cast("object", place["error"])
    if isinstance(payload.get("message"), str) and "code" in payload and "choices" not in payload:
        return payload
    return None


def gather(
    status: int | None,
    headers: Mapping[str, str] | None = None,
    body: object = None,
) -> Evidence:
    """Collect the evidence of one refusal.

    Args:
        status: HTTP status of the reply; None where only an event of a stream is at hand.
        headers: reply headers, names in any case.
        body: bytes, text or parsed JSON; whole or cut.
    """
    payload, text = decode(body)
    text = _clipped(text)
    error = _inmost(error_of(payload)) if payload is not None else {}
    meta = _first_dict(
        _read(error.get("metadata")), (payload or {}).get("metadata"), _quoted_meta(error.get("message"))
    )
    availability = _first_dict(error.get("availability"), meta.get("availability"))
    earlier = _clipped(_earlier(meta.get("previous_errors") or error.get("previous_errors")))
    if not error:
        # Cut, or written into a log: what stands behind the name is said by the earlier ones.
        earlier = text.partition("previous_errors")[2].lower()
    message, raw = _clipped(_text(error.get("message"))), _clipped(_raw_text(meta.get("raw")))
    source = "" if error else text
    # Whatever blanks a proxy sets between the words.
    whole = " ".join(" ".join((message, raw, _clipped(_reasons(meta)), source)).split())
    provider = meta.get("provider_name") or meta.get("provider")
    return Evidence(
        status=status,
        code=_code(status, error, meta, whole if not error else f"{message}", text),
        said=whole.lower(),
        message=tidy(_sentence(message, raw, text)),
        limit_source=_limit_source(meta, text),
        routing_step=_step(meta, text),
        availability=_field(availability.get("code"), "", ""),
        provider=_clipped(str(provider)) if provider else None,
        provider_fault=bool(provider) or "provider returned error" in whole.lower(),
        initial_endpoints=_initial_endpoints(meta),
        earlier=earlier,
        flagged=bool(meta.get("reasons") or meta.get("flagged_input")),
        blocked_patterns=bool(meta.get("patterns")),
        html=not error and _looks_like_html(text, headers),
        error=bool(error),
        affords=_affords(whole),
        **_waits(headers, meta, availability, message, raw),
    )


def _inmost(found: object) -> Json:
    """Return the error itself; proxies put it into one of their own, into a list, or write it as text."""
    error: Json = {}
    for _ in range(_WRAPPINGS):
        if isinstance(found, list):
            found = found[0] if found else None
        if isinstance(found, str):
            nested, _ = decode(found)
            inner = error_of(nested) if nested is not None else None
            return error | (inner if isinstance(inner, dict) else {"message": found})
        if not isinstance(found, dict):
            break
        error |= found
        found = None if "message" in error else error.pop("error", None)
    return error


def _read(value: object) -> object:
    """Return what should be a table; some proxies write it as text."""
    return decode(value)[0] if isinstance(value, str) else value


def _quoted_meta(message: object) -> object:
    """Return the metadata of an error that a proxy quotes in its own message."""
    if not isinstance(message, str) or '"metadata"' not in message:
        return None
    quoted, _ = decode(message)
    inner = error_of(quoted) if quoted is not None else None
    return inner.get("metadata") if isinstance(inner, dict) else None


def _first_dict(*candidates: object) -> Json:
    return next((c for c in candidates if isinstance(c, dict)), {})


def _clipped(text: str) -> str:
    return text if len(text) <= _FIRST + _LAST else f"{text[:_FIRST]} ... {text[-_LAST:]}"


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _raw_text(raw: object) -> str:
    """Return the provider's own words: `raw` may be text, JSON in a string, an object, empty or absent."""
    text = _text(raw)
    nested, _ = decode(text) if text.lstrip().startswith("{") else (None, "")
    inner = error_of(nested) if nested else None
    if isinstance(inner, dict) and _OF_THE_MODEL in inner:
        # The model's words are no refusal of the provider's.
        text = json.dumps({key: value for key, value in inner.items() if key != _OF_THE_MODEL}, ensure_ascii=False)
    said = inner.get("message") if isinstance(inner, dict) else None
    parts = [said, text] if isinstance(said, str) else [text]
    return " ".join(compiled(_REPEATED).split(part, maxsplit=1)[0] for part in parts)


def _reasons(meta: Json) -> str:
    rows = meta.get("ineligibility_reasons")
    rows = rows if isinstance(rows, list) else []
    return " ".join(str(row.get("reason", "")) for row in rows if isinstance(row, dict))


def _earlier(rows: object) -> str:
    """Return the words of `previous_errors`; its entries have three known shapes, so no field is looked for."""
    return _text(rows).lower()


def _code(status: int | None, error: Json, meta: Json, said: str, text: str) -> int | None:
    for value in (error.get("code"), error.get("http_status"), error.get("status"), error.get("type")):
        found = _as_code(value)
        if found is not None:
            return found
    if not error or "code" not in error:
        for pattern in _CODE_PATTERNS:
            hit = compiled(pattern).search(said) or (compiled(pattern).search(text) if not error else None)
            if hit and 400 <= int(hit.group(1)) <= 599:
                return int(hit.group(1))
    word = _as_code(meta.get("error_type") or error.get("error_type"))
    if status is not None and status >= 400:
        return status
    return word if word is not None else status


def _as_code(value: object) -> int | None:
    if isinstance(value, str) and not value.isdigit():
        return _CODE_WORDS.get(value.strip().lower())
    found = number(value)
    return int(found) if found is not None and 100 <= found <= 599 else None


def _field(value: object, name: str, text: str) -> str:
    """Return a metadata field, or what a cut or wrapped text says of it."""
    if isinstance(value, str) and value:
        return value.lower()
    if not name or name not in text:
        return ""
    hit = re.search(_FIELD_PATTERN.format(name=name), text)
    return hit.group(1).strip().lower() if hit else ""


def _limit_source(meta: Json, text: str) -> str:
    """Return whose limit it was, and why if both are said; a spent day also shows in the counter of `GET /key`."""
    named, why = _field(meta.get("limit_source"), "limit_source", text), _field(meta.get("reason"), "", "")
    hit = None if named else compiled(_DAY_COUNTER).search(text)
    if hit and int(hit.group(1)) >= int(hit.group(2)) > 0:
        return "free_tier_daily"
    # Others give reasons in words of their own, which name no limit.
    return f"{named} {why}" if compiled(_REASON).fullmatch(why) else named


def _step(meta: Json, text: str) -> str:
    value = meta.get("failed_routing_step")
    if isinstance(value, str) and value:
        return value.lower()
    hit = re.search(r"""failed_routing_step(?:["'`]?\s*[:=]\s*|\s+)["'`]([^"'`}]+)""", text)
    # A source comment may break the name over lines: " *   Providers".
    return _SPACE.sub(" ", re.sub(r"\n[\s*#/]*", " ", hit.group(1))).strip().lower() if hit else ""


def _affords(said: str) -> int | None:
    """Return how many tokens of output the balance pays for, as a 402 says it."""
    hit = compiled(_AFFORDS).search(said)
    return int(hit.group(1).replace(",", "")) if hit else None


def _initial_endpoints(meta: Json) -> int | None:
    funnel = meta.get("routing_funnel")
    first = funnel[0] if isinstance(funnel, list) and funnel else None
    count = number(first.get("endpoint_count")) if isinstance(first, dict) else None
    return int(count) if count is not None else None


def _sentence(message: str, raw: str, text: str) -> str:
    if raw and (not message or message.lower().startswith("provider returned error")):
        return f"{message}: {raw}" if message else raw
    return message or text


def tidy(text: str) -> str:
    """Shorten a server's text to one line that is safe to log: no user id, no key, no control characters."""
    if len(text) <= _ONE_WORD and text.isascii() and text.isalnum():
        return text
    text = _SECRET.sub(r"\1...", _USER_ID.sub("", hidden(_clipped(text))))
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = _SPACE.sub(" ", text).strip()
    return text if len(text) <= _MESSAGE_CHARS else text[: _MESSAGE_CHARS - 1] + "…"


def _looks_like_html(text: str, headers: Mapping[str, str] | None) -> bool:
    head = text[:200].lower()
    kind = (header(headers, "content-type") or "").lower()
    return "text/html" in kind or head.startswith(("<!doctype", "<html", "<title", "<head"))


# The headers that `_waits` reads.
_OF_TIME = frozenset({"retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-limit"})


def says_of_time(headers: Mapping[str, str] | None) -> bool:
    """Tell whether headers say how long to wait, or of which limit they speak."""
    return any(str(name).lower() in _OF_TIME for name in headers or ())


def _waits(headers: Mapping[str, str] | None, meta: Json, availability: Json, message: str, raw: str) -> Json:
    """Return the server's waits, from each of the places in which a hint may stand."""
    inner = _first_dict(meta.get("headers"))
    hints = [
        header(headers, "retry-after"),
        header(inner, "retry-after"),
        meta.get("retry_after_seconds"),
        meta.get("retry_after_seconds_raw"),
        availability.get("retry_after"),
    ]
    hints.append(_spoken_wait(f"{message} {raw}".lower()))
    hints += [_seconds(header(place, "retry-after-ms")) for place in (headers, inner)]
    dates = [http_date(hint) for hint in hints if isinstance(hint, str) and number(hint) is None]
    resets = [number(header(place, "x-ratelimit-reset")) for place in (headers, inner)]
    said = re.search(r"limited to (\d+) requests", message.lower())
    limits = [number(header(place, "x-ratelimit-limit")) for place in (inner, headers)]
    limits.append(number(said and said.group(1)))
    return {
        "waits": tuple(n for n in map(number, hints) if n is not None),
        "dates": tuple(date for date in dates if date is not None),
        "resets": tuple(reset for reset in resets if reset is not None),
        "limit": next((int(n) for n in limits if n is not None and 1 <= n < 1e9), None),
    }


def _spoken_wait(said: str) -> float | None:
    """Return the seconds of "retry after 20 s" or "try again in 1m20.5s"."""
    hit = compiled(_SPOKEN_WAIT).search(said)
    parts = compiled(_PART_OF_WAIT).findall(hit.group(1)) if hit else []
    return sum(float(amount) * _UNITS[unit] for amount, unit in parts) if parts else None


def _seconds(milliseconds: object) -> float | None:
    found = number(milliseconds)
    return None if found is None else found / 1000


# A busy service says the same second again and again.
@lru_cache(maxsize=16)
def http_date(value: str | None) -> float | None:
    """Return the date of a header as Unix seconds."""
    if not value:
        return None
    found = _IMF_DATE.fullmatch(value)
    if found is not None and found[2] in _MONTHS:
        day, year, hour, minute, second = map(int, found.group(1, 3, 4, 5, 6))
        try:
            return datetime(year, _MONTHS[found[2]], day, hour, minute, second, tzinfo=UTC).timestamp()
        except ValueError:
            return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - rare, and slow to import

    try:
        date = parsedate_to_datetime(value)
        # Without a zone it is UTC, as all dates of HTTP are.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
