"""Makes `statistics.csv`, the reduced table of facts that the replay draws from.

`python tests/weather/reduce.py endpoint_stats.csv.gz` reads the service's public 5-minute statistics of free endpoints
(each a window of 30 minutes over all its users; collected in sui414/openrouter-pricing-data, 2026-07-20 to 25) and
keeps one line for each model and half hour: the last window that ends in it, its endpoints added up.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections import defaultdict
from datetime import datetime
from pathlib import Path

HALF_HOUR = 1800
# No chat models.
_OTHERS = ("embed", "rerank", "safety")


def reduced(source: Path) -> dict[str, dict[int, list[int]]]:
    """Return model -> half hour -> thousandths of success, error and rate limit, ms to the first token, tokens/s."""
    last: dict[tuple[str, int], dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    with gzip.open(source, "rt", encoding="utf-8") as text:
        for row in csv.DictReader(text):
            if row["success_count"] and not any(word in row["model_slug"] for word in _OTHERS):
                slot = int(datetime.fromisoformat(row["scraped_at"]).timestamp()) // HALF_HOUR
                last[row["model_slug"], slot][row["scraped_at"]].append(row)
    table: dict[str, dict[int, list[int]]] = defaultdict(dict)
    for (model, slot), by_moment in sorted(last.items()):
        table[model][slot] = _joined(by_moment[max(by_moment)])
    return table


def _joined(endpoints: list[dict[str, str]]) -> list[int]:
    names = ("success_count", "derankable_error_count", "rate_limited_count")
    counts = [sum(int(float(row[name] or 0)) for row in endpoints) for name in names]
    every = max(sum(counts), 1)
    error, limited = (round(1000 * one / every) for one in counts[1:])
    busiest = max(endpoints, key=lambda row: float(row["success_count"]))
    median, late, speed = (float(busiest[name] or 0) for name in ("p50_latency", "p95_latency", "p50_throughput"))
    median = median or 1000.0
    return [1000 - error - limited, error, limited, round(median), round(max(late, median)), round(speed) or 30]


def main() -> None:
    """Write the table beside this file."""
    with (Path(__file__).parent / "statistics.csv").open("w", encoding="ascii", newline="\n") as out:
        out.write("# success, error, limited: thousandths; p50, p95: ms to the first token; speed: tokens/s\n")
        out.write("# per half hour since 1970. Source: public 5-minute statistics, see reduce.py\n")
        out.write("half_hour,success,error,limited,p50,p95,speed\n")
        for model, slots in reduced(Path(sys.argv[1])).items():
            out.write(f"{model}\n")
            out.writelines(f"{slot},{','.join(map(str, row))}\n" for slot, row in slots.items())


if __name__ == "__main__":
    main()
