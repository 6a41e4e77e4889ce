"""Words as they come. Models fail over before the first word; after it, a break is told honestly."""

from __future__ import annotations

from langchain_core.messages import AIMessageChunk

from langchain_openrouter_free import ChatOpenRouterFree, StreamInterrupted

model = ChatOpenRouterFree(
    models=["nvidia/nemotron-3-super-120b-a12b:free", "openai/gpt-oss-20b:free"],
    timeouts={"first_token": 20, "stall": 10},
)
whole: AIMessageChunk | None = None
try:
    for chunk in model.stream("Tell a story in three sentences."):
        print(chunk.text, end="", flush=True)
        whole = chunk if whole is None else whole + chunk
except StreamInterrupted as error:
    print(f"\n[{error.model} broke off after {len(error.partial)} characters]")

if whole is not None and "route" in whole.response_metadata:
    print(f"\nanswered by {whole.response_metadata['route']['model']}, tokens: {whole.usage_metadata}")
