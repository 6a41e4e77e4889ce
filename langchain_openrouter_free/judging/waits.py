"""How long a refusal wants us to wait, and of which window it speaks. Pure.

Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

from langchain_openrouter_free.protocol.evidence import Evidence, compiled, number
from langchain_openrouter_free.protocol.headers import header
from langchain_openrouter_free.values import value_type

_LENGTHS = {"minute": 60.0, "day": 86_400.0}
# A reset further ahead than this is a misread unit or nonsense (no window is longer than a day).
_FARTHEST = 25 * 3600.0
# A minute's reset further ahead is another window's, or of another unit; clocks differ by less.
_LATEST_MINUTE = 120.0
_MOST = 1e9

# The words of limits on single models (recorded 2025-04 to 2026-10).
_TOKENS = r"limit_(?:tpm|tpd)/|tokens per"
_OF_DAY = r"limit_rpd/|daily limit|requests? per day|per-day"
_OF_MINUTE = r"limit_rpm/|(?:requests?|rate) per minute|per-min"


def window_of(seen: Evidence, now: float) -> str | None:
    """Return `"minute"` or `"day"` for a limit on requests; None for one on tokens, and where nothing tells."""
    if compiled(_TOKENS).search(seen.said):
        return None
    if compiled(_OF_DAY).search(seen.said):
        return "day"
    if compiled(_OF_MINUTE).search(seen.said):
        return "minute"
    # Without words the size of the wait tells: a minute's limit ends with the minute.
    until = named_until(seen, now, resets=True)
    return None if until is None else _window_that_ends(until, now)


def named_until(seen: Evidence, now: float, *, resets: bool, window: str | None = None) -> float | None:
    """Return the latest plausible moment that a refusal names; the end of its window where it names none.

    Args:
        seen: the refusal.
        now: Unix seconds.
        resets: whether `X-RateLimit-Reset` speaks of the limit that was reached.
        window: `"minute"`, `"day"` or None.
    """
    named = [_moment(wait, now) for wait in (*seen.waits, *seen.dates)]
    told = [at for at in (_moment(reset, now) for reset in seen.resets if resets) if at is not None]
    if window == "minute":
        told = [at for at in told if at <= now + _LATEST_MINUTE]
    plausible = [*told, *(at for at in named if at is not None)]
    length = _LENGTHS.get(window or "")
    if length and (not plausible or (window == "day" and not told)):
        # A day is not over sooner because somebody on the way says when to try again.
        plausible.append(_end(length, now))
    return max(plausible, default=None)


def _end(length: float, now: float) -> float:
    """Return the end of the window that a refusal speaks of which names none."""
    if now % length < _LENGTHS["minute"]:
        # No day is used up in its first minute: this was said of the one before, and is read late.
        length = _LENGTHS["minute"]
    return (now // length + 1) * length


@value_type()
class Meter:
    """What an answer's headers say of a window: its name, its size, and how many requests are left of it."""

    window: str
    limit: int
    left: int


def meter_of(headers: Mapping[str, str] | None, now: float) -> Meter | None:
    """Read `X-RateLimit-Limit`, `-Remaining` and `-Reset` of an answer; None where they are not all plausible.

    No recorded answer has them (2025-02 to 2026-10), refusals do; they are believed where they come.
    """
    limit = number(header(headers, "x-ratelimit-limit"))
    if limit is None:
        return None
    left, reset = (number(header(headers, f"x-ratelimit-{name}")) for name in ("remaining", "reset"))
    until = None if reset is None else _moment(reset, now)
    if left is None or until is None or not 0 <= left <= limit < _MOST:
        return None
    return Meter(_window_that_ends(until, now), int(limit), int(left))


def _window_that_ends(until: float, now: float) -> str:
    return "minute" if until - now <= _LENGTHS["minute"] else "day"


def _moment(value: float, now: float) -> float | None:
    """Read a moment given as epoch milliseconds, epoch seconds or seconds from now.

    X-RateLimit-Reset is epoch milliseconds (recorded 2025-04 to 2026-10); the other units are seen behind
    proxies. A moment that is over, is now, or is over 25 hours ahead is no information.
    """
    if value < 1e8:
        value = now + value
    elif value > 1e11:
        value = value / 1000
    return value if now < value <= now + _FARTHEST else None
