"""Which refusals take a model off the list for a day, and which only look like it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from driving import PATHS, TWENTY, asked, drive, make
from wire_table import NOW, REFUSALS, Case, err, upstream

from langchain_openrouter_free import MemoryStore, NoSuitableModel
from langchain_openrouter_free.books.ledger import Ledger
from langchain_openrouter_free.errors import AllModelsFailed
from langchain_openrouter_free.judging.refusals import classify
from langchain_openrouter_free.simulator import Scenario, Simulator
from langchain_openrouter_free.testing import FakeClock

CASES = Path(__file__).parents[2] / "shared" / "openrouter" / "wire" / "cases.jsonl"
HOUR, DAY = 3600.0, 86_400.0
MODEL = "a/b:free"

# Recorded case -> how long the model is left alone for it, in seconds: a day where it is gone, none where it is not.
RECORDED: dict[str, float] = {
    "400-invalid-model-free": DAY,
    "400-chain-first-id-invalid": DAY,
    "400-stream-invalid-model": DAY,
    "doc-availability-notfound": DAY,
    "doc-availability-deprecated": DAY,
    "404-free-retired-glm": DAY,
    "404-free-retired-gemma": DAY,
    "404-free-deprecated-qwen36": DAY,
    "404-stealth-tombstone": DAY,
    "403-region": DAY,
    "403-agentic-harness-funnel": 7 * DAY,
    "404-provider-returned-nvidia": 5.0,
    "404-image-input": 0.0,
    "404-max-price": 0.0,
    "404-parameters": 0.0,
    "404-all-ignored": 0.0,
    "404-no-endpoints-funnel-byok": 0.0,
    "404-guardrail-free-training": 0.0,
    "404-data-policy-training-recorded": 0.0,
    "404-guardrail-zdr": 0.0,
    "doc-availability-privacy": 0.0,
    "400-mistral-tool-after-system": 0.0,
    "400-mistral-duplicate-tool-id": 0.0,
    "400-gemma-developer-instruction": 0.0,
    "400-context-output-heavy": 0.0,
}


def funnel(message: str, left: int, step: str | None = None) -> Any:
    more = {} if step is None else {"failed_routing_step": step}
    return err(404, message, routing_funnel=[{"step": "Initial Endpoints", "endpoint_count": left}], **more)


# The same in other words: message, what it means.
OWN: list[tuple[Any, float]] = [
    (err(400, f"{MODEL} is not a valid model ID"), DAY),
    (err(404, f"No endpoints found for {MODEL}."), DAY),
    (err(404, "No endpoints found."), DAY),
    (funnel(f"No endpoints found for {MODEL}.", 0), DAY),
    (funnel(f"No endpoints found for {MODEL}.", 0, "Initial Endpoints"), DAY),
    (err(410, "This model has been retired."), DAY),
    (err(404, "This model was a stealth model, revealed as X. Its testing period is over."), DAY),
    (err(404, "The free Laguna period has ended. To continue, migrate to the paid slug a/b."), DAY),
    ({"error": {"message": "gone", "http_status": 404, "availability": {"code": "model_deprecated"}}}, DAY),
    (funnel(f"No endpoints found for {MODEL}.", 6, "Filter by Allowed Providers"), 0.0),
    (funnel(f"No endpoints found for {MODEL}.", 6), 0.0),
    (funnel(f"No endpoints found for {MODEL}.", 1, "Filter by Tool Compatibility"), 0.0),
    (funnel(f"No endpoints found for {MODEL}.", 1, "Filter by Data Policy"), 0.0),
    (funnel(f"No endpoints found for {MODEL}.", 1, "Filter by Guardrails"), 0.0),
    (funnel(f"No endpoints found for {MODEL}.", 1, "Filter by Something New"), 0.0),
    (err(404, "No endpoints found that support tool use"), 0.0),
    (err(404, "No endpoints found that support the provided 'tool_choice' value"), 0.0),
    (err(404, "No endpoints found that support image input"), 0.0),
    (err(404, f"No endpoints found for {MODEL} that support the provided 'tool_choice' value."), 0.0),
    (err(404, f"No endpoints found for {MODEL}, with ZDR enforced by your settings."), 0.0),
    (err(404, f"ZDR is on in your settings; no endpoints found for {MODEL}"), 0.0),
    (err(404, "This model does not support tools"), 0.0),
    (err(404, "No endpoints found matching your provider preferences"), 0.0),
    (err(404, "No endpoints available that match the requested quantizations"), 0.0),
    (
        err(
            404, "No endpoints found matching your data policy (Free model publication). Configure: x/settings/privacy"
        ),
        0.0,
    ),
    (err(404, "0 endpoints out of 1 requested are available matching your guardrail restrictions"), 0.0),
    (err(404, "No allowed providers are available for the selected model."), 0.0),
    (err(404, "All providers have been ignored. To change your default ignored providers, visit x/settings"), 0.0),
    ({"error": {"message": "x", "http_status": 404, "availability": {"code": "privacy_restricted"}}}, 0.0),
    (upstream(404, "Not Found"), 5.0),
    (upstream(404, f"The model `{MODEL}` has been deprecated"), 5.0),
    (upstream(400, '{"error":{"message":"model not found"}}'), 5.0),
    (err(403, f"{MODEL} is only available on agentic harnesses."), 7 * DAY),
]


def left_alone(status: int, headers: dict[str, str], body: object) -> float:
    """How long a book leaves the model alone after a reply."""
    how = classify(status, headers, body, now=NOW)
    book = Ledger().settled(MODEL, how, NOW)
    return max(book.rests_until(MODEL, NOW) - NOW, 0.0)


@pytest.mark.skipif(not CASES.exists(), reason="the folder of recorded replies is not beside this checkout")
def test_the_recorded_refusals() -> None:
    cases = {case["id"]: case for case in map(json.loads, CASES.read_text().splitlines())}
    found = {
        name: left_alone(case["status"], case["headers"] or {}, case["body"])
        for name, case in cases.items()
        if name in RECORDED
    }
    assert found == RECORDED
    others = [case for name, case in cases.items() if case["status"] in (400, 403, 404, 410) and name not in RECORDED]
    gone = {case["id"] for case in others if left_alone(case["status"], case["headers"] or {}, case["body"])}
    # The last of them is no answer to a chat.
    assert gone == {"400-chain-invalid-id", "404-generation-recorded"}


@pytest.mark.parametrize(("body", "seconds"), OWN, ids=lambda one: json.dumps(one)[:100])
def test_the_same_in_other_words(body: Any, seconds: float) -> None:
    error = body["error"]
    assert left_alone(error.get("code") or error["http_status"], {}, json.dumps(body)) == seconds


@pytest.mark.parametrize(
    "case", [c for c in REFUSALS if c.kind in ("unfit", "policy", "incompatible")], ids=lambda c: c.id
)
def test_what_the_request_or_the_account_is_to_blame_for(case: Case) -> None:
    assert left_alone(case.status, case.headers, case.raw) == 0.0


CLOSED = TWENTY[0]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("script", "days"), [("403-harness", 7), ("404-delisted", 1)])
def test_it_is_skipped_for_its_time(sim: Simulator, path: str, script: str, days: int) -> None:
    """A model that is closed to this kind of client for a week, one that is gone for a day; then it is tried again."""
    clock, store = FakeClock(), MemoryStore()
    model = make(sim, TWENTY[:2], clock=clock, state=store)
    sim.script({CLOSED: script})
    drive(model, path)
    for later in (1.0, (days - 0.02) * DAY):
        clock.advance(later)
        drive(model, path)
    assert asked(sim) == [CLOSED, *[TWENTY[1]] * 3]
    clock.advance(0.03 * DAY)
    drive(model, path)
    assert asked(sim)[4:] == [CLOSED, TWENTY[1]]


LOOK_ALIKES = ["404-tools", "404-image", "404-parameters", "404-max-price", "404-policy", "404-guardrail"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("script", LOOK_ALIKES)
def test_a_look_alike_delists_nobody(sim: Simulator, path: str, script: str) -> None:
    """It skips the model for this request; what it says of the account's setting, for a few hours; never for a day."""
    clock = FakeClock()
    model = make(sim, TWENTY[:1], clock=clock)
    sim.script({TWENTY[0]: [script, "ok"]})
    with pytest.raises(AllModelsFailed) as caught:
        drive(model, path)
    assert [record.until for record in caught.value.attempts] == [None]
    clock.advance(7 * HOUR)
    assert drive(model, path).meta["route"]["model"] == TWENTY[0]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("refusal", ["404-delisted", "403-harness", "403-region"])
