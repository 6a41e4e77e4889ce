"""The facts of the newest known catalogue, for a first start without a network: `bundled.json` beside this file.

    curl -s https://openrouter.ai/api/v1/models | python -m langchain_openrouter_free.catalogue.bundle

writes it anew (`--to` names another file). It holds the free models alone: what a paid one costs must be asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from langchain_openrouter_free.catalogue.catalogue import Listing, Row, says_free

_FILE = "bundled.json"
_KEPT = (
    "id",
    "name",
    "created",
    "context_length",
    "supported_parameters",
    "reasoning",
    "expiration_date",
    "pricing",
)
_TABLES = {
    "architecture": ("input_modalities", "output_modalities"),
    "top_provider": ("context_length", "max_completion_tokens"),
    "benchmarks": ("artificial_analysis",),
}


@lru_cache(maxsize=1)
def bundled() -> Listing:
    """Return the facts that came with the package; `at` is the moment at which they were true."""
    page = json.loads((resources.files(__package__ or "") / _FILE).read_text(encoding="utf-8"))
    listing = Listing.of(page, float(page["at"]))
    assert listing is not None  # noqa: S101 - it is ours
    return listing


def reduced(listing: Listing) -> list[dict[str, Any]]:
    """Return the rows of what is proven free, with the facts alone that a choice goes by."""
    proven = [model for model in sorted(listing.rows) if says_free(model) and listing.doubt(model) is None]
    return [_reduced(listing.rows[model][0]) for model in proven]


def _reduced(row: Row) -> dict[str, Any]:
    kept: dict[str, Any] = {name: row[name] for name in _KEPT if row.get(name) is not None}
    for table, names in _TABLES.items():
        stated = row.get(table)
        if isinstance(stated, dict):
            kept[table] = {name: stated[name] for name in names if stated.get(name) is not None}
    return {name: value for name, value in kept.items() if value != {} or name == "reasoning"}


def main(text: str, at: float, to: Path | None = None) -> int:
    """Write the file from the body of `GET /models`; the result is the exit status.

    Args:
        text: the body.
        at: Unix seconds at which it was true.
        to: where to write; default: beside this module.
    """
    try:
        listing = Listing.of(json.loads(text), at)
    except (ValueError, RecursionError):
        listing = None
    rows = [] if listing is None else reduced(listing)
    if not rows:
        sys.stderr.write("error: this is no list of models with free ones among them; nothing is written\n")
        return 1
    lines = ",\n".join(json.dumps(row, sort_keys=True, separators=(",", ":")) for row in rows)
    file = to or Path(__file__).with_name(_FILE)
    file.write_text(f'{{"at":{int(at)},"data":[\n{lines}\n]}}\n', encoding="utf-8")
    sys.stderr.write(f"{len(rows)} free models in {file}\n")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the facts that come with the package from GET /models.")
    parser.add_argument("--to", type=Path, help="the file to write instead of the package's own")
    sys.exit(main(sys.stdin.read(), time.time(), parser.parse_args().to))
