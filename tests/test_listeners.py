"""Who hears of a call: the user's hook, the log, LangChain's events and traces, OpenTelemetry; all the same facts."""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
import pickle
import random
from collections.abc import AsyncGenerator, Generator, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any
from unittest.mock import MagicMock

import pytest
from driving import PATHS, TWENTY, drive, make
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers import LangChainTracer
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_openrouter_free import AllModelsFailed, FreeQuotaExhausted, StreamInterrupted
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock

NOW = 1_790_000_000.0
SECRET = "a secret prompt"
EVENT = "openrouter_free_route"


class TestTheHook:
    @pytest.mark.parametrize("path", PATHS)
    def test_it_hears_every_move_and_the_end(self, sim: Simulator, path: str) -> None:
        """After each attempt that failed, before each wait, and once at the end, with what the answer carries."""
        sim.script({TWENTY[0]: ["503", "ok"], TWENTY[1]: "429-upstream"})
        heard: list[dict[str, Any]] = []
        model = make(sim, TWENTY[:2], on_route=heard.append, clock=FakeClock(NOW), max_wait=60)
        with pytest.raises(AllModelsFailed) as caught:
            drive(model, path)
        assert [(told["outcome"], len(told["attempts"])) for told in heard] == [(None, 1), (None, 2), ("failed", 2)]
        assert heard[-1] == caught.value.route
        heard.clear()
        answer = drive(model, path)
        assert [(told["outcome"], len(told["waits"])) for told in heard] == [(None, 1), ("answered", 1)]
        assert heard[-1] == answer.meta["route"]

    @pytest.mark.parametrize("path", ["stream", "astream"])
    def test_it_hears_of_an_answer_that_broke_off(self, sim: Simulator, path: str) -> None:
        sim.script({"*": "error-chunk-after"})
        heard: list[dict[str, Any]] = []
        with pytest.raises(StreamInterrupted) as caught:
            drive(make(sim, on_route=heard.append), path)
        assert heard == [caught.value.route]

    @pytest.mark.parametrize("path", ["stream", "astream"])
    def test_it_hears_of_a_stream_that_was_left(self, sim: Simulator, path: str) -> None:
        heard: list[dict[str, Any]] = []
        model = make(sim, on_route=heard.append)

        async def leave() -> None:
            chunks = model.astream(SECRET)
            assert isinstance(chunks, AsyncGenerator)
            await anext(chunks)
            await chunks.aclose()

        if path == "astream":
            asyncio.run(leave())
        else:
            chunks = model.stream(SECRET)
            assert isinstance(chunks, Generator)
            next(chunks)
            chunks.close()
        assert [told["outcome"] for told in heard] == ["abandoned"]

    @pytest.mark.parametrize("path", PATHS)
    def test_it_can_break_nothing_and_change_nothing(self, sim: Simulator, path: str, caplog: Any) -> None:
        def spoil(route: dict[str, Any]) -> None:
            route["attempts"].clear()
            raise RuntimeError("of the hook")

        assert drive(make(sim, on_route=spoil), path).outcomes == ["ok"]
        assert "on_route failed" in caplog.text

    def test_it_stays_in_its_process_and_out_of_the_cache_key(self, sim: Simulator) -> None:
        hooks: dict[str, Any] = {"on_route": lambda _: None, "on_event": lambda _: None}  # nobody can pickle these
        model, plain = make(sim, chance=random.random, **hooks), make(sim)
        assert pickle.loads(pickle.dumps(model)).on_route is None
        assert copy.deepcopy(model).on_route is model.on_route
        assert model._get_llm_string() == plain._get_llm_string()
        assert "on_route" not in repr(model)


@pytest.mark.parametrize("path", PATHS)
def test_the_log_tells_each_move_in_one_line_without_the_prompt(sim: Simulator, path: str, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "langchain_openrouter_free")
    sim.script({TWENTY[0]: "503", TWENTY[1]: "429-upstream"})
    told = drive(make(sim, TWENTY[:3]), path, SECRET)
    lines = [record.getMessage() for record in caplog.records if record.name == "langchain_openrouter_free"]
    assert [line.split(":free: ")[1].split(" ")[0] for line in lines] == ["overloaded", "upstream_limit"]
    assert not any("\n" in line or SECRET in line or told.text in line or sim.api_key in line for line in lines)


class Heard(BaseCallbackHandler):
    """What a handler hears of one model's calls."""

    def __init__(self) -> None:
        self.outcomes: list[str | None] = []
        self.runs: list[Any] = []
        self.run: Any = None

    def on_chat_model_start(self, *_: Any, run_id: Any, **__: Any) -> None:
        self.run = run_id

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **_: Any) -> None:
        assert name == EVENT
        self.outcomes.append(data["outcome"])
        self.runs.append(run_id)


