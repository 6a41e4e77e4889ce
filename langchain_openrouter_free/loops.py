"""Whether this thread runs an event loop: what may be awaited here, and what would hold others up."""

from __future__ import annotations

import asyncio


def is_on_a_loop() -> bool:
    """Tell whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
