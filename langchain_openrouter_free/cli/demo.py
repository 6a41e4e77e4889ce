"""`demo`: a bad hour on OpenRouter's free models, and a chat model that does not mind.

Played against the bundled simulator: a real HTTP server on loopback with the service's catalogue, limits and error
replies; only the words of the answers are simulated. No key, no network. `--live` asks the real service instead.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import LLMResult
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel, Field
from rich.text import Text

from langchain_openrouter_free import ChatOpenRouterFree, OpenRouterFreeError
from langchain_openrouter_free.cli.output import Output, plain, table
from langchain_openrouter_free.cli.start import Options, model
from langchain_openrouter_free.simulator import Scenario, Simulator

MODELS = [
    "z-ai/glm-5.2:free",
    "nvidia/nemotron-3-ultra-550b-a55b:free",
    "google/gemma-4-31b-it:free",
    "nvidia/nemotron-3-super-120b-a12b:free",
    "openai/gpt-oss-20b:free",
]
_SKY = "Because air scatters short waves far more than long ones, blue light reaches us from everywhere above."
_POEM = "Two moons in the puddle, one in the sky;\nthe frog counts three and keeps the change."
_WEATHER = "Take no umbrella: Oslo has 18 degrees and stays dry."
_OSLO = '{"name": "Oslo", "country": "Norway", "population": 717710}'
_WHY = 44


def bad_hour() -> Scenario:
    """Return the hour: what each model does with each request, and an account that never bought credits."""
    lively = {"do": "ok", "latency": 0.02, "speed": 1500}
    return Scenario(
        per_minute=20,
        per_day=50,
        day_used=12,
        credits="0",
        scripts={
            "z-ai/glm-5.2:free": [{"do": "429-upstream", "retry_after": 60}, lively],
            "nvidia/nemotron-3-ultra-550b-a55b:free": "hang-before-headers",
            "google/gemma-4-31b-it:free": [{**lively, "text": _SKY}, "200-error", lively],
            "nvidia/nemotron-3-super-120b-a12b:free": [
                {**lively, "text": _POEM},
                "200-empty",
                {**lively, "text": _OSLO},
            ],
            # Who called the tool goes on with the conversation.
            "openai/gpt-oss-20b:free": [lively, {**lively, "text": _WEATHER}, lively],
        },
    )


class Routes(BaseCallbackHandler):
    """Collects the route of every answer, wherever in a chain or an agent the model was called."""

    def __init__(self) -> None:
        self.routes: list[dict[str, Any]] = []

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """Take the route out of the answer's metadata."""
        message = getattr(response.generations[0][0], "message", None)
        self.routes.append(getattr(message, "response_metadata", {}).get("route", {}))


class City(BaseModel):
    """A city."""

    name: str
    country: str
    population: int = Field(ge=0)


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"18 degrees and dry in {city}"


def _chain(chat: ChatOpenRouterFree, watch: Routes) -> Iterator[str]:
    prompt = ChatPromptTemplate.from_messages([("system", "Answer in one sentence."), ("user", "{question}")])
    answer: str = (prompt | chat | StrOutputParser()).invoke(
        {"question": "Why is the sky blue?"}, config={"callbacks": [watch]}
    )
    yield answer


def _stream(chat: ChatOpenRouterFree, watch: Routes) -> Iterator[str]:
    for chunk in chat.stream("Write a poem of two lines about the moon.", config={"callbacks": [watch]}):
        yield str(chunk.text)


