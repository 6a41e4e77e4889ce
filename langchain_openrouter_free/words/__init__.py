"""LangChain's words and the service's: messages and tools one way, answers and chunks the other."""
