"""`watch`: models, quota, spending and the last calls, as they change."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.rule import Rule
from rich.text import Text

from langchain_openrouter_free.cli.output import moment, plain, table
from langchain_openrouter_free.cli.route import lines
from langchain_openrouter_free.cli.start import Options, model

if TYPE_CHECKING:
    from langchain_openrouter_free.chat_model import ChatOpenRouterFree

_MODELS, _CALLS = 8, 6


def run(options: Options, *, interval: float, count: int | None) -> None:
    """Look again and again; without a terminal once, or as often as is asked for."""
    out, chat = options.output(), model(options)
    moves = out.console.is_terminal and not out.console.is_dumb_terminal
    looks = count if count is not None else None if sys.stdout.isatty() and not out.json else 1
    if out.json:
        for number in range(looks or 1):
            time.sleep(interval if number else 0.0)
            out.row(_look(chat))
    elif not moves:
        for number in range(looks or 1):
            time.sleep(interval if number else 0.0)
            out.show(_page(chat))
    else:
        live = Live(_page(chat), console=out.console, screen=True, auto_refresh=False)
        with suppress(KeyboardInterrupt), _taken(live):
            while looks is None or looks > 1:
                time.sleep(interval)
                live.update(_page(chat), refresh=True)
                looks = None if looks is None else looks - 1


@contextmanager
def _taken(live: Live) -> Iterator[None]:
    """Take the terminal; give it back at the end, and while Ctrl-Z has suspended the command."""

    def suspend(*_: object) -> None:
        with _undisturbed():
            live.stop()
        os.kill(os.getpid(), signal.SIGSTOP)
        with _undisturbed():
            live.start(refresh=True)

    number = getattr(signal, "SIGTSTP", None)
    before = None if number is None else signal.signal(number, suspend)
    try:
        with _undisturbed():
            live.start(refresh=True)
        yield
    finally:
        with _undisturbed():
            live.stop()
        if number is not None:
            signal.signal(number, before)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals wait meanwhile: a terminal that was taken by half could not be given back."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _look(chat: ChatOpenRouterFree) -> dict[str, Any]:
    return {
        "at": chat.clock.now(),
        "models": chat.standings()[:_MODELS],
        "quota": chat.quota(),
        "spending": asdict(chat.spending()),
        "calls": [one.as_dict() for one in chat.history(_CALLS)],
    }


def _page(chat: ChatOpenRouterFree) -> Group:
    quota = [
        f"{one.window}: {one.used} of {'?' if one.limit is None else one.limit} used, resets {moment(one.resets_at)}"
        + (f", shut until {moment(one.shut_until)}" if one.shut_until else "")
        for one in chat.quota().windows
    ]
    money = [
        f"{one.whose}, {one.window}: ${one.spent} spent, ${one.reserved} reserved"
        + ("" if one.cap is None else f" of ${one.cap}")
        for one in chat.spending().windows
    ]
    rows = [
        [
            row.rank or "-",
            row.model,
            "" if row.health is None else f"{row.health:.0%}",
            "" if row.usable else row.reason,
        ]
        for row in chat.standings()[:_MODELS]
    ]
    calls = [
        Text(line, style=style, no_wrap=True, overflow="ellipsis")
        for call in chat.history(_CALLS)
        for line, style in lines(call)
    ]
    return Group(
        Rule(Text(f"openrouter-free, {moment(chat.clock.now(), day=False)}"), align="left"),
        table(["#", "model", "health", "why not*"], rows, right=(0, 2)),
        Rule(Text("quota"), align="left"),
        *(Text(plain(line)) for line in quota),
        Rule(Text("spending"), align="left"),
        *(Text(plain(line)) for line in money),
        Rule(Text("last calls"), align="left"),
        *(calls or [Text("none yet")]),
    )
