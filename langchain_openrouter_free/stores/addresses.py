"""What the address of a server may look like, and what is said of one that nobody can read.

Owns the check. Knows no server, and tells nothing of what a wrong address holds: a part of it may be the password.
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