class TestLangChain:
    @pytest.fixture
    def busy(self, sim: Simulator) -> Any:
        sim.script({TWENTY[0]: "503"})
        return make(sim, TWENTY[:2])

    def test_a_chain_sees_custom_events(self, busy: Any) -> None:
        """In `astream_events`, beside the model's own."""

        async def events() -> list[dict[str, Any]]:
            chain = RunnableLambda(lambda text: text) | busy
            return [e["data"] async for e in chain.astream_events("hi", version="v2") if e["name"] == EVENT]

        told = asyncio.run(events())
        assert [(data["outcome"], len(data["attempts"])) for data in told] == [(None, 1), ("answered", 2)]

    @pytest.mark.parametrize("path", PATHS)
    def test_callbacks_hear_them(self, busy: Any, path: str) -> None:
        """Of a chain, on every path, by sync and async handlers, one of which fails."""
        heard: list[str | None] = []

        class Sync(BaseCallbackHandler):
            def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
                heard.append(data["outcome"])
                raise ValueError("of the handler")

        class Async(AsyncCallbackHandler):
            async def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
                await asyncio.sleep(0)
                heard.append(data["outcome"])

        handler = Sync() if path in ("invoke", "stream") else Async()
        drive(RunnableLambda(lambda text: text) | busy, path, config={"callbacks": [handler]})
        assert heard == [None, "answered"]

    @pytest.mark.parametrize("path", PATHS)
    def test_a_bare_model_has_a_run_that_they_belong_to_unless_it_is_a_stream(self, busy: Any, path: str) -> None:
        heard = Heard()
        assert drive(busy, path, config={"callbacks": [heard]}).outcomes == ["overloaded", "ok"]
        assert heard.outcomes == ([None, "answered"] if path in ("invoke", "ainvoke") else [])
        assert set(heard.runs) <= {heard.run}

    @pytest.mark.parametrize("colour", ["batch", "abatch"])
    def test_a_chain_s_batch_is_heard_as_well(self, sim: Simulator, colour: str) -> None:
        """A sequence gives its steps their inputs all at once, and no word of the run around them."""
        heard, chain = Heard(), RunnableLambda(lambda text: text) | make(sim, TWENTY[:2])
        if colour == "batch":
            chain.batch(["a", "b"], {"callbacks": [heard]})
        else:
            asyncio.run(chain.abatch(["a", "b"], {"callbacks": [heard]}))
        assert heard.outcomes == ["answered"] * 2

    @pytest.mark.parametrize("path", ["invoke", "ainvoke"])
    def test_a_trace_names_who_served(self, busy: Any, path: str) -> None:
        """LangSmith's client is the only part that cannot be real here."""
        client = MagicMock(tracing_queue=None)
        drive(busy, path, config={"callbacks": [LangChainTracer(client=client)]})
        started = client.create_run.call_args.kwargs["extra"]["metadata"]
        ended = client.update_run.call_args.kwargs["extra"]["metadata"]
        assert ended["ls_provider"] == started["ls_provider"] == "openrouter"
        assert ended["ls_model_name"] == TWENTY[1]
        assert busy._get_ls_params()["ls_model_name"] == "openrouter-free"

    @pytest.mark.parametrize("path", PATHS)
    def test_a_trace_names_the_versions_at_work(self, sim: Simulator, path: str) -> None:
        """LangChain's, and this package's, beside what the caller says; copies say it as well."""
        said = {"of": "caller"}
        model = copy.deepcopy(make(sim, metadata=said))
        client = MagicMock(tracing_queue=None)
        drive(model, path, config={"callbacks": [LangChainTracer(client=client)]})
        told = client.create_run.call_args.kwargs["extra"]["metadata"]
        versions = {name: version(name) for name in ("langchain-core", "langchain-openrouter-free")}
        assert told["lc_versions"].items() >= versions.items()
        assert (told["of"], said) == ("caller", {"of": "caller"})

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize(
        ("own", "call", "told"),
        [(None, {}, None), ("a", {}, ["a"]), (["a", "b"], {}, ["a", "b"]), (["a"], {"stop": ["c"]}, ["c"])],
    )
    def test_a_trace_tells_where_an_answer_ends(
        self, sim: Simulator, own: Any, call: Any, told: Any, path: str
    ) -> None:
        """Where the model's own words say it as well."""
        client = MagicMock(tracing_queue=None)
        drive(make(sim, stop=own), path, config={"callbacks": [LangChainTracer(client=client)]}, **call)
        assert client.create_run.call_args.kwargs["extra"]["metadata"].get("ls_stop") == told
        assert sim.chats()[-1].body.get("stop") in (told, own)


