"""The second road: a paid answer from a chat model of another package, `ChatOpenAI` above all.

It still works when the service itself is down. How it is made ready, its own retries off, is `packages.py`'s business.
It is called below its callback layer, so that words of an attempt that is given up reach no handler.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import SecretStr

from langchain_openrouter_free import keys
from langchain_openrouter_free.connections.clients import CLIENTS
from langchain_openrouter_free.connections.transport import TransportFault, timeout_of
from langchain_openrouter_free.engine.sources import Stopwatch
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.protocol.evidence import tidy
from langchain_openrouter_free.protocol.wire import Delta, ReplyError
from langchain_openrouter_free.words.replies import completion_of_message, wire_usage

# After errors of these names nothing has left, whichever of the HTTP clients they are of; all else may have cost money.
_NEVER_SENT = frozenset(
    {
        "ClientConnectorError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectionRefusedError",
        "EndpointConnectionError",
        "PoolTimeout",
        "ProxyError",
    }
)
# Connections that broke off: an adapter between two HTTP clients takes some for such as were never there.
_SENT = frozenset({"ClientOSError", "ServerDisconnectedError"})
# Parts of the names of exceptions of connections that broke off.
_BROKEN_OFF = ("connection", "readerror", "writeerror", "protocolerror", "payloaderror", "oserror", "disconnected")
# What an event loop says to a connection that is not its own: what was written there has left, and nobody can read on.
_NOT_OF_THIS_LOOP = ("event loop is closed", "a different loop", "a different event loop")
_ONE_LOOP = (
    "the package's HTTP client has a connection of another event loop, by which the request may have left; ask this "
    "model on one loop, or without any"
)


async def on_this_loop(model: BaseChatModel, watch: Stopwatch) -> BaseChatModel:
    """Return the chat model with this event loop's HTTP client, whose connections keep to the attempt's deadlines.

    The clients of the OpenAI package are shared by all loops and fail on the second one.
    """
    root = getattr(model, "root_async_client", None)
    if root is None or getattr(model, "http_async_client", None) is not None:
        return model
    client = await CLIENTS.asynchronous_to_keep()
    aroot = root.with_options(http_client=client, timeout=timeout_of(watch.connect, watch.read))
    return model.model_copy(update={"root_async_client": aroot, "async_client": aroot.chat.completions})


def under_deadlines(model: BaseChatModel, watch: Stopwatch) -> BaseChatModel:
    """Return the chat model with this process's HTTP client, whose connections keep to the attempt's deadlines.

    A thread that reads cannot be woken. What has no client of the OpenAI package, or the user's own one, keeps to its
    own timeouts instead, and is left as soon as it brings something that is no content.
    """
    root = getattr(model, "root_client", None)
    if root is None or getattr(model, "http_client", None) is not None:
        return model
    root = root.with_options(http_client=CLIENTS.sync_to_keep(), timeout=timeout_of(watch.connect, watch.read))
    return model.model_copy(update={"root_client": root, "client": root.chat.completions})


class ExternalSource:
    """Reads another chat model's answer as deltas."""

    def __init__(
        self,
        model: BaseChatModel,
        messages: Sequence[BaseMessage],
        kwargs: Mapping[str, Any],
        watch: Stopwatch,
        *,
        stream: bool,
    ) -> None:
        self._model = model
        self._messages = list(messages)
        self._kwargs = dict(kwargs)
        self._watch = watch
        whole = model.disable_streaming
        stream = stream and (not whole or (whole == "tool_calling" and not kwargs.get("tools")))
        self._stream = stream and type(model)._stream is not BaseChatModel._stream  # noqa: SLF001
        self._astream = stream and (
            self._stream or type(model)._astream is not BaseChatModel._astream  # noqa: SLF001
        )
        if not self._astream:
            watch.awaits_whole()
        self._chunks: Iterator[Any] | None = None
        self._achunks: AsyncIterator[Any] | None = None
        self._over = False
        self._begun = False
        self._finished = False
        self._counted: UsageMetadata | None = None
        self._usage: dict[str, Any] = {}

    @property
    def sent(self) -> bool:
        """When another package sends is its secret."""
        return True

    @property
    def heard(self) -> None:
        """No reply of the service, so nothing of its time."""
        return

    @property
    def headers(self) -> None:
        """No reply of the service, so nothing of its quota."""
        return

    @property
    def status(self) -> int | None:
        """HTTP status is that package's secret."""
        return None

    def open(self) -> None:
        """Nothing stands open before the first word."""

    async def aopen(self) -> None:
        """Nothing stands open before the first word."""

    def read(self) -> list[Delta] | None:
        """Return the next deltas; None when the answer is over."""
        self._watch.enter()
        amid, deltas = sys.exception(), list[Delta]()
        if self._chunks is None and not self._over:
            self._model = under_deadlines(self._model, self._watch)
        try:
            while not self._over:
                deltas = self._take(self._next_sync())
                if deltas:
                    break
        except Exception as error:
            if _is_control_flow(error):
                raise
            if not self._survives():
                raise self._failure(error, amid) from _without_keys(error)
        # A thread cannot be woken: what brings no content is at least not waited for again.
        if self._watch.read.remaining() <= 0 and not self._over and not self._survives():
            raise self._too_late()
        return deltas or None

    async def aread(self) -> list[Delta] | None:
        """Return the next deltas; None when the answer is over."""
        self._watch.enter()
        amid = sys.exception()
        try:
            if self._achunks is None:
                self._model = await on_this_loop(self._model, self._watch)
            while not self._over:
                async with asyncio.timeout(max(self._watch.read.remaining(), 0.001)):
                    said = await self._next_async()
                deltas = self._take(said)
                if deltas:
                    return deltas
        except TimeoutError as error:
            if not self._survives():
                raise self._too_late() from error
        except Exception as error:
            if _is_control_flow(error):
                raise
            if not self._survives():
                raise self._failure(error, amid) from _without_keys(error)
        return None

    def _failure(self, error: Exception, amid: BaseException | None) -> Exception:
        """Translate an exception; of the keys that this model may have sent nothing stays in it."""
        for key in _keys_of(self._model):
            keys.sent(key)
        return failure_of(error, begun=self._begun, amid=amid)

    def _survives(self) -> bool:
        """Keep an answer that has ended: only its usage can be lost, and then it is booked at its worst case."""
        self._over = self._over or self._finished
        return self._finished

    def _too_late(self) -> TransportFault:
        return TransportFault(Kind.TIMED_OUT, f"no content within the deadline ({self._watch.read.limit})")

    def _next_sync(self) -> AIMessage | None:
        if not self._stream:
            self._over = True
            return _answer(self._model._generate(self._messages, run_manager=None, **self._kwargs))  # noqa: SLF001
        if self._chunks is None:
            self._chunks = self._model._stream(self._messages, run_manager=None, **self._kwargs)  # noqa: SLF001
        chunk = next(self._chunks, None)
        return None if chunk is None else _message(chunk)

    async def _next_async(self) -> AIMessage | None:
        if not self._astream:
            self._over = True
            return _answer(
                await self._model._agenerate(self._messages, run_manager=None, **self._kwargs)  # noqa: SLF001
            )
        if self._achunks is None:
            self._achunks = self._model._astream(self._messages, run_manager=None, **self._kwargs)  # noqa: SLF001
        chunk = await anext(self._achunks, None)
        return None if chunk is None else _message(chunk)

    def _take(self, message: AIMessage | None) -> list[Delta]:
        if message is None:
            self._over = True
            return [Delta(usage=self._usage, choice=False)] if self._usage else []
        self._begun = True
        delta = completion_of_message(message)
        if not self._over:
            self._keep(message, delta.usage)
            delta = replace(delta, usage=None)
        self._finished = self._finished or delta.finish_reason is not None
        if delta.says_something:
            self._watch.content()
        if self._finished:
            self._watch.finish()
        self._watch.leave()
        return [delta]

    def _keep(self, message: AIMessage, usage: dict[str, Any] | None) -> None:
        """Keep what a chunk tells of usage: counts add up, and a stream that breaks off has told none of the whole."""
        if message.usage_metadata:
            self._counted = add_usage(self._counted, message.usage_metadata)
        self._usage |= (usage or {}) | (wire_usage(self._counted) or {})

    def complete(self) -> bool:
        """A package that returns without an error says that the answer is whole."""
        return self._over

    def close(self) -> None:
        """Let go of the other model's stream."""
        close: Callable[[], None] | None = getattr(self._chunks, "close", None)
        if close is not None:
            close()

    async def aclose(self) -> None:
        """Let go of the other model's stream, on an event loop."""
        close = getattr(self._achunks, "aclose", None)
        if close is not None:
            await close()


