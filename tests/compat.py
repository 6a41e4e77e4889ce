"""Run what concerns LangChain on several lines of langchain-core, each in an environment that is thrown away.

`make compat` runs it: all tests that import LangChain, and the call paths. Arguments are passed on to pytest in their
place (`ARGS="tests"`: everything); `COMPAT="1.6"` chooses lines, `WORKERS` says how many tests run at once.
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
# Line -> what is asked of the resolver.
LINES = {"1.6": "langchain-core==1.6.*", "1.7": "langchain-core==1.7.*", "newest": "langchain-core>=1.8,<2"}
# What drives the model without a word of LangChain's.
PATHS = ("test_paths.py", "test_paths_memory.py", "test_replays.py", "test_reliability.py", "test_readme.py")


def concerned() -> list[str]:
    """Return the test files that LangChain's version concerns."""
    found = sorted((HOUSE / "tests").glob("test_*.py"))
    return [str(path) for path in found if path.name in PATHS or "langchain_core" in path.read_text(encoding="utf-8")]


def dev_needs() -> list[str]:
    """Return what pyproject's development group asks for."""
    table = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
    return [need for need in table["dependency-groups"]["dev"] if not need.startswith(("mypy", "ruff"))]


def installer(python: Path) -> list[str]:
    """Return the command that installs into an environment."""
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def run_line(line: str, arguments: list[str]) -> int:
    """Make the environment of one line, run the suite in it and return pytest's exit status."""
    with tempfile.TemporaryDirectory(prefix=f"compat-{line}-") as folder:
        venv.create(folder, with_pip=shutil.which("uv") is None)
        python = Path(folder) / "bin" / "python"
        install = installer(python)
        subprocess.run([*install, "-e", str(HOUSE), *dev_needs(), LINES[line]], check=True)
        shown = "import importlib.metadata as m; print('langchain-core', m.version('langchain-core'), flush=True)"
        subprocess.run([python, "-c", shown], check=True)
        workers = os.environ.get("WORKERS", "2")
        run = [python, "-m", "pytest", "-q", "-n", workers, *(arguments or concerned())]
        return subprocess.run(run, cwd=HOUSE, check=False).returncode


def main() -> int:
    """Run all lines; the exit status is 1 if one of them failed."""
    wanted = os.environ.get("COMPAT", " ".join(LINES)).split()
    results = {line: run_line(line, sys.argv[1:]) for line in wanted}
    for line, status in results.items():
        print(f"langchain-core {line}: {'passed' if status == 0 else f'failed ({status})'}")
    return int(any(results.values()))


if __name__ == "__main__":
    sys.exit(main())
