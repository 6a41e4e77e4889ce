"""The service's words about money: told apart, asked about where it helps, and answered with a shorter request."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, drive, make
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_openrouter_free import AllModelsFailed, InsufficientCredits, PaidModel
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.simulator.reply import Reply, json_reply
from langchain_openrouter_free.testing import FakeClock

PAID, LARGE = "simulated/paid-small", "simulated/paid-large"
START = 1_790_000_005.0
KEY, CREDITS = "/api/v1/key", "/api/v1/credits"
AFFORD = (
    "This request requires more credits, or fewer max_tokens. You requested up to {} tokens, but can only afford {}"
)
HIGHER = "To increase, visit https://openrouter.ai/settings/keys and create a key with a higher {} limit"


pytestmark = pytest.mark.one_simulator


def payer(sim: Simulator, models: list[str] | None = None, **kwargs: Any) -> Any:
    """A router that may pay."""
    usual = {"allow_paid": True, "paid_models": [PAID], "budget": "$1/day", "project": "test", "clock": FakeClock()}
    return make(sim, models or TWENTY[:1], **{**usual, **kwargs})


def afford(tokens: int, wanted: int = 4096, of: str = "", do: str = "402-afford") -> dict[str, object]:
    """A refusal that says how many tokens the balance pays for, or what is left `of` such a limit of the key."""
    return {"do": do, "message": f"{AFFORD.format(wanted, tokens)}. {of and HIGHER.format(of)}"}


def questions(sim: Simulator) -> list[str]:
    """What was asked about the money."""
    return [one.path for one in sim.received if one.path in (KEY, CREDITS)]


def limits(sim: Simulator) -> list[int]:
    """The output limits that the paid model was asked with, in order."""
    return [chat.body["max_tokens"] for chat in sim.chats() if not str(chat.model).endswith(":free")]


def told(sim: Simulator, pages: dict[str, Reply]) -> None:
    """Let the simulator answer these pages in another way."""
    world = sim._service.world
    honest = world.answer

    def answer(request: Any) -> Reply:
        return pages.get(request.path) or honest(request)

    world.answer = answer  # type: ignore[method-assign]


def forbidden() -> Reply:
    """What an ordinary key is told of the balance."""
    error = {"message": "Only management keys can perform this operation", "code": 403}
    return json_reply(403, {"error": error}, behaviour="credits")


def refused(sim: Simulator, path: str = "invoke", *, model: Any = None, **kwargs: Any) -> InsufficientCredits:
    """Call, and return the error."""
    with pytest.raises(InsufficientCredits) as caught:
        drive(model or payer(sim), path, **kwargs)
    return caught.value


# -- told apart

WORDINGS: dict[str, tuple[str | dict[str, Any], str]] = {
    "an empty balance": ("402-credits", "credits"),
    "never bought": ({"do": "402-credits", "message": "This account never purchased credits."}, "credits"),
    "a 402 without a word": ({"do": "402-credits", "message": "Payment Required"}, "credits"),
    "below zero": ({"do": "402-credits", "message": "Your account has a negative credit balance."}, "negative_balance"),
    "below zero, again": ({"do": "402-credits", "message": "Your balance is negative."}, "negative_balance"),
    "fewer tokens": ("402-afford", "too_dear"),
    "hardly any tokens": (afford(12), "too_dear"),
    "a long prompt": ("402-prompt-tokens", "too_dear"),
    "fewer tokens, by the key": (afford(12, of="monthly"), "key_limit"),
    "a long prompt, by the key": (
        {"do": "402-prompt-tokens", "message": f"Prompt tokens limit exceeded: 9 > 8. {HIGHER.format('total')}"},
        "key_limit",
    ),
    "the key, in all": ("403-key-limit", "key_limit"),
    "the key, by day": ({"do": "403-key-limit", "message": "Key limit exceeded (daily limit)."}, "key_limit"),
    "the key, by 402": ({"do": "402-credits", "message": "Key limit exceeded (monthly limit)."}, "key_limit"),
    "the key's spending": ({"do": "402-credits", "message": "Spending limit reached for this key"}, "key_limit"),
}


@pytest.mark.parametrize("limit_source", [True, False])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", WORDINGS)
def test_each_wording_is_called_what_it_is(server: Simulator, name: str, path: str, limit_source: Any) -> None:
    """With the fields of 2026 and without them; the service's own words are in the error."""
    script, why = WORDINGS[name]
    server.reset(Scenario(limit_source=limit_source))
    server.script({"*": "500", PAID: script})
    error = refused(server, path)
    assert error.why == why
    assert error.attempts[-1].reason.rstrip(".") in error.message
    assert not error.is_retryable
    assert server.bill == []


