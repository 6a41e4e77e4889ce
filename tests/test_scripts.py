"""What `make` runs beside the tests has not fallen behind: each script loads, and each benchmark runs, briefly."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
BENCHMARKS = HOUSE / "tests" / "benchmarks"
SCRIPTS = re.findall(r"\$\(PY\) (tests/[a-z_/]+\.py)", (HOUSE / "Makefile").read_text(encoding="utf-8"))
# Each as if it were run, but for its last lines.
LOADED = """
import runpy, sys
for script in sys.argv[1:]:
    sys.path.insert(0, script.rpartition("/")[0])
    runpy.run_path(script, run_name="loaded")
    del sys.path[0]
"""
# One update of each page, in one process: the table is of eight of them.
STORE = """
import bench_store
for row in bench_store.ROWS:
    bench_store.updates({path!r}, row)()
"""
# What fills 100,000 rows, starts processes, or reads lists of thousands stays out.
TIMED = ["-m", "pytest", "-o", "addopts=", "--benchmark-disable", "-q", "-p", "no:langsmith_plugin"]
BRIEF = "not several and not 100000 and not long_history and not large_list and not whole_calls"
# In seconds; such a process takes five of them where nothing else runs, and ten times as long where much does.
PATIENCE = 280

pytestmark = pytest.mark.timeout(PATIENCE + 10)


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
    run([sys.executable, *said], BENCHMARKS, PYTHONPATH=str(BENCHMARKS))


def test_each_script_loads() -> None:
    assert len(SCRIPTS) > 10
    run([sys.executable, "-c", LOADED, *SCRIPTS], HOUSE)


def run(command: list[str], folder: Path, **environment: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = clean | environment
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
