"""One answer about to be played: what is said, in which dialect, at which pace.

Owns the turning of an answer into a `Reply` with timing, padding and comments. It knows the behaviour's
parameters but not the failing kinds of behaviour.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from langchain_openrouter_free.simulator import brain, dialect
from langchain_openrouter_free.simulator.behaviours import Behaviour
from langchain_openrouter_free.simulator.brain import Answer, Prompt
from langchain_openrouter_free.simulator.catalogue import Row
from langchain_openrouter_free.simulator.dialect import (
    COMMENT,
    DONE,
    JSON_HEADERS,
    PADDING,
    SSE_HEADERS,
    Voice,
)
from langchain_openrouter_free.simulator.reply import Json, Pause, Reply, Step, encode


@dataclass(slots=True)
class Turn:
    """One model's turn to answer one request.

    Args:
        body: the request.
        row: the model.
        prompt: what was read from the request.
        generation: the id of the answer.
        now: the clock's time.
        rng: the world's randomness.
        settle: puts an answer on the bill and tells its cost.
        user: the `user_id` of error bodies.
    """

    body: Json
    row: Row
    prompt: Prompt
    generation: str
    now: float
    rng: random.Random
    settle: Callable[[Answer], Decimal]
    user: str
    wants_stream: bool = field(init=False)

    def __post_init__(self) -> None:
        self.wants_stream = bool(self.body.get("stream"))


class Scene:
    """A turn together with the behaviour that plays it."""

    def __init__(self, turn: Turn, behaviour: Behaviour) -> None:
        self.turn = turn
        self.behaviour = behaviour
        self.get = behaviour.get
        self.latency = float(behaviour.get("latency", 0.0))
        self.speed = float(behaviour.get("speed", 0.0))
        self.voice = Voice(
            turn.generation,
            turn.row,
            int(turn.now),
            model_field=behaviour.get("model_field"),
            chunks=int(behaviour.get("chunks", 0)),
            doubled_finish=bool(behaviour.get("doubled_finish", True)),
            tool_shape=str(behaviour.get("tool_shape", "split")),
        )

    @property
    def streams(self) -> bool:
        """Whether the client asked for a stream."""
        return self.turn.wants_stream

    def answer(self, **changes: Any) -> Answer:
        """The model's answer, on the bill from now on; `changes` replace parts of it."""
        turn = self.turn
        text = changes.pop("text", self.get("text"))
        answer = brain.answer(turn.body, turn.row, turn.prompt, text=text, reasoning=self.get("reasoning"))
        return self.settled(replace(answer, **changes) if changes else answer)

    def settled(self, answer: Answer) -> Answer:
        """The answer with ids for its calls and with its cost on the bill."""
        if answer.calls:
            self.voice.call_ids = [f"call_{self.turn.rng.getrandbits(96):024x}" for _ in answer.calls]
        self.voice.cost = self.turn.settle(answer)
        return answer

    def play(self, answer: Answer) -> Reply:
        """The answer as it should be."""
        if not self.streams:
            return self.plain(encode(dialect.completion(answer, self.voice)), tokens=answer.completion_tokens)
        events = dialect.deltas(answer, self.voice) + dialect.finish_events(answer, self.voice)
        return self.stream(events, tokens=answer.completion_tokens)

    def plain(
        self, body: bytes, *, tail: Iterable[Step] = (), tokens: int = 0, padding: int = 0, status: int = 200
    ) -> Reply:
        """A JSON body, behind as much silence and padding as the behaviour wants."""
        wait = self.latency + (tokens / self.speed if self.speed > 0 else 0.0)
        count = int(self.get("padding", padding))
        steps: tuple[Step, ...] = (body, *tail)
        if count:
            steps = (*_spread(PADDING, count, wait), *steps)
            wait = 0.0
        return self._reply(status, JSON_HEADERS, steps, wait)

    def stream(
        self,
        events: list[bytes],
        *,
        tail: Iterable[Step] = (),
        tokens: int = 0,
        comments: int = 0,
        done: bool = True,
    ) -> Reply:
        """A stream of events at the behaviour's pace, then `tail`, or [DONE] if it ends properly."""
        count = int(self.get("comments", comments))
        steps: list[Step] = list(_spread(COMMENT, count, self.latency))
        pause = Pause(tokens / self.speed / len(events)) if self.speed > 0 and events else None
        for number, event in enumerate(events):
            if pause is not None:
                steps.append(pause)
            steps.append(event)
            if count and number == 0:
                steps.append(COMMENT)
        ending = tuple(tail)
        if done and not ending and self.get("done", True):
            steps.append(DONE)
        return self._reply(200, SSE_HEADERS, (*steps, *ending), 0.0 if count else self.latency)

    def _reply(self, status: int, headers: dict[str, str], steps: tuple[Step, ...], wait: float) -> Reply:
        if self.get("crlf"):
            steps = tuple(
                step.replace(b"\n", b"\r\n") if isinstance(step, bytes) and self.streams else step for step in steps
            )
        return Reply(status, dict(headers), steps, wait=wait, gzip=bool(self.get("gzip")))


def _spread(block: bytes, count: int, seconds: float) -> Iterator[Step]:
    """Blocks one after the other, with a silence after each so that all take so many seconds."""
    for _ in range(count):
        yield block
        if seconds > 0:
            yield Pause(seconds / count)
