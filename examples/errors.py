"""What can go wrong, from the narrowest to the widest class. Each is also one of langchain-core's own errors."""

from __future__ import annotations

from datetime import UTC, datetime

from langchain_openrouter_free import (
    AllModelsFailed,
    AuthenticationFailed,
    ChatOpenRouterFree,
    FreeQuotaExhausted,
    RequestRejected,
)

model = ChatOpenRouterFree(models=["z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"], max_wait=0)
try:
    print(model.invoke("Why is the sky blue?").text)
except FreeQuotaExhausted as error:
    opens = datetime.fromtimestamp(error.reset_at or 0, UTC)
    print(f"The {error.window}'s {error.limit} free requests are used up; come back at {opens:%H:%M} UTC.")
    print(f"Asked {len(error.attempts)} of 2 models: the others share the account's quota.")
except AllModelsFailed as error:
    for attempt in error.attempts:
        print(f"{attempt.model}: {attempt.outcome} ({attempt.reason})")
except AuthenticationFailed:
    print("The key is wrong or revoked.")
except RequestRejected as error:
    print(f"No model will take this request: {error}")
