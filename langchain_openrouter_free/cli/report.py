"""`report`: one page about a span of time."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from langchain_openrouter_free.cli.main import NEEDS_EXTRA
from langchain_openrouter_free.cli.start import Options, model

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}


def run(options: Options, *, since: str, output: str, project: str | None) -> None:
    """Write the page; with `--json` print its figures, and write nothing."""
    out, chat = options.output(), model(options)
    begins = moment_of(since, chat.clock.now())
    if begins is None:
        out.fail("UsageError", f"--since {since!r} is neither a span such as 12h, 7d or 2w, nor a date.", 2)
    if out.result(chat.figures(begins, project=project).as_dict() if out.json else None):
        return
    if find_spec("plotly") is None:
        out.fail("ExtraNeeded", "the page needs plotly: pip install 'langchain-openrouter-free[report]'", NEEDS_EXTRA)
    page = chat.report(begins, project=project)
    if output == "-":
        # The page says that it is UTF-8, whatever the terminal is.
        sys.stdout.buffer.write(page.encode())
        return
    try:
        Path(output).write_text(page, encoding="utf-8")
    except OSError as error:
        out.fail("CannotWrite", f"{output} cannot be written: {error.strerror}", 1)
    out.say(f"Wrote {output} ({len(page.encode()) // 1000} kB): open it in a browser, it needs no network.")


def moment_of(since: str, now: float) -> float | None:
    """Return the moment that `7d`, `12h` or `2026-11-20` means, in Unix seconds; None for what is neither."""
    if (hit := _SPAN.fullmatch(since.strip().lower())) is not None:
        return now - float(hit[1]) * _SECONDS[hit[2]]
    try:
        said = datetime.fromisoformat(since.strip())
    except ValueError:
        return None
    return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()
