"""Counters of the account as Prometheus reads them, made of the shared history: the same from every worker. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from langchain_openrouter_free.books.history import CallRecord, Totals
from langchain_openrouter_free.books.quota import Quota
from langchain_openrouter_free.books.spending import Spending

_NAME = "openrouter_free"
_QUANTILES = (0.5, 0.95, 0.99)


def metrics(records: Sequence[CallRecord], older: Totals, quota: Quota | None, spending: Spending) -> str:
    """Return the text of `/metrics`.

    Args:
        records: the calls that are kept.
        older: counts of those that are not kept any more.
        quota: how much of the free quota is taken; None where nothing is known.
        spending: what the project has spent.
    """
    attempts: Counter[tuple[str, str]] = Counter()
    for models in older.days.values():
        for model, outcomes in models.items():
            attempts.update({(model, outcome): count for outcome, count in outcomes.items()})
    attempts.update((tried.model, tried.outcome) for record in records for tried in record.attempts)
    lines = [
        *_family("attempts_total", "counter", "Attempts by model and outcome.", _by_outcome(attempts)),
        *_family("calls", "gauge", "Calls that are kept, by how they ended.", _by_ending(records)),
        *_family("quota_left", "gauge", "Free requests left.", _left(quota)),
        *_family("quota_limit", "gauge", "Free requests of a window.", _limits(quota)),
        *_family("spent_usd", "gauge", "US dollars spent by the project.", _spent(spending)),
        *_family("reserved_usd", "gauge", "US dollars held back.", _reserved(spending)),
        *_summary("first_content_seconds", "Seconds to the first content of answers that are kept.", _speeds(records)),
    ]
    return "\n".join(lines) + "\n"


Sample = tuple[Mapping[str, str], float | Decimal]


def _family(name: str, kind: str, about: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {_NAME}_{name} {about}"
    yield f"# TYPE {_NAME}_{name} {kind}"
    for labels, value in samples:
        told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{_NAME}_{name}{{{told}}} {value}"


def _summary(name: str, about: str, measured: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield a summary by model of what was measured, in order."""
    yield f"# HELP {_NAME}_{name} {about}"
    yield f"# TYPE {_NAME}_{name} summary"
    for model, values in measured.items():
        label = f'model="{_escaped(model)}"'
        for part in _QUANTILES:
            value = values[min(int(len(values) * part), len(values) - 1)]
            yield f'{_NAME}_{name}{{{label},quantile="{part}"}} {value}'
        yield f"{_NAME}_{name}_sum{{{label}}} {sum(values)}"
        yield f"{_NAME}_{name}_count{{{label}}} {len(values)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _by_outcome(attempts: Mapping[tuple[str, str], int]) -> Iterator[Sample]:
    for (model, outcome), count in sorted(attempts.items()):
        yield {"model": model, "outcome": outcome}, count


def _by_ending(records: Sequence[CallRecord]) -> Iterator[Sample]:
    for outcome, count in sorted(Counter(record.outcome for record in records).items()):
        yield {"outcome": outcome}, count


def _left(quota: Quota | None) -> Iterator[Sample]:
    for window, facts in ({} if quota is None else quota.as_dict()).items():
        if facts["left"] is not None:
            yield {"window": window}, facts["left"]


def _limits(quota: Quota | None) -> Iterator[Sample]:
    for window, facts in ({} if quota is None else quota.as_dict()).items():
        if facts["limit"] is not None:
            yield {"window": window}, facts["limit"]


def _spent(spending: Spending) -> Iterator[Sample]:
    for one in spending.windows:
        yield {"whose": one.whose, "window": one.window}, Decimal(one.spent)


def _reserved(spending: Spending) -> Iterator[Sample]:
    for one in spending.windows:
        yield {"whose": one.whose, "window": one.window}, Decimal(one.reserved)


def _speeds(records: Sequence[CallRecord]) -> dict[str, list[float]]:
    measured: dict[str, list[float]] = {}
    for record in records:
        for tried in record.attempts:
            if tried.outcome == "ok" and tried.first_token_s is not None:
                measured.setdefault(tried.model, []).append(tried.first_token_s)
    return {model: sorted(measured[model]) for model in sorted(measured)}
