"""`completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

from typer.completion import get_completion_script  # type: ignore[attr-defined] # typer's own way to it

from langchain_openrouter_free.cli.start import Options
from langchain_openrouter_free.request import settings

_NAME = "openrouter-free"
_SHELLS = ("bash", "zsh", "fish")


def run(options: Options, *, shell: str) -> None:
    """Print it."""
    out = options.output()
    if shell not in _SHELLS:
        hint = settings.did_you_mean(shell, _SHELLS)
        out.fail("UsageError", f"no completion for {shell!r}{hint}: {', '.join(_SHELLS)}.", 2)
    script = get_completion_script(prog_name=_NAME, complete_var="_OPENROUTER_FREE_COMPLETE", shell=shell)
    if not out.result({"shell": shell, "script": script}):
        print(script)
