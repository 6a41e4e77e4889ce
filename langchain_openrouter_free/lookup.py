"""What is asked of the service beside the attempts, and costs no free request.

Its list of models is fetched before the first attempt and kept for an hour for each base URL: it proves what is
free, and tells what the rest costs. The day's limit, the account's money and the cost of an answer are asked for
where they help, never where an answer only waits for them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from langchain_openrouter_free.actions import Topic
from langchain_openrouter_free.budget import nano
from langchain_openrouter_free.catalogue import Listing
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.funds import Funds
from langchain_openrouter_free.routing import LISTING_KEPT
from langchain_openrouter_free.sources import Stopwatch, Timeouts
from langchain_openrouter_free.transport import CLIENTS, AsyncReply, Outgoing, Reply, Service, TransportFault
from langchain_openrouter_free.verdicts import classify_listing

Fetched = tuple[int, bytes]
Finding = Listing | Funds | int | None

log = logging.getLogger("langchain_openrouter_free")

# A list that lacks what is asked for is fetched anew when it is older than this, in seconds.
_YOUNG_SECONDS = 60.0
# A list that could not be had is not asked for again for so long, in seconds.
_AGAIN_SECONDS = 30.0
_LIST_PATIENCE = Timeouts(connect=5.0, first_token=15.0, stall=15.0, attempt=20.0, call=20.0)
# A question about the quota or the money must not hold a call up for long.
_PATIENCE = Timeouts(connect=3.0, first_token=5.0, stall=5.0, attempt=5.0, call=5.0)
# No account is known to have more than 1000; more than this is nonsense.
_MOST_A_DAY = 1_000_000
_MAX_BYTES = 32 * 1024 * 1024
_MODELS = "/models"
_PATHS = {Topic.DAY_LIMIT: ("/key",), Topic.FUNDS: ("/key", "/credits")}


class Listings:
    """The process's copies of the service's list, by base URL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, Listing] = {}
        self._failed: dict[str, float] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._loops: dict[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]] = {}

    def turn(self, url: str) -> threading.Lock:
        """Return what a thread holds while it fetches: others wait for its copy."""
        with self._lock:
            return self._turns.setdefault(url, threading.Lock())

    def turn_on_this_loop(self, url: str) -> asyncio.Lock:
        """Return what a task of the running loop holds while it fetches."""
        with self._lock:
            self._loops = {loop: turns for loop, turns in self._loops.items() if not loop.is_closed()}
            turns = self._loops.setdefault(asyncio.get_running_loop(), {})
            return turns.setdefault(url, asyncio.Lock())

    def known(self, url: str, now: float, ids: Sequence[str] = ()) -> Listing | None:
        """Return the copy for a base URL, while it is fresh and has these ids or is young."""
        with self._lock:
            kept = self._kept.get(url)
        if kept is None or not 0 <= now - kept.at < LISTING_KEPT:
            return None
        young = now - kept.at < _YOUNG_SECONDS
        return kept if young or all(one in kept.rows for one in ids) else None

    def tried(self, url: str, since: float, now: float) -> bool:
        """Tell whether there is no use in fetching: another has about then, or could not a moment ago."""
        with self._lock:
            kept, failed = self._kept.get(url), self._failed.get(url)
        young = kept is not None and kept.at > since - _YOUNG_SECONDS
        return young or (failed is not None and 0 <= now - failed < _AGAIN_SECONDS)

    def last(self, url: str) -> Listing | None:
        """Return the last good copy, however old."""
        with self._lock:
            return self._kept.get(url)

    def keep(self, url: str, listing: Listing | None, now: float) -> Listing | None:
        """Keep a new copy, or that there is none; return the last good one."""
        with self._lock:
            if listing is None:
                self._failed[url] = now
            else:
                self._failed.pop(url, None)
                self._kept[url] = listing
            return self._kept.get(url)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._kept.clear()
            self._failed.clear()


LISTINGS = Listings()


