"""Refuses names that another stack has: looked for before anything is made, and again behind Compose.

The first look, at the engine and at the registry, is for people: it says what meets what. It needs no lock, because the
second one cannot be outrun: the engine makes one object of a name, with the labels of whoever came first.
"""

from __future__ import annotations

from collections.abc import Iterable

from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.definition import Definition
from moorage.model.generation import Generation
from moorage.model.state import Observed
from moorage.rules import sharing
from moorage.rules.sharing import Claim
from moorage.work.definitions import generations


def check(world: World, definition: Definition, observed: Observed) -> tuple[str, ...]:
    """What a start would find under its names that nobody's stack made, as notices.

    `observed` is the stack itself, as it is now. Raises DefinitionError: something is another stack's, or would be.
    """
    stack = definition.name
    claimed = sharing.claims(stack, definition.config, definition.services, definition.named)
    if _is_on_record(world, stack):  # what it has had all along is its own
        claimed = _not_in(claimed, observed)
    _check_registry(world, stack, claimed)
    return _check_engine(world, stack, claimed)


def check_created(world: World, generation: Generation, observed: Observed) -> None:
    """Raises DefinitionError if Compose took another stack's network or volume, made meanwhile, for this one's.

    `observed`: what there is of the stack now.
    """
    claimed = sharing.claims(generation.stack, generation.config, {}, generation.named)
    if _is_on_record(world, generation.stack):  # `check` said so too: it may be of a home that was moved
        claimed = _not_in(claimed, observed)
    _check_engine(world, generation.stack, claimed)


def _is_on_record(world: World, stack: str) -> bool:
    record = world.store.stack(stack)
    return bool(record and record.generation)


def _not_in(claimed: Iterable[Claim], observed: Observed) -> tuple[Claim, ...]:
    own = {*observed.networks, *observed.volumes, *(container.name for container in observed.containers)}
    return tuple(claim for claim in claimed if claim.name not in own)


def _check_registry(world: World, stack: str, claimed: Iterable[Claim]) -> None:
    """Of stacks that are down the engine may have nothing, but they come back."""
    wanted = {(claim.kind, claim.name): claim for claim in claimed}
    others = [one.name for one in world.store.stacks() if one.name != stack and sharing.may_meet(stack, one.name)]
    for generation in filter(None, (generations.known(world, other) for other in others)):
        theirs = sharing.claims(generation.stack, generation.config, generation.services, generation.named)
        for claim in theirs:
            if mine := wanted.get((claim.kind, claim.name)):
                raise _met(stack, mine, f"stack {generation.stack!r} ({claim.key})", generation.stack)


def _check_engine(world: World, stack: str, claimed: Iterable[Claim]) -> tuple[str, ...]:
    claimed, notices = tuple(claimed), []
    for kind in sorted({claim.kind for claim in claimed}):
        there = world.engine.named(kind)
        for claim in (one for one in claimed if one.kind == kind and one.name in there):
            marks = there[claim.name]
            if sharing.is_nobodys(marks) and kind == "container":
                raise _met(stack, claim, "nobody's stack")
            if other := sharing.holder(marks, stack, world.home):
                raise _met(stack, claim, other)
            if sharing.is_nobodys(marks):
                notices.append(f"{claim.key}: {kind} {claim.name} is there already, made by hand, and used as it is")
    return tuple(notices)


def _met(stack: str, claim: Claim, holder: str, record: str | None = None) -> DefinitionError:
    if claim.kind == "container":
        hint = "Choose another --name for this stack, or rename the service"
    else:
        hint = f"Set `{claim.key}.name`, or `external: true` to share it, or choose another --name for this stack"
        if holder.endswith(sharing.ELSEWHERE):
            hint += f". `docker {claim.kind} rm {claim.name}` removes it" + _with_data(claim)
    freed = f". `moorage down --name {record} --volumes --release-ports` ends the other one" if record else ""
    freed += ", and its volumes with all data" if record else ""
    return DefinitionError(
        f"{claim.key}: stack {stack!r} would need {claim.kind} {claim.name}, which belongs to {holder}",
        hint=f"{hint}{freed}.",
        stack=stack,
        key=claim.key,
        name=claim.name,
        holder=holder,
    )


def _with_data(claim: Claim) -> str:
    return ", with all data in it" if claim.kind == "volume" else ""
