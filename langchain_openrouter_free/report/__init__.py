"""The report: one page of HTML that shows a span of time, and asks nobody for anything.

Owns the page; what is on it is `figures.py`'s, its charts are `charts.py`'s. Whatever comes from the network (names of
models, reasons) is escaped and has its control characters taken out.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources

from langchain_openrouter_free.books.figures import Figures
from langchain_openrouter_free.books.history import CallRecord
from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.report.charts import charts_of, shown

_NO_LIBRARY = "The report needs plotly for its charts: pip install 'langchain-openrouter-free[report]'."
# Columns whose words are not to be broken.
_SHORT = frozenset({"when", "ended", "outcome", "took"})


def page(figures: Figures) -> str:
    """Return the page: style, charts and the library that draws them are all inside; nothing is fetched.

    Raises:
        ConfigurationError: if plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped] # noqa: PLC0415 - an extra without types
    except ImportError as error:
        raise ConfigurationError(_NO_LIBRARY) from error
    charts = charts_of(figures)
    scripts = (get_plotlyjs(), _part("page.js"))
    # The policy names the two scripts by their hashes: no other can run, whatever a name would smuggle in.
    allowed = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    # "<" cannot stand in a script element as it is: "</script>" would end it.
    data = json.dumps([chart.as_dict() for chart in charts]).replace("<", "\\u003c")
    body = "\n".join([_head(figures), *(_section(*chart.heading, chart.name) for chart in charts), *_tables(figures)])
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">',
            '<link rel="icon" href="data:,">\n<title>OpenRouter free models: report</title>',
            f"<style>\n{_part('page.css')}</style>\n</head>\n<body>\n<main>\n{body}\n</main>",
            f'<script type="application/json" id="charts">{data}</script>',
            *(f"<script>{script}</script>" for script in scripts),
            "</body>\n</html>\n",
        ]
    )


def _part(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _head(figures: Figures) -> str:
    whose = "all projects of the account" if figures.project is None else shown(figures.project)
    span = f"{_when(figures.since)} to {_when(figures.until)} UTC"
    tiles = "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>' for name, value in _tiles(figures)
    )
    return (
        f"<header><h1>OpenRouter free models</h1>\n<p>{escape(whose)}, {escape(span)}</p></header>\n"
        f'<dl class="tiles">{tiles}</dl>'
    )


def _tiles(figures: Figures) -> Iterable[tuple[str, str]]:
    yield "calls", f"{figures.calls:,}"
    yield "answered", f"{figures.answered / figures.calls:.0%}" if figures.calls else "none"
    yield "moves", f"{figures.moves:,}"
    if figures.quota is not None:
        quota = figures.quota
        yield "free requests today", f"{quota.day_used}" + (f" of {quota.day_limit}" if quota.day_limit else "")
    today = next((one for one in figures.spending.windows if one.window == "day"), None) if figures.spending else None
    if today is not None:
        yield "spent today", f"${today.spent}" + (f" of ${today.cap}" if today.cap is not None else "")


def _section(title: str, note: str, name: str) -> str:
    told = f'\n<p class="note">{escape(note)}</p>' if note else ""
    chart = f'\n<div class="chart" id="chart-{name}"></div>' if name else ""
    return f"<section><h2>{escape(title)}</h2>{told}{chart}</section>"


def _tables(figures: Figures) -> Iterable[str]:
    gone = [(_when(one.at), shown(one.model), shown(one.reason)) for one in figures.delistings]
    yield _table("Delistings", ("when", "model", "why"), gone, "No model ended, and none is announced to.")
    budget = [
        (one.whose, one.window, f"${one.spent}", f"${one.reserved}", "none" if one.cap is None else f"${one.cap}")
        for one in (figures.spending.windows if figures.spending else ())
    ]
    yield _table("Budget", ("whose", "window", "spent", "reserved", "cap"), budget, "")
    yield _table("Last calls", ("ended", "outcome", "took", "attempts"), map(_call, figures.last), "There were none.")


def _call(record: CallRecord) -> tuple[str, ...]:
    tried = "; ".join(f"{shown(one.model)}: {shown(one.outcome)}" for one in record.attempts) or "nobody was asked"
    seconds = sum(one.seconds for one in record.attempts) + record.waited_s
    return _when(record.at, "%b %d %H:%M:%S"), shown(record.outcome), f"{seconds:.1f} s", tried


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], nothing: str) -> str:
    lines = ["".join(map(_cell, heads, row)) for row in rows]
    if not lines:
        return _section(title, nothing, "") if nothing else ""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f"<section><h2>{escape(title)}</h2>\n<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
        "</section>"
    )


def _cell(head: str, text: str) -> str:
    short = ' class="short"' if head in _SHORT else ""
    return f'<td{short} data-head="{escape(head)}">{escape(text)}</td>'


def _when(moment: float, form: str = "%Y-%m-%d %H:%M") -> str:
    return datetime.fromtimestamp(moment, UTC).strftime(form)
