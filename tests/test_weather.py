"""The real weather of the free tier, replayed in short: an answer in a minute, and hardly a request beside it.

The long form is `make weather`; `weather/replay.py` says what is measured.
"""

from __future__ import annotations

import pytest
from replay import CATALOGUE, MINUTE, Replay
from weather import HALF_HOUR, Weather

# Seconds between two calls, how they are made, and the days that are replayed.
SHORT = [(600.0, "invoke", 99.0), (600.0, "ainvoke", 99.0), (90.0, "stream", 1.0), (20.0, "astream", 0.2)]


@pytest.mark.parametrize(("every", "path", "days"), SHORT)
def test_an_answer_within_a_minute_for_at_most_a_tenth_of_a_request_more(every: float, path: str, days: float) -> None:
    """In the catalogue's order, nothing learned before: 99.9 % within 60 s, 1.10 requests for an answer."""
    told = Replay(Weather(0), "catalogue", every=every, path=path, days=days).run()
    assert told.possible == told.calls > 500
    assert told.answered == 1.0
    assert told.in_a_minute >= 0.999
    assert told.requests <= 1.10


def test_the_worst_order_gets_every_answer_too() -> None:
    """Who names the worst models first pays more requests for it, half of what they cost without a memory of days."""
    told = Replay(Weather(0), "worst first", every=600.0).run()
    assert told.answered == 1.0
    assert told.in_a_minute >= 0.98
    assert told.requests <= 1.35


def test_what_is_drawn_is_what_the_statistics_say() -> None:
    """A request's fate depends on seed, model and moment alone, and its shares are those of the table."""
    weather, moment = Weather(0), 0.0
    for model in CATALOGUE:
        slot, spell = next(iter(weather.spells[model].items()))
        moment = float(slot * HALF_HOUR)
        fates = [weather.fate(model, moment + step) for step in range(HALF_HOUR)]
        assert fates == [weather.fate(model, moment + step) for step in range(HALF_HOUR)]
        assert sum(fate.ok for fate in fates) / HALF_HOUR == pytest.approx(spell.success, abs=0.04)
        assert sum(fate.status == 429 for fate in fates) / HALF_HOUR == pytest.approx(spell.limited, abs=0.04)
        firsts = sorted(fate.first for fate in fates if fate.ok) or [spell.p50]
        assert firsts[len(firsts) // 2] == pytest.approx(spell.p50, rel=0.3)
    assert weather.fate(CATALOGUE[0], weather.ends + MINUTE).status == 404
