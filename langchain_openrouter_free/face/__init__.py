"""What LangChain's users meet beside the class itself: what is bound to a model before it is called, and batches."""
