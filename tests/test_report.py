"""The report: what its figures are, and that its page draws them in a real browser and asks nobody for anything."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from chromium import PROGRAM, Chromium
from driving import PATHS, TWENTY, drive, make
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free import AllModelsFailed, ConfigurationError, MemoryStore
from langchain_openrouter_free.books.figures import Delisting, Figures, figures
from langchain_openrouter_free.books.history import CallRecord, Totals
from langchain_openrouter_free.books.quota import Quota
from langchain_openrouter_free.errors import AttemptRecord
from langchain_openrouter_free.report import page
from langchain_openrouter_free.report.charts import shown
from langchain_openrouter_free.simulator import Simulator
from langchain_openrouter_free.stores.sqlite import SqliteStore
from langchain_openrouter_free.testing import FakeClock

NOW = 1_790_000_000.0  # 2026-09-21 14:13:20 UTC
DAY, HOUR = 86_400.0, 3_600.0
A, B = "test/a:free", "test/b:free"
NASTY = [
    "<script>alert(1)</script>:free",
    "</script><img src=http://evil.test/x onerror=alert(2)>:free",
    "\"'><a href='http://evil.test/'>x</a>&amp;:free",
    "$x^2$ %{y} {{7*7}} \u202ertl\x1b[31m:free",
    "@accent" + "a" * 300,
]


def attempt(model: str, outcome: str = "ok", seconds: float = 1.0, **facts: Any) -> AttemptRecord:
    usual = {"scope": "model", "status": 200, "reason": "", "first_token_s": seconds / 2 if outcome == "ok" else None}
    return AttemptRecord(model, outcome, seconds=seconds, **{**usual, **facts})


def call(at: float, *attempts: AttemptRecord, **facts: Any) -> CallRecord:
    done = bool(attempts) and attempts[-1].outcome == "ok"
    usual = {"outcome": "answered" if done else "failed", "model": attempts[-1].model if done else None}
    return CallRecord(at, "p", **{**usual, **facts}, attempts=attempts)


def busy_week(names: list[str]) -> Figures:
    """A week in which everything happened to models of these names."""
    records = []
    for hour in range(7 * 24):
        at = NOW - hour * HOUR - 60
        first, second = names[hour % len(names)], names[(hour + 1) % len(names)]
        broken = attempt(
            first, "delisted" if hour % 50 == 1 else "upstream_limit", reason=f"said {first}", until=at + 900
        )
        tried = [broken, attempt(second, "ok", 1 + hour % 7)] if hour % 3 else [attempt(second)]
        quota = Quota(2, 20, hour % 50, 50, at)
        records.append(call(at, *tried, cost=hour * 100_000, quota=quota, provider=second))
    ends = [Delisting(names[0], NOW + 5 * DAY, "announced")]
    return figures(records, NOW - 7 * DAY, NOW, project=names[0], quota=Quota(1, 20, 9, 50, NOW), announced=ends)


class TestFigures:
    def test_they_are_what_the_calls_say(self) -> None:
        """Answers, failures, moves, speed, quota by hour, spending by day, cooldowns, delistings."""
        records = [
            call(NOW - 10, attempt(A, "overloaded", 2.0, until=NOW + 100), attempt(B, "ok", 4.0), cost=3_000_000),
            call(NOW - HOUR, attempt(B, "ok", 8.0), quota=Quota(1, 20, 7, 50, NOW - HOUR)),
            call(NOW - HOUR - 1, attempt(A, "delisted", reason="gone", until=NOW), attempt(B, "unreachable")),
            call(NOW - 30 * DAY, attempt(A)),
            call(NOW + 30 * DAY, attempt(A)),
        ]
        found = figures(records, NOW - DAY, NOW)
        assert (found.calls, found.answered, found.moves, found.step) == (3, 2, 2, HOUR)
        assert found.answers == {B: 2}
        assert found.failures == {"overloaded": 1, "delisted": 1, "unreachable": 1}
        assert [*found.course.values()] == [(1, 1, 1), (1, 0, 1)]
        assert (found.speeds[B].median_s, found.speeds[B].p90_s, found.speeds[B].answers) == (2.0, 4.0, 2)
        assert [*found.hours.values()] == [(2, 7, 50), (2, None, None)]  # what was unreachable is not counted
        assert found.spent == {"2026-09-21": 0.003}
        # A's two rests overlap: they are one, named by the last cause.
        assert [(one.model, one.outcome, one.until) for one in found.spells] == [(A, "overloaded", NOW + 100)]
        assert found.delistings == (Delisting(A, NOW - HOUR - 2, "gone"),)
        assert [record.at for record in found.last] == [NOW - 10, NOW - HOUR, NOW - HOUR - 1]
        assert json.loads(json.dumps(found.as_dict()))["calls"] == 3

    def test_a_model_that_nobody_asked_is_gone_as_well(self) -> None:
        """Where a refusal tells of it, that counts; else the list's word does."""
        refused = call(NOW - 10, attempt(A, "delisted", reason="gone"))
        listed = [
            Delisting(model, at, "not listed") for model, at in ((A, NOW - 90), (B, NOW - 80), (B, NOW - 9 * DAY))
        ]
        found = figures([refused], NOW - DAY, NOW, vanished=listed)
        assert [(one.model, one.reason) for one in found.delistings] == [(A, "gone"), (B, "not listed")]

    def test_what_is_folded_counts_by_day(self) -> None:
        older = Totals({"2026-08-01": {A: {"ok": 3, "overloaded": 2}}, "2025-01-01": {A: {"ok": 9}}})
        found = figures([call(NOW, attempt(A))], NOW - 100 * DAY, NOW, older=older)
        assert found.answers == {A: 4}
        assert [*found.course.values()] == [(3, 0, 2), (1, 0, 0)]
        assert figures([], NOW - 100 * DAY, NOW, older=older, project="p").answers == {}

    @given(st.lists(st.tuples(st.floats(NOW - 9 * DAY, NOW), st.lists(st.sampled_from(["ok", "broken"]), max_size=4))))
    def test_nothing_is_lost_or_counted_twice(self, calls: list[tuple[float, list[str]]]) -> None:
        records = [call(at, *(attempt(f"test/{kind}:free", kind) for kind in tried)) for at, tried in calls]
        found = figures(records, NOW - 7 * DAY, NOW)
        inside = [record for record in records if record.at >= NOW - 7 * DAY]
        assert found.calls == len(inside) == sum(done + failed for done, failed, _ in found.course.values())
        assert found.answered == sum(found.answers.values())
        assert sum(sent for sent, _, _ in found.hours.values()) == sum(len(record.attempts) for record in inside)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_the_past_can_be_asked_for(sim: Simulator, tmp_path: Path, kind: str) -> None:
    """The newest first, since a moment, of one project or of all; and the report of it, without a request."""
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "state.sqlite3")
    clock = FakeClock(NOW)
    sim.script({TWENTY[0]: "503"})
    for project in ("one", "two"):
        for path in PATHS:
            drive(make(sim, TWENTY[:2], state=store, clock=clock, project=project), path)
            clock.advance(10)
    sim.script({"*": "503"})
    model = make(sim, TWENTY[:2], state=store, clock=clock, project="two", max_wait=0)
    with pytest.raises(AllModelsFailed):
        drive(model, "invoke")
    asked = len(sim.received)
    records = model.history(100)
    assert [record.at for record in records] == [NOW + ago for ago in range(80, -1, -10)]
    assert [record.project for record in records] == ["two"] * 5 + ["one"] * 4
    assert (model.history(2), model.history(since=NOW + 75)) == (records[:2], records[:1])
    assert model.history(3, project="one") == records[5:8]
    answered = records[-1]
    assert (answered.provider, answered.cost, answered.prompt_tokens) != (None, None, None)
    assert answered.quota is not None
    assert answered.quota.day_used == 2
    found = model.figures()
    assert (found.calls, found.answered) == (9, 8)
    assert "test/m02:free" in model.report()
    assert len(sim.received) == asked


