"""Chat models of other packages as the paid way out: what is asked of them, and what is booked for it."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from threading import Event
from types import SimpleNamespace
from typing import Any, Literal, NoReturn

import httpx
import pytest
from driving import PATHS, TWENTY, asked, drive, make
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import Field, SecretStr, create_model

from langchain_openrouter_free import AllModelsFailed, BudgetExceeded, ChatOpenRouterFree, PaidModel, StreamInterrupted
from langchain_openrouter_free.simulator import Scenario, Simulator

DOWN = Scenario(models=[TWENTY[0]], scripts={TWENTY[0]: "503"})
PAID = {"id": "simulated/paid", "pricing": {"prompt": "0.000001", "completion": "0.000002"}}
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
        own = {name: getattr(self, name) for name in type(self).model_fields if name not in Other.model_fields}
        self.asked.append({"own": own, **kwargs})
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
        if self.fails is not None and self.fails_at == len(self.counts):
            raise self.fails()


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


class OfOneLoop(Other):
    """A chat model whose HTTP client is made once, whatever loop it is used on, as those of most packages are."""

    client: AsyncOpenAI

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        said: Any = [{"role": "user", "content": messages[-1].text}]
        create: Any = self.client.chat.completions.create
        async for chunk in await create(model="simulated/paid", messages=said, stream=True, max_tokens=300):
            for choice in chunk.choices:
                about = {"finish_reason": choice.finish_reason}
                message = AIMessageChunk(content=choice.delta.content or "", response_metadata=about)
                yield ChatGenerationChunk(message=message)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", ["ainvoke", "astream"])
def test_a_client_that_is_used_on_a_second_loop_may_have_sent_the_request(path: str) -> None:
    """It writes on the first one's connection, and cannot read: the bill is covered, and it is told what to do."""
    with Simulator(replace(DOWN, models=[TWENTY[0], PAID])) as sim:
        client = AsyncOpenAI(base_url=sim.base_url, api_key=sim.api_key, max_retries=0)
        model = paying(sim, OfOneLoop(client=client))
        assert drive(model, path).text
        with pytest.raises(AllModelsFailed) as caught:
            drive(model, path)
        assert caught.value.attempts[-1].outcome == "cut"
        assert "ask this model on one loop" in caught.value.attempts[-1].reason
        sim.wait_for(lambda sim: asked(sim).count("simulated/paid") == 2, 2.0)
        assert spent(model) > 2 * WORST, "neither stream tells its usage"
    # Nobody can close what belongs to a loop that is over: it goes now, and not in a test that minds.
    del client, model, caught
    gc.collect()


def package(name: str, **fields: Any) -> Other:
    """A chat model of a class of that name, with these fields."""
    definitions: dict[str, Any] = {one: (Any, value) for one, value in fields.items()}
    kind: type[Other] = create_model(name, __base__=Other, **definitions)
    return kind()


