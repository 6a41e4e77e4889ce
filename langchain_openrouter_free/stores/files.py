"""A state file as the file system sees it: where it is, whose it is, and how a damaged one gets out of the way.

Knows nothing of what is in the file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from langchain_openrouter_free import homes
from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.stores.base import IN_MEMORY

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger("langchain_openrouter_free")

# Which file a path leads to: device and inode.
Identity: TypeAlias = tuple[int, int]

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "vboxsf"}
_NETWORK |= {"glusterfs", "ceph", "lustre", "beegfs", "gpfs"}
_OBJECTS = {"s3fs", "goofys", "gcsfuse", "blobfuse2", "rclone"}  # stores of objects, shown as folders
_NETWORK |= {f"fuse.{kind}" for kind in ("glusterfs", "ceph", "sshfs", *_OBJECTS)}


def default_path() -> Path:
    """Return the file used where no path is given: `state.sqlite3` in the user's state directory.

    Raises:
        ConfigurationError: if the user's home is not known.
    """
    import platformdirs  # noqa: PLC0415 - needed only here, and not by those who name a path

    folder = homes.own(platformdirs.user_state_path)
    if folder is None:
        raise ConfigurationError(f"{homes.UNKNOWN}, or name a file for the state (state=, or OPENROUTER_FREE_STATE).")
    return folder / "state.sqlite3"


def usual_path() -> Path | None:
    """Return the default path, or None, with a warning, where the user's home is not known."""
    try:
        return default_path()
    except ConfigurationError as error:
        logger.warning("%s Until then %s.", error, IN_MEMORY)
        return None


def make(path: Path) -> None:
    """Make the file with mode 0600, and its folder with 0700, where they are missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def identity(path: Path | str) -> Identity | None:
    """Return which file is at `path` now, or None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half as long as Path.stat, at every update
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def stamp() -> str:
    """Return the time, in UTC, as it is written into names and rows."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def network(path: Path) -> str | None:
    """Return the type of the network file system that `path` is on, as far as this system tells."""
    try:
        return network_type(path.resolve(), _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, RuntimeError):
        # A link that leads to itself; older versions of Python have an error of their own for it.
        return None


def network_type(path: Path, mountinfo: str) -> str | None:
    """Return the type of the network file system that `path` is on, or None if it is on none.

    Args:
        path: absolute, without symbolic links.
        mountinfo: the text of Linux' `/proc/self/mountinfo`.
    """
    deepest, kind = -1, ""
    for line in mountinfo.splitlines():
        fields, found, after = line.partition(" - ")
        columns = fields.split(" ")
        if not found or len(columns) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), columns[4]))
        # Of two mounts on one place the later one is seen.
        if path.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), after.split(" ")[0]
    return kind if kind in _NETWORK else None


def move_aside(path: Path, damaged: Identity | None, why: str = "corrupt") -> str | None:
    """Move a damaged or unwanted file to `<name>.<why>-<UTC time>`, with what SQLite keeps beside it.

    Args:
        path: where the damaged file was seen.
        damaged: which one it was.
        why: what its new name says.

    Returns:
        Its new name; None if another process has moved it already.

    Raises:
        OSError: it cannot be moved.
    """
    with _alone_in(path.parent):
        if damaged is None or identity(path) != damaged:
            return None
        target = f"{path}.{why}-{stamp()}"
        # The file itself comes last: nobody begins a new one beside an old -wal.
        for end in ("-shm", "-wal", ""):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{end}").rename(f"{target}{end}")
        return target


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes of this package out of `folder` while files are moved in it."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without such locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
