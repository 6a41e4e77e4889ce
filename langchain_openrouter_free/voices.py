"""Which model served a conversation last, so that an agent does not change its voice at every step.

Kept in this process alone: a store would be written once more for each answer, for what costs nothing to lose. Nothing
of a prompt is kept, only hashes. Knows no route: whether the model is asked again is `routing.py`'s business.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Most conversations that are remembered, and for how many seconds after their last answer.
MOST, AGE = 10_000, 6 * 3600.0


def key_of(account: str, ranking: Sequence[str], conversation: str | Sequence[Mapping[str, Any]]) -> bytes:
    """Return the name of a conversation.

    Args:
        account: whose it is.
        ranking: the entries that its models come from; two agents of one thread may have two.
        conversation: the thread's id, or the messages up to the first one of the user.
    """
    told = json.dumps([account, list(ranking), conversation], ensure_ascii=False, default=str)
    return hashlib.sha256(told.encode(errors="surrogatepass")).digest()


def opening(messages: Sequence[Mapping[str, Any]]) -> tuple[Sequence[Mapping[str, Any]], bool]:
    """Return the messages up to the first one of the user, by which a conversation is known again.

    Beside them whether it goes on: where no assistant has spoken, what begins alike is not yet the same conversation.
    """
    first = next((n for n, message in enumerate(messages) if message.get("role") == "user"), len(messages) - 1)
    return messages[: first + 1], any(message.get("role") == "assistant" for message in messages)


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

    def last(self, conversation: bytes, now: float) -> str | None:
        """Return who served a conversation last; None if that is not known, or too long ago."""
        with self._lock:
            model, at = self._served.get(conversation, (None, 0.0))
        return model if abs(now - at) <= AGE else None

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._served.clear()


VOICES = Voices()
