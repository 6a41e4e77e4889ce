"""What `openrouter-free doctor` looks at: asks the service, the state and the configuration, with little patience.

What the answers mean is `checkup.py`'s.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from langchain_openrouter_free.catalogue.catalogue import Listing
from langchain_openrouter_free.catalogue.fetching import MOST_BYTES
from langchain_openrouter_free.clock import Clock
from langchain_openrouter_free.connections.transport import Outgoing, Reply, Service, TransportFault
from langchain_openrouter_free.engine.sources import Stopwatch
from langchain_openrouter_free.engine.timeouts import Timeouts
from langchain_openrouter_free.questions import checkup
from langchain_openrouter_free.questions.checkup import Finding, Said
from langchain_openrouter_free.questions.outlook import Explanation
from langchain_openrouter_free.route.choosing import free_in
from langchain_openrouter_free.stores import StateStore, is_degraded
from langchain_openrouter_free.values import value_type

T = TypeVar("T")

# How long a connection may take before the network counts as missing, in seconds: names may be looked up for long.
_REACH = 1.0
_PATIENCE = Timeouts(connect=2.0, first_token=4.0, stall=4.0, attempt=5.0, call=5.0)
_KEY, _MINE, _ALL = "/key", "/models/user", "/models"


@value_type()
class Examination:
    """Looks at the service of one configuration.

    Attributes:
        service: how it is reached.
        clock: where time comes from.
        keyed: whether there is a key.
        offline: whether the network is left alone.
    """

    service: Service
    clock: Clock
    keyed: bool = True
    offline: bool = False

    def said(self) -> dict[str, Said]:
        """Ask the service all there is to ask, at once; nothing where it cannot be reached."""
        if self.offline:
            return {}
        unreachable = None if self.service.client else _reach(self.service.url)
        if unreachable is not None:
            return {_ALL: Said(reason=unreachable)}
        paths = (_KEY, _MINE, _ALL) if self.keyed else (_ALL,)
        waiting = {path: _in_background(lambda path=path: self._ask(path)) for path in paths}  # type: ignore[misc]
        return {path: one.result(_PATIENCE.call + 1.0) for path, one in waiting.items()}

    def _ask(self, path: str) -> Said:
        patience, sent = _PATIENCE, self.clock.now()
        watch = Stopwatch(self.clock, patience, self.clock.monotonic() + patience.call)
        headers = {name: value for name, value in self.service.headers.items() if self.keyed or name != "Authorization"}
        request, parts = Outgoing(f"{self.service.url}{path}", headers, method="GET"), bytearray()
        try:
            reply = Reply(self.service.client, request, watch.connect, watch.read)
            try:
                while (data := reply.read()) is not None and len(parts) < MOST_BYTES:
                    parts += data
            finally:
                reply.close()
        except TransportFault as fault:
            return Said(reason=fault.reason)
        return Said(reply.status, _json(bytes(parts)), ahead=_ahead(reply.headers.get("date"), sent, self.clock.now()))

    def of_the_service(self, said: dict[str, Said], now: float) -> Iterator[Finding]:
        """Tell of key, network, clock and privacy."""
        listed = said.get(_ALL)
        yield checkup.key(said.get(_KEY), keyed=self.keyed)
        yield checkup.network(urlsplit(self.service.url).netloc, listed, offline=self.offline)
        timed = checkup.clock(listed)
        hidden = checkup.privacy(_listing(said, _MINE, now), _listing(said, _ALL, now))
        yield from (one for one in (timed, hidden) if one is not None)


def of_the_models(
    named: list[str], said: dict[str, Said], known: Listing, explained: Explanation, now: float
) -> Iterator[Finding]:
    """Tell of the configured ids, and of how many would be asked.

    Args:
        named: the ranking.
        said: what the service was asked.
        known: the list at hand where it did not tell.
        explained: whom a simple request would be put to.
        now: Unix seconds.
    """
    asked = _listing(said, _MINE, now) or _listing(said, _ALL, now)
    listing, fetched = asked or known, asked is not None or not explained.bundled
    yield from checkup.ids(named, listing, now, fetched=fetched)
    free = [one for one in explained.models if not one.paid]
    reasons = Counter(one.reason for one in free if one.reason)
    yield checkup.left([one.model for one in free if not one.reason], len(free_in(listing)), reasons)


def of_the_state(store: StateStore, look: Callable[[], object], warnings: list[str]) -> Iterator[Finding]:
    """Tell whether the state can be kept.

    Args:
        store: where.
        look: reads it once.
        warnings: gets what the store warns of.
    """
    look()
    path: Path | None = getattr(store, "path", None)
    mode = None
    if path is not None:
        with contextlib.suppress(OSError):  # not there, or in a folder that is closed to this user
            mode = stat.S_IMODE(path.stat().st_mode)
    troubles = warnings or (["The state cannot be used."] if is_degraded(store) else [])
    shared = path is not None or store.blocking
    yield from checkup.state(None if path is None else str(path), mode, troubles, shared=shared)


@contextlib.contextmanager
def noted_warnings() -> Iterator[list[str]]:
    """Gather what the package's log warns of meanwhile, in place of telling it."""
    log, found = logging.getLogger("langchain_openrouter_free"), []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    notes, before = Notes(logging.WARNING), log.propagate
    log.addHandler(notes)
    log.propagate = False
    try:
        yield found
    finally:
        log.removeHandler(notes)
        log.propagate = before


def _listing(said: dict[str, Said], path: str, now: float) -> Listing | None:
    reply = said.get(path)
    return None if reply is None else reply.listing(now)


def _json(body: bytes) -> object:
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed


def _ahead(date: str | None, sent: float, received: float) -> float | None:
    """Return how far the service's clock is ahead: its whole second was written between sending and receiving."""
    try:
        stated = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(stated - received, 0.0) + min(stated + 1.0 - sent, 0.0)


def _reach(url: str) -> str | None:
    """Return why nobody answers at the address of a URL, or of the proxy that leads to it; None if somebody does."""
    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    parts = urlsplit(proxy if proxy and "://" in proxy else f"http://{proxy}" if proxy else url)
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))

    def connect() -> str | None:
        try:
            socket.create_connection(address, timeout=_REACH).close()
        except OSError as error:
            return str(error.strerror or error)
        return None

    try:
        return _in_background(connect).result(_REACH)
    except TimeoutError:
        return f"no connection within {_REACH:g} s"


def _in_background(work: Callable[[], T]) -> Future[T]:
    """Begin some work in a thread that keeps no program from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
