"""JSON of a reply, read as fast as this machine can.

langchain-core brings a parser that takes a third of the time on most machines (orjson, by way of langsmith); where it
is missing, or refuses what the standard one reads (`NaN`, huge numbers, lone surrogates), the standard one is used.
"""

from __future__ import annotations

import json
from typing import Any

try:
    import orjson
except ImportError:  # not on every platform
    _FAST: Any = None
else:
    _FAST = orjson.loads


def parsed(content: bytes | str) -> object:
    """Return what a JSON text says; None where it is no JSON."""
    if _FAST is not None:
        try:
            found: object = _FAST(content)
        except ValueError:
            pass
        else:
            return found
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found
