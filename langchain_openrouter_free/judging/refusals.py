"""The table of refusals: what the service said -> a verdict (whom it concerns, until when, what to do next).

One row per signal, most specific first. Pure: no clock (`now` is an argument), no HTTP client, no LangChain. How the
evidence is dug out of a reply is `evidence.py`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from langchain_openrouter_free.judging.shortcomings import named, sizes
from langchain_openrouter_free.judging.verdicts import POLICIES, Kind, Scope, Verdict, verdict
from langchain_openrouter_free.judging.waits import named_until, window_of
from langchain_openrouter_free.protocol.evidence import Evidence, compiled, decode, gather, says_of_time
from langchain_openrouter_free.protocol.headers import header
from langchain_openrouter_free.values import value_type


@value_type()
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
    earlier: str = ""
    scope: Scope | None = None

    def matches(self, seen: Evidence) -> bool:
        """Tell whether the signals of this row are all there, beside its codes (see `_rows`)."""
        return (
            (self.provider_fault is None or self.provider_fault == seen.provider_fault)
            and (self.html is None or self.html == seen.html)
            and (self.flagged is None or self.flagged == seen.flagged)
            and (self.patterns is None or self.patterns == seen.blocked_patterns)
            and (self.endpoints_left is None or self.endpoints_left == bool(seen.initial_endpoints))
            and _found(self.source, seen.limit_source)
            and _found(self.step, seen.routing_step)
            and _found(self.availability, seen.availability)
            and _found(self.says, seen.said)
            and _found(self.earlier, seen.earlier)
        )


def _found(pattern: str, text: str) -> bool:
    return not pattern or (bool(text) and compiled(pattern).search(text) is not None)


def _codes(*codes: int | range) -> frozenset[int]:
    return frozenset(n for c in codes for n in (c if isinstance(c, range) else (c,)))


# What refuses a request for its form may repeat the prompt, and a prompt may speak of limits.
_OF_A_LIMIT = _codes(200, range(429, 600))

# The service's own sentence, whatever a proxy makes of its code: nothing but the name of an error stands before it.
_FIRST_OF_ALL = r"\A.{0,80}?rate limit exceeded:? "

# The service's own sentence about a model; a prompt that is repeated further on may say the same.
_FIRST_MODEL = r"\A.{0,40}?(?:\bmodel\b.{1,90}?|:free|\(free\)) "

# The service's advice where the key's own limit is too small, not the balance.
_OF_KEY = r"\bkey\s+with\s+a\s+higher\b"

# Sources of the wordings: recorded and documented replies of 2025-06 to 2026-10; `failed_routing_step` and
# `limit_source` appeared during 2026 and are missing from older bodies, hence a second row by wording.
RULES: tuple[Rule, ...] = (
    # -- the key. A provider's own 401 (its name stands in the metadata) is not ours.
    Rule(Kind.UNAUTHENTICATED, codes=_codes(401), provider_fault=False),
    # -- the account's free quota, also where an outer error of another kind hides it (`previous_errors`)
    Rule(Kind.DAY_LIMIT, source=r"free_tier_daily"),
    Rule(Kind.DAY_LIMIT, says=r"free-models-per-day", codes=_OF_A_LIMIT),
    Rule(Kind.DAY_LIMIT, says=_FIRST_OF_ALL + r"free-models-per-day", provider_fault=False),
    Rule(Kind.DAY_LIMIT, earlier=r"free-models-per-day|free_tier_daily"),
    Rule(Kind.MINUTE_LIMIT, source=r"free_tier_per_minute"),
    Rule(Kind.MINUTE_LIMIT, says=r"free-models-per-min", codes=_OF_A_LIMIT),
    Rule(Kind.MINUTE_LIMIT, says=_FIRST_OF_ALL + r"free-models-per-min", provider_fault=False),
    Rule(Kind.MINUTE_LIMIT, earlier=r"free-models-per-min|free_tier_per_minute"),
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
    Rule(
        Kind.IN_FLIGHT_BUDGET,
        says=r"\b(?:credits|balance)\b.{0,60}\bin.flight\b|\bin.flight\b.{0,60}\b(?:credits|balance)\b",
        provider_fault=False,
    ),
    Rule(Kind.IN_DEBT, source=r"negative_balance"),
    Rule(Kind.IN_DEBT, says=r"negative (?:credit )?balance|balance is negative", provider_fault=False),
    # Whichever of the two pays for no more: the key's own limit is told in the same words (recorded 2025-2026).
    Rule(
        Kind.TOO_DEAR,
        says=r"can\s+only\s+afford|fewer max_tokens|prompt tokens limit exceeded"
        r"|token capacity required|maximum cost exceeds your available|weight_exceeds_budget",
        provider_fault=False,
    ),
    Rule(Kind.TOO_DEAR, source=r"weight_exceeds"),
    Rule(Kind.KEY_LIMIT, source=r"key_limit"),
    Rule(
        Kind.KEY_LIMIT,
        says=r"key limit exceeded|(?:weekly|daily|monthly|total) limit\)"
        r"|(?:spend(?:ing)?|budget) limit (?:exceeded|reached)",
        codes=_codes(200, 402, 403),
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
    # A page that says so is a firewall's, and a provider's guardrail is that provider's.
    Rule(Kind.GUARDED, says=r"request blocked|prompt injection", provider_fault=False, html=False),
    Rule(
        Kind.MODERATED,
        says=r"request blocked|prompt injection|guardrail",
        codes=_codes(200, 400, 403, 422),
        provider_fault=True,
    ),
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
        r"|privacy settings?|settings/privacy|model restrictions|\bzdr\b",
        codes=_codes(400, 403, 404),
    ),
    Rule(Kind.CLOSED, step=r"^gate "),
    # -- what this request wants and this model cannot do
    Rule(Kind.DELISTED, step=r"^initial endpoints", provider_fault=False),
    Rule(Kind.UNFIT, step=r"."),
    Rule(
        Kind.UNFIT,
        says=r"no endpoints? (?:were )?(?:found|available)?(?: for \S+)?,? ?(?:that|which|with|match|satisfy)"
        r"|supports? tool use|no endpoints? (?:that )?(?:can )?support|provider (?:preferences|routing)"
        r"|support (?:image|audio|video|file|pdf)s? input|requested parameters|no allowed providers"
        r"|allowed providers|providers? have been ignored|max(?:imum)? price",
        codes=_codes(200, 400, 403, 404),
    ),
    Rule(Kind.UNFIT, says=r"no endpoints", endpoints_left=True),
    # -- gone
    Rule(Kind.DELISTED, availability=r"model_not_found|deprecated|delisted|removed"),
    Rule(
        Kind.DELISTED,
        says=_FIRST_MODEL + r"does not exist|" + _FIRST_MODEL + r"is no longer (?:available|offered|free)\b"
        r"|not a valid model id|unavailable for free|free model has been deprecated|no endpoints found for"
        r"|no endpoints found|no endpoints available|stealth|testing period"
        r"|(?:free .{0,60}period|(?:alpha|beta|preview)(?: period)?) has ended"
        r"|use this slug instead|migrate to the paid|(?:model|it) (?:has been|was) (?:deprecated|removed|retired)",
        codes=_codes(200, 400, 403, 404, 410),
        provider_fault=False,
    ),
    Rule(Kind.BROKEN, codes=_codes(404, 410), provider_fault=True, scope=Scope.MODEL),
    # -- the service's own check of the form: it names the field, which no model's rules need to be about
    Rule(
        Kind.REJECTED,
        says=r'"code": ?"(?:invalid_(?:type|union|enum|literal|string|value|format|arguments)|too_(?:small|big)'
        r"|unrecognized_keys)|invalid input: expected|expected \w+, received \w+"
        r"|(?:number|string|array) must (?:be|contain) ",
        codes=_codes(200, 400, 422),
        provider_fault=False,
        scope=Scope.REQUEST,
    ),
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
        r"|reduce the length|reduce your message size|supports? at most [\d,]+ (?:\w+ ){0,2}tokens"
        r"|max_tokens.{0,40}(?:too large|exceed|greater(?! than (?:or equal to )?[01]\b))"
        r"|too many (?:input )?tokens|exceeds? the (?:model'?s? )?max(?:imum)?(?: number of)?(?: input)? tokens"
        r"|max_position_embeddings|token.{0,20}exceed",
        codes=_codes(200, 400, 404, 413, 422, 500),
    ),
    # Each provider has its own ceiling for an answer; what no model could give is told before a request.
    Rule(
        Kind.TOO_LONG,
        says=r"max_\w*tokens\W{1,3}must be (?:less|at most|no (?:more|greater)|smaller|between)",
        codes=_codes(200, 400, 422),
        provider_fault=True,
    ),
    Rule(
        Kind.INCOMPATIBLE,
        says=r"tool_(?:use|call)s?\S*id\S*\W.{0,20}match|content must be a (?:valid )?string"
        r"|single tool.calls? at once",
        codes=_codes(200, 400, 422),
    ),
    # What the model made was of no use, and the provider says so itself: another one may do better.
    Rule(
        Kind.BAD_ARGUMENTS,
        says=r"tool_use_failed|failed to parse (?:the )?tool.call|failed to call a function",
        codes=_codes(200, 400, 422),
    ),
    Rule(Kind.FINISH_ERROR, says=r"json_validate_failed|failed to generate json", codes=_codes(200, 400, 422)),
    Rule(
        Kind.REJECTED,
        says=r"invalid schema for|invalid_function_parameters|no function named|must have \d+ items or fewer"
        r"|(?:does not|should|must) match (?:the )?(?:pattern|regex)|invalid_json_schema"
        r"|string_above_max|array_above_max|invalid function name|function name (?:was .{1,80} but must|is invalid)"
        r"|tool names must be unique|(?:tool|function).{0,40}name\W.{0,60}must satisfy regular expression"
        r"|tool_choice\W{1,3}does not match any",
        codes=_codes(200, 400, 422),
    ),
    Rule(
        Kind.INCOMPATIBLE,
        says=r"reasoning is mandatory|thinking is mandatory|cannot (?:be )?disable|developer instruction"
        r"|system (?:role|message|prompt|instruction)|unexpected role|roles? must alternate|conversation roles"
        r"|invalid_request_message_order|tool.call.id|tool_use.?ids?|expected last role|last message"
        r"|after role|message order|not (?:supported|enabled|allowed)|unsupported|does(?: not|n't) support"
        r"|failed to translate|grammar|auto-tool-choice|thought_?signature|thinking block|signature"
        r"|chat template|prefill|only supports?\b|at most \d+ (?:image|audio|video|file)",
        codes=_codes(200, 400, 422),
    ),
    Rule(
        Kind.BROKEN,
        says=r"not found|no such model|unknown model",
        codes=_codes(400),
        provider_fault=True,
        scope=Scope.MODEL,
    ),
    # A provider that is strict about parameters need not have fellows.
    Rule(
        Kind.DOUBTFUL,
        says=r"extra inputs|extra_forbidden|unrecognized request argument",
        codes=_codes(400, 422),
        provider_fault=True,
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
    Rule(Kind.DOUBTFUL, codes=_codes(400, 409, 413, 422), provider_fault=True),
    Rule(Kind.MISROUTED, codes=_codes(404, 405), html=True),
    # The service judges requests in JSON: a page is that of a machine before it.
    Rule(Kind.BROKEN, codes=_codes(400), html=True),
    Rule(Kind.MISROUTED, codes=_codes(range(300, 400))),
    Rule(Kind.REJECTED, codes=_codes(400, 405, 406, 409, 411, 413, 414, 415, 422, 431)),
    Rule(Kind.UNFIT, says=r"\b(?:does(?: not|n't)|cannot|can't) (?:support|handle|process)\b", codes=_codes(404)),
    # The last words of a model differ from one to the next, but speak of a model; a bare 404 may be anybody's.
    Rule(Kind.DELISTED, says=r"\bmodels?\b|thank you", codes=_codes(404, 410)),
    Rule(Kind.BROKEN, codes=_codes(404, 410), scope=Scope.MODEL),
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


@lru_cache(maxsize=64)
def _rows(code: int | None) -> tuple[Rule, ...]:
    """Return the rows that a code leaves open."""
    return tuple(row for row in RULES if not row.codes or code in row.codes)


_WINDOWS = {Kind.MINUTE_LIMIT: "minute", Kind.DAY_LIMIT: "day"}
# What is said about the request; elsewhere a feature's name is no refusal of it.
_OF_THE_REQUEST = frozenset({Kind.UNFIT, Kind.INCOMPATIBLE, Kind.DOUBTFUL, Kind.REJECTED})
_WITH_RESET = frozenset({*_WINDOWS, Kind.MODEL_LIMIT, Kind.RATE_LIMIT})
# Characters of a body that is remembered with what it means.
_SHORT = 2048


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
    if isinstance(body, str | bytes) and len(body) <= _SHORT and not says_of_time(headers):
        found = _timeless(status, header(headers, "content-type") or "", body)
        if found is not None:
            return found
    return _judged(gather(status, headers, body), status, now)


# An outage says the same of model after model.
@lru_cache(maxsize=64)
def _timeless(status: int | None, kind: str, body: str | bytes) -> Verdict | None:
    """Judge a body that says nothing of time, whenever it comes; None for any other."""
    seen = gather(status, {"content-type": kind}, body)
    if seen.waits or seen.dates or seen.resets or seen.limit is not None:
        return None
    found = _judged(seen, status, now=0.0)
    return None if found.kind in _WITH_RESET else found


def _judged(seen: Evidence, status: int | None, now: float) -> Verdict:
    if status == 200 and not seen.error and '"choices"' in seen.said:
        # A cut or empty answer: its words are a model's, not the service's.
        return verdict(Kind.BROKEN, "a reply that is no whole answer", status=status)
    rule = next((row for row in _rows(seen.code) if row.matches(seen)), Rule(Kind.BROKEN))
    # Where a row says whom it concerns, a name in it says nothing else.
    names = named(seen) if rule.kind in _OF_THE_REQUEST and rule.scope is None else frozenset[str]()
    if names and rule.kind in (Kind.DOUBTFUL, Kind.REJECTED):
        # What this model lacks, others may have.
        rule = Rule(Kind.INCOMPATIBLE)
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
    context, counted = sizes(seen) if rule.kind is Kind.TOO_LONG else (None, None)
    of_key = rule.kind is Kind.TOO_DEAR and (_found(r"key_limit", seen.limit_source) or _found(_OF_KEY, seen.said))
    return replace(found, affords=seen.affords, of_key=of_key, context=context, counted=counted, names=names)


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
