"""Real entries with something odd in them, all the way from the bytes of a list to an answer: only typed errors."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx
from hypothesis import event, given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from test_facts import DAYS, anything, listing_of, moment, places, real

from langchain_openrouter_free import ChatOpenRouterFree, MemoryStore
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.catalogue.advice import Notice
from langchain_openrouter_free.catalogue.catalogue import Listing
from langchain_openrouter_free.catalogue.listings import LISTINGS, decode, encode
from langchain_openrouter_free.errors import ConfigurationError, OpenRouterFreeError
from langchain_openrouter_free.route.choosing import Chooser
from langchain_openrouter_free.route.fitness import Needs
from langchain_openrouter_free.route.routing import Route
from langchain_openrouter_free.testing import FakeClock

FEATURES = ("tools", "forced tool choice", "structured output", "JSON mode", "stop", "logprobs")
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}

needs = st.builds(
    Needs,
    st.frozensets(st.sampled_from(FEATURES)),
    st.frozensets(st.sampled_from(["image", "audio", "video"])),
    prompt_tokens=st.integers(0, 2_000_000),
)


@st.composite
def mutated(draw: st.DrawFn) -> list[Any]:
    """Some entries of a real list, free ones above all, with up to four values replaced or missing in each."""
    listing = listing_of(draw(st.sampled_from(sorted(DAYS))))
    frees = sorted(model for model in listing.rows if model.endswith(":free"))
    entries: list[Any] = []
    for model in draw(st.lists(st.sampled_from([*frees, "openrouter/free"]), max_size=6)):
        row = copy.deepcopy(listing.rows[model][0]) if model in listing.rows else {"id": model}
        for _ in range(draw(st.integers(0, 4))):
            spots = list(places(row))
            if not spots:
                break
            *way, last = draw(st.sampled_from(spots))
            spot: Any = row
            for step in way:
                spot = spot[step]
            if draw(st.booleans()):
                spot[last] = draw(anything)
            else:
                del spot[last]
        entries.append(row)
    entries += draw(st.lists(anything, max_size=2))
    return draw(st.permutations(entries))


def rankings(entries: list[Any]) -> st.SearchStrategy[list[str]]:
    known = [row["id"] for row in entries if isinstance(row, dict) and isinstance(row.get("id"), str)]
    words = st.sampled_from(["auto", "*", "qwen/*", "*coder*:free", "no/such:free", *known])
    return st.lists(words, min_size=1, max_size=4, unique=True)


@real
@given(st.data())
def test_selection_raises_nothing(data: st.DataObject) -> None:
    """Whatever two lists that follow each other hold; a copy that is written and read chooses the same."""
    first, second = data.draw(mutated()), data.draw(mutated())
    ranking = tuple(data.draw(rankings(first + second)))
    wanted, now = data.draw(needs), moment(data.draw(st.sampled_from(sorted(DAYS))))
    listing, before = Listing.of(second, now), Listing.of({"data": first}, now - data.draw(st.floats(0, 1e7)))
    assert listing is not None
    assert before is not None
    listing = listing.after(before)
    route = Route((), choose=Chooser(ranking, wanted, lambda: before), needs=wanted)
    route.listed(listing, now)
    for one in route.free:
        assert listing.doubt(one.model) is None or one.model in route.choice.doubts
        if one.score is not None:
            assert one.model in listing.rows
            assert one.model not in route.choice.left_out
    assert all(isinstance(notice, Notice) and str(notice) for notice in route.choice.notices)
    assert not set(route.choice.doubts) - {one.model for one in route.free}
    route.step(Ledger(), now, 60.0)
    again = Route((), choose=Chooser(ranking, wanted, lambda: before), needs=wanted)
    again.listed(decode(encode(listing)), now)
    assert again.free == route.free
    assert again.choice.doubts == route.choice.doubts


@real
@settings(max_examples=40)
@given(st.data())
def test_a_call_raises_only_what_is_ours(data: st.DataObject) -> None:
    """From the bytes of the list to the answer, and `explain`, `catalogue` and `profile` beside it."""
    LISTINGS.clear()
    entries = data.draw(mutated())
    body = json.dumps({"data": entries}).encode()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body) if "models" in request.url.path else httpx.Response(200, json=ANSWER)

    prompt = [HumanMessage(["look", IMAGE])] if data.draw(st.booleans()) else "hi"
    kwargs: dict[str, Any] = {"tools": [TOOL]} if data.draw(st.booleans()) else {}
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        try:
            model = ChatOpenRouterFree(
                models=data.draw(rankings(entries)),
                api_key="k",
                base_url="http://simulated.test/api/v1",
                allow_http=True,
                http_client=client,
                state=MemoryStore(),
                clock=FakeClock(moment(max(DAYS))),
                max_wait=0.0,
                wire="plain",
            )
        except ConfigurationError:
            return
        model.refresh()
        assert isinstance(model.profile, dict)
        told = model.explain(prompt, **kwargs)
        assert str(told)
        proven = {facts.id for facts in model.catalogue}
        try:
            found = model.invoke(prompt, **kwargs)
        except OpenRouterFreeError:
            event("nobody could be asked")
            assert told.order == ()
        else:
            assert found.response_metadata["route"]["model"] == told.order[0]
            # A service that has no list at all is believed where an id says that it is free.
            assert told.order[0] in proven or told.bundled
            event("answered")
