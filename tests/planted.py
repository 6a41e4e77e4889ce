"""A key that is planted in the whole suite, and the search for it in everything that the suite wrote.

Every simulator's key is this one, so that nearly all tests use it. What they write and say is searched when the
session is over (`conftest.py`): files of the suite's temporary folder (state, reports, cassettes, histories), what was
printed and logged, every error of the package with its pickle, and every model's repr and pickle.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from langchain_openrouter_free import ChatOpenRouterFree, OpenRouterFreeError

KEY = "sk-or-v1-" + "5ec2e7" * 10
# What a base64 or a URL would make of it has its middle unchanged, or is none of its characters' business.
_TRACES = (KEY.encode(), KEY[9:].encode(), KEY.encode("utf-16-le"), KEY.encode().hex().encode())
# What a test writes to be read holds the key on purpose: that is how a user gives it.
_GIVEN = frozenset({"openrouter-free.toml", "config.toml", "pyproject.toml", ".env", "key.txt"})
_WRITTEN = "what-was-said"
# Of one test so many models are looked at.
_MOST = 3
_number = itertools.count()
_errors: list[OpenRouterFreeError] = []
_models: list[ChatOpenRouterFree] = []


def watch() -> None:
    """Keep what the package makes from now on, until it is written down."""
    begin_error, begin_model = OpenRouterFreeError.__init__, ChatOpenRouterFree.__init__

    def error_made(self: OpenRouterFreeError, *args: Any, **kwargs: Any) -> None:
        begin_error(self, *args, **kwargs)
        _errors.append(self)

    def model_made(self: ChatOpenRouterFree, **kwargs: Any) -> None:
        begin_model(self, **kwargs)
        _models.append(self)

    OpenRouterFreeError.__init__ = error_made  # type: ignore[method-assign]
    ChatOpenRouterFree.__init__ = model_made  # type: ignore[method-assign]


def write_down(folder: Path, test: str) -> None:
    """Write what a test made, as logs, traces and queues would have it."""
    made: list[Any] = [*_errors[-20:], *_models[-_MOST:]]
    _errors.clear()
    _models.clear()
    if not made:
        return
    said = b"\n".join(part for one in made for part in _forms(one))
    name = "".join(c if c.isalnum() else "-" for c in test)[-150:]
    (folder / f"{_WRITTEN}-{os.getpid()}-{next(_number)}-{name}").write_bytes(said)


def _forms(one: Any) -> Iterator[bytes]:
    yield repr(one).encode(errors="replace")
    yield str(one).encode(errors="replace")
    if isinstance(one, ChatOpenRouterFree):
        with contextlib.suppress(Exception):  # a field is an object of the test's own, or was set to nonsense
            yield repr(one.model_dump()).encode()
            yield repr(one._identifying_params).encode()
    else:
        yield repr(vars(one)).encode(errors="replace")
    with contextlib.suppress(Exception):  # a client, a lock or a local function is no matter of ours
        yield pickle.dumps(one)


class Log(logging.Handler):
    """Writes what the package logs into a file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.DEBUG)
        self._file = folder / f"{_WRITTEN}-log-{os.getpid()}"

    def emit(self, record: logging.LogRecord) -> None:
        with self._file.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{record.getMessage()} {record.args!r} {record.exc_info!r}\n")


def leaks(texts: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return the names of the texts in which the key, or what is left of it, can be found."""
    return sorted({name for name, text in texts if any(trace in text for trace in _TRACES)})


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield all files below a folder that are not given by a test."""
    for path in sorted(folder.rglob("*")):
        if path.name not in _GIVEN and path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):
                yield str(path), path.read_bytes()
