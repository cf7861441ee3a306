"""What a command is about: services are its arguments, the stack is named with `--name`, in every verb.

Verbs that took the name of a stack as their argument still do, where it cannot be taken for a service.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from moorage.cli.options import Selection, is_known, known_stack_of, stack_of, unknown_stack
from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.rules.spelling import did_you_mean, no_service
from moorage.work.definitions.request import not_ours
from moorage.work.queries.logs import known_services


class Target(NamedTuple):
    """A stack, and services of it."""

    stack: str
    services: tuple[str, ...] = ()
    """Empty: all."""


def target_of(
    world: World, selection: Selection, words: Sequence[str], *, stack_too: bool = False, absent: bool = False
) -> Target:
    """What the arguments of a verb are about.

    `stack_too`: one word that is no service may name a stack. `absent`: the stack of the working directory need not be
    there. Raises DefinitionError, which says what was most likely meant.
    """
    if not words:
        return Target(_stack(world, selection, absent=absent))
    if stack_too and len(words) == 1 and selection.name is None:
        return _one_word(world, selection, words[0], absent=absent)
    stack = _stack(world, selection, absent=absent)
    _check(world, stack, words)
    return Target(stack, tuple(dict.fromkeys(words)))


@contextmanager
def told_from_stacks(world: World, services: Collection[str]) -> Iterator[None]:
    """Where a service is not there, but a stack of that name is: the error says so."""
    try:
        yield
    except DefinitionError as error:
        name = str(error.fields.get("service"))
        if name in services and str(error).endswith(f"no service {name!r}") and is_known(world, name):
            error.hint = _is_a_stack(name)
        raise


def _is_a_stack(name: str) -> str:
    return f"It is a stack: `--name {name}` names it."


def whole_stack_of(world: World, selection: Selection, word: str | None, verb: str) -> str:
    """The stack, for a verb that is about the whole of it; `word` may name it. Raises DefinitionError."""
    if word is None:
        return known_stack_of(world, selection)
    if selection.name is not None or word in _services_here(world, selection):
        message = f"{verb}: unexpected argument {word!r}: it is about a whole stack, not about services"
        raise DefinitionError(message, hint=f"`moorage {verb} --name STACK` names the stack.")
    if is_known(world, word):
        return word
    raise unknown_stack(world, word)


def _stack(world: World, selection: Selection, *, absent: bool) -> str:
    if not absent:
        return known_stack_of(world, selection)
    name = stack_of(world, selection)
    if selection.name is None or is_known(world, name) or name == _name_here(world, selection):
        return name
    raise unknown_stack(world, name)


def _one_word(world: World, selection: Selection, word: str, *, absent: bool) -> Target:
    """A service of the stack here; else a stack."""
    here = _services_here(world, selection)
    if word in here:
        return Target(stack_of(world, selection), (word,))
    if is_known(world, word) or (absent and word == _name_here(world, selection)):
        return Target(word)
    if word in world.engine.stacks():
        raise not_ours(world, word)
    stacks = [record.name for record in world.store.stacks()]
    message = f"there is no service {word!r} here, and no stack of that name" if here else f"there is no stack {word!r}"
    known = [*here, *stacks]
    hint = did_you_mean(word, known, "There are") if known else "`moorage up` creates one."
    raise DefinitionError(message, hint=hint, name=word)


def _check(world: World, stack: str, words: Sequence[str]) -> None:
    known = known_services(world, stack)
    for word in words:
        if word not in known:
            error = no_service(word, known, stack, stack=stack)
            error.hint = _is_a_stack(word) if is_known(world, word) else error.hint
            raise error


def _services_here(world: World, selection: Selection) -> tuple[str, ...]:
    """Services of the working directory's stack. Empty: there is none."""
    name = _name_here(world, selection)
    return known_services(world, name) if name else ()


def _name_here(world: World, selection: Selection) -> str | None:
    """The stack of the working directory. None: it has none, or several."""
    from dataclasses import replace

    try:
        return stack_of(world, replace(selection, name=None))
    except DefinitionError:
        return None
