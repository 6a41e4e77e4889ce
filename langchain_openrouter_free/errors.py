"""The tree of errors. An attempt only ends; a call raises, and it raises one of these.

    OpenRouterFreeError                                                                    (ModelError)
    ├── ConfigurationError        the constructor or the call was given something wrong    (ModelInvalidRequestError)
    ├── RequestRejected           no model will take this request                          (ModelInvalidRequestError)
    ├── AuthenticationFailed      the key is missing, malformed or revoked                 (ModelAuthenticationError)
    ├── FreeModelBilled           a free attempt cost money (a UserWarning, raised with on_billed="raise")
    ├── AllModelsFailed           every candidate was tried or is cooling down             (ModelAPIError)
    │   ├── NoSuitableModel       no candidate can do what the request wants               (ModelNotFoundError)
    │   │   ├── PrivacyNotSatisfiable   nobody who may be asked keeps to the privacy that is asked for
    │   │   └── ContextTooLong    a shorter prompt would do (a RequestRejected as well)    (ContextOverflowError)
    │   ├── FreeQuotaExhausted    the account's free requests are used up                  (ModelRateLimitError)
    │   ├── NoValidObject         nobody gave an object that fits the schema               (OutputParserException)
    │   ├── BudgetExceeded        the next paid attempt would pass the budget
    │   └── InsufficientCredits   the account's balance or the key's limit refuses
    └── StreamInterrupted         the answer broke off after its first words               (ModelConnectionError)

Every constructor argument is in `Exception.args`, so that errors pickle and copy; the sentence is made
in `__str__`. No key, no header and no whole body is ever part of an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelRateLimitError,
    OutputParserException,
)

from langchain_openrouter_free.values import value_type


@value_type(frozen=True)
class AttemptRecord:
    """One attempt, as the route trail and the errors tell it.

    Attributes:
        model: the id that was asked.
        outcome: what happened (a `verdicts.Kind` as text, `"ok"` for the answer).
        scope: whom it concerns: `ok`, `request`, `model`, `provider` or `account`.
        status: HTTP status, or None where no reply came.
        reason: one line for people.
        first_token_s: seconds to the first content, or None if none came.
        seconds: duration of the attempt.
        until: Unix seconds until which the model is left alone; None if it is not.
    """

    model: str
    outcome: str
    scope: str
    status: int | None
    reason: str
    first_token_s: float | None
    seconds: float
    until: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-able data (the form it has in `response_metadata`)."""
        return {name: getattr(self, name) for name in self.__match_args__}


def route_facts(attempts: Iterable[AttemptRecord] = (), **known: Any) -> dict[str, Any]:
    """Return the route trail as JSON-able data: the form that results, errors, hooks and events have in common.

    `outcome` is `"answered"`, how the call failed, or None while it goes on; `quota` is empty where nothing is known.
    """
    facts: dict[str, Any] = {"outcome": None, "model": None, "provider": None, "paid": False, "cost": None}
    told = [attempt.as_dict() for attempt in attempts]
    return facts | {"attempts": told, "waits": [], "waited_s": 0.0, "quota": {}} | known


@value_type(frozen=True)
class Skipped:
    """A candidate that was not asked, and why; `until` in Unix seconds where there is a moment."""

    model: str
    reason: str
    until: float | None = None


def at(moment: float | None) -> str:
    """Write a moment in Unix seconds for people, in UTC."""
    if moment is None:
        return "an unknown time"
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _till(moment: float | None) -> str:
    return f" until {at(moment)}" if moment else ""


def _lines(attempts: Iterable[AttemptRecord], skipped: Iterable[Skipped]) -> str:
    told = [f"  {a.model}: {a.outcome} ({a.reason}; {a.seconds:.1f} s)" + _till(a.until) for a in attempts]
    told += [f"  {s.model}: not asked, {s.reason}" + _till(s.until) for s in skipped]
    return "\n".join(["", *told]) if told else ""


class OpenRouterFreeError(ModelError):
    """Base of everything this package raises.

    Attributes:
        attempts: what was tried, in order.
        route: the route trail, in the form that it has in the `response_metadata` of an answer.
    """

    is_retryable = False

    def __init__(self, message: str = "", attempts: Sequence[AttemptRecord] = ()) -> None:
        super().__init__(message, tuple(attempts))
        self.message = message
        self.attempts = tuple(attempts)
        self.route = route_facts(self.attempts)

    def __str__(self) -> str:
        return self.message


class ConfigurationError(OpenRouterFreeError, ModelInvalidRequestError, ValueError):
    """The constructor, or a call, was given something that cannot work. Nothing was sent."""


