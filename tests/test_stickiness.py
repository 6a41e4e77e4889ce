"""Who speaks next: a conversation keeps its model while that is healthy, and a new one begins with the ranking."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from driving import PATHS, asked, drive, make
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableLambda

from langchain_openrouter_free import ConfigurationError
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock
from langchain_openrouter_free.words import voices as voices_module
from langchain_openrouter_free.words.voices import VOICES, Voices, key_of, traces

X, Y, Z = "test/m01:free", "test/m02:free", "test/m03:free"
HOUR = 3600.0
THREAD = {"configurable": {"thread_id": "one"}}
OTHER = {"configurable": {"thread_id": "two"}}
AFTER = [HumanMessage("u"), AIMessage("hm"), HumanMessage("v")]


@pytest.fixture(autouse=True)
def nobody_has_spoken() -> None:
    VOICES.clear()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def moved(sim: Simulator, clock: FakeClock, path: str = "invoke", prompt: Any = "u", **more: Any) -> Any:
    """A router whose first call went to Y, because X was down for a while."""
    router = make(sim, [X, Y, Z], clock=clock, **more.pop("fields", {}))
    sim.script({X: ["503", "ok"]})
    assert drive(router, path, prompt, **more).meta["route"]["model"] == Y
    clock.advance(HOUR)
    return router


def model_of(router: Any, path: str = "invoke", prompt: Any = "u", **more: Any) -> str:
    return str(drive(router, path, prompt, **more).meta["route"]["model"])


@pytest.mark.parametrize("path", PATHS)
def test_a_thread_keeps_its_model(sim: Simulator, clock: FakeClock, path: str) -> None:
    """Also where its messages say nothing of it; another thread, and no thread, begin with the ranking."""
    router = moved(sim, clock, path, config=THREAD)
    assert model_of(router, path, "something else", config=THREAD) == Y
    assert model_of(router, path, "u", config=OTHER) == X
    assert model_of(router, path, "u") == X
    assert model_of(router, path, "u", config=THREAD, sticky=False) == X


@pytest.mark.parametrize("path", PATHS)
def test_a_conversation_is_known_by_what_was_answered(sim: Simulator, clock: FakeClock, path: str) -> None:
    """What only begins alike is a new conversation, also where it begins with the same examples."""
    router = moved(sim, clock, path, [SystemMessage("s"), HumanMessage("u")])
    assert model_of(router, path, [SystemMessage("s"), HumanMessage("u")]) == X
    VOICES.clear()
    router = moved(sim, clock, path)
    assert model_of(router, path, AFTER) == Y
    assert model_of(router, path, [HumanMessage("w"), *AFTER[1:]]) == X
    VOICES.clear()
    examples = [HumanMessage("2 and 2?"), AIMessage("4")]
    router = moved(sim, clock, path, [*examples, HumanMessage("3 and 3?")])
    assert model_of(router, path, [*examples, HumanMessage("5 and 5?")]) == X
    assert model_of(router, path, [*examples, HumanMessage("3 and 3?"), AIMessage("6"), HumanMessage("sure?")]) == Y


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_names_its_model_even_to_another_process(sim: Simulator, clock: FakeClock, path: str) -> None:
    """A conversation that comes back from a checkpointer goes on with the same voice."""
    router = make(sim, [X, Y, Z], clock=clock)
    answer = AIMessage("hm", response_metadata={"model_name": Z})
    assert model_of(router, path, [HumanMessage("u"), answer, HumanMessage("v")]) == Z
    assert model_of(router, path, [HumanMessage("u"), answer, HumanMessage("v")], sticky=False) == X


def test_the_config_of_a_chain_counts_as_well(sim: Simulator, clock: FakeClock) -> None:
    """Whatever way the thread's id came: through a runnable around the model, sync or async, or bound to it."""
    router = moved(sim, clock, config=THREAD)
    around = RunnableLambda(router.invoke)

    async def answer(prompt: str) -> AIMessage:
        found: AIMessage = await router.ainvoke(prompt)
        return found

    assert model_of(around, config=THREAD) == Y
    assert model_of(RunnableLambda(answer), "ainvoke", config=THREAD) == Y
    assert model_of(router.with_config(THREAD)) == Y
    assert model_of(router.bind_tools([]).with_config(THREAD), "astream") == Y
    assert [a.response_metadata["route"]["model"] for a in router.batch(["a", "b"], [THREAD, OTHER])] == [Y, X]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_an_agent_with_a_memory_keeps_its_voice(sim: Simulator, clock: FakeClock, colour: str) -> None:
    """LangGraph hands the thread's id down; the next turn of the thread goes to the model of the last one."""
    agents = pytest.importorskip("langchain.agents", reason="langchain is not installed")
    memory = pytest.importorskip("langgraph.checkpoint.memory")
    sim.script({X: ["503", "ok"]})
    agent = agents.create_agent(make(sim, [X, Y, Z], clock=clock), [], checkpointer=memory.InMemorySaver())

    def turn(config: Any) -> str:
        task = {"messages": [HumanMessage("hello")]}
        told = agent.invoke(task, config) if colour == "sync" else asyncio.run(agent.ainvoke(task, config))
        return str(told["messages"][-1].response_metadata["model_name"])

    assert turn(THREAD) == Y
    clock.advance(HOUR)
    assert [turn(THREAD), turn(OTHER), turn(THREAD)] == [Y, X, Y]


