"""The behaviours that answer with a 200, and those that break the connection, played one by one.

Owns one function for each name of the registry that is not a failure with an HTTP status. It knows scenes
and the dialect; neither account nor scripts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import repeat
from typing import Any

from langchain_openrouter_free.simulator import dialect
from langchain_openrouter_free.simulator.behaviours import Behaviour
from langchain_openrouter_free.simulator.brain import Answer, ToolCall, offered_tools
from langchain_openrouter_free.simulator.dialect import COMMENT, PADDING
from langchain_openrouter_free.simulator.failures import PROVIDER_ERROR, failure
from langchain_openrouter_free.simulator.oddities import ODDITIES
from langchain_openrouter_free.simulator.reply import (
    FOREVER,
    Ending,
    Json,
    Pause,
    Reply,
    Step,
    encode,
    html_reply,
)
from langchain_openrouter_free.simulator.scene import Scene, Turn

_AFTER = 3
_HUGE = 1_000_000
_HUGE_PIECE = 16_384
_THINKING_BUDGET = 600
_PROVIDER_GONE = 502
_TOO_MANY = 429
_NOT_JSON = b"upstream connect error or disconnect/reset before headers"
_GARBAGE = "this line is neither a field nor a comment"


def play(behaviour: Behaviour, turn: Turn) -> Reply:
    """The reply of a behaviour that is not a failure with an HTTP status."""
    scene = Scene(turn, behaviour)
    reply = PLAYS[behaviour.name](scene)
    reply.behaviour = behaviour.name
    return reply


def _ok(scene: Scene) -> Reply:
    return scene.play(scene.answer())


def _slow(scene: Scene) -> Reply:
    scene.latency = float(scene.get("latency", 1.0))
    scene.speed = float(scene.get("speed", 20.0))
    return scene.play(scene.answer())


def _huge(scene: Scene) -> Reply:
    size = int(scene.get("size", _HUGE))
    words = "word " * (size // 5 + 1)
    if not scene.voice.chunks:
        scene.voice.chunks = max(1, size // _HUGE_PIECE)
    return scene.play(scene.answer(text=words[:size]))


def _wrong_schema(scene: Scene) -> Reply:
    answer = scene.answer()
    wrong = json.dumps({"unexpected": [True, None]})
    if answer.calls:
        return scene.play(replace(answer, calls=[replace(call, arguments=wrong) for call in answer.calls]))
    return scene.play(replace(answer, text=wrong))


def _tool_malformed(scene: Scene) -> Reply:
    tools = offered_tools(scene.turn.body)
    if not tools:
        return scene.play(scene.answer())
    calls = [ToolCall(tools[0]["name"], '{"input": 3, "unit": "cel')]
    return scene.play(scene.answer(text="", calls=calls, finish="tool_calls"))


def _tool_unknown(scene: Scene) -> Reply:
    calls = [ToolCall("a_tool_that_was_not_offered", "{}")]
    return scene.play(scene.answer(text="", calls=calls, finish="tool_calls"))


def _bad_sse_line(scene: Scene) -> Reply:
    answer = scene.answer()
    if not scene.streams:
        return scene.play(answer)
    events = dialect.deltas(answer, scene.voice) + dialect.finish_events(answer, scene.voice)
    garbage = str(scene.get("line", _GARBAGE)).encode() + b"\n\n"
    return scene.stream([events[0], garbage, *events[1:]])


def _error_200(scene: Scene) -> Reply:
    """It failed after the headers were out: padding or a comment, then the error."""
    code = int(scene.get("code", _PROVIDER_GONE))
    message = str(scene.get("message", "Network connection lost."))
    return _late(scene, dialect.inner_error(code, message, error_type="provider_unavailable"))


def _error_200_429(scene: Scene) -> Reply:
    template = failure("429-upstream", scene.turn.row)
    metadata = template.metadata or {}
    message = str(scene.get("message", template.message))
    return _late(scene, dialect.inner_error(int(scene.get("code", _TOO_MANY)), message, **metadata))


def _late(scene: Scene, error: Json) -> Reply:
    if scene.streams:
        return scene.stream([dialect.error_event(scene.voice, error, [])], comments=1, done=False)
    return scene.plain(encode({"error": error, "user_id": scene.turn.user}), padding=2)


def _choices_null(scene: Scene) -> Reply:
    return _odd_choices(scene, None)


def _no_choices(scene: Scene) -> Reply:
    return _odd_choices(scene, [])


def _odd_choices(scene: Scene, choices: Any) -> Reply:
    body = dialect.completion(Answer(), scene.voice) | {"choices": choices}
    return scene.stream([dialect.data(body)]) if scene.streams else scene.plain(encode(body))


def _empty(scene: Scene) -> Reply:
    answer = scene.answer(text="", calls=[], reasoning="", finish="stop", completion_tokens=1)
    if scene.streams:
        events = [dialect.event(scene.voice, {"content": None}), *dialect.finish_events(answer, scene.voice)]
        return scene.stream(events)
    body = dialect.completion(answer, scene.voice)
    body["choices"][0]["message"]["content"] = None
    return scene.plain(encode(body))


def _empty_string(scene: Scene) -> Reply:
    return scene.play(scene.answer(text="", calls=[], reasoning="", finish="stop", completion_tokens=1))


def _length_thinking(scene: Scene) -> Reply:
    most = scene.turn.body.get("max_tokens") or _THINKING_BUDGET
    thoughts = "First I have to think about this from every side. " * 4
    spent = {"completion_tokens": most, "reasoning_tokens": most}
    return scene.play(scene.answer(text="", calls=[], reasoning=thoughts, finish="length", **spent))


def _tool_calls_missing(scene: Scene) -> Reply:
    return scene.play(scene.answer(text="I would call a tool now.", calls=[], finish="tool_calls"))


def _choice_error(scene: Scene) -> Reply:
    answer = scene.answer()
    code = int(scene.get("code", _PROVIDER_GONE))
    message = str(scene.get("message", "Provider disconnected mid-stream"))
    error = dialect.inner_error(code, message, error_type="provider_unavailable")
    if scene.streams:
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": error}
        body = dialect.completion(Answer(), scene.voice) | {
            "object": "chat.completion.chunk",
            "choices": [choice],
        }
        return scene.stream([*_first(scene, answer), dialect.data(body)], done=False)
    body = dialect.completion(replace(answer, finish="error"), scene.voice)
    body["choices"][0]["error"] = error
    return scene.plain(encode(body), padding=1)


def _finish_error(scene: Scene) -> Reply:
    answer = scene.answer(text="", calls=[], finish="error", completion_tokens=0)
    if scene.streams:
        last = dialect.event(scene.voice, {"content": ""}, "error")
        return scene.stream([last.replace(b'_reason":"error"}', b'_reason":"MALFORMED_FUNCTION_CALL"}')])
    body = dialect.completion(answer, scene.voice)
    body["choices"][0]["native_finish_reason"] = "MALFORMED_FUNCTION_CALL"
    return scene.plain(encode(body))


def _html(scene: Scene) -> Reply:
    reply = html_reply(200, "openrouter.ai | Just a moment...", behaviour="200-html")
    reply.wait = scene.latency
    return reply


def _not_json(scene: Scene) -> Reply:
    return scene.stream([b"data: " + _NOT_JSON + b"\n\n"]) if scene.streams else scene.plain(_NOT_JSON)


def _truncated_json(scene: Scene) -> Reply:
    answer = scene.answer()
    if scene.streams:
        first = dialect.deltas(answer, scene.voice)[0]
        return scene.stream([first, _half(first) + b"\n\n"])
    return scene.plain(_half(encode(dialect.completion(answer, scene.voice))))


def _bad_utf8(scene: Scene) -> Reply:
    answer = scene.answer(calls=[], text="a sign that is none: @@")
    if scene.streams:
        events = dialect.deltas(answer, scene.voice) + dialect.finish_events(answer, scene.voice)
        return scene.stream([event.replace(b"@@", b"\xff\xfe") for event in events])
    return scene.plain(encode(dialect.completion(answer, scene.voice)).replace(b"@@", b"\xff\xfe"))


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]


def _refuse(scene: Scene) -> Reply:
    return Reply(0, steps=(Ending.CLOSE,), wait=scene.latency)


def _reset(scene: Scene) -> Reply:
    return Reply(0, steps=(Ending.RESET,), wait=scene.latency)


def _hang_before_headers(_scene: Scene) -> Reply:
    return Reply(0, wait=FOREVER)


def _hang_after_headers(scene: Scene) -> Reply:
    if scene.streams:
        return scene.stream([], tail=(Pause(FOREVER),))
    return scene.plain(b"", tail=(Pause(FOREVER),))


def _drip(scene: Scene) -> Reply:
    interval = float(scene.get("interval", 0.05))
    drop = _drop(scene, str(scene.get("drop", "comment"))) if scene.streams else PADDING
    before = _before_drip(scene) if scene.streams else ()

    def drops() -> Iterator[Step]:
        yield from before
        for _ in repeat(None):
            yield drop
            yield Pause(interval)

    reply = scene.stream([]) if scene.streams else scene.plain(b"")
    reply.steps = drops()
    return reply


def _drop(scene: Scene, kind: str) -> bytes:
    """One event of a stream that says nothing."""
    deltas: dict[str, Json] = {
        "role": {"role": "assistant"},
        "empty": {"role": "assistant", "content": "", "reasoning": ""},
        "blank": {"content": "\n"},
        "tool": {"tool_calls": [{"index": 0, "type": "function", "function": {"arguments": ""}}]},
    }
    return dialect.event(scene.voice, deltas[kind]) if kind in deltas else COMMENT


def _before_drip(scene: Scene) -> tuple[bytes, ...]:
    """What a drip says before it begins: nothing, some deltas, or all of an answer."""
    after = int(scene.get("after", 0))
    if not after and not scene.get("finish"):
        return ()
    answer = scene.answer()
    if scene.get("finish"):
        return (*dialect.deltas(answer, scene.voice), dialect.finish_events(answer, scene.voice)[0])
    return tuple(_first(scene, answer))


def _first(scene: Scene, answer: Answer) -> list[bytes]:
    """The first deltas of an answer: all thoughts, and as many others as the behaviour says."""
    thoughts = len(dialect.pieces(answer.reasoning, scene.voice.chunks))
    return dialect.deltas(answer, scene.voice)[: thoughts + int(scene.get("after", _AFTER))]


def _broken(scene: Scene, *tail: Step) -> Reply:
    """An answer that stops in the middle."""
    answer = scene.answer()
    if scene.streams:
        return scene.stream(_first(scene, answer), tail=tail, tokens=answer.completion_tokens, done=False)
    return scene.plain(_half(encode(dialect.completion(answer, scene.voice))), tail=tail, padding=1)


def _cut(scene: Scene) -> Reply:
    return _broken(scene, Ending.CLOSE)


def _cut_clean(scene: Scene) -> Reply:
    return _broken(scene)


def _stall(scene: Scene) -> Reply:
    return _broken(scene, Pause(FOREVER))


def _error_chunk_after(scene: Scene) -> Reply:
    if not scene.streams:
        return _error_200(scene)
    answer = scene.answer()
    error = dialect.inner_error(
        int(scene.get("code", _PROVIDER_GONE)),
        str(scene.get("message", PROVIDER_ERROR)),
        error_type="unmapped",
    )
    return scene.stream([*_first(scene, answer), dialect.error_event(scene.voice, error, [])], done=False)


def _error_chunk_choice(scene: Scene) -> Reply:
    if not scene.streams:
        return _choice_error(scene)
    answer = scene.answer()
    code = int(scene.get("code", _PROVIDER_GONE))
    error = dialect.inner_error(code, str(scene.get("message", "Provider disconnected")), error_type="unmapped")
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": "error"}
    return scene.stream([*_first(scene, answer), dialect.error_event(scene.voice, error, [choice])], done=False)


PLAYS: dict[str, Callable[[Scene], Reply]] = ODDITIES | {
    "ok": _ok,
    "slow": _slow,
    "huge": _huge,
    "wrong-schema": _wrong_schema,
    "tool-malformed": _tool_malformed,
    "tool-unknown": _tool_unknown,
    "bad-sse-line": _bad_sse_line,
    "200-error": _error_200,
    "200-error-429": _error_200_429,
    "200-choices-null": _choices_null,
    "200-no-choices": _no_choices,
    "200-empty": _empty,
    "200-empty-string": _empty_string,
    "200-length-thinking": _length_thinking,
    "200-tool-calls-missing": _tool_calls_missing,
    "200-choice-error": _choice_error,
    "200-finish-error": _finish_error,
    "200-html": _html,
    "200-not-json": _not_json,
    "200-truncated-json": _truncated_json,
    "200-bad-utf8": _bad_utf8,
    "refuse": _refuse,
    "reset": _reset,
    "hang-before-headers": _hang_before_headers,
    "hang-after-headers": _hang_after_headers,
    "drip": _drip,
    "cut": _cut,
    "cut-clean": _cut_clean,
    "stall": _stall,
    "error-chunk": _error_200,
    "error-chunk-after": _error_chunk_after,
    "error-chunk-choice": _error_chunk_choice,
}
