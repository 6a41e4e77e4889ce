"""What is well and what is not, each with its remedy: facts in, findings out. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from langchain_openrouter_free.books.usage import WindowUse
from langchain_openrouter_free.catalogue.catalogue import Listing, says_free
from langchain_openrouter_free.catalogue.selection import stands_for_many
from langchain_openrouter_free.errors import at
from langchain_openrouter_free.protocol.evidence import tidy
from langchain_openrouter_free.route.choosing import facts_in, free_in
from langchain_openrouter_free.values import value_type

# A clock that is further off than this, in seconds, confuses people and logs; the books correct it by themselves.
_OFF, _WAY_OFF = 5.0, 60.0
# An end that is announced for so soon, in seconds, is worth a word.
_SOON = 14 * 86_400.0
_MAKE_KEY = "make a key (free) at https://openrouter.ai/keys and set OPENROUTER_API_KEY"


class Level(StrEnum):
    """How bad it is: nothing to do, worth knowing, to be seen to, broken."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"


@value_type(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what: `"key"`, `"network"`, `"clock"`, `"state"`, `"privacy"`, `"models"`, and so on.
        level: how bad it is.
        text: what was found.
        remedy: what to do about it; "" where there is nothing to do.
    """

    check: str
    level: Level
    text: str
    remedy: str = ""


@value_type(frozen=True)
class Said:
    """A reply of the service, as far as it is looked at.

    Attributes:
        status: of HTTP; None where none came.
        body: the JSON of it; None where it is none.
        reason: why there is no reply.
        ahead: seconds by which the service's clock is ahead of this machine's; None where it does not say.
    """

    status: int | None = None
    body: object = None
    reason: str = ""
    ahead: float | None = None

    def listing(self, now: float) -> Listing | None:
        """Return the list of models in it, if there is one."""
        return Listing.of(self.body, now) if self.status == 200 else None


def key(said: Said | None, *, keyed: bool) -> Finding:
    """Tell whether the key is good; `said` is the reply to `GET /key`, None where that was not asked."""
    if not keyed:
        return Finding("key", Level.WARN, "No key is configured.", _MAKE_KEY)
    if said is None or said.status is None:
        return Finding("key", Level.NOTE, "A key is configured; whether it is good was not asked.")
    if said.status in (401, 403):
        return Finding("key", Level.FAIL, "The service does not accept the key.", _MAKE_KEY)
    data = said.body.get("data") if isinstance(said.body, Mapping) else None
    if said.status != 200 or not isinstance(data, Mapping):
        return Finding("key", Level.WARN, f"The service does not say whether the key is good (HTTP {said.status}).")
    if _is_zero(data.get("limit_remaining")):
        remedy = "raise the key's limit at https://openrouter.ai/keys"
        return Finding("key", Level.WARN, "The key is good; its own spending limit is used up.", remedy)
    tier = "without credits" if data.get("is_free_tier") is True else "that has bought credits"
    told = "" if "is_free_tier" not in data else f", of an account {tier}"
    return Finding("key", Level.OK, f"The key is good{told}.")


def _is_zero(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value <= 0


def network(host: str, said: Said | None, *, offline: bool) -> Finding:
    """Tell whether the service can be reached; `said` is a reply to a question for its list."""
    if offline:
        return Finding("network", Level.NOTE, "Not asked.")
    if said is None or said.status is None:
        reason = "" if said is None or not said.reason else f" ({tidy(said.reason)})"
        remedy = "check the connection, a proxy (HTTPS_PROXY) and base_url; until then the facts at hand serve"
        return Finding("network", Level.WARN, f"{host} cannot be reached{reason}.", remedy)
    if said.status >= 500:
        return Finding("network", Level.WARN, f"{host} answers with HTTP {said.status}.", "try again later")
    if said.listing(0.0) is None:
        text = f"{host} answers, but not with a list of models (HTTP {said.status})."
        return Finding("network", Level.WARN, text, "check base_url, and what stands between")
    return Finding("network", Level.OK, f"{host} answers.")


def clock(said: Said | None) -> Finding | None:
    """Tell how far this machine's clock is off."""
    ahead = None if said is None else said.ahead
    if ahead is None:
        return None
    if abs(ahead) <= _OFF:
        return Finding("clock", Level.OK, "This machine's clock is right.")
    way = "behind" if ahead > 0 else "ahead"
    text = f"This machine's clock is {abs(ahead):.0f} s {way}; the books go by the service's."
    level = Level.FAIL if abs(ahead) > _WAY_OFF else Level.WARN
    return Finding("clock", level, text, "let the system set its clock (NTP)")


def state(path: str | None, mode: int | None, troubles: Sequence[str], *, shared: bool) -> Iterator[Finding]:
    """Tell whether the state is kept.

    Args:
        path: the file; None for another store.
        mode: its permissions.
        troubles: what the store warned of.
        shared: whether other processes see it.
    """
    for trouble in troubles:
        yield Finding("state", Level.FAIL, tidy(trouble), "mend the file's place or rights, or name another: state=")
    if troubles:
        return
    if path is None:
        where = "in a server" if shared else "in this process's memory: it is gone when that ends"
        yield Finding("state", Level.OK if shared else Level.NOTE, f"The state is kept {where}.")
    elif mode is not None and mode & 0o077:
        yield Finding("state", Level.WARN, f"{path} can be read by others.", f"chmod 600 '{path}'")
    else:
        yield Finding("state", Level.OK, f"The state is kept in {path}.")


def privacy(mine: Listing | None, everyones: Listing | None) -> Finding | None:
    """Tell which free models the account's own settings rule out."""
    if mine is None or everyones is None:
        return None
    missing = sorted({one.id for one in free_in(everyones)} - mine.rows.keys())
    if not missing:
        return Finding("privacy", Level.OK, "The account's settings rule out no free model.")
    text = f"The account's settings rule out {len(missing)} of {len(free_in(everyones))} free models: {_some(missing)}."
    remedy = "to have them, allow what they ask for at https://openrouter.ai/settings/privacy"
    return Finding("privacy", Level.NOTE, text, remedy)


def ids(named: Sequence[str], listing: Listing, now: float, *, fetched: bool) -> Iterator[Finding]:
    """Tell of configured ids that are dead, not free any more, or about to end.

    Args:
        named: the ranking.
        listing: the best list at hand.
        now: Unix seconds.
        fetched: whether it is the service's own, and not the one that came with the package.
    """
    known = {one.id for one in free_in(listing)}
    for model in named:
        if stands_for_many(model) or not says_free(model):
            continue
        facts = facts_in(listing, model)
        if facts is None:
            level, where = (Level.FAIL, "the service's list") if fetched else (Level.WARN, "the list in the package")
            near = difflib.get_close_matches(model, known, 1)
            remedy = f"take it out of models{f', or write {near[0]}' if near else ''}"
            yield Finding("models", level, f"{model} is not in {where}.", remedy)
        elif (doubt := listing.doubt(model)) is not None:
            yield Finding("models", Level.FAIL, f"{model}: {doubt}.", "take it out of models")
        elif facts.expires_at is not None and facts.expires_at - now < _SOON:
            ends = at(facts.expires_at)
            yield Finding("models", Level.WARN, f"{model} is announced to end at {ends}.", "name another beside it")


def left(order: Collection[str], free: int, reasons: Mapping[str, int]) -> Finding:
    """Tell how many models would be asked.

    Args:
        order: free ids that would be asked now.
        free: how many the catalogue has in all.
        reasons: why others would not -> how many.
    """
    why = "; ".join(f"{number}: {tidy(reason)}" for reason, number in sorted(reasons.items(), key=lambda one: -one[1]))
    text = f"{len(order)} of {free} free models are left under the configuration."
    if not order:
        remedy = "name others in models, or 'auto' at its end"
        return Finding("models", Level.FAIL, f"{text} {why}".strip(), remedy)
    if len(order) == 1:
        return Finding("models", Level.WARN, text, "name a second one, or 'auto' at the end of models")
    return Finding("models", Level.OK, text)


def quota(windows: Sequence[WindowUse]) -> Iterator[Finding]:
    """Tell whether the account may still send."""
    for one in windows:
        if one.left == 0:
            text = f"The account's free requests of this {one.window} are used up until {at(one.resets_at)}."
            remedy = "wait, or allow a paid model" if one.window == "day" else "wait"
            yield Finding("quota", Level.WARN, text, remedy)


def configuration(refused: Mapping[str, Any], files: Sequence[str], missing: str = "") -> Iterator[Finding]:
    """Tell which files count, what of them does not, and which one is named but is not there."""
    named = " and ".join(files) or "no file: openrouter-free init writes one"
    yield Finding("configuration", Level.OK, f"Settings come from {named}.")
    for reason in refused.values():
        remedy = "openrouter-free config --trust, if you mean it"
        yield Finding("configuration", Level.WARN, f"Not used: {reason}.", remedy)
    if missing:
        text = f"OPENROUTER_FREE_CONFIG names {missing}, which is not there: what you set in it does not count."
        yield Finding("configuration", Level.WARN, text, "correct the name, or openrouter-free init --user writes it")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
