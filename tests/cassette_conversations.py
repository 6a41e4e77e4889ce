"""The conversations of the cassettes, and how cassettes are written and matched; for the recorder and for the tests."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import vcr
import yaml
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from pitfall_helpers import ADD

from langchain_openrouter_free import ChatOpenRouterFree, FreeQuotaExhausted, MemoryStore

FOLDER = Path(__file__).parents[1] / "cassettes"
CHAT = "/chat/completions"

# How a model can be asked: given messages it returns the message, whatever the path.
Ask = Callable[[Any, list[BaseMessage]], AIMessage]


@dataclass(frozen=True)
class Conversation:
    """One conversation.

    Attributes:
        name: the cassette's file name.
        about: what is recorded.
        talk: the caller's side; returns the answers.
        script: what the simulator does, by the rank of the model (0 is the first).
        wire: how `invoke` asks.
        error: the error it ends in, if it does.
        live: whether the real service can be brought to do that on demand.
    """

    name: str
    about: str
    talk: Callable[[Any, Ask], list[AIMessage]]
    script: dict[int, Any] = field(default_factory=dict)
    wire: str = "stream"
    error: type[Exception] | None = None
    live: bool = True


def _one_question(model: Any, ask: Ask) -> list[AIMessage]:
    return [ask(model, [HumanMessage("Say hello to the people of Vienna, in one short sentence.")])]


def _sum(model: Any, ask: Ask) -> list[AIMessage]:
    bound = model.bind_tools([ADD])
    talk: list[BaseMessage] = [HumanMessage("Use the tool add for 3 and 4, then tell me the sum.")]
    called = ask(bound, talk)
    results = [ToolMessage(str(sum(call["args"].values())), tool_call_id=call["id"]) for call in called.tool_calls]
    # The recorded id of a message is no part of a request, and differs from path to path.
    return [called, ask(bound, [*talk, called, *results])]


CONVERSATIONS = {
    one.name: one
    for one in (
        Conversation("plain", "one question, answered in one JSON body", _one_question, wire="plain"),
        Conversation("streamed", "one question, answered as an event stream", _one_question),
        Conversation("tools", "a tool call and, with its result, the answer", _sum),
        Conversation(
            "limited-then-answer",
            "the first model is rate limited upstream (429), the second one answers",
            _one_question,
            {0: "429-upstream"},
            live=False,
        ),
        Conversation(
            "delisted-then-answer",
            "the first model is not offered any more (404), the second one answers",
            _one_question,
            {0: "404-delisted"},
        ),
        Conversation(
            "day-spent",
            "the account's free requests of the day are used up (429)",
            _one_question,
            {0: "429-account-day"},
            error=FreeQuotaExhausted,
            live=False,
        ),
    )
}


def make_model(conversation: Conversation, models: list[str], base_url: str, api_key: str, **more: Any) -> Any:
    """The model of a conversation: it never waits and knows nothing from before."""
    return ChatOpenRouterFree(
        models=models,
        api_key=api_key,
        base_url=base_url,
        state=MemoryStore(),
        max_wait=0.0,
        max_tokens=400,
        wire=conversation.wire,
        **more,
    )


# -- cassettes

_REQUEST_HEADERS = {"accept", "content-type"}
_RESPONSE_HEADERS = ("content-type", "date", "retry-after", "x-ratelimit-")
_GZIP = b"\x1f\x8b"
_SECRETS = {
    re.compile(rb"sk-or-[\w-]+"): b"scrubbed-key",
    re.compile(rb"\b(user|org)_(?!id\b)\w+"): rb"\1_scrubbed",
}


def scrubbed(body: Any) -> Any:
    """A body without keys and without the ids of users."""
    data = body.encode() if isinstance(body, str) else bytes(body or b"")
    for secret, instead in _SECRETS.items():
        data = secret.sub(instead, data)
    return data


def _scrub_request(request: Any) -> Any:
    kept = {name: value for name, value in request.headers.items() if name.lower() in _REQUEST_HEADERS}
    request.headers.clear()
    request.headers.update(kept)
    request.body = scrubbed(request.body)
    return request


def _reduced(data: Any) -> Any:
    """A list of models with the rows only that a conversation can ask for, and of those only what tells the price."""
    try:
        rows = json.loads(data)["data"]
    except (ValueError, KeyError, TypeError):
        return data
    kept = [{"id": row["id"], "pricing": row["pricing"]} for row in rows if row["id"].endswith(":free")]
    return json.dumps({"data": kept}).encode()


def _scrub_response(response: dict[str, Any]) -> dict[str, Any]:
    headers = {n: v for n, v in response["headers"].items() if n.lower().startswith(_RESPONSE_HEADERS)}
    body = response["body"]["string"]
    # Lists come packed, whatever the model's own headers ask for; a packed body would hide what is to be scrubbed.
    body = gzip.decompress(body) if isinstance(body, bytes) and body.startswith(_GZIP) else body
    return {**response, "headers": headers, "body": {"string": _reduced(scrubbed(body))}}


def _same_json(one: Any, other: Any) -> None:
    """Two requests match if their bodies mean the same."""
    assert json.loads(one.body or b"null") == json.loads(other.body or b"null")


def recorder(mode: str) -> vcr.VCR:
    """VCR as recorder and tests use it; `mode` is VCR's record mode."""
    made = vcr.VCR(
        record_mode=mode,
        match_on=["method", "uri", "same_json"],
        before_record_request=_scrub_request,
        before_record_response=_scrub_response,
    )
    made.register_matcher("same_json", _same_json)
    return made


@dataclass(frozen=True)
class Recorded:
    """What a test wants to know of a cassette, read without the package's code.

    Attributes:
        requests: the bodies of the requests, in order.
        statuses: of the replies.
        replies: the bodies of the replies, as text.
        base_url: where it was recorded.
        at: the moment of the last reply, in Unix seconds.
    """

    requests: list[dict[str, Any]]
    statuses: list[int]
    replies: list[str]
    base_url: str
    at: float

    @classmethod
    def of(cls, path: Path) -> Recorded:
        """Read a cassette."""
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["interactions"]
        entries = [entry for entry in entries if entry["request"]["uri"].endswith(CHAT)]
        bodies = [entry["response"]["body"]["string"] for entry in entries]
        dates = [entry["response"]["headers"].get("date") or [] for entry in entries]
        told = [parsedate_to_datetime(date[0]) for date in dates if date]
        return cls(
            [json.loads(entry["request"]["body"]) for entry in entries],
            [entry["response"]["status"]["code"] for entry in entries],
            [body.decode() if isinstance(body, bytes) else body for body in bodies],
            entries[0]["request"]["uri"].removesuffix(CHAT),
            told[-1].timestamp() if told else datetime.now(UTC).timestamp(),
        )

    @property
    def models(self) -> list[str]:
        """The models that were asked, best first."""
        return list(dict.fromkeys(request["model"] for request in self.requests))

    def said(self, index: int) -> tuple[str, dict[str, Any]]:
        """The text and the usage of a reply."""
        text = ""
        usage: dict[str, Any] = {}
        for event in self._events(self.replies[index]):
            choice = (event.get("choices") or [{}])[0]
            text += (choice.get("delta") or choice.get("message") or {}).get("content") or ""
            usage = event.get("usage") or usage
        return text, usage

    @staticmethod
    def _events(reply: str) -> Iterator[dict[str, Any]]:
        if reply.lstrip().startswith("{"):
            yield json.loads(reply)
            return
        for line in reply.splitlines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))
