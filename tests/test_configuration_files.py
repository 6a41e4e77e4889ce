"""What stands where a project's file is looked for, and is none: nothing waits for it, and nothing is half read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_openrouter_free import ConfigurationError
from langchain_openrouter_free.configuration.effective import effective
from langchain_openrouter_free.configuration.reading import OWN_FILE, PYPROJECT


@pytest.mark.parametrize("name", [OWN_FILE, PYPROJECT])
@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)]
)
def test_what_is_no_file_holds_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / name)
    assert effective().project is None


@pytest.mark.parametrize(
    ("name", "text", "refused"),
    [
        (OWN_FILE, "{filling}max_wait = 5", True),
        (PYPROJECT, "[tool.openrouter-free]\n{filling}max_wait = 5", True),
        (PYPROJECT, "[tool.another]\n{filling}max_wait = 5", False),
    ],
)
def test_a_file_that_is_too_large_is_not_read_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, *, refused: bool
) -> None:
    """Nor is a letter cut in two a mistake of a file that says nothing to us."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text.replace("{filling}", "# \u00e9\n" * 250_000), encoding="utf-8")
    if refused:
        with pytest.raises(ConfigurationError, match=f"{name}: cannot be read: it is larger than 1 MB"):
            effective()
    else:
        assert effective().project is None
