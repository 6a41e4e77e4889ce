"""What a package weighs: CPU seconds of its import in a fresh interpreter, distributions and bytes that it needs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from measuring import starting
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BASE = "from langchain_core.language_models import BaseChatModel; import httpx, httpcore"
CLOCK = "; import time; print(time.process_time())"
IMPORTS = {
    "ChatOpenAI": "from langchain_openai import ChatOpenAI",
    "ChatOpenRouter": "from langchain_openrouter import ChatOpenRouter; import openrouter",
    "ChatLiteLLMRouter": "from langchain_litellm import ChatLiteLLMRouter",
    "ours": "from langchain_openrouter_free import ChatOpenRouterFree",
}
DISTRIBUTIONS = {
    "ChatOpenAI": "langchain-openai",
    "ChatOpenRouter": "langchain-openrouter",
    "ChatLiteLLMRouter": "langchain-litellm",
    "ours": "langchain-openrouter-free",
}


def import_seconds(rounds: int) -> dict[str, list[float]]:
    """Return CPU seconds of fresh interpreters, in turns; under "" that of langchain-core's chat model and httpx."""
    codes = {"": BASE} | {who: f"{BASE}; {code}" for who, code in IMPORTS.items()}
    found: dict[str, list[float]] = {who: [] for who in codes}
    for number in range(rounds + 1):
        for who, code in codes.items():
            took = starting(code + CLOCK)[-1]
            found[who] += [took] if number else []
    return found


def needed(name: str, extras: frozenset[str] = frozenset(), seen: dict[str, frozenset[str]] | None = None) -> set[str]:
    """Return the distributions that one needs here, itself among them."""
    seen = {} if seen is None else seen
    name = canonicalize_name(name)
    if extras <= seen.get(name, frozenset({"-"})) and name in seen:
        return set(seen)
    seen[name] = seen.get(name, frozenset()) | extras
    for line in metadata.requires(name) or ():
        wanted = Requirement(line)
        applies = wanted.marker is None or any(wanted.marker.evaluate({"extra": one}) for one in (extras or {""}))
        if applies:
            needed(wanted.name, frozenset(wanted.extras), seen)
    return set(seen)


def megabytes(names: set[str]) -> float:
    """Return how much the files of distributions take, without compiled ones."""
    files = [file for name in names for file in metadata.files(name) or () if file.suffix != ".pyc"]
    return sum(path.stat().st_size for file in files if (path := Path(file.locate())).is_file()) / 1e6


def weight(who: str) -> str:
    """Say what one needs, and what of it langchain-openai does not bring."""
    mine, bare = needed(DISTRIBUTIONS[who]), needed(DISTRIBUTIONS["ChatOpenAI"])
    more = sorted(mine - bare)
    names = f": {', '.join(more)}" if 0 < len(more) < 6 else ""
    return (
        f"{len(mine)} distributions, {megabytes(mine):.0f} MB; beyond langchain-openai {len(more)}, "
        f"{megabytes(set(more)):.1f} MB{names}"
    )
