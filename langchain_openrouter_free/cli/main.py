"""Where the command begins: whether the extra is there, and what a mistake looks like to a script.

Exit codes: 0 all is well; 1 it was done, and what was found is not well (a fault, no answer); 2 wrong use or
configuration; 3 a key is needed; 4 an extra is needed; 130 interrupted.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

NEEDS_EXTRA = 4
INTERRUPTED = 130


def main() -> None:
    """Run the command line; who is told to end, or loses the terminal, ends as by Ctrl-C."""
    try:
        for name in ("SIGTERM", "SIGHUP"):
            # What is on its way is settled, and the terminal as before. Who starts us may want it ignored (nohup).
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, signal.default_int_handler)
        _run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run() -> None:
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us
            setattr(sys, name, Path(os.devnull).open("r+", encoding="utf-8"))  # noqa: SIM115 - for as long as we run
    missing = [name for name in ("typer", "rich") if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"openrouter-free needs {' and '.join(missing)}: pip install 'langchain-openrouter-free[cli]'\n"
        )
        sys.exit(NEEDS_EXTRA)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        # An answer may hold any character; one that the encoding does not have must not cost the rest of it.
        sys.stdout.reconfigure(errors="replace")
    if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.errors == "strict":
        sys.stdin.reconfigure(errors="replace")  # a piped text may be in another encoding
    from langchain_openrouter_free.cli.app import app  # noqa: PLC0415 - it needs the extra
    from langchain_openrouter_free.cli.output import drop_output  # noqa: PLC0415

    try:
        app()
    except OSError as error:  # of help and the like; what a command fails in, it tells itself
        sys.stderr.write(f"error: {error}\n")
        drop_output()
        sys.exit(1)
