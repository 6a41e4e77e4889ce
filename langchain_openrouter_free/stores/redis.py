"""Pages and logs in Redis or Valkey: shared by all machines that can reach the server.

Owns the keys, the scripts that the server runs, and how an update is made atomic. Knows no rule and reads no page.

An update is optimistic: a page is changed here, and the server takes the new one only if nobody has written in between.
Who was the last to write begins with what he wrote: one round trip; others with a look: two. A lost race costs one
more. Every key has an expiry, and all that one step touches shares a hash tag, so that a cluster keeps it in one place.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from langchain_openrouter_free.stores.base import LONGEST_ASIDE, Answer, Change, Fold, Page, PageRef, Row
from langchain_openrouter_free.stores.sheltered import RETRY_AFTER, Sheltered, Unusable

try:
    import redis
    from redis.backoff import NoBackoff
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
# Of so many last readings of the server's clock the one with the shortest way counts.
_READINGS = 16

# Each answers with the server's time first: it costs no round trip of its own.
_LOOK = """
local now = redis.call('TIME')
local page = redis.call('HMGET', KEYS[1], 'version', 'text')
return {now[1], now[2], page[1], page[2]}
"""
_ADD = """
local function add(first, at, text, most, kept)
  local number = redis.call('INCR', KEYS[first])
  local name = string.format('%016d', number)
  redis.call('HSET', KEYS[first + 1], name, text)
  redis.call('ZADD', KEYS[first + 2], at, name)
  redis.call('ZADD', KEYS[first + 3], number, name)
  local over = redis.call('ZCARD', KEYS[first + 3]) - most
  if over > 0 then
    local old = redis.call('ZRANGE', KEYS[first + 3], 0, over - 1)
    redis.call('HDEL', KEYS[first + 1], unpack(old))
    redis.call('ZREM', KEYS[first + 2], unpack(old))
    redis.call('ZREM', KEYS[first + 3], unpack(old))
  end
  for place = first, first + 3 do redis.call('EXPIRE', KEYS[place], kept) end
end
"""
# Page; expected version ('' for none), new version (the same for a page that stays), text, seconds kept; then the keys
# of a log and a row, if there is one.
_WRITE = (
    _ADD
    + """
local now = redis.call('TIME')
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version ~= ARGV[1] then
  return {now[1], now[2], 0, version, redis.call('HGET', KEYS[1], 'text')}
end
if ARGV[2] ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'version', ARGV[2], 'text', ARGV[3])
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
if #KEYS > 1 then add(2, ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]) end
return {now[1], now[2], 1}
"""
)
_APPEND = (
    _ADD
    + """
