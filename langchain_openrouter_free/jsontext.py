"""JSON text of what a call writes again and again, by an encoder that is made once.

`json.JSONEncoder.encode` makes one for each text, which takes longer than to write a short one. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder


def writer(*, ascii_only: bool = True, default: Callable[[object], object] | None = None) -> Callable[[object], str]:
    """Return what writes values without blanks.

    Args:
        ascii_only: whether all other characters are escaped.
        default: makes something that can be written of what cannot.

    What it returns raises `TypeError` for what cannot be written, `RecursionError` for what holds itself.
    """
    # Where it runs without the interpreter's own C code, there is none to be kept.
    made = getattr(encoder, "c_make_encoder", None)
    plain = json.JSONEncoder(ensure_ascii=ascii_only, check_circular=False, separators=(",", ":"), default=default)
    if made is None:
        return plain.encode
    quoted = encoder.encode_basestring_ascii if ascii_only else encoder.encode_basestring
    pieces = made(None, plain.default, quoted, None, ":", ",", False, False, True)
    return lambda value: "".join(pieces(value, 0))
