"""The object that a request's `response_format` wants: is it what a model has said? Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_openrouter_free.judging.schemas import misfit
from langchain_openrouter_free.protocol.spoken import behind_thoughts

_FENCED = re.compile(r"```[a-zA-Z]*\s*\n(?P<inside>.*?)\n?\s*```", re.DOTALL)


def wanted(params: Mapping[str, Any]) -> str | None:
    """Return the type of object that a request wants, `json_schema` or `json_object`; None where it wants none."""
    asked = params.get("response_format")
    kind = asked.get("type") if isinstance(asked, Mapping) else None
    return kind if kind in ("json_schema", "json_object") else None


def bare(text: str) -> str:
    """Return the object of an answer without thoughts, a code fence and words: who wants one has a plain parser."""
    if _is_json(text):
        return text
    said = behind_thoughts(text)
    fenced = _FENCED.search(said)
    inside = fenced["inside"] if fenced else said
    return inside if _is_json(inside) else text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def wrong(text: str, params: Mapping[str, Any]) -> str | None:
    """Say what is wrong with the object that a request wants; None if nothing is."""
    kind = wanted(params)
    if kind is None:
        return None
    try:
        value = json.loads(bare(text))
    except (ValueError, RecursionError):
        return "no JSON"
    if kind == "json_object":
        return None if isinstance(value, dict) else "no JSON object"
    about = params["response_format"].get("json_schema")
    schema = about.get("schema") if isinstance(about, Mapping) else None
    return misfit(value, schema) if isinstance(schema, Mapping) else None
