"""`init`: write a commented configuration."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from langchain_openrouter_free.cli.output import Output
from langchain_openrouter_free.cli.start import Options
from langchain_openrouter_free.configuration.effective import NO_HOME, project_document, user_file
from langchain_openrouter_free.configuration.reading import OWN_FILE, PYPROJECT, document


def run(options: Options, *, pyproject: bool, user: bool, force: bool) -> None:
    """Write it where it is wanted; a file that is there is not lost without `--force`."""
    from langchain_openrouter_free.configuration.template import template  # noqa: PLC0415 - slow for --help

    out = options.output()
    if pyproject and user:
        out.fail("UsageError", "--pyproject and --user are two places: choose one.", 2)
    path = user_file() if user else Path.cwd() / (PYPROJECT if pyproject else OWN_FILE)
    if path is None:
        out.fail("ConfigurationError", NO_HOME, 2)
    other = None if user or force else project_document()
    if other is not None and other.path != path:
        found = f"{other.path} has settings of this project, and of two such files only one counts"
        out.fail("FileExists", f"{found}: change that one, or --force writes {path.name} all the same.", 1)
    _check_free(out, path, pyproject=pyproject, force=force)
    try:
        if pyproject:
            _append(path, template("tool.openrouter-free"))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(template(), encoding="utf-8")
    except OSError as error:
        out.fail("CannotWrite", f"{path} cannot be written: {error.strerror}", 1)
    if not out.result({"written": path}):
        out.say(f"Wrote {path}. All in it is commented out: take away the # of what you want to set.")
        out.say("Next: openrouter-free doctor")


def _check_free(out: Output, path: Path, *, pyproject: bool, force: bool) -> None:
    """End the command where the file must not be written, or cannot: a pipe waits for whom nobody has asked."""
    if path.is_fifo():
        out.fail("CannotWrite", f"{path} cannot be written: it is a pipe.", 1)
    if pyproject:
        if document(path) is not None:
            out.fail("FileExists", f"{path} has a table [tool.openrouter-free] already.", 1)
    elif path.exists() and not force:
        out.fail("FileExists", f"{path} is there already: --force overwrites it.", 1)


def _append(path: Path, text: str) -> None:
    """Write a text behind what is there, which stays as it is, also where the rest finds no room."""
    before = path.read_bytes() if path.exists() else b""
    newline = "\r\n" if b"\r\n" in before else "\n"
    gap = newline * (2 - before.endswith(b"\n")) if before else ""
    added = (gap + text.replace("\n", newline)).encode()
    with path.open("ab", buffering=0) as file:
        written = 0
        try:
            written = file.write(added)
        finally:
            if written < len(added):
                file.truncate(len(before))
    if written < len(added):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