local now = redis.call('TIME')
add(1, ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4])
return {now[1], now[2]}
"""
)
_SET_ASIDE = """
local now = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return {now[1], now[2]}
"""
_RECENT = """
local now = redis.call('TIME')
local names = redis.call('ZREVRANGE', KEYS[4], 0, ARGV[1] - 1)
local found = {now[1], now[2]}
for _, name in ipairs(names) do
  found[#found + 1] = redis.call('ZSCORE', KEYS[3], name)
  found[#found + 1] = redis.call('HGET', KEYS[2], name)
end
return found
"""
# Page key, then the log's: the page, and the oldest rows of before a moment.
_OLDEST = """
local now = redis.call('TIME')
local page = redis.call('HMGET', KEYS[1], 'version', 'text')
local names = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
local found = {now[1], now[2], page[1], page[2]}
for _, name in ipairs(names) do
  found[#found + 1] = name
  found[#found + 1] = redis.call('HGET', KEYS[3], name)
end
return found
"""
# The new page takes the place of the old one and of these rows, if all of them are as they were.
_FOLD = """
local now = redis.call('TIME')
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version ~= ARGV[1] then return {now[1], now[2], 0} end
for place = 5, #ARGV do
  if redis.call('HEXISTS', KEYS[3], ARGV[place]) == 0 then return {now[1], now[2], 0} end
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'text', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
for place = 5, #ARGV do
  redis.call('HDEL', KEYS[3], ARGV[place])
  redis.call('ZREM', KEYS[4], ARGV[place])
  redis.call('ZREM', KEYS[5], ARGV[place])
end
return {now[1], now[2], 1}
"""


class RedisStore(Sheltered):
    """Keep pages and logs on a Redis or Valkey server, for all machines that share it.

    Where the server is away, slow, read-only, full or fails over, a warning is given and the state is kept in this
    process's memory, beginning with what was last seen: free calls go on with counters of this process. Paid ones stop
    (`degraded="stop"`), or this machine spends its part of what was left of the budget when it last saw it
    (`"local-share"`). When the server is back, what was counted meanwhile is added to what is there. What it has lost
    is begun with what the first of those who still know it last saw.

    Machines' clocks differ; what is shared is written in the server's time. `ahead` is what this machine's clock must
    be corrected by, measured with every answer.

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
            patience: how long an answer of the server is waited for, in seconds.
            retry_after: how long the server is left alone after trouble, in seconds.
            monotonic: the clock, in seconds, that `retry_after` is measured by.
            wall: this machine's clock, in Unix seconds, that the server's is compared with.

        Raises:
            ValueError: if the address is none, or `"local-share"` comes without a number of machines.
        """
        super().__init__(warn=warn, retry_after=retry_after, monotonic=monotonic)
        self.url, self.prefix = url, prefix
        self.paid_share = _share(degraded, machines)
        self._degraded, self._machines = degraded, machines
        self._patience, self._wall = patience, wall
        self._client = self._made(url)
        self._scripts: dict[str, Any] = {}
        # key -> version, page: what this process knows the server to have, or to have had.
        self._known: dict[str, tuple[str, Any]] = {}
        self._readings: deque[tuple[float, float]] = deque(maxlen=_READINGS)

    def _made(self, url: str) -> redis.Redis:
        # One place decides about trying again, and it is not this client.
        return redis.Redis.from_url(
            url,
            socket_timeout=self._patience,
            socket_connect_timeout=self._patience,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
            health_check_interval=0,
            decode_responses=False,
        )

    @property
    def ahead(self) -> float:
        """Seconds by which the server's clock is ahead of this machine's, as far as that is known."""
        return min(self._readings, default=(0.0, 0.0))[1]

    def __repr__(self) -> str:
        return f"RedisStore({self._place!r})"

    @property
    def _place(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"

    @property
    def _name(self) -> str:
        return f"The shared state at {self._place}"

    def _last_seen(self, key: str) -> Any:
        return self._known[key][1] if key in self._known else None

    def _let_go(self) -> None:
        self._client.close()

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
        if script not in self._scripts:
            self._scripts[script] = self._client.register_script(script)
        began, clock = self._monotonic(), self._wall()
        try:
            said = self._scripts[script](keys=list(keys), args=list(arguments))
        except (redis.RedisError, OSError, ValueError) as error:
            raise Unusable(type(error).__name__, f"cannot be used: {self._told(error)}") from None
        took = self._monotonic() - began
        self._readings.append((took, int(said[0]) + int(said[1]) / 1e6 - clock - took / 2))
        return list(said[2:])

    def _told(self, error: Exception) -> str:
        """Return an error's words without what the address hides."""
        secret = urlsplit(self.url).password
        return str(error).replace(secret, "***") if secret else str(error)

    def _look(self, ref: PageRef[Page]) -> tuple[str, Any]:
        version, text = self._run(_LOOK, [self._page_key(ref.key)])
        return self._read(ref, version, text)

    def _read(self, ref: PageRef[Page], version: bytes | None, text: bytes | None) -> tuple[str, Any]:
        """Return the version and the page that the server has; a page that cannot be read is begun anew.

        Of one that is lost or unreadable, what this process last saw of it, where its owner says how to join pages.
        """
        stands = (version or b"").decode("ascii", "replace")
        known = self._known.get(ref.key)
        if known is not None and stands and known[0] == stands:
            return known
        # Restarted without a file, or failed over to one that had less: what was counted was counted all the same.
        page = None if known is None or ref.merge is None else known[1]
        if text is not None:
            try:
                page = ref.decode(text.decode("utf-8"))
            except (ValueError, RecursionError):
                self._set_aside(ref.key, text)
        self._known[ref.key] = (stands, page)
        return stands, page

    def _set_aside(self, key: str, text: bytes) -> None:
        name = f"{self._page_key(key)}:set-aside"
        self._run(_SET_ASIDE, [name], text[:LONGEST_ASIDE], _SET_ASIDE_KEPT)
        self._warn_once(
            "page", f"has a page that cannot be read ({key}): it is begun anew, its text is kept in {name}."
        )

    # -- what a store does

    def _update(
        self, ref: PageRef[Page], change: Change[Page, Answer], row: Callable[[Answer], Row | None] | None = None
    ) -> Answer:
        """Change a page until nobody has written in between."""
        ends, pause = self._monotonic() + self._patience * 4, 0.0
        version, page = self._known[ref.key] if ref.key in self._known else self._look(ref)
        while True:
            new, answer = change(page)
            made = None if row is None else row(answer)
            stands = self._write(ref, version, page, new, made)
            if stands is None:
                return answer
            if self._monotonic() >= ends:
                raise Unusable("contended", "has a page that others write all the time")
            if pause:
                time.sleep(random.uniform(0, pause))  # noqa: S311 - only so that losers do not march in step
                # What stood there before the pause has been written over by now.
                stands = self._look(ref)
            version, page = stands
            pause = min(max(pause * 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    def _write(
        self, ref: PageRef[Page], version: str, page: Page | None, new: Page, row: Row | None
    ) -> tuple[str, Page | None] | None:
        """Put a page in the place of the one of this version; return what stands there if it is another."""
        same = new is page and version != ""
        text = "" if same else ref.encode(new)
        fresh = version if same else uuid.uuid4().hex
        keys, arguments = [self._page_key(ref.key)], [version, fresh, text, _PAGE_KEPT]
        if row is not None:
            log, at, told = row
            keys += self._log_keys(log)
            arguments += [repr(float(at)), told, _MOST_ROWS, _ROWS_KEPT]
        said = self._run(_WRITE, keys, *arguments)
        if said[0] == 1:
            self._known[ref.key] = (fresh, new)
            return None
        return self._read(ref, said[1] or None, said[2])

    def _append(self, log: str, at: float, text: str) -> None:
        self._run(_APPEND, self._log_keys(log), repr(float(at)), text, _MOST_ROWS, _ROWS_KEPT)

    def _recent(self, log: str, limit: int) -> list[tuple[float, str]]:
        if limit <= 0:
            return []
        said = self._run(_RECENT, self._log_keys(log), limit)
        return [(float(at), text.decode("utf-8")) for at, text in zip(said[::2], said[1::2], strict=True)]

    def _fold(self, log: str, before: float, ref: PageRef[Page], change: Fold[Page], most: int) -> int:
        if most <= 0:
            return 0
        keys = [self._page_key(ref.key), *self._log_keys(log)]
        ends = self._monotonic() + self._patience * 4
        while True:
            version, text, *rows = self._run(_OLDEST, keys, repr(float(before)), most)
            names, texts = rows[::2], [told.decode("utf-8") for told in rows[1::2]]
            if not names:
                return 0
            stands, page = self._read(ref, version, text)
            new, fresh = change(page, texts), uuid.uuid4().hex
            said = self._run(_FOLD, keys, stands, fresh, ref.encode(new), _PAGE_KEPT, *names)
            if said[0] == 1:
                self._known[ref.key] = (fresh, new)
                return len(names)
            if self._monotonic() >= ends:
                raise Unusable("contended", "has a log that others fold all the time")

    # -- other processes

    def forked(self) -> None:
        """Go on in a forked process, with a client of its own: the parent's has locks as well."""
        super().forked()
        # The parent's connections are the parent's; to close them would ask its pool, and wait for its lock.
        self._client.auto_close_connection_pool = False
        self._client, self._scripts = self._made(self.url), {}

    def __getstate__(self) -> dict[str, Any]:
        names = ("degraded", "machines", "warn", "patience", "retry_after", "monotonic", "wall")
        return {"url": self.url, "prefix": self.prefix, **{name: getattr(self, f"_{name}") for name in names}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _share(degraded: str, machines: int | None) -> float:
    if degraded == "stop":
        return 0.0
    if degraded != "local-share":
        raise ValueError(f"degraded={degraded!r} is neither 'stop' nor 'local-share'")
    if machines is None or machines < 1:
        raise ValueError("degraded='local-share' needs machines=..., among how many the rest of a budget is divided")
    return 1.0 / machines
