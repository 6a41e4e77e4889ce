"""The weather as what the simulator's models do, at so many times its speed."""

from __future__ import annotations

from typing import Any

from replay import CATALOGUE
from weather import Weather


def scripts(weather: Weather, moment: float, speed: float) -> dict[str, list[dict[str, Any]]]:
    """Return what each model of the list does at a moment: what may come, and how often; nothing if it is not offered.

    Args:
        weather: the statistics.
        moment: Unix seconds.
        speed: how many times as fast time passes.
    """
    told: dict[str, list[dict[str, Any]]] = {}
    for model in CATALOGUE:
        spell = weather.spell(model, moment)
        if spell is None:
            told[model] = []
            continue
        # The lower, the middle and the upper part of the answers.
        spread = (spell.p95 / spell.p50) ** 0.5
        firsts = [(spell.p50 / spread, 3), (spell.p50, 4), (spell.p50 * spread, 2), (spell.p95, 1)]
        mix = [
            {"do": "ok", "latency": first / speed, "speed": spell.speed * speed, "weight": part * 100 * spell.success}
            for first, part in firsts
        ]
        mix += [{"do": "502", "weight": 1000 * spell.error}, {"do": "429-upstream", "weight": 1000 * spell.limited}]
        told[model] = [one for one in mix if one["weight"] > 0]
    return told
