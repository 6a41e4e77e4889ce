"""What is timed still runs: each benchmark once, as briefly as it goes. Its figures are nobody's here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).with_name("benchmarks")
# One update of each page, in one process: the table is of eight of them.
STORE = """
import bench_store
for row in bench_store.ROWS:
    bench_store.updates({path!r}, row)()
"""
# What fills 100,000 rows, starts processes, or reads lists of thousands stays out.
TIMED = ["-m", "pytest", "-o", "addopts=", "--benchmark-disable", "-q", "-p", "no:langsmith_plugin"]
BRIEF = "not several and not 100000 and not long_history and not large_list and not whole_calls"


@pytest.mark.parametrize(
    "command",
    [
        ["bench_happy_path.py", "2", "1"],
        ["bench_decision.py", "2"],
        ["bench_serve.py", "3"],
        ["bench_simulator.py", "2", "0.1"],
        ["-c", STORE],
        [*TIMED, ".", "-k", BRIEF],
    ],
    ids=["happy path", "decision", "serve", "simulator", "store", "timed"],
)
def test_it_runs(command: list[str], tmp_path: Path) -> None:
    said = [word.format(path=str(tmp_path / "state.sqlite3")) for word in command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, *said],
        cwd=BENCHMARKS,
        env=environment | {"PYTHONPATH": str(BENCHMARKS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
