"""Chat models of other packages as the paid way out: what is asked of them, and what is booked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, NoReturn

import httpx
import pytest
from driving import PATHS, TWENTY, drive, make
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import Field

from langchain_openrouter_free import AllModelsFailed, ChatOpenRouterFree, PaidModel, StreamInterrupted
from langchain_openrouter_free.simulator import Scenario, Simulator

DOWN = Scenario(models=[TWENTY[0]], scripts={TWENTY[0]: "503"})
WORST = Decimal("0.0005")


class Other(BaseChatModel):
    """A chat model of another package: it says "abc" in three pieces and notes what it was asked with."""

    counts: Sequence[tuple[int, int] | None] = (None, None, (20, 11))
    fails: Callable[[], Exception] | None = None
    fails_at: int = 3
    asked: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "other"

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        raise NotImplementedError

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        self.asked.append({"stop": stop, **kwargs})
        for at, count in enumerate(self.counts):
            if self.fails is not None and at == self.fails_at:
                raise self.fails()
            counted = count and UsageMetadata(
                input_tokens=count[0], output_tokens=count[1], total_tokens=count[0] + count[1]
            )
            about = {"finish_reason": "stop"} if at == 2 else {}
            yield ChatGenerationChunk(
                message=AIMessageChunk(content="abc"[at], usage_metadata=counted, response_metadata=about)
            )


class Refused(Exception):
    """Another package's exception, with a status of its own or of a reply that it holds."""

    def __init__(self, status: int | None = None, response: object = None) -> None:
        super().__init__("no")
        self.status_code, self.response = status, response


def named(name: str, kind: type[Exception] = Exception) -> Exception:
    """An exception that only its name tells of."""
    made: Exception = type(name, (kind,), {})("no")
    return made


def caused(first: Exception, *later: Exception) -> Exception:
    """The last of some exceptions, of which each was raised from the one before."""
    for one in later:
        one.__cause__ = first
        first = one
    return first


def throw(error: Exception) -> NoReturn:
    """Raise an exception."""
    raise error


def amid(first: Exception, then: Callable[..., object], *args: object) -> Any:
    """Do something while an exception is handled."""
    try:
        throw(first)
    except type(first):
        return then(*args)


AWS = {"ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "7"}}}
# What a package raises -> how the attempt ended, and whether it may have cost money.
FAILURES: dict[str, tuple[Callable[[], Exception], str, bool]] = {
    "a status of its own": (lambda: Refused(429), "rate_limit", False),
    "a reply's": (lambda: Refused(response=httpx.Response(401)), "unauthenticated", False),
    "a reply's of aiohttp": (lambda: Refused(response=SimpleNamespace(status=503, headers={})), "overloaded", False),
    "a reply's of AWS": (lambda: Refused(response=AWS), "rate_limit", False),
    "a status below the package's word": (lambda: caused(Refused(429), named("ModelError")), "rate_limit", False),
    "a status made up for a reset": (lambda: caused(named("ReadError"), named("Broken"), Refused(500)), "cut", True),
    "the same, raised amid it": (lambda: amid(ConnectionResetError(), throw, Refused(500)), "cut", True),
    "a status made up for a timeout": (lambda: amid(named("ReadTimeout"), throw, Refused(408)), "timed_out", True),
    "a reset that an adapter takes for no connection": (
        lambda: caused(named("ClientOSError", OSError), named("ConnectTimeout"), named("TheirTimeoutError")),
        "cut",
        True,
    ),
    "no connection": (lambda: caused(named("ConnectError"), named("APIConnectionError")), "unreachable", False),
    "no connection to AWS": (lambda: named("EndpointConnectionError"), "unreachable", False),
    "a read that broke off": (lambda: named("ReadError"), "cut", True),
    "a bug": (lambda: TypeError("unexpected keyword"), "broken", True),
}


def paying(sim: Simulator, other: BaseChatModel, **kwargs: Any) -> ChatOpenRouterFree:
    """A router with a free model that is down, and one of another package at $1 and $2 a million tokens."""
    paid = [PaidModel(other, prompt_price=1, completion_price=2)]
    money: dict[str, Any] = {"allow_paid": True, "budget": "$1", "paid_models": paid, "max_tokens": 300, "max_wait": 0}
    return make(sim, TWENTY[:1], **{**money, **kwargs})


def spent(model: ChatOpenRouterFree) -> Decimal:
    """What the project has spent, in US dollars."""
    return Decimal(model.spending().windows[0].spent)


@pytest.mark.parametrize("path", PATHS)
def test_usage_in_pieces_adds_up(path: str) -> None:
    """As LangChain's chunks do: Gemini's and Perplexity's streams tell in each what it has cost since the last one."""
    with Simulator(DOWN) as sim:
        for counts in ([None, None, (20, 11)], [(20, 5), (0, 4), (0, 2)], [(20, 0), None, (0, 11)]):
            model = paying(sim, Other(counts=counts))
            assert drive(model, path).message.usage_metadata["total_tokens"] == 31
            assert spent(model) == Decimal("0.000042")


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_that_breaks_off_has_told_no_usage(path: str) -> None:
    """What it had counted by then is not what it costs: it is booked at its worst case."""
    with Simulator(DOWN) as sim:
        model = paying(sim, Other(counts=[(20, 1), (0, 1), (0, 9)], fails=ConnectionResetError, fails_at=2))
        with pytest.raises((AllModelsFailed, StreamInterrupted)):
            drive(model, path)
        assert spent(model) > WORST


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("what", FAILURES)
def test_what_another_package_raises(path: str, what: str) -> None:
    """What was refused costs nothing, wherever its status stands; what broke off may, whatever status is made up."""
    error, outcome, may_cost = FAILURES[what]
    with Simulator(DOWN) as sim:
        model = paying(sim, Other(fails=error, fails_at=0))
        with pytest.raises(AllModelsFailed) as caught:
            amid(Refused(403), drive, model, path)  # the caller's own, which tells nothing of the call
        assert caught.value.attempts[-1].outcome == outcome
        assert (spent(model) > 0) == may_cost


@pytest.mark.parametrize("path", PATHS)
def test_a_status_that_comes_behind_words_refuses_nothing(path: str) -> None:
    """A package that names one for a stream that broke off had got its reply: what was said is to be paid for."""
    with Simulator(DOWN) as sim:
        model = paying(sim, Other(fails=lambda: Refused(500), fails_at=1))
        with pytest.raises((AllModelsFailed, StreamInterrupted)):
            drive(model, path)
        assert spent(model) > WORST
