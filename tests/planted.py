"""A key that is planted in the whole suite, and the search for it in everything that the suite writes and says.

Every simulator's key is this one, so that nearly all tests use it. When a test is over, what the package said in it is
searched: each error with its pickle, each model's repr and pickle, and what was logged. When the session is over, so
is what was printed, and every file of the suite's temporary folder: state, reports, cassettes, histories
(`conftest.py`).
"""

from __future__ import annotations

import contextlib
import logging
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
# Of one test so many models are looked at.
_MOST = 3
_errors: list[OpenRouterFreeError] = []
_models: list[ChatOpenRouterFree] = []
_logged: list[str] = []


def watch() -> None:
    """Keep what the package makes from now on, and look at what it logs."""
    begin_error, begin_model = OpenRouterFreeError.__init__, ChatOpenRouterFree.__init__

    def error_made(self: OpenRouterFreeError, *args: Any, **kwargs: Any) -> None:
        begin_error(self, *args, **kwargs)
        _errors.append(self)

    def model_made(self: ChatOpenRouterFree, **kwargs: Any) -> None:
        begin_model(self, **kwargs)
        _models.append(self)

    OpenRouterFreeError.__init__ = error_made  # type: ignore[method-assign]
    ChatOpenRouterFree.__init__ = model_made  # type: ignore[method-assign]
    logging.getLogger("langchain_openrouter_free").addHandler(_Log(logging.DEBUG))


def leaked() -> list[str]:
    """Return what of the things that were made and said since the last time the key can be read in."""
    made: list[Any] = [*_errors[-20:], *_models[-_MOST:]]
    found = leaks((f"{type(one).__name__}: {form[:40]!r}", form) for one in made for form in _forms(one))
    found += _logged
    for kept in (_errors, _models, _logged):
        kept.clear()
    return found


def _forms(one: Any) -> Iterator[bytes]:
    yield repr(one).encode(errors="replace")
    if isinstance(one, ChatOpenRouterFree):  # its str is its repr with other spaces
        with contextlib.suppress(Exception):  # a field is an object of the test's own, or was set to nonsense
            yield repr(one.model_dump()).encode()
            yield repr(one._identifying_params).encode()
    else:
        yield str(one).encode(errors="replace")
        yield repr(vars(one)).encode(errors="replace")
    with contextlib.suppress(Exception):  # a client, a lock or a local function is no matter of ours
        yield pickle.dumps(one)


class _Log(logging.Handler):
    """Looks at what the package logs."""

    def emit(self, record: logging.LogRecord) -> None:
        said = f"{record.getMessage()} {record.args!r} {record.exc_info!r}"
        _logged.extend(leaks([(f"log: {record.msg}", said.encode(errors="replace"))]))


def leaks(texts: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return the names of the texts in which the key, or what is left of it, can be found."""
    return sorted({name for name, text in texts if any(trace in text for trace in _TRACES)})


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield all files below a folder that are not given by a test."""
    for path in sorted(folder.rglob("*")):
        if path.name not in _GIVEN and path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):
                yield str(path), path.read_bytes()
