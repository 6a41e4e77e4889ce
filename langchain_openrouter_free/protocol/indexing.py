"""Which tool call a piece of a stream belongs to, where the wire's index is missing or used twice. Pure."""

from __future__ import annotations


class ToolIndexer:
    """Gives each tool call its own index where the wire's is missing or used twice."""

    def __init__(self) -> None:
        self._ids: dict[int, str | None] = {}
        # Id -> the first call that has it, and each call's place: an answer may name a hundred thousand.
        self._known: dict[str, int] = {}
        self._places: dict[int, int] = {}
        self._highest = -1
        self._names: dict[int, str] = {}
        # Calls whose id was handed out.
        self._told: set[int] = set()
        # Stated index -> the call that it means by now, where it was used for a second one.
        self._meant: dict[int, int] = {}
        # Calls that were named in the list of pieces that is being read: each of them stands there whole.
        self._named_here: set[int] = set()
        self._last = -1

    def begin(self) -> None:
        """Tell that another list of pieces begins."""
        self._named_here.clear()

    def first_name(self, at: int, name: str | None) -> str | None:
        """Return the name if it was not said before: chunks that are added up would say it twice."""
        if name is None or at in self._names:
            return None
        self._names[at] = name
        return name

    def first_id(self, at: int, call_id: str | None) -> str | None:
        """Return the id if the call was handed none before, for the same reason."""
        if call_id is None or at in self._told:
            return None
        self._told.add(at)
        return call_id

    def index(self, stated: object, call_id: str | None, name: str | None) -> int:
        """Return the index of a piece: the stated one unless another call already owns it."""
        known = self._known.get(call_id) if call_id else None
        if not isinstance(stated, int) or stated < 0:
            at = known if known is not None else self._last
            if self._last < 0 or (name and (known is None or self._other(at, name))):
                at = self._next()
        else:
            at = self._meant.get(stated, stated)
            if call_id and known is not None and not self._other(known, name):
                at = known if self._ids.get(at) not in (None, call_id) else at
            elif name and (self._other(at, name) or (call_id and self._ids.get(at) not in (None, call_id))):
                at = self._meant[stated] = self._next()
        if name and at in self._named_here:
            # Named twice in one list it is two calls, whatever they have in common.
            at = self._next()
            if isinstance(stated, int):
                self._meant[stated] = at
        if name:
            self._named_here.add(at)
        self._keep(at, call_id)
        self._last = at
        return at

    def _keep(self, at: int, call_id: str | None) -> None:
        place = self._places.setdefault(at, len(self._places))
        self._highest = max(self._highest, at)
        own = self._ids[at] = self._ids.get(at) or call_id
        if own and place <= self._places[self._known.get(own, at)]:
            self._known[own] = at

    def _next(self) -> int:
        return self._highest + 1

    def _other(self, at: int, name: str | None) -> bool:
        """Tell whether a name is that of another call than the one there."""
        return bool(name) and self._names.get(at, name) != name
