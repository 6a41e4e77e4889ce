"""What stands for a key where an object is written down: a mark, by which this process knows the key again.

A pickle lies in queues, caches and files that are nobody's secret. The key itself never gets there: the process that
reads it has seen the key, or has one of its own in the environment.
"""

from __future__ import annotations

import hashlib

from pydantic import SecretStr

_seen: dict[str, SecretStr] = {}


def mark(key: SecretStr) -> str:
    """Remember a key, and return what it is known by: a one-way hash."""
    name = hashlib.sha256(f"langchain_openrouter_free\0key\0{key.get_secret_value()}".encode()).hexdigest()[:32]
    _seen[name] = key
    return name


def known(name: str) -> SecretStr | None:
    """Return the key of a mark; None where this process has not seen it."""
    return _seen.get(name)