# What a model was made for -> what it is asked for where the router's limit is 300: by its own fields, and by a word.
LIMITS: dict[str, tuple[dict[str, Any], dict[str, int | None], int | None]] = {
    "none of its own": ({}, {}, 300),
    "one that nobody has set": ({"max_tokens": None}, {"max_tokens": 300}, 300),
    "a higher one": ({"max_tokens": 9000}, {"max_tokens": 300}, 300),
    "a lower one": ({"max_tokens": 100}, {"max_tokens": 100}, 100),
    "Gemini's": ({"max_output_tokens": None}, {"max_output_tokens": 300}, None),
    "Ollama's": ({"num_predict": -1}, {"num_predict": 300}, None),
    "the other one of two": (
        {"max_tokens": None, "max_completion_tokens": 9000},
        {"max_tokens": None, "max_completion_tokens": 300},
        None,
    ),
    "two": ({"max_tokens": 9000, "max_completion_tokens": 50}, {"max_tokens": 50, "max_completion_tokens": 50}, 50),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("what", LIMITS)
def test_no_more_is_asked_for_than_is_held_back(path: str, what: str) -> None:
    """By whatever name a package calls the limit; a lower one that the model was made with stays, and is held back."""
    fields, own, word = LIMITS[what]
    with Simulator(DOWN) as sim:
        other = package("Limited", **fields)
        other.counts = (None, None, None)
        model = paying(sim, other)
        drive(model, path)
        [asked] = other.asked
        assert (asked["own"], asked.get("max_tokens")) == (own, word)
        held = word or next(limit for limit in own.values() if limit)
        assert held * 2 < spent(model) * 1_000_000 < held * 2 + 200
        assert other.asked == [asked], "the user's own model is left as it was"
        assert {name: getattr(other, name) for name in fields} == fields


@pytest.mark.parametrize("path", PATHS)
def test_a_model_that_could_say_more_is_asked_for_what_is_usual(path: str) -> None:
    """Some packages set the most that their model can: without a word of the caller's, that is not what is wanted."""
    with Simulator(DOWN) as sim:
        other = package("Limited", max_tokens=64000)
        drive(paying(sim, other, max_tokens=None), path)
        drive(paying(sim, other, max_tokens=9000), path)
    assert [one["max_tokens"] for one in other.asked] == [4096, 9000]


@pytest.mark.parametrize("limit", [100, 300])
def test_a_preview_holds_no_more_against_the_budget_than_a_call(limit: int) -> None:
    """Of 300 tokens that are asked for, a model that was made for 100 can cost no more than these."""
    with Simulator(DOWN) as sim:
        other = package("Limited", max_tokens=limit)
        other.counts = (None, None, None)
        model = paying(sim, other, budget="$0.0005/call")
        [told] = [one for one in model.explain("hi").models if one.paid]
        assert (told.reason == "") == (limit == 100)
        with suppress(BudgetExceeded):
            drive(model, "invoke", "hi")
        assert (spent(model) > 0) == (told.reason == "")


# What a model was made with -> what it holds, and what its requests say, so that nothing is asked for twice.
ONCE: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "ChatGoogleGenerativeAI": ({"max_retries": 6}, {"max_retries": 1}, {}),
    "ChatLiteLLM": ({"max_retries": 0}, {"max_retries": 0}, {"max_retries": 0}),
    "ChatCohere": ({}, {}, {"request_options": {"max_retries": 0}}),
    "ChatOpenRouter": ({"max_retries": 0}, {"max_retries": 0}, {"retries": None}),
    "ChatOpenAI": ({"stream_usage": None}, {"stream_usage": True}, {}),
    "ChatDeepSeek": ({"stream_usage": False}, {"stream_usage": False}, {}),
    "ChatGroq": ({"n": 3}, {"n": 1}, {}),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ONCE)
def test_a_model_is_made_ready(path: str, name: str) -> None:
    """It asks once, for one answer, and tells its usage unless the user says otherwise: nothing is booked blindly."""
    fields, own, words = ONCE[name]
    with Simulator(DOWN) as sim:
        other = package(name, **fields)
        drive(paying(sim, other), path)
    assert other.asked == [{"own": own, "max_tokens": 300, **words}]


class Binding(Other):
    """A chat model with words of its own for tools, as most packages have."""

    knows: list[str] = Field(default_factory=list)

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any) -> Any:
        if self.knows and tool_choice not in self.knows:
            raise ValueError(tool_choice)
        return self.bind(functions=[tool["function"]["name"] for tool in tools], pick=tool_choice, **kwargs)


