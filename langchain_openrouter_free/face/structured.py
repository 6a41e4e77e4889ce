"""Structured output: the wish that is bound to a request, and how the object is read out of the answer.

The parser takes whichever form came back (a tool call, JSON text, JSON in a code fence), because free
models do not always answer in the form they were asked for. It reads twice: inside the attempt, where a wrong object
makes the next model be asked, and behind the model, where the caller gets it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage, BaseMessageChunk
from langchain_core.output_parsers.transform import BaseCumulativeTransformOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.json import parse_partial_json
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, ConfigDict, ValidationError

from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.judging.schemas import misfit
from langchain_openrouter_free.judging.shapes import BEST_FIRST, Shape
from langchain_openrouter_free.protocol.evidence import LENIENT
from langchain_openrouter_free.protocol.spoken import behind_thoughts
from langchain_openrouter_free.request.settings import did_you_mean
from langchain_openrouter_free.values import value_type

AUTO = "auto"
_REFERENCE = re.compile(r'"\$ref": "#/\$defs/([^"]+)"')
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9_-]")
_TITLES = frozenset({"title", "description"})
_NO_OBJECT = "No JSON object in the answer"
# Errors whose words are those of the answer; those of validators are the caller's own.
_REPEATING = frozenset({"union_tag_invalid"})
METHODS = (AUTO, "json_schema", "function_calling", "json_mode")
_FENCE = re.compile(r"```(?:json)?\s*\n?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


class StructuredParser(BaseCumulativeTransformOutputParser[Any]):
    """Read one object out of an answer, from its tool call or from its text.

    On a stream it gives the object as far as it has come, key by key; of a pydantic class only the whole.

    Attributes:
        schema_class: pydantic class to validate against; None returns the plain object.
        json_schema: JSON schema to check a plain object against; None where it was checked before.
        tool_name: the tool that stands for the schema.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    schema_class: Any = None
    json_schema: dict[str, Any] | None = None
    tool_name: str | None = None

    def parse(self, text: str) -> Any:
        """Return the object in a text."""
        return self.parse_result([Generation(text=text)])

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Return the object; of a part of an answer what there is of it, or None.

        Raises:
            OutputParserException: if there is none, or it does not fit the schema.
        """
        generation = result[0]
        message = generation.message if isinstance(generation, ChatGeneration) else None
        found = _arguments(message, self.tool_name) if isinstance(message, AIMessage) else None
        if found is None:
            found = _begun_in(generation.text) if partial else _object_in(generation.text)
        if found is None or (partial and self.schema_class is None):
            return found
        try:
            return self._checked(found)
        except ValueError as error:
            if partial:
                return None
            text = generation.text or json.dumps(found, ensure_ascii=False, default=str)
            raise OutputParserException(f"The answer does not fit {self._name}: {error}", llm_output=text) from error

    @property
    def OutputType(self) -> Any:  # noqa: N802 - LangChain's name
        """What comes out, for whoever asks a chain for its schema: the class, if it is one of pydantic 2."""
        schema = self.schema_class
        return schema if schema is not None and issubclass(schema, BaseModel) else Any

    @property
    def _name(self) -> str:
        if self.schema_class is not None:
            return str(self.schema_class.__name__)
        return str((self.json_schema or {}).get("title") or self.tool_name or "the schema")

    def _checked(self, found: Any) -> Any:
        if self.schema_class is not None:
            return _validate(self.schema_class, found)
        wrong = misfit(found, self.json_schema)
        if wrong is not None:
            raise ValueError(wrong)
        return found

    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:  # noqa: A002 - the base class's name
        growth = _Growth(self)
        for piece in input:
            yield from growth.added(piece)
        yield from growth.ended()

    async def _atransform(
        self,
        input: AsyncIterator[str | BaseMessage],  # noqa: A002 - the base class's name
    ) -> AsyncIterator[Any]:
        growth = _Growth(self)
        async for piece in input:
            for found in growth.added(piece):
                yield found
        for found in growth.ended():
            yield found


class _Growth:
    """An answer as far as it has come, and the object that was last given of it."""

    def __init__(self, parser: StructuredParser) -> None:
        self._parser = parser
        self._told: Any = None
        self._given: Any = None

    def added(self, piece: str | BaseMessage) -> Iterator[Any]:
        """Take one more piece; yield the object if it has grown."""
        told: Any = GenerationChunk(text=piece) if isinstance(piece, str) else None
        if isinstance(piece, BaseMessageChunk):
            told = ChatGenerationChunk(message=piece)
        elif isinstance(piece, BaseMessage):
            told = ChatGeneration(message=piece)
        self._told = told if self._told is None else self._told + told
        # The beginning of an object may satisfy its class, with half a word in it.
        if self._parser.schema_class is None:
            yield from self._grown(partial=True)

    def ended(self) -> Iterator[Any]:
        """Yield the whole object if it is another than the last part; raise if it is none."""
        if self._told is not None:
            yield from self._grown(partial=False)

    def _grown(self, *, partial: bool) -> Iterator[Any]:
        found = self._parser.parse_result([self._told], partial=partial)
        if found is not None and found != self._given:
            self._given = found
            yield found


def _arguments(message: AIMessage, tool_name: str | None) -> Any:
    calls = [call for call in message.tool_calls if tool_name is None or call["name"] == tool_name]
    return calls[0]["args"] if calls else None


def _object_in(text: str) -> Any:
    for words in _places(text):
        try:
            found, _ = LENIENT.raw_decode(words)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict | list):
            return found
    raise OutputParserException(f"{_NO_OBJECT}: {text[:200]!r}", llm_output=text)


def _begun_in(text: str) -> Any:
    """Return what there is of the object in the beginning of an answer, or None."""
    for words in _places(text):
        with contextlib.suppress(ValueError, RecursionError):
            found = parse_partial_json(words)
            if isinstance(found, dict | list):
                return found
    return None


def _places(text: str) -> Iterator[str]:
    """Yield where an object may begin: at the text's own beginning, in a fence, behind a few words or thoughts."""
    text = behind_thoughts(text)
    yield text.strip()
    fenced = _FENCE.search(text)
    if fenced:
        yield fenced.group(1).strip()
    if "{" in text:
        yield text[text.find("{") :].strip()


