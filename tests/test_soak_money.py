"""The soak of the money in short: every fault, closed streams, cancellations and killed processes, to the nano-dollar.

The long form, and what it checks, is `soak/money.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

CALLS, SEED = 160, 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks and kills")
@pytest.mark.timeout(290)
def test_the_bill_stays_within_the_cap_and_is_the_ledgers() -> None:
    """160 calls by four processes: no check of the soak fails, and it met what it is meant to meet."""
    script = Path(__file__).parent / "soak" / "money.py"
    command = [sys.executable, "-W", "error", str(script), str(CALLS), str(SEED)]
    environment = os.environ | {"PYTHONPATH": str(script.parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=environment)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["violations"] == []
    assert done.returncode == 0
    assert told["calls"] + told["killed calls"] == CALLS
    assert told["killed workers"] >= 2
    assert {"answered", "CancelledError", "ConsumerError"} <= told["ends"].keys()
    assert any(name.startswith("BudgetExceeded") for name in told["ends"])
    assert Decimal(told["bill"]) > 0
    for page in ("project's page", "money's page"):
        assert told[page]["corrected"] > 0
        assert Decimal(told[page]["spent"]) >= Decimal(told[page]["known"]) > 0
