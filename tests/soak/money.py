"""A soak of the money: thousands of random calls by processes that are killed, against the simulator's bill.

`python tests/soak/money.py [calls] [seed]` prints what came of it, and fails if anything was not as it must be.

The simulator runs in this process; `money_worker.py` makes the calls in four others, which share one state file and
one project with a cap for a day and one in all, and a cap of the account for a month. The clock of all runs at its
usual speed, but leaps: by less than a minute, so that `GET /generation` can be asked; by more than an hour, so that
leases end under attempts that are on their way (a machine that slept); and to the next of four days, between which
a month turns, when nothing is under way. What is checked:

- At each commit (the workers keep what each did to a page of money, in the same transaction): what is spent and
  reserved is within every cap, and what was read is what was last written.
- At each look from outside: bill <= spent + reserved <= cap.
- In the end, after `reconcile()`, to the nano-dollar, for the project's page and the account's:
  `spent_total - unknown - disputes left + bill of those == bill`, and for each answer: what was booked as its known
  cost is what the bill says of it; none that is still in dispute or reserved by its id is on the bill; each part of
  `unknown` and of what is still reserved without an id has at most one answer of the bill to cover, and does.
- A worker sees no error but those of the package, its own, and that it was cancelled; nothing fails in silence.

What is honestly unknowable: an attempt that broke off, or whose process died, before the head of its reply came, has
no id to ask for. Its worst case is counted, and its reservation, if nobody lived to settle it, when its lease ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from money_worker import LeapingClock, Plan, figures, named, nurse
from store_helpers import forked

from langchain_openrouter_free.books.budget import NANO, Budget, dollars
from langchain_openrouter_free.books.purse import LEASE, Purse
from langchain_openrouter_free.request.settings import account
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.simulator.behaviours import FAILING_200, TRANSPORT
from langchain_openrouter_free.simulator.failures import FAILURES
from langchain_openrouter_free.stores import PageRef
from langchain_openrouter_free.stores.sqlite import SqliteStore

WORKERS, SLOTS = 4, 4
# The first of them, at eight in the morning; a month turns after the second.
DAYS = [datetime(2026, month, day, 8, tzinfo=UTC).timestamp() for month, day in ((11, 29), (11, 30), (12, 1), (12, 2))]
SLEPT, MOMENT = LEASE + 60.0, 40.0
# The cap of a day for each of its calls; of the month and of all in days.
A_CALL, A_MONTH, IN_ALL = Decimal("0.0002"), Decimal("1.6"), Decimal("2.9")
TIERS = [{"min_prompt_tokens": 20, "prompt": "0.000004"}, {"utc_start": 815, "utc_end": 930, "completion": "0.000007"}]
PRICES: dict[str, Any] = {
    "token": {"prompt": "0.000001", "completion": "0.000004"},
    "dear": {"prompt": "0.000003", "completion": "0.000015"},
    "request": {"prompt": "0", "completion": "0.000001", "request": "0.0004"},
    "lean": {"prompt": "0", "completion": "0.0000005"},
    "tiers": {"prompt": "0.000001", "completion": "0.000002", "overrides": TIERS},
}
PAID = [{"id": f"simulated/{kind}-{n}", "pricing": prices} for kind, prices in PRICES.items() for n in range(30)]
FREE, WELL = [f"test/f{n}:free" for n in range(100)], 25
# These close all free models, for the rest of a day or a minute.
RARE = dict.fromkeys(("429-account-day", "429-account-day-1000"), 0.03)
RARE |= dict.fromkeys(("429-account-minute", "429-previous-account", "429-empty", "429-generic"), 0.3)
# All others are as likely as each other; some come again, with words that take their time.
FAULTS: list[dict[str, Any]] = [
    *({"do": name, "weight": RARE.get(name, 1)} for name in (*FAILURES, *FAILING_200, *TRANSPORT)),
    *({"do": name, "speed": 60, "after": 2} for name in ("cut", "cut-clean", "stall", "error-chunk-after")),
    *({"do": "ok", "latency": seconds} for seconds in (0.2, 0.35, 0.6)),
    *({"do": name, "weight": 3} for name in ("cut", "hang-before-headers", "200-truncated-json")),
]


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line; nothing where who writes them is dead."""
    with contextlib.suppress(ConnectionError):
        return await reader.readline()
    return b""