class RequestRejected(OpenRouterFreeError, ModelInvalidRequestError):
    """The request itself is at fault; asking other models would fail in the same way."""

    is_retryable = False

    def __str__(self) -> str:
        return self.message + _lines(self.attempts, ())


class AuthenticationFailed(OpenRouterFreeError, ModelAuthenticationError):
    """The service does not accept the key, or forbids what it is used for. Check OPENROUTER_API_KEY."""

    is_retryable = False


class FreeModelBilled(OpenRouterFreeError, UserWarning):
    """A free attempt cost money. Its answer is delivered, and the model is not asked again for 30 days.

    Given as a warning; raised only with `on_billed="raise"`.

    Attributes:
        model: the id that was asked.
        served: the id that answered, as far as it is known.
        cost: US dollars, as text with all digits; None where another model answered and nobody says the price.
        text: what was answered.
    """

    def __init__(
        self,
        model: str = "",
        served: str | None = None,
        cost: str | None = None,
        text: str = "",
        attempts: Sequence[AttemptRecord] = (),
    ) -> None:
        what = f"was billed ${cost}" if cost is not None else f"was answered by {served}, which may cost money"
        super().__init__(
            f"{model} is called free, and an attempt at it {what}. It is not asked again for 30 days. "
            "Check the account's activity page, and take the id out of models.",
            attempts,
        )
        self.model, self.served, self.cost, self.text = model, served, cost, text
        self.args = (model, served, cost, text, self.attempts)


class AllModelsFailed(OpenRouterFreeError, ModelAPIError):
    """No candidate answered.

    Attributes:
        attempts: what was tried, in order.
        skipped: candidates that were not asked, and why.
    """

    is_retryable = True

    def __init__(
        self,
        message: str = "",
        attempts: Sequence[AttemptRecord] = (),
        skipped: Sequence[Skipped] = (),
    ) -> None:
        super().__init__(message, attempts)
        self.skipped = tuple(skipped)
        self.args = (message, self.attempts, self.skipped)

    def __str__(self) -> str:
        return self.message + _lines(self.attempts, self.skipped)


class NoValidObject(AllModelsFailed, OutputParserException):
    """No model gave an object that fits the schema of `with_structured_output`; each attempt says what was wrong.

    Attributes:
        raw: the last message that held a wrong object (an `AIMessage`).
        llm_output: its words, or the arguments of its tool call.
    """

    def __init__(
        self,
        message: str = "",
        attempts: Sequence[AttemptRecord] = (),
        skipped: Sequence[Skipped] = (),
        raw: Any = None,
        llm_output: str = "",
    ) -> None:
        super().__init__(message, attempts, skipped)
        self.raw, self.llm_output, self.observation, self.send_to_llm = raw, llm_output, None, False
        self.args = (message, self.attempts, self.skipped, raw, llm_output)


class NoSuitableModel(AllModelsFailed, ModelNotFoundError):
    """No candidate can do what the request wants, or none is left. Change the list or the request."""

    is_retryable = False


class ContextTooLong(NoSuitableModel, RequestRejected, ContextOverflowError):
    """The prompt is too long for every candidate that could take it otherwise. Shorten it, or lower `max_tokens`."""

    is_retryable = False


class PrivacyNotSatisfiable(NoSuitableModel):
    """Nobody who may be asked keeps to the privacy that was asked for. Nothing was answered."""

    is_retryable = False


class FreeQuotaExhausted(AllModelsFailed, ModelRateLimitError):
    """The account's free requests are used up; another free model would be refused as well.

    Attributes:
        window: `"minute"` or `"day"`.
        reset_at: Unix seconds at which the window opens again.
        limit: size of the window in requests, where known.
        used: requests that are known to be taken of it.
        assumed: whether the limit is only assumed, or what you said, and not what the service stated.
        share: whether it is only this project's share of the day that is used up (`daily_share`, or what is kept
            for other projects).
    """

    def __init__(
        self,
        window: str = "day",
        reset_at: float | None = None,
        limit: int | None = None,
        attempts: Sequence[AttemptRecord] = (),
        skipped: Sequence[Skipped] = (),
        *,
        used: int | None = None,
        share: bool = False,
        assumed: bool = False,
    ) -> None:
        super().__init__(_spent(window, reset_at, limit, share=share, assumed=assumed), attempts, skipped)
        self.window = window
        self.reset_at = reset_at
        self.limit = limit
        self.used = used
        self.share = share
        self.assumed = assumed
        self.args = (window, reset_at, limit, self.attempts, self.skipped)

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {"used": self.used, "share": self.share, "assumed": self.assumed}
        return _exhausted, (self.args, facts), self.__dict__

    @property
    def is_retryable(self) -> bool:  # type: ignore[override]
        """A spent minute may be retried, a spent day may not."""
        return self.window == "minute"


