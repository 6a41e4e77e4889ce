"""How far this machine's clock is from the server's, by the `Date` header of its replies. Pure."""

from __future__ import annotations

from langchain_openrouter_free.values import value_type

# A Date further off than this is taken for nonsense (a recorded reply, a broken proxy), in seconds.
_FARTHEST = 25 * 3600.0


@value_type()
class Heard:
    """A reply's `Date` beside this machine's own times; Unix seconds.

    Attributes:
        date: the server's time, in whole seconds.
        sent: when the request left, by this machine's clock.
        received: when the reply's head was there, by the same clock.
    """

    date: float
    sent: float
    received: float


def corrected(skew: float, heard: Heard | None) -> float:
    """Return the seconds to add to this machine's clock to get the server's.

    The server wrote its whole second between our sending and our receiving: that leaves an interval, and a
    skew outside it is moved to the nearer end. Good clocks are left alone, and samples narrow each other.
    """
    if heard is None:
        return skew
    least, most = heard.date - heard.received, heard.date + 1.0 - heard.sent
    if abs(least) > _FARTHEST:
        return skew
    # In this order: where this clock was set back meanwhile the interval is empty, and `received` is its time of now.
    return max(min(skew, most), least)
