"""The paid way out: only with leave, reserved before, settled after, never past the budget."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, at_once, drive, make
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from test_hostile_server import router, serving
from wire_table import event, sse

from langchain_openrouter_free import (
    AllModelsFailed,
    Budget,
    BudgetExceeded,
    ConfigurationError,
    FreeQuotaExhausted,
    MemoryStore,
    PaidModel,
    StreamInterrupted,
)
from langchain_openrouter_free.books.budget import NANO, Fees, dollars
from langchain_openrouter_free.books.purse import LEASE, Purse
from langchain_openrouter_free.books.spending import spending
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock

PAID, LARGE, FLAT = "simulated/paid-small", "simulated/paid-large", "simulated/paid-priced-by-request"


pytestmark = pytest.mark.one_simulator


def paying(_: Simulator | None, **kwargs: Any) -> dict[str, Any]:
    return {"allow_paid": True, "paid_models": [PAID], "budget": "$1/day", "project": "test", "max_wait": 0, **kwargs}


@pytest.mark.parametrize("path", PATHS)
def test_paid_answers_when_no_free_model_can(sim: Simulator, path: str) -> None:
    """With every free model down, the paid one answers, and the route tells what it cost."""
    sim.script({"*": "500", PAID: "ok"})
    told = drive(make(sim, **paying(sim)), path)
    route = told.meta["route"]
    assert (route["model"], route["paid"]) == (PAID, True)
    assert route["cost"] > 0
    assert told.outcomes == ["broken"] * 3 + ["ok"]
    assert sum(entry.cost for entry in sim.bill) == Decimal(str(route["cost"]))


@pytest.mark.parametrize("path", PATHS)
def test_without_the_flag_nothing_paid_leaves(sim: Simulator, path: str) -> None:
    """paid_models and a budget alone are no leave: not one request to a paid id."""
    sim.script({"*": "500", PAID: "ok"})
    with pytest.raises(AllModelsFailed):
        drive(make(sim, **{**paying(sim), "allow_paid": False}), path)
    assert asked(sim) == TWENTY[:3]
    assert sim.bill == []


def test_the_paid_twin_that_the_server_names_is_not_followed(sim: Simulator) -> None:
    """'Use this slug instead' names a paid model; nobody asks it."""
    sim.script({"*": "404-unavailable-for-free"})
    with pytest.raises(AllModelsFailed):
        make(sim).invoke("hi")
    assert all(model.endswith(":free") for model in asked(sim))


@pytest.mark.parametrize("path", PATHS)
def test_a_spent_day_goes_to_the_paid_model_with_leave(sim: Simulator, path: str) -> None:
    """The account's spent day stops the free walk; a paid model is asked next."""
    sim.script({"*": "429-account-day", PAID: "ok"})
    told = drive(make(sim, **paying(sim)), path)
    assert told.outcomes == ["day_limit", "ok"]
    assert asked(sim) == [TWENTY[0], PAID]
    assert drive(make(sim, **paying(sim, state=make(sim).state)), path).meta["route"]["paid"]


@pytest.mark.parametrize("path", PATHS)
def test_a_paid_model_that_speaks_of_the_free_minute_is_asked_once(sim: Simulator, path: str) -> None:
    """No end of a free window lets it answer."""
    sim.script({"*": "503", LARGE: "429-account-minute", PAID: "ok"})
    told = drive(make(sim, TWENTY[:1], **paying(sim, paid_models=[LARGE, PAID])), path)
    assert told.outcomes == ["overloaded", "minute_limit", "ok"]


@pytest.mark.parametrize("path", PATHS)
def test_the_budget_is_a_wall(sim: Simulator, path: str) -> None:
    """What could pass the budget is not sent; the error has the figures."""
    sim.script({"*": "500", LARGE: "ok"})
    with pytest.raises(BudgetExceeded) as caught:
        drive(make(sim, **paying(sim, budget="$0.000001", paid_models=[LARGE])), path)
    assert asked(sim) == TWENTY[:3]
    assert sim.bill == []
    error = caught.value
    assert error.window == "total"
    assert error.cap == "0.000001"
    assert Decimal(error.asked) > Decimal(error.cap)
    assert not error.is_retryable