def test_copies_of_a_model_speak_with_one_voice(sim: Simulator, clock: FakeClock) -> None:
    """LangChain copies and rebuilds instances freely; another ranking is another agent, even in one thread."""
    router = moved(sim, clock, config=THREAD)
    assert model_of(router.model_copy(), config=THREAD) == Y
    assert model_of(router.model_copy(update={"temperature": 0.5}), config=THREAD) == Y
    assert model_of(make(sim, [X, Y], clock=clock), config=THREAD) == X
    assert model_of(router, config=THREAD) == Y


def test_a_model_that_is_not_well_is_not_asked_first(sim: Simulator, clock: FakeClock) -> None:
    """It cools down, or is unfit: then the ranking counts, and whoever serves is the voice from there on."""
    router = moved(sim, clock, config=THREAD)
    sim.script({Y: ["503", "ok"]})
    assert drive(router, "invoke", config=THREAD).outcomes == ["overloaded", "ok"]
    assert asked(sim)[-2:] == [Y, X]
    clock.advance(HOUR)
    assert model_of(router, config=THREAD) == X


def test_what_is_asked_for_by_name_is_law(sim: Simulator, clock: FakeClock) -> None:
    """`model=` pins one model, whoever served before; `explain` tells who comes first."""
    router = moved(sim, clock, config=THREAD)
    assert model_of(router, config=THREAD, model=Z) == Z
    assert router.explain("u").order[0] == X
    assert router.explain(AFTER).order[0] == X
    moved(sim, clock)
    explained = router.explain(AFTER).models
    assert [(one.model, one.note) for one in explained[:2]] == [(Y, "it served this conversation last"), (X, "")]


def test_the_switch(sim: Simulator, clock: FakeClock) -> None:
    """`sticky=False` of the model, or of a call, and nothing that is neither."""
    router = moved(sim, clock, fields={"sticky": False}, config=THREAD)
    assert model_of(router, config=THREAD) == X
    assert not VOICES._served
    with pytest.raises(ConfigurationError, match="sticky='no'"):
        router.invoke("u", sticky="no")


def test_a_paid_answer_leaves_no_voice(sim: Simulator, clock: FakeClock) -> None:
    """After a paid answer the conversation goes back to the free models, to the one that served it before."""
    fields = {"allow_paid": True, "budget": "$1/day", "paid_models": ["simulated/paid-small"], "max_tokens": 300}
    router = moved(sim, clock, fields=fields, config=THREAD)
    sim.script({model: ["503", "ok"] for model in (X, Y, Z)})
    assert drive(router, "invoke", config=THREAD).meta["route"]["paid"]
    clock.advance(HOUR)
    assert model_of(router, config=THREAD) == Y


def test_the_last_conversations_are_kept_and_nothing_of_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded in number and age, and only hashes."""
    monkeypatch.setattr(voices_module, "MOST", 2)
    voices = Voices()
    keys = [key_of("account", [X], f"secret {n}") for n in range(3)]
    assert len(set(keys)) == 3
    assert not any(b"secret" in key for key in keys)
    for n, key in enumerate(keys):
        voices.remember(key, X, float(n))
        voices.remember(keys[0], Y, float(n))
    assert [voices.last([key], 3.0) for key in keys] == [Y, None, X]
    assert voices.last(keys[:1], 3.0 + voices_module.AGE) is None


def test_a_conversation_goes_on_from_where_it_was_answered() -> None:
    """Its names before each answer are those under which it was asked; whose it is, and of whom, counts as well."""
    system, user, assistant = ({"role": role, "content": role} for role in ("system", "user", "assistant"))
    first, nothing = traces("account", [X], [system, user])
    second, before = traces("account", [X], [system, user, assistant, user])
    _, all_before = traces("account", [X], [system, user, assistant, user, assistant])
    assert (nothing, before, all_before) == ([], [first], [second, first])
    assert len({first, traces("other", [X], [system, user])[0], traces("account", [Y], [system, user])[0]}) == 3


@pytest.mark.parametrize(
    "content",
    [
        lambda text: text,
        lambda text: [{"type": "text", "text": text}, "?"],
        lambda text: [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": text}}],
    ],
    ids=["text", "part", "picture"],
)
def test_a_long_text_counts_to_its_last_character(content: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is hashed as it is: writing it as JSON would take as long as all else of its call."""
    written, plain = list[int](), voices_module._bytes

    def measured(value: object) -> bytes:
        written.append(len(plain(value)))
        return plain(value)

    monkeypatch.setattr(voices_module, "_bytes", measured)
    long = "\ud83dü" + "a" * 100_000

    def name(text: str) -> bytes:
        return traces("account", [X], [{"role": "user", "content": content(text)}, {"role": "assistant"}])[1][0]

    assert name(long) == name(str(long.encode(errors="surrogatepass"), errors="surrogatepass"))
    others = [long[1:], long[:-1], long + "a", long[:-1] + "b", "a", "ab"]
    assert len({name(text) for text in [long, *others]}) == 1 + len(others)
    assert max(written) < 1000


def test_two_loops_and_a_broken_stream_leave_the_context_alone(sim: Simulator, clock: FakeClock) -> None:
    """The config of one call is not another's, not even where a stream is left after its first chunk."""
    router = moved(sim, clock, config=THREAD)

    async def left() -> None:
        async for _ in router.astream("u", config=THREAD):
            break

    asyncio.run(left())
    chunks = router.stream("u", config=THREAD)
    next(chunks)
    assert model_of(router) == X
    chunks.close()
