"""Spans and metrics of OpenTelemetry, by its semantic conventions for generative AI (development status, 2026).

A call is one client span, from its beginning to its end with all moves and waits, as those conventions ask for
operations that are retried by themselves; each attempt is a span in it. All are made when the call is over, with the
times at which things happened: a span that stays open over the `yield` of a generator would be left in the wrong
context. No prompt and no answer is part of them.

Nothing is imported, and nothing happens, before the program itself has imported OpenTelemetry and set a provider.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from langchain_openrouter_free.catalogue.selection import PerModel
from langchain_openrouter_free.engine.roads import Moment
from langchain_openrouter_free.errors import AttemptRecord
from langchain_openrouter_free.values import value_type

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import AttributeValue

log = logging.getLogger("langchain_openrouter_free")

_SCOPE = "langchain_openrouter_free"
_OPERATION, _PROVIDER = "chat", "openrouter"
_PARAMETERS = ("temperature", "top_p", "top_k", "max_tokens", "frequency_penalty", "presence_penalty", "seed")
# Buckets that the conventions name for durations in seconds and for tokens.
_SECONDS = [0.01 * 2**power for power in range(14)]
_TOKENS = [4.0**power for power in range(14)]
_NANO = 1_000_000_000


@value_type()
class Asked:
    """What a call asked for.

    Attributes:
        model: the id that was named, or the model's neutral name.
        url: the service's base URL.
        wire: which models are asked for an event stream (`"stream"`).
        params: body of the request; only its sampling parameters are told.
    """

    model: str
    url: str
    wire: PerModel[str] = field(default_factory=lambda: PerModel("stream"))
    params: Mapping[str, Any] = field(default_factory=dict)

    def streams(self, moment: Moment) -> bool:
        """Tell whether the answer was asked for as an event stream."""
        return self.wire.of(moment.record.model or self.model) == "stream"


def is_set_up() -> bool:
    """Tell whether the program has set up OpenTelemetry."""
    tracing, metering = sys.modules.get("opentelemetry.trace"), sys.modules.get("opentelemetry.metrics")
    try:
        is_traced = tracing is not None and _is_set(tracing.get_tracer_provider())
        return is_traced or (metering is not None and _is_set(metering.get_meter_provider()))
    except Exception:
        log.exception("OpenTelemetry cannot be asked")
        return False


def observe(moment: Moment, asked: Asked) -> None:
    """Record a call that is over, where the program has set up OpenTelemetry."""
    if not is_set_up():
        return
    try:
        from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra

        tracing, metering = trace.get_tracer_provider(), metrics.get_meter_provider()
        if _is_set(tracing):
            _trace(tracing.get_tracer(_SCOPE), moment, asked)
        if _is_set(metering):
            _measure(metering, moment, asked)
    except Exception:
        log.exception("a call cannot be told to OpenTelemetry")


def _is_set(provider: object) -> bool:
    """Tell whether a provider is more than the API's own, which do nothing."""
    return not type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


def _common(moment: Moment, asked: Asked) -> Iterator[tuple[str, AttributeValue]]:
    """Yield the attributes that spans and metrics share."""
    yield "gen_ai.operation.name", _OPERATION
    yield "gen_ai.provider.name", _PROVIDER
    yield "gen_ai.request.model", asked.model
    if moment.record.model is not None:
        yield "gen_ai.response.model", moment.record.model
    if moment.record.outcome != "answered":
        yield "error.type", moment.record.outcome
    where = urlsplit(asked.url)
    if where.hostname:
        yield "server.address", where.hostname
        yield "server.port", where.port or (443 if where.scheme == "https" else 80)


