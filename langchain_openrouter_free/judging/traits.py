"""What is learned of a model by asking it, beside health and cooldowns, and is in no catalogue. Pure.

| what | learned from | believed for |
|---|---|---|
| a feature that it has refused | a refusal that names it, of a request that used it | 3 days (abilities of listed \
models come and go within days or weeks), or until it works |
| a form that it has refused | the same | 14 days: its template seldom changes, and a reshaped request is answered |
| that the account's own privacy setting rules it out | that refusal, by what was asked of providers | 6 hours, or \
until it answers |
| the context that a refusal for length has named | that refusal | 3 days |
| a way of asking that has worked, or brought a wrong object | an answer that shows it | 14 days |
| tokens of its count for one of ours | `usage.prompt_tokens` of plain prompts, and refusals for length | until better \
known |

Nobody here knows what time it is or where the book is kept. Times are Unix seconds of the server's clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import field, replace
from math import sqrt

from langchain_openrouter_free.protocol.preferences import PRIVACY
from langchain_openrouter_free.values import value_type

_DAY = 86_400.0

# -- the vocabulary: each name stands for one thing that a request may use

# Forms of the history. A model that has refused one is fit all the same: its history is written in another way.
SYSTEM_ROLE = "system role"
TOOL_CALL_IDS = "tool-call ids"
MESSAGE_ORDER = "message order"
SEVERAL_CALLS = "several tool calls in a message"
CONTENT_PARTS = "content parts"
OWN_REASONING = "its own reasoning"
FORMS = frozenset({SYSTEM_ROLE, TOOL_CALL_IDS, MESSAGE_ORDER, SEVERAL_CALLS, CONTENT_PARTS, OWN_REASONING})
# What an answer needs to be the one that was asked for: a model that has refused one of these is not asked for it.
TOOLS = "tools"
FORCED_CHOICE = "forced tool choice"
STRUCTURED = "structured output"
JSON_MODE = "JSON mode"
REASONING_OFF = "reasoning off"
INPUTS = {kind: f"{kind} input" for kind in ("image", "audio", "file", "video")}
NEEDED = frozenset({TOOLS, FORCED_CHOICE, STRUCTURED, JSON_MODE, REASONING_OFF, "stop", "logprobs", *INPUTS.values()})
# What an answer can do without: it is left out for a model that has refused it. Most names are the parameter's.
PARALLEL = "parallel tool calls"
SPARED = frozenset(
    {"temperature", "top_p", "top_k", "min_p", "top_a", "frequency_penalty", "presence_penalty", "repetition_penalty"}
    | {"seed", "logit_bias", "reasoning", PARALLEL}
)
VOCABULARY = FORMS | NEEDED | SPARED
# Ways to get an object or a call out of a model, of which it is kept that they have worked.
WAYS = frozenset({TOOLS, FORCED_CHOICE, STRUCTURED, JSON_MODE})

FEATURE_KEPT = 3 * _DAY
FORM_KEPT = 14 * _DAY
POLICY_KEPT = _DAY / 4
WORKED_KEPT = 14 * _DAY
# What was learned of a model is dropped so long after the last of it, in seconds.
KEPT = 30 * _DAY
# Most models of which anything is kept.
MOST_MODELS = 200

# A moment so far ahead was written by a clock that was wrong.
_FARTHEST = _DAY
# That a way works is written down again at most this often, in seconds.
_AGAIN = _DAY
# Our estimate is never wrong by more, so what is beyond was no count of this prompt.
_LEAST_RATIO, MOST_RATIO = 0.25, 4.0
# Of shorter prompts the template is most of the count.
_TELLING_TOKENS = 200
# So many counts are remembered: the latest weighs a twentieth.
_MOST_COUNTS = 20
# A count this near to what is known teaches nothing.
_NEAR = 0.03
# Greater numbers on a page are no moments of ours.
_GREATEST = 2**53
# How much longer than estimated a prompt may be, while nothing was counted.
_MARGIN = 0.1


@value_type()
class Lesson:
    """What one attempt taught of its model.

    Attributes:
        refused: names of the vocabulary that it has refused, all of them used by the request.
        done: names that an answer's request used, and that were accepted.
        worked: ways of asking that an answer shows to have worked.
        privacy: what the request asked of providers.
        ruled_out: whether the account's privacy setting, or its guardrail, rules the model out.
        answered: whether it answered.
        estimate: our count of the prompt's tokens; 0 where it is none (images, sound, files).
        counted: the model's own count; 0 where it is not known.
        context: most tokens that it holds, as a refusal named them; 0 where none did.
        failed: ways of asking for an object that brought a wrong one.
    """

    refused: frozenset[str] = frozenset()
    done: frozenset[str] = frozenset()
    worked: frozenset[str] = frozenset()
    privacy: str = PRIVACY[0]
    ruled_out: bool = False
    answered: bool = False
    estimate: int = 0
    counted: int = 0
    context: int = 0
    failed: frozenset[str] = frozenset()


NOTHING = Lesson()


@value_type()
class Traits:
    """What is remembered of one model.

    Attributes:
        refused: name of the vocabulary -> when it was refused.
        worked: way of asking -> when it was seen to work; below zero, when it last brought a wrong object instead.
        ruled_out: what was asked of providers -> when the account's setting ruled the model out.
        ratio: how many of its tokens one of our estimate is.
        counts: how many prompts that was learned from; at most 20 are remembered.
        limit: the context that a refusal named, and when; None where none did.
        at: when anything of it changed.
    """

    refused: Mapping[str, float] = field(default_factory=dict)
    worked: Mapping[str, float] = field(default_factory=dict)
    ruled_out: Mapping[str, float] = field(default_factory=dict)
    ratio: float = 1.0
    counts: int = 0
    limit: tuple[int, float] | None = None
    at: float = 0.0

    # -- what it says of a request

    def refuses(self, now: float) -> frozenset[str]:
        """Return what it has refused, as far as that is still believed."""
        return frozenset(name for name, at in self.refused.items() if _believed(at, _kept(name), now))

    def refused_until(self, names: AbstractSet[str], now: float) -> tuple[str, float] | None:
        """Return which of these it has refused longest, and when it is asked for it again; None if none of them."""
        found = [(name, self.refused[name] + _kept(name)) for name in names & self.refuses(now)]
        return max(found, key=lambda one: (one[1], one[0]), default=None)

    def ruled_out_until(self, privacy: str, now: float) -> float | None:
        """Return until when the account's setting is taken to rule it out; None if it is not."""
        # Who is ruled out for the less is for the more as well.
        level = PRIVACY.index(privacy)
        found = [at for asked, at in self.ruled_out.items() if PRIVACY.index(asked) <= level]
        return max((at + POLICY_KEPT for at in found if _believed(at, POLICY_KEPT, now)), default=None)

    def works(self, now: float) -> frozenset[str]:
        """Return the ways of asking that have worked lately."""
        return frozenset(way for way, at in self.worked.items() if _believed(at, WORKED_KEPT, now))

    def context(self, listed: int | None, now: float) -> int | None:
        """Return the tokens that it holds: what the catalogue lists, or what a refusal named, if that is less."""
        if self.limit is None or not _believed(self.limit[1], FEATURE_KEPT, now):
            return listed
        return self.limit[0] if listed is None else min(listed, self.limit[0])

    def tokens(self, estimate: int) -> int:
        """Return how many of its tokens a prompt of so many of ours may be: the better known, the less margin."""
        return int(estimate * self.ratio * (1.0 + _MARGIN / sqrt(self.counts + 1)))

    def fails(self, now: float) -> frozenset[str]:
        """Return the ways of asking that lately brought a wrong object."""
        return frozenset(way for way, at in self.worked.items() if at < 0 and _believed(-at, WORKED_KEPT, now))

    # -- what it learns

    def taught(self, lesson: Lesson, now: float) -> Traits:
        """Return it after an attempt; itself where that taught nothing."""
        refused = {name: at for name, at in self.refused.items() if name not in lesson.done}
        refused |= dict.fromkeys(lesson.refused, now)
        worked = {way: at for way, at in self.worked.items() if way not in lesson.refused}
        fresh = [way for way in lesson.worked if not now - _AGAIN < worked.get(way, -_DAY) <= now + _FARTHEST]
        worked |= dict.fromkeys(fresh, now) | dict.fromkeys(lesson.failed, -now)
        ruled_out, level = dict(self.ruled_out), PRIVACY.index(lesson.privacy)
        if lesson.answered:
            ruled_out = {asked: at for asked, at in ruled_out.items() if PRIVACY.index(asked) > level}
        if lesson.ruled_out:
            ruled_out[lesson.privacy] = now
        ratio, counts = self._counted(lesson)
        limit = (lesson.context, now) if lesson.context else self.limit
        learned = Traits(refused, worked, ruled_out, ratio, counts, limit, self.at)
        return self if learned == self else replace(learned, at=now)

    def _counted(self, lesson: Lesson) -> tuple[float, int]:
        """Return the ratio with one more count."""
        if lesson.estimate < _TELLING_TOKENS or not lesson.counted:
            return self.ratio, self.counts
        seen = lesson.counted / lesson.estimate
        known_well = self.counts == _MOST_COUNTS and abs(seen - self.ratio) <= _NEAR * self.ratio
        if known_well or not _LEAST_RATIO <= seen <= MOST_RATIO:
            return self.ratio, self.counts
        if not lesson.answered:
            # It was too long by this count, so the next one like it must be called too long before it is sent.
            return round(seen, 3), 1
        counts = min(self.counts + 1, _MOST_COUNTS)
        # In the thousandths that are written down, so that a page says the same as the book.
        return round(self.ratio + (seen - self.ratio) / counts, 3), counts

    # -- how it is written

    def as_row(self) -> list[object]:
        """Write it as a row."""
        return [self.refused, self.worked, self.ruled_out, self.ratio, self.counts, self.limit, self.at]

    @classmethod
    def from_row(cls, row: object) -> Traits:
        """Read it from a row; names that are not known any more are left out.

        Raises:
            ValueError: if it is no such row.
        """
        if not isinstance(row, list | tuple) or len(row) != 7:
            raise ValueError(f"no row of traits: {row!r}")
        refused, worked, ruled_out, ratio, counts, limit, at = row
        numbers = type(counts) is int and 0 <= counts <= _MOST_COUNTS and _is_number(ratio) and _is_number(at)
        if not numbers or not _LEAST_RATIO <= ratio <= MOST_RATIO:
            raise ValueError(f"no row of traits: {row!r}")
        return cls(
            dict(_moments(refused, VOCABULARY)),
            dict(_moments(worked, WAYS)),
            dict(_moments(ruled_out, frozenset(PRIVACY))),
            float(ratio),
            counts,
            None if limit is None else _limit(limit),
            float(at),
        )


