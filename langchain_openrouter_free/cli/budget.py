"""`budget`: what is spent, reserved and left."""

from __future__ import annotations

from langchain_openrouter_free.cli.output import moment, table
from langchain_openrouter_free.cli.start import Options, model


def run(options: Options, *, reconcile: bool) -> None:
    """Show the windows of money, and what answers cost by day and model."""
    out, chat = options.output(), model(options, key=reconcile)
    told = chat.reconcile() if reconcile else chat.spending()
    costs = chat.costs()
    if out.result({"spending": told, "allow_paid": chat.allow_paid, "by_day_and_model": costs}):
        return
    out.say(f"Project: {told.project}")
    rows = [
        [one.whose, one.window, f"${one.spent}", f"${one.reserved}", _dollars(one.cap), _dollars(one.left),
         moment(one.frees_at)]
        for one in told.windows
    ]  # fmt: skip
    out.show(table(["whose", "window", "spent", "reserved", "cap", "left", "turns*"], rows, right=(2, 3, 4, 5)))
    out.say()
    if costs:
        shown = [[one.day, one.model, one.answers, f"${one.cost}"] for one in costs]
        out.show(table(["day", "model*", "answers", "cost"], shown, right=(2, 3)))
        out.say()
    out.say(f"In dispute: ${told.disputed}; never told: ${told.unknown}. {told.credits} credits cost ${told.to_buy}.")
    if not chat.allow_paid:
        out.say("Nothing paid is asked: allow_paid is not set.")


def _dollars(amount: str | None) -> str:
    return "-" if amount is None else f"${amount}"
