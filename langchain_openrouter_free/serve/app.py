"""The endpoint as an ASGI application: its pages, the commit point of a stream, and clients that go away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from langchain_openrouter_free.errors import OpenRouterFreeError
from langchain_openrouter_free.protocol.wire import Completion, Delta
from langchain_openrouter_free.serve.answering import (
    DONE,
    ROUTE_HEADER,
    Pieces,
    completion_of,
    event,
    failure,
    refusal,
    route_header,
)
from langchain_openrouter_free.serve.asking import Asked, asked
from langchain_openrouter_free.serve.guard import (
    App,
    BodyRefused,
    Guard,
    Message,
    Receive,
    Scope,
    Send,
    answer,
    body_of,
)

log = logging.getLogger("langchain_openrouter_free")

MOST_BYTES = 32 * 1024 * 1024
# Who takes nothing of a stream for so many seconds is taken for gone.
READER_PATIENCE = 60.0


class Answering(Protocol):
    """One call on its way."""

    def contents(self) -> AsyncIterator[list[Delta]]:
        """Yield what a client may see, as it comes, never nothing; raise the error of the call."""
        ...

    async def whole(self) -> None:
        """Wait for an answer; raise the error of the call."""
        ...

    @property
    def said(self) -> Completion:
        """What the answer holds, once its contents are over."""
        ...

    @property
    def model(self) -> str:
        """Id of the model that answers."""
        ...

    def route(self) -> Mapping[str, Any]:
        """Return the route trail so far."""
        ...


class Backend(Protocol):
    """What answers."""

    def begin(self, request: Asked) -> Answering:
        """Prepare a call; raise what is wrong with it."""
        ...

    def models(self) -> list[dict[str, Any]]:
        """Return what may be asked for, by the names of `model`."""
        ...

    def metrics(self) -> str:
        """Return counters as Prometheus reads them."""
        ...

    def now(self) -> float:
        """Return Unix seconds."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


def application(
    backend: Backend, *, most_bytes: int = MOST_BYTES, reader_patience: float = READER_PATIENCE, **guarding: Any
) -> App:
    """Return the endpoint as an ASGI application.

    Args:
        backend: what answers.
        most_bytes: the largest body that is read.
        reader_patience: seconds that a client may take nothing of a stream; then its attempt is cancelled.
        **guarding: who may ask; see `Guard`.
    """
    pages: list[tuple[str, str, Any]] = [
        ("/v1/chat/completions", "POST", _Chat(backend, most_bytes, reader_patience)),
        ("/v1/models", "GET", _models(backend)),
        ("/v1/models/{model:path}", "GET", _one_model(backend)),
        ("/health", "GET", _health),
        ("/metrics", "GET", _metrics(backend)),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await backend.aclose()

    app = Starlette(
        routes=[Route(path, page, methods=[method]) for path, method, page in pages],
        exception_handlers={HTTPException: _refused, Exception: _broken},
        lifespan=lifespan,
    )
    return Guard(app, **guarding)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    status, body, headers = refusal(error.status_code, error.detail, code="not_found")
    return JSONResponse(body, status, {**(error.headers or {}), **headers})


async def _broken(_: Request, __: Exception) -> Response:
    # Starlette logs the trace; the client learns nothing of it.
    status, body, headers = refusal(500, "The endpoint failed; its log says why.", kind="api_error", code="internal")
    return JSONResponse(body, status, headers)


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


Page = Callable[[Request], Awaitable[Response]]


def _models(backend: Backend) -> Page:
    async def page(_: Request) -> Response:
        found = await asyncio.to_thread(backend.models)
        return JSONResponse({"object": "list", "data": found})

    return page


def _one_model(backend: Backend) -> Page:
    async def page(request: Request) -> Response:
        wanted = request.path_params["model"]
        found = next((one for one in await asyncio.to_thread(backend.models) if one["id"] == wanted), None)
        if found is None:
            raise HTTPException(404, "There is no such model; GET /v1/models lists them.")
        return JSONResponse(found)

    return page


def _metrics(backend: Backend) -> Page:
    async def page(_: Request) -> Response:
        text = await asyncio.to_thread(backend.metrics)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return page


class ReaderGone(Exception):
    """A client takes nothing of its stream any more."""


class _Chat:
    """`POST /v1/chat/completions`."""

    def __init__(self, backend: Backend, most_bytes: int, reader_patience: float) -> None:
        self._backend, self._most_bytes, self._patience = backend, most_bytes, reader_patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = asked(await body_of(scope, receive, self._most_bytes))
            call = self._backend.begin(request)
        except BodyRefused as refused:
            await answer(send, *refusal(refused.status, refused.why))
        except OpenRouterFreeError as error:
            await answer(send, *failure(error, self._backend.now()))
        else:
            await _unless_gone(receive, self._answered(request, call, send))

    async def _answered(self, request: Asked, call: Answering, send: Send) -> None:
        try:
            if request.stream:
                async with contextlib.aclosing(call.contents()) as contents:  # type: ignore[type-var]
                    await self._streamed(request, call, contents, _impatient(send, self._patience))
            else:
                await call.whole()
                await self._whole(call, send)
        except OpenRouterFreeError as error:
            await answer(send, *failure(error, self._backend.now()))
        except ReaderGone:
            log.info("a client has taken nothing of its stream for %g s: it is given up", self._patience)

    async def _whole(self, call: Answering, send: Send) -> None:
        route = call.route()
        created, ident = int(self._backend.now()), _ident()
        body = completion_of(call.said, ident=ident, created=created, model=call.model, route=route)
        await answer(send, 200, body, {ROUTE_HEADER: route_header(route)})

    async def _streamed(
        self, request: Asked, call: Answering, contents: AsyncIterator[list[Delta]], send: Send
    ) -> None:
        """Send an answer in pieces. Its head waits for the first content: until then any model may still fail."""
        first = await anext(contents, None)
        pieces = Pieces(ident=_ident(), created=int(self._backend.now()), model=call.model)
        headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            ROUTE_HEADER: route_header(call.route()),
        }
        encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": encoded})
        try:
            await _sent(send, *map(pieces.content, first or [Delta()]))
            async for deltas in contents:
                await _sent(send, *map(pieces.content, deltas))
            ends = [pieces.last(call.said, call.route())]
            if request.usage:
                ends.append(pieces.usage(call.said))
            await _sent(send, *ends, done=True)
        except OpenRouterFreeError as error:
            _, body, _ = failure(error, self._backend.now())
            await _sent(send, body)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _impatient(send: Send, seconds: float) -> Send:
    async def sending(message: Message) -> None:
        try:
            async with asyncio.timeout(seconds):
                await send(message)
        except TimeoutError:
            raise ReaderGone from None

    return sending


async def _sent(send: Send, *payloads: dict[str, Any], done: bool = False) -> None:
    data = b"".join(map(event, payloads)) + (DONE if done else b"")
    await send({"type": "http.response.body", "body": data, "more_body": True})


def _ident() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


async def _unless_gone(receive: Receive, work: Awaitable[None]) -> None:
    """Do the work, and break it off when the client goes away: nobody pays for an answer that nobody reads."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
    if not working.cancelled():
        working.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
