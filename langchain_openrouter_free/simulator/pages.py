"""All endpoints beside chat: the catalogue, the key, the money, the generations.

Owns their shapes. It changes nothing.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from urllib.parse import parse_qs, unquote

from langchain_openrouter_free.simulator.account import Account, Key
from langchain_openrouter_free.simulator.catalogue import Row
from langchain_openrouter_free.simulator.checks import RefusedError, key_of
from langchain_openrouter_free.simulator.failure import Failure
from langchain_openrouter_free.simulator.http import Request
from langchain_openrouter_free.simulator.reply import Json, Reply, encode, json_reply
from langchain_openrouter_free.simulator.state import USER, State

_PRIVATE = "private, no-store"
_PUBLIC = "public, max-age=300, stale-while-revalidate=3600, stale-if-error=3600"
_UNLIMITED_SHOWN = 1000


def models(state: State, request: Request) -> Reply:
    """`GET /models`: everything on offer; needs no key."""
    shown = [row.as_json() for row in state.catalogue.listed()]
    return _list(state, request, shown, "models", _PUBLIC)


def models_of_user(state: State, request: Request) -> Reply:
    """`GET /models/user`: what this account may use."""
    key_of(state, request)
    shown = [row.as_json() for row in state.catalogue.listed() if row.id not in state.scenario.closed]
    return _list(state, request, shown, "models-user", _PRIVATE)


def _list(state: State, request: Request, shown: list[Json], behaviour: str, kept: str) -> Reply:
    """A list of models: a page of it if the scenario has pages or the request asks for one, 304 if it is known."""
    query = parse_qs(request.query)
    size, start = _count(query, "limit") or state.scenario.page_size, _count(query, "offset")
    body: Json = {"data": shown}
    if size:
        end = start + size
        following = f"{request.path}?offset={end}&limit={size}" if end < len(shown) else None
        body = {"data": shown[start:end], "links": {"next": following}, "total_count": len(shown)}
    tag = f'W/"{hashlib.sha256(encode(body)).hexdigest()[:16]}"'
    if request.headers.get("if-none-match") == tag:
        return Reply(304, {"ETag": tag, "Cache-Control": kept}, chunked=False, behaviour=behaviour)
    reply = json_reply(200, body, behaviour=behaviour, Cache_Control=kept, ETag=tag)
    reply.gzip = True
    return reply


def _count(query: dict[str, list[str]], name: str) -> int:
    text = query.get(name, ["0"])[0]
    return int(text) if text.isdecimal() else 0


def model(state: State, request: Request) -> Reply:
    """`GET /model/{author}/{slug}`."""
    row = _row_at(state, request.path.removeprefix("/api/v1/model/"))
    return json_reply(200, {"data": row.as_json()}, behaviour="model", Cache_Control=_PUBLIC)


def endpoints(state: State, request: Request) -> Reply:
    """`GET /models/{author}/{slug}/endpoints`."""
    row = _row_at(state, request.path.removeprefix("/api/v1/models/").removesuffix("/endpoints"))
    return json_reply(200, {"data": row.endpoints_as_json()}, behaviour="endpoints", Cache_Control=_PUBLIC)


def key(state: State, request: Request) -> Reply:
    """`GET /key`: the key's limits and the day's use of free models."""
    asked = key_of(state, request)
    return json_reply(200, {"data": _key_facts(asked)}, behaviour="key", Cache_Control=_PRIVATE)


def money(state: State, request: Request) -> Reply:
    """`GET /credits`: what was bought and what was used."""
    account = key_of(state, request).account
    totals = {"total_credits": _number(account.bought), "total_usage": _number(account.spent)}
    return json_reply(200, {"data": totals}, behaviour="credits", Cache_Control=_PRIVATE)


def generation(state: State, request: Request) -> Reply:
    """`GET /generation?id=`: what an answer cost, some time after it was given."""
    account = key_of(state, request).account
    asked = parse_qs(request.query).get("id", [""])[0]
    found = state.generations.get(asked)
    if found is None or found.account is not account or state.clock() < found.known_at:
        raise RefusedError("generation", Failure(404, f"Generation {asked} not found"))
    return json_reply(200, {"data": found.data}, behaviour="generation", Cache_Control=_PRIVATE)


def _row_at(state: State, path: str) -> Row:
    slug = unquote(path)
    row = state.catalogue.find(slug)
    if row is None:
        same = [one for one in state.catalogue.listed() if one.canonical_slug == slug]
        row = same[0] if same else None
    if row is None or row.id in state.catalogue.gone:
        raise RefusedError("model", Failure(404, f"Model {slug} not found"))
    return row


def _key_facts(asked: Key) -> Json:
    spent = _number(asked.spent)
    left = None if asked.limit is None else _number(max(asked.limit - asked.spent, Decimal(0)))
    facts: Json = {
        "label": "sk-or-v1-sim...ted",
        "is_management_key": False,
        "is_provisioning_key": False,
        "limit": None if asked.limit is None else _number(asked.limit),
        "limit_reset": None,
        "limit_remaining": left,
        "include_byok_in_limit": False,
        "usage": spent,
        "usage_daily": spent,
        "usage_weekly": spent,
        "usage_monthly": spent,
        "byok_usage": 0,
        "byok_usage_daily": 0,
        "byok_usage_weekly": 0,
        "byok_usage_monthly": 0,
        "is_free_tier": asked.account.bought <= 0,
        "expires_at": None,
        "creator_user_id": USER,
        "organization_id": None,
        "allowed_data_regions": ["global"],
    }
    facts["free_model_daily_requests"] = _day(asked.account)
    note = "This field is deprecated and safe to ignore."
    facts["rate_limit"] = {"requests": -1, "interval": "10s", "note": note}
    return facts


def _day(account: Account) -> Json:
    """The day's use; an account without a limit is shown with the largest that exists."""
    limit = _UNLIMITED_SHOWN if account.per_day is None else account.per_day
    return {"used": account.day_used, "limit": limit, "remaining": max(limit - account.day_used, 0)}


def _number(amount: Decimal) -> float | int:
    return int(amount) if amount == amount.to_integral_value() else float(amount)