def _keys_of(model: BaseChatModel) -> Iterator[str]:
    """Yield what a chat model may send as its key: what it hides, and what a function has given OpenAI's client."""
    hidden = [one.get_secret_value() for one in vars(model).values() if isinstance(one, SecretStr)]
    given = [getattr(getattr(model, name, None), "api_key", None) for name in ("root_client", "root_async_client")]
    yield from (key for key in (*hidden, *given) if isinstance(key, str))


def _without_keys(error: Exception) -> Exception | None:
    """Return an exception as a cause; None where its words, or those of what it came from, hold a key."""
    shown: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in shown:
        if keys.hidden(str(cause)) != str(cause):
            return None
        shown.append(cause)
        cause = cause.__cause__ or cause.__context__
    return error


def _answer(result: ChatResult) -> AIMessage | None:
    return _message(result.generations[0], result.llm_output) if result.generations else None


def _message(said: ChatGeneration, about: Mapping[str, Any] | None = None) -> AIMessage | None:
    """Return the message of an answer or a chunk, with what stands beside it: often how it ended, and who gave it."""
    message = said.message
    if not isinstance(message, AIMessage):
        return None
    beside = {**(about or {}), **(said.generation_info or {})}
    return message.model_copy(update={"response_metadata": beside | message.response_metadata}) if beside else message


