"""What the address of a server may look like and say, and what is told of one that nobody can read.

Owns the checks. Knows no server, and tells nothing of what a wrong address holds: a part of it may be the password.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

UNREADABLE = (
    "write redis://host:6379/0, with a number for port and database; "
    "in a password / is %2F, ? is %3F, # is %23, @ is %40, [ is %5B, ] is %5D and % is %25"
)
_DATABASE = re.compile(r"/?[0-9]*")


def check_readable(url: str) -> None:
    """Refuse an address whose password runs into host, port or database; tell nothing of it.

    Raises:
        ValueError: with what to write instead.
    """
    try:
        parts = urlsplit(url)
        is_readable = parts.port != 0 and not parts.fragment
    except ValueError:
        raise ValueError(UNREADABLE) from None
    if not is_readable or (parts.scheme != "unix" and not _DATABASE.fullmatch(parts.path)):
        raise ValueError(UNREADABLE)


def share_of(degraded: str, machines: int | None) -> float:
    """Return what part of the rest of a budget a process may spend during an outage; 0 for none.

    Raises:
        ValueError: if that is not to be told from these two.
    """
    if degraded == "stop":
        return 0.0
    if degraded != "local-share":
        raise ValueError(f"degraded={degraded!r} is neither 'stop' nor 'local-share'")
    if machines is None or machines < 1:
        raise ValueError("degraded='local-share' needs machines=..., among how many the rest of a budget is divided")
    return 1.0 / machines
