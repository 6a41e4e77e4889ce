"""`chat`: an answer as it comes, who gives it, and each move on the way."""

from __future__ import annotations

import contextlib
import logging
import select
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.text import Text

from langchain_openrouter_free.cli.output import Output, plain
from langchain_openrouter_free.cli.start import Options, model
from langchain_openrouter_free.errors import ConfigurationError, OpenRouterFreeError

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from langchain_openrouter_free.chat_model import ChatOpenRouterFree

_END = ("exit", "quit", ":q")
# Seconds in which the next line of what is pasted is there.
_PASTED = 0.05


def run(options: Options, *, prompt: str | None, pinned: str | None, system: str | None) -> None:
    """Answer a prompt, or one line after another; exit with 1 if a prompt found nobody."""
    from langchain_core.messages import HumanMessage, SystemMessage  # noqa: PLC0415 - slow for --help

    out = options.output()
    chat = model(options, key=True)
    # Each move is told in one line of the log, and, for who waits before a terminal, each attempt.
    level = logging.DEBUG if out.errors.is_terminal else logging.INFO
    logging.getLogger("langchain_openrouter_free").setLevel(level)
    told: list[BaseMessage] = [SystemMessage(_heard(system))] if system else []
    arguments = {"model": pinned} if pinned else {}
    alone = prompt is not None or not sys.stdin.isatty()
    for line in _prompts(out, prompt):
        told.append(HumanMessage(_heard(line)))
        try:
            told.append(_answer(out, chat, told, arguments))
        except ConfigurationError:
            raise
        except OpenRouterFreeError as error:
            told.pop()
            if alone:
                raise
            out.note(f"{type(error).__name__}: {error}", "red")


def _prompts(out: Output, prompt: str | None) -> Iterator[str]:
    if prompt is not None or not sys.stdin.isatty():
        text = sys.stdin.read() if prompt is None else prompt
        if not text.strip():
            out.fail("UsageError", "there is nothing to ask.", 2)
        yield text
        return
    out.note("Ctrl-D or 'exit' ends it.")
    with contextlib.suppress(ImportError):  # a terminal hands out 4095 characters of a line; and what is pasted, whole
        import readline  # noqa: F401, PLC0415 - it only has to be there
    said: list[str] = []
    goes_on = True
    while goes_on:
        try:
            line = _line(out, first=not said)
            goes_on = line.strip() not in _END
            said += [line] if goes_on else []
        except EOFError:
            goes_on = False
        # Lines that are there at once were pasted: they are one question, and cost one request.
        if goes_on and _has_more():
            continue
        if text := "\n".join(said).strip():
            yield text
        said = []


def _line(out: Output, *, first: bool) -> str:
    """Return the next line of the terminal; no prompt stands between answers that go elsewhere, or to scripts."""
    if not out.json and sys.stdout.isatty():
        return input("> " if first else "")
    if first:
        out.errors.print(Text("> "), end="")
    return input()


def _has_more() -> bool:
    try:
        return bool(select.select([sys.stdin], [], [], _PASTED)[0])
    except (OSError, ValueError):  # not on this system
        return False


def _heard(text: str) -> str:
    """Return a text in UTF-8 as it was written, were the locale one that does not have its characters."""
    with contextlib.suppress(UnicodeEncodeError):
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text


def _answer(out: Output, chat: ChatOpenRouterFree, told: list[BaseMessage], arguments: dict[str, Any]) -> Any:
    """Print an answer as it comes, then who gave it; return it."""
    whole: Any = None
    for chunk in chat.stream(told, **arguments):
        whole = chunk if whole is None else whole + chunk
        if not out.json and chunk.text:
            out.console.print(Text(plain(chunk.text, lines=True)), end="", soft_wrap=True)
            out.console.file.flush()
    route = whole.response_metadata.get("route", {})
    if out.json:
        out.row({"text": str(whole.text), "route": route, "usage": whole.usage_metadata})
        return whole
    out.say()
    out.note(_signature(route))
    return whole


def _signature(route: dict[str, Any]) -> str:
    """Say who answered, for how much, and after how many moves."""
    attempts = route.get("attempts", [])
    seconds = sum(one.get("seconds", 0.0) for one in attempts) + route.get("waited_s", 0.0)
    cost = f"${route['cost']}" if route.get("cost") else "paid" if route.get("paid") else "free"
    moves = f", after {len(attempts) - 1} of others" if len(attempts) > 1 else ""
    by = f" by {plain(route['provider'])}" if route.get("provider") else ""
    return f"-- {plain(route.get('model'))}{by}, {cost}, {seconds:.1f} s{moves}"
