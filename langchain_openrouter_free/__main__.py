"""`python -m langchain_openrouter_free` is the command `openrouter-free`."""

from __future__ import annotations

from langchain_openrouter_free.cli.main import main

if __name__ == "__main__":
    main()
