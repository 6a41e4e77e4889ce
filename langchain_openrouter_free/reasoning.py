"""The reasoning blocks of an answer, joined from the pieces of a stream. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]

_JOINED = ("text", "summary", "data")


def merge_reasoning_details(details: Iterable[Any]) -> list[Json]:
    """Join the pieces in which a stream delivers reasoning blocks.

    Pieces belong together if index and type agree and their ids do not contradict each other; pieces without
    an index stand alone. Text, summary and data are joined, of everything else the last value that says
    something is kept. Blocks that are whole pass unchanged, so merging twice is merging once.

    Args:
        details: The pieces in the order of their arrival.

    Returns:
        Fresh blocks in the order of their first pieces.
    """
    merged: list[Json] = []
    for piece in details:
        if not isinstance(piece, Mapping):
            continue
        block = next((block for block in reversed(merged) if _same_block(block, piece)), None)
        if block is None:
            merged.append(dict(piece))
            continue
        for key, value in piece.items():
            known = block.get(key)
            if key in _JOINED and isinstance(known, str) and isinstance(value, str):
                block[key] = known + value
            elif value not in (None, "") or key not in block:
                block[key] = value
    return merged


def _same_block(block: Mapping[str, Any], piece: Mapping[str, Any]) -> bool:
    if piece.get("index") is None:
        return False
    if (block.get("index"), block.get("type")) != (piece["index"], piece.get("type")):
        return False
    ids = {str(block.get("id") or ""), str(piece.get("id") or "")} - {""}
    return len(ids) < 2
