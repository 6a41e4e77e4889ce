"""What a request asks of providers, who may see a sensitive one, and what may be billed beside the model."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from driving import PATHS, TWENTY, Told, asked, drive, make
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_openrouter_free import (
    AllModelsFailed,
    BudgetExceeded,
    ConfigurationError,
    NoSuitableModel,
    PaidModel,
    PrivacyNotSatisfiable,
)
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock

PAID, LARGE, FLAT = "simulated/paid-small", "simulated/paid-large", "simulated/paid-priced-by-request"
PRICE = {"prompt": 0.2, "completion": 0.8, "request": 0}
ASKED: dict[str, dict[str, Any]] = {
    "any": {},
    "no-training": {"data_collection": "deny"},
    "zdr": {"data_collection": "deny", "zdr": True},
}
ZERO = {"prompt": 0, "completion": 0, "request": 0, "image": 0}
ZDR_404 = {"do": "404-delisted", "message": "No endpoints found matching your data policy (Zero data retention)."}


pytestmark = pytest.mark.one_simulator


def router(sim: Simulator, models: list[str] | None = None, **kwargs: Any) -> Any:
    """A router that only asks free models."""
    return make(sim, models or TWENTY[:2], clock=FakeClock(), **kwargs)


def payer(sim: Simulator, models: list[str] | None = None, **kwargs: Any) -> Any:
    """A router that may pay."""
    return router(sim, models, **{"allow_paid": True, "paid_models": [PAID], "budget": "$1", "project": "t", **kwargs})


def sent(sim: Simulator, name: str = "provider") -> Any:
    """A field of the last request's body; None where it isn't there."""
    return sim.chats()[-1].body.get(name)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("privacy", ASKED)
def test_privacy_is_asked_of_providers(sim: Simulator, privacy: str, path: str) -> None:
    """By the model's setting, for free and paid attempts alike; by default nothing is asked."""
    sim.script({TWENTY[1]: "500"})
    model = payer(sim, privacy=privacy)
    drive(model, path)
    assert (sent(sim) or {}) == ASKED[privacy]
    drive(model, path, provider={"max_price": {"prompt": 0}})
    assert sent(sim) == {**ASKED[privacy], "max_price": {"prompt": 0}}, "a free attempt says what the user says"
    drive(model, path, model=PAID)
    assert sent(sim) == {**ASKED[privacy], "max_price": PRICE}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("own", ASKED)
@pytest.mark.parametrize("privacy", ASKED)
def test_a_calls_word_wins(sim: Simulator, own: str, privacy: str, path: str) -> None:
    """Over the model's, in both directions, and for this call alone; bound or not."""
    model = router(sim, privacy=own)
    calls: list[Callable[[], Told]] = [
        lambda: drive(model, path, privacy=privacy),
        lambda: drive(model.bind(privacy=privacy), path),
    ]
    for call in calls:
        call()
        assert (sent(sim) or {}) == ASKED[privacy]
        assert sent(sim, "privacy") is None
        drive(model, path)
        assert (sent(sim) or {}) == ASKED[own]


def test_the_users_preferences_stay(sim: Simulator) -> None:
    """What is asked for privacy's sake comes beside them, and their dictionary is not written into."""
    given = {"order": ["one"], "allow_fallbacks": False, "max_price": {"prompt": 0.1}, "data_collection": "deny"}
    before = copy.deepcopy(given)
    model = payer(sim, provider=given, privacy="zdr")
    model.invoke("hi")
    assert sent(sim) == {**before, "zdr": True}
    with pytest.raises(NoSuitableModel, match="max price"):
        model.invoke("hi", model=PAID)
    assert sent(sim) == {**before, "zdr": True, "max_price": {**PRICE, "prompt": 0.1}}
    assert given == before
    router(sim, extra_body={"provider": {"sort": "price"}}).invoke("hi", privacy="no-training")
    assert sent(sim) == {"sort": "price", "data_collection": "deny"}
    router(sim).invoke("hi", provider={"only": ["two"]}, privacy="no-training")
    assert sent(sim) == {"only": ["two"], "data_collection": "deny"}


CLASHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "of the model": ({"privacy": "no-training", "provider": {"data_collection": "allow"}}, {}),
    "of the model, zdr": ({"privacy": "zdr", "provider": {"zdr": False}}, {}),
    "of the extra body": ({"privacy": "zdr", "extra_body": {"provider": {"data_collection": "allow"}}}, {}),
    "of the call": ({"provider": {"data_collection": "allow"}}, {"privacy": "no-training"}),
    "of the call's provider": ({"privacy": "zdr"}, {"provider": {"zdr": False}}),
    "of a sensitive call": ({"provider": {"data_collection": "allow"}}, {"sensitive": True}),
    "an unknown word": ({}, {"privacy": "none"}),
    "an unknown word of the model": ({"privacy": "ZDR"}, {}),
    "no word": ({}, {"privacy": 1}),
    "no truth": ({}, {"sensitive": "yes"}),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", CLASHES)
def test_contradictions_send_nothing(sim: Simulator, name: str, path: str) -> None:
    """The user's own preference against the privacy that was asked for: neither is silently dropped."""
    fields, kwargs = CLASHES[name]
    with pytest.raises(ConfigurationError, match=r"privacy|sensitive"):
        drive(payer(sim, **fields), path, **kwargs)
    assert sim.received == []


@pytest.mark.parametrize("provider", ["fast", ["one"], 3])
@pytest.mark.parametrize("privacy", ["any", "zdr"])
def test_preferences_that_are_no_table(sim: Simulator, provider: Any, privacy: str) -> None:
    """A mistake is told as one."""
    with pytest.raises(ConfigurationError, match="provider"):
        router(sim, extra_body={"provider": provider}, privacy=privacy).invoke("hi")


# -- sensitive calls


@pytest.mark.parametrize("path", PATHS)
def test_a_sensitive_call_goes_to_no_free_model(sim: Simulator, path: str) -> None:
    """It is paid for, with zero data retention, though free models would answer."""
    model = payer(sim)
    calls: list[Callable[[], Told]] = [
        lambda: drive(model, path, sensitive=True),
        lambda: drive(model.bind(sensitive=True), path),
    ]
    for call in calls:
        assert call().meta["route"]["model"] == PAID
        assert sent(sim) == {**ASKED["zdr"], "max_price": PRICE}
        assert sent(sim, "sensitive") is None
    assert asked(sim) == [PAID, PAID]
    for said in (False, None):
        assert drive(model, path, sensitive=said).meta["route"]["model"] == TWENTY[0]


