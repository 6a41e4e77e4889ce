"""What the endpoint's tests begin with: routers and endpoints in front of the simulated service, OpenAI's client."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import openai
from pitfall_helpers import ADD
from pydantic import BaseModel

from langchain_openrouter_free import MemoryStore
from langchain_openrouter_free.serve.app import application
from langchain_openrouter_free.serve.backend import Backend, Router
from langchain_openrouter_free.serve.running import served
from langchain_openrouter_free.simulator import Simulator

A, B = "test/a:free", "test/b:free"
HELLO: Any = [{"role": "user", "content": "hello"}]
KEY = "sk-or-v1-theirs"
TOOL: Any = ADD


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


def router(sim: Simulator, **fields: Any) -> Router:
    sim.offer(A, B)
    usual: dict[str, Any] = {"models": [A, B], "api_key": KEY, "base_url": sim.base_url, "state": MemoryStore()}
    return Router(**{**usual, "max_wait": 0.0, **fields})


@contextlib.contextmanager
def endpoints(sim: Simulator) -> Iterator[Callable[..., str]]:
    """A maker of endpoints in front of the simulated service."""
    with contextlib.ExitStack() as running:

        def make(guarding: dict[str, Any] | None = None, **fields: Any) -> str:
            backend = Backend(router(sim, **fields), {"batch": lambda: router(sim, models=[B])})
            return running.enter_context(served(application(backend, **(guarding or {}))))

        yield make


def client(url: str, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key="not-ours", **more)
