"""What the fields mean is worked out once, and anew as soon as one of them says something else."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, drive, make
from pydantic import SecretStr

from langchain_openrouter_free import ChatOpenRouterFree, ConfigurationError
from langchain_openrouter_free.simulator import Simulator

pytestmark = pytest.mark.one_simulator

KEY = "sk-or-v1-0123456789abcdef"


def model_of(**fields: Any) -> ChatOpenRouterFree:
    return ChatOpenRouterFree(**{"models": TWENTY[:2], "api_key": KEY, "state": "memory", **fields})


def test_it_is_worked_out_once() -> None:
    """Looking at it again costs no more than looking whether a field has changed."""
    model = model_of(extra_body={"metadata": {"of": ["x"]}}, timeouts={"models": {"a/*": {"stall": 9}}})
    assert model._meaning() is model._meaning()
    assert model._identifying_params == model._identifying_params


CHANGES: dict[str, tuple[Callable[[Any], object], Callable[[Any], object], object]] = {
    "models": (
        lambda m: m.models.append(TWENTY[5]),
        lambda w: w.named.asked(None, allow_paid=False)[0],
        (*TWENTY[:2], TWENTY[5]),
    ),
    "temperature": (lambda m: setattr(m, "temperature", 0.5), lambda w: w.body["temperature"], 0.5),
    "a table": (lambda m: m.extra_body.update(verbosity="low"), lambda w: w.body["verbosity"], "low"),
    "within a table": (lambda m: m.reasoning.update(effort="high"), lambda w: w.body["reasoning"]["effort"], "high"),
    "a list in a table": (lambda m: m.provider["only"].append("b"), lambda w: w.body["provider"]["only"], ["a", "b"]),
    "a header": (lambda m: m.default_headers.update(a="b"), lambda w: w.service.headers["a"], "b"),
    "base_url": (lambda m: setattr(m, "base_url", "https://a.b/v1"), lambda w: w.service.url, "https://a.b/v1"),
    "limits": (lambda m: setattr(m, "limits", {"per_day": 7}), lambda w: w.limits.per_day, 7),
    "accept": (lambda m: setattr(m, "accept", "empty"), lambda w: "empty" in w.accept.rows, True),
    "timeouts": (lambda m: m.timeouts.update(stall=3), lambda w: w.deadlines.usual.stall, 3.0),
    "wire": (lambda m: setattr(m, "wire", "plain"), lambda w: w.wire.default, "plain"),
    "hedge_after": (lambda m: setattr(m, "hedge_after", 2), lambda w: w.silence, 2.0),
    "strategy": (lambda m: setattr(m, "strategy", "fastest"), lambda w: w.strategy, "fastest"),
    "daily_share": (lambda m: setattr(m, "daily_share", 5), lambda w: w.share_of("p").at_most.amount, 5.0),
    "paid_rps": (lambda m: setattr(m, "paid_rps", 2), lambda w: w.paid_rps, 2.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_field_that_is_assigned_or_written_into_counts(name: str) -> None:
    """Also in a copy, and not in what it was copied from."""
    change, look, expected = CHANGES[name]
    model = model_of(reasoning={"effort": "low"}, provider={"only": ["a"]}, timeouts={"stall": 20})
    before = model._meaning()
    twin = copy.deepcopy(model)
    change(twin)
    assert look(twin._meaning()) == expected
    assert model._meaning() is before


class Proud:
    """Will not be compared, as arrays and frames will not."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = object.__hash__


def test_what_cannot_be_compared_counts_as_changed() -> None:
    """What users keep beside the model is none of ours, and breaks no call."""
    model = model_of(metadata={"frame": Proud()})
    before = model._meaning()
    assert model._meaning() is before
    model.metadata = {"frame": Proud()}
    assert model._meaning() is not before


def test_a_mistake_is_told_at_the_next_call(sim: Simulator) -> None:
    """Of an assignment nobody is told before."""
    model = make(sim)
    model.temperature = 9.0
    with pytest.raises(ConfigurationError, match="temperature"):
        model.invoke("hi")
    model.temperature = 1.0
    assert model.invoke("hi").text


@pytest.mark.parametrize(("before", "after"), [(True, 1), (1, True), (True, False)])
def test_leave_to_pay_is_the_flag_itself(before: Any, after: Any) -> None:
    """1 is equal to True, and no leave."""
    model = model_of(budget="unlimited", paid_models=["a/b"], allow_paid=True)
    for flag in (before, after):
        model.allow_paid = flag
        assert model._meaning().unbounded is (flag is True)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_what_was_worked_out_stays_in_its_process(again: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the key, and hooks of the process."""
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    model = model_of(accept=[lambda message: True])
    model._meaning()
    model.accept = None
    assert KEY.encode() not in pickle.dumps(model)
    assert KEY not in repr((model._meaning(), model._plan(None, {})))
    assert again(model)._meaning().service.headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("path", PATHS)
def test_a_call_does_not_change_what_the_next_one_begins_with(sim: Simulator, path: str) -> None:
    """The body is a call's own, with words of its own or without."""
    model = make(sim, extra_body={"verbosity": "low"}, temperature=0.5)
    calls: list[dict[str, Any]] = [{}, {"temperature": 1.0, "stop": ["x"]}, {}]
    for kwargs in calls:
        drive(model, path, **kwargs)
    bodies = [chat.body for chat in sim.chats()]
    assert [body["temperature"] for body in bodies] == [0.5, 1.0, 0.5]
    assert ["stop" in body for body in bodies] == [False, True, False]
    assert asked(sim) == [TWENTY[0]] * 3


def test_a_field_that_changes_while_it_is_worked_out_counts_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread has assigned a key: the next call is that account's."""
    model, work = model_of(), ChatOpenRouterFree._worked_out
    model.temperature = 0.5  # it is to be worked out anew

    def interrupted(self: ChatOpenRouterFree) -> Any:
        made = work(self)
        self.api_key = SecretStr("sk-or-v1-of-another-account")
        return made

    with monkeypatch.context() as patched:
        patched.setattr(ChatOpenRouterFree, "_worked_out", interrupted)
        before = model._meaning().account
    assert model._meaning().account == model_of(api_key="sk-or-v1-of-another-account")._meaning().account != before
