"""What is asked of the service beside the attempts, and costs no free request.

Its list of models is looked at before the first attempt: it proves what is free, and tells what the rest costs. The
day's limit, the account's money and the cost of an answer are asked for where they help, never where an answer only
waits for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import inf
from urllib.parse import quote

from langchain_openrouter_free.books.budget import with_upstream
from langchain_openrouter_free.books.funds import Funds
from langchain_openrouter_free.catalogue.bundle import bundled
from langchain_openrouter_free.catalogue.catalogue import FRESH, Listing
from langchain_openrouter_free.catalogue.fetching import Fetch, Fetched, Page, Unpacked
from langchain_openrouter_free.catalogue.listings import LISTINGS, USABLE, Shelf
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.connections.transport import AsyncReply, Outgoing, Reply, Service, TransportFault
from langchain_openrouter_free.engine.sources import Stopwatch
from langchain_openrouter_free.engine.timeouts import Timeouts
from langchain_openrouter_free.errors import at
from langchain_openrouter_free.judging.refusals import classify_listing
from langchain_openrouter_free.request.settings import is_service
from langchain_openrouter_free.route.actions import Topic
from langchain_openrouter_free.values import value_type

Finding = Listing | Funds | int | None

log = logging.getLogger("langchain_openrouter_free")

_LIST_PATIENCE = Timeouts(connect=5.0, first_token=15.0, stall=15.0, attempt=20.0, call=20.0)
# A question about the quota, the money, or what is on offer by now must not hold a call up for long.
_PATIENCE = Timeouts(connect=3.0, first_token=5.0, stall=5.0, attempt=5.0, call=5.0)
# No account is known to have more than 1000; more than this is nonsense.
_MOST_A_DAY = 1_000_000
# A server without a catalogue is not asked for it at every turn.
_NO_SUCH_PAGE = frozenset({404, 405, 501})
_PATHS = {Topic.DAY_LIMIT: ("/key",), Topic.FUNDS: ("/key", "/credits")}


@value_type()
class ServiceLookup:
    """Asks the service of one configuration; an `engine.Lookup`.

    Attributes:
        service: how it is reached.
        clock: where time comes from.
        shelf: where its list is kept.
        paid: the paid ids whose prices must be known.
        most: longest that one question may take, in seconds.
        ids: the free ids that are named.
        only: whether nothing else is named, no pattern and not `auto`.
    """

    service: Service
    clock: Clock
    shelf: Shelf
    paid: Sequence[str] = ()
    most: float = 20.0
    ids: Sequence[str] = ()
    only: bool = False

    def known(self) -> Listing | None:
        """Return the service's list without waiting, if there is a copy that will do; have an old one renewed."""
        listing, is_stale = LISTINGS.usable(self.shelf.account, self.ids, self.paid, self.clock.now(), only=self.only)
        if is_stale:
            LISTINGS.in_background(self.shelf.account, self._patient.renew)
        return listing

    @property
    def _patient(self) -> ServiceLookup:
        """The same with all the time that a list may take: nobody waits for who fetches in the background."""
        return replace(self, most=_LIST_PATIENCE.call)

    def at_hand(self) -> Listing:
        """Return what is known without a request: this process's copy, the state's, or what came with the package."""
        return LISTINGS.last(self.shelf.account) or self.shelf.load() or bundled()

    def outdated(self) -> None:
        """Have the list fetched anew in the background: an id that it has is not offered any more."""
        LISTINGS.in_background(self.shelf.account, partial(self._patient.ask, Topic.LISTING, inf))

    def ask(self, topic: Topic, left: float) -> Finding:
        """Ask about a topic, within the seconds that are left; None where nobody says."""
        if topic is Topic.LISTING:
            return self._listing(left)
        if topic is Topic.NEWS:
            return self._news(left)
        return _found(topic, [self._fetch(path) for path in _PATHS[topic]])

    async def aask(self, topic: Topic, left: float) -> Finding:
        """The same on an event loop."""
        if topic is Topic.LISTING:
            return await self._alisting(left)
        if topic is Topic.NEWS:
            return await self._anews(left)
        return _found(topic, [await self._afetch(path) for path in _PATHS[topic]])

    def _listing(self, left: float) -> Listing | None:
        """Return the list that serves a call; half of what is left of the call is for asking a model."""
        account, since, ends = self.shelf.account, self.clock.now(), self._end(left / 2, _LIST_PATIENCE)
        turn = LISTINGS.turn(account)
        # Who fetches meanwhile may have more patience than this call.
        if not turn.acquire(timeout=self._until(ends).call):
            return LISTINGS.last(account)
        try:
            if LISTINGS.is_settled(account, since, self.clock.now(), self.paid):
                return LISTINGS.last(account)
            copy = self._kept(self.shelf.load())
            if copy is not None and (served := self.known()) is not None:
                return served
            return self._followed_up(self._fetched(self._until(ends, _LIST_PATIENCE)), ends)
        finally:
            turn.release()

    async def _alisting(self, left: float) -> Listing | None:
        """The same on an event loop."""
        account, since, ends = self.shelf.account, self.clock.now(), self._end(left / 2, _LIST_PATIENCE)
        turn = LISTINGS.turn_on_this_loop(account)
        if not await self._got(turn, ends):
            return LISTINGS.last(account)
        try:
            if LISTINGS.is_settled(account, since, self.clock.now(), self.paid):
                return LISTINGS.last(account)
            copy = self._kept(await asyncio.to_thread(self.shelf.load))
            if copy is not None and (served := self.known()) is not None:
                return served
            return self._followed_up(await self._afetched(self._until(ends, _LIST_PATIENCE)), ends)
        finally:
            turn.release()

    def _followed_up(self, found: Listing | None, ends: float) -> Listing | None:
        """Have the list fetched for later calls, where this one's time was too short for it."""
        if self.most < _LIST_PATIENCE.call and self.clock.monotonic() >= ends:
            LISTINGS.in_background(self.shelf.account, self._patient.renew)
        return found

    def _news(self, left: float) -> Listing | None:
        """Return a list without what the service says is gone, if there is one in time."""
        account, since, ends = self.shelf.account, self.clock.now(), self._end(left, _PATIENCE)
        turn = LISTINGS.turn(account)
        # Who fetches in the background has more patience than a call.
        if not turn.acquire(timeout=self._until(ends).call):
            return LISTINGS.last(account)
        try:
            self._kept(self.shelf.load())
            is_refuted, patience = LISTINGS.is_refuted(account, since, self.clock.now()), self._until(ends)
            return self._fetched(patience) if is_refuted and patience.call else LISTINGS.last(account)
        finally:
            turn.release()

    async def _anews(self, left: float) -> Listing | None:
        """The same on an event loop."""
        account, since, ends = self.shelf.account, self.clock.now(), self._end(left, _PATIENCE)
        turn = LISTINGS.turn_on_this_loop(account)
        if not await self._got(turn, ends):
            return LISTINGS.last(account)
        try:
            self._kept(await asyncio.to_thread(self.shelf.load))
            is_refuted, patience = LISTINGS.is_refuted(account, since, self.clock.now()), self._until(ends)
            return await self._afetched(patience) if is_refuted and patience.call else LISTINGS.last(account)
        finally:
            turn.release()

    async def _got(self, turn: asyncio.Lock, ends: float) -> bool:
        """Wait for a turn, at most until a moment; tell whether it is had."""
        try:
            async with asyncio.timeout(self._until(ends).call):
                return await turn.acquire()
        except TimeoutError:
            return False

    def _end(self, left: float, patience: Timeouts) -> float:
        return self.clock.monotonic() + min(left, self.most, patience.call)

    def _until(self, ends: float, patience: Timeouts = _PATIENCE) -> Timeouts:
        return replace(patience, call=max(ends - self.clock.monotonic(), 0.0))

    def refresh(self) -> None:
        """Fetch the list now."""
        with LISTINGS.turn(self.shelf.account):
            self._kept(self.shelf.load())
            self._fetched()

    async def arefresh(self) -> None:
        """The same on an event loop."""
        async with LISTINGS.turn_on_this_loop(self.shelf.account):
            self._kept(await asyncio.to_thread(self.shelf.load))
            await self._afetched()

    def renew(self) -> None:
        """Fetch the list, unless another process just has."""
        with LISTINGS.turn(self.shelf.account):
            copy = self._kept(self.shelf.load())
            if copy is None or self.clock.now() - copy.at >= FRESH:
                self._fetched()

    def _kept(self, copy: Listing | None) -> Listing | None:
        """Return another process's copy, if it is newer than ours and will do."""
        now, account = self.clock.now(), self.shelf.account
        mine = LISTINGS.last(account)
        if copy is None or copy.at > now or (mine is not None and copy.at <= mine.at):
            return None
        unpriced = [model for model in LISTINGS.wanted(account, self.paid) if model not in copy.rows]
        if unpriced and mine is not None and now - mine.at < USABLE and not mine.rows.keys().isdisjoint(unpriced):
            return None  # nobody else needs these prices, and the service may be away just now
        LISTINGS.adopt(account, copy)
        return copy if not unpriced and now - copy.at < USABLE else None

    def _fetched(self, patience: Timeouts = _LIST_PATIENCE) -> Listing | None:
        """Fetch the list; return it, or the last good copy."""
        fetch, watch = self._fetch_of_list(), self._watch(patience)
        while (page := fetch.asks()) is not None:
            fetch.told(self._get(page, watch))
        listing = self._judged(fetch)
        if listing is not None:
            self.shelf.save(listing)
        return LISTINGS.last(self.shelf.account)

    async def _afetched(self, patience: Timeouts = _LIST_PATIENCE) -> Listing | None:
        """The same on an event loop."""
        fetch, watch = self._fetch_of_list(), self._watch(patience)
        while (page := fetch.asks()) is not None:
            fetch.told(await self._aget(page, watch))
        listing = self._judged(fetch)
        if listing is not None:
            await asyncio.to_thread(self.shelf.save, listing)
        return LISTINGS.last(self.shelf.account)

    def _fetch_of_list(self) -> Fetch:
        account = self.shelf.account
        known, paid = LISTINGS.last(account), LISTINGS.wanted(account, self.paid)
        serves = known is not None and self.clock.now() - known.at < USABLE
        # Elsewhere the facts that came with the package prove nothing, and an id would be believed by its name.
        return Fetch(self.service.url, known, paid, suffices=not serves and not is_service(self.service.url))

    def _judged(self, fetch: Fetch) -> Listing | None:
        """Return the copy that is to be kept; None where no list could be had."""
        now, account = self.clock.now(), self.shelf.account
        before, listing = LISTINGS.last(account), fetch.listing(now)
        serves = f"the copy of {at(before.at)}" if before else "what came with the package"
        if listing is None:
            refusal = fetch.refusal
            is_first = LISTINGS.failed(account, now, FRESH if refusal.status in _NO_SUCH_PAGE else None)
            why = fetch.why or classify_listing(refusal.status, None, refusal.body, now=now).reason
            level = logging.WARNING if is_first else logging.DEBUG
            log.log(level, "the list of models cannot be had (%s): %s serves", why, serves)
            return LISTINGS.amend(account, fetch.refuted)
        if not LISTINGS.keep(account, listing, now, fetch.paid, saw_all=fetch.saw_all):
            log.warning("the list of models has lost much at once, and is not believed yet: %s serves", serves)
        return LISTINGS.last(account)

    def cost(self, answer: str) -> int | None:
        """Return what `GET /generation` says an answer cost, in nano-dollars; None where it doesn't know (yet)."""
        return cost_of(self._fetch(f"/generation?id={quote(answer, safe='')}"), answer)

    async def acost(self, answer: str) -> int | None:
        """The same on an event loop."""
        return cost_of(await self._afetch(f"/generation?id={quote(answer, safe='')}"), answer)

    def _request(self, page: Page) -> Outgoing:
        headers = {**self.service.headers, "Accept-Encoding": "gzip"}
        return Outgoing(page.url, headers | ({"If-None-Match": page.tag} if page.tag else {}), method="GET")

    def _watch(self, patience: Timeouts) -> Stopwatch:
        most = min(patience.call, self.most)
        return Stopwatch(self.clock, replace(patience, call=most), self.clock.monotonic() + most)

    def _fetch(self, path: str) -> Fetched:
        return _told(path, self._get(Page(f"{self.service.url}{path}"), self._watch(_PATIENCE)))

    async def _afetch(self, path: str) -> Fetched:
        return _told(path, await self._aget(Page(f"{self.service.url}{path}"), self._watch(_PATIENCE)))

    def _get(self, page: Page, watch: Stopwatch) -> Fetched:
        try:
            reply = Reply(self.service.client, self._request(page), watch.connect, watch.read, raw=True)
            try:
                unpacked = Unpacked(reply.headers.get("content-encoding", ""))
                while (data := reply.read()) is not None:
                    unpacked.feed(data)
                body = unpacked.whole()
            finally:
                reply.close()
        except TransportFault as fault:
            return Fetched(fault=fault.reason)
        except ValueError as error:
            return Fetched(reply.status, fault=str(error))
        return Fetched(reply.status, body, reply.headers.get("etag", ""))

    async def _aget(self, page: Page, watch: Stopwatch) -> Fetched:
        try:
            reply = await AsyncReply.open(
                self.service.async_client, self._request(page), watch.connect, watch.read, raw=True
            )
            try:
                unpacked = Unpacked(reply.headers.get("content-encoding", ""))
                while (data := await reply.read()) is not None:
                    unpacked.feed(data)
                body = unpacked.whole()
            finally:
                await reply.close()
        except TransportFault as fault:
            return Fetched(fault=fault.reason)
        except ValueError as error:
            return Fetched(reply.status, fault=str(error))
        return Fetched(reply.status, body, reply.headers.get("etag", ""))


