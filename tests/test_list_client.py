"""Fetching the service's list: pages, tags, packed bytes, and what is no list or only a part of one."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from background import settled
from driving import PATHS, TWENTY, asked, drive, make
from hypothesis import given
from hypothesis import strategies as st

from langchain_openrouter_free import AllModelsFailed, ChatOpenRouterFree, MemoryStore, NoSuitableModel
from langchain_openrouter_free.catalogue.catalogue import FRESH, SUSPECT, Listing
from langchain_openrouter_free.catalogue.fetching import LISTS, Fetch, Fetched, Unpacked
from langchain_openrouter_free.catalogue.listings import LISTINGS, USABLE
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.simulator.reply import FOREVER, Reply
from langchain_openrouter_free.testing import FakeClock

ZERO = {"prompt": "0", "completion": "0"}
COLOURS = ("sync", "async")


def lists(sim: Simulator) -> list[tuple[str, int | None]]:
    """The lists that were asked for, in order, and the status of each reply."""
    return [(one.path.removeprefix("/api/v1"), one.status) for one in sim.received if "/models" in one.path]


def refresh(model: ChatOpenRouterFree, colour: str) -> list[str]:
    """Fetch the list now; return the free ids that are known then."""
    if colour == "async":
        asyncio.run(model.arefresh())
    else:
        model.refresh()
    return sorted(facts.id for facts in model.catalogue)


def saying(sim: Simulator, say: Callable[[Any], Reply | None]) -> None:
    """Let the simulator say something else of its lists: what `say` returns for a request, if anything."""
    world = sim._service.world
    honest = world.answer

    def answer(request: Any) -> Reply:
        return (say(request) if "/models" in request.path else None) or honest(request)

    world.answer = answer  # type: ignore[method-assign]


def reply_of(body: bytes, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(200, {"Content-Type": "application/json", **named}, (body,))


@pytest.mark.parametrize("path", PATHS)
def test_a_list_that_never_comes_leaves_time_to_ask(path: str) -> None:
    """However short the call: it is answered by what is known without the list."""
    with Simulator() as sim:
        saying(sim, lambda _: Reply(200, wait=FOREVER))
        told = drive(make(sim, TWENTY[:2], timeouts={"call": 1.0}), path)
        assert told.outcomes == ["ok"]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("ends", [{"timeouts": {"call": 1.0}}, {"timeouts": {"attempt": 1.0}}])
def test_whoever_fetches_the_first_list_is_not_waited_for_longer(colour: str, ends: Any) -> None:
    """Another call fetches, and has more time: a short one is answered in its own, by what is known without it."""
    with Simulator() as sim:
        model = make(sim, TWENTY[:1], **ends)
        account = model._lookup().shelf.account

        async def call() -> Any:
            async with LISTINGS.turn_on_this_loop(account):  # it hangs
                return await asyncio.wait_for(model.ainvoke("hi"), 5)

        with ThreadPoolExecutor() as pool, LISTINGS.turn(account):
            told = pool.submit(model.invoke, "hi").result(5) if colour == "sync" else asyncio.run(call())
        assert told.text
        assert not lists(sim)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_list_in_pages_is_read_whole(colour: str) -> None:
    """Whatever the size of a page; the list in one piece says the same."""
    with Simulator() as sim:
        whole = refresh(make(sim, TWENTY), colour)
        assert len(whole) > 30
    for size, pages in ((1, 44), (7, 7), (1000, 1)):
        with Simulator(Scenario(page_size=size)) as sim:
            found = refresh(make(sim, TWENTY), colour)
            if size > 1:
                assert found == whole
            assert len(lists(sim)) == min(pages, 40)


NO_LINKS: list[Any] = [None, "", 5, [], {}, True]
LINKS: list[tuple[Any, int]] = [
    ("/api/v1/models/user", 1),  # the page itself: a circle
    ("?offset=0", 2),  # the same page by another name, which then names itself
    ("http://elsewhere.invalid/api/v1/models", 1),
    ("//elsewhere.invalid/api/v1/models", 1),
    ("https://127.0.0.1/api/v1/models", 1),
    ("http://[bad", 1),
    ("file:///etc/passwd", 1),
    ("x" * 5000, 1),
    *((odd, 1) for odd in NO_LINKS),
]


@pytest.mark.parametrize(("link", "pages"), LINKS, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("colour", COLOURS)
def test_where_a_link_must_not_lead(colour: str, link: Any, pages: int) -> None:
    """Never to another host, which would get the key; never in a circle. What was read so far is the list."""
    body = json.dumps({"data": [{"id": "test/m:free", "pricing": ZERO}], "links": {"next": link}}).encode()
    with Simulator() as sim:
        saying(sim, lambda _: reply_of(body))
        assert refresh(make(sim, TWENTY[:1]), colour) == ["test/m:free"]
        assert lists(sim) == [("/models/user", 200)] * pages


@pytest.mark.parametrize("colour", COLOURS)
def test_pages_without_an_end(colour: str) -> None:
    """They are followed forty times."""
    with Simulator() as sim:

        def endless(request: Any) -> Reply:
            number = int(request.query.partition("=")[2] or 0)
            rows = [{"id": f"test/m{number}:free", "pricing": ZERO}]
            return reply_of(json.dumps({"data": rows, "links": {"next": f"?n={number + 1}"}}).encode())

        saying(sim, endless)
        assert len(refresh(make(sim, TWENTY[:1]), colour)) == len(lists(sim)) == 40


@pytest.mark.parametrize("colour", COLOURS)
def test_a_page_that_fails_is_no_whole_list(colour: str) -> None:
    """The other list is asked for; where that fails as well, the last good copy serves."""
    with Simulator(Scenario(page_size=10)) as sim:
        model = make(sim, TWENTY)
        whole = refresh(model, colour)
        saying(sim, lambda request: Reply(500, chunked=False) if "offset=10&" in request.query else None)
        assert refresh(model, colour) == whole
        assert lists(sim)[-4:] == [("/models/user", 200), ("/models/user", 500), ("/models", 200), ("/models", 500)]


@pytest.mark.parametrize("colour", COLOURS)
def test_an_unchanged_list_is_not_sent_again(colour: str) -> None:
    """304 renews the age of the copy."""
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:2], clock=clock)
        whole = refresh(model, colour)
        clock.advance(FRESH + 5)
        assert refresh(model, colour) == whole
        assert lists(sim) == [("/models/user", 200), ("/models/user", 304)]
        assert model.explain().listed_at == clock.now()
        LISTINGS.clear()  # as in a new process: the tag is kept in the state
        assert refresh(model, colour) == whole
        assert lists(sim)[2:] == [("/models/user", 304)]
        sim.offer("test/new:free")
        assert refresh(model, colour) == sorted([*whole, "test/new:free"])


ROWS = [{"id": f"test/m{n}:free", "pricing": ZERO} for n in range(3)]
GOOD = json.dumps({"data": ROWS}).encode()
NO_LIST: dict[str, Reply] = {
    "nothing": reply_of(b""),
    "half of it": reply_of(GOOD[: len(GOOD) // 2]),
    "a page": reply_of(b"<html>"),
    "an empty list": reply_of(b'{"data": []}'),
    "no entry of an id": reply_of(b'[{"id": null}, 3]'),
    "an error": reply_of(b'{"error": {"message": "no", "code": 500}}'),
    "another table": reply_of(b'{"data": {"test/m0:free": {}}}'),
    "no text": reply_of(b"\xff\xfe"),
    "too deep": reply_of(b"[" * 100_000),
    "packed, and cut": reply_of(gzip.compress(GOOD)[:-20], Content_Encoding="gzip"),
    "packed, and broken": reply_of(b"\x1f\x8b" + GOOD, Content_Encoding="gzip"),
    "packed in another way": reply_of(GOOD, Content_Encoding="br"),
    "a bomb": reply_of(gzip.compress(b"[" + b" " * 80_000_000), Content_Encoding="gzip"),
    "too big": Reply(200, {"Content-Type": "application/json"}, (b" " * 1_000_000 for _ in range(40))),
    "unchanged, of what?": Reply(304, chunked=False),
    "moved": Reply(302, {"Location": "http://elsewhere.invalid/"}, chunked=False),
}


@pytest.mark.parametrize("what", NO_LIST)
@pytest.mark.parametrize("colour", COLOURS)
def test_what_is_no_list(colour: str, what: str, caplog: pytest.LogCaptureFixture) -> None:
    """The last good copy serves, and the log says so once."""
    with Simulator() as sim:
        model = make(sim, TWENTY[:2])
        saying(sim, lambda _: reply_of(GOOD))
        good = refresh(model, colour)
        assert good == [row["id"] for row in ROWS]
        saying(sim, lambda _: NO_LIST[what])
        if what == "too big":
            NO_LIST[what].steps = (b" " * 1_000_000 for _ in range(100))
        caplog.clear()
        assert refresh(model, colour) == refresh(model, colour) == good
        # The simulated service's own loop may say that nobody reads what it sends.
        ours = [record for record in caplog.records if record.name == "langchain_openrouter_free"]
        told = [record.getMessage() for record in ours if record.levelno >= logging.WARNING]
        assert len(told) == 1
        assert "the list of models cannot be had" in told[0]
        assert "the copy of" in told[0]


@pytest.mark.parametrize("path", PATHS)
def test_a_list_without_entries_proves_nothing_free(path: str) -> None:
    """Where there is no earlier copy, and nothing else that could prove it, no id is believed by its name."""
    with Simulator() as sim:
        saying(sim, lambda _: reply_of(b'{"data": []}'))
        with pytest.raises(NoSuitableModel, match="does not list it"):
            drive(make(sim, TWENTY[:2]), path)
        assert sim.chats() == []


def test_packed_or_not_it_is_the_same() -> None:
    with Simulator() as sim:
        for reply in (reply_of(GOOD), reply_of(gzip.compress(GOOD), Content_Encoding="gzip")):
            saying(sim, lambda _, reply=reply: reply)  # type: ignore[misc]
            assert refresh(make(sim, TWENTY[:1]), "sync") == [row["id"] for row in ROWS]
        assert {one.headers["accept-encoding"] for one in sim.received} == {"gzip"}


@given(st.binary(max_size=300), st.integers(1, 50), st.integers(0, 400))
def test_bytes_are_unpacked_in_any_cut(content: bytes, cut: int, most: int) -> None:
    """And never more of them than are wanted."""
    packed = gzip.compress(content)
    unpacked = Unpacked("gzip", most)
    try:
        for start in range(0, len(packed), cut):
            unpacked.feed(packed[start : start + cut])
        assert unpacked.whole() == content
    except ValueError:
        assert len(content) > most
    assert len(unpacked.body) <= most + 1


# -- a list that has lost much


def serve(sim: Simulator, free: int, paid: int = 0) -> None:
    rows = [{"id": f"test/m{n}:free", "pricing": ZERO} for n in range(free)]
    sim.serve([*rows, *({"id": f"test/p{n}", "pricing": {"prompt": "1", "completion": "1"}} for n in range(paid))])


# Free and paid entries before and after, and whether the second list is believed at once.
LOSSES = [
    ((20, 320), (14, 320), True),  # 2026-07-19
    ((33, 307), (30, 298), True),  # 2026-01-15
    ((14, 386), (14, 322), True),  # batch ids vanished, 2026-07-31
    ((20, 320), (10, 160), False),
    ((20, 320), (9, 320), False),
    ((20, 320), (0, 320), False),
    ((20, 320), (20, 100), False),
    ((5, 3), (1, 0), True),  # a test server
]


@pytest.mark.parametrize(("before", "after", "believed"), LOSSES, ids=repr)
def test_a_list_that_has_lost_much(before: tuple[int, int], after: tuple[int, int], *, believed: bool) -> None:
    """Half of a list may be a broken one: it is believed when lists have said so for an hour."""
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:1], clock=clock)
        serve(sim, *before)
        refresh(model, "sync")
        serve(sim, *after)
        assert len(refresh(model, "sync")) == (after if believed else before)[0]
        clock.advance(FRESH - 1)
        assert len(refresh(model, "sync")) == (after if believed else before)[0]
        clock.advance(1)
        assert len(refresh(model, "sync")) == after[0]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("colour", COLOURS)
def test_what_costs_money_by_a_list_that_is_not_believed_is_not_asked(colour: str, *, half: bool) -> None:
    """Only what it lacks is doubted: an id that has a price in it is proven free by nothing any more.

    So of a list that has lost much, and of one of which half has come; in the one that serves nothing else is changed.
    """
    store = MemoryStore()
    with Simulator() as sim:
        model = make(sim, TWENTY[:2], state=store)
        sim.serve([{"id": one, "pricing": ZERO} for one in TWENTY])
        refresh(model, colour)
        dear = {"id": TWENTY[0], "pricing": {"prompt": "0.000001", "completion": "0"}}
        sim.serve([dear, {"id": TWENTY[1], "pricing": ZERO}])
        if half:
            page = json.dumps({"data": [dear, {"id": "test/new:free"}], "links": {"next": "?offset=2"}}).encode()
            saying(sim, lambda request: Reply(500) if request.query else reply_of(page))
        assert refresh(model, colour) == sorted(TWENTY[1:])
        for asking in (model, make(sim, TWENTY[:2], state=store)):
            assert drive(asking, "invoke").meta["route"]["model"] == TWENTY[1]
            LISTINGS.clear()  # as another process begins
        assert TWENTY[0] not in asked(sim)


def test_what_all_may_use_is_another_list() -> None:
    """While the account's own list fails, the other one serves; that it has more proves nothing of this one."""
    with Simulator(Scenario()) as sim:
        model = make(sim, TWENTY[:1])
        serve(sim, 20)
        sim._service.world.state.scenario.closed.extend(f"test/m{n}:free" for n in range(15))
        with pytest.MonkeyPatch.context() as patched:
            honest = sim._service.world.answer
            patched.setattr(sim._service.world, "answer", lambda r: Reply(500) if "user" in r.path else honest(r))
            assert len(refresh(model, "sync")) == 20
        assert len(refresh(model, "sync")) == 5
        assert not [one for one in model.explain().models if "suspect" in one.reason]


