"""The account's laws, with a clock in the test's hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from langchain_openrouter_free.simulator import Scenario, Simulator

NOON = 1_790_942_400.0  # 2026-10-02T12:00:00Z
MIDNIGHT_MS = "1790985600000"
HELLO = [{"role": "user", "content": "hello"}]
SMALL, LARGE, BY_REQUEST = "simulated/paid-small", "simulated/paid-large", "simulated/paid-priced-by-request"


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Caller:
    """A client of one simulator, with a clock that the test moves."""

    def __init__(self, **scenario: Any) -> None:
        self.clock = Clock()
        self.sim = Simulator(Scenario(**scenario), clock=self.clock).start()
        self.client = httpx.Client(base_url=self.sim.base_url, trust_env=False, verify=False, timeout=5)

    def ask(self, model: str | None = "test/m01:free", *, key: str = "sk-any", **body: Any) -> httpx.Response:
        body = {"model": model, "messages": HELLO} | body
        return self.client.post("/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})

    def get(self, path: str, *, key: str = "sk-any") -> httpx.Response:
        return self.client.get(path, headers={"Authorization": f"Bearer {key}"})

    def statuses(self, count: int, **body: Any) -> list[int]:
        return [self.ask(**body).status_code for _ in range(count)]


CallerMaker = Callable[..., Caller]


@pytest.fixture
def caller() -> Iterator[CallerMaker]:
    made: list[Caller] = []

    def make(**scenario: Any) -> Caller:
        made.append(Caller(**scenario))
        return made[-1]

    yield make
    for one in made:
        one.client.close()
        one.sim.stop()


def test_without_a_scenario_nothing_is_limited(caller: CallerMaker) -> None:
    """The default world never says 429."""
    one = caller()
    assert one.statuses(60) == [200] * 60
    assert one.sim.account.per_minute is one.sim.account.per_day is None
    assert (one.sim.account.minute_used, one.sim.account.day_used) == (60, 60)


def test_minute_limit_over_all_free_models(caller: CallerMaker) -> None:
    """Twenty a minute over all free models, until the next whole minute."""
    one = caller(per_minute=20, per_day=1000)
    one.clock.now += 59
    for number in range(20):
        assert one.ask(f"test/m{number:02}:free").status_code == 200
    refused = one.ask("z-ai/glm-5.2:free")
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert error["message"] == "Rate limit exceeded: free-models-per-min. "
    assert error["metadata"]["limit_source"] == "openrouter_free_tier_per_minute"
    assert error["metadata"]["provider_name"] is None
    told = error["metadata"]["headers"]
    assert told == {
        "X-RateLimit-Limit": "20",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(NOON + 60) * 1000),
    }
    assert refused.headers["x-ratelimit-reset"] == told["X-RateLimit-Reset"]
    assert "retry-after" not in refused.headers
    assert one.sim.account.minute_used == 20
    one.clock.now += 1
    assert one.ask().status_code == 200
    assert one.sim.account.minute_used == 1
    assert one.sim.account.day_used == 21


@pytest.mark.parametrize(
    ("per_day", "message"),
    [
        (
            50,
            "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
        ),
        (1000, "Rate limit exceeded: free-models-per-day-high-balance. "),
    ],
)
def test_day_limit(caller: CallerMaker, per_day: int, message: str) -> None:
    """The day's quota, told in the words of its kind, comes back at midnight UTC."""
    one = caller(per_day=per_day, day_used=per_day - 1)
    assert one.statuses(3) == [200, 429, 429]
    error = one.ask().json()["error"]
    assert error["message"] == message
    assert error["metadata"]["limit_source"] == "openrouter_free_tier_daily"
    assert error["metadata"]["headers"]["X-RateLimit-Limit"] == str(per_day)
    assert error["metadata"]["headers"]["X-RateLimit-Reset"] == MIDNIGHT_MS
    assert one.sim.account.day_used == per_day
    one.clock.now = int(MIDNIGHT_MS) / 1000
    assert one.ask().status_code == 200
    assert one.sim.account.day_used == 1


def test_failed_tries_count_and_refused_ones_do_not(caller: CallerMaker) -> None:
    """An upstream 429 costs one; the account's own 429 costs nothing; nor does a request that makes no sense."""
    one = caller(per_minute=3, scripts={"*": "429-upstream"})
    assert one.statuses(5) == [429] * 5
    assert one.sim.account.minute_used == 3
    sources = [entry.behaviour for entry in one.sim.chats()]
    assert sources == ["429-upstream"] * 3 + ["429-account-minute"] * 2
    one.clock.now += 60
    assert one.ask("nobody/knows:free").status_code == 400
    assert one.ask(temperature=5).status_code == 400
    assert one.sim.account.minute_used == 0


