"""The page of money as text: what older versions wrote is read, and what is no page is refused."""

from __future__ import annotations

import json

import pytest
from purse_story import KNOWN_AFTER, NOW

from langchain_openrouter_free.books.purse import LEASE, VERSION, Purse


def test_a_page_of_version_1_is_read() -> None:
    """It knew reservations of two fields, and no disputes; what it held back is counted when nobody settles it."""
    page = {"v": 1, "day": "2026-09-21", "month": "2026-09", "spent_day": 5, "spent_month": 7, "spent_total": 11}
    page |= {"reservations": {"a": [100, NOW + 60], "b": [30, NOW + LEASE]}, "warned": {"day": 50}}
    purse = Purse.decode(json.dumps(page))
    assert (purse.reserved, purse.disputes, purse.unknown) == (130, {}, 0)
    assert purse.warned == {"day": 50}
    assert purse.due(NOW + 50) == ()
    later = purse.settled("b", None, NOW + 60, "gen-b")
    assert (later.reserved, later.spent("day"), later.unknown) == (0, 135, 100)
    assert later.due(NOW + 60 + KNOWN_AFTER) == ("gen-b",)
    assert json.loads(later.encode())["v"] == VERSION == 3
    assert Purse.decode(later.encode()) == later


def test_a_page_of_version_2_is_read() -> None:
    """It knew nothing of reservations that were asked for."""
    page = {"v": 2, "reservations": {"a": [100, NOW + 60, "gen", NOW, "2026-09-21", "one"]}}
    purse = Purse.decode(json.dumps(page))
    assert (purse.reserved, purse.due(NOW + KNOWN_AFTER, "one")) == (100, ("gen",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"v":4,"reservations":{}}',
        '{"v":2}',
        '{"v":2,"reservations":{"a":[1]}}',
        '{"v":3,"reservations":{"a":[1,2.5,"",2.5,"","",1,"soon"]}}',
        '{"v":3,"reservations":{"a":[1,2.5,"",2.5,"","",1,2,3]}}',
        '{"v":2,"reservations":{},"disputes":{"g":[1,"2026-09-21"]}}',
        '{"v":2,"reservations":{},"more":1}',
        '{"v":2,"reservations":{},"spent_total":0.5}',
        '{"v":2,"reservations":{},"unknown":"5"}',
        '{"v":2,"reservations":{},"day":"20260921"}',
        '{"v":2,"reservations":{},"month":9}',
    ],
)
def test_what_is_no_page_is_refused(text: str) -> None:
    """The store sets it aside; half a book would be a budget that begins anew unseen."""
    with pytest.raises(ValueError):
        Purse.decode(text)
