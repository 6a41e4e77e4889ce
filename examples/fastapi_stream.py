"""A web endpoint that streams an answer while it comes, with who gave it in the last line.

uvicorn --app-dir examples fastapi_stream:app
curl -N 'http://127.0.0.1:8000/ask?question=Why+is+the+sky+blue'
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from langchain_openrouter_free import ChatOpenRouterFree, FreeQuotaExhausted, OpenRouterFreeError

app = FastAPI()
model = ChatOpenRouterFree(models=["z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"], max_wait=5)


@app.get("/ask")
async def ask(question: str) -> StreamingResponse:
    chunks = model.astream(question)
    try:
        # What fails before the first word is an HTTP status; afterwards it can only be said in the stream.
        first = await anext(chunks)
    except FreeQuotaExhausted as error:
        raise HTTPException(429, str(error)) from error
    except OpenRouterFreeError as error:
        raise HTTPException(503, error.message) from error

    async def lines() -> AsyncIterator[str]:
        yield json.dumps({"text": first.text}) + "\n"
        try:
            async for chunk in chunks:
                if chunk.text:
                    yield json.dumps({"text": chunk.text}) + "\n"
                if route := chunk.response_metadata.get("route"):
                    yield json.dumps({"served": route["model"]}) + "\n"
        except OpenRouterFreeError as error:
            yield json.dumps({"error": str(error)}) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


if __name__ == "__main__":
    with TestClient(app).stream("GET", "/ask", params={"question": "Why is the sky blue?"}) as reply:
        print(reply.status_code, reply.headers["content-type"])
        for line in reply.iter_lines():
            print(line)
