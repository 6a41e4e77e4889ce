"""What writes JSON again and again writes what `json` does."""

from __future__ import annotations

import json
from json import encoder
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free.jsontext import writer

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
)


@pytest.fixture(params=["kept encoder", "none to keep"], autouse=True)
def interpreter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "none to keep":
        monkeypatch.setattr(encoder, "c_make_encoder", None)


@given(value=VALUES, ascii_only=st.booleans())
def both_alike(*, value: object, ascii_only: bool) -> None:
    known = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))
    write = writer(ascii_only=ascii_only)
    assert write(value) == known
    assert write([value]) == f"[{known}]"  # nothing is left over from the text before


def test_it_writes_what_json_writes() -> None:
    both_alike()


def test_what_cannot_be_written_is_refused_or_made_into_something_that_can() -> None:
    with pytest.raises(TypeError, match="complex is not JSON serializable"):
        writer()({"a": 1j})
    assert writer(default=str)({"a": 1j}) == '{"a":"1j"}'


def test_what_holds_itself_ends() -> None:
    held: list[object] = []
    held.append(held)
    write = writer()
    with pytest.raises(RecursionError):
        write(held)
    assert write([1]) == "[1]"