def _tool(chat: ChatOpenRouterFree, watch: Routes) -> Iterator[str]:
    asked, told = chat.bind_tools([get_weather]), list[BaseMessage]([HumanMessage("What is the weather in Oslo?")])
    for _ in range(3):
        answer = asked.invoke(told, config={"callbacks": [watch]})
        told.append(answer)
        for call in answer.tool_calls:
            yield f"[{call['name']}({', '.join(f'{name}={value!r}' for name, value in call['args'].items())})] "
            told.append(ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"]))
        if not answer.tool_calls:
            yield str(answer.text)
            return


def _structured(chat: ChatOpenRouterFree, watch: Routes) -> Iterator[str]:
    yield repr(chat.with_structured_output(City).invoke("Tell me about Oslo.", config={"callbacks": [watch]}))


_SCENES: dict[str, Callable[[ChatOpenRouterFree, Routes], Iterator[str]]] = {
    "A chain: prompt | model | parser": _chain,
    "A streamed answer": _stream,
    "A tool": _tool,
    "Structured output": _structured,
}


def run(options: Options, *, live: bool) -> None:
    """Play all scenes; exit with 1 if one has no answer."""
    out, started = options.output(), time.perf_counter()
    with contextlib.ExitStack() as stack:
        sim = None if live else stack.enter_context(Simulator(bad_hour()))
        chat = _model(options, sim)
        if not out.json:
            place = "the real service" if sim is None else f"a simulated OpenRouter at {sim.base_url}"
            out.say(f"Asking {place}. Ranked: {', '.join(chat.models)}")
        scenes = [_play(out, title, scene, chat) for title, scene in _SCENES.items()]
        spent = [] if sim is None else _day_is_spent(out, sim, chat)
    answered, seconds = sum(scene["answered"] for scene in scenes), round(time.perf_counter() - started, 1)
    result = {"scenes": scenes, "answered": answered, "of": len(scenes), "day_spent": spent, "seconds": seconds}
    if not out.result(result):
        out.say(f"\n{answered} of {len(scenes)} answered in {seconds} s.")
    if answered < len(scenes):
        out.leave(1)


def _model(options: Options, sim: Simulator | None) -> ChatOpenRouterFree:
    if sim is None:
        return model(options, key=True)
    # What is played reads no configuration of the user's, and leaves no trace in the user's own state.
    return ChatOpenRouterFree(
        models=MODELS,
        api_key=sim.api_key,
        base_url=sim.base_url,
        state="memory",
        allow_paid=False,
        timeouts={"connect": 2, "first_token": 0.5, "stall": 5, "attempt": 10, "call": 20},
    )


def _play(
    out: Output, title: str, scene: Callable[[ChatOpenRouterFree, Routes], Iterator[str]], chat: ChatOpenRouterFree
) -> dict[str, Any]:
    """Play one scene; return what was said and by which routes."""
    watch, said = Routes(), ""
    _head(out, title)
    try:
        for piece in scene(chat, watch):
            said += piece
            if not out.json:
                print(plain(piece, lines=True), end="", flush=True)
    except OpenRouterFreeError as error:
        if not out.json:
            out.say(f"{type(error).__name__}: {error}")
        return {"title": title, "answered": False, "text": str(error), "routes": watch.routes}
    if not out.json:
        out.say("\n")
        rows = [row for route in watch.routes for row in _rows(route, chat.models)]
        out.show(table(["model", "outcome", "status", "seconds"], rows, right=(2, 3)))
    return {"title": title, "answered": True, "text": said, "routes": watch.routes}


def _rows(route: dict[str, Any], models: list[str]) -> Iterator[list[object]]:
    """Yield a route as rows, with the better models that were left alone."""
    attempts = route.get("attempts", [])
    asked = [attempt["model"] for attempt in attempts]
    for name in models[: max((models.index(name) for name in asked if name in models), default=0)]:
        if name not in asked:
            yield [name, "left alone", "-", "-"]
    for attempt in attempts:
        outcome, why = attempt["outcome"].replace("_", " "), attempt["reason"] if attempt["outcome"] != "ok" else ""
        why = why if len(why) <= _WHY else f"{why[: _WHY - 3]}..."
        named = Text.assemble(plain(attempt["model"]), (f"\n {plain(why)}", "dim") if why else "")
        yield [named, outcome, attempt["status"] or "-", f"{attempt['seconds']:.2f}"]


def _day_is_spent(out: Output, sim: Simulator, chat: ChatOpenRouterFree) -> list[str]:
    """Show what happens when the account has no free request left: one refusal, and a time to come back."""
    _head(out, "The day's free requests are used up")
    sim.reset(Scenario(per_minute=20, per_day=50, day_used=50, credits="0"))
    told = []
    for _ in range(2):
        try:
            chat.invoke("One more?")
        except OpenRouterFreeError as error:
            told.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
    asked = len(sim.chats())
    if not out.json:
        out.say("\n".join(told))
        out.say(f"(two calls, {asked} request{'' if asked == 1 else 's'} to the service: the second call knew)")
    return told


def _head(out: Output, title: str) -> None:
    if not out.json:
        out.say(f"\n{title}\n{'-' * len(title)}")