def test_a_cheaper_model_is_asked_when_the_better_one_is_too_dear(sim: Simulator) -> None:
    """The ranked paid models are tried until one fits."""
    sim.script({"*": "500", LARGE: "ok", PAID: "ok"})
    told = drive(make(sim, **paying(sim, budget="$0.003", paid_models=[LARGE, PAID], max_tokens=300)), "invoke")
    assert told.meta["route"]["model"] == PAID


def test_parallel_calls_share_one_wall(sim: Simulator) -> None:
    """Sixteen threads and a cap that holds one answer's price: one passes, the bill is within the cap."""
    sim.script({"*": "500", FLAT: {"do": "ok", "latency": 0.1}})
    cap = Decimal("0.015")
    model = make(sim, TWENTY[:1], **paying(sim, budget=str(cap), paid_models=[FLAT], max_tokens=300))
    results: list[str] = []
    lock = threading.Lock()

    def call() -> None:
        try:
            model.invoke("hello")
            said = "answer"
        except BudgetExceeded:
            said = "wall"
        with lock:
            results.append(said)

    at_once(call, 16)
    assert results.count("answer") == 1
    assert results.count("wall") == 15
    assert asked(sim).count(FLAT) == 1
    assert Decimal("0.01") <= sum(entry.cost for entry in sim.bill) <= cap


def _worst(sim: Simulator) -> Decimal:
    """The worst case of a call, found by asking with a budget that holds nothing."""
    sim_model = make(sim, TWENTY[:1], **paying(sim, budget="$0.000000001", max_tokens=300))
    with pytest.raises(BudgetExceeded) as caught:
        sim_model.invoke("hello")
    return Decimal(caught.value.asked)


def test_a_refused_paid_attempt_gives_its_reservation_back(sim: Simulator) -> None:
    """A 503 before any content costs nothing: the next paid call finds the whole budget."""
    sim.script({"*": "500", PAID: ["503", "ok"]})
    worst = _worst(sim)
    clock = FakeClock()
    model = make(sim, TWENTY[:1], **paying(sim, budget=str(worst), max_tokens=300), clock=clock)
    with pytest.raises(AllModelsFailed):
        model.invoke("hello")
    clock.advance(120)
    assert model.invoke("hello").response_metadata["route"]["paid"]


@pytest.mark.parametrize("path", ["stream", "astream"])
def test_a_broken_off_paid_stream_counts_in_full(sim: Simulator, path: str) -> None:
    """An answer that broke off after content is booked at its worst case: the budget is gone."""
    sim.script({"*": "500", PAID: [{"do": "cut", "after": 2}, "ok"]})
    worst = _worst(sim)
    clock = FakeClock()
    model = make(sim, TWENTY[:1], **paying(sim, budget=str(worst), max_tokens=300), clock=clock)
    with pytest.raises(StreamInterrupted):
        drive(model, path, "hello")
    clock.advance(7200)
    with pytest.raises(BudgetExceeded):
        drive(model, path, "hello")


