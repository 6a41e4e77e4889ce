"""What one call changes of its request for a model that could not answer it, to ask the same model once more. Pure.

Asking it again costs one slot, as asking the next model would, and the user's ranking is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from langchain_openrouter_free.books.budget import LEAST_TOKENS
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.judging.easing import Ease
from langchain_openrouter_free.judging.traits import FORMS, UNKNOWN
from langchain_openrouter_free.judging.verdicts import Kind, Step, Verdict
from langchain_openrouter_free.route.candidate import Candidate, Road


@dataclass(slots=True)
class Amends:
    """The changes of one call, by model.

    Attributes:
        reforms: tells whether a candidate is sent another history once it is known to have refused these forms.
        most_tokens: model id -> tokens of output that the balance pays for.
        refused: model id -> forms of the history that it refused in this call.
        eased: model id -> what is changed for it because its tokens all went into thinking.
    """

    reforms: Callable[[Candidate, AbstractSet[str]], bool] | None = None
    most_tokens: dict[str, int] = field(default_factory=dict)
    refused: dict[str, AbstractSet[str]] = field(default_factory=dict)
    eased: dict[str, Ease] = field(default_factory=dict)

    def copied(self) -> Amends:
        """Return the same changes, to be added to on trial."""
        return Amends(self.reforms, dict(self.most_tokens), dict(self.refused), dict(self.eased))

    def known(self, candidate: Candidate, book: Ledger, now: float) -> Candidate:
        """Return a candidate with what was learned of it by asking, in this call and before."""
        learned, here = book.traits.get(candidate.model), self.refused.get(candidate.model, frozenset())
        ease = self.eased.get(candidate.model)
        if not here and ease is None and (learned is None or not (learned.refused or learned.worked)):
            return candidate
        known = learned or UNKNOWN
        refused, worked, failed = known.refuses(now) | here, known.works(now), known.fails(now)
        return replace(candidate, refused=refused, worked=worked, failed=failed, ease=ease)

    def made(self, candidate: Candidate, verdict: Verdict) -> bool:
        """Tell whether something was changed for a candidate, so that it is worth being asked once more."""
        if verdict.ease is not None:
            self.eased[candidate.model] = verdict.ease
            return True
        return self._lowers(candidate, verdict) or self._reforms(candidate, verdict)

    def _lowers(self, candidate: Candidate, verdict: Verdict) -> bool:
        """Ask for as many tokens as the balance pays for."""
        affords, model = verdict.affords, candidate.model
        if verdict.kind is not Kind.TOO_DEAR or affords is None or not candidate.paid or model in self.most_tokens:
            return False
        self.most_tokens[model] = affords
        return affords >= LEAST_TOKENS

    def _reforms(self, candidate: Candidate, verdict: Verdict) -> bool:
        """Send the history in the form that the model demands."""
        demanded = (verdict.names & FORMS) - candidate.refused
        if not demanded or self.reforms is None or verdict.step is not Step.NEXT or candidate.road is Road.EXTERNAL:
            return False
        self.refused[candidate.model] = self.refused.get(candidate.model, frozenset()) | demanded
        return self.reforms(candidate, demanded)
