"""Run an example without a key and without a network, on the simulator: `python examples/offline.py quickstart`."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from langchain_openrouter_free.simulator import Simulator

here = Path(__file__).parent
names = sorted(path.stem for path in here.glob("*.py") if path.stem != "offline")
if len(sys.argv) < 2 or sys.argv[1] not in names:
    sys.exit(f"Which one? {', '.join(names)}")
with Simulator() as sim:
    # The examples read nothing else; the state in memory keeps the simulator's quota apart from your own.
    os.environ |= {
        "OPENROUTER_API_KEY": sim.api_key,
        "OPENROUTER_API_BASE": sim.base_url,
        "OPENROUTER_FREE_STATE": "memory",
    }
    sys.argv = sys.argv[1:]
    runpy.run_path(str(here / f"{sys.argv[0]}.py"), run_name="__main__")