@pytest.mark.parametrize(("since", "known"), [(float("inf"), 0), (1e30, 0), (float("nan"), 1), (-1.0, 1)])
def test_a_span_may_begin_at_any_number(sim: Simulator, since: float, known: int) -> None:
    """One that begins in the future is empty, one that begins at no moment holds all that is known."""
    model = make(sim)
    drive(model, "invoke")
    assert model.figures(since).calls == known
    assert "</html>" in model.report(since)


def test_without_a_history_the_past_is_empty(sim: Simulator) -> None:
    class Pages:
        blocking = False

        def __init__(self) -> None:
            self.update = MemoryStore().update

    model = make(sim, state=Pages())
    drive(model, "invoke")
    assert model.history() == []
    assert model.figures().calls == 0


def test_without_plotly_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ConfigurationError, match=r"langchain-openrouter-free\[report\]"):
        page(busy_week([A, B]))


@given(st.text())
def test_a_name_is_shown_on_one_line_without_control_characters(name: str) -> None:
    assert shown(name).isprintable()
    assert len(shown(name)) <= 120


class Elements(HTMLParser):
    """The elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action")]


@pytest.mark.wall_clock
def test_a_page_has_no_elements_but_its_own_and_no_links() -> None:
    """Whatever the models are called, and without waiting for the network: it is made in less than a second."""
    began = time.perf_counter()
    nasty, plain = Elements(page(busy_week(NASTY))), Elements(page(busy_week([f"test/{n}:free" for n in range(5)])))
    assert time.perf_counter() - began < 6  # two pages
    assert nasty.found == plain.found
    assert set(nasty.links) == {"data:,"}


needs_chromium = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium on this machine: apt-get install chromium (or run .ci/run as root)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@needs_chromium
class TestInABrowser:
    @pytest.fixture
    def week(self, tmp_path: Path) -> Path:
        path = tmp_path / "report.html"
        path.write_text(page(busy_week(NASTY)), encoding="utf-8")
        return path

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1100, 390])
    def test_it_is_drawn_without_a_request_or_a_complaint(
        self, browser: Chromium, week: Path, tmp_path: Path, width: int, scheme: str
    ) -> None:
        """On a desk and on a phone, light and dark, with the nastiest of names."""
        browser.requests.clear()
        browser.show(week, width=width, scheme=scheme)
        browser.picture(tmp_path / "page.png")
        assert browser.ask("document.querySelectorAll('.chart').length") == 6
        assert browser.ask("[...document.querySelectorAll('.chart')].every(c => c.querySelector('svg .trace'))")
        assert browser.ask("document.documentElement.scrollWidth") <= width
        assert browser.ask("document.querySelectorAll('a, img, main script').length") == 0
        assert browser.ask("document.body.innerText.includes('<script>alert(1)</script>')")
        assert browser.ask(
            "[...document.querySelectorAll('.annotation-text')].some(t => t.textContent.includes('<img'))"
        )
        assert browser.requests == [week.as_uri()]
        assert browser.complaints == []
        assert (tmp_path / "page.png").stat().st_size > 50_000

    def test_it_follows_the_user_from_light_to_dark(self, browser: Chromium, week: Path) -> None:
        """Without being loaded again: page and charts alike."""
        browser.show(week, scheme="light")
        bar = "getComputedStyle(document.querySelector('#chart-answers .point path')).fill"
        light = browser.ask(f"[getComputedStyle(document.body).backgroundColor, {bar}]")
        browser.dress(width=1100, height=900, scheme="dark")
        browser.wait_for(f"{bar} !== {json.dumps(light[1])}")
        assert browser.ask("getComputedStyle(document.body).backgroundColor") != light[0]

    def test_an_empty_history_says_so(self, browser: Chromium, tmp_path: Path) -> None:
        path = tmp_path / "empty.html"
        path.write_text(page(figures([], NOW - DAY, NOW)), encoding="utf-8")
        browser.show(path)
        assert browser.ask("document.body.innerText.includes('There were no calls in this time.')")
        assert browser.complaints == []

    def test_its_policy_forbids_the_network_and_foreign_scripts(self, browser: Chromium, week: Path) -> None:
        """Even a script that got in could not run, and nothing could be fetched."""
        browser.show(week)
        told = browser.ask("fetch('http://127.0.0.1:9/').then(() => 'let through', () => 'refused')")
        assert told == "refused"
        inject = (
            "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
        )
        assert browser.ask(f"(() => {{ {inject} return window.ran }})()") is None
        assert any("Content Security Policy" in complaint for complaint in browser.complaints)
        browser.complaints.clear()
