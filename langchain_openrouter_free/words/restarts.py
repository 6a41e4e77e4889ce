"""Chunks of a stream that may begin anew, and how they add up: what stands before a restart is dropped.

Pure. langchain-core adds chunks up pairwise and by the list, in places that no caller can reach; so the chunks
themselves must know it, or the sum would be two models' words under one name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessageChunk

from langchain_openrouter_free.engine.delivery import Interruption

# Where a chunk tells of the places at which an answer broke off.
INTERRUPTED = "interrupted"


class RestartableChunk(AIMessageChunk):
    """A chunk of an answer that begins anew where its model breaks off.

    A sum of such chunks holds only what follows the last restart. It is a plain `AIMessageChunk`.
    """

    def __add__(self, other: Any) -> Any:
        """Return the sum with a chunk or with a list of chunks."""
        others = other if isinstance(other, list | tuple) else [other]
        if not all(isinstance(one, AIMessageChunk) for one in others):
            return super().__add__(other)
        return _added([self, *others])

    def __radd__(self, other: Any) -> Any:
        """Return the sum where this chunk is the second one."""
        return _added([other, self]) if isinstance(other, AIMessageChunk) else NotImplemented

    @classmethod
    def lc_id(cls) -> list[str]:
        """Return the class as which langchain-core writes it down."""
        return AIMessageChunk.lc_id()


def is_restart(metadata: Mapping[str, Any]) -> bool:
    """Tell whether a chunk with this `response_metadata` voids those before it."""
    told: Sequence[Interruption] = metadata.get(INTERRUPTED) or ()
    return bool(told) and told[-1]["then"] == "restart"


def _added(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    restarts = [place for place, chunk in enumerate(chunks) if is_restart(chunk.response_metadata)]
    first, *rest = map(_plain, chunks[restarts[-1] if restarts else 0 :])
    return first + rest


def _plain(chunk: AIMessageChunk) -> AIMessageChunk:
    """Return the chunk as one of the class that everybody knows."""
    return AIMessageChunk(**_parts(chunk)) if isinstance(chunk, RestartableChunk) else chunk


def restartable(chunk: AIMessageChunk) -> RestartableChunk:
    """Return the chunk as one of an answer that may begin anew."""
    return RestartableChunk(**_parts(chunk))


def _parts(chunk: AIMessageChunk) -> dict[str, Any]:
    return {
        "content": chunk.content,
        "additional_kwargs": chunk.additional_kwargs,
        "response_metadata": chunk.response_metadata,
        "tool_call_chunks": chunk.tool_call_chunks,
        "usage_metadata": chunk.usage_metadata,
        "id": chunk.id,
        "chunk_position": chunk.chunk_position,
    }
