"""Which store a configuration's `state` names: a file, a server, memory, or one of the user's own.

A store is made once for each place, so that all models of a process that name the place share it.
"""

from __future__ import annotations

import logging
import os
import re
from functools import lru_cache
from pathlib import Path

from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.homes import absolute
from langchain_openrouter_free.stores.base import IN_MEMORY, StateStore, is_store
from langchain_openrouter_free.stores.memory import MemoryStore

logger = logging.getLogger("langchain_openrouter_free")

_PATH_LIKE = re.compile(r"[/\\]|\.(?:sqlite3?|db)$")
_SERVER = re.compile(r"^(?:rediss?|valkeys?|unix)://", re.IGNORECASE)
# As `_SERVER`, with a slash too few: no folder is called so.
_MEANT = re.compile(r"(?:rediss?|valkeys?|unix):", re.IGNORECASE)
# What the user's state directory depends on, beside the machine.
_HOMES = ("XDG_STATE_HOME", "HOME", "LOCALAPPDATA", "USERPROFILE")
_SHARED = MemoryStore()


class _StandIn(MemoryStore):
    """What is used in the place of a file that cannot be: a budget would be forgotten with it, so nothing is paid."""

    degraded = True


def store_of(state: object) -> StateStore:
    """Return the store that `state` names: a file shared with others, or memory.

    None means what the environment's OPENROUTER_FREE_STATE names, else the file in the user's state directory.

    An address such as `redis://host:6379/0` names a server that several machines share; it may end in
    `?degraded=local-share&machines=4` and `prefix=...` (see `RedisStore.at`).

    A path in words must look like one (a folder in it, or the ending `.sqlite3` or `.db`), so that a
    misspelt `"memory"` makes no file.
    """
    if is_store(state):
        return state
    if state is None:
        state = os.environ.get("OPENROUTER_FREE_STATE") or None
    if state is None:
        return _usual_store(*map(os.environ.get, _HOMES))
    if state in ("memory", ":memory:"):
        return _SHARED
    if isinstance(state, str) and _SERVER.match(state):
        return _server_store(state)
    if isinstance(state, str) and os.path.isabs(state):  # noqa: PTH117 - asked at each call
        return _file_store_at(state)
    if isinstance(state, str) and ("://" in state or _MEANT.match(state)):
        # Not the address: it may hold a password.
        scheme = state.partition(":")[0]
        raise ConfigurationError(f"state: {scheme}: names no server that is known; write redis://host:6379/0.")
    if isinstance(state, Path) or (isinstance(state, str) and _PATH_LIKE.search(state)):
        return _file_store(absolute(state, "state"))
    raise ConfigurationError(
        f"state={state!r} is neither 'memory', nor the path of a file, nor redis://..., nor a StateStore."
    )


@lru_cache(maxsize=64)
def _server_store(url: str) -> StateStore:
    try:
        from langchain_openrouter_free.stores.redis import RedisStore  # noqa: PLC0415 - only where it is asked for
    except ImportError as error:
        raise ConfigurationError(f"state: {error}.") from error
    try:
        return RedisStore.at(url)
    except ValueError as error:
        # Not the address: it may hold a password.
        raise ConfigurationError(f"state: the address of the server is wrong: {error}.") from None


@lru_cache(maxsize=16)
def _usual_store(*_: str | None) -> StateStore:
    from langchain_openrouter_free.stores.files import usual_path  # noqa: PLC0415 - only where it is asked for

    place = usual_path()
    return _StandIn() if place is None else _file_store(place)


@lru_cache(maxsize=64)
def _file_store_at(place: str) -> StateStore:
    return _file_store(Path(place))


@lru_cache(maxsize=64)
def _file_store(path: Path) -> StateStore:
    try:
        from langchain_openrouter_free.stores.sqlite import SqliteStore  # noqa: PLC0415 - only where it is asked for
    except ImportError as error:
        # Some systems ship Python's sqlite3 as a package of its own.
        logger.warning("The state file %s cannot be used: this Python has no sqlite3 (%s): %s.", path, error, IN_MEMORY)
        return _StandIn()
    return SqliteStore(path)