def _validate(schema: Any, found: Any) -> Any:
    if not issubclass(schema, BaseModel):
        return schema.parse_obj(found)
    try:
        return schema.model_validate(found)
    except ValidationError as error:
        return _as_json(schema, found, error)


def _as_json(schema: type[BaseModel], found: Any, error: ValidationError) -> BaseModel:
    """Validate what is said in JSON: there a strict class takes a word for an enum or a date, a list for a tuple."""
    with contextlib.suppress(TypeError, RecursionError):
        try:
            return schema.model_validate_json(json.dumps(found))
        except ValidationError as closer:
            # What is no JSON to pydantic (half a character, say) has been told better.
            if all(item["type"] != "json_invalid" for item in closer.errors(include_url=False)):
                error = closer
    raise error


def _uncut(schema: Any) -> Any:
    """Return a class that holds itself as JSON schema with references: langchain-core cuts a circle of them off."""
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        return schema
    described = schema.model_json_schema()
    parts = described.get("$defs", {})
    # All that each part holds, however deep; what holds itself stands in a circle.
    held = {name: set(_REFERENCE.findall(json.dumps(part))) for name, part in parts.items()}
    for _ in parts:
        held = {name: inner.union(*(held.get(one, set()) for one in inner)) for name, inner in held.items()}
    if not any(name in inner for name, inner in held.items()):
        return schema
    root = parts[described["$ref"].rpartition("/")[2]] if "$ref" in described else described
    return {**root, "$defs": parts}


def response_format(schema: Any, *, strict: bool | None) -> dict[str, Any]:
    """Return the `response_format` that asks for `schema`; a ready one passes through."""
    if isinstance(schema, dict) and schema.get("type") == "json_schema" and "json_schema" in schema:
        return schema
    if isinstance(schema, dict) and "name" in schema and "schema" in schema:
        return {"type": "json_schema", "json_schema": schema}
    converted = convert_to_json_schema(_titled(schema), strict=strict)
    name = converted.pop("title", "response")
    description = converted.pop("description", None)
    spec: dict[str, Any] = {"name": _UNNAMEABLE.sub("_", str(name)), "schema": converted}
    if description:
        spec["description"] = description
    if strict is not None:
        spec["strict"] = strict
    return {"type": "json_schema", "json_schema": spec}


def shape_of(schema: Any, *, method: str, keeps: bool, strict: bool | None) -> Shape:
    """Return the wish for an object of a schema.

    Args:
        schema: pydantic class, typed dictionary or JSON schema; None for any object.
        method: one of `METHODS`.
        keeps: whether the last wrong object is delivered where nobody gave a right one.
        strict: whether the schema must be followed to the letter, where the model can do that.

    Raises:
        ConfigurationError: for an unknown method, or a schema that cannot be described.
    """
    if method not in METHODS:
        raise ConfigurationError(f"method={method!r}{did_you_mean(str(method), METHODS)}; known: {list(METHODS)}.")
    forms = BEST_FIRST if method == AUTO else (method,)
    if schema is None:
        if method not in (AUTO, "json_mode"):
            raise ConfigurationError("with_structured_output needs a schema, unless method='json_mode'.")
        return Shape("object", ("json_mode",), keeps=keeps, misfit=_Misfit(StructuredParser()))
    if isinstance(schema, dict) and not _has_name(schema):
        raise ConfigurationError("A JSON schema for structured output needs a 'title'.")
    if isinstance(schema, dict) and not _is_of_an_object(schema):
        raise ConfigurationError("A JSON schema for structured output must be one of an object.")
    try:
        whole = _uncut(schema)
        tool = convert_to_openai_tool(_titled(whole), strict=strict)
        tool["function"]["name"] = _UNNAMEABLE.sub("_", tool["function"]["name"])
        described = response_format(whole, strict=strict)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(f"with_structured_output cannot read this schema: {error}") from error
    plain = described["json_schema"].get("schema")
    inner = StructuredParser(schema_class=_class_of(schema), json_schema=plain, tool_name=tool["function"]["name"])
    is_class = _class_of(schema) is not None
    return Shape(tool["function"]["name"], forms, tool, described, plain, keeps, is_class, _Misfit(inner))


