"""What a shared page is made of: how a process notices that a server has lost what it has seen. Pure.

A server that was emptied, or that failed over to one which had less, goes on with less than was counted. Each change of
a page has a name, and each page the names of the changes in it, newest first: its line. A process remembers which steps
led to the page it knows. Those of which no change is in the line of what is there now are taken again, and their names
with them: whoever is the first to come adds a change that was lost, and nobody adds it twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NamedTuple

from langchain_openrouter_free.stores.base import Page

# A name is a number, one more than those before it, and a token, both in hexadecimal digits of this width.
_NUMBER = TOKEN = 7
_NAME = _NUMBER + TOKEN
_DIGITS = b"0123456789abcdef"
# What a page begun from nothing has first; such names are kept for good: by them two beginnings are told apart.
_ROOT = f"{1:0{_NUMBER}x}"
# So many names are kept of a line, and so many steps. A server that is restarted from its last dump has lost an hour,
# or five minutes in which there were a hundred changes (Redis 7, default `save`); the free tier grants 20 requests a
# minute, of two changes each.
MOST = 500
# So many of the oldest steps become one when there are too many.
_AT_ONCE = 100


class _Step(NamedTuple, Generic[Page]):
    """From one page that was seen to the next.

    Attributes:
        names: of the changes that were made in it.
        before, after: the two pages; None for no page.
        is_open: whether there may have been more changes than these.
    """

    names: frozenset[str]
    before: Page | None
    after: Page
    is_open: bool = False


class Lost(NamedTuple, Generic[Page]):
    """What is known and is not there any more.

    Attributes:
        changes: (before, after) of each; None for no page.
        line: the line of what is there with these changes.
    """

    changes: list[tuple[Page | None, Page]]
    line: str


class Ancestry(Generic[Page]):
    """What one process knows of one page: how it is, and which steps led to it.

    Attributes:
        version: what a server calls the page that is known; empty for none.
        line: its line.
        page: the page.
    """

    def __init__(self, *, keeps_steps: bool = True) -> None:
        """Begin with nothing; without its steps nothing is ever found lost."""
        self.version = self.line = ""
        self._keeps_steps = keeps_steps
        self.page: Page | None = None
        self._steps: list[_Step[Page]] = []

    def see(self, version: str, line: str, page: Page) -> None:
        """Take this for the page as it is, made by others from the one that is known."""
        since = self._since(line)
        if since is not None or not self._keeps_steps:
            self._step(_Step(frozenset(_names(since or "")), self.page, page))
        else:
            self._see_apart(frozenset(_names(line)), page)
        self.version, self.line, self.page = version, line, page

    def _since(self, line: str) -> str | None:
        """Return the newest names of a line that goes on from the one that is known; None where it does not."""
        place = line.find(self.version) if self.version and self.line.startswith(self.version) else -1
        if place < 0:
            return None
        roots, own = _roots(line), _roots(self.line)
        goes_on = line[roots:] == self.line[own:] and self.line[:own].startswith(line[place:roots])
        return line[:place] if goes_on else None

    def _see_apart(self, names: frozenset[str], page: Page) -> None:
        is_open = len(names) == MOST
        if all(step.names <= names or step.names.isdisjoint(names) for step in self._steps):
            before = frozenset(_names(self.line))
            self._step(_Step(names - before, self.page, page, is_open and before.isdisjoint(names)))
        else:
            # Of a step that is half there nobody knows what each change did: only those made here stay by themselves.
            self._steps = [_Step(names, None, page, is_open), *(step for step in self._steps if len(step.names) == 1)]

    def write(self, version: str, line: str, page: Page) -> None:
        """Take this for the page as it is, made here by one change from the one that is known."""
        self._step(_Step(frozenset((version,)), self.page, page))
        self.version, self.line, self.page = version, line, page

    def _step(self, step: _Step[Page]) -> None:
        if not self._keeps_steps:
            return
        self._steps.append(step)
        if len(self._steps) >= MOST + _AT_ONCE:
            self._steps[: _AT_ONCE + 1] = [_as_one(self._steps[: _AT_ONCE + 1])]

    def lost(self, line: str) -> Lost[Page] | None:
        """Tell what a page of this line lacks of what is known; None where it lacks nothing, as far as one can tell."""
        if not line or self._since(line) is not None:
            return None
        there = set(_names(line))
        # Begun anew by one who knew nothing, its numbers tell nothing of what came before.
        is_apart = there.isdisjoint(_names(self.line[_roots(self.line) :]))
        oldest = "" if is_apart or len(there) < MOST else line[_roots(line) - _NAME :][:_NAME]
        changes: list[tuple[Page | None, Page]] = []
        for step in self._steps:
            if _is_lost(step, there, oldest):
                there |= step.names
                before = changes.pop()[0] if changes and changes[-1][1] is step.before else step.before
                changes.append((before, step.after))
        return Lost(changes, _line(there)) if changes else None


def line_of(version: str, line: bytes) -> str:
    """Return the line of a version as a server has it; empty where it is none: a server keeps what anyone writes."""
    if len(version) != _NAME or not line.startswith(version.encode()) or line.translate(None, _DIGITS):
        return ""
    return line.decode("ascii") if len(line) % _NAME == 0 and len(line) <= MOST * _NAME else ""


def version_of(line: str) -> str:
    """Return the name of the newest change of a line, by which its page is called."""
    return line[:_NAME]


def holds(line: str, name: str) -> bool:
    """Tell whether a change of this name is in a line."""
    return name in _names(line)


def after(line: str, token: str) -> str:
    """Return the line of a page that is changed once more.

    Args:
        line: that of the page it is made from; empty for none.
        token: so many random hexadecimal digits as `TOKEN` says.
    """
    number = min(int(line[:_NUMBER] or "0", 16) + 1, 16**_NUMBER - 1)
    new = f"{number:0{_NUMBER}x}{token}{line}"
    if len(new) <= MOST * _NAME:
        return new
    roots = _roots(new)
    return new[: roots - _NAME] + new[roots:]


def _as_one(steps: list[_Step[Page]]) -> _Step[Page]:
    one, names, is_open = steps[0], set(steps[0].names), any(step.is_open for step in steps)
    for step in steps[1:]:
        # What was made here stands beside a step that has it already where that was half lost once.
        if not step.names <= names:
            names |= step.names
            one = step
    kept = frozenset(_names(_line(names)))
    return _Step(kept, steps[0].before, one.after, is_open or len(kept) < len(names))


def _is_lost(step: _Step[Page], there: set[str], oldest: str) -> bool:
    """Tell whether nothing of a step is there.

    Args:
        step: one of those that are known.
        there: the names that are there.
        oldest: of those that have an end the oldest: what is older still counts as there; empty where all are there.
    """
    if not step.names or not there.isdisjoint(step.names):
        return False
    return not oldest or (not step.is_open and min(step.names) > oldest)


def _names(line: str) -> list[str]:
    return [line[start : start + _NAME] for start in range(0, len(line), _NAME)]


def _roots(line: str) -> int:
    """Return where the roots of a line begin; never at its very beginning."""
    place = len(line)
    while place > _NAME and line.startswith(_ROOT, place - _NAME):
        place -= _NAME
    return place


def _line(names: Iterable[str]) -> str:
    """Return the line of these names: the newest, and the roots."""
    line = "".join(sorted(names, reverse=True))
    roots = _roots(line)
    kept = line[roots:][: MOST // 2 * _NAME]
    return line[: min(roots, MOST * _NAME - len(kept))] + kept
