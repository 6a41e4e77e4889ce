"""One moment of a service that says badly how long to wait, and how it writes others."""

from email.utils import formatdate

START = 1_790_000_005.0  # 25 seconds into a minute, 14:13 UTC
MINUTE_END = 1_790_000_040.0
HOUR = 3600.0
FARTHEST = 25 * HOUR
LONGEST_GUESS = HOUR * 1.1  # an hour, and up to a tenth by chance


def when(seconds: float) -> str:
    """Return a moment from START as a header's date."""
    return formatdate(START + seconds, usegmt=True)


def milliseconds(seconds: float) -> str:
    """Return it as milliseconds since 1970."""
    return str(int((START + seconds) * 1000))
