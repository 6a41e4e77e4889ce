"""Copies of the service's list of models: in this process, in the state store, and who fetches a new one.

A copy is fresh for an hour. An older one still serves while a new one is fetched in the background, up to six hours;
after that it is waited for, and serves only if there is no other. Nobody fetches twice at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from langchain_openrouter_free.catalogue import FRESH, Listing
from langchain_openrouter_free.stores import PageRef, StateStore

log = logging.getLogger("langchain_openrouter_free")

USABLE = 6 * 3600.0
# A copy that lacks an id which nobody asked for before is fetched anew when it is older than this, in seconds.
YOUNG = 60.0
# A list that could not be had is not asked for again for so long, in seconds.
AGAIN = 30.0
VERSION = 1
# Of each row all but what is long and for people only.
_LEFT_OUT = frozenset({"description", "links", "hugging_face_id", "default_parameters"})


def encode(listing: Listing) -> str:
    """Write a list as text."""
    rows = [
        {name: value for name, value in row.items() if name not in _LEFT_OUT}
        for several in listing.rows.values()
        for row in several
    ]
    return json.dumps({"v": VERSION, "at": listing.at, "data": rows}, separators=(",", ":"))


def decode(text: str) -> Listing:
    """Read a list from text.

    Raises:
        ValueError: if it is none, or one of another version.
    """
    page = json.loads(text)
    listing = Listing.of(page, 0.0)
    if listing is None or not isinstance(page, Mapping) or page.get("v") != VERSION:
        raise ValueError("no list of models of this version")
    return Listing(listing.rows, float(page["at"]))


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where one account's list is kept between processes.

    Attributes:
        store: the state store.
        account: a hash of the key and the base URL: what is offered differs from account to account.
    """

    store: StateStore
    account: str

    @property
    def _page(self) -> PageRef[Listing]:
        return PageRef(f"catalogue:{self.account}", encode, decode)

    def load(self) -> Listing | None:
        """Return the copy that is kept; None where there is none, or the store fails."""
        try:
            kept = self.store.update(self._page, lambda page: ((page or Listing()),) * 2)
        except Exception:
            log.exception("the list of models that is kept cannot be read")
            return None
        return kept if kept.at > 0 else None

    def save(self, listing: Listing) -> None:
        """Keep a copy; a store that fails costs no call."""
        try:
            self.store.update(self._page, lambda _: (listing, None))
        except Exception:
            log.exception("the list of models cannot be kept")


@dataclass(slots=True)
class _Kept:
    """What this process knows of one account's list."""

    listing: Listing | None = None
    again: tuple[float, float] | None = None
    sought: set[str] = field(default_factory=set)
    turn: threading.Lock = field(default_factory=threading.Lock)
    turns: dict[asyncio.AbstractEventLoop, asyncio.Lock] = field(default_factory=dict)
    refreshing: bool = False


def _waits(kept: _Kept, now: float) -> bool:
    """Tell whether the list could not be had a while ago, and is left alone."""
    return kept.again is not None and kept.again[0] <= now < kept.again[1]


class Listings:
    """The process's copies, by account."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def _of(self, account: str) -> _Kept:
        return self._kept.setdefault(account, _Kept())

    def usable(self, account: str, ids: Iterable[str], now: float) -> tuple[Listing | None, bool]:
        """Return the copy that serves a call which names these ids, and whether a new one is to be fetched."""
        with self._lock:
            kept = self._of(account)
            listing = kept.listing
            if listing is None or not 0 <= now - listing.at < USABLE:
                return None, False
            new = {one for one in ids if one not in listing.rows and one not in kept.sought}
            if new and now - listing.at >= YOUNG:
                kept.sought |= new
                return None, False
            waits = _waits(kept, now)
        return listing, now - listing.at >= FRESH and not waits

    def last(self, account: str) -> Listing | None:
        """Return the last good copy, however old."""
        with self._lock:
            return self._of(account).listing

    def is_settled(self, account: str, since: float, now: float) -> bool:
        """Tell whether there is no use in fetching: another has about then, or could not a moment ago."""
        with self._lock:
            kept = self._of(account)
            young = kept.listing is not None and since - YOUNG < kept.listing.at <= now
            return young or _waits(kept, now)

    def keep(self, account: str, listing: Listing | None, now: float, again: float = AGAIN) -> Listing | None:
        """Keep a new copy, or that there is none for so many seconds; return the last good one."""
        with self._lock:
            kept = self._of(account)
            kept.again = (now, now + again) if listing is None else None
            if listing is not None and kept.listing is not None:
                # What has just vanished need not be looked for again.
                kept.sought |= kept.listing.rows.keys() - listing.rows.keys()
            kept.listing = listing or kept.listing
            return kept.listing

    def turn(self, account: str) -> threading.Lock:
        """Return what a thread holds while it fetches: others wait for its copy."""
        with self._lock:
            return self._of(account).turn

    def turn_on_this_loop(self, account: str) -> asyncio.Lock:
        """Return what a task of the running loop holds while it fetches."""
        with self._lock:
            kept = self._of(account)
            kept.turns = {loop: turn for loop, turn in kept.turns.items() if not loop.is_closed()}
            return kept.turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    def in_background(self, account: str, refresh: Callable[[], object]) -> None:
        """Fetch a new copy in a thread, unless one is on its way."""
        with self._lock:
            kept = self._of(account)
            if kept.refreshing:
                return
            kept.refreshing = True

        def run() -> None:
            try:
                refresh()
            except Exception:
                log.exception("the list of models cannot be refreshed")
            finally:
                kept.refreshing = False

        threading.Thread(target=run, name="openrouter-free-catalogue", daemon=True).start()

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._kept.clear()


LISTINGS = Listings()
