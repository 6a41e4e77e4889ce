"""A soak of the endpoint: so many streams at once for a while, some of whose clients go away, while models fail.

`python tests/soak/serve.py [seconds] [streams]` (60 and 200) prints what came of it, and fails if anything was not as
it must be. The simulator and the clients are in this process, the endpoint is in another one, on a state file. Checked:

- Each stream ends as it must: whole, or in the error of a model that broke off after its first words; free and paid
  ones alike. Nothing else is told, and the endpoint's log is empty.
- When all is over: no request is being worked on, tasks are as many as after the first second, descriptors no more than
  the connections that may be kept, memory has not grown by more than a few megabytes since half of the time was over,
  no money is held back, and the day's free requests are as many as the service got (and those whose client left before
  they were there: they count as spent).
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from langchain_openrouter_free.serve import Backend, application
from langchain_openrouter_free.serve.running import listening, run, url_of
from langchain_openrouter_free.simulator import Scenario, Simulator

SECONDS, STREAMS = 60.0, 200
PROCESS = Path("/proc/self")
ENDS = {"whole", "interrupted", "left at once", "left later"}
A, B, C, PAID = "test/a:free", "test/b:free", "test/c:free", "simulated/paid"
TALK = {"do": "ok", "speed": 10, "reasoning": False}
CUT = {"do": "cut", "after": 4, "weight": 3}
SCRIPTS: dict[str, Any] = {
    A: [{**TALK, "weight": 90}, *({"do": name, "weight": 3} for name in ("503", "429-upstream", "200-error")), CUT],
    B: [{**TALK, "weight": 97}, CUT],
    C: TALK,
    PAID: TALK,
}
# How many kilobytes the endpoint may grow by in the second half.
GROWTH = 12_000
# What it has open beside connections.
DESCRIPTORS = 64
# Of a hundred clients.
LEAVE_AT_ONCE, LEAVE_LATER, PAY = 4, 6, 5


# -- the endpoint's process


def serve() -> None:
    """Serve what the environment configures, and tell the figures of this process to who asks `/soak`."""
    paying: dict[str, Any] = {"allow_paid": True, "paid_models": [PAID], "budget": "$1000 total", "max_tokens": 100}
    # A machine that is busy with other things is no fault of the endpoint's.
    backend = Backend.configured(**paying, project="p", timeouts={"connect": 30.0})
    app: Any = application(backend)

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != "/soak":
            await app(scope, receive, send)
            return
        content = json.dumps(await figures(backend, app._busy)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": content})

    with listening("127.0.0.1", 0) as taking:
        print(url_of("127.0.0.1", taking), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            run(watched, taking)


async def figures(backend: Any, busy: int) -> dict[str, Any]:
    """Return what is open, held and used."""
    gc.collect()
    router = backend._main
    spending = await asyncio.to_thread(router.spending)
    book = await asyncio.to_thread(router._accounts().look)
    pages = int(PROCESS.joinpath("statm").read_text(encoding="utf-8").split()[1])
    return {
        "busy": busy,
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(list(PROCESS.joinpath("fd").iterdir())),
        "kilobytes": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
        "cpu": round(time.process_time(), 1),
        "reserved": spending.windows[0].reserved,
        "taken": sum(book.windows.days.values()),
    }


# -- the clients


class Clients:
    """Clients that ask again and again, each on a connection of its own, as many at once as there are streams."""

    def __init__(self, port: int, seed: int) -> None:
        self._port, self._chance = port, random.Random(seed)
        self.ends: Counter[str] = Counter()
        self.at_once = self.most = 0

    async def ask(self, until: float) -> None:
        """Ask until the time is over."""
        await asyncio.sleep(self._chance.random())
        while time.monotonic() < until:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            try:
                self.ends[await self._once()] += 1
            finally:
                self.at_once -= 1

    async def _once(self) -> str:
        pays, leaves = self._chance.random() * 100 < PAY, self._chance.random() * 100
        asked = {"model": PAID if pays else "auto", "messages": [{"role": "user", "content": f"hello {leaves}"}]}
        body = json.dumps({**asked, "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
            if leaves < LEAVE_AT_ONCE:
                await asyncio.sleep(self._chance.random() / 10)
                return "left at once"
            said = await reader.readuntil(b"\n\n") if leaves < LEAVE_AT_ONCE + LEAVE_LATER else await reader.read()
            if leaves < LEAVE_AT_ONCE + LEAVE_LATER:
                return "left later"
            while part := await reader.read(65536):
                said += part
            return ending(said)
        finally:
            writer.close()


def ending(said: bytes) -> str:
    """Say how a reply ended."""
    status = said[9:12].decode("latin-1")
    if status != "200":
        return f"{status} {said[-300:]!r}"
    if b"data: [DONE]" in said:
        return "whole"
    return "interrupted" if b'"code":"interrupted"' in said else f"no end: {said[-200:]!r}"


async def read(port: int) -> dict[str, Any]:
    """Return the figures of the endpoint's process."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /soak HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    said = await reader.read()
    writer.close()
    return dict(json.loads(said.partition(b"{")[1] + said.partition(b"{")[2].rpartition(b"}")[0] + b"}"))


