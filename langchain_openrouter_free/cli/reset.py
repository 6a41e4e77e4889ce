"""`reset`: forget the cooldowns, or the whole state."""

from __future__ import annotations

from langchain_openrouter_free.cli.start import Options, model
from langchain_openrouter_free.request import settings

_WHAT = ("cooldowns", "state")


def run(options: Options, *, what: str, yes: bool) -> None:
    """Forget it, once that is confirmed."""
    out = options.output()
    if what not in _WHAT:
        hint = settings.did_you_mean(what, _WHAT)
        out.fail("UsageError", f"there is no {what!r} to reset{hint}: {', '.join(_WHAT)}.", 2)
    chat = model(options)
    if what == "cooldowns":
        out.ask("Let every model of this account be asked again at once?", yes=yes)
        done = {"reset": what, "models": chat.forget_cooldowns(), "kept_as": None}
    else:
        out.ask(
            "Forget quota, cooldowns, spending and history of all accounts and projects in this state? What is spent "
            "of a budget today is then not known any more.",
            yes=yes,
        )
        done = {"reset": what, "models": 0, "kept_as": chat.forget_everything()}
    if not out.result(done):
        kept = f"; the old file is kept as {done['kept_as']}" if done["kept_as"] else ""
        out.say(f"Done: {what}{kept}." if what == "state" else f"Done: {done['models']} cooldowns ended.")
