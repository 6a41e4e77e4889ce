"""What is asked of the service beside the attempts, and costs no free request: prices, and the day's limit.

Prices are fetched from the service's list when a paid candidate first comes into play, and kept for an hour for
each base URL. A list that cannot be had means that no price is known, and then the paid id is not asked: a cost
that cannot be bounded is not reserved.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass

from langchain_openrouter_free.catalogue import Prices, prices_of
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.sources import Stopwatch, Timeouts
from langchain_openrouter_free.transport import CLIENTS, AsyncReply, Outgoing, Reply, Service, TransportFault
from langchain_openrouter_free.verdicts import classify_listing

Fetched = tuple[int, bytes]

log = logging.getLogger("langchain_openrouter_free")

_KEPT_SECONDS = 3600.0
_PATIENCE = Timeouts(connect=5.0, first_token=20.0, stall=20.0, attempt=20.0, call=20.0)
# A question about the quota must not hold a call up for long.
_KEY_PATIENCE = Timeouts(connect=3.0, first_token=5.0, stall=5.0, attempt=5.0, call=5.0)
# No account is known to have more than 1000; more than this is nonsense.
_MOST_A_DAY = 1_000_000
_MAX_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Listed:
    rows: list[object]
    at: float


class PriceList:
    """The process's copies of the list, by base URL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, _Listed] = {}

    def known(self, url: str, now: float) -> list[object] | None:
        """Return the rows kept for a base URL while they are fresh."""
        with self._lock:
            kept = self._kept.get(url)
        return kept.rows if kept is not None and 0 <= now - kept.at < _KEPT_SECONDS else None

    def keep(self, url: str, body: bytes, now: float) -> list[object]:
        """Keep the rows of a reply; an unreadable one has none and is not kept."""
        try:
            payload = json.loads(body)
        except ValueError:
            return []
        rows = payload.get("data") if isinstance(payload, dict) else payload
        if not isinstance(rows, list):
            return []
        with self._lock:
            self._kept[url] = _Listed(rows, now)
        return rows


PRICES = PriceList()


@dataclass(frozen=True, slots=True)
class ServiceLookup:
    """Asks the service of one configuration; an `engine.Lookup`."""

    service: Service
    clock: Clock

    def prices(self, model: str) -> Prices | None:
        """Return what `model` costs, or None if it cannot be found out."""
        rows = PRICES.known(self.service.url, self.clock.now())
        if rows is None:
            rows = self._kept(self._fetch("/models", _PATIENCE))
        return prices_of(rows, model)

    async def aprices(self, model: str) -> Prices | None:
        """Return what `model` costs, or None if it cannot be found out."""
        rows = PRICES.known(self.service.url, self.clock.now())
        if rows is None:
            rows = self._kept(await self._afetch("/models", _PATIENCE))
        return prices_of(rows, model)

    def day_limit(self) -> int | None:
        """Return how many free requests a day `GET /key` grants the account, or None if it does not say."""
        return day_limit_of(self._fetch("/key", _KEY_PATIENCE))

    async def aday_limit(self) -> int | None:
        """Return how many free requests a day `GET /key` grants the account, or None if it does not say."""
        return day_limit_of(await self._afetch("/key", _KEY_PATIENCE))

    def _kept(self, fetched: Fetched | None) -> list[object]:
        if fetched is None or fetched[0] != 200:
            why = "no reply"
            if fetched is not None:
                why = classify_listing(fetched[0], None, fetched[1], now=self.clock.now()).reason
            log.warning("prices cannot be fetched (%s); paid ids are not asked", why)
            return []
        return PRICES.keep(self.service.url, fetched[1], self.clock.now())

    def _request(self, path: str) -> Outgoing:
        return Outgoing(f"{self.service.url}{path}", self.service.headers, method="GET")

    def _watch(self, patience: Timeouts) -> Stopwatch:
        return Stopwatch(self.clock, patience, self.clock.monotonic() + patience.call)

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
            log.warning("GET %s: %s", path, fault.reason)
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
            log.warning("GET %s: %s", path, fault.reason)
            return None
        return reply.status, bytes(parts)


def day_limit_of(fetched: Fetched | None) -> int | None:
    """Read `free_model_daily_requests.limit` of a reply of `GET /key`.

    The field can be absent (older accounts, recorded 2025), and its `used` lags by minutes: only the limit is
    read, and only where it is a plausible one.
    """
    if fetched is None or fetched[0] != 200:
        return None
    try:
        payload = json.loads(fetched[1])
        limit = payload["data"]["free_model_daily_requests"]["limit"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    plausible = isinstance(limit, int) and not isinstance(limit, bool) and 0 < limit <= _MOST_A_DAY
    return limit if plausible else None
