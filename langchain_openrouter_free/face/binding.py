"""Tools and structured output: what is bound to a chat model before it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.later import PART, Later
from langchain_openrouter_free.words.messages import tool_choice_to_wire, tools_to_wire

if TYPE_CHECKING:
    from langchain_core import tools as langchain_tools
else:
    langchain_tools = Later("langchain_core.tools")

# How Anthropic's choice of tools says it.
_ONE_CALL = "disable_parallel_tool_use"


class Binding(BaseChatModel):
    """The two methods of a chat model that bind something to its calls."""

    model_config = PART

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | langchain_tools.BaseTool],
        *,
        tool_choice: dict[str, Any] | str | bool | None = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools, in any form that LangChain knows.

        Args:
            tools: functions, pydantic classes, typed dictionaries, `BaseTool`s or ready dictionaries.
            tool_choice: `"auto"`, `"none"`, `"any"`/`"required"`/`True`, a tool's name, or a dictionary.
            strict: whether arguments must follow the schema to the letter, where the model can do that.
            parallel_tool_calls: whether several calls in one answer are welcome.
            **kwargs: further parameters of the request.

        Raises:
            ConfigurationError: if a tool cannot be described, or `tool_choice` names none of them.
        """
        try:
            described = tools_to_wire(tools, strict=strict)
            chosen = tool_choice_to_wire(tool_choice, described)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(str(error)) from error
        if described:
            kwargs["tools"] = described
        if chosen is not None:
            kwargs["tool_choice"] = chosen
        if parallel_tool_calls is None and isinstance(tool_choice, Mapping) and tool_choice.get(_ONE_CALL) is True:
            parallel_tool_calls = False
        if parallel_tool_calls is not None:
            kwargs["parallel_tool_calls"] = parallel_tool_calls
        return super().bind(**kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Literal["auto", "function_calling", "json_schema", "json_mode"] = "auto",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable that answers with an object of `schema`.

        The object is checked before it counts as an answer: a model that gives a wrong one is followed by the next.

        Args:
            schema: pydantic class, typed dictionary, or JSON schema with a title; None for any object.
            method: how the object is asked for. By default in the best form that the model which is asked can do:
                by `json_schema`, as a tool call, in JSON mode, or by the prompt alone. A method that is named is
                the only one, and models that cannot do it are not asked. It is read in whichever form it comes.
            include_raw: answer `{"raw", "parsed", "parsing_error"}`; if no model gives a right object, with the last
                answer instead of raising.
            strict: whether the schema must be followed to the letter, where the model can do that.
            **kwargs: further parameters of the request.

        Raises:
            ConfigurationError: for an unknown method, or a schema that is missing or cannot be read.
        """
        from langchain_openrouter_free.face.structured import structured  # noqa: PLC0415 - output parsers are slow to load

        return structured(
            self.bind,
            schema,
            method=method,
            include_raw=include_raw,
            strict=strict,
            extra=kwargs,
        )
