"""The error for a call in which nobody answered, made from what its route learned. Pure."""

from __future__ import annotations

from langchain_openrouter_free.budget import Shortfall, dollars
from langchain_openrouter_free.errors import (
    AllModelsFailed,
    AuthenticationFailed,
    BudgetExceeded,
    ContextTooLong,
    FreeQuotaExhausted,
    InsufficientCredits,
    NoSuitableModel,
    OpenRouterFreeError,
    RequestRejected,
    at,
)
from langchain_openrouter_free.ledger import Hold, Ledger
from langchain_openrouter_free.routing import Ending, Route
from langchain_openrouter_free.verdicts import POLICIES, Kind


def error_of_call(route: Route, book: Ledger, now: float) -> OpenRouterFreeError:
    """Return the most precise error for a route that has come to its end."""
    skipped = route.skipped(book, now)
    trail = tuple(route.trail)
    match route.ending():
        case Ending.AUTHENTICATION:
            return AuthenticationFailed(
                f"The service does not accept the API key ({_raised(route)}). Check OPENROUTER_API_KEY.",
                trail,
            )
        case Ending.REJECTED:
            return RequestRejected(f"{_means(route)}: {_raised(route)}.", trail)
        case Ending.TOO_LONG:
            return ContextTooLong("The prompt is too long for every model that was asked. Shorten it.", trail)
        case Ending.UNSUITABLE:
            return NoSuitableModel(_unsuitable(route), trail, skipped)
        case Ending.CREDITS:
            reason = next(v.reason for v in route.verdicts if v.kind in (Kind.UNPAID, Kind.KEY_LIMIT))
            return InsufficientCredits(f"The account cannot pay: {reason}.", trail, skipped)
        case Ending.QUOTA if route.hold is not None:
            hold = route.hold
            return FreeQuotaExhausted(
                hold.window,
                hold.until,
                hold.limit,
                trail,
                skipped,
                used=_used(hold, book, now),
                share=hold.share,
                assumed=not book.is_stated(hold.window, now) and hold.used is not None,
            )
        case Ending.BUDGET if route.shortfall is not None:
            return _budget_exceeded(route.shortfall, route, book, now)
        case _:
            return AllModelsFailed(_failed(route, book, now), trail, skipped)


def _used(hold: Hold, book: Ledger, now: float) -> int:
    minute, today = book.windows.used(now)
    counted = minute if hold.window == "minute" else today
    return counted if hold.used is None else hold.used


def _unsuitable(route: Route) -> str:
    kinds = {how.kind for how in route.verdicts}
    if kinds == {Kind.DELISTED}:
        return "No id of the list is offered, or still free. Check the ids against the service's list of models."
    if kinds == {Kind.POLICY}:
        return "The account's privacy settings or guardrails rule out every model of the list. Change one of them."
    return "No model of the list can take this request. Change the list or the request."


def _failed(route: Route, book: Ledger, now: float) -> str:
    """Say what happened and what a person can do."""
    tried = f"None of the {len(route.trail)} attempts was answered" if route.trail else "No model can be asked"
    if route.trail and all(record.outcome == Kind.UNREACHABLE for record in route.trail):
        return f"{tried}: the service cannot be reached. Check the network and base_url."
    rests = [book.rests_until(candidate.model, now) for candidate in (*route.free, *route.paid)]
    wakes = min((until for until in rests if until > now), default=None)
    again = f" The first of them may be asked again at {at(wakes)}." if wakes is not None else ""
    return f"{tried}.{again} Try later, name more models, or allow a paid one."


def _raised(route: Route) -> str:
    return route.raised.reason.rstrip(".") if route.raised is not None else "no reason given"


def _means(route: Route) -> str:
    means = POLICIES[route.raised.kind].means if route.raised is not None else "the request was refused"
    return means[:1].upper() + means[1:]


def _budget_exceeded(short: Shortfall, route: Route, book: Ledger, now: float) -> BudgetExceeded:
    return BudgetExceeded(
        short.window,
        dollars(short.cap),
        dollars(short.spent),
        dollars(short.reserved),
        dollars(short.asked),
        short.frees_at,
        tuple(route.trail),
        route.skipped(book, now),
    )
