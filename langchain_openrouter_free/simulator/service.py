"""A world behind a lock, with a log and a few pages of its own under `/simulator`.

Owns what happens around every request: the log entry, the control pages, and the exchange of the world for
a fresh one. It has no sockets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from langchain_openrouter_free.simulator.behaviours import Script
from langchain_openrouter_free.simulator.http import Request
from langchain_openrouter_free.simulator.log import Log, Received, hashed
from langchain_openrouter_free.simulator.reply import Reply, json_reply
from langchain_openrouter_free.simulator.scenario import Scenario, from_table, load
from langchain_openrouter_free.simulator.suggest import ScenarioError, unknown
from langchain_openrouter_free.simulator.world import World

logger = logging.getLogger(__name__)
CONTROL = "/simulator/"


class Service:
    """What connections talk to. Safe to be used from several threads."""

    def __init__(self, scenario: Scenario | None, clock: Callable[[], float], seed: int) -> None:
        self.log = Log()
        self._clock = clock
        self._seed = seed
        self._scenario = scenario or Scenario()
        self.world = World(self._scenario, clock=clock, seed=seed)
        self._offered: dict[str, None] = {}
        self._controls: dict[tuple[str, str], Callable[[Any], Reply]] = {
            ("GET", "log"): self._show_log,
            ("POST", "reset"): self._reset_page,
            ("POST", "script"): self._script_page,
        }

    def handle(self, request: Request, connection: int) -> tuple[Reply, Received]:
        """Log a request and decide its reply."""
        headers = request.headers
        shown = headers
        if "authorization" in headers:
            shown = headers | {"authorization": hashed(headers["authorization"])}
        body = _parsed(request)
        at = time.monotonic()
        entry = Received(request.method, request.path, shown, body, request.body, _model(body), at, connection)
        if request.path.startswith(CONTROL):
            return self._control(request, body), entry
        with self.log.changed:
            reply = self._answer(request)
            entry.status = reply.status or None
            entry.behaviour = reply.behaviour
            self.log.add(entry)
        return reply, entry

    def _answer(self, request: Request) -> Reply:
        """The world's reply; a fault of the simulator itself is a 500 that says so."""
        try:
            return self.world.answer(request)
        except Exception:
            logger.exception("the simulator failed to answer %s %s", request.method, request.path)
            return json_reply(500, {"error": {"message": "Simulator failed", "code": 500}}, behaviour="fault")

    def date(self) -> str:
        """The Date header of this moment."""
        return self.world.date()

    def finished(self, entry: Received) -> None:
        """A reply was handed over whole."""
        self.log.finished(entry)

    def disconnected(self, entry: Received) -> None:
        """A client left before that."""
        self.log.disconnected(entry)

    def reset(self, scenario: Scenario | None = None) -> None:
        """A fresh world and an empty log; the same scenario as at first unless another is given."""
        with self.log.changed:
            self.world = World(scenario or self._scenario, clock=self._clock, seed=self._seed)
            for slug in self._offered:
                self.world.state.catalogue.name(slug)
            self.log.clear()

    def script(self, scripts: Mapping[str, Script]) -> None:
        """Give models new scripts."""
        with self.log.changed:
            self.world.state.script(scripts)

    def offer(self, ids: Iterable[str]) -> None:
        """List these ids from now on."""
        with self.log.changed:
            for slug in ids:
                self.world.state.catalogue.name(slug)
                self._offered[slug] = None

    def serve(self, payload: Any) -> None:
        """Offer what a list of the service holds, and nothing else."""
        entries = payload.get("data") if isinstance(payload, dict) else payload
        if not isinstance(entries, list) or not all(isinstance(e, dict) and "/" in str(e.get("id")) for e in entries):
            raise ScenarioError("serve: a list of models, as GET /models gives it")
        with self.log.changed:
            self.world.state.catalogue.serve(entries)

    def _control(self, request: Request, body: Any) -> Reply:
        page = request.path.removeprefix(CONTROL)
        control = self._controls.get((request.method, page))
        if control is None:
            known = [f"{method} {CONTROL}{name}" for method, name in self._controls]
            return _complaint(404, unknown("page", f"{request.method} {request.path}", known))
        try:
            return control(body)
        except ScenarioError as error:
            return _complaint(400, str(error))

    def _show_log(self, _body: Any) -> Reply:
        entries = [entry.as_json() for entry in self.log.entries()]
        return json_reply(200, {"received": entries}, behaviour="control")

    def _reset_page(self, body: Any) -> Reply:
        wish = body.get("scenario") if isinstance(body, dict) else None
        if isinstance(wish, str):
            self.reset(load(wish))
        elif isinstance(wish, dict):
            self.reset(from_table(wish))
        else:
            self.reset()
        return json_reply(200, {"ok": True}, behaviour="control")

    def _script_page(self, body: Any) -> Reply:
        if not isinstance(body, dict):
            return _complaint(400, "the body is an object of scripts by model")
        self.script(body)
        return json_reply(200, {"ok": True}, behaviour="control")


def _complaint(status: int, message: str) -> Reply:
    return json_reply(status, {"error": {"message": message, "code": status}}, behaviour="control")


def _model(body: Any) -> str | None:
    """The model that a request asks for; of a chain without one, the first."""
    if not isinstance(body, dict):
        return None
    chain = body.get("models")
    first = chain[0] if isinstance(chain, list) and chain else None
    asked = body.get("model") or first
    return asked if isinstance(asked, str) else None


def _parsed(request: Request) -> Any:
    if not request.body:
        return None
    try:
        return request.json()
    except ValueError:
        return None