def _told(path: str, fetched: Fetched) -> Fetched:
    """Say in the log why there is no reply."""
    if fetched.fault:
        log.warning("GET %s: %s", path.partition("?")[0], fetched.fault)
    return fetched


def _found(topic: Topic, fetched: list[Fetched]) -> Finding:
    if topic is Topic.DAY_LIMIT:
        return day_limit_of(fetched[0])
    return Funds.of(fetched[0].json, fetched[1].json)


def day_limit_of(fetched: Fetched) -> int | None:
    """Read `free_model_daily_requests.limit` of a reply of `GET /key`.

    The field can be absent (older accounts, recorded 2025), and its `used` lags by minutes: only the limit is
    read, and only where it is a plausible one.
    """
    payload = fetched.json
    try:
        limit = payload["data"]["free_model_daily_requests"]["limit"]  # type: ignore[index]
    except (KeyError, TypeError, IndexError):
        return None
    plausible = isinstance(limit, int) and not isinstance(limit, bool) and 0 < limit <= _MOST_A_DAY
    return limit if plausible else None


def cost_of(fetched: Fetched, answer: str) -> int | None:
    """Read `total_cost` of a reply of `GET /generation`, in nano-dollars; None if it is no word on this answer.

    Before it knows an answer it says 404, for minutes (recorded 2026-09); of an answer that was never given it says
    so for ever.
    """
    payload = fetched.json
    data = payload.get("data") if isinstance(payload, dict) and not payload.get("error") else None
    if not isinstance(data, dict) or data.get("id") not in (None, answer):
        return None
    return with_upstream(data.get("total_cost"), data.get("upstream_inference_cost"), own_key=data.get("is_byok"))
