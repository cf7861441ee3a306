"""`up`: resolve, lease, plan, run each step after what it waits for, commit; or undo."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from moorage.errors import PortError, PortTakenError
from moorage.model.step import Operation
from moorage.work.definitions.request import UpRequest, name_of
from moorage.work.definitions.resolve import Resolved, resolve
from moorage.work.queries.plan import PlannedUp, idle_as_planned, plan_up
from moorage.work.runs import images
from moorage.work.runs.approval import approved_and_locked
from moorage.work.runs.commit import after_commit, commit
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.leasing import give_up_port
from moorage.work.runs.memory import have_room
from moorage.work.runs.result import Result
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.runs.transaction import undone_on_failure
from moorage.work.threads import in_thread, uncancelled

_MOST_CLASHES = 3
"""So often a service gets other ports in place of those that turn out to be taken when it starts."""


@foreign_errors_named()
async def up(context: Context, request: UpRequest) -> Result:
    """Bring a stack up: commits, or undoes all and raises."""
    return await up_resolved(context, await in_thread(lambda: resolve(context.world, request)))


@foreign_errors_named()
async def up_resolved(context: Context, resolved: Resolved) -> Result:
    """The same for a definition that has been read."""
    run = Run(context, Operation.UP, resolved.name, resolved.request)
    asked = resolved.request.approve or resolved.definition.approve
    async with approved_and_locked(
        run, lambda: _planned(run, resolved), asked=asked, idle=partial(_changes_nothing, run)
    ) as planned:
        if idle := await idle_as_planned(run.world, planned):  # another `up` that we waited for may have done it all
            return Result(run, idle)
        await images.require_builder(run.world, planned)
        definition = planned.desired.definition
        await have_room(run, definition.config, definition.services, planned.observed, planned.plan)
        async with undone_on_failure(run):
            await in_thread(lambda: run.open(planned.observed, _on_record(resolved)))
            await _apply(run, planned)
            await uncancelled(commit(run))
        status = await uncancelled(in_thread(lambda: after_commit(run)))
    return Result(run, status, tuple(sorted(run.ready_s)))


def _on_record(resolved: Resolved) -> dict[str, Any]:
    """What is asked for; with its services, if it is about some of them only."""
    asked: dict[str, Any] = {"request": resolved.request.on_record()}
    return asked | ({"services": sorted(resolved.definition.services)} if resolved.request.services else {})


async def _changes_nothing(run: Run, planned: PlannedUp) -> bool:
    """A plan without steps is not enough: a time to live, or that nobody is asked any more, has none."""
    return await idle_as_planned(run.world, planned) is not None


async def _planned(run: Run, resolved: Resolved) -> PlannedUp:
    """The plan; the name is looked at again: another home may have taken it before we had its lock."""
    await in_thread(lambda: name_of(run.world, resolved.request, resolved.raw))
    return await plan_up(run.world, resolved)


async def _apply(run: Run, planned: PlannedUp) -> None:
    """Carry the plan out; when a port turns out to be taken, lease another and plan the rest."""
    clashes: Counter[str] = Counter()  # of each service: where many stacks start at once, each port may clash
    while True:
        await in_thread(partial(run.adopt, planned))
        try:
            await carry_out(run, planned.plan)
        except PortTakenError as error:
            service = str(error.fields.get("service"))
            clashes[service] += 1
            await in_thread(partial(give_up_port, run, error))
            if clashes[service] > _MOST_CLASHES:
                message = (
                    f"services.{service}: its ports were taken by other programs {clashes[service]} times in a row"
                )
                hint = "`moorage ports` lists Moorage's leases; find the other program with `moorage ports why PORT`."
                raise PortError(message, service=service, hint=hint) from error
            planned = await plan_up(run.world, planned.resolved, frozenset(run.excluded))
        else:
            return
