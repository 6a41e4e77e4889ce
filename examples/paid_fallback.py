"""A paid way out, by another road: `ChatOpenAI` at a provider of your own, asked when no free model answers.

It costs money only because of the two lines `allow_paid=True` and `budget=...`. The prices, in US dollars a
million tokens, bound what an answer may cost before it is asked for.
"""

from __future__ import annotations

import os

from langchain_openai import ChatOpenAI

from langchain_openrouter_free import BudgetExceeded, ChatOpenRouterFree, PaidModel

second_road = ChatOpenAI(
    model=os.environ.get("PAID_MODEL", "simulated/paid-small"),
    base_url=os.environ.get("PAID_API_BASE", os.environ.get("OPENROUTER_API_BASE")),
    api_key=os.environ.get("PAID_API_KEY", os.environ["OPENROUTER_API_KEY"]),  # type: ignore[arg-type]
)
model = ChatOpenRouterFree(
    models=["z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"],
    allow_paid=True,
    paid_models=[PaidModel(second_road, prompt_price="0.20", completion_price="0.80")],
    budget="$0.01/call, $0.50/day",
)
try:
    answer = model.invoke("Why is the sky blue?")
except BudgetExceeded as error:
    print(error)
else:
    route = answer.response_metadata["route"]
    print(answer.text)
    print(f"by {route['model']}, paid: {route['paid']}, after {len(route['attempts']) - 1} others")
