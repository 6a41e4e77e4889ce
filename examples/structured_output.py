"""An object instead of text."""

from __future__ import annotations

from pydantic import BaseModel, Field

from langchain_openrouter_free import ChatOpenRouterFree


class City(BaseModel):
    """A city."""

    name: str
    country: str
    population: int = Field(description="inhabitants of the city itself")


model = ChatOpenRouterFree(models=["z-ai/glm-5.2:free", "nvidia/nemotron-3-super-120b-a12b:free"])
city = model.with_structured_output(City).invoke("Tell me about Oslo.")
print(city)
