"""How a command speaks: JSON for scripts, tables for people, and nothing from the network that could move a cursor."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

# Marks that turn the direction of writing, or hide in it, beside the control characters.
_HIDDEN = frozenset("\u00ad\u061c\u200b\u200c\u200d\u200e\u200f\u2028\u2029\ufeff") | {
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2060, 0x206A), *range(0xFFF9, 0xFFFC))
}
_KEPT = frozenset("\n\t")


def plain(text: object, *, lines: bool = False) -> str:
    """Return a text without control characters; only with `lines` may it have more than one line."""
    kept = _KEPT if lines else frozenset()
    return "".join(c if c in kept else _safe(c) for c in str(text))


def _safe(character: str) -> str:
    if character in "\r\n\t":
        return " "
    code = ord(character)
    hidden = code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or character in _HIDDEN
    return "" if hidden else character


def moment(seconds: float | None, *, day: bool = True) -> str:
    """Write Unix seconds for people, in UTC."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC" if day else "%H:%M:%S UTC")


def near(text: object) -> str:
    """Write paths below the working directory, or the home, as people do."""
    said = "" if text is None else str(text)
    for find, short in ((Path.cwd, ""), (Path.home, f"~{os.sep}")):
        with contextlib.suppress(OSError, RuntimeError):  # deleted; not known
            said = said.replace(f"{find()}{os.sep}", short)
    return said


def data(value: Any) -> Any:
    """Return a value as JSON can carry it."""
    if is_dataclass(value) and not isinstance(value, type):
        return data(asdict(value))
    if isinstance(value, dict):
        return {str(name): data(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [data(inner) for inner in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


class Output:
    """Where a command's words go.

    Attributes:
        json: whether the result is one JSON document on standard output; warnings then go to standard error alone.
        console: standard output.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.json = as_json
        self.console = _console(stderr=False)
        self.errors = _console(stderr=True)

    def result(self, value: Any) -> bool:
        """Print a result as JSON if that is wanted; tell whether it was."""
        if self.json:
            sys.stdout.write(json.dumps(data(value), indent=2, ensure_ascii=True) + "\n")
            sys.stdout.flush()
        return self.json

    def row(self, value: Any) -> None:
        """Print one JSON document on one line."""
        sys.stdout.write(json.dumps(data(value), ensure_ascii=True) + "\n")
        sys.stdout.flush()

    def say(self, text: object = "", style: str = "") -> None:
        """Print a text, whatever stands in it; a line is broken on a terminal alone."""
        self.console.print(Text(plain(text, lines=True), style=style), soft_wrap=not self.console.is_terminal)

    def note(self, text: object, style: str = "dim") -> None:
        """Print what is no result: a warning, a move, who answered."""
        self.errors.print(Text(plain(text, lines=True), style=style), soft_wrap=not self.errors.is_terminal)

    def show(self, what: RenderableType) -> None:
        """Print a table or the like."""
        self.console.print(what)

    def ask(self, question: str, *, yes: bool) -> None:
        """Ask before something is lost; without a terminal, `--yes` is the only answer.

        Raises:
            typer.Exit: with 1, if it is not to be done.
        """
        if yes:
            return
        if self.json or not sys.stdin.isatty():
            self.fail("UsageError", f"{question} Say --yes: nobody can be asked here.", 2)
        try:
            agreed = typer.confirm(plain(question))
        except typer.Abort as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        if not agreed:
            raise typer.Exit(1)

    def leave(self, code: int) -> NoReturn:
        """End the command with an exit code."""
        raise typer.Exit(code)

    def fail(self, kind: str, message: str, code: int) -> NoReturn:
        """Tell a failure and end the command."""
        if self.json:
            self.result({"error": {"kind": kind, "message": plain(message, lines=True), "exit_code": code}})
        else:
            self.note(f"error: {message}", "red")
        raise typer.Exit(code)


@contextlib.contextmanager
def log_shown(out: Output) -> Iterator[None]:
    """Show meanwhile on standard error what the package's log tells: warnings, and moves where a command wants them."""

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            bad = record.levelno >= logging.WARNING
            out.note(f"{'warning: ' if bad else ''}{plain(record.getMessage())}", "yellow" if bad else "dim")

    log, shown = logging.getLogger("langchain_openrouter_free"), Shown()
    before = log.level, log.propagate
    log.addHandler(shown)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(shown)
        log.setLevel(before[0])
        log.propagate = before[1]


def drop_output() -> None:
    """Close standard output where it takes nothing: what is left of it would be tried, and told, again at the end."""
    with contextlib.suppress(OSError):
        sys.stdout.close()


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        # The command ends in one way, whether it was a table or JSON that nobody reads to its end.
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    return _Console(
        stderr=stderr,
        force_terminal=None if terminal else False,
        no_color=True if "NO_COLOR" in os.environ or not terminal else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[int] = ()) -> Table:
    """Return a table; columns with a `*` behind their name may be folded, the others are kept whole."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    numbers = frozenset(right)
    for index, name in enumerate(columns):
        folds = name.endswith("*")
        made.add_column(
            Text(name.rstrip("*")),
            justify="right" if index in numbers else "left",
            overflow="fold",
            no_wrap=not folds,
            ratio=1 if folds else None,
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    return made