def _trace(tracer: Tracer, moment: Moment, asked: Asked) -> None:
    from opentelemetry import trace  # noqa: PLC0415 - an extra

    span = tracer.start_span(
        f"{_OPERATION} {asked.model}",
        kind=trace.SpanKind.CLIENT,
        attributes={**dict(_common(moment, asked)), **dict(_details(moment, asked))},
        start_time=_at(moment.began_at),
    )
    if span.is_recording():
        for began_at, attempt in zip(moment.begun, moment.record.attempts, strict=False):
            _trace_attempt(tracer, span, began_at, attempt)
        if moment.record.outcome != "answered":
            span.set_status(trace.StatusCode.ERROR, moment.record.outcome)
    span.end(_at(moment.ended_at))


def _details(moment: Moment, asked: Asked) -> Iterator[tuple[str, AttributeValue]]:
    """Yield what only the call's span tells."""
    record = moment.record
    yield "gen_ai.request.stream", asked.streams(moment)
    for name in _PARAMETERS:
        value = asked.params.get(name)
        if isinstance(value, int | float):
            yield f"gen_ai.request.{name}", value
    if moment.answer:
        yield "gen_ai.response.id", moment.answer
    if moment.finish_reason:
        yield "gen_ai.response.finish_reasons", [moment.finish_reason]
    if record.prompt_tokens is not None:
        yield "gen_ai.usage.input_tokens", record.prompt_tokens
    if record.completion_tokens is not None:
        yield "gen_ai.usage.output_tokens", record.completion_tokens
    first = _first_chunk_s(moment)
    if first is not None and asked.streams(moment):
        yield "gen_ai.response.time_to_first_chunk", first
    route = record.as_route()
    yield "openrouter_free.paid", record.paid
    yield "openrouter_free.attempts", len(record.attempts)
    yield "openrouter_free.waited_s", route["waited_s"]
    for name in ("provider", "cost"):
        if route[name] is not None:
            yield f"openrouter_free.{name}", route[name]


def _first_chunk_s(moment: Moment) -> float | None:
    """Return the seconds from the call's beginning to the first content, moves and waits included."""
    if moment.record.outcome != "answered" or not moment.begun:
        return None
    first = moment.record.attempts[-1].first_token_s
    return None if first is None else max(moment.begun[-1] - moment.began_at, 0.0) + first


def _trace_attempt(tracer: Tracer, call: Span, began_at: float, attempt: AttemptRecord) -> None:
    from opentelemetry import trace  # noqa: PLC0415 - an extra

    told: dict[str, AttributeValue] = {
        "gen_ai.provider.name": _PROVIDER,
        "gen_ai.request.model": attempt.model,
        "openrouter_free.outcome": attempt.outcome,
        "openrouter_free.scope": attempt.scope,
    }
    if attempt.status is not None:
        told["http.response.status_code"] = attempt.status
    if attempt.outcome != "ok":
        told["error.type"] = attempt.outcome
    span = tracer.start_span(
        f"attempt {attempt.model}",
        context=trace.set_span_in_context(call),
        kind=trace.SpanKind.CLIENT,
        attributes=told,
        start_time=_at(began_at),
    )
    if attempt.outcome != "ok":
        span.set_status(trace.StatusCode.ERROR, attempt.reason)
    span.end(_at(began_at + attempt.seconds))


def _measure(provider: MeterProvider, moment: Moment, asked: Asked) -> None:
    common = dict(_common(moment, asked))
    duration, first_chunk, tokens = _instruments(provider)
    duration.record(max(moment.ended_at - moment.began_at, 0.0), common)
    first = _first_chunk_s(moment)
    if first is not None and asked.streams(moment):
        first_chunk.record(first, common)
    for kind, number in (("input", moment.record.prompt_tokens), ("output", moment.record.completion_tokens)):
        if number is not None:
            tokens.record(number, {**common, "gen_ai.token.type": kind})


@cache
def _instruments(provider: MeterProvider) -> tuple[Histogram, Histogram, Histogram]:
    meter = provider.get_meter(_SCOPE)
    return (
        meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        ),
        meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="Time to receive the first chunk.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        ),
        meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        ),
    )


def _at(moment: float) -> int:
    return int(moment * _NANO)
