"""Run the tests on several lines of packages and of Python, each in an environment that is thrown away.

| line | Python | packages | tests |
|---|---|---|---|
| `lowest` | the oldest | the lowest versions of all that we need, extras too, that pyproject.toml allows | all |
| `1.6`, `1.7` | the oldest | that line of langchain-core | those that LangChain's version concerns |
| `3.12`, `3.13` | that one | the newest that there are | all |

A line for each Python that pyproject.toml names and that is found on this machine; the newest packages on the oldest
Python are `make test`'s business (`COMPAT=3.11`: here as well). `make compat` runs them all, one after the other, which
takes an hour. `COMPAT="lowest 1.6"` chooses lines, `WORKERS` says how many tests run at once, and arguments are passed
on to pytest in the place of the tests.
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
CORES = ("1.6", "1.7")
# What drives the model without a word of LangChain's.
PATHS = re.compile(r"langchain_core|ChatOpenRouterFree|from driving import")
# The tests' own tools ask for newer ones of these than we do, so they are put in their place afterwards.
AFTERWARDS = frozenset({"httpx", "rich"})
# What an old version of somebody's package does is deprecated by newer ones of others. Ours is looked for elsewhere.
OLD = ("-W", "default::DeprecationWarning")


@dataclass(frozen=True, slots=True)
class Line:
    """One environment, and what is run in it.

    Attributes:
        python: the interpreter.
        wants: what is asked of the resolver beside what the project and its tests need.
        afterwards: what is put in its place when all is resolved.
        tests: which tests are run.
        options: what pytest is told beside.
    """

    python: str
    wants: tuple[str, ...] = ()
    afterwards: tuple[str, ...] = ()
    tests: tuple[str, ...] = ("tests",)
    options: tuple[str, ...] = ()


def pythons() -> dict[str, str]:
    """Return the interpreters of the versions that pyproject.toml names, the oldest first, as far as they are found."""
    named = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["project"]["classifiers"]))
    found = {version: next((place for place in _places(version) if _is(place, version)), None) for version in named}
    for version in [version for version, place in found.items() if place is None]:
        print(f"Python {version} is not found on this machine: it is left out")
    return {version: place for version, place in found.items() if place is not None}


def _places(version: str) -> Iterator[str]:
    """Yield where a version of Python may be: this one, one on the PATH, pyenv's and uv's."""
    yield sys.executable
    yield from filter(None, [shutil.which(f"python{version}")])
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    uv = Path.home() / ".local" / "share" / "uv" / "python"
    for folder, names in ((pyenv / "versions", f"{version}.*"), (uv, f"cpython-{version}.*")):
        yield from (str(one / "bin" / "python3") for one in sorted(folder.glob(names), reverse=True))


def _is(place: str, version: str) -> bool:
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:  # one on the PATH may be a shim that leads nowhere
        done = subprocess.run([place, "-c", asked], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == version


def concerned() -> tuple[str, ...]:
    """Return the test files that LangChain's version concerns."""
    found = sorted((HOUSE / "tests").glob("test_*.py"))
    return tuple(str(path) for path in found if PATHS.search(path.read_text(encoding="utf-8")))


def runtime_needs() -> list[str]:
    """Return what the project needs at run time, with all extras."""
    extras = chain.from_iterable(PROJECT["project"]["optional-dependencies"].values())
    return sorted({*PROJECT["project"]["dependencies"], *extras})


def dev_needs() -> list[str]:
    """Return what pyproject's development group asks for, without what judges the source."""
    return [need for need in PROJECT["dependency-groups"]["dev"] if not need.startswith(("mypy", "ruff"))]


def lowest() -> list[str]:
    """Return the lowest versions of all that is needed at run time."""
    return [re.sub(r"^([A-Za-z0-9_.-]+)>=([0-9.]+).*$", r"\1==\2", need) for need in runtime_needs()]


def lines() -> dict[str, Line]:
    """Return all lines by name, in the order in which they are run."""
    found = pythons()
    oldest, pins = next(iter(found.values())), lowest()
    late = tuple(pin for pin in pins if pin.partition("==")[0] in AFTERWARDS)
    early = tuple(pin for pin in pins if pin not in late)
    made = {"lowest": Line(oldest, early, late, options=OLD)}
    made |= {core: Line(oldest, (f"langchain-core=={core}.*",), tests=concerned()) for core in CORES}
    return made | {version: Line(place) for version, place in found.items()}


def installer(python: Path) -> list[str]:
    """Return the command that installs into the environment of an interpreter, and compiles what it installs."""
    if uv := shutil.which("uv"):  # modules that each process of the tests would compile anew take longer than the tests
        return [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def environment(line: Line, folder: str) -> Path:
    """Make the environment of a line; return its interpreter."""
    subprocess.run([line.python, "-m", "venv", *(["--without-pip"] if shutil.which("uv") else []), folder], check=True)
    python = Path(folder) / "bin" / "python"
    pip = installer(python)
    subprocess.run([*pip, "-e", str(HOUSE), *dev_needs(), *line.wants], check=True)
    if line.afterwards:
        # pip complains of the tests' tools here, whose needs are not ours.
        subprocess.run([*pip, *line.afterwards], check=True)
    return python


def run(name: str, line: Line, arguments: list[str]) -> int:
    """Make the environment of one line, run the tests in it and return pytest's exit status."""
    with tempfile.TemporaryDirectory(prefix=f"compat-{name}-") as folder:
        python = environment(line, folder)
        needs = [re.split(r"[<>=]", need)[0] for need in runtime_needs()]
        shown = f"import platform, importlib.metadata as m; print('{name}:', 'Python', platform.python_version(), "
        shown += f"*[f'{{need}} {{m.version(need)}}' for need in {needs!r}], sep=' ', flush=True)"
        subprocess.run([python, "-c", shown], check=True)
        workers = os.environ.get("WORKERS", "2")
        tested = [python, "-m", "pytest", "-q", "-n", workers, *line.options, *(arguments or line.tests)]
        return subprocess.run(tested, cwd=HOUSE, check=False).returncode


def main() -> int:
    """Run all lines; the exit status is 1 if one of them failed."""
    known = lines()
    newest = [name for name in known if name.startswith("3.")]
    usual = [name for name in known if name != newest[0] or len(newest) == 1]
    wanted = os.environ.get("COMPAT", "").split() or usual
    if unknown := sorted({*wanted} - {*known}):
        sys.exit(f"no such line: {', '.join(unknown)} (there are {', '.join(known)})")
    results = {name: run(name, known[name], sys.argv[1:]) for name in wanted}
    for name, status in results.items():
        print(f"{name}: {'passed' if status == 0 else f'failed ({status})'}")
    return int(any(results.values()))


if __name__ == "__main__":
    sys.exit(main())