def test_a_whole_list_in_between_counts_anew() -> None:
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:1], clock=clock)
        for free in (20, 5, 20, 5):
            serve(sim, free)
            found = refresh(model, "sync")
            clock.advance(FRESH * 0.6)
        assert len(found) == 20
        clock.advance(USABLE)
        assert len(refresh(model, "sync")) == 5, "the copy is too old to be preferred"


DEAR: dict[str, Any] = {"id": "simulated/dear", "pricing": {"prompt": "0.000001", "completion": "0.000001"}}
# Who comes next (a process that pays, or one that only fetches the list), after how many seconds, which lists fail
# then, and whether the paid id can be asked.
PRICES: dict[str, list[tuple[bool, float, tuple[str, ...], bool]]] = {
    "a copy of who does not pay": [(False, 0, (), False), (True, 300, LISTS, False), (True, 61, (), True)],
    "half of a fetch": [(True, 0, LISTS[1:], False), (True, 60, (), False), (True, 541, (), True)],
    "half of a renewal": [(True, 0, (), True), (True, FRESH, LISTS[1:], True), (True, 61, LISTS[1:], True)],
    "another's renewal": [
        (True, 0, (), True),
        (False, 3000, (), False),
        (True, 700, LISTS, True),
        (True, 61, (), True),
    ],
}


