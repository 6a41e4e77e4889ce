"""Sockets to a server that must have answered in time, and a client's connections with such sockets.

Owns how long one answer may take in all, and what of a connection that fails is let go. Knows no client.
"""

from __future__ import annotations

import socket
import time
import traceback
from typing import Any

# One answer may take so many times as long as the server may be silent in it.
_IN_ALL = 10


class _Impatient:
    """A socket to a server that must have answered in time, however little silence there is between the pieces."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._silence, self._ends = sock, sock.gettimeout(), 0.0

    def settimeout(self, silence: float | None) -> None:
        self._silence = silence
        self._sock.settimeout(silence)

    def sendall(self, data: bytes) -> None:
        if self._sock.gettimeout() != self._silence:
            self._sock.settimeout(self._silence)
        self._sock.sendall(data)
        self._ends = time.monotonic() + (self._silence or 0.0) * _IN_ALL

    def recv(self, size: int) -> bytes:
        self._hurry()
        return self._sock.recv(size)

    def recv_into(self, buffer: Any) -> int:
        self._hurry()
        return self._sock.recv_into(buffer)

    def _hurry(self) -> None:
        if not self._silence:
            return
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if left < self._silence:
            self._sock.settimeout(left)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def impatient(kind: type[Any]) -> type[Any]:
    """Return a class of the client's connections, with such sockets."""

    class Connection(kind):  # type: ignore[misc]
        def _connect(self) -> Any:
            try:
                return _Impatient(super()._connect())
            except OSError as error:
                # The client's frame holds the error that holds it: with them the store would wait for the collector.
                traceback.clear_frames(error.__traceback__)
                raise

    return Connection
