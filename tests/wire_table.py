"""Every distinct shape of a refusal or of an odd success, in a minimal form of our own.

The wordings are the service's (facts, recorded 2025-02 to 2026-10); ids, names and numbers are made up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

NOW = 1_790_000_000.0  # 2026-09-21 14:13:20 UTC
MIDNIGHT = 1_790_035_200.0
NEXT_MINUTE = 1_790_000_040.0


@dataclass(frozen=True)
class Case:
    """One reply and what it means."""

    id: str
    status: int
    body: Any
    kind: str
    scope: str
    headers: dict[str, str] = field(default_factory=dict)
    until: float | None = None

    @property
    def raw(self) -> bytes:
        """The body as it stands on the wire."""
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def err(code: Any, message: str, /, **meta: Any) -> dict[str, Any]:
    """An error body as the service writes it."""
    error: dict[str, Any] = {"message": message, "code": code}
    if meta:
        error["metadata"] = meta
    return {"error": error, "user_id": "user_1"}


def upstream(code: int, raw: Any, /, **meta: Any) -> dict[str, Any]:
    """An error that a provider gave."""
    return err(code, "Provider returned error", raw=raw, provider_name="Someone", **meta)


def made(code: str, message: str, said: str) -> str:
    """What a provider says of an answer of its model that could not be used."""
    return json.dumps({"error": {"message": message, "code": code, "failed_generation": said}})


def repeated(prompt: str) -> str:
    """What a server says of a form that it does not take: it repeats the prompt."""
    return json.dumps({"detail": [{"loc": ["body", "messages"], "msg": "no good", "input": prompt}]})


def zod(message: str, *path: str | int) -> str:
    """What the service's own check says of a field."""
    return json.dumps([{"code": "invalid_type", "expected": "string", "path": path, "message": message}], indent=2)


def limits(limit: int, reset_ms: int | None = None) -> dict[str, str]:
    """The rate limit headers as they stand inside a body."""
    told = {"X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": "0"}
    return told if reset_ms is None else {**told, "X-RateLimit-Reset": str(reset_ms)}


