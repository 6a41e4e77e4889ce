"""What is asked of the service beside the attempts, and costs no free request.

Its list of models is looked at before the first attempt: it proves what is free, and tells what the rest costs. The
day's limit, the account's money and the cost of an answer are asked for where they help, never where an answer only
waits for them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from langchain_openrouter_free.actions import Topic
from langchain_openrouter_free.budget import nano
from langchain_openrouter_free.catalogue import FRESH, Listing
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.funds import Funds
from langchain_openrouter_free.listings import AGAIN, LISTINGS, USABLE, Shelf
from langchain_openrouter_free.refusals import classify_listing
from langchain_openrouter_free.sources import Stopwatch, Timeouts
from langchain_openrouter_free.transport import CLIENTS, AsyncReply, Outgoing, Reply, Service, TransportFault

Fetched = tuple[int, bytes]
Finding = Listing | Funds | int | None

log = logging.getLogger("langchain_openrouter_free")

_LIST_PATIENCE = Timeouts(connect=5.0, first_token=15.0, stall=15.0, attempt=20.0, call=20.0)
# A question about the quota or the money must not hold a call up for long.
_PATIENCE = Timeouts(connect=3.0, first_token=5.0, stall=5.0, attempt=5.0, call=5.0)
# No account is known to have more than 1000; more than this is nonsense.
_MOST_A_DAY = 1_000_000
_MAX_BYTES = 32 * 1024 * 1024
# What the account may use (8 free ids where the other one showed 18, recorded 2026-09), and what is on offer.
_LISTS = ("/models/user", "/models")
# A server without a catalogue is not asked for it at every turn.
_NO_SUCH_PAGE = frozenset({404, 405, 501})
_PATHS = {Topic.DAY_LIMIT: ("/key",), Topic.FUNDS: ("/key", "/credits")}


@dataclass(frozen=True, slots=True)
class ServiceLookup:
    """Asks the service of one configuration; an `engine.Lookup`.

    Attributes:
        service: how it is reached.
        clock: where time comes from.
        shelf: where its list is kept.
        paid: the paid ids whose prices must be known.
        most: longest that one question may take, in seconds.
    """

    service: Service
    clock: Clock
    shelf: Shelf
    paid: Sequence[str] = ()
    most: float = 20.0

    def known(self, ids: Sequence[str]) -> Listing | None:
        """Return the service's list without waiting, if there is a copy that will do for these ids."""
        listing, is_stale = LISTINGS.usable(self.shelf.account, ids, self.clock.now())
        if is_stale:
            LISTINGS.in_background(self.shelf.account, self.refresh)
        return listing

    def outdated(self) -> None:
        """Have the list fetched anew in the background: an id that it has is not offered any more."""
        LISTINGS.in_background(self.shelf.account, self._listing)

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
        account, since = self.shelf.account, self.clock.now()
        with LISTINGS.turn(account):
            if LISTINGS.is_settled(account, since, self.clock.now()):
                return LISTINGS.last(account)
            return self._kept(self.shelf.load()) or self._fetched()

    async def _alisting(self) -> Listing | None:
        account, since = self.shelf.account, self.clock.now()
        async with LISTINGS.turn_on_this_loop(account):
            if LISTINGS.is_settled(account, since, self.clock.now()):
                return LISTINGS.last(account)
            return self._kept(await asyncio.to_thread(self.shelf.load)) or await self._afetched()

    def refresh(self) -> Listing | None:
        """Fetch the list now; return it, or the last good copy."""
        with LISTINGS.turn(self.shelf.account):
            return self._fetched()

    async def arefresh(self) -> Listing | None:
        """The same on an event loop."""
        async with LISTINGS.turn_on_this_loop(self.shelf.account):
            return await self._afetched()

    def _kept(self, copy: Listing | None) -> Listing | None:
        """Return another process's copy, if it is newer than ours and will do."""
        now, account = self.clock.now(), self.shelf.account
        mine = LISTINGS.last(account)
        if copy is None or copy.at > now or (mine is not None and copy.at <= mine.at):
            return None
        LISTINGS.keep(account, copy, now)
        return copy if now - copy.at < USABLE else None

    def _fetched(self) -> Listing | None:
        """Fetch what this account may use; where that is no list, or lacks a paid id, all that is on offer as well."""
        found: list[Fetched | None] = []
        for path in _LISTS:
            found.append(self._fetch(path, _LIST_PATIENCE))
            if self._suffices(found):
                break
        listing = self._listed(found)
        if listing is not None:
            self.shelf.save(listing)
        return listing or LISTINGS.last(self.shelf.account)

    async def _afetched(self) -> Listing | None:
        """The same on an event loop."""
        found: list[Fetched | None] = []
        for path in _LISTS:
            found.append(await self._afetch(path, _LIST_PATIENCE))
            if self._suffices(found):
                break
        listing = self._listed(found)
        if listing is not None:
            await asyncio.to_thread(self.shelf.save, listing)
        return listing or LISTINGS.last(self.shelf.account)

    def _suffices(self, found: list[Fetched | None]) -> bool:
        """Tell whether the next list need not be asked for: the service cannot be reached, or all is known."""
        listing = Listing.of(_parsed(found[-1]), 0.0)
        return found[-1] is None or (listing is not None and all(model in listing.rows for model in self.paid))

    def cost(self, answer: str) -> int | None:
        """Return what `GET /generation` says an answer cost, in nano-dollars; None where it doesn't know (yet)."""
        return cost_of(self._fetch(f"/generation?id={quote(answer, safe='')}", _PATIENCE))

    async def acost(self, answer: str) -> int | None:
        """The same on an event loop."""
        return cost_of(await self._afetch(f"/generation?id={quote(answer, safe='')}", _PATIENCE))

    def _listed(self, found: list[Fetched | None]) -> Listing | None:
        now, account = self.clock.now(), self.shelf.account
        lists = [listing for one in found if (listing := Listing.of(_parsed(one), now)) is not None]
        if not lists:
            why, last = "no reply", found[-1]
            if last is not None:
                why = "no list" if last[0] == 200 else classify_listing(last[0], None, last[1], now=now).reason
            log.warning("the list of models cannot be had (%s): prices are not known", why)
            has_none = last is not None and last[0] in _NO_SUCH_PAGE
            LISTINGS.keep(account, None, now, FRESH if has_none else AGAIN)
            return None
        # Of the second list the paid ids alone: what the account may use for nothing stands in the first.
        more = {model: rows for one in lists[1:] for model, rows in one.rows.items() if model in self.paid}
        listing = Listing({**more, **lists[0].rows}, now)
        LISTINGS.keep(account, listing, now)
        return listing

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
