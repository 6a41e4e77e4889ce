"""Who hears of a call while it goes on and when it is over: the user's hook, LangChain's custom events, OpenTelemetry.

All get the same facts, in the form of `response_metadata["route"]`. None of them decides anything, and none can break
a call: what they raise is logged.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    BaseRunManager,
    CallbackManager,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.runnables.config import RunnableConfig, var_child_runnable_config

from langchain_openrouter_free.engine.listening import Hearing
from langchain_openrouter_free.engine.roads import Moment
from langchain_openrouter_free.request.candidates import ALIAS
from langchain_openrouter_free.values import value_type

log = logging.getLogger("langchain_openrouter_free")

EVENT = "openrouter_free_route"


@value_type()
class Listeners(Hearing):
    """The audience of one call of LangChain's.

    Attributes:
        run: the model's own run, as far as LangChain hands it over: not to a stream.
    """

    run: BaseRunManager | None = None

    def listens(self, *, is_over: bool) -> bool:
        """Tell whether there is anybody who would hear of a call that is over, or goes on."""
        return self._is_heard() or Hearing.listens(self, is_over=is_over)

    def emit(self, moment: Moment) -> None:
        """Dispatch a custom event, where a run of LangChain's is under way that it can belong to."""
        if self._is_heard():
            with _unharmed():
                dispatch_custom_event(EVENT, moment.record.as_route(), config=self._config(CallbackManager))

    async def aemit(self, moment: Moment) -> None:
        """The same on an event loop."""
        if self._is_heard():
            with _unharmed():
                config = self._config(AsyncCallbackManager)
                await adispatch_custom_event(EVENT, moment.record.as_route(), config=config)

    def _is_heard(self) -> bool:
        return _has_parent() or (self.run is not None and bool(self.run.handlers))

    def _config(self, manager: type[CallbackManager | AsyncCallbackManager]) -> RunnableConfig | None:
        """Return whom to tell: a chain's batch, for one, runs its models without a word of the chain around them."""
        run = self.run
        if run is None or _has_parent():
            return None
        return {
            "callbacks": manager(
                run.handlers, run.inheritable_handlers, run.run_id, tags=run.tags, metadata=run.metadata
            )
        }


def name_served(run: BaseRunManager | None, model: str) -> None:
    """Put the model that served in the place of the neutral name in a run's trace, from where LangSmith takes it.

    At the start of a run only the neutral name is known. LangChain hands a stream no run: there the answer alone has
    the name (`response_metadata["model_name"]`).
    """
    if run is None:
        return
    traced = [getattr(handler, "run_map", None) for handler in run.handlers]
    runs = [known.get(str(run.run_id)) for known in traced if isinstance(known, Mapping)]
    for extra in (getattr(one, "extra", None) or {} for one in runs):
        metadata = extra.get("metadata") or {}
        if metadata.get("ls_model_name") == ALIAS:
            # A new table: the old one may be that of other handlers as well.
            extra["metadata"] = {**metadata, "ls_model_name": model}


def _has_parent() -> bool:
    """Tell whether this runs inside of another runnable: only looking is much cheaper than trying."""
    config = var_child_runnable_config.get()
    return config is not None and config.get("callbacks") is not None


@contextlib.contextmanager
def _unharmed() -> Any:
    try:
        yield
    except RuntimeError as error:
        # Callbacks were given, but no run of theirs is under way.
        log.debug("no custom event: %s", error)
    except Exception:
        log.exception("a custom event failed")
