"""A chain: prompt | model | parser, called, streamed and in a batch. The model is a runnable like any other."""

from __future__ import annotations

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from langchain_openrouter_free import ChatOpenRouterFree

model = ChatOpenRouterFree(models=["z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"], temperature=0)
prompt = ChatPromptTemplate.from_messages(
    [("system", "You explain things to a child of {age}."), ("user", "What is {thing}?")]
)
explain = prompt | model | StrOutputParser()

print("called:", explain.invoke({"thing": "a rainbow", "age": 6}))

print("streamed:", end=" ")
for piece in explain.stream({"thing": "a shadow", "age": 6}):
    print(piece, end="", flush=True)
print()

# Two steps: the answer of the first is part of the question of the second.
shorten = ChatPromptTemplate.from_template("In five words: {long}") | model | StrOutputParser()
both = RunnablePassthrough.assign(long=explain) | RunnablePassthrough.assign(short=shorten)
for told in both.batch([{"thing": "snow", "age": 4}, {"thing": "fire", "age": 9}]):
    print(f"{told['thing']}: {told['short']}")
