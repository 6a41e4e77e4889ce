"""`quota`: what is used of the account's free requests."""

from __future__ import annotations

from langchain_openrouter_free.cli.output import moment, table
from langchain_openrouter_free.cli.start import Options, has_key, model


def run(options: Options) -> None:
    """Show the windows, and what each project took of the day."""
    out = options.output()
    keyed, found = has_key(options), model(options).quota()
    if out.result({"key": keyed, **found.as_dict()}):
        return
    rows = [[one.window, one.used, _some(one.limit), _some(one.left), moment(one.resets_at)] for one in found.windows]
    out.show(table(["window", "used", "limit", "left", "resets*"], rows, right=(1, 2, 3)))
    for one in found.windows:
        if one.shut_until:
            out.say(f"The service has said that this {one.window} is used up until {moment(one.shut_until)}.")
        elif one.assumed:
            out.say(f"The limit of the {one.window} is assumed: the service has not named it today.", "dim")
    if found.projects:
        out.say()
        out.show(
            table(
                ["project*", "today", "kept for it"],
                [[one.project, one.used, one.kept] for one in found.projects],
                right=(1, 2),
            )
        )
    if not keyed:
        out.say()
        out.say("No key is configured: this is the book of no account. Set OPENROUTER_API_KEY to see yours.")


def _some(number: int | None) -> object:
    return "-" if number is None else number