def scripts() -> dict[str, Any]:
    """Return what each model does: a quarter of the free ones answers, the paid ones do so more often than not."""
    many = len(FAULTS)
    well, paced = {"do": "ok", "weight": many * 2}, {"do": "ok", "speed": 150, "weight": many // 2}
    return {
        **{one: [{"do": "ok", "weight": many * 9}, *FAULTS] for one in FREE[:WELL]},
        **{one: [{"do": "503", "weight": many // 5}, *FAULTS] for one in FREE[WELL:]},
        **{row["id"]: [well, paced, *FAULTS] for row in PAID},
    }


@dataclass
class Audit:
    """One page's whole story, against the bill."""

    whose: str
    caps: dict[str, int]
    last: list[int] = field(default_factory=lambda: [0] * 6)
    seen: set[str] = field(default_factory=set)
    settled: dict[str, int] = field(default_factory=dict)
    given_up: dict[str, int] = field(default_factory=dict)
    nameless: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    corrected: int = 0

    def must(self, true: object, *what: object) -> None:
        """Note what is wrong."""
        if not true:
            self.wrong.append(f"{self.whose}: {' '.join(map(str, what))}")

    def follow(self, row: dict[str, Any]) -> None:
        """Go through one change."""
        self.must(row["was"] == self.last, "a change was lost:", self.last, row)
        before, self.last = self.last, row["is"]
        total, month, day, reserved, unknown, disputed = self.last
        for window, spent in (("total", total), ("month", month), ("day", day)):
            cap = self.caps.get(window)
            self.must(cap is None or spent + reserved <= cap, "past the cap of a", window, cap, row)
        self.seen.update(row["came"])
        # What became known is what is spent and neither unknown nor in dispute; an update books one cost at most.
        known = total - unknown - disputed - (before[0] - before[4] - before[5])
        self.must(known == 0 or row["gone"], "a known cost of no answer:", row)
        unseen, nameless, gone = unknown - before[4], list(row["nameless"]), row["gone"]
        # An update settles one attempt at most. Of several ids that went it is the youngest: the others were given
        # up for their age; and what went without an id was lost with its lease, but for one.
        for place, (_, name, amount) in enumerate(gone, 1):
            if place == len(gone) and (known or unseen == sum(nameless)):
                self.settled[name] = known
                self.corrected += known != amount
            else:
                self.given_up[name] = amount
                unseen -= amount
        if freed := sum(nameless) - unseen:
            self.must(freed in nameless and not known, "unknown, of no attempt:", row)
            nameless = [one for one in nameless if one != freed] + [freed] * (nameless.count(freed) - 1)
        self.nameless += nameless

    def close(self, book: Purse, bill: dict[str, int]) -> dict[str, Any]:
        """Compare the page as it is in the end with the bill; return the figures."""
        self.must(figures(book) == self.last, "it ends otherwise:", self.last, book)
        left = {name: amount for name, (amount, _) in named(book).items()}
        for name, cost in self.settled.items():
            self.must(bill.get(name, 0) == cost, "booked", cost, "and billed", bill.get(name, 0), name)
        for name, amount in left.items():
            self.must(name not in bill, "not reconciled:", name, amount, bill.get(name))
        for name, amount in self.given_up.items():
            self.must(bill.get(name, 0) <= amount, "more than was counted:", name, amount, bill.get(name))
        strays = sorted((cost for name, cost in bill.items() if name not in self.seen), reverse=True)
        counted = [*self.nameless, *(one.amount for one in book.reservations.values() if not one.generation)]
        covers = sorted(counted, reverse=True)
        self.must(len(strays) <= len(covers), "answers that nobody counted:", strays[len(covers) :])
        self.must(all(map(int.__le__, strays, covers)), "more than was counted:", strays, covers)
        disputed, billed = sum(one.amount for one in book.disputes.values()), sum(bill.values())
        unsettled = sum(strays) + sum(bill.get(name, 0) for name in self.given_up)
        known = book.spent_total - book.unknown - disputed
        self.must(known + unsettled == billed, "known", known, "+ of unknown", unsettled, "!= billed", billed)
        self.must(billed <= book.spent_total + book.reserved, "billed", billed, "past the ledger", book)
        amounts = {
            "spent": book.spent_total,
            "known": known,
            "unknown, without an id": sum(self.nameless),
            "unknown, given up": sum(self.given_up.values()),
            "disputes left": disputed,
            "reserved by the dead": book.reserved,
            "billed of what is unknown": unsettled,
        }
        return {name: dollars(amount) for name, amount in amounts.items()} | {"corrected": self.corrected}


class Soak:
    """One run: the simulator, the workers, the clock, and whoever looks on."""

    def __init__(self, folder: Path, calls: int, seed: str, orders: int) -> None:
        self.calls, self.seed, self.orders, self.began = calls, seed, orders, 0.0
        self.clock = LeapingClock(folder / "clock")
        self.clock.leap(DAYS[0] - time.time())
        self.state = folder / "state.sqlite3"
        a_day = A_CALL * (calls // len(DAYS))
        self.caps = (f"${a_day}/day, ${a_day * IN_ALL}", f"${a_day * A_MONTH}/month")
        laws = Scenario(models=[*PAID, *FREE], scripts=scripts(), generation_delay=MOMENT / 2, credits=10**6)
        self.sim = Simulator(laws, clock=self.clock.now, seed=calls)
        self.chance = random.Random(seed)
        self.wrong: list[str] = []
        self.reconciled = False
        self.kinds, self.ends, self.sums = Counter[str](), Counter[str](), Counter[str]()
        self.todo: asyncio.Queue[int] = asyncio.Queue()
        self.workers: dict[int, asyncio.StreamWriter] = {}
        self.closing, self.turned = threading.Event(), threading.Event()
        self.tasks, self.serving = set[asyncio.Task[None]](), set[asyncio.Task[None]]()

    def pages(self) -> list[tuple[str, PageRef[Purse], dict[str, int]]]:
        """Return both pages of money, and their caps."""
        names = "project:soak", f"money:{account(self.sim.api_key, self.sim.base_url)}"
        caps = [Budget.parse(amount).caps() for amount in self.caps]
        return [(key, PageRef(key, Purse.encode, Purse.decode), cap) for key, cap in zip(names, caps, strict=True)]

    def books(self, store: SqliteStore) -> dict[str, Purse]:
        """Return both pages as they are."""
        return {key: store.update(ref, lambda page: (page or Purse(),) * 2) for key, ref, _ in self.pages()}

    def look_on(self) -> None:
        """See again and again that bill <= spent + reserved <= cap; the bill comes first, for it only grows."""
        store = SqliteStore(self.state, warn=self.wrong.append, patience=40.0)
        most = Budget.parse(self.caps[0]).caps()["total"]
        while not self.closing.wait(0.05):
            billed = sum(int(entry.cost * NANO) for entry in self.sim.bill)
            for key, book in self.books(store).items():
                held = book.spent_total + book.reserved
                if held < billed or (key == "project:soak" and held > most):
                    self.wrong.append(f"{key}: spent and reserved {held}, billed {billed}, cap {most}")
            self.sums["looks"] += 1
        store.close()

    # -- the workers

    async def run(self) -> None:
        """Let the workers do all calls, day by day, and reconcile."""
        server = await asyncio.start_server(self.met, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        models = self.sim.base_url, FREE[:WELL], FREE[WELL:], [row["id"] for row in PAID]
        plan = Plan(self.seed, *models, str(self.state), str(self.state.with_name("clock")), *self.caps, port)
        self.order(json.dumps(asdict(plan)))
        for _ in range(WORKERS):
            self.order("start")
        self.later(self.hurry(), self.tasks)
        for number, day in enumerate(DAYS):
            self.clock.leap(max(day - self.clock.now(), 0.0))
            for call in range(number * self.calls // len(DAYS), (number + 1) * self.calls // len(DAYS)):
                self.todo.put_nowait(call)
            await self.todo.join()
        self.sums["seconds"] = round(time.monotonic() - self.began)
        self.turned.set()
        while self.tasks:
            await asyncio.wait(self.tasks)
        self.clock.leap(MOMENT)
        # Whoever reconciles may be killed as well.
        while not self.reconciled:
            self.todo.put_nowait(-1)
            await self.todo.join()
        self.closing.set()
        for writer in self.workers.values():
            writer.write_eof()
        while self.serving:
            await asyncio.wait(self.serving)
        server.close()

    def order(self, what: str) -> None:
        """Have a worker started or killed."""
        os.write(self.orders, f"{what}\n".encode())

    def met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a worker, unless it comes too late."""
        if self.closing.is_set():
            writer.close()
        else:
            self.later(self.serve(reader, writer), self.serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Give one worker its calls, several at once, until it dies; then have another one in its place."""
        pid = json.loads(await _line(reader))["pid"]
        self.began = self.began or time.monotonic()
        # Every other one dies of its own hand, next to a commit.
        fuse = self.chance.randrange(1, 800) if self.chance.random() < 0.5 else None
        writer.write(json.dumps([fuse, self.chance.random() < 0.5]).encode() + b"\n")
        pending: dict[int, asyncio.Future[None]] = {}
        feeders = [asyncio.create_task(self.feed(writer, pending)) for _ in range(SLOTS)]
        self.workers[pid] = writer
        while line := await _line(reader):
            told = json.loads(line)
            if "trouble" in told:
                self.wrong.append(told["trouble"])
                continue
            self.note(told)
            pending.pop(told["number"]).set_result(None)
        del self.workers[pid]
        if not self.closing.is_set():
            self.sums["killed workers"] += 1
            self.sums["killed calls"] += sum(number >= 0 for number in pending)
            self.order("start")
        for feeder in feeders:
            feeder.cancel()
        writer.close()

    async def feed(self, writer: asyncio.StreamWriter, pending: dict[int, asyncio.Future[None]]) -> None:
        """Hand out one call after another."""
        while True:
            number = await self.todo.get()
            try:
                pending[number] = asyncio.get_running_loop().create_future()
                writer.write(json.dumps({"number": number}).encode() + b"\n")
                await pending[number]
            finally:
                self.todo.task_done()

    def note(self, told: dict[str, Any]) -> None:
        """Count what came of a call; now and then somebody is killed, or an hour is slept through."""
        if told["number"] < 0:
            self.reconciled = told["ends"] == ["answered"]
            return
        self.kinds[told["kind"]] += 1
        for end in told["ends"]:
            self.ends[end.partition("\n")[0]] += 1
            if end.startswith("UNNAMED"):
                self.wrong.append(f"{told['kind']}: {end}")
        done = self.sums["calls"] = self.sums["calls"] + 1
        if done % 50 == 25:
            self.later(self.kill(), self.tasks)
        if done % max(self.calls // 6, 21) == 20:
            self.clock.leap(SLEPT)

    def later(self, work: Any, tasks: set[asyncio.Task[None]]) -> None:
        """Let something happen beside."""
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def hurry(self) -> None:
        """Let the clock leap a little again and again: batches queue for the next minute as long as it takes."""
        while not self.turned.is_set():
            await asyncio.sleep(1.0)
            self.clock.leap(MOMENT)

    async def kill(self) -> None:
        """Kill a worker, at any moment."""
        await asyncio.sleep(self.chance.uniform(0, 0.05))
        if self.workers:
            self.order(f"kill {self.chance.choice(sorted(self.workers))}")

    def result(self) -> dict[str, Any]:
        """Compare the books, and tell what there was."""
        store = SqliteStore(self.state, warn=self.wrong.append)
        bill = {entry.generation: int(entry.cost * NANO) for entry in self.sim.bill}
        told, books = dict[str, Any](), self.books(store)
        for key, _, caps in self.pages():
            audit = Audit(key.partition(":")[0], caps)
            for _, text in reversed(store.recent(f"moves of {key}", 10**9)):
                audit.follow(json.loads(text))
            told[f"{audit.whose}'s page"] = audit.close(books[key], bill)
            self.wrong += audit.wrong
            for window, length in (("day", 10), ("month", 7), ("total", 0)):
                # The time of an answer stands in its id; nothing is under way when a day turns.
                spent = Counter[str]()
                for name, cost in bill.items():
                    spent[datetime.fromtimestamp(int(name.split("-")[1]), UTC).isoformat()[:length]] += cost
                if window in caps and max(spent.values(), default=0) > caps[window]:
                    self.wrong.append(f"the bill of a {window} is past the cap of {key}: {spent}")
        store.close()
        return {
            **self.sums,
            "calls a second": round(self.sums["calls"] / max(self.sums["seconds"], 1), 1),
            "requests": Counter("free" if "free" in str(chat.model) else "paid" for chat in self.sim.chats()),
            "kinds": dict(sorted(self.kinds.items())),
            "ends": dict(self.ends.most_common()),
            "caps": self.caps,
            "bill": dollars(sum(bill.values())),
            "billed answers": len(bill),
            **told,
            "violations": self.wrong[:20],
        }


def main() -> None:
    """Do what the command line says."""
    calls, seed = (sys.argv[1:] + ["5000", "1"][len(sys.argv) - 1 :])[:2]
    # While there are no threads: what is forked must not inherit them.
    orders, ours = os.pipe()
    nursery = forked(lambda: nurse(orders, ours))
    os.close(orders)
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), int(calls), seed, ours)
        with soak.sim:
            onlooker = threading.Thread(target=soak.look_on)
            onlooker.start()
            try:
                asyncio.run(asyncio.wait_for(soak.run(), 60 + soak.calls))
            finally:
                soak.closing.set()
                onlooker.join()
                os.close(ours)
            if os.waitpid(nursery, 0)[1]:
                soak.wrong.append("a worker did not end as it should")
            result = soak.result()
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    sys.exit(bool(result["violations"]))


if __name__ == "__main__":
    main()
