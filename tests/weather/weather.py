"""The weather of the free tier as it really was: what a request to a model comes to, and a service made of it.

`statistics.csv` says how likely an answer, an error and a rate limit were, and how long the first token took. What one
request comes to is drawn from that, and depends on the seed, the model and the moment alone: so an all-knowing client
can be asked what it would have got. Nothing sleeps: the service lets the time of a `FakeClock` pass.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from background import settled

from langchain_openrouter_free.connections.deadlines import Deadline
from langchain_openrouter_free.testing import FakeClock

HALF_HOUR = 1800
# How long an answer is, in tokens, and in how many pieces it comes.
TOKENS, PIECES = 200, 8
# The statistics tell of no failure how long it took; these are usual (seconds).
ERROR_SECONDS, LIMITED_SECONDS = 2.0, 0.3
# The 95th percentile of a normal distribution, in standard deviations.
_P95 = 1.645


@dataclass(frozen=True, slots=True)
class Spell:
    """Half an hour of one model: parts of its requests, seconds to the first token, tokens per second."""

    success: float
    error: float
    limited: float
    p50: float
    p95: float
    speed: float


@dataclass(frozen=True, slots=True)
class Fate:
    """What a request comes to: its status, and seconds to the first content and to the end."""

    status: int
    first: float
    whole: float

    @property
    def ok(self) -> bool:
        return self.status == 200


class Weather:
    """What each model does at each moment, in Unix seconds."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.spells: dict[str, dict[int, Spell]] = {}
        with (Path(__file__).parent / "statistics.csv").open(encoding="ascii") as lines:
            model = ""
            for line in lines:
                if "/" in line and not line.startswith("#"):
                    model = f"{line.strip()}:free"
                    self.spells[model] = {}
                elif model:
                    slot, *parts, p50, p95, speed = map(int, line.split(","))
                    success, error, limited = (part / 1000 for part in parts)
                    self.spells[model][slot] = Spell(success, error, limited, p50 / 1000, p95 / 1000, float(speed))
        slots = [slot for spells in self.spells.values() for slot in spells]
        self.begins, self.ends = float(min(slots) * HALF_HOUR), float((max(slots) + 1) * HALF_HOUR)
        self._offered = {model: (min(spells), max(spells)) for model, spells in self.spells.items()}

    def spell(self, model: str, moment: float) -> Spell | None:
        """Return how a model is; None while it is not offered. A gap in the statistics is filled from before it."""
        slot = int(moment // HALF_HOUR)
        first, last = self._offered.get(model, (1, 0))
        if not first <= slot <= last:
            return None
        while slot not in self.spells[model]:
            slot -= 1
        return self.spells[model][slot]

    def fate(self, model: str, moment: float) -> Fate:
        """Return what a request that arrives at this moment comes to."""
        spell = self.spell(model, moment)
        if spell is None:
            return Fate(404, LIMITED_SECONDS, LIMITED_SECONDS)
        chance = random.Random(f"{self.seed} {model} {moment:.3f}")
        drawn = chance.random()
        if drawn >= spell.success + spell.error:
            return Fate(429, LIMITED_SECONDS, LIMITED_SECONDS)
        if drawn >= spell.success:
            return Fate(502, ERROR_SECONDS, ERROR_SECONDS)
        spread = math.log(max(spell.p95 / spell.p50, 1.1)) / _P95
        first = spell.p50 * math.exp(spread * chance.gauss(0, 1))
        return Fate(200, first, first + TOKENS / spell.speed)


class WeatherClock(FakeClock):
    """A clock on which no time passes while the list of models is fetched beside a call: that has a thread of its own.

    Else what a call knows of the list would depend on how busy the machine is.
    """

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        settled()
        super().advance(seconds)


_NO_ENDPOINTS = "No endpoints found for {model}."
_UPSTREAM = "{model} is temporarily rate-limited upstream. Please retry shortly, or add your own key."


def _refusal(model: str, status: int) -> dict[str, Any]:
    if status == 404:
        return {"error": {"code": 404, "message": _NO_ENDPOINTS.format(model=model)}}
    raw = _UPSTREAM.format(model=model) if status == 429 else "upstream error"
    metadata = {"raw": raw, "provider_name": "Simulated"}
    return {"error": {"code": status, "message": "Provider returned error", "metadata": metadata}}


def _row(model: str) -> dict[str, Any]:
    """Return a model as the list of models has it."""
    shape = {"modality": "text->text", "input_modalities": ["text"], "output_modalities": ["text"]}
    row = {"id": model, "name": model, "created": 1, "context_length": 131072, "architecture": shape}
    return row | {"pricing": {"prompt": "0", "completion": "0"}, "supported_parameters": ["max_tokens"]}


def _event(**choice: Any) -> bytes:
    return f"data: {json.dumps({'id': 'gen-1', 'choices': [{'index': 0, **choice}]})}\n\n".encode()


def _usage(model: str) -> dict[str, Any]:
    return {"prompt_tokens": 10, "completion_tokens": TOKENS, "total_tokens": TOKENS + 10, "cost": 0}


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A reply that takes its time on the fake clock, and breaks off where the client's deadline comes first."""

    def __init__(self, service: WeatherService, parts: list[tuple[float, bytes]], read: Any) -> None:
        self._service, self._parts, self._read = service, parts, read

    def __iter__(self) -> Iterator[bytes]:
        for seconds, part in self._parts:
            self._service.pass_time(seconds, self._read)
            yield part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


class WeatherService(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The service in this weather, as a transport of the HTTP client.

    Attributes:
        requests: how many it got.
    """

    def __init__(self, weather: Weather, clock: FakeClock) -> None:
        self.weather, self.clock, self.requests = weather, clock, 0

    def pass_time(self, seconds: float, read: Any) -> None:
        """Let time pass, up to the deadline by which the client reads."""
        left = read.remaining() if isinstance(read, Deadline) else seconds
        self.clock.advance(max(min(seconds, left), 0.0))
        if seconds > left:
            raise httpx.ReadTimeout("the deadline has passed")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.method != "POST":
            offered = [_row(model) for model in self.weather.spells if self.weather.spell(model, self.clock.now())]
            return httpx.Response(200, json={"data": offered})
        said = json.loads(request.content)
        self.requests += 1
        fate, read = self.weather.fate(said["model"], self.clock.now()), request.extensions["timeout"]["read"]
        if not fate.ok:
            self.pass_time(fate.first, read)
            return httpx.Response(fate.status, json=_refusal(said["model"], fate.status))
        if not said.get("stream"):
            self.pass_time(fate.whole, read)
            message = {"role": "assistant", "content": "word " * PIECES}
            choices = [{"index": 0, "finish_reason": "stop", "message": message}]
            reply = {"id": "gen-1", "model": said["model"], "choices": choices, "usage": _usage(said["model"])}
            return httpx.Response(200, json=reply)
        body = _Body(self, self._parts(said["model"], fate), read)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body)

    def _parts(self, model: str, fate: Fate) -> list[tuple[float, bytes]]:
        step = (fate.whole - fate.first) / (PIECES - 1)
        words = [(fate.first if n == 0 else step, _event(delta={"content": "word "})) for n in range(PIECES)]
        usage = {"id": "gen-1", "model": model, "choices": [], "usage": _usage(model)}
        end = _event(delta={}, finish_reason="stop") + f"data: {json.dumps(usage)}\n\ndata: [DONE]\n\n".encode()
        return [*words, (0.0, end)]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request, on an event loop."""
        return self.handle_request(request)
