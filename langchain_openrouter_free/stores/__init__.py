"""Where pages and logs are kept: one protocol for each, one backend a module. No rules in here."""

from __future__ import annotations

from langchain_openrouter_free.stores.base import (
    Change,
    Fold,
    HistoryLog,
    PageRef,
    Row,
    StateStore,
    at_once,
    is_degraded,
    is_store,
    keeps_log,
)
from langchain_openrouter_free.stores.memory import MemoryStore

__all__ = [
    "Change",
    "Fold",
    "HistoryLog",
    "MemoryStore",
    "PageRef",
    "Row",
    "StateStore",
    "at_once",
    "is_degraded",
    "is_store",
    "keeps_log",
]
