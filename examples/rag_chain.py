"""A question answered from your own texts: find the ones that fit, hand them to the model, and say which it had.

The search counts words, so that the example needs nothing else; a vector store's retriever takes its place as it is.
"""

from __future__ import annotations

import re

from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from langchain_openrouter_free import ChatOpenRouterFree

LIBRARY = [
    Document("The day's free requests begin anew at midnight UTC.", metadata={"source": "limits"}),
    Document("A cooldown ends by itself; then one request tries the model again.", metadata={"source": "cooldowns"}),
    Document("Paid models are asked only with allow_paid and a budget.", metadata={"source": "money"}),
]


def words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}


def retrieve(question: str) -> list[Document]:
    ranked = sorted(LIBRARY, key=lambda document: -len(words(document.page_content) & words(question)))
    return ranked[:2]


def as_text(documents: list[Document]) -> str:
    return "\n".join(f"[{document.metadata['source']}] {document.page_content}" for document in documents)


prompt = ChatPromptTemplate.from_template(
    "Answer from these notes alone, and name the note in brackets.\n\n{notes}\n\nQuestion: {question}"
)
model = ChatOpenRouterFree(models=["z-ai/glm-5.2:free", "openai/gpt-oss-20b:free"], temperature=0)
answer = prompt | model | StrOutputParser()
chain = (
    RunnablePassthrough.assign(found=lambda asked: retrieve(asked["question"]))
    | RunnablePassthrough.assign(notes=lambda asked: as_text(asked["found"]))
    | RunnablePassthrough.assign(answer=answer)
)

told = chain.invoke({"question": "When do the free requests of a day begin anew?"})
print(told["answer"])
print("from:", ", ".join(document.metadata["source"] for document in told["found"]))
