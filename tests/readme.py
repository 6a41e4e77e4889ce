"""The README's tables, made from those that decide. `python tests/readme.py` writes them."""

from __future__ import annotations

from pathlib import Path

from langchain_openrouter_free.answers import ERROR, ROWS
from langchain_openrouter_free.verdicts import POLICIES, Kind, Step

README = Path(__file__).parents[1] / "README.md"
FAILURES = "failure table", "made from verdicts.POLICIES"
ANSWERS = "answers table", "made from answers.ROWS"
_UNSHOWN = {Kind.OK, Kind.ABANDONED}
_STEPS = {
    Step.NEXT: "next model",
    Step.WAIT: "wait within `max_wait`, then the same model; else paid, else raise",
    Step.LEAVE_FREE: "no more free models; paid, else raise",
    Step.LEAVE_SERVICE: "no more requests to OpenRouter; another provider, else raise",
    Step.RAISE: "raise at once",
}


def table() -> str:
    """Return the failure table as Markdown."""
    rows = [
        f"| `{kind}` | {policy.means} | {policy.scope} | {_STEPS[policy.step]} | {'yes' if policy.cools else ''} |"
        for kind, policy in POLICIES.items()
        if kind not in _UNSHOWN
    ]
    return "\n".join(["| outcome | what happened | concerns | next | cools |", "|---|---|---|---|---|", *rows])


def answers() -> str:
    """Return the table of what a finished attempt can be that is no answer, as Markdown."""
    what = {ERROR: "an error object: in the body, in a chunk, inside a choice"}
    rows = [f"| `{row}` | {what.get(row) or POLICIES[Kind(row)].means} | {gets} |" for row, gets in ROWS.items()]
    return "\n".join(["| row | what happened | who accepts it gets |", "|---|---|---|", *rows])


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
    README.write_text(written(written(README.read_text(), table(), *FAILURES), answers(), *ANSWERS))