def test_who_is_gone_is_no_more_suitable_to_the_next_call(path: str, refusal: str) -> None:
    """It asks nobody for that, and a retry is of no more use than it was."""
    with Simulator(Scenario(models=TWENTY[:2], scripts={"*": refusal})) as sim:
        router = make(sim, TWENTY[:2], clock=FakeClock())
        for _ in range(3):
            with pytest.raises(NoSuitableModel):
                drive(router, path)
        assert len(asked(sim)) == 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bounds", [{"max_wait": 0}, {"max_retries": 0}])
def test_one_that_is_gone_says_nothing_of_those_that_were_not_asked(path: str, bounds: dict[str, int]) -> None:
    """They are back in seconds, or well: the call may be tried again."""
    with Simulator(Scenario(models=TWENTY[:2], scripts={TWENTY[0]: ["ok", "404-delisted"], TWENTY[1]: "503"})) as sim:
        router = make(sim, TWENTY[:2], clock=FakeClock(), sticky=False, **bounds)
        drive(router, path)
        if "max_wait" in bounds:
            with pytest.raises(AllModelsFailed):
                drive(router, path, model=TWENTY[1])
        with pytest.raises(AllModelsFailed) as failed:
            drive(router, path)
        assert type(failed.value) is AllModelsFailed
        assert failed.value.is_retryable
        assert [attempt.outcome for attempt in failed.value.attempts] == ["delisted"]
