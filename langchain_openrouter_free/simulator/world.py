"""The whole service as one function: a request in, the plan of a reply out.

Owns the list of endpoints and the headers that every reply has. It has no sockets and no threads, so it can
be asked from anywhere.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from email.utils import formatdate

from langchain_openrouter_free.simulator import pages
from langchain_openrouter_free.simulator.chat import chat, failed
from langchain_openrouter_free.simulator.checks import RefusedError
from langchain_openrouter_free.simulator.http import Request
from langchain_openrouter_free.simulator.log import CHAT_PATH
from langchain_openrouter_free.simulator.reply import Reply, html_reply
from langchain_openrouter_free.simulator.scenario import Scenario
from langchain_openrouter_free.simulator.state import State

_BASE = "/api/v1"
_FIXED: dict[str, tuple[str, Callable[[State, Request], Reply]]] = {
    CHAT_PATH: ("POST", chat),
    f"{_BASE}/models": ("GET", pages.models),
    f"{_BASE}/models/user": ("GET", pages.models_of_user),
    f"{_BASE}/key": ("GET", pages.key),
    f"{_BASE}/credits": ("GET", pages.money),
    f"{_BASE}/generation": ("GET", pages.generation),
}
_PATTERNS = (
    (re.compile(rf"{_BASE}/models/[^/]+/[^/]+/endpoints"), pages.endpoints),
    (re.compile(rf"{_BASE}/model/[^/]+/[^/]+"), pages.model),
)


class World:
    """One simulated OpenRouter.

    Args:
        scenario: laws, models and scripts.
        clock: seconds since 1970; windows and dates go by it.
        seed: of the world's randomness.
    """

    def __init__(
        self, scenario: Scenario | None = None, *, clock: Callable[[], float] = time.time, seed: int = 0
    ) -> None:
        self.state = State(scenario or Scenario(), clock, seed)
        self._dates: tuple[int, str] = (0, formatdate(0, usegmt=True))
        ray = random.Random(seed).getrandbits(64)
        self._always = {
            "Server": "cloudflare",
            "CF-RAY": f"{ray:016x}-SIM",
            "Access-Control-Allow-Origin": "*",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer, strict-origin-when-cross-origin",
        }

    def answer(self, request: Request) -> Reply:
        """The reply to a request."""
        reply = self._answer(request)
        reply.headers.update(self._always)
        return reply

    def date(self) -> str:
        """The Date header of this moment."""
        now = int(self.state.clock())
        if self._dates[0] != now:
            self._dates = (now, formatdate(now, usegmt=True))
        return self._dates[1]

    def _answer(self, request: Request) -> Reply:
        method, page = _FIXED.get(request.path) or _matched(request.path)
        if page is None:
            return html_reply(404, "404: This page could not be found.", behaviour="no-such-path")
        if request.method != method and not (method == "GET" and request.method == "HEAD"):
            reply = html_reply(405, "405: Method Not Allowed", behaviour="wrong-method")
            reply.headers["Allow"] = method
            return reply
        try:
            return page(self.state, request)
        except RefusedError as error:
            return failed(self.state, error.name, error.failure)


def _matched(path: str) -> tuple[str, Callable[[State, Request], Reply] | None]:
    for pattern, page in _PATTERNS:
        if pattern.fullmatch(path):
            return "GET", page
    return "", None
