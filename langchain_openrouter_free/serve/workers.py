"""Several processes behind one socket: begun, replaced when one dies, ended together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

# A worker that has ended by itself within so many seconds would end again.
_SHORTEST_LIFE = 5.0
_LAST_SECONDS = 10.0
# With what a worker ends that was told to.
_INTERRUPTED = 130

Work = Callable[[socket.socket], None]


def supervise(work: Work, taking: socket.socket, workers: int) -> None:
    """Serve with several processes until a signal ends it.

    Args:
        work: what each process does; it is pickled.
        taking: where connections come in.
        workers: how many processes.

    Raises:
        RuntimeError: if a worker ends as soon as it has begun.
        KeyboardInterrupt: when a signal has ended it, and all workers are gone.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    running: dict[BaseProcess, float] = {}
    try:
        for _ in range(workers):
            _begin(work, taking, running)
        while True:
            wait([process.sentinel for process in running])
            for process in [one for one in running if one.exitcode is not None]:
                lived = time.monotonic() - running.pop(process)
                # One that was killed, or told to end, is no sign that the next one would end, too.
                if lived < _SHORTEST_LIFE and 0 <= (process.exitcode or 0) != _INTERRUPTED:
                    raise RuntimeError(f"a worker ended as soon as it had begun, with exit code {process.exitcode}")
                _begin(work, taking, running)
    finally:
        # A second Ctrl-C reaches the workers as well, and they hurry: who left them now would cut off what they settle.
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        _end(running)
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, before)


def _begin(work: Work, taking: socket.socket, running: dict[BaseProcess, float]) -> None:
    # A fork would inherit the connections and locks of this process.
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(work, taking), daemon=True)
    process.start()
    running[process] = time.monotonic()


def _work(work: Work, taking: socket.socket) -> None:
    threading.Thread(target=_follow, daemon=True).start()
    # The server says the signals again that made it end; by then what it has cancelled is still to be settled.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            work(taking)
        finally:
            # All is settled: what ends the process once more would only show a trace.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _follow() -> None:
    """End as by a signal when the supervisor is gone, were it killed: nobody else would end this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _end(running: dict[BaseProcess, float]) -> None:
    for process in running:
        process.terminate()
    for process in running:
        process.join(_LAST_SECONDS)
        if process.exitcode is None:
            process.kill()
