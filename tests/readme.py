"""The README's failure table, made from the table that decides. `python tests/readme.py` writes it."""

from __future__ import annotations

from pathlib import Path

from langchain_openrouter_free.verdicts import POLICIES, Kind, Step

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- failure table: begin (made from verdicts.POLICIES; a test compares) -->"
END = "<!-- failure table: end -->"
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


def section(text: str) -> str:
    """Return what stands between the marks."""
    return text.partition(BEGIN)[2].partition(END)[0].strip()


if __name__ == "__main__":
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}")