UNKNOWN = Traits()


def pruned(traits: Mapping[str, Traits], now: float) -> Mapping[str, Traits]:
    """Return what is worth keeping: not what is long over, and of too many the latest."""
    kept = {model: known for model, known in traits.items() if _believed(known.at, KEPT, now)}
    if len(kept) <= MOST_MODELS:
        return kept
    latest = sorted(kept, key=lambda model: kept[model].at, reverse=True)[:MOST_MODELS]
    return {model: kept[model] for model in latest}


def _kept(name: str) -> float:
    return FORM_KEPT if name in FORMS else FEATURE_KEPT


def _believed(at: float, kept: float, now: float) -> bool:
    return now - kept < at <= now + _FARTHEST


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _GREATEST


def _limit(row: object) -> tuple[int, float]:
    if not isinstance(row, list | tuple) or len(row) != 2 or type(row[0]) is not int or not _is_number(row[1]):
        raise ValueError(f"no limit: {row!r}")
    return min(max(row[0], 1), _GREATEST), float(row[1])


def _moments(row: object, names: frozenset[str]) -> Iterator[tuple[str, float]]:
    if not isinstance(row, Mapping):
        raise ValueError(f"no moments: {row!r}")
    for name, at in row.items():
        if not _is_number(at):
            raise ValueError(f"no moment: {at!r}")
        if name in names:
            yield name, float(at)