@pytest.mark.parametrize("path", PATHS)
def test_what_is_left_is_told(sim: Simulator, path: str) -> None:
    """`GET /key` and `GET /credits` are asked once, after the refusal, and what they say is in the error."""
    sim.script({"*": "500", PAID: "402-credits"})
    error = refused(sim, path)
    assert questions(sim) == [KEY, CREDITS]
    assert [one.path for one in sim.received][-2:] == [KEY, CREDITS], "after the last attempt"
    assert error.funds == "the balance is $100"
    assert "the balance is $100" in str(error)


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_an_ordinary_key_is_not_told_the_balance(sim: Simulator, path: str) -> None:
    """With a 403 of `GET /credits` the refusal is told without a figure."""
    sim.script({"*": "500", PAID: "402-credits"})
    told(sim, {CREDITS: forbidden()})
    error = refused(sim, path)
    assert (error.why, error.funds) == ("credits", "")
    assert "()" not in error.message
    assert questions(sim) == [KEY, CREDITS]


ODD = {
    "both down": {KEY: json_reply(500, {}, behaviour="x"), CREDITS: json_reply(500, {}, behaviour="x")},
    "no JSON": {KEY: Reply(200, {}, (b"<html>",)), CREDITS: Reply(200, {}, (b"\xff",))},
    "other types": {
        KEY: json_reply(200, {"data": {"limit": "many", "limit_remaining": [1], "limit_reset": 3}}, behaviour="x"),
        CREDITS: json_reply(200, {"data": {"total_credits": True, "total_usage": "nan"}}, behaviour="x"),
    },
    "no limit, and something left": {
        KEY: json_reply(200, {"data": {"limit": None, "limit_remaining": 1}}, behaviour="x"),
        CREDITS: json_reply(200, {}, behaviour="x"),
    },
    "a limit, and nobody says what is left": {
        KEY: json_reply(200, {"data": {"limit": 1, "limit_remaining": None}}, behaviour="x"),
        CREDITS: json_reply(200, {}, behaviour="x"),
    },
    "lists": {KEY: json_reply(200, {"data": []}, behaviour="x"), CREDITS: json_reply(200, {}, behaviour="x")},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_pages_say_nothing(sim: Simulator, name: str) -> None:
    """What cannot be read of either page is not known, and hides no error."""
    sim.script({"*": "500", PAID: "402-credits"})
    told(sim, ODD[name])
    assert refused(sim).funds == ""


def test_the_keys_own_limit_is_told_with_its_reset(sim: Simulator) -> None:
    """The amount that is left, the limit, and when it is filled again, in the service's word."""
    sim.script({"*": "500", PAID: "403-key-limit"})
    facts = {"limit": 2.5, "limit_remaining": 0.1, "limit_reset": "monthly"}
    told(sim, {KEY: json_reply(200, {"data": facts}, behaviour="key"), CREDITS: forbidden()})
    assert refused(sim).funds == "$0.1 are left of the key's limit of $2.5, filled again monthly"


# -- the account's own laws

ACCOUNTS = {
    "nothing": (Scenario(credits=0), "credits", "the balance is $0"),
    "a debt": (Scenario(credits="-0.25"), "negative_balance", "the balance is -$0.25"),
    "very little": (Scenario(credits="0.0001"), "too_dear", "the balance is $0.0001"),
    "a key with nothing left": (
        Scenario(keys=[{"key": Simulator.api_key, "limit": "0"}]),
        "key_limit",
        "the balance is $100 and $0 are left of the key's limit of $0",
    ),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ACCOUNTS)
def test_an_account_is_understood(server: Simulator, name: str, path: str) -> None:
    """Only the paid model is asked; the account's own laws refuse it."""
    scenario, why, funds = ACCOUNTS[name]
    server.reset(scenario)
    with pytest.raises(InsufficientCredits) as caught:
        drive(payer(server), path, model=PAID)
    error = caught.value
    assert (error.why, error.funds) == (why, funds)
    assert len(server.chats()) == 1
    assert server.bill == []


@pytest.mark.parametrize("path", PATHS)
def test_a_debt_closes_free_models_too(server: Simulator, path: str) -> None:
    """A free model's 402 is the account's: no other model is asked, and it is told as a negative balance."""
    server.reset(Scenario(credits="-1"))
    error = refused(server, path, model=payer(server, TWENTY[:3]))
    assert (error.why, error.funds) == ("negative_balance", "the balance is -$1")
    assert asked(server) == TWENTY[:1]
    assert [skipped.model for skipped in error.skipped] == [*TWENTY[1:3], PAID]
    assert "closes free models" in error.message


@pytest.mark.parametrize(
    "script",
    [
        "402-credits",
        afford(100),
        "402-prompt-tokens",
    ],
)
def test_a_free_models_402_means_a_debt(sim: Simulator, script: Any) -> None:
    """Even where nobody tells the balance, and whatever its words: what is free needs none, but no debt."""
    sim.script({"*": script})
    told(sim, {CREDITS: forbidden()})
    error = refused(sim, model=make(sim, TWENTY[:3]))
    assert error.why == "negative_balance"
    assert asked(sim) == TWENTY[:1]


@pytest.mark.parametrize("path", ["invoke", "astream"])
def test_a_debt_leaves_the_second_road(server: Simulator, path: str) -> None:
    """A chat model of another package has a purse of its own."""
    server.reset(Scenario(credits="-1"))
    with Simulator() as other:
        chat = ChatOpenAI(model=PAID, api_key=SecretStr("sk-other"), base_url=other.base_url)
        paid = PaidModel(chat, prompt_price="0.2", completion_price="0.8")
        assert drive(payer(server, paid_models=[PAID, paid]), path).outcomes == ["unpaid", "ok"]
        assert len(other.chats()) == 1
    assert asked(server) == TWENTY[:1]
    assert questions(server) == []


def test_the_purse_of_another_package_is_not_the_accounts(sim: Simulator) -> None:
    """The other provider refuses for money: that says nothing of the account, which is not asked about it."""
    sim.script({"*": "500"})
    with Simulator(Scenario(credits=0)) as other:
        chat = ChatOpenAI(model=PAID, api_key=SecretStr("sk-other"), base_url=other.base_url)
        paid = PaidModel(chat, prompt_price="0.2", completion_price="0.8")
        with pytest.raises(AllModelsFailed) as caught:
            payer(sim, paid_models=[paid]).invoke("hi")
        assert caught.value.attempts[-1].outcome == "unpaid"
    assert getattr(caught.value, "funds", "") == ""
    assert questions(sim) == []


# -- not on the way to an answer


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_waits_for_no_question(sim: Simulator, path: str) -> None:
    """Free, paid, after a lowered limit, nor an error that says nothing of money: nothing is asked about it."""
    sim.script({TWENTY[1]: "500", PAID: [afford(300), "ok"]})
    model = payer(sim, TWENTY[:2])
    drive(model, path)
    drive(model, path, model=PAID)
    drive(model, path, model=PAID)
    sim.script({"*": "500", PAID: "500"})
    with pytest.raises(AllModelsFailed) as caught:
        drive(model, path)
    assert not isinstance(caught.value, InsufficientCredits)
    assert questions(sim) == []


# -- "can only afford N"


@pytest.mark.parametrize("path", PATHS)
def test_the_limit_is_lowered_once(sim: Simulator, path: str) -> None:
    """The same model is asked again for what the balance pays for, and its answer is the call's."""
    sim.script({"*": "500", PAID: [afford(300), "ok"]})
    answer = drive(payer(sim, max_retries=2), path)
    assert asked(sim) == [TWENTY[0], PAID, PAID]
    assert limits(sim) == [4096, 300]
    assert answer.outcomes == ["broken", "too_dear", "ok"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("do", ["402-afford", "402-credits", "403-key-limit"])
def test_the_limit_is_lowered_for_a_key_too(sim: Simulator, do: str, path: str) -> None:
    """What the key's own limit pays for, whichever limit the service names as its source."""
    sim.script({"*": "500", PAID: [afford(300, of="weekly", do=do), "ok"]})
    assert drive(payer(sim), path).outcomes == ["broken", "too_dear", "ok"]
    assert limits(sim) == [4096, 300]


@pytest.mark.parametrize(("tokens", "sent"), [(256, [4096, 256]), (255, [4096]), (0, [4096])])
def test_an_answer_that_short_is_of_no_use(sim: Simulator, tokens: int, sent: list[int]) -> None:
    """Below 256 tokens the model is not asked again."""
    sim.script({"*": "500", PAID: [afford(tokens), "ok"]})
    if len(sent) > 1:
        payer(sim).invoke("hi")
    else:
        assert refused(sim).why == "too_dear"
    assert limits(sim) == sent


@pytest.mark.parametrize("path", PATHS)
def test_the_limit_is_not_lowered_twice(sim: Simulator, path: str) -> None:
    """A second refusal of the same kind is believed."""
    sim.script({"*": "500", PAID: [afford(2000), afford(1000, 2000), "ok"]})
    model = payer(sim)
    assert refused(sim, path, model=model).why == "too_dear"
    assert limits(sim) == [4096, 2000]
    assert {(one.spent, one.reserved) for one in model.spending().windows} == {("0", "0")}, "both cost nothing"


@pytest.mark.parametrize("path", PATHS)
def test_the_callers_own_limit_is_lowered_too(sim: Simulator, path: str) -> None:
    """The caller's max_tokens is a wish; what the balance pays for is less of it, never more."""
    sim.script({"*": "500", PAID: [afford(300, 1000), "ok", afford(2000, 1000), "ok"]})
    model = payer(sim, max_tokens=1000)
    drive(model, path)
    drive(model, path)
    assert limits(sim) == [1000, 300, 1000, 1000]
    drive(model, path, max_tokens=77)
    assert limits(sim)[-1] == 77, "the next call knows nothing of it"


@pytest.mark.parametrize("path", PATHS)
def test_the_book_agrees_with_the_bill(server: Simulator, path: str) -> None:
    """With a real balance: refused, asked for what it pays for, answered, and booked to the nano-dollar."""
    server.reset(Scenario(credits="0.001", scripts={"*": "500", PAID: "ok"}))
    model = payer(server)
    assert drive(model, path).outcomes == ["broken", "too_dear", "ok"]
    wanted, afforded = limits(server)
    assert wanted == 4096
    assert 1000 < afforded <= 1250
    total = next(one for one in model.spending().windows if one.window == "total")
    assert Decimal(total.spent) == sum(entry.cost for entry in server.bill) > 0
    assert total.reserved == "0"


def test_the_lowered_limit_stays_under_the_budget(sim: Simulator) -> None:
    """What the budget has room for and what the balance pays for: the smaller one is sent."""
    sim.script({"*": "500", PAID: [afford(3000), "ok"]})
    payer(sim, budget="$0.001").invoke("hi")
    first, second = limits(sim)
    assert first == second < 1250
    assert second >= 256


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("script", ["402-prompt-tokens", [afford(12), "ok"], [afford(2000), afford(12)]])
def test_a_cheaper_model_is_asked_when_one_is_too_dear(sim: Simulator, script: Any, path: str) -> None:
    """The next paid model, by rank, at the full limit."""
    sim.script({"*": "500", LARGE: script, PAID: "ok"})
    answer = drive(payer(sim, paid_models=[LARGE, PAID]), path)
    assert answer.meta["route"]["model"] == PAID
    assert limits(sim)[-1] == 4096
    assert questions(sim) == []


# -- the one 402 worth waiting for


@pytest.mark.parametrize("path", PATHS)
def test_money_in_flight_is_waited_for(path: str) -> None:
    """The same model answers after the wait that the service names."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        sim.script({"*": "500", PAID: ["402-in-flight", "ok"]})
        answer = drive(payer(sim, clock=clock, max_wait=300), path, model=PAID)
        assert answer.outcomes == ["in_flight_budget", "ok"]
        assert sum(clock.slept) == pytest.approx(120, abs=3)
        assert limits(sim) == [4096, 4096]
        assert questions(sim) == []


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_money_in_flight_is_not_waited_for_while_another_model_can_be_asked(path: str) -> None:
    """The next one is asked at once, and who said it is left alone for as long as it said."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        sim.script({TWENTY[0]: "402-in-flight"})
        model = make(sim, TWENTY[:2], clock=clock, max_wait=300)
        assert drive(model, path).outcomes == ["in_flight_budget", "ok"]
        assert drive(model, path).outcomes == ["ok"]
        assert clock.slept == []


@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_money_in_flight_is_no_lack_of_money(path: str) -> None:
    """Without the patience the call fails as one that may be tried again, and says when."""
    clock = FakeClock(START)
    with Simulator(clock=clock.now) as sim:
        sim.script({PAID: "402-in-flight"})
        with pytest.raises(AllModelsFailed) as caught:
            drive(payer(sim, clock=clock, max_wait=20), path, model=PAID)
        error = caught.value
        assert not isinstance(error, InsufficientCredits)
        assert error.is_retryable
        assert [record.outcome for record in error.attempts] == ["in_flight_budget"]
        assert error.attempts[0].until == pytest.approx(START + 120, abs=3)
        assert clock.slept == []


def test_money_in_flight_that_never_lands(sim: Simulator) -> None:
    """A service that says so for ever is given up, whatever the patience."""
    clock = FakeClock(START)
    sim.script({"*": {"do": "402-in-flight", "retry_after": 1}})
    with pytest.raises(AllModelsFailed):
        drive(payer(sim, clock=clock, max_wait=100_000, timeouts={"call": None}), "invoke", model=PAID)
    assert 1 < len(sim.chats()) < 6


# -- the errors themselves


@pytest.mark.parametrize("name", WORDINGS)
def test_errors_pickle_and_copy(sim: Simulator, name: str) -> None:
    """A process pool gets the whole error: why, what is left, the trail."""
    script, why = WORDINGS[name]
    sim.script({"*": "500", PAID: script})
    error = refused(sim)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is InsufficientCredits
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)
        assert (twin.why, twin.funds) == (why, "the balance is $100")
    assert sim.api_key not in str(error) + repr(error)
