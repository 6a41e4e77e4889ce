"""Pages and logs in Redis or Valkey: shared by all machines that can reach the server.

Owns the keys, the address, and how an update is made atomic; the scripts are `scripts.py`'s. Knows no rule and reads no
page.

An update is optimistic: a page is changed here, and the server takes the new one only if nobody has written in between.
Who was the last to write begins with what he wrote: one round trip; others with a look: two. A lost race costs one
more. What one process's threads wait to change is written at once (`combining`). A page has its line beside it
(`ancestry`), so that what the server has lost of it is added again by those who know it. Every key has an expiry, and
all that one step touches shares a hash tag, so that a cluster keeps it together: whose server says that another node
has a key is asked by the client for clusters from then on.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from langchain_openrouter_free.stores import ancestry, scripts
from langchain_openrouter_free.stores.addresses import UNREADABLE, check_readable, share_of
from langchain_openrouter_free.stores.base import LONGEST_ASIDE, Fold, Page, PageRef, Row
from langchain_openrouter_free.stores.combining import Combining, Turn
from langchain_openrouter_free.stores.impatience import impatient
from langchain_openrouter_free.stores.sheltered import RETRY_AFTER, Unusable, read

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.cluster import RedisCluster
    from redis.exceptions import AskError
    from redis.retry import Retry
except ImportError as missing:  # pragma: no cover - told in words
    raise ImportError(
        "A Redis store needs the package redis: pip install 'langchain-openrouter-free[redis]'"
    ) from missing

PREFIX = "openrouter-free"
PATIENCE = 0.5
# A total budget must outlive a quiet year; rows of calls are folded after two weeks, in seconds.
_PAGE_KEPT = 400 * 86_400
_ROWS_KEPT = 60 * 86_400
_SET_ASIDE_KEPT = 30 * 86_400
# More rows than these are dropped, the oldest first.
_MOST_ROWS = 20_000
# After a race that is lost again others are let through for up to so many seconds, more after each.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.000_5, 0.02
# Kept for as long as this process lives: what a parent's client would do at its end, it would do to the parent.
_PARENTS: list[RedisCluster] = []
# What an address may say that is not the package redis's.
_OPTIONS = ("degraded", "machines", "prefix")
_OF_TEXT = ("decode_responses", "encoding")
# Of so many last readings of the server's clock the one with the shortest way counts.
_READINGS = 16
# Seconds between this machine's two clocks; what slews them apart over hours is measured anew as well.
_JUMP = 0.5


class _Stand(NamedTuple):
    """What an update begins with.

    Attributes:
        version: what the server has now; empty for nothing.
        line: the line of the page.
        page: the page; more than what the server has, where that has lost something.
        is_kept: whether it is what the server has.
    """

    version: str
    line: str
    page: Any
    is_kept: bool


class _Pool(redis.ConnectionPool):
    def __init__(self, connection_class: type[Any] = redis.Connection, **options: Any) -> None:
        super().__init__(impatient(connection_class), **options)


class RedisStore(Combining):
    """Keep pages and logs on a Redis or Valkey server, for all machines that share it.

    Where the server is away, slow, read-only, full or fails over, a warning is given and the state is kept in this
    process's memory, beginning with what was last seen: free calls go on with counters of this process. Paid ones stop
    (`degraded="stop"`), or go on with the part of what was left of the budget that was kept for this process when it
    last paid, and kept from all others: `"local-share"`. When the server is back, what was counted meanwhile is added
    to what is there. So is what it has lost, by those who still know it: of a server that was emptied, or that failed
    over to one which had less.

    Machines' clocks differ, and jump; what is shared is written in the server's time. `server_time` tells it,
    measured with every answer.

    A process keeps its connections over threads; after a fork each side has its own. A store is pickled by its
    address. Neither its repr nor its warnings hold the password.

    Attributes:
        blocking: True: async callers leave the event loop for it.
        url: the server's address, with its password.
        prefix: what every key begins with.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = PREFIX,
        degraded: Literal["stop", "local-share"] = "stop",
        machines: int | None = None,
        warn: Callable[[str], None] | None = None,
        patience: float = PATIENCE,
        retry_after: float = RETRY_AFTER,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Name the server; no connection is made before the first use.

        Args:
            url: `redis://`, `rediss://` or `unix://`, as the package redis takes it.
            prefix: what every key begins with.
            degraded: what becomes of paid calls while the server cannot be used; see above.
            machines: among how many the rest of a budget is divided then; `"local-share"` needs it.
            warn: gets each warning; None for the logger `langchain_openrouter_free`.
            patience: how long the server may be silent in an answer, in seconds; for all of it ten times as long.
            retry_after: how long the server is left alone after trouble, in seconds.
            monotonic: the clock, in seconds, that `retry_after` and the server's time are measured by.
            wall: this machine's clock, in Unix seconds; where it parts from `monotonic`, the server's is asked for.

        Raises:
            ValueError: if the address is none, or has an option that is none, or `"local-share"` comes without a
                number of machines.
        """
        super().__init__(warn=warn, retry_after=retry_after, monotonic=monotonic)
        self.url, self.prefix = url, prefix
        self.paid_share, self.holder = share_of(degraded, machines), uuid.uuid4().hex
        self._degraded, self._machines = degraded, machines
        self._patience, self._wall = patience, wall
        self._client: redis.Redis | RedisCluster = self._made(url)
        self._scripts: dict[str, Any] = {}
        # What this process knows the server to have, or to have had.
        self._known: dict[str, ancestry.Ancestry[Any]] = {}
        # What the update that runs has begun with.
        self._line = ""
        self._readings: deque[tuple[float, float]] = deque(maxlen=_READINGS)
        # When this machine's monotonic clock began, by the server's; threads read it without a lock.
        self._began: float | None = None
        # What lay between this machine's two clocks when the server told its time.
        self._apart = 0.0

    @classmethod
    def at(cls, address: str) -> Self:
        """Return the store that an address names, which may say `degraded`, `machines` and `prefix` as well.

        `valkey://` and `valkeys://` are other names for `redis://` and `rediss://`.

        Raises:
            ValueError: as above.
        """
        place, _, query = address.partition("?")
        scheme, _, rest = place.partition("://")
        try:
            said = parse_qsl(query, strict_parsing=True) if query else []
        except ValueError:
            raise ValueError(UNREADABLE) from None
        ours: dict[str, Any] = {name: value for name, value in said if name in _OPTIONS}
        if "machines" in ours:
            ours["machines"] = int(ours["machines"])
        # Put together by hand: a URL without a host, as that of a socket, loses its slashes in `urlunsplit`.
        url = f"{scheme.lower().replace('valkey', 'redis')}://{rest}"
        theirs = urlencode([(name, value) for name, value in said if name not in _OPTIONS])
        return cls(f"{url}?{theirs}" if theirs else url, **ours)

    def _made(self, url: str) -> redis.Redis:
        check_readable(url)
        # One place decides about trying again, and it is not this client.
        client = redis.Redis.from_url(
            url,
            socket_timeout=self._patience,
            socket_connect_timeout=self._patience,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
            health_check_interval=0,
        )
        pool = client.connection_pool
        # An address counts more than arguments, but what is read here is bytes.
        pool.connection_kwargs |= {"decode_responses": False, "encoding": "utf-8"}
        try:
            # Nothing is connected: only so is an option that is wrong found now, and not by the first call.
            pool.connection_class(**pool.connection_kwargs)
            pool.connection_class = impatient(pool.connection_class)
        except (TypeError, redis.RedisError) as error:
            known = f"of its own this package knows {', '.join(_OPTIONS)}"
            raise ValueError(f"an option in it cannot be ({error}); {known}") from None
        return client

    def _made_for_cluster(self) -> RedisCluster:
        """Return a client that knows which node has what; it asks the server that the address names."""
        place, _, query = self.url.partition("?")
        theirs = urlencode([(name, value) for name, value in parse_qsl(query) if name not in _OF_TEXT])
        return RedisCluster.from_url(
            f"{place}?{theirs}" if theirs else place,
            socket_timeout=self._patience,
            socket_connect_timeout=self._patience,
            retry=Retry(NoBackoff(), 0),
            connection_pool_class=_Pool,
        )

    def server_time(self) -> float | None:
        """Return the time by the server's clock, in Unix seconds; None where it has not told it yet."""
        return None if self._began is None else self._began + self._monotonic()

    def _has_jumped(self) -> bool:
        """Tell whether this machine's clock was set, or the machine slept, since the server told its time."""
        return abs(self._between_clocks() - self._apart) > _JUMP

    def _between_clocks(self) -> float:
        return self._wall() - self._monotonic()

    def __repr__(self) -> str:
        return f"RedisStore({self._place!r})"

    @property
    def _place(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"

    @property
    def _name(self) -> str:
        return f"The shared state at {self._place}"

    def _is_made(self, _name: str) -> bool:
        return ancestry.holds(self._line, _name)

    def _last_seen(self, key: str) -> Any:
        return self._known[key].page if key in self._known else None

    def _let_go(self) -> None:
        if isinstance(self._client, RedisCluster):
            # One that was made from an address leaves its nodes' connections open.
            self._client.disconnect_connection_pools()  # type: ignore[no-untyped-call]
        self._client.close()
        # Who answers next may be another server, with a clock of its own.
        self._readings.clear()

    def __del__(self) -> None:
        # A client for clusters holds itself in circles: its sockets would be left to the collector.
        try:  # noqa: SIM105 - as a process ends even `suppress` may be gone
            self._let_go()
        except Exception:  # noqa: BLE001, S110
            pass

    # -- keys

    def _page_key(self, key: str) -> str:
        kind, _, owner = key.partition(":")
        return f"{self.prefix}:{{{owner or kind}}}:{kind}"

    def _log_keys(self, log: str) -> list[str]:
        key = self._page_key(log)
        return [f"{key}:{part}" for part in ("number", "texts", "times", "numbers")]

    # -- the server

    def _run(self, script: str, keys: Sequence[str], *arguments: object) -> list[Any]:
        """Let the server run a script; return what it says after the time."""
        began = self._monotonic()
        try:
            try:
                said = self._asked(script, keys, arguments)
            except AskError:  # which `MovedError` is as well: this key has another node, or will have
                self._let_go()
                self._client, self._scripts = self._made_for_cluster(), {}
                said = self._asked(script, keys, arguments)
            except redis.ConnectionError as error:
                # One connection that was cut is no server that is away.
                if type(error) is not redis.ConnectionError or not scripts.may_be_repeated(script, arguments):
                    raise
                said = self._asked(script, keys, arguments)
        except Exception as error:  # noqa: BLE001 - over an answer that is none the client stumbles in any way
            raise Unusable(_kind(error), f"cannot be used: {self._told(error, keys)}") from None
        except BaseException:
            # What is read next of a connection that was interrupted may be the answer to what was asked before.
            self._let_go()
            self._client, self._scripts = self._made(self.url), {}
            raise
        if not scripts.is_answer(script, said):
            raise Unusable("foreign", "cannot be used: what it answers is not what Redis would")
        took = self._monotonic() - began
        if self._has_jumped():
            self._readings.clear()
            self._apart = self._between_clocks()
        self._readings.append((took, int(said[0]) + int(said[1]) / 1e6 - began - took / 2))
        self._began = min(self._readings)[1]
        return list(said[2:])

    def _asked(self, script: str, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        if script not in self._scripts:
            self._scripts[script] = self._client.register_script(script)
        return self._scripts[script](keys=list(keys), args=list(arguments))

    def _told(self, error: Exception, keys: Sequence[str]) -> str:
        """Return an error's words without what the address hides."""
        secret = urlsplit(self.url).password
        words = str(error).replace(secret, "***") if secret else str(error)
        # Somebody else has taken a name of ours: the server does not say which.
        return f"{words} (one of {', '.join(keys)})" if words.startswith("WRONGTYPE") else words

    def _look(self, ref: PageRef[Page]) -> _Stand:
        return self._read(ref, *self._run(scripts.LOOK, [self._page_key(ref.key)]))

    def _read(self, ref: PageRef[Page], version: bytes | None, line: bytes | None, text: bytes | None) -> _Stand:
        """Return what the server has, joined with what this process knows and the server has lost."""
        stands = _ascii(version)
        if ref.key not in self._known:
            # Pages that nobody can join are whole lists of models: one of each is enough.
            self._known[ref.key] = ancestry.Ancestry(keeps_steps=ref.merge is not None)
        known = self._known[ref.key]
        if stands and known.version == stands:
            return _Stand(stands, known.line, known.page, is_kept=True)
        page = None if text is None else self._decoded(ref, text)
        if page is None:
            # Restarted without a file, or overwritten: what was counted was counted all the same.
            return _Stand(stands, known.line, None if ref.merge is None else known.page, is_kept=False)
        # A version without a line of its own is taken for the next of what is known.
        comes_from = ancestry.line_of(stands, line or b"") or known.line
        lost = known.lost(comes_from)
        if lost is None:
            known.see(stands, comes_from, page)
            return _Stand(stands, comes_from, page, is_kept=True)
        for before, after in lost.changes:
            page = ref.merged(before, after, page)
        # What is known stays so until this is written: it may be lost as well.
        return _Stand(stands, lost.line, page, is_kept=False)

    def _decoded(self, ref: PageRef[Page], text: bytes) -> Page | None:
        """Read a page; None, and its text set aside, where that cannot be."""
        page = read(ref, text)
        if page is None:
            self._set_aside(ref.key, text)
        return page

    def _set_aside(self, key: str, text: bytes) -> None:
        name = f"{self._page_key(key)}:set-aside"
        self._run(scripts.SET_ASIDE, [name], text[:LONGEST_ASIDE], _SET_ASIDE_KEPT)
        self._warn_once(
            "page", f"has a page that cannot be read ({key}): it is begun anew, its text is kept in {name}."
        )

    # -- what a store does

    def _make(self, turn: Turn[Any]) -> None:
        """Change a page until nobody has written in between."""
        ref, ends, pause = turn.ref, self._monotonic() + self._patience * 4, 0.0
        # What is changed depends on the time: that must be right before.
        known = None if self._has_jumped() else self._known.get(ref.key)
        stand = self._look(ref) if known is None else _Stand(known.version, known.line, known.page, bool(known.version))
        while True:
            self._line = stand.line
            made = turn.made(stand.page)
            if made is None:
                turn.done()
                return
            other = self._write(turn, stand, *made)
            if other is None:
                return
            if self._monotonic() >= ends:
                raise Unusable("contended", "has a page that others write all the time")
            if pause:
                time.sleep(random.uniform(0, pause))  # noqa: S311 - only so that losers do not march in step
                # What stood there before the pause has been written over by now.
                other = self._look(ref)
            stand = other
            pause = min(max(pause * 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    def _write(self, turn: Turn[Any], stand: _Stand, new: Any, rows: Sequence[Row]) -> _Stand | None:
        """Put a page in the place of the one that stands there; return what does if it is another."""
        ref, same = turn.ref, new is stand.page and stand.is_kept
        line, text = ("", "") if same else (_next(stand.line), ref.encode(new))
        fresh = stand.version if same else ancestry.version_of(line)
        keys, arguments = [self._page_key(ref.key)], [stand.version, fresh, line, text, _PAGE_KEPT]
        if rows:
            keys += self._log_keys(rows[0][0])
            arguments += [_MOST_ROWS, _ROWS_KEPT, *chain.from_iterable((repr(float(at)), told) for _, at, told in rows)]
        # What of it nobody may know, if it is broken off.
        doubt = Unusable("interrupted", "was being written to when a caller was interrupted")
        doubt.row = "" if same or not rows else fresh
        if not same and ref.merge is not None:
            doubt.unheard = (ref.key, fresh, new if stand.page is self._known[ref.key].page else None)
        turn.doubt = None if same and not rows else doubt
        try:
            is_done, *there = self._run(scripts.WRITE, keys, *arguments)
        except Unusable as trouble:
            # Slow, or away just now: it may have been done all the same, or be done when the server goes on.
            trouble.row, trouble.unheard, turn.doubt = doubt.row, doubt.unheard, None
            raise
        except BaseException:
            if not same:
                self._interrupted(ref.key, fresh)
            raise
        # Asked twice over a connection that was cut: it may have been done the first time.
        if is_done != 1 and (same or not ancestry.holds(_ascii(there[1]), fresh)):
            turn.doubt = None
            return self._read(ref, *there)
        turn.done()
        if not same:
            self._wrote(ref.key, stand, line, new)
        return None

    def _wrote(self, key: str, stand: _Stand, line: str, new: Any) -> None:
        known = self._known[key]
        if stand.page is not known.page:
            known.see(stand.version, stand.line, stand.page)
        known.write(ancestry.version_of(line), line, new)

    def _append(self, log: str, at: float, text: str) -> None:
        self._run(scripts.APPEND, self._log_keys(log), repr(float(at)), text, _MOST_ROWS, _ROWS_KEPT)

    def _recent(self, log: str, limit: int) -> list[tuple[float, str]]:
        if limit <= 0:
            return []
        said = self._run(scripts.RECENT, self._log_keys(log), limit)
        return [(float(at), text.decode("utf-8")) for at, text in zip(said[::2], said[1::2], strict=True)]

    def _fold(self, log: str, before: float, ref: PageRef[Page], change: Fold[Page], most: int) -> int:
        if most <= 0:
            return 0
        keys = [self._page_key(ref.key), *self._log_keys(log)]
        ends = self._monotonic() + self._patience * 4
        while True:
            version, line, text, *rows = self._run(scripts.OLDEST, keys, repr(float(before)), most)
            names, texts = rows[::2], [told.decode("utf-8") for told in rows[1::2]]
            if not names:
                return 0
            stand = self._read(ref, version, line, text)
            new, newest = change(stand.page, texts), _next(stand.line)
            fresh = ancestry.version_of(newest)
            said = self._run(scripts.FOLD, keys, stand.version, fresh, newest, ref.encode(new), _PAGE_KEPT, *names)
            if said[0] == 1:
                self._wrote(ref.key, stand, newest, new)
                return len(names)
            if self._monotonic() >= ends:
                raise Unusable("contended", "has a log that others fold all the time")

    # -- other processes

    def forked(self) -> None:
        """Go on in a forked process, with a client of its own: the parent's has locks as well."""
        super().forked()
        self.holder = uuid.uuid4().hex
        # The parent's connections are the parent's; to close them would ask its pool, and wait for its lock.
        if isinstance(self._client, redis.Redis):
            self._client.auto_close_connection_pool = False
        else:
            _PARENTS.append(self._client)
        self._client, self._scripts = self._made(self.url), {}

    def __getstate__(self) -> dict[str, Any]:
        names = ("degraded", "machines", "warn", "patience", "retry_after", "monotonic", "wall")
        return {"url": self.url, "prefix": self.prefix, **{name: getattr(self, f"_{name}") for name in names}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _kind(error: Exception) -> str:
    """Return which trouble it is: what the client has no name of its own for begins with the server's."""
    return str(error).partition(" ")[0] if type(error) is redis.ResponseError else type(error).__name__


def _ascii(said: bytes | None) -> str:
    return (said or b"").decode("ascii", "replace")


def _next(line: str) -> str:
    return ancestry.after(line, uuid.uuid4().hex[: ancestry.TOKEN])
