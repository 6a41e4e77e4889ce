"""The shortest use: a ranked list of free models, one answer, and who gave it.

export OPENROUTER_API_KEY=...   # free: https://openrouter.ai/keys
python examples/quickstart.py
"""

from __future__ import annotations

from langchain_openrouter_free import ChatOpenRouterFree

model = ChatOpenRouterFree(
    models=[
        "nvidia/nemotron-3-super-120b-a12b:free",
        "z-ai/glm-5.2:free",
        "openai/gpt-oss-20b:free",
    ]
)
answer = model.invoke("Why is the sky blue?")
print(answer.text)

route = answer.response_metadata["route"]
for attempt in route["attempts"]:
    print(f"{attempt['model']}: {attempt['outcome']} in {attempt['seconds']:.2f} s")
