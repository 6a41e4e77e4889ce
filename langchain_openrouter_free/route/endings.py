"""The error for a call in which nobody answered, made from what its route learned. Pure."""

from __future__ import annotations

from enum import StrEnum

from langchain_openrouter_free.books.budget import dollars
from langchain_openrouter_free.books.ledger import Hold, Ledger
from langchain_openrouter_free.books.purse import Shortfall
from langchain_openrouter_free.errors import (
    AllModelsFailed,
    AttemptRecord,
    AuthenticationFailed,
    BudgetExceeded,
    ContextTooLong,
    FreeQuotaExhausted,
    InsufficientCredits,
    NoSuitableModel,
    NoValidObject,
    OpenRouterFreeError,
    PrivacyNotSatisfiable,
    RequestRejected,
    Skipped,
    at,
)
from langchain_openrouter_free.judging.verdicts import POLICIES, Kind, verdict
from langchain_openrouter_free.protocol.wire import Completion
from langchain_openrouter_free.route.routing import Route

_ENDLESS = "a file or a film counts as all of the model's context; `PaidModel(..., context=...)` says how long that is"


class Ending(StrEnum):
    """How a call failed."""

    AUTHENTICATION = "authentication"
    FORBIDDEN = "forbidden"
    REJECTED = "rejected"
    TOO_LONG = "too_long"
    UNSUITABLE = "unsuitable"
    CREDITS = "credits"
    BUDGET = "budget"
    QUOTA = "quota"
    PRIVACY = "privacy"
    FAILED = "failed"


def ending_of(route: Route) -> Ending:
    """Say how the call failed, by what was learned on the way; the most precise word first."""
    kinds = {v.kind for v in route.verdicts}
    if route.raised is not None:
        return Ending.AUTHENTICATION if route.raised.kind is Kind.UNAUTHENTICATED else Ending.REJECTED
    if kinds == {Kind.FORBIDDEN}:
        return Ending.FORBIDDEN
    if route.shortfall is not None:
        return Ending.BUDGET
    paid_tried = {c.model for c in route.paid} & {r.model for r in route.trail}
    if route.money is not None:
        return Ending.CREDITS
    if route.privacy and (kinds == {Kind.POLICY} or (not kinds and route.ruled_out)):
        return Ending.PRIVACY
    if route.hold is not None and not paid_tried:
        return Ending.QUOTA
    if kinds == {Kind.SPENT} and route.suits_nobody:
        return Ending.UNSUITABLE
    unsuitable = {Kind.UNFIT, Kind.POLICY, Kind.INCOMPATIBLE, Kind.CLOSED, Kind.REGION, Kind.DELISTED}
    if kinds <= unsuitable | {Kind.TOO_LONG, Kind.MODERATED} and route.suits_nobody:
        too_long = Kind.TOO_LONG in kinds or route.some_too_small
        return Ending.TOO_LONG if too_long else Ending.UNSUITABLE
    return Ending.FAILED


def error_of_call(route: Route, ending: Ending, book: Ledger, now: float) -> OpenRouterFreeError:
    """Return the most precise error for a route that has come to this end."""
    skipped = route.skipped(book, now)
    trail = tuple(route.trail)
    match ending:
        case Ending.AUTHENTICATION:
            return AuthenticationFailed(
                f"The service does not accept the API key ({_raised(route)}). Check OPENROUTER_API_KEY.",
                trail,
            )
        case Ending.FORBIDDEN:
            return AuthenticationFailed(
                f"The service forbids this to the API key ({trail[-1].reason.rstrip('.')}). Check what the key is for "
                "and how the account stands, or use another key.",
                trail,
            )
        case Ending.REJECTED:
            return RequestRejected(f"{_means(route)}: {_raised(route)}.", trail)
        case Ending.TOO_LONG:
            return ContextTooLong(_too_long(route), trail, skipped)
        case Ending.UNSUITABLE:
            return NoSuitableModel(_unsuitable(route), trail, skipped)
        case Ending.CREDITS:
            return _insufficient(route, trail, skipped)
        case Ending.PRIVACY:
            return PrivacyNotSatisfiable(
                f"No provider of the models that were asked keeps to {route.privacy}, or the account's own privacy "
                "settings rule them out. Name other models, or ask for less.",
                trail,
                skipped,
            )
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


