"""`config`: the effective settings, where each came from, and which of a project's file wait for the user's word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_openrouter_free.cli.output import Output, near, table
from langchain_openrouter_free.cli.start import Options
from langchain_openrouter_free.configuration import trust
from langchain_openrouter_free.configuration.effective import NO_HOME, Effective, confirmed_file, effective, user_file

_HIDDEN = "(set, not shown)"


def run(options: Options, *, everything: bool, schema: bool, trusts: bool, yes: bool) -> None:
    """Show them, print the schema, or confirm the project's file."""
    from langchain_openrouter_free.configuration.schema import json_schema  # noqa: PLC0415 - slow for --help

    out = options.output()
    if schema:
        print(json.dumps(json_schema(), indent=2))
        return
    found = effective(profile=options.profile, dotenv=options.dotenv or False)
    if trusts:
        _confirm(out, found, yes=yes)
        return
    settings = _settings(found, everything=everything)
    profiles = sorted({name for one in (found.project, found.user) if one for name in one.table.get("profiles", {})})
    told = {
        "project_file": found.project and found.project.path,
        "user_file": user_file(),
        "user_file_exists": found.user is not None,
        "profile": found.profile,
        "profiles": profiles,
        "settings": settings,
        "refused": [{"name": name, "reason": reason} for name, reason in found.refused.items()],
    }
    if out.result(told):
        return
    out.say(f"project's file: {near(told['project_file']) or 'none (openrouter-free init writes one)'}")
    out.say(f"user's file:    {near(told['user_file'] or NO_HOME)}{'' if found.user else ' (not there)'}")
    out.say(f"profile:        {found.profile or 'none'} of {', '.join(profiles) or 'none'}\n")
    shown = [
        [one["name"], one["value"] if one["secret"] else json.dumps(one["value"]), near(one["from"])]
        for one in settings
    ]
    out.show(table(["setting", "value*", "from*"], shown))
    for reason in found.refused.values():
        out.say(f"not used: {near(reason)} (openrouter-free config --trust)", "yellow")


def _settings(found: Effective, *, everything: bool) -> list[dict[str, Any]]:
    from langchain_openrouter_free.configuration.schema import (  # noqa: PLC0415 - slow for --help
        defaults,
        is_secret,
        without_secrets,
    )

    rows: list[dict[str, Any]] = []
    for name, default in defaults().items():
        setting = found.settings.get(name)
        if setting is None and not everything:
            continue
        secret = setting is not None and is_secret(name, setting.value)
        value = default if setting is None else setting.value
        shown = _HIDDEN if secret else without_secrets(value) if isinstance(value, Mapping) else value
        # Headers of one's own may carry a secret as well.
        if name == "default_headers":
            shown = dict.fromkeys(value, _HIDDEN)
        origin = [] if setting is None else [f"{one.source}: {one.place}" for one in setting.origins]
        rows.append({"name": name, "value": shown, "from": "; ".join(origin) or "default", "secret": secret})
    return rows


def _confirm(out: Output, found: Effective, *, yes: bool) -> None:
    """Remember that the user means the settings of the project's file."""
    if found.project is None:
        out.fail("NoFile", "there is no project's file here.", 1)
    confirmed = confirmed_file()
    if confirmed is None:
        out.fail("ConfigurationError", NO_HOME, 2)
    from langchain_openrouter_free.configuration.schema import without_secrets  # noqa: PLC0415 - slow for --help

    means = without_secrets(trust.guarded(found.project.table))
    if not out.json:
        out.say(f"{found.project.path} says, beside harmless things:")
        out.say(json.dumps(means, indent=2))
    out.ask("Do you mean it?", yes=yes)
    trust.confirm(found.project.path, found.project.table, confirmed)
    if not out.result({"trusted": found.project.path, "settings": means}):
        out.say("It counts from now on, until it is changed.")
