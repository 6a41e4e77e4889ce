"""Look the lock's packages up among the known vulnerabilities: `make audit`.

pip-audit does it, by the first of these services that answers: PyPI's, OSV's. Where none does, nothing is audited: a
sentence says so, and the exit status is 2 (1: something is vulnerable). Arguments are passed on to pip-audit; who
chooses a service there (`ARGS="--vulnerability-service osv --osv-url ..."`) gets that one.
"""

# ruff: noqa: T201 - its result is printed

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import TypeAlias

HOUSE = Path(__file__).resolve().parent.parent
LOCK = HOUSE / "requirements-dev.lock"
# What is asked to see whether a service is there, and what its answer holds.
Question: TypeAlias = tuple[str, bytes | None, str]
UNABLE = 2
_PATIENCE = 15.0


def services() -> dict[str, Question]:
    """Return each service, as pip-audit calls it, with what it will ask first: about the first pin."""
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    name, version = pins[0]
    body = {"package": {"name": name, "ecosystem": "PyPI"}, "version": version}
    return {
        "pypi": (f"https://pypi.org/pypi/{name}/{version}/json", None, "vulnerabilities"),
        "osv": ("https://api.osv.dev/v1/query", json.dumps(body).encode(), ""),
    }


def fault_of(question: Question) -> str:
    """Say why a service is of no use; "" if it answers as it should."""
    url, body, holds = question
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as reply:
            found = json.load(reply)
    except urllib.error.HTTPError as error:
        return f"it says {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
    return "" if isinstance(found, dict) and (not holds or holds in found) else "it says something else"


def chosen(known: dict[str, Question]) -> tuple[str | None, str]:
    """Return the first service that answers, or None, and what was wrong with the others."""
    faults: list[str] = []
    for name, asked in known.items():
        fault = fault_of(asked)
        if not fault:
            return name, "; ".join(faults)
        faults.append(f"{name} ({asked[0].split('/')[2]}): {fault}")
    return None, "; ".join(faults)


def audited(arguments: list[str]) -> int:
    """Install pip-audit somewhere that is thrown away, and run it; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", folder]
        if subprocess.run([*pip, "pip-audit"], check=False).returncode:
            return unable("pip-audit cannot be installed")
        audit = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--strict"]
        audit += ["--no-deps", "--disable-pip", "--progress-spinner", "off", *arguments]
        done = subprocess.run(
            audit, env=os.environ | {"PYTHONPATH": folder}, stderr=subprocess.PIPE, text=True, check=False
        )
    if "Traceback" in done.stderr:
        return unable(done.stderr.strip().splitlines()[-1])
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode


def unable(why: str) -> int:
    """Say that nothing was audited, and why."""
    print(f"make audit: nothing was audited, so nothing is known of vulnerabilities. {why}", file=sys.stderr)
    return UNABLE


def main(arguments: list[str], known: dict[str, Question] | None = None) -> int:
    """Audit by the first service that answers; return the exit status."""
    if any(one in ("-s", "--osv-url") or one.startswith("--vulnerability-service") for one in arguments):
        return audited(arguments)
    service, faults = chosen(services() if known is None else known)
    if service is None:
        return unable(f"No service that knows them can be reached: {faults}.")
    return audited(["--vulnerability-service", service, *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
