"""Is there an order, in which the operations of a history could have happened one after the other?

Each operation has to take effect at one moment between its invocation and its return; one whose outcome nobody knows, at
any moment after its invocation, or never. The search goes through the history once and keeps every state that it can
have led to, with the operations under way that have taken effect already: the just-in-time linearization of Lowe,
"Testing for linearizability" (2017), which follows Wing and Gong (1993). There is no such checker for Python on PyPI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tests.torture.history import Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_CONFIGURATIONS = 200_000
"""Where there are more, the search gives up rather than take the machine's memory."""


class Model(Protocol):
    """What the operations mean, one after the other."""

    def step(self, state: Any, operation: Operation) -> Iterable[Any]:
        """Every state, hashable, that the operation can lead to with what it saw; none: not possible in this state."""


class TooManyConfigurationsError(Exception):
    """The history leaves too much open to be decided."""


@dataclass(frozen=True)
class Verdict:
    """`states`: what the history can have led to. Empty: it is not linearizable, and `stuck` is where no order is left."""

    states: frozenset[Any]
    checked: int
    """How many operations there were to order."""
    stuck: Operation | None = None
    before: frozenset[Any] = frozenset()
    """The states that were possible until then."""

    @property
    def is_linearizable(self) -> bool:
        """Whether there is an order."""
        return self.stuck is None


_Configuration = tuple[Any, frozenset[int]]
"""A state, and which of the operations under way have taken effect."""


def check(operations: Sequence[Operation], model: Model, states: frozenset[Any]) -> Verdict:
    """Look for an order, beginning in any of `states`. What failed is left out.

    At the end whatever is still open has happened by then or never will: the caller has waited for that.
    Raises TooManyConfigurationsError.
    """
    known = [one for one in operations if one.outcome is not Outcome.FAIL]
    search = _Search(known, model, states)
    for _, what, number in sorted(_moments(known)):
        if what == _INVOKED:
            search.invoke(number)
        elif what == _EXPIRED:
            search.expire(number)
        elif not search.settle(number):
            return Verdict(frozenset(), len(known), known[number], search.states_before)
    return Verdict(search.at_end(), len(known))


_INVOKED, _RETURNED, _EXPIRED = 0, 1, 2


def _moments(operations: Sequence[Operation]) -> Iterable[tuple[float, int, int]]:
    """At the same moment an invocation comes first, which allows more orders, not fewer."""
    for number, one in enumerate(operations):
        yield one.invoked, _INVOKED, number
        if one.outcome is Outcome.OK:
            yield one.returned, _RETURNED, number
        elif one.settled is not None:
            yield one.settled, _EXPIRED, number


class _Search:
    def __init__(self, operations: Sequence[Operation], model: Model, states: frozenset[Any]) -> None:
        self._operations, self._model = operations, model
        self._under_way: set[int] = set()
        self._reached: set[_Configuration] = {(state, frozenset()) for state in states}
        self._steps: dict[tuple[Any, int], tuple[Any, ...]] = {}
        self.states_before: frozenset[Any] = states

    def invoke(self, number: int) -> None:
        self._under_way.add(number)

    def settle(self, number: int) -> bool:
        """The operation has returned, so it has taken effect. False: that was possible in no order."""
        self.states_before = frozenset(state for state, _ in self._reached)
        self._reached = {(state, done - {number}) for state, done in self._closure(number) if number in done}
        self._under_way.discard(number)
        return bool(self._reached)

    def expire(self, number: int) -> None:
        """It has taken effect by now, or never will."""
        happened = {(state, done - {number}) for state, done in self._closure(number) if number in done}
        self._reached = self._reached | happened
        self._under_way.discard(number)

    def at_end(self) -> frozenset[Any]:
        """What can be when no more comes, and whatever is open may have happened."""
        return frozenset(state for state, _ in self._closure(None))

    def _closure(self, wanted: int | None) -> set[_Configuration]:
        """All that can be reached when operations under way take effect, each path until `wanted` has."""
        kept = _Kept(self._operations)
        left = [one for one in self._reached if kept.add(*one)]
        while left:
            state, done = left.pop()
            if wanted in done:
                continue
            for number in self._under_way - done:
                for after in self._step(state, number):
                    if kept.add(after, done | {number}):
                        left.append((after, done | {number}))  # noqa: PERF401 - `add` has the say, and changes
            if kept.count > MOST_CONFIGURATIONS:
                raise TooManyConfigurationsError(f"{len(self._under_way)} operations are open at once")
        return kept.configurations()

    def _step(self, state: Any, number: int) -> tuple[Any, ...]:
        if (state, number) not in self._steps:
            self._steps[state, number] = tuple(self._model.step(state, self._operations[number]))
        return self._steps[state, number]


class _Kept:
    """Configurations, without those that allow nothing more than another: what may never happen need not have."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._open = frozenset(n for n, one in enumerate(operations) if one.outcome is Outcome.INFO)
        self._found: dict[_Configuration, list[frozenset[int]]] = {}
        self.count = 0

    def add(self, state: Any, done: frozenset[int]) -> bool:
        """False: one with the same state, of which no more has happened, is there."""
        maybe = done & self._open
        many = self._found.setdefault((state, done - self._open), [])
        if any(other <= maybe for other in many):
            return False
        many[:] = [other for other in many if not maybe < other]
        many.append(maybe)
        self.count += 1
        return True

    def configurations(self) -> set[_Configuration]:
        return {(state, surely | maybe) for (state, surely), many in self._found.items() for maybe in many}
