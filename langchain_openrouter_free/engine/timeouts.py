"""How long things may take: the user's deadlines, for all models and for some, and how they shrink. Pure.

Knows no clock and no attempt: `sources.Stopwatch` keeps to what is worked out here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from langchain_openrouter_free.catalogue.selection import matches
from langchain_openrouter_free.values import value_type

# A model whose usual seconds to the first content are known is given so many times as long, but never less than
# so many seconds: a long prompt takes longer than the short ones that were measured.
_CONTENT_TIMES, LEAST_CONTENT = 4.0, 10.0
_ATTEMPT_TIMES, LEAST_ATTEMPT = 40.0, 120.0


@value_type()
class Timeouts:
    """How long an attempt at one model may take, in seconds.

    Attributes:
        connect: until a connection stands (default 5).
        first_token: until the first content: text, tool call or reasoning (default 45).
        stall: between two contents (default 30).
        attempt: one attempt in all (default 300).
        call: the whole call, with its waits and moves (default 600).
        adaptive: whether the middle three shrink where the model is usually quick and others could answer.
    """

    connect: float = 5.0
    first_token: float = 45.0
    stall: float = 30.0
    attempt: float = 300.0
    call: float = 600.0
    adaptive: bool = True

    def adapted(self, usual: float | None) -> Timeouts:
        """Return the deadlines for a model whose first content usually comes within so many seconds.

        They are only ever shortened: first content and stall to 4 times as long (at least 10 s), the attempt to 40
        times as long (at least 120 s).

        Args:
            usual: the 95th percentile of what was measured; None where too little was.
        """
        if usual is None or not self.adaptive:
            return self
        content, attempt = max(usual * _CONTENT_TIMES, LEAST_CONTENT), max(usual * _ATTEMPT_TIMES, LEAST_ATTEMPT)
        return replace(
            self,
            first_token=min(self.first_token, content),
            stall=min(self.stall, content),
            attempt=min(self.attempt, attempt),
        )


@value_type()
class Layer:
    """Deadlines that were said together: those for all models, and those for some by id or pattern."""

    values: Mapping[str, float | bool] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, float | bool]] = field(default_factory=dict)


@value_type()
class Deadlines:
    """All that was said of deadlines, the most general first: what is said later wins.

    Attributes:
        layers: the model's own, and the call's.
        usual: what holds for no model in particular.
    """

    layers: tuple[Layer, ...] = ()
    usual: Timeouts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "usual", self._joined(None))

    def of(self, model: str) -> Timeouts:
        """Return the deadlines of attempts at one model."""
        return self._joined(model) if any(layer.models for layer in self.layers) else self.usual

    def _joined(self, model: str | None) -> Timeouts:
        said: dict[str, float | bool] = {}
        for layer in self.layers:
            said.update(layer.values)
            for pattern, values in layer.models.items():
                if model is not None and matches(pattern, model):
                    said.update(values)
        return Timeouts(**said)  # type: ignore[arg-type]  # checked by settings.py
