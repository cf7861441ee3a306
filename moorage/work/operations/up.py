"""`up`, step by step; `flows/up.py` is the summary."""

from __future__ import annotations

from collections import Counter
from functools import partial

from moorage.errors import PortError, PortTakenError
from moorage.interfaces import World
from moorage.model.state import StackStatus
from moorage.model.step import Operation, Plan
from moorage.work.definitions import resolve
from moorage.work.definitions.request import UpRequest
from moorage.work.queries.plan import Planned, idle_as_planned, plan_up
from moorage.work.runs import images
from moorage.work.runs.approval import Approval, approved_and_locked
from moorage.work.runs.commit import commit, status_of_committed
from moorage.work.runs.leasing import give_up_port
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import StepRunner, carry_out
from moorage.work.runs.steps import StepRunnerFor, directly
from moorage.work.runs.transaction import undone_on_failure
from moorage.work.threads import in_thread, uncancelled

_MOST_CLASHES = 3
"""So often a service gets other ports in place of those that turn out to be taken when it starts."""


async def apply(run: Run, act: StepRunner, planned: Planned) -> None:
    """Write the run down and carry the plan out; when a port turns out to be taken, lease anew and plan the rest."""
    await in_thread(lambda: run.open(planned[1], {"request": run.request.on_record() if run.request else {}}))
    clashes: Counter[str] = Counter()  # of each service: where many stacks start at once, each port may clash
    while True:
        desired, _, steps = planned
        run.adopt(desired, steps)
        try:
            await carry_out(steps.steps, act)
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
            planned = await _plan(run)
        else:
            return


async def _plan(run: Run) -> Planned:
    assert run.request is not None  # noqa: S101 - an up has a request
    return await plan_up(run.world, run.request, frozenset(run.excluded))


async def up(
    world: World,
    request: UpRequest,
    act_of: StepRunnerFor = directly,
    flow_run_id: str | None = None,
    approval: Approval | None = None,
) -> tuple[Run, StackStatus]:
    """Bring a stack up: commits, or undoes all and raises. `approval` None: nobody is asked."""
    definition = await in_thread(lambda: resolve.resolve(world, request))
    named = request.model_copy(update={"name": definition.name})
    run = Run(world, Operation.UP, definition.name, named)
    run.flow_run_id = flow_run_id

    async def preview() -> Plan:
        _, _, plan = await _plan(run)
        return plan

    async with approved_and_locked(run, approval, preview, wanted=request.approve or definition.approve):
        planned = await _plan(run)
        # Another `up` that we waited for may have done it all.
        if idle := await idle_as_planned(world, named, planned):
            return run, idle
        await images.require_builder(world, named, planned[0], planned[2])
        async with undone_on_failure(run, act_of):
            await apply(run, act_of(run), planned)
            await uncancelled(commit(run))
        return run, await uncancelled(in_thread(lambda: status_of_committed(run)))