TOKENS = {"prompt_tokens": 5, "completion_tokens": 1}
BY_OWN_KEY = {**TOKENS, "cost": 0.02, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.3}}
USAGES = {
    "by a key of one's own": (BY_OWN_KEY, Decimal("0.32")),
    "by one's own, without what it bills": ({**BY_OWN_KEY, "cost": 0, "cost_details": {}}, Decimal("0.000007")),
    "by the service's": ({**BY_OWN_KEY, "is_byok": False}, Decimal("0.02")),
    "thoughts that only the sum holds": ({**TOKENS, "total_tokens": 16}, Decimal("0.000027")),
    "a counter beyond belief": ({**TOKENS, "prompt_tokens": 10**30}, None),
    "noughts of who has not counted": (dict.fromkeys(TOKENS, 0), None),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", USAGES)
def test_what_an_answer_says_of_its_cost(path: str, name: str) -> None:
    """What a provider bills to a key of the user's own is spent too; nonsense is settled at what was reserved."""
    said, cost = USAGES[name]
    raw = sse(event({"content": "well"}, "stop"), {"choices": [], "usage": said})
    refused = (503, {"Content-Type": "application/json"}, b"{}")
    with serving(
        lambda model: (200, {"Content-Type": "text/event-stream"}, raw.encode()) if model == PAID else refused
    ) as server:
        paid = [PaidModel(PAID, prompt_price=1, completion_price=2)]
        model = router(server, **{**paying(None), "paid_models": paid, "max_tokens": 100})
        assert drive(model, path).meta["route"]["paid"]
    told = {one.window: Decimal(one.spent) for one in model.spending().windows}
    if cost is None:
        assert 0 < told["total"] < Decimal("0.001")
    else:
        assert told["total"] == cost


def test_an_unlimited_budget_must_be_spelled_out(sim: Simulator) -> None:
    """budget='unlimited' is the only way to have none."""
    sim.script({"*": "500", LARGE: "ok"})
    assert make(sim, **paying(sim, budget="unlimited", paid_models=[LARGE])).invoke("hi")


def test_a_paid_id_without_a_price_is_not_asked(sim: Simulator) -> None:
    """A cost that cannot be bounded is not reserved."""
    sim.script({"*": "500"})
    with pytest.raises(AllModelsFailed) as caught:
        make(sim, **paying(sim, paid_models=["unknown/model"])).invoke("hi")
    assert "unknown/model" not in asked(sim)
    assert any("price is unknown" in skipped.reason for skipped in caught.value.skipped)


def test_a_paid_attempt_always_limits_its_output(sim: Simulator) -> None:
    """What was reserved is what was asked for: max_tokens goes along."""
    sim.script({"*": "500", PAID: "ok"})
    make(sim, **paying(sim)).invoke("hi")
    assert sim.chats()[-1].body["max_tokens"] == 4096
    make(sim, **paying(sim, max_tokens=77)).invoke("hi")
    assert sim.chats()[-1].body["max_tokens"] == 77


# -- the second road


def openai_road(sim: Simulator, **kwargs: Any) -> PaidModel:
    chat = ChatOpenAI(model=PAID, api_key=SecretStr("sk-other"), base_url=sim.base_url, **kwargs)
    return PaidModel(chat, prompt_price="0.10", completion_price="0.40")


@pytest.mark.parametrize("path", PATHS)
def test_a_chat_model_of_another_package_answers(sim: Simulator, path: str) -> None:
    """With the service's free models down, ChatOpenAI is asked on its own road."""
    sim.script({"*": "500", PAID: "ok"})
    told = drive(make(sim, **paying(sim, paid_models=[openai_road(sim)])), path)
    assert told.meta["route"]["model"] == f"ChatOpenAI:{PAID}"
    assert told.meta["route"]["paid"] is True
    assert PAID in told.text
    assert told.message.usage_metadata["output_tokens"] > 0


def test_the_second_road_works_when_the_service_is_down() -> None:
    """The service cannot be reached at all; the other provider answers."""
    with Simulator() as gone:
        dead = gone.base_url
    with Simulator() as other:
        model = make(other, TWENTY[:2], **paying(other, paid_models=[openai_road(other)]))
        model = model.model_copy(update={"base_url": dead})
        told = drive(model, "invoke")
        assert told.outcomes == ["unreachable", "unreachable", "ok"]


@pytest.mark.parametrize("path", PATHS)
def test_the_second_road_does_not_retry_by_itself(sim: Simulator, path: str) -> None:
    """ChatOpenAI's own retries are off: one request, then the call's error."""
    sim.script({"*": "503"})
    with pytest.raises(AllModelsFailed) as caught:
        drive(make(sim, TWENTY[:1], **paying(sim, paid_models=[openai_road(sim)])), path)
    assert asked(sim) == [TWENTY[0], PAID]
    assert caught.value.attempts[-1].status == 503


@pytest.mark.parametrize(
    ("fault", "outcome"), [("reset", "cut"), ("cut", "cut"), ("503", "overloaded"), (None, "unreachable")]
)
@pytest.mark.parametrize("path", PATHS)
def test_what_breaks_off_on_the_second_road_may_have_cost_money(
    sim: Simulator, path: str, fault: str | None, outcome: str
) -> None:
    """It is booked at its worst case, as on the service's road; only what never left, or was refused, costs nothing."""
    sim.script({TWENTY[0]: "503", PAID: fault or "ok"})
    with Simulator() as gone:
        dead = gone
    model = make(sim, TWENTY[:1], **paying(sim, paid_models=[openai_road(sim if fault else dead)]))
    with pytest.raises((AllModelsFailed, StreamInterrupted)) as caught:
        drive(model, path)
    assert caught.value.attempts[-1].outcome == outcome
    spent = model.spending()
    assert (Decimal(spent.windows[0].spent) > 0) == (outcome == "cut")
    assert spent.unknown == spent.windows[0].spent


@pytest.mark.parametrize("road", [lambda _: PAID, openai_road], ids=["the service", "another provider"])
@pytest.mark.parametrize(("fault", "outcome"), [("429-generic", "rate_limit"), ("429-account-day", "day_limit")])
@pytest.mark.parametrize("path", PATHS)
def test_a_paid_429_says_nothing_of_the_free_quota(
    sim: Simulator, path: str, fault: str, outcome: str, road: Callable[[Simulator], object]
) -> None:
    """It is no second one of the account's, nor is another account's spent day ours: the free ones are asked again."""
    sim.script({TWENTY[0]: ["429-generic", "ok"], PAID: fault})
    clock = FakeClock()
    model = make(sim, TWENTY[:1], clock=clock, **paying(sim, paid_models=[road(sim)]))
    with pytest.raises(AllModelsFailed) as caught:
        drive(model, path)
    assert [attempt.outcome for attempt in caught.value.attempts] == ["rate_limit", outcome]
    clock.advance(6)
    assert drive(model, path).outcomes == ["ok"]


@pytest.mark.parametrize("path", PATHS)
def test_a_403_of_another_provider_is_not_the_services(sim: Simulator, path: str) -> None:
    """Its key is another one: the error tells of the free models that cool down, and when to ask again."""
    sim.script({TWENTY[0]: {"do": "429-upstream", "retry_after": 600}})
    with serving(lambda _: (403, {}, b'{"error": {"message": "You may not use this model"}}')) as other:
        url = f"http://127.0.0.1:{other.server_address[1]}/v1"
        chat = ChatOpenAI(model="dear", api_key=SecretStr("sk-other"), base_url=url)
        road = PaidModel(chat, prompt_price="0.10", completion_price="0.40")
        model = make(sim, TWENTY[:1], clock=FakeClock(), **paying(sim, paid_models=[road]))
        for asked_free in (1, 0):
            with pytest.raises(AllModelsFailed, match="may be asked again at") as caught:
                drive(model, path)
            assert [one.outcome for one in caught.value.attempts] == [*["upstream_limit"] * asked_free, "forbidden"]


@pytest.mark.parametrize("path", PATHS)
def test_another_provider_that_is_down_closes_no_road_to_the_service(sim: Simulator, path: str) -> None:
    """However many of its models cannot be reached, the service's paid one is asked, and base_url is not to blame."""
    with Simulator() as gone:
        dead = gone.base_url
    chats = [ChatOpenAI(model=f"local-{n}", api_key=SecretStr("sk-other"), base_url=dead) for n in range(3)]
    roads = [PaidModel(chat, prompt_price="0.10", completion_price="0.40") for chat in chats]
    sim.script({TWENTY[0]: {"do": "503", "retry_after": 600}, PAID: "ok"})
    kept: dict[str, Any] = {"state": MemoryStore(), "clock": FakeClock()}
    model = make(sim, TWENTY[:1], **kept, **paying(sim, paid_models=[*roads, PAID]))
    assert drive(model, path).outcomes == ["overloaded", *["unreachable"] * 3, "ok"]
    with pytest.raises(AllModelsFailed, match=r"answered\. The first of them may be asked again"):
        drive(make(sim, TWENTY[:1], **kept, **paying(sim, paid_models=roads)), path)


def test_tools_travel_by_the_second_road(sim: Simulator) -> None:
    """Bound tools reach the other package's model, and its calls come back."""
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    sim.script({"*": "500", PAID: "ok"})
    model = make(sim, **paying(sim, paid_models=[openai_road(sim)])).bind_tools([tool], tool_choice="now")
    for path in PATHS:
        assert drive(model, path).message.tool_calls[0]["name"] == "now"


def test_words_of_a_broken_second_road_reach_no_callback(sim: Simulator) -> None:
    """A stream of the other package that breaks off is no splice either."""
    sim.script({"*": "500", PAID: {"do": "cut", "after": 2}})
    with pytest.raises(StreamInterrupted):
        drive(make(sim, TWENTY[:1], **paying(sim, paid_models=[openai_road(sim)])), "stream")


def test_retries_that_cannot_be_turned_off_are_refused(sim: Simulator) -> None:
    """A chat model that retries by itself is told so at construction."""
    inner = make(sim, max_retries=2)
    with pytest.raises(ConfigurationError, match="max_retries=0"):
        make(sim, **paying(sim, paid_models=[PaidModel(inner, prompt_price=1, completion_price=1)]))


# -- the book of money, against a plain account of it


class PurseMachine(RuleBasedStateMachine):
    """Reserve, settle, crash and let days and months turn; compare with a list of everything that happened."""

    caps = Budget(per_call=Decimal("0.4"), per_day=Decimal(1), per_month=Decimal(3), total=Decimal(9))

    def __init__(self) -> None:
        super().__init__()
        self.purse = Purse()
        self.now = 1_790_000_000.0
        self.open: dict[str, tuple[int, float]] = {}
        self.paid: list[tuple[float, int]] = []
        self.count = 0

    def _expire(self) -> None:
        for key, (amount, since) in list(self.open.items()):
            if since + LEASE <= self.now:
                # A lost reservation is counted in the window in which its lease ended.
                self.paid.append((since + LEASE, amount))
                del self.open[key]

    def _spent(self, seconds_of: str) -> int:
        from datetime import UTC, datetime  # noqa: PLC0415

        shape = {"day": "%Y-%m-%d", "month": "%Y-%m", "total": ""}[seconds_of]
        this = datetime.fromtimestamp(self.now, UTC).strftime(shape)
        return sum(cost for at, cost in self.paid if datetime.fromtimestamp(at, UTC).strftime(shape) == this)

    @rule(cents=st.integers(1, 60))
    def reserve(self, cents: int) -> None:
        """Granted if and only if it fits under every cap."""
        self._expire()
        amount = cents * 10_000_000
        held = sum(a for a, _ in self.open.values())
        fits = amount <= 400_000_000 and all(
            self._spent(window) + held + amount <= cap * NANO
            for window, cap in (("day", 1), ("month", 3), ("total", 9))
        )
        short = self.purse.shortfall(self.caps, amount, self.now)
        assert (short is None) == fits
        if short is None:
            self.count += 1
            self.purse = self.purse.reserved_for(f"r{self.count}", amount, self.now)
            self.open[f"r{self.count}"] = (amount, self.now)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), share=st.sampled_from([0, 0.5, 1, None]))
    def settle(self, data: st.DataObject, share: float | None) -> None:
        """The cost is booked, the whole reservation if it is unknown; a lost one is not booked twice."""
        key = data.draw(st.sampled_from(sorted(self.open)))
        self._expire()
        held = self.open.pop(key, None)
        amount = held[0] if held else 123
        cost = None if share is None else int(amount * share)
        self.purse = self.purse.settled(key, cost, self.now)
        if held:
            self.paid.append((self.now, held[0] if cost is None else cost))

    @rule(seconds=st.sampled_from([1.0, 1800.0, 3600.0, 40_000.0, 86_400.0, 9 * 86_400.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Leases end, days and months turn."""
        self.now += seconds

    @invariant()
    def books_agree(self) -> None:
        """The book says what the list says."""
        self._expire()
        book = self.purse.turned_to(self.now)
        assert book.reserved == sum(amount for amount, _ in self.open.values())
        for window in ("day", "month", "total"):
            assert book.spent(window) == self._spent(window)
        assert book.spent_total + book.reserved <= 9 * NANO
        assert Purse.decode(book.encode()) == book, "written and read, it is the same book"


TestPurse = PurseMachine.TestCase
TestPurse.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_clock_that_jumps_back_reopens_no_budget() -> None:
    """A day that was begun stays begun."""
    purse = Purse().reserved_for("r", 500, 1_790_000_000.0).settled("r", 500, 1_790_000_000.0)
    earlier = purse.turned_to(1_790_000_000.0 - 5 * 86_400)
    assert earlier.spent("day") == 500


@pytest.mark.parametrize(("window", "turns"), [("day", (2027, 1, 1)), ("month", (2027, 1, 1)), ("total", None)])
@pytest.mark.parametrize("back", [600.0, 40 * 86_400.0, 400 * 86_400.0])
def test_when_a_budget_frees_up_is_true_after_a_jump_back(
    window: str, turns: tuple[int, int, int] | None, back: float
) -> None:
    """The window that was begun stays open until its own end, and so it is told."""
    then = datetime(2026, 12, 31, 0, 5, tzinfo=UTC).timestamp()
    budget = Budget.parse({window: "0.0000006"})
    purse = Purse().booked(500, then)
    short = purse.shortfall(budget, 500, then - back)
    frees = None if turns is None else datetime(*turns, tzinfo=UTC).timestamp()
    assert short is not None
    assert (short.window, short.frees_at) == (window, frees)
    _, (warned,) = purse.crossed(budget, then - back)
    assert warned.frees_at == frees
    (told,) = [one for one in spending("p", [("project", purse, budget)], Fees(), then - back).windows if one.cap]
    assert told.frees_at == frees
    if frees is not None:
        assert purse.shortfall(budget, 500, frees - 1) is not None
        assert purse.shortfall(budget, 500, frees) is None


def test_a_book_of_a_day_that_is_none_is_no_book() -> None:
    """It is set aside, as any page that cannot be read."""
    page = Purse().booked(500, 1_790_000_000.0).encode()
    with pytest.raises(ValueError, match="some day"):
        Purse.decode(page.replace("2026-09-21", "some day"))


def test_dollars_with_all_digits() -> None:
    """A nano-dollar is shown."""
    assert dollars(1) == "0.000000001"
    assert dollars(2_500_000_000) == "2.5"


def test_free_quota_error_pickles_and_copies() -> None:
    """Errors survive a process pool."""
    import copy  # noqa: PLC0415
    import pickle  # noqa: PLC0415

    for error in (
        FreeQuotaExhausted("day", 1_790_035_200.0, 50),
        BudgetExceeded("day", "1", "0.5", "0.25", "0.5", 1_790_035_200.0),
        StreamInterrupted("a/b:free", "cut", "hel"),
        AllModelsFailed("no"),
    ):
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert str(twin) == str(error)
            assert vars(twin) == vars(error)
