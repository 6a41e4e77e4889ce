"""The reasoning blocks of an answer, joined from the pieces of a stream. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]

_JOINED = ("text", "summary", "data")
# So many blocks of one index and type, with ids of their own, are looked through for that of a piece.
_MOST = 64


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
    # The words of a block, joined at the end; and the blocks that a piece may belong to: there may be many of both.
    words: list[dict[str, list[str]]] = []
    alike: dict[object, list[int]] = {}
    for piece in details:
        if not isinstance(piece, Mapping):
            continue
        places = [] if piece.get("index") is None else alike.setdefault(_key(piece), [])
        at = next((at for at in reversed(places[-_MOST:]) if _same_block(merged[at], piece)), None)
        if at is None:
            places.append(len(merged))
            merged.append(dict(piece))
            words.append({})
            continue
        block, said = merged[at], words[at]
        for key, value in piece.items():
            known = block.get(key)
            if key in _JOINED and isinstance(known, str) and isinstance(value, str):
                said.setdefault(key, [known]).append(value)
            elif value not in (None, "") or key not in block:
                block[key] = value
                said.pop(key, None)
    for block, said in zip(merged, words, strict=True):
        block.update({key: "".join(pieces) for key, pieces in said.items()})
    return merged


def _key(piece: Mapping[str, Any]) -> object:
    """Return what two pieces have in common that may be of one block."""
    key = piece["index"], piece.get("type")
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _same_block(block: Mapping[str, Any], piece: Mapping[str, Any]) -> bool:
    if piece.get("index") is None:
        return False
    if (block.get("index"), block.get("type")) != (piece["index"], piece.get("type")):
        return False
    ids = {str(block.get("id") or ""), str(piece.get("id") or "")} - {""}
    return len(ids) < 2
