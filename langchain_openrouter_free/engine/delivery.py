"""What of a call has reached its caller, and what follows where an answer breaks off there. Pure.

After the commit point (the first content that the caller sees) another model's words are never added in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict

from langchain_openrouter_free.errors import AttemptRecord, StreamInterrupted
from langchain_openrouter_free.protocol.wire import Completion, Delta

OnInterrupt = Literal["raise", "restart", "continue"]
ON_INTERRUPT: tuple[OnInterrupt, ...] = ("raise", "restart", "continue")

# What the next model is asked after the words that it is to go on from.
CONTINUE = (
    "Your answer above was cut off. Go on exactly where it ends, with the very next character. "
    "Repeat nothing of it, and say nothing about the break."
)


class Interruption(TypedDict):
    """One place in a streamed answer where a model broke off; in `response_metadata["interrupted"]`, a list.

    Keys:
        then: `"restart"`: what was streamed before is void; `"continue"`: another model goes on after it.
        model: whose words broke off.
        reason: why, in one line.
        characters: how much text had been streamed.
    """

    then: str
    model: str
    reason: str
    characters: int


@dataclass(slots=True)
class Delivery:
    """The answer of one call, as its caller has it.

    Attributes:
        then: what follows where it breaks off: an error, the next model from the beginning, or after these words.
        is_plain: whether the request asks for text and nothing else; only then can another model go on.
        worded: makes the message of what was said by a model.
        invoked: whether the caller gets only the sum, and others listen.
        whole: whether nobody listens: the caller gets the answer in one piece, when it is over.
        away: seconds for which the caller had the word in attempts that broke off.
        interruptions: where it broke off.
    """

    then: OnInterrupt = "raise"
    is_plain: bool = True
    worded: Callable[[Completion, str], Any] = lambda said, _: said.text
    invoked: bool = False
    whole: bool = False
    away: float = 0.0
    interruptions: list[Interruption] = field(default_factory=list)
    _stands: Completion = field(default_factory=Completion)
    _marked: int = 0

    @property
    def continues(self) -> bool:
        """Whether the running attempt is to go on after another one's words."""
        return self.then == "continue" and bool(self.interruptions)

    def gone_on_from(self) -> list[dict[str, str]]:
        """Return what stands behind the conversation for a model that goes on after another one's words."""
        if not self.continues:
            return []
        return [{"role": "assistant", "content": self._stands.text}, {"role": "user", "content": CONTINUE}]

    def standing(self, said: Completion) -> Completion:
        """Return what the caller has, with what the running attempt has said."""
        if not self.continues:
            return said
        before = self._stands
        return replace(said, text=before.text + said.text, reasoning=before.reasoning, reasoning_details=[])

    def may_go_on(self, said: Completion) -> bool:
        """Tell whether another model is asked after an attempt that broke off when it had said this."""
        if self.then != "continue":
            return self.then == "restart"
        return self.is_plain and bool(self.standing(said).text.strip()) and not (said.tool_calls or said.refusal)

    def broke_off(self, said: Completion, model: str, reason: str) -> None:
        """Take note that an attempt broke off and another model is asked."""
        self._stands = replace(self.standing(said))
        self.interruptions.append(
            Interruption(then=self.then, model=model, reason=reason, characters=len(self._stands.text))
        )

    def shown(self, delta: Delta) -> Delta:
        """Return what the caller is to see of a piece: who goes on in another's words says only text."""
        return replace(delta, reasoning="", tool_calls=[]) if self.continues else delta

    def marks(self) -> list[Interruption]:
        """Return the interruptions that the caller is to be told of before the next word.

        A restart voids what was said of earlier ones, so it tells them all.
        """
        told = self.interruptions[0 if self.then == "restart" else self._marked :]
        told = told if self._marked < len(self.interruptions) else []
        self._marked = len(self.interruptions)
        return told

    def error(self, said: Completion, model: str, reason: str, trail: list[AttemptRecord]) -> StreamInterrupted:
        """Return the error for a caller who is left with the words of a model that broke off."""
        stands = self.standing(said)
        return StreamInterrupted(model, reason, stands.text, trail, self.worded(stands, model))

    def left_alone(self, ending: Exception, trail: list[AttemptRecord]) -> StreamInterrupted:
        """Return the error for a caller who has words that broke off, where nobody else answered."""
        last, why = self.interruptions[-1], str(ending).partition("\n")[0]
        reason = f"{last['reason']}; and nobody took over: {why}"
        return StreamInterrupted(
            last["model"], reason, self._stands.text, trail, self.worded(self._stands, last["model"])
        )