def test_it_stays_sensitive_whatever_else_is_said(sim: Simulator) -> None:
    """privacy='any' takes nothing back; tools, structured answers and batches keep it."""
    model = payer(sim)
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    schema = {"title": "Word", "type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
    model.invoke("hi", sensitive=True, privacy="any")
    model.bind_tools([tool]).bind(sensitive=True).invoke("hi")
    model.bind_tools([tool], sensitive=True).invoke("hi")
    model.with_structured_output(schema, sensitive=True).invoke("hi")
    model.bind(sensitive=True).batch(["a", "b"])
    assert asked(sim) == [PAID] * 6
    assert all(chat.body["provider"]["zdr"] is True for chat in sim.chats())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fields", [{}, {"allow_paid": False, "paid_models": [PAID], "budget": "$1"}])
def test_without_leave_to_pay_nobody_sees_it(sim: Simulator, path: str, fields: dict[str, Any]) -> None:
    """Told before anything is sent, with what it would need."""
    with pytest.raises(PrivacyNotSatisfiable, match=r"sensitive.*allow_paid=True") as caught:
        drive(router(sim, **fields), path, sensitive=True)
    assert sim.received == []
    assert not caught.value.is_retryable


@pytest.mark.parametrize("path", PATHS)
def test_a_pinned_free_model_sees_it_neither(sim: Simulator, path: str) -> None:
    """Naming one is no leave; naming a paid one is followed."""
    model = payer(sim, paid_models=[PAID, LARGE])
    with pytest.raises(PrivacyNotSatisfiable):
        drive(model, path, model=TWENTY[0], sensitive=True)
    assert sim.received == []
    assert drive(model, path, model=LARGE, sensitive=True).meta["route"]["model"] == LARGE


FAILING: dict[str, tuple[Any, dict[str, Any], type[Exception]]] = {
    "down": ("500", {}, AllModelsFailed),
    "not on offer with zdr": (ZDR_404, {}, PrivacyNotSatisfiable),
    "too dear": ("ok", {"budget": "$0.000001"}, BudgetExceeded),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", FAILING)
def test_no_failure_sends_it_to_a_free_model(sim: Simulator, name: str, path: str) -> None:
    """Whatever becomes of the paid ones."""
    script, fields, error = FAILING[name]
    sim.script({PAID: script})
    with pytest.raises(error) as caught:
        drive(payer(sim, **fields), path, sensitive=True)
    assert type(caught.value) is error
    assert not any(model.endswith(":free") for model in asked(sim))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kwargs", [{"sensitive": True}, {"privacy": "zdr"}, {"privacy": "no-training"}, {}])
@pytest.mark.parametrize("private", [True, False])
def test_a_chat_model_of_another_package(sim: Simulator, private: Any, kwargs: dict[str, Any], path: str) -> None:
    """It takes no preferences: where any are asked, only one that the user knows to be private is asked."""
    sim.script({"*": "500"})
    with Simulator() as other:
        chat = ChatOpenAI(model=PAID, api_key=SecretStr("sk-other"), base_url=other.base_url)
        model = payer(sim, paid_models=[PaidModel(chat, "0.2", "0.8", private=private)])
        if private or not kwargs:
            assert drive(model, path, **kwargs).meta["route"]["paid"]
        else:
            with pytest.raises(
                AllModelsFailed, match="private=True" if "sensitive" in kwargs else "Internal Server Error"
            ):
                drive(model, path, **kwargs)
        assert len(other.chats()) == int(private or not kwargs)
    assert bool(asked(sim)) != ("sensitive" in kwargs)


# -- a 404 by data policy

POLICIES = ["404-policy", "404-guardrail", ZDR_404]


SETTINGS: dict[str, dict[str, Any]] = {
    "privacy='no-training'": {"privacy": "no-training"},
    "privacy='zdr'": {"privacy": "zdr", "provider": {"zdr": True}},
    "provider={'data_collection': 'deny'}": {"provider": {"data_collection": "deny", "sort": "price"}},
    "provider={'zdr': True}": {"extra_body": {"provider": {"zdr": True}}},
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("script", POLICIES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_nobody_keeps_to_it(sim: Simulator, setting: str, script: Any, path: str) -> None:
    """The error names the setting; no model is delisted for it, but none is asked the same again for six hours."""
    sim.script({"*": script, PAID: script})
    model = payer(sim, **SETTINGS[setting])
    with pytest.raises(PrivacyNotSatisfiable) as caught:
        drive(model, path)
    error = caught.value
    assert setting in error.message
    assert [(record.outcome, record.until) for record in error.attempts] == [("policy", None)] * 3
    assert isinstance(error, NoSuitableModel)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(twin), str(twin), vars(twin)) == (PrivacyNotSatisfiable, str(error), vars(error))
    sim.script({"*": "ok"})
    with pytest.raises(PrivacyNotSatisfiable, match="has ruled it out until") as again:
        drive(model, path)
    assert (setting in again.value.message, again.value.attempts, len(sim.chats())) == (True, (), 3)
    model.clock.advance(6 * 3600.0)
    assert drive(model, path).meta["route"]["model"] == TWENTY[0]


@pytest.mark.parametrize("script", POLICIES)
def test_the_accounts_own_setting_is_named(sim: Simulator, script: Any) -> None:
    """Where the call asks for nothing, it is the account's settings that rule the models out."""
    sim.script({"*": script})
    with pytest.raises(NoSuitableModel, match="privacy settings or guardrails") as caught:
        router(sim).invoke("hi")
    assert not isinstance(caught.value, PrivacyNotSatisfiable)


def test_a_provider_that_trains_is_passed_over(sim: Simulator) -> None:
    """By the service's own judgement: asked for no training, it goes on to one that does not."""
    trainer = "nvidia/nemotron-3-super-120b-a12b:free"
    model = router(sim, [trainer, TWENTY[0]])
    assert drive(model, "invoke", privacy="no-training").outcomes == ["policy", "ok"]
    assert drive(model, "invoke").meta["route"]["model"] == trainer


def test_a_model_that_does_is_asked_next(sim: Simulator) -> None:
    """One model's providers don't, another's do: both are asked for the same."""
    sim.script({TWENTY[0]: ZDR_404})
    told = drive(router(sim, privacy="zdr"), "invoke")
    assert told.outcomes == ["policy", "ok"]
    assert [chat.body["provider"] for chat in sim.chats()] == [ASKED["zdr"]] * 2


@pytest.mark.parametrize("path", PATHS)
def test_the_price_lock_is_for_free_attempts(sim: Simulator, path: str) -> None:
    """Off by default; on, a free attempt says that nothing may cost anything, and a paid one says its price."""
    sim.script({"*": "500", PAID: "ok"})
    drive(payer(sim), path)
    assert [chat.body.get("provider") for chat in sim.chats()] == [None, None, {"max_price": PRICE}]
    drive(payer(sim, price_lock=True, provider={"sort": "price", "max_price": {"prompt": 9}}), path)
    locked = {"sort": "price", "max_price": ZERO}
    providers = [chat.body["provider"] for chat in sim.chats()[3:]]
    assert providers == [locked, locked, {"sort": "price", "max_price": PRICE}]


CEILINGS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "the catalogue's": (PAID, {}, PRICE),
    "by request as well": (FLAT, {}, {"prompt": 1, "completion": 4, "request": 0.01}),
    "the user's own figures": (PaidModel(PAID, "0.3", 5), {}, {"prompt": 0.3, "completion": 5, "request": 0}),
    "too low figures of the user's": (PaidModel(PAID, "0.1", 5), {}, {"prompt": 0.1, "completion": 5, "request": 0}),
    "too low ones, without the fee": (PaidModel(FLAT, 1, 4), {}, {"prompt": 1, "completion": 4, "request": 0}),
    "too low ones, of nothing": (PaidModel(PAID, 0, 5), {}, {"prompt": 0, "completion": 5, "request": 0}),
    "a lower one": (PAID, {"prompt": 0.05}, {**PRICE, "prompt": 0.05}),
    "a lower one in words": (PAID, {"completion": "0.5"}, {**PRICE, "completion": "0.5"}),
    "a higher one": (PAID, {"request": 0.01}, PRICE),
    "another name": (PAID, {"image": 3}, {**PRICE, "image": 3}),
    "nonsense": (PAID, {"prompt": "cheap", "completion": None}, PRICE),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", CEILINGS)
def test_a_paid_attempt_says_its_price(sim: Simulator, name: str, path: str) -> None:
    """What was reserved is what may be charged, in dollars a million tokens; a lower bound of the user's wins."""
    paid, own, ceiling = CEILINGS[name]
    label = paid if isinstance(paid, str) else paid.label
    provider = {"max_price": own} if own else None
    model = payer(sim, paid_models=[paid], provider=provider)
    if "low" in name:
        with pytest.raises(NoSuitableModel, match="max price"):
            drive(model, path, model=label)
        assert sim.bill == []
    else:
        assert drive(model, path, model=label).outcomes == ["ok"]
    assert sent(sim) == {"max_price": ceiling}


PICTURE = [HumanMessage([{"type": "text", "text": "hi"}, {"type": "image", "url": "https://x/y.png"}])]


@pytest.mark.parametrize("path", PATHS)
def test_a_picture_that_is_held_to_cost_nothing_costs_nothing(sim: Simulator, path: str) -> None:
    """Without one in the prompt, what a provider takes for it leaves none out."""
    model = payer(sim, paid_models=[PaidModel(LARGE, 3, 15)])
    assert drive(model, path, model=LARGE).outcomes == ["ok"]
    assert sent(sim) == {"max_price": {"prompt": 3, "completion": 15, "request": 0}}
    [billed] = sim.bill
    with pytest.raises(NoSuitableModel, match="max price"):
        drive(model, path, PICTURE, model=LARGE)
    assert sent(sim) == {"max_price": {"prompt": 3, "completion": 15, "request": 0, "image": 0}}
    assert sim.bill == [billed]


# -- what is billed beside the model

PDF = {"type": "file", "base64": "JVBERi0xLjQK", "mime_type": "application/pdf", "filename": "a.pdf"}
PARSER = {"id": "file-parser", "pdf": {"engine": "cloudflare-ai"}}
WITH_FILE = [HumanMessage([{"type": "text", "text": "what is it"}, PDF])]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("model_id", [TWENTY[0], PAID])
def test_a_pdf_is_read_for_nothing(sim: Simulator, model_id: str, path: str) -> None:
    """Unless the user names a way; without a file nothing is asked for."""
    model = payer(sim)
    drive(model, path, WITH_FILE, model=model_id)
    assert sent(sim, "plugins") == [PARSER]
    drive(model, path, model=model_id)
    assert sent(sim, "plugins") is None
    healing = {"id": "response-healing"}
    drive(model, path, WITH_FILE, model=model_id, plugins=[healing])
    assert sent(sim, "plugins") == [healing, PARSER]
    for engine in ("pdf-text", "native", "cloudflare-ai"):
        named = [{"id": "file-parser", "pdf": {"engine": engine}}]
        drive(model, path, WITH_FILE, model=model_id, plugins=named)
        assert sent(sim, "plugins") == named
        drive(payer(sim, extra_body={"plugins": named}), path, WITH_FILE, model=model_id)
        assert sent(sim, "plugins") == named


COSTLY: dict[str, Any] = {
    "reading by mistral": {"plugins": [{"id": "file-parser", "pdf": {"engine": "mistral-ocr"}}]},
    "reading somehow": {"plugins": [{"id": "file-parser"}]},
    "searching": {"plugins": [{"id": "web", "max_results": 1}]},
    "an unknown plugin": {"plugins": [{"id": "response-healing"}, {"id": "new"}]},
    "search options": {"web_search_options": {"search_context_size": "low"}},
    "a server's tool": {"tools": [{"type": "openrouter:web_search"}]},
    "the fast lane": {"service_tier": "priority"},
    "search options, empty": {"web_search_options": {}},
    "a tuple of plugins": {"plugins": ({"id": "web"},)},
    "a tuple of tools": {"tools": ({"type": "openrouter:web_search"},)},
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", COSTLY)
def test_what_costs_beside_the_model_is_refused(sim: Simulator, name: str, path: str) -> None:
    """For free models too, with any bounded budget, in the call, in its extra body and in the model's."""
    for make_one in (router, payer):
        with pytest.raises(ConfigurationError, match="cost money"):
            drive(make_one(sim), path, extra_body=COSTLY[name])
        with pytest.raises(ConfigurationError, match="cost money"):
            make_one(sim, extra_body=COSTLY[name])
        if name != "the fast lane":
            with pytest.raises(ConfigurationError, match="cost money"):
                drive(make_one(sim), path, **COSTLY[name])
    with pytest.raises(ConfigurationError, match="cost money"):
        router(sim, budget="unlimited", extra_body=COSTLY[name])
    assert sim.received == []


@pytest.mark.parametrize("name", COSTLY)
def test_unlimited_spelled_out_is_leave(sim: Simulator, name: str) -> None:
    """Then it is sent as it is. The slow lane needs no leave."""
    router(sim, extra_body={"service_tier": "flex"}).invoke("hi")
    assert sent(sim, "service_tier") == "flex"
    payer(sim, budget="unlimited", extra_body=COSTLY[name]).invoke("hi")
    for field, value in COSTLY[name].items():
        assert sent(sim, field) == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize("budget", ["$1", "unlimited"])
@pytest.mark.parametrize("field", [{"n": 2}, {"preset": "mine"}, {"models": [PAID]}])
def test_what_is_refused_always(sim: Simulator, field: dict[str, Any], budget: str) -> None:
    """More answers for one price, or a model by another name: no budget is leave for that."""
    with pytest.raises(ConfigurationError):
        payer(sim, budget=budget, extra_body=field)
    for kwargs in (field, {"extra_body": field}):
        with pytest.raises(ConfigurationError):
            payer(sim, budget=budget).invoke("hi", **kwargs)
        with pytest.raises(ConfigurationError):
            payer(sim, budget=budget).bind(**kwargs).invoke("hi")
    assert sim.received == []
