"""Whether this thread runs an event loop: what may be awaited here, and what must be in spite of a cancellation."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any


def is_on_a_loop() -> bool:
    """Tell whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@types.coroutine
def unbroken(closing: Coroutine[Any, Any, None]) -> Generator[Any, None, None]:
    """Run what lets go of connections to its end; a cancellation that comes meanwhile is passed on afterwards.

    Broken off, it would leave a connection to nobody: neither closed nor to be used again. It takes a few turns of the
    loop, and waits for no network: so it needs no task of its own, as `handover.to_its_end` does for what waits.
    """
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            awaited = closing.send(None)
        except StopIteration:
            break
        try:
            yield awaited
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
