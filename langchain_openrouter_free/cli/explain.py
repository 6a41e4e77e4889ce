"""`explain`: the route of a request, without the request."""

from __future__ import annotations

from typing import Any

from langchain_openrouter_free.cli.output import moment, plain
from langchain_openrouter_free.cli.start import Options, model

_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
# The smallest picture there is: one transparent pixel.
_PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def run(options: Options, *, prompt: str, tools: bool, image: bool, structured: bool, sensitive: bool) -> None:
    """Show who would be asked; exit with 1 if that is nobody."""
    from langchain_core.messages import HumanMessage  # noqa: PLC0415 - slow for --help

    out = options.output()
    content: str | list[Any] = prompt
    if image:
        content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": _PIXEL}}]
    wishes: dict[str, Any] = {"tools": [_TOOL]} if tools else {}
    wishes |= {"response_format": _SCHEMA} if structured else {}
    wishes |= {"sensitive": True} if sensitive else {}
    told = model(options).explain([HumanMessage(content)], **wishes)
    if not out.result(
        {"order": told.order, "models": told.models, "listed_at": told.listed_at, "bundled": told.bundled}
    ):
        came = "came with the package" if told.bundled else "was fetched"
        out.say(f"By the catalogue of {moment(told.listed_at)}, which {came}:", "dim")
        for rank, name in enumerate(told.order, 1):
            out.say(f"{rank:>4}  {plain(name)}")
        for one in told.models:
            if one.reason:
                until = f" until {moment(one.until)}" if one.until else ""
                out.say(f"   -  {plain(one.model)}: {plain(one.reason)}{until}", "dim")
    if not told.order:
        out.leave(1)
