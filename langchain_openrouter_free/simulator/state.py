"""The state of one simulated world: account, keys, catalogue, scripts, bill.

Owns what changes between requests, and the two things it is given from outside: clock and randomness. It
knows no HTTP.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from langchain_openrouter_free.simulator.account import MINUTE, Account, Key, Window
from langchain_openrouter_free.simulator.behaviours import Behaviour, Script, Scripts
from langchain_openrouter_free.simulator.brain import Answer
from langchain_openrouter_free.simulator.catalogue import Row
from langchain_openrouter_free.simulator.reply import Json
from langchain_openrouter_free.simulator.scenario import Scenario
from langchain_openrouter_free.simulator.suggest import ScenarioError

USER = "user_simulated"
_REMEMBERED = 10_000


class BillEntry(NamedTuple):
    """One paid answer."""

    generation: str
    model: str
    cost: Decimal


class Generation(NamedTuple):
    """An answer as `GET /generation` will know it from `known_at` on, for the keys of its account."""

    known_at: float
    data: Json
    account: Account


class State:
    """Everything that a world remembers."""

    def __init__(self, scenario: Scenario, clock: Callable[[], float], seed: int) -> None:
        self.scenario = scenario
        self.clock = clock
        self.rng = random.Random(seed)
        self.catalogue = scenario.catalogue()
        self.scripts = Scripts()
        self.scripts.update(dict(scenario.scripts))
        self.accounts = {"main": self._account()}
        self.keys = {key.secret: key for key in map(self._key, scenario.keys)}
        self.anybody = Key("", self.account)
        self.bill: list[BillEntry] = []
        self.generations: dict[str, Generation] = {}
        self.cached: set[int] = set()
        self.thoughts: set[tuple[str, str]] = set()
        now = clock()
        self.model_minutes = {slug: Window(MINUTE, limit, 0, now) for slug, limit in scenario.rpm.items()}

    @property
    def account(self) -> Account:
        """The account that keys belong to unless they name another."""
        return self.accounts["main"]

    def script(self, scripts: Mapping[str, Script]) -> None:
        """Give models new scripts; a ':free' id that was not listed is listed from now on.

        Raises:
            ScenarioError: a script cannot be played, or a paid model is unknown.
        """
        for slug in scripts:
            if not isinstance(slug, str):
                raise ScenarioError(f"scripts: a model is named by its id, not by {slug!r}")
        self.scripts.update(scripts)
        for slug in scripts:
            if slug != "*":
                self.catalogue.name(slug)

    def next_behaviour(self, row: Row) -> Behaviour:
        """What the model does now."""
        return self.scripts.next(row.id, self.clock(), self.rng)

    def random_uuid(self) -> str:
        """A uuid that is the same with the same seed."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def settle(self, generation: str, row: Row, answer: Answer, key: Key, *, streamed: bool) -> Decimal:
        """Work out what an answer costs, put it on the bill, and remember it for `GET /generation`."""
        cost = cost_of(row, answer, self.clock())
        if cost:
            key.charge(cost)
            self.bill.append(BillEntry(generation, row.id, cost))
        now = self.clock()
        data = {
            "created_at": datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds"),
            "model": row.id,
            "app_id": None,
            "external_user": None,
            "streamed": streamed,
            "cancelled": False,
            "latency": 0,
            "moderation_latency": None,
            "generation_time": 0,
            "tokens_prompt": answer.prompt_tokens,
            "tokens_completion": answer.completion_tokens,
            "native_tokens_prompt": answer.prompt_tokens,
            "native_tokens_completion": answer.completion_tokens,
            "native_tokens_completion_images": None,
            "native_tokens_reasoning": answer.reasoning_tokens,
            "native_tokens_cached": answer.cached_tokens,
            "num_media_prompt": None,
            "num_input_audio_prompt": None,
            "num_media_completion": 0,
            "num_search_results": None,
            "origin": "",
            "is_byok": False,
            "finish_reason": answer.finish,
            "native_finish_reason": answer.finish,
            "usage": float(cost) or 0,
            "api_type": "completions",
            "id": generation,
            "upstream_id": f"chatcmpl-{generation[4:]}",
            "total_cost": float(cost) or 0,
            "cache_discount": None,
            "upstream_inference_cost": 0,
            "provider_name": row.provider,
        }
        self.generations[generation] = Generation(now + self.scenario.generation_delay, data, key.account)
        if len(self.generations) > _REMEMBERED:
            del self.generations[next(iter(self.generations))]
        return cost

    def _account(self) -> Account:
        scenario = self.scenario
        return Account(
            self.clock,
            per_minute=scenario.per_minute,
            per_day=scenario.per_day,
            minute_used=scenario.minute_used,
            day_used=scenario.day_used,
            credits=Decimal(str(scenario.credits)),
        )

    def _key(self, entry: str | Json) -> Key:
        table = {"key": entry} if isinstance(entry, str) else entry
        account = str(table.get("account", "main"))
        if account not in self.accounts:
            self.accounts[account] = self._account()
        limit = table.get("limit")
        return Key(
            str(table["key"]),
            self.accounts[account],
            None if limit is None else Decimal(str(limit)),
            bool(table.get("revoked", False)),
        )


def cost_of(row: Row, answer: Answer, now: float) -> Decimal:
    """What an answer costs, from the prices of the catalogue: those of free models are zero, but for a slip."""

    def price(what: str) -> Decimal:
        return row.price(what, answer.prompt_tokens, now)

    cost = (
        price("request")
        + price("prompt") * answer.prompt_tokens
        + price("completion") * answer.completion_tokens
        + price("image") * answer.images
    )
    # A price of -1 stands for "it depends".
    return max(cost, Decimal(0))
