"""Who hears of any call: the user's hook, and OpenTelemetry. Decides nothing; what a hook raises is logged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from langchain_openrouter_free.engine.roads import Moment
from langchain_openrouter_free.engine.telemetry import Asked, is_set_up, observe
from langchain_openrouter_free.values import value_type

log = logging.getLogger("langchain_openrouter_free")


@value_type()
class Hearing:
    """The audience of one call.

    Attributes:
        on_route: the user's hook; gets the route trail after each attempt and before each wait (`outcome` is None
            then), and once when the call is over.
        asked: what was asked for, for telemetry.
    """

    on_route: Callable[[dict[str, Any]], object] | None
    asked: Asked

    def listens(self, *, is_over: bool) -> bool:
        """Tell whether there is anybody who would hear of a call that is over, or goes on."""
        return self.on_route is not None or (is_over and is_set_up())

    def hear(self, moment: Moment) -> None:
        """Tell what needs no event loop."""
        if self.on_route is not None:
            try:
                self.on_route(moment.record.as_route())
            except Exception:
                log.exception("on_route failed")
        if moment.record.outcome:
            observe(moment, self.asked)

    def emit(self, moment: Moment) -> None:
        """Nobody has to be awaited."""

    async def aemit(self, moment: Moment) -> None:
        """Nobody has to be awaited."""