@pytest.mark.parametrize("story", PRICES)
@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_price_is_kept_or_soon_looked_for(path: str, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a paid id that the account's own list lacks, whatever fails and whoever fetched the copy that is there."""
    clock, store, down = FakeClock(), MemoryStore(), set[str]()
    processes: dict[bool, dict[str, Any]] = {True: {}, False: {}}
    own = json.dumps({"data": [{"id": TWENTY[0], "pricing": ZERO}]}).encode()
    with Simulator(Scenario(models=[DEAR, TWENTY[0]], scripts={TWENTY[0]: "503"}), clock=clock.now) as sim:

        def say(request: Any) -> Reply | None:
            page = request.path.removeprefix("/api/v1")
            return Reply(500) if page in down else reply_of(own) if page == LISTS[0] else None

        saying(sim, say)
        free = make(sim, TWENTY[:1], clock=clock, state=store, max_wait=0.0)
        paying = free.model_copy(update={"allow_paid": True, "paid_models": [DEAR["id"]], "budget": "$1"})
        for pays, seconds, failing, can_be_asked in PRICES[story]:
            clock.advance(seconds)
            monkeypatch.setattr(LISTINGS, "_kept", processes[pays])
            down.clear()
            down.update(failing)
            if not pays:
                free.refresh()
            elif can_be_asked:
                assert drive(paying, path).meta["route"]["model"] == DEAR["id"]
            else:
                with pytest.raises(AllModelsFailed, match="its price is unknown"):
                    drive(paying, path)
            settled()


# -- in the background


def test_many_calls_make_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many go by an old copy, one thread fetches, and does not keep the process alive."""
    clock, started = FakeClock(), []
    start = threading.Thread.start

    def counted(thread: threading.Thread) -> None:
        if thread.name == "openrouter-free-catalogue":
            started.append(thread)
        start(thread)

    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:1], clock=clock)
        model.invoke("hi")
        clock.advance(FRESH + 1)
        monkeypatch.setattr(threading.Thread, "start", counted)
        turn = LISTINGS.turn(model._lookup().shelf.account)
        with turn:  # it hangs
            for _ in range(5):
                assert model.invoke("hi").text
        started[0].join(10)
        assert [thread.daemon for thread in started] == [True]


def test_no_more_threads(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A call goes by the copy all the same, and the next one tries again."""
    clock = FakeClock()
    with Simulator(clock=clock.now) as sim:
        model = make(sim, TWENTY[:1], clock=clock)
        model.invoke("hi")
        clock.advance(FRESH + 1)

        def refused(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refused)
            assert model.invoke("hi").text
        assert "in the background" in caplog.text
        assert model.invoke("hi").text
        settled()
        assert len(lists(sim)) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform forks no processes")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_refresh() -> None:
    """The child has the copy, no lock of the parent's, and may refresh by itself."""
    LISTINGS.keep("a", Listing({"test/m:free": ()}, 1.0), 1.0)
    LISTINGS._of("a").refreshing = True
    with LISTINGS.turn("a"), LISTINGS._lock:
        child = os.fork()
        if child == 0:
            done = threading.Event()
            LISTINGS.in_background("a", done.set)
            is_well = LISTINGS.last("a") is not None and LISTINGS.turn("a").acquire(timeout=1) and done.wait(5)
            os._exit(0 if is_well else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# -- the walk itself


replies = st.builds(
    Fetched,
    st.sampled_from([0, 200, 200, 200, 304, 404, 500]),
    st.sampled_from([b"", GOOD, b"[]", b'{"data": []}', b'{"data": [], "links": {"next": "?a"}}', b"x", b"null"])
    | st.text("ab/?&=", max_size=4).map(lambda text: json.dumps({"data": ROWS, "links": {"next": text}}).encode()),
    st.sampled_from(["", '"tag"', "\n", "é"]),
    st.sampled_from(["", "a fault"]),
)


@given(st.lists(replies, min_size=100, max_size=100), st.booleans(), st.sampled_from([(), ("x/paid",)]))
def test_a_fetch_always_ends(said: list[Fetched], is_known: bool, paid: tuple[str, ...]) -> None:  # noqa: FBT001
    """Whatever is answered: after at most forty pages of each list, on the service's own host."""
    known = Listing({"a/b:free": ()}, 5.0, tag='"tag"', path=LISTS[0]) if is_known else None
    fetch = Fetch("http://h/api", known, paid)
    asked: list[str] = []
    for reply in said:
        page = fetch.asks()
        if page is None:
            break
        asked.append(page.url)
        fetch.told(reply)
    assert fetch.asks() is None
    assert len(asked) == len(set(asked)) or paid or said[0].body != GOOD
    assert all(url.startswith("http://h/") for url in asked)
    listing = fetch.listing(9.0)
    assert listing is None or (listing.at == 9.0 and listing.tag.isprintable())


def test_an_absence_grows_old() -> None:
    """For two days a vanished id may be back; it is remembered for ninety, with what was said of it."""
    row = {"id": "a/b:free", "pricing": ZERO}
    first, empty = Listing({"a/b:free": (row,), "a/paid": ({"id": "a/paid"},)}, 100.0), Listing({}, 200.0)
    absent = empty.after(first)
    assert absent.doubt("a/b:free") == (
        "suspect: the service's catalogue does not list it since 1970-01-01, so nothing proves that it is free"
    )
    assert set(absent.absent) == {"a/b:free"}
    assert absent.absent["a/b:free"].row == row
    gone = Listing({}, 200.0 + SUSPECT).after(absent)
    assert str(gone.doubt("a/b:free")).startswith("gone: ")
    back = Listing(first.rows, 300.0).after(absent)
    assert (back.absent, back.doubt("a/b:free")) == ({}, None)
    assert not Listing({}, 200.0 + 90 * 86_400).after(gone).absent
