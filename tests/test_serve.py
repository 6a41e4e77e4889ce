"""The endpoint: OpenAI's client in front, the simulated service behind, and clients that are wrong, hostile or gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from driving import at_once, book_of
from serving import HELLO, KEY, TOOL, A, B, Person, client, endpoints, router
from starlette.testclient import TestClient

from langchain_openrouter_free import ConfigurationError, MemoryStore
from langchain_openrouter_free.serve.app import application
from langchain_openrouter_free.serve.backend import Backend
from langchain_openrouter_free.serve.running import check_host, served
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.simulator.log import hashed
from langchain_openrouter_free.testing import FakeClock


@pytest.fixture
def endpoint(sim: Simulator) -> Iterator[Callable[..., str]]:
    """A maker of endpoints in front of the simulated service."""
    with endpoints(sim) as make:
        yield make


class TestOpenAIsClient:
    """What a program that knows only OpenAI's client gets."""

    def test_an_answer_tells_who_and_how(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        sim.script({A: "429-upstream"})
        told: Any = client(endpoint()).chat.completions.with_raw_response.create(model="auto", messages=HELLO)
        answer = told.parse()
        assert "hello" in answer.choices[0].message.content
        assert (answer.model, answer.choices[0].finish_reason) == (B, "stop")
        assert answer.usage.total_tokens > 0
        assert [one["outcome"] for one in answer.route["attempts"]] == ["upstream_limit", "ok"]
        assert json.loads(told.headers["x-openrouter-free-route"])["model"] == B
        assert KEY not in told.text + str(told.headers)
        assert {chat.headers["authorization"] for chat in sim.chats()} == {hashed(f"Bearer {KEY}")}

    async def test_the_same_on_an_event_loop(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        sim.script({A: "503"})
        async with openai.AsyncOpenAI(base_url=endpoint(), api_key="x") as ask:
            answer = await ask.chat.completions.create(model="auto", messages=HELLO)
            assert answer.model == B
            stream = await ask.chat.completions.create(model="auto", messages=HELLO, stream=True)
            words = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "hello" in "".join(words)

    def test_a_stream_is_one_models(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        sim.script({A: "200-error", B: "ok"})
        stream = client(endpoint()).chat.completions.create(
            model="auto", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        assert {chunk.model for chunk in chunks} == {B}
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
        assert chunks[-1].usage is not None
        (route,) = [chunk.route for chunk in chunks if hasattr(chunk, "route")]
        assert route["model"] == B

    def test_a_stream_that_breaks_off_says_so(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        sim.script({A: {"do": "cut", "after": 3}})
        stream = client(endpoint()).chat.completions.create(model="auto", messages=HELLO, stream=True)
        told: list[str] = []
        with pytest.raises(openai.APIError, match="broke off"):
            told.extend(chunk.choices[0].delta.content or "" for chunk in stream)
        assert "".join(told)
        assert len(sim.chats()) == 1

    def test_a_plain_answer_that_breaks_off_is_another_models(self, sim: Simulator, endpoint: Any) -> None:
        sim.script({A: {"do": "cut", "after": 3}})
        assert client(endpoint()).chat.completions.create(model="auto", messages=HELLO).model == B

    @pytest.mark.parametrize("how", ["plain", "stream"])
    def test_tools(self, sim: Simulator, endpoint: Callable[..., str], how: str) -> None:
        ask = client(endpoint()).chat.completions
        asked: Any = {"model": "auto", "tools": [TOOL], "tool_choice": "required"}
        messages: Any = [{"role": "user", "content": "add 3 and 4"}]
        if how == "stream":
            with ask.stream(**asked, messages=messages) as events:
                message: Any = events.get_final_completion().choices[0].message
        else:
            message = ask.create(**asked, messages=messages).choices[0].message
        (call,) = message.tool_calls
        assert call.function.name == "add"
        assert set(json.loads(call.function.arguments)) == {"a", "b"}
        messages += [
            {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": dict(call.function)}]},
            {"role": "tool", "tool_call_id": call.id, "content": "7"},
        ]
        assert ask.create(model="auto", tools=[TOOL], messages=messages).choices[0].message.content

    def test_parse(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        told = client(endpoint()).chat.completions.parse(
            model="auto", messages=[{"role": "user", "content": 'Ann is 7: "Ann"'}], response_format=Person
        )
        assert isinstance(told.choices[0].message.parsed, Person)

    def test_aliases_profiles_and_ids(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        ask = client(endpoint())
        names = [one.id for one in ask.models.list()]
        assert names[:4] == ["auto", "batch", A, B]
        assert ask.models.retrieve(B).id == B
        assert ask.chat.completions.create(model="batch", messages=HELLO).model == B
        sim.script({A: "503"})
        with pytest.raises(openai.InternalServerError):
            ask.chat.completions.create(model=A, messages=HELLO)
        assert [str(chat.model) for chat in sim.chats()] == [B, A]

    def test_reasoning_comes_along_and_goes_back_to_its_model_only(self, sim: Simulator, endpoint: Any) -> None:
        """Whose it is, is known by the conversation; of one that nobody here has answered, only by a pin."""
        ask = client(endpoint()).chat.completions
        told: Any = ask.create(model="auto", messages=HELLO, extra_body={"reasoning": {"effort": "high"}})
        message = told.choices[0].message.model_dump(exclude_none=True)
        assert message["reasoning_details"]
        again: Any = [*HELLO, message, {"role": "user", "content": "and?"}]
        ask.create(model="auto", messages=again)
        ask.create(model=B, messages=again)
        strange = [{"role": "user", "content": "another"}, *again[1:]]
        ask.create(model="auto", messages=strange)
        ask.create(model=A, messages=strange)
        kept = ["reasoning_details" in chat.body["messages"][1] for chat in sim.chats()[1:]]
        assert kept == [True, True, False, True]

    def test_a_conversation_keeps_its_voice(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        """An agent's steps stay with the model that stepped in; a new conversation begins with the ranking."""
        sim.script({A: ["503", "ok"]})
        ask = client(endpoint(clock=FakeClock(time.time()))).chat.completions
        talk: list[Any] = [*HELLO]
        for _ in range(3):
            talk += [ask.create(model="auto", messages=talk).choices[0].message, {"role": "user", "content": "go on"}]
        ask.create(model="auto", messages=[{"role": "user", "content": "new"}])
        assert [str(chat.model) for chat in sim.chats()][:4] == [A, B, B, B]

    @pytest.mark.parametrize("how", ["wrong-schema", "fenced"])
    def test_an_object_is_one_that_a_client_can_read(self, sim: Simulator, endpoint: Any, how: str) -> None:
        """One that does not fit the schema is another model's turn; a code fence is taken off."""
        sim.script({A: how})
        told = client(endpoint()).chat.completions.parse(
            model="auto", messages=[{"role": "user", "content": "Ann is 7"}], response_format=Person
        )
        assert isinstance(told.choices[0].message.parsed, Person)
        assert told.model == (B if how == "wrong-schema" else A)

    def test_unknown_parameters_are_passed_on(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        client(endpoint()).chat.completions.create(
            model="auto", messages=HELLO, user="u", extra_body={"verbosity": "low", "something_new": 3}
        )
        body = sim.chats()[0].body
        assert (body["user"], body["verbosity"], body["something_new"]) == ("u", "low", 3)

    def test_who_may_see_a_call_is_not_passed_on_but_kept(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        ask = client(endpoint(), max_retries=0).chat.completions
        ask.create(model="auto", messages=HELLO, extra_body={"privacy": "zdr", "sensitive": False})
        body = sim.chats()[0].body
        assert body["provider"]["zdr"] is True
        assert body.keys().isdisjoint({"privacy", "sensitive"})
        with pytest.raises(openai.BadRequestError) as told:
            ask.create(model="auto", messages=HELLO, extra_body={"sensitive": True})
        assert told.value.code == "no_suitable_model"
        assert len(sim.chats()) == 1

    @pytest.mark.parametrize(
        ("own", "wish", "sent"),
        [
            ({"privacy": "zdr"}, {"privacy": "any"}, []),
            ({"privacy": "zdr"}, {"privacy": "no-training"}, []),
            ({"privacy": "zdr"}, {"privacy": "zdr"}, [True]),
            ({"privacy": "zdr"}, {"provider": {"sort": "price"}}, [True]),
            ({"privacy": "no-training"}, {"privacy": "zdr"}, [True]),
            ({"provider": {"zdr": True}}, {"provider": {"sort": "price"}}, []),
            ({"provider": {"zdr": True}}, {"provider": {"zdr": True, "sort": "price"}}, [True]),
            ({"provider": {"zdr": True}}, {"privacy": "no-training"}, [True]),
        ],
    )
    def test_a_client_asks_for_no_less_privacy_than_the_endpoint(
        self, sim: Simulator, endpoint: Callable[..., str], own: dict[str, Any], wish: dict[str, Any], sent: list[bool]
    ) -> None:
        ask = client(endpoint(**own), max_retries=0).chat.completions
        with pytest.raises(openai.BadRequestError, match="not for less") if not sent else contextlib.nullcontext():
            ask.create(model="auto", messages=HELLO, extra_body=wish)
        assert [chat.body["provider"].get("zdr") for chat in sim.chats()] == sent


# What happens -> the client's error, its code, whether its own retries are wanted.
REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], type[openai.APIStatusError], str, str]] = {
    "a spent day": ({"scripts": {"*": "429-account-day"}}, {}, openai.RateLimitError, "free_quota_exhausted", "false"),
    "a spent minute": (
        {"scripts": {"*": "429-account-minute"}},
        {},
        openai.RateLimitError,
        "free_quota_exhausted",
        "true",
    ),
    "no key": ({"scripts": {"*": "401"}}, {}, openai.AuthenticationError, "invalid_api_key", "false"),
    "all down": ({"scripts": {"*": "503"}}, {}, openai.InternalServerError, "all_models_failed", "false"),
    "a bad request": ({"scripts": {"*": "400-schema"}}, {}, openai.BadRequestError, "rejected", "false"),
    "a paid id": ({}, {"model": "x/y"}, openai.BadRequestError, "invalid_parameter", "false"),
    "a bad number": ({}, {"temperature": 9}, openai.BadRequestError, "invalid_parameter", "false"),
    "several answers": ({}, {"n": 3}, openai.BadRequestError, "rejected", "false"),
    "a strange role": (
        {},
        {"messages": [{"role": ["user"], "content": "hi"}]},
        openai.BadRequestError,
        "rejected",
        "false",
    ),
    "a way round": ({}, {"extra_body": {"models": ["x/y"]}}, openai.BadRequestError, "invalid_parameter", "false"),
    "what costs": (
        {},
        {"extra_body": {"plugins": [{"id": "web"}]}},
        openai.BadRequestError,
        "invalid_parameter",
        "false",
    ),
}


class TestErrors:
    """Statuses and headers that make clients do the right thing."""

    @pytest.mark.parametrize("what", REFUSALS)
    @pytest.mark.parametrize("how", ["plain", "stream"])
    def test_each(self, sim: Simulator, endpoint: Callable[..., str], what: str, how: str) -> None:
        scenario, asked, error, code, again = REFUSALS[what]
        sim.reset(Scenario(**scenario))
        url = endpoint()
        with pytest.raises(error) as told:
            client(url, max_retries=0).chat.completions.create(
                **{"model": "auto", "messages": HELLO, "stream": how == "stream", **asked}
            )
        response: Any = told.value.response
        assert response.json()["error"]["code"] == code
        assert response.headers["x-should-retry"] == again
        assert ("retry-after" in response.headers) == (code == "free_quota_exhausted")

    def test_a_clients_own_retries_burn_nothing(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        sim.script({"*": "503"})
        with pytest.raises(openai.InternalServerError):
            client(endpoint(), max_retries=5).chat.completions.create(model="auto", messages=HELLO)
        assert len(sim.chats()) == 2

    @pytest.mark.parametrize("how", ["plain", "stream"])
    def test_a_key_that_the_service_quotes_stays_here(self, sim: Simulator, endpoint: Any, how: str) -> None:
        sim.script({"*": {"do": "401", "message": f"Incorrect API key provided: {KEY}"}})
        with pytest.raises(openai.AuthenticationError) as told:
            client(endpoint()).chat.completions.create(model="auto", messages=HELLO, stream=how == "stream")
        assert "Incorrect API key provided" in told.value.response.text
        assert KEY not in told.value.response.text + str(told.value.response.headers)

    def test_a_budget(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        half: dict[str, Any] = {"id": "simulated/half", "pricing": {"prompt": "0", "completion": "0", "request": "0.5"}}
        sim.reset(Scenario(models=[half, A, B], scripts={A: "503", B: "503"}))
        paying = {"allow_paid": True, "paid_models": ["simulated/half"], "budget": "$0.60 total", "project": "p"}
        ask = client(endpoint(**paying), max_retries=0).chat.completions
        told: Any = ask.create(model="auto", messages=HELLO)
        assert told.route["paid"] is True
        with pytest.raises(openai.APIStatusError) as refused:
            ask.create(model="auto", messages=HELLO)
        assert refused.value.status_code == 402
        assert len(sim.bill) == 1


class TestWhoMayAsk:
    """Safe by default."""

    @pytest.mark.parametrize(
        ("guarding", "headers", "status"),
        [
            ({}, {}, 200),
            ({}, {"host": "evil.example"}, 403),
            ({}, {"host": "localhost:1"}, 200),
            ({}, {"host": "[::1]:80"}, 200),
            ({}, {"host": ""}, 403),
            ({}, {"origin": "https://evil.example"}, 403),
            ({}, {"origin": "null"}, 403),
            ({"origins": ["https://app.example"]}, {"origin": "https://app.example"}, 200),
            ({"token": "t0ken"}, {}, 401),
            ({"token": "t0ken"}, {"authorization": "Bearer wrong"}, 401),
            ({"token": "t0ken"}, {"authorization": "Basic t0ken"}, 401),
            ({"token": "t0ken"}, {"authorization": "Bearer t0ken"}, 200),
            ({"hosts": ["box"]}, {"host": "box:8788"}, 200),
            ({"most_at_once": 0}, {}, 503),
        ],
    )
    def test_by_headers(self, sim: Simulator, guarding: dict[str, Any], headers: dict[str, str], status: int) -> None:
        with TestClient(application(Backend(router(sim)), **guarding), base_url="http://127.0.0.1") as ask:
            said = ask.get("/v1/models", headers=headers)
        assert said.status_code == status
        assert ("access-control-allow-origin" in said.headers) == ("origins" in guarding)

    @pytest.mark.parametrize("token", [None, "t0ken"])
    def test_a_named_page_may_look_first(self, sim: Simulator, token: str | None) -> None:
        """A browser asks with neither token nor key whether the page may ask."""
        app = application(Backend(router(sim)), origins=["https://app.example"], token=token)
        page = {"origin": "https://app.example", "access-control-request-headers": "authorization"}
        with TestClient(app, base_url="http://127.0.0.1") as ask:
            said = ask.options("/v1/chat/completions", headers=page)
            other = ask.options("/v1/chat/completions", headers={"origin": "https://evil.example"})
        assert (said.status_code, said.headers["access-control-allow-origin"]) == (204, "https://app.example")
        assert said.headers["access-control-allow-headers"] == "authorization"
        assert (other.status_code, "access-control-allow-origin" in other.headers) == (403, False)

    @pytest.mark.parametrize(("guarding", "status"), [({"token": "t0ken"}, 401), ({"most_at_once": 0}, 503)])
    def test_a_named_page_is_told_why_it_is_refused(
        self, sim: Simulator, guarding: dict[str, Any], status: int
    ) -> None:
        """A browser shows a page nothing of an answer that does not name it."""
        app = application(Backend(router(sim)), origins=["https://app.example"], **guarding)
        with TestClient(app, base_url="http://127.0.0.1") as ask:
            said = ask.get("/v1/models", headers={"origin": "https://app.example"})
        assert (said.status_code, said.headers["access-control-allow-origin"]) == (status, "https://app.example")

    @pytest.mark.parametrize(("host", "token"), [("0.0.0.0", None), ("192.0.2.1", ""), ("::", None), ("box", None)])
    def test_another_address_needs_a_token(self, host: str, token: str | None) -> None:
        with pytest.raises(ConfigurationError, match="token"):
            check_host(host, token)
        assert host in check_host(host, "t")
        assert "127.0.0.2" in check_host("127.0.0.2", None)

    @pytest.mark.parametrize(
        ("host", "status"), [("192.0.2.7:8788", 200), ("[2001:db8::1]", 200), ("evil.example", 403), ("*", 403)]
    )
    def test_all_addresses_are_no_names(self, sim: Simulator, host: str, status: int) -> None:
        """What listens everywhere is asked by any number, but not by a name that nobody gave it."""
        app = application(Backend(router(sim)), hosts=check_host("0.0.0.0", "t"))
        with TestClient(app, base_url="http://127.0.0.1") as ask:
            assert ask.get("/health", headers={"host": host}).status_code == status

    def test_a_large_body_is_not_read(self, sim: Simulator) -> None:
        app = application(Backend(router(sim)), most_bytes=1000)
        with TestClient(app, base_url="http://127.0.0.1") as ask:
            told = ask.post("/v1/chat/completions", content=b"x" * 1001)
            piecewise = ask.post("/v1/chat/completions", content=iter([b"x" * 600, b"x" * 600]))
        assert (told.status_code, piecewise.status_code) == (413, 413)

    def test_a_client_is_told_that_its_body_is_too_large(self, sim: Simulator, endpoint: Any) -> None:
        """Over a real socket, while it still sends."""
        long: Any = [{"role": "user", "content": "x" * 40_000_000}]
        with pytest.raises(openai.APIStatusError) as told:
            client(endpoint(), max_retries=0).chat.completions.create(model="auto", messages=long)
        assert told.value.status_code == 413

    def test_no_prompt_is_logged(self, sim: Simulator, endpoint: Any, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG")
        sim.script({A: "503"})
        client(endpoint()).chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "a secret word"}]
        )
        ours = [r.getMessage() for r in caplog.records if not r.name.startswith(("openai", "httpx", "httpcore"))]
        assert not any("secret word" in line or KEY in line for line in ours)


class TestGone:
    """A client that goes away, or takes nothing any more."""

    @pytest.mark.parametrize("how", ["plain", "stream"])
    def test_its_attempt_is_cancelled_at_once_and_settled(self, sim: Simulator, endpoint: Any, how: str) -> None:
        """Within 100 ms (of three tries: the machine may be busy) the service is left and the money is settled."""
        stream = how == "stream"
        half: dict[str, Any] = {"id": "simulated/half", "pricing": {"prompt": "0", "completion": "0.001"}}
        stalls = {"do": "stall", "after": 3} if stream else "drip"
        sim.reset(Scenario(models=[half, A, B], scripts={A: "503", B: "503", half["id"]: stalls}))
        paying = {"allow_paid": True, "paid_models": [half["id"]], "budget": "$90 total", "max_tokens": 100}
        backend = Backend(router(sim, project="p", **paying))
        took = []
        with served(application(backend)) as base:
            url = httpx.URL(base)
            for number in range(1, 4):
                left = self.leave(sim, url, number, stream=stream)
                sim.wait_for(lambda s: paid_of(s)[-1].disconnected_at is not None)
                while backend._main.spending().windows[0].reserved != "0":
                    assert time.monotonic() < left + 5
                took.append(max(time.monotonic(), paid_of(sim)[-1].disconnected_at or 0.0) - left)
        assert min(took) < 0.1, took

    @staticmethod
    def leave(sim: Simulator, url: httpx.URL, number: int, *, stream: bool) -> float:
        """Ask and go away; return when."""
        body = json.dumps({"model": "auto", "messages": HELLO, "stream": stream}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection((url.host, url.port)) as raw:
            raw.sendall(head + body)
            sim.wait_for(lambda s: len(paid_of(s)) == number)
            if stream:
                assert raw.recv(100).startswith(b"HTTP/1.1 200")
        return time.monotonic()

    async def test_a_client_that_takes_nothing_is_gone(self, sim: Simulator) -> None:
        """Its attempt is cancelled, and no place at the endpoint is taken for ever."""
        taken: list[Any] = []

        async def send(message: Any) -> None:
            taken.append(message)
            if len(taken) > 2:
                await asyncio.Event().wait()

        said = [
            {"type": "http.request", "body": json.dumps({"model": "auto", "messages": HELLO, "stream": True}).encode()}
        ]

        async def receive() -> Any:
            if not said:
                await asyncio.Event().wait()
            return said.pop()

        store = MemoryStore()
        app = application(Backend(router(sim, state=store)), reader_patience=0.05)
        sim.script({A: {"do": "ok", "speed": 20}})
        headers = [(b"host", b"localhost")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": headers,
            "query_string": b"",
        }
        await asyncio.wait_for(app(scope, receive, send), 5)
        sim.wait_for(lambda s: s.chats()[0].disconnected_at is not None)
        assert book_of(store).holds == {}


def paid_of(sim: Simulator) -> list[Any]:
    return [chat for chat in sim.chats() if chat.model == "simulated/half"]


class TestWorkers:
    """Several at once."""

    def test_all_share_one_day(self, sim: Simulator, endpoint: Callable[..., str], tmp_path: Any) -> None:
        state = str(tmp_path / "state.sqlite3")
        limits = {"per_minute": None, "per_day": 7}
        urls = [endpoint(state=state, limits=limits) for _ in range(2)]
        outcomes: list[str] = []
        turn = iter(range(16))

        def work() -> None:
            ask = client(urls[next(turn) % 2], max_retries=0).chat.completions
            try:
                ask.create(model="auto", messages=HELLO)
                outcomes.append("ok")
            except openai.RateLimitError:
                outcomes.append("full")

        at_once(work, 16)
        assert (outcomes.count("ok"), len(sim.chats())) == (7, 7)

    def test_many_streams_at_once(self, sim: Simulator, endpoint: Callable[..., str]) -> None:
        url = endpoint()

        async def one(ask: openai.AsyncOpenAI) -> str:
            stream = await ask.chat.completions.create(model="auto", messages=HELLO, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        async def all_of_them() -> list[str]:
            async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as ask:
                return await asyncio.gather(*(one(ask) for _ in range(60)))

        words = asyncio.run(all_of_them())
        assert len(words) == 60
        assert all("hello" in word for word in words)
