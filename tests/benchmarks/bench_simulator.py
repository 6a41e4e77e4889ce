"""How many plain answers the simulator gives a second: raw sockets kept alive, load from this process.

Arguments: connections (default 8) and seconds (default 3). The simulator has one process, so one core.
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from urllib.parse import urlsplit

from measuring import cpu_seconds, noise, simulator

BODY = json.dumps(
    {"model": "openai/gpt-oss-20b:free", "messages": [{"role": "user", "content": "Hello there"}]}
).encode()


class Line:
    """One kept-alive connection that asks again as soon as it is answered."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"POST {path}/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer sk-or-v1-simulated\r\n"
        self._request = f"{head}Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY
        self._got = b""

    def ask(self) -> None:
        """Send the request."""
        self._got = b""
        self.socket.sendall(self._request)

    def read(self) -> bool:
        """Take what has come; tell whether the answer is whole."""
        data = self.socket.recv(65536)
        if not data:
            sys.exit("the simulator closed a connection")
        self._got += data
        head, gap, body = self._got.partition(b"\r\n\r\n")
        if not gap:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(f"the simulator refused: {head[:80]!r}")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), None)
        return body.endswith(b"0\r\n\r\n") if length is None else len(body) >= length


def load(base_url: str, connections: int, seconds: float) -> float:
    """Return the answers a second."""
    parts = urlsplit(base_url)
    answers = 0
    with selectors.DefaultSelector() as waiting:
        for _ in range(connections):
            line = Line(str(parts.hostname), int(parts.port or 80), parts.path)
            waiting.register(line.socket, selectors.EVENT_READ, line)
            line.ask()
        ends = (started := time.perf_counter()) + seconds
        while time.perf_counter() < ends:
            for key, _ in waiting.select(1):
                if key.data.read():
                    answers += 1
                    key.data.ask()
        took = time.perf_counter() - started
        for key in list(waiting.get_map().values()):
            key.data.socket.close()
    return answers / took


def main() -> None:
    """Print the table."""
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0
    print(f"The simulator's plain answers a second, {connections} connections kept alive")
    with simulator() as base_url:
        load(base_url, connections, 0.5)
        for _ in range(3):
            before = cpu_seconds()
            rate = load(base_url, connections, seconds)
            print(f"  {rate:8.0f}   (the load itself used {100 * (cpu_seconds() - before) / seconds:.0f} % of a core)")
    print(noise())


if __name__ == "__main__":
    main()
