"""Who may ask the endpoint: host names against rebinding, a token, no foreign web pages, bounded bodies and numbers.

An ASGI wrapper; knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from langchain_openrouter_free.serve.answering import ROUTE_HEADER, refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Among host names: every address. Rebinding needs a name, which an attacker's page has and an address is not.
ADDRESSES = "*"
# A body takes no longer than this to arrive, in seconds.
_BODY_PATIENCE = 30.0


class BodyRefused(Exception):
    """A body is too large, too slow, or did not come whole; `status` says which."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Guard:
    """Lets through who may ask."""

    def __init__(
        self,
        app: App,
        *,
        hosts: Iterable[str] = LOOPBACK,
        token: str | None = None,
        origins: Iterable[str] = (),
        most_at_once: int = 512,
    ) -> None:
        """Wrap an application.

        Args:
            app: what is guarded.
            hosts: names that a request's `Host` may have, without port; `ADDRESSES` stands for all that are numbers.
            token: what `Authorization: Bearer` must hold; None asks for none.
            origins: web pages that may ask, such as `https://app.example`; a request of any other is refused.
            most_at_once: how many requests are worked on at the same time.
        """
        self._app, self._token = app, token
        self._hosts = {host.lower().strip("[]") for host in hosts}
        self._all_addresses = ADDRESSES in self._hosts
        self._hosts.discard(ADDRESSES)
        self._origins = {origin.rstrip("/").lower() for origin in origins}
        self._most, self._busy = most_at_once, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        origin = headers.get("origin", "").lower()
        cross = self._cross(origin, headers.get("access-control-request-headers", ""))
        # A page may read why it is refused.
        sending = _with(send, cross) if cross else send
        if (stranger := self._stranger(headers, origin)) is not None:
            await answer(send, *stranger)
        elif scope["method"] == "OPTIONS" and cross:
            # Browsers look first, and never with a token.
            await answer(sending, 204, None, {})
        elif not self._is_known(headers.get("authorization", "")):
            told = refusal(401, "The token is missing or wrong.", kind="authentication_error", code="invalid_api_key")
            await answer(sending, *told)
        elif self._busy >= self._most:
            status, body, _ = refusal(503, "Too many requests at once.", kind="api_error", code="busy")
            await answer(sending, status, body, {"retry-after": "1", "x-should-retry": "true"})
        else:
            await self._let_through(scope, receive, sending)

    async def _let_through(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._busy += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._busy -= 1

    def _stranger(self, headers: Mapping[str, str], origin: str) -> tuple[int, dict[str, Any], dict[str, str]] | None:
        if not self._is_ours(_host(headers.get("host", ""))):
            return refusal(403, "This host name is not served; --allow-host names more.", code="forbidden_host")
        if origin and origin not in self._origins:
            return refusal(403, "Web pages may not ask unless they are named.", code="forbidden_origin")
        return None

    def _is_ours(self, host: str) -> bool:
        return host in self._hosts or (self._all_addresses and _is_address(host))

    def _is_known(self, said: str) -> bool:
        if self._token is None:
            return True
        scheme, _, token = said.partition(" ")
        right = self._token.encode()
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode("utf-8", "replace"), right)

    def _cross(self, origin: str, wanted: str) -> dict[str, str]:
        if not origin or origin not in self._origins:
            return {}
        return {
            "access-control-allow-origin": origin,
            # OpenAI's client has a dozen of its own.
            "access-control-allow-headers": wanted or "authorization, content-type",
            "access-control-expose-headers": f"{ROUTE_HEADER}, retry-after, x-should-retry",
            "access-control-allow-methods": "GET, POST",
            "vary": "origin",
        }


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _host(said: str) -> str:
    """Return a host name without its port."""
    said = said.strip().lower()
    if said.startswith("["):
        return said[1:].partition("]")[0]
    return said.rpartition(":")[0] if said.count(":") == 1 else said


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _with(send: Send, headers: Mapping[str, str]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_encoded(headers)]
        await send(message)

    return sending


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]


async def answer(send: Send, status: int, body: Any, headers: Mapping[str, str]) -> None:
    """Send a whole answer, as JSON; None has no body."""
    content = b"" if body is None else json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace")
    usual = {"content-type": "application/json", "content-length": str(len(content)), "cache-control": "no-store"}
    await send({"type": "http.response.start", "status": status, "headers": _encoded({**usual, **headers})})
    await send({"type": "http.response.body", "body": content})


async def body_of(scope: Scope, receive: Receive, most: int) -> bytes:
    """Return the body of a request.

    Raises:
        BodyRefused: if it is larger than `most` bytes, too slow, or is broken off.
    """
    stated = _headers(scope).get("content-length", "")
    if stated.isdigit() and int(stated) > most:
        raise BodyRefused(413, f"The body is larger than {most} bytes.")
    parts, size = [], 0
    try:
        async with asyncio.timeout(_BODY_PATIENCE):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise BodyRefused(400, "The body did not come whole.")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise BodyRefused(413, f"The body is larger than {most} bytes.")
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise BodyRefused(408, "The body took too long.") from None
