"""The facts that come with the package, and the one command that renews them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_facts import DAYS, FOLDER, frees_of, listing_of, real

from langchain_openrouter_free.catalogue import bundle
from langchain_openrouter_free.catalogue.catalogue import Listing
from langchain_openrouter_free.route.choosing import facts_in, free_in, selection_of

ROOT = Path(bundle.__file__).parents[2]
COMMAND = [sys.executable, "-m", "langchain_openrouter_free.catalogue.bundle"]


def renewed(body: bytes, to: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the second half of the command, for another file."""
    return subprocess.run([*COMMAND, "--to", str(to)], input=body, capture_output=True, check=False)


@real
def test_it_holds_the_facts_of_the_newest_real_list(tmp_path: Path) -> None:
    """The command makes the very file that is shipped out of the newest list that is known."""
    newest = max(DAYS)
    done = renewed((FOLDER / f"{newest}.json").read_bytes(), tmp_path / "x.json")
    assert (done.returncode, done.stdout) == (0, b"")
    made = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    shipped = bundle.bundled()
    assert made["data"] == [row for rows in shipped.rows.values() for row in rows]
    assert f"{newest}T06:58" in bundle_date(shipped)


def bundle_date(listing: Listing) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415

    return datetime.fromtimestamp(listing.at, UTC).isoformat()


@real
@pytest.mark.parametrize("day", DAYS)
def test_nothing_is_lost_that_a_choice_goes_by(day: str) -> None:
    """What is left of a list gives the same facts of its free models, and the same order."""
    whole = listing_of(day)
    small = Listing.of({"data": bundle.reduced(whole)}, whole.at)
    assert small is not None
    assert {facts.id for facts in free_in(small)} == frees_of(day)
    assert all(facts_in(small, model) == facts_in(whole, model) for model in small.rows)
    orders = [[one.model for one in selection_of(("auto",), one, whole.at).chosen] for one in (small, whole)]
    assert orders[0] == orders[1]


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"data": []}', b'{"data": [{"id": "a/b"}]}', b"[" * 9999])
def test_what_is_no_list_writes_nothing(body: bytes, tmp_path: Path) -> None:
    """A download that failed leaves the file as it was."""
    (tmp_path / "x.json").write_text("good")
    done = renewed(body, tmp_path / "x.json")
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: this is no list of models")
    assert (tmp_path / "x.json").read_text() == "good"


def test_the_command_is_the_one_that_is_documented() -> None:
    told = "curl -s https://openrouter.ai/api/v1/models | python -m langchain_openrouter_free.catalogue.bundle"
    assert told in " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    assert told in str(bundle.__doc__)
