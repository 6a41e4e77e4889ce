"""Words that no free model may see.

With `sensitive=True` a call goes to a paid model with zero data retention, or nowhere. Free models may keep
what they are asked and train on it; the service says so of many of them.
"""

from __future__ import annotations

import os

from langchain_openrouter_free import ChatOpenRouterFree, PrivacyNotSatisfiable

FREE = ["z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"]

# Without a paid model there is nobody who may be asked, and nothing is sent.
model = ChatOpenRouterFree(models=FREE)
print("harmless:", model.invoke("Say hello.").response_metadata["route"]["model"])
try:
    model.invoke("My diagnosis is ...", sensitive=True)
except PrivacyNotSatisfiable as error:
    print("refused:", error.message)

# With one, and leave to pay, only that one is asked, with `provider.zdr` in the request.
careful = ChatOpenRouterFree(
    models=FREE,
    allow_paid=True,
    paid_models=[os.environ.get("PAID_MODEL", "simulated/paid-small")],
    budget="$0.02/call, $0.10/day",
)
route = careful.invoke("My diagnosis is ...", sensitive=True).response_metadata["route"]
print(f"answered by {route['model']}, paid: {route['paid']}, asked: {[one['model'] for one in route['attempts']]}")
print(careful.spending())
