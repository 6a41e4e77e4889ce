"""The soak of the traffic in short: real weather, faults of every kind, killed processes, and a day that is used up.

The long form, and what it checks, is `soak/traffic.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks and kills")
@pytest.mark.timeout(290)
def test_a_day_is_used_up_and_not_passed() -> None:
    """Four processes, two of them killed: answers, and no unknown error, no refused request, nothing left open."""
    script = Path(__file__).parent / "soak" / "traffic.py"
    command = [sys.executable, "-W", "error", str(script), "--short"]
    environment = os.environ | {"PYTHONPATH": str(script.parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=environment)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["violations"] == []
    assert done.returncode == 0
    assert told["killed"] == 2
    assert told["calls when it was used up"] > 0
    assert told["answers per call"] >= 0.9
    assert told["requests per answer"] <= 1.5
    # A process that dies takes the requests that it had booked with it.
    assert 0 <= told["quota left unused"] <= told["book - service"] <= 6
    assert told["asked beyond it"] == told["unknown exceptions"] == told["sockets left"] == told["tasks left"] == 0
    assert float(told["billed"]) == 0
