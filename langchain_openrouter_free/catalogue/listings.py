"""Copies of the service's list of models: in this process, in the state store, and who fetches a new one.

A copy is fresh for an hour. An older one serves while a new one is fetched in the background, up to two days (what has
vanished meanwhile is told by the service itself); after that a new one is waited for, and the old one serves only if
there is no other. Nobody fetches twice at once.

A list that has much less than the copy before it does not replace that one at once: it is believed when lists have said
so for an hour, or when the copy is too old to serve. What it says of the ids that it has counts at once: it may be that
one of them costs money now.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeVar

from langchain_openrouter_free import forks
from langchain_openrouter_free.catalogue.catalogue import FRESH, Absence, Listing, Row
from langchain_openrouter_free.loops import is_on_a_loop
from langchain_openrouter_free.stores import PageRef, StateStore
from langchain_openrouter_free.values import moment_of, value_type

log = logging.getLogger("langchain_openrouter_free")
_What = TypeVar("_What")
_Words = TypeVar("_Words")

USABLE = 2 * 86_400.0
# A copy that lacks an id which nobody asked for before is fetched anew when it is older than this, in seconds.
YOUNG = 60.0
# A list that could not be had is not asked for again for so long, in seconds; twice as long after each further failure.
AGAIN, _LONGEST = 30.0, 600.0
# How soon to look again at a list that is not believed, in seconds, and how long it must say so.
_LOOK_AGAIN, _BELIEVED = 600.0, FRESH
VERSION = 1
# So many ids that were looked for or refused, and so many things that the user was told, are remembered, the latest.
_MOST_KNOWN = 2_000
# Of each row all but what is long and for people only.
_LEFT_OUT = frozenset({"description", "links", "hugging_face_id", "default_parameters"})


def encode(listing: Listing) -> str:
    """Write a list as text."""
    rows = [_short(row) for several in listing.rows.values() for row in several]
    page: dict[str, Any] = {"v": VERSION, "at": listing.at, "data": rows}
    if listing.absent:
        page["absent"] = [[model, gone.since, _short(gone.row)] for model, gone in listing.absent.items()]
    page |= {name: value for name, value in (("tag", listing.tag), ("path", listing.path)) if value}
    return json.dumps(page, separators=(",", ":"))


def _short(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in _LEFT_OUT}


def decode(text: str) -> Listing:
    """Read a list from text.

    Raises:
        ValueError: if it is none, or one of another version.
    """
    try:
        page = json.loads(text)
        listing = Listing.of(page, 0.0)
        if listing is None or not isinstance(page, Mapping) or page.get("v") != VERSION:
            raise ValueError("no list of models of this version")
        absent = {str(model): Absence(moment_of(since), dict(row)) for model, since, row in page.get("absent", ())}
        tag, path = str(page.get("tag", "")), str(page.get("path", ""))
        return Listing(listing.rows, moment_of(page["at"]), absent=absent, tag=tag, path=path)
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"no list of models: {error!r}") from error


@value_type()
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
    """What this process knows of one account's list.

    Attributes:
        listing: the last good copy.
        again: from when until when it is not asked for again.
        failures: how often in a row it could not be had.
        doubted: since when lists have much less than the copy.
        sought: ids that a list was fetched for.
        paid: paid ids whose prices any model of this process wants.
        sought_prices: paid id -> until when the copy need not have it: the lists that could be had do not.
        refused: id -> the words with which the service refused it as one that is not offered.
        seen: the copy that the state had at first, once it was looked at.
        said: what the user has been told.
    """

    listing: Listing | None = None
    again: tuple[float, float] | None = None
    failures: int = 0
    doubted: float | None = None
    refused: dict[str, str] = field(default_factory=dict)
    seen: tuple[Listing | None] | None = None
    said: dict[object, None] = field(default_factory=dict)
    paid: set[str] = field(default_factory=set)
    sought_prices: dict[str, float] = field(default_factory=dict)
    sought: dict[str, None] = field(default_factory=dict)
    turn: threading.Lock = field(default_factory=threading.Lock)
    turns: dict[asyncio.AbstractEventLoop, asyncio.Lock] = field(default_factory=dict)
    refreshing: bool = False


def _note(known: dict[_What, _Words], more: Mapping[_What, _Words]) -> None:
    """Add to what is known, and forget what was added first where it is too much: a server says what it likes."""
    known |= more
    for what in list(known)[: max(len(known) - _MOST_KNOWN, 0)]:
        del known[what]


def _waits(kept: _Kept, now: float) -> bool:
    """Tell whether the list could not be had a while ago, and is left alone."""
    return kept.again is not None and kept.again[0] <= now < kept.again[1]


def _has_prices(kept: _Kept, needed: Collection[str], now: float) -> bool:
    """Tell whether the copy has what is needed, or lacks it because no list has it."""
    rows = kept.listing.rows if kept.listing else {}
    return all(one in rows or now < kept.sought_prices.get(one, 0.0) for one in needed)


class Listings:
    """The process's copies, by account."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def _of(self, account: str) -> _Kept:
        return self._kept.setdefault(account, _Kept())

    def usable(
        self, account: str, ids: Collection[str], needed: Collection[str], now: float, *, only: bool = True
    ) -> tuple[Listing | None, bool]:
        """Return the copy that serves a call, and whether a new one is to be fetched.

        A copy that lacks an id for which nobody has looked serves while a new one is fetched, unless a call that names
        ids only finds none of them; one that was not fetched with the prices that a call needs does not serve.

        Args:
            account: whose copy it is.
            ids: what the call names.
            needed: the paid ids whose prices it needs.
            now: Unix seconds.
            only: whether it names nothing else, no pattern and not `auto`.
        """
        with self._lock:
            kept = self._of(account)
            listing = kept.listing
            if listing is None or not 0 <= now - listing.at < USABLE:
                return None, False
            if not _has_prices(kept, needed, now):
                return None, False
            age, waits = now - listing.at, _waits(kept, now)
            known = (listing.rows, listing.absent, kept.sought)
            new = {one for one in ids if not any(one in place for place in known)}
            if not new or age < YOUNG or waits:
                return listing, age >= FRESH and not waits
            _note(kept.sought, dict.fromkeys(new))
        has_none = only and not any(one in listing.rows for one in ids)
        return (None, False) if has_none else (listing, True)

    def last(self, account: str) -> Listing | None:
        """Return the last good copy, however old."""
        with self._lock:
            return self._of(account).listing

    def seen(self, shelf: Shelf) -> Listing | None:
        """Return the copy that the state had when it was first looked at, for those who only look.

        An event loop does not wait for a state that may block: None there, until somebody else has looked.
        """
        with self._lock:
            kept = self._of(shelf.account)
        if kept.seen is None:
            if shelf.store.blocking and is_on_a_loop():
                return None
            kept.seen = (shelf.load(),)
        return kept.seen[0]

    def is_settled(self, account: str, since: float, now: float, needed: Collection[str] = ()) -> bool:
        """Tell whether there is no use in fetching: another has about then, or could not a moment ago."""
        with self._lock:
            kept = self._of(account)
            young = kept.listing is not None and since - YOUNG < kept.listing.at <= now
            return (young and _has_prices(kept, needed, now)) or _waits(kept, now)

    def is_refuted(self, account: str, since: float, now: float) -> bool:
        """Tell whether the copy has an id that the service says is gone, and another copy may be had.

        One that was not believed may be by now: the service itself has said of ids that it lacks that they are gone.
        One that came after `since` says that they are listed all the same.
        """
        with self._lock:
            kept = self._of(account)
            rows = kept.listing.rows if kept.listing and kept.listing.at <= since else {}
            return not rows.keys().isdisjoint(kept.refused) and not (kept.failures and _waits(kept, now))

    def keep(
        self, account: str, listing: Listing, now: float, paid: Collection[str] = (), *, saw_all: bool = True
    ) -> bool:
        """Keep a new copy; tell whether it is believed.

        Args:
            account: whose copy it is.
            listing: the copy.
            now: Unix seconds.
            paid: the paid ids that were looked for.
            saw_all: whether all that is on offer was seen; else those that it lacks are soon looked for again.
        """
        with self._lock:
            kept = self._of(account)
            before, kept.again, kept.failures = kept.listing, None, 0
            kept.sought_prices = dict.fromkeys(paid, inf if saw_all else now + _LONGEST)
            if before is not None and 0 <= now - before.at < USABLE and listing.is_much_less(before, kept.refused):
                kept.doubted = now if kept.doubted is None else kept.doubted
                if now - kept.doubted < _BELIEVED:
                    kept.again, kept.listing = (now, now + _LOOK_AGAIN), before.amended(listing)
                    return False
            kept.doubted, kept.listing = None, listing.after(before)
            if before is not None:
                # What has just vanished need not be looked for again.
                _note(kept.sought, dict.fromkeys(before.rows.keys() - listing.rows.keys()))
            return True

    def adopt(self, account: str, listing: Listing) -> None:
        """Keep a copy that another process has believed."""
        with self._lock:
            kept = self._of(account)
            kept.listing, kept.again, kept.failures, kept.doubted = listing, None, 0, None
            # The other one may have looked for nothing of what is wanted here.
            kept.sought_prices, kept.sought = {}, {}

    def failed(self, account: str, now: float, again: float | None = None) -> bool:
        """Take note that no list could be had, and leave it alone for a while; tell whether it is the first time."""
        with self._lock:
            kept = self._of(account)
            wait = min(AGAIN * 2 ** max(kept.failures - 1, 0), _LONGEST) if again is None else again
            kept.again, kept.failures, kept.sought = (now, now + wait), min(kept.failures + 1, 10), {}
            return kept.failures == 1

    def amend(self, account: str, refuted: Listing) -> Listing | None:
        """Let the copy say of its ids what a list has said that is none as a whole; return it where that is news."""
        with self._lock:
            kept = self._of(account)
            if (before := kept.listing) is not None:
                known = {model: rows for model, rows in refuted.rows.items() if model in before.rows}
                kept.listing = before.amended(Listing(known))
            return None if kept.listing is before else kept.listing

    def wanted(self, account: str, paid: Collection[str]) -> Sequence[str]:
        """Return the paid ids whose prices a list must have: these, and those of the account's other models."""
        with self._lock:
            kept = self._of(account)
            kept.paid.update(paid)
            return sorted(kept.paid)

    def refused(self, account: str, model: str, reason: str) -> None:
        """Take note that the service has refused an id as one that is not offered."""
        with self._lock:
            _note(self._of(account).refused, {model: reason})

    def refusals(self, account: str) -> Mapping[str, str]:
        """Return what it said of each such id."""
        with self._lock:
            return dict(self._of(account).refused)

    def first_time(self, account: str, what: object) -> bool:
        """Tell whether the user has not been told of something in this process, and take note that they are."""
        with self._lock:
            said = self._of(account).said
            is_new = what not in said
            _note(said, {what: None})
            return is_new

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

        try:
            threading.Thread(target=run, name="openrouter-free-catalogue", daemon=True).start()
        except RuntimeError as error:  # no more threads, or the interpreter is about to end
            kept.refreshing = False
            log.warning("the list of models cannot be refreshed in the background: %s", error)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._kept.clear()

    def forked(self) -> None:
        """Go on in a forked process: the copies are good, the parent's threads and locks are not there."""
        self._lock = threading.Lock()
        for kept in self._kept.values():
            kept.turn, kept.turns, kept.refreshing = threading.Lock(), {}, False


LISTINGS = Listings()
forks.renewed(LISTINGS)
