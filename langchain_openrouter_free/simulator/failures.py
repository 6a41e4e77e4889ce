"""Failures that keep their HTTP status: one row for each kind that the service was seen to give.

Owns the wording, which is a fact of the service, and the metadata beside it. `{model}`, `{paid}`,
`{canonical}`, `{provider}` and `{name}` are filled in. It knows no account, no scripts and no sockets.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from langchain_openrouter_free.simulator.catalogue import Row
from langchain_openrouter_free.simulator.failure import Failure, filled
from langchain_openrouter_free.simulator.reply import Json

SETTINGS = "https://openrouter.ai/settings"
UPSTREAM = (
    "{model} is temporarily rate-limited upstream. Please retry shortly, or add your own key to "
    "accumulate your "
    f"rate limits: {SETTINGS}/integrations"
)
_UPSTREAM_HINT = (
    f"Retry shortly, add your own provider key ({SETTINGS}/integrations), or route to another provider with "
    "provider routing: https://openrouter.ai/docs/features/provider-routing"
)
_SHARED_HINT = "Retry shortly, or add your own provider key to use your own limits."
PROVIDER_ERROR = "Provider returned error"
NO_ENDPOINTS = "No endpoints found for {model}."


def _provider(status: int, about: str, raw: str, message: str = PROVIDER_ERROR, **more: Any) -> Failure:
    metadata: Json = {"raw": raw, "provider_name": "{provider}", "is_byok": False} | more
    return Failure(status, message, metadata, by_provider=True, about=about)


def _routing(status: int, about: str, message: str, failed: str, count: int = 1) -> Failure:
    funnel = [{"step": "Initial Endpoints", "endpoint_count": count}]
    return Failure(status, message, {"routing_funnel": funnel, "failed_routing_step": failed}, about=about)


def _own(status: int, about: str, message: str, **metadata: Any) -> Failure:
    return Failure(status, message, metadata or None, about=about)


def _credits(about: str, message: str, source: str, hint: str, **more: Any) -> Failure:
    metadata = {"limit_source": source, "remedy_hint": hint, "provider_name": None} | more
    return Failure(402, message, metadata, about=about)


_BUY = f"Add credits at {SETTINGS}/credits, or lower max_tokens / prompt size to fit your remaining balance."
_SCHEMA_RAW = (
    '{"error": {"message": "Invalid schema for response_format \'{name}\': \'invalid_type\' is not '
    "valid under any of "
    'the given schemas.", "type": "invalid_request_error", "param": "response_format", "code": null}}'
)
_TOOL_SCHEMA_RAW = (
    '{"error": {"message": "Invalid schema for function \'{name}\': \'invalid_type\' is not valid under '
    "any of the "
    'given schemas.", "type": "invalid_request_error", "param": "tools[0].function.parameters", '
    '"code": "invalid_function_parameters"}}'
)
_SYSTEM_RAW = (
    '{"error": {"code": 400, "message": "Developer instruction is not enabled for models/{name}", '
    '"status": "INVALID_ARGUMENT"}}'
)
_ORDER_RAW = (
    '{"object": "error", "message": "Unexpected role \'tool\' after role \'system\'", '
    '"type": "invalid_request_message_order", "param": null, "code": "3230", "raw_status_code": 400}'
)
_TOOL_CHOICE_RAW = (
    '{"error": {"message": "Invalid value for \'function_call\': no function named \'{name}\' was '
    "specified in the "
    '\'functions\' parameter.", "type": "invalid_request_error", "param": "function_call", "code": null}}'
)
_IDS_RAW = (
    '{"object": "error", "message": "Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.", '
    '"type": "invalid_request_error", "param": null, "code": "3280", "raw_status_code": 400}'
)
_GUARDRAIL = (
    "0 endpoints out of 1 requested are available matching your guardrail restrictions and data policy. "
    "We removed "
    "them for the following reasons (an endpoint may have matched multiple reasons):\n"
    "Free model training violation (guardrail): 1 endpoint excluded"
)

AUTH_FAILURES: dict[str, Failure] = {
    "401": _own(401, "the key is unknown or revoked", "User not found."),
    "401-missing": _own(401, "no key was sent", "Missing Authentication header"),
}

MONEY_FAILURES: dict[str, Failure] = {
    "402-credits": _own(402, "the balance is empty", f"Insufficient credits. Add more using {SETTINGS}/credits"),
    "402-afford": _credits(
        "max_tokens costs more than the balance",
        "This request requires more credits, or fewer max_tokens. You requested up to {wanted} tokens, "
        "but can only "
        f"afford {{affordable}}. To increase, visit {SETTINGS}/credits and add more credits",
        "openrouter_credits",
        _BUY,
    ),
    "402-prompt-tokens": _own(
        402, "the balance cannot pay the prompt", "Prompt tokens limit exceeded: {wanted} > {affordable}"
    ),
    "402-in-flight": _credits(
        "too much money is bound in running requests",
        "Too many requests are in flight for your remaining balance. Please wait for them to finish.",
        "in_flight_budget_exhausted",
        "Wait for running requests to finish, or add credits.",
        headers={"Retry-After": "120"},
    ),
    "403-key-limit": _own(
        403,
        "the spending limit of the key is reached",
        f"Key limit exceeded (total limit). Manage it using {SETTINGS}/keys",
        limit_source="openrouter_key_limit",
    ),
}

GATE_FAILURES: dict[str, Failure] = {
    "403-moderation": _own(
        403,
        "the provider's filter flagged the input",
        '{model} requires moderation on {provider}. Your input was flagged for "violence". No credits were charged.',
        reasons=["violence"],
        flagged_input="",
        provider_name="{provider}",
    ),
    "403-harness": _routing(
        403,
        "the free model is open to agentic harnesses only",
        "{model} is only available on agentic harnesses. Try plugging it into a coding agent or "
        "productivity app "
        "listed on https://openrouter.ai/apps",
        "Gate Free Endpoints by Agentic Harness",
    ),
    "403-region": _routing(
        403,
        "the model is closed to the caller's region",
        "This model is not available in your region.",
        "Gate Endpoints with Geo Restrictions",
        5,
    ),
    "403-guardrail": _own(
        403,
        "the caller's own guardrail blocked the request",
        "Request blocked: prompt injection patterns detected",
        patterns=["ignore all previous instructions"],
    ),
}

MISSING_FAILURES: dict[str, Failure] = {
    "404-delisted": _own(404, "the model has no endpoints any more", NO_ENDPOINTS),
    "404-unavailable-for-free": _own(
        404,
        "the free variant is gone; the sentence names a PAID slug",
        "This model is unavailable for free. The paid version is available now - use this slug instead: {paid}",
    ),
    "404-deprecated": _own(
        404,
        "the free variant is gone, in other words",
        "The free model has been deprecated. Transition to {paid} for continued paid access.",
    ),
    "404-tombstone": _own(
        404,
        "a stealth model that has ended",
        "Thank you for participating in the Stealth {name} testing period.\nThis model has a name now. "
        "Use it: "
        "https://openrouter.ai/{paid}",
    ),
    "404-policy": _routing(
        404,
        "the account's data policy excludes the model",
        f"No endpoints found matching your data policy (Free model training). Configure: {SETTINGS}/privacy",
        "Filter by Data Policy",
    ),
    "404-guardrail": _own(
        404,
        "the account's guardrails exclude the model",
        _GUARDRAIL,
        input_endpoint_count=1,
        ineligibility_reasons=[{"reason": "free-model-training-violation-by-guardrail", "endpoint_count": 1}],
        failed_routing_step="Filter by Guardrails",
    ),
    "404-tools": _routing(
        404,
        "the model has no tools and the request has",
        "No endpoints found that support tool use. To learn more about provider routing, visit: "
        "https://openrouter.ai/docs/guides/routing/provider-selection",
        "Filter by Tool Compatibility",
    ),
    "404-tool-choice": _routing(
        404,
        "the model has tools, but nobody may force a choice",
        "No endpoints found that support the provided 'tool_choice' value. To learn more about provider routing, "
        "visit: https://openrouter.ai/docs/guides/routing/provider-selection",
        "Filter by Tool Compatibility",
    ),
    "404-image": _own(
        404,
        "the model sees no images and the request has one",
        "No endpoints found that support image input",
        failed_routing_step="Filter by Image Support",
    ),
    "404-audio": _own(
        404,
        "the model hears nothing and the request has audio",
        "No endpoints found that support input audio",
        failed_routing_step="Filter by Audio Support",
    ),
    "404-parameters": _routing(
        404,
        "require_parameters excludes the model",
        "No endpoints found that can handle the requested parameters.",
        "Filter by Parameters",
    ),
    "404-max-price": _routing(
        404,
        "the model costs more than the request's max_price",
        "No endpoints found that satisfy the max price for this request",
        "Filter by Max Price",
    ),
    "404-providers-funnel": _routing(
        404,
        "the delisting sentence, but the request's own provider choice did it",
        NO_ENDPOINTS,
        "Filter by Allowed Providers",
        6,
    ),
    "404-provider": _provider(404, "the provider answers 404", ""),
}

REQUEST_FAILURES: dict[str, Failure] = {
    "400-invalid-id": _own(400, "unknown id; kills a whole chain", "{model} is not a valid model ID"),
    "400-context": _own(
        400,
        "the prompt does not fit into the model",
        "This endpoint's maximum context length is {context} tokens. However, you requested about "
        "{wanted} tokens "
        "({wanted} of text input, 0 in the output). Please reduce the length of the messages or completion.",
    ),
    "400-schema": _provider(400, "the provider refuses the response schema", _SCHEMA_RAW),
    "400-tool-schema": _provider(400, "the provider refuses a tool's schema", _TOOL_SCHEMA_RAW),
    "400-tool-choice": _provider(400, "tool_choice names a tool that was not offered", _TOOL_CHOICE_RAW),
    "400-system-role": _provider(400, "the model takes no system role", _SYSTEM_RAW),
    "400-tool-order": _provider(400, "the model is strict about the order of roles", _ORDER_RAW),
    "400-tool-ids": _provider(400, "the model demands tool call ids of one form", _IDS_RAW.replace("{id}", "call_1")),
    "400-alternation": _provider(
        400,
        "the model's template wants user and assistant in turns",
        '{"error": {"message": "Conversation roles must alternate user/assistant/user/assistant/...", "code": 400}}',
    ),
    "400-several-calls": _provider(
        400,
        "the model's template takes one tool call in a message",
        '{"error": {"message": "This model only supports single tool-calls at once!", "code": 400}}',
    ),
    "400-json-schema": _provider(400, "the model takes no schema", "json_schema is not supported by this model"),
    "400-json-object": _provider(400, "the model has no JSON mode", "JSON mode is not enabled for this model"),
    "400-parameter": _provider(
        400,
        "the model refuses one parameter",
        '{"error": {"message": "Unsupported parameter: \'{parameter}\' is not supported with this model.", '
        '"type": "invalid_request_error", "param": "{parameter}", "code": "unsupported_parameter"}}',
    ),
    "400-reasoning": _own(
        400,
        "the model always thinks",
        "Reasoning is mandatory for this endpoint and cannot be disabled.",
        provider_name=None,
    ),
    "400-unknown-raw": _provider(
        400, "the provider refuses and nobody knows why", "ERR 7: request dropped", provider_error_code="400"
    ),
    "400-temperature": _own(
        400,
        "the temperature is out of range",
        "Expected temperature to be at most 2, received {wanted}",
        provider_name=None,
    ),
    "400-not-json": _own(400, "the body is not JSON", "Input must have at least 1 token.", provider_name=None),
    "400-no-input": _own(400, "no messages", 'Input required: specify "prompt" or "messages"', provider_name=None),
    "400-chain": _own(400, "more than three models in a chain", "'models' array must have 3 items or fewer."),
    "408": _own(408, "the request timed out", "Operation timed out. Please try again later."),
    "413": _own(413, "the request is too large", "Request Entity Too Large"),
    "422": _provider(422, "the provider cannot process the request", "Unprocessable Entity"),
}

LIMIT_FAILURES: dict[str, Failure] = {
    "429-upstream": _provider(
        429,
        "the provider's shared pool is full (retry_after puts a hint into all four places)",
        UPSTREAM,
        provider_error_code="429",
        limit_source="upstream_provider_shared_pool",
        remedy_hint=_UPSTREAM_HINT,
    ),
    "429-upstream-raw": _provider(429, "the same; the reason is only in metadata.raw", UPSTREAM),
    "429-upstream-message": _provider(429, "the same; the sentence is the message itself", "", UPSTREAM),
    "429-generic": _own(429, "a 429 that does not say whose", "Rate limit exceeded", error_type="rate_limit_exceeded"),
    "429-empty": Failure(429, empty=True, about="a 429 without a body"),
    "429-model-rpm": _own(
        429,
        "the service's minute limit on one model",
        "Rate limit exceeded: limit_rpm/{canonical}/{uuid}. High demand for {model} on OpenRouter - "
        "limited to "
        "{limit} requests per minute. Please retry shortly.",
        limit_source="openrouter_shared_capacity",
        remedy_hint=_SHARED_HINT,
        provider_name=None,
    ),
    "429-model-rpd": _own(
        429,
        "the service's day limit on one model",
        "Rate limit exceeded: limit_rpd/{canonical}/{uuid}. Daily limit reached for {model} via "
        "OpenRouter. Credits "
        "don't affect this cap. Add your own key to raise it.",
        limit_source="openrouter_shared_capacity",
        remedy_hint=_SHARED_HINT,
        provider_name=None,
    ),
    "429-account-minute": _own(
        429,
        "the account's minute quota of free requests is used",
        "Rate limit exceeded: free-models-per-min. ",
        limit_source="openrouter_free_tier_per_minute",
        remedy_hint="Slow down requests to free models, or retry after the per-minute window resets.",
        provider_name=None,
    ),
    "429-account-day": _own(
        429,
        "the account's day quota of 50 free requests is used",
        "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
        limit_source="openrouter_free_tier_daily",
        remedy_hint="Add credits to unlock a higher daily quota, or wait for the daily reset (see X-RateLimit-Reset)",
        provider_name=None,
    ),
    "429-account-day-1000": _own(
        429,
        "the account's day quota of 1000 free requests is used",
        "Rate limit exceeded: free-models-per-day-high-balance. ",
        limit_source="openrouter_free_tier_daily",
        remedy_hint="Wait for the daily reset (see X-RateLimit-Reset)",
        provider_name=None,
    ),
    "429-previous-account": _provider(
        400,
        "a provider's 400 that hides the account's 429s in previous_errors",
        '{"error": "bad request"}',
        previous_errors=[{"code": 429, "message": "Rate limit exceeded: free-models-per-min. "}] * 2,
    ),
}

OUTAGES: dict[str, Failure] = {
    "500": _own(500, "internal error", "Internal Server Error"),
    "502": _provider(502, "the provider is not reachable", "Bad Gateway"),
    "502-html": Failure(502, page="openrouter.ai | 502: Bad gateway", about="a proxy's page"),
    "503": _own(503, "service unavailable", "Service temporarily unavailable"),
    "503-no-backends": _provider(
        503,
        "the provider has no backend",
        '{"error":{"message":"No backends available","type":"capacity_exhausted"}}',
    ),
    "520": Failure(520, page="openrouter.ai | 520: Web server is returning an unknown error", about="a proxy's page"),
    "522": Failure(522, page="openrouter.ai | 522: Connection timed out", about="a proxy's page"),
    "524": _own(524, "timed out behind the proxy", "Request timed out. Please try again later."),
    "524-html": Failure(524, page="openrouter.ai | 524: A timeout occurred", about="a proxy's page"),
    "529": _own(529, "the provider is overloaded", PROVIDER_ERROR),
}

FAILURES: dict[str, Failure] = (
    AUTH_FAILURES | MONEY_FAILURES | GATE_FAILURES | MISSING_FAILURES | REQUEST_FAILURES | LIMIT_FAILURES | OUTAGES
)


def failure(kind: str, row: Row | None = None, /, **values: Any) -> Failure:
    """A failure by name with its blanks filled in, from the row and from further values."""
    template = FAILURES[kind]
    known: dict[str, str] = {"wanted": "64000", "affordable": "2666", "limit": "8", "uuid": "0" * 8}
    known["parameter"] = "seed"
    if row is not None:
        bare = row.id.removesuffix(":free")
        known |= {
            "model": row.id,
            "paid": bare,
            "name": bare.rpartition("/")[2],
            "canonical": row.canonical_slug,
            "provider": row.provider,
            "context": str(row.context_length),
        }
    known |= {name: str(value) for name, value in values.items()}
    return replace(template, message=filled(template.message, known), metadata=filled(template.metadata, known))
