"""What stands for a key where something is written down: a mark, by which this process knows the key again, or dots.

A pickle lies in queues, caches and files that are nobody's secret. The key itself never gets there: the process that
reads it has seen the key, or has one of its own in the environment. What a server says lies in logs and errors: where
it repeats a key, dots stand for it.
"""

from __future__ import annotations

import hashlib

from pydantic import SecretStr

_seen: dict[str, SecretStr] = {}
# The keys that were sent last; shorter ones are placeholders, and may be words.
_sent: dict[str, None] = {}
_SHORTEST, _MOST = 16, 100


def sent(key: str) -> None:
    """Take note of a key that goes to a server."""
    if len(key) >= _SHORTEST and key not in _sent:
        _sent[key] = None
        for oldest in list(_sent)[:-_MOST]:
            _sent.pop(oldest, None)


def hidden(text: str) -> str:
    """Return what a server has said without the keys that were sent to it."""
    for key in tuple(_sent):
        if key in text:
            text = text.replace(key, "...")
    return text


def mark(key: SecretStr) -> str:
    """Remember a key, and return what it is known by: a one-way hash."""
    name = hashlib.sha256(f"langchain_openrouter_free\0key\0{key.get_secret_value()}".encode()).hexdigest()[:32]
    _seen[name] = key
    return name


def known(name: str) -> SecretStr | None:
    """Return the key of a mark; None where this process has not seen it."""
    return _seen.get(name)
