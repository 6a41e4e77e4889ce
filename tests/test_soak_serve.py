"""The soak of the endpoint in short; the long form, and what it checks, is `soak/serve.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it looks at /proc")
@pytest.mark.timeout(290)
def test_many_streams_leave_nothing_behind() -> None:
    """40 at once for four seconds: no check of the soak fails, and it met what it is meant to meet."""
    script = Path(__file__).parent / "soak" / "serve.py"
    command = [sys.executable, "-W", "error", str(script), "4", "40"]
    environment = os.environ | {"PYTHONPATH": str(script.parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=environment)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert (told["wrong"], done.returncode) == ([], 0)
    assert told["most at once"] == 40
    assert {"whole", "left at once", "left later"} <= told["ends"].keys()
