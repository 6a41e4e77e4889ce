"""What importing the package costs nobody: modules that only some users need stay unread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
UNREAD = ("langchain_openai", "openai", "sqlite3", "redis", "typer", "langchain_openrouter_free.simulator")


def test_the_import_reads_only_what_every_user_needs() -> None:
    ours = "from langchain_openrouter_free import ChatOpenRouterFree"
    code = f"import sys; {ours}; print([m for m in {UNREAD!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
