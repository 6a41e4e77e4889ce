"""A second face: the service's own dialect on loopback, for frameworks that take no LangChain model.

The same engine, quota, budget, cooldowns and honesty. Nothing on this path loads LangChain but its error classes. Needs
the extra `[serve]`; names are loaded when they are first asked for.

Example:
    ```python
    from langchain_openrouter_free.serve import Backend, application, served

    app = application(Backend.configured())  # for an ASGI server
    with served(app) as base_url:  # for tests and programs
        ...
    ```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_openrouter_free.serve.app import application
    from langchain_openrouter_free.serve.backend import Backend
    from langchain_openrouter_free.serve.running import served

__all__ = ["Backend", "application", "served"]

_MODULES = {"Backend": "backend", "application": "app", "served": "running"}
_NEEDED = ("starlette", "uvicorn")


if not TYPE_CHECKING:  # it would take each misspelt name for one of these

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            try:
                return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
            except ModuleNotFoundError as error:
                missing = (error.name or "").partition(".")[0]
                if missing not in _NEEDED:
                    raise
                needed = f"The endpoint needs {missing}: pip install 'langchain-openrouter-free[serve]'"
                raise ImportError(needed, name=missing) from error
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
