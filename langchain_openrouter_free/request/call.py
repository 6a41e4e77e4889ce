"""One call, prepared: its messages and parameters in the service's words, and its answer in LangChain's.

Joins the pure parts, the engine and LangChain. The four call paths of `chat_model.py` only iterate.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseRunManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_openrouter_free.catalogue.catalogue import FREE_ROUTER
from langchain_openrouter_free.engine.attempt import Attempt
from langchain_openrouter_free.engine.bookkeeping import Turn
from langchain_openrouter_free.engine.delivery import Interruption
from langchain_openrouter_free.engine.sources import Source, Stopwatch
from langchain_openrouter_free.errors import RequestRejected
from langchain_openrouter_free.judging.shapes import asked
from langchain_openrouter_free.judging.verdicts import Kind, Verdict, verdict
from langchain_openrouter_free.later import modules
from langchain_openrouter_free.protocol.evidence import tidy
from langchain_openrouter_free.protocol.wire import Completion, Delta
from langchain_openrouter_free.request.audience import Listeners, name_served
from langchain_openrouter_free.request.request import Request
from langchain_openrouter_free.route.candidate import Candidate, Road
from langchain_openrouter_free.route.hygiene import Form, formed
from langchain_openrouter_free.words import messages as to_service
from langchain_openrouter_free.words import replies
from langchain_openrouter_free.words.blanks import Blanks
from langchain_openrouter_free.words.conversations import Conversation

if TYPE_CHECKING:
    from langchain_openrouter_free.request import external, packages
    from langchain_openrouter_free.words import restarts
else:
    external, packages, restarts = modules("request.external", "request.packages", "words.restarts")

log = logging.getLogger("langchain_openrouter_free")


@dataclass(slots=True, kw_only=True)
class Call(Request):
    """One call of the model.

    Attributes:
        messages: what the caller said.
        externals: paid chat models of other packages, by index.
        v1: whether messages hold standard content blocks.
        conversation: which one it belongs to.
        run: LangChain's run of it, where that is known.
    """

    messages: Sequence[BaseMessage]
    externals: Sequence[BaseChatModel] = ()
    v1: bool = False
    conversation: Conversation = field(default_factory=Conversation)
    run: BaseRunManager | None = None
    _message_id: str | None = None
    _blanks: tuple[Turn, Blanks] | None = None
    _wire: dict[str | None, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wire_messages(None)
        # Not a method: what held its holder would be left to the garbage collector, and with it all that was said.
        self.delivery.worded = partial(_partial, v1=self.v1)

    def inputs(self) -> frozenset[str]:
        """Name the modalities of the prompt beside text."""
        return to_service.needs(self.messages)

    def reasonings(self) -> Iterator[dict[str, Any]]:
        """Yield the reasoning that the messages hold, whoever gave it."""
        return to_service.reasonings(self.messages)

    def audience(self) -> Listeners:
        """Return who hears of the call while it goes on."""
        return Listeners(self.on_route, self.asked_for(), self.run)

    def join(self, account: str, ranking: Sequence[str]) -> None:
        """Find out which conversation this is: one of the account's with models of the ranking."""
        wired, now = self.wire_messages(None), self.clock.now()
        try:
            self.conversation = Conversation.of(account, ranking, self.messages, wired, now)
        except (ValueError, RecursionError) as error:
            raise RequestRejected(f"The messages cannot be written as JSON: {error}.") from error

    def _open(self, candidate: Candidate, watch: Stopwatch, max_tokens: int | None) -> Source:
        if candidate.road is not Road.EXTERNAL:
            return self._of_service(candidate, watch, max_tokens)
        if not self._streams(candidate):
            watch.awaits_whole()
        kwargs = {k: v for k, v in self.params.items() if k in _FOR_OTHERS and v is not None}
        model, messages = self.externals[candidate.index], self._mended()
        if max_tokens is not None:
            model, said = packages.within(model, max_tokens)
            kwargs |= said
        if self.options.shape is not None:
            kwargs, told = asked(self.options.shape, self._form(candidate), kwargs, [])
            messages += [HumanMessage(message["content"]) for message in told]
        model, kwargs = packages.worded(model, kwargs)
        return external.ExternalSource(model, messages, kwargs, watch, stream=self._streams(candidate))

    def wire_messages(self, model: str | None) -> list[dict[str, Any]]:
        """Return the messages in the service's words, with the reasoning that `model` itself once gave."""
        spoke = model is not None and any(to_service.author_of(message) == model for message in self.messages)
        own = model if spoke else None
        if own not in self._wire:
            try:
                self._wire[own] = to_service.to_wire(self.messages, keep_reasoning_of=own)
            except ValueError as error:
                raise RequestRejected(str(error)) from error
        return self._wire[own]

    def _mended(self) -> list[BaseMessage]:
        """Return the messages for another package's chat model: the caller's own, unless every model refuses them."""
        wired = self.wire_messages(None)
        mended = formed(wired, Form())
        return to_service.handed_on(self.messages) if mended == wired else convert_to_messages(mended)

    # -- the answer

    def _message(self, candidate: Candidate, said: Completion) -> AIMessage:
        metadata = {"model_name": candidate.model, "model_provider": self._provider(candidate)}
        return replies.to_message(self.told(said), metadata=metadata, v1=self.v1)

    def _check(self, candidate: Candidate, said: Completion) -> Verdict | None:
        """Check the object that is wanted, and ask the caller's own checks; what those raise is the caller's."""
        if (found := self.wrong_object(said)) is not None:
            return found
        shape = self.options.shape
        if shape is None and not self.accept.checks:
            return None
        message = self._message(candidate, said)
        if shape is not None and Kind.WRONG_OBJECT not in self.accept.rows:
            wrong = shape.misfit(message)
            if wrong is not None:
                return verdict(Kind.WRONG_OBJECT, tidy(wrong))
        for check in self.accept.checks:
            answer = check(message)
            reason = answer if isinstance(answer, str) else ""
            # Without a complaint, or without a word at all, it is wanted.
            if reason or not (answer or answer is None or answer == ""):
                return verdict(Kind.UNWANTED, tidy(reason))
        return None

    def result(self, attempt: Attempt, run: BaseRunManager | None = None) -> ChatResult:
        """Return the answer of a call that was not streamed to its caller; name in its trace who served."""
        name_served(run, attempt.model)
        self._remember(attempt)
        message = replies.to_message(self.told(attempt.completion()), metadata=self._metadata(attempt), v1=self.v1)
        generation = ChatGeneration(message=message, generation_info=_info(message))
        return ChatResult(
            generations=[generation],
            llm_output={
                "model_name": message.response_metadata.get("model_name"),
                "model_provider": "openrouter",
            },
        )

    def chunks(self, attempt: Attempt, deltas: list[Delta]) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks of what an attempt has said, behind a mark where another one had broken off."""
        if self._blanks is None or self._blanks[0] is not attempt.turn:
            self._blanks = (attempt.turn, Blanks())
        _, blanks = self._blanks
        for delta in attempt.committed_content(deltas):
            if marks := self.delivery.marks():
                yield self._mark(marks)
            told = blanks.without(delta)
            yield self._chunk(replies.to_chunk(told, v1=self.v1, message_id=self._message_id))

    def ending(self, attempt: Attempt, run: BaseRunManager | None = None) -> Iterator[ChatGenerationChunk]:
        """Yield the chunk that ends a stream and alone carries its metadata; name in its trace who served.

        An accepted answer may say nothing: the mark of an earlier one's end then still stands out, and comes first.
        """
        name_served(run, attempt.model)
        self._remember(attempt)
        said = self.delivery.standing(attempt.completion())
        told = self._told_anew(attempt, said)
        if marks := self.delivery.marks():
            yield self._mark(marks)
        if told is not None:
            yield self._chunk(replies.to_chunk(told, v1=self.v1, message_id=self._message_id))
        message = replies.last_chunk(said, metadata=self._metadata(attempt), v1=self.v1, message_id=self._message_id)
        yield self._chunk(message, _info(message))

    def _told_anew(self, attempt: Attempt, said: Completion) -> Completion | None:
        """Return an answer that is told once more: who merely invokes gets its object without a code fence."""
        told = self.told(said)
        if told.text == said.text or not self.delivery.invoked or self.delivery.then != "restart":
            return None
        self.delivery.broke_off(said, attempt.model, "the object is told once more, without a code fence")
        return told

    def _mark(self, marks: list[Interruption]) -> ChatGenerationChunk:
        """Return the chunk that tells of interruptions; after a restart the answer is another message."""
        if self.delivery.then == "restart":
            self._message_id = str(uuid.uuid4())
        return self._chunk(
            AIMessageChunk(
                content=[] if self.v1 else "", response_metadata={restarts.INTERRUPTED: marks}, id=self._message_id
            )
        )

    def _chunk(self, message: AIMessageChunk, info: dict[str, Any] | None = None) -> ChatGenerationChunk:
        if self.delivery.then == "restart":
            message = restarts.restartable(message)
        return ChatGenerationChunk(message=message, generation_info=info)

    def _remember(self, attempt: Attempt) -> None:
        """Take note of who served the conversation: it is asked first in the next step.

        After a paid answer the conversation goes back to the free models, the one that served it before first.
        """
        candidate = attempt.turn.candidate
        if not candidate.paid and candidate.model != FREE_ROUTER:
            self.conversation.served_by(candidate.model, self.clock.now())

    def _metadata(self, attempt: Attempt) -> dict[str, Any]:
        """Return what only the route knows of an answer."""
        said, candidate = attempt.completion(), attempt.turn.candidate
        return {
            "model_name": candidate.model,
            "model_provider": self._provider(candidate),
            "served_model": said.model,
            "route": attempt.trail,
        }

    def _provider(self, candidate: Candidate) -> str:
        if candidate.road is Road.SERVICE:
            return "openrouter"
        return str(self.externals[candidate.index]._get_ls_params().get("ls_provider", "unknown"))  # noqa: SLF001


# What another package's chat model is asked with; the service's own parameters stay here.
_FOR_OTHERS = frozenset(
    {"temperature", "top_p", "stop", "tools", "tool_choice", "response_format", "parallel_tool_calls"}
)


def _partial(said: Completion, model: str, *, v1: bool) -> AIMessage:
    """Return the message of an answer that broke off."""
    return replies.to_message(said, metadata={"model_name": model}, v1=v1)


def _info(message: AIMessage) -> dict[str, Any]:
    finish = message.response_metadata.get("finish_reason")
    return {"finish_reason": finish} if finish else {}
