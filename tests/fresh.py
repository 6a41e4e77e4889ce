"""What somebody meets who installs the package: a new environment in an empty folder, no key, no network.

`make fresh` builds the wheel, installs it once bare and once with all extras (that needs a package index), and then
runs the command without a network: each command within 3 s, help within 0.5 s. On Linux the network is taken away by a
namespace of its own, and what would ask it runs once more in one that swallows everything; elsewhere it is a proxy at
which nobody listens. Argument: how often each is run (default 3; the
quickest counts). A machine with more to do than processors is given that much more time, but no more CPU seconds.
"""

# ruff: noqa: T201 - its results are printed

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

from compat import installer

HOUSE = Path(__file__).resolve().parent.parent
HELP, COMMAND = 0.5, 3.0
# Words -> the most seconds, the exit code, and what is said.
CASES = (
    ("--help", HELP, 0, "Commands"),
    ("chat --help", HELP, 0, "Usage"),
    ("serve --help", HELP, 0, "Usage"),
    ("completion bash", HELP, 0, "openrouter-free"),
    ("init", COMMAND, 0, "Wrote"),
    ("config", COMMAND, 0, "openrouter-free.toml"),
    ("doctor", COMMAND, 0, "https://openrouter.ai/keys"),
    ("demo", COMMAND, 0, "4 of 4 answered"),
    ("models", COMMAND, 0, ":free"),
    ("explain hi --tools", COMMAND, 0, ":free"),
    ("quota", COMMAND, 0, "day"),
    ("budget", COMMAND, 0, "Nothing paid is asked"),
    ("route", COMMAND, 0, ""),
    ("watch", COMMAND, 0, "quota"),
    ("report", COMMAND, 0, "Wrote report.html"),
    ("chat hi", COMMAND, 3, "https://openrouter.ai/keys"),
)
_MODEL = "from langchain_openrouter_free import ChatOpenRouterFree as C; m = C(api_key='sk-or-...'); m.explain(); "
SWALLOWED = ("doctor", "models", "explain hi --tools", "report")
# Without extras: program, exit code, and what is said.
BARE = (
    (("python", "-c", f"{_MODEL}print(m.model_name)"), 0, "openrouter-free"),
    (("python", "-c", f"{_MODEL}m.report()"), 1, "langchain-openrouter-free[report]"),
    (("python", "-c", f"{_MODEL}C(api_key='sk', state='redis://127.0.0.1:1')"), 1, "langchain-openrouter-free[redis]"),
    (("python", "-m", "langchain_openrouter_free.simulator", "--list"), 0, "rush-hour"),
    (("openrouter-free", "--help"), 4, "langchain-openrouter-free[cli]"),
)


@dataclass
class Place:
    """An environment, an empty folder and a home of its own."""

    root: Path
    extras: str = ""

    def install(self, wheel: Path) -> None:
        """Make the environment."""
        venv.create(self.root / "env", with_pip=shutil.which("uv") is None)
        (self.root / "home").mkdir()
        (self.root / "empty").mkdir()
        subprocess.run([*installer(self.root / "env/bin/python"), f"{wheel}{self.extras}"], check=True)

    def run(self, words: tuple[str, ...], inside: list[str]) -> tuple[float, float, subprocess.CompletedProcess[str]]:
        """Run a program of the environment, inside of some network.

        Returns:
            Its wall-clock seconds, its CPU seconds, and what came of it.
        """
        told = {"HOME": str(self.root / "home"), "LANG": "C.UTF-8", "COLUMNS": "100"}
        told |= {"PATH": f"{self.root / 'env/bin'}{os.pathsep}/usr/sbin:/usr/bin:/sbin:/bin"}
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [*inside, *words],
            cwd=self.root / "empty",
            env=told | _NOWHERE,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return time.perf_counter() - began, cpu, done


def _unshared(*steps: str) -> list[str]:
    """Return how to run something in a network namespace that some steps have made."""
    return ["unshare", "--map-root-user", "--net", "sh", "-c", " && ".join([*steps, 'exec "$@"']), "--"]


# Loopback alone: the demo's simulator needs that. And one where all else is sent to loopback, which drops it.
_UNSHARED = _unshared("ip link set lo up")
_SWALLOWING = _unshared(
    "ip link set lo up", "ip addr add 192.0.2.1/32 dev lo", "ip route add default dev lo src 192.0.2.1"
)


def _works(command: list[str]) -> bool:
    return all(map(shutil.which, ("unshare", "ip"))) and not subprocess.run(command, check=False).returncode


_ALONE = _UNSHARED if _works([*_UNSHARED, "true"]) else []
_NOWHERE = {} if _ALONE else {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}


def overload() -> float:
    """Return how much more there is to do than processors to do it, 1 or more."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def timed(place: Place, rounds: int, inside: list[str], only: tuple[str, ...] = ()) -> list[str]:
    """Print the table of the command, in some network; return what went wrong."""
    wrong = []
    print(f"{'openrouter-free':<22}{'wall s':>8}{'CPU s':>8}{'limit':>8}{'exit':>6}")
    for words, limit, code, said in CASES:
        if only and words not in only:
            continue
        once = words == "init"
        runs = [place.run(("openrouter-free", *words.split()), inside) for _ in range(1 if once else rounds)]
        wall, cpu = min(one[0] for one in runs), min(one[1] for one in runs)
        done = runs[-1][2]
        within = cpu <= limit and wall <= limit * overload()
        fine = within and done.returncode == code and said in done.stdout + done.stderr
        print(f"{words:<22}{wall:>8.2f}{cpu:>8.2f}{limit:>8.1f}{done.returncode:>6}{'' if fine else '  WRONG'}")
        wrong += [] if fine else [f"{words}: {(done.stdout + done.stderr)[-600:]}"]
    page = place.root / "empty/report.html"
    return wrong + ([] if page.exists() and "<html" in page.read_text("utf-8")[:500] else ["report.html is no page"])


def without_extras(place: Place) -> list[str]:
    """Print what works without extras; return what went wrong."""
    wrong = []
    for words, code, said in BARE:
        _, _, done = place.run(words, _ALONE)
        told = done.stdout + done.stderr
        fine = done.returncode == code and said in told
        print(f"{'fine' if fine else 'WRONG'}: without extras, {' '.join(words)[-60:]!r}: {told.strip()[-110:]!r}")
        wrong += [] if fine else [f"{' '.join(words)}: {told[-600:]}"]
    return wrong


def extras() -> str:
    """Return all extras, as an installer is told of them."""
    table = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
    return f"[{','.join(table['project']['optional-dependencies'])}]"


def main() -> int:
    """Install, run, and tell; the exit status is 1 if something went wrong."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(prefix="fresh-") as folder:
        root = Path(folder)
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(root), str(HOUSE)]
        subprocess.run(build, check=True)
        wheel = next(root.glob("*.whl"))
        bare, full = Place(root / "bare"), Place(root / "full", extras())
        for place in (bare, full):
            place.root.mkdir()
            place.install(wheel)
        print(f"No key; {'no network but loopback' if _ALONE else 'a proxy at which nobody listens'}.")
        wrong = [*without_extras(bare), *timed(full, rounds, _ALONE)]
        if _ALONE:
            print("With a network that swallows everything:")
            wrong += timed(full, rounds, _SWALLOWING, SWALLOWED)
        print(f"Load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors. {len(wrong)} wrong.")
        for one in wrong:
            print(json.dumps(one, ensure_ascii=False))
        return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