def test_keys_of_one_account_share_its_limits(caller: CallerMaker) -> None:
    """Several keys draw on one account; a key of another account does not."""
    one = caller(per_minute=2, keys=["sk-a", "sk-b", {"key": "sk-c", "account": "other"}])
    assert one.ask(key="sk-a").status_code == 200
    assert one.ask(key="sk-b").status_code == 200
    assert one.ask(key="sk-a").status_code == 429
    assert one.ask(key="sk-c").status_code == 200
    assert one.sim.accounts["other"].minute_used == 1
    assert one.sim.account.minute_used == 2


def test_keys(caller: CallerMaker) -> None:
    """No key, a strange key and a revoked one are refused; without a list every key will do."""
    one = caller(keys=["sk-a", {"key": "sk-old", "revoked": True}])
    bare = one.client.post("/chat/completions", json={"model": "test/a:free", "messages": HELLO})
    assert (bare.status_code, bare.json()["error"]) == (
        401,
        {"message": "Missing Authentication header", "code": 401},
    )
    for key in ("sk-strange", "sk-old"):
        assert one.ask(key=key).json()["error"] == {"message": "User not found.", "code": 401}
    assert one.ask(key="sk-a").status_code == 200
    assert caller().ask(key="whatever").status_code == 200


def test_chain_asks_the_account_for_each_member(caller: CallerMaker) -> None:
    """Every member of a chain costs one; the final error tells of the earlier ones."""
    one = caller(per_minute=2, scripts={"test/a:free": "429-upstream", "test/b:free": "503"})
    chain = ["test/a:free", "test/b:free", "test/c:free"]
    reply = one.ask(chain[0], models=chain)
    assert reply.status_code == 429
    error = reply.json()["error"]
    assert error["message"] == "Rate limit exceeded: free-models-per-min. "
    first, second = error["metadata"]["previous_errors"]
    assert first["provider_name"] == "Simulated"
    assert second == {"code": 503, "message": "Service temporarily unavailable"}
    assert one.sim.account.minute_used == 2
    assert one.sim.chats()[-1].behaviour == "429-upstream > 503 > 429-account-minute"


def test_chain_falls_through_to_the_one_that_answers(caller: CallerMaker) -> None:
    """The first member that answers gives the answer."""
    one = caller(scripts={"test/a:free": "429-upstream"})
    reply = one.ask(models=["test/a:free", "test/b:free"], model="test/a:free")
    assert reply.json()["model"] == "test/b:free"
    assert one.sim.account.minute_used == 2


def test_chain_is_at_most_three_long_and_all_known(caller: CallerMaker) -> None:
    """Four ids, be they the same, or one that nobody knows, fail the whole request and cost nothing."""
    one = caller(per_minute=5)
    for letters in ("abcd", "aaaa"):
        four = one.ask(models=[f"test/{letter}:free" for letter in letters], model=None)
        told = "'models' array must have 3 items or fewer."
        assert (four.status_code, four.json()["error"]["message"]) == (400, told)
    dead = one.ask(models=["test/a:free", "gone/for-good:free"], model="test/a:free")
    assert dead.json()["error"]["message"] == "gone/for-good:free is not a valid model ID"
    none = one.ask(model=None)
    assert none.status_code == 400
    assert one.sim.account.minute_used == 0


def test_paid_answers_are_billed_by_the_catalogue(caller: CallerMaker) -> None:
    """The bill is prompt and completion times their price, and the price of a request."""
    one = caller(credits="1")
    usage = one.ask(SMALL, max_tokens=100).json()["usage"]
    expected = Decimal("0.0000002") * usage["prompt_tokens"] + Decimal("0.0000008") * usage["completion_tokens"]
    assert one.sim.bill[0].cost == one.sim.account.spent == expected
    assert usage["cost"] == float(expected)
    assert one.sim.bill[0].model == SMALL
    one.ask(BY_REQUEST, max_tokens=100)
    assert one.sim.bill[1].cost > Decimal("0.01")
    assert one.sim.account.credits == 1 - one.sim.account.spent
    assert one.sim.account.minute_used == 0


def test_failures_are_not_billed(caller: CallerMaker) -> None:
    """What gave no answer costs nothing; free answers never do."""
    one = caller(scripts={SMALL: ["503", "200-error", "ok"]})
    assert one.statuses(3, model=SMALL) == [503, 200, 200]
    one.ask()
    assert len(one.sim.bill) == 1


