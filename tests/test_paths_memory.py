"""The dialects of a success, and what one call remembers for the next, on a real socket."""

from __future__ import annotations

import time
import traceback
from typing import Any

import httpx
import pytest
from driving import PATHS, TWENTY, asked, drive, make

from langchain_openrouter_free import (
    AllModelsFailed,
    ChatOpenRouterFree,
    FreeModelBilled,
    FreeQuotaExhausted,
    MemoryStore,
)
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.testing import FakeClock

# -- dialects of a success

DIALECTS: list[dict[str, Any]] = [
    {"padding": 5},
    {"comments": 4},
    {"crlf": True},
    {"gzip": True},
    {"doubled_finish": False},
    {"done": False},
    {"comments": 2, "crlf": True, "gzip": True, "padding": 3},
    {"reasoning": "let me think"},
]


@pytest.mark.parametrize("wire", ["stream", "plain"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dialect", DIALECTS, ids="-".join)
def test_every_dialect_says_the_same(sim: Simulator, dialect: dict[str, Any], path: str, wire: str) -> None:
    """Padding, comments, CRLF, gzip, finish reasons once or twice: the same text, usage and reasoning."""
    sim.script({"*": {"do": "ok", "text": "grün and 🌲", **dialect}})
    told = drive(make(sim, wire=wire), path)
    assert told.text == "grün and 🌲"
    assert told.message.usage_metadata["output_tokens"] > 0
    assert told.meta["finish_reason"] == "stop"
    if "reasoning" in dialect:
        assert told.message.additional_kwargs["reasoning_content"] == "let me think"
        assert told.message.additional_kwargs["reasoning_details"][0]["text"] == "let me think"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", ["split", "one-delta", "no-arguments-key", "null-content"])
def test_every_shape_of_a_tool_call(sim: Simulator, shape: str, path: str) -> None:
    """Tool calls come whole or in pieces, with and without arguments."""
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    sim.script({"*": {"do": "ok", "tool_shape": shape}})
    told = drive(make(sim).bind_tools([tool], tool_choice="now"), path)
    assert [(call["name"], call["args"]) for call in told.message.tool_calls] == [("now", {})]
    assert told.message.tool_calls[0]["id"]


# -- memory between calls


def test_a_model_that_failed_is_left_alone_for_a_while(sim: Simulator) -> None:
    """Inside its cooldown a model is not asked again; after it, it is."""
    clock = FakeClock()
    sim.script({TWENTY[0]: ["429-upstream", "ok"]})
    model = make(sim, TWENTY[:2], clock=clock)
    assert [drive(model, "invoke").meta["route"]["model"] for _ in range(2)] == [TWENTY[1]] * 2
    clock.advance(6)
    assert drive(model, "invoke").meta["route"]["model"] == TWENTY[0]
    assert asked(sim) == [TWENTY[0], TWENTY[1], TWENTY[1], TWENTY[0]]


def test_a_stated_wait_is_never_shortened(sim: Simulator) -> None:
    """A model that named 30 seconds is not asked after 29."""
    clock = FakeClock()
    sim.script({TWENTY[0]: [{"do": "429-upstream", "retry_after": 30}, "ok"]})
    model = make(sim, TWENTY[:2], clock=clock)
    drive(model, "invoke")
    clock.advance(29)
    assert drive(model, "invoke").meta["route"]["model"] == TWENTY[1]
    clock.advance(2)
    assert drive(model, "invoke").meta["route"]["model"] == TWENTY[0]


@pytest.mark.parametrize("path", PATHS)
def test_when_all_cool_the_first_to_come_back_is_waited_for(sim: Simulator, path: str) -> None:
    """With every model cooling, the soonest is waited for if that is within max_wait."""
    clock = FakeClock()
    sim.script({TWENTY[0]: ["503", "ok"], TWENTY[1]: [{"do": "429-upstream", "retry_after": 60}, "ok"]})
    model = make(sim, TWENTY[:2], clock=clock)
    with pytest.raises(AllModelsFailed):
        drive(model, path)
    assert drive(model, path).meta["route"]["model"] == TWENTY[0]
    assert clock.slept == [pytest.approx(5.0)]


def test_when_all_cool_for_long_the_error_names_each(sim: Simulator) -> None:
    """Nobody is asked, and the error says of each model why and until when."""
    sim.script({"*": {"do": "429-upstream", "retry_after": 600}})
    model = make(sim, TWENTY[:2], clock=FakeClock())
    with pytest.raises(AllModelsFailed):
        model.invoke("hi")
    with pytest.raises(AllModelsFailed) as caught:
        model.invoke("hi")
    assert len(sim.chats()) == 2
    assert caught.value.attempts == ()
    assert [(s.model, s.until is not None) for s in caught.value.skipped] == [(m, True) for m in TWENTY[:2]]


def test_state_lives_outside_the_instance(sim: Simulator) -> None:
    """Two instances on one key and one store share what was learned; another key does not."""
    store = MemoryStore()
    sim.script({TWENTY[0]: "503"})
    drive(make(sim, state=store), "invoke")
    assert drive(make(sim, state=store), "invoke").outcomes == ["ok"]
    assert drive(make(sim, state=store, api_key="another"), "invoke").outcomes == ["overloaded", "ok"]


def test_max_retries_caps_the_moves(sim: Simulator) -> None:
    """max_retries=2 means three attempts at most."""
    sim.script({"*": "500"})
    with pytest.raises(AllModelsFailed) as caught:
        make(sim, TWENTY, max_retries=2).invoke("hi")
    assert len(caught.value.attempts) == 3


@pytest.mark.parametrize("window", ["day", "minute"])
@pytest.mark.parametrize("path", PATHS)
def test_a_quota_that_the_last_allowed_attempt_found_used_up_is_told_as_such(
    sim: Simulator, path: str, window: str
) -> None:
    """Whoever allows no further attempt learns no less of why the last one failed; a spent day is no call to retry."""
    sim.script({TWENTY[0]: "503", TWENTY[1]: f"429-account-{window}"})
    with pytest.raises(FreeQuotaExhausted) as caught:
        drive(make(sim, max_retries=1), path)
    assert (caught.value.window, caught.value.is_retryable) == (window, window == "minute")
    assert caught.value.route["outcome"] == "quota"
    assert len(sim.chats()) == 2


@pytest.mark.wall_clock
def test_the_call_deadline_ends_the_walk(sim: Simulator) -> None:
    """timeouts['call'] bounds all attempts together."""
    sim.script({"*": "hang-before-headers"})
    began = time.monotonic()
    with pytest.raises(AllModelsFailed) as caught:
        make(sim, TWENTY, timeouts={"first_token": 0.2, "call": 0.5}).invoke("hi")
    assert time.monotonic() - began < 3
    assert len(caught.value.attempts) in (2, 3)  # a busy machine has used some of the time up before the first


def test_a_traceback_holds_no_body(sim: Simulator) -> None:
    """The chain of causes tells statuses and reasons, not whole bodies with what they hold of the user."""
    sim.script({"*": "500"})
    with pytest.raises(AllModelsFailed) as caught:
        make(sim).invoke("hi")
    told = "".join(traceback.format_exception(caught.value))
    assert "Internal Server Error" in told
    assert "user_simulated" not in told
    assert sim.api_key not in told


def test_each_move_is_one_line_in_the_log(sim: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """The logger names each model that was left, why, and what comes next; never the prompt or the key."""
    sim.script({TWENTY[0]: "429-upstream", TWENTY[1]: "404-delisted"})
    with caplog.at_level("INFO", logger="langchain_openrouter_free"):
        make(sim).invoke("a secret prompt")
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        f"{TWENTY[0]}: upstream_limit",
        f"{TWENTY[1]}: delisted",
    ]
    assert "secret" not in caplog.text
    assert sim.api_key not in caplog.text


def test_a_free_model_that_is_billed_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A cost on a free id is told loudly; the answer is kept."""
    body = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"cost":0.0005}}'
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=body))) as client:
        url = "http://no-catalogue.test/api/v1"
        model = ChatOpenRouterFree(
            models=TWENTY[:1], api_key="k", base_url=url, allow_http=True, http_client=client, state=MemoryStore()
        )
        with pytest.warns(FreeModelBilled, match=r"was billed \$0.0005"):
            assert model.invoke("hi").text == "hi"
    assert "was billed $0.0005" in caplog.text
