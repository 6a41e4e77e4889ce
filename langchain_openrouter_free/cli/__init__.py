"""The command `openrouter-free`: arguments in, words or JSON out. What it tells is worked out below it."""
