"""What most commands begin with: their common options, and the model that is configured here, with or without a key."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from langchain_openrouter_free.cli.output import Output
from langchain_openrouter_free.values import value_type

if TYPE_CHECKING:
    from langchain_openrouter_free.chat_model import ChatOpenRouterFree

# Stands for a key where none is needed; it is never sent, and its account's book is empty.
NO_KEY = "no-key"
NEEDS_KEY = 3


@value_type(frozen=True)
class Options:
    """What all commands take.

    Attributes:
        as_json: print JSON.
        profile: the named profile to use.
        dotenv: a `.env` file to read.
        made: the models that the command has made.
    """

    as_json: bool = False
    profile: str | None = None
    dotenv: str | None = None
    made: list[ChatOpenRouterFree] = field(default_factory=list)

    def output(self) -> Output:
        """Return where the command's words go."""
        return Output(as_json=self.as_json)


def has_key(options: Options) -> bool:
    """Tell whether a key is configured."""
    from langchain_openrouter_free.configuration.effective import effective  # noqa: PLC0415 - slow for --help

    found = effective(profile=options.profile, dotenv=options.dotenv or False)
    return "api_key" in found.settings


def require_key(options: Options) -> None:
    """End the command if no key is configured."""
    if not has_key(options):
        options.output().fail(
            "KeyNeeded",
            "this needs a key: make one (free) at https://openrouter.ai/keys and set OPENROUTER_API_KEY.",
            NEEDS_KEY,
        )


def model(options: Options, *, key: bool = False, **arguments: Any) -> ChatOpenRouterFree:
    """Return the model that is configured here.

    Args:
        options: the command's.
        key: whether a key is needed; else one that is missing is stood in for.
        **arguments: fields that count more than what is configured.
    """
    from langchain_openrouter_free import ChatOpenRouterFree  # noqa: PLC0415 - slow for --help

    if key:
        require_key(options)
    elif not has_key(options):
        arguments = {"api_key": NO_KEY, **arguments}
    made = ChatOpenRouterFree.from_profile(options.profile, dotenv=options.dotenv or False, **arguments)
    options.made.append(made)
    return made


def is_blind(options: Options) -> bool:
    """Tell whether a model's state could not be used, so that its books were not seen."""
    from langchain_openrouter_free.stores.base import is_degraded  # noqa: PLC0415 - slow for --help
    from langchain_openrouter_free.stores.naming import store_of  # noqa: PLC0415 - slow for --help

    return any(is_degraded(store_of(one.state)) for one in options.made)
