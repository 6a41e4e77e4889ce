"""What a user should know of the models they name: which have gone, which will go, and who is most like them. Pure.

Dates of an end move, and some models stay after theirs (2026-09-30), so an end that is announced removes nobody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence

from langchain_openrouter_free.catalogue.catalogue import Listing
from langchain_openrouter_free.catalogue.facts import ModelFacts
from langchain_openrouter_free.values import value_type

_DAY = 86_400.0
# An announced end is told from so many seconds before it.
SOON = 7 * _DAY
_MOST = 3
_WORD = re.compile(r"[a-z]{2,}")
# Words of ids that say nothing of a family.
_COMMON = frozenset(
    {"free", "instruct", "it", "chat", "preview", "mini", "nano", "small", "large", "super", "ultra", "base", "exp"}
)
# What a model can be missed for.
_ABILITIES = ("tools", "tool_choice", "structured_outputs", "response_format", "reasoning")


@value_type(frozen=True)
class ModelGone:
    """A model that the user names is not offered any more, or never was; told once in each process.

    Attributes:
        model: its id.
        why: how that is known.
        nearest: free ids that are offered, the most like it in family and abilities first; three at most.
    """

    model: str
    why: str
    nearest: tuple[str, ...] = ()

    @property
    def key(self) -> object:
        """What it is told once for."""
        return "gone", self.model

    def __str__(self) -> str:
        instead = f"nearest to it are {', '.join(self.nearest)}" if self.nearest else "no other free model is listed"
        return f"{self.model} is not asked, {self.why}: {instead}"


@value_type(frozen=True)
class ModelLeaving:
    """A model's end is announced for one of the next seven days, or is past; told once a day in each process.

    Attributes:
        model: its id.
        ends_at: Unix seconds of the announced end; dates move.
        day: number of the UTC day on which it is told.
        named: whether the user names it, or a pattern or `auto` stands for it.
    """

    model: str
    ends_at: float
    day: int
    named: bool = True

    @property
    def key(self) -> object:
        """What it is told once for."""
        return "leaving", self.model, self.day

    def __str__(self) -> str:
        left = math.ceil(self.ends_at / _DAY - self.day)
        when = f"in {left} days" if left > 1 else "within a day" if left == 1 else "for a day that is past"
        return f"the end of {self.model} is announced {when}; it is asked as long as it is listed"


Notice = ModelGone | ModelLeaving


def leaving(facts: ModelFacts, now: float, *, named: bool) -> ModelLeaving | None:
    """Say that a model's announced end is near; None where it is not."""
    if facts.expires_at is None or facts.expires_at - now > SOON:
        return None
    return ModelLeaving(facts.id, facts.expires_at, int(now // _DAY), named)


def gone(model: str, listing: Listing) -> str | None:
    """Say why a list shows that a model is not offered; None while it is, or may be back soon."""
    absence = listing.absent.get(model)
    if model in listing.rows or (absence is not None and absence.is_suspect(listing.at)):
        return None
    return "for the service's list of models does not have it" + ("" if absence is None else " any more")


def nearest(
    model: str, facts: ModelFacts | None, live: Iterable[ModelFacts], named: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the models that are most like one: by family first, then by what it could do.

    Args:
        model: its id.
        facts: what was last known of it.
        live: the chat models that may be asked.
        named: ids that the user knows already; they are returned only if there is no other.
    """
    others = [one for one in live if one.id != model]
    new = [one for one in others if one.id not in named] or others
    by_likeness = sorted(new, key=lambda one: (-_likeness(model, facts, one), one.id))
    return tuple(one.id for one in by_likeness[:_MOST])


def _likeness(model: str, facts: ModelFacts | None, other: ModelFacts) -> float:
    author, words = _family(model)
    others_author, others_words = _family(other.id)
    shared = len(words & others_words) / max(len(words | others_words), 1)
    family = 2.0 * shared + (1.0 if author == others_author else 0.0)
    if facts is None:
        return family
    could = _abilities(facts)
    missing = len(could - _abilities(other)) / max(len(could), 1)
    return family - missing + 0.5 * _closeness(facts.context, other.context)


def _family(model: str) -> tuple[str, frozenset[str]]:
    author, _, slug = model.partition("/")
    return author, frozenset(_WORD.findall(slug.partition(":")[0].lower())) - _COMMON


def _abilities(facts: ModelFacts) -> frozenset[str]:
    known = facts.parameters or frozenset()
    return (known & frozenset(_ABILITIES)) | (facts.inputs - {"text"})


def _closeness(one: int | None, other: int | None) -> float:
    """Return 1 for contexts that are alike, 0 where one is sixteen times the other or unknown."""
    if not one or not other:
        return 0.0
    return max(1.0 - abs(math.log2(one / other)) / 4, 0.0)


def about(notices: Sequence[Notice], model: str) -> str:
    """Return what there is to say of a model, in one sentence; "" where nothing is."""
    return "; ".join(str(notice) for notice in notices if notice.model == model)
