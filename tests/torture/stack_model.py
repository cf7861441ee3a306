"""What a stack is to who uses it: generations, whether its containers run, the value in its volume.

Everything that Moorage promises of one verb after the other is in `step`; whatever a history shows beyond it is a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.torture.history import Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

ABSENT, STOPPED, RUNNING, PARTIAL = "absent", "stopped", "running", "partial"
"""PARTIAL: a verb that rolls forward failed in the middle; what is there may be anything until the next one is done."""

READERS = frozenset({"status", "ask", "history"})
APPLIES = frozenset({"up", "scale", "rollback"})
"""These end as they began, or with another generation that runs."""
CONTAINERS = frozenset({"start", "stop", "restart", "down", "snapshot"})
"""These roll forward: where they fail in the middle, containers may be in any state."""
EXCLUSIVE = APPLIES | CONTAINERS | {"restore"}
"""One at a time at a stack: they hold its lock."""
WRITERS = frozenset({"write", "run"})

Definition = tuple[int, int]
"""Version in the compose file, replicas of the worker."""


@dataclass(frozen=True)
class Stack:
    """One state."""

    generations: tuple[tuple[int | None, Definition], ...] = ()
    """Number and content, oldest first. None: whoever made it did not live to tell its number."""
    current: int = -1
    """Which of `generations`. -1: nothing was committed yet."""
    phase: str = ABSENT
    value: str = ""
    """What the volume holds. Empty: nothing, or there is no volume."""

    def definition(self) -> Definition | None:
        """The current generation's content."""
        return self.generations[self.current][1] if self.current >= 0 else None

    def numbered(self, place: int, number: int | None) -> Stack | None:
        """The same, now that this number is known. None: it is another's number, or this one has another."""
        known, content = self.generations[place]
        if number is None or known == number:
            return self
        earlier = [one for one, _ in self.generations[:place] if one]
        later = [one for one, _ in self.generations[place + 1 :] if one]
        if known is not None or (earlier and number <= max(earlier)) or (later and number >= min(later)):
            return None
        many = list(self.generations)
        many[place] = (number, content)
        return replace(self, generations=tuple(many))


class StackModel:
    """Linear's model of one stack."""

    def step(self, state: Stack, operation: Operation) -> Iterable[Stack]:
        """Every state that comes after; see `linear.Model`."""
        verb, done = operation.verb, operation.outcome is Outcome.OK
        if verb in READERS:
            return [one] if (one := _read(state, operation)) else []
        if verb == "engine":
            return _engine(state, operation)
        if verb in APPLIES:
            return _apply(state, operation)
        if verb in WRITERS:
            return [replace(state, value=operation.given["value"])]
        if verb == "restore":
            restored = replace(state, value=operation.given["value"])
            return [restored] if done else [restored, replace(restored, phase=PARTIAL), replace(state, phase=PARTIAL)]
        return _containers(state, operation)


def _apply(state: Stack, operation: Operation) -> list[Stack]:
    """`up`, `scale`, `rollback`: done, everything runs. Not done, everything is as before, which is no step."""
    if operation.verb == "rollback":
        if state.current < 1:
            return []
        possible = [replace(state, current=state.current - 1, phase=RUNNING)]
    else:
        content = (operation.given["version"], operation.given["workers"])
        many = (*state.generations, (None, content))
        possible = [replace(state, generations=many, current=len(many) - 1, phase=RUNNING)]
        if content == state.definition():
            # Nothing changed. Another one all the same, if an image had to be built again: it has another id.
            possible.append(replace(state, phase=RUNNING))
    number = operation.saw.get("generation")
    return [known for after in possible if (known := after.numbered(after.current, number))]


def _containers(state: Stack, operation: Operation) -> list[Stack]:
    verb = operation.verb
    if verb == "snapshot":
        if operation.outcome is Outcome.OK:
            return [state] if operation.saw["value"] == state.value else []
        return [state, replace(state, phase=PARTIAL)]
    if verb in ("start", "restart"):
        done = [replace(state, phase=RUNNING)] if state.phase != ABSENT else []
    elif verb == "stop":
        done = [replace(state, phase=STOPPED if state.phase != ABSENT else ABSENT)]
        if state.phase == PARTIAL:
            done.append(replace(state, phase=ABSENT))
    elif verb == "down":
        done = [replace(state, phase=ABSENT, value="" if operation.given.get("volumes") else state.value)]
    else:
        raise ValueError(verb)
    if operation.outcome is Outcome.OK:
        return done
    halfway = [replace(state, phase=PARTIAL)]
    if operation.given.get("volumes"):
        halfway.append(replace(state, phase=PARTIAL, value=""))
    return [*done, *halfway]


def _engine(state: Stack, operation: Operation) -> list[Stack]:
    """The engine has ended, and all containers with it. A run in whose middle that was may have brought some back."""
    if state.phase not in (RUNNING, PARTIAL):
        return [state]
    stopped = replace(state, phase=STOPPED)
    return [stopped, state, replace(state, phase=PARTIAL)] if operation.amid else [stopped]


def _read(state: Stack, operation: Operation) -> Stack | None:
    """The state, if this is what can be seen of it."""
    amid, saw = operation.amid, operation.saw
    if operation.verb == "status":
        # The number is on record, where a run writes it when it commits; containers are seen as they are.
        number = saw["generation"]
        if (number is None) != (state.current < 0):
            return None
        seen = state.numbered(state.current, number) if number is not None else state
        return seen if seen and (amid or state.phase in (PARTIAL, saw["state"])) else None
    if operation.verb == "history":
        return _numbered(state, saw["numbers"], saw["generation"])
    version = state.definition()
    versions = {version[0] if version else None, *(one.given.get("version") for one in amid)}
    if any(one.verb == "rollback" for one in amid):
        versions |= {content[0] for _, content in state.generations}
    values = {state.value, *(one.given["value"] for one in amid if one.verb == "restore")}
    if any(one.verb == "restore" or one.given.get("volumes") for one in amid):
        values.add("")
    runs = bool(amid) or state.phase in (RUNNING, PARTIAL)
    return state if runs and saw["version"] in versions and saw["value"] in values else None


def _numbered(state: Stack, numbers: list[int], current: int | None) -> Stack | None:
    """The state, if these are its generations."""
    if len(numbers) != len(state.generations) or (current is None) != (state.current < 0):
        return None
    found: Stack | None = state
    for place, number in enumerate(numbers):
        found = found.numbered(place, number) if found else None
    return found if found and (current is None or found.generations[found.current][0] == current) else None


def before_or_after(states: frozenset[Stack]) -> dict[str, Any]:
    """For people: what a stack can be."""
    return {
        "generations": sorted({str(one.definition()) for one in states}),
        "phase": sorted({one.phase for one in states}),
        "value": sorted({one.value for one in states}),
    }
