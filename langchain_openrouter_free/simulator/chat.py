"""`POST /chat/completions`: from request to reply, through the account's laws and the models' scripts.

Owns the order in which a request is judged and the walk along a chain of models.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from langchain_openrouter_free.simulator import brain, manners, refusals, stage
from langchain_openrouter_free.simulator.account import Key
from langchain_openrouter_free.simulator.brain import Prompt
from langchain_openrouter_free.simulator.catalogue import Row
from langchain_openrouter_free.simulator.checks import (
    RefusedError,
    body_of,
    excluded,
    key_of,
    missing,
    rows_of,
    unoffered_choice,
)
from langchain_openrouter_free.simulator.dialect import generation_id
from langchain_openrouter_free.simulator.failure import Failure
from langchain_openrouter_free.simulator.failures import FAILURES, failure
from langchain_openrouter_free.simulator.http import Request
from langchain_openrouter_free.simulator.reply import Json, Reply, html_reply, json_reply
from langchain_openrouter_free.simulator.scene import Turn
from langchain_openrouter_free.simulator.state import USER, State

_NOBODY = 401


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that makes sense: its body, what was read from it, and the id of its answer."""

    body: Json
    prompt: Prompt
    generation: str


Tried = Reply | tuple[str, Failure, float]


def chat(state: State, request: Request) -> Reply:
    """Answer a request for a chat completion."""
    generation = generation_id(state.clock(), state.rng)
    try:
        key = key_of(state, request)
        body = body_of(request)
        prompt = brain.read(body)
        rows = rows_of(state, body, prompt)
    except RefusedError as error:
        reply = failed(state, error.name, error.failure)
    else:
        reply = _walk(state, key, Asked(body, prompt, generation), rows)
    reply.headers["X-Generation-Id"] = generation
    reply.headers["Access-Control-Expose-Headers"] = "X-Generation-Id,X-Provider-Name,request-id,cf-ray"
    return reply


def failed(state: State, name: str, told: Failure, previous: list[Json] | None = None) -> Reply:
    """The reply of a failure that keeps its HTTP status."""
    if not state.scenario.limit_source:
        told = refusals.without_new_fields(told)
    if told.page:
        return html_reply(told.status, told.page, behaviour=name)
    if told.empty:
        return Reply(told.status, dict(told.headers), chunked=False, behaviour=name)
    # Nobody is named for a key that is not known, nor by `GET /generation` (recorded 2025).
    user = "" if told.status == _NOBODY or name == "generation" else USER
    reply = json_reply(told.status, told.body(previous or [], user), behaviour=name)
    reply.headers.update(told.headers)
    return reply


def _walk(state: State, key: Key, asked: Asked, rows: list[Row]) -> Reply:
    """Try the models in order; the first that answers ends the walk, else the last failure does."""
    previous: list[Json] = []
    names: list[str] = []
    reply: Reply | None = None
    for row in rows:
        tried = _try(state, key, asked, row)
        if isinstance(tried, Reply):
            reply = tried
            names.append(tried.behaviour)
            break
        name, told, wait = tried
        names.append(name)
        reply = failed(state, name, told, previous)
        reply.wait = wait
        previous.append(told.as_previous())
    if reply is None:
        return failed(state, "404-parameters", failure("404-parameters"))
    reply.behaviour = " > ".join(names)
    return reply


def _try(state: State, key: Key, asked: Asked, row: Row) -> Tried:
    """One model: the account's laws, then the model's, then its script."""
    refused = _admit(key, asked, row) or _unable(state, asked, row)
    if refused is not None:
        return (*refused, 0.0)
    behaviour = state.next_behaviour(row)
    if behaviour.name in FAILURES:
        uuid = state.random_uuid() if "model-rp" in behaviour.name else ""
        told = refusals.by_script(behaviour, row, asked.body, state.clock(), uuid)
        return behaviour.name, told, float(behaviour.get("latency", 0.0))

    def settle(answer: brain.Answer) -> Decimal:
        _note_cached(state, row, asked.prompt, answer)
        if answer.reasoning and row.id in state.scenario.refuses:
            state.thoughts.add((row.id, answer.reasoning))
        streamed = bool(asked.body.get("stream"))
        return state.settle(asked.generation, row, answer, key, streamed=streamed)

    return stage.play(
        behaviour, Turn(asked.body, row, asked.prompt, asked.generation, state.clock(), state.rng, settle, USER)
    )


def _admit(key: Key, asked: Asked, row: Row) -> tuple[str, Failure] | None:
    """The laws of account and key."""
    account = key.account
    if row.is_free:
        refusal = account.admit_free()
    elif key.is_spent:
        return "403-key-limit", failure("403-key-limit", row)
    else:
        body = asked.body
        most = body.get("max_completion_tokens") or body.get("max_tokens")
        most = most or row.max_completion_tokens or row.context_length
        tokens, now = asked.prompt.tokens, key.account.now()
        prompt = row.price("request") + row.price("prompt", tokens, now) * tokens
        refusal = account.admit_paid(prompt, row.price("completion", tokens, now), int(most))
    if refusal is None:
        return None
    return refusals.by_account(refusal, row, unlocked=account.unlocked)


def _unable(state: State, asked: Asked, row: Row) -> tuple[str, Failure] | None:
    """What a model cannot do: it is gone, closed, at its own limit, or lacks what is wanted."""
    if row.id in state.catalogue.gone:
        ended = "404-delisted" if state.catalogue.twin(row.id) is None else "404-unavailable-for-free"
        return ended, failure(ended, row)
    if row.id in state.scenario.closed:
        return "403-harness", failure("403-harness", row)
    kind = excluded(row, asked.body, state.clock()) or missing(row, asked.body, asked.prompt)
    if kind is not None:
        return kind, failure(kind, row, wanted=asked.prompt.tokens)
    rude = manners.refused(
        row, state.scenario.refuses.get(row.id, ()), asked.body, lambda thought: (row.id, thought) in state.thoughts
    )
    if rude is not None:
        return rude
    unoffered = unoffered_choice(asked.body)
    if unoffered is not None:
        return "400-tool-choice", failure("400-tool-choice", row, name=unoffered)
    window = state.model_minutes.get(row.id)
    if window is not None:
        now = state.clock()
        if window.is_full(now):
            told = refusals.by_model_minute(window.refusal("model", now), row, state.random_uuid())
            return "429-model-rpm", told
        window.count(now)
    return None


def _note_cached(state: State, row: Row, prompt: Prompt, answer: brain.Answer) -> None:
    """Parts marked with `cache_control` are written at first and read later."""
    for marked in prompt.cacheable:
        tokens = brain.count_tokens(marked)
        mark = hash((row.id, marked))
        if mark in state.cached:
            answer.cached_tokens += tokens
        else:
            answer.written_tokens += tokens
            state.cached.add(mark)
