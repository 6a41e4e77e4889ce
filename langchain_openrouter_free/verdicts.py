"""The table: what the service said -> a verdict (whom it concerns, until when, what to do next).

One row per signal, most specific first. The README's failure table is made from `POLICIES`. Pure: no
clock (`now` is an argument), no HTTP client, no LangChain. How the evidence is dug out of a reply is
`evidence.py`'s business; what a verdict does to the route is `routing.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from langchain_openrouter_free.evidence import Evidence, decode, gather
from langchain_openrouter_free.waits import meter_of, named_until, window_of


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
    LEAVE_FREE = "no more free models"
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
    EMPTY = "empty"
    SPENT = "spent"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a kind means: whom it concerns, the next step, and whether the model cools down."""

    scope: Scope
    step: Step
    cools: bool
    means: str


POLICIES: Mapping[Kind, Policy] = {
    Kind.OK: Policy(Scope.OK, Step.DONE, False, "answered"),
    Kind.MINUTE_LIMIT: Policy(Scope.ACCOUNT, Step.WAIT, False, "the account's requests of this minute are used up"),
    Kind.DAY_LIMIT: Policy(
        Scope.ACCOUNT, Step.LEAVE_FREE, False, "the account's free requests of this UTC day are used up"
    ),
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
        "the balance pays for a shorter request only: asked once more for fewer tokens, if that is of use",
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
    Kind.EMPTY: Policy(Scope.MODEL, Step.NEXT, False, "a success that says nothing"),
    Kind.SPENT: Policy(Scope.REQUEST, Step.NEXT, False, "all tokens went into thinking (raise max_tokens)"),
    Kind.ABANDONED: Policy(Scope.OK, Step.RAISE, False, "the caller stopped listening, or cancelled"),
}


@dataclass(frozen=True, slots=True)
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

    @property
    def ok(self) -> bool:
        """Whether the attempt answered."""
        return self.kind is Kind.OK


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: every condition that is given must hold. Texts are regular expressions over lower case."""

    kind: Kind
    says: str = ""
    source: str = ""
    step: str = ""
    availability: str = ""
    codes: frozenset[int] = frozenset()
    provider_fault: bool | None = None
    html: bool | None = None
    flagged: bool | None = None
    patterns: bool | None = None
    endpoints_left: bool | None = None
    earlier: bool = False
    scope: Scope | None = None

    def matches(self, seen: Evidence) -> bool:
        """Tell whether this row's signals are all there."""
        return (
            (not self.codes or seen.code in self.codes)
            and (self.provider_fault is None or self.provider_fault == seen.provider_fault)
            and (self.html is None or self.html == seen.html)
            and (self.flagged is None or self.flagged == seen.flagged)
            and (self.patterns is None or self.patterns == seen.blocked_patterns)
            and (self.endpoints_left is None or self.endpoints_left == bool(seen.initial_endpoints))
            and _found(self.source, seen.limit_source)
            and _found(self.step, seen.routing_step)
            and _found(self.availability, seen.availability)
            and (_found(self.says, seen.said) or (self.earlier and _found(self.says, seen.earlier)))
        )


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _found(pattern: str, text: str) -> bool:
    return not pattern or (bool(text) and _pattern(pattern).search(text) is not None)


def _codes(*codes: int | range) -> frozenset[int]:
    return frozenset(n for c in codes for n in (c if isinstance(c, range) else (c,)))


