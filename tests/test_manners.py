"""LangChain's manners: what a call tells callbacks, what configuration reaches it, and who may break it off.

Beside the numbered pitfalls: here are the tables over all errors, all fields and all ways to call.
"""

from __future__ import annotations

import asyncio
import copy
import pickle
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from driving import asked
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelRateLimitError,
)
from langchain_core.language_models import FakeListChatModel, SimpleChatModel
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from pitfall_helpers import FIRST, SECOND, THIRD, Heard, quiet

from langchain_openrouter_free import ChatOpenRouterFree, PaidModel, errors
from langchain_openrouter_free.errors import OpenRouterFreeError
from langchain_openrouter_free.simulator import Simulator

Maker = Callable[..., ChatOpenRouterFree]

# -- every way to call


def _by_invoke(model: Any, config: Any) -> None:
    model.invoke("hello", config)


def _by_stream(model: Any, config: Any) -> None:
    list(model.stream("hello", config))


def _by_batch(model: Any, config: Any) -> None:
    model.batch(["hello"], config)


def _by_ainvoke(model: Any, config: Any) -> None:
    asyncio.run(model.ainvoke("hello", config))


def _by_astream(model: Any, config: Any) -> None:
    async def drain() -> None:
        async for _ in model.astream("hello", config):
            pass

    asyncio.run(drain())


def _by_abatch(model: Any, config: Any) -> None:
    asyncio.run(model.abatch(["hello"], config))


WAYS = [_by_invoke, _by_stream, _by_batch, _by_ainvoke, _by_astream, _by_abatch]
every_way = pytest.mark.parametrize("call", WAYS, ids=lambda way: way.__name__.removeprefix("_by_"))


@every_way
def test_callbacks_hear_one_call_with_the_tokens_of_the_answer_alone(
    sim: Simulator, make_model: Maker, call: Callable[[Any, Any], None]
) -> None:
    """Two failed attempts, of which one has spent 600 tokens: one start, one end, and only the winner's usage."""
    sim.script({FIRST: "429-upstream", SECOND: {"do": "200-empty"}, THIRD: quiet()})
    heard, usage = Heard(), UsageMetadataCallbackHandler()
    call(make_model(sim), {"callbacks": [heard, usage]})
    assert (len(heard.starts), len(heard.ends), heard.errors) == (1, 1, [])
    assert asked(sim) == [FIRST, SECOND, THIRD]
    assert list(usage.usage_metadata) == [THIRD]
    said = heard.ends[0].generations[0][0].message
    assert usage.usage_metadata[THIRD]["total_tokens"] == said.usage_metadata["total_tokens"] > 0


@every_way
def test_callbacks_hear_one_call_and_one_error_when_nobody_answers(
    sim: Simulator, make_model: Maker, call: Callable[[Any, Any], None]
) -> None:
    sim.script({"*": "503"})
    heard = Heard()
    with pytest.raises(OpenRouterFreeError):
        call(make_model(sim), {"callbacks": [heard]})
    assert (len(heard.starts), heard.ends, len(heard.errors)) == (1, [], 1)


@every_way
def test_the_config_reaches_the_callbacks_and_not_the_wire(
    sim: Simulator, make_model: Maker, call: Callable[[Any, Any], None]
) -> None:
    """Tags, metadata, a run's name and id are the caller's own; the model's own tags are added."""
    heard, run_id = Heard(), uuid.uuid4()
    model = make_model(sim, tags=["model"], metadata={"of": "model"})
    config = {"callbacks": [heard], "tags": ["call"], "metadata": {"by": "caller"}, "run_name": "asking"}
    call(model, config if "batch" in call.__name__ else {**config, "run_id": run_id})
    (start,) = heard.starts
    assert set(start["tags"]) == {"model", "call"}
    assert start["metadata"].items() >= {"of": "model", "by": "caller", "ls_provider": "openrouter"}.items()
    assert start["name"] == "asking"
    assert "batch" in call.__name__ or start["run_id"] == run_id
    assert not {"tags", "metadata", "run_name", "callbacks"} & sim.chats()[-1].body.keys()


# -- who may break a call off


class _Stop(BaseCallbackHandler):
    """Raises at the first token, as a handler may who asks for it."""

    raise_error = True

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_llm_new_token(self, *_: Any, **__: Any) -> None:
        raise self.error


def _interrupts() -> Iterator[BaseException]:
    yield KeyboardInterrupt()
    yield LookupError("the handler's own")
    try:
        from langgraph.errors import GraphBubbleUp, GraphInterrupt  # noqa: PLC0415 - where it is installed
    except ImportError:
        return
    yield GraphBubbleUp("out")
    yield GraphInterrupt(())


