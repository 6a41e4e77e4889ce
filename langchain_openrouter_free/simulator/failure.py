"""One failure that keeps its HTTP status: what its body and its headers say.

Owns the shape of error bodies and of their echo in `previous_errors`. The kinds stand in `failures`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from langchain_openrouter_free.simulator.reply import Json


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure: status, sentence and metadata.

    Args:
        status: the HTTP status.
        message: the sentence of the error body.
        metadata: what stands beside it; None leaves it out.
        headers: real HTTP headers of the reply.
        by_provider: the provider failed: name and raw text go into the metadata and into
            `previous_errors`.
        page: an HTML title instead of a JSON body.
        empty: no body at all.
        about: one line for `--list`.
    """

    status: int
    message: str = ""
    metadata: Json | None = None
    headers: dict[str, str] = field(default_factory=dict)
    by_provider: bool = False
    page: str = ""
    empty: bool = False
    about: str = ""

    def body(self, previous: list[Json], user: str) -> Json:
        """The error body; errors of models tried before go into its metadata."""
        error: Json = {"message": self.message, "code": self.status}
        metadata = dict(self.metadata) if self.metadata is not None else None
        if previous:
            metadata = (metadata or {}) | {"previous_errors": (metadata or {}).get("previous_errors", []) + previous}
        if metadata is not None:
            error["metadata"] = metadata
        return {"error": error, "user_id": user} if user else {"error": error}

    def as_previous(self) -> Json:
        """The entry that this failure leaves in the `previous_errors` of a later one."""
        entry: Json = {"code": self.status, "message": self.message}
        if self.by_provider and self.metadata:
            entry |= {name: self.metadata[name] for name in ("provider_name", "raw") if name in self.metadata}
        return entry

    def with_metadata(self, **more: Any) -> Failure:
        """The same failure with more metadata."""
        return replace(self, metadata=(self.metadata or {}) | more)


def filled(value: Any, known: dict[str, str]) -> Any:
    """The value with `{blank}`s filled in; other braces stay, for the texts hold JSON."""
    if isinstance(value, str):
        for name, text in known.items():
            value = value.replace("{" + name + "}", text)
        return value
    if isinstance(value, dict):
        return {name: filled(one, known) for name, one in value.items()}
    if isinstance(value, list):
        return [filled(one, known) for one in value]
    return value
