"""A hundred texts into a hundred objects, within the account's free quota.

`batch` queues for as many minutes as it takes. `daily_share` leaves the rest of the day to your other projects. What
failed stands in its place in the list, so nothing that was answered is lost.
"""

from __future__ import annotations

from langchain_core.language_models import LanguageModelInput
from pydantic import BaseModel

from langchain_openrouter_free import ChatOpenRouterFree, FreeQuotaExhausted


class Order(BaseModel):
    """What a customer wants."""

    product: str
    amount: int


LETTERS: list[LanguageModelInput] = [f"Dear shop, please send me {number} boxes of tea." for number in range(1, 101)]

model = ChatOpenRouterFree(
    models=["z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"],
    temperature=0,
    project="orders",
    daily_share={"at_most": 150},
)
extract = model.with_structured_output(Order)
found = extract.batch(LETTERS, {"max_concurrency": 8}, return_exceptions=True)

orders = [one for one in found if isinstance(one, Order)]
spent = next((one for one in found if isinstance(one, FreeQuotaExhausted)), None)
print(f"{len(orders)} of {len(LETTERS)} letters are orders now; the first: {orders[0] if orders else None}")
if spent is not None:
    print(f"the rest must wait: {spent}")
calls = model.history(500, project="orders")
print(f"{sum(len(call.attempts) for call in calls)} requests, {sum(call.waited_s for call in calls):.0f} s of waiting")