# Sources of the wordings: recorded and documented replies of 2025-06 to 2026-10; `failed_routing_step` and
# `limit_source` appeared during 2026 and are missing from older bodies, hence a second row by wording.
RULES: tuple[Rule, ...] = (
    # -- the key. A provider's own 401 (its name stands in the metadata) is not ours.
    Rule(Kind.UNAUTHENTICATED, codes=_codes(401), provider_fault=False),
    # -- the account's free quota, also where an outer error of another kind hides it (`previous_errors`)
    Rule(Kind.DAY_LIMIT, source=r"free_tier_daily"),
    Rule(Kind.DAY_LIMIT, says=r"free-models-per-day", earlier=True),
    Rule(Kind.MINUTE_LIMIT, source=r"free_tier_per_minute"),
    Rule(Kind.MINUTE_LIMIT, says=r"free-models-per-min", earlier=True),
    # -- one model's limits; the same opening words and headers as the account's
    Rule(Kind.MODEL_LIMIT, source=r"shared_capacity"),
    Rule(
        Kind.MODEL_LIMIT,
        says=r"limit_(?:rpm|rpd|tpm|tpd)/|high demand for|daily limit reached|on openrouter - limited to",
    ),
    Rule(Kind.UPSTREAM_LIMIT, source=r"upstream"),
    Rule(Kind.UPSTREAM_LIMIT, says=r"rate.limited upstream"),
    # -- money
    Rule(Kind.IN_FLIGHT_BUDGET, source=r"in_flight"),
    Rule(Kind.IN_FLIGHT_BUDGET, says=r"in.flight.budget"),
    Rule(Kind.KEY_LIMIT, source=r"key_limit"),
    Rule(
        Kind.KEY_LIMIT,
        says=r"key limit exceeded|(?:weekly|daily|monthly|total) limit\)"
        r"|(?:spend(?:ing)?|budget) limit (?:exceeded|reached)",
        codes=_codes(200, 402, 403),
    ),
    Rule(Kind.IN_DEBT, source=r"negative_balance"),
    Rule(Kind.IN_DEBT, says=r"negative (?:credit )?balance|balance is negative", provider_fault=False),
    Rule(
        Kind.TOO_DEAR,
        says=r"can only afford|fewer max_tokens|prompt tokens limit exceeded",
        provider_fault=False,
    ),
    Rule(Kind.UNPAID, source=r"openrouter_credits"),
    Rule(
        Kind.UNPAID,
        says=r"insufficient credits|requires more credits|never purchased credits",
        provider_fault=False,
    ),
    Rule(Kind.UNPAID, codes=_codes(402), provider_fault=False),
    Rule(Kind.BROKEN, codes=_codes(402), scope=Scope.MODEL),
    # -- content filters: the account's own blocks every model, a provider's only that one
    Rule(Kind.GUARDED, patterns=True),
    Rule(Kind.GUARDED, says=r"request blocked|prompt injection"),
    Rule(Kind.MODERATED, flagged=True),
    Rule(
        Kind.MODERATED,
        says=r"requires moderation|was flagged|flagged (?:for|by)|content.management policy|content.?filter"
        r"|content.policy|content_policy|data_inspection_failed|inappropriate content|prohibited_content"
        r"|safety (?:system|filter|policy)|terms of service|violat\w+ (?:our|the) (?:usage )?polic",
        codes=_codes(200, 400, 403, 422, 451),
    ),
    # -- gates before the model
    Rule(Kind.CLOSED, step=r"agentic harness"),
    Rule(Kind.CLOSED, says=r"only available (?:on|in|to|for) agentic harness"),
    Rule(Kind.REGION, step=r"geo|region restriction"),
    Rule(
        Kind.REGION,
        says=r"not available in your (?:region|country|location)|user location is not supported"
        r"|unsupported_country|country, region,? or territory",
    ),
    Rule(Kind.POLICY, availability=r"privacy|data_policy|guardrail"),
    Rule(Kind.POLICY, step=r"data policy|guardrail|privacy|attestation|zdr|data retention"),
    Rule(
        Kind.POLICY,
        says=r"data policy|guardrail restriction|by guardrail|\(guardrail\)|zero data retention|attestation"
        r"|privacy settings?|settings/privacy|model restrictions",
        codes=_codes(400, 403, 404),
    ),
    Rule(Kind.CLOSED, step=r"^gate "),
    # -- what this request wants and this model cannot do
    Rule(Kind.UNFIT, step=r"."),
    Rule(
        Kind.UNFIT,
        says=r"no endpoints found that|no endpoints? (?:that )?(?:can )?support|supports? tool use"
        r"|support (?:image|audio|video|file|pdf)s? input|requested parameters|no allowed providers"
        r"|allowed providers|providers? have been ignored|max(?:imum)? price",
        codes=_codes(200, 400, 403, 404),
    ),
    Rule(Kind.UNFIT, says=r"no endpoints", endpoints_left=True),
    # -- gone
    Rule(Kind.DELISTED, availability=r"model_not_found|deprecated|delisted|removed"),
    Rule(
        Kind.DELISTED,
        says=r"not a valid model id|unavailable for free|free model has been deprecated|no endpoints found for"
        r"|no endpoints found|no endpoints available|stealth|testing period|free .{0,60}period has ended"
        r"|use this slug instead|migrate to the paid|(?:model|it) (?:has been|was) (?:deprecated|removed|retired)",
        codes=_codes(200, 400, 403, 404, 410),
        provider_fault=False,
    ),
    Rule(Kind.BROKEN, codes=_codes(404, 410), provider_fault=True, scope=Scope.MODEL),
    # -- the model's own limits on the request's size and form
    Rule(
        Kind.TOO_LONG,
        says=r"prompt is too long|input is too long|prompt too long",
        codes=_codes(200, 400, 413, 422),
        scope=Scope.REQUEST,
    ),
    Rule(
        Kind.TOO_LONG,
        says=r"maximum context|context.length|context.window|context_length_exceeded|context limit"
        r"|reduce the length|supports? at most|max_tokens.{0,40}(?:too large|exceed|greater)"
        r"|too many (?:input )?tokens|exceeds? the (?:model'?s? )?max(?:imum)?(?: number of)?(?: input)? tokens"
        r"|max_position_embeddings|token.{0,20}exceed",
        codes=_codes(200, 400, 404, 413, 422, 500),
    ),
    Rule(
        Kind.REJECTED,
        says=r"invalid schema for|invalid_function_parameters|no function named|must have \d+ items or fewer"
        r"|(?:does not|should|must) match (?:the )?(?:pattern|regex)|invalid_json_schema"
        r"|string_above_max|array_above_max",
        codes=_codes(200, 400, 422),
    ),
    Rule(
        Kind.INCOMPATIBLE,
        says=r"reasoning is mandatory|thinking is mandatory|cannot (?:be )?disable|developer instruction"
        r"|system (?:role|message|prompt|instruction)|unexpected role|roles? must alternate|conversation roles"
        r"|invalid_request_message_order|tool.call.id|tool_use.?ids?|expected last role|last message"
        r"|after role|message order|not (?:supported|enabled|allowed)|unsupported|does(?: not|n't) support"
        r"|failed to translate|grammar|auto-tool-choice|thought_?signature|thinking block|signature"
        r"|chat template|prefill|only supports?\b",
        codes=_codes(200, 400, 422),
    ),
    Rule(
        Kind.BROKEN,
        says=r"not found|no such model|unknown model",
        codes=_codes(400),
        provider_fault=True,
        scope=Scope.MODEL,
    ),
    # -- the request itself
    Rule(
        Kind.REJECTED,
        says=r"invalid value|invalid '|invalid type|invalid_type|expected .{1,80}received|is required"
        r"|input required|must have at least|must be (?:at |between|less|greater|a |an |one of)|invalid_enum"
        r"|unrecognized (?:key|request)|extra inputs|failed to parse|invalid json|json parse|invalid tool"
        r"|duplicate (?:tool|function) name",
        codes=_codes(200, 400, 422),
    ),
    Rule(Kind.DOUBTFUL, codes=_codes(400, 409, 422), provider_fault=True),
    Rule(Kind.MISROUTED, codes=_codes(404, 405), html=True),
    Rule(Kind.MISROUTED, codes=_codes(range(300, 400))),
    Rule(Kind.REJECTED, codes=_codes(400, 405, 406, 409, 411, 413, 414, 415, 422, 431)),
    Rule(Kind.DELISTED, codes=_codes(404, 410)),
    # -- capacity and weather
    Rule(Kind.OVERLOADED, availability=r"capacity", scope=Scope.MODEL),
    Rule(
        Kind.OVERLOADED,
        says=r"no backends? available|request limit reached|at capacity|no capacity|out of capacity"
        r"|no (?:healthy )?(?:instances?|workers?|replicas?|upstream)|capacity exceeded|is overloaded"
        r"|server is busy|cold start|still loading",
        codes=_codes(200, range(429, 600)),
        scope=Scope.MODEL,
    ),
    Rule(Kind.BROKEN, codes=_codes(401, 403), provider_fault=True, scope=Scope.MODEL),
    Rule(Kind.BROKEN, codes=_codes(403), html=True),
    Rule(Kind.BROKEN, codes=_codes(403), says=r"^error code:? ?1\d{3}|cloudflare"),
    Rule(Kind.FORBIDDEN, codes=_codes(403, 451)),
    # A limit of the service itself under a name that is not known: not one model's, so the account's.
    Rule(Kind.MINUTE_LIMIT, source=r"^openrouter_", codes=_codes(429), provider_fault=False),
    Rule(Kind.UPSTREAM_LIMIT, codes=_codes(429), provider_fault=True),
    Rule(Kind.RATE_LIMIT, codes=_codes(429)),
    Rule(Kind.TIMED_OUT, codes=_codes(408, 504, 522, 524)),
    Rule(Kind.OVERLOADED, codes=_codes(503, 529)),
    Rule(Kind.SPENT, says=r"finish_reason\W{1,3}length.*content\W{1,4}$"),
)


