"""How an account's book is written: a line for the account, and one for each thing known of a model. Pure.

The codec runs under the store's lock, and most changes touch one line: the others are neither written nor read
again by a process that has them before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import field
from operator import is_
from typing import Any, NamedTuple

from langchain_openrouter_free.books.breaker import Cooldown
from langchain_openrouter_free.books.health import Health
from langchain_openrouter_free.books.ledger import Hold, Ledger, Metered, Stated
from langchain_openrouter_free.books.quota import Use, Windows
from langchain_openrouter_free.books.tripwire import Quarantine
from langchain_openrouter_free.jsontext import writer
from langchain_openrouter_free.judging.traits import Traits
from langchain_openrouter_free.judging.verdicts import Kind
from langchain_openrouter_free.values import check_version, moment_of, value_type

VERSION = 2

_ENCODE = writer()
_Known = Cooldown | Health | Metered | Traits


def encode(book: Ledger) -> str:
    """Write a book as text."""
    return _HEAD.encode(book) + _TAIL.encode(_Models(book.cooldowns, book.health, book.metered, book.traits))


def _about(book: Ledger) -> str:
    """Write what the first line says beside the windows, which every attempt changes."""
    head = {
        "holds": {name: [hold.until, hold.limit] for name, hold in book.holds.items()},
        "held_since": {name: hold.since for name, hold in book.holds.items()},
        "learned": _write_stated(book.learned),
        "unsaid": book.unsaid,
        "inquired": [book.inquired, book.inquiring_until],
        "skew": book.skew,
        "paid": [book.paid_row, book.paid_rate],
        "quarantined": {model: [kept.until, kept.cost] for model, kept in book.quarantined.items()},
    }
    return _ENCODE(head)


def decode(text: str) -> Ledger:
    """Read a book from text.

    Raises:
        ValueError: if it is no book, or one of another version; `Newer` for a later one.
    """
    line, newline, rest = text.partition("\n")
    try:
        head = json.loads(line)
        check_version(head["v"], VERSION)
        unsaid, models = head["unsaid"], _TAIL.decode(newline + rest)
        row, rate = head.get("paid") or ((0.0, 0.0), None)
        since = head.get("held_since") or {}
        return Ledger(
            holds={
                window: Hold(window, hold[0], hold[1], since=moment_of(since.get(window, 0.0)))
                for window, hold in head["holds"].items()
            },
            windows=_read_windows(head["windows"]),
            learned=_read_stated(head["learned"]),
            cooldowns=models.cooldowns,
            metered=models.metered,
            health=models.health,
            traits=models.traits,
            unsaid=None if unsaid is None else (str(unsaid[0]), float(unsaid[1])),
            inquired=float(head["inquired"][0]),
            inquiring_until=float(head["inquired"][1]),
            skew=moment_of(head["skew"]),
            paid_row=(moment_of(row[0]), moment_of(row[1])),
            paid_rate=None if rate is None else (float(rate[0]), float(rate[1])),
            quarantined={
                model: Quarantine(moment_of(until), cost) for model, (until, cost) in head["quarantined"].items()
            },
        )
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"no ledger: {error!r}") from error


@value_type()
class _Models:
    """What a book knows of models."""

    cooldowns: Mapping[str, Cooldown] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    metered: Mapping[str, Metered] = field(default_factory=dict)
    traits: Mapping[str, Traits] = field(default_factory=dict)

    def same_as(self, other: _Models) -> bool:
        same = self.cooldowns is other.cooldowns and self.health is other.health
        return same and self.metered is other.metered and self.traits is other.traits


class _Written(NamedTuple):
    """What is known of one kind, and its lines."""

    part: Mapping[str, _Known]
    lines: Mapping[str, tuple[_Known, str]]
    text: str


_NOTHING = _Written({}, {}, "")


class _Tail:
    """The lines after the first, and what was read or written last: a page is mostly what it was before.

    Its memory is of one account, and only makes things faster: each attribute is replaced as a whole, so that
    threads may share it.
    """

    def __init__(self) -> None:
        self._last = (_Models(), "")
        self._parts: dict[str, _Written] = {}
        self._rows: dict[str, tuple[str, str, _Known]] = {}

    def encode(self, models: _Models) -> str:
        last, text = self._last
        if models.same_as(last):
            return text
        parts = {
            "c": self._written("c", models.cooldowns),
            "h": self._written("h", models.health),
            "m": self._written("m", models.metered),
            "t": self._written("t", models.traits),
        }
        text = "".join([part.text for part in parts.values()])
        self._parts, self._last = parts, (models, text)
        return text

    def _written(self, kind: str, part: Mapping[str, _Known]) -> _Written:
        known = self._parts.get(kind, _NOTHING)
        if known.part is part:
            return known
        lines: dict[str, tuple[_Known, str]] = {}
        for model, what in part.items():
            found = known.lines.get(model)
            if found is None or found[0] is not what:
                found = (what, "\n" + _ENCODE([kind, model, _row(what)]))
            lines[model] = found
        return _Written(part, lines, "".join([line for _, line in lines.values()]))

    def decode(self, text: str) -> _Models:
        models, last = self._last
        if text == last:
            return models
        known, lines = self._rows, text.split("\n")[1:]
        rows = {line: known.get(line) or _read(line) for line in lines}
        models = _Models(
            {model: what for _, model, what in rows.values() if isinstance(what, Cooldown)},
            {model: what for _, model, what in rows.values() if isinstance(what, Health)},
            {model: what for _, model, what in rows.values() if isinstance(what, Metered)},
            {model: what for _, model, what in rows.values() if isinstance(what, Traits)},
        )
        self._rows, self._last = rows, (models, text)
        return models


class _Head:
    """The first line, as it was written last: what an attempt teaches of its model does not touch it."""

    def __init__(self) -> None:
        self._about: tuple[tuple[object, ...], str] = ((), "")
        self._last: tuple[object, str, str] = (None, "", "")

    def encode(self, book: Ledger) -> str:
        asked = (book.inquired, book.inquiring_until, book.unsaid)
        paid = (book.paid_row, book.paid_rate, book.quarantined)
        known = (book.holds, book.learned, book.skew, *asked, *paid)
        last, about = self._about
        if not last or not all(map(is_, known, last)):
            about = _about(book)
            self._about = (known, about)
        windows, beside, text = self._last
        if windows is not book.windows or beside is not about:
            text = f'{{"v":{VERSION},"windows":{_ENCODE(_write_windows(book.windows))},{about[1:]}'
            self._last = (book.windows, about, text)
        return text


_HEAD = _Head()
_TAIL = _Tail()


def _row(what: _Known) -> Iterable[Any]:
    if isinstance(what, Health | Traits):
        return what.as_row()
    if isinstance(what, Cooldown):
        return [what.until, what.kind, what.failures, what.generation, what.probe_until]
    return [_write_stated(what.limits), _write_windows(what.windows)]


def _read(line: str) -> tuple[str, str, _Known]:
    kind, model, row = json.loads(line)
    if kind == "h":
        return kind, str(model), Health.from_row(row)
    if kind == "t":
        return kind, str(model), Traits.from_row(row)
    if kind == "m":
        return kind, str(model), Metered(_read_stated(row[0]), _read_windows(row[1]))
    if kind != "c":
        raise ValueError(f"a line of kind {kind!r}")
    until, failure, failures, generation, probe_until = row
    return kind, str(model), Cooldown(float(until), Kind(failure), int(failures), int(generation), float(probe_until))


def _write_windows(windows: Windows) -> list[Any]:
    uses = {name: [use.day, use.used, use.ahead, use.kept] for name, use in windows.projects.items()}
    return [windows.minutes, windows.days, uses]


def _read_windows(row: Any) -> Windows:
    minutes, days, uses = row
    return Windows(
        {int(number): int(taken) for number, taken in minutes.items()},
        {int(number): int(taken) for number, taken in days.items()},
        {name: Use(*map(int, use)) for name, use in uses.items()},
    )


def _write_stated(stated: Mapping[str, Stated]) -> dict[str, Any]:
    return {window: [known.limit, known.day] for window, known in stated.items()}


def _read_stated(rows: Any) -> dict[str, Stated]:
    return {window: Stated(*map(int, row)) for window, row in rows.items()}