def test_money_runs_out(caller: CallerMaker) -> None:
    """No credits, too little for max_tokens, and a balance below zero that stops free models too."""
    broke = caller(credits=0)
    error = broke.ask(SMALL).json()["error"]
    assert error["code"] == 402
    assert error["message"].startswith("Insufficient credits.")
    assert broke.ask().status_code == 200
    poor = caller(credits="0.001")
    refused = poor.ask(LARGE, max_tokens=64_000).json()["error"]
    assert "You requested up to 64000 tokens, but can only afford 65." in refused["message"]
    assert refused["metadata"]["limit_source"] == "openrouter_credits"
    assert poor.ask(LARGE, max_tokens=60).status_code == 200
    assert poor.ask(LARGE).status_code == 402
    assert poor.ask(BY_REQUEST, max_tokens=1).status_code == 402
    owing = caller(credits="-0.5")
    assert owing.ask().status_code == 402
    assert owing.sim.account.minute_used == 0


def test_key_limit(caller: CallerMaker) -> None:
    """A key's own limit closes paid models only."""
    one = caller(keys=[{"key": "sk-a", "limit": "0.001"}])
    assert one.ask(BY_REQUEST, key="sk-a", max_tokens=10).status_code == 200
    error = one.ask(SMALL, key="sk-a").json()["error"]
    assert error["code"] == 403
    assert error["message"].startswith("Key limit exceeded (total limit). Manage it using")
    assert one.ask(key="sk-a").status_code == 200
    facts = one.get("/key", key="sk-a").json()["data"]
    assert facts["limit"] == 0.001
    assert facts["limit_remaining"] == 0
    assert facts["usage"] > 0.01


def test_a_models_own_minute_limit(caller: CallerMaker) -> None:
    """A limit on one model is not the account's: others still answer."""
    one = caller(rpm={"test/a:free": 2})
    assert one.statuses(3, model="test/a:free") == [200, 200, 429]
    error = one.ask("test/a:free").json()["error"]
    assert error["message"].startswith("Rate limit exceeded: limit_rpm/test/a-")
    assert "High demand for test/a:free on OpenRouter - limited to 2 requests per minute." in error["message"]
    assert error["metadata"]["limit_source"] == "openrouter_shared_capacity"
    assert one.ask("test/b:free").status_code == 200
    one.clock.now += 60
    assert one.ask("test/a:free").status_code == 200


def test_bodies_of_2025(caller: CallerMaker) -> None:
    """Old bodies have no limit_source."""
    one = caller(per_minute=0, limit_source=False)
    one.clock.now += 600
    error = one.ask().json()["error"]
    assert error["metadata"]["headers"]["X-RateLimit-Reset"] == str(int(NOON + 660) * 1000)
    assert error["message"] == "Rate limit exceeded: free-models-per-min. "
    assert "limit_source" not in error["metadata"]
    assert "X-RateLimit-Reset" in error["metadata"]["headers"]


def test_key_page_tells_the_day(caller: CallerMaker) -> None:
    """GET /key knows the day's use."""
    one = caller(per_day=50, day_used=7, credits=0)
    one.ask()
    facts = one.get("/key").json()["data"]
    assert facts["free_model_daily_requests"] == {"used": 8, "limit": 50, "remaining": 42}
    assert facts["is_free_tier"] is True
    assert facts["rate_limit"]["requests"] == -1
    assert caller().get("/key").json()["data"]["is_free_tier"] is False


def test_credits_page(caller: CallerMaker) -> None:
    """GET /credits tells what was bought and what was used."""
    one = caller(credits="2.5")
    one.ask(BY_REQUEST, max_tokens=10)
    money = one.get("/credits").json()["data"]
    assert money["total_credits"] == 2.5
    assert money["total_usage"] == float(one.sim.account.spent)


def test_generation_page_lags_behind(caller: CallerMaker) -> None:
    """GET /generation knows an answer after a while by the clock, and failures never."""
    one = caller(generation_delay=30)
    reply = one.ask(SMALL, max_tokens=50)
    generation = reply.headers["x-generation-id"]
    assert reply.json()["id"] == generation
    early = one.get(f"/generation?id={generation}")
    assert early.status_code == 404
    assert early.json() == {"error": {"message": f"Generation {generation} not found", "code": 404}}
    one.clock.now += 30
    late = one.get(f"/generation?id={generation}").json()["data"]
    assert datetime.fromisoformat(late["created_at"]).tzinfo is not None
    assert late["total_cost"] == reply.json()["usage"]["cost"]
    assert late["model"] == SMALL
    one.sim.script({SMALL: "503"})
    failed = one.ask(SMALL).headers["x-generation-id"]
    one.clock.now += 60
    assert one.get(f"/generation?id={failed}").status_code == 404
