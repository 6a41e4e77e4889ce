"""A bad hour on OpenRouter's free models, and a chat model that does not mind.

`make demo` plays it against the bundled simulator: a real HTTP server on loopback with the service's real
catalogue, limits and error replies; only the words of the answers are simulated. No key, no network.

`make demo ARGS="--live"` asks the real service instead (OPENROUTER_API_KEY; six to ten free requests).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import LLMResult
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel, Field

from langchain_openrouter_free import ChatOpenRouterFree, OpenRouterFreeError
from langchain_openrouter_free.simulator import Scenario, Simulator

MODELS = [
    "z-ai/glm-5.2:free",
    "nvidia/nemotron-3-ultra-550b-a55b:free",
    "google/gemma-4-31b-it:free",
    "nvidia/nemotron-3-super-120b-a12b:free",
    "openai/gpt-oss-20b:free",
]
SKY = "Because air scatters short waves far more than long ones, blue light reaches us from everywhere above."
POEM = "Two moons in the puddle, one in the sky;\nthe frog counts three and keeps the change."
WEATHER = "Take no umbrella: Oslo has 18 degrees and stays dry."
OSLO = '{"name": "Oslo", "country": "Norway", "population": 717710}'


def bad_hour() -> Scenario:
    """Return the hour: what each model does with each request, and an account that never bought credits."""
    lively = {"do": "ok", "latency": 0.15, "speed": 60}
    return Scenario(
        per_minute=20,
        per_day=50,
        day_used=12,
        credits="0",
        scripts={
            "z-ai/glm-5.2:free": [{"do": "429-upstream", "retry_after": 60}, lively],
            "nvidia/nemotron-3-ultra-550b-a55b:free": "hang-before-headers",
            "google/gemma-4-31b-it:free": [{**lively, "text": SKY}, "200-error", lively],
            "nvidia/nemotron-3-super-120b-a12b:free": [
                {**lively, "text": POEM},
                "200-empty",
                {**lively, "text": WEATHER},
                {**lively, "text": OSLO},
            ],
            "openai/gpt-oss-20b:free": lively,
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


def chain(model: ChatOpenRouterFree, watch: Routes) -> Iterator[str]:
    """Run a chain: prompt | model | parser."""
    prompt = ChatPromptTemplate.from_messages([("system", "Answer in one sentence."), ("user", "{question}")])
    yield (prompt | model | StrOutputParser()).invoke(
        {"question": "Why is the sky blue?"}, config={"callbacks": [watch]}
    )


def stream(model: ChatOpenRouterFree, watch: Routes) -> Iterator[str]:
    """Stream an answer; only one model's words ever reach the reader."""
    for chunk in model.stream("Write a poem of two lines about the moon.", config={"callbacks": [watch]}):
        yield str(chunk.text)


def agent(model: ChatOpenRouterFree, watch: Routes) -> Iterator[str]:
    """Let an agent call a tool and answer."""
    runner = create_agent(model, tools=[get_weather])
    state = runner.invoke({"messages": [HumanMessage("What is the weather in Oslo?")]}, config={"callbacks": [watch]})
    for message in state["messages"][1:]:
        for call in getattr(message, "tool_calls", ()):
            yield f"[{call['name']}({', '.join(f'{k}={v!r}' for k, v in call['args'].items())})] "
    yield str(state["messages"][-1].text)


def structured(model: ChatOpenRouterFree, watch: Routes) -> Iterator[str]:
    """Ask for an object."""
    yield repr(model.with_structured_output(City).invoke("Tell me about Oslo.", config={"callbacks": [watch]}))


SCENES: list[tuple[str, Callable[[ChatOpenRouterFree, Routes], Iterator[str]]]] = [
    ("A chain: prompt | model | parser", chain),
    ("A streamed answer", stream),
    ("An agent with a tool", agent),
    ("Structured output", structured),
]
ROW = "  {:<40} {:<15} {:>6} {:>7}  {}"
WHY = 46


def table(route: dict[str, Any], models: list[str]) -> Iterator[str]:
    """Yield a route as lines of a table, with the better models that were left alone."""
    asked = [attempt["model"] for attempt in route.get("attempts", [])]
    for model in models[: max((models.index(name) for name in asked if name in models), default=0)]:
        if model not in asked:
            yield ROW.format(model, "not asked", "-", "-", "cools down")
    for attempt in route.get("attempts", []):
        outcome, why = attempt["outcome"].replace("_", " "), attempt["reason"]
        why = why if len(why) <= WHY else f"{why[: WHY - 3]}..."
        yield ROW.format(attempt["model"], outcome, attempt["status"] or "-", f"{attempt['seconds']:.2f}", why).rstrip()


def show(title: str, pieces: Iterator[str], watch: Routes, models: list[str]) -> bool:
    """Play one scene and print its answer and its routes; tell whether it ended in an answer."""
    print(f"\n{title}\n{'-' * len(title)}")
    watch.routes.clear()
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
    except OpenRouterFreeError as error:
        print(f"{type(error).__name__}: {error}")
        return False
    print("\n\n" + ROW.format("model", "outcome", "status", "seconds", "why"))
    for number, route in enumerate(watch.routes):
        print(*(["  then"] if number else []), *table(route, models), sep="\n")
    return True


def day_is_spent(sim: Simulator, model: ChatOpenRouterFree) -> None:
    """Show what happens when the account has no free request left: one refusal, and a time to come back."""
    title = "The day's free requests are used up"
    print(f"\n{title}\n{'-' * len(title)}")
    sim.reset(Scenario(per_minute=20, per_day=50, day_used=50, credits="0"))
    for _ in range(2):
        try:
            model.invoke("One more?")
        except OpenRouterFreeError as error:
            print(f"{type(error).__name__}: {str(error).splitlines()[0]}")
    print(f"(two calls, {len(sim.chats())} request to the service: the second call knew)")


@contextlib.contextmanager
def service(*, live: bool) -> Iterator[Simulator | None]:
    """Start the simulator and point the environment at it, unless the real service is meant."""
    if live:
        if not os.environ.get("OPENROUTER_API_KEY"):
            sys.exit("--live needs OPENROUTER_API_KEY (free: https://openrouter.ai/keys)")
        print("Asking the real service. It uses about ten of the account's free requests of today.")
        yield None
        return
    with Simulator(bad_hour()) as sim:
        os.environ |= {"OPENROUTER_API_KEY": sim.api_key, "OPENROUTER_API_BASE": sim.base_url}
        print(f"A simulated OpenRouter at {sim.base_url}: real HTTP, real failures, invented answers.")
        yield sim


def main() -> int:
    """Play all scenes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--live", action="store_true", help="ask the real service (needs OPENROUTER_API_KEY)")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="ID", help="free ids, best first")
    wish = parser.parse_args()
    started = time.perf_counter()
    with service(live=wish.live) as sim:
        # What is played leaves no trace in the user's own state file.
        played: dict[str, Any] = {"state": "memory", "timeouts": {"first_token": 1.5}}
        model = ChatOpenRouterFree(models=wish.models, **({} if wish.live else played))
        print("Ranked: " + ", ".join(wish.models))
        watch = Routes()
        done = [show(title, scene(model, watch), watch, wish.models) for title, scene in SCENES]
        if sim is not None:
            day_is_spent(sim, model)
    print(f"\n{sum(done)} of {len(done)} answered in {time.perf_counter() - started:.1f} s.")
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
