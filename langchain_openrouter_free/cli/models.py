"""`models`: the free models in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from langchain_openrouter_free.cli.output import Output, moment, plain, table
from langchain_openrouter_free.cli.start import Options, has_key, model
from langchain_openrouter_free.questions.standing import Standing

if TYPE_CHECKING:
    from langchain_openrouter_free.questions.outlook import Explanation

_ABILITIES = (("tools", "T"), ("structured_output", "S"), ("images", "I"), ("reasoning", "R"))


def run(options: Options, *, refresh: bool, usable: bool) -> None:
    """Show how each model stands; exit with 1 if a list was to be fetched and could not be had."""
    out, chat = options.output(), model(options, key=refresh)
    began = chat.clock.now()
    if refresh:
        chat.refresh()
    explanation, rows = chat.explain(), chat.standings()
    rows = tuple(row for row in rows if row.usable or not usable)
    if not out.result({"listed_at": explanation.listed_at, "bundled": explanation.bundled, "models": rows}):
        _show(out, explanation, rows, hint=explanation.bundled and has_key(options) and not refresh)
    if refresh and explanation.listed_at < began:
        out.leave(1)


def _show(out: Output, explanation: Explanation, rows: Sequence[Standing], *, hint: bool) -> None:
    out.show(table(["#", "model*", "context", "can", "health"], [_cells(row) for row in rows], right=(0, 2, 4)))
    came = "which came with the package" if explanation.bundled else "fetched from the service"
    out.say()
    out.say(f"{sum(row.usable for row in rows)} usable, by the list of {moment(explanation.listed_at)}, {came}.")
    out.say("can: T tools, S structured output, I images, R reasoning; health: how likely an answer is.")
    if hint:
        out.say("--refresh fetches the service's list.")


def _cells(row: Standing) -> list[object]:
    can = "".join(mark if getattr(row, name) else "-" for name, mark in _ABILITIES)
    known = row.tools is not None or row.context is not None
    health = "" if row.health is None else f"{row.health:.0%}"
    context = "" if row.context is None else f"{row.context // 1000}k"
    note = _note(row)
    named = Text.assemble(plain(row.model), (f"\n  {plain(note)}", "dim") if note else "")
    return [row.rank or "-", named, context, can if known else "", health]


def _note(row: Standing) -> str:
    parts = [row.reason + (f" until {moment(row.until)}" if row.until else "")] if row.reason else []
    if row.first_token_s is not None:
        parts.append(f"first word in {row.first_token_s:.1f} s")
    if row.expires_at is not None:
        parts.append(f"ends {moment(row.expires_at)[:10]}")
    return "; ".join(parts)
