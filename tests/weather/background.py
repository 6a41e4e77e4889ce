"""What goes on beside a call: the thread that fetches the list of models anew."""

from __future__ import annotations

import threading


def settled() -> None:
    """Wait for what goes on in the background."""
    for thread in threading.enumerate():
        if thread.name == "openrouter-free-catalogue":
            thread.join(10)