@value_type()
class _Misfit:
    """Says what is wrong with the object in a message."""

    parser: StructuredParser

    def __call__(self, message: AIMessage) -> str | None:
        """Return it in one line, or None."""
        try:
            self.parser.parse_result([ChatGeneration(message=message)])
        except OutputParserException as error:
            return _complaint(error, self.parser.schema_class)
        return None


def _complaint(error: OutputParserException, schema_class: Any) -> str:
    """Say what is wrong in words of the schema: it is logged and kept, and an answer is not."""
    cause = error.__cause__
    if cause is None:
        return _NO_OBJECT
    if not isinstance(cause, ValidationError):
        # Behind it langchain-core puts an address.
        return str(error).partition("\nFor troubleshooting")[0]
    known = json.dumps(schema_class.model_json_schema(), ensure_ascii=False)
    told = []
    for item in cause.errors(include_url=False):
        where = [str(part) if isinstance(part, int) or json.dumps(part) in known else "*" for part in item["loc"]]
        what = f"refused ({item['type']})" if item["type"] in _REPEATING else item["msg"]
        told.append(f"{'.'.join(where) or 'it'}: {what}")
    return f"the object does not fit {cause.title}: {'; '.join(told)}"


def _class_of(schema: Any) -> Any:
    return schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None


def _has_name(schema: dict[str, Any]) -> bool:
    return bool({"title", "name", "json_schema", "function"} & schema.keys())


def structured(
    bind: Callable[..., Runnable[Any, AIMessage]],
    schema: Any,
    *,
    method: str,
    include_raw: bool,
    strict: bool | None,
    extra: dict[str, Any],
) -> Runnable[Any, Any]:
    """Build `model | parser` for `with_structured_output`."""
    shape = shape_of(schema, method=method, keeps=include_raw, strict=strict)
    asked: dict[str, Any] = {"structured_output": shape}
    if shape.tool is not None:
        described = {"kwargs": {"method": method, "strict": strict}, "schema": shape.tool}
        asked["ls_structured_output_format"] = described
    model = bind(**asked, **extra)
    # With the raw answer a wrong object may come as well: where nobody gave a right one, or where it was streamed.
    plain, name = shape.schema if include_raw else None, None if schema is None else shape.name
    parser = StructuredParser(schema_class=_class_of(schema), json_schema=plain, tool_name=name)
    if not include_raw:
        return model | parser
    # The model is the first step, and in no map: that would drop what is said for one call, and know no paced batch.
    return model | RunnableMap(raw=RunnablePassthrough()) | RunnableLambda(_Reading(parser), name="parsed")


@value_type()
class _Reading:
    """Reads the object out of a raw answer; what stands in the way is told beside it."""

    parser: StructuredParser

    def __call__(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return the raw answer, the object, and why there is none."""
        try:
            parsed = self.parser.invoke(answer["raw"])
        except Exception as error:  # noqa: BLE001 - the caller's class may raise anything
            return {**answer, "parsed": None, "parsing_error": error}
        return {**answer, "parsed": parsed, "parsing_error": None}


def _is_of_an_object(schema: dict[str, Any]) -> bool:
    """Tell whether a JSON schema is one of an object, as far as it says."""
    said = _titled(schema)
    said = said.get("function", said)
    return "object" in said.get("parameters", said).get("type", "object")


def _titled(schema: Any) -> Any:
    """Return a form of the schema that LangChain can describe (a ready `response_format` is unwrapped)."""
    if isinstance(schema, dict) and "json_schema" in schema:
        schema = schema["json_schema"]
    if isinstance(schema, dict) and "schema" in schema and "name" in schema:
        schema = {"title": schema["name"], **schema["schema"]}
    if isinstance(schema, dict) and "title" in schema and not {"name", "properties"} & schema.keys():
        # Of what has no properties of its own (a union, a reference, a free table) LangChain keeps the title alone.
        about = {"name": schema["title"], "description": schema.get("description", "")}
        return about | {"parameters": {name: said for name, said in schema.items() if name not in _TITLES}}
    return schema
