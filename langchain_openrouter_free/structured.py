"""Structured output: what to bind to the request, and how to read the object out of the answer.

The parser takes whichever form came back (a tool call, JSON text, JSON in a code fence), because free
models do not always answer in the form they were asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.output_parsers.base import BaseGenerationOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, ConfigDict

from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.settings import did_you_mean

METHODS = ("function_calling", "json_schema", "json_mode")
_FENCE = re.compile(r"```(?:json)?\s*\n?(.*?)```", re.DOTALL | re.IGNORECASE)


class StructuredParser(BaseGenerationOutputParser[Any]):
    """Read one object out of an answer, from its tool call or from its text.

    Attributes:
        schema_class: pydantic class to validate against; None returns the plain object.
        tool_name: the tool that stands for the schema, if it was asked for as a tool.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    schema_class: Any = None
    tool_name: str | None = None

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Return the object.

        Raises:
            OutputParserException: if there is none, or it does not fit the schema.
        """
        generation = result[0]
        message = generation.message if isinstance(generation, ChatGeneration) else None
        found = _arguments(message, self.tool_name) if isinstance(message, AIMessage) else None
        if found is None:
            found = _object_in(generation.text)
        if self.schema_class is None:
            return found
        try:
            return _validate(self.schema_class, found)
        except ValueError as error:
            raise OutputParserException(
                f"The answer does not fit {self.schema_class.__name__}: {error}", llm_output=generation.text
            ) from error


def _arguments(message: AIMessage, tool_name: str | None) -> Any:
    calls = [call for call in message.tool_calls if tool_name is None or call["name"] == tool_name]
    return calls[0]["args"] if calls else None


def _object_in(text: str) -> Any:
    fenced = _FENCE.search(text)
    for candidate in (text, fenced.group(1) if fenced else "", text[text.find("{") :] if "{" in text else ""):
        try:
            found, _ = json.JSONDecoder(strict=False).raw_decode(candidate.strip())
        except ValueError:
            continue
        if isinstance(found, dict | list):
            return found
    raise OutputParserException(f"No JSON object in the answer: {text[:200]!r}", llm_output=text)


def _validate(schema: Any, found: Any) -> Any:
    if issubclass(schema, BaseModel):
        return schema.model_validate(found)
    return schema.parse_obj(found)


def response_format(schema: Any, *, strict: bool | None) -> dict[str, Any]:
    """Return the `response_format` that asks for `schema`; a ready one passes through."""
    if isinstance(schema, dict) and schema.get("type") == "json_schema" and "json_schema" in schema:
        return schema
    if isinstance(schema, dict) and "name" in schema and "schema" in schema:
        return {"type": "json_schema", "json_schema": schema}
    if isinstance(schema, dict) and "title" not in schema and "name" not in schema:
        raise ConfigurationError("A JSON schema for structured output needs a 'title'.")
    converted = convert_to_json_schema(schema, strict=strict)
    name = converted.pop("title", "response")
    description = converted.pop("description", None)
    spec: dict[str, Any] = {"name": re.sub(r"[^A-Za-z0-9_-]", "_", str(name)), "schema": converted}
    if description:
        spec["description"] = description
    if strict is not None:
        spec["strict"] = strict
    return {"type": "json_schema", "json_schema": spec}


def structured(
    bind: Callable[..., Runnable[Any, AIMessage]],
    bind_tools: Callable[..., Runnable[Any, AIMessage]],
    schema: Any,
    *,
    method: str,
    include_raw: bool,
    strict: bool | None,
    extra: dict[str, Any],
) -> Runnable[Any, Any]:
    """Build `model | parser` for `with_structured_output`."""
    if method not in METHODS:
        raise ConfigurationError(f"method={method!r}{did_you_mean(method, METHODS)}; known: {list(METHODS)}.")
    if schema is None and method != "json_mode":
        raise ConfigurationError("with_structured_output needs a schema, unless method='json_mode'.")
    schema_class = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
    asked: dict[str, Any] = {}
    if schema is not None:
        described = {"kwargs": {"method": method, "strict": strict}, "schema": convert_to_openai_tool(_titled(schema))}
        asked["ls_structured_output_format"] = described
    tool_name = None
    if method == "function_calling":
        tool_name = convert_to_openai_tool(schema)["function"]["name"]
        model = bind_tools([schema], tool_choice=tool_name, strict=strict, **asked, **extra)
    elif method == "json_schema":
        model = bind(response_format=response_format(schema, strict=strict), **asked, **extra)
    else:
        model = bind(response_format={"type": "json_object"}, **asked, **extra)
    parser = StructuredParser(schema_class=schema_class, tool_name=tool_name)
    if not include_raw:
        return model | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    guarded = parsed.with_fallbacks([failed], exception_key="parsing_error")
    return RunnableMap(raw=model) | guarded


def _titled(schema: Any) -> Any:
    """Return a form of the schema that LangChain can describe (a ready `response_format` is unwrapped)."""
    if isinstance(schema, dict) and "json_schema" in schema:
        schema = schema["json_schema"]
    if isinstance(schema, dict) and "schema" in schema and "name" in schema:
        return {"title": schema["name"], **schema["schema"]}
    return schema
