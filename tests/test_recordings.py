"""Real recordings of the service, where they lie beside the checkout: each reply is understood."""

from __future__ import annotations

import pytest
from recorded import ABSENT, FOLDER, cassettes, interactions
from test_verdicts import read_whole

from langchain_openrouter_free.judging.verdicts import Kind

# What the recorded refusals and failures of the 113 cassettes are; the rest are answers.
EXPECTED = {200: {Kind.OK, Kind.SPENT}, 400: {Kind.REJECTED, Kind.DELISTED, Kind.BROKEN}, 401: {Kind.UNAUTHENTICATED}}


@pytest.mark.skipif(not FOLDER.exists(), reason=ABSENT)
def test_every_recorded_conversation_is_understood() -> None:
    """Recorded answers are answers, recorded refusals are what they are, and each reply says that it is over."""
    seen = 0
    for one in (one for path in cassettes() for one in interactions(path)):
        found = read_whole(one.status, one.headers, one.raw, piece=777)
        assert found.kind in EXPECTED[one.status], (one.name, found)
        seen += 1
    assert seen >= 110
