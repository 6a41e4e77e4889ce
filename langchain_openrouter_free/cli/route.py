"""`route`: the last calls with their attempts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from langchain_openrouter_free.cli.output import moment, plain
from langchain_openrouter_free.cli.start import Options, model

if TYPE_CHECKING:
    from langchain_openrouter_free.books.history import CallRecord


def run(options: Options, *, last: int, project: str | None) -> None:
    """Show them, the newest last: that is where the eye is when a command has ended."""
    out = options.output()
    calls = model(options).history(last, project=project)
    if out.result([one.as_dict() for one in calls]):
        return
    if not calls:
        out.say("No calls are kept of this account.")
    for call in reversed(calls):
        for line, style in lines(call):
            out.say(line, style)


def lines(call: CallRecord) -> Iterator[tuple[str, str]]:
    """Yield a call in lines, each with its style."""
    seconds = call.waited_s + sum(one.seconds for one in call.attempts)
    who = plain(call.model) if call.model else call.outcome.replace("_", " ")
    paid = ", paid" if call.paid else ""
    yield f"{moment(call.at)}  {who}{paid}, {seconds:.1f} s  ({plain(call.project)})", "bold" if call.model else "red"
    for one in call.attempts:
        status = one.status or "-"
        words = f"    {plain(one.model)}: {one.outcome.replace('_', ' ')} {status}, {one.seconds:.2f} s"
        yield words + (f", {plain(one.reason)}" if one.outcome != "ok" else ""), "" if one.outcome == "ok" else "yellow"