_WINDOWS = {Kind.MINUTE_LIMIT: "minute", Kind.DAY_LIMIT: "day"}
_WITH_RESET = frozenset({*_WINDOWS, Kind.MODEL_LIMIT, Kind.RATE_LIMIT})


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


def classify(
    status: int | None,
    headers: Mapping[str, str] | None,
    body: object,
    *,
    now: float,
) -> Verdict:
    """Judge a reply that carries an error.

    Args:
        status: HTTP status, None if only a stream event is known.
        headers: reply headers, names in any case.
        body: bytes, text or parsed JSON of the reply or of the event, whole or cut.
        now: Unix seconds.
    """
    seen = gather(status, headers, body)
    if status == 200 and not seen.error and '"choices"' in seen.said:
        # A cut or empty answer: its words are a model's, not the service's.
        return verdict(Kind.BROKEN, "a reply that is no whole answer", status=status)
    rule = next((row for row in RULES if row.matches(seen)), Rule(Kind.BROKEN))
    window = window_of(seen, now) if rule.kind is Kind.MODEL_LIMIT else _WINDOWS.get(rule.kind)
    until = named_until(seen, now, resets=rule.kind in _WITH_RESET, window=window)
    found = verdict(
        rule.kind,
        _reason(rule.kind, seen),
        scope=rule.scope,
        status=status,
        until=until,
        limit=seen.limit,
        window=window,
    )
    return found if seen.affords is None else replace(found, affords=seen.affords)


def classify_listing(
    status: int,
    headers: Mapping[str, str] | None,
    body: object,
    *,
    now: float,
) -> Verdict:
    """Judge a reply of the listing endpoints (`/models`, `/key`, `/credits`).

    A 200 is an answer, unless it carries an error or the key's own counter says that the day is spent.
    """
    payload, _ = decode(body)
    if status == 200 and not (payload or {}).get("error"):
        spent = gather(status, headers, body).limit_source == "free_tier_daily"
        return verdict(Kind.DAY_LIMIT if spent else Kind.OK, status=status)
    return classify(status, headers, body, now=now)


def _reason(kind: Kind, seen: Evidence) -> str:
    if seen.message and not seen.html:
        return seen.message
    page = " (an HTML page)" if seen.html else ""
    return f"{POLICIES[kind].means}{page}"