def _spent(window: str, reset_at: float | None, limit: int | None, *, share: bool, assumed: bool) -> str:
    size = f" of {limit} requests" if limit else ""
    if share:
        whose, remedy = "This project's share of the account's free quota", "wait, or raise daily_share"
    else:
        whose = "The account's free quota"
        remedy = "wait, or raise max_wait" if window == "minute" else "wait, add credits once, or allow a paid model"
        if assumed:
            remedy += f" (if it is larger than that, say so in limits={{'per_{window}': ...}})"
    return f"{whose}{size} a {window} is used up until {at(reset_at)}: {remedy}."


def _exhausted(args: tuple[Any, ...], facts: dict[str, Any]) -> FreeQuotaExhausted:
    return FreeQuotaExhausted(*args, **facts)


class BudgetExceeded(AllModelsFailed):
    """The next paid attempt could have cost more than the budget still holds. It was not sent.

    Attributes:
        window: which amount stood in the way: `"call"`, `"day"`, `"month"` or `"total"`.
        cap, spent, reserved, asked: US dollars, as text with all digits.
        frees_at: Unix seconds at which the window turns, of several that stand in the way the last one; None for
            `call` and `total`, and where the whole cap would not hold it.
        whose: `"project"` or `"account"` (`account_budget`).
        why: what makes it so dear, in words; "" where that is its length.
    """

    is_retryable = False

    def __init__(
        self,
        window: str = "total",
        cap: str = "0",
        spent: str = "0",
        reserved: str = "0",
        asked: str = "0",
        frees_at: float | None = None,
        attempts: Sequence[AttemptRecord] = (),
        skipped: Sequence[Skipped] = (),
        whose: str = "project",
        why: str = "",
    ) -> None:
        because = f" ({why})" if why else ""
        when = f" It frees up at {at(frees_at)}." if frees_at else ""
        super().__init__(
            f"The {whose}'s budget a {window} of ${cap} does not hold this paid attempt: it could cost "
            f"${asked}{because}, ${spent} are spent and ${reserved} reserved.{when}",
            attempts,
            skipped,
        )
        self.window, self.cap, self.spent, self.reserved, self.asked = window, cap, spent, reserved, asked
        self.frees_at, self.whose, self.why = frees_at, whose, why
        self.args = (window, cap, spent, reserved, asked, frees_at, self.attempts, self.skipped, whose, why)


class InsufficientCredits(AllModelsFailed):
    """The account's balance, or the key's own limit, refuses the request.

    Attributes:
        why: `"credits"` (the balance is too small), `"negative_balance"` (it closes free models as well),
            `"key_limit"` (the key's own limit is reached), or `"too_dear"` (it pays for a shorter request only).
        funds: what the service says is left, in words; "" where it does not say.
    """

    is_retryable = False

    def __init__(
        self,
        message: str = "",
        attempts: Sequence[AttemptRecord] = (),
        skipped: Sequence[Skipped] = (),
        why: str = "credits",
        funds: str = "",
    ) -> None:
        super().__init__(message, attempts, skipped)
        self.why, self.funds = why, funds
        self.args = (message, self.attempts, self.skipped, why, funds)


class StreamInterrupted(OpenRouterFreeError, ModelConnectionError):
    """The answer broke off after its first words had reached the caller, and no other model took over.

    Attributes:
        model: who was answering.
        reason: why it ended.
        partial: the text that had been delivered; after `on_interrupt="continue"` that of all who went on.
        partial_message: the same as an `AIMessage`, with reasoning and the tool calls so far; those whose arguments
            were not whole are among its `invalid_tool_calls`.
    """

    is_retryable = True

    def __init__(
        self,
        model: str = "",
        reason: str = "",
        partial: str = "",
        attempts: Sequence[AttemptRecord] = (),
        partial_message: Any = None,
    ) -> None:
        super().__init__(
            f"The answer of {model} broke off after {len(partial)} characters: {reason}. "
            "Ask again, or use invoke, which starts over by itself (or on_interrupt='restart').",
            attempts,
        )
        self.model = model
        self.reason = reason
        self.partial = partial
        self.partial_message = partial_message
        self.args = (model, reason, partial, self.attempts, partial_message)
