"""What the charts of the report show, in plotly's words: traces and axes as plain data. Pure.

A colour is the name of one of the page's CSS variables; `page.js` puts in the one of the light or the dark page. Names
of models stand in labels of their own, above what they name: beside it they would leave a phone no room for the chart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from html import escape
from typing import Any

from langchain_openrouter_free.books.figures import Figures, Spell
from langchain_openrouter_free.values import value_type

# More models than this are not shown in one chart.
_MOST = 15
_LONGEST = 120
# Height in pixels of a chart by time, and of a row and of the rest of one by model.
_HEIGHT, _ROW, _REST = 260, 44, 56
_CAUSES = "When a model was left alone: after a rate limit (amber), a delisting (violet), or another failure (red)."
_COLOURS = {"delisted": "gone", "upstream_limit": "warn", "model_limit": "warn", "rate_limit": "warn"}


@value_type(frozen=True)
class Chart:
    """One chart; without traces only its note is shown.

    Attributes:
        name: for its place on the page.
        title, note: for people.
        traces, layout: as plotly takes them.
        height: in pixels.
    """

    title: str
    note: str
    name: str = ""
    traces: Sequence[Mapping[str, Any]] = ()
    layout: Mapping[str, Any] = field(default_factory=dict)
    height: int = _HEIGHT

    @property
    def heading(self) -> tuple[str, str]:
        """What stands above it."""
        return self.title, self.note

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {"name": self.name, "traces": [*self.traces], "layout": {**self.layout, "height": self.height}}


def shown(text: object) -> str:
    """Return a text as it may be shown: no control characters, nothing that turns its direction, not too long."""
    line = "".join(char if char.isprintable() else " " for char in str(text))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def charts_of(figures: Figures) -> tuple[Chart, ...]:
    """Return the charts of a report."""
    return (_answers(figures), _course(figures), _speeds(figures), _hours(figures), _spent(figures), _spells(figures))


def _label(text: object) -> str:
    """Write a text as plotly shows it: it reads tags and entities in every label."""
    return escape(shown(text), quote=False)


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _rows(names: Sequence[str], **layout: Any) -> tuple[dict[str, Any], int]:
    """Return the layout of a chart with a row for each name, the first one on top, and its height."""
    labels = [
        {
            "x": 0, "xref": "paper", "xanchor": "left", "y": len(names) - 1 - row, "yanchor": "bottom", "yshift": 9,
            "text": _label(name), "showarrow": False, "align": "left", "font": {"size": 12, "color": "text"},
        }
        for row, name in enumerate(names)
    ]  # fmt: skip
    hidden = {"showticklabels": False, "showgrid": False, "zeroline": False, "fixedrange": True}
    yaxis = {**hidden, "range": [-0.6, len(names) - 0.2]}
    return {"annotations": labels, "yaxis": yaxis, "showlegend": False, **layout}, _REST + _ROW * len(names)


def _places(names: Sequence[str]) -> dict[str, int]:
    return {name: len(names) - 1 - row for row, name in enumerate(names)}


def _answers(figures: Figures) -> Chart:
    title, names = "Answers by model", [*figures.answers][:_MOST]
    if not names:
        return Chart(title, "Nobody answered in this time.")
    counts = [figures.answers[name] for name in names]
    rest = sum(figures.answers.values()) - sum(counts)
    note = f"{rest} more by others." if rest else ""
    layout, height = _rows(names, xaxis={"rangemode": "tozero", "tickformat": ",d"})
    hover = [f"{_label(name)}: {count}" for name, count in zip(names, counts, strict=True)]
    bar = {
        "type": "bar", "orientation": "h", "x": counts, "y": [*_places(names).values()], "width": 0.34,
        "text": [f" {count}" for count in counts], "textposition": "outside", "cliponaxis": False,
        "hovertext": hover, "hoverinfo": "text",
        "marker": {"color": "accent"},
    }  # fmt: skip
    return Chart(title, note, "answers", [bar], layout, height)


def _course(figures: Figures) -> Chart:
    title = "Success and moves over time"
    if not figures.course:
        return Chart(title, "There were no calls in this time.")
    times = [_date(at) for at in figures.course]
    done, failed, moves = zip(*figures.course.values(), strict=True)
    width = figures.step * 1000
    bars = [
        _bars(times, done, "answered", "good", width),
        _bars(times, failed, "failed", "bad", width),
        {
            "type": "scatter", "mode": "lines+markers", "name": "moves", "x": [_middle(at, figures) for at in times],
            "y": moves, "line": {"color": "warn", "width": 2}, "marker": {"color": "warn", "size": 5},
        },
    ]  # fmt: skip
    hours = figures.step / 3600
    note = f"Calls and moves to another model, for each {'day' if hours >= 24 else f'{hours:g} h'}."
    return Chart(title, note, "course", bars, {"barmode": "stack", "xaxis": _span(figures), "yaxis": _counts()})


def _bars(
    times: Sequence[str], values: Sequence[float], name: str, colour: str, width: float, *, gap: int = 1
) -> dict[str, Any]:
    return {
        "type": "bar", "name": name, "x": times, "y": values, "width": width, "offset": 0,
        "marker": {"color": colour, "line": {"color": "panel", "width": gap}},
    }  # fmt: skip


def _middle(time: str, figures: Figures) -> str:
    begins = datetime.strptime(time, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    return _date(begins + figures.step / 2)


def _span(figures: Figures) -> dict[str, Any]:
    return {"type": "date", "range": [_date(figures.since), _date(figures.until)]}


def _counts() -> dict[str, Any]:
    return {"rangemode": "tozero", "tickformat": ",d"}


def _speeds(figures: Figures) -> Chart:
    title, names = "Time to first content", [*figures.speeds][:_MOST]
    if not names:
        return Chart(title, "No answer told its first moment.")
    places = _places(names)
    layout, height = _rows(names, xaxis={"rangemode": "tozero", "ticksuffix": " s"})
    traces = [_box(figures, name, places[name]) for name in names]
    return Chart(title, "Seconds until an answer began; the fastest model first.", "speeds", traces, layout, height)


def _box(figures: Figures, name: str, place: int) -> dict[str, Any]:
    speed = figures.speeds[name]
    told = f"{_label(name)}: median {speed.median_s:g} s, nine in ten within {speed.p90_s:g} s, {speed.answers} answers"
    return {
        "type": "box", "orientation": "h", "x": speed.seconds, "y0": place, "width": 0.34, "boxpoints": "outliers",
        "line": {"color": "accent", "width": 1.5}, "fillcolor": "soft", "marker": {"color": "accent", "size": 3},
        "hoveron": "boxes", "hoverinfo": "text", "hovertext": told, "text": told,
    }  # fmt: skip


def _hours(figures: Figures) -> Chart:
    title = "Free requests by hour"
    if not figures.hours:
        return Chart(title, "No free request was sent in this time.")
    times = [_date(at) for at in figures.hours]
    sent, used, limits = zip(*figures.hours.values(), strict=True)
    traces = [_bars(times, sent, "sent in the hour", "accent", 3600 * 1000, gap=0)]
    layout: dict[str, Any] = {"xaxis": _span(figures), "yaxis": _counts()}
    both = [*zip(used, limits, strict=True)]
    shares = [min(100 * taken / limit, 104) if limit and taken is not None else None for taken, limit in both]
    if any(share is not None for share in shares):
        told = [f"{taken} of {limit} used" for taken, limit in both]
        line = _line(times, shares, "used of the day, %", "good", shape="hv")
        traces.append({**line, "yaxis": "y2", "hovertext": told, "hoverinfo": "text+x"})
        ends = [_date(figures.since), _date(figures.until)]
        traces.append({**_line(ends, [100, 100], "the day's limit", "bad", dash="dash"), "yaxis": "y2"})
        layout["yaxis2"] = {"overlaying": "y", "side": "right", "range": [0, 108], "showgrid": False}
        layout["yaxis2"] |= {"tickvals": [0, 50, 100], "ticksuffix": "%"}
    note = "What was sent in each hour (left), and how much of the UTC day was taken by then (right)."
    return Chart(title, note, "hours", traces, layout)


def _line(times: Sequence[str], values: Sequence[Any], name: str, colour: str, **line: Any) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": times, "y": values, "connectgaps": False,
        "line": {"color": colour, "width": 2, **line},
    }  # fmt: skip


def _spent(figures: Figures) -> Chart:
    title = "Spending against the budget"
    windows = figures.spending.windows if figures.spending else ()
    cap = next((one.cap for one in windows if one.window == "day" and one.cap is not None), None)
    if not figures.spent:
        return Chart(title, "No answer cost anything." + (f" The budget is ${cap} a day." if cap is not None else ""))
    days = [f"{day} 00:00:00" for day in figures.spent]
    traces: list[dict[str, Any]] = [_bars(days, [*figures.spent.values()], "spent", "accent", 86_400_000 * 0.8)]
    layout = {"xaxis": _span(figures), "yaxis": {"rangemode": "tozero", "tickprefix": "$"}}
    if cap is not None:
        span = [_date(figures.since), _date(figures.until)]
        traces.append(_line(span, [float(cap)] * 2, "cap a day", "bad", dash="dash"))
    note = "What the answers of each UTC day cost, in US dollars."
    return Chart(title, note, "spent", traces, layout)


def _spells(figures: Figures) -> Chart:
    title, spells = "Cooldowns", figures.spells
    rest: dict[str, float] = {}
    for one in spells:
        rest[one.model] = rest.get(one.model, 0.0) + one.until - one.since
    names = sorted(rest, key=lambda name: -rest[name])[:_MOST]
    if not names:
        return Chart(title, "No model was left alone in this time.")
    end = max(figures.until, *(one.until for one in spells))
    axis = {"type": "date", "range": [_date(figures.since), _date(end)]}
    layout, height = _rows(names, xaxis=axis, barmode="overlay")
    traces = [*_spans([one for one in spells if one.model in rest and one.model in names], _places(names))]
    return Chart(title, _CAUSES, "spells", traces, layout, height)


def _spans(spells: Sequence[Spell], places: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    yield {
        "type": "bar", "orientation": "h", "width": 0.34,
        "base": [_date(one.since) for one in spells],
        "x": [(one.until - one.since) * 1000 for one in spells],
        "y": [places[one.model] for one in spells],
        "marker": {
            "color": [_COLOURS.get(one.outcome, "bad") for one in spells],
            "line": {"color": [_COLOURS.get(one.outcome, "bad") for one in spells], "width": 1.5},
        },
        "hovertext": [
            f"{_label(one.model)}<br>{_label(one.outcome)}<br>{_date(one.since)} to {_date(one.until)}"
            for one in spells
        ],
        "hoverinfo": "text",
    }  # fmt: skip