async def soak(port: int, seconds: float, streams: int) -> tuple[Clients, list[dict[str, Any]]]:
    """Let the clients ask; return what they got, and the figures before, at half-time and after."""
    clients = Clients(port, seed=1)
    # The first requests load what is loaded once.
    await asyncio.gather(*(clients.ask(time.monotonic() + 1.0) for _ in range(streams)))
    seen = [await settled(port)]
    for _ in range(2):
        until = time.monotonic() + seconds / 2
        await asyncio.gather(*(clients.ask(until) for _ in range(streams)))
        seen.append(await settled(port))
    return clients, seen


async def settled(port: int) -> dict[str, Any]:
    """Return the figures once nothing is on its way, or when that takes too long."""
    for _ in range(100):
        seen = await read(port)
        if not seen["busy"] and seen["reserved"] == "0":
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    return await read(port)


def wrong(clients: Clients, seen: list[dict[str, Any]], asked: int, log: str) -> list[str]:
    """Return what was not as it must be."""
    first, half, last = seen
    found = [f"{n} times: {end}" for end, n in clients.ends.items() if end not in ENDS]
    found += [f"{last[name]} {name} are left" for name in ("busy", "reserved") if last[name] not in (0, "0")]
    if log.strip():
        found.append(f"the log of the endpoint: {log[-1000:]}")
    # Connections to the service are kept for the next request: as many as there were at once.
    most = {"tasks": first["tasks"], "descriptors": clients.most + DESCRIPTORS, "kilobytes": half["kilobytes"] + GROWTH}
    found += [f"{last[name]} {name}, and {bound} may be" for name, bound in most.items() if last[name] > bound]
    if not asked <= last["taken"] <= asked + clients.ends["left at once"]:
        found.append(f"{last['taken']} free requests are booked, the service got {asked}")
    return found


def main() -> int:
    """Print what came of it."""
    given = [float(word) for word in sys.argv[1:]]
    seconds, streams = (given + [SECONDS, STREAMS][len(given) :])[:2]
    paid = {"id": PAID, "pricing": {"prompt": "0.000001", "completion": "0.000002"}}
    with Simulator(Scenario(models=[paid, A, B, C], scripts=SCRIPTS)) as sim, tempfile.TemporaryDirectory() as folder:
        about = {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OPENROUTER_API_KEY": sim.api_key,
            "OPENROUTER_API_BASE": sim.base_url,
            "OPENROUTER_FREE_MODELS": f"{A},{B},{C}",
            "OPENROUTER_FREE_STATE": str(Path(folder) / "state.sqlite3"),
        }
        command = [sys.executable, __file__, "serve"]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=folder, env=os.environ | about, stdout=pipe, stderr=pipe, text=True
        ) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline().rpartition(":")[2].partition("/")[0])
            try:
                clients, seen = asyncio.run(soak(port, seconds, int(streams)))
            finally:
                server.terminate()
                _, log = server.communicate(timeout=20)
        asked = sum(chat.model != PAID for chat in sim.chats())
    found = wrong(clients, seen, asked, log)
    told = {
        "ends": dict(clients.ends),
        "most at once": clients.most,
        "figures": seen,
        "requests": asked,
        "wrong": found,
    }
    print(json.dumps(told, indent=2))
    return int(bool(found))


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        sys.exit(main())
