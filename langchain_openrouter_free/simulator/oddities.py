"""Answers that are well formed and odd: refused, filtered, said twice, or told in another form.

Owns one function for each; they are of the registry's successes, for nothing on the wire is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from langchain_openrouter_free.simulator import dialect
from langchain_openrouter_free.simulator.brain import Answer, ToolCall, offered_tools
from langchain_openrouter_free.simulator.reply import Reply, encode
from langchain_openrouter_free.simulator.scene import Scene
from langchain_openrouter_free.simulator.schemas import sample

_TIMES = 8
_THOUGHTS = "The user wants something. I have thought about it."


def _tool_repeated(scene: Scene) -> Reply:
    return scene.play(scene.answer(text="", calls=_first_call(scene) * _TIMES, finish="tool_calls"))


def _tool_again(scene: Scene) -> Reply:
    return scene.play(scene.answer(text="", calls=_first_call(scene), finish="tool_calls"))


def _first_call(scene: Scene) -> list[ToolCall]:
    """A call of the first tool, with the same arguments at every step of a conversation."""
    prompt = scene.turn.prompt
    return [
        ToolCall(tool["name"], _json(sample(tool.get("parameters"), prompt.said)))
        for tool in offered_tools(scene.turn.body)[:1]
    ]


def _json(value: object) -> str:
    return encode(value if isinstance(value, dict) else {}).decode()


def _fenced(scene: Scene) -> Reply:
    def fenced(answer: Answer) -> str:
        return f"Here you are:\n```json\n{answer.text}\n```\nThat is all."

    said = scene.answer()
    return scene.play(replace(said, text=fenced(said)) if said.text else said)


def _refusal(scene: Scene) -> Reply:
    return scene.play(scene.answer(text="", calls=[], refusal="I cannot help with that."))


def _tool_calls_nothing(scene: Scene) -> Reply:
    return scene.play(scene.answer(text="", calls=[], reasoning="", finish="tool_calls"))


def _thoughts_only(scene: Scene) -> Reply:
    return scene.play(scene.answer(text="", calls=[], reasoning=_THOUGHTS, finish="stop"))


def _filtered(scene: Scene) -> Reply:
    return scene.play(scene.answer(text="", calls=[], reasoning="", finish="content_filter"))


def _joined(scene: Scene) -> Reply:
    answer = scene.answer()
    if not scene.streams:
        return scene.play(answer)
    first, second, *rest = _events(scene, answer)
    return scene.stream([first.rstrip() + second.removeprefix(b"data: "), *rest])


def _no_index(scene: Scene) -> Reply:
    return _reworded(scene, re.compile(rb'"tool_calls":\[\{"index":\d+,'), b'"tool_calls":[{')


def _no_finish(scene: Scene) -> Reply:
    return _reworded(scene, re.compile(rb'finish_reason":"[a-z_]+"'), b'finish_reason":null')


def _reworded(scene: Scene, what: re.Pattern[bytes], by: bytes) -> Reply:
    answer = scene.answer()
    if scene.streams:
        return scene.stream([what.sub(by, event) for event in _events(scene, answer)])
    return scene.plain(what.sub(by, encode(dialect.completion(answer, scene.voice))))


def _events(scene: Scene, answer: Answer) -> list[bytes]:
    return dialect.deltas(answer, scene.voice) + dialect.finish_events(answer, scene.voice)


ODDITIES: dict[str, Callable[[Scene], Reply]] = {
    "tool-repeated": _tool_repeated,
    "tool-again": _tool_again,
    "fenced": _fenced,
    "refusal": _refusal,
    "joined": _joined,
    "no-index": _no_index,
    "no-finish": _no_finish,
    "200-tool-calls-nothing": _tool_calls_nothing,
    "200-thoughts-only": _thoughts_only,
    "200-filtered": _filtered,
}