def no_valid_object(route: Route, book: Ledger, now: float, raw: object, said: Completion) -> NoValidObject:
    """Return the error for a call of which some answers were objects of the wrong form, and none was a right one.

    Args:
        route: the call's.
        book: the account's.
        now: Unix seconds.
        raw: the message of the last wrong one.
        said: what it said.
    """
    wrong = [record for record in route.trail if record.outcome == Kind.WRONG_OBJECT]
    words = said.text or next((call.arguments for call in said.tool_calls), "")
    return NoValidObject(
        f"No model gave an object that fits the schema; the last one: {wrong[-1].reason.rstrip('.')}. "
        "Make the schema simpler, name more models, or take the raw answer with include_raw=True.",
        tuple(route.trail),
        route.skipped(book, now),
        raw,
        words,
    )


_WANTS = {
    Kind.UNPAID: ("credits", "The account's balance is too small", "Add credits."),
    Kind.IN_DEBT: (
        "negative_balance",
        "The account's balance is negative, which closes free models as well",
        "Add credits.",
    ),
    Kind.KEY_LIMIT: ("key_limit", "The key's own spending limit is reached", "Raise it, or use another key."),
    Kind.TOO_DEAR: (
        "too_dear",
        "The account's balance does not pay for this request",
        "Add credits, lower max_tokens, or name a cheaper model.",
    ),
}


def _insufficient(route: Route, trail: tuple[AttemptRecord, ...], skipped: list[Skipped]) -> InsufficientCredits:
    """Say which of the four it is: the service's last word of it, or what the balance shows."""
    how = route.money or verdict(Kind.UNPAID)
    free, wanted = {candidate.model for candidate in route.free}, {Kind.UNPAID, Kind.TOO_DEAR}
    billed_free = any(v.kind in wanted and r.model in free for v, r in zip(route.verdicts, trail, strict=False))
    negative = route.funds is not None and route.funds.balance is not None and route.funds.balance < 0
    said = Kind.KEY_LIMIT if how.of_key else how.kind
    kind = Kind.IN_DEBT if said is not Kind.KEY_LIMIT and (billed_free or negative) else said
    why, what, remedy = _WANTS[kind]
    funds = str(route.funds or "")
    told = f" ({funds})" if funds else ""
    return InsufficientCredits(f"{what}{told}: {how.reason.rstrip('.')}. {remedy}", trail, skipped, why, funds)


def _used(hold: Hold, book: Ledger, now: float) -> int:
    minute, today = book.windows.used(now)
    counted = minute if hold.window == "minute" else today
    return counted if hold.used is None else hold.used


def _unsuitable(route: Route) -> str:
    kinds = {how.kind for how in route.verdicts}
    if not kinds and not route.ruled_out:
        return "No model can be asked for nothing: none is proven free and fit for this request. See each one's reason."
    if kinds == {Kind.DELISTED}:
        return "No id of the list is offered, or still free. Check the ids against the service's list of models."
    if kinds == {Kind.SPENT}:
        return "Each model that was asked spent all tokens on thinking. Raise max_tokens, or ask for less reasoning."
    if kinds == {Kind.MODERATED}:
        return "The filter of every provider that was asked refused the content. Change it, or name other models."
    if kinds <= {Kind.POLICY}:
        return "The account's privacy settings or guardrails rule out every model of the list. Change one of them."
    return "No model of the list can take this request. Change the list or the request."


def _too_long(route: Route) -> str:
    refused = any(how.kind is Kind.TOO_LONG for how in route.verdicts)
    whom = "every model that was asked" if refused else "every model that could take it otherwise"
    return f"The prompt is too long for {whom}. Shorten it."


def _failed(route: Route, book: Ledger, now: float) -> str:
    """Say what happened and what a person can do."""
    tried = f"None of the {len(route.trail)} attempts was answered" if route.trail else "No model can be asked"
    none_reached = all(record.outcome == Kind.UNREACHABLE for record in route.trail)
    if none_reached and any(how.kind is Kind.UNREACHABLE for how in route.verdicts):
        return f"{tried}: the service cannot be reached. Check the network and base_url."
    if {how.kind for how in route.verdicts} == {Kind.SPENT}:
        tried = f"{tried}: all tokens went into thinking. Raise max_tokens, or ask for less reasoning"
    rests = [book.rests_until(candidate.model, now) for candidate in (*route.free, *route.paid)]
    wakes = min((until for until in (*rests, route.next_turn or 0.0) if until > now), default=None)
    again = f" The first of them may be asked again at {at(wakes)}." if wakes is not None else ""
    remedy = "Try later, or name more models." if route.paid else "Try later, name more models, or allow a paid one."
    return f"{tried}.{again} {remedy}"


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
        short.whose,
        _ENDLESS if short.endless else "",
    )