def tool(name: str) -> dict[str, Any]:
    """A tool in OpenAI's words."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


ONE, TWO = [tool("now")], [tool("now"), tool("then")]
# What is bound to the router -> what the other package is told.
CHOICES: dict[str, tuple[list[dict[str, Any]], Any, str | None]] = {
    "nothing said": (ONE, None, None),
    "auto": (ONE, "auto", "auto"),
    "any of one": (ONE, "any", "now"),
    "any of two": (TWO, "required", "any"),
    "one by its name": (TWO, "then", "then"),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("what", CHOICES)
def test_tools_are_said_in_the_packages_own_words(path: str, what: str) -> None:
    """By its own `bind_tools`: Anthropic's, Gemini's and Bedrock's words are not the service's."""
    tools, choice, told = CHOICES[what]
    with Simulator(DOWN) as sim:
        others = [Binding(), Binding(knows=["nothing that is asked for"]), Other()]
        for other in others:
            bound = paying(sim, other).bind_tools(tools, tool_choice=choice)
            with suppress(AllModelsFailed):  # it answers in words where it must call a tool
                drive(bound, path)
    own, deaf, bare = (other.asked[0] for other in others)
    assert (own["functions"], own["pick"]) == ([one["function"]["name"] for one in tools], told)
    assert not own.keys() & {"tools", "tool_choice"}
    assert deaf["tools"] == bare["tools"] == tools, "what it cannot be told so is said as the service would be told"


@pytest.mark.parametrize("path", PATHS)
def test_what_a_package_takes_from_its_fields_alone_is_set_there(path: str) -> None:
    """Ollama's model takes no sampling with a request; any other gets it with the request."""
    with Simulator(DOWN) as sim:
        for name, own, words in (
            ("ChatOllama", {"temperature": 0.25, "top_p": 0.5}, {}),
            ("ChatGroq", {"temperature": 1, "top_p": 1}, {"temperature": 0.25, "top_p": 0.5}),
        ):
            other = package(name, temperature=1, top_p=1)
            drive(paying(sim, other, temperature=0.25, top_p=0.5), path)
            assert other.asked == [{"own": own, "max_tokens": 300, **words}]


class Whole(Other):
    """It gives its answer in one piece as well, after a while."""

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        Event().wait(0.3)
        usage = UsageMetadata(input_tokens=20, output_tokens=11, total_tokens=31)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content="whole", usage_metadata=usage))])


@pytest.mark.wall_clock
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("how", "tools", "text"),
    [(True, [], "whole"), ("tool_calling", ONE, "whole"), ("tool_calling", [], "abc"), (False, ONE, "abc")],
)
def test_a_model_that_is_not_to_stream_is_asked_for_a_whole_reply(
    path: str, tools: list[dict[str, Any]], text: str, *, how: bool | Literal["tool_calling"]
) -> None:
    """LangChain's `disable_streaming` holds here too, and no first word is waited for where there is none."""
    with Simulator(DOWN) as sim:
        model = paying(sim, Whole(disable_streaming=how), timeouts={"first_token": 0.1})
        assert drive(model.bind_tools(tools) if tools else model, path).text == text
        assert spent(model) == Decimal("0.000042")


@pytest.mark.parametrize("path", PATHS)
def test_a_model_that_counts_its_calls_goes_on(path: str) -> None:
    """LangChain's own fakes give one answer after the other: what need not be changed is not copied."""
    with Simulator(DOWN) as sim:
        model = paying(sim, FakeListChatModel(responses=["one", "two"]))
        assert [drive(model, path).text for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize("wire", ["stream", "plain"])
@pytest.mark.parametrize("path", PATHS)
def test_how_an_answer_ended_is_told(path: str, wire: str) -> None:
    """`ChatOpenAI` says it beside the answer, or the chunks of its stream, and so does it of who has answered."""
    paid = str(PAID["id"])
    with Simulator(Scenario(models=[TWENTY[0], PAID], scripts={TWENTY[0]: "503"})) as sim:
        other = ChatOpenAI(model=paid, api_key=SecretStr(sim.api_key), base_url=sim.base_url)
        told = drive(paying(sim, other, wire=wire), path).meta
    assert (told["finish_reason"], told["native_finish_reason"], told["served_model"]) == ("stop", "stop", paid)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("error", [ConnectionResetError, TimeoutError])
def test_an_answer_that_has_ended_is_not_lost(path: str, error: type[Exception]) -> None:
    """Behind its finish reason only usage can follow: where that never comes, it is booked at its worst case."""
    with Simulator(DOWN) as sim:
        model = paying(sim, Other(counts=(None, None, None), fails=error))
        assert drive(model, path).text == "abc"
        assert spent(model) > WORST
