"""`doctor`: what is well, what is not, and what to do about it."""

from __future__ import annotations

import os

from rich.text import Text

from langchain_openrouter_free.cli.output import near, plain
from langchain_openrouter_free.cli.start import Options, has_key, model
from langchain_openrouter_free.configuration.effective import effective, user_file
from langchain_openrouter_free.configuration.environment import CONFIG

_STYLES = {"ok": "green", "note": "cyan", "warn": "yellow", "fail": "bold red"}


def run(options: Options, *, offline: bool) -> None:
    """Look at everything; exit with 1 if something is broken."""
    from langchain_openrouter_free.questions import checkup  # noqa: PLC0415 - slow for --help

    out = options.output()
    found = effective(profile=options.profile, dotenv=options.dotenv or False)
    files = [str(one.path) for one in (found.project, found.user) if one is not None]
    named = user_file() if os.environ.get(CONFIG) else None
    missing = "" if named is None or os.path.exists(named) else str(named)  # noqa: PTH110 - raises nothing
    keyed = has_key(options)
    findings = [
        *checkup.configuration(found.refused, files, missing),
        *model(options).examine(keyed=keyed, offline=offline),
    ]
    broken = any(one.level is checkup.Level.FAIL for one in findings)
    if not out.result({"healthy": not broken, "findings": findings}):
        for one in findings:
            level = Text(f"{one.level:<5}", style=_STYLES[one.level])
            out.console.print(Text.assemble(level, f"{one.check:<14}", plain(near(one.text))), soft_wrap=True)
            if one.remedy:
                out.say(f"{'':<19}-> {near(one.remedy)}", "dim")
    if broken:
        out.leave(1)
