"""OpenRouter's HTTP API as a real server on loopback, for tests and demonstrations.

It shares no code with the rest of the package and needs the standard library only, so it can disagree.

    with Simulator(Scenario(per_minute=20)) as sim:
        sim.script({"z-ai/glm-5.2:free": ["429-upstream", "ok"]})
        ...  # point a client at sim.base_url

`python -m langchain_openrouter_free.simulator --list` shows scenarios and behaviours.
"""

from langchain_openrouter_free.simulator.log import Received
from langchain_openrouter_free.simulator.scenario import Scenario
from langchain_openrouter_free.simulator.server import Simulator
from langchain_openrouter_free.simulator.suggest import ScenarioError
from langchain_openrouter_free.simulator.world import World

__all__ = ["Received", "Scenario", "ScenarioError", "Simulator", "World"]