@dataclass
class Telemetry:
    """What the program's own exporters got."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def points(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
        return {metric.name: list(metric.data.data_points) for metric in found}


class TestOpenTelemetry:
    @pytest.fixture
    def telemetry(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
        """Providers for one test: the API lets a program set them only once."""
        telemetry = Telemetry()
        tracing, metering = TracerProvider(), MeterProvider([telemetry.reader])
        tracing.add_span_processor(SimpleSpanProcessor(telemetry.exporter))
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: tracing)
        monkeypatch.setattr(metrics, "get_meter_provider", lambda: metering)
        yield telemetry
        tracing.shutdown()
        metering.shutdown()

    @pytest.mark.parametrize("path", PATHS)
    def test_a_call_is_one_span_with_its_attempts_in_it(self, sim: Simulator, telemetry: Telemetry, path: str) -> None:
        """By the semantic conventions for generative AI, without the prompt and the answer."""
        sim.script({TWENTY[0]: "503"})
        with trace.get_tracer_provider().get_tracer("the program's own").start_as_current_span("outer") as outer:
            told = drive(make(sim, TWENTY[:2], temperature=0.5), path, SECRET)
        spans = {span.name: span for span in telemetry.exporter.get_finished_spans()}
        call = spans["chat openrouter-free"]
        assert call.parent == outer.get_span_context()
        assert call.kind is trace.SpanKind.CLIENT
        found = dict(call.attributes or {})
        usage = told.message.usage_metadata
        expected = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openrouter",
            "gen_ai.request.model": "openrouter-free",
            "gen_ai.response.model": TWENTY[1],
            "gen_ai.request.temperature": 0.5,
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.usage.input_tokens": usage["input_tokens"],
            "gen_ai.usage.output_tokens": usage["output_tokens"],
            "server.address": "127.0.0.1",
            "server.port": sim.port,
            "openrouter_free.attempts": 2,
            "openrouter_free.paid": False,
        }
        assert {name: found.get(name) for name in expected} == expected
        first_chunk = found["gen_ai.response.time_to_first_chunk"]
        assert isinstance(first_chunk, float)
        assert first_chunk > 0
        first, second = spans[f"attempt {TWENTY[0]}"], spans[f"attempt {TWENTY[1]}"]
        assert first.parent == second.parent == call.context
        assert (first.attributes or {})["error.type"] == "overloaded"
        assert (first.attributes or {})["http.response.status_code"] == 503
        assert first.status.status_code is trace.StatusCode.ERROR
        assert second.status.status_code is trace.StatusCode.UNSET
        times = [call.start_time, first.start_time, first.end_time, second.start_time, second.end_time, call.end_time]
        for before, after in itertools.pairwise(times):
            assert before is not None
            assert after is not None
            assert before <= after + 2_000_000  # within 2 ms of rounding
        everything = "".join(span.to_json() for span in spans.values())
        assert not any(word in everything for word in (SECRET, told.text, sim.api_key))

    @pytest.mark.parametrize("path", PATHS)
    def test_metrics_are_recorded_once_for_each_call(self, sim: Simulator, telemetry: Telemetry, path: str) -> None:
        sim.script({TWENTY[0]: ["503", "ok", "503"], TWENTY[1]: ["ok", "503"]})
        model = make(sim, TWENTY[:2], max_wait=0)
        told = drive(model, path)
        with pytest.raises(AllModelsFailed):
            drive(model, path)
        points = telemetry.points()
        durations = {p.attributes.get("error.type"): p for p in points["gen_ai.client.operation.duration"]}
        assert {name: point.count for name, point in durations.items()} == {None: 1, "failed": 1}
        assert durations[None].attributes["gen_ai.response.model"] == TWENTY[1]
        tokens = {p.attributes["gen_ai.token.type"]: p.sum for p in points["gen_ai.client.token.usage"]}
        usage = told.message.usage_metadata
        assert tokens == {"input": usage["input_tokens"], "output": usage["output_tokens"]}
        assert [p.count for p in points["gen_ai.client.operation.time_to_first_chunk"]] == [1]

    def test_a_call_that_failed_says_how(self, sim: Simulator, telemetry: Telemetry) -> None:
        model = make(sim, TWENTY[:1], limits={"per_minute": None, "per_day": 1}, max_wait=0)
        drive(model, "invoke")
        telemetry.exporter.clear()
        with pytest.raises(FreeQuotaExhausted):
            drive(model, "invoke")
        (call,) = telemetry.exporter.get_finished_spans()
        assert call.status.status_code is trace.StatusCode.ERROR
        assert (call.attributes or {})["error.type"] == "quota"

    def test_an_exporter_that_fails_breaks_no_call(self, sim: Simulator, monkeypatch: Any, caplog: Any) -> None:
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: MagicMock(get_tracer=MagicMock(side_effect=OSError)))
        assert drive(make(sim), "invoke").outcomes == ["ok"]
        assert "cannot be told to OpenTelemetry" in caplog.text

    def test_without_a_provider_nothing_is_made(self, sim: Simulator, monkeypatch: Any) -> None:
        """The API's own providers do nothing, so nothing is worked out for them."""
        started: list[Any] = []
        monkeypatch.setattr(trace.ProxyTracerProvider, "get_tracer", lambda *_: started.append(1))
        assert drive(make(sim), "invoke").outcomes == ["ok"]
        assert started == []
