"""One fetch of the service's list of models: which page to ask for next, and what the pages make together. Pure.

The account's own list (`GET /models/user`) is asked for first, and all that is on offer (`GET /models`) where that is
no list, or lacks a paid id. A list may come in pages (`links.next`, documented 2026-08): they are followed on the same
host only, never in a circle, and not for ever. A page that fails is no whole list, so the last good copy serves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from langchain_openrouter_free.catalogue.catalogue import MOST_ENTRIES, Listing, Row
from langchain_openrouter_free.protocol.payloads import values_in
from langchain_openrouter_free.protocol.unpacking import Unpacker
from langchain_openrouter_free.values import value_type

# What the account may use (8 free ids where the other one showed 18, recorded 2026-09), and what is on offer.
LISTS = ("/models/user", "/models")
# The largest list on record has 1.1 MB (2026-10); this is for all pages together, unpacked. Small values take twenty
# times as much memory as text.
MOST_BYTES = 8 * 1024 * 1024
# The largest list on record has 44,000 values (2026-08). While they are read no event loop of the process goes on.
MOST_VALUES = 2_000_000
_MOST_PAGES = 40
_LONGEST_LINK = 2_000
_LONGEST_TAG = 200
_OK, _UNCHANGED = 200, 304


@value_type()
class Page:
    """A page to be asked for.

    Attributes:
        url: where it is.
        tag: the ETag of the copy that is known; "" where none is.
    """

    url: str
    tag: str = ""


@value_type()
class Fetched:
    """The reply to a question.

    Attributes:
        status: HTTP status; 0 where there is no (whole) reply.
        body: its bytes, unpacked.
        tag: its ETag; "" where it has none.
        fault: why there is no whole reply.
    """

    status: int = 0
    body: bytes = b""
    tag: str = ""
    fault: str = ""

    @property
    def json(self) -> object:
        """The JSON of a reply with status 200, else None."""
        try:
            parsed: object = json.loads(self.body) if self.status == _OK else None
        except (ValueError, RecursionError):
            return None
        return parsed


_NOTHING = Fetched()


class Unpacked:
    """The bytes of a reply, unpacked as they come and never more of them than are wanted.

    Args:
        coding: the reply's Content-Encoding; only gzip is ever asked for.
        most: bytes that are too many.

    Raises:
        ValueError: from `feed`, with the reason, for what is too big or cannot be unpacked.
    """

    def __init__(self, coding: str, most: int = MOST_BYTES) -> None:
        self.body = bytearray()
        self._most, self._values = most, 0
        self._unpacker = Unpacker(coding)

    def feed(self, data: bytes) -> None:
        """Take the next bytes as they came."""
        for piece in self._unpacker.pieces(data, self._most + 1 - len(self.body)):
            self.body += piece
            if len(self.body) > self._most:
                raise ValueError(f"more than {self._most} bytes")
            self._values += values_in(piece)
            if self._values > MOST_VALUES:
                raise ValueError(f"more than {MOST_VALUES} values")

    def whole(self) -> bytes:
        """Return all bytes at the end of the reply."""
        if self.body and not self._unpacker.is_whole:
            raise ValueError("the packed reply broke off")
        return bytes(self.body)


@dataclass(slots=True)
class Fetch:
    """One fetch, step by step: `asks` says what to ask for, `told` takes the reply.

    Attributes:
        base: base URL of the service.
        known: the copy that is to be replaced.
        paid: paid ids whose prices are wanted.
        suffices: whether a list without entries says that nothing is offered; else it is none, and a copy serves.
        refusal: the last reply that was no page of a list.
        why: the reason for which it is none; "" where the service says it.
    """

    base: str
    known: Listing | None = None
    paid: Sequence[str] = ()
    suffices: bool = False
    refusal: Fetched = _NOTHING
    why: str = ""
    _left: list[str] = field(default_factory=lambda: list(LISTS))
    _page: Page | None = None
    _path: str = ""
    _rows: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _lists: list[Listing] = field(default_factory=list)
    _halves: list[Listing] = field(default_factory=list)
    _bytes: int = 0
    _entries: int = 0

    def __post_init__(self) -> None:
        self._begin()

    def asks(self) -> Page | None:
        """Return the page to ask for; None when all is known that can be."""
        return self._page

    def told(self, reply: Fetched) -> None:
        """Take the reply to the page that was asked for."""
        page = self._page
        if page is None:
            return
        self._bytes += len(reply.body)
        known = self.known
        if reply.status == _UNCHANGED and page.tag and known is not None:
            # What was worked out of the rows alone still holds; the choices go by dates as well.
            memo: dict[object, Any] = {name: found for name, found in known.memo.items() if isinstance(name, str)}
            self._ends(Listing(known.rows, memo=memo, tag=page.tag, path=self._path))
            return
        payload = reply.json
        found = Listing.of(payload, 0.0)
        if self._bytes > MOST_BYTES:
            self._fails(reply, f"more than {MOST_BYTES} bytes")
        elif found is None:
            self._fails(reply, reply.fault or ("no list" if reply.status == _OK else ""))
        elif (entries := self._entries + sum(map(len, found.rows.values()))) > MOST_ENTRIES:
            self._fails(reply, f"more than {MOST_ENTRIES} entries")
        else:
            self._entries = entries
            self._takes(found, payload, reply.tag)

    def listing(self, at: float) -> Listing | None:
        """Return what was found, as of `at` (Unix seconds); None if no list could be had."""
        if not self._lists:
            return None
        first = self._lists[0]
        # Of the second list the paid ids alone: what the account may use for nothing stands in the first.
        more = {model: rows for one in self._lists[1:] for model, rows in one.rows.items() if model in self.paid}
        if self.known is not None and not self.saw_all:
            # Where it could not be had, what it said before.
            more = {m: rows for m, rows in self.known.rows.items() if m in self.paid and m not in first.rows}
        if not more:
            return Listing(first.rows, at, memo=first.memo, tag=first.tag, path=first.path)
        return Listing({**more, **first.rows}, at, path=first.path)

    @property
    def unchanged(self) -> bool:
        """Whether the service said that its list is the known one."""
        return self.known is not None and len(self._lists) == 1 and self._lists[0].rows is self.known.rows

    @property
    def saw_all(self) -> bool:
        """Whether the list of all that is on offer was had: what it lacks is nowhere."""
        return any(one.path == LISTS[-1] for one in self._lists)

    @property
    def refuted(self) -> Listing:
        """What lists that broke off had said until then of ids that are not proven free by it."""
        return Listing({model: rows for one in self._halves for model, rows in one.rows.items() if one.doubt(model)})

    # -- pages

    def _begin(self) -> None:
        """Go to the first page of the next list, if there is one."""
        if not self._left:
            self._page = None
            return
        self._path, self._rows, self._seen, self._entries = self._left.pop(0), {}, set(), 0
        tag = self.known.tag if self.known is not None and self.known.path == self._path else ""
        self._page = Page(f"{self.base}{self._path}", tag)
        self._seen.add(self._page.url)

    def _takes(self, found: Listing, payload: object, tag: str) -> None:
        """Add a page to the list, and go to the next one."""
        for model, rows in found.rows.items():
            had = self._rows.get(model, ())
            # An entry that moved between two pages while they were read stands in both.
            self._rows[model] = (*had, *(row for row in rows if row not in had)) if had else rows
        following = self._next(payload)
        if following is not None:
            self._seen.add(following)
            self._page = Page(following)
            return
        usable = len(self._seen) == 1 and tag.isascii() and tag.isprintable() and len(tag) <= _LONGEST_TAG
        self._ends(Listing(self._rows, tag=tag if usable else "", path=self._path))

    def _next(self, payload: object) -> str | None:
        """Return where the next page is; None where there is none, or it must not be followed."""
        links = payload.get("links") if isinstance(payload, Mapping) else None
        link = links.get("next") if isinstance(links, Mapping) else None
        if not isinstance(link, str) or not link or len(link) > _LONGEST_LINK or self._page is None:
            return None
        try:
            url = urljoin(self._page.url, link)
            here, there = urlsplit(self._page.url), urlsplit(url)
            same = (here.scheme, here.netloc) == (there.scheme, there.netloc)
        except ValueError:
            return None
        return url if same and url not in self._seen and len(self._seen) < _MOST_PAGES else None

    def _ends(self, listing: Listing) -> None:
        """Take a whole list; the next one is wanted only for the prices of paid ids."""
        if not listing.rows and not self.suffices:
            self._fails(Fetched(_OK), "an empty list")
            return
        self._lists.append(listing)
        if all(model in listing.rows for model in self.paid):
            self._left = []
        self._begin()

    def _fails(self, reply: Fetched, why: str) -> None:
        """Leave a list that cannot be had; where the service cannot be reached, the next one as well."""
        self.refusal, self.why = reply, why
        self._halves.append(Listing(self._rows))
        if not reply.status:
            self._left = []
        self._begin()
