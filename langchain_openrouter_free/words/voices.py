"""Which model served a conversation last, so that an agent does not change its voice at every step.

Kept in this process alone: a store would be written once more for each answer, for what costs nothing to lose. Nothing
of a prompt is kept, only hashes. Knows no route: whether the model is asked again is `routing.py`'s business.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from langchain_openrouter_free.jsontext import writer

# Most conversations that are remembered, and for how many seconds after their last answer.
MOST, AGE = 10_000, 6 * 3600.0

_WRITTEN = writer(ascii_only=False, default=str)
# A text with more characters is hashed as it is: to write a picture as JSON takes as long as all else of its call.
_LONG = 10_000


def key_of(account: str, ranking: Sequence[str], thread: str) -> bytes:
    """Return the name of a conversation that has a thread.

    Args:
        account: whose it is.
        ranking: the entries that its models come from; two agents of one thread may have two.
        thread: its id.
    """
    return hashlib.sha256(_bytes([account, list(ranking), thread])).digest()


def traces(
    account: str, ranking: Sequence[str], messages: Sequence[Mapping[str, Any]]
) -> tuple[bytes, Sequence[bytes]]:
    """Return the names of a conversation without a thread: as it stands, and as it stood before each of its answers.

    The latter, the latest first, are names under which it was known when it was answered. Two conversations that
    merely begin alike, with the same examples for instance, have none of them in common that was ever answered.
    """
    told = _begun(account, tuple(ranking)).copy()
    before: list[bytes] = []
    for message in messages:
        if message.get("role") == "assistant":
            before.append(told.digest())
        said, content, long = message, message.get("content"), list[str]()
        if isinstance(content, list) or (isinstance(content, str) and len(content) > _LONG):
            said = {**message, "content": _shortened(content, long)}
        told.update(_bytes(said))
        for text in long:
            told.update(text.encode(errors="surrogatepass"))
    return told.digest(), before[::-1]


@lru_cache(maxsize=64)
def _begun(account: str, ranking: tuple[str, ...]) -> hashlib._Hash:
    return hashlib.sha256(_bytes([account, list(ranking)]))


def _shortened(value: Any, long: list[str]) -> Any:
    """Return a content with the length of each long text in its place; the text itself comes into a list."""
    if isinstance(value, str) and len(value) > _LONG:
        long.append(value)
        return [len(value)]
    if isinstance(value, Mapping):
        return {key: _shortened(part, long) for key, part in value.items()}
    return [_shortened(part, long) for part in value] if isinstance(value, list) else value


def _bytes(value: object) -> bytes:
    return _WRITTEN(value).encode(errors="surrogatepass")


@dataclass(slots=True)
class Voices:
    """Who served which conversation last; the oldest are forgotten first."""

    _served: OrderedDict[bytes, tuple[str, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def remember(self, conversation: bytes, model: str, now: float) -> None:
        """Take note of an answer; `now`: Unix seconds."""
        with self._lock:
            self._served[conversation] = (model, now)
            self._served.move_to_end(conversation)
            if len(self._served) > MOST:
                self._served.popitem(last=False)

    def last(self, names: Iterable[bytes], now: float) -> str | None:
        """Return who served a conversation last, by the first of its names that is known; None if none is."""
        with self._lock:
            model, at = next((self._served[name] for name in names if name in self._served), (None, 0.0))
        return model if abs(now - at) <= AGE else None

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._served.clear()


VOICES = Voices()