@dataclass(frozen=True, slots=True)
class ServiceLookup:
    """Asks the service of one configuration; an `engine.Lookup`.

    Attributes:
        service: how it is reached.
        clock: where time comes from.
        most: longest that one question may take, in seconds.
    """

    service: Service
    clock: Clock
    most: float = 20.0

    def known(self, ids: Sequence[str]) -> Listing | None:
        """Return the service's list without asking, if there is a copy that will do for these ids."""
        return LISTINGS.known(self.service.url, self.clock.now(), ids)

    def ask(self, topic: Topic) -> Finding:
        """Ask about a topic; None where nobody says."""
        if topic is Topic.LISTING:
            return self._listing()
        return _found(topic, [self._fetch(path, _PATIENCE) for path in _PATHS[topic]])

    async def aask(self, topic: Topic) -> Finding:
        """The same on an event loop."""
        if topic is Topic.LISTING:
            return await self._alisting()
        return _found(topic, [await self._afetch(path, _PATIENCE) for path in _PATHS[topic]])

    def _listing(self) -> Listing | None:
        url, since = self.service.url, self.clock.now()
        with LISTINGS.turn(url):
            if LISTINGS.tried(url, since, self.clock.now()):
                return LISTINGS.last(url)
            return self._listed(self._fetch(_MODELS, _LIST_PATIENCE))

    async def _alisting(self) -> Listing | None:
        url, since = self.service.url, self.clock.now()
        async with LISTINGS.turn_on_this_loop(url):
            if LISTINGS.tried(url, since, self.clock.now()):
                return LISTINGS.last(url)
            return self._listed(await self._afetch(_MODELS, _LIST_PATIENCE))

    def cost(self, answer: str) -> int | None:
        """Return what `GET /generation` says an answer cost, in nano-dollars; None where it doesn't know (yet)."""
        return cost_of(self._fetch(f"/generation?id={quote(answer, safe='')}", _PATIENCE))

    async def acost(self, answer: str) -> int | None:
        """The same on an event loop."""
        return cost_of(await self._afetch(f"/generation?id={quote(answer, safe='')}", _PATIENCE))

    def _listed(self, fetched: Fetched | None) -> Listing | None:
        now, url = self.clock.now(), self.service.url
        listing = Listing.of(_parsed(fetched), now)
        if listing is None:
            why = "no reply"
            if fetched is not None:
                why = "no list" if fetched[0] == 200 else classify_listing(fetched[0], None, fetched[1], now=now).reason
            log.warning("the list of models cannot be had (%s): prices are not known", why)
        return LISTINGS.keep(url, listing, now)

    def _request(self, path: str) -> Outgoing:
        return Outgoing(f"{self.service.url}{path}", self.service.headers, method="GET")

    def _watch(self, patience: Timeouts) -> Stopwatch:
        most = min(patience.call, self.most)
        return Stopwatch(self.clock, replace(patience, call=most), self.clock.monotonic() + most)

    def _fetch(self, path: str, patience: Timeouts) -> Fetched | None:
        watch, parts = self._watch(patience), bytearray()
        try:
            reply = Reply(self.service.client or CLIENTS.sync(), self._request(path), watch.connect, watch.read)
            try:
                while (data := reply.read()) is not None and len(parts) < _MAX_BYTES:
                    parts += data
            finally:
                reply.close()
        except TransportFault as fault:
            log.warning("GET %s: %s", path.partition("?")[0], fault.reason)
            return None
        return reply.status, bytes(parts)

    async def _afetch(self, path: str, patience: Timeouts) -> Fetched | None:
        watch, parts = self._watch(patience), bytearray()
        try:
            client = self.service.async_client or await CLIENTS.asynchronous()
            reply = await AsyncReply.open(client, self._request(path), watch.connect, watch.read)
            try:
                while (data := await reply.read()) is not None and len(parts) < _MAX_BYTES:
                    parts += data
            finally:
                await reply.close()
        except TransportFault as fault:
            log.warning("GET %s: %s", path.partition("?")[0], fault.reason)
            return None
        return reply.status, bytes(parts)


def _found(topic: Topic, fetched: list[Fetched | None]) -> Finding:
    if topic is Topic.DAY_LIMIT:
        return day_limit_of(fetched[0])
    return Funds.of(_parsed(fetched[0]), _parsed(fetched[1]))


def _parsed(fetched: Fetched | None) -> object:
    """Return the JSON of a reply with status 200, else None."""
    if fetched is None or fetched[0] != 200:
        return None
    try:
        parsed: object = json.loads(fetched[1])
    except (ValueError, RecursionError):
        return None
    return parsed


def day_limit_of(fetched: Fetched | None) -> int | None:
    """Read `free_model_daily_requests.limit` of a reply of `GET /key`.

    The field can be absent (older accounts, recorded 2025), and its `used` lags by minutes: only the limit is
    read, and only where it is a plausible one.
    """
    payload = _parsed(fetched)
    try:
        limit = payload["data"]["free_model_daily_requests"]["limit"]  # type: ignore[index]
    except (KeyError, TypeError, IndexError):
        return None
    plausible = isinstance(limit, int) and not isinstance(limit, bool) and 0 < limit <= _MOST_A_DAY
    return limit if plausible else None


def cost_of(fetched: Fetched | None) -> int | None:
    """Read `total_cost` of a reply of `GET /generation`, in nano-dollars.

    Before it knows an answer it says 404, for minutes (recorded 2026-09); of an answer that was never given it says
    so for ever.
    """
    payload = _parsed(fetched)
    data = payload.get("data") if isinstance(payload, dict) else None
    return nano(data.get("total_cost")) if isinstance(data, dict) else None
