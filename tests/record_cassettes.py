"""Record the cassettes: `python tests/record_cassettes.py` from the simulator, with `--live` from the real service.

    python tests/record_cassettes.py                           # into cassettes/simulated/
    OPENROUTER_API_KEY=... python tests/record_cassettes.py --live [--models ID ...] [--delisted ID]

A live recording costs a handful of free requests of the account's day.
"""

# ruff: noqa: T201 - a command line speaks

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cassette_conversations import CONVERSATIONS, FOLDER, Conversation, Recorded, make_model, recorder
from langchain_core.messages import AIMessage, BaseMessage

from langchain_openrouter_free import OpenRouterFreeError
from langchain_openrouter_free.catalogue.listings import LISTINGS
from langchain_openrouter_free.simulator import Simulator

PORT = 8787
LIVE_URL = "https://openrouter.ai/api/v1"
MODELS = ["z-ai/glm-5.2:free", "nvidia/nemotron-3-super-120b-a12b:free", "openai/gpt-oss-20b:free"]

SIMULATED = """# Simulated cassettes

These are **not** answers of the real service. They were recorded from the simulator that comes with this
package (`langchain_openrouter_free.simulator`) at `{url}`, with

    python tests/record_cassettes.py

They show that requests and replies go through the whole client, byte by byte, without a server; they prove
nothing about what the real service says. Recordings of that go into `cassettes/live/` (see `../README.md`).

{conversations}
"""

LIVE = """# Live cassettes

Recorded from the real service at `{url}`, with

    python tests/record_cassettes.py --live

Keys and ids of users and organisations are replaced, headers are reduced to the ones that the client reads,
and the list of models to the ids and prices of its `:free` rows.

{conversations}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Record; the result is the exit status."""
    wish = _parser().parse_args(arguments)
    if wish.live and not os.environ.get("OPENROUTER_API_KEY"):
        print("error: --live needs OPENROUTER_API_KEY", file=sys.stderr)
        return 2
    try:
        done = _record_live(wish.models, wish.delisted) if wish.live else _record_simulated(wish.models)
    except OSError as error:
        print(f"error: {error} (is another simulator running?)", file=sys.stderr)
        return 1
    return 0 if done else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--live", action="store_true", help="ask the real service, with OPENROUTER_API_KEY")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="ID", help="free ids, best first")
    parser.add_argument("--delisted", metavar="ID", help="live: a free id that is not offered any more")
    return parser


def _record_simulated(models: list[str]) -> bool:
    folder = FOLDER / "simulated"
    with Simulator(port=PORT) as sim:
        url = sim.base_url
        for conversation in CONVERSATIONS.values():
            sim.reset()
            sim.script({models[rank]: script for rank, script in conversation.script.items()})
            if not _record(conversation, folder, models, sim.base_url, sim.api_key):
                return False
    _label(folder, SIMULATED, url)
    return True


def _record_live(models: list[str], delisted: str | None) -> bool:
    folder, recorded = FOLDER / "live", 0
    for conversation in CONVERSATIONS.values():
        first: list[str] = []
        if not conversation.live:
            print(f"{conversation.name}: skipped, an account's limit cannot be had on demand")
            continue
        if conversation.script:
            if delisted is None:
                print(f"{conversation.name}: skipped, name a model with --delisted")
                continue
            first = [delisted]
        recorded += _record(conversation, folder, [*first, *models], LIVE_URL, os.environ["OPENROUTER_API_KEY"])
    if recorded:
        _label(folder, LIVE, LIVE_URL)
    return recorded > 0


def _record(conversation: Conversation, folder: Path, models: list[str], url: str, key: str) -> bool:
    """Record one conversation; an earlier cassette is replaced only by a good one."""
    # Nothing compressed: cassettes are to be read by people.
    model = make_model(conversation, models, url, key, default_headers={"Accept-Encoding": "identity"})
    LISTINGS.clear()
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / f"{conversation.name}.yaml"
        ended: type[Exception] | None = None
        with recorder("all").use_cassette(str(fresh)):
            try:
                conversation.talk(model, _invoke)
            except OpenRouterFreeError as error:
                ended = type(error)
                if ended is not conversation.error:
                    print(f"{conversation.name}: not recorded: {error}", file=sys.stderr)
        if ended is not conversation.error:
            return False
        _write(folder / fresh.name, fresh.read_text(encoding="utf-8"))
    print(f"{conversation.name}: recorded")
    return True


def _invoke(model: Any, messages: list[BaseMessage]) -> AIMessage:
    answer: AIMessage = model.invoke(messages)
    return answer


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _label(folder: Path, text: str, url: str) -> None:
    """Write beside the cassettes where and when they were recorded."""
    told = []
    for path in sorted(folder.glob("*.yaml")):
        day = datetime.fromtimestamp(Recorded.of(path).at, UTC).strftime("%Y-%m-%d")
        told.append(f"* `{path.name}`, recorded on {day}: {CONVERSATIONS[path.stem].about}")
    _write(folder / "README.md", text.format(url=url, conversations="\n".join(told)))


if __name__ == "__main__":
    sys.exit(main())
