"""What nobody would send on purpose, in short; `make fuzz` draws 100,000 of it. And every recorded reply, cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from cuts import bodies, cut, few
from fuzzing import fuzz, targets
from recorded import ABSENT, FOLDER


@pytest.mark.parametrize("name", targets(Path()))
def test_only_named_errors_come_of_it(name: str, tmp_path: Path) -> None:
    """150 inputs for each reader of what comes from outside: no exception but ours, and what is read can be used."""
    assert fuzz(name, tmp_path, 150) > 20


@pytest.mark.skipif(not FOLDER.exists(), reason=ABSENT)
def test_a_reply_cut_off_at_any_byte_is_no_answer_unless_all_of_it_was_there() -> None:
    """No cut raises anything; where one is taken for an answer, not a word of it is missing, and it said its end."""
    assert sum(cut(body, few(body.raw)) for body in bodies()) > 10_000
