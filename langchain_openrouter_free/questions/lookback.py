"""What a user asks of the past: the last calls, and the report of a span of time."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from langchain_openrouter_free.catalogue.catalogue import says_free
from langchain_openrouter_free.catalogue.facts import ModelFacts
from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.later import PART, modules
from langchain_openrouter_free.request.meaning import Meaning

if TYPE_CHECKING:
    from langchain_openrouter_free import report as paper
    from langchain_openrouter_free.books import figures as past
    from langchain_openrouter_free.books import history as calls
    from langchain_openrouter_free.books import spending as money
    from langchain_openrouter_free.engine import bookkeeping
    from langchain_openrouter_free.request import lookup as lookups
else:
    paper, past, calls, money, bookkeeping, lookups = modules(
        *("report", "books.figures", "books.history", "books.spending", "engine.bookkeeping", "request.lookup")
    )

WEEK = 7 * 86_400.0
# An announced end is told of so many seconds ahead.
_SOON = 30 * 86_400.0
_ANNOUNCED, _VANISHED = "announced by the service", "not in the service's list any more"


class Lookback(BaseModel):
    """The methods of the model that look back; none of them makes a request."""

    model_config = PART

    clock: Any

    @abstractmethod
    def _accounts(self) -> bookkeeping.Accounts:
        """Return whose calls they are."""

    @abstractmethod
    def _meaning(self) -> Meaning:
        """Return what the fields mean."""

    @abstractmethod
    def spending(self) -> money.Spending:
        """Return what this project has spent."""

    @abstractmethod
    def _lookup(self) -> lookups.ServiceLookup:
        """Return what asks the service beside the attempts."""

    @property
    @abstractmethod
    def catalogue(self) -> tuple[ModelFacts, ...]:
        """Facts of all free models."""

    def history(self, limit: int = 20, *, since: float = 0.0, project: str | None = None) -> list[calls.CallRecord]:
        """Return the last calls of the account that are kept, the newest first; without prompts and answers.

        Args:
            limit: at most so many.
            since: only calls that ended then or later, in Unix seconds.
            project: only this project's calls; None for all that share the state.

        Raises:
            ConfigurationError: if `since` or `limit` is no number.
        """
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise ConfigurationError(f"limit={limit!r} must be a whole number of calls.")
        return self._accounts().calls(limit, since=_moment(since), project=project)

    def figures(self, since: float | None = None, *, project: str | None = None) -> past.Figures:
        """Return what the history shows of the time since then, in Unix seconds (default: of the last seven days).

        Args:
            since: where the span begins.
            project: only this project's calls; None for all that share the state.

        Raises:
            ConfigurationError: if `since` is no number.
        """
        accounts = self._accounts()
        book, now = accounts.seen(self.clock)
        # A span that is too long for a calendar holds no more than all that is known, one of the future nothing.
        begins = now - WEEK if since is None else min(max(0.0, _moment(since)), now)
        ends = [(one.id, one.expires_at) for one in self.catalogue if one.expires_at is not None]
        gone = self._lookup().at_hand().absent.items()
        return past.figures(
            accounts.calls(since=begins, project=project),
            begins,
            now,
            project=project,
            older=accounts.counts(),
            quota=book.quota(self._meaning().limits, now),
            spending=self.spending(),
            announced=[past.Delisting(model, at, _ANNOUNCED) for model, at in ends if 0 < at - now <= _SOON],
            vanished=[past.Delisting(model, one.since, _VANISHED) for model, one in gone if says_free(model)],
        )

    def report(self, since: float | None = None, *, project: str | None = None) -> str:
        """Return the same as one page of HTML that needs no network; charts need the extra `report`."""
        return paper.page(self.figures(since, project=project))


def _moment(since: object) -> float:
    if isinstance(since, bool) or not isinstance(since, int | float):
        raise ConfigurationError(f"since={since!r} must be Unix seconds; datetime.timestamp() gives them.")
    return since
