"""A LangChain chat model for OpenRouter's `:free` models: ranked, failing over, paying only with leave.

Names are loaded when they are first asked for, so that the simulator starts without LangChain.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_openrouter_free.books.budget import Budget
    from langchain_openrouter_free.books.figures import Figures
    from langchain_openrouter_free.books.history import CallRecord
    from langchain_openrouter_free.books.purse import BudgetWarning
    from langchain_openrouter_free.books.spending import Spending, Spent
    from langchain_openrouter_free.books.usage import Cost, Usage
    from langchain_openrouter_free.catalogue.advice import ModelGone, ModelLeaving
    from langchain_openrouter_free.catalogue.facts import ModelFacts
    from langchain_openrouter_free.chat_model import ChatOpenRouterFree
    from langchain_openrouter_free.clock import Clock
    from langchain_openrouter_free.errors import (
        AllModelsFailed,
        AttemptRecord,
        AuthenticationFailed,
        BudgetExceeded,
        ConfigurationError,
        ContextTooLong,
        FreeModelBilled,
        FreeQuotaExhausted,
        InsufficientCredits,
        NoSuitableModel,
        NoValidObject,
        OpenRouterFreeError,
        PrivacyNotSatisfiable,
        RequestRejected,
        Skipped,
        StreamInterrupted,
    )
    from langchain_openrouter_free.questions.checkup import Finding
    from langchain_openrouter_free.questions.outlook import Considered, Explanation
    from langchain_openrouter_free.questions.standing import Standing
    from langchain_openrouter_free.request.paid import PaidModel
    from langchain_openrouter_free.stores import MemoryStore, StateStore

    __version__: str

__all__ = [
    "AllModelsFailed",
    "AttemptRecord",
    "AuthenticationFailed",
    "Budget",
    "BudgetExceeded",
    "BudgetWarning",
    "CallRecord",
    "ChatOpenRouterFree",
    "Clock",
    "ConfigurationError",
    "Considered",
    "ContextTooLong",
    "Cost",
    "Explanation",
    "Figures",
    "Finding",
    "FreeModelBilled",
    "FreeQuotaExhausted",
    "InsufficientCredits",
    "MemoryStore",
    "ModelFacts",
    "ModelGone",
    "ModelLeaving",
    "NoSuitableModel",
    "NoValidObject",
    "OpenRouterFreeError",
    "PaidModel",
    "PrivacyNotSatisfiable",
    "RequestRejected",
    "Skipped",
    "Spending",
    "Spent",
    "Standing",
    "StateStore",
    "StreamInterrupted",
    "Usage",
]

_ELSEWHERE = {
    "Budget": "books.budget",
    "BudgetWarning": "books.purse",
    "CallRecord": "books.history",
    "ChatOpenRouterFree": "chat_model",
    "Clock": "clock",
    "Considered": "questions.outlook",
    "Cost": "books.usage",
    "Explanation": "questions.outlook",
    "Figures": "books.figures",
    "Finding": "questions.checkup",
    "MemoryStore": "stores",
    "ModelFacts": "catalogue.facts",
    "ModelGone": "catalogue.advice",
    "ModelLeaving": "catalogue.advice",
    "PaidModel": "request.paid",
    "Spending": "books.spending",
    "Spent": "books.spending",
    "Standing": "questions.standing",
    "StateStore": "stores",
    "Usage": "books.usage",
}


if not TYPE_CHECKING:  # it would take each misspelt name for one of these

    def __getattr__(name: str) -> Any:
        if name in __all__:
            found = getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'errors')}"), name)
            globals()[name] = found
            return found
        if name == "__version__":
            from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - slow, and rarely asked

            try:
                return version("langchain-openrouter-free")
            except PackageNotFoundError:
                # Not installed, but in the path. `hasattr`, and what looks at all of a module, expect no other error.
                return "0+unknown"
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
