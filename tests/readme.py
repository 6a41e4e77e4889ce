"""The README's tables, made from what decides, and its transcript. `python tests/readme.py` writes them."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from langchain_openrouter_free.configuration.schema import names, told
from langchain_openrouter_free.judging.answers import ERROR, ROWS
from langchain_openrouter_free.judging.verdicts import POLICIES, Kind, Step
from langchain_openrouter_free.request.fields import Fields

README = Path(__file__).parents[1] / "README.md"
FAILURES = "failure table", "made from verdicts.POLICIES"
ANSWERS = "answers table", "made from answers.ROWS"
SETTINGS = "settings table", "made from fields.Fields"
TRANSCRIPT = "transcript", "made by `openrouter-free demo`"
_UNSHOWN = {Kind.OK, Kind.ABANDONED}
_STEPS = {
    Step.NEXT: "next model",
    Step.WAIT: "wait within `max_wait`, then the same model; else paid, else raise",
    Step.LEAVE_SERVICE: "no more requests to OpenRouter; another provider, else raise",
    Step.RAISE: "raise at once",
}
# What depends on who said it, or on who had said it before; `routing.py` decides.
_IN_CONTEXT = {
    Kind.TOO_DEAR: "next model; a free one that says it: as `unpaid`",
    Kind.IN_FLIGHT_BUDGET: "next model; where nobody else is left, wait within `max_wait`, then the same model",
    Kind.FORBIDDEN: "next model; if a second one says it: as `unpaid`",
    Kind.UNREACHABLE: "next model; after three in a row: as `unpaid`",
}
_LONG = 100
# What people write for a field whose type says Any.
_WRITTEN = {
    "paid_models": "list",
    "budget": "text, number, table or `Budget`",
    "account_budget": "text, number, table or `Budget`",
    "paid_rps": '`float`, `"balance"`',
    "credit_fee": "table",
    "limits": 'table, `"usual"`',
    "daily_share": "`int`, text or table",
    "state": "path, URL, `StateStore`",
    "hedge_after": '`float`, `"p95"`',
    "accept": "names, functions",
    "clock": "`Clock`",
}


def table() -> str:
    """Return the failure table as Markdown."""
    rows = [
        f"| `{kind}` | {policy.means} | {policy.scope} | {_IN_CONTEXT.get(kind) or _STEPS[policy.step]} "
        f"| {'yes' if policy.cools or kind is Kind.IN_FLIGHT_BUDGET else ''} |"
        for kind, policy in POLICIES.items()
        if kind not in _UNSHOWN
    ]
    return "\n".join(["| outcome | what happened | concerns | next | cools |", "|---|---|---|---|---|", *rows])


def answers() -> str:
    """Return the table of what a finished attempt can be that is no answer, as Markdown."""
    what = {ERROR: "an error object: in the body, in a chunk, inside a choice"}
    rows = [f"| `{row}` | {what.get(row) or POLICIES[Kind(row)].means} | {gets} |" for row, gets in ROWS.items()]
    return "\n".join(["| row | what happened | who accepts it gets |", "|---|---|---|", *rows])


def settings() -> str:
    """Return the table of the model's own fields as Markdown; a * marks what only code can say."""
    said, written = told(), names()
    rows = [
        f"| `{name}`{'' if name in written or name == 'profile_name' else ' *'} | {_type_of(name, text)} "
        f"| {_default_of(name)} | {_first_sentence(said.get(name, ''))} |"
        for name, text in _annotations().items()
    ]
    return "\n".join(["| field | type | default | what it says |", "|---|---|---|---|", *rows])


def _annotations() -> dict[str, str]:
    body = ast.parse(inspect.getsource(Fields)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = [line for line in body.body if isinstance(line, ast.AnnAssign)]
    named = {ast.unparse(line.target): ast.unparse(line.annotation) for line in found}
    return {name: text for name, text in named.items() if name[0] != "_"}


def _type_of(name: str, annotation: str) -> str:
    if name in _WRITTEN:
        return _WRITTEN[name]
    if annotation == "OnInterrupt":
        annotation = str(Fields.model_fields[name].annotation)
    if annotation.startswith("Callable"):
        return "function"
    parts = [part.strip() for part in re.sub(r"typing\.|httpx\.", "", annotation).split(" | ") if part != "None"]
    return ", ".join(
        re.sub(r"'(.*?)'", r'`"\1"`', part[8:-1]) if part.startswith("Literal[") else f"`{part}`" for part in parts
    ).replace("`dict[str, Any]`", "table")


def _default_of(name: str) -> str:
    get_default: Any = Fields.model_fields[name].get_default  # its types know no bool that is not literal
    default = get_default(call_default_factory=name != "api_key")
    plain = isinstance(default, bool | float | int | str) or default == ["auto"]
    return f"`{str(default) if not isinstance(default, str) else repr(default)}`".replace("'", '"') if plain else ""


def _first_sentence(text: str) -> str:
    """Return the first sentence; of a long one what stands before the details."""
    first = re.split(r"(?<=[.)])(?<!e\.g\.)\s+(?=[A-Z`])", text, maxsplit=1)[0].rstrip(".")
    if len(first) > _LONG:
        first = re.split(r"(?<!default)[:;] ", first, maxsplit=1)[0]
    return re.sub(r" \([^)]*\)", "", first) if len(first) > _LONG else first


def transcript() -> str:
    """Return what the demo prints of its first scene, as a block of text."""
    command = [sys.executable, "-m", "langchain_openrouter_free", "demo"]
    told = {name: value for name, value in os.environ.items() if not name.startswith(("OPENROUTER", "COV"))}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=told | {"COLUMNS": "80"})
    scene = done.stdout.partition("parser\n")[2].partition("A streamed answer")[0].lstrip("-\n")
    lines = [line.rstrip() for line in scene.strip().splitlines()]
    return "\n".join(["```text", "$ openrouter-free demo", *lines, "```"])


def evened(text: str) -> str:
    """Return a transcript without what differs from run to run: seconds, and how they are aligned."""
    return re.sub(r" +\d+\.\d\d$", " 0.00", text, flags=re.MULTILINE)


def _marks(name: str, origin: str) -> tuple[str, str]:
    return f"<!-- {name}: begin ({origin}; a test compares) -->", f"<!-- {name}: end -->"


def section(text: str, name: str, origin: str) -> str:
    """Return what stands between a table's marks."""
    begin, end = _marks(name, origin)
    return text.partition(begin)[2].partition(end)[0].strip()


def written(text: str, table: str, name: str, origin: str) -> str:
    """Return the text with a table between its marks."""
    begin, end = _marks(name, origin)
    before, found, rest = text.partition(begin)
    if not found:
        raise ValueError(f"no {begin}")
    return f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    page = README.read_text(encoding="utf-8")
    for made, marks in (
        (table(), FAILURES),
        (answers(), ANSWERS),
        (settings(), SETTINGS),
        (transcript(), TRANSCRIPT),
    ):
        page = written(page, made, *marks)
    README.write_text(page, encoding="utf-8")
