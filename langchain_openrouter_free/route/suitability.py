"""Who suits one request: by what the service lists of a model, and by what was learned of it. Pure.

Keeps what it has found on its way through the candidates, for the error of a call that nobody answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from langchain_openrouter_free.books.breaker import FIXED
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.judging.traits import UNKNOWN, Traits
from langchain_openrouter_free.route.candidate import Candidate, Road
from langchain_openrouter_free.route.fitness import RULED_OUT, Needs, barred, is_for_length


@dataclass(slots=True)
class Suitability:
    """Whom one request suits.

    Attributes:
        needs: what the request needs of a model.
        doubts: id -> why it may not be asked, by the service's list.
        unfit: id -> why it was passed over, since `begin`.
    """

    needs: Needs
    doubts: Mapping[str, str] = field(default_factory=dict)
    unfit: dict[str, str] = field(default_factory=dict)
    _longest: int = 0

    def begin(self) -> None:
        """Begin to look for a candidate anew."""
        self.unfit, self._longest = {}, self.needs.most_room

    def passes_over(self, candidate: Candidate, traits: Mapping[str, Traits], now: float) -> bool:
        """Tell whether a candidate may not be asked, or cannot do what the request wants: it costs no request."""
        model, context = candidate.model, candidate.context
        fits = context is None or context >= self._longest
        # The cheap questions first: hundreds may be looked at under the store's lock.
        if fits and model not in traits and model not in self.doubts:
            return False
        found = self.why_not(candidate, traits, now)
        if found is not None:
            self.unfit[model] = found[0]
        return found is not None

    def why_not(
        self, candidate: Candidate, traits: Mapping[str, Traits], now: float
    ) -> tuple[str, float | None] | None:
        """Say why it may not be asked, or cannot do what the request wants, and until when; None if it may and can."""
        if candidate.model in self.doubts:
            return self.doubts[candidate.model], None
        if candidate.road is Road.EXTERNAL:
            return None
        return barred(self.needs, traits.get(candidate.model, UNKNOWN), candidate.context, now)

    def rests_until(self, candidate: Candidate, book: Ledger, now: float) -> float:
        """Return the moment from which it may be asked, 0 if that is now; who is gone or closed is unfit till then."""
        until = book.rests_until(candidate.model, now)
        rest = book.cooldown(candidate.model, now) if until > now else None
        if rest is not None and rest.kind in FIXED and rest.until > now:
            self.unfit[candidate.model] = f"left alone after {rest.kind}"
        return until

    def nobody(self, candidates: Iterable[Candidate]) -> bool:
        """Tell whether all of these were passed over."""
        return all(candidate.model in self.unfit for candidate in candidates)

    def some_ruled_out(self) -> bool:
        """Tell whether the account's own setting has ruled out any of those that were passed over."""
        return RULED_OUT in self.unfit.values()

    def some_too_small(self) -> bool:
        """Tell whether the length of the prompt is all that stands in the way of any of those that were passed over."""
        return any(map(is_for_length, self.unfit.values()))
