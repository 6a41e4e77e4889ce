"""The dialect of the service: decoding replies and event streams into small values.

Owns what a chat completion looks like on the wire, whole or in pieces, and what can be wrong with it.
Sans I/O: bytes go in, deltas come out. It knows no HTTP client, no clock, no LangChain and nothing of
routing; whether a finished reply is an answer is `answers.py`'s business.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from langchain_openrouter_free.protocol.alike import Alike
from langchain_openrouter_free.protocol.evidence import BROKEN_OFF, LENIENT, Json, error_of
from langchain_openrouter_free.protocol.floods import ENDLESS, Flood
from langchain_openrouter_free.protocol.halves import Halves
from langchain_openrouter_free.protocol.headers import header
from langchain_openrouter_free.protocol.indexing import ToolIndexer
from langchain_openrouter_free.protocol.payloads import (
    DONE,
    dicts,
    mapping,
    objects,
    reasoning_of,
    text_of,
    values_in,
    word_of,
)
from langchain_openrouter_free.protocol.spoken import says_something

# An answer of this size is no answer: the longest output limit in the catalogue is far below it.
MAX_REPLY_BYTES = 64 * 1024 * 1024
# Nor one of so many values: as many as the likelihoods of 27,000 tokens. Those of the first mebibyte are not counted.
MAX_REPLY_VALUES = 4_000_000
_SHORT = 1024 * 1024
# Nor does one of its events have so many lines.
MAX_EVENT_LINES = 200_000
# An error says what it says at its beginning: the longest body on record has 7 kB.
MAX_ERROR_BYTES = 1024 * 1024


@dataclass(slots=True)
class ToolDelta:
    """A piece of one tool call; `arguments` is JSON text, whole or a fragment."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(slots=True)
class Delta:
    """One decoded piece of an answer: an event of a stream, or a whole plain answer at once.

    Attributes:
        choice: whether it holds a choice; an event with usage alone doesn't.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[ToolDelta] = field(default_factory=list)
    reasoning_details: list[Json] = field(default_factory=list)
    annotations: list[Json] = field(default_factory=list)
    logprobs: Json | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    usage: Json | None = None
    id: str | None = None
    model: str | None = None
    provider: str | None = None
    choice: bool = True

    @property
    def has_content(self) -> bool:
        """Whether a caller would see anything of it (text, tool call, reasoning or refusal)."""
        return bool(self.text or self.reasoning or self.refusal or self.tool_calls)

    @property
    def says_something(self) -> bool:
        """Whether that is more than what nobody sees: only this keeps an attempt alive, and commits it."""
        told = says_something(self.text) or says_something(self.reasoning) or says_something(self.refusal)
        return told or any(piece.name or piece.arguments.strip() for piece in self.tool_calls)


@dataclass(slots=True)
class Completion(Delta):
    """What an attempt has said so far: all of its deltas as one."""


class ReplyError(Exception):
    """A reply, or an event in it, that carries an error or cannot be read; `refusals.classify` judges it.

    Attributes:
        said: what came with the error itself.
        before: what came before it in the same bytes, and has not been handed out.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: object, said: Sequence[Delta] = ()) -> None:
        # Not the body: it would stand in every traceback, with what it holds of the user.
        super().__init__(f"reply with status {status}")
        self.status = status
        self.headers = headers
        self.body = body
        self.said = list(said)
        self.before: list[Delta] = []


