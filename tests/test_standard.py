"""langchain-tests' standard suites, over real HTTP, against the simulated service.

The first model of every list but one answers 429 for ever, so each standard test also is a test of routing.
The asynchronous ones run with a loop for each test and with one loop for all of them. Structured output is asked for
by each method, and with the method left to the package.

What is skipped: `test_serdes`, since langchain-core loads only classes of a list of its own; a class that says it can
be loaded fails there (and its cache key would be langchain-core's). Benchmarks run once, untimed.
"""

from __future__ import annotations

import struct
import types
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.integration_tests import chat_models as integration_module
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_openrouter_free import ChatOpenRouterFree, MemoryStore
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.simulator import Simulator

LIMITED = "limited/always-429:free"
TEXT, IMAGES, AUDIO = "z-ai/glm-5.2:free", "google/gemma-4-31b-it:free", "thinkingmachines/inkling:free"


def _png() -> bytes:
    """A picture of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\0\xff\xff\xff")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


FILES = {
    "pdf": b"%PDF-1.1\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    "wav": b"RIFF$\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data\0\0\0\0",
}


@pytest.fixture(autouse=True)
def _files_without_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six standard tests fetch a picture, a PDF or a sound from the internet; they get tiny ones from here."""

    def get(url: str, **_: Any) -> types.SimpleNamespace:
        return types.SimpleNamespace(content=FILES.get(url.rsplit(".", 1)[-1].lower(), _png()))

    monkeypatch.setattr(integration_module, "httpx", types.SimpleNamespace(get=get))
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "langchain-openrouter-free tests")


@pytest.fixture(scope="module")
def vcr_config() -> dict[str, Any]:
    """`test_stream_time` wants VCR; the service is on this machine, and what is recorded of it is no news."""
    return {"ignore_localhost": True, "record_mode": "none"}


@pytest.fixture(scope="class")
def service(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """One simulated service for each class; each model has a store of its own."""
    with Simulator() as simulator:
        simulator.script({LIMITED: "429-upstream"})
        request.cls.simulator = simulator
        yield simulator
    CLIENTS.close()


class TestUnit(ChatModelUnitTests):
    """The unit suite: no service is asked."""

    @property
    def chat_model_class(self) -> type[ChatOpenRouterFree]:
        return ChatOpenRouterFree

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"models": [TEXT, IMAGES], "api_key": "sk-or-v1-unit"}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return IMAGES

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"OPENROUTER_API_KEY": "sk-or-v1-from-env"}, {"models": [TEXT]}, {"api_key": "sk-or-v1-from-env"}


# Without a recording `test_stream_time` streams once and leaves its stopwatch alone, which pytest-benchmark minds.
@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used:pytest_benchmark.logger.PytestBenchmarkWarning")
class _Integration(ChatModelIntegrationTests):
    """What all variants share: every ability that the package has is switched on."""

    first = LIMITED
    method: str | None = "function_calling"
    more: dict[str, Any] = {}  # noqa: RUF012 - read only

    @pytest.fixture(autouse=True)
    def _nothing_is_paid(self, service: Simulator) -> Iterator[None]:
        yield
        assert service.bill == []

    def test_the_first_model_really_is_limited(self, service: Simulator, model: ChatOpenRouterFree) -> None:
        """What is said at the top of this file."""
        before = len(service.chats())
        model.invoke("hello")
        outcomes = [(chat.model, chat.status) for chat in service.chats()[before:]]
        assert outcomes == ([(LIMITED, 429)] if self.first == LIMITED else []) + [(TEXT, 200)]

    @property
    def chat_model_class(self) -> type[ChatOpenRouterFree]:
        return ChatOpenRouterFree

    @property
    def chat_model_params(self) -> dict[str, Any]:
        simulator: Simulator = self.simulator  # type: ignore[attr-defined]
        return {
            "models": [self.first, TEXT, IMAGES, AUDIO] if self.first != TEXT else [TEXT, IMAGES, AUDIO],
            "api_key": simulator.api_key,
            "base_url": simulator.base_url,
            "state": MemoryStore(),
            "max_wait": 0.0,
            **self.more,
        }

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": self.method} if self.method else {}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def enable_vcr_tests(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return IMAGES

    @property
    def supported_usage_metadata_details(self) -> dict[str, list[str]]:  # type: ignore[override]
        details = ["reasoning_output", "cache_read_input", "cache_creation_input"]
        return {"invoke": details, "stream": details}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        model = self.chat_model_class(**self.chat_model_params, reasoning={"effort": "high"})
        message = _asked(model, [HumanMessage("Think hard")], stream=stream)
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_token_details"]["reasoning"] > 0
        return message

    def invoke_with_cache_creation_input(self, *, stream: bool = False) -> AIMessage:
        return self._asked_with_a_long_system_prompt("creation", stream=stream)[0]

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        return self._asked_with_a_long_system_prompt("read", stream=stream)[1]

    def _asked_with_a_long_system_prompt(self, word: str, *, stream: bool) -> list[AIMessage]:
        model = self.chat_model_class(**self.chat_model_params)
        marked = {"type": "text", "text": f"{word} {stream} " * 50, "cache_control": {"type": "ephemeral"}}
        asked = [SystemMessage([marked]), HumanMessage("Hello")]
        messages = [_asked(model, asked, stream=stream) for _ in range(2)]
        first, second = (message.usage_metadata for message in messages)
        assert first is not None
        assert second is not None
        assert first["input_token_details"]["cache_creation"] > 0
        assert second["input_token_details"]["cache_read"] > 0
        return messages


def _asked(model: ChatOpenRouterFree, messages: list[Any], *, stream: bool) -> AIMessage:
    if not stream:
        return model.invoke(messages)
    full: AIMessageChunk | None = None
    for chunk in model.stream(messages):
        full = chunk if full is None else full + chunk
    assert full is not None
    return full


class TestFunctionCalling(_Integration):
    """Structured output as a tool call, a loop for each test."""


class TestJsonSchema(_Integration):
    """Structured output by `response_format`."""

    method = "json_schema"


class TestJsonMode(_Integration):
    """Structured output by JSON mode, with the schema in the prompt."""

    method = "json_mode"


class TestChosenMethod(_Integration):
    """Structured output by the method that the package chooses."""

    method = None


class TestPlainWire(_Integration):
    """`invoke` asks for one plain reply instead of an event stream."""

    more = {"wire": "plain"}  # noqa: RUF012 - read only


class TestHealthyFirst(_Integration):
    """The first model answers."""

    first = TEXT


# The mark is there for the asynchronous tests; on the others pytest-asyncio complains about it.
def _one_loop(suite: type[_Integration]) -> type[_Integration]:
    complaint = "ignore:.*is marked with '@pytest.mark.asyncio' but.*:pytest.PytestWarning"
    return pytest.mark.filterwarnings(complaint)(pytest.mark.asyncio(loop_scope="session")(suite))


@_one_loop
class TestOneLoopForAll(_Integration):
    """One loop for all tests, where the classes above have one for each."""


@_one_loop
class TestOneLoopForAllJsonSchema(TestJsonSchema):
    """The same by `response_format`."""


@_one_loop
class TestOneLoopForAllPlainWire(TestPlainWire):
    """The same with plain replies."""