LONG = {"do": "stall", "reasoning": False, "after": 2, "text": "one two three"}


def _breaks_off(model: Any, way: str, config: Any) -> None:
    if way == "stream":
        list(model.stream("hello", config))
    elif way == "streaming invoke":
        model.model_copy(update={"streaming": True}).invoke("hello", config)
    elif way == "v3":
        _ = model.stream_events("hello", version="v3", config=config).output
    else:
        _by_astream(model, config)


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("way", ["stream", "astream", "streaming invoke", "v3"])
@pytest.mark.parametrize("error", list(_interrupts()), ids=lambda error: type(error).__name__)
def test_what_a_callback_raises_passes_through_and_closes_the_stream(
    sim: Simulator, make_model: Maker, error: BaseException, way: str
) -> None:
    """A graph's control flow, Ctrl-C or a handler's error: untouched, no failure of the model, nobody else asked."""
    sim.script({FIRST: LONG})
    model = make_model(sim)
    with pytest.raises(type(error)) as caught:
        _breaks_off(model, way, {"callbacks": [_Stop(error)]})
    assert caught.value is error
    error.__traceback__ = None
    sim.wait_for(lambda s: s.chats()[0].disconnected_at is not None, timeout=1.0)
    sim.script({FIRST: "ok"})
    assert model.invoke("hello").response_metadata["model_name"] == FIRST
    assert asked(sim) == [FIRST, FIRST]


@every_way
def test_a_graphs_interrupt_inside_another_packages_model_is_no_failure_of_it(
    sim: Simulator, make_model: Maker, call: Callable[[Any, Any], None]
) -> None:
    """What asks a human before it answers is not passed over for the next model."""
    graph = pytest.importorskip("langgraph.errors", reason="langgraph is not installed")

    class Asking(SimpleChatModel):
        _llm_type = "asking"

        def _call(self, *_: Any, **__: Any) -> str:
            raise graph.GraphInterrupt(())

    sim.script({FIRST: "503"})
    paid = [PaidModel(Asking(), prompt_price=0, completion_price=0), "simulated/paid-small"]
    model = make_model(sim, models=[FIRST], allow_paid=True, budget="unlimited", paid_models=paid)
    with pytest.raises(graph.GraphInterrupt):
        call(model, None)
    assert asked(sim) == [FIRST]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_tool_that_interrupts_its_graph_is_resumed_without_a_request_more(
    sim: Simulator, make_model: Maker, colour: str
) -> None:
    """`interrupt()` in an agent's tool stops the graph; resumed, the next model goes on, the first being dead."""
    agents = pytest.importorskip("langchain.agents", reason="langchain is not installed")
    types, memory = pytest.importorskip("langgraph.types"), pytest.importorskip("langgraph.checkpoint.memory")

    @tool
    def ask_human(question: str) -> str:
        """Ask a human."""
        return f"the human says {types.interrupt(question)}"

    agent = agents.create_agent(make_model(sim), [ask_human], checkpointer=memory.InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}

    def run(what: Any) -> Any:
        return agent.invoke(what, thread) if colour == "sync" else asyncio.run(agent.ainvoke(what, thread))

    stopped = run({"messages": [{"role": "user", "content": "Use ask_human about 'tea'."}]})
    assert stopped["__interrupt__"][0].value == "tea"
    sim.script({FIRST: "503"})
    answer = run(types.Command(resume="yes"))["messages"][-1]
    assert "the human says yes" in answer.text
    assert asked(sim) == [FIRST, FIRST, SECOND]


# -- wrappers


@every_way
def test_alternatives_are_chosen_by_the_config(
    sim: Simulator, make_model: Maker, call: Callable[[Any, Any], None]
) -> None:
    """`configurable_alternatives`: another router, or another package's model, by name."""
    model = make_model(sim, models=[FIRST]).configurable_alternatives(
        ConfigurableField(id="which"),
        default_key="first",
        second=make_model(sim, models=[SECOND]),
        spare=FakeListChatModel(responses=["spare"]),
    )
    for which in ("first", "second", "spare"):
        call(model, {"configurable": {"which": which}})
    assert asked(sim) == [FIRST, SECOND]


@every_way
def test_fallbacks_and_retries_take_over_by_every_way_to_call(
    sim: Simulator, make_model: Maker, call: Callable[[Any, Any], None]
) -> None:
    """A router behind a router: the first list's failure is told once, and its models are not asked again."""
    sim.script({FIRST: "503", SECOND: "404-delisted"})
    model = make_model(sim, models=[FIRST, SECOND]).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    heard = Heard()
    call(model.with_fallbacks([make_model(sim, models=[THIRD])]), {"callbacks": [heard]})
    assert asked(sim) == [FIRST, SECOND, THIRD]
    assert len(heard.ends) == 1


