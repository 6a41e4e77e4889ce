"""Where pages are kept: one protocol, one backend a module. No rules in here."""

from __future__ import annotations

from langchain_openrouter_free.stores.base import Change, PageRef, StateStore
from langchain_openrouter_free.stores.memory import MemoryStore

__all__ = ["Change", "MemoryStore", "PageRef", "StateStore"]
