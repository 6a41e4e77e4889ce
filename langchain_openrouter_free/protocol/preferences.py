"""What a request asks of providers for money's and privacy's sake, and what of it costs money by itself. Pure.

Sources: the service's pages on provider routing, PDF inputs, plugins and service tiers (2026). `max_price` is in
US dollars a million tokens; what the server does with zeros there is on no public record, but programs that name them,
for paid models a `request` of 0 as well, tell of answers (2026).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

# What may be asked of providers, the less first.
PRIVACY = ("any", "no-training", "zdr")
# Settings by which a request leaves providers out: what is refused then may be these settings' doing.
_NARROWING = ("only", "ignore", "order", "quantizations", "max_price", "require_parameters")
# Plugins that are known to cost nothing; the others are billed beside the model (web search: $4 a 1000 results).
_FREE_PLUGINS = frozenset({"response-healing"})
# Ways to read a PDF that cost nothing beside the model's own tokens; the other one costs $2 a 1000 pages.
_FREE_ENGINES = frozenset({"cloudflare-ai", "pdf-text", "native"})
_PARSER: Json = {"id": "file-parser", "pdf": {"engine": "cloudflare-ai"}}
# Tiers at the listed price or below it.
_USUAL_TIERS = frozenset({"auto", "default", "flex", "standard"})
_NOTHING = {"prompt": 0, "completion": 0, "request": 0, "image": 0}


def costs_beside(body: Mapping[str, Any]) -> Iterator[str]:
    """Name the parts of a body that are billed beside the model's tokens."""
    for plugin in _several(body.get("plugins")):
        name = plugin.get("id") if isinstance(plugin, Mapping) else plugin
        if not (isinstance(name, str) and name in _FREE_PLUGINS) and not _reads_for_nothing(plugin):
            yield f"plugins: {name!r}"
    if body.get("web_search_options") is not None:  # an empty table is how search is switched on
        yield "web_search_options"
    if body.get("service_tier") not in (None, *_USUAL_TIERS):
        yield f"service_tier={body['service_tier']!r}"
    for tool in _several(body.get("tools")):
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        # What is not the caller's own runs at the service or at a provider.
        if kind not in (None, "function", "custom"):
            yield f"tools: {kind!r}"


def _several(value: object) -> Sequence[Any]:
    """Return what JSON writes as a list, and one thing alone as well."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _reads_for_nothing(plugin: object) -> bool:
    pdf = plugin.get("pdf") if isinstance(plugin, Mapping) and plugin.get("id") == "file-parser" else None
    engine = pdf.get("engine") if isinstance(pdf, Mapping) else None
    return isinstance(engine, str) and engine in _FREE_ENGINES


def with_free_parser(plugins: object) -> list[Any] | None:
    """Return the plugins of a request whose files must be read for nothing; None if they say how already.

    Unless it is told, the service may choose a way to read a PDF that is billed, for free models too.
    """
    given = _several(plugins)
    if any(isinstance(one, Mapping) and one.get("id") == "file-parser" for one in given):
        return None
    return [*given, _PARSER]


def named(provider: Mapping[str, Any] | None, privacy: str) -> str:
    """Name the setting by which a request asks for privacy; "" where it asks for none."""
    if privacy != "any":
        return f"privacy={privacy!r}"
    given = provider or {}
    asked = {name: given[name] for name in ("data_collection", "zdr") if given.get(name) in ("deny", True)}
    return f"provider={asked!r}" if asked else ""


def asked_of(provider: object, privacy: str) -> str:
    """Return what a request asks of providers, be it by `privacy` or by its own preferences: one of `PRIVACY`."""
    given = provider if isinstance(provider, Mapping) else {}
    if privacy == "zdr" or given.get("zdr") is True:
        return "zdr"
    return "no-training" if privacy == "no-training" or given.get("data_collection") == "deny" else "any"


def narrows(provider: object) -> bool:
    """Tell whether the user's own preferences leave providers out."""
    return isinstance(provider, Mapping) and any(provider.get(name) for name in _NARROWING)


def conflict(provider: Mapping[str, Any] | None, privacy: str) -> str | None:
    """Say which of the user's own provider preferences contradicts `privacy`; None if none does."""
    given = provider or {}
    if privacy != "any" and given.get("data_collection") not in (None, "deny"):
        return f"provider['data_collection']={given['data_collection']!r}"
    if privacy == "zdr" and given.get("zdr") not in (None, True):
        return f"provider['zdr']={given['zdr']!r}"
    return None


def provider_of(
    given: Mapping[str, Any] | None,
    *,
    privacy: str = "any",
    ceiling: Mapping[str, float] | None = None,
    locked: bool = False,
) -> Json | None:
    """Return `provider` for one attempt; None where there is nothing to ask.

    Args:
        given: the user's own preferences.
        privacy: `"any"`, `"no-training"` (no provider that collects data) or `"zdr"` (none that keeps any).
        ceiling: the prices that a paid attempt was reserved at, as `max_price`; a lower one of the user's stays.
        locked: whether nothing may cost anything.
    """
    asked: Json = dict(given or {})
    if privacy != "any":
        asked["data_collection"] = "deny"
    if privacy == "zdr":
        asked["zdr"] = True
    if locked:
        asked["max_price"] = dict(_NOTHING)
    elif ceiling:
        own = asked.get("max_price")
        own = own if isinstance(own, Mapping) else {}
        asked["max_price"] = {**own, **{name: _lower(own.get(name), most) for name, most in ceiling.items()}}
    return asked or None


def _lower(own: object, most: float) -> object:
    """Return the user's own bound where it is a number below ours."""
    try:
        return own if own is not None and float(str(own)) < most else most
    except ValueError:
        return most
