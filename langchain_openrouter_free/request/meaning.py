"""What the fields of a model mean, worked out once: a call begins with it, and no field changes between most calls.

Whether a field has changed is asked of the fields themselves, for users assign to them and write into their tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from langchain_openrouter_free.books.health import Strategy
from langchain_openrouter_free.books.quota import Limits, Share
from langchain_openrouter_free.catalogue.selection import PerModel
from langchain_openrouter_free.connections.transport import Service
from langchain_openrouter_free.engine.timeouts import Deadlines
from langchain_openrouter_free.later import Later
from langchain_openrouter_free.request.candidates import Candidates
from langchain_openrouter_free.request.settings import Acceptance
from langchain_openrouter_free.stores import StateStore
from langchain_openrouter_free.values import value_type

if TYPE_CHECKING:
    from langchain_openrouter_free.engine import bookkeeping
else:
    bookkeeping = Later("langchain_openrouter_free.engine.bookkeeping")

T = TypeVar("T")


@value_type(eq=False)
class Meaning:
    """What the fields of a model mean.

    Attributes:
        named: whom they name, and the budget.
        unbounded: whether the user may be billed without a bound.
        service: how the service is reached.
        account: the name under which the account's book is kept.
        body: the request's body as far as they fill it.
        accept: what counts as an answer.
        wire: how models are asked.
        silence: after how much of it a second model is asked.
        deadlines: those of a call that says nothing of them.
        limits: the account's, as far as they are known before it is asked.
        share: what a project may take of the account's day; of no project yet.
        strategy: by what the models are put in order.
        paid_rps: most paid requests a second.
    """

    named: Candidates
    unbounded: bool
    service: Service
    account: str
    body: Mapping[str, Any]
    accept: Acceptance
    wire: PerModel[str]
    silence: float | Literal["p95"] | None
    deadlines: Deadlines
    limits: Limits
    share: Share
    strategy: Strategy
    paid_rps: float | Literal["balance"] | None

    def accounts(self, store: StateStore, project: str) -> bookkeeping.Accounts:
        """Return whose quota and money a project's calls use."""
        return bookkeeping.Accounts(store, self.account, project, self.named.budget, self.named.ceiling)

    def share_of(self, project: str) -> Share:
        """Return what a project may take of the account's day."""
        return Share(project, self.share.at_most, self.share.at_least)


class Kept:
    """What the fields meant when they were looked at last. It stays in its process: it holds the key.

    Attributes:
        meaning: what they mean.
    """

    __slots__ = ("_found", "_may_pay", "_said", "meaning")

    def __init__(self, fields: Mapping[str, Any], work: Callable[[], Meaning], *, may_pay: bool) -> None:
        # Before the work: a field that another thread assigns meanwhile is seen to have changed.
        self._said = _copied(dict(fields))
        self._may_pay = may_pay
        self._found: dict[str, Any] = {}
        self.meaning = work()

    def holds(self, fields: Mapping[str, Any], *, may_pay: bool) -> bool:
        """Tell whether the fields say what they said; `may_pay`, because 1 is equal to True and is no leave to pay."""
        try:
            return self._may_pay is may_pay and bool(self._said == fields)
        except Exception:  # noqa: BLE001 - fields hold what users like: what cannot be compared counts as changed
            return False

    def found(self, name: str, work: Callable[[], T]) -> T:
        """Return what else was worked out of the fields, under a name."""
        if name not in self._found:
            self._found[name] = work()
        found: T = self._found[name]
        return found

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def _copied(said: Any) -> Any:
    """Copy tables and lists, which can be written into; what is in them stands for itself."""
    if isinstance(said, dict):
        return {name: _copied(one) for name, one in said.items()}
    return [_copied(one) for one in said] if isinstance(said, list) else set(said) if isinstance(said, set) else said