# -- the cache key: every field is judged

SHAPING = {
    *("models", "allow_paid", "paid_models", "base_url", "extra_body", "output_version", "temperature", "top_p"),
    *("top_k", "min_p", "top_a", "frequency_penalty", "presence_penalty", "repetition_penalty", "max_tokens", "seed"),
    *("stop", "logprobs", "top_logprobs", "logit_bias", "user", "reasoning", "provider", "accept"),
}
# A value other than the default for each of them that is None or nothing by default.
SET: dict[str, Any] = {
    **dict.fromkeys(("temperature", "top_p", "min_p", "top_a", "frequency_penalty", "presence_penalty"), 0.5),
    "repetition_penalty": 1.5,
    "top_k": 5,
    "max_tokens": 9,
    "seed": 1,
    "stop": ["x"],
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"5": 1.0},
    "user": "u",
    "reasoning": {},
    "provider": {},
    "output_version": "v1",
    "accept": "empty",
}
NEUTRAL = {
    # whose account, key, money and patience it is, and where that is kept
    *("api_key", "project", "state", "limits", "daily_share", "budget", "account_budget", "paid_rps", "credit_fee"),
    *("timeout", "timeouts", "max_wait", "max_retries", "price_lock", "on_billed", "profile_name"),
    # who is asked first, or not at all: the answer is one of the same list
    *("strategy", "privacy", "sticky", "hedge_after"),
    # how it travels, and what is told of it
    *("wire", "allow_http", "default_headers", "app_url", "app_title", "http_client", "http_async_client", "clock"),
    *("chance", "streaming", "on_event", "on_route"),
    # only a stream can break off, and streams are not cached
    *("on_interrupt",),
    # LangChain's own
    *("cache", "callbacks", "custom_get_token_ids", "disable_streaming", "metadata", "name", "profile"),
    *("rate_limiter", "tags", "verbose"),
}


def test_every_field_is_known_to_shape_an_answer_or_not_to(sim: Simulator, make_model: Maker) -> None:
    """A new field has to be judged: the cache key has it, or it stands among those that shape nothing."""
    assert set(ChatOpenRouterFree.model_fields) == SHAPING | NEUTRAL
    assert not SHAPING & NEUTRAL
    own = {name.replace("default_stop", "stop") for name in make_model(sim, **SET)._identifying_params}
    assert own == SHAPING


def test_tokens_may_be_named_by_their_numbers(sim: Simulator, make_model: Maker) -> None:
    """As `ChatOpenAI` has them; on the wire they are words."""
    biases: list[Any] = [{50256: -100}, {"50256": -100.0}]
    first, second = (make_model(sim, logit_bias=bias) for bias in biases)
    assert first.logit_bias == second.logit_bias == {"50256": -100}


# -- the errors

FAMILY: dict[str, tuple[type[ModelError], bool]] = {
    "OpenRouterFreeError": (ModelError, False),
    "ConfigurationError": (ModelInvalidRequestError, False),
    "RequestRejected": (ModelInvalidRequestError, False),
    "ContextTooLong": (ContextOverflowError, False),
    "AuthenticationFailed": (ModelAuthenticationError, False),
    "FreeModelBilled": (ModelError, False),
    "AllModelsFailed": (ModelAPIError, True),
    "NoValidObject": (ModelAPIError, True),
    "NoSuitableModel": (ModelNotFoundError, False),
    "PrivacyNotSatisfiable": (ModelNotFoundError, False),
    "FreeQuotaExhausted": (ModelRateLimitError, False),
    "BudgetExceeded": (ModelAPIError, False),
    "InsufficientCredits": (ModelAPIError, False),
    "StreamInterrupted": (ModelConnectionError, True),
}


def _all_errors(of: type[OpenRouterFreeError] = OpenRouterFreeError) -> Iterator[type[OpenRouterFreeError]]:
    yield of
    for below in of.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _all_errors(below)


def test_every_error_is_in_langchains_family_and_says_whether_to_retry() -> None:
    """LangChain's middlewares retry whatever is no ModelError, so there must be none of ours outside."""
    found = {one.__name__: one for one in _all_errors()}
    assert found.keys() == FAMILY.keys()
    for name, (base, retryable) in FAMILY.items():
        assert issubclass(found[name], base), name
        error = found[name]()
        assert error.is_retryable is retryable, name
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert (type(twin), str(twin), twin.args) == (type(error), str(error), error.args), name
    assert errors.FreeQuotaExhausted("minute").is_retryable
