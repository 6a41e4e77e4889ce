"""A wall-clock deadline that can stand where an HTTP client expects a timeout.

An HTTP client's read timeout starts anew with each byte, so a server that sends a comment a second holds
it for ever. A `Deadline` is handed down as that timeout instead; `network.py` asks it, before each
operation of the socket, how many seconds are left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self


class Deadline(float):
    """A moment that can be moved. As a plain number it is the seconds that were left at its making.

    Attributes:
        at: the moment, on the scale of `monotonic`.
        limit: which setting it stands for, for the message.
    """

    at: float
    limit: str
    _monotonic: Callable[[], float]

    def __new__(cls, at: float, limit: str, monotonic: Callable[[], float]) -> Self:
        """Make a deadline at the moment `at`, in seconds of `monotonic`."""
        made = super().__new__(cls, max(at - monotonic(), 0.001))
        made.at, made.limit, made._monotonic = at, limit, monotonic
        return made

    def remaining(self) -> float:
        """Return the seconds that are left; 0 or less when it has passed."""
        return self.at - self._monotonic()
