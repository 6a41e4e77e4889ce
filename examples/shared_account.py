"""Two projects on one account: a chat that must always find a free request, and a batch job that may take the rest.

They share the quota through the state on this machine (or a Redis server), be they processes of the same program or
not. Money is kept apart by project; `account_budget` bounds both together.
"""

from __future__ import annotations

from langchain_openrouter_free import ChatOpenRouterFree, FreeQuotaExhausted

FREE = ["z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"]
DAY = {"per_minute": 20, "per_day": 10}  # small, so that the example reaches its end

chat = ChatOpenRouterFree(models=FREE, project="chat", limits=DAY, daily_share={"at_least": 4})
job = ChatOpenRouterFree(models=FREE, project="nightly-job", limits=DAY, daily_share={"at_most": 8}, max_wait=0)

# The chat is known to the account from its first call on; from then on its part is kept free.
print("chat:", chat.invoke("Good morning!").text)
done = 0
try:
    for number in range(20):
        job.invoke(f"Sum up document {number}.")
        done += 1
except FreeQuotaExhausted as error:
    print(f"job: {done} documents, then: {error.message}")
for _ in range(3):
    print("chat:", chat.invoke("Still there?").text)

quota = chat.history(1)[0].as_route()["quota"]["day"]
by_project = {name: len(chat.history(100, project=name)) for name in ("chat", "nightly-job")}
print(f"{quota['used']} of {quota['limit']} used; calls: {by_project}")