class Assembly:
    """Puts deltas together. Tolerates repeated finish reasons and missing or repeated tool-call indexes."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, tuple[ToolDelta, list[str]]] = {}
        self._facts = Completion(choice=False)
        self._joined = True

    def add(self, delta: Delta) -> None:
        """Take in one more piece."""
        self._joined = False
        if delta.text:
            self._texts.append(delta.text)
        if delta.reasoning:
            self._reasonings.append(delta.reasoning)
        if delta.refusal:
            self._refusals.append(delta.refusal)
        for piece in delta.tool_calls:
            call, arguments = self._calls.setdefault(piece.index, (ToolDelta(piece.index), []))
            call.id = call.id or piece.id
            call.name = call.name or piece.name
            arguments.append(piece.arguments)
        facts = self._facts
        if delta.reasoning_details or delta.annotations:
            facts.reasoning_details.extend(delta.reasoning_details)
            facts.annotations.extend(delta.annotations)
        facts.finish_reason = facts.finish_reason or delta.finish_reason
        facts.native_finish_reason = facts.native_finish_reason or delta.native_finish_reason
        facts.usage = delta.usage or facts.usage
        facts.id = delta.id or facts.id
        facts.model = delta.model or facts.model
        facts.provider = delta.provider or facts.provider
        facts.choice = facts.choice or delta.choice
        if delta.logprobs:
            facts.logprobs = _add_likelihoods(facts.logprobs or {}, delta.logprobs)

    @property
    def calls(self) -> int:
        """How many tool calls there are so far."""
        return len(self._calls)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    def completion(self) -> Completion:
        """Return everything said so far as one value; it is joined once and then kept."""
        facts = self._facts
        if self._joined:
            return facts
        self._joined = True
        facts.text = self.text
        facts.reasoning = "".join(self._reasonings)
        facts.refusal = "".join(self._refusals)
        for call, arguments in self._calls.values():
            call.arguments = "".join(arguments)
        facts.tool_calls = [call for _, (call, _) in sorted(self._calls.items())]
        return facts


def _add_likelihoods(known: Json, said: Json) -> Json:
    """Add the likelihoods of one delta to those before it, in place: an answer may hold thousands of each."""
    for key, value in said.items():
        if isinstance(value, list):
            known[key] = known[key] if isinstance(known.get(key), list) else []
            known[key].extend(value)
        else:
            known.setdefault(key, value)
    return known


class ReplyReader:
    """Reads one reply, bytes in and deltas out, whatever shape it comes in.

    `feed` and `end` raise `ReplyError` for an error status, an error object anywhere in a 200, or a body
    that cannot be read. Blank padding, comments, CRLF, one bad line, joined JSON objects and a missing
    `[DONE]` are tolerated.

    Args:
        whole: words that come together may be handed out as one delta: nobody listens before the end.

    Attributes:
        finished: a finish reason was seen; only usage can follow.
        lost: an event could not be read, or is none of an answer; without a finish reason that may lack words.
        ended: the reply said that it is over (`[DONE]`, or a whole JSON body).
    """

    def __init__(self, status: int, headers: Mapping[str, str], *, whole: bool = False) -> None:
        self.status = status
        self.headers = headers
        self._in_one = whole
        self.finished = False
        self.ended = False
        self.lost = False
        self._failed = False
        self._streamed: bool | None = None
        if status != 200:
            self._streamed = False
        elif "event-stream" in (header(headers, "content-type") or "").lower():
            self._streamed = True
        self._decoder = _DECODER(errors="replace")
        self._size = self._values = 0
        self._body: list[str] = []
        self._tail: list[str] = []
        self._data: list[str] = []
        self._bare = self._apart = self._spoke = False
        self._tools, self._halves = ToolIndexer(), Halves()
        self._alike, self._flood = Alike(), Flood()
        self._like = Delta()
        self._words: Delta | None = None

    @property
    def streamed(self) -> bool:
        """Whether the reply is an event stream (a guess until its first visible byte)."""
        return bool(self._streamed)

    def feed(self, data: bytes) -> list[Delta]:
        """Take in bytes; return the deltas that are complete now."""
        self._size += len(data)
        if self._size > MAX_REPLY_BYTES:
            raise ReplyError(self.status, self.headers, f"a reply of more than {MAX_REPLY_BYTES} bytes")
        if self._size > _SHORT:
            self._values += values_in(data)
            if self._values > MAX_REPLY_VALUES:
                raise ReplyError(self.status, self.headers, f"a reply of more than {MAX_REPLY_VALUES} values")
        if len(self._data) > MAX_EVENT_LINES:
            raise ReplyError(self.status, self.headers, f"an event of more than {MAX_EVENT_LINES} lines")
        text = self._decoder.decode(data)
        if self.status != 200 and self._size > MAX_ERROR_BYTES:
            raise ReplyError(self.status, self.headers, "".join([*self._body, text])[:MAX_ERROR_BYTES])
        if self._streamed is None:
            text = self._sniff(text)
        if not self._streamed:
            self._body.append(text)
            return []
        return self._events(text)

    def end(self) -> list[Delta]:
        """Tell that the bytes are over; return what was still on the way."""
        text = self._decoder.decode(b"", final=True)
        if self._streamed:
            return self._events(text + "\n\n")
        self._body.append(text)
        return [self._whole("".join(self._body))]

    def _sniff(self, text: str) -> str:
        """Decide by the first visible characters: some gateways label a stream as JSON, or the reverse.

        Returns what is to be read: what was kept until there were enough of them as well, without the blanks in front,
        which would be looked at again with each piece.
        """
        seen = ("".join(self._body) + text).lstrip()
        self._body.clear()
        if seen and not any(begin.startswith(seen) and begin != seen for begin in _BEGINS):
            self._streamed = seen.startswith(_BEGINS)
        return seen

    # -- plain JSON

    def _whole(self, text: str) -> Delta:
        if self.status != 200:
            raise ReplyError(self.status, self.headers, text)
        try:
            payload = LENIENT.decode(text)
        except (ValueError, RecursionError):
            payload = None
        if not isinstance(payload, dict):
            raise ReplyError(self.status, self.headers, text)
        if error_of(payload) is not None:
            raise ReplyError(self.status, self.headers, payload, [self._delta(payload)])
        if "choices" not in payload:
            raise ReplyError(self.status, self.headers, payload)
        self.ended = True
        return self._delta(payload)

    # -- server-sent events

    def _events(self, text: str) -> list[Delta]:
        deltas: list[Delta] = []
        text, at = self._lines(text), 0
        try:
            while at < len(text):
                # What has ended, or holds half of a character, is not looked at by words alone.
                if not (self._data or self.ended or self._halves):
                    alike, at = self._alike.run(text, at)
                    if alike:
                        self._say(alike, deltas)
                        continue
                end = text.index("\n", at)
                if not self._data:
                    # Where the end of an event is still to come, its word is looked for once that is there.
                    self._apart = not text.startswith("\n", end + 1)
                self._line(text[at:end], deltas)
                at = end + 1
        except ReplyError as error:
            error.before = deltas
            raise
        return deltas

    def _line(self, line: str, deltas: list[Delta]) -> None:
        if line.startswith("data:"):
            self._data.append(line[6:] if line.startswith("data: ") else line[5:])
        elif not line:
            if self._data:
                self._dispatch(deltas)
        elif (line[0] == "{" and not self._data) or (self._bare and line[0] in _OF_JSON):
            # A body without the framing, most often an error in the middle of a stream; it may have many lines.
            self._bare = True
            self._data.append(line)

    def _say(self, words: list[str], deltas: list[Delta]) -> None:
        """Hand out words that came with nothing else."""
        if self._like.reasoning:
            self._think(words, deltas)
            return
        if self._in_one:
            words = ["".join(words)]
            if deltas and deltas[-1] is self._words:
                deltas[-1].text += words[0]
                return
        deltas.extend(_with_word(self._like, word) for word in words)
        self._words = deltas[-1]

    def _think(self, words: list[str], deltas: list[Delta]) -> None:
        """Hand out thoughts that came with nothing else."""
        # Blocks without an index are blocks each; `merge_reasoning_details` joins the others.
        is_one = self._in_one and all(block.get("index") is not None for block in self._like.reasoning_details)
        for word in ["".join(words)] if is_one else words:
            delta = _with_word(self._like, word)
            if self._flood.passes(delta):
                raise ReplyError(self.status, self.headers, ENDLESS)
            if not self._flood.joins(deltas, delta):
                deltas.append(delta)

    def _lines(self, text: str) -> str:
        """Return the lines that are complete now; the rest is kept in pieces until its end comes."""
        held = bool(self._tail) and self._tail[-1].endswith("\r")
        if not held and "\n" not in text and "\r" not in text:
            self._tail.append(text)
            return ""
        text = "".join(self._tail) + text
        last = ""
        if "\r" in text:
            # A lone CR at the end may be half of a CRLF: it waits for the next byte.
            last = "\r" if text.endswith("\r") else ""
            text = text[: len(text) - len(last)].replace("\r\n", "\n").replace("\r", "\n")
        end = text.rfind("\n") + 1
        self._tail = [text[end:] + last]
        return text[:end]

    def _dispatch(self, deltas: list[Delta]) -> None:
        lines, self._data = self._data, []
        self._bare = False
        if self.ended:
            return
        if len(lines) == 1 and self._apart and not self._halves and (word := self._alike.word(lines[0])) is not None:
            self._say([word], deltas)
            return
        for payload in objects(lines):
            if payload is DONE:
                self.ended = True
            elif payload is None:
                self.lost = True
            elif error_of(payload) is None:
                delta = self._delta(payload)
                if not self._flood.joins(deltas, delta):
                    deltas.append(delta)
                    self._learn(lines, delta)
            elif self.finished and not self._failed:
                # The answer was over; recorded after the caller's own max_tokens had cut it.
                self.ended = True
                deltas.append(Delta(usage=mapping(payload.get("usage")), choice=False))
            else:
                raise ReplyError(self.status, self.headers, payload, [self._delta(payload)])

    def _learn(self, lines: list[str], delta: Delta) -> None:
        """Take note of an event that the next ones may be like: one with a plain word, or thought, and nothing else."""
        said = delta.text or delta.reasoning
        if len(lines) > 1 or not said or not self._spoke or delta != _with_word(delta, said):
            return
        mold = self._alike.candidate(lines[0], said, thought=not delta.text)
        if mold is None:
            return
        # With a longer word in that place it must say that word, and all the rest as before.
        word, flood = f"{said} ", self._flood
        again = [found for found in objects([word.join(mold)]) if found]
        self._flood = Flood()  # nobody has thought this
        if len(again) == 1 and error_of(again[0]) is None and self._delta(again[0]) == _with_word(delta, word):
            self._alike.learn(mold)
            self._like = _with_word(delta, said)  # the event's own may grow
        self._flood = flood

    # -- one event or one whole answer

    def _delta(self, payload: Json) -> Delta:
        choices = payload.get("choices")
        choice = choices[0] if choices and isinstance(choices, list) and isinstance(choices[0], dict) else _NO_CHOICE
        # Some gateways say the whole message once more at the end of its stream.
        said = choice.get("delta") or (None if self._spoke else choice.get("message"))
        if not isinstance(said, dict):
            said = _NO_CHOICE
        text = said.get("content")
        if not text or not isinstance(text, str):
            text = text_of(text) or text_of(choice.get("text"))
        finish_reason = word_of(choice.get("finish_reason"))
        delta = Delta(
            text=self._halves.whole("text", text),
            finish_reason=finish_reason,
            native_finish_reason=word_of(choice.get("native_finish_reason")),
            usage=mapping(payload.get("usage")),
            id=word_of(payload.get("id")),
            model=word_of(payload.get("model")),
            provider=word_of(payload.get("provider")),
            choice=bool(choice),
        )
        # Most events of a stream are a word and nothing else.
        if choice.get("logprobs"):
            delta.logprobs = mapping(choice["logprobs"])
        if not said.keys() <= _BARE:
            self._add_rarities(delta, said)
        if delta.has_content and choice.get("delta"):
            self._spoke = True
        if finish_reason is not None:
            self.finished = True
            # What went wrong may be told in the next event.
            self._failed = self._failed or finish_reason.lower() in BROKEN_OFF
        self.lost = self.lost or payload.keys().isdisjoint(_OF_AN_ANSWER)
        return delta

    def _add_rarities(self, delta: Delta, said: Json) -> None:
        delta.reasoning_details = dicts(said.get("reasoning_details"))
        delta.reasoning = self._halves.whole("reasoning", reasoning_of(said, delta.reasoning_details))
        delta.refusal = text_of(said.get("refusal"))
        delta.annotations = dicts(said.get("annotations"))
        self._tools.begin()
        pieces = [self._tool(call, delta.id) for call in dicts(said.get("tool_calls"))]
        # A piece without a word is no call of a tool without a name.
        delta.tool_calls = [piece for piece in pieces if piece.id or piece.name or piece.arguments]
        if self._flood.passes(delta):
            raise ReplyError(self.status, self.headers, ENDLESS)

    def _tool(self, call: Json, reply_id: str | None) -> ToolDelta:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        call_id, name = word_of(call.get("id")), word_of(function.get("name"))
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = "" if arguments is None else json.dumps(arguments, ensure_ascii=False)
        at = self._tools.index(call.get("index"), call_id, name)
        name = self._tools.first_name(at, name)
        if name is not None and call_id is None:
            # A result must be able to name its call; the reply's own id keeps it unique over a conversation.
            call_id = f"call_{(reply_id or 'reply')[-16:]}_{at}"
        return ToolDelta(at, self._tools.first_id(at, call_id), name, self._halves.whole(at, arguments))


_DECODER = codecs.getincrementaldecoder("utf-8-sig")
_NO_CHOICE = Json()
# An event with none of these is no piece of an answer; most often it says in words of its own that it went wrong.
_OF_AN_ANSWER = frozenset({"choices", "usage"})
# How an event stream begins.
_BEGINS = (":", "data:", "event:", "id:", "retry:")
# How the lines of a JSON text begin that is written with blanks; no field of an event does.
_OF_JSON = frozenset(' \t"{}[]')
# What a block of thoughts may say in pieces.
_SAID = ("text", "summary", "data")
# A delta with other keys than these may say more than text.
_BARE = frozenset({"role", "content"})


def _with_word(like: Delta, word: str) -> Delta:
    """Return what an event says that is like one which holds a word and nothing else, but with another word.

    The word is one of the text, or, where there is none, of a thought; then the blocks say it too.
    """
    native = like.native_finish_reason
    said = Delta("", native_finish_reason=native, id=like.id, model=like.model, provider=like.provider)
    if like.text:
        said.text = word
        return said
    said.reasoning = word
    for block in like.reasoning_details:
        said.reasoning_details.append(block | {key: word for key in _SAID if isinstance(block.get(key), str)})
    return said
