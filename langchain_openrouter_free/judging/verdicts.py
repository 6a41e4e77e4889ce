"""How an attempt can end: one kind for each way, and what it means for the route.

The README's failure table is made from `POLICIES`. Pure: no clock, no HTTP client, no LangChain. Which kind a
refusal is, `refusals.py` says; which one an answer is, `answers.py`; what a verdict does to the route, `routing.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from langchain_openrouter_free.judging.easing import Ease
from langchain_openrouter_free.judging.waits import meter_of
from langchain_openrouter_free.values import value_type


class Scope(StrEnum):
    """Whom a verdict concerns."""

    OK = "ok"
    REQUEST = "request"
    MODEL = "model"
    PROVIDER = "provider"
    ACCOUNT = "account"


class Step(StrEnum):
    """What the route does next."""

    DONE = "done"
    NEXT = "next model"
    WAIT = "wait, same model"
    LEAVE_SERVICE = "no more requests to the service"
    RAISE = "raise at once"


class Kind(StrEnum):
    """What happened to an attempt."""

    OK = "ok"
    MINUTE_LIMIT = "minute_limit"
    DAY_LIMIT = "day_limit"
    MODEL_LIMIT = "model_limit"
    UPSTREAM_LIMIT = "upstream_limit"
    RATE_LIMIT = "rate_limit"
    UNAUTHENTICATED = "unauthenticated"
    UNPAID = "unpaid"
    IN_DEBT = "in_debt"
    TOO_DEAR = "too_dear"
    KEY_LIMIT = "key_limit"
    IN_FLIGHT_BUDGET = "in_flight_budget"
    FORBIDDEN = "forbidden"
    DELISTED = "delisted"
    CLOSED = "closed"
    REGION = "region"
    POLICY = "policy"
    UNFIT = "unfit"
    INCOMPATIBLE = "incompatible"
    TOO_LONG = "too_long"
    MODERATED = "moderated"
    GUARDED = "guarded"
    REJECTED = "rejected"
    DOUBTFUL = "doubtful"
    MISROUTED = "misrouted"
    OVERLOADED = "overloaded"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    BROKEN = "broken"
    CUT = "cut"
    FINISH_ERROR = "finish_error"
    NO_CHOICES = "no_choices"
    EMPTY = "empty"
    ONLY_THOUGHTS = "only_thoughts"
    SPENT = "spent"
    REFUSAL = "refusal"
    ANNOUNCED = "announced"
    CALLS_MISSING = "calls_missing"
    NOT_CALLED = "not_called"
    UNKNOWN_TOOL = "unknown_tool"
    BAD_ARGUMENTS = "bad_arguments"
    WRONG_ARGUMENTS = "wrong_arguments"
    REPEATED = "repeated"
    WRONG_OBJECT = "wrong_object"
    UNWANTED = "unwanted"
    ABANDONED = "abandoned"


@value_type()
class Policy:
    """What a kind means: whom it concerns, the next step, and whether the model cools down."""

    scope: Scope
    step: Step
    cools: bool
    means: str


POLICIES: Mapping[Kind, Policy] = {
    Kind.OK: Policy(Scope.OK, Step.DONE, False, "answered"),
    Kind.MINUTE_LIMIT: Policy(Scope.ACCOUNT, Step.WAIT, False, "the account's requests of this minute are used up"),
    Kind.DAY_LIMIT: Policy(Scope.ACCOUNT, Step.WAIT, False, "the account's free requests of this UTC day are used up"),
    Kind.MODEL_LIMIT: Policy(Scope.MODEL, Step.NEXT, True, "the service's own limit on this one model"),
    Kind.UPSTREAM_LIMIT: Policy(Scope.MODEL, Step.NEXT, True, "the provider's shared pool is full"),
    Kind.RATE_LIMIT: Policy(
        Scope.MODEL,
        Step.NEXT,
        True,
        "a 429 that does not say whose limit it is: the model's, and the account's if a second model says the same",
    ),
    Kind.UNAUTHENTICATED: Policy(Scope.ACCOUNT, Step.RAISE, False, "the key is missing, malformed or revoked"),
    Kind.UNPAID: Policy(
        Scope.ACCOUNT,
        Step.LEAVE_SERVICE,
        False,
        "the balance is too small (negative, if a free model says it)",
    ),
    Kind.IN_DEBT: Policy(
        Scope.ACCOUNT, Step.LEAVE_SERVICE, False, "the balance is negative, which closes free models as well"
    ),
    Kind.TOO_DEAR: Policy(
        Scope.ACCOUNT,
        Step.NEXT,
        False,
        "the balance, or the key's limit, pays for a shorter request only: asked once more for fewer tokens, if of use",
    ),
    Kind.KEY_LIMIT: Policy(Scope.ACCOUNT, Step.LEAVE_SERVICE, False, "the key's own spending limit is reached"),
    Kind.IN_FLIGHT_BUDGET: Policy(Scope.ACCOUNT, Step.WAIT, False, "too much money is reserved by requests in flight"),
    Kind.FORBIDDEN: Policy(Scope.ACCOUNT, Step.NEXT, False, "the key may not do this (403 without further words)"),
    Kind.DELISTED: Policy(Scope.MODEL, Step.NEXT, True, "the id is unknown, gone, or no longer free"),
    Kind.CLOSED: Policy(Scope.MODEL, Step.NEXT, True, "the model is closed to this kind of client"),
    Kind.REGION: Policy(Scope.MODEL, Step.NEXT, True, "the model is not available in this region"),
    Kind.POLICY: Policy(
        Scope.ACCOUNT, Step.NEXT, False, "the account's privacy setting or guardrail rules this model out"
    ),
    Kind.UNFIT: Policy(Scope.REQUEST, Step.NEXT, False, "this model cannot do what the request wants; another may"),
    Kind.INCOMPATIBLE: Policy(Scope.MODEL, Step.NEXT, False, "this model's own rules refuse the request's form"),
    Kind.TOO_LONG: Policy(Scope.MODEL, Step.NEXT, False, "the prompt (or prompt + max_tokens) passes the context"),
    Kind.MODERATED: Policy(Scope.MODEL, Step.NEXT, False, "this provider's filter refused the content"),
    Kind.GUARDED: Policy(Scope.REQUEST, Step.RAISE, False, "the account's own guardrail blocked the prompt"),
    Kind.REJECTED: Policy(Scope.REQUEST, Step.RAISE, False, "the request itself is wrong: no model will take it"),
    Kind.DOUBTFUL: Policy(
        Scope.MODEL,
        Step.NEXT,
        False,
        "a provider's 400 in unknown words: one other model is asked, then it is raised",
    ),
    Kind.MISROUTED: Policy(Scope.REQUEST, Step.RAISE, False, "a web page instead of the API: base_url is wrong"),
    Kind.OVERLOADED: Policy(Scope.PROVIDER, Step.NEXT, True, "the provider is out of capacity"),
    Kind.TIMED_OUT: Policy(Scope.PROVIDER, Step.NEXT, True, "no content within the deadline"),
    Kind.UNREACHABLE: Policy(Scope.PROVIDER, Step.NEXT, False, "no connection to the service"),
    Kind.BROKEN: Policy(Scope.PROVIDER, Step.NEXT, True, "a server error, or a reply that is no answer"),
    Kind.CUT: Policy(Scope.PROVIDER, Step.NEXT, True, "the answer ended before its end"),
    Kind.FINISH_ERROR: Policy(
        Scope.MODEL, Step.NEXT, False, '`finish_reason: "error"`, or a word like it, without an error object'
    ),
    Kind.NO_CHOICES: Policy(Scope.MODEL, Step.NEXT, False, "a success without choices"),
    Kind.EMPTY: Policy(Scope.MODEL, Step.NEXT, False, "a success that says nothing"),
    Kind.ONLY_THOUGHTS: Policy(Scope.MODEL, Step.NEXT, False, "thoughts, and no answer after them"),
    Kind.SPENT: Policy(
        Scope.REQUEST,
        Step.NEXT,
        False,
        "all tokens went into thinking: asked once more with less of it or more tokens, if that can be",
    ),
    Kind.REFUSAL: Policy(Scope.MODEL, Step.NEXT, False, "the model refuses, in so many words; another may not"),
    Kind.ANNOUNCED: Policy(Scope.MODEL, Step.NEXT, False, "words where tool calls were announced"),
    Kind.CALLS_MISSING: Policy(Scope.MODEL, Step.NEXT, False, "tool calls were announced, and nothing came"),
    Kind.NOT_CALLED: Policy(Scope.MODEL, Step.NEXT, False, "`tool_choice` demanded a tool call, and it was not made"),
    Kind.UNKNOWN_TOOL: Policy(Scope.MODEL, Step.NEXT, False, "a call of a tool that was not offered, or of none"),
    Kind.BAD_ARGUMENTS: Policy(Scope.MODEL, Step.NEXT, False, "arguments of a tool call that are no JSON object"),
    Kind.WRONG_ARGUMENTS: Policy(Scope.MODEL, Step.NEXT, False, "arguments that do not fit the tool's schema"),
    Kind.REPEATED: Policy(
        Scope.MODEL, Step.NEXT, False, "the same tool call again and again (5 times), or over 256 calls"
    ),
    Kind.WRONG_OBJECT: Policy(Scope.MODEL, Step.NEXT, False, "structured output that does not fit the schema"),
    Kind.UNWANTED: Policy(Scope.MODEL, Step.NEXT, False, "your own check (`accept=`) said no"),
    Kind.ABANDONED: Policy(Scope.OK, Step.RAISE, False, "the caller stopped listening, or cancelled"),
}


@value_type()
class Verdict:
    """How one attempt ended.

    Attributes:
        kind: what happened.
        scope: whom it concerns.
        step: what the route does next.
        reason: one line for people; no secrets.
        status: HTTP status of the reply, or None if there was none.
        until: Unix seconds until which the server wants to be left alone; None if it named no time.
        limit: size of the exhausted window in requests, where the server said it.
        window: `"minute"` or `"day"`, where a limit was said to be of one.
        left: requests left of that window, where an answer said it.
        affords: tokens of output that the balance pays for, where a refusal said it.
        of_key: whether it is the key's own limit that pays for so little.
        context, counted: most tokens that the model holds, and its count of the prompt, where a refusal said them.
        ease: what to change of a request whose tokens all went into thinking: it is made once more.
        names: what a refusal says that the model cannot do (`traits.VOCABULARY`), whatever the request used of it.
    """

    kind: Kind
    scope: Scope
    step: Step
    reason: str = ""
    status: int | None = None
    until: float | None = None
    limit: int | None = None
    window: str | None = None
    left: int | None = None
    affords: int | None = None
    of_key: bool = False
    context: int | None = None
    counted: int | None = None
    names: frozenset[str] = frozenset()
    ease: Ease | None = None

    @property
    def ok(self) -> bool:
        """Whether the attempt answered."""
        return self.kind is Kind.OK


def verdict(
    kind: Kind,
    reason: str = "",
    *,
    scope: Scope | None = None,
    status: int | None = None,
    until: float | None = None,
    limit: int | None = None,
    window: str | None = None,
) -> Verdict:
    """Make the verdict of a kind by its policy; `scope` where a row says it more precisely."""
    policy = POLICIES[kind]
    return Verdict(kind, scope or policy.scope, policy.step, reason or policy.means, status, until, limit, window)


def answered(status: int | None, headers: Mapping[str, str] | None, *, now: float) -> Verdict:
    """Make the verdict of an answer, with what its headers say of the quota."""
    meter = meter_of(headers, now)
    if meter is None:
        return verdict(Kind.OK, status=status)
    return replace(verdict(Kind.OK, status=status, limit=meter.limit, window=meter.window), left=meter.left)
