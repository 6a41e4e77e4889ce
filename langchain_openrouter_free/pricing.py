"""What paid ids cost: fetched from the service's list when a paid candidate first comes into play.

Kept for an hour for each base URL. A list that cannot be had means that no price is known, and then the
paid id is not asked: a cost that cannot be bounded is not reserved.
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

log = logging.getLogger("langchain_openrouter_free")

_KEPT_SECONDS = 3600.0
_PATIENCE = Timeouts(connect=5.0, first_token=20.0, stall=20.0, attempt=20.0, call=20.0)
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
class Pricer:
    """Looks prices up for one configuration."""

    service: Service
    clock: Clock

    def prices(self, model: str) -> Prices | None:
        """Return what `model` costs, or None if it cannot be found out."""
        rows = PRICES.known(self.service.url, self.clock.now())
        if rows is None:
            rows = self._kept(self._fetch())
        return prices_of(rows, model)

    async def aprices(self, model: str) -> Prices | None:
        """Return what `model` costs, or None if it cannot be found out."""
        rows = PRICES.known(self.service.url, self.clock.now())
        if rows is None:
            rows = self._kept(await self._afetch())
        return prices_of(rows, model)

    def _request(self) -> Outgoing:
        return Outgoing(f"{self.service.url}/models", self.service.headers, method="GET")

    def _watch(self) -> Stopwatch:
        return Stopwatch(self.clock, _PATIENCE, self.clock.monotonic() + _PATIENCE.call)

    def _kept(self, fetched: tuple[int, bytes] | None) -> list[object]:
        if fetched is None or fetched[0] != 200:
            why = "no reply"
            if fetched is not None:
                why = classify_listing(fetched[0], None, fetched[1], now=self.clock.now()).reason
            log.warning("prices cannot be fetched (%s); paid ids are not asked", why)
            return []
        return PRICES.keep(self.service.url, fetched[1], self.clock.now())

    def _fetch(self) -> tuple[int, bytes] | None:
        watch, parts = self._watch(), bytearray()
        try:
            reply = Reply(self.service.client or CLIENTS.sync(), self._request(), watch.connect, watch.read)
            try:
                while (data := reply.read()) is not None and len(parts) < _MAX_BYTES:
                    parts += data
            finally:
                reply.close()
        except TransportFault as fault:
            log.warning("prices: %s", fault.reason)
            return None
        return reply.status, bytes(parts)

    async def _afetch(self) -> tuple[int, bytes] | None:
        watch, parts = self._watch(), bytearray()
        try:
            client = self.service.async_client or await CLIENTS.asynchronous()
            reply = await AsyncReply.open(client, self._request(), watch.connect, watch.read)
            try:
                while (data := await reply.read()) is not None and len(parts) < _MAX_BYTES:
                    parts += data
            finally:
                await reply.close()
        except TransportFault as fault:
            log.warning("prices: %s", fault.reason)
            return None
        return reply.status, bytes(parts)
