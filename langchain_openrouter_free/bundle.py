"""The facts of the newest known catalogue, for a first start without a network: `bundled.json` beside this file.

    curl -s https://openrouter.ai/api/v1/models | python -m langchain_openrouter_free.bundle

writes it anew. It holds the free models alone: what a paid one costs must be asked for.
"""

from __future__ import annotations

import json
import sys
import time
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from langchain_openrouter_free.catalogue import Listing, says_free

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


@lru_cache(maxsize=1)
def bundled() -> Listing:
    """Return the facts that came with the package; `at` is the moment at which they were true."""
    page = json.loads((resources.files("langchain_openrouter_free") / _FILE).read_text(encoding="utf-8"))
    listing = Listing.of(page, float(page["at"]))
    assert listing is not None  # noqa: S101 - it is ours
    return listing


def reduced(listing: Listing) -> list[dict[str, Any]]:
    """Return the rows of what is proven free, with the facts alone that a choice goes by."""
    rows = []
    for model in sorted(listing.rows):
        if not says_free(model) or listing.doubt(model) is not None:
            continue
        row = listing.rows[model][0]
        kept = {name: row[name] for name in _KEPT if row.get(name) is not None}
        shape, provider = row.get("architecture") or {}, row.get("top_provider") or {}
        kept["architecture"] = {
            name: shape[name] for name in ("input_modalities", "output_modalities") if name in shape
        }
        limits = ("context_length", "max_completion_tokens")
        kept["top_provider"] = {name: provider[name] for name in limits if provider.get(name) is not None}
        indices = (row.get("benchmarks") or {}).get("artificial_analysis")
        rows.append(kept | ({"benchmarks": {"artificial_analysis": indices}} if indices else {}))
    return rows


def main(text: str, at: float) -> int:
    """Write the file from the body of `GET /models`; the result is the exit status."""
    listing = Listing.of(json.loads(text), at)
    rows = [] if listing is None else reduced(listing)
    if not rows:
        sys.stderr.write("error: this is no list of models with free ones among them\n")
        return 1
    lines = ",\n".join(json.dumps(row, sort_keys=True, separators=(",", ":")) for row in rows)
    Path(__file__).with_name(_FILE).write_text(f'{{"at":{int(at)},"data":[\n{lines}\n]}}\n', encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read(), time.time()))
