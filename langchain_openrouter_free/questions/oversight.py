"""What a user asks of the books beside the money: how each model stands, what is left of the quota; and forgetting."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput

from langchain_openrouter_free.catalogue.facts import ModelFacts
from langchain_openrouter_free.errors import ConfigurationError
from langchain_openrouter_free.later import PART, modules
from langchain_openrouter_free.questions.outlook import Explanation
from langchain_openrouter_free.request.meaning import Meaning

if TYPE_CHECKING:
    from langchain_openrouter_free.books import ledger, usage
    from langchain_openrouter_free.engine import bookkeeping
    from langchain_openrouter_free.questions import checkup, examination, standing
    from langchain_openrouter_free.request import lookup as lookups
else:
    ledger, usage, bookkeeping, checkup, examination, standing, lookups = modules(
        *("books.ledger", "books.usage", "engine.bookkeeping"),
        *("questions.checkup", "questions.examination", "questions.standing", "request.lookup"),
    )


class Oversight(BaseChatModel):
    """The methods of the model that look at its books as a whole; none of them makes a request."""

    model_config = PART

    clock: Any
    models: list[str]

    @abstractmethod
    def _meaning(self) -> Meaning:
        """Return what the fields mean."""

    @abstractmethod
    def _lookup(self) -> lookups.ServiceLookup:
        """Return what asks the service beside the attempts."""

    @abstractmethod
    def _accounts(self) -> bookkeeping.Accounts:
        """Return whose book it is."""

    @property
    @abstractmethod
    def catalogue(self) -> tuple[ModelFacts, ...]:
        """Facts of all free models."""

    @abstractmethod
    def explain(self, messages: LanguageModelInput = "hello", **kwargs: Any) -> Explanation:
        """Tell who would be asked in which order."""

    def standings(self) -> tuple[standing.Standing, ...]:
        """Return how each model stands now, those first that would be asked; without a request."""
        book, now = self._accounts().seen(self.clock)
        considered = [(one.model, one.paid, one.reason, one.until) for one in self.explain().models]
        facts = {one.id: one for one in self.catalogue}
        return standing.standings(considered, facts, book, now)

    def quota(self) -> usage.Usage:
        """Return what is taken of the account's free requests, as far as the state knows; without a request."""
        book, now = self._accounts().seen(self.clock)
        return usage.usage(book, self._meaning().limits, now)

    def costs(self) -> tuple[usage.Cost, ...]:
        """Return what this project's answers cost by day and model, as far as the history reaches."""
        accounts = self._accounts()
        return usage.costs(accounts.calls(project=accounts.project))

    def examine(self, *, keyed: bool = True, offline: bool = False) -> tuple[checkup.Finding, ...]:
        """Look at key, network, clock, state, privacy and the configured ids; within some seconds, whatever is wrong.

        Args:
            keyed: whether the key is one; else the service is not asked about it.
            offline: whether the network is left alone.
        """
        accounts, look = self._accounts(), examination.Examination(self._meaning().service, self.clock, keyed, offline)
        said, now = look.said(), self.clock.now()
        with examination.noted_warnings() as warnings:
            state = list(examination.of_the_state(accounts.store, accounts.look, warnings))
        models = examination.of_the_models(self.models, said, self._lookup().at_hand(), self.explain(), now)
        return (*look.of_the_service(said, now), *state, *models, *checkup.quota(self.quota().windows))

    def forget_cooldowns(self) -> int:
        """Let every model of the account be asked again at once; return how many were left alone."""
        accounts = self._accounts()
        clock = accounts.time(self.clock)

        def change(book: ledger.Ledger | None) -> tuple[ledger.Ledger, int]:
            known = book or ledger.Ledger()
            now = clock.now() + known.skew
            resting = sum(rest.rests_until(now) > now for rest in known.cooldowns.values())
            return known._replace(cooldowns={}, health={}), resting

        return accounts.store.update(accounts.book, change)

    def forget_everything(self) -> str | None:
        """Begin a new state: quota, cooldowns, spending and history of all accounts in it are forgotten.

        Returns:
            Where the old file is kept; None if there was none.

        Raises:
            ConfigurationError: if the state is no file, or it cannot be moved.
        """
        store: Any = self._accounts().store
        if getattr(store, "path", None) is None or not hasattr(store, "begin_anew"):
            raise ConfigurationError("The state is not kept in a file of this machine: there is nothing to move away.")
        try:
            kept: str | None = store.begin_anew()
        except OSError as error:
            raise ConfigurationError(f"The state file cannot be moved: {error}.") from error
        return kept
