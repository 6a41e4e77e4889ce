"""How a model has done over days, and for how long after a failure the others are asked before it. Pure.

The breaker forgets with the first answer, and `health.py` within hours: a model that fails one time in four would cost
a request in every fourth call for ever. This memory is slower, so that it can tell such a model from one that had a bad
moment. It rests nobody: who is spared comes last, and is still asked where nobody else answers. Times are Unix seconds.
"""

from __future__ import annotations

from typing import Any

from langchain_openrouter_free.values import value_type

# Half of it is forgotten in a day, in seconds: the shares of free endpoints change from day to day, not from hour to
# hour (5-minute statistics of July 2026).
HALF_LIFE = 86_400.0
# With more remembered attempts than this it counts.
PROOF = 3.0
# Seconds for each failure that there is for an answer, and the most for one failure. With these a replay of real days
# (`make weather`) needs 1.03 to 1.08 requests for an answer at a call each 20 s to 10 min; without, 1.07 to 1.18.
_SPARED, LONGEST = 8 * 3600.0, 6 * 3600.0
# What costs nothing: one failure, and one in twenty answers. So many answers are assumed before any was seen.
_FREE_FAILURES, _TOLERATED, _ASSUMED = 1.0, 0.05, 8.0
# Greater numbers on a page are none of ours.
_GREATEST = 2**53


@value_type()
class Repute:
    """What is remembered of a model over days.

    Attributes:
        attempts: faded number of attempts.
        answers: faded number of answers among them.
        until: it is spared until then; 0 if it never was.
    """

    attempts: float = 0.0
    answers: float = 0.0
    until: float = 0.0

    def faded(self, seconds: float, now: float) -> Repute:
        """Return it so many seconds later, at `now`; a clock that jumped back fades nothing."""
        if self == UNPROVEN:
            return self
        left = 0.5 ** (seconds / HALF_LIFE) if seconds > 0 else 1.0
        return Repute(self.attempts * left, self.answers * left, self.until if self.spares(now) else 0.0)

    def noted(self, *, ok: bool, now: float) -> Repute:
        """Return it after one more attempt, which was an answer or a failure."""
        attempts, answers = self.attempts + 1.0, self.answers + (1.0 if ok else 0.0)
        until = self.until if ok else max(self.until, now + spared(attempts, answers))
        return Repute(attempts, answers, until)

    def spares(self, now: float) -> bool:
        """Tell whether others are to be asked first; a moment too far ahead was written by a clock that was wrong."""
        return now < self.until <= now + LONGEST

    def as_row(self) -> list[int]:
        """Write it as whole numbers: thousandths of an attempt and of an answer, and seconds."""
        return [round(self.attempts * 1000), round(self.answers * 1000), round(self.until)]

    @classmethod
    def from_row(cls, row: Any) -> Repute:
        """Read it from a row.

        Raises:
            ValueError: if it is no such row.
        """
        # By type, not isinstance: True is no number of attempts.
        if not isinstance(row, list | tuple) or len(row) != 3 or not all(type(number) is int for number in row):
            raise ValueError(f"no row of health, for its repute: {row!r}")
        attempts, answers, until = row
        if not (0 <= answers <= attempts < _GREATEST and 0 <= until < _GREATEST):
            raise ValueError(f"no row of health, for its repute: {row!r}")
        return cls(attempts / 1000, answers / 1000, float(until))


UNPROVEN = Repute()


def spared(attempts: float, answers: float) -> float:
    """Return for how many seconds after a failure the others are asked first.

    It grows with the failures, shrinks with the answers, is at most 6 hours, and 0 for who fails one time in twenty.
    """
    if attempts <= PROOF:
        return 0.0
    counted = attempts - answers - _FREE_FAILURES - _TOLERATED * answers
    return min(max(_SPARED * counted / (answers + _ASSUMED), 0.0), LONGEST)