def answer(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    """A whole plain answer."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **more}
    return {"id": "gen-1", "model": "a/b:free", "provider": "Someone", "choices": [choice]}


def sse(*events: Any, done: bool = True) -> str:
    """An event stream."""
    rows = [f"data: {json.dumps(event)}\n\n" for event in events]
    return ": OPENROUTER PROCESSING\n\n" + "".join(rows) + ("data: [DONE]\n\n" if done else "")


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One event of a stream."""
    return {"id": "gen-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def ended(finish: str, native: str) -> dict[str, Any]:
    """An event with words that ends its answer, by both names of the reason."""
    choice = {"index": 0, "delta": {"content": "half an"}, "finish_reason": finish, "native_finish_reason": native}
    return {"id": "gen-1", "choices": [choice]}


MIDNIGHT_MS = int(MIDNIGHT * 1000)
MINUTE_MS = int(NEXT_MINUTE * 1000)
IN_FLIGHT = "This request would exceed your available credits given your current in-flight requests. Retry after in-flight requests settle, or add credits."
PER_DAY = "Rate limit exceeded: free-models-per-day"
PER_MIN = "Rate limit exceeded: free-models-per-min. "
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}

# Objects that are no piece of an answer and no error in the usual words.
UNSAID: list[dict[str, Any]] = [
    {"message": "oops"},
    {"detail": "oops"},
    {"errors": [{"message": "oops"}]},
    {"error": {}},
]
REFUSALS = [
    # -- the key
    Case("401-no-key", 401, err(401, "No cookie auth credentials found"), "unauthenticated", "account"),
    Case("401-bad-key", 401, err(401, "User not found."), "unauthenticated", "account"),
    Case("401-text", 401, "Unauthorized", "unauthenticated", "account"),
    Case("401-in-200", 200, err(401, "Missing Authentication header"), "unauthenticated", "account"),
    Case("401-of-the-provider", 401, upstream(401, "invalid upstream key"), "broken", "model"),
    # -- the account's free quota
    Case(
        "day-source",
        429,
        err(429, PER_DAY, headers=limits(50, MIDNIGHT_MS), limit_source="openrouter_free_tier_daily"),
        "day_limit",
        "account",
        until=MIDNIGHT,
    ),
    Case("day-old-body", 429, err(429, PER_DAY + ". Add 10 credits"), "day_limit", "account", until=MIDNIGHT),
    Case("day-high-balance", 429, err(429, PER_DAY + "-high-balance. "), "day_limit", "account", until=MIDNIGHT),
    Case("day-stealth", 429, err(429, PER_DAY + "-stealth. "), "day_limit", "account", until=MIDNIGHT),
    Case(
        "day-real-headers",
        429,
        err(429, PER_DAY),
        "day_limit",
        "account",
        headers={"x-ratelimit-reset": str(MIDNIGHT_MS), "x-ratelimit-limit": "50"},
        until=MIDNIGHT,
    ),
    Case("day-cut-log", 429, f'Error - {{"error":{{"message":"{PER_DAY}","metadata":{{"X-RateLimit-Reset":"17', "day_limit", "account"),
    Case("day-in-200", 200, err(429, PER_DAY), "day_limit", "account"),
    Case("day-in-stream", 200, sse({"choices": [], "error": {"code": 429, "message": PER_DAY}}), "day_limit", "account"),
    Case("day-in-another-error", 429, {"error": err(429, PER_DAY)}, "day_limit", "account"),
    Case("day-in-another-error-of-a-200", 200, {"error": {"code": 429, "error": PER_DAY}}, "day_limit", "account"),
    Case(
        "minute",
        429,
        err(429, PER_MIN, headers=limits(20, MINUTE_MS), provider_name=None),
        "minute_limit",
        "account",
        until=NEXT_MINUTE,
    ),
    Case("minute-no-reset", 429, err(429, PER_MIN, headers=limits(16)), "minute_limit", "account", until=NEXT_MINUTE),
    Case(
        "minute-other-dialect",
        429,
        {
            "type": "error",
            "error": {"type": "rate_limit_error", "message": PER_MIN},
            "metadata": {"limit_source": "free_tier_per_minute", "headers": limits(20, MINUTE_MS)},
        },
        "minute_limit",
        "account",
        until=NEXT_MINUTE,
    ),
    Case(
        "minute-behind-a-400",
        400,
        upstream(400, "bad", previous_errors=[{"code": 429, "message": PER_MIN}] * 7),
        "minute_limit",
        "account",
    ),
    Case(
        "day-behind-a-404",
        404,
        upstream(404, "", previous_errors=[{"code": 429, "message": "Provider returned error", "raw": PER_DAY}]),
        "day_limit",
        "account",
    ),
    Case("minute-behind-a-400-nested", 400, upstream(400, "bad", previous_errors=[err(429, PER_MIN)]), "minute_limit", "account"),
    Case("day-behind-a-400-by-source", 400, upstream(400, "bad", previous_errors=[{"code": 429, "metadata": {"limit_source": "openrouter_free_tier_daily"}}]), "day_limit", "account"),
    Case("minute-behind-a-400-cut", 400, json.dumps(upstream(400, "bad", previous_errors=[{"code": 429, "message": PER_MIN}] * 2))[:-40], "minute_limit", "account"),
    Case("day-as-a-400", 400, err(400, PER_DAY), "day_limit", "account"),
    Case("day-as-a-404-of-a-proxy", 404, err(404, f"SomeError: XException - {PER_DAY}"), "day_limit", "account"),
    Case("minute-as-a-400-in-words", 400, PER_MIN, "minute_limit", "account"),
    Case("metadata-as-text", 429, {"error": {"message": "x", "code": 429, "metadata": json.dumps({"limit_source": "openrouter_free_tier_daily"})}}, "day_limit", "account"),
    Case("source-in-a-log", 429, "limit_source: openrouter_free_tier_per_minute`, X-RateLimit-Limit: 20", "minute_limit", "account"),
    # -- one model's limits
    Case(
        "model-minute",
        429,
        err(
            429,
            "Rate limit exceeded: limit_rpm/a/b-1/0f0f. High demand for a/b:free on OpenRouter - limited to 8 requests per minute.",
            headers=limits(8, MINUTE_MS),
        ),
        "model_limit",
        "model",
        until=NEXT_MINUTE,
    ),
    Case("model-day", 429, err(429, "Daily limit reached for a/b:free. Credits don't affect this cap"), "model_limit", "model"),
    Case("model-shared", 429, err(429, "Please retry", limit_source="openrouter_shared_capacity"), "model_limit", "model"),
    Case("model-tokens", 429, err(429, "Rate limit exceeded: limit_tpm/a/b-1/0f"), "model_limit", "model"),
    Case("upstream", 429, upstream(429, "a/b:free is temporarily rate-limited upstream."), "upstream_limit", "model"),
    Case("upstream-message", 429, err(429, "a/b:free is temporarily rate-limited upstream"), "upstream_limit", "model"),
    Case(
        "upstream-waits",
        429,
        upstream(429, "rate-limited upstream", retry_after_seconds=5, retry_after_seconds_raw=5.5, headers={"Retry-After": "5"}),
        "upstream_limit",
        "model",
        headers={"Retry-After": "5"},
        until=NOW + 5.5,
    ),
    Case(
        "upstream-paid-too",
        429,
        err(429, "Too many", limit_source="upstream_provider_shared_pool"),
        "upstream_limit",
        "model",
    ),
    Case("upstream-cut-raw", 429, upstream(429, '{"error": {"message": "slow do'), "upstream_limit", "model"),
    Case("upstream-empty-raw", 429, upstream(429, ""), "upstream_limit", "model"),
    Case("upstream-200-null-choices", 200, {"choices": None, **upstream(429, "Too Many Requests")}, "upstream_limit", "model"),
    Case("upstream-word-code", 200, {"choices": [], **upstream("rate_limit_exceeded", "busy")}, "upstream_limit", "model"),  # type: ignore[arg-type]
    Case(
        "upstream-wrapped",
        500,
        {"error": 'request failed with status 429: {"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"is temporarily rate-limited upstream"}}}'},
        "upstream_limit",
        "model",
    ),
    Case("429-empty", 429, b"", "rate_limit", "model"),
    Case("429-generic", 429, err(429, "Rate limit exceeded"), "rate_limit", "model"),
    Case("429-date", 429, b"", "rate_limit", "model", headers={"retry-after": "Mon, 21 Sep 2026 14:14:20 GMT"}, until=NOW + 60),
    Case("429-absurd-wait", 429, b"", "rate_limit", "model", headers={"Retry-After": "1000000"}),
    Case("429-bad-wait", 429, b"", "rate_limit", "model", headers={"RETRY-AFTER": "abc"}),
    Case("429-negative-wait", 429, b"", "rate_limit", "model", headers={"Retry-After": "-5"}),
    Case("429-past-reset", 429, err(429, PER_MIN, headers=limits(20, 1_700_000_000_000)), "minute_limit", "account", until=NEXT_MINUTE),
    Case("429-reset-in-seconds", 429, err(429, PER_MIN), "minute_limit", "account", headers={"X-RateLimit-Reset": "1790000040"}, until=NEXT_MINUTE),
    Case("429-reset-relative", 429, err(429, PER_MIN), "minute_limit", "account", headers={"X-RateLimit-Reset": "40"}, until=NEXT_MINUTE),
    Case("429-reset-relative-ms", 429, err(429, PER_MIN), "minute_limit", "account", headers={"X-RateLimit-Reset": "40000"}, until=NEXT_MINUTE),
    Case("429-reset-of-the-day", 429, err(429, PER_MIN, headers=limits(20, MIDNIGHT_MS)), "minute_limit", "account", until=NEXT_MINUTE),
    Case("429-day-and-a-second", 429, err(429, PER_DAY), "day_limit", "account", headers={"Retry-After": "1"}, until=MIDNIGHT),
    Case("429-minute-and-more", 429, err(429, PER_MIN), "minute_limit", "account", headers={"Retry-After": "200"}, until=NOW + 200),
    Case("429-model-day-and-a-second", 429, err(429, "Daily limit reached for a/b:free", retry_after_seconds=1), "model_limit", "model", until=MIDNIGHT),
    Case("capacity-documented", 429, {"error": {"message": "All providers for a/b are at capacity. Retry after 40 seconds.", "http_status": 429, "availability": {"code": "capacity_exhausted", "retry_after": 40}}}, "overloaded", "model", until=NOW + 40),
    # -- money
    Case("402-credits", 402, err(402, "Insufficient credits. Add more"), "unpaid", "account"),
    Case("402-afford", 402, err(402, "You requested up to 100 tokens, but can only afford 7.", limit_source="openrouter_credits"), "too_dear", "account"),
    Case("402-prompt", 402, "402 Prompt tokens limit exceeded: 9 > 8", "too_dear", "account"),
    Case("402-in-flight", 402, err(402, "busy", limit_source="in_flight_budget_exhausted", headers={"Retry-After": "120"}), "in_flight_budget", "account", until=NOW + 120),
    Case("402-in-flight-documented", 402, err(402, IN_FLIGHT, reason="in_flight_budget_exhausted", limit_source="openrouter_in_flight_budget"), "in_flight_budget", "account", headers={"Retry-After": "60"}, until=NOW + 60),
    Case("402-in-flight-in-words", 402, err(402, IN_FLIGHT), "in_flight_budget", "account"),
    Case("402-in-flight-by-its-reason", 402, err(402, "x", reason="in_flight_budget_exhausted"), "in_flight_budget", "account"),
    Case("402-maximum-cost", 402, err(402, "This request's maximum cost exceeds your available credits. Add credits, or lower max_tokens or prompt size."), "too_dear", "account"),
    Case("402-weight", 402, err(402, "x", reason="weight_exceeds_budget", limit_source="openrouter_credits"), "too_dear", "account"),
    Case("502-reason-of-a-gateway", 502, err(502, "Bad gateway", reason="upstream connect error"), "broken", "provider"),
    Case("404-reason-of-a-gateway", 404, err(404, "No endpoints found for a/b:free.", reason="upstream_error"), "delisted", "model"),
    Case("402-key-limit", 402, err(402, "x", limit_source="openrouter_key_limit"), "key_limit", "account"),
    Case("403-key-limit", 403, err(403, "Key limit exceeded (weekly limit)"), "key_limit", "account"),
    Case("402-budget-of-the-provider", 402, upstream(402, "Spending limit reached"), "broken", "model"),
    Case("403-budget-of-the-provider", 403, upstream(403, "Budget limit exceeded for this key"), "broken", "model"),
    Case("402-of-the-provider", 402, upstream(402, "Insufficient Balance"), "broken", "model"),
    # -- filters and gates
    Case("403-moderation", 403, err(403, "a/b requires moderation on Someone. Your input was flagged for x", reasons=["x"]), "moderated", "model"),
    Case("403-moderation-repr", 403, "Error code: 403 - {'error': {'message': 'flagged', 'code': 403, 'metadata': {'reasons': ['x']}}}", "moderated", "model"),
    Case("400-provider-filter", 400, upstream(400, '{"error":{"code":"data_inspection_failed"}}'), "moderated", "model"),
    Case("403-guardrail", 403, err(403, "Request blocked: prompt injection patterns detected", patterns=["x"]), "guarded", "request"),
    Case("403-guardrail-of-the-provider", 403, upstream(403, "Request blocked by guardrail"), "moderated", "model"),
    Case("400-guardrail-of-the-provider", 400, upstream(400, "prompt injection detected"), "moderated", "model"),
    Case("403-firewall", 403, "<HTML><HEAD><TITLE>ERROR</TITLE></HEAD><BODY>Request blocked. We can't connect</BODY></HTML>", "broken", "provider"),
    Case("403-harness", 403, err(403, "a/b is only available on agentic harnesses.", failed_routing_step="Gate Free Endpoints by Agentic Harness"), "closed", "model"),
    Case("403-region", 403, err(403, "x", failed_routing_step="Gate Endpoints with Geo Restrictions"), "region", "model"),
    Case("400-region", 400, upstream(400, "User location is not supported for the API use."), "region", "model"),
    Case("403-unknown", 403, err(403, "Only management keys can perform this operation"), "forbidden", "account"),
    Case("403-page", 403, "<!DOCTYPE html><title>Attention</title>", "broken", "provider"),
    # -- privacy: the account's, but only for the models of that policy
    Case("404-policy", 404, err(404, "No endpoints found matching your data policy (Free model training).", failed_routing_step="Filter by Data Policy"), "policy", "account"),
    Case("404-policy-words", 404, err(404, "No endpoints found matching your data policy"), "policy", "account"),
    Case("404-guardrail", 404, err(404, "0 endpoints out of 1 requested are available matching your guardrail restrictions and data policy.", failed_routing_step="Filter by Guardrails"), "policy", "account"),
    Case("404-privacy-documented", 404, {"error": {"message": "No endpoints for a/b match your data policy", "availability": {"code": "privacy_restricted"}}}, "policy", "account"),
    # -- not for this request
    Case("404-tools", 404, err(404, "No endpoints found that support tool use"), "unfit", "request"),
    Case("404-image", 404, err(404, "No endpoints found that support image input", failed_routing_step="Filter by Image Support"), "unfit", "request"),
    Case("404-parameters", 404, err(404, "No endpoints found that can handle the requested parameters."), "unfit", "request"),
    Case("404-providers", 404, err(404, "No allowed providers are available for the selected model."), "unfit", "request"),
    Case("404-ignored", 404, '"All providers have been ignored", "failed_routing_step":"Filter by Ignored\n *   Providers"', "unfit", "request"),
    Case("404-price", 404, err(404, "No endpoints found that satisfy the max price for this request"), "unfit", "request"),
    Case("404-funnel", 404, err(404, "No endpoints found for a/b.", routing_funnel=[{"step": "Initial Endpoints", "endpoint_count": 6}]), "unfit", "request"),
    # -- gone
    Case("400-unknown-id", 400, err(400, "a/b:free is not a valid model ID"), "delisted", "model"),
    Case("404-delisted", 404, err(404, "No endpoints found for a/b:free."), "delisted", "model"),
    Case("404-delisted-funnel", 404, err(404, "No endpoints found for a/b:free.", routing_funnel=[{"step": "Initial Endpoints", "endpoint_count": 0}]), "delisted", "model"),
    Case("404-delisted-no-step", 404, err(404, "No endpoints found for a/b:free.", failed_routing_step=None, provider_name=None), "delisted", "model"),
    Case("404-not-free", 404, err(404, "This model is unavailable for free. The paid version is available now - use this slug instead: a/b"), "delisted", "model"),
    Case("404-deprecated", 404, "404 The free model has been deprecated. Transition to a/b for continued paid access.", "delisted", "model"),
    Case("404-tombstone", 404, '{"error":{"message":"Thank you for taking part.\nThis model was Z. Use it now:\nhttps://x","code":404},\n', "delisted", "model"),
    Case("404-deprecated-documented", 404, {"error": {"message": "X was a test", "availability": {"code": "model_deprecated", "fallback_models": ["a/paid"]}}}, "delisted", "model"),
    Case("404-bare", 404, b"", "broken", "model"),
    Case("404-of-a-gateway", 404, {"detail": "Not Found"}, "broken", "model"),
    Case("404-without-words", 404, err(404, "Not Found"), "broken", "model"),
    Case("400-no-such-model", 400, err(400, "Model a/b:free does not exist"), "delisted", "model"),
    Case("404-no-longer-available", 404, err(404, "a/b:free is no longer available. The promotion has ended."), "delisted", "model"),
    Case("404-no-longer-free", 404, err(404, "B 4.1 Fast (free) is no longer free. Continue with a/b"), "delisted", "model"),
    Case("404-preview-ended", 404, err(404, "The B Alpha preview period has ended. Try it here: https://x"), "delisted", "model"),
    Case("400-repeats-a-prompt", 400, err(400, "Invalid role: " + "x" * 150 + " the model a/b does not exist"), "rejected", "request"),
    Case("404-model", 404, err(404, "Model not found"), "delisted", "model"),
    Case("404-provider", 404, upstream(404, ""), "broken", "model"),
    # -- the model's own limits and rules
    Case("400-context", 400, err(400, "This endpoint's maximum context length is 10 tokens. However, you requested about 20 tokens"), "too_long", "model"),
    Case("400-images", 400, upstream(400, {"error": {"message": "Model 'a/b' supports at most 1 image per prompt."}}), "incompatible", "model"),
    Case("400-output-tokens", 400, upstream(400, "This model supports at most 4,096 completion tokens, whereas you provided 9,000."), "too_long", "model"),
    Case("400-output-tokens-of-the-provider", 400, upstream(400, "`max_tokens` must be less than or equal to `8192`"), "too_long", "model"),
    Case("stream-context", 200, sse({"choices": [], "error": {"code": 400, "message": "prompt is too long: 20 tokens > 10 maximum"}}, done=False), "too_long", "request"),
    Case("400-system-role", 400, upstream(400, '{"error":{"message":"Developer instruction is not enabled for models/x"}}'), "incompatible", "model"),
    Case("400-order", 400, upstream(400, '{"message":"Unexpected role \'tool\' after role \'system\'","code":"3230"}'), "incompatible", "model"),
    Case("400-result-without-call", 400, upstream(400, "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'"), "incompatible", "model"),
    Case("400-developer-role", 400, upstream(400, "Invalid value: 'developer'. Supported values are: 'system', 'assistant', 'user', 'function', and 'tool'."), "incompatible", "model"),
    Case("400-tool-ids", 400, upstream(400, '{"message":"Duplicate tool call id in assistant message","type":"invalid_request_message_order"}'), "incompatible", "model"),
    Case("400-grammar", 400, upstream(400, '{"error":{"message":"failed to translate request: folding the request grammar","param":"tools"}'), "incompatible", "model"),
    Case("400-reasoning", 400, err(400, "Reasoning is mandatory for this endpoint and cannot be disabled."), "incompatible", "model"),
    Case("400-call-not-json", 400, upstream(400, made("tool_use_failed", "Failed to parse tool call arguments as JSON", '{"a')), "bad_arguments", "model"),
    Case("400-call-not-offered", 400, upstream(400, made("tool_use_failed", "attempted to call tool 'x' which was not in request.tools", "x")), "bad_arguments", "model"),
    Case("400-no-json", 400, upstream(400, made("json_validate_failed", "Failed to generate JSON.", "A date is required")), "finish_error", "model"),
    Case("400-no-json-but-words", 400, upstream(400, made("json_validate_failed", "Failed to generate JSON.", "prompt injection")), "finish_error", "model"),
    Case("400-no-call-but-words", 400, upstream(400, made("tool_use_failed", "Failed to call a function.", f"find({PER_DAY!r})")), "bad_arguments", "model"),
    Case("400-prompt-repeated", 400, upstream(400, repeated(f"My log says: {PER_DAY}")), "doubtful", "model"),
    Case("400-prompt-repeated-by-vllm", 400, upstream(400, json.dumps({"object": "error", "message": "[{'type': 'string_type', 'msg': 'Input should be a valid string', 'input': 'A name is required'}]", "code": 400})), "doubtful", "model"),
    Case("400-prompt-repeated-for-the-form", 400, upstream(400, repeated("tools are not supported, a name is required")), "doubtful", "model"),
    Case("403-prompt-repeated", 403, json.dumps(json.dumps(err(403, "a/b requires moderation on Someone", flagged_input=PER_DAY))), "moderated", "model"),
    Case("422-prompt-repeated", 422, repeated(f"My log says: {PER_MIN}"), "rejected", "request"),
    Case("400-not-found", 400, upstream(400, '{"code":400,"msg":"not found"}'), "broken", "model"),
    Case("422-strict-about-a-parameter", 422, upstream(422, '{"detail":[{"type":"extra_forbidden","loc":["body","reasoning"],"msg":"Extra inputs are not permitted"}]}'), "doubtful", "model"),
    Case("400-strict-about-a-tool", 400, upstream(400, "tools.0.custom.strict: Extra inputs are not permitted"), "doubtful", "model"),
    Case("400-unknown-argument", 400, upstream(400, "Unrecognized request argument supplied: parallel_tool_calls"), "incompatible", "model"),
    Case("400-unknown-words", 400, upstream(400, "hmm"), "doubtful", "model"),
    # -- the request
    Case("400-schema", 400, upstream(400, "Invalid schema for function 'f': 'x' is not valid"), "rejected", "request"),
    Case("400-tool-name-google", 400, upstream(400, "[FIELD_INVALID]\nInvalid function name. Must start with a letter or an underscore."), "rejected", "request"),
    Case("400-tool-name-mistral", 400, upstream(400, "Function name was get weather but must be a-z, A-Z, 0-9, or contain underscores and dashes"), "rejected", "request"),
    Case("400-tool-name-moonshot", 400, upstream(400, "Invalid request: function name is invalid, must start with a letter"), "rejected", "request"),
    Case("400-tool-name-bedrock", 400, upstream(400, "Value 'a b' at 'toolConfig.tools.1.member.toolSpec.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"), "rejected", "request"),
    Case("400-tool-name-twice", 400, upstream(400, "tools: Tool names must be unique."), "rejected", "request"),
    Case("400-tool-choice-unknown", 400, upstream(400, "The tool specified in `tool_choice` does not match any of the specified `tools`"), "rejected", "request"),
    Case("400-tool-choice", 400, upstream(400, "Invalid value for 'tool_choice': no function named 'g' was specified"), "rejected", "request"),
    Case("400-range", 400, err(400, "Expected temperature to be at most 2, received 5"), "rejected", "request"),
    Case("400-field-missing", 400, err(400, zod("Required", "messages", 2, "tool_call_id")), "rejected", "request"),
    Case("400-field-of-a-thought", 400, err(400, zod("Required", "messages", 1, "reasoning_details", 0, "signature")), "rejected", "request"),
    Case("400-field-in-words", 400, err(400, "✖ Invalid input: expected string, received undefined\n  → at messages[2].tool_call_id"), "rejected", "request"),
    Case("400-too-few", 400, err(400, "max_tokens: Number must be greater than or equal to 1"), "rejected", "request"),
    Case("400-too-few-says-the-provider", 400, upstream(400, "max_tokens must be greater than 0; it is required"), "rejected", "request"),
    Case("400-empty", 400, err(400, "Input must have at least 1 token."), "rejected", "request"),
    Case("400-chain", 400, err(400, "'models' array must have 3 items or fewer."), "rejected", "request"),
    Case("400-other", 400, err(400, "no good"), "rejected", "request"),
    Case("400-page", 400, "<html><head><title>400 Bad Request</title></head><hr>cloudflare</html>", "broken", "provider"),
    Case("400-no-page", 400, err(400, "no good"), "rejected", "request", headers={"Content-Type": "text/html"}),
    Case("413-of-the-provider", 413, upstream(413, "<html>413 Request Entity Too Large</html>"), "doubtful", "model"),
    Case("413-tokens-of-a-minute", 413, upstream(413, "Request too large for model `b` on tokens per minute (TPM): Limit 6000, Requested 9000, please reduce your message size and try again."), "too_long", "model"),
    Case("413", 413, err(413, "Payload too large"), "rejected", "request"),
    Case("422", 422, err(422, "nope"), "rejected", "request"),
    Case("404-page", 404, "<html><body>Not here</body></html>", "misrouted", "request"),
    Case("redirect", 302, b"", "misrouted", "request"),
    # -- weather
    Case("408", 408, err(408, "Operation timed out."), "timed_out", "provider"),
    Case("500", 500, err(500, "Internal Server Error"), "broken", "provider"),
    Case("502-page", 502, "<title>openrouter.ai | 502: Bad gateway</title>", "broken", "provider"),
    Case("503", 503, err(503, "Service temporarily unavailable"), "overloaded", "provider"),
    Case("503-no-backends", 503, upstream(503, '{"error":{"message":"No backends available","ty'), "overloaded", "model"),
    Case("520-text", 520, "error code: 520", "broken", "provider"),
    Case("524", 524, "error code: 524", "timed_out", "provider"),
    Case("529", 529, upstream(529, ""), "overloaded", "provider"),
    Case("200-504-padded", 200, "\n         \n\n         \n" + json.dumps(err(504, "The operation was aborted")), "timed_out", "provider"),
    Case("200-502", 200, err(502, "JSON error injected into SSE stream", error_type="provider_unavailable"), "broken", "provider"),
    Case("200-choice-error", 200, answer({"content": "par"}, "error", error={"code": 502, "message": "Provider disconnected"}), "broken", "provider"),
    Case("stream-worker-limit", 200, sse({"choices": [], "error": {"code": 502, "message": "Worker local total request limit reached (9/8)"}}, done=False), "overloaded", "model"),
    Case("stream-error-with-choice", 200, sse(event({"content": ""}, "error", error={"code": "server_error", "message": "Provider disconnected"})), "broken", "provider"),
    Case("stream-error-told-late", 200, sse(event({"content": ""}, "error"), {"choices": [], "error": {"code": 429, "message": PER_MIN}}), "minute_limit", "account"),
    Case("stream-error-unframed", 200, ": OPENROUTER PROCESSING\n\n" + json.dumps(err(502, "gone")) + "\n\n", "broken", "provider"),
    Case("stream-error-unframed-in-lines", 200, ": OPENROUTER PROCESSING\n\n" + json.dumps(err(429, PER_DAY), indent=2), "day_limit", "account"),
    Case("no-stream-but-an-error", 200, json.dumps(err(429, PER_DAY), indent=2), "day_limit", "account", headers={"Content-Type": "text/event-stream"}),
    Case("200-page", 200, "<html>hello</html>", "broken", "provider"),
    Case("200-nothing", 200, b"", "broken", "provider"),
    Case("200-cut-json", 200, '{"id":"gen-1","choices":[{"message":{"content":"hel', "broken", "provider"),
    Case("200-not-an-object", 200, "[1, 2]", "broken", "provider"),
    Case("200-no-choices", 200, {"id": "gen-1", "choices": []}, "no_choices", "model"),
]  # fmt: skip

ANSWERS = [
    Case("plain", 200, answer({"content": "hi"}), "ok", "ok"),
    Case("padded", 200, "\n         \n\n         \n" + json.dumps(answer({"content": "hi"})), "ok", "ok"),
    Case("no-finish-reason", 200, answer({"content": "hi"}, None), "ok", "ok"),
    Case("signed-out-header", 200, answer({"content": "hi"}), "ok", "ok", headers={"X-Clerk-Auth-Reason": "token-invalid"}),
    Case("bad-utf8", 200, json.dumps(answer({"content": "hi ?"})).encode().replace(b"?", b"\xff"), "ok", "ok"),
    Case("tool-call", 200, answer({"content": None, "tool_calls": [CALL]}, "tool_calls"), "ok", "ok"),
    Case("tool-no-arguments", 200, answer({"content": "", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}), "ok", "ok"),
    Case("announced-but-said", 200, answer({"content": "it is 4"}, "tool_calls"), "ok", "ok"),
    Case("refusal", 200, answer({"content": None, "refusal": "no"}), "refusal", "model"),
    Case("stream", 200, sse(event({"content": "hi"}), event({"content": ""}, "stop")), "ok", "ok"),
    Case("no-stream", 200, json.dumps(answer({"content": "hi"}), indent=2), "ok", "ok", headers={"Content-Type": "text/event-stream"}),
    Case("stream-crlf", 200, sse(event({"content": "hi"}, "stop")).replace("\n", "\r\n"), "ok", "ok"),
    Case("stream-cr", 200, sse(event({"content": "hi"}, "stop")).replace("\n", "\r"), "ok", "ok"),
    Case("stream-no-done", 200, sse(event({"content": "hi"}, "stop"), done=False), "ok", "ok"),
    Case("stream-no-finish", 200, sse(event({"content": "hi"})), "ok", "ok"),
    Case("stream-stop-twice", 200, sse(event({"content": "hi"}, "stop"), event({}, "stop", usage={"cost": 0})), "ok", "ok"),
    Case("stream-usage-no-choice", 200, sse(event({"content": "hi"}, "stop"), {"choices": [], "usage": {}}), "ok", "ok"),
    Case("stream-bad-line", 200, "data: {oops\n\n" + sse(event({"content": "hi"}, "stop")), "ok", "ok"),
    Case("stream-joined", 200, f"data: {json.dumps(event({'content': 'h'}))}{json.dumps(event({'content': 'i'}, 'stop'))}\n\n", "ok", "ok"),
    Case("stream-error-after-its-end", 200, sse(event({"content": "hal"}, "length"), event({}, "length"), {"choices": [], "usage": {"cost": 0}, "error": {"code": 500, "message": "max tokens"}}), "ok", "ok"),
    Case("spent-error-after-its-end", 200, sse(event({"reasoning": "hm"}, "length"), {"choices": [], "error": {"code": 500, "message": "max tokens"}}), "spent", "request"),
    Case("empty-null", 200, answer({"content": None}), "empty", "model"),
    Case("empty-blank", 200, answer({"content": " \n"}), "empty", "model"),
    Case("empty-reasoning-only", 200, answer({"content": "", "reasoning": "hm"}), "only_thoughts", "model"),
    Case("empty-unseen", 200, answer({"content": "\u200b\ufeff"}), "empty", "model"),
    Case("empty-mark", 200, answer({"content": "<|im_end|>"}), "empty", "model"),
    Case("empty-thoughts-in-the-text", 200, answer({"content": "<think>\nhm\n</think>\n"}), "only_thoughts", "model"),
    Case("spent-thoughts-in-the-text", 200, sse(event({"content": "<think>hm"}, "length")), "spent", "request"),
    Case("thoughts-in-the-text", 200, answer({"content": "<think>\nhm\n</think>\nhi"}), "ok", "ok"),
    Case("empty-stream", 200, sse(event({"role": "assistant", "content": ""}, "stop")), "empty", "model"),
    Case("comments-only", 200, ": OPENROUTER PROCESSING\n\n", "cut", "provider"),
    Case("stream-lost-line", 200, sse(event({"content": "hi"})).replace("data: [DONE]", 'data: {"id":\n\ndata: [DONE]'), "cut", "provider"),
    *(
        Case(f"stream-unsaid-error-{next(iter(told))}", 200, sse(event({"content": "half an"}), told), "cut", "provider")
        for told in UNSAID
    ),
    *(
        Case(f"error-in-a-{place}", 200, body, "broken", "provider")
        for place, body in {
            "delta": sse(event({"content": "half an"}), event({"error": {"message": "oops", "code": 500}})),
            "message": answer({"content": "half an", "error": {"message": "oops", "code": 500}}),
        }.items()
    ),
    *(
        Case(f"broken-off-by-{word}", 200, sse(event({"content": "half an"}), event({}, word)), "finish_error", "model")
        for word in ("error", "abort", "cancelled", "failed", "network_error")
    ),
    Case("broken-off-natively", 200, sse(ended("stop", "network_error")), "finish_error", "model"),
    Case("filtered-natively", 200, sse(ended("stop", "sensitive")), "moderated", "model"),
    Case("stream-cut", 200, sse(event({"content": "hi"}), done=False), "cut", "provider"),
    Case("spent", 200, answer({"content": "", "reasoning": "hm"}, "length"), "spent", "request"),
    Case("spent-stream", 200, sse(event({"reasoning": "hm"}), event({}, "length")), "spent", "request"),
    Case("announced-missing", 200, answer({"content": None}, "tool_calls"), "calls_missing", "model"),
    Case("finish-error", 200, answer({"content": ""}, "error", native_finish_reason="MALFORMED_FUNCTION_CALL"), "finish_error", "model"),
    Case("finish-error-after-words", 200, answer({"content": "half"}, "error"), "finish_error", "model"),
    Case("no-choices", 200, {"id": "gen-1", "choices": []}, "no_choices", "model"),
    Case("choices-null", 200, {"id": "gen-1", "choices": None}, "no_choices", "model"),
    Case("stream-no-choices", 200, sse({"id": "gen-1", "choices": []}), "no_choices", "model"),
    Case("filtered-midway", 200, answer({"content": "half"}, "content_filter"), "moderated", "model"),
    Case("filtered", 200, answer({"content": ""}, "content_filter"), "moderated", "model"),
    Case("tool-not-json", 200, answer({"tool_calls": [{"function": {"name": "add", "arguments": "{a:"}}]}), "bad_arguments", "model"),
    Case("tool-not-object", 200, answer({"tool_calls": [{"function": {"name": "add", "arguments": "[1]"}}]}), "bad_arguments", "model"),
    Case("tool-nameless", 200, answer({"tool_calls": [{"function": {"arguments": "{}"}}]}), "unknown_tool", "model"),
    Case("tool-five-times", 200, answer({"tool_calls": [{**CALL, "id": f"c{n}"} for n in range(5)]}), "repeated", "model"),
    Case("tool-twice", 200, answer({"tool_calls": [{**CALL, "id": f"c{n}"} for n in range(2)]}), "ok", "ok"),
]  # fmt: skip
