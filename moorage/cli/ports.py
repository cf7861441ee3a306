"""`moorage ports`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from moorage.cli.options import Selection
from moorage.cli.output import as_json, remark, say
from moorage.cli.target import target_of
from moorage.cli.world import open_world
from moorage.errors import DefinitionError
from moorage.interfaces import World


def ports(
    action: Literal["ls", "show", "why", "stats", "release"] = "ls",
    *which: str,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    everywhere: Annotated[bool, Parameter(name=["--all", "-a"], help="With `ls`: the leases of all stacks.")] = False,
    json: Annotated[bool, Parameter(help="Print the answer as JSON.")] = False,
) -> int:
    """Show the leased host ports of this directory's stack, or of all stacks; find out who holds a port; release ports.

    `ls` lists leases. `show [SERVICE|PORT…]` adds who holds each port now. `why PORT` explains any port of the machine:
    lease, container, process, and which service wanted it and got another. `stats` shows how many are used, and which
    are wanted most.
    `release [SERVICE|PORT…]` releases the stack's leases; refused (exit code 3) while a container uses the port.

    Parameters
    ----------
    action
        `ls`, `show`, `why`, `stats` or `release`.
    which
        Services or host ports; for `why` one port, such as 8000 or 53/udp.
    """
    world = open_world()
    if which and action in ("ls", "stats"):
        message = f"ports {action}: unexpected argument {which[0]!r}"
        raise DefinitionError(message, hint=f"`moorage ports show {which[0]}` shows one service or port.")
    match action:
        case "ls":
            _ls(world, None if everywhere else _stack(world, selection), json=json)
        case "why":
            _why(world, which, json=json)
        case "show":
            _show(world, _stack(world, selection), which, json=json)
        case "stats":
            _stats(world, json=json)
        case "release":
            _release(world, _stack(world, selection), which, json=json)
    return 0


def _stack(world: World, selection: Selection) -> str:
    """A stack that is named has to be there; that of the working directory need not be up yet."""
    return target_of(world, selection, (), absent=True).stack


def _ls(world: World, stack: str | None, *, json: bool) -> None:
    leases = world.store.leases(stack)
    if json:
        as_json([lease.model_dump(mode="json") for lease in leases])
    else:
        from moorage.show.text import leases_text

        say(leases_text(leases))


def _show(world: World, stack: str, which: tuple[str, ...], *, json: bool) -> None:
    from moorage.work.queries.ports import all_facts

    facts = all_facts(world, stack, which)
    if json:
        as_json([one.model_dump(mode="json") for one in facts])
    else:
        from moorage.show.ports import facts_text

        say(facts_text(facts))


def _why(world: World, which: tuple[str, ...], *, json: bool) -> None:
    from moorage.work.queries.ports import facts, port_of

    if len(which) != 1:
        raise DefinitionError("ports why: give exactly one port", hint="Such as `moorage ports why 8000`.")
    found = facts(world, *port_of(which[0]))
    if json:
        as_json(found.model_dump(mode="json"))
    else:
        from moorage.show.ports import why_text

        say(why_text(found))


def _stats(world: World, *, json: bool) -> None:
    from moorage.work.queries.ports import stats

    found = stats(world)
    if json:
        as_json(found.model_dump(mode="json"))
    else:
        from moorage.show.ports import stats_text

        say(stats_text(found))


def _release(world: World, stack: str, which: tuple[str, ...], *, json: bool) -> None:
    from moorage.work.operations.release_ports import release

    released = release(world, stack, which)
    if json:
        as_json([lease.model_dump(mode="json") for lease in released])
    said = ", ".join(f"{lease.key.service} {lease.port}" for lease in released)
    remark(f"{stack}: released {said}" if said else f"{stack}: no ports leased")
