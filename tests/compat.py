"""Run the suite on several langchain-core lines, each in an environment of its own that is thrown away.

`make compat` runs it. Arguments are passed on to pytest; `COMPAT="1.6"` chooses lines.
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
# Line -> what is asked of the resolver, and what is then put over it without its dependencies: some releases
# declare dependencies that not every index has.
LINES = {
    "1.6": (["langchain-core==1.6.*"], []),
    "1.7": (["langchain-core==1.7.*"], []),
    "1.8": (["langchain-core>=1.7"], ["langchain-core==1.8.*"]),
}


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
    asked, over = LINES[line]
    with tempfile.TemporaryDirectory(prefix=f"compat-{line}-") as folder:
        venv.create(folder, with_pip=shutil.which("uv") is None)
        python = Path(folder) / "bin" / "python"
        install = installer(python)
        subprocess.run([*install, "-e", str(HOUSE), *dev_needs(), *asked], check=True)
        if over:
            subprocess.run([*install, "--no-deps", *over], check=True)
        shown = "import importlib.metadata as m; print('langchain-core', m.version('langchain-core'), flush=True)"
        subprocess.run([python, "-c", shown], check=True)
        return subprocess.run([python, "-m", "pytest", "-q", *arguments], cwd=HOUSE, check=False).returncode


def main() -> int:
    """Run all lines; the exit status is 1 if one of them failed."""
    wanted = os.environ.get("COMPAT", " ".join(LINES)).split()
    results = {line: run_line(line, sys.argv[1:]) for line in wanted}
    for line, status in results.items():
        print(f"langchain-core {line}: {'passed' if status == 0 else f'failed ({status})'}")
    return int(any(results.values()))


if __name__ == "__main__":
    sys.exit(main())