def _is_control_flow(error: Exception) -> bool:
    """Tell whether an exception is LangGraph's way out of a node (an interrupt, a command), and no failure."""
    graph = sys.modules.get("langgraph.errors")
    return graph is not None and isinstance(error, graph.GraphBubbleUp)


def failure_of(error: Exception, *, begun: bool = False, amid: BaseException | None = None) -> Exception:
    """Translate another package's exception into what the engine judges; bugs keep their own class.

    A package may name a status for what had none: a connection that broke off, or a reply that had begun. So what was
    raised first tells, and a status that comes behind words of an answer is that of an event in it.

    Args:
        error: what was raised.
        begun: whether something of a reply has come.
        amid: what was being handled when the model was asked; it tells nothing of the failure.
    """
    links = list(_links(error, amid))
    is_of_another_loop = any(map(_is_of_another_loop, links))
    words = tidy(f"{type(error).__name__}: {error}" + f" ({_ONE_LOOP})" * is_of_another_loop)
    if _was_never_sent(error):
        return TransportFault(Kind.UNREACHABLE, words)
    for link in reversed(links):
        status, name = _status_of(link), type(link).__name__.lower()
        if status is not None:
            headers = next(filter(None, map(_headers_of, links)), {})
            body = next((b for one in links if (b := getattr(one, "body", None))), None)
            return ReplyError(200 if begun else status, headers, body or _error_object(error, status))
        if "timeout" in name:
            return TransportFault(Kind.TIMED_OUT, words)
        if any(part in name for part in _BROKEN_OFF):
            return TransportFault(Kind.CUT, words)
    return TransportFault(Kind.CUT if is_of_another_loop else Kind.BROKEN, words)


def _links(error: BaseException | None, amid: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, and what each was raised from or while handling."""
    seen: set[int] = {id(amid)}
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_of_another_loop(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NOT_OF_THIS_LOOP)


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an exception names, if it names one."""
    response, about = _reply_of(error)
    told = [
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
        getattr(response, "status", None),
        about.get("HTTPStatusCode"),
    ]
    return next((one for one in told if isinstance(one, int) and not isinstance(one, bool) and 200 <= one < 600), None)


def _headers_of(error: BaseException) -> dict[str, str]:
    response, about = _reply_of(error)
    headers = about.get("HTTPHeaders", getattr(response, "headers", None))
    return {str(name): str(value) for name, value in headers.items()} if isinstance(headers, Mapping) else {}


def _reply_of(error: BaseException) -> tuple[object, Mapping[str, Any]]:
    """Return the reply that an exception holds, and what AWS's packages say about it in its place."""
    response = getattr(error, "response", None)
    about = response.get("ResponseMetadata") if isinstance(response, Mapping) else None
    return response, about if isinstance(about, Mapping) else {}


def _error_object(error: Exception, status: int) -> dict[str, Any]:
    return {"error": {"message": str(error), "code": status}}


def _was_never_sent(error: BaseException | None) -> bool:
    """Tell whether a package says that there was no connection: one that broke off has another name for it.

    What an error was merely raised amid may be the caller's own, so that only its causes are looked at.
    """
    never = False
    while error is not None:
        if type(error).__name__ in _SENT:
            return False
        never = never or any(kind.__name__ in _NEVER_SENT for kind in type(error).__mro__)
        error = error.__cause__
    return never
