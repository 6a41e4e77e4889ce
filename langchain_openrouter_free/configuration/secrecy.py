"""Whether a file is, or is about to be, under version control: no secret is read from such a file."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# Others than git are not asked: all below such a folder counts as theirs.
_OTHERS = (".hg", ".svn", ".jj", ".bzr", "_darcs", ".fslckout")
# How long git may take, in seconds.
_PATIENCE = 2.0


def repository(folder: Path) -> Path | None:
    """Return the nearest folder, from this one upwards, that holds a `.git`; None where there is none."""
    return next((one for one in (folder, *folder.parents) if _is_there(one / ".git")), None)


def in_version_control(file: Path) -> bool:
    """Tell whether a file is under version control, or would be with the next `git add`.

    Inside of a work tree a file is out of it only where git says that it ignores it, and does not track it. Where
    git is missing, fails or takes longer than two seconds, the answer is yes.
    """
    file = file.resolve()
    if any(_is_there(folder / name) for folder in file.parents for name in _OTHERS):
        return True
    return repository(file.parent) is not None and not _ignored(file)


def _is_there(path: Path) -> bool:
    # The path's own question raises, in older versions of Python, where this user may not look into the folder.
    return os.path.exists(path)  # noqa: PTH110


def _ignored(file: Path) -> bool:
    git = shutil.which("git")
    if git is None:
        return False
    # A hook that a strange repository names for its index must not run.
    command = [git, "-c", "core.fsmonitor=false", "-C", str(file.parent), "check-ignore", "--quiet", "--", file.name]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_PATIENCE)  # noqa: S603 - no shell
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
