"""ChatOpenAI as a model for what we send; old versions of it do some of it in another way."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

import pytest
from langchain_openai import ChatOpenAI
from packaging.version import Version
from pydantic import SecretStr

# What is compared -> the version since which ChatOpenAI does it as we do.
SINCE = {
    "ai-invalid-tool-call-block": "1.5",
    "ai-function-call-block": "1.1.10",
    "tool-blocks": "1.1.10",
    "base-tool-with-extras": "1.1.12",
}


def chat_openai(compared: str = "") -> ChatOpenAI:
    """Return it, without a network; the test of something that this version does not do yet is skipped."""
    since = SINCE.get(compared)
    if since is not None and Version(version("langchain-openai")) < Version(since):
        pytest.skip(f"ChatOpenAI does this since langchain-openai {since}")
    return _model()


@cache
def _model() -> ChatOpenAI:
    return ChatOpenAI(model="x", api_key=SecretStr("k"), base_url="http://127.0.0.1:9/v1", use_responses_api=False)
