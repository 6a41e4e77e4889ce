"""What the tests of health begin with: memories of models, made and drawn."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from langchain_openrouter_free.books.health import HALF_LIFE, Health

MODELS = [f"m{n}:free" for n in range(6)]
START = 1_790_000_000.0
ONE_DAY = 86_400.0
UNKNOWN = Health()

steps = st.floats(0, 4 * HALF_LIFE)
notes = st.tuples(steps, st.booleans(), st.none() | st.floats(0, 100), st.none() | st.floats(0.1, 500))


def remembered(*outcomes: bool, at: float = START, **measures: Any) -> Health:
    """What is remembered of attempts that all ended at one moment."""
    known = UNKNOWN
    for ok in outcomes:
        known = known.noted(ok=ok, now=at, **measures)
    return known


def told(story: list[tuple[float, bool, float | None, float | None]]) -> tuple[Health, float]:
    """What is remembered after notes at some distance from each other, and the moment of the last."""
    known, now = UNKNOWN, START
    for step, ok, first, speed in story:
        now += step
        known = known.noted(ok=ok, now=now, first_token_s=first, tokens_per_s=speed)
    return known, now


memories = st.lists(notes, max_size=8).map(lambda story: told(story)[0])
books = st.dictionaries(st.sampled_from([*MODELS, "other:free", "gone:free"]), memories)
models_asked = st.lists(st.sampled_from([*MODELS, "new:free"]), unique=True)
moments = st.floats(START - 3 * ONE_DAY, START + 3 * ONE_DAY)

# Beyond doubt, and noted at `START`.
SICK, WELL = remembered(*[False] * 6), remembered(*[True] * 6)
